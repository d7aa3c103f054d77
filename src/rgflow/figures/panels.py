"""Images in labelled rows and columns, and panels put together.

Letters in shapes: R rows and K columns of images; C channels; H, W rows and columns of pixels.
"""

import math
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from rgflow.figures.charts import INK
from rgflow.figures.images import GAP, grid
from rgflow.text import minus, printable

TEXT = 14
"""Size of the text, in pixels."""
MIN_TEXT = 7
"""Minimum text size in pixels, for labels that don't fit at `TEXT`."""
LINE = TEXT + 6
"""Height of a line of text."""
MAX_TITLE = 200
"""Maximum number of letters of a title; names of runs and labels can be longer."""
GUTTER, SPACE = 8, 20
"""Pixels between parts of a picture, and between pictures."""


@cache
def font(size: int = TEXT, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font of all panels: one that has Greek letters and comes with Matplotlib."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


def number(value: float) -> str:
    """A number as a label.

    Example:
        >>> number(-1.5), number(2.0)
        ('−1.5', '2')
    """
    return minus(f"{value:.3g}")


def panel(
    images: Tensor,
    *,
    scale: int = 2,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> Image.Image:
    """Images in a grid on white.

    Args:
        images: [R, K, C, H, W].
        scale: Edge of a drawn pixel.
        rows: Labels on the left of the rows; none: no labels.
        columns: Labels above the columns.
    """
    height, width = (edge * scale for edge in images.shape[3:])
    body = grid(images.flatten(0, 1), images.shape[1], scale)
    body = body.crop((GAP, GAP, body.width - GAP, body.height - GAP))
    left = max((text_width(label) + GUTTER for label in rows), default=0)
    size = _fitting(columns, width + GAP) if body.width > width else TEXT
    # Labels may be wider than what they stand above.
    beyond = max((text_width(label, size=size) - width for label in columns), default=0)
    left = max(left, beyond // 2)
    top = LINE if columns else 0
    size_of_all = (left + body.width + max(beyond // 2, 0), top + body.height)
    out = pasted(size_of_all, (body, (left, top)))
    draw = ImageDraw.Draw(out)
    for k, label in enumerate(columns):
        middle = left + k * (width + GAP) + width / 2
        draw.text((middle, top - 6), label, INK, font(size), anchor="ms")
    for k, label in enumerate(rows):
        middle = top + k * (height + GAP) + height / 2
        draw.text((left - GUTTER, middle), label, INK, font(), anchor="rm")
    return out


def _fitting(labels: Sequence[str], width: int) -> int:
    """The largest text size at which every label fits into this width."""
    widest = max(map(text_width, labels), default=0)
    return max(min(TEXT, TEXT * (width - GUTTER // 2) // max(widest, 1)), MIN_TEXT)


def text_width(text: str, bold: bool = False, size: int = TEXT) -> int:
    """Width of a line of text in pixels."""
    return math.ceil(font(size, bold).getlength(text))


def titled(title: str, picture: Image.Image, size: int = TEXT) -> Image.Image:
    """A picture below a line of bold text, which is cut off where it is very long."""
    title, line = printable(title)[:MAX_TITLE], size + LINE - TEXT
    width = max(picture.width, text_width(title, bold=True, size=size))
    out = pasted((width, line + picture.height), (picture, (0, line)))
    ImageDraw.Draw(out).text((0, size), title, INK, font(size, bold=True), anchor="ls")
    return out


def pasted(size: tuple[int, int], *parts: tuple[Image.Image, tuple[int, int]]) -> Image.Image:
    """Pictures on a white background of this width and height, each at an upper left corner."""
    out = Image.new("RGB", size, "white")
    for picture, corner in parts:
        out.paste(picture, corner)
    return out


def beside(pictures: Sequence[Image.Image], space: int = SPACE) -> Image.Image:
    """Pictures from left to right, aligned at their upper edges."""
    ends = list(accumulate(picture.width + space for picture in pictures))
    size = (ends[-1] - space, max(picture.height for picture in pictures))
    return pasted(size, *((p, (x, 0)) for p, x in zip(pictures, [0, *ends[:-1]], strict=True)))


def stacked(pictures: Sequence[Image.Image], space: int = SPACE) -> Image.Image:
    """Pictures from top to bottom, aligned on the left."""
    ends = list(accumulate(picture.height + space for picture in pictures))
    size = (max(picture.width for picture in pictures), ends[-1] - space)
    return pasted(size, *((p, (0, y)) for p, y in zip(pictures, [0, *ends[:-1]], strict=True)))


def framed(picture: Image.Image) -> Image.Image:
    """A picture with white around it."""
    size = (picture.width + 2 * SPACE, picture.height + 2 * SPACE)
    return pasted(size, (picture, (SPACE, SPACE)))


def arranged(pictures: Sequence[Image.Image], across: int = 1) -> Image.Image:
    """Pictures row by row, in columns of one width, with white around them."""
    width = max(picture.width for picture in pictures)
    wide = [pasted((width, picture.height), (picture, (0, 0))) for picture in pictures]
    return framed(stacked([beside(wide[k : k + across]) for k in range(0, len(wide), across)]))
