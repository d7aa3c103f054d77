"""Filling a hole with another place of a photograph, where nobody can know what was there.

The place that was chosen is shifted by a few pixels to where its surroundings fit best, and its
colours are moved smoothly to those at the edge of the hole: the difference there is continued into
it by the Laplace equation (Pérez et al. 2003, Poisson image editing, doi 10.1145/882262.882269).
How likely pixels at the edge are for a flow, given all others, says which result fits best.

Letters in shapes: C channels; H, W rows and columns.
"""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import (  # type: ignore[attr-defined]  # which are found when it runs
    binary_dilation,
    binary_erosion,
)
from scipy.sparse import coo_array
from scipy.sparse.linalg import spsolve
from torch import Tensor

from rgflow.cells import Mask
from rgflow.flow import Flow
from rgflow.photographs.pictures import Pixels
from rgflow.photographs.restoring import Around, check_hole

SHIFT, SHIFTS = 6, 3
"""How far in pixels a place may be shifted, and how many of the best shifts are judged."""
MAX_JUDGED = 4096
"""Pixels that a flow judges of one result."""
MAX_COPIED_PIXELS = 200_000
"""Pixels of a hole at the most, for time and memory."""


class Copied(NamedTuple):
    """A photograph with a hole that was filled with another place.

    Attributes:
        image: uint8 [C, H, W].
        how: How it was filled, in words.
        nats: −log of the probability of a pixel at its edge, given all others, on average.
    """

    image: Tensor
    how: str
    nats: float


def copied(flow: Flow, image: Tensor, hole: Mask, down: int, across: int) -> list[Copied]:
    """Fill a hole with another place of a photograph.

    Args:
        flow: A flow of windows, of any size.
        image: uint8 [C, H, W].
        hole: What is missing, [H, W].
        down, across: From each pixel of the hole to the one that is copied, in rows and columns.

    Returns:
        As it is, and blended from the places near it that fit best; the likeliest first.

    Raises:
        ValueError: If the flow is of another kind, or sizes don't fit, or nothing, all or too much
            is missing, or the place reaches outside the photograph or into the hole.

    Example:
        >>> from rgflow import load_flow
        >>> image = torch.arange(60).byte().repeat(3, 40, 1)
        >>> hole = np.zeros((40, 60), dtype=bool)
        >>> hole[10:15, 20:25] = True
        >>> found = copied(load_flow("photos"), image, hole, 0, 20)
        >>> torch.equal(found[0].image, image), found[-1].image[0, 12, 22].item()
        (True, 42)
    """
    hole = check_hole(image, hole)
    if (count := int(hole.sum())) > MAX_COPIED_PIXELS:
        raise ValueError(
            f"Expected at most {MAX_COPIED_PIXELS:,} marked pixels to copy to; got {count:,}: "
            f"unmark some of them."
        )
    pixels, i, j = image.cpu().numpy(), *np.nonzero(hole)
    rim = np.nonzero(binary_dilation(hole) & ~hole)

    def fits(shift: tuple[int, int]) -> bool:
        rows, columns = i + down + shift[0], j + across + shift[1]
        inside = (rows >= 0) & (columns >= 0) & (rows < hole.shape[0]) & (columns < hole.shape[1])
        return bool(inside.all() and not hole[rows, columns].any())

    def misfit(shift: tuple[int, int]) -> float:
        rows = (rim[0] + down + shift[0]).clip(0, hole.shape[0] - 1)
        columns = (rim[1] + across + shift[1]).clip(0, hole.shape[1] - 1)
        off = pixels[:, rows, columns].astype(np.float32) - pixels[:, rim[0], rim[1]]
        return float((off - off.mean(1, keepdims=True)).std())  # blending takes the mean away

    if not fits((0, 0)):
        raise ValueError(
            "Expected a place inside the picture that isn't marked itself; this one is too near "
            "the edge or the marks: choose another."
        )
    each = range(-SHIFT, SHIFT + 1)
    shifts = [one for one in product(each, each) if fits(one)]
    found = []
    for how, one in _ways(sorted(shifts, key=misfit)[:SHIFTS]):
        new = pixels.copy()
        new[:, i, j] = pixels[:, i + down + one[0], j + across + one[1]]
        if how != "as it is":
            new[:, i, j] = _blended(pixels, hole, down + one[0], across + one[1])
        result = torch.from_numpy(new)
        sites = np.argwhere(binary_dilation(hole) & ~binary_erosion(hole))
        judged = sites[:: max(len(sites) // MAX_JUDGED, 1)]
        nats = -Around(flow, result).log_prob(torch.from_numpy(judged)).mean().item()
        found.append(Copied(result, how, nats))
    return sorted(found, key=lambda one: one.nats)


def _ways(shifts: list[tuple[int, int]]) -> Iterator[tuple[str, tuple[int, int]]]:
    """In words, and by how many rows and columns the place is shifted."""
    yield "as it is", (0, 0)
    for down, across in shifts:
        ways = [(across, "right" if across > 0 else "left"), (down, "down" if down > 0 else "up")]
        moved = " and ".join(f"{abs(by)} pixel{'s'[: abs(by) - 1]} {way}" for by, way in ways if by)
        yield "blended" + (f", from {moved} of the place" if moved else ""), (down, across)


def _blended(pixels: Pixels, hole: Mask, down: int, across: int) -> Pixels:
    """The pixels of another place, [C, k], with the difference at the edge of a hole continued."""
    i, j = np.nonzero(hole)
    number = np.full(hole.shape, -1)
    number[i, j] = range(len(i))
    rows, columns = [np.arange(len(i))], [np.arange(len(i))]
    degree, edge = np.zeros(len(i)), np.zeros((len(i), len(pixels)))
    for di, dj in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        y, x = i + di, j + dj
        there = (y >= 0) & (x >= 0) & (y < hole.shape[0]) & (x < hole.shape[1])
        of_y, of_x = y + down, x + across
        there &= (of_y >= 0) & (of_x >= 0) & (of_y < hole.shape[0]) & (of_x < hole.shape[1])
        y, x, of_y, of_x = (one[there] for one in (y, x, of_y, of_x))
        degree[there] += 1
        within = number[y, x]
        rows.append(np.flatnonzero(there)[within >= 0])
        columns.append(within[within >= 0])
        known = within < 0
        off = pixels[:, y, x].astype(float) - pixels[:, of_y, of_x]
        edge[np.flatnonzero(there)[known]] += off[:, known].T
    values = np.concatenate([degree, *(np.full(len(one), -1.0) for one in rows[1:])])
    matrix = coo_array((values, (np.concatenate(rows), np.concatenate(columns)))).tocsc()
    moved = np.atleast_2d(spsolve(matrix, edge).reshape(len(i), -1)).T
    return (pixels[:, i + down, j + across] + moved).round().clip(0, 255).astype(np.uint8)
