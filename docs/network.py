"""The network of a lattice from the side and from above, as in the paper's Fig. 3.

A site of level h is drawn as wide as the 2^h pixels that it stands for.
"""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Patch, Rectangle
from numpy.typing import NDArray

from rgflow.cells import Cells, Mask
from rgflow.figures.charts import INK, RED, SOFT, blank
from rgflow.lattice import Lattice

COLOURS = {"disentangler": "#8fcf9f", "decimator": "#f6d365"}
"""Colours of cells, by the name of their layer."""
BLUE = "#3b7dd8"
"""Colour of pixels and inference cones; latents and generation cones are red."""
WIRE, BLOCK, LEVEL_GAP = 0.55, 0.62, 0.66
"""Heights in the side view: of wires between layers, of cells, and of the space between levels."""
FULL_LAYERS = 6
"""Most layers of a level that are drawn at full height; more of them are flatter."""


def network(lattice: Lattice) -> Figure:
    """The network from the side, twice, and from above (paper, Fig. 3).

    The side views show one row: the inference cone of the two pixels in its middle, and the
    generation cone of a latent near it, of level 1 if there is one. The view from above shows the
    cells of level 0.
    """
    level, i, j = _near_the_middle(lattice, min(1, lattice.top))
    pixels = lattice.box(0, max(0, lattice.width // 2 - 2), lattice.height, 2)
    m = max(lattice.layers(0)[0].period)
    rows, columns = min(lattice.height, 2 * m), min(lattice.width, 6 * m)
    side = 0.5 + 0.32 * lattice.levels * _heights(lattice).level
    heights = [side, side, 10.7 * rows / columns]
    figure = blank(11, sum(heights) + 2)
    axes = figure.subplots(3, 1, height_ratios=heights)
    _side_view(axes[0], lattice, pixels, upward=True)
    _side_view(axes[1], lattice, lattice.site(level, i, j), upward=False)
    _top_view(axes[2], lattice, rows, columns)
    kinds = _kinds(lattice)
    last = lattice.layers(0)[-1].name
    both = f"{last}, filled, and the others, outlined"
    if last == "decimator":
        both = "disentanglers, outlined, over decimators"
    titles = (
        "Inference cone of two pixels: every latent that they reach",
        f"Generation cone of a latent of level {level}: every pixel that it reaches",
        f"Level 0 from above: {both if len(kinds) > 1 else f'{last}s'}; crosses stay, dots go up",
    )
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, loc="left", weight="bold", color=INK)
        ax.axis("off")
    named = sorted(kinds) if len(kinds) <= FULL_LAYERS else ()
    handles = [
        *(Patch(facecolor=_colour(kind), edgecolor=INK, label=kind) for kind in named),
        Line2D([], [], marker="x", color=RED, ls="", mew=2, ms=7, label="latent z"),
        Line2D([], [], marker="o", color=BLUE, ls="", ms=7, label="pixel x"),
        Patch(facecolor=BLUE, alpha=0.25, label="inference cone"),
        Patch(facecolor=RED, alpha=0.25, label="generation cone"),
    ]
    figure.legend(handles=handles, loc="lower center", ncols=6, frameon=False, fontsize=10)
    figure.subplots_adjust(0.02, 0.04, 0.99, 0.97, hspace=0.1)
    return figure


def _kinds(lattice: Lattice) -> list[str]:
    """The names of all layers."""
    layers = (layer for level in range(lattice.levels) for layer in lattice.layers(level))
    return list(dict.fromkeys(layer.name for layer in layers))


def _near_the_middle(lattice: Lattice, level: int) -> tuple[int, int, int]:
    """A place with latents of a level near the middle of the image, to the right of its column."""
    sites = np.argwhere(lattice.site_levels == level)
    middle = (lattice.height // 2, lattice.width // 2 - 2)
    i, j = sites[np.abs(sites - middle).sum(1).argmin()].tolist()
    return level, i, j


# ---------------------------------------------------------------- from the side


Passed = list[NDArray[np.bool_]]
"""Which columns of a level's grid a cone passes: below its first layer, as inference applies them,
and above each."""


def _walk(lattice: Lattice, start: Mask, upward: bool) -> list[Passed]:
    """The columns that a cone passes on its way up from pixels, or down from latents."""
    found: list[Passed] = [[] for _ in range(lattice.levels)]
    for level, grid in lattice.spreading(start.copy(), upward=upward):
        found[level].append(np.any(grid, 0, keepdims=False))
    return found if upward else [columns[::-1] for columns in found]


class _Heights(NamedTuple):
    """Heights of wires, cells and levels in the side view."""

    wire: float
    block: float
    level: float


def _heights(lattice: Lattice) -> _Heights:
    layers = max(len(COLOURS), len(_kinds(lattice)))
    flat = min(1.0, FULL_LAYERS / layers)
    return _Heights(flat * WIRE, flat * BLOCK, LEVEL_GAP + layers * flat * (WIRE + BLOCK))


def _side_view(axes: Axes, lattice: Lattice, start: Mask, upward: bool) -> None:
    """All wires, cells and latents of one row of the lattice, with a cone shaded."""
    way = _walk(lattice, start, upward)
    for level, passed in enumerate(way):
        _level_from_the_side(axes, lattice, level, passed, upward)
    for x in range(lattice.width):
        size, alpha = (7, 1.0) if way[0][0][x] else (5, 0.45)
        axes.plot(x, 0, "o", color=BLUE, markersize=size, alpha=alpha, zorder=6)
    axes.set_xlim(-0.8, lattice.width * 1.1)
    axes.set_ylim(-0.6, lattice.levels * _heights(lattice).level)


def _level_from_the_side(
    axes: Axes, lattice: Lattice, level: int, passed: Passed, upward: bool
) -> None:
    wire, block, high = _heights(lattice)
    names = _kinds(lattice)
    names = list(COLOURS) if set(names) <= set(COLOURS) else names  # an order for all levels
    scale, base, layers = 1 << level, level * high, lattice.layers(level)
    bottoms = [base + wire + names.index(layer.name) * (wire + block) for layer in layers]
    leaves = base + high - LEVEL_GAP
    # The cone behind every piece of wire reaches from the middle of a cell to that of the next.
    middles = [y + block / 2 for y in bottoms]
    lowest = leaves - high if level else base - 0.35
    highest = leaves + 0.3 if level == lattice.top else leaves
    style: dict[str, Any] = {"fc": BLUE if upward else RED, "alpha": 0.2, "lw": 0, "zorder": 1}
    for low, top, columns in zip([lowest, *middles], [*middles, highest], passed, strict=True):
        for i in np.flatnonzero(columns).tolist():
            axes.add_patch(Rectangle((i * scale - 0.5, low), scale, top - low, **style))
    entries = passed[:-1] if upward else passed[1:]
    for layer, y, columns in zip(layers, bottoms, entries, strict=True):
        strong = layer.touched(np.tile(columns, (layer.grid[0], 1))).ravel()
        columns_of = layer.origins[:, 1]
        for column in np.unique(columns_of).tolist():
            marked = strong[columns_of == column].any()
            _cell_from_the_side(axes, layer, column, (y, block), marked)
    for i in range(lattice.grid(level)[1]):
        goes_up, x = level < lattice.top and i % 2 == 0, i * scale
        axes.plot((x, x), (base, base + high if goes_up else leaves), color=INK, lw=0.8, zorder=3)
        if not goes_up:
            size, width, alpha = (7, 2.2, 1.0) if passed[-1][i] else (5.5, 1.1, 0.55)
            axes.plot(x, leaves + 0.12, "x", c=RED, ms=size, mew=width, alpha=alpha, zorder=6)
    place = (lattice.width + 0.3, (base + leaves) / 2)
    axes.text(*place, f"level {level}", va="center", fontsize=11, color=INK)


def _cell_from_the_side(
    axes: Axes, layer: Cells, column: int, place: tuple[float, float], strong: bool
) -> None:
    """The cells of one column, at a place from below and of a height; the sites that they write are
    filled. One that wraps around is drawn dashed, at both ends."""
    (y, block), scale, n = place, 1 << layer.level, layer.grid[1]
    sites = np.array(layer.reads)[:, 1]
    style: dict[str, Any] = {"alpha": 1.0, "edgecolor": INK, "linewidth": 1.5, "zorder": 4}
    if not strong:
        style |= {"alpha": 0.45, "edgecolor": SOFT, "linewidth": 0.8}
    parts = [(sites[: layer.written], _colour(layer.name))]
    if len(sites) > layer.written:
        parts.insert(0, (sites, "none"))
    for part, fill in parts:
        for left, right in _copies(column + part.min(), np.ptp(part) + 1, n, layer.periodic):
            ends = max(left * scale - 0.4, -0.75), min(right * scale - 0.6, n * scale - 0.25)
            dashes = "-" if left >= 0 and right <= n else (0, (3, 2))
            size = ends[1] - ends[0], block
            axes.add_patch(Rectangle((ends[0], y), *size, fc=fill, ls=dashes, **style))


def _copies(first: int, size: int, n: int, periodic: bool) -> list[tuple[int, int]]:
    """Where something on a line of n sites begins and ends; if periodic, all images of it that are
    seen.

    Example:
        >>> _copies(3, 2, 4, True), _copies(3, 2, 4, False)
        ([(-1, 1), (3, 5)], [(3, 5)])
    """
    firsts = [first - n, first, first + n] if periodic else [first]
    return [(at, at + size) for at in firsts if at < n and at + size > 0]


def _colour(name: str) -> str:
    """The colour of the cells of a layer: layers with numbers alternate."""
    if name in COLOURS:
        return COLOURS[name]
    return list(COLOURS.values())[int(name.split()[-1]) % 2 if name[-1].isdigit() else 0]


# ---------------------------------------------------------------- from above


def _top_view(axes: Axes, lattice: Lattice, rows: int, columns: int) -> None:
    """The sites that the cells of level 0 write, in a corner of its grid: crosses stay at level 0,
    dots go up."""
    layers = lattice.layers(0)
    for layer in layers:
        style: dict[str, Any] = {"fc": "none", "ec": "#3f9e5a", "lw": 2.6, "zorder": 2}
        if layer is layers[-1]:
            style = {"fc": COLOURS["decimator"], "ec": "white", "lw": 1.5, "zorder": 1}
        written = np.array(layer.reads)[: layer.written]
        down, along = (np.ptp(written, 0) + 1).tolist()
        for i, j in (layer.origins + written.min(0)).tolist():
            for y, _ in _copies(i, down, layer.grid[0], layer.periodic):
                for x, _ in _copies(j, along, layer.grid[1], layer.periodic):
                    if y < rows and x < columns:
                        corner, size = (x - 0.45, y - 0.45), (along - 0.1, down - 0.1)
                        shape = "round,pad=0,rounding_size=0.3"
                        axes.add_patch(FancyBboxPatch(corner, *size, boxstyle=shape, **style))
    i, j = np.indices((rows, columns))
    stays = lattice.site_levels[:rows, :columns] == 0
    axes.plot(j[stays], i[stays], "x", color=RED, ms=6, mew=1.8, zorder=3)
    axes.plot(j[~stays], i[~stays], "o", color=INK, ms=4.5, zorder=3)
    axes.set_xlim(-0.6, columns - 0.4)
    axes.set_ylim(rows - 0.4, -0.6)
    axes.set_aspect("equal", anchor="NW")
