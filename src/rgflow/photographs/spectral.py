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
SQUARE, AT_ONCE = 256, 64
"""Edge of the squares in which a photograph is filled, and windows that are computed together, few
enough for the cache of a processor."""


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
    size, turns = edge / WINDOW, TURNS * edge // WINDOW
    nearest = distance_transform_edt(hole, return_distances=False, return_indices=True)
    colours = dct(np.eye(len(x)), axis=0, norm="ortho")
    mixed = colours @ x.numpy()[:, *nearest].reshape(len(x), -1)
    rim = [(edge, edge)] * 2
    levels = np.pad(mixed.reshape(x.shape), [(0, 0), *rim], "symmetric")
    known = torch.from_numpy(levels).float()
    missing = torch.from_numpy(np.pad(hole, rim, "symmetric"))
    holds = _holding(np.pad(own, rim, "symmetric"), edge)
    pixels = torch.arange(edge)
    offsets = (pixels[:, None] * known.shape[2] + pixels).flatten()
    half = torch.sin(torch.pi * (torch.arange(edge) + 0.5) / edge)
    taper = half[:, None] * half
    filled = known.clone()
    for turn in range(turns):
        weak = size * WEAK[0] * (WEAK[1] / (size * WEAK[0])) ** (turn / (turns - 1))
        windows = filled.unfold(1, edge, 1).unfold(2, edge, 1)
        total, weight = torch.zeros((2, len(x), missing.numel()))
        for i, j in _windows(holds, STEP * edge // WINDOW, turn).split(AT_ONCE, dim=1):
            where = (i * known.shape[2] + j)[:, None] + offsets
            left, trust = _without_weak(windows[:, i, j], taper, weak)
            total.index_add_(1, where.flatten(), left.flatten(1))
            weight.index_add_(1, where.flatten(), trust.flatten(1))
        means = (total / weight.clamp(min=1e-9)).view_as(known)
        filled = torch.where(missing & (weight.view_as(known) > 0), means, known)
    inner = filled[:, edge:-edge, edge:-edge].flatten(1)
    found = torch.from_numpy(colours.T).float() @ inner
    return found.view(x.shape).round().clamp(0, 255).to(torch.uint8)


def _holding(wanted: Mask, edge: int) -> Mask:
    """Whether a window of an edge that begins at a pixel holds one that is wanted, [H, W]."""
    found, inner = np.zeros_like(wanted), tuple(slice(0, size - edge + 1) for size in wanted.shape)
    # The maximum of a window is found at its middle.
    found[inner] = maximum_filter(wanted, edge)[edge // 2 :, edge // 2 :][inner]
    return found


def _windows(holds: Mask, step: int, turn: int) -> Tensor:
    """Rows and columns of the pixels at which windows begin, a step apart, where one `holds` what
    is wanted, [2, k]; every turn has others."""
    first = torch.tensor([[3 * turn % step], [5 * turn % step]])
    down, across = first.flatten().tolist()
    return first + step * torch.from_numpy(holds[down::step, across::step]).nonzero().T


def _without_weak(windows: Tensor, taper: Tensor, weak: float) -> tuple[Tensor, Tensor]:
    """Windows [C, k, s, s] without weak waves, and their weights: the fewer waves, the larger."""
    share = taper**2
    mean = (windows * share).sum((2, 3), keepdim=True) / share.sum()
    waves = torch.fft.rfft2((windows - mean) * taper, norm="ortho")
    strong = waves.real**2 + waves.imag**2 > weak**2  # faster than magnitudes
    trust = 1 / (1 + strong.sum((2, 3), keepdim=True))
    left = torch.fft.irfft2(torch.where(strong, waves, 0), taper.shape, norm="ortho")
    # Waves were tapered once already.
    return (left * taper + mean * share) * trust, share * trust
