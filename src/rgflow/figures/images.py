"""Images as pictures: in grids, from coarse to fine; real-valued fields shaded.

Letters in shapes: N images; C channels (1 or 3 make a picture); H, W rows and columns.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

GAP = 2
"""Pixels between two images of a grid."""


def to_bytes(images: Tensor) -> Tensor:
    """Reals in [0, 256) to uint8: the integer below, and the nearest where they lie outside.

    Example:
        >>> to_bytes(torch.tensor([-3.0, 7.9, 300.0]))
        tensor([  0,   7, 255], dtype=torch.uint8)
    """
    return images.floor().clamp(0, 255).to(torch.uint8)


def bounds(fields: Tensor) -> tuple[float, float]:
    """Values between which real-valued fields, [N, C, H, W], are shaded: all but the lowest and
    the highest 1 %.

    Example:
        >>> bounds(torch.arange(101.0))
        (1.0, 99.0)
    """
    low, high = np.quantile(fields.detach().cpu().numpy(), (0.01, 0.99))
    return float(low), float(high)


def shaded(fields: Tensor, low: float, high: float) -> Tensor:
    """Real-valued fields in grey levels: linear from `low` (0, black) to `high` (255, white).

    What lies beyond stays beyond, as differences are measured too; pictures cut it off.

    Example:
        >>> shaded(torch.tensor([-1.0, 0.5, 1.0, 7.0]), 0.0, 1.0).tolist()
        [-255.0, 127.5, 255.0, 1785.0]
    """
    return (fields - low) / max(high - low, 1e-30) * 255


def picture(image: Tensor) -> Image.Image:
    """A picture of one image [C, H, W], pixel by pixel."""
    x = _drawable(image[None])[0].permute(1, 2, 0).numpy()
    return Image.fromarray(x.squeeze(2) if x.shape[2] == 1 else x)


def grid(images: Tensor, columns: int | None = None, scale: int = 2) -> Image.Image:
    """One picture of many images [N, C, H, W], row by row, in so many columns or as square as it
    gets."""
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


def pixel_size(columns: int, width: int = 64) -> int:
    """How large to draw a pixel, for an image of some columns to be about so many pixels wide.

    Example:
        >>> pixel_size(32), pixel_size(32, 96), pixel_size(256)
        (2, 3, 1)
    """
    return max(1, round(width / columns))


def enlarged(images: Sequence[Tensor]) -> Tensor:
    """Images of every level, each as large as the finest, [N, levels, C, H, W].

    Args:
        images: Of every level, the finest first: [N, C, H/2^h, W/2^h], sizes rounded up.

    Example:
        >>> enlarged([torch.zeros(2, 3, 5, 7), torch.zeros(2, 3, 3, 4)]).shape
        torch.Size([2, 2, 3, 5, 7])
    """
    height, width = images[0].shape[2:]
    large = [
        x.repeat_interleave(1 << h, 2)[:, :, :height].repeat_interleave(1 << h, 3)[..., :width]
        for h, x in enumerate(images)
    ]
    return torch.stack(large, 1)
