"""Enlarging photographs: a photograph is taken as the coarse image, and finer levels are added.

Letters in shapes: C channels; H, W rows and columns.
"""

import math
import zlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from rgflow.bijectors.cellwise import BAND, Band
from rgflow.cells import Mask
from rgflow.checks import check_at_least
from rgflow.files import writing
from rgflow.flow import Flow
from rgflow.model import RGFlow, RGStep
from rgflow.photographs.scoring import (
    check_windows,
    coarse_images,
    sized,
    window_of,
    with_coarse,
)

MAX_FACTOR = 8
"""Maximum factor by which both edges of a photograph grow."""


@torch.no_grad()
def enlarge(
    flow: Flow,
    image: Tensor,
    factor: float = 2,
    *,
    temperature: float | None = None,
    generator: torch.Generator | None = None,
    keep: Path | None = None,
    progress: Callable[[float], None] | None = None,
) -> Tensor:
    """Enlarge a photograph by adding finer levels.

    Its pixels stay: as averages of squares of 2×2 pixels, level by level, if the flow's coarse
    images are such, and otherwise as every second, fourth or eighth pixel of the result in both
    directions. The pixels of the result are drawn phase by phase or, without a temperature, set to
    the means of their distributions, given those before.

    Args:
        flow: A flow of windows, with one set of weights for all levels.
        image: uint8 [C, H, W].
        factor: 2, 4 or 8, or, where coarse images are averages, any number above 1 and at most 8:
            the photograph is enlarged to the next of these, and reduced by Lanczos.
        temperature: T of p^(1/T), at which the finer levels are drawn; None: means.
        generator: Source of randomness, on the CPU.
        keep: A file that keeps what is done, so that the same call continues after an
            interruption. It may not be there for other arguments, and isn't removed.
        progress: Called with the share of the work that is done.

    Returns:
        uint8 [C, factor·H, factor·W], rounded.

    Raises:
        ValueError: If the flow is of another kind or has weights of its own at some levels, the
            temperature is negative, or there is no such factor.
        OSError: If `keep` can't be written.

    Example:
        >>> from rgflow import load_flow
        >>> image = torch.full((3, 9, 14), 200, dtype=torch.uint8)
        >>> large = enlarge(load_flow("photos"), image, 2)
        >>> large.shape, torch.equal(large[:, ::2, ::2], image)
        (torch.Size([3, 18, 28]), True)
    """
    check_factor(flow, factor)
    if not flow.config.shared or flow.config.shared_from:
        raise ValueError(
            "Expected a flow with one set of weights for all levels, which also serves finer ones; "
            "this one has weights of its own at some levels."
        )
    if temperature is not None:
        check_at_least("temperature", temperature, 0)
    least, size = check_windows(flow).config.geometry.smallest, image.shape[1:]
    left = power = 1 << math.ceil(math.log2(factor))
    whole = [power * edge for edge in size]
    if min(size) < least:  # a flow keeps no pixels of a coarsest level, so repeat those at the edge
        i, j = (torch.arange(max(edge, least)).clamp(max=edge - 1) for edge in size)
        image = image[:, i][:, :, j]
    done, total = 0, 1
    with _Kept(keep) if keep else nullcontext() as kept:
        while left > 1:
            larger = torch.zeros(
                len(image), 2 * image.shape[1], 2 * image.shape[2], dtype=torch.uint8
            )
            larger[:, ::2, ::2] = image
            step = sized(flow, larger[None]).steps[0]
            if not done:  # every doubling has four times the work of the one before
                cells = sum(len(layer.cells) for layer in step.cellwise)
                total = cells * (power**2 - 1) // 3
            for band in _bands(step):
                values, context = band.read(larger[None])
                u = _uniforms(flow, values, temperature, generator)
                drawn = kept.read(values) if kept else None
                if drawn is None:
                    free = torch.ones(len(values), dtype=torch.bool, device=values.device)
                    drawn = window_of(band.layer).draw_levels(values, free, u, context)[0]
                    if kept:
                        kept.write(drawn)
                band.write(larger[None], drawn)
                done += len(band.cells)
                if progress:
                    progress(done / total)
            image, left = larger, left // 2
    image = image[:, : whole[0], : whole[1]]
    return image if factor == power else resized(image, *(round(factor * edge) for edge in size))


