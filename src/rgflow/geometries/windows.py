"""Windows: cells that write one site, or a small square, and read any pattern around it."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le, Len

from rgflow.cells import Boundary, Cells, Geometry, Offset, Offsets, Sublattice, fitting, square
from rgflow.checks import MAX_LEVELS, MAX_SIZE
from rgflow.kinds import FROM_LEVEL, Size, config

Coarse = Literal["sites", "averages"]
Positive = Annotated[int, Ge(1)]
MAX_PERIOD = 32
"""Maximum period: finding the phases of larger ones takes minutes."""
Period = Annotated[int, Ge(1), Le(MAX_PERIOD)]


@config
class Windows(Geometry, kind="windows"):
    """Layers of cells on sublattices of one period, each written from what is around it.

    Args:
        size: Edge s of what a cell writes: 1, or an even number.
        period: Distance p of neighbouring cells, both ways: one for all levels, or one for each,
            level 0 first, where the last holds for all further levels. A top level may have the
            edge of its grid, so that its sites are drawn one by one.
        shifts: Row and column of the first cell of each layer, in the order in which inference
            applies the layers. At the top a layer of the remaining sublattices is added for each.
            None: those of `phases`.
        reach: How far around what a cell writes it reads, in sites of the grid: all sites but
            those that this layer or an earlier one of the level writes. So when a layer is
            inverted, all that it reads is known.
        offsets: What a cell reads beside what it writes, instead: row and column from there.
        boundary: `"periodic"`, or `"open"`: what a cell reads outside the grid is missing.
        inside: Rows and columns of images that there are, where the boundary is open; the rest,
            below and at the right, only makes a size that fits: it is never read, and stays as it
            is. None: all.
        coarse: What goes on to the next level: `"sites"`, every second one both ways as it is, or
            `"averages"`, to which each level first maps its squares of 2×2 sites, reversibly
            (`rgflow.bijectors.averages`). Squares that the edge of an image cuts stay as they are.

    Raises:
        ValueError: If a value isn't one of these.

    Example:
        >>> layers = Windows(reach=1).layers(0, (8, 8), top=False)
        >>> [(len(layer), len(layer.reads) - layer.written) for layer in layers]
        [(16, 8), (16, 4), (16, 4)]
    """

    any_size = True

    size: Size = 1
    period: Annotated[Period | Annotated[tuple[Period, ...], Len(1, MAX_LEVELS)], FROM_LEVEL] = 2
    shifts: Offsets | None = None
    reach: Annotated[int, Ge(0), Le(MAX_SIZE)] = 2
    offsets: Offsets | None = None
    boundary: Boundary = "periodic"
    inside: tuple[Positive, Positive] | None = None
    coarse: Coarse = "sites"

    def __post_init__(self) -> None:
        if self.size > min(self.periods) or (self.size > 1 and self.size % 2):
            raise ValueError(
                f"Expected size to be 1, or even and at most the period {min(self.periods)}; got "
                f"{self.size}."
            )
        if self.shifts is None and self.size > 1:
            raise ValueError(
                f"Expected shifts where cells write more than one site; got none, and size "
                f"{self.size}."
            )
        # In one form, so that equal geometries are equal.
        if self.size == 1 and isinstance(self.period, int) and self.shifts == phases(self.period):
            object.__setattr__(self, "shifts", None)
        if self.inside is not None and self.periodic:
            raise ValueError("Expected an open boundary where inside is given; got periodic.")
        own = range(self.size)
        for p, (y, x) in product(self.periods, self.offsets or ()):
            if y % p in own and x % p in own:
                raise ValueError(
                    f"Expected offsets of sites that the layer doesn't write; got {(y, x)}, with "
                    f"cells of {self.size}×{self.size} sites every {p}."
                )

    def in_words(self) -> str:
        if self.size > 1:
            return self.kind
        after = " after averages" if self.averages else ""
        return (
            f"windows of {2 * self.reach + 1}² sites in {self.least_layers} phases a level{after}"
        )

    @property
    def periodic(self) -> bool:
        return self.boundary == "periodic"

    @property
    def averages(self) -> bool:
        return self.coarse == "averages"

    @property
    def periods(self) -> tuple[int, ...]:
        """The periods p, level 0 first; the last is that of all further levels."""
        return self.period if isinstance(self.period, tuple) else (self.period,)

    def _period(self, level: int) -> int:
        return self.periods[min(level, len(self.periods) - 1)]

    @property
    def usual(self) -> bool:
        """Whether shifts and offsets are those of `phases` and `reach`, so that layers write all
        sites that stay, and generate each from known sites."""
        return self.shifts is None and self.offsets is None

    def unit(self, level: int) -> int:
        """The period p; where the boundary is open, cells fit anywhere."""
        return self._period(level) if self.periodic else 1

    @property
    def smallest(self) -> int:
        """The last period, so that every layer has cells."""
        return self.periods[-1]

    def written(self, level: int) -> int:
        return self.size**2

    @property
    def least_layers(self) -> int:
        return len(self.shifts or phases(self.periods[0]))

    @property
    def least_levels(self) -> int:
        return len(self.periods)

    def fitted(self, size: Offset, levels: int | None) -> tuple[Geometry, Offset]:
        """Where the boundary is open, any size fits, with a grid that is a multiple of all steps of
        the levels."""
        if self.periodic:
            return self, size
        levels = levels or max(min(size) // self.smallest, 1).bit_length()
        unit = 1 << (levels - 1)
        grid = tuple(-(-edge // unit) * unit for edge in size)
        inside = None if grid == size else size
        return replace(self, inside=inside), (grid[0], grid[1])

    def layers(self, level: int, grid: tuple[int, int], top: bool) -> Sequence[Cells]:
        """One layer per shift; at the top also one per sublattice without a shift; below it, if
        coarse images are averages, the averaging layer first."""
        p, s = self._period(level), self.size
        own = square(s) if s > 1 else ((0, 0),)
        shifts = [(y % p, x % p) for y, x in self.shifts or phases(p)]
        corners = [(y, x) for y in range(0, p, s) for x in range(0, p, s)]
        shifts += [corner for corner in corners if top and corner not in shifts]
        extent = grid
        if self.inside is not None:
            rows, columns = (-(-edge // 2**level) for edge in self.inside)
            extent = min(rows, grid[0]), min(columns, grid[1])
        gone: set[Offset] = set()
        made: list[Cells] = []
        if self.averages and not top:
            made.append(Squares(level, grid, extent, periodic=self.periodic))
        for k, (y, x) in enumerate(shifts):
            gone |= {((y + i) % p, (x + j) % p) for i, j in own}
            context = self.offsets
            if context is None:
                context = tuple(self._around(p, (y, x), gone))
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

    def _around(self, p: int, at: Offset, gone: set[Offset]) -> list[Offset]:
        """All sites within reach whose sublattice isn't written yet."""
        near = range(-self.reach, self.size + self.reach)
        return [
            (i, j)
            for i, j in np.array(np.meshgrid(near, near, indexing="ij")).reshape(2, -1).T.tolist()
            if ((at[0] + i) % p, (at[1] + j) % p) not in gone
        ]


