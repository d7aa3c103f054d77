"""Pictures: images in grids, the stages of progressive generation, learning curves.

Letters in shapes: N images; C channels (1 or 3 make a picture); H, W rows and columns.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from rgflow.files import replacing

GAP = 2
"""Pixels between two images of a grid."""
BLUE, ORANGE, GREY = "#1f6fb4", "#c8500a", "#888888"
"""Colours of learning curves: training, validation, events."""


def to_bytes(images: Tensor) -> Tensor:
    """Reals in [0, 256) to uint8: the integer below, and the nearest where they lie outside.

    Example:
        >>> to_bytes(torch.tensor([-3.0, 7.9, 300.0]))
        tensor([  0,   7, 255], dtype=torch.uint8)
    """
    return images.floor().clamp(0, 255).to(torch.uint8)


def bounds(fields: Tensor) -> tuple[float, float]:
    """Values between which real-valued fields are shaded: all but the lowest and the highest 1 %.

    Example:
        >>> bounds(torch.arange(101.0))
        (1.0, 99.0)
    """
    low, high = np.quantile(fields.detach().cpu().numpy(), (0.01, 0.99))
    return float(low), float(high)


def shaded(fields: Tensor, low: float, high: float) -> Tensor:
    """Real-valued fields as uint8: linear from `low` (0, black) to `high` (255, white).

    Example:
        >>> shaded(torch.tensor([-1.0, 0.5, 1.0, 7.0]), 0.0, 1.0)
        tensor([  0, 127, 255, 255], dtype=torch.uint8)
    """
    return to_bytes((fields - low) / max(high - low, 1e-30) * 255)


def picture(image: Tensor) -> Image.Image:
    """A picture of one image, pixel by pixel.

    Args:
        image: [C, H, W], uint8 or reals in [0, 256).

    Raises:
        ValueError: If there are neither 1 nor 3 channels.
    """
    x = _drawable(image[None])[0].permute(1, 2, 0).numpy()
    return Image.fromarray(x.squeeze(2) if x.shape[2] == 1 else x)


def grid(images: Tensor, columns: int | None = None, scale: int = 2) -> Image.Image:
    """One picture of many images, row by row.

    Args:
        images: [N, C, H, W], uint8 or reals in [0, 256).
        columns: Images in a row; none: as square as it gets.
        scale: Each pixel is drawn as scale × scale pixels.

    Raises:
        ValueError: If there are neither 1 nor 3 channels.
    """
    n, _, height, width = images.shape
    x = _drawable(images).repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    h, w = height * scale + GAP, width * scale + GAP
    canvas = torch.full((3, rows * h + GAP, columns * w + GAP), 40, dtype=torch.uint8)
    for k, image in enumerate(x):
        y, z = GAP + k // columns * h, GAP + k % columns * w
        canvas[:, y : y + h - GAP, z : z + w - GAP] = image
    return Image.fromarray(canvas.permute(1, 2, 0).numpy())


def _drawable(images: Tensor) -> Tensor:
    """Images as uint8 on the CPU, if they make a picture."""
    channels = images.shape[1]
    if channels not in (1, 3):
        raise ValueError(f"Expected images of 1 or 3 channels to draw; got {channels}.")
    return (images if images.dtype == torch.uint8 else to_bytes(images)).detach().cpu()


def stages(images: Sequence[Tensor], scale: int = 2) -> Image.Image:
    """Progressive generation as in the paper's Fig. 5a: one row per image, coarse to fine.

    Args:
        images: x^(h) of every level, x^(0) first: [N, C, H/2^h, W/2^h], as `RGFlow.coarse` gives.
        scale: Each pixel of the finest image is drawn as scale × scale pixels.
    """
    same_size = [
        _drawable(x).repeat_interleave(1 << h, 2).repeat_interleave(1 << h, 3)
        for h, x in enumerate(images)
    ]
    rows = torch.stack(same_size[::-1], 1).flatten(0, 1)
    return grid(rows, columns=len(images), scale=scale)


def learning_curve(log: Sequence[dict[str, Any]], unit: str, path: Path) -> None:
    """Draw the log of a run as a PNG: training, validations with their errors, and events.

    Args:
        log: Entries as in `log.jsonl`: of steps (`nll`, or null where a step was skipped), of
            validations (`validation_nll`, `standard_error`), of what else happened (`event`).
        unit: What the negative log-likelihoods are in.
        path: The file to write.

    Raises:
        OSError: If it can't be written.
    """
    # Matplotlib takes its time to import, and most who come here want something else.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=100, layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel=unit)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.01)
    training = _columns(log, "nll")
    validation = _columns(log, "validation_nll", "standard_error")
    ends = []
    if len(training):
        steps, values = training.T
        smooth = _smoothed(values)
        axes.plot(steps, values, color=BLUE, alpha=0.25, linewidth=0.8)
        axes.plot(steps, smooth, color=BLUE, linewidth=1.8)
        ends.append(("training", smooth[-1], BLUE))
    if len(validation):
        steps, values, errors = validation.T
        axes.errorbar(steps, values, errors, color=ORANGE, marker="o", markersize=4, capsize=2)
        ends.append(("validation", values[-1], ORANGE))
    if ends:
        low, high = _limits(training, validation)
        axes.set_ylim(low, high)
        heights = _apart([(value - low) / (high - low) for _, value, _ in ends])
        for (name, value, color), height in zip(ends, heights, strict=True):
            text = f"{name}\n{value:.3f}"
            axes.text(1.01, height, text, color=color, va="center", transform=axes.transAxes)
    for entry in log:
        if "event" in entry:
            axes.axvline(entry["step"], color=GREY, linewidth=0.8, zorder=0)
            axes.text(
                entry["step"],
                0.99,
                shorten(str(entry["event"]), 32, placeholder=" …"),
                color=GREY,
                fontsize=8,
                ha="right",
                va="top",
                rotation=90,
                transform=axes.get_xaxis_transform(),
            )
    with replacing(path) as part:
        figure.savefig(part, format="png")


def _columns(log: Sequence[dict[str, Any]], *names: str) -> NDArray[np.float64]:
    """Step and some values of the entries that have the first of them, [entries, 1 + values]."""
    rows = [
        [entry["step"], *(entry.get(name) or 0.0 for name in names)]
        for entry in log
        if entry.get(names[0]) is not None
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 1 + len(names))


def _smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over 2 % of all values, centred."""
    window = np.ones(max(1, len(values) // 50))
    return np.convolve(values, window, "same") / np.convolve(values * 0 + 1, window, "same")


def _limits(*curves: NDArray[np.float64]) -> tuple[float, float]:
    """Limits for all but the first tenth of the steps, in which a flow learns the coarsest."""
    last = max(curve[-1, 0] for curve in curves if len(curve))
    late = np.concatenate([curve[curve[:, 0] >= last / 10, 1] for curve in curves])
    low, high = np.quantile(late, (0.001, 0.999))
    margin = 0.05 * (high - low) or 0.5
    return float(low - margin), float(high + margin)


def _apart(heights: list[float], least: float = 0.13) -> list[float]:
    """Heights of one or two labels, moved apart where they would overlap."""
    if len(heights) < 2 or abs(heights[0] - heights[1]) >= least:
        return heights
    middle, up = sum(heights) / 2, 1 if heights[0] >= heights[1] else -1
    return [middle + up * least / 2, middle - up * least / 2]
