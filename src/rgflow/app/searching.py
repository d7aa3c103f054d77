"""Looking for what is unusual in large photographs, strip by strip, as whole ones take long.

Letters in shapes: C channels; H, W rows and columns.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import (  # type: ignore[attr-defined]  # which is found when it runs
    distance_transform_cdt,
)
from skimage.measure import label

from rgflow.app.album import Pixels
from rgflow.cells import Mask
from rgflow.flow import Flow
from rgflow.photographs import damage
from rgflow.photographs.restoring import Around

Part = tuple[slice, slice]
"""Rows and columns."""
STRIP, LEAST, RIM = 1 << 20, 256, 64
"""Pixels of a strip; its height is a multiple of this one; and the rows seen above and below it."""
THICK = 16
"""Distance from the edge that no pixel of a scratch has."""


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

    A strip may hold a corner of something large, such as an overexposed sky, which looks like a
    lost block then. So what goes on outside and isn't as narrow as a scratch is left out.

    Args:
        flow: Of photographs.
        pixels: The photograph, [C, H, W].
        rows, columns: The region.
        odd, loss: As for `find_damage`.
        progress: Called with the share of the work that is done.
    """
    for own, wide, inside, share in _strips(pixels, rows, columns, progress):
        image = torch.from_numpy(pixels[:, *wide].copy())
        found = damage.find_damage(flow, image, odd=odd, loss=loss, progress=share).found
        yield own, _within(found, wide, pixels.shape[1:])[inside]


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
    for own, wide, inside, share in _strips(pixels, rows, columns, progress):
        image = torch.from_numpy(pixels[:, *wide].copy())
        excess = Around(flow, image).excess_map(share).float().numpy()[inside]
        rest = [(0, -size % edge) for size in excess.shape]
        excess = np.pad(excess, rest, constant_values=-np.inf)
        yield own, excess.reshape(excess.shape[0] // edge, edge, -1, edge).max((1, 3))


def _strips(
    pixels: Pixels, rows: slice, columns: slice, progress: Callable[[float], None]
) -> Iterator[tuple[slice, Part, Part, Callable[[float], None]]]:
    """Rows of every strip, the same with what surrounds it, where in this it is, and what takes the
    share of it that is done."""
    high = max(STRIP // (columns.stop - columns.start) // LEAST, 1) * LEAST
    for start in range(rows.start, rows.stop, high):
        own = slice(start, min(start + high, rows.stop))

        def share(of_strip: float, own: slice = own) -> None:
            done = own.start - rows.start + of_strip * (own.stop - own.start)
            progress(done / (rows.stop - rows.start))

        wide, inside = around(pixels, own, columns, RIM)
        yield own, wide, inside, share
        share(1)  # as a search without finds ends early


def around(
    pixels: Pixels, rows: slice, columns: slice, rim: int, step: int = 1
) -> tuple[Part, Part]:
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


def _within(found: Mask, wide: Part, size: tuple[int, ...]) -> Mask:
    """What was found in a part of a photograph of some size, without what is thick and reaches an
    edge of the part behind which the photograph goes on."""
    names, edges = label(found, connectivity=2), [np.zeros(1, dtype=int)]
    for axis, (of, end) in enumerate(zip(wide, size, strict=True)):
        lines = np.moveaxis(names, axis, 0)
        edges += [lines[0]] if of.start > 0 else []
        edges += [lines[-1]] if of.stop < end else []
    thick = names[distance_transform_cdt(found, "chessboard") > THICK]
    return np.asarray(found & ~np.isin(names, np.intersect1d(thick, np.concatenate(edges))))
