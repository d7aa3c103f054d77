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
    distance_transform_edt,
)
from torch import Tensor

from rgflow.bijectors.base import Context
from rgflow.bijectors.cellwise import BAND, Band
from rgflow.cells import Mask, Sublattice
from rgflow.flow import Flow
from rgflow.photographs.scoring import check_windows, padded, sized, window_of
from rgflow.photographs.surroundings import Surroundings, reach
from rgflow.repair.biharmonic import biharmonic
from rgflow.repair.particles import Chain, filling_of

SWEEPS = 4
"""Number of times every missing pixel is estimated; chosen on validation photographs of
`wallpapers`."""
DECAY = 0.7
"""Factor by which the weight of the estimate against the first guess falls with every pixel from
the edge of the hole: with fewer known neighbours an estimate says less. Chosen as `SWEEPS`."""
DEEP = 8
"""Distance in pixels from the edge of a hole above which the first guess comes from the coarse
image, as estimates say little there; chosen as `SWEEPS`."""
DEEP_STEP = 4
"""Farther than `DEEP` from the edge, where little is known, completions take one pixel in so many
rows and columns from `restore`; chosen as `SWEEPS`."""
TILE, TILE_MARGIN = 96, 16
"""Edge of the squares whose holes are initialised together, and the margin around them, in pixels:
biharmonic inpainting of a whole photograph at once would need too much memory."""
PIXELS_PER_TILE = 500
"""Pixels that a sweep estimates in the time in which one square is initialised."""
GRAIN_NEAR = 12
"""Rows and columns around the nearest known pixel from which the grain of a missing one comes."""
MAX_COMPLETED_PIXELS = 1 << 18
"""Largest hole, in pixels, for which completions are drawn: 10 minutes on one core."""


