"""Repaired images as in the paper's Fig. 8, and how they were found.

Letters in shapes: N images; R restarts; T steps; D draws; C channels; H, W rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw
from torch import Tensor

from rgflow.figures.charts import INK, RED, SOFT, blank, plain, rendered
from rgflow.figures.curves import BLUE
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
from rgflow.figures.traversals import signed
from rgflow.lattice import Mask, Sites
from rgflow.metrics.images import psnr
from rgflow.text import minus

ACROSS, CURVES_ACROSS = 8, 3
"""Images, and charts, side by side."""
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
    best of several in bold, and the differences to the truth follow.

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
        strips += _scored(rows, truth, masks) + _differences(rows, truth)
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
    heading: str = ""


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


def _differences(rows: Mapping[str, Tensor], truth: Tensor) -> list[_Strip]:
    """Repaired images less the truth, all on one scale."""
    expected = to_bytes(truth.detach().cpu()).int()
    changes = {
        name: to_bytes(found.detach().cpu()).int() - expected for name, found in rows.items()
    }
    limit = max((int(change.abs().max()) for change in changes.values()), default=0) or 1
    strips = [_Strip(name, signed(change, limit)) for name, change in changes.items()]
    heading = f"difference from the truth, from −{limit} (black) to {limit} (white)"
    return [strip._replace(heading=heading) for strip in strips[:1]] + strips[1:]


def _drawn(strip: _Strip, part: slice, left: int, scale: int) -> Image.Image:
    """Some of the images of a strip, from `left` on."""
    body = panel(strip.images[None, part], scale=scale)
    top = LINE if strip.heading else 0
    bottom = top + body.height
    width = left + max(body.width, text_width(strip.heading))
    size = (width, bottom + (LINE + GUTTER if strip.captions else 0))
    out = pasted(size, (body, (left, top)))
    draw = ImageDraw.Draw(out)
    draw.text((left, TEXT), strip.heading, SOFT, font(), anchor="ls")
    draw.text((left - GUTTER, top + body.height / 2), strip.label, INK, font(), anchor="rm")
    draw.text((left - GUTTER, bottom + TEXT), strip.note, SOFT, font(), anchor="rs")
    step = strip.images.shape[3] * scale + GAP
    for k, (text, bold) in enumerate(strip.captions[part]):
        at = (left + k * step + (step - GAP) / 2, bottom + TEXT)
        draw.text(at, text, INK, font(bold=bold), anchor="ms")
    return out


def completions(
    image: Tensor,
    mask: Mask,
    draws: Tensor,
    mean: Tensor,
    spread: Tensor,
    *,
    truth: Tensor | None = None,
    scale: int = 3,
) -> Image.Image:
    """Several completions of one image, and their mean and spread pixel by pixel.

    Args:
        image: [C, H, W], uint8 or reals in [0, 256); what is in the region isn't shown.
        mask: The region, [H, W].
        draws: Completions to show, [D, C, H, W].
        mean: Of all completions, [C, H, W].
        spread: Their standard deviation in grey levels, [C, H, W]; of it, the root mean square
            over channels is shown.
        truth: The image as it should be, [C, H, W]; None: unknown.

    Raises:
        ValueError: If shapes don't fit, or there are neither 1 nor 3 channels.
    """
    deviation = spread.double().square().mean(0).sqrt()
    above = {
        "truth": truth,
        "corrupted": marked(image[None], mask)[0],
        "mean": mean,
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


def optimisation(curves: Tensor) -> Image.Image:
    """Log-likelihoods while regions are filled in: every restart, and the best of each image.

    Args:
        curves: log p in nats, [N, R, T], one value per step; NaN once a restart has stopped.

    Raises:
        ValueError: If an image has no finite value.
    """
    values = curves.detach().cpu().double().numpy()
    finite = np.where(np.isfinite(values), values, -np.inf)
    if (finite.max((1, 2)) == -np.inf).any():
        raise ValueError("Expected a finite log-likelihood of every image; got none.")
    across = min(CURVES_ACROSS, len(values))
    down = -(-len(values) // across)
    figure = blank(0.4 + 3 * across, 0.4 + 2.3 * down)
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat[len(values) :]:
        axes.set_axis_off()
    _, restarts, steps = values.shape
    for k, axes in enumerate(grid.flat[: len(values)]):
        restart, step = divmod(int(finite[k].argmax()), steps)
        axes.plot(np.delete(values[k], restart, 0).T, color=SOFT, lw=0.8, alpha=0.7)
        axes.plot(values[k, restart], color=BLUE, lw=1.8)
        most = values[k, restart, step]
        axes.plot(step, most, "o", color=BLUE, ms=5)
        side = "right" if step > steps / 3 else "left"
        near: dict[str, Any] = {
            "xytext": (0, 5),
            "textcoords": "offset points",
            "ha": side,
            "weight": "bold",
        }
        axes.annotate(minus(f"{most:.0f}"), (step, most), color=BLUE, **near)
        axes.set_ylim(*_limits(finite[k]))
        title = f"image {k + 1}"
        title += f", best of {restarts} restarts" if restarts > 1 else ""
        axes.set_title(title, loc="left", color=INK, fontsize=11)
        below, left = k + across >= len(values), k % across == 0
        plain(axes, "step" * below, "log p, nats" * left)
    figure.tight_layout()
    return rendered(figure)


def _limits(curves: NDArray[np.float64]) -> tuple[float, float]:
    """Limits for all but the first steps, in which log p rises from far below."""
    last = np.flatnonzero(np.isfinite(curves).any(0))[-1] + 1
    late = curves[:, last // 10 : last]
    low, high = np.quantile(late[np.isfinite(late)], 0.02), curves.max()
    margin = 0.08 * (high - low) or 1.0
    return low - margin, high + 2 * margin
