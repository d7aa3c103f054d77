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

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from rgflow.bijectors.cellwise import BAND, Band
from rgflow.checks import check_at_least, check_whole
from rgflow.flow import Flow
from rgflow.latents import Address
from rgflow.model import RGFlow
from rgflow.photographs.enlarging import from_cube
from rgflow.photographs.pictures import Pixels, image_of
from rgflow.photographs.scoring import coarse_images, halved, sized, window_of, with_coarse

Progress = Callable[[float], None]


Latents = Callable[[Band, Tensor, Callable[[], Tensor]], Tensor]
"""The new latents of some cells of a band, [k, C], given the band, the mask of these cells, and a
function that computes their present latents."""


class _Read:
    """What the layers of every level read of a photograph, uint8 [C, H, W], towards the latents."""

    def __init__(self, flow: RGFlow, image: Tensor) -> None:
        self.images = coarse_images(flow, image[None])
        pairs = zip(self.images, self.images[1:], strict=False)
        self._with_coarse = [*(with_coarse(*pair) for pair in pairs), self.images[-1]]

    def __call__(self, band: Band) -> Tensor:
        """The grid that a band reads, [1, C, h, w]: of pixels, or with averages in the place of
        those whose layers have put them there."""
        averages = window_of(band.layer).averages
        return (self.images if averages else self._with_coarse)[band.level]


@torch.no_grad()
def _changed(
    flow: RGFlow,
    image: Tensor,
    touched: Callable[[Band], bool | Tensor],
    latents: Latents,
    progress: Progress | None = None,
) -> Tensor:
    """A photograph with other latents, uint8 [C, H, W].

    Args:
        flow: Of the photograph's size.
        image: The photograph, uint8 [C, H, W].
        touched: Which cells of a band get other latents: all, none, or a mask.
        latents: Which these are.
        progress: Called with the share of the work that is done.
    """
    before, after, done, changed = _Read(flow, image), image[None], 0, False
    total = sum(len(layer.cells) for layer in flow.layers)
    for level in reversed(range(flow.levels)):
        new = before.images[level].clone()
        if level + 1 < flow.levels:
            new = with_coarse(new, after)
        layers = flow.steps[level].cellwise
        for band in reversed([band for layer in layers for band in layer.bands(BAND)]):
            averages = window_of(band.layer).averages
            mask = torch.as_tensor(touched(band), device=flow.device)
            if changed or averages or mask.any():  # otherwise all that it reads is as before
                changed |= _rewrite(flow, before(band), new, band, mask, latents)
            done += len(band.cells)
            if progress:
                progress(done / total)
        after = new
    return after[0]


def _rewrite(
    flow: RGFlow, before: Tensor, after: Tensor, band: Band, touched: Tensor, latents: Latents
) -> bool:
    """Write the cells of a band that are touched, or whose context on a level's grid isn't what it
    was before; whether there are any."""
    levels, context = band.read(before)
    own, now = band.read(after)
    window = window_of(band.layer)
    which = (context.values != now.values).any(1) | touched
    if window.averages:
        which |= (window.averages_of(levels, context) != own).any(1)
    if which.any():
        z = latents(band, which, lambda: _latents(flow, band, before, which))
        u = from_cube(flow.prior.to_cube(z).to(levels))
        free = torch.ones(len(u), dtype=torch.bool, device=u.device)
        levels[which] = window.draw_levels(own[which], free, u, now.rows(which))[0].to(levels)
    if window.averages or which.any():
        band.write(after, levels)
    return bool(which.any())


def _latents(flow: Flow, band: Band, grid: Tensor, which: Tensor) -> Tensor:
    """The latents of some cells of a band of a grid, [k, C]."""
    levels, context = band.read(grid)
    return flow.prior.from_cube(window_of(band.layer).places(levels[which], context.rows(which)))


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
    other, of_level = _Read(of, second), [*shares, *[0.0] * of.levels]

    def latents(band: Band, which: Tensor, present: Callable[[], Tensor]) -> Tensor:
        if not (share := of_level[band.level]):
            return present()
        theirs = _latents(of, band, other(band), which)
        return theirs if share == 1 else torch.lerp(present(), theirs, share)

    return _changed(of, first, lambda band: of_level[band.level] != 0, latents, progress)


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
    prior = of.prior.tempered(temperature)

    def latents(band: Band, which: Tensor, present: Callable[[], Tensor]) -> Tensor:
        if band.level != level:
            return present()
        new = torch.empty(int(which.sum()), len(image), dtype=of.dtype)  # the same on every device
        return prior.sample_like(new, generator).to(of.device)

    return _changed(of, image, lambda band: band.level == level, latents, progress)


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
        max(abs(offset) for site in layer.cells.reads for offset in site) << layer.cells.level
        for layer in of.layers
        if layer.cells.level <= level
    )
    rows, columns = (  # in which all these levels lie as before
        slice(max(at - reach, 0) // unit * unit, min(-(-(at + reach + 1) // unit) * unit, size))
        for at, size, unit in zip((i, j), (height, width), of.lattice.period(level), strict=True)
    )

    def touched(band: Band) -> Tensor:
        starts, step = (band.first, band.cells.start[1]), band.cells.step
        row, column = (
            start + step * torch.arange(count, device=of.device) == (at - part.start) >> level
            for start, count, at, part in zip(
                starts, band.cells.shape, (i, j), (rows, columns), strict=True
            )
        )
        return (row[:, None] & column).flatten() & (band.level == level)

    def latents(band: Band, which: Tensor, present: Callable[[], Tensor]) -> Tensor:
        z, here = present(), touched(band)[which]
        z[here, channel] = z[here, channel] + value if add else value
        return z

    out, part = image.clone(), image[:, rows, columns].contiguous()
    out[:, rows, columns] = _changed(sized(flow, part[None]), part, touched, latents)
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
        small = halved(small) if flow.config.geometry.averages else small[:, :, ::2, ::2]
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
