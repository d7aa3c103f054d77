"""What a flow of windows expects of single pixels, given all others: repair, and finding damage.

The layer that generation applies last reads everything around a pixel, and no cell reads what it
writes. So its map gives the exact distribution of a pixel given all others. The grids of the levels
can be placed so that this layer writes any given pixel, as a photograph has no preferred position.
So one evaluation of the network gives the distribution of any pixel, whatever the size of the
photograph. Where coarse images are averages no layer writes single pixels, so none of this applies.

Letters in shapes: C channels; H, W rows and columns; k sites; S sites of a window.
"""

from collections.abc import Callable, Iterator
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import (  # type: ignore[attr-defined]  # which is found when it runs
    distance_transform_cdt,
)
from torch import Tensor

from rgflow.bijectors.base import Context
from rgflow.bijectors.cellwise import BAND
from rgflow.cells import Ids, Mask, Sublattice
from rgflow.flow import Flow
from rgflow.photographs.scoring import check_windows, has_averages, padded, sized, window_of
from rgflow.repair.biharmonic import biharmonic
from rgflow.repair.particles import complete, parts

SWEEPS, DEEPER = 4, 0.7
"""Number of times every missing pixel is estimated, and the factor by which the weight of the
estimate against the smooth surface falls with every pixel from the edge of the hole; chosen on
validation photographs of `wallpapers`."""
TILE, MARGIN = 96, 16
"""Edge of the squares whose holes are initialised together, and the margin seen around them."""


