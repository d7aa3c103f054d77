"""The pinwheel: what a sparse prior is good for (paper, Appendix E).

Data in the plane have four legs. Flows learn them, with a Laplace and with a Gaussian prior, and
the question is whether the place of a latent says which leg it is of.

The paper speaks of quadrants, told apart by the signs of the two latents. But it is along the
half-axes that a Laplace prior has its heavy tails, so a leg may come to lie there, in two quadrants
at once. So legs are counted in two ways: by quadrant, and by the nearest half-axis.

Letters in shapes: N points.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from rgflow.bijectors import AffineCoupling, Compose
from rgflow.bijectors.base import Bijector, MapSpec
from rgflow.checks import check_name, check_whole
from rgflow.config import PriorKind
from rgflow.text import mean_and_error, measured

LEGS = 4
"""Legs of the pinwheel, as many as sectors."""
ALONG, ACROSS, TWIST = 0.3, 0.1, 0.25
"""Standard deviations along a leg and across it, and how much it is bent, in the usual pinwheel."""
SCALE = 2.0
"""Factor of all coordinates, in the usual pinwheel."""
STEPS, BATCH, RATE = 600, 256, 5e-3
"""Training steps, points in each, and learning rate."""
COUPLINGS, HIDDEN = 6, 32
"""Couplings of a flow, and width of their networks."""
POINTS = 10_000
"""Points whose legs are guessed."""
Cross = Literal["quadrants", "half_axes"]
TURNS: dict[Cross, float] = {"quadrants": 0.0, "half_axes": -math.pi / 4}
"""Two ways to cut the plane into four sectors: by how much the axes are turned."""


class Named(NamedTuple):
    """How well sectors name the legs, under the best matching of sectors to legs."""

    share: float
    """Of the points whose sector names their leg."""
    legs: tuple[int, ...]
    """The leg of each sector."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pinwheel:
    """A flow that has learned a pinwheel, and how well sectors of its latents name the legs.

    Attributes:
        prior: Of the flow.
        seed: Of data, weights and points.
        turn: Angle by which the pinwheel is turned, in radians.
        flow: From data to latents.
        nll: Mean of −log p over the points, in nats.
        named: How well quadrants and half-axes name the legs of the points.
    """

    prior: str
    seed: int
    turn: float
    flow: Bijector
    nll: float
    named: dict[Cross, Named]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number found with several seeds.

    Attributes:
        values: For every seed.
        mean: Their mean.
        standard_error: Its standard error; none with a single seed.
    """

    values: tuple[float, ...]
    mean: float
    standard_error: float | None

    @classmethod
    def of(cls, values: Iterable[float]) -> "Estimate":
        """The estimate from the values.

        Example:
            >>> Estimate.of([1.0, 3.0])
            Estimate(values=(1.0, 3.0), mean=2.0, standard_error=1.0)
        """
        values = tuple(values)
        mean, error = mean_and_error(values)
        return cls(values=values, mean=mean, standard_error=error if len(values) > 1 else None)

    def __str__(self) -> str:
        return measured(self.mean, 3, self.standard_error)


def draw_pinwheel(n: int, turn: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points [N, 2] of a pinwheel of four bent legs, turned by an angle in radians, and the leg of
    each, 0 to 3, [N].

    Example:
        >>> points, legs = draw_pinwheel(8, 0.0, torch.Generator().manual_seed(0))
        >>> points.shape, legs.shape
        (torch.Size([8, 2]), torch.Size([8]))
    """
    legs = torch.randint(LEGS, (n,), generator=generator)
    along = 1 + ALONG * torch.randn(n, generator=generator)
    across = ACROSS * torch.randn(n, generator=generator)
    angle = turn + legs * (2 * math.pi / LEGS) + TWIST * along.exp()
    x = along * angle.cos() - across * angle.sin()
    y = along * angle.sin() + across * angle.cos()
    return SCALE * torch.stack((x, y), 1), legs


