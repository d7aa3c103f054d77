"""Receptive fields as small maps, and histograms of strengths (paper, Figs. 5, C1, H1 to H4).

Every map is scaled to its own largest value, so that weak fields are seen too; how strong a field
is stands below it, or a frame says that it is visible.
"""

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw
from torch import Tensor
from torch.nn import functional as F

from rgflow.analysis.fields import VISIBLE, ReceptiveFields, how_found
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
from rgflow.figures.images import GAP, picture
from rgflow.figures.panels import LINE, SPACE, TEXT, beside, font, framed, pasted, stacked, titled
from rgflow.latents import Address

MAP = 96
"""Edge of a map with a caption, in pixels, at the least."""
PANEL, MAX_PANEL = 640, 4096
"""Edge of the maps of one channel laid out on the lattice, in pixels: about, and at the most."""
FRAME = ImageColor.getrgb("#ffd640")
"""Around visible latents."""
BINS = 40
"""Bars of the histogram of strengths."""

Results = Mapping[str, ReceptiveFields]
"""Receptive fields by the name of the flow; pictures of several stand side by side."""


@cache
def _colours() -> Tensor:
    """256 colours from dark to bright, [256, 3]."""
    from matplotlib import colormaps

    return torch.from_numpy(colormaps["magma"](np.arange(256), bytes=True)[:, :3].copy())


def heat(field: Tensor) -> Tensor:
    """A receptive field [H, W] in colours, from 0 (dark) to its largest value, uint8 [3, H, W]."""
    field = field.detach().cpu()
    share = field / field.max().clamp(min=torch.finfo(field.dtype).tiny)
    return _colours()[(share * 255).round().to(torch.int64)].permute(2, 0, 1)


