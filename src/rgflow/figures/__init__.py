"""Results as pictures; Matplotlib is imported when it is first needed."""

from rgflow.figures.curves import learning_curve
from rgflow.figures.images import GAP, bounds, grid, picture, shaded, stages, to_bytes

__all__ = [
    "GAP",
    "bounds",
    "grid",
    "learning_curve",
    "picture",
    "shaded",
    "stages",
    "to_bytes",
]
