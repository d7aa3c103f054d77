"""RG-Flow: hierarchical, explainable normalizing flows of images.

>>> import rgflow
>>> flow = rgflow.RGFlow(rgflow.FlowConfig(height=16, width=16, depth=1, hidden=32))
>>> flow.sample(2).shape
torch.Size([2, 3, 16, 16])
"""

from typing import TYPE_CHECKING

import lazy_loader

__version__ = "0.1.0"

# Names are imported when first used, so that `rgflow --help` doesn't import torch.
__getattr__, __dir__, _names = lazy_loader.attach(
    __name__,
    submod_attrs={
        "architectures": ["load_flow", "make_flow"],
        "baselines": ["RealNVP"],
        "bijectors": ["Bijector"],
        "config": ["FlowConfig", "TrainConfig"],
        "flow": ["Flow", "LosslessWarning", "Terms"],
        "latents": ["Latents"],
        "lattice": ["Lattice"],
        "model": ["RGFlow"],
        "numerics": ["bits_per_dim"],
        "presets": ["preset"],
    },
)

__all__ = ["__version__", *_names]

if TYPE_CHECKING:
    from rgflow.architectures import load_flow as load_flow
    from rgflow.architectures import make_flow as make_flow
    from rgflow.baselines import RealNVP as RealNVP
    from rgflow.bijectors import Bijector as Bijector
    from rgflow.config import FlowConfig as FlowConfig
    from rgflow.config import TrainConfig as TrainConfig
    from rgflow.flow import Flow as Flow
    from rgflow.flow import LosslessWarning as LosslessWarning
    from rgflow.flow import Terms as Terms
    from rgflow.latents import Latents as Latents
    from rgflow.lattice import Lattice as Lattice
    from rgflow.model import RGFlow as RGFlow
    from rgflow.numerics import bits_per_dim as bits_per_dim
    from rgflow.presets import preset as preset
