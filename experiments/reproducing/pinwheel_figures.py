"""The pinwheel, learned with several priors (paper, Fig. E1)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reproducing.pinwheel import TURNS, Cross, Estimate, Pinwheel, draw_pinwheel, sectors
from rgflow.config import PriorKind
from rgflow.figures.charts import INK, PALE, SOFT, blank, rendered

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#d1495b", "#e3a008", "#2a7f9e", "#6a4c93")
"""Of the four legs."""
WORDS: dict[Cross, str] = {"quadrants": "quadrant", "half_axes": "half-axis"}
LINES: dict[Cross, str] = {"quadrants": "-", "half_axes": "--"}
REACH = 4.2
"""How far the pictures go from 0."""
LINE_END = 2 * REACH
"""Distance from 0 at which lines between sectors end: outside the pictures, at any angle."""
POINTS = 100
"""Points in a picture."""


def pinwheels(results: Mapping[str, Sequence[Pinwheel]]) -> Image.Image:
    """Latents and data of flows that have learned the pinwheel, the first of those of each prior.

    As in the paper: draws from the prior, coloured by their sector, and where the flow takes them;
    for both ways to cut the plane into sectors. On the right the other way: data in the colours of
    their legs, and their latents. A sector has the colour of its leg.
    """
    crosses = get_args(Cross)
    figure = blank(13.6, 0.35 + 2.5 * len(results))
    rows = figure.add_gridspec(
        len(results), len(crosses) + 1, left=0.035, right=0.995, bottom=0.03,
        top=1 - 0.38 / figure.get_figheight(), wspace=0.07, hspace=0.14,
    )  # fmt: skip
    for r, (prior_name, flows) in enumerate(results.items()):
        found = flows[0]
        generator = torch.Generator().manual_seed(found.seed)
        prior = PriorKind.kinds[prior_name]().make()
        z = prior.sample_like(torch.empty(POINTS, 2), generator)
        x, legs = draw_pinwheel(POINTS, found.turn, generator)
        with torch.no_grad():
            generated, encoded = found.flow.inverse(z)[0], found.flow(x)[0]
        many, _ = draw_pinwheel(4000, found.turn, generator)
        for k in range(len(crosses) + 1):
            pair = rows[r, k].subgridspec(1, 2, wspace=0)
            left, right = (figure.add_subplot(pair[0, half]) for half in (0, 1))
            if k < len(crosses):
                cross = crosses[k]
                colours = torch.tensor(found.named[cross].legs)[sectors(z, cross)]
                _prior(left, found, [cross])
                _points(left, z, colours)
                _data(right, many, generated, colours)
                title = f"prior by {WORDS[cross]} → data"
                text = _text(flows, cross)
                left.text(REACH, -REACH, text, ha="center", va="top", color=INK, fontsize=12)
            else:
                _data(left, many, x, legs)
                _prior(right, found, crosses)
                _points(right, encoded, legs)
                title = "data by leg → their latents"
            if r == 0:
                left.text(REACH, 1.12 * REACH, title, color=INK, fontsize=14, ha="center")
            if k == 0:
                name = f"{prior_name.capitalize()} prior"
                style = {"rotation": 90, "va": "center", "weight": "bold", "color": INK}
                left.set_title(name, style, x=-0.08, y=0.5, fontsize=14)
    return rendered(figure)


def _text(flows: Sequence[Pinwheel], cross: Cross) -> str:
    """Shares of the points whose leg is named: of the flow that is drawn, and of all."""
    mean = ""
    if len(flows) > 1:
        of_all = Estimate.of(flow.named[cross].share for flow in flows)
        mean = f"; {len(flows)} flows: {of_all}"
    return f"legs named: {flows[0].named[cross].share:.3f}{mean}"


def _data(axes: Axes, many: Tensor, points: Tensor, colours: Tensor) -> None:
    """Points over the data."""
    axes.plot(*many.T.numpy(), ".", color=PALE, ms=4, zorder=1)
    _points(axes, points, colours)


def _prior(axes: Axes, found: Pinwheel, crosses: Sequence[Cross]) -> None:
    """The prior's density by lines, and the borders of the sectors."""
    line = torch.linspace(-REACH, REACH, 121)
    prior = PriorKind.kinds[found.prior]().make()
    log_p = prior.log_prob(line)[:, None] + prior.log_prob(line)
    levels = log_p.max().item() - np.array([8.0, 5.0, 3.0, 1.5, 0.5])
    axes.contour(line, line, log_p, levels, colors=SOFT, linewidths=0.6, linestyles="-", zorder=1)
    for cross in crosses:
        for angle in (TURNS[cross], TURNS[cross] + math.pi / 2):
            x, y = LINE_END * math.cos(angle), LINE_END * math.sin(angle)
            axes.plot((-x, x), (-y, y), LINES[cross], color=SOFT, lw=1, zorder=1)


def _points(axes: Axes, points: Tensor, colours: Tensor) -> None:
    x, y = points.T.numpy()
    axes.scatter(x, y, s=16, c=[COLOURS[k] for k in colours.tolist()], lw=0, zorder=3)
    axes.set_xlim(-REACH, REACH)
    axes.set_ylim(-REACH, REACH)
    axes.set_aspect("equal")
    axes.axis("off")
