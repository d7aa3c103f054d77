"""Windows: cells that write one site, or a small square, and read any pattern around it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np

from rgflow.cells import Cells, Geometry, Offset, Sublattice, fitting, square
from rgflow.checks import MAX_SIZE, Boundary, check_name, check_offsets, check_whole, own_fields


@dataclass(frozen=True, kw_only=True)
class Windows(Geometry):
    """Layers of cells on sublattices of one period, each written from what is around it.

    Args:
        size: Edge s of what a cell writes: 1, or an even number.
        period: Distance p of neighbouring cells, both ways.
        shifts: Row and column of the first cell of each layer, in the order in which inference
            applies the layers. At the top a layer of the remaining sublattices is added for each.
        reach: How far around what a cell writes it reads, in sites of the grid: all sites but
            those that this layer or an earlier one of the level writes. So when a layer is
            inverted, all that it reads is known.
        offsets: What a cell reads beside what it writes, instead: row and column from there.
        boundary: `"periodic"`, or `"open"`: what a cell reads outside the grid is missing.
        inside: Rows and columns of images that there are, where the boundary is open; the rest,
            below and at the right, only makes a size that fits: it is never read, and stays as it
            is. None: all.

    Raises:
        ValueError: If a value isn't one of these.

    Example:
        >>> layers = Windows(reach=1).layers(0, (8, 8), top=False)
        >>> [(len(layer), len(layer.reads) - layer.written) for layer in layers]
        [(16, 8), (16, 4), (16, 4)]
    """

    size: int = 1
    period: int = 2
    shifts: tuple[Offset, ...] = ((0, 1), (1, 0), (1, 1))
    reach: int = 2
    offsets: tuple[Offset, ...] | None = None
    boundary: Boundary = "periodic"
    inside: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        own_fields(self)
        check_name("boundary", self.boundary, get_args(Boundary))
        check_whole("period", self.period, 1, MAX_SIZE)
        check_whole("size", self.size, 1, self.period)
        check_whole("reach", self.reach, 0, MAX_SIZE)
        if self.size > 1 and self.size % 2:
            raise ValueError(f"Expected size to be 1 or even; got {self.size}.")
        object.__setattr__(self, "shifts", check_offsets("shifts", self.shifts))
        if self.inside is not None:
            if self.periodic:
                raise ValueError("Expected an open boundary where inside is given; got periodic.")
            if not isinstance(self.inside, list | tuple) or len(self.inside) != 2:
                raise ValueError(
                    f"Expected inside to be rows and columns; got {self.inside!r:.60}."
                )
            inside = tuple(check_whole("an edge of inside", edge, 1) for edge in self.inside)
            object.__setattr__(self, "inside", inside)
        if self.offsets is not None:
            object.__setattr__(self, "offsets", check_offsets("offsets", self.offsets))
            own = range(self.size)
            for y, x in self.offsets:
                if y % self.period in own and x % self.period in own:
                    raise ValueError(
                        f"Expected offsets of sites that the layer doesn't write; got {(y, x)}, "
                        f"with cells of {self.size}×{self.size} sites every {self.period}."
                    )

    @property
    def periodic(self) -> bool:
        return self.boundary == "periodic"

    def unit(self, level: int) -> int:
        """The period p; where the boundary is open, cells fit anywhere."""
        return self.period if self.periodic else 1

    @property
    def smallest(self) -> int:
        """The period p, so that every layer has cells."""
        return self.period

    def written(self, level: int) -> int:
        return self.size**2

    @property
    def least_layers(self) -> int:
        return len(self.shifts)

    def fitted(self, size: Offset, levels: int | None) -> tuple[Geometry, Offset]:
        """Where the boundary is open, any size fits, with a grid that is a multiple of all steps of
        the levels."""
        if self.periodic:
            return self, size
        levels = levels or max(min(size) // self.period, 1).bit_length()
        unit = 1 << (levels - 1)
        grid = tuple(-(-edge // unit) * unit for edge in size)
        inside = None if grid == size else size
        return replace(self, inside=inside), (grid[0], grid[1])

    def layers(self, level: int, grid: tuple[int, int], top: bool) -> Sequence[Cells]:
        """One for each shift, and at the top one for each sublattice that has none."""
        p, s = self.period, self.size
        own = square(s) if s > 1 else ((0, 0),)
        shifts = [(y % p, x % p) for y, x in self.shifts]
        corners = [(y, x) for y in range(0, p, s) for x in range(0, p, s)]
        shifts += [corner for corner in corners if top and corner not in shifts]
        extent = grid
        if self.inside is not None:
            rows, columns = (-(-edge // 2**level) for edge in self.inside)
            extent = min(rows, grid[0]), min(columns, grid[1])
        gone: set[Offset] = set()
        made = []
        for k, (y, x) in enumerate(shifts):
            gone |= {((y + i) % p, (x + j) % p) for i, j in own}
            context = self._around(own, (y, x), gone) if self.offsets is None else self.offsets
            made.append(
                Sublattice(
                    f"layer {k}",
                    level,
                    grid,
                    (y, x),
                    p,
                    fitting(extent, (y, x), p, s, self.periodic),
                    (*own, *context),
                    len(own),
                    periodic=self.periodic,
                    groups=4 if s > 1 else 1,
                    extent=extent,
                )
            )
        return made

    def _around(self, own: Sequence[Offset], at: Offset, gone: set[Offset]) -> list[Offset]:
        """All sites within reach whose sublattice isn't written yet."""
        near = range(-self.reach, self.size + self.reach)
        return [
            (i, j)
            for i, j in np.array(np.meshgrid(near, near, indexing="ij")).reshape(2, -1).T.tolist()
            if ((at[0] + i) % self.period, (at[1] + j) % self.period) not in gone
        ]
