"""What charts share: colours, and the way from Matplotlib to a picture."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import Image

from rgflow.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, PALE = "#222b36", "#8a94a3", "#eceff3"
"""Colours of text, of what stands back, and of what is only there."""
RED = "#d64545"
"""Of what is to be noticed."""
DPI = 160


def blank(width: float, height: float) -> Figure:
    """An empty figure of so many inches, in the colours of all charts."""
    # Matplotlib takes its time to import, and most who come here want something else.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, facecolor="white")


def plain(axes: Axes, x: str = "", y: str = "") -> None:
    """Take away the frame, but for the axes on the left and below, and name these."""
    axes.set_xlabel(x or axes.get_xlabel(), color=INK)
    axes.set_ylabel(y or axes.get_ylabel(), color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(SOFT)
    axes.tick_params(color=SOFT, labelcolor=INK)


def rendered(figure: Figure) -> Image.Image:
    """The picture of a figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return Image.open(buffer).convert("RGB")


def literal(text: str) -> str:
    """A text that Matplotlib draws in one line as it is, where it would take dollars for those of a
    formula.

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
