"""Parts of large photographs with what surrounds them, so that each gives what the whole one would.

Letters in shapes: C channels; H, W rows and columns; h, w those of a part.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rgflow.photographs.detector import RIM, UNIT

Part = tuple[slice, slice]
"""Rows and columns."""
STRIP_PIXELS, STRIP_UNIT = 1 << 20, 256
"""Pixels of a strip, and the unit of its height in rows."""


def strips(
    pixels: NDArray[np.uint8], rows: slice, columns: slice, progress: Callable[[float], None]
) -> Iterator[tuple[slice, Tensor, Part, Callable[[float], None]]]:
    """Cut a region of a photograph into strips.

    Args:
        pixels: The photograph, [C, H, W].
        rows, columns: The region.
        progress: Called with the share of the work that is done.

    Yields:
        The rows of a strip; its pixels with their surroundings, [C, h, w]; its place in these; and
        a callback for the share of it that is done.
    """
    high = max(STRIP_PIXELS // (columns.stop - columns.start) // STRIP_UNIT, 1) * STRIP_UNIT
    for start in range(rows.start, rows.stop, high):
        strip = slice(start, min(start + high, rows.stop))

        def share(of_strip: float, strip: slice = strip) -> None:
            done = strip.start - rows.start + of_strip * (strip.stop - strip.start)
            progress(done / (rows.stop - rows.start))

        wide, inside = around(pixels, strip, columns, RIM, UNIT)
        yield strip, torch.from_numpy(pixels[:, *wide].copy()), inside, share


def around(
    pixels: NDArray[np.uint8], rows: slice, columns: slice, rim: int, step: int = 1
) -> tuple[Part, Part]:
    """A region with its surroundings.

    Args:
        pixels: The photograph, [C, H, W].
        rows, columns: The region.
        rim: Width of the surroundings.
        step: The part starts at a multiple of this.

    Returns:
        Rows and columns of the part, and those of the region in it.
    """
    wide, inside = [], []
    for of, size in zip((rows, columns), pixels.shape[1:], strict=True):
        start = max(of.start - rim, 0) // step * step
        wide.append(slice(start, min(of.stop + rim, size)))
        inside.append(slice(of.start - start, of.stop - start))
    return (wide[0], wide[1]), (inside[0], inside[1])
