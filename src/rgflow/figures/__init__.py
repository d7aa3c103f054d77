"""Results as pictures; Matplotlib is imported when it is first needed."""

from rgflow.figures.curves import learning_curve, learning_curves
from rgflow.figures.fields import atlas, heat, maps, strengths, strongest
from rgflow.figures.images import GAP, bounds, grid, picture, shaded, stages, to_bytes
from rgflow.figures.network import generation_cones, inference_cone, network_views
from rgflow.figures.pinwheel import pinwheels

__all__ = [
    "GAP",
    "atlas",
    "bounds",
    "generation_cones",
    "grid",
    "heat",
    "inference_cone",
    "learning_curve",
    "learning_curves",
    "maps",
    "network_views",
    "picture",
    "pinwheels",
    "shaded",
    "stages",
    "strengths",
    "strongest",
    "to_bytes",
]
