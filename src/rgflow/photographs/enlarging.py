"""Enlarging photographs: a photograph is taken as the coarse image, and finer levels are added.

Letters in shapes: C channels; H, W rows and columns.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from rgflow.bijectors.cellwise import BAND, Band
from rgflow.cells import Mask
from rgflow.checks import check_at_least
from rgflow.flow import Flow
from rgflow.geometries.windows import Squares
from rgflow.model import RGFlow, RGStep
from rgflow.photographs.scoring import (
    averaged,
    grids,
    has_averages,
    sized,
    unaveraged,
    window_of,
    windows_of,
)

FACTORS = (2, 4, 8)
"""Factors by which both edges of a photograph can grow."""


@torch.no_grad()
def enlarge(
    flow: Flow,
    image: Tensor,
    factor: int = 2,
    *,
    temperature: float | None = None,
    generator: torch.Generator | None = None,
    keep: Path | None = None,
    progress: Callable[[float], None] | None = None,
) -> Tensor:
    """Enlarge a photograph by adding finer levels.

    Its pixels stay, as every second, fourth or eighth pixel of the result in both directions or, if
    the flow's coarse images are averages, as averages of squares of 2×2 pixels, level by level. The
    pixels between them are drawn phase by phase or, without a temperature, set to the medians of
    their distributions.

    Args:
        flow: A flow of windows, with one set of weights for all levels.
        image: uint8 [C, H, W].
        factor: 2, 4 or 8.
        temperature: T of p^(1/T), at which the finer levels are drawn; None: medians.
        generator: Source of randomness, on the CPU.
        keep: A folder that keeps what is done, so that the same call continues after an
            interruption. It has to be empty for other arguments, and isn't removed.
        progress: Called with the share of the work that is done.

    Returns:
        uint8 [C, factor·H, factor·W].

    Raises:
        ValueError: If the flow is of another kind or has weights of its own at some levels, the
            temperature is negative, or there is no such factor.

    Example:
        >>> from rgflow import load_flow
        >>> image = torch.full((3, 9, 14), 200, dtype=torch.uint8)
        >>> large = enlarge(load_flow("photos"), image, 2)
        >>> large.shape, torch.equal(large[:, ::2, ::2], image)
        (torch.Size([3, 18, 28]), True)
    """
    if factor not in FACTORS:
        raise ValueError(f"Expected a factor of {', '.join(map(str, FACTORS))}; got {factor}.")
    if not flow.config.shared or flow.config.shared_from:
        raise ValueError(
            "Expected a flow with one set of weights for all levels, which also serves finer ones; "
            "this one has weights of its own at some levels."
        )
    if temperature is not None:
        check_at_least("temperature", temperature, 0)
    done, total = 0, image[0].numel() * (factor**2 - 1)
    kept = _Kept(keep)
    while factor > 1:
        larger = kept.image((len(image), 2 * image.shape[1], 2 * image.shape[2]))
        larger[:, ::2, ::2] = image
        for band in _bands(sized(flow, larger[None]).steps[0]):
            values, context = band.read(larger[None])
            u = _uniforms(flow, values, temperature, generator)
            done += len(band.cells)
            if done > kept.done:
                free = torch.ones(len(values), dtype=torch.bool, device=values.device)
                drawn = window_of(band.layer).draw_levels(values, free, u, context)[0]
                band.write(larger[None], drawn)
                kept.write(done)
            if progress:
                progress(done / total)
        if has_averages(flow):
            larger = averaged(larger[None], -1)[0]
        image, factor = larger, factor // 2
    return image


def _bands(step: RGStep) -> Iterator[Band]:
    """The layers of a level in the order of generation, in bands."""
    for layer in reversed(windows_of(step)):
        yield from layer.bands(BAND)


class _Kept:
    """Images in files of a folder, and how many of their pixels are done; without a folder, in
    memory."""

    def __init__(self, folder: Path | None) -> None:
        self._folder, self.done = folder, 0
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            self._count = folder / "done.txt"
            self.done = int(self._count.read_text() or 0) if self._count.is_file() else 0

    def image(self, shape: tuple[int, int, int]) -> Tensor:
        """An image of bytes, with what is kept of it."""
        if not self._folder:
            return torch.zeros(shape, dtype=torch.uint8)
        name = str(self._folder / f"{shape[1]}.raw")
        kept = torch.from_file(name, shared=True, size=math.prod(shape), dtype=torch.uint8)
        return kept.view(shape)

    def write(self, done: int) -> None:
        """Note that so many pixels are done."""
        if self._folder:
            self._count.write_text(str(done))


def _uniforms(
    flow: Flow, like: Tensor, temperature: float | None, generator: torch.Generator | None
) -> Tensor:
    """Numbers by which bytes like [k, C] are drawn: uniform at temperature 1; ½ without one."""
    if temperature is None:
        return torch.full_like(like, 0.5)
    prior = flow.prior.tempered(temperature)
    z = prior.sample_like(torch.empty(like.shape, dtype=like.dtype), generator)
    return from_cube(flow.prior.to_cube(z).to(like))


def from_cube(d: Tensor) -> Tensor:
    """Uniform numbers […] below 1 from cube coordinates […] (`rgflow.priors`)."""
    return torch.where(d > 0, d, (1 + d).clamp(max=1 - torch.finfo(d.dtype).eps))


@torch.no_grad()
def redraw(
    flow: Flow,
    image: Tensor,
    hole: Mask,
    *,
    levels: int,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
    progress: Callable[[float], None] | None = None,
) -> Tensor:
    """Redraw the detail of a region, given its coarse levels and its surroundings.

    Where coarse images are averages, this is the detail of all squares inside the region.

    Args:
        flow: A flow of windows, of any size.
        image: uint8 [C, H, W].
        hole: The region, [H, W].
        levels: Number of finest levels to redraw.
        temperature: T of p^(1/T).
        generator: Source of randomness, on the CPU.
        progress: Called with the share of the work that is done.

    Returns:
        uint8 [C, H, W].

    Raises:
        ValueError: As for `restore`.

    Example:
        >>> import numpy as np
        >>> from rgflow import load_flow
        >>> image = torch.randint(256, (3, 32, 32), dtype=torch.uint8)
        >>> hole = np.zeros((32, 32), dtype=bool)
        >>> hole[8:24, 8:24] = True
        >>> new = redraw(load_flow("photos"), image, hole, levels=1)
        >>> bool((new != image)[:, hole].any()), torch.equal(new[:, ::2, ::2], image[:, ::2, ::2])
        (True, True)
    """
    of = sized(flow, image[None])
    found = grids(of, image[None].clone())
    inside, count, done = _inside(of, hole), min(levels, of.levels), 0
    total = sum(
        int(marked.sum() - (0 if step.top else marked[::2, ::2].sum()))
        for marked, step in zip(inside[:count], of.steps, strict=False)
    )
    for level in reversed(range(count)):
        if level + 1 < count:
            found[level][:, :, ::2, ::2] = unaveraged(of, found, level + 1)
        for band in _bands(of.steps[level]):
            (i, j), step, shape = band.cells.start, band.cells.step, band.cells.shape
            marked = inside[level][band.rows][i::step, j::step][: shape[0], : shape[1]]
            if not marked.any():
                continue
            free = torch.from_numpy(marked.flatten()).to(flow.device)
            every, context = band.read(found[level])
            values = every[free]
            u = _uniforms(flow, values, temperature, generator)
            drawn = window_of(band.layer).draw_levels(values, free[free], u, context.rows(free))[0]
            band.write(found[level], every.index_put((free,), drawn.to(every)))
            done += len(values)
            if progress:
                progress(done / total)
    return unaveraged(of, found, 0)[0]


def _inside(flow: RGFlow, hole: Mask) -> list[Mask]:
    """The sites on the grid of every level that change nothing outside a region [H, W]."""
    found = []
    for step in flow.steps:
        if not step.top and has_averages(flow):
            hole = ~Squares(0, hole.shape, hole.shape, periodic=False).spread(~hole)
        found.append(hole)
        hole = hole[::2, ::2]
    return found