class Around:
    """The distributions of single pixels of a photograph, given all others.

    Args:
        flow: A flow of windows, of any size.
        image: uint8 [C, H, W].

    Raises:
        ValueError: If the flow is of another kind, or its coarse images are averages, or the image
            is of other channels.
    """

    def __init__(self, flow: Flow, image: Tensor) -> None:
        of = check_windows(flow)
        _check_sites(flow, "repairs by medians and for finding damage")
        if image.ndim != 3 or image.dtype != torch.uint8 or len(image) != of.config.channels:
            raise ValueError(
                f"Expected a photograph, uint8 [{of.config.channels}, H, W]; got "
                f"{list(image.shape)} of {image.dtype}."
            )
        self._layer = of.steps[0].cellwise[0]
        cells = cast(Sublattice, self._layer.cells)
        self.image = image.to(of.device)
        self.step, self.reads, self.dtype = cells.step, cells.reads, of.dtype
        self._map = window_of(self._layer)
        self._offsets = torch.tensor(cells.reads[1:], device=of.device)

    @torch.no_grad()
    def median(self, sites: Tensor) -> Tensor:
        """The median of every channel at some sites [k, 2], given those before it, [k, C]."""
        return self._median(self._context(sites))[0]

    @torch.no_grad()
    def excess(
        self,
        sites: Tensor,
        image: Tensor | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Tensor:
        """How much less likely than their medians pixels are, in nats, [k]: those of this image, or
        those of another image surrounded by this one."""
        found = [torch.empty(0, dtype=self.dtype, device=self.image.device)]
        for some in sites.to(self.image.device).split(BAND) if len(sites) else ():
            context, (i, j) = self._context(some), some.T
            own = (self.image if image is None else image)[:, i, j].T.to(self.image.device)
            found.append(self._median(context)[1] - self._map.level_log_prob(own, context))
            if progress:
                progress(sum(map(len, found)) / len(sites))
        return torch.cat(found).cpu()

    @torch.no_grad()
    def excess_map(self, progress: Callable[[float], None] | None = None) -> Tensor:
        """`excess` of every pixel, [H, W]."""
        height, width = self.image.shape[1:]
        every = Sublattice(
            "every", 0, (height, width), (0, 0), 1, (height, width), self.reads, 1, periodic=False
        )
        out, first = torch.empty(height, width, dtype=self.dtype), 0
        for rows, cells in every.bands(BAND):
            own, context = self._layer.read_band(self.image[None, :, rows].to(self.dtype), cells)
            found = self._median(context)[1] - self._map.level_log_prob(own, context)
            out[first : first + cells.shape[0]] = found.view(cells.shape).cpu()
            first += cells.shape[0]
            if progress:
                progress(first / height)
        return out

    def _median(self, context: Context) -> tuple[Tensor, Tensor]:
        """The medians [k, C] given what is around, and their log-probabilities in nats, [k]."""
        rows, device = len(context.values), context.values.device
        half = torch.full((rows, len(self.image)), 0.5, dtype=self.dtype, device=device)
        free = torch.ones(rows, dtype=torch.bool, device=device)
        return self._map.draw_levels(half, free, half, context)

    def _context(self, sites: Tensor) -> Context:
        """The windows around sites [k, 2]."""
        at = sites[:, None] + self._offsets
        size = torch.tensor(self.image.shape[1:], device=at.device)
        inside = ((at >= 0) & (at < size)).all(2)
        i, j = torch.minimum(at.clamp(min=0), size - 1).unbind(2)
        values = (self.image[:, i, j] * inside).to(self.dtype)  # [C, k, S]
        rows = values.permute(2, 0, 1).reshape(-1, len(sites)).T
        return Context(rows, self._layer.coded(rows), ~inside)


@torch.no_grad()
def restore(
    flow: Flow,
    image: Tensor,
    hole: Mask,
    *,
    sweeps: int = SWEEPS,
    progress: Callable[[float], None] | None = None,
) -> Tensor:
    """Fill a hole with what the flow expects: deterministic, and without invented detail, which
    `rgflow.repair.particles.complete` draws.

    The hole starts as a smooth surface (`rgflow.repair.biharmonic`). Then every missing pixel is
    set to the median of its distribution given all others, in several sweeps. Each update takes one
    evaluation of the network, however large the photograph. Deep inside a hole, where less is
    known, the result is blended with the smooth surface.

    Args:
        flow: A flow of windows, of any size.
        image: uint8 [C, H, W]; what it holds inside the hole has no influence.
        hole: What is missing, [H, W].
        sweeps: Number of sweeps over the hole.
        progress: Called with the share of the work that is done.

    Returns:
        The photograph, uint8 [C, H, W].

    Raises:
        ValueError: If the flow is of another kind, sizes don't fit, nothing is missing, or all is.

    Example:
        >>> from rgflow import load_flow
        >>> image = torch.full((3, 40, 60), 99, dtype=torch.uint8)
        >>> hole = np.zeros((40, 60), dtype=bool)
        >>> hole[10:12, 5:50] = True
        >>> restore(load_flow("photos"), image, hole)[:, 10, 20]
        tensor([99, 99, 99], dtype=torch.uint8)
    """
    hole = _checked(image, hole)
    smooth = begin(image, hole)
    around = Around(flow, smooth.clone())
    sites = np.argwhere(hole)
    colours = sites[:, 0] % around.step * around.step + sites[:, 1] % around.step
    groups = [np.flatnonzero(colours == colour) for colour in range(around.step**2)]
    parts = [part for group in groups for part in _parts(group)]
    for sweep in range(sweeps):
        for k, part in enumerate(parts):
            where = torch.as_tensor(sites[part], device=around.image.device)
            i, j = where.T
            around.image[:, i, j] = around.median(where).T.to(torch.uint8)
            if progress:
                progress((sweep + (k + 1) / len(parts)) / sweeps)
    depth = distance_transform_cdt(hole, "chessboard")[hole]
    share = torch.as_tensor(DEEPER ** (depth - 1.0), device=around.image.device)
    i, j = torch.as_tensor(sites, device=around.image.device).T
    found = share * around.image[:, i, j] + (1 - share) * smooth.to(around.image.device)[:, i, j]
    around.image[:, i, j] = found.round().to(torch.uint8)
    return around.image


def completions(
    flow: Flow,
    image: Tensor,
    hole: Mask,
    count: int,
    *,
    particles: int = 32,
    generator: torch.Generator | None = None,
    progress: Callable[[float], None] | None = None,
) -> Tensor:
    """Draw possible completions of a hole with detail, by `rgflow.repair.particles.complete`.

    Args:
        flow: A flow of windows, of any size.
        image: uint8 [C, H, W]; what it holds inside the hole has no influence.
        hole: What is missing, [H, W].
        count: Number of completions K, successive draws of a Markov chain.
        particles: Number of particles.
        generator: Source of randomness, on the CPU.
        progress: Called with the share of the work that is done.

    Returns:
        uint8 [K, C, H, W].

    Raises:
        ValueError: If the flow is of another kind, or its coarse images are averages, or sizes
            don't fit, or nothing is missing, or all is.

    Example:
        >>> from rgflow import load_flow
        >>> image = torch.full((3, 10, 12), 99, dtype=torch.uint8)
        >>> hole = np.zeros((10, 12), dtype=bool)
        >>> hole[4, 3:8] = True
        >>> completions(load_flow("photos"), image, hole, 2, particles=4).shape
        torch.Size([2, 3, 10, 12])
    """
    hole, of = _checked(image, hole), sized(flow, image[None])
    _check_sites(flow, "completions")
    height, width = image.shape[1:]
    grid = padded(of, image[None])[0]
    missing = np.zeros(grid.shape[1:], dtype=bool)
    missing[:height, :width] = hole
    total = count * parts(of, missing)
    found = complete(
        of, grid, missing, particles=particles, sweeps=count, generator=generator,
        progress=lambda done, _: progress(done / total) if progress else None,
    )  # fmt: skip
    return found.samples[:, :, :height, :width]


def begin(image: Tensor, hole: Mask) -> Tensor:
    """A smooth surface in a hole, uint8 [C, H, W]: first from means over ever larger squares, then,
    near known pixels, from the biharmonic equation, square by square."""
    x = _means(image.cpu().numpy(), hole)
    for i, j in np.argwhere(_any_in(hole, TILE)) * TILE:
        rows, columns = (slice(max(at - MARGIN, 0), at + TILE + MARGIN) for at in (i, j))
        mask, tile = hole[rows, columns], np.ascontiguousarray(x[:, rows, columns])
        if mask.all():
            continue
        deep = distance_transform_cdt(mask, "chessboard") > MARGIN
        smooth = biharmonic(torch.from_numpy(tile)[None], mask & ~deep)[0].numpy()
        own = slice(i, i + TILE), slice(j, j + TILE)
        inside = slice(i - rows.start, None), slice(j - columns.start, None)
        new = smooth[:, *inside][:, :TILE, :TILE]
        x[:, *own] = np.where(hole[own], new, x[:, *own])
    return torch.from_numpy(x)


def _means(image: NDArray[np.uint8], hole: Mask) -> NDArray[np.uint8]:
    """Every missing pixel by the mean of the smallest square of 2^h×2^h with a known one."""
    if not hole.any():
        return image.copy()
    c, height, width = image.shape
    padding = ((0, 0), (0, height % 2), (0, width % 2))
    known = np.pad(~hole, padding[1:])
    values = np.pad(np.where(hole, 0, image), padding).astype(np.float32)
    fours = values.reshape(c, known.shape[0] // 2, 2, -1, 2)
    counts = known.reshape(known.shape[0] // 2, 2, -1, 2).sum((1, 3))
    means = (fours.sum((2, 4)) / np.maximum(counts, 1)).round().astype(np.uint8)
    coarse = _means(means, counts == 0) if min(means.shape[1:]) > 1 else means
    fine = coarse.repeat(2, 1).repeat(2, 2)[:, :height, :width]
    return np.where(hole, fine, image)


def _any_in(mask: Mask, edge: int) -> Mask:
    """Which squares of an edge hold a marked pixel."""
    rows, columns = (-(-size // edge) for size in mask.shape)
    padded = np.zeros((rows * edge, columns * edge), dtype=bool)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    return np.asarray(padded.reshape(rows, edge, columns, edge).any((1, 3)))


def _parts(group: Ids) -> Iterator[Ids]:
    """A group in parts of a size at which the network is fast."""
    for start in range(0, len(group), BAND):
        yield group[start : start + BAND]


def _check_sites(flow: Flow, what: str) -> None:
    """Raise a `ValueError` if a flow's coarse images are averages."""
    if has_averages(flow):
        raise ValueError(
            f"Expected a flow whose coarse images are sites for {what}, which need the "
            "distribution of single pixels; those of this one are averages: use the model photos."
        )


def _checked(image: Tensor, hole: Mask) -> Mask:
    """A hole of an image.

    Raises:
        ValueError: If it isn't one, or nothing is missing, or all is.
    """
    hole = np.asarray(hole)
    if hole.dtype != bool or hole.shape != tuple(image.shape[1:]):
        raise ValueError(
            f"Expected a boolean mask of shape {tuple(image.shape[1:])}; got {hole.dtype} of shape "
            f"{hole.shape}."
        )
    if not hole.any() or hole.all():
        what = "nothing" if not hole.any() else "everything"
        raise ValueError(f"Expected some pixels to be missing; got a mask in which {what} is.")
    return hole
