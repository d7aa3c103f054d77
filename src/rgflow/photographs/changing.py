"""Photographs with changed latents: two mixed by level, a level redrawn, one latent moved.

One cell writes each pixel, and its latents are the positions of the channels in their
distributions, given the context of the cell. So a photograph with changed latents is written cell
by cell, coarse levels first: the latents of a pixel are computed from the photograph, changed, and
decoded given the pixels around it as they are now. Where neither the latents nor the context have
changed, the pixel stays as it is, and nothing is evaluated.

Letters in shapes: C channels; H, W rows and columns; k cells.
"""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from rgflow.bijectors.base import Context
from rgflow.bijectors.cellwise import BAND, Band
from rgflow.checks import check_at_least, check_whole
from rgflow.flow import Flow
from rgflow.latents import Address
from rgflow.model import RGFlow
from rgflow.photographs.enlarging import from_cube
from rgflow.photographs.pictures import Pixels, image_of
from rgflow.photographs.scoring import (
    averaged,
    grids,
    has_averages,
    sized,
    unaveraged,
    window_of,
    windows_of,
)

Progress = Callable[[float], None]


class _Change(Protocol):
    """How the latents of cells change."""

    def touches(self, part: Band) -> bool | Tensor:
        """Which cells get other latents: all, none, or a mask [k]."""
        ...

    def latents(self, part: Band, which: Tensor, own: Callable[[], Tensor]) -> Tensor:
        """The new latents of some cells, whose own latents are those [k, C]."""
        ...


@torch.no_grad()
def _changed(flow: RGFlow, image: Tensor, change: _Change, progress: Progress | None) -> Tensor:
    """A photograph, uint8 [C, H, W], with other latents; the flow is of its size."""
    before, out, done = grids(flow, image[None]), grids(flow, image[None].clone()), 0
    changed = False
    for level in reversed(range(flow.levels)):
        if level + 1 < flow.levels:
            out[level][:, :, ::2, ::2] = unaveraged(flow, out, level + 1)
        for part in reversed(_bands(flow, level)):
            touched = torch.as_tensor(change.touches(part), device=flow.device)
            if changed or touched.any():  # otherwise all that it reads is as before
                changed |= _rewrite(flow, before, out, part, change, touched)
            done += len(part.cells)
            if progress:
                progress(done / image[0].numel())
    return unaveraged(flow, out, 0)[0]


def _bands(flow: RGFlow, level: int) -> list[Band]:
    """The cells of a level in bands of rows, in the order of inference."""
    return [band for layer in windows_of(flow.steps[level]) for band in layer.bands(BAND)]


def _rewrite(
    flow: RGFlow,
    before: list[Tensor],
    out: list[Tensor],
    part: Band,
    change: _Change,
    touched: Tensor,
) -> bool:
    """Write the cells of a part, of `grids` as they were and as they are to be; whether any are
    others."""
    levels, around = part.read(before[part.level])
    now = out[part.level]
    _, given = part.read(now)
    which = (around.values != given.values).any(1) | touched
    if not which.any():
        return False
    window, own = window_of(part.layer), levels[which]
    z = change.latents(part, which, lambda: _latents(flow, part, levels, around, which))
    u = from_cube(flow.prior.to_cube(z).to(own))
    free = torch.ones(len(own), dtype=torch.bool, device=own.device)
    new = levels.clone()
    new[which] = window.draw_levels(own, free, u, given.rows(which))[0].to(levels)
    part.write(now, new)
    return True


def _latents(flow: Flow, part: Band, levels: Tensor, around: Context, which: Tensor) -> Tensor:
    """The latents of some cells, [k, C]."""
    places = window_of(part.layer).places(levels[which], around.rows(which))
    return flow.prior.from_cube(places)


