"""What is known of the couplings of coarse Ising spins, and how maps of levels differ."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from rgflow.analysis.couplings import likeliest, occurrences
from rgflow.bijectors.base import Bijector, Context
from rgflow.field_theory.statistics import Estimate
from rgflow.figures.charts import INK, RED, SOFT, blank, level_colours, plain, rendered
from rgflow.model import RGFlow
from rgflow.text import mean_and_error

Array = NDArray[np.float64]


def decimated(temperature: float) -> Array:
    """The same three couplings of every second spin, both ways, of the Ising model on 8×8 sites:
    exact, by the probabilities of all 2^16 fields of these spins from transfer matrices.

    Args:
        temperature: T.

    Returns:
        K₁, K₂ and K₄, [3].

    Example:
        >>> decimated(2.269185).round(3).tolist()
        [0.289, 0.098, -0.036]
    """
    p = _of_every_second(temperature)
    bits = np.arange(2**16)[:, None] >> np.arange(15, -1, -1) & 1
    spins = torch.from_numpy(2 * bits - 1).view(-1, 1, 4, 4)
    return likeliest(occurrences(spins, p.repeat(16)), np.zeros(3))


def _of_every_second(temperature: float) -> Array:
    """Weights of every second spin, both ways, of 8×8 sites of the Ising model: their sum is Z.
    Number k has the spins −1 and 1 of the binary digits of k, the highest first, [2^16]."""
    # Rows by the spins of their even columns, then those of the others.
    bits = np.arange(2**8)[:, None] >> np.arange(7, -1, -1) & 1
    rows = (2 * bits - 1)[:, [0, 4, 1, 5, 2, 6, 3, 7]]
    within = (rows * np.roll(rows, 1, 1)).sum(1) / 2
    row = np.exp((within[:, None] + within + rows @ rows.T) / temperature)
    two = (row @ row).reshape(16, 16, 16, 16)
    four = np.einsum("aobp,bpcq->acboq", two, two)
    found = np.einsum("acboq,cadqo->abcd", four, four, optimize=True)
    return found.ravel()


def migdal_kadanoff(coupling: float) -> float:
    """K of the Ising model with every second spin left, both ways, in the approximation of Migdal
    and Kadanoff (1976): bonds of every second row and column are moved to the others, K′ =
    ½ ln cosh 4K. Its fixed point is K = 0.3047, and the exact one's 0.4407.

    Example:
        >>> round(migdal_kadanoff(0.304689), 4)
        0.3047
    """
    return math.log(math.cosh(4 * coupling)) / 2


@torch.no_grad()
def unlikeness(flow: RGFlow, fields: Tensor, *, at_once: int = 256) -> list[Estimate[float]]:
    """How much the maps of neighbouring levels differ, for every pair of levels below the highest:
    the mean of ln q − ln q′ of the sites that a level adds, given what it knows, with q of its own
    map and q′ of that of the next level, in nats per site. It is the Kullback–Leibler divergence,
    if the fields are those of the flow, and 0 at a fixed point.

    Args:
        flow: A flow with as many variables at all levels.
        fields: [N, C, H, W].
        at_once: Fields at a time.

    Example:
        >>> from rgflow import FlowConfig, GaussianPrior, SiteMap, Windows
        >>> windows = {"geometry": Windows(period=2), "map": SiteMap(hidden=8), "shared": True}
        >>> shape = {"height": 16, "width": 16, "channels": 1}
        >>> flow = RGFlow(FlowConfig(**shape, **windows, prior=GaussianPrior(), pixels=None))
        >>> [one.value for one in unlikeness(flow, flow.sample(10))]  # of 16×16, 8×8 and 4×4
        [0.0, 0.0]
    """
    maps = [{one.cells.name: one.bijector for one in step.cellwise} for step in flow.steps]
    sums, sites = torch.zeros(flow.levels, len(fields)).double(), [0] * flow.levels

    def log_q(bijector: Bijector, own: Tensor, context: Context) -> Tensor:
        if flow.domain == "cube":
            return bijector.log_det(own, context)
        z, log_det = bijector.forward(own, context)
        return log_det + flow.prior.log_prob(z).sum(1)

    for start in range(0, len(fields), at_once):
        part = fields[start : start + at_once].to(flow.device, flow.dtype)
        for visit in flow.walk(flow.from_images(part)[0]):
            level, name = visit.level, visit.layer.cells.name
            if level + 1 >= flow.levels - 1 or name not in maps[level + 1]:
                continue
            own, context = visit.read
            change = log_q(maps[level][name], own, context)
            change = change - log_q(maps[level + 1][name], own, context)
            sums[level, start : start + len(part)] += change.view(len(part), -1).sum(1).cpu()
            sites[level] += len(visit.layer.cells) * (start == 0)
    return [Estimate(*mean_and_error(one / n)) for one, n in zip(sums, sites, strict=True) if n]


def coupling_flow(
    ours: Array,
    paths: Mapping[str, Array],
    recursion: Sequence[float],
    unlike: Sequence[float],
) -> Image.Image:
    """Where couplings go from level to level, and how much the maps of levels differ.

    Args:
        ours: K₁, K₂, K₄ of every level of a flow, [levels, 3].
        paths: The same of fields without a flow, by name; the first are those of the flow's action.
        recursion: K₁ of every level as an approximation has it.
        unlike: By how much the map of each level differs from the next one's, in nats per site.
    """
    figure = blank(10, 3)
    plane, series, maps = figure.subplots(1, 3, width_ratios=(1.5, 1.2, 0.8))
    for k, ((name, path), colour) in enumerate(
        zip(paths.items(), level_colours(len(paths))[::-1], strict=True)
    ):
        for here, there in pairwise(path):
            plane.annotate(
                "", there[:2], here[:2], arrowprops={"arrowstyle": "->", "color": colour}
            )
        plane.plot(path[:, 0], path[:, 1], "o", ms=3 + 2 * (k == 0), color=colour, label=name)
    plane.plot(ours[:, 0], ours[:, 1], "x", ms=7, color=RED, label="flow")
    plane.legend(frameon=False, fontsize=7)
    plain(plane, "K of neighbours", "K of diagonal neighbours", "couplings from level to level")
    name, path = next(iter(paths.items()))
    series.plot(path[:, 0], "o-", ms=4, lw=1, color=INK, label=name)
    series.plot(ours[:, 0], "x", ms=7, color=RED, label="flow")
    series.plot(recursion, "--", lw=1, color=SOFT, label="Migdal and Kadanoff")
    series.set_ylim(0, 1.5 * float(max(path[:, 0].max(), ours[:, 0].max())))
    series.set_xticks(range(len(recursion)))
    series.legend(frameon=False, fontsize=7)
    plain(series, "level", "K of neighbours", "neighbours")
    maps.bar([f"{k}, {k + 1}" for k in range(len(unlike))], unlike, color=SOFT)
    plain(maps, "levels", "nats per site", "difference of maps")
    figure.subplots_adjust(left=0.08, right=0.98, bottom=0.2, top=0.88, wspace=0.35)
    return rendered(figure)
