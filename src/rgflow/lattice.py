"""The geometry of the network: levels and causal cones, in pure integers.

The level-h grid is the set of pixels whose coordinates are both divisible by 2^h. A step of the
renormalization group at level h applies layers of cells (`rgflow.cells`) to this grid: in the paper
those of 4×4 blocks, a disentangler and then a decimator (eqs. 6–9). Then the sites whose level-h
coordinates are both even are the coarse grid of level h + 1; the other three quarters are factored
out, as the latents z^(h). At the top everything is. A site never moves, so
every pixel position belongs to the latents of exactly one level, and a set of latents is, like a
set of pixels, one H×W mask: the *image layout*.

Letters in shapes: H, W rows and columns of pixels; h level.
"""

import math
from collections.abc import Iterator
from dataclasses import field
from functools import cached_property
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from rgflow.cells import Cells, Geometry, Mask
from rgflow.checks import MAX_LEVELS, check_whole
from rgflow.geometries import Blocks
from rgflow.kinds import Config, Size, config


def largest_levels(height: int, width: int, geometry: Geometry) -> int:
    """How many levels fit: every level's grid has to be a multiple of its unit (0: none)."""
    levels = 0
    while min(height, width) >> levels >= geometry.smallest and all(
        size % _unit(geometry, levels, levels + 1) == 0 for size in (height, width)
    ):
        levels += 1
    return levels


def _unit(geometry: Geometry, level: int, levels: int) -> int:
    """What a size has to be a multiple of for the sake of one level, in pixels."""
    halved = 2 if level < levels - 1 else 1  # as every other site goes on to the next level
    return math.lcm(geometry.unit(level), halved) << level


