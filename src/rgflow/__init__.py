"""RG-Flow: hierarchical, explainable normalizing flows of images.

>>> import rgflow
>>> flow = rgflow.RGFlow(rgflow.FlowConfig(height=16, width=16, depth=1, hidden=32))
>>> flow.sample(2).shape
torch.Size([2, 3, 16, 16])
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Names are imported when first used, so that `rgflow --help` doesn't import torch.
_HOMES = {
    "Bijector": "rgflow.bijectors",
    "Flow": "rgflow.flow",
    "FlowConfig": "rgflow.config",
    "Latents": "rgflow.latents",
    "Lattice": "rgflow.lattice",
    "LosslessWarning": "rgflow.flow",
    "RGFlow": "rgflow.model",
    "RealNVP": "rgflow.baselines",
    "Terms": "rgflow.flow",
    "TrainConfig": "rgflow.config",
    "bits_per_dim": "rgflow.numerics",
    "load_flow": "rgflow.architectures",
    "make_flow": "rgflow.architectures",
    "preset": "rgflow.presets",
}

__all__ = ["__version__", *_HOMES]

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


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rgflow' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
