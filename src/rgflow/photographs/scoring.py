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

from rgflow.bijectors.averages import Sign, map_levels
from rgflow.bijectors.base import Compose
from rgflow.bijectors.cellwise import BAND, Cellwise, overwrite, read_cells
from rgflow.bijectors.window import WindowMixture
from rgflow.cells import Sublattice
from rgflow.flow import Flow
from rgflow.geometries.windows import Squares
from rgflow.model import RGFlow, RGStep
from rgflow.repair.windows import are_windows

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


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows of the cells of one layer.

    Attributes:
        name: Name of the part, for `Done`.
        level: Its level.
        layer: The layer of its cells.
        rows: The rows of the level's grid that the cells read.
        cells: The cells, as a layer of these rows.
        first: The row of the grid in which the first of them write.
    """

    name: str
    level: int
    layer: Cellwise
    rows: slice
    cells: Sublattice
    first: int


def is_of_photographs(flow: Flow) -> bool:
    """Whether a flow is of photographs of any size: of windows with an open boundary, and uniform
    pixels."""
    if not isinstance(flow, RGFlow) or flow.labels is not None:
        return False
    layers = [layer for step in flow.steps for layer in windows_of(step)]
    return are_windows(flow, layers) and not layers[0].cells.periodic


def windows_of(step: RGStep) -> list[Cellwise]:
    """The layers of a level but the fixed one of averages, if there is one."""
    return [layer for layer in step.cellwise if not layer.cells.map]


def has_averages(flow: Flow) -> bool:
    """Whether coarse images are averages (`rgflow.geometries.Windows`), so that what is written at
    one site changes all pixels of a square."""
    return getattr(flow.config.geometry, "coarse", "sites") == "averages"


def check_windows(flow: Flow) -> RGFlow:
    """A flow of photographs.

    Raises:
        ValueError: If it is another flow.
    """
    if not is_of_photographs(flow):
        raise ValueError(
            "Expected a flow of photographs: geometry windows with an open boundary and its usual "
            "shifts and offsets, map window, uniform pixels, no labels, such as the model photos; "
            "this is another one."
        )
    return cast(RGFlow, flow)


def window_of(layer: Cellwise) -> WindowMixture:
    """The map of a layer of windows."""
    return cast(WindowMixture, cast(Compose, layer.bijector).bijectors[0])


def averaged(x8: Tensor, sign: Sign) -> Tensor:
    """Images, uint8 [N, C, H, W], of whose squares of 2×2 pixels the first is the average, and the
    others are differences (`rgflow.bijectors.averages`), or the way back."""
    out, grid = x8.clone(), (x8.shape[2], x8.shape[3])
    for rows, cells in Squares(0, grid, grid, periodic=False).bands(BAND):
        own = read_cells(out[:, :, rows], cells)[0].short()
        mapped = map_levels(own.view(len(own), 4, -1), sign)
        overwrite(out[:, :, rows], cells, mapped.flatten(1).to(torch.uint8))
    return out


def grids(flow: RGFlow, images: Tensor) -> list[Tensor]:
    """What the windows of every level read and write, uint8 [N, C, rows, columns], level 0 first;
    views of the images, where coarse images are sites.

    Args:
        flow: Of the images' size.
        images: uint8 [N, C, H, W].
    """
    found = []
    for step in flow.steps:
        if not step.top and has_averages(flow):
            images = averaged(images, 1)
        found.append(images)
        images = images[:, :, ::2, ::2]
    return found


def unaveraged(flow: RGFlow, found: list[Tensor], level: int) -> Tensor:
    """What comes to the windows of a level, from its grid among `grids`: of level 0 the images, of
    another one the coarse sites of the next finer grid."""
    if flow.steps[level].top or not has_averages(flow):
        return found[level]
    return averaged(found[level], -1)


def parts(flow: RGFlow, images: int = 1) -> Iterator[Part]:
    """The parts of all layers, of some images that are scored together, level 0 first."""
    for level in range(flow.levels):
        yield from parts_of(flow, level, images)


def parts_of(flow: RGFlow, level: int, images: int = 1) -> Iterator[Part]:
    """The parts of the layers of one level."""
    for number, layer in enumerate(windows_of(flow.steps[level])):
        assert isinstance(layer.cells, Sublattice)
        top = layer.cells.start[0]
        for k, (rows, cells) in enumerate(layer.cells.bands(BAND // images)):
            yield Part(f"{level}/{number}/{k}", level, layer, rows, cells, top)
            top += layer.cells.step * cells.shape[0]


@torch.no_grad()
def part_bits(flow: RGFlow, found: list[Tensor], part: Part) -> Tensor:
    """Bits of what the cells of a part write, [N, rows, columns].

    Args:
        flow: Of the images' size.
        found: The images, as `grids` gives them.
        part: One of `parts`.
    """
    x8 = found[part.level][:, :, part.rows]
    levels, context = part.layer.read_band(x8.to(flow.device, flow.dtype), part.cells)
    log_prob = window_of(part.layer).level_log_prob(levels, context)
    return -log_prob.view(len(x8), *part.cells.shape) / math.log(2)


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
    pixels, so_far, read = shape[1] * shape[2], 0, grids(flow, images)
    for part in parts(flow, count):
        if done and part.name in done:
            found = torch.tensor([done[part.name]], dtype=torch.float64)
        else:
            found = part_bits(flow, read, part).double().sum((1, 2)).cpu()
        levels[:, part.level] += found
        so_far += len(part.cells)
        if progress:
            progress(part.name, found.sum().item(), so_far / pixels)
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
    so_far, read = 0, grids(flow, images)
    for part in parts(flow, len(images)):
        step, j = part.cells.step, part.cells.start[1]
        grid = out[:, :: 1 << part.level, :: 1 << part.level]
        rows, columns = part.cells.shape
        grid[
            :,
            part.first : part.first + step * (rows - 1) + 1 : step,
            j : j + step * (columns - 1) + 1 : step,
        ] = part_bits(flow, read, part).to(out)
        so_far += len(part.cells)
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