class Around:
    """The distributions of single pixels of a photograph, given all others.

    Args:
        flow: A flow of windows, of any size.
        image: The photograph, uint8 [C, H, W].

    Attributes:
        image: A copy, on the flow's device; it may be changed.
        step: Pixels of one residue modulo this don't read one another.

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
        self._around = Surroundings(image.to(of.device), reach([self._layer]))
        self.image = self._around.grid
        self.step, self.reads, self.dtype = cells.step, cells.reads, of.dtype
        self._map = window_of(self._layer)

    @torch.no_grad()
    def median(self, sites: Tensor) -> Tensor:
        """Medians of the channels at some sites [k, 2], each given those before it, [k, C]."""
        context = self._context(sites)
        half = context.values.new_full((len(sites), len(self.image)), 0.5)
        free = torch.ones(len(sites), dtype=torch.bool, device=half.device)
        return self._map.draw_levels(half, free, half, context)[0]

    def denoise(self, sites: Tensor, noise: float) -> None:
        """Replace some pixels [k, 2], which don't read one another, by their means, given all
        others and themselves with a standard error of `noise` levels."""
        i, j = sites.to(self.image.device).T
        found = self._map.denoised(self.image[:, i, j].T, noise, self._context(sites))
        self.image[:, i, j] = found.T.to(torch.uint8)

    @torch.no_grad()
    def log_prob(self, sites: Tensor) -> Tensor:
        """Log-probabilities of pixels at some sites [k, 2], given all others, in nats, [k]."""
        values = self.image[:, *sites.to(self.image.device).T].T
        return self._map.level_log_prob(values, self._context(sites))

    @torch.no_grad()
    def excess_map(self, progress: Callable[[float], None] | None = None) -> Tensor:
        """How much less likely than its median every pixel is, in nats, [H, W], on the CPU."""
        height, width = self.image.shape[1:]
        every = Sublattice(
            "every", 0, (height, width), (0, 0), 1, (height, width), self.reads, 1, periodic=False
        )
        out, first = torch.empty(height, width, dtype=self.dtype), 0
        for rows, cells in every.bands(BAND):
            values, context = Band(self._layer, rows, cells, first).read(self.image[None])
            found = self._map.excess(values, context)
            out[first : first + cells.shape[0]] = found.view(cells.shape).cpu()
            first += cells.shape[0]
            if progress:
                progress(first / height)
        return out

    def _context(self, sites: Tensor) -> Context:
        """The windows around sites [k, 2]."""
        return self._around.read(self._layer, sites)[1]


@torch.no_grad()
def restore(
    flow: Flow,
    image: Tensor,
    hole: Mask,
    *,
    sweeps: int = SWEEPS,
    progress: Callable[[float], None] | None = None,
    preview: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Fill a hole with what the flow expects, without randomness and invented detail.

    The hole starts as a smooth surface (`rgflow.repair.biharmonic`), and deep inside as the coarse
    image, every second pixel both ways, restored in the same way. Then every missing pixel is set
    to the median of its distribution given all others, in several sweeps. Each update takes one
    evaluation of the network, however large the photograph. The farther from the edge, where less
    is known, the more the result is blended with the start.

    Args:
        flow: A flow of windows, of any size.
        image: uint8 [C, H, W]; what it holds inside the hole has no influence.
        hole: What is missing, [H, W].
        sweeps: Number of sweeps over the hole.
        progress: Called with the share of the work that is done.
        preview: Called after the first sweep, if more follow, with the photograph as it is then.

    Returns:
        The photograph, uint8 [C, H, W].

    Raises:
        ValueError: If the flow is of another kind, its coarse images are averages, sizes don't fit,
            or none or all pixels are missing.

    Example:
        >>> from rgflow import load_flow
        >>> image = torch.full((3, 40, 60), 99, dtype=torch.uint8)
        >>> hole = np.zeros((40, 60), dtype=bool)
        >>> hole[10:12, 5:50] = True
        >>> restore(load_flow("photos"), image, hole)[:, 10, 20]
        tensor([99, 99, 99], dtype=torch.uint8)
    """
    hole = check_hole(image, hole)
    sites, depth = np.argwhere(hole), _depths(hole)
    deep = np.zeros_like(hole)
    deep[hole] = depth > DEEP
    first = 0.25 if deep.any() else 0.0  # the share of the coarser images
    done = PIXELS_PER_TILE * int(_any_in(hole & ~deep, TILE).sum())
    total = done + sweeps * len(sites)

    def tell(pixels: float) -> None:
        if progress:
            progress(first + (1 - first) * pixels / total)

    start = image.cpu().numpy().copy()
    if deep.any():
        coarse = (lambda x: progress(first * x)) if progress else None
        start[:, deep] = _from_coarse(flow, image, hole, deep, sweeps, coarse)
    _smooth(start, hole & ~deep, lambda share: tell(share * done))
    around = Around(flow, torch.from_numpy(start))
    i, j = torch.as_tensor(sites, device=around.image.device).T
    begun = around.image[:, i, j].clone()
    share = torch.as_tensor(DECAY ** (depth - 1.0), device=around.image.device)

    def blended() -> Tensor:
        out = around.image.clone()
        out[:, i, j] = (share * out[:, i, j] + (1 - share) * begun).round().to(torch.uint8)
        return out

    colours = sites[:, 0] % around.step * around.step + sites[:, 1] % around.step
    groups = [np.flatnonzero(colours == colour) for colour in range(around.step**2)]
    parts = [group[k : k + BAND] for group in groups for k in range(0, len(group), BAND)]
    for sweep in range(sweeps):
        for part in parts:
            where = torch.as_tensor(sites[part], device=around.image.device)
            around.image[:, *where.T] = around.median(where).T.to(torch.uint8)
            done += len(part)
            tell(done)
        if preview and sweep == 0 and sweeps > 1:
            preview(blended())
    return blended()


