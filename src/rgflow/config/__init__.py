"""What a flow and a run are made of, as plain data that needs no torch.

Everything here is a frozen, keyword-only dataclass (`rgflow.kinds`), so that a command can parse,
print and check it in milliseconds. The modules that do the work take these objects.
"""

from rgflow.config.flow import ComputeDtype, FlowConfig
from rgflow.config.maps import (
    AffineMap,
    CoarseToFineMap,
    ConvolutionalMap,
    CubeMap,
    Map,
    OwnMap,
    SiteMap,
    StateMap,
    WindowMap,
)
from rgflow.config.parts import (
    FAMILIES,
    GaussianPrior,
    LaplacePrior,
    LogitPixels,
    MarginalPixels,
    Pixels,
    PriorKind,
    UniformPixels,
)
from rgflow.config.training import TrainConfig

__all__ = [
    "FAMILIES",
    "AffineMap",
    "CoarseToFineMap",
    "ComputeDtype",
    "ConvolutionalMap",
    "CubeMap",
    "FlowConfig",
    "GaussianPrior",
    "LaplacePrior",
    "LogitPixels",
    "Map",
    "MarginalPixels",
    "OwnMap",
    "Pixels",
    "PriorKind",
    "SiteMap",
    "StateMap",
    "TrainConfig",
    "UniformPixels",
    "WindowMap",
]
