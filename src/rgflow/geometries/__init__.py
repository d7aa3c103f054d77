"""Geometries: how the layers of a level are made of cells, a module each."""

from rgflow.cells import Geometry
from rgflow.geometries.blocks import Blocks
from rgflow.geometries.spins import BlockSpins
from rgflow.geometries.squeeze import Squeeze
from rgflow.geometries.windows import Windows

__all__ = ["BlockSpins", "Blocks", "Geometry", "Squeeze", "Windows"]
