"""How many bits photographs of any size take under a flow of windows.

In encoding, a cell of windows reads nothing but pixels, so cells can be scored in any order, a few
rows at a time: beyond the photograph itself, memory doesn't grow with its size, and interrupted
work can continue.

Letters in shapes: N images; C channels; H, W rows and columns of a photograph.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from rgflow.bijectors.cellwise import BAND, Band
from rgflow.flow import Flow
from rgflow.model import RGFlow
from rgflow.repair.windows import are_windows, window_of

Done = Mapping[str, float]
"""Bits of the parts of a photograph that have been scored, by their names."""


@dataclass(frozen=True, eq=False)
class Bits:
    """How many bits a flow takes for photographs.

    Attributes:
        levels: Bits of every level, level 0 first, [N, levels].
        dim: Number of values of a photograph, C·H·W.
    """

    levels: Tensor
    dim: int

    @property
    def total(self) -> Tensor:
        """Bits of whole photographs, [N]."""
        return self.levels.sum(1)

    @property
    def per_dim(self) -> Tensor:
        """Bits per dimension, [N]."""
        return self.total / self.dim


def is_of_photographs(flow: Flow) -> bool:
    """Whether a flow is of photographs of any size: of windows with an open boundary, and uniform
    pixels."""
    if not isinstance(flow, RGFlow) or flow.labels is not None:
        return False
    return are_windows(flow, flow.layers) and not flow.layers[0].cells.periodic


def check_windows(flow: Flow) -> RGFlow:
    """A flow of photographs.

    Raises:
        ValueError: If it is another flow.
    """
    if not is_of_photographs(flow):
        raise ValueError(
            "Expected a flow of photographs: geometry windows with an open boundary and an even "
            "period, map window, uniform pixels, no labels, such as the model photos; this is "
            "another one."
        )
    return cast(RGFlow, flow)


def halved(images: Tensor) -> Tensor:
    """The averages of squares of 2×2 pixels, rounded, as `PIL.Image.reduce(2)` gives them, uint8
    [N, C, ⌈H/2⌉, ⌈W/2⌉]; at the edges of odd sizes, of the pixels that there are.

    Example:
        >>> halved(torch.tensor([[[[0, 1, 9], [1, 4, 8]]]], dtype=torch.uint8))
        tensor([[[[2, 9]]]], dtype=torch.uint8)
    """
    height, width = images.shape[2:]
    rows, columns = (
        2 - (2 * torch.arange(-(-edge // 2), device=images.device) + 1 >= edge).int()
        for edge in (height, width)
    )
    padded = F.pad(images, (0, width % 2, 0, height % 2)).int()
    total = padded[:, :, ::2] + padded[:, :, 1::2]
    total, n = total[..., ::2] + total[..., 1::2], rows[:, None] * columns
    return ((total + n // 2) // n).to(torch.uint8)


def coarse_images(flow: RGFlow, images: Tensor) -> list[Tensor]:
    """What comes to every level, uint8 [N, C, rows, columns], level 0 first: the images, and their
    averages or every second site, level by level.

    Args:
        flow: Of the images' size.
        images: uint8 [N, C, H, W].
    """
    found = [images]
    for _ in range(flow.levels - 1):
        averages = flow.config.geometry.averages
        found.append(halved(found[-1]) if averages else found[-1][:, :, ::2, ::2])
    return found


def with_coarse(grid: Tensor, coarse: Tensor) -> Tensor:
    """A level's grid [N, C, h, w], with the next coarse image at the sites that go up."""
    grid = grid.clone()
    grid[:, :, ::2, ::2] = coarse
    return grid


