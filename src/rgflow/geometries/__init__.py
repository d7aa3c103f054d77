"""Geometries: how the layers of a level are made of cells, a module each."""

from rgflow.cells import Geometry
from rgflow.geometries.blocks import Blocks
from rgflow.geometries.squeeze import Squeeze
from rgflow.geometries.windows import Windows

__all__ = ["GEOMETRIES", "Blocks", "Squeeze", "Windows"]

GEOMETRIES: dict[str, type[Geometry]] = {
    "blocks": Blocks,
    "windows": Windows,
    "squeeze": Squeeze,
}
"""By the names that configs have for them."""
