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
    """Fields from coarse to fine, the two-point function, the magnetisation and the weights."""
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
        label = "HMC" if found.reference.method == "hmc" else found.reference.method
        axes.errorbar(distance + 0.12, theirs.value, theirs.error, color=RED, label=label, **style)
    if (ours.value > 0).all() and ours.value.max() > 3 * ours.value.min():
        axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=8)
    plain(axes, "distance t in sites", "L·⟨φ̄₀φ̄ₜ⟩", "two-point function at zero momentum")


def _magnetisation(axes: Axes, found: Measurement) -> None:
    m, w = found.magnetisations, np.exp(found.log_weights - found.log_weights.max())
    edge = float(np.abs(m).max()) * 1.05 or 1.0
    style: dict[str, Any] = {"bins": np.linspace(-edge, edge, 61).tolist(), "density": True}
    axes.hist(m, weights=w, color=SOFT, alpha=0.6, label="flow, by weights", **style)
    axes.hist(m, histtype="step", color=INK, label="flow, as drawn", **style)
    if found.reference:
        theirs = found.reference.magnetisations
        axes.hist(theirs, histtype="step", color=RED, label="reference", **style)
    axes.legend(frameon=False, fontsize=8)
    plain(axes, "m", "density", "distribution of the magnetisation")


def _weights(axes: Axes, found: Measurement) -> None:
    axes.hist(found.log_weights - found.log_z.value, 60, density=True, color=SOFT)
    axes.axvline(0, color=RED, lw=1)
    title = f"weights: ESS {found.ess:.3f}, acceptance {found.metropolis.acceptance:.2f}"
    plain(axes, "ln w − ln Z in nats", "density", title)


def renormalization(levels: Sequence[Scale]) -> Image.Image:
    """Two-point functions, distributions of sites, and entropies of the levels of a flow.

    Distances are in sites of the finest grid.
    """
    figure = blank(10, 3)
    correlation, sites, entropy = figure.subplots(1, 3)
    colours = level_colours(len(levels))
    for one, colour in zip(levels, colours, strict=True):
        height, width = one.grid
        distance = np.arange(len(one.correlation)) * 2**one.level
        share, label = one.correlation / one.correlation[0], f"level {one.level}, {height}×{width}"
        correlation.plot(distance, share, "o-", ms=3, lw=1, color=colour, label=label)
        scaled = one.sites / one.second.value**0.5
        sites.hist(scaled, 60, density=True, histtype="step", color=colour)
        new = height * width * (0.75 if one is not levels[-1] else 1)
        entropy.bar(str(one.level), one.entropy.value / new, color=colour)
    correlation.legend(frameon=False, fontsize=8)
    plain(correlation, "distance in sites of level 0", "", "two-point function, as a share")
    plain(sites, "x/√⟨x²⟩", "density", "sites, in units of their spread")
    plain(entropy, "level", "nats", "entropy that a level adds, per site")
    figure.subplots_adjust(left=0.06, right=0.98, bottom=0.2, top=0.88, wspace=0.3)
    return rendered(figure)
