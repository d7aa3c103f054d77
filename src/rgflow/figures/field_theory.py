"""Measurements of lattice fields as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from rgflow.figures.charts import INK, RED, SOFT, blank, level_colours, plain, rendered

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL import Image

    from rgflow.analysis.measurement import Measurement
    from rgflow.analysis.scales import Scale
    from rgflow.flow import Flow

Array = NDArray[np.float64]
COLUMNS = 8
"""About how many fields are drawn side by side."""


def overview(found: Measurement, flow: Flow) -> Image.Image:
    """Fields from coarse to fine, the two-point function, the magnetisation and the weights; of a
    reference, too, if there is one."""
    levels, stages = flow.levels, _stages(flow)
    across = max(COLUMNS // levels, 1) * levels
    rows = -(-len(stages) // across)
    high = 10 / across * rows + 0.5
    figure = blank(10, high + 3)
    upper, lower = cast(Any, figure.subfigures(2, 1, height_ratios=(high, 3)))
    _fields(upper.subplots(rows, across, squeeze=False), stages, levels)
    correlation, magnetisation, weights = lower.subplots(1, 3)
    _correlation(correlation, found)
    _magnetisation(magnetisation, found)
    _weights(weights, found)
    lower.subplots_adjust(left=0.11, right=0.98, bottom=0.2, top=0.88, wspace=0.32)
    upper.subplots_adjust(left=0.02, right=0.98, bottom=0, top=1 - 0.3 / high, wspace=0.08)
    return rendered(figure)


@torch.no_grad()
def _stages(flow: Flow) -> list[Array]:
    """The first component of four fields from coarse to fine, [h, w]."""
    z = flow.draw(4, generator=torch.Generator(flow.device).manual_seed(0))
    stages = [stage[:, 0].double().cpu().numpy() for stage in reversed(flow.coarse(z))]
    return [stage[k] for k in range(4) for stage in stages]


def _fields(places: NDArray[Any], stages: Sequence[Array], levels: int) -> None:
    finest = np.concatenate([stage.ravel() for stage in stages[levels - 1 :: levels]])
    most = float(np.quantile(np.abs(finest), 0.98)) or 1.0
    for axes in places.flat:
        axes.axis("off")
    for axes, stage in zip(places.flat, stages, strict=False):
        axes.imshow(stage, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
    for axes, stage in zip(places[0], stages, strict=False):
        axes.set_title(f"{stage.shape[0]}×{stage.shape[1]}", fontsize=9, color=INK)


def _correlation(axes: Axes, found: Measurement) -> None:
    ours = found.reweighted.correlation
    distance = np.arange(len(ours.value))
    style: dict[str, Any] = {"fmt": "o", "ms": 3.5, "capsize": 2, "lw": 1}
    axes.errorbar(distance, ours.value, ours.error, color=INK, label="flow, by weights", **style)
    if found.reference:
        theirs = found.reference.observables.correlation
        label = "HMC" if found.reference.method == "hmc" else "clusters"
        axes.errorbar(distance + 0.12, theirs.value, theirs.error, color=RED, label=label, **style)
    if (ours.value > 0).all() and ours.value.max() > 3 * ours.value.min():
        axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=8)
    axes.set_title("two-point function at zero momentum", fontsize=9, color=INK)
    plain(axes, "distance t in sites", "L·⟨φ̄₀φ̄ₜ⟩")


def _magnetisation(axes: Axes, found: Measurement) -> None:
    m, w = found.magnetisations, np.exp(found.log_weights - found.log_weights.max())
    edge = float(np.abs(m).max()) * 1.05 or 1.0
    bins = np.linspace(-edge, edge, 61).tolist()
    axes.hist(m, bins, weights=w, density=True, color=SOFT, alpha=0.6, label="flow, by weights")
    axes.hist(m, bins, density=True, histtype="step", color=INK, label="flow, as drawn")
    if found.reference:
        theirs = found.reference.magnetisations
        axes.hist(theirs, bins, density=True, histtype="step", color=RED, label="reference")
    axes.legend(frameon=False, fontsize=8)
    axes.set_title("distribution of the magnetisation", fontsize=9, color=INK)
    plain(axes, "m", "density")


def _weights(axes: Axes, found: Measurement) -> None:
    spread = found.log_weights - found.log_z.value
    axes.hist(spread, 60, density=True, color=SOFT)
    axes.axvline(0, color=RED, lw=1)
    title = f"weights: ESS {found.ess:.3f}, acceptance {found.metropolis.acceptance:.2f}"
    axes.set_title(title, fontsize=9, color=INK)
    plain(axes, "ln w − ln Z in nats", "density")


def renormalization(levels: Sequence[Scale]) -> Image.Image:
    """Levels of a flow beside one another: two-point functions over the distance in sites of the
    finest grid, distributions of sites, and entropies."""
    figure = blank(10, 3)
    correlation, sites, entropy = figure.subplots(1, 3)
    colours = level_colours(len(levels))
    for one, colour in zip(levels, colours, strict=True):
        label = f"level {one.level}, {one.grid[0]}×{one.grid[1]}"
        distance = np.arange(len(one.correlation)) * 2**one.level
        share = one.correlation / one.correlation[0]
        correlation.plot(distance, share, "o-", ms=3, lw=1, color=colour, label=label)
        scaled = one.sites / one.second.value**0.5
        sites.hist(scaled, 60, density=True, histtype="step", color=colour)
    correlation.legend(frameon=False, fontsize=8)
    correlation.set_title("two-point function, as a share", fontsize=9, color=INK)
    plain(correlation, "distance in sites of level 0", "")
    sites.set_title("sites, in units of their spread", fontsize=9, color=INK)
    plain(sites, "x/√⟨x²⟩", "density")
    added = [one.entropy.value for one in levels]
    per_site = [
        x / (one.grid[0] * one.grid[1] * (0.75 if k < len(levels) - 1 else 1))
        for k, (x, one) in enumerate(zip(added, levels, strict=True))
    ]
    entropy.bar([str(one.level) for one in levels], per_site, color=colours)
    entropy.set_title("entropy that a level adds, per site", fontsize=9, color=INK)
    plain(entropy, "level", "nats")
    figure.subplots_adjust(left=0.06, right=0.98, bottom=0.2, top=0.88, wspace=0.3)
    return rendered(figure)
