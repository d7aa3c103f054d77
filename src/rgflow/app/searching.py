"""Looking for what is unusual in large photographs, strip by strip, as whole ones take long.

Letters in shapes: C channels; H, W rows and columns.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.measure import label
from torch import Tensor

from rgflow.app.album import Pixels
from rgflow.cells import Mask
from rgflow.flow import Flow
from rgflow.photographs import damage
from rgflow.photographs.restoring import Around

STRIP, LEAST, RIM = 1 << 20, 256, 40
"""Pixels of a strip; its height is a multiple of this one; and the rows seen above and below it."""


def searched(
    flow: Flow,
    pixels: Pixels,
    rows: slice,
    columns: slice,
    odd: float,
    loss: float,
    progress: Callable[[float], None],
) -> Iterator[tuple[slice, Mask]]:
    """Rows of a region and what is damaged in them, strip by strip
    (`rgflow.photographs.damage.find_damage`).

    Large areas of one colour, such as overexposed skies, are not damage. In a strip they may be
    small, so this is judged by the whole photograph.

    Args:
        flow: Of photographs.
        pixels: The photograph, [C, H, W].
        rows, columns: The region.
        odd, loss: As for `find_damage`.
        progress: Called with the share of the work that is done.
    """
    large = _large(pixels)
    for own, image, inside, share in _strips(pixels, rows, columns, progress):
        found = damage.find_damage(flow, image, odd=odd, loss=loss, progress=share).found
        yield own, found[inside] & ~large[own, columns]


def surprises(
    flow: Flow,
    pixels: Pixels,
    rows: slice,
    columns: slice,
    zoom: int,
    progress: Callable[[float], None],
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Rows of a region and how much less likely than usual their pixels are, in nats, strip by
    strip; the maximum over squares of 2^zoom×2^zoom pixels. Arguments are those of `searched`."""
    edge = 1 << zoom
    for own, image, inside, share in _strips(pixels, rows, columns, progress):
        excess = Around(flow, image).excess_map(share).float().numpy()[inside]
        rest = [(0, -size % edge) for size in excess.shape]
        excess = np.pad(excess, rest, constant_values=-np.inf)
        yield own, excess.reshape(excess.shape[0] // edge, edge, -1, edge).max((1, 3))


def _strips(
    pixels: Pixels, rows: slice, columns: slice, progress: Callable[[float], None]
) -> Iterator[tuple[slice, Tensor, tuple[slice, slice], Callable[[float], None]]]:
    """Rows of every strip, its pixels with those around it, where in these it is, and what takes
    the share of it that is done."""
    high = max(STRIP // (columns.stop - columns.start) // LEAST, 1) * LEAST
    for start in range(rows.start, rows.stop, high):
        own = slice(start, min(start + high, rows.stop))

        def share(of_strip: float, own: slice = own) -> None:
            done = own.start - rows.start + of_strip * (own.stop - own.start)
            progress(done / (rows.stop - rows.start))

        wide, inside = around(pixels, own, columns, RIM)
        yield own, torch.from_numpy(pixels[:, *wide].copy()), inside, share


def around(
    pixels: Pixels, rows: slice, columns: slice, rim: int, step: int = 1
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """A region with its surroundings, on whose pixels it depends, and where in these it is.

    Args:
        pixels: The photograph, [C, H, W].
        rows, columns: The region.
        rim: Width of its surroundings.
        step: Of which they start at a multiple.
    """
    wide, inside = [], []
    for of, size in zip((rows, columns), pixels.shape[1:], strict=True):
        start = max(of.start - rim, 0) // step * step
        wide.append(slice(start, min(of.stop + rim, size)))
        inside.append(slice(of.start - start, of.stop - start))
    return (wide[0], wide[1]), (inside[0], inside[1])


def _large(pixels: Pixels) -> Mask:
    """Areas of exactly one colour that are too large to be damage, [H, W]."""
    code = np.zeros(pixels.shape[1:], dtype=np.int32)
    for channel in pixels:
        code = code << 8 | channel
    found = np.zeros(code.shape, dtype=bool)
    some = code[::8, ::8]
    colours, counts = np.unique(some, return_counts=True)
    for colour in colours[counts > damage.LARGEST / 2 * some.size]:
        names = label(code == colour, connectivity=2)
        sizes = np.bincount(names.ravel())
        sizes[0] = 0  # where there is another colour
        found |= (sizes > damage.LARGEST * code.size)[names]
    return found