class _Mixed:
    """Latents between those of two photographs, by the share of the second at every level."""

    def __init__(self, flow: RGFlow, second: Tensor, shares: Sequence[float]) -> None:
        self.flow, self.second, self.shares = flow, grids(flow, second[None]), shares

    def _share(self, part: Band) -> float:
        return self.shares[part.level] if part.level < len(self.shares) else 0.0

    def touches(self, part: Band) -> bool:
        return self._share(part) != 0

    def latents(self, part: Band, which: Tensor, own: Callable[[], Tensor]) -> Tensor:
        if not (share := self._share(part)):
            return own()
        other = _latents(self.flow, part, *part.read(self.second[part.level]), which)
        return other if share == 1 else torch.lerp(own(), other, share)


class _Anew:
    """Latents of one level drawn from the prior."""

    def __init__(
        self, flow: Flow, level: int, temperature: float, generator: torch.Generator | None
    ) -> None:
        self.level, self.generator = level, generator
        self.prior = flow.prior.tempered(temperature, "density")

    def touches(self, part: Band) -> bool:
        return part.level == self.level

    def latents(self, part: Band, which: Tensor, own: Callable[[], Tensor]) -> Tensor:
        z = own()
        if part.level != self.level:
            return z
        new = torch.empty(z.shape, dtype=z.dtype)  # on the CPU, so that seeds mean the same
        return self.prior.sample_like(new, self.generator).to(z)


class _Moved:
    """One latent at another value."""

    def __init__(self, address: Address, value: float, add: bool) -> None:
        self.address, self.value, self.add = address, value, add

    def touches(self, part: Band) -> Tensor:
        level, i, j, _ = self.address
        rows, columns = part.cells.shape
        there = torch.zeros(rows, columns, dtype=torch.bool)
        row, inside = divmod((i >> level) - part.first, part.cells.step)
        column, along = divmod((j >> level) - part.cells.start[1], part.cells.step)
        if (
            part.level == level
            and inside == along == 0
            and 0 <= row < rows
            and 0 <= column < columns
        ):
            there[row, column] = True
        return there.flatten()

    def latents(self, part: Band, which: Tensor, own: Callable[[], Tensor]) -> Tensor:
        z, channel = own(), self.address[3]
        here = self.touches(part).to(which.device)[which]
        z[here, channel] = z[here, channel] + self.value if self.add else self.value
        return z


def mix(
    flow: Flow,
    first: Tensor,
    second: Tensor,
    shares: Sequence[float],
    *,
    progress: Progress | None = None,
) -> Tensor:
    """Mix two photographs by level (`rgflow.analysis.mixing`).

    Args:
        flow: A flow of windows, of any size.
        first: uint8 [C, H, W].
        second: A photograph of the same size.
        shares: λ of the second at every level, level 0 first; 0 at all further levels.
        progress: Called with the share of the work that is done.

    Returns:
        uint8 [C, H, W].

    Raises:
        ValueError: If the flow is of another kind, sizes differ, or a share isn't finite.

    Example:
        >>> from rgflow import load_flow
        >>> first, second = torch.randint(256, (2, 3, 24, 32), dtype=torch.uint8)
        >>> mixed = mix(load_flow("photos"), first, second, (1, 1))
        >>> torch.equal(mixed[:, ::4, ::4], first[:, ::4, ::4]), torch.equal(mixed, first)
        (True, False)
    """
    if first.shape != second.shape:
        raise ValueError(
            f"Expected two photographs of one size; got {list(first.shape)} and "
            f"{list(second.shape)}."
        )
    if not all(map(math.isfinite, shares)):
        raise ValueError(f"Expected finite shares; got {list(shares)}.")
    of = sized(flow, second[None])
    return _changed(of, first, _Mixed(of, second, shares), progress)


