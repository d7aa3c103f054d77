"""Centred blocks: cells that read a square and write the middle of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from rgflow.cells import Cells, Geometry, Offset, Sublattice, fitting, square
from rgflow.checks import MAX_SIZE, Boundary, check_name, check_offsets, check_whole, own_fields


@dataclass(frozen=True, kw_only=True)
class CentredBlocks(Geometry):
    """The grid is cut into m×m blocks, again for every layer; only the central n×n are written.

    Args:
        m: Edge of what a cell reads, even; blocks lie side by side.
        n: Edge of what it writes, even and at most m.
        shifts: Row and column at which the blocks of each layer begin, in the order in which
            inference applies the layers. Those of the default write every site once if n is m/2.
        boundary: `"periodic"`, or `"open"`: what a cell reads outside the grid is missing, and
            cells that would write there are left out.

    Raises:
        ValueError: If a value isn't one of these.

    Example:
        >>> layer = CentredBlocks(m=4, n=2).layers(0, (8, 8), top=True)[0]
        >>> len(layer), len(layer.reads), layer.written
        (4, 16, 4)
    """

    m: int = 4
    n: int = 2
    shifts: tuple[Offset, ...] = ((0, 0), (2, 2), (0, 2), (2, 0))
    boundary: Boundary = "periodic"

    def __post_init__(self) -> None:
        own_fields(self)
        check_name("boundary", self.boundary, get_args(Boundary))
        check_whole("m", self.m, 2, MAX_SIZE)
        check_whole("n", self.n, 2, self.m)
        if self.m % 2 or self.n % 2:
            raise ValueError(f"Expected even edges m and n; got {self.m} and {self.n}.")
        object.__setattr__(self, "shifts", check_offsets("shifts", self.shifts))

    @property
    def periodic(self) -> bool:
        return self.boundary == "periodic"

    def unit(self, level: int) -> int:
        """The edge m."""
        return self.m

    def written(self, level: int) -> int:
        return self.n**2

    def layers(self, level: int, grid: tuple[int, int], top: bool) -> Sequence[Cells]:
        """One for each shift."""
        m, n, rim = self.m, self.n, (self.m - self.n) // 2
        own = square(n, (rim, rim))
        reads = own + tuple(site for site in square(m) if site not in own)
        made = []
        for k, (y, x) in enumerate(self.shifts):
            corner = ((y + rim) % m, (x + rim) % m)  # of what is written
            made.append(
                Sublattice(
                    f"layer {k}",
                    level,
                    grid,
                    (corner[0] - rim, corner[1] - rim),
                    m,
                    fitting(grid, corner, m, n, self.periodic),
                    reads,
                    n * n,
                    periodic=self.periodic,
                    groups=4,
                )
            )
        return made
