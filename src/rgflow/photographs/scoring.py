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

from rgflow.bijectors.averages import Averages, Sign
from rgflow.bijectors.cellwise import BAND, Band, Cellwise, spec_of
from rgflow.flow import Flow
from rgflow.geometries.windows import Squares
from rgflow.model import RGFlow, RGStep
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
    layers = [layer for layer in flow.layers if not layer.cells.map]
    return are_windows(flow, layers) and not layers[0].cells.periodic


def windows_of(step: RGStep) -> list[Cellwise]:
    """The layers of a level but the fixed one of averages, if there is one."""
    return [layer for layer in step.cellwise if not layer.cells.map]


def has_averages(flow: Flow) -> bool:
    """Whether coarse images are averages (`rgflow.geometries.Windows`), so that what is written at
    one site changes all pixels of a square."""
    return flow.config.geometry.averages


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


def averaged(x8: Tensor, sign: Sign) -> Tensor:
    """Images, uint8 [N, C, H, W], of whose squares of 2×2 pixels the first is the average, and the
    others are differences (`rgflow.bijectors.averages`), or the way back."""
    channels, *grid = x8.shape[1:]
    cells = Squares(0, (grid[0], grid[1]), (grid[0], grid[1]), periodic=False)
    layer = Cellwise(Averages(spec_of(cells, channels)), cells, channels)
    with torch.no_grad():
        return (layer.forward if sign > 0 else layer.inverse)(x8)[0]


def grids(flow: RGFlow, images: Tensor) -> list[Tensor]:
    """What the windows of every level read and write, uint8 [N, C, rows, columns], level 0 first;
    views of the images, where coarse images are sites.

    Args:
        flow: Of the images' size.
        images: uint8 [N, C, H, W].
    """
    found: list[Tensor] = []
    height, width = images.shape[2:]
    for visit in flow.walk(padded(flow, images) if has_averages(flow) else images, write=False):
        if visit.last:
            scale = 1 << visit.level
            found.append(visit.x[:, :, : -(-height // scale), : -(-width // scale)])
    return found


def unaveraged(flow: RGFlow, found: list[Tensor], level: int) -> Tensor:
    """What comes to a level, uint8 [N, C, h, w], from its grid among `grids`: the images, or the
    coarse sites of the next finer grid."""
    if flow.steps[level].top or not has_averages(flow):
        return found[level]
    return averaged(found[level], -1)


@torch.no_grad()
def bands(flow: RGFlow, images: Tensor) -> Iterator[tuple[str, Band, Tensor]]:
    """All cells of images in bands of rows, level 0 first: a name for each band, the band, and the
    grid that it reads, uint8 [N, C, h, w].

    Args:
        flow: Of the images' size.
        images: uint8 [N, C, H, W].
    """
    number = 0
    images = padded(flow, images) if has_averages(flow) else images
    for visit in flow.walk(images, write=False):
        number = 0 if visit.first else number
        if not visit.layer.cells.map:
            for k, band in enumerate(visit.layer.bands(BAND // len(images))):
                yield f"{visit.level}/{number}/{k}", band, visit.x
            number += 1


@torch.no_grad()
def band_bits(band: Band, grid: Tensor) -> Tensor:
    """Bits of what the cells of a band write, [N, rows, columns].

    Args:
        band: One of `bands`.
        grid: The grid that it reads, uint8 [N, C, h, w].
    """
    log_prob = window_of(band.layer).level_log_prob(*band.read(grid))
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
        images: uint8 [N, C, H, W].
        done: For a single image: what an earlier, interrupted call reported to `progress`.
        progress: Called after every part with its name, its bits, and the share of pixels so far.

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
    flow = sized(flow, images)
    count, *shape = images.shape
    levels = torch.zeros(count, flow.levels, dtype=torch.float64)
    pixels, so_far = shape[1] * shape[2], 0
    for name, band, grid in bands(flow, images):
        if done and name in done:
            found = torch.tensor([done[name]], dtype=torch.float64)
        else:
            found = band_bits(band, grid).double().sum((1, 2)).cpu()
        levels[:, band.level] += found
        so_far += len(band.cells)
        if progress:
            progress(name, found.sum().item(), so_far / pixels)
    return Bits(levels, math.prod(shape))


def bit_map(flow: Flow, images: Tensor, progress: Callable[[float], None] | None = None) -> Tensor:
    """Bits of every pixel, all channels together, [N, H, W]; arguments as of `bits`, the share of
    pixels so far as that of `progress`. Where coarse images are averages, they are those of the
    average or difference at its site.

    Example:
        >>> from rgflow import load_flow
        >>> bit_map(load_flow("photos"), torch.zeros(1, 3, 9, 12, dtype=torch.uint8)).shape
        torch.Size([1, 9, 12])
    """
    flow = sized(flow, images)
    out = images.new_zeros(len(images), *images.shape[2:], dtype=torch.float32)
    so_far = 0
    for _, band, grid in bands(flow, images):
        step, j = band.cells.step, band.cells.start[1]
        of_level = out[:, :: 1 << band.level, :: 1 << band.level]
        rows, columns = band.cells.shape
        of_level[
            :,
            band.first : band.first + step * (rows - 1) + 1 : step,
            j : j + step * (columns - 1) + 1 : step,
        ] = band_bits(band, grid).to(out)
        so_far += len(band.cells)
        if progress:
            progress(so_far / out[0].numel())
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