def check_multiples(height: int, width: int, unit: int, formula: str) -> None:
    """Raise a `ValueError`, with the nearest sizes, unless both edges are multiples of a unit.

    Args:
        height: Rows.
        width: Columns.
        unit: The unit.
        formula: How the unit is made up, for the message.
    """
    for name, size in (("height", height), ("width", width)):
        if size < 1 or size % unit:
            near = sorted({max(size // unit, 1) * unit, (size // unit + 1) * unit})
            raise ValueError(
                f"Expected {name} to be a multiple of {formula} = {unit}; got {size} "
                f"(nearest: {' or '.join(map(str, near))})."
            )


@config
class Sites(Config):
    """Which level the latents at every pixel position belong to; the base of all geometries.

    The latents of level h lie on a few sublattices of the pixels, all with the same stride and each
    with an offset of its own. A subclass says which.
    """

    height: Size
    width: Size
    levels: Annotated[int, Ge(0), Le(MAX_LEVELS)] = 0

    def stride(self, level: int) -> int:
        """Distance between neighbours of one sublattice, in pixels."""
        raise NotImplementedError

    def offsets(self, level: int) -> tuple[tuple[int, int], ...]:
        """The sublattices of a level: the first row and column of each."""
        raise NotImplementedError

    @cached_property
    def top(self) -> int:
        """The highest level h_L = levels − 1."""
        return self.levels - 1

    def latent_shape(self, level: int, channels: int) -> tuple[int, ...]:
        """Shape of z^(h) for one image, [sublattices, C, rows, columns]."""
        stride = self.stride(level)
        return len(self.offsets(level)), channels, self.height // stride, self.width // stride

    @cached_property
    def site_order(self) -> NDArray[np.int64]:
        """The pixel position i·W + j of every site, [H·W], in the order of the latents: by level,
        sublattice, row and column."""
        pixels = np.arange(self.height * self.width).reshape(self.height, self.width)
        return np.concatenate(
            [
                pixels[i :: self.stride(level), j :: self.stride(level)].flatten()
                for level in range(self.levels)
                for i, j in self.offsets(level)
            ]
        )

    @cached_property
    def site_levels(self) -> NDArray[np.int64]:
        """The level of the latents at every pixel position, [H, W]."""
        sizes = [int(np.prod(self.latent_shape(level, 1))) for level in range(self.levels)]
        out = np.empty(self.height * self.width, dtype=np.int64)
        out[self.site_order] = np.repeat(np.arange(self.levels), sizes)
        return out.reshape(self.height, self.width)

    def counts(self, latents: Mask) -> tuple[int, ...]:
        """Number of marked sites at each level, level 0 first; times C it is that of latents."""
        self._check_mask(latents)
        return tuple(np.bincount(self.site_levels[latents], minlength=self.levels).tolist())

    def box(self, y: int, x: int, height: int, width: int) -> Mask:
        """The mask of a rectangle, [H, W].

        Args:
            y: Its first row.
            x: Its first column.
            height: Its rows.
            width: Its columns.

        Raises:
            ValueError: If it doesn't lie inside the image.
        """
        if min(height, width) < 1 or min(y, x) < 0:
            raise ValueError(
                f"Expected a rectangle with a corner of at least 0 and a size of at least 1; "
                f"got y={y}, x={x}, height={height}, width={width}."
            )
        if y + height > self.height or x + width > self.width:
            raise ValueError(
                f"Expected a rectangle inside the {self.height}×{self.width} image; got rows "
                f"{y} to {y + height - 1} and columns {x} to {x + width - 1}."
            )
        out = np.zeros((self.height, self.width), dtype=bool)
        out[y : y + height, x : x + width] = True
        return out

    def masks(self, masks: Mask, images: int) -> Mask:
        """One mask for each of N images, [N, H, W], from one for all or one for each.

        Raises:
            ValueError: If they are of another kind or shape.
        """
        masks, shape = np.asarray(masks), (self.height, self.width)
        if masks.dtype != bool or masks.shape not in (shape, (images, *shape)):
            raise ValueError(
                f"Expected a boolean mask of shape {shape}, or {(images, *shape)} with one for "
                f"each image; got {masks.dtype} of shape {masks.shape}."
            )
        return np.broadcast_to(masks, (images, *shape))

    def site(self, level: int, i: int, j: int) -> Mask:
        """The mask of the latents at level h and pixel position (i, j), [H, W]."""
        self.check_site(level, i, j)
        out = np.zeros((self.height, self.width), dtype=bool)
        out[i, j] = True
        return out

    def check_level(self, level: int) -> None:
        """Raise a `ValueError` unless the lattice has this level."""
        if not 0 <= level < self.levels:
            raise ValueError(f"Expected a level of 0 to {self.levels - 1}; got {level}.")

    def check_site(self, level: int, i: int, j: int) -> None:
        """Raise a `ValueError` unless there are latents of level h at pixel position (i, j)."""
        self.check_level(level)
        if not (0 <= i < self.height and 0 <= j < self.width):
            raise ValueError(
                f"Expected a position inside the {self.height}×{self.width} image; got ({i}, {j})."
            )
        found = int(self.site_levels[i, j])
        if found != level:
            near = np.argwhere(self.site_levels == level)
            a, b = near[np.abs(near - (i, j)).sum(1).argmin()]
            raise ValueError(
                f"Expected a position of level {level}; got ({i}, {j}), which is of level {found} "
                f"(nearest: ({a}, {b}))."
            )

    def _check_mask(self, mask: Mask) -> None:
        if mask.dtype != bool or mask.shape != (self.height, self.width):
            raise ValueError(
                f"Expected a boolean mask of shape ({self.height}, {self.width}); "
                f"got {mask.dtype} of shape {mask.shape}."
            )


@config
class Lattice(Sites):
    """The geometry of an RG-Flow of H×W images (paper, section 3.2 and Fig. 3).

    Args:
        height: Rows H; every level's grid, of H/2^h rows, has to be a multiple of the geometry's
            unit, for blocks their edge m.
        width: Columns W, likewise.
        levels: Number of levels; 0: as many as fit.
        geometry: How the layers of a level are made of cells.

    Raises:
        ValueError: If the size doesn't fit; the message names the nearest size that does.

    Example:
        >>> lattice = Lattice(height=32, width=32, geometry=Blocks(m=4))
        >>> lattice.levels, lattice.counts(lattice.inference_cone(lattice.box(11, 11, 10, 10)))
        (4, (192, 192, 48, 16))
        >>> int(lattice.generation_cone(lattice.site(1, 2, 0)).sum())  # 20 × 20 pixels
        400
    """

    geometry: Geometry = field(default_factory=Blocks)

    def __post_init__(self) -> None:
        geometry = self.geometry
        least = geometry.least_levels
        levels = self.levels or max(largest_levels(self.height, self.width, geometry), least)
        size = self.height, self.width
        if not self.levels and levels == 1 and geometry.fitted(size, None)[1] != size:
            raise ValueError(
                f"Expected even edges, as with odd ones there is one level only; got "
                f"{self.height}×{self.width}: make a flow of even edges, whose `resized` takes any "
                f"size, or set levels to 1."
            )
        if levels < least:
            raise ValueError(
                f"Expected at least the {least} levels that {geometry} names; got {levels}."
            )
        unit = math.lcm(*(_unit(geometry, level, levels) for level in range(levels)))
        first, *others = dict.fromkeys(geometry.unit(level) for level in range(levels))
        formula = "m·2^h of every level h" if others else f"{first}·2^(levels−1)"
        check_multiples(self.height, self.width, unit, formula)
        if (edge := min(self.height, self.width) >> (levels - 1)) < geometry.smallest:
            raise ValueError(
                f"Expected grids of at least {geometry.smallest} rows and columns at all levels; "
                f"{self.height}×{self.width} gives {edge} at level {levels - 1}: use fewer levels, "
                f"or larger images."
            )
        object.__setattr__(self, "levels", levels)

    def grid(self, level: int) -> tuple[int, int]:
        """Rows and columns of the level-h grid, (H / 2^h, W / 2^h)."""
        self.check_level(level)
        return self.height >> level, self.width >> level

    def layers(self, level: int) -> tuple[Cells, ...]:
        """The layers of one level in the order in which inference applies them."""
        self.check_level(level)
        return self._layers[level]

    @cached_property
    def _layers(self) -> tuple[tuple[Cells, ...], ...]:
        every = range(self.levels)
        return tuple(
            tuple(of for of in self.geometry.layers(h, self.grid(h), h == self.top) if len(of))
            for h in every
        )

    def period(self, level: int) -> tuple[int, int]:
        """By how many rows and columns of pixels the layers up to a level may all be moved without
        changing, where nothing ends at an edge."""
        layers = [layer for h in range(level + 1) for layer in self.layers(h)]
        rows, columns = (
            math.lcm(*(layer.period[axis] << layer.level for layer in layers)) for axis in (0, 1)
        )
        return rows, columns

    def stride(self, level: int) -> int:
        """Distance between neighbours of one sublattice, 2^(h+1) pixels, at the top 2^h."""
        self.check_level(level)
        return 1 << level if level == self.top else 2 << level

    def offsets(self, level: int) -> tuple[tuple[int, int], ...]:
        """The three sublattices that stay, (0, 1), (1, 0) and (1, 1) on the level's grid; at the
        top the whole grid."""
        self.check_level(level)
        unit = 1 << level
        return ((0, 0),) if level == self.top else ((0, unit), (unit, 0), (unit, unit))

    def latent_shape(self, level: int, channels: int) -> tuple[int, ...]:
        """Shape of z^(h) of one image: [3, C, rows/2, columns/2], at the top [C, rows, columns].

        The three are the sublattices (0, 1), (1, 0) and (1, 1) of the level's grid.
        """
        shape = super().latent_shape(level, channels)
        return shape[1:] if level == self.top else shape

    def inference_cone(self, pixels: Mask) -> Mask:
        """The latents that a set of pixels reaches, [H, W] in the image layout (section 3.5)."""
        self._check_mask(pixels)
        out = pixels.copy()
        for _ in self.spreading(out, upward=True):
            pass
        return out

    def generation_cone(self, latents: Mask) -> Mask:
        """The pixels that a set of latents, [H, W] in the image layout, reaches (section 3.4)."""
        self._check_mask(latents)
        out = latents.copy()
        for _ in self.spreading(out, upward=False):
            pass
        return out

    def spreading(self, mask: Mask, *, upward: bool) -> Iterator[tuple[int, Mask]]:
        """A cone as it grows from a mask [H, W], which becomes the whole cone: up from pixels to
        latents, or down. Yields the level and its grid [h, w], a view of the mask, before the first
        layer of the level and after each layer."""
        way = slice(None, None, 1 if upward else -1)
        for level in range(self.levels)[way]:
            grid = mask[:: 1 << level, :: 1 << level]
            yield level, grid
            for layer in self.layers(level)[way]:
                grid[...] = layer.spread(grid)
                yield level, grid


@config
class SqueezeSites(Sites):
    """The geometry of a multi-scale flow such as Real NVP (Dinh et al. 2017, section 3.6).

    Scale k ends with a squeeze, which makes four sublattices of each; the two on the diagonal go
    on, the other two stay as latents. At the last scale everything stays.

    Args:
        height: Rows H, a multiple of 2^(levels−1).
        width: Columns W, likewise.
        levels: Number of scales.

    Raises:
        ValueError: If the size doesn't fit.

    Example:
        >>> SqueezeSites(height=32, width=32, levels=3).latent_shape(1, 3)
        (4, 3, 8, 8)
    """

    def __post_init__(self) -> None:
        check_whole("levels", self.levels, 1)
        check_multiples(self.height, self.width, 1 << (self.levels - 1), "2^(levels−1)")

    def stride(self, level: int) -> int:
        """Distance between neighbours of one sublattice, in pixels."""
        self.check_level(level)
        return 1 << min(level + 1, self.top)

    def offsets(self, level: int) -> tuple[tuple[int, int], ...]:
        """The sublattices that stay, first (0, 1), then (1, 0) of every one that came."""
        self.check_level(level)
        came = self._came(level)
        if level == self.top:
            return came
        unit = 1 << level
        return tuple((i, j + unit) for i, j in came) + tuple((i + unit, j) for i, j in came)

    def _came(self, level: int) -> tuple[tuple[int, int], ...]:
        """The sublattices that come to a scale, first (0, 0), then (1, 1) of every earlier one."""
        came: tuple[tuple[int, int], ...] = ((0, 0),)
        for below in range(level):
            unit = 1 << below
            came += tuple((i + unit, j + unit) for i, j in came)
        return came
