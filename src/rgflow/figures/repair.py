"""Repaired images as in the paper's Fig. 8, and several completions of one.

Letters in shapes: N images; D draws; C channels; H, W rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageColor, ImageDraw
from torch import Tensor

from rgflow.figures.charts import INK, RED, SOFT
from rgflow.figures.fields import heat
from rgflow.figures.images import GAP, picture, to_bytes
from rgflow.figures.panels import (
    GUTTER,
    LINE,
    TEXT,
    arranged,
    beside,
    font,
    number,
    panel,
    pasted,
    stacked,
    text_width,
    titled,
)
from rgflow.lattice import Mask, Sites
from rgflow.metrics.images import psnr
from rgflow.text import minus

ACROSS = 8
"""Images side by side."""
MIN_MARGIN = 64
"""Pixels that are shown at least around a repair."""
MAX_EDGE = 640
"""Largest edge of the picture of a repair, in pixels; larger parts are reduced."""


def marked(images: Tensor, masks: Mask) -> Tensor:
    """Images [N, C, H, W] with regions, [H, W] or [N, H, W], painted red: uint8 [N, 3, H, W].

    Raises:
        ValueError: If masks don't fit the images, or there are neither 1 nor 3 channels.
    """
    n, channels, height, width = images.shape
    if channels not in (1, 3):
        raise ValueError(f"Expected images of 1 or 3 channels to draw; got {channels}.")
    regions = torch.tensor(Sites(height=height, width=width).masks(masks, n))[:, None]
    red = torch.tensor(ImageColor.getrgb(RED), dtype=torch.uint8)[:, None, None]
    return torch.where(regions, red, to_bytes(images.detach().cpu()))


def before_after(before: Tensor, after: Tensor, hole: Mask) -> Image.Image:
    """The part of a picture around its repair, before and after, side by side.

    Args:
        before: uint8 [C, H, W], C of 1 or 3.
        after: Like `before`.
        hole: What was repaired, [H, W], at least one pixel.

    Example:
        >>> hole = np.zeros((200, 300), dtype=bool)
        >>> hole[90:110, 40:60] = True
        >>> black = torch.zeros(3, 200, 300, dtype=torch.uint8)
        >>> before_after(black, black + 255, hole).size
        (256, 148)
    """
    part = []
    for edges in np.nonzero(hole):
        first, last = int(edges.min()), int(edges.max()) + 1
        around = max((last - first) // 4, MIN_MARGIN)
        part.append(slice(max(first - around, 0), last + around))
    shown = [picture(image[:, *part]) for image in (before, after)]
    for image in shown:
        image.thumbnail((MAX_EDGE, MAX_EDGE), Image.Resampling.LANCZOS)
    return beside(shown, GUTTER)


def repairs(
    images: Tensor,
    masks: Mask,
    rows: Mapping[str, Tensor],
    *,
    truth: Tensor | None = None,
    scale: int = 3,
) -> Image.Image:
    """Regions of images filled in, by one or more methods (paper, Fig. 8).

    From top to bottom: the truth, the images with their regions painted red, and what each method
    makes of them. Where the truth is given, the PSNR of the region stands below every image, the
    best of several in bold.

    Args:
        images: [N, C, H, W], uint8 or reals in [0, 256); what is in the regions isn't shown.
        masks: The regions, [H, W] or [N, H, W].
        rows: By the name of the method, the images repaired.
        truth: The images as they should be, [N, C, H, W]; None: unknown.

    Raises:
        ValueError: If shapes don't fit, or there are neither 1 nor 3 channels.
    """
    for name, found in rows.items():
        if found.shape != images.shape:
            raise ValueError(
                f"Expected images of shape {list(images.shape)} from {name}; got "
                f"{list(found.shape)}."
            )
    strips = [_Strip("corrupted", marked(images, masks))]
    if truth is None:
        strips += [_Strip(name, found) for name, found in rows.items()]
    else:
        strips.insert(0, _Strip("truth", truth))
        strips += _scored(rows, truth, masks)
    left = (
        max(text_width(label) for strip in strips for label in (strip.label, strip.note)) + GUTTER
    )
    step = -(-len(images) // -(-len(images) // ACROSS))  # in bands of about one length
    bands = [
        stacked([_drawn(strip, slice(k, k + step), left, scale) for strip in strips], GAP)
        for k in range(0, len(images), step)
    ]
    return arranged(bands)


class _Strip(NamedTuple):
    """A row of images, and what is written around it."""

    label: str
    images: Tensor
    captions: Sequence[tuple[str, bool]] = ()
    """Below every image, and whether it is bold."""
    note: str = ""
    """What the captions are."""


def _scored(rows: Mapping[str, Tensor], truth: Tensor, masks: Mask) -> list[_Strip]:
    """Repaired images, with the PSNR of the region below each."""
    values = {name: psnr(found, truth, masks).values for name, found in rows.items()}
    best = [max(column) if len(rows) > 1 else None for column in zip(*values.values(), strict=True)]
    strips = []
    for name, found in rows.items():
        words = ("exact" if x == math.inf else minus(f"{x:.1f}") for x in values[name])
        bold = (x == most for x, most in zip(values[name], best, strict=True))
        captions = list(zip(words, bold, strict=True))
        strips.append(_Strip(name, found, captions, "PSNR of region, dB"))
    return strips


def _drawn(strip: _Strip, part: slice, left: int, scale: int) -> Image.Image:
    """Some of the images of a strip, from `left` on."""
    body = panel(strip.images[None, part], scale=scale)
    size = (left + body.width, body.height + (LINE + GUTTER if strip.captions else 0))
    out = pasted(size, (body, (left, 0)))
    draw = ImageDraw.Draw(out)
    draw.text((left - GUTTER, body.height / 2), strip.label, INK, font(), anchor="rm")
    draw.text((left - GUTTER, body.height + TEXT), strip.note, SOFT, font(), anchor="rs")
    step = strip.images.shape[3] * scale + GAP
    for k, (text, bold) in enumerate(strip.captions[part]):
        at = (left + k * step + (step - GAP) / 2, body.height + TEXT)
        draw.text(at, text, INK, font(bold=bold), anchor="ms")
    return out


def completions(
    image: Tensor,
    mask: Mask,
    draws: Tensor,
    *,
    truth: Tensor | None = None,
    scale: int = 3,
) -> Image.Image:
    """Several completions of one image, and their mean and spread pixel by pixel: the root mean
    square over channels of the standard deviation, in grey levels.

    Args:
        image: [C, H, W], uint8 or reals in [0, 256); what is in the region isn't shown.
        mask: The region, [H, W].
        draws: The completions, [D, C, H, W].
        truth: The image as it should be, [C, H, W]; None: unknown.

    Raises:
        ValueError: If shapes don't fit, or there are neither 1 nor 3 channels.
    """
    values = draws.float()
    deviation = values.std(0, correction=0).double().square().mean(0).sqrt()
    above = {
        "truth": truth,
        "corrupted": marked(image[None], mask)[0],
        "mean": values.mean(0),
        "spread": heat(deviation),
    }
    parts = [
        panel(shown[None, None], scale=scale, columns=[name])
        for name, shown in above.items()
        if shown is not None
    ]
    parts.append(_scale(deviation.max().item(), parts[-1].height))
    bands = [panel(part[None], scale=scale) for part in draws.split(ACROSS)]
    below = titled(f"{len(draws)} completions", stacked(bands, GAP))
    return arranged([beside(parts, GUTTER), below])


def _scale(highest: float, height: int) -> Image.Image:
    """The colours of a map below a label, from 0 to the highest number of grey levels."""
    text = f"{number(highest)} grey levels"
    shades = torch.linspace(1, 0, height - LINE)[:, None].expand(-1, GUTTER)
    size = (2 * GUTTER + text_width(text), height)
    out = pasted(size, (picture(heat(shades)), (0, LINE)))
    draw = ImageDraw.Draw(out)
    draw.text((2 * GUTTER, LINE), text, INK, font(), anchor="lt")
    draw.text((2 * GUTTER, height), "0", INK, font(), anchor="lb")
    return out