def check_factor(flow: Flow, factor: float) -> None:
    """Raise a `ValueError` unless a flow of windows can enlarge by a factor."""
    any_number = flow.config.geometry.averages
    if not 1 < factor <= MAX_FACTOR or not (any_number or math.log2(factor).is_integer()):
        known = "above 1 and at most 8" if any_number else "of 2, 4 or 8"
        raise ValueError(f"Expected a factor {known}; got {factor:g}.")


def resized(image: Tensor, height: int, width: int) -> Tensor:
    """A photograph, uint8 [C, H, W], at another size by Lanczos, as `PIL.Image.resize` does it."""
    how = Image.Resampling.LANCZOS
    planes = [Image.fromarray(plane).resize((width, height), how) for plane in image.cpu().numpy()]
    return torch.from_numpy(np.stack([np.asarray(plane) for plane in planes])).to(image.device)


def _bands(step: RGStep) -> Iterator[Band]:
    """The layers of a level in the order of generation, in bands."""
    for layer in reversed(step.cellwise):
        yield from layer.bands(BAND)


class _Kept:
    """Bytes that were drawn, in a file, one part after another, each behind its CRC-32; what a
    crash has cut off or not written is drawn anew."""

    def __init__(self, path: Path) -> None:
        self._path, self._reading = path, True
        with writing(path):
            path.touch()
            self._file = path.open("r+b", buffering=0)

    def __enter__(self) -> "_Kept":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, like: Tensor) -> Tensor | None:
        """The next part, of numbers like these; None if it isn't there."""
        if self._reading:
            start = self._file.tell()
            crc, content = self._file.read(4), self._file.read(like.numel())
            if len(content) == like.numel() and crc == _crc(content):
                numbers = torch.frombuffer(bytearray(content), dtype=torch.uint8)
                return numbers.view(like.shape).to(like)
            self._file.seek(start)
            self._file.truncate()
            self._reading = False
        return None

    def write(self, drawn: Tensor) -> None:
        """Add a part, of whole numbers below 256."""
        content = drawn.to("cpu", torch.uint8).numpy().tobytes()
        content = _crc(content) + content
        with writing(self._path):
            while content:  # a disk that is nearly full takes a part
                content = content[self._file.write(content) :]


def _crc(content: bytes) -> bytes:
    return zlib.crc32(content).to_bytes(4, "little")


def _uniforms(
    flow: Flow, like: Tensor, temperature: float | None, generator: torch.Generator | None
) -> Tensor | None:
    """Numbers by which bytes like [k, C] are drawn: uniform at temperature 1; none without one."""
    if temperature is None:
        return None
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
    found, inside, count = coarse_images(of, image[None]), _inside(of, hole), min(levels, of.levels)
    tasks: list[list[tuple[Band, Tensor]]] = [[] for _ in range(count)]
    for level, of_level in enumerate(tasks):
        for band in _bands(of.steps[level]):
            (i, j), step, shape = band.cells.start, band.cells.step, band.cells.shape
            marked = inside[level][band.rows][i::step, j::step][: shape[0], : shape[1]]
            if marked.any():
                of_level.append((band, torch.from_numpy(marked.flatten()).to(flow.device)))
    done, total = 0, sum(int(free.sum()) for of_level in tasks for _, free in of_level)
    for level in reversed(range(count)):
        top = of.steps[level].top
        grid = found[level].clone() if top else with_coarse(found[level], found[level + 1])
        for band, free in tasks[level]:
            every, context = band.read(grid)
            values = every[free]
            u = _uniforms(flow, values, temperature, generator)
            drawn = window_of(band.layer).draw_levels(values, free[free], u, context.rows(free))[0]
            band.write(grid, every.index_put((free,), drawn.to(every)))
            done += len(values)
            if progress:
                progress(done / total)
        new = torch.from_numpy(inside[level]).to(grid.device)
        found[level] = torch.where(new, grid, found[level])
    return found[0][0]


def _inside(flow: RGFlow, hole: Mask) -> list[Mask]:
    """The sites on the grid of every level that change nothing outside a region [H, W]."""
    found = []
    for step in flow.steps:
        if flow.config.geometry.averages and not step.top:
            outside = F.pad(torch.from_numpy(~hole), (0, hole.shape[1] % 2, 0, hole.shape[0] % 2))
            squares = outside.unfold(0, 2, 2).unfold(1, 2, 2).flatten(2).any(2)
            coarse = (~squares).numpy()
            whole = coarse.repeat(2, 0).repeat(2, 1)[: hole.shape[0], : hole.shape[1]]
        else:
            coarse, whole = hole[::2, ::2], hole
        found.append(whole)
        hole = coarse
    return found
