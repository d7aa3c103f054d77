"""Geometries: how the layers of a level are made of cells, a module each."""

from rgflow.cells import Geometry
from rgflow.geometries.blocks import Blocks
from rgflow.geometries.centred import CentredBlocks
from rgflow.geometries.squeeze import Squeeze
from rgflow.geometries.windows import Windows

__all__ = ["GEOMETRIES", "Blocks", "CentredBlocks", "Squeeze", "Windows"]

GEOMETRIES: dict[str, type[Geometry]] = {
    "blocks": Blocks,
    "centred_blocks": CentredBlocks,
    "windows": Windows,
    "squeeze": Squeeze,
}
"""By the names that configs have for them."""
