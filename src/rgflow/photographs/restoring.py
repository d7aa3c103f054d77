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
    label,
)
from torch import Tensor

from rgflow.bijectors.base import Context
from rgflow.bijectors.cellwise import BAND, Band
from rgflow.cells import Mask, Sublattice
from rgflow.flow import Flow
from rgflow.photographs.scoring import check_windows, padded, sized, window_of
from rgflow.photographs.spectral import spectral
from rgflow.photographs.surroundings import Surroundings, reach
from rgflow.photographs.texture import textured
from rgflow.repair.particles import Chain, filling_of

SWEEPS = 2
"""Number of times every missing pixel is estimated. This and the next three were chosen on
validation photographs of `wallpapers`."""
SHARE, DECAY = 0.6, 0.7
"""The weight of that estimate against the first guess at the edge of a hole, and the factor by
which it falls with every pixel from there: with fewer known neighbours an estimate says less."""
DEEP = 8
"""Distance in pixels from the edge of a hole above which estimates say little."""
FADE = 0.8
"""The factor by which the weight of few waves against what comes from elsewhere falls with every
pixel from the edge, where a hole is more than twice that wide; chosen as the others."""
MARGIN = 160
"""How far in pixels around a part of a hole at least it is filled from, and twice its edge."""
WORK_OF_GUESS, PIXELS_PER_PART, WORK_OF_TEXTURE = 3, 500, 20
"""Pixels that a sweep estimates in the time of the first guess of one, in that in which one part of
a completion is drawn, and in that in which one pixel comes from elsewhere."""
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

    It starts as what has few waves (`rgflow.photographs.spectral`); where it is more than 16 pixels
    wide (`deep_parts`) this is blended with what the photograph holds elsewhere
    (`rgflow.photographs.texture`). Then every pixel near the edge is blended with the median of its
    distribution given all others, in two sweeps. Each update takes one evaluation of the network,
    however large the photograph. The farther from the edge, where less is known, the less it
    counts.

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
    """A hole to `restore`, and its first guess, which no flow changes.

    Args:
        image: As of `restore`.
        hole: As of `restore`.

    Raises:
        ValueError: If sizes don't fit, or none or all pixels are missing.
    """

    def __init__(self, image: Tensor, hole: Mask) -> None:
        self._image, self._hole = image, check_hole(image, hole)
        self._depths = _depths(self._hole)
        self._guess: Tensor | None = None

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
        _check_sites(check_windows(flow), "repairs by medians")
        deep, shallow = deep_parts(self._hole), np.zeros_like(self._hole)
        shallow[self._hole] = self._depths <= DEEP
        work = [WORK_OF_TEXTURE * int(deep.sum()), WORK_OF_GUESS * len(self._depths)]
        work = [*(work if self._guess is None else (0, 0)), sweeps * int(shallow.sum())]

        def stage(number: int) -> Callable[[float], None]:
            def tell(share: float) -> None:
                if progress:
                    progress((sum(work[:number]) + share * work[number]) / max(sum(work), 1))

            return tell

        if self._guess is None:
            other = _from_elsewhere(self._image, deep, self._hole, 0, stage(0))
            guess, share = spectral(self._image, self._hole, progress=stage(1)), np.ones(deep.shape)
            share[self._hole] = FADE ** (self._depths - 1.0)
            there = torch.from_numpy(deep)
            few = torch.from_numpy(share)[there].to(guess.device)
            there = there.to(guess.device)
            mixed = few * guess[:, there] + (1 - few) * other[:, there]
            guess[:, there] = mixed.round().to(torch.uint8)
            self._guess = guess
        found, there = self._guess, torch.from_numpy(shallow).to(self._guess.device)
        for sweep, values in enumerate(self._medians(flow, shallow, sweeps, stage(2))):
            found = self._guess.clone()
            found[:, there] = values.to(found)
            if preview and sweep + 1 < sweeps:
                preview(found)
        return found

    def _medians(
        self, flow: Flow, shallow: Mask, sweeps: int, progress: Callable[[float], None]
    ) -> Iterator[Tensor]:
        """Levels of shallow pixels [H, W] after every sweep, blended with the guess, [C, k]."""
        assert self._guess is not None
        around, sites = Around(flow, self._guess), np.argwhere(shallow)
        i, j = torch.as_tensor(sites, device=around.image.device).T
        begun = around.image[:, i, j].clone()
        weights = SHARE * DECAY ** (self._depths[shallow[self._hole]] - 1.0)
        share = torch.as_tensor(weights, device=around.image.device)
        colours = sites[:, 0] % around.step * around.step + sites[:, 1] % around.step
        groups = [np.flatnonzero(colours == colour) for colour in range(around.step**2)]
        parts = [group[k : k + BAND] for group in groups for k in range(0, len(group), BAND)]
        for sweep in range(sweeps):
            for number, part in enumerate(parts):
                where = torch.as_tensor(sites[part], device=around.image.device)
                around.image[:, *where.T] = around.median(where).T.to(torch.uint8)
                progress((sweep + (number + 1) / len(parts)) / sweeps)
            yield (share * around.image[:, i, j] + (1 - share) * begun).round()


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
        preview: Called with a first completion, before any part of it is drawn again.

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
    hole = hole & ~deep
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
                found = _from_elsewhere(image, deep, barred, seed, lambda of: tell(work * of))
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
    deep: Mask,
    barred: Mask,
    seed: int,
    progress: Callable[[float], None],
) -> Tensor:
    """A photograph [C, H, W] with deep parts of a hole filled, one after another.

    Args:
        image: uint8 [C, H, W].
        deep: These parts, [H, W].
        barred: What nothing comes from, [H, W].
        seed: Of `textured`.
        progress: Called with the share of the work that is done.
    """
    image, names = image.clone(), label(deep, np.ones((3, 3)))[0]
    every = find_objects(names)
    for number, box in enumerate(every):
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
