"""What a flow's renormalization group makes of lattice fields, level by level.

Letters in shapes: N fields; C components; h, w rows and columns of a level's grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rgflow.analysis.couplings import couplings
from rgflow.analysis.dependence import Stratum, dependence
from rgflow.field_theory.statistics import Estimate
from rgflow.flow import Flow
from rgflow.latents import Latents
from rgflow.text import mean_and_error

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scale:
    """One level of the renormalization group.

    Attributes:
        level: h.
        grid: Rows and columns of its field x^(h).
        entropy: −⟨ln q⟩ of what the level adds to the coarser one, in nats; over all levels they
            add up to the entropy of the flow's density, ⟨S⟩ + ln Z if it is right.
        second: ⟨x²⟩.
        kurtosis: ⟨x⁴⟩/⟨x²⟩², 3 of a Gaussian field.
        neighbours: ⟨x x′⟩/⟨x²⟩ of neighbouring sites.
        correlation: w·⟨x̄_0 x̄_t⟩ of the means of columns, t = 0 … w/2.
        dependence: Root mean square correlation of |z| of the nearest latents of the level, and the
            same of independent ones; none, if there are no pairs.
        couplings: Effective couplings of x^(h), if it is of spins −1 and 1 on at least 4×4 sites
            (`rgflow.analysis.couplings`).
        sites: Some values of x^(h), for a histogram.
    """

    level: int
    grid: tuple[int, int]
    entropy: Estimate[float]
    second: Estimate[float]
    kurtosis: float
    neighbours: float
    correlation: Array
    dependence: tuple[float, float] | None
    couplings: Estimate[Array] | None
    sites: Array = field(repr=False)


@torch.no_grad()
def scales(flow: Flow, fields: Tensor, *, at_once: int = 256) -> list[Scale]:
    """Statistics of the levels of a flow, level 0 first, over some fields.

    The fields are those of a reference, which have the distribution to be learned, or the flow's
    own.

    Args:
        flow: A flow of fields.
        fields: [N, C, H, W], at least 100; those of a Markov chain in any order.
        at_once: Fields encoded at a time.

    Example:
        >>> from rgflow import FlowConfig, GaussianPrior, RGFlow, SiteMap, Windows
        >>> windows = {"geometry": Windows(period=2), "map": SiteMap(hidden=8)}
        >>> shape = {"height": 8, "width": 8, "channels": 1}
        >>> flow = RGFlow(FlowConfig(**shape, **windows, prior=GaussianPrior(), pixels=None))
        >>> [one.grid for one in scales(flow, flow.sample(200))]
        [(8, 8), (4, 4), (2, 2)]
    """
    parts, entropies, stages = [], [], []
    for some in fields.to(flow.device, flow.dtype).split(at_once):
        terms = flow.terms(some)
        entropies.append(-(terms.prior + terms.log_det))
        z = flow.encode(some, dtype=flow.dtype)
        parts.append(z)
        stages.append(flow.coarse(z))
    entropy = torch.cat(entropies).double().cpu().numpy()
    found = dependence(Latents.cat(parts))
    return [
        _scale(level, torch.cat(of_level).double().cpu(), entropy[:, level], found.strata)
        for level, of_level in enumerate(zip(*stages, strict=True))
    ]


def _scale(level: int, x: Tensor, entropy: Array, strata: Sequence[Stratum]) -> Scale:
    square = x.square().mean((1, 2, 3))
    second = Estimate(*mean_and_error(square))
    near = ((x * x.roll(1, 3)).mean() + (x * x.roll(1, 2)).mean()) / 2
    lines = x.mean(2)
    correlation = [
        (lines * lines.roll(t, 2)).sum(1).mean() * x.shape[2] for t in range(x.shape[3] // 2 + 1)
    ]
    of_level = [one for one in strata if one.levels == (level, level)]
    nearest = min(of_level, key=lambda one: one.distance, default=None)
    return Scale(
        level=level,
        grid=(x.shape[2], x.shape[3]),
        entropy=Estimate(*mean_and_error(entropy)),
        second=second,
        kurtosis=float(x.pow(4).mean() / second.value**2),
        neighbours=float(near / second.value),
        correlation=torch.stack(correlation).numpy(),
        dependence=nearest and (nearest.magnitude.value, nearest.magnitude.floor),
        couplings=couplings(x) if min(x.shape[2:]) >= 4 and bool((x.abs() == 1).all()) else None,
        sites=x.flatten()[:: max(1, x.numel() // 20_000)].numpy(),
    )
