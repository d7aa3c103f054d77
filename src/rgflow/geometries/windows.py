"""Windows: cells that write one site, and read what is known around it."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Annotated, ClassVar

from annotated_types import Ge, Le, Len

from rgflow.actions import Action
from rgflow.cells import Boundary, Cells, Geometry, Offset, Square, Sublattice
from rgflow.checks import MAX_LEVELS, MAX_SIZE
from rgflow.kinds import FROM_LEVEL, config

Positive = Annotated[int, Ge(1)]
NEIGHBOURS = ((-1, 0), (1, 0), (0, 1), (0, -1))
MAX_PERIOD = 32
"""Maximum period: finding the phases of larger ones takes minutes."""
Period = Annotated[int, Ge(1), Le(MAX_PERIOD)]
Reach = Annotated[int, Ge(0), Le(MAX_SIZE)]


@config
class Windows(Geometry, kind="windows"):
    """Layers of cells on sublattices of one period, each written from what is around it: those of
    `phases`, and at the top of the remaining sublattices too.

    Args:
        period: Distance p of neighbouring cells, both ways: one for all levels, or one for each,
            level 0 first, where the last holds for all further levels. A top level may have the
            edge of its grid, so that its sites are drawn one by one.
        reach: How far around what a cell writes it reads, in sites of the grid, for all levels or
            for each: all sites but those that this layer or an earlier one of the level writes. So
            when a layer is inverted, all that it reads is known.
        boundary: `"periodic"`, or `"open"`: what a cell reads outside the grid is missing.
        inside: Rows and columns of images that there are, where the boundary is open; the rest,
            below and at the right, only makes a size that fits: it is never read, and stays as it
            is. None: all.
        exact: An action whose sites know their four neighbours alone. That half of the finest
            level's sites which has an odd sum of row and column is then drawn last, exactly, by a
            map without parameters (`rgflow.bijectors.conditional`); phases are those of the rest.
        shared_phases: Whether the phases of one sublattice (odd rows, odd columns, both, neither)
            share their maps, which then see which sites of a window are known. So large periods,
            where sites are generated nearly one by one, need few more weights than a period of 2.

    Raises:
        ValueError: If a value isn't one of these, or the action reaches farther.

    Example:
        >>> layers = Windows(reach=1).layers(0, (8, 8), top=False)
        >>> [(len(layer), len(layer.reads) - layer.written) for layer in layers]
        [(16, 8), (16, 4), (16, 4)]

        With shared maps, 12 phases have three of them, and see which sites of a window are known:

        >>> layers = Windows(period=4, shared_phases=True).layers(0, (8, 8), top=False)
        >>> len(layers), sorted({layer.name for layer in layers}), sum(layers[1].unknown)
        (12, ['layer 0', 'layer 1', 'layer 2'], 4)
    """

    any_size: ClassVar[bool] = True
    usual: ClassVar[bool] = True

    period: Annotated[Period | Annotated[tuple[Period, ...], Len(1, MAX_LEVELS)], FROM_LEVEL] = 2
    reach: Annotated[Reach | Annotated[tuple[Reach, ...], Len(1, MAX_LEVELS)], FROM_LEVEL] = 2
    boundary: Boundary = "periodic"
    inside: tuple[Positive, Positive] | None = None
    exact: Action | None = None
    shared_phases: bool = False

    def __post_init__(self) -> None:
        if self.exact is not None and not self.exact.near:
            raise ValueError(
                f"Expected an action whose sites know their four neighbours alone where the last "
                f"half is drawn exactly; got {self.exact.to_dict()['kind']}: set "
                f"--model.geometry.exact null."
            )
        if self.exact is not None and (self.averages or not self.periodic or self.periods[0] % 2):
            raise ValueError(
                "Expected the geometry windows with a periodic boundary and an even period where "
                "the last half is drawn exactly; got another one."
            )
        if self.inside is not None and self.periodic:
            raise ValueError("Expected an open boundary where inside is given; got periodic.")

    def in_words(self) -> str:
        exact = ", the last half exactly" if self.exact is not None else ""
        return (
            f"windows of {self._sizes_in_words()} sites in {self._phases_in_words()} a level{exact}"
        )

    def _sizes_in_words(self) -> str:
        return ", ".join(f"{2 * reach + 1}²" for reach in self.reaches)

    def _phases_in_words(self) -> str:
        counts = ", ".join(str(len(phases(p))) for p in self.periods)
        return f"{counts} phases" + " of 3 maps" * self.shared_phases

    @property
    def periodic(self) -> bool:
        return self.boundary == "periodic"

    @property
    def periods(self) -> tuple[int, ...]:
        """The periods p, level 0 first; the last is that of all further levels."""
        return self.period if isinstance(self.period, tuple) else (self.period,)

    def _period(self, level: int) -> int:
        return self.periods[min(level, len(self.periods) - 1)]

    @property
    def reaches(self) -> tuple[int, ...]:
        """The reaches, likewise."""
        return self.reach if isinstance(self.reach, tuple) else (self.reach,)

    def _reach(self, level: int) -> int:
        return self.reaches[min(level, len(self.reaches) - 1)]

    def unit(self, level: int) -> int:
        """The period p; where the boundary is open, cells fit anywhere."""
        return self._period(level) if self.periodic else 1

    @property
    def smallest(self) -> int:
        """The last period, so that every layer has cells."""
        return self.periods[-1]

    @property
    def least_layers(self) -> int:
        count = len(phases(self.periods[0]))
        return self._number(count, self.periods[0])

    @property
    def least_levels(self) -> int:
        return max(len(self.periods), len(self.reaches))

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
        """One layer per phase, and at the top also one per coarse sublattice."""
        p = self._period(level)
        shifts = list(phases(p))
        every = [(y, x) for y in range(p) for x in range(p)]
        shifts += [at for at in every if top and at not in shifts]
        gone: set[Offset] = set()
        made = []
        if self.exact is not None and not level:
            for start in ((1, 0), (0, 1)):
                made.append(half := self._layer("half", level, grid, start, 2, NEIGHBOURS))
                half.exact = self.exact
            gone.update(at for at in every if sum(at) % 2)
        for k, (y, x) in enumerate(shifts):
            if (y, x) in gone:
                continue
            gone.add((y, x))
            around, unknown = self._around(level, (y, x), gone)
            name = f"layer {self._number(k, p)}"
            made.append(self._layer(name, level, grid, (y, x), p, around, unknown))
        return made

    def _number(self, k: int, period: int) -> int:
        """The number in the name of the k-th phase: that of its sublattice, where these share."""
        return k // (period // 2) ** 2 if self._shares(period) else k

    def _shares(self, period: int) -> bool:
        return self.shared_phases and period > 2 and period % 2 == 0

    def _around(self, level: int, at: Offset, gone: set[Offset]) -> tuple[list[Offset], list[bool]]:
        """The offsets of what the cells of a phase read, and which of these aren't known.

        Args:
            level: The level.
            at: The shift of the phase.
            gone: Shifts of the phases that aren't known, this one included.
        """
        period, reach = self._period(level), self._reach(level)
        near = range(-reach, reach + 1)
        around, unknown = [], []
        for offset in ((i, j) for i in near for j in near if i or j):
            there = (at[0] + offset[0]) % period, (at[1] + offset[1]) % period
            alike = there != at and not offset[0] % 2 and not offset[1] % 2
            if there not in gone or (alike and self._shares(period)):
                around.append(offset)
                unknown.append(there in gone)
        return around, unknown

    def _layer(
        self,
        name: str,
        level: int,
        grid: Offset,
        start: Offset,
        step: int,
        around: Sequence[Offset],
        unknown: Sequence[bool] = (),
        square: Square | None = None,
    ) -> Sublattice:
        """Cells that write one site each, and read those around it."""
        extent = grid
        if self.inside is not None:
            rows, columns = (-(-edge // 2**level) for edge in self.inside)
            extent = min(rows, grid[0]), min(columns, grid[1])
        rows, columns = (len(range(at, n, step)) for at, n in zip(start, extent, strict=True))
        return Sublattice(
            name, level, grid, start, step, (rows, columns), ((0, 0), *around), 1,
            periodic=self.periodic, extent=extent, square=square,
            unknown=(False, *unknown) if self._shares(step) else None,
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