def learn_pinwheels(
    priors: Sequence[str] = ("laplace", "gaussian"),
    seeds: Sequence[int] = range(5),
    *,
    steps: int = STEPS,
    progress: Callable[[int], None] | None = None,
) -> dict[str, list[Pinwheel]]:
    """Learn pinwheels, and guess the legs of 10,000 new points of each from their latents.

    A flow begins as the identity, so a pinwheel that happened to lie along the axes, or between
    them, would stay so whatever the prior: each is turned by an angle that depends on the seed.

    Args:
        priors: Of the flows.
        seeds: Each for a flow of every prior: of data, weights and points.
        steps: Steps of Adam.
        progress: Called with the number of steps done since the last call.

    Returns:
        By prior, in the order of the seeds.

    Raises:
        ValueError: If a prior has no such name, a number is out of range, or there is none.

    Example:
        >>> found = learn_pinwheels(["laplace"], [0], steps=2)
        >>> 0.25 < found["laplace"][0].named["quadrants"].share <= 1
        True
    """
    if not priors or not seeds:
        raise ValueError("Expected at least one prior and one seed; got none.")
    for prior in priors:
        check_name("prior", prior, PriorKind.kinds)
    for seed in seeds:
        check_whole("seed", seed, 0)
    check_whole("steps", steps, 1)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    turns = [float(torch.rand((), generator=g) * (math.pi / 2)) for g in generators]
    flows = [_make_flow(seed) for _ in priors for seed in seeds]
    densities = [PriorKind.kinds[prior]().make() for prior in priors]

    def draw(n: int) -> tuple[Tensor, Tensor]:
        drawn = [draw_pinwheel(n, t, g) for t, g in zip(turns, generators, strict=True)]
        points, legs = zip(*drawn, strict=True)
        return torch.stack(points).repeat(len(priors), 1, 1), torch.stack(legs)

    # All flows as one: a step of ten of them takes four times that of a single one.
    parameters, _ = stack_module_state(flows)
    optimizer = torch.optim.AdamW(parameters.values(), lr=RATE, weight_decay=0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    def infer(x: Tensor) -> tuple[Tensor, Tensor]:
        """Latents [priors, seeds, N, 2], and −log p [priors, seeds]."""
        z, log_det = vmap(lambda p, one: functional_call(flows[0], p, (one,)))(parameters, x)
        z, log_det = (part.unflatten(0, (len(priors), -1)) for part in (z, log_det))
        log_p = torch.stack(
            [prior.log_prob(part).sum(2) for prior, part in zip(densities, z, strict=True)]
        )
        return z, -(log_p + log_det).mean(2)

    for _ in range(steps):
        optimizer.zero_grad()
        infer(draw(BATCH)[0])[1].sum().backward()
        optimizer.step()
        schedule.step()
        if progress:
            progress(1)
    x, legs = draw(POINTS)
    with torch.no_grad():
        z, nll = infer(x)
        for k, flow in enumerate(flows):
            flow.load_state_dict({name: stacked[k] for name, stacked in parameters.items()})
    return {
        prior: [
            Pinwheel(
                prior=prior,
                seed=seed,
                turn=turns[s],
                flow=flows[p * len(seeds) + s],
                nll=nll[p, s].item(),
                named={cross: name_legs(z[p, s], legs[s], cross) for cross in TURNS},
            )
            for s, seed in enumerate(seeds)
        ]
        for p, prior in enumerate(priors)
    }


def sectors(z: Tensor, cross: Cross = "quadrants") -> Tensor:
    """The sector of every point [N, 2], 0 to 3 anticlockwise from (+, +), or from the first axis.

    Example:
        >>> sectors(torch.tensor([[1.0, 2.0], [-1.0, 2.0], [-1.0, -2.0], [1.0, -2.0]]))
        tensor([0, 1, 2, 3])
        >>> sectors(torch.tensor([[9.0, 1.0], [-1.0, 9.0], [-9.0, -2.0]]), "half_axes")
        tensor([0, 1, 2])
    """
    angle = torch.atan2(z[:, 1], z[:, 0]) - TURNS[cross]
    return torch.floor(angle / (math.pi / 2)).to(torch.int64) % LEGS


def name_legs(z: Tensor, legs: Tensor, cross: Cross = "quadrants") -> Named:
    """How well the sectors of latents [N, 2] name their legs, 0 to 3, [N].

    Example:
        >>> z = torch.tensor([[1.0, 2.0], [2.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
        >>> name_legs(z, torch.tensor([3, 3, 2, 1, 1]))
        Named(share=0.8, legs=(3, 2, 1, 0))
    """
    pairs = sectors(z, cross) * LEGS + legs
    counts = np.bincount(pairs.cpu().numpy(), minlength=LEGS**2).reshape(LEGS, LEGS)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    return Named(float(counts[rows, columns].sum() / len(z)), tuple(columns.tolist()))


def _make_flow(seed: int) -> Compose:
    """A flow of the plane, which is the identity; its inner weights depend on the seed."""
    spec, options = MapSpec(channels=2, sites=1), {"hidden": HIDDEN, "blocks": 1}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Compose(
            AffineCoupling(spec, conditioner="trunk", **options) for _ in range(COUPLINGS)
        ).eval()