@torch.no_grad()
def bands(flow: RGFlow, images: Tensor) -> Iterator[tuple[str, Band, Tensor]]:
    """All cells of images in bands of rows, level 0 first: a name for each band, the band, and the
    grid that it reads, uint8 [N, C, h, w].

    Args:
        flow: Of the images' size.
        images: uint8 [N, C, H, W].
    """
    for visit in flow.walk(images, write=False):
        number = flow.steps[visit.level].cellwise.index(visit.layer)
        for k, band in enumerate(visit.layer.bands(BAND // len(images))):
            yield f"{visit.level}/{number}/{k}", band, visit.x


@torch.no_grad()
def band_bits(band: Band, grid: Tensor, channels: int | None = None) -> Tensor:
    """Bits of what the cells of a band write, [N, rows, columns].

    Args:
        band: One of `bands`.
        grid: The grid that it reads, uint8 [N, C, h, w].
        channels: How many of the channels count; default: all.
    """
    log_prob = window_of(band.layer).level_log_prob(*band.read(grid), channels)
    return -log_prob.view(len(grid), *band.cells.shape) / math.log(2)


def bits(
    flow: Flow,
    images: Tensor,
    *,
    done: Done | None = None,
    progress: Callable[[str, float, float], None] | None = None,
) -> Bits:
    """How many bits photographs take.

    Args:
        flow: A flow of windows, of any size.
        images: uint8 [N, C, H, W]; grey ones may have a single channel, whose bits then count,
            where the flow sees three equal ones.
        done: For a single image: what an earlier, interrupted call reported to `progress`.
        progress: Called after every part with its name, its bits, and the share of cells so far.

    Raises:
        ValueError: If the flow can't take such images.

    Example:
        >>> from rgflow import FlowConfig, RGFlow, UniformPixels, WindowMap, Windows
        >>> kinds = {"geometry": Windows(boundary="open"), "map": WindowMap(hidden=8)}
        >>> flow = RGFlow(
        ...     FlowConfig(height=8, width=8, pixels=UniformPixels(), shared=True, **kinds)
        ... )
        >>> found = bits(flow, torch.randint(256, (1, 3, 21, 13), dtype=torch.uint8))
        >>> found.levels.shape, found.dim
        (torch.Size([1, 4]), 819)
    """
    count, *shape = images.shape
    images = in_colour(flow, images)
    flow = sized(flow, images)
    levels = torch.zeros(count, flow.levels, dtype=torch.float64)
    cells, so_far = sum(len(layer.cells) for layer in flow.layers), 0
    for name, band, grid in bands(flow, images):
        if done and name in done:
            found = torch.tensor([done[name]], dtype=torch.float64)
        else:
            found = band_bits(band, grid, shape[0]).double().sum((1, 2)).cpu()
        levels[:, band.level] += found
        so_far += len(band.cells)
        if progress:
            progress(name, found.sum().item(), so_far / cells)
    return Bits(levels, math.prod(shape))


def bit_map(flow: Flow, images: Tensor, progress: Callable[[float], None] | None = None) -> Tensor:
    """Bits of every pixel, all channels together, [N, H, W]; arguments as of `bits`, the share of
    cells so far as that of `progress`. The bits of an average count at its site.

    Example:
        >>> from rgflow import load_flow
        >>> bit_map(load_flow("photos"), torch.zeros(1, 3, 9, 12, dtype=torch.uint8)).shape
        torch.Size([1, 9, 12])
    """
    flow = sized(flow, images)
    out = images.new_zeros(len(images), *images.shape[2:], dtype=torch.float32)
    cells, so_far = sum(len(layer.cells) for layer in flow.layers), 0
    for _, band, grid in bands(flow, images):
        step, j = band.cells.step, band.cells.start[1]
        of_level = out[:, :: 1 << band.level, :: 1 << band.level]
        rows, columns = band.cells.shape
        of_level[
            :,
            band.first : band.first + step * (rows - 1) + 1 : step,
            j : j + step * (columns - 1) + 1 : step,
        ] += band_bits(band, grid).to(out)
        so_far += len(band.cells)
        if progress:
            progress(so_far / cells)
    return out


def sized(flow: Flow, images: Tensor) -> RGFlow:
    """A flow of photographs, resized for photographs uint8 [N, C, H, W].

    Raises:
        ValueError: If they are something else, or the flow is of another kind.
    """
    of = check_windows(flow)
    if images.ndim != 4 or images.dtype != torch.uint8 or not len(images):
        raise ValueError(
            f"Expected photographs, uint8 [N, C, H, W]; got {list(images.shape)} of {images.dtype}."
        )
    channels, height, width = images.shape[1:]
    if channels != flow.config.channels:
        raise ValueError(
            f"Expected photographs of {flow.config.channels} channels, as the flow has; got "
            f"{channels}."
        )
    check_size(flow, height, width)
    return of.resized(height, width)


def in_colour(flow: Flow, images: Tensor) -> Tensor:
    """Images uint8 [N, C, H, W], with as many equal channels as a flow sees if they are grey."""
    one = images.ndim == 4 and images.shape[1] == 1
    return images.expand(-1, flow.config.channels, -1, -1) if one else images


def check_size(flow: Flow, height: int, width: int) -> None:
    """Raise a `ValueError` if photographs of a size are too small for a flow."""
    least = flow.config.geometry.smallest
    if min(height, width) < least:
        raise ValueError(
            f"Expected photographs of at least {least}×{least} pixels; got {width}×{height}."
        )


def padded(flow: Flow, images: Tensor) -> Tensor:
    """Images [N, C, H, W], padded with zeros to the grid of a flow.

    Raises:
        ValueError: If they are larger than the grid.
    """
    _, height, width = flow.image_shape
    down, along = height - images.shape[2], width - images.shape[3]
    if min(down, along) < 0:
        raise ValueError(
            f"Expected images of at most {height}×{width} pixels; got {images.shape[2]}×"
            f"{images.shape[3]}: use flow.resized for their size."
        )
    return F.pad(images, (0, along, 0, down))