@torch.no_grad()
def grained(
    flow: Flow,
    image: Tensor,
    hole: Mask,
    grain: float = 1.0,
    seed: int = 0,
) -> Tensor:
    """Give what fills a hole the grain of its surroundings, as smooth areas give repairs away.

    To every pixel comes what a random known one near it differs from the median that is expected
    there given all others; edges, where that is more than three times as usual, count as that.

    Args:
        flow: A flow of windows, of any size.
        image: The photograph with the hole filled, uint8 [C, H, W].
        hole: The hole, [H, W].
        grain: The share of that difference, from 0 to 1.
        seed: Of the choice of known pixels.

    Returns:
        The photograph, uint8 [C, H, W].

    Raises:
        ValueError: If the flow is of another kind, its coarse images are averages, or sizes don't
            fit.

    Example:
        >>> from rgflow import load_flow
        >>> image, hole = torch.randint(90, 110, (3, 40, 60), dtype=torch.uint8), np.eye(40, 60) > 0
        >>> image[:, hole] = 100
        >>> grained(load_flow("photos"), image, hole)[:, hole].float().std() > 2
        tensor(True)
    """
    around, hole = Around(flow, image), check_hole(image, hole)
    nearest = distance_transform_edt(hole, return_distances=False, return_indices=True)[:, hole]
    moved = np.random.default_rng(seed).integers(-GRAIN_NEAR, GRAIN_NEAR + 1, nearest.shape)
    near = np.clip(nearest + moved, 0, np.array(hole.shape)[:, None] - 1)
    sites = torch.from_numpy(np.where(hole[*near], nearest, near).T).to(around.image.device)
    parts = [around.image[:, *part.T].T - around.median(part) for part in sites.split(BAND)]
    found = torch.cat(parts).T
    most = 3 * 1.4826 * found.abs().median(1, keepdim=True).values
    out, (i, j) = around.image.clone(), hole.nonzero()
    new = out[:, i, j] + grain * found.clamp(-most, most)
    out[:, i, j] = new.round().clamp(0, 255).to(torch.uint8)
    return out


def completions(
    flow: Flow,
    image: Tensor,
    hole: Mask,
    count: int,
    *,
    particles: int = 32,
    generator: torch.Generator | None = None,
    progress: Callable[[float], None] | None = None,
    preview: Callable[[Tensor], None] | None = None,
) -> Iterator[Tensor]:
    """Draw possible completions of a hole with detail, one after another.

    They are draws of `rgflow.repair.particles.Chain`. Deep inside, where little is known, every
    fourth pixel in both directions is what `restore` gives, and the detail between these is drawn.

    Args:
        flow: A flow of windows, of any size.
        image: uint8 [C, H, W]; what it holds inside the hole has no influence.
        hole: What is missing, [H, W].
        count: Number of completions, successive draws of a Markov chain.
        particles: Number of particles.
        generator: Source of randomness, on the CPU.
        progress: Called with the share of the work that is done.
        preview: Called with a first completion, whose parts were drawn at once and so fit one
            another less well.

    Returns:
        Each, uint8 [C, H, W], as soon as it is drawn.

    Raises:
        ValueError: If the flow is of another kind, its coarse images are averages, sizes don't fit,
            or none or all pixels are missing.

    Example:
        >>> from rgflow import load_flow
        >>> image = torch.full((3, 10, 12), 99, dtype=torch.uint8)
        >>> hole = np.zeros((10, 12), dtype=bool)
        >>> hole[4, 3:8] = True
        >>> found = completions(load_flow("photos"), image, hole, 2, particles=4)
        >>> [one.shape for one in found]
        [torch.Size([3, 10, 12]), torch.Size([3, 10, 12])]
    """
    hole, of = check_hole(image, hole), sized(flow, image[None])
    _check_sites(flow, "completions")
    deep = np.zeros_like(hole)
    deep[hole] = _depths(hole) > DEEP
    if deep.any():
        image, hole = restore(flow, image, hole), hole.copy()
        hole[::DEEP_STEP, ::DEEP_STEP] &= ~deep[::DEEP_STEP, ::DEEP_STEP]
    height, width = image.shape[1:]
    x = padded(of, image[None])[0].to(of.device, copy=True)
    missing = np.zeros(x.shape[1:], dtype=bool)
    missing[:height, :width] = hole
    filling = filling_of(of, missing)

    @torch.inference_mode()  # which makes many small steps a third faster
    def drawn() -> Iterator[Tensor]:
        chain, done = Chain(filling, x, particles, generator), 0
        if preview:
            preview(x[:, :height, :width].clone())
        total = count * sum(batch.count for batch in filling.batches)
        for _ in range(count):
            for batch, _ in chain.sweep():
                done += batch.count
                if progress:
                    progress(done / total)
            yield x[:, :height, :width].clone()

    return drawn()


