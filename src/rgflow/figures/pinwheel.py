"""The pinwheel, learned with several priors (paper, Fig. E1)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rgflow.analysis.pinwheel import TURNS, Cross, Estimate, Pinwheel, draw_pinwheel, sectors
from rgflow.config import FlowConfig, PriorName
from rgflow.figures.charts import INK, PALE, SOFT, blank, rendered
from rgflow.priors import make_prior

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#d1495b", "#e3a008", "#2a7f9e", "#6a4c93")
"""Of the four legs."""
WORDS: dict[Cross, str] = {"quadrants": "quadrant", "half_axes": "half-axis"}
REACH = 4.2
"""How far the pictures go from 0."""


def pinwheels(results: Mapping[PriorName, Sequence[Pinwheel]], points: int = 100) -> Image.Image:
    """Latents and data of flows that have learned the pinwheel, the first of each prior.

    On the left as in the paper: draws from the prior, coloured by quadrant or by half-axis,
    whichever names more legs, and where the flow takes them. On the right the other way: data in
    the colours of their legs, and their latents. A sector has the colour of its leg.

    Args:
        results: What was learned, with one or more seeds.
        points: How many are drawn in each picture.
    """
    figure = blank(12, 3.4 * len(results) + 0.3)
    grid = figure.subplots(len(results), 4, squeeze=False)
    for (prior_name, flows), row in zip(results.items(), grid, strict=True):
        found = flows[0]
        generator = torch.Generator().manual_seed(found.seed)
        prior = make_prior(FlowConfig(prior=prior_name))
        z = prior.sample_like(torch.empty(points, 2), generator)
        x, legs = draw_pinwheel(points, found.turn, generator)
        with torch.no_grad():
            generated, encoded = found.flow.inverse(z)[0], found.flow(x)[0]
        cross = max(found.named, key=lambda name: found.named[name].share)
        guessed = torch.tensor(found.named[cross].legs)[sectors(z, cross)]
        many, _ = draw_pinwheel(4000, found.turn, generator)
        for axes, latents, of in ((row[0], z, guessed), (row[3], encoded, legs)):
            _prior(axes, found, cross)
            _points(axes, latents, of)
        for axes, data, of in ((row[1], generated, guessed), (row[2], x, legs)):
            axes.plot(*many.T.numpy(), ".", color=PALE, ms=4, zorder=1)
            _points(axes, data, of)
        name = f"{prior_name.capitalize()} prior"
        row[3].text(0, -REACH, _told(flows), ha="center", va="top", color=INK, fontsize=9)
        row[0].text(
            -0.08, 0.5, name, rotation=90, ha="center", va="center", weight="bold", fontsize=12,
            color=INK, transform=row[0].transAxes,
        )  # fmt: skip
        row[0].text(0, -REACH, f"coloured by {WORDS[cross]}", ha="center", va="top", color=INK)
    titles = (
        "draws from the prior",
        "the data made of them",
        "data by leg",
        "their latents",
    )
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, color=INK, fontsize=12)
    figure.subplots_adjust(0.04, 0.08, 0.99, 1 - 0.35 / figure.get_figheight(), 0.02, 0.18)
    return rendered(figure)


def _told(flows: Sequence[Pinwheel]) -> str:
    """Shares of the points whose leg is named: of the flow that is drawn, and of all."""
    lines = []
    for cross, word in WORDS.items():
        of_all = Estimate.of(flow.named[cross].share for flow in flows)
        mean = f"; {len(flows)} flows: {of_all}" if len(flows) > 1 else ""
        lines.append(f"by {word}: {flows[0].named[cross].share:.3f}{mean}")
    return "\n".join(lines)


def _prior(axes: Axes, found: Pinwheel, cross: Cross) -> None:
    """The prior's density by lines, and the borders of the sectors."""
    line = torch.linspace(-REACH, REACH, 121)
    prior = make_prior(FlowConfig(prior=found.prior))
    log_p = prior.log_prob(line)[:, None] + prior.log_prob(line)
    levels = log_p.max().item() - np.array([8.0, 5.0, 3.0, 1.5, 0.5])
    axes.contour(line, line, log_p, levels, colors=SOFT, linewidths=0.6, linestyles="-", zorder=1)
    far = 2 * REACH
    for angle in (TURNS[cross], TURNS[cross] + math.pi / 2):
        x, y = far * math.cos(angle), far * math.sin(angle)
        axes.plot((-x, x), (-y, y), color=SOFT, lw=1, zorder=1)


def _points(axes: Axes, points: Tensor, colours: Tensor) -> None:
    x, y = points.T.numpy()
    axes.scatter(x, y, s=16, c=[COLOURS[k] for k in colours.tolist()], lw=0, zorder=3)
    axes.set_xlim(-REACH, REACH)
    axes.set_ylim(-REACH, REACH)
    axes.set_aspect("equal")
    axes.axis("off")
