"""Results as pictures; Matplotlib is imported when it is first needed."""

from typing import TYPE_CHECKING

import lazy_loader

# Names are imported when first used, and with them what they draw.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "curves": ["learning_curve", "learning_curves"],
        "fields": ["atlas", "heat", "maps", "strengths", "strongest"],
        "images": ["GAP", "bounds", "grid", "picture", "shaded", "stages", "to_bytes"],
        "network": ["generation_cones", "inference_cone", "network_views"],
        "pinwheel": ["pinwheels"],
    },
)

if TYPE_CHECKING:
    from rgflow.figures.curves import learning_curve as learning_curve
    from rgflow.figures.curves import learning_curves as learning_curves
    from rgflow.figures.fields import atlas as atlas
    from rgflow.figures.fields import heat as heat
    from rgflow.figures.fields import maps as maps
    from rgflow.figures.fields import strengths as strengths
    from rgflow.figures.fields import strongest as strongest
    from rgflow.figures.images import GAP as GAP
    from rgflow.figures.images import bounds as bounds
    from rgflow.figures.images import grid as grid
    from rgflow.figures.images import picture as picture
    from rgflow.figures.images import shaded as shaded
    from rgflow.figures.images import stages as stages
    from rgflow.figures.images import to_bytes as to_bytes
    from rgflow.figures.network import generation_cones as generation_cones
    from rgflow.figures.network import inference_cone as inference_cone
    from rgflow.figures.network import network_views as network_views
    from rgflow.figures.pinwheel import pinwheels as pinwheels
