"""Cones over an image: what latents reach, and what a region reaches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from torch import Tensor

from rgflow.cells import Mask
from rgflow.figures.charts import INK, PALE, RED, blank, level_colours, rendered
from rgflow.figures.images import picture
from rgflow.lattice import Lattice

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Place = tuple[int, int, int]
"""(h, i, j): level and pixel position of latents."""


def inference_cone(lattice: Lattice, pixels: Mask, image: Tensor | None = None) -> Image.Image:
    """The latents that some pixels reach, each at its site, with their number at every level.

    Args:
        lattice: The lattice.
        pixels: A mask of the image, [H, W].
        image: An image [C, H, W] to draw below, uint8 or reals in [0, 256).

    Raises:
        ValueError: If the mask or the image is of another size.
    """
    cone, every = lattice.inference_cone(pixels), np.ones_like(pixels)
    colours = level_colours(lattice.levels)
    figure, axes = _over(lattice, image)
    edge = 0.88 if image is None else 0.6
    for h, colour in enumerate(colours):
        _squares(axes, cone & (lattice.site_levels == h), colour, edge)
    _outline(axes, pixels, RED)
    lines = [
        (f"level {h}: {n} of {m} sites", colour)
        for h, (n, m, colour) in enumerate(
            zip(lattice.counts(cone), lattice.counts(every), colours, strict=True)
        )
    ]
    title = f"{cone.sum()} of {cone.size} sites in the\ninference cone,\nof C latents each"
    _counts(axes, title, lines, f"the {pixels.sum()} pixels")
    return rendered(figure)


def generation_cones(
    lattice: Lattice, places: Sequence[Place] | None = None, image: Tensor | None = None
) -> Image.Image:
    """The pixels that latents reach, with their number.

    Args:
        lattice: The lattice.
        places: Places of the latents; none: near the middle, one of every level.
        image: An image [C, H, W] to draw below, uint8 or reals in [0, 256).

    Raises:
        ValueError: If there is no latent at a place, or the image is of another size.
    """
    if places is None:
        places = [_near_the_middle(lattice, h) for h in range(lattice.levels)]
    return rendered(_cones(lattice, places, image))


def _cones(lattice: Lattice, places: Sequence[Place], image: Tensor | None = None) -> Figure:
    colours = level_colours(lattice.levels)
    figure, axes = _over(lattice, image)
    lines = []
    for h, i, j in places:
        cone = lattice.generation_cone(lattice.site(h, i, j))
        # Wider for the higher levels, as cones that are as large as the image coincide.
        _outline(axes, cone, colours[h], 2.4 + 2.2 * h, 4 - h / lattice.levels)
        axes.plot(j, i, "x", color=colours[h], ms=9, mew=2.5, zorder=5)
        lines.append((f"({h}, {i}, {j}): {cone.sum()} of {cone.size}", colours[h]))
    _counts(axes, "Pixels reached by the latents\nat (level, row, column)", lines)
    return figure


def _near_the_middle(lattice: Lattice, level: int) -> Place:
    """A place with latents of a level near the middle of the image, to the right of its column."""
    sites = np.argwhere(lattice.site_levels == level)
    middle = (lattice.height // 2, lattice.width // 2 - 2)
    i, j = sites[np.abs(sites - middle).sum(1).argmin()].tolist()
    return level, i, j


def _over(lattice: Lattice, image: Tensor | None) -> tuple[Figure, Axes]:
    """A figure of the image, lightened, or of empty cells."""
    figure, size = blank(8.6, 6.1), (lattice.height, lattice.width)
    axes = figure.add_axes((0.01, 0.02, 0.67, 0.96))
    axes.set_xlim(-0.7, size[1] - 0.3)
    axes.set_ylim(size[0] - 0.3, -0.7)
    axes.set_aspect("equal")
    axes.axis("off")
    if image is None:
        _squares(axes, np.ones(size, dtype=bool), PALE, 0.88)
    elif image.shape[1:] != size:
        raise ValueError(
            f"Expected an image of {size[0]}×{size[1]} pixels; got {list(image.shape)}."
        )
    else:
        axes.imshow(np.asarray(picture(image).convert("RGB")), alpha=0.4, zorder=1)
    return figure, axes


def _squares(axes: Axes, mask: Mask, colour: str, edge: float) -> None:
    """A square on each of a set of pixels."""
    from matplotlib.collections import PolyCollection

    corners = np.array([(-1, -1), (-1, 1), (1, 1), (1, -1)]) * edge / 2
    squares = np.argwhere(mask)[:, None, ::-1] + corners
    axes.add_collection(PolyCollection(list(squares), facecolors=colour, linewidths=0, zorder=3))


def _outline(axes: Axes, mask: Mask, colour: str, width: float = 2.4, order: float = 4) -> None:
    """The boundary of a set of pixels, along their edges."""
    from matplotlib.collections import LineCollection

    inside = np.pad(mask, 1)
    down, across = np.argwhere(np.diff(inside)), np.argwhere(np.diff(inside, axis=0))
    lines = [[(j - 0.5, i - 1.5), (j - 0.5, i - 0.5)] for i, j in down]
    lines += [[(j - 1.5, i - 0.5), (j - 0.5, i - 0.5)] for i, j in across]
    style: dict[str, Any] = {"zorder": order, "capstyle": "projecting", "clip_on": False}
    axes.add_collection(LineCollection(lines, colors=colour, linewidths=width, **style))


def _counts(
    axes: Axes, title: str, lines: Sequence[tuple[str, str]], outlined: str | None = None
) -> None:
    """What is where, beside the picture, each line with a square of its colour."""
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=colour, label=text) for text, colour in lines]
    if outlined:
        handles.append(Patch(facecolor="none", edgecolor=RED, linewidth=2, label=outlined))
    axes.legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(1.02, 0.5),
        frameon=False,
        fontsize=11,
        labelcolor=INK,
        title=title,
        alignment="left",
        title_fontproperties={"weight": "bold", "size": 11},
    )
