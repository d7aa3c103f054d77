"""What charts share: colours, and the way from Matplotlib to a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from rgflow.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, PALE = "#222b36", "#8a94a3", "#eceff3"
"""Colours of text, of secondary lines, and of backgrounds."""
RED = "#d64545"
"""Colour of highlights."""
DPI = 160
"""Pixels per inch of a chart."""


def blank(width: float, height: float) -> Figure:
    """An empty figure of so many inches."""
    # Matplotlib is slow to import, and many need other figures.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, facecolor="white")


def plain(axes: Axes, x: str = "", y: str = "", title: str = "") -> None:
    """Hide the upper and right part of the frame, and name the axes and the chart.

    Args:
        axes: The axes.
        x: Label of the horizontal axis; empty: as it is.
        y: Label of the vertical axis; empty: as it is.
        title: Title; empty: as it is.
    """
    axes.set_xlabel(x or axes.get_xlabel(), color=INK)
    axes.set_ylabel(y or axes.get_ylabel(), color=INK)
    if title:
        axes.set_title(title, fontsize=9, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(SOFT)
    axes.tick_params(color=SOFT, labelcolor=INK)


def rendered(figure: Figure) -> Image.Image:
    """A figure as a picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def literal(text: str) -> str:
    """A text for Matplotlib to draw in one line and as it is, without formulas between dollars.

    Example:
        >>> print(literal("a$^$b"))
        a\\$^\\$b
    """
    return printable(text).replace("$", r"\$")


def level_colours(levels: int) -> list[str]:
    """A colour for every level, level 0 first: the coarser, the darker.

    Example:
        >>> level_colours(2)
        ['#9cc9e1', '#08306b']
    """
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    shades = (0.38 + 0.62 * h / max(levels - 1, 1) for h in range(levels))
    return [to_hex(colormaps["Blues"](shade)) for shade in shades]
