"""Search of large photographs for what is unusual, strip by strip, as whole ones take long.

Letters in shapes: C channels; H, W rows and columns.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from rgflow.app.project import Part, Pixels
from rgflow.flow import Flow
from rgflow.photographs import damage, detector
from rgflow.photographs.restoring import Around

STRIP_PIXELS, STRIP_UNIT, STRIP_RIM = 1 << 20, 256, detector.RIM
"""Pixels of a strip, the unit of its height in rows, and the rows read above and below it."""


def searched(
    pixels: Pixels,
    rows: slice,
    columns: slice,
    sensitivity: float,
    progress: Callable[[float], None],
) -> Iterator[tuple[slice, damage.Damage]]:
    """Find damage strip by strip, by `rgflow.photographs.damage.find_damage`.

    Args:
        pixels: The photograph, [C, H, W].
        rows, columns: The region.
        sensitivity: As for `find_damage`.
        progress: Called with the share of the work that is done.

    Yields:
        The rows of a strip, and what is damaged in it, [h, w].
    """
    for strip, wide, inside, share in _strips(pixels, rows, columns, progress):
        image = torch.from_numpy(pixels[:, *wide].copy())
        found = damage.find_damage(image, sensitivity=sensitivity, progress=share)
        yield strip, damage.Damage(found.found[inside], found.probability[inside])


def surprises(
    flow: Flow,
    pixels: Pixels,
    rows: slice,
    columns: slice,
    zoom: int,
    progress: Callable[[float], None],
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Find how much less likely than usual pixels are, strip by strip.

    Args:
        flow: A flow of photographs.
        pixels, rows, columns, progress: As for `searched`.
        zoom: The maximum is taken over squares of 2^zoom×2^zoom pixels.

    Yields:
        The rows of a strip, and nats, [⌈h/2^zoom⌉, ⌈w/2^zoom⌉].
    """
    edge = 1 << zoom
    for strip, wide, inside, share in _strips(pixels, rows, columns, progress):
        image = torch.from_numpy(pixels[:, *wide].copy())
        excess = Around(flow, image).excess_map(share).float().numpy()[inside]
        rest = [(0, -size % edge) for size in excess.shape]
        excess = np.pad(excess, rest, constant_values=-np.inf)
        yield strip, excess.reshape(excess.shape[0] // edge, edge, -1, edge).max((1, 3))


def _strips(
    pixels: Pixels, rows: slice, columns: slice, progress: Callable[[float], None]
) -> Iterator[tuple[slice, Part, Part, Callable[[float], None]]]:
    """For every strip: its rows, the part with its surroundings, the place of the strip in that
    part, and a callback for the share of it that is done."""
    high = max(STRIP_PIXELS // (columns.stop - columns.start) // STRIP_UNIT, 1) * STRIP_UNIT
    for start in range(rows.start, rows.stop, high):
        strip = slice(start, min(start + high, rows.stop))

        def share(of_strip: float, strip: slice = strip) -> None:
            done = strip.start - rows.start + of_strip * (strip.stop - strip.start)
            progress(done / (rows.stop - rows.start))

        wide, inside = around(pixels, strip, columns, STRIP_RIM, detector.UNIT)
        yield strip, wide, inside, share


def around(
    pixels: Pixels, rows: slice, columns: slice, rim: int, step: int = 1
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
