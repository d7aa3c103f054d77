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
    find_objects,
    gaussian_filter,
    label,
    uniform_filter,
)
from torch import Tensor

from rgflow.bijectors.base import Context
from rgflow.bijectors.cellwise import BAND, Band
from rgflow.cells import Mask, Sublattice
from rgflow.flow import Flow
from rgflow.photographs.pictures import Pixels
from rgflow.photographs.scoring import check_windows, padded, sized, window_of
from rgflow.photographs.surroundings import Surroundings, reach
from rgflow.photographs.texture import REACH, textured
from rgflow.repair.biharmonic import biharmonic
from rgflow.repair.particles import Chain, filling_of

SWEEPS = 4
"""Number of times every missing pixel is estimated; chosen on validation photographs of
`wallpapers`."""
DECAY = 0.7
"""Factor by which the weight of the estimate against the first guess falls with every pixel from
the edge of the hole: with fewer known neighbours an estimate says less. Chosen as `SWEEPS`."""
DEEP = 8
"""Distance in pixels from the edge of a hole above which estimates say little; chosen as
`SWEEPS`."""
APART, SHIFTS = 6, (12, -12, 16, -16, 24, -24, 40, -40)
"""Pixels between what is missing and what is hidden on trial, and by how many rows or columns."""
NEAR, FEW, DOUBT = 30, 0.02, 0.25
"""How many pixels around one the trial counts for it, as a standard deviation; the share of it that
counts everywhere; and the share of what is taken from elsewhere that has to be right before any of
it is taken. Chosen as `SWEEPS`."""
UNKNOWN = 0.45, 0.7
"""The share of a patch around a pixel that is missing from which on something is taken from
elsewhere, and all that the trial allows: single pixels are known best by their neighbours."""
WORTH = 0.25
"""The share of such pixels from which on the trial is made, for time. Set after the trial had
gained nothing on thin scratches of the photographs that repairs are measured by."""
MAX_COPIED, MAX_TRIAL = 25_000, 10_000
"""Pixels up to which thin parts are also filled from elsewhere, and of the trial, for time."""
SQUARE, MARGIN = 256, 160
"""Edge of the squares in which that is done, and how far in pixels around a part of a hole at least
it is filled from, and twice its edge."""
TILE, TILE_MARGIN = 96, 16
"""Edge of the squares whose holes are initialised together, and the margin around them, in pixels:
biharmonic inpainting of a whole photograph at once would need too much memory."""
PIXELS_PER_TILE, PIXELS_PER_PART, WORK_OF_TEXTURE = 500, 500, 20
"""Pixels that a sweep estimates in the time in which one square is initialised, in that in which
one part of a completion is drawn, and in that in which one pixel comes from elsewhere."""
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
    """Fill a hole with what the flow expects.

    Where it is more than 16 pixels wide (`deep_parts`) comes what the photograph holds elsewhere
    (`rgflow.photographs.texture`). The rest starts as a smooth surface
    (`rgflow.repair.biharmonic`). Then every pixel of it is set to the median of its distribution
    given all others, in several sweeps. Each update takes one evaluation of the network, however
    large the photograph. The farther from the edge, where less is known, the more the result is
    blended with the start; and with what the photograph holds elsewhere, as far as that helps with
    known pixels nearby that are hidden as well, on trial.

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
    repair = Repair(image, hole)
    return repair.by(flow, sweeps=sweeps, progress=progress, preview=preview)


class Repair:
    """A hole to `restore`, and what is found for it elsewhere, which no flow changes.

    Args:
        image: As of `restore`.
        hole: As of `restore`.

    Raises:
        ValueError: If sizes don't fit, or none or all pixels are missing.
    """

    def __init__(self, image: Tensor, hole: Mask) -> None:
        self._image, self._hole = image, check_hole(image, hole)
        self._deep = deep_parts(hole)
        self._thin = thin = hole & ~self._deep
        of_use = _unknown(hole)[thin] > UNKNOWN[0]
        helps = 0 < thin.sum() <= MAX_COPIED and of_use.mean() > WORTH
        self._trial = _trial(thin, hole) if helps else np.zeros_like(hole)
        self._missing = thin | self._trial
        self._elsewhere: Tensor | None = None
        """Levels of what is missing, [C, k]."""

    @torch.no_grad()
    def by(
        self,
        flow: Flow,
        *,
        sweeps: int = SWEEPS,
        progress: Callable[[float], None] | None = None,
        preview: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        """The photograph restored by a flow, uint8 [C, H, W]; arguments are as for `restore`.

        Raises:
            ValueError: If the flow is of another kind, or its coarse images are averages.
        """
        missing, trial = self._missing, self._trial.any()
        work = [
            WORK_OF_TEXTURE * int(self._deep.sum()),
            PIXELS_PER_TILE * int(_any_in(missing, TILE).sum()),
            sweeps * int(missing.sum()),
            WORK_OF_TEXTURE * int(missing.sum()) if trial and self._elsewhere is None else 0,
        ]

        def stage(number: int) -> Callable[[float], None]:
            def tell(share: float) -> None:
                if progress:
                    progress((sum(work[:number]) + share * work[number]) / sum(work))

            return tell

        if self._deep.any():
            parts = label(self._deep, np.ones((3, 3)))[0]
            self._image = _from_elsewhere(self._image, parts, self._hole, 0, stage(0))
            self._deep = np.zeros_like(self._deep)
        if not self._thin.any():
            return self._image
        start = self._image.cpu().numpy().copy()
        _smooth(start, missing, stage(1))
        for sweep, values in enumerate(_medians(flow, start, missing, sweeps, stage(2))):
            if preview and sweep == 0 and (sweeps > 1 or trial):
                preview(self._filled(values))
        if trial:
            values = self._beside_elsewhere(values, stage(3))
        return self._filled(values)

    def _filled(self, values: Tensor) -> Tensor:
        """The photograph with levels of what is missing, [C, k]."""
        out, thin = self._image.clone(), torch.from_numpy(self._thin)
        new = values[:, thin[torch.from_numpy(self._missing)]].round().clamp(0, 255)
        out[:, thin.to(out.device)] = new.to(out)
        return out

    def _beside_elsewhere(self, values: Tensor, progress: Callable[[float], None]) -> Tensor:
        """Levels that are expected, and those of elsewhere, by their errors on trial, [C, k]."""
        missing, where = self._missing, torch.from_numpy(self._missing)
        if self._elsewhere is None:
            rows, columns = (np.arange(size) // SQUARE for size in missing.shape)
            squares = missing * (1 + rows[:, None] * (columns[-1] + 1) + columns)
            found = _from_elsewhere(self._image.cpu(), squares, missing, 0, progress)
            self._elsewhere = found[:, where]
        ramp = ((_unknown(missing)[missing] - UNKNOWN[0]) / (UNKNOWN[1] - UNKNOWN[0])).clip(0, 1)
        change = torch.from_numpy(ramp) * (self._elsewhere - values)
        right = self._image.cpu()[:, where] - values  # of pixels on trial
        share = _share((change * right).sum(0), (change**2).sum(0), missing, self._trial)
        return values + share * change


def _medians(
    flow: Flow, start: Pixels, missing: Mask, sweeps: int, progress: Callable[[float], None]
) -> Iterator[Tensor]:
    """Levels of what is missing after every sweep, blended with the start, [C, k] on the CPU."""
    around, sites = Around(flow, torch.from_numpy(start)), np.argwhere(missing)
    i, j = torch.as_tensor(sites, device=around.image.device).T
    begun = around.image[:, i, j].clone()
    share = torch.as_tensor(DECAY ** (_depths(missing) - 1.0), device=around.image.device)
    colours = sites[:, 0] % around.step * around.step + sites[:, 1] % around.step
    groups = [np.flatnonzero(colours == colour) for colour in range(around.step**2)]
    parts = [group[k : k + BAND] for group in groups for k in range(0, len(group), BAND)]
    for sweep in range(sweeps):
        for number, part in enumerate(parts):
            where = torch.as_tensor(sites[part], device=around.image.device)
            around.image[:, *where.T] = around.median(where).T.to(torch.uint8)
            progress((sweep + (number + 1) / len(parts)) / sweeps)
        yield (share * around.image[:, i, j] + (1 - share) * begun).cpu()


def _unknown(missing: Mask) -> NDArray[np.float32]:
    """The share of a patch around every pixel that is missing, [H, W]."""
    return np.asarray(uniform_filter(missing.astype(np.float32), 2 * REACH + 1))


def _share(product: Tensor, square: Tensor, missing: Mask, trial: Mask) -> Tensor:
    """The share of a change that is right in the mean of the pixels on trial, mostly of near ones,
    [k], from products of the change and what is right, and squares of the change, [k]."""
    means = []
    for of in (product, square):
        whole = np.zeros(trial.shape, np.float32)
        whole[missing] = of.numpy()
        whole *= trial
        near = gaussian_filter(whole, NEAR, truncate=3)
        means.append(near[missing] + FEW * whole.sum() / trial.sum())
    found = means[0] / np.maximum(means[1], 1e-6)
    return torch.from_numpy(((found - DOUBT) / (1 - DOUBT)).clip(0, 1))


def _trial(hole: Mask, near: Mask) -> Mask:
    """Known pixels that are hidden as well, to see how well pixels like those of a hole are filled:
    the hole, shifted to where most of it is known and far from what is missing."""
    free, best = distance_transform_cdt(~near, "chessboard") > APART, np.zeros_like(hole)
    for by in SHIFTS:
        for axis in (0, 1):
            trial = np.roll(hole, by, axis) & free
            if trial.sum() > best.sum():
                best = trial
    rows = np.cumsum(best.sum(1)) <= MAX_TRIAL
    return best & rows[:, None]


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
    Pixels that come from elsewhere (`deep_parts`) have theirs already.

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
    around, whole = Around(flow, image), check_hole(image, hole)
    hole = whole & ~deep_parts(whole)
    if not hole.any():
        return image
    nearest = distance_transform_edt(whole, return_distances=False, return_indices=True)[:, hole]
    moved = np.random.default_rng(seed).integers(-GRAIN_NEAR, GRAIN_NEAR + 1, nearest.shape)
    near = np.clip(nearest + moved, 0, np.array(hole.shape)[:, None] - 1)
    sites = torch.from_numpy(np.where(whole[*near], nearest, near).T).to(around.image.device)
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

    Where the hole is more than 16 pixels wide (`deep_parts`) comes what the photograph holds
    elsewhere, from other places each time (`rgflow.photographs.texture`); the rest are draws of
    `rgflow.repair.particles.Chain`.

    Args:
        flow: A flow of windows, of any size.
        image: uint8 [C, H, W]; what it holds inside the hole has no influence.
        hole: What is missing, [H, W].
        count: Number of completions; without such parts, successive draws of a Markov chain.
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
    deep, barred = deep_parts(hole), hole
    names, hole = label(deep, np.ones((3, 3)))[0], hole & ~deep
    height, width = image.shape[1:]
    missing = np.zeros(padded(of, image[None]).shape[2:], dtype=bool)
    missing[:height, :width] = hole
    filling = filling_of(of, missing) if hole.any() else None
    x = padded(of, image[None])[0].to(of.device, copy=True)
    parts = sum(batch.count for batch in filling.batches) if filling else 0
    work = WORK_OF_TEXTURE * int(deep.sum())
    total = count * (work + PIXELS_PER_PART * parts)

    @torch.inference_mode()  # which makes many small steps a third faster
    def drawn() -> Iterator[Tensor]:
        chain, done = None, 0

        def tell(more: float) -> None:
            if progress:
                progress((done + more) / total)

        for number in range(count):
            if deep.any():
                seed = int(torch.randint(1 << 31, (), generator=generator))
                found = _from_elsewhere(image, names, barred, seed, lambda of: tell(work * of))
                x[:, :height, :width] = found
                done += work
            if filling and (deep.any() or chain is None):
                chain = Chain(filling, x, particles, generator)
            if preview and number == 0:
                preview(x[:, :height, :width].clone())
            for batch, _ in chain.sweep() if chain else ():
                done += PIXELS_PER_PART * batch.count
                tell(0)
            yield x[:, :height, :width].clone()

    return drawn()


def deep_parts(hole: Mask) -> Mask:
    """Where a hole [H, W] is more than 2·`DEEP` pixels wide, up to its edge there.

    Example:
        >>> hole = np.zeros((40, 60), dtype=bool)
        >>> hole[5:25, 5:25] = hole[12:14, 25:50] = True
        >>> bool(deep_parts(hole)[5:25, 5:25].all()), bool(deep_parts(hole)[:, 30:].any())
        (True, False)
    """
    deep = np.zeros_like(hole)
    deep[hole] = _depths(hole) > DEEP
    if deep.any():
        deep = hole & (distance_transform_cdt(~deep, "chessboard") <= DEEP)
    return deep


def _from_elsewhere(
    image: Tensor,
    names: NDArray[np.int64],
    barred: Mask,
    seed: int,
    progress: Callable[[float], None],
) -> Tensor:
    """A photograph [C, H, W] with parts of a hole filled, one after another.

    Args:
        image: uint8 [C, H, W].
        names: Of the part that a pixel belongs to, or 0, [H, W].
        barred: What nothing comes from, [H, W].
        seed: Of `textured`.
        progress: Called with the share of the work that is done.
    """
    image, every = image.clone(), find_objects(names)
    for number, box in enumerate(every):
        if box is not None:
            margin = max(MARGIN, *(2 * (of.stop - of.start) for of in box))
            part = tuple(slice(max(of.start - margin, 0), of.stop + margin) for of in box)
            own = names[part] == number + 1
            image[:, *part] = textured(image[:, *part], own, barred=barred[part], seed=seed)
        progress((number + 1) / len(every))
    return image


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
