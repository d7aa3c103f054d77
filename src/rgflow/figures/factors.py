"""What latents mean, as pictures: probes of every level, latents and labels, dependence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args

import numpy as np
from PIL import Image

from rgflow.analysis.associations import Associations
from rgflow.analysis.dependence import Dependence
from rgflow.analysis.labels import Label
from rgflow.analysis.probes import Inputs, Probe, ProbeTable
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

SHADES = "Blues"
NAMED, GROUPS = 40, 12
"""Labels that have room for their names, and groups of labels."""
LONGEST = 40
"""Letters of a name; longer ones are cut."""
LATENTS = 80
"""Latents in a ranking."""
LINEAR = 0.01
"""Nats up to which information is drawn linearly, as it is where all is below twice that."""


def probe_table(table: ProbeTable) -> Image.Image:
    """Held-out R² by factor and level: a heat map for each probe."""
    rows = list(dict.fromkeys((s.group, s.inputs) for s in table.scores))
    rows.sort(key=lambda row: (table.groups.index(row[0]), get_args(Inputs).index(row[1])))
    scores = {s[:4]: s.r2 for s in table.scores}
    tops = [y + 0.3 * table.groups.index(group) for y, (group, _) in enumerate(rows)]
    figure = blank(8, 0.97 + 0.27 * max(tops, default=0))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, probe in zip(panels, get_args(Probe), strict=True):
        for top, (group, inputs) in zip(tops, rows, strict=True):
            row = [scores.get((group, h, probe, inputs), np.nan) for h in range(table.levels)]
            axes.pcolormesh(
                range(table.levels + 1), (top, top + 1), [row], cmap=SHADES, vmin=0, vmax=1
            )
            for level, value in enumerate(row):
                if np.isfinite(value):
                    text = minus(measured(value, 2))
                    colour = "white" if value > 0.5 else INK
                    at = (level + 0.5, top + 0.54)
                    axes.text(*at, text, color=colour, fontsize=9, ha="center", va="center")
        places = [h + 0.5 for h in range(table.levels)]
        axes.set_xticks(places, [f"level {h}" for h in range(table.levels)])
        axes.set_title(f"{probe} probes", fontsize=10, color=INK)
        axes.tick_params(length=0, labelcolor=INK)
        axes.spines[:].set_visible(False)
    panels[0].invert_yaxis()
    names = [_short(group) if inputs == "own" else _TITLES[inputs] for group, inputs in rows]
    panels[0].set_yticks([top + 0.5 for top in tops], names)
    for text, (_, inputs) in zip(panels[0].get_yticklabels(), rows, strict=True):
        text.set(color=INK if inputs == "own" else SOFT, fontsize=10 if inputs == "own" else 9)
    height = figure.get_figheight()
    left = max(0.22, 0.011 * max(map(len, names), default=0))
    figure.subplots_adjust(left, 0.3 / height, 0.99, 1 - 0.35 / height, wspace=0.06)
    return rendered(figure)


_TITLES: dict[Inputs, str] = {"random": "as many others", "shuffled": "shuffled labels"}


def ranking(found: Associations, labels: Sequence[Label]) -> Image.Image:
    """The information that latents have about labels: for every label the latent that tells most
    about it.
    """
    groups = list(dict.fromkeys(label.group for label in labels))
    order = sorted(range(len(labels)), key=lambda k: groups.index(labels[k].group))
    best = [found.latents_of(labels[k].name, 1)[0] for k in order]
    strongest = sorted(best, key=lambda one: -one.information)
    kept = list(dict.fromkeys(one.address for one in strongest))[:LATENTS]
    places = [one.address for one in best]
    rows = sorted(kept, key=lambda address: (-address[0], places.index(address)))
    values = np.array([[found.information[k, c, i, j] for k in order] for _, i, j, c in rows])
    singly = len(order) <= NAMED or len(groups) > GROUPS
    every = -(-len(order) // NAMED)  # of more labels, only every so many have room for a name
    names = [_short(labels[k].name) for k in order]
    room = 0.08 * max(map(len, names)) if singly else 0.5
    figure = blank(8, 1.8 + 0.06 * len(rows) + room)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    picture = axes.imshow(
        np.maximum(values, 0), cmap=SHADES, vmin=0, aspect="auto", interpolation="nearest"
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
    """A name that has room, as it is."""
    name = printable(name)
    return literal(name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…")


def _runs(axes: Axes, names: Sequence[str], axis: str) -> tuple[list[float], list[str]]:
    """Where runs of equal names have their middle, and these names; with lines between the runs."""
    starts = [k for k in range(len(names)) if k == 0 or names[k] != names[k - 1]]
    for k in starts[1:]:
        (axes.axvline if axis == "x" else axes.axhline)(k - 0.5, color=SOFT, linewidth=0.6)
    middles = [(a + b - 1) / 2 for a, b in zip(starts, [*starts[1:], len(names)], strict=True)]
    return middles, [names[k] for k in starts]


def dependence_curves(latents: Dependence, pixels: Dependence) -> Image.Image:
    """Mutual information by distance on the tree: a curve for the latents of each level, and one
    for pixels.

    Args:
        latents: The dependence of latents.
        pixels: That of the pixels at the positions of the latents, of which those of level 0 are
            drawn.
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
    if axes.get_ylim()[1] > 2 * LINEAR:
        axes.set_yscale("symlog", linthresh=LINEAR, linscale=1.2)
    last = max(s.distance for *_, strata in curves for s in strata)
    axes.set_xticks(range(last + 1))
    return rendered(figure)
