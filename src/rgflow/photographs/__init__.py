"""Photographs of any size under a flow of windows: how many bits they take, repair, enlarging."""

from rgflow.photographs.scoring import Bits, bit_map, bits, padded

__all__ = ["Bits", "bit_map", "bits", "padded"]
