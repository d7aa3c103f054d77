"""Damage of films by their infrared scans, to which dyes are clear, and dust and scratches dark.

Of films with silver, such as most black and white ones, and of prints, infrared shows the picture
as well: there it is of no use.

Letters in shapes: H, W rows and columns.
"""

import math
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation, median_filter  # type: ignore[attr-defined]

from rgflow.cells import Mask
from rgflow.data.images import Pixels
from rgflow.data.opening import MAX_PIXELS, decoded, flat, fourth, picture_file
from rgflow.photographs.damage import SENSITIVITY

BLOCK = 16
"""Pixels along the edge of squares, each of which has one brightness without damage."""
UNCERTAIN = 6.5
"""By how many standard deviations a pixel is darker where it is as probably damaged as not."""
LEAST_NOISE = 0.015
"""The least standard deviation, as a share of the brightness."""


def read_infrared(file: Path | BinaryIO, size: tuple[int, int]) -> Pixels:
    """Read an infrared scan, [H, W]: a grey picture file, or the fourth channel or the second page
    of a colour scan, as programs for scanners store them.

    Args:
        file: The file.
        size: Rows and columns that it must have.

    Raises:
        FileNotFoundError: If it isn't there.
        ValueError: If it can't be read, is in colour, or has another size.
    """
    with picture_file(file, max(MAX_PIXELS, math.prod(size))) as found:
        has, image = found.size, None
        if sorted(has) == sorted(size):  # or else it isn't decoded
            image = fourth(found)
            if not image and found.mode == "RGB" and getattr(found, "n_frames", 1) > 1:
                found.seek(1)
                has = found.size
        grey = image or found.mode in ("L", "I;16", "I;16B", "I")
        if grey and sorted(has) == sorted(size):
            image = image or flat(decoded(found)[0], (0, 0, 0))
            has = image.size
    name = getattr(file, "name", file)
    if not grey and sorted(has) == sorted(size):
        raise ValueError(
            "Expected an infrared scan: grey, or the fourth channel or second page of a scan in "
            f"colour; {name} has none."
        )
    if has != size[::-1]:
        raise ValueError(
            f"Expected an infrared scan of {size[1]}×{size[0]} pixels, like the picture; {name} "
            f"has {has[0]}×{has[1]}."
        )
    return np.asarray(image)


def damage_in(infrared: Pixels, *, sensitivity: float = SENSITIVITY) -> Mask:
    """Where an infrared scan shows damage, with a pixel around it, [H, W].

    Args:
        infrared: The scan, uint8 [H, W], dark where there is damage.
        sensitivity: As for `rgflow.photographs.damage.find_damage`.

    Example:
        >>> scan = np.full((60, 60), 200, dtype=np.uint8)
        >>> scan[30, 20:40] = 90
        >>> damage_in(scan).sum(), damage_in(scan)[29:32, 19:41].all()
        (np.int64(66), np.True_)
    """
    light = _brightness(infrared)
    lack = 1 - infrared / np.maximum(light, 1)
    noise = max(1.4826 * float(np.median(np.abs(lack))), LEAST_NOISE)
    square = (np.maximum(lack, 0) / noise / UNCERTAIN) ** 2
    probability = (square / (1 + square)).astype(np.float32)
    return np.asarray(binary_dilation(probability > 1 - sensitivity, np.ones((3, 3))))


def _brightness(infrared: Pixels) -> NDArray[np.float32]:
    """What the scan would be like without damage: smooth, [H, W]."""
    height, width = infrared.shape
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    padded = np.pad(infrared, [(0, rows * BLOCK - height), (0, columns * BLOCK - width)], "reflect")
    blocks = padded.reshape(rows, BLOCK, columns, BLOCK).swapaxes(1, 2).reshape(rows, columns, -1)
    middle = median_filter(np.quantile(blocks, 0.6, axis=2), 5)
    large = Image.fromarray(middle.astype(np.float32)).resize(
        (columns * BLOCK, rows * BLOCK), Image.Resampling.BICUBIC
    )
    return np.asarray(large)[:height, :width]