def draw_level(
    flow: Flow,
    image: Tensor,
    level: int,
    *,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Redraw the latents of one level of a photograph, and keep all others.

    Args:
        flow: A flow of windows, of any size.
        image: uint8 [C, H, W].
        level: The level.
        temperature: T of p^(1/T).
        generator: Source of randomness, on the CPU.
        progress: Called with the share of the work that is done.

    Returns:
        uint8 [C, H, W].

    Raises:
        ValueError: If the flow is of another kind, or has no such level at this size.

    Example:
        >>> from rgflow import load_flow
        >>> image = torch.randint(256, (3, 24, 32), dtype=torch.uint8)
        >>> new = draw_level(load_flow("photos"), image, 1)
        >>> torch.equal(new[:, ::4, ::4], image[:, ::4, ::4]), torch.equal(new, image)
        (True, False)
    """
    of = sized(flow, image[None])
    check_whole("level", level, 0, of.levels - 1)
    check_at_least("temperature", temperature, 0)
    return _changed(of, image, _Anew(of, level, temperature, generator), progress)


def vary(
    flow: Flow, image: Tensor, address: Address, value: float, *, add: bool = False
) -> tuple[Tensor, tuple[slice, slice]]:
    """Set one latent of a photograph. Only what may depend on it is evaluated.

    Args:
        flow: A flow of windows, of any size.
        image: uint8 [C, H, W].
        address: (h, i, j, c), level, pixel position of the site, channel.
        value: The value.
        add: Add it to the latent instead of replacing it.

    Returns:
        uint8 [C, H, W], and the rows and columns outside which nothing changes.

    Raises:
        ValueError: If the flow is of another kind, or there is no such latent.

    Example:
        >>> from rgflow import load_flow
        >>> image = torch.randint(256, (3, 40, 40), dtype=torch.uint8)
        >>> new, (rows, columns) = vary(load_flow("photos"), image, (1, 2, 4, 0), 3.0)
        >>> torch.equal(new[:, ::4, ::4], image[:, ::4, ::4]), torch.equal(new, image)
        (True, False)
    """
    of = sized(flow, image[None])
    level, i, j, channel = address
    height, width = image.shape[1:]
    of.lattice.check_site(level, i, j)
    if not (0 <= channel < len(image) and i < height and j < width and math.isfinite(value)):
        raise ValueError(
            f"Expected a latent at a pixel of {width}×{height}, and a finite value; got "
            f"{list(address)} and {value}."
        )
    reach = sum(
        max(map(abs, offset)) << h
        for h, step in enumerate(of.steps[: level + 1])
        for layer in step.cellwise
        for offset in [max(layer.cells.reads, key=lambda o: max(map(abs, o)))]
    )
    rows, columns = (  # in which all these levels lie as before
        slice(max(at - reach, 0) // unit * unit, min(-(-(at + reach + 1) // unit) * unit, size))
        for at, size, unit in zip((i, j), (height, width), of.lattice.period(level), strict=True)
    )
    moved = _Moved((level, i - rows.start, j - columns.start, channel), value, add)
    out, part = image.clone(), image[:, rows, columns].contiguous()
    out[:, rows, columns] = _changed(sized(flow, part[None]), part, moved, None)
    return out, (rows, columns)


def coarse(flow: Flow, pixels: Pixels, level: int) -> Pixels:
    """The coarse image of a photograph [C, H, W] at a level, each pixel drawn as a square.

    Example:
        >>> from rgflow import load_flow
        >>> coarse(load_flow("photos"), np.arange(6, dtype=np.uint8).reshape(1, 2, 3), 1)
        array([[[0, 0, 2],
                [0, 0, 2]]], dtype=uint8)
    """
    small = torch.from_numpy(pixels)[None]
    for _ in range(level):
        small = (averaged(small, 1) if has_averages(flow) else small)[:, :, ::2, ::2]
    large = small[0].numpy().repeat(1 << level, 1).repeat(1 << level, 2)
    return large[:, : pixels.shape[1], : pixels.shape[2]]


def fitted(pixels: Pixels, height: int, width: int) -> Pixels:
    """A photograph [C, H, W], cropped at its centre and resized to another size.

    Example:
        >>> fitted(np.zeros((3, 40, 90), dtype=np.uint8), 20, 20).shape
        (3, 20, 20)
    """
    if pixels.shape[1:] == (height, width):
        return pixels
    image = ImageOps.fit(image_of(pixels), (width, height), Image.Resampling.LANCZOS)
    return np.ascontiguousarray(np.asarray(image).reshape(height, width, -1).transpose(2, 0, 1))
