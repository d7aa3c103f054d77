"""Blocks: cells that write all that they read, disentanglers and decimators (paper, eqs. 6–9)."""

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le, Len, MultipleOf

from rgflow.cells import Boundary, Cells, Geometry, Ids, Mask, square
from rgflow.checks import MAX_LEVELS, MAX_SIZE
from rgflow.kinds import FROM_LEVEL, config, sizes_in_words

Order = Literal["paper", "released"]


Edge = Annotated[int, Ge(2), Le(MAX_SIZE), MultipleOf(2)]


@config
class Blocks(Geometry, kind="blocks"):
    """m×m blocks, which a disentangler maps, shifted by m/2, and then a decimator.

    Args:
        m: Edge of a block, even: one for all levels, or one for each, level 0 first, of which the
            last holds for all further levels.
        boundary: `"periodic"` (blocks wrap around) or `"open"` (those that would are left out).
        order: `"paper"` (disentanglers shifted, decimators not) or `"released"` (the other way
            round).
        disentanglers: Whether there are any; without them the network is a tree, whose blocks never
            overlap.

    Raises:
        ValueError: If a value isn't one of these.

    Example:
        >>> [layer.name for layer in Blocks(m=(8, 4)).layers(1, (16, 16), top=False)]
        ['disentangler', 'decimator']
    """

    m: Annotated[Edge | Annotated[tuple[Edge, ...], Len(1, MAX_LEVELS)], FROM_LEVEL] = 4
    boundary: Boundary = "periodic"
    order: Order = "paper"
    disentanglers: bool = True

    def __post_init__(self) -> None:
        if not self.disentanglers and self.order != "paper":
            raise ValueError(
                f"Expected the order paper without disentanglers; got {self.order}, in "
                f"which disentanglers come last: set one of the two."
            )

    def in_words(self) -> str:
        tree = "" if self.disentanglers else " without disentanglers"
        return f"m = {sizes_in_words(self.m)}{tree}"

    @property
    def periodic(self) -> bool:
        return self.boundary == "periodic"

    @property
    def edges(self) -> tuple[int, ...]:
        """The edges of blocks, level 0 first; the last holds for all further levels."""
        return self.m if isinstance(self.m, tuple) else (self.m,)

    def unit(self, level: int) -> int:
        """The edge m."""
        return self.edges[min(level, len(self.edges) - 1)]

    def written(self, level: int) -> int:
        return self.unit(level) ** 2

    @property
    def least_levels(self) -> int:
        return len(self.edges)

    def layers(self, level: int, grid: tuple[int, int], top: bool) -> Sequence[Cells]:
        """Disentangler and decimator, of which one without a block (the shifted one on a grid of
        one block, with an open boundary) isn't there."""
        m = self.unit(level)
        shifts = {"disentangler": m // 2, "decimator": 0}
        if self.order == "released":
            shifts = {"disentangler": 0, "decimator": m // 2}
        made = [Tiles(name, level, grid, m, s, self.periodic) for name, s in shifts.items()]
        return [one for one in made[not self.disentanglers :] if len(one)]


class Tiles(Cells):
    """The blocks of one layer: squares of an edge m into which a grid is cut at `shift` both ways.

    With an open boundary the blocks that would wrap are left out, so a shifted layer has one row
    and one column of blocks less.
    """

    def __init__(
        self, name: str, level: int, grid: tuple[int, int], m: int, shift: int, periodic: bool
    ) -> None:
        lost = 0 if periodic or not shift else 1
        rows, columns = grid[0] // m - lost, grid[1] // m - lost
        self.tile, self.shift = m, shift
        sites, shape, none = square(m), (rows, columns), np.empty((0, 2), dtype=np.int64)
        super().__init__(
            name, level, grid, none, sites, m * m,
            periodic=periodic, period=(m, m), groups=4, shape=shape,
        )  # fmt: skip

    @cached_property
    def origins(self) -> Ids:
        rows = np.stack(np.divmod(np.arange(len(self)), self.shape[1]), -1)
        return rows * self.tile + self.shift

    # The same as of all cells, without a table.

    def touched(self, mask: Mask) -> Mask:
        s, m, (p, q) = self.shift, self.tile, self.shape
        if self.periodic:
            inside = np.roll(mask, (-s, -s), (-2, -1))
        else:
            inside = mask[..., s : s + p * m, s : s + q * m]
        return np.any(inside.reshape(*mask.shape[:-2], p, m, q, m), (-3, -1))

    def spread(self, mask: Mask) -> Mask:
        s, m, (p, q) = self.shift, self.tile, self.shape
        whole = self.touched(mask).repeat(m, -2).repeat(m, -1)
        if self.periodic:
            return np.roll(whole, (s, s), (-2, -1))
        out = mask.copy()
        out[..., s : s + p * m, s : s + q * m] = whole
        return out
