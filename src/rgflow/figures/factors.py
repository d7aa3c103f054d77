"""What latents mean, as pictures: probes of every level, latents and labels, dependence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from rgflow.analysis.associations import Associations
from rgflow.analysis.dependence import Dependence
from rgflow.analysis.labels import Label
from rgflow.figures.charts import (
    INK,
    RED,
    SOFT,
    blank,
    level_colours,
    literal,
    plain,
    rendered,
)
from rgflow.text import measured, minus, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Shaded = tuple[Sequence[str], Sequence[str], Sequence[Sequence[float]]]
"""Names of columns and of rows, and numbers [rows, columns]."""

COLOURS = "Blues"
MAX_NAMED, MAX_GROUPS = 40, 12
"""Most labels that are named one by one, and most groups of labels that are named instead."""
MAX_LETTERS = 40
"""Longest name; longer ones are cut."""
MAX_LATENTS = 80
"""Most latents in a ranking."""
LINEAR_NATS = 0.01
"""Information up to which its axis is linear, in nats."""


def heat_maps(parts: Mapping[str, Shaded]) -> Image.Image:
    """Tables of numbers with the same names of rows, beside one another, shaded from 0 to 1.

    Args:
        parts: By title: names of columns, names of rows, and the numbers [rows, columns]; NaN: an
            empty cell.
    """
    columns, names, _ = next(iter(parts.values()))
    height = 0.97 + 0.27 * len(names)
    figure = blank(8, height)
    panels = figure.subplots(1, len(parts), sharey=True, squeeze=False)[0]
    for axes, (title, (columns, _, values)) in zip(panels, parts.items(), strict=True):
        axes.imshow(values, cmap=COLOURS, vmin=0, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(np.asarray(values)):
            if np.isfinite(value):
                colour = "white" if value > 0.5 else INK
                text = minus(measured(float(value), 2))
                axes.text(column, row, text, color=colour, fontsize=9, ha="center", va="center")
        axes.set_xticks(range(len(columns)), columns)
        axes.set_title(title, fontsize=10, color=INK)
        axes.tick_params(length=0, labelcolor=INK)
        axes.spines[:].set_visible(False)
    panels[0].set_yticks(range(len(names)), [_short(name) for name in names])
    for text in panels[0].get_yticklabels():
        text.set_color(SOFT if text.get_text()[0].isspace() else INK)  # indented names
    left = max(0.22, 0.011 * max(map(len, names), default=0))
    figure.subplots_adjust(left, 0.3 / height, 0.99, 1 - 0.35 / height, wspace=0.06)
    return rendered(figure)


def ranking(found: Associations, labels: Sequence[Label]) -> Image.Image:
    """The information of the best latent for every label about all labels."""
    groups = list(dict.fromkeys(label.group for label in labels))
    order = sorted(range(len(labels)), key=lambda k: groups.index(labels[k].group))
    best = [found.latents_of(labels[k].name, 1)[0] for k in order]
    strongest = sorted(best, key=lambda one: -one.information)
    kept = list(dict.fromkeys(one.address for one in strongest))[:MAX_LATENTS]
    places = [one.address for one in best]
    rows = sorted(kept, key=lambda address: (-address[0], places.index(address)))
    values = np.array([[found.information[k, c, i, j] for k in order] for _, i, j, c in rows])
    singly = len(order) <= MAX_NAMED or len(groups) > MAX_GROUPS
    every = -(-len(order) // MAX_NAMED)  # of more labels, only every so many have room for a name
    names = [_short(labels[k].name) for k in order]
    room = 0.08 * max(map(len, names)) if singly else 0.5
    figure = blank(8, 1.8 + 0.06 * len(rows) + room)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    picture = axes.imshow(
        np.maximum(values, 0), cmap=COLOURS, vmin=0, aspect="auto", interpolation="nearest"
    )
    axes.tick_params(length=0, labelcolor=INK)
    axes.spines[:].set_color(SOFT)
    if singly:
        axes.set_xticks(range(0, len(order), every), names[::every], rotation=90)
    else:
        axes.set_xticks(*_runs(axes, [_short(labels[k].group) for k in order], "x"), rotation=20)
    axes.set_yticks(*_runs(axes, [f"level {h}" for h, *_ in rows], "y"))
    some = f", one in {every} named" if singly and every > 1 else ""
    axes.set_xlabel(f"labels{some}", color=INK)
    axes.set_ylabel("latents that tell most about a label", color=INK)
    bar = figure.colorbar(picture, ax=axes, aspect=40, pad=0.01)
    bar.outline.set_visible(False)
    bar.set_label("mutual information, nats", color=INK)
    return rendered(figure)


def _short(name: str) -> str:
    """A name cut to a length that has room, drawn as it is."""
    name = printable(name)
    return literal(name if len(name) <= MAX_LETTERS else f"{name[: MAX_LETTERS - 1]}…")


def _runs(axes: Axes, names: Sequence[str], axis: str) -> tuple[list[float], list[str]]:
    """Draw lines between runs of equal names; the middles of the runs, and their names."""
    starts = [k for k in range(len(names)) if k == 0 or names[k] != names[k - 1]]
    for k in starts[1:]:
        (axes.axvline if axis == "x" else axes.axhline)(k - 0.5, color=SOFT, linewidth=0.6)
    middles = [(a + b - 1) / 2 for a, b in zip(starts, [*starts[1:], len(names)], strict=True)]
    return middles, [names[k] for k in starts]


def dependence_curves(latents: Dependence, pixels: Dependence) -> Image.Image:
    """Mutual information by distance on the tree, of the latents of each level and of pixels.

    Args:
        latents: The dependence of latents.
        pixels: The dependence of the pixels at the positions of the latents; level 0 is drawn.
    """
    figure = blank(8, 4.6)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    plain(axes, "RG steps up to the lowest common ancestor", "mutual information of a pair, nats")
    axes.axhline(0, color=SOFT, linewidth=0.8)
    levels = sorted({s.levels[0] for s in latents.strata})
    colours = level_colours(len(levels))
    curves = [("pixels", RED, "--", pixels.by_distance((0, 0)))]
    curves += [
        (f"latents of level {h}", colours[h], "-", latents.by_distance((h, h))) for h in levels
    ]
    for name, colour, style, strata in curves:
        values = [(s.distance, s.information.value, s.information.error) for s in strata]
        x, y, error = zip(*values, strict=True)
        axes.errorbar(x, y, error, color=colour, ls=style, marker="o", ms=4, label=name)
    axes.legend(frameon=False, labelcolor="linecolor")
    if axes.get_ylim()[1] > 2 * LINEAR_NATS:
        axes.set_yscale("symlog", linthresh=LINEAR_NATS, linscale=1.2)
    last = max(s.distance for *_, strata in curves for s in strata)
    axes.set_xticks(range(last + 1))
    return rendered(figure)
