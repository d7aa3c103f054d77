"""Block spins: windows whose coarse images are averages of squares (Kadanoff 1966)."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

from annotated_types import Ge, Le, Len

from rgflow.cells import Cells, Offset, Square
from rgflow.checks import MAX_LEVELS, MAX_SIZE
from rgflow.geometries.windows import Windows, phases
from rgflow.kinds import FROM_LEVEL, config

Reach = Annotated[int, Ge(1), Le(MAX_SIZE)]


@config
class BlockSpins(Windows, kind="block-spins"):
    """Windows whose coarse images are averages of squares of 2×2 pixels, rounded.

    Of a square, the level above holds the average y = ⌊(Σx + 2)/4⌋, at the site (0, 0). Towards the
    latents, the first layer of a level puts averages in the place of the pixels at these sites. So
    towards images the three other pixels are generated phase by phase, given the averages and
    pixels around, each within what the average of its square leaves open; the fourth, which then
    has at most four values, comes last. Squares that the edge of an image cuts have the average
    ⌊(Σx + n/2)/n⌋ of their n pixels. So every coarse image is the one that `PIL.Image.reduce(2)`
    gives.

    Args:
        coarse_reach: How far around itself a cell reads averages, in sites of the grid.
        others: As of `Windows`.

    Raises:
        ValueError: If a value isn't one of these.

    Example:
        >>> layers = BlockSpins(reach=1, coarse_reach=1).layers(0, (8, 8), top=False)
        >>> [(layer.name, len(layer), len(layer.reads) - layer.written) for layer in layers]
        [('average', 16, 8), ('pixel 0', 16, 8), ('pixel 1', 16, 4), ('pixel 2', 16, 4)]
    """

    averages: ClassVar[bool] = True

    coarse_reach: Annotated[int, Ge(1), Le(MAX_SIZE)] = 5
    reach: Annotated[Reach | Annotated[tuple[Reach, ...], Len(1, MAX_LEVELS)], FROM_LEVEL] = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(period % 2 for period in self.periods):
            raise ValueError(
                f"Expected even periods, as squares of pixels repeat with them; got {self.period}."
            )

    def in_words(self) -> str:
        sizes = self._sizes_in_words()
        return f"block spins, windows of {sizes} sites in {self._phases_in_words()} a level"

    def layers(self, level: int, grid: tuple[int, int], top: bool) -> Sequence[Cells]:
        """The averages, then one layer per phase; at the top, windows of period 2, or of the
        level's own where phases share maps."""
        if top:
            kind = Windows(
                period=self._period(level) if self.shared_phases else 2, reach=self._reach(level),
                boundary=self.boundary, inside=self.inside, shared_phases=self.shared_phases,
            )  # fmt: skip
            return kind.layers(level, grid, top=True)
        p = self._period(level)
        next_to = range(-min(self._reach(level), 2), min(self._reach(level), 2) + 1)
        pixels = [(i, j) for i in next_to for j in next_to if i % 2 or j % 2]
        square = _square((0, 0), pixels)
        made = [self._layer("average", level, grid, (0, 0), 2, pixels, square=square)]
        far = range(-self.coarse_reach, self.coarse_reach + 1)
        gone: set[Offset] = set()
        for k, (y, x) in enumerate(phases(p)):
            gone.add((y, x))
            averages = [(i, j) for i in far for j in far if not ((y + i) % 2 or (x + j) % 2)]
            pairs = zip(*self._around(level, (y, x), gone), strict=True)
            found = [((i, j), no) for (i, j), no in pairs if (y + i) % 2 or (x + j) % 2]
            around = averages + [site for site, _ in found]
            unknown = [False] * len(averages) + [no for _, no in found]
            square, name = _square((y % 2, x % 2), around), f"pixel {self._number(k, p)}"
            made.append(self._layer(name, level, grid, (y, x), p, around, unknown, square))
        return made


def _square(at: Offset, around: Sequence[Offset]) -> Square:
    """What a cell at one of the sites of a square knows of it, given what it reads."""
    place = {(at[0] + i, at[1] + j): k for k, (i, j) in enumerate(around)}
    known = tuple(place[one] for one in ((1, 1), (0, 1), (1, 0)) if one in place)
    return Square(place.get((0, 0)), known)