class Squares(Sublattice):
    """The squares of 2×2 sites of a level, each of which writes its average where a site goes up,
    and differences elsewhere.

    Args:
        level: As of `Cells`, like all others.

    Example:
        >>> squares = Squares(0, (4, 6), (3, 5), periodic=False)
        >>> squares.shape, squares.map
        ((1, 2), 'averages')
    """

    map = "averages"

    def __init__(self, level: int, grid: Offset, extent: Offset, *, periodic: bool) -> None:
        super().__init__(
            "averages", level, grid, (0, 0), 2, fitting(extent, (0, 0), 2, 2, periodic),
            square(2), 4, periodic=periodic, groups=4, extent=extent,
        )  # fmt: skip


@cache
def phases(period: int) -> tuple[Offset, ...]:
    """The shifts of all sites of a level but the coarse ones, which are even both ways.

    Generation, which goes through them from the last to the first, begins with the sites that are
    odd both ways, then takes those in odd columns and those in odd rows. Each of these sublattices
    is divided into (p/2)² phases, every one as far as can be from those before it.

    Args:
        period: Period p; if it is odd, no sites are coarse, and phases are all sites row by row.

    Example:
        >>> phases(2)
        ((1, 0), (0, 1), (1, 1))
        >>> len(phases(4)), phases(4)[-3:]
        (12, ((1, 3), (3, 3), (1, 1)))
    """
    if period % 2:
        return tuple((i, j) for i in range(period) for j in range(period))
    rest = [(i, j) for i in range(0, period, 2) for j in range(0, period, 2)]
    within = [rest.pop(0)]
    while rest:

        def distance(at: Offset) -> int:
            sides = [[min(d, period - d) for d in _apart(at, other)] for other in within]
            return min(i * i + j * j for i, j in sides)

        rest.remove(farthest := max(rest, key=distance))
        within.append(farthest)
    generated = [(i + p, j + q) for i, j in ((1, 1), (0, 1), (1, 0)) for p, q in within]
    return tuple(reversed(generated))


def _apart(one: Offset, other: Offset) -> Offset:
    return abs(one[0] - other[0]), abs(one[1] - other[1])
