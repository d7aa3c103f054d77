"""What a layer is: cells, alike up to translation, that read sites and write some of them.

No two cells of a layer write one site, and none reads what another one writes. So all cells can be
mapped at once, in both directions: what a cell reads and doesn't write, its *context*, is the same
before and after the layer.

Everything above (cones, the flow, evaluation in places, receptive fields, local terms) knows layers
by `Cells` alone, and how levels are made of layers by `Geometry`.

Letters in shapes: h, w rows and columns of a grid; n cells; R sites that a cell reads. It
writes the first W of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from rgflow.kinds import Kind, config

Mask = NDArray[np.bool_]
Ids = NDArray[np.int64]
"""Whole numbers that say where something is."""
Offset = tuple[int, int]
"""Row and column from somewhere."""
Boundary = Literal["periodic", "open"]
MAX_TABLE_ENTRIES = 1 << 27
"""Entries of a table of cells at the most, of 1 GiB: no file may ask for more."""

SUBLATTICES = ((0, 0), (1, 1), (0, 1), (1, 0))
"""Offsets of the four sublattices, in the order in which the variables of a square have them."""


@dataclass(frozen=True)
class Square:
    """What a cell of block spins knows of its square of 2×2 sites, by places in its context.

    Attributes:
        average: The place of the average of its pixels; none: the cell puts it in the place of the
            pixel that it reads, towards the latents, and back.
        known: The places of the pixels that are known.
    """

    average: int | None
    known: tuple[int, ...]


class Cells:
    """One layer of cells on the grid of one level.

    The variables of a cell are ordered by group of written sites, then channel, then site.

    Args:
        name: Where weights are shared between levels, those of layers with one name are.
        level: The level h, whose grid holds every 2^h-th pixel.
        grid: Its size (h, w).
        origins: Where the cells are, [n, 2].
        reads: The sites that a cell reads, from its origin: row and column.
        written: How many of these, the first ones, it writes.
        periodic: Whether cells wrap around; otherwise what they read outside is *missing*.
        period: By how many rows and columns the layer may be moved without changing.
        groups: Equal parts of the written sites.
        shape: Rows and columns of cells, where they have such; their number otherwise.
        extent: Rows and columns of the grid that there are, where cells don't wrap around: whatever
            cells read beyond these is missing too. None: all.
        unknown: Which of `reads` are missing everywhere, as they aren't generated yet. None: none.

    Example:
        >>> pairs = Cells("pairs", 0, (2, 4), np.array([(0, 0), (0, 2)]), [(0, 0), (1, 0)], 1)
        >>> pairs.table.tolist()
        [[0, 4], [2, 6]]
        >>> pairs.spread(np.array([[0, 0, 0, 0], [0, 0, 1, 0]], dtype=bool)).astype(int).tolist()
        [[0, 0, 1, 0], [0, 0, 1, 0]]
    """

    tile = 0
    """The edge m, where the cells are the m×m squares into which the grid is cut at `shift`, and
    write all that they read; they can then be cut out without a table."""
    shift = 0
    exact: Any = None
    """The action (`rgflow.actions`) that says how likely is what cells write; none: their map."""
    square: Square | None = None
    """What cells know of the average that the pixels of their square have; none: nothing."""

    def __init__(
        self,
        name: str,
        level: int,
        grid: tuple[int, int],
        origins: Ids,
        reads: Sequence[Offset],
        written: int,
        *,
        periodic: bool = True,
        period: tuple[int, int] | None = None,
        groups: int = 1,
        shape: tuple[int, ...] | None = None,
        extent: tuple[int, int] | None = None,
        unknown: Sequence[bool] | None = None,
    ) -> None:
        self.name, self.level, self.grid, self.periodic = name, level, grid, periodic
        self.reads, self.written, self.groups = tuple(reads), written, groups
        self.unknown = tuple(unknown or ())
        self.period = period or grid
        self.shape = shape or (len(origins),)
        self.extent = extent or grid
        self._origins = origins
        self._offsets: Ids = np.array(self.reads, dtype=np.int64).reshape(-1, 2)

    def __len__(self) -> int:
        return int(np.prod(self.shape))

    def __deepcopy__(self, memo: object) -> "Cells":
        return self  # as it never changes

    @property
    def origins(self) -> Ids:
        """Where the cells are, [n, 2]."""
        return self._origins

    @property
    def misses(self) -> bool:
        """Whether anything that cells read may be missing."""
        return not self.periodic or bool(self.unknown)

    @cached_property
    def table(self) -> Ids:
        """The sites i·w + j that every cell reads, written ones first, [n, R]; −1: missing.

        Raises:
            ValueError: If the cells aren't what this module says.
        """
        if len(self) * len(self.reads) > MAX_TABLE_ENTRIES:
            raise ValueError(
                f"Expected at most {MAX_TABLE_ENTRIES:,} sites for the cells of a layer to read; "
                f"got {len(self):,} cells of {len(self.reads)}, on the grid {self.grid}."
            )
        table = self._sites_at(self.origins)
        written, context = table[:, : self.written].ravel(), table[:, self.written :]
        counts = np.bincount(written[written >= 0], minlength=self.grid[0] * self.grid[1])
        if (written < 0).any() or counts.max(initial=0) > 1:
            raise ValueError(
                f"Expected cells of {self.name} that write sites of the grid {self.grid}, each "
                f"site at most once; got other ones."
            )
        if (counts[context] * (context >= 0)).any():
            raise ValueError(
                f"Expected cells of {self.name} to read, on the grid {self.grid}, nothing that "
                f"their layer writes but what they write themselves; got other ones."
            )
        return table

    def sites(self, numbers: Ids) -> Ids:
        """The rows of `table` of some cells [k], [k, R]."""
        return self.table[numbers]

    def _sites_at(self, origins: Ids) -> Ids:
        """What cells at these places [k, 2] read, as in `table`, [k, R]."""
        at = origins[:, None] + self._offsets
        inside = ((at >= 0) & (at < np.array(self.extent))).all(2)
        i, j = np.moveaxis(at % np.array(self.grid), 2, 0)
        found = np.where(inside | self.periodic, i * self.grid[1] + j, -1)
        found[:, list(np.flatnonzero(self.unknown))] = -1
        return found

    @cached_property
    def _numbers(self) -> Ids:
        """The number of the cell at every place of the grid, where they wrap around; −1: none."""
        numbers = np.full(self.grid, -1, dtype=np.int64)
        i, j = (self.origins % np.array(self.grid)).T
        numbers[i, j] = np.arange(len(self))
        return numbers

    def _cells_at(self, places: Ids) -> Ids:
        """The numbers of the cells at these places [k, 2]; −1: there is none."""
        i, j = (places % np.array(self.grid)).T
        numbers = self._numbers[i, j]
        if self.periodic:
            return numbers
        return np.where((self.origins[numbers] == places).all(1), numbers, -1)

    def _readers(self, sites: Ids) -> Ids:
        """The numbers of the cells that read each of these sites [k, 2], [k, R]; −1: none."""
        there: Mask = np.all(sites < np.array(self.extent), axis=1)
        found = self._cells_at((sites[:, None] - self._offsets).reshape(-1, 2))
        found = np.where(there[:, None], found.reshape(len(sites), len(self.reads)), -1)
        found[:, list(np.flatnonzero(self.unknown))] = -1
        return found

    def readers(self, sites: Ids) -> tuple[Ids, Ids]:
        """The numbers of all cells that read one of these sites [k, 2], each once, in order; and of
        each a site that it reads, by its place among them."""
        found, first = np.unique(self._readers(sites), return_index=True)
        there = found >= 0
        return found[there], first[there] // len(self.reads)

    def touched(self, mask: Mask) -> Mask:
        """Which cells read a marked site: masks of the grid […, h, w] → of cells […, shape]."""
        lead = mask.shape[:-2]
        marked = np.argwhere(mask)
        if len(marked) * len(self.reads) < mask.size:  # rather look around them than at all cells
            numbers = self._readers(marked[:, -2:])
            found = numbers >= 0
            where = marked[:, None, :-2].repeat(numbers.shape[1], 1)[found]
            out = np.zeros((*lead, len(self)), dtype=bool)
            out[(*where.T, numbers[found])] = True
            return out.reshape(*lead, *self.shape)
        flat = np.concatenate([mask.reshape(*lead, -1), np.zeros((*lead, 1), dtype=bool)], -1)
        return flat[..., self.table].any(-1).reshape(*lead, *self.shape)

    def spread(self, mask: Mask) -> Mask:
        """Mark all that cells write which read a marked site, beside what is marked."""
        lead = mask.shape[:-2]
        out, touched = mask.reshape(*lead, -1).copy(), self.touched(mask).reshape(*lead, -1)
        out[..., self.table[:, : self.written].ravel()] |= touched.repeat(self.written, -1)
        return out.reshape(mask.shape)


class Sublattice(Cells):
    """Cells in rows and columns, one step apart both ways. Where they are, and what they read,
    needs no table, and so no memory, whatever the grid.

    Args:
        start: Row and column of the first cell.
        step: Distance p of neighbouring cells.
        shape: Rows and columns of cells.
        others: As of `Cells`, which has all others.

    Example:
        >>> reads = [(0, 0), (0, -1)]
        >>> cells = Sublattice("odd", 0, (4, 6), (1, 1), 2, (2, 3), reads, 1)
        >>> cells.origins[:2].tolist(), cells.readers(np.array([[1, 2]]))[0].tolist()
        ([[1, 1], [1, 3]], [1])
    """

    def __init__(
        self,
        name: str,
        level: int,
        grid: tuple[int, int],
        start: Offset,
        step: int,
        shape: tuple[int, int],
        reads: Sequence[Offset],
        written: int,
        *,
        periodic: bool = True,
        groups: int = 1,
        extent: tuple[int, int] | None = None,
        unknown: Sequence[bool] | None = None,
        square: Square | None = None,
    ) -> None:
        self.start, self.step, self.square = start, step, square
        none, period = np.empty((0, 2), dtype=np.int64), (step, step)
        super().__init__(
            name, level, grid, none, reads, written,
            periodic=periodic, period=period, groups=groups, shape=shape, extent=extent,
            unknown=unknown,
        )  # fmt: skip

    @property
    def origins(self) -> Ids:
        return self._places(np.arange(len(self)))

    def _places(self, numbers: Ids) -> Ids:
        """Where cells are, [k, 2]."""
        found = np.stack(np.divmod(numbers, self.shape[1]), -1)
        return np.array(self.start) + self.step * found

    def sites(self, numbers: Ids) -> Ids:
        return self._sites_at(self._places(numbers))

    def _cells_at(self, places: Ids) -> Ids:
        from_first = places - np.array(self.start)
        if self.periodic:
            from_first = from_first % np.array(self.grid)
        (i, j), off = from_first.T // self.step, (from_first % self.step).any(1)
        there = ~off & (from_first >= 0).all(1) & (i < self.shape[0]) & (j < self.shape[1])
        return np.where(there, i * self.shape[1] + j, -1)

    def bands(self, most: int) -> Iterator[tuple[slice, "Sublattice"]]:
        """The layer in parts of a few rows of cells, where the boundary is open: the rows of the
        grid that a part reads, and its cells as a layer of these rows.

        Args:
            most: Cells of a part, if a row has no more.
        """
        rows, columns = self.shape
        offsets, height = [i for i, _ in self.reads], self.extent[0]
        for first in range(0, rows, number := max(most // max(columns, 1), 1)):
            count = min(number, rows - first)
            top = self.start[0] + self.step * first
            low = max(top + min(offsets), 0)
            high = min(top + self.step * (count - 1) + max(offsets) + 1, height)
            grid = (high - low, self.grid[1])
            yield (
                slice(low, high),
                Sublattice(
                    self.name, self.level, grid, (top - low, self.start[1]), self.step,
                    (count, columns), self.reads, self.written, periodic=False,
                    groups=self.groups, extent=(high - low, self.extent[1]), unknown=self.unknown,
                ),
            )  # fmt: skip


@config
class Geometry(Kind, family="geometry"):
    """How the layers of every level are made of cells."""

    squeezes: ClassVar[bool] = False
    """Whether it maps whole images, as a Real NVP does, and has no cells."""
    any_size: ClassVar[bool] = False
    """Whether weights that were learned with smaller images serve larger ones."""
    usual: ClassVar[bool] = False
    """Whether layers write all sites that stay, each of which is generated from known ones."""

    @property
    def periodic(self) -> bool:
        """Whether cells wrap around the edges of a grid."""
        raise NotImplementedError

    def unit(self, level: int) -> int:
        """What rows and columns of a level's grid have to be multiples of."""
        raise NotImplementedError

    @property
    def smallest(self) -> int:
        """The smallest edge of a grid."""
        return 1

    def written(self, level: int) -> int:
        """How many sites a cell writes, at least; what a config asks for is judged by it."""
        return 1

    def layers(self, level: int, grid: tuple[int, int], top: bool) -> Sequence[Cells]:
        """The layers of a level, in the order in which inference applies them."""
        raise NotImplementedError

    def fitted(self, size: Offset, levels: int | None) -> tuple["Geometry", Offset]:
        """A geometry like this for images of a size, and the size of its grid, the same or larger.

        Args:
            size: Rows and columns.
            levels: Number of levels; none: as many as fit.
        """
        return self, size

    @property
    def inside(self) -> tuple[int, int] | None:
        """Rows and columns of images, where they are smaller than the grid; none: they aren't."""
        return None

    averages: ClassVar[bool] = False
    """Whether coarse images are averages of squares, rather than every second site."""

    def in_words(self) -> str:
        """A phrase."""
        return str(self.to_dict()["kind"])

    @property
    def least_layers(self) -> int:
        """How many layers with maps of their own a level has at least."""
        return 1

    @property
    def least_levels(self) -> int:
        """How many levels are named one by one."""
        return 1


def square(edge: int) -> tuple[Offset, ...]:
    """The sites of a square with an even edge, sublattice by sublattice, row by row.

    >>> square(2)
    ((0, 0), (1, 1), (0, 1), (1, 0))
    """
    return tuple(
        (i, j) for a, b in SUBLATTICES for i in range(a, edge, 2) for j in range(b, edge, 2)
    )
