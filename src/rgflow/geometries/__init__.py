"""Geometries: how the layers of a level are made of cells, a module each."""

from rgflow.cells import Geometry
from rgflow.geometries.blocks import Blocks
from rgflow.geometries.squeeze import Squeeze
from rgflow.geometries.windows import Windows

__all__ = ["Blocks", "Geometry", "Squeeze", "Windows"]