def _depths(hole: Mask) -> NDArray[np.int32]:
    """Distances of missing pixels from the edge of the hole, [k]."""
    around = tuple(slice(max(at.min() - 1, 0), at.max() + 2) for at in hole.nonzero())
    return np.asarray(distance_transform_cdt(hole[around], "chessboard")[hole[around]])


def _smooth(x: NDArray[np.uint8], hole: Mask, progress: Callable[[float], None]) -> None:
    """Fill a hole of an image [C, H, W] by the biharmonic equation, square by square."""
    corners = np.argwhere(_any_in(hole, TILE)) * TILE
    for number, (i, j) in enumerate(corners):
        progress(number / len(corners))
        rows, columns = (slice(max(at - TILE_MARGIN, 0), at + TILE + TILE_MARGIN) for at in (i, j))
        tile = np.ascontiguousarray(x[:, rows, columns])
        smooth = biharmonic(torch.from_numpy(tile)[None], hole[rows, columns])[0].numpy()
        square = slice(i, i + TILE), slice(j, j + TILE)
        inside = slice(i - rows.start, None), slice(j - columns.start, None)
        new = smooth[:, *inside][:, :TILE, :TILE]
        x[:, *square] = np.where(hole[square], new, x[:, *square])


def _from_coarse(
    flow: Flow,
    image: Tensor,
    hole: Mask,
    deep: Mask,
    sweeps: int,
    progress: Callable[[float], None] | None,
) -> NDArray[np.uint8]:
    """Every second pixel, restored, with straight lines between them, at `deep` pixels, [C, k]."""
    coarse, missing = image[:, ::2, ::2].contiguous(), hole[::2, ::2]
    if missing.all():  # the mean of the few that are known
        known = image.cpu().numpy()[:, ~hole].mean(1).round().astype(np.uint8)
        return np.broadcast_to(known[:, None], (len(image), int(deep.sum())))
    found = restore(flow, coarse, missing, sweeps=sweeps, progress=progress).cpu().numpy()
    rows, columns = (
        (at // 2, np.minimum((at + 1) // 2, size - 1))
        for at, size in zip(np.nonzero(deep), missing.shape, strict=True)
    )
    around = [found[:, i, j].astype(np.float32) for i in rows for j in columns]
    return np.mean(around, 0).round().astype(np.uint8)


def _any_in(mask: Mask, edge: int) -> Mask:
    """Which squares of an edge hold a marked pixel."""
    rows, columns = (-(-size // edge) for size in mask.shape)
    padded = np.zeros((rows * edge, columns * edge), dtype=bool)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    return np.asarray(padded.reshape(rows, edge, columns, edge).any((1, 3)))


def _check_sites(flow: Flow, what: str) -> None:
    """Raise a `ValueError` if a flow's coarse images are averages."""
    if flow.config.geometry.averages:
        raise ValueError(
            f"Expected a flow whose coarse images are sites for {what}, which need the "
            "distribution of single pixels; those of this one are averages: use the model photos."
        )


def check_hole(image: Tensor, hole: Mask) -> Mask:
    """A hole [H, W] of an image [C, H, W]; a `ValueError` if it isn't one, or none or all pixels
    are missing."""
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
