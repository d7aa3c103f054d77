"""A first guess of missing pixels: what has few waves in every small window.

In a small window a photograph is nearly a sum of few waves, and those that known pixels show
continue into a hole. In turns, the weak waves of every window are left out, what is missing becomes
the mean of the windows over it, and fewer waves count as weak (Guleryuz 2006, "Nonlinear
approximation based image recovery using adaptive sparse reconstructions and iterated denoising",
IEEE Trans. Image Process. 15, 539–571). Nothing is learned.

Letters in shapes: C channels; H, W rows and columns; k windows; s pixels of a window.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.fft import dct
from scipy.ndimage import (  # type: ignore[attr-defined]  # which are found when it runs
    distance_transform_edt,
    find_objects,
    label,
    maximum_filter,
)
from torch import Tensor

from rgflow.cells import Mask

WINDOW, STEP = 32, 12
"""Edge of a window, and pixels from one to the next; every turn has others. These and the other
numbers were chosen on photographs of wallpapers that no model learned from."""
WEAK, TURNS = (150.0, 1.5), 32
"""Magnitudes below which a wave is weak, first and last, in levels, and in how many turns they fall
from one to the other."""
SPECK = 16
"""Pixels of a part of a hole up to which windows of half the edge are better, in half of the
turns."""
SQUARE, AT_ONCE = 256, 1 << 17
"""Edge of the squares in which a photograph is filled, and pixels of the windows that are computed
together, few enough for the cache of a processor."""


@torch.no_grad()
def spectral(
    image: Tensor, hole: Mask, *, progress: Callable[[float], None] | None = None
) -> Tensor:
    """Fill a hole with few waves.

    Args:
        image: uint8 [C, H, W]; what it holds inside the hole has no influence.
        hole: What is missing, [H, W], not everything.
        progress: Called with the share of the work that is done.

    Returns:
        The photograph, uint8 [C, H, W].

    Example:
        >>> waves = 100 + 50 * torch.sin(torch.arange(80) * 0.7)
        >>> image = waves.round().byte().repeat(3, 60, 1)
        >>> hole = np.zeros((60, 80), dtype=bool)
        >>> hole[20:30, 30:40] = True
        >>> int((spectral(image, hole).int() - image.int()).abs().max()) < 10
        True
    """
    names, done = label(hole)[0], 0
    specks = hole & (np.bincount(names.ravel()) <= SPECK)[names]
    every = int(hole.sum())
    # Specks first, beside what else is missing; then they are known.
    for own, missing, edge in (
        (specks, hole, WINDOW // 2),
        (hole & ~specks, hole & ~specks, WINDOW),
    ):
        count = int(own.sum())

        def tell(share: float, count: int = count, done: int = done) -> None:
            if progress:
                progress((done + share * count) / every)

        image = _by_squares(image, own, missing, edge, tell)
        done += count
    return image


def _by_squares(
    image: Tensor, own: Mask, missing: Mask, edge: int, progress: Callable[[float], None]
) -> Tensor:
    """A photograph [C, H, W], filled where pixels are missing and `own`, by windows of an edge."""
    out = image.clone()
    rows, columns = (np.arange(size) // SQUARE for size in own.shape)
    names = own * (1 + rows[:, None] * (columns[-1] + 1) + columns)
    every = [(number + 1, box) for number, box in enumerate(find_objects(names)) if box]
    threads = torch.get_num_threads()
    workers = min(threads, len(every)) or 1

    def fill(square: tuple[int, tuple[slice, ...]]) -> tuple[tuple[slice, ...], Mask, Tensor]:
        name, box = square
        part, margin = box, 0
        while not margin or missing[part].all():  # inside of a large hole nothing is known
            margin = 2 * margin or edge
            part = tuple(slice(max(of.start - margin, 0), of.stop + margin) for of in box)
        inside = names[part] == name
        return part, inside, _filled(image[:, *part].cpu(), missing[part], inside, edge)

    # Squares side by side, as the operations of one are too small to share; the number of threads
    # that PyTorch uses is that of a thread.
    pool = ThreadPoolExecutor(workers, "fill", torch.set_num_threads, (threads // workers,))
    try:
        for done, (part, inside, filled) in enumerate(pool.map(fill, every)):
            out[:, *part] = torch.where(torch.from_numpy(inside), filled, out[:, *part].cpu()).to(
                out
            )
            progress((done + 1) / len(every))
    finally:
        pool.shutdown(cancel_futures=True)
    return out


@torch.no_grad()
def _filled(x: Tensor, hole: Mask, own: Mask, edge: int) -> Tensor:
    """A part of a photograph [C, H, W], filled where pixels are missing and `own`, by windows of an
    edge."""
    size, turns, at_once = edge / WINDOW, TURNS * edge // WINDOW, AT_ONCE // edge**2
    nearest = distance_transform_edt(hole, return_distances=False, return_indices=True)
    colours = dct(np.eye(len(x), dtype=np.float32), axis=0, norm="ortho")
    mixed = colours @ x.numpy()[:, *nearest].reshape(len(x), -1)
    rim = [(edge, edge)] * 2
    levels = np.pad(mixed.reshape(x.shape), [(0, 0), *rim], "symmetric")
    missing, holds = (np.pad(one, rim, "symmetric") for one in (hole, own))
    holds = _holding(holds, edge)
    guess = levels[:, missing]
    # What is known doesn't change, so only missing pixels have a number, from 1.
    numbers = np.zeros(missing.shape, dtype=np.int32)
    numbers[missing] = np.arange(1, guess.shape[1] + 1)
    channels = guess.shape[1] * np.arange(len(x))[:, None]
    windows = sliding_window_view(levels, (edge, edge), (1, 2))
    numbers_of = sliding_window_view(numbers, (edge, edge))
    half = np.sin(np.pi * (np.arange(edge, dtype=np.float32) + 0.5) / edge)
    taper = half[:, None] * half
    for turn in range(turns):
        weak = size * WEAK[0] * (WEAK[1] / (size * WEAK[0])) ** (turn / (turns - 1))
        total, weight = np.zeros((2, *guess.shape))
        begins = _windows(holds, STEP * edge // WINDOW, turn)
        for first in range(0, begins.shape[1], at_once):
            i, j = begins[:, first : first + at_once]
            number = numbers_of[i, j].ravel()
            at = np.flatnonzero(number > 0)  # faster than of numbers
            number = number[at] - 1
            places = (channels + number).ravel()
            for sums, of in zip(
                (total, weight), _without_weak(windows[:, i, j], taper, weak, at), strict=True
            ):
                sums += np.bincount(places, of.ravel(), sums.size).reshape(sums.shape)
        levels[:, missing] = np.where(weight > 0, total / np.maximum(weight, 1e-9), guess)
    inner = levels[:, edge:-edge, edge:-edge]
    found = colours.T @ inner.reshape(len(x), -1)
    return torch.from_numpy(found.reshape(x.shape)).round().clamp(0, 255).to(torch.uint8)


def _holding(wanted: Mask, edge: int) -> Mask:
    """Whether a window of an edge that begins at a pixel holds one that is wanted, [H, W]."""
    found, inner = np.zeros_like(wanted), tuple(slice(0, size - edge + 1) for size in wanted.shape)
    # The maximum of a window is found at its middle.
    found[inner] = maximum_filter(wanted, edge)[edge // 2 :, edge // 2 :][inner]
    return found


def _windows(holds: Mask, step: int, turn: int) -> NDArray[np.int64]:
    """Rows and columns of the pixels at which windows begin, a step apart, where one `holds` what
    is wanted, [2, k]; every turn has others."""
    down, across = 3 * turn % step, 5 * turn % step
    found = np.array(holds[down::step, across::step].nonzero())
    return np.array([[down], [across]]) + step * found


def _without_weak(
    windows: NDArray[np.float32],
    taper: NDArray[np.float32],
    weak: float,
    at: NDArray[np.int64],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Windows [C, k, s, s], which are overwritten, without weak waves at some of their pixels, in
    units of their weights; and these: the fewer waves, the larger. Both [C, number of pixels]."""
    share = taper**2
    mean = windows.reshape(*windows.shape[:2], -1) @ share.ravel() / share.sum()
    windows -= mean[..., None, None]
    windows *= taper
    waves = torch.fft.rfft2(torch.from_numpy(windows), norm="ortho").numpy()
    strong = waves.real**2 + waves.imag**2 > np.float32(weak**2)  # faster than magnitudes
    waves *= strong
    left = torch.fft.irfft2(torch.from_numpy(waves), taper.shape, norm="ortho").numpy()
    number, inside = np.divmod(at, taper.size)
    trust = 1 / (1 + np.count_nonzero(strong, (2, 3)).astype(np.float32))
    own, trust = share.take(inside), trust.take(number, 1)  # faster than by brackets
    # Waves were tapered once already.
    found = left.reshape(len(left), -1).take(at, 1) * taper.take(inside)
    return (found + mean.take(number, 1) * own) * trust, own * trust
