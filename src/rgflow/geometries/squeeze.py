"""Squeezes: the geometry of a multi-scale flow such as Real NVP, which has no cells."""

from collections.abc import Sequence

from rgflow.cells import Cells, Geometry
from rgflow.kinds import config


@config
class Squeeze(Geometry, kind="squeeze"):
    """Every scale maps whole images, makes four sublattices of each, and factors out two."""

    squeezes = True

    @property
    def periodic(self) -> bool:
        return False

    def unit(self, level: int) -> int:
        """Any size."""
        return 1

    def layers(self, level: int, grid: tuple[int, int], top: bool) -> Sequence[Cells]:
        """There are none."""
        return ()