def maps(found: ReceptiveFields, addresses: Sequence[Address], columns: int = 8) -> Image.Image:
    """The fields of some latents, row by row, each with (row, column, channel) and its strength.

    Args:
        found: The fields.
        addresses: Of the latents.
        columns: Maps in a row.

    Raises:
        ValueError: If there are none, or one wasn't computed.
    """
    if not addresses:
        raise ValueError("Expected at least one latent whose field is to be drawn; got none.")
    size = (found.lattice.width, found.lattice.height)
    scale = max(1, -(-MAP // min(size)))
    width, height = (edge * scale for edge in size)
    drawn = []
    for address in addresses:
        field = picture(heat(found.field(address)))
        field = field.resize((width, height), Image.Resampling.NEAREST)
        drawn.append(pasted((width, height + 2 * LINE), (field, (0, 0))))
        _, i, j, c = address
        draw, strength = ImageDraw.Draw(drawn[-1]), found.strength(address)[0]
        draw.text((0, height + 2), f"{i}, {j}, {c}", SOFT, font())
        draw.text((0, height + 2 + LINE), f"{strength:.3g}", INK, font())
    return stacked([beside(drawn[k : k + columns]) for k in range(0, len(drawn), columns)])


def strongest(results: Results, count: int = 8, threshold: float = VISIBLE) -> Image.Image:
    """The strongest fields of every level, the highest level first (paper, Figs. 5b and C1a).

    Args:
        results: The fields of each flow.
        count: Fields of each level.
        threshold: Strength above which a latent is visible.
    """
    blocks = []
    for name, found in results.items():
        rows = [
            titled(_counted(found, level, threshold), maps(found, addresses, count))
            for level in found.levels
            if (addresses := found.strongest(count, level))
        ]
        block = stacked(rows)
        blocks.append(titled(name, block, TEXT + 6) if len(results) > 1 else block)
    return framed(beside(blocks, 3 * SPACE))


def atlas(found: ReceptiveFields, level: int, threshold: float = VISIBLE) -> Image.Image:
    """All fields of a level laid out on the lattice, a panel for each channel; visible ones framed.

    Of an RG-Flow, a map shows the pixels in the generation cone of the latent, of others all.

    Raises:
        ValueError: If there is no such level, or none of its fields was computed.
    """
    visible = found.of_level(level) > threshold
    windows, fields = found.windows[level], found.fields[level]
    if not len(fields):
        raise ValueError(f"Expected a level whose fields were computed; got {level}.")
    cells = [np.unique(windows.addresses[:, k], return_inverse=True)[1].tolist() for k in (1, 2)]
    counts = [max(places) + 1 for places in cells]
    sizes, most = fields.shape[1:], max(counts)
    pool = -(-most * (max(sizes) + GAP) // MAX_PANEL)
    scale = max(1, round((PANEL / most - GAP) * pool / max(sizes)))
    steps = [-(-size // pool) * scale + GAP for size in sizes]
    shape = [count * step + GAP for count, step in zip(counts, steps, strict=True)]
    panels = torch.full((found.channels, 3, *shape), 40, dtype=torch.uint8)
    rows, columns = _order(windows.rows), _order(windows.columns)
    for n, channel in enumerate(windows.addresses[:, 3].tolist()):
        field = fields[n][rows[n]][:, columns[n]]
        if pool > 1:
            field = F.avg_pool2d(field[None], pool, ceil_mode=True)[0]
        corner = [place[n] * step for place, step in zip(cells, steps, strict=True)]
        y, x = (slice(at, at + step + GAP) for at, step in zip(corner, steps, strict=True))
        cell = panels[channel, :, y, x]
        if visible[n]:
            cell[...] = torch.tensor(FRAME, dtype=torch.uint8)[:, None, None]
        large = heat(field).repeat_interleave(scale, 1).repeat_interleave(scale, 2)
        cell[:, GAP:-GAP, GAP:-GAP] = large
    size = max(TEXT, shape[1] * found.channels // 55)
    parts = [titled(f"channel {c}", picture(panel), size) for c, panel in enumerate(panels)]
    title = _counted(found, level, threshold) + " (framed)" * bool(visible.any())
    return framed(titled(title, beside(parts), size))


def strengths(results: Results, threshold: float = VISIBLE) -> Image.Image:
    """Histograms of the strengths of every level, the highest level first (Figs. 5c and C1b).

    Raises:
        ValueError: If no latent changes anything.
    """
    marks = [threshold] * (threshold > 0)  # on a logarithmic axis 0 has no place
    # What is measured in different units isn't compared.
    alike = len({(found.change, found.space) for found in results.values()}) == 1
    together = _bins([found.strengths for found in results.values()], marks)
    rows = max(len(found.levels) for found in results.values())
    figure = blank(2 + 6 * len(results), 0.9 + 1.25 * rows)
    grid = figure.subplots(rows, len(results), sharex=True if alike else "col", squeeze=False)
    for column, (name, found) in zip(grid.T, results.items(), strict=True):
        empty = rows - len(found.levels)
        for axes in column[:empty]:
            axes.set_axis_off()
        if len(results) > 1:
            column[0].set_title(literal(name), loc="left", weight="bold", color=INK, pad=14)
        colours = level_colours(found.lattice.levels)
        bins = together if alike else _bins([found.strengths], marks)
        for axes, level in zip(column[empty:], found.levels, strict=True):
            axes.hist(found.of_level(level).numpy(), bins, color=colours[level], log=True)
            for mark in marks:
                axes.axvline(mark, color=RED, lw=1.2, ls=(0, (4, 3)))
            axes.set_xscale("log")
            axes.set_ylim(bottom=0.6)
            axes.tick_params(which="minor", labelleft=False, labelbottom=False)
            plain(axes)
            text = _counted(found, level, threshold)
            axes.text(0.01, 1.0, text, color=INK, transform=axes.transAxes)
        first = column[empty]
        words = {"color": RED, "ha": "right", "transform": first.get_xaxis_transform()}
        for mark in marks:
            first.text(mark, 1.0, "visible from here ", **words)
        column[-1].set_xlabel(f"strength ({how_found(found)})", color=INK)
        column[-1].set_ylabel("latents", color=INK)
    figure.tight_layout()
    return rendered(figure)


def _bins(strengths: Sequence[Tensor], marks: Sequence[float]) -> NDArray[np.float64]:
    """Bins of a histogram on a logarithmic axis that has room for all strengths and marks.

    Raises:
        ValueError: If no latent changes anything.
    """
    values = torch.cat([x.flatten() for x in strengths])
    values = values[values > 0]
    if not len(values):
        raise ValueError(
            "Expected latents that change images; none does: latents drawn anew at temperature 0 "
            "stay as they are."
        )
    ends = values.min().item(), values.max().item(), *marks
    return np.geomspace(min(ends) * 0.9, max(ends) * 1.1, BINS + 1)


def _counted(found: ReceptiveFields, level: int, threshold: float) -> str:
    """How many latents of a level are visible."""
    values = found.of_level(level)
    return f"level {level}: {int((values > threshold).sum())} of {len(values)} visible"


def _order(coordinates: Tensor) -> Tensor:
    """How to sort the coordinates of windows [n, w] as they lie in space, where they wrap around:
    from behind the gap on."""
    size = coordinates.shape[1]
    if size == 1:
        return torch.zeros_like(coordinates)
    jumps = coordinates.diff(dim=1) > 1
    first = torch.where(jumps.any(1), jumps.int().argmax(1) + 1, 0)
    return (first[:, None] + torch.arange(size)) % size
