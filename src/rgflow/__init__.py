"""RG-Flow: hierarchical, explainable normalizing flows of images.

>>> import rgflow
>>> flow = rgflow.RGFlow(rgflow.FlowConfig(height=16, width=16, map=AffineMap(depth=1, hidden=32)))
>>> flow.sample(2).shape
torch.Size([2, 3, 16, 16])
"""

from typing import TYPE_CHECKING

import lazy_loader

__version__ = "0.2.0"

# Names are imported when first used, so that `rgflow --help` doesn't import torch.
__getattr__, __dir__, _names = lazy_loader.attach(
    __name__,
    submod_attrs={
        "architectures": ["load_flow", "make_flow"],
        "baselines": ["RealNVP"],
        "bijectors": ["Bijector", "Context", "MapSpec"],
        "cells": ["Cells", "Geometry"],
        "config": [
            "AffineMap",
            "CoarseToFineMap",
            "ConvolutionalMap",
            "CubeMap",
            "FlowConfig",
            "GaussianPrior",
            "LaplacePrior",
            "LogitPixels",
            "MarginalPixels",
            "OwnMap",
            "SiteMap",
            "StateMap",
            "TrainConfig",
            "UniformPixels",
            "WindowMap",
        ],
        "geometries": ["BlockSpins", "Blocks", "Squeeze", "Windows"],
        "flow": ["Flow", "LosslessWarning", "Terms"],
        "latents": ["Latents"],
        "lattice": ["Lattice"],
        "model": ["RGFlow"],
        "objectives": ["Batch", "Density", "Objective"],
        "presets": ["preset"],
    },
)

__all__ = ["__version__", *_names]

if TYPE_CHECKING:
    from rgflow.architectures import load_flow as load_flow
    from rgflow.architectures import make_flow as make_flow
    from rgflow.baselines import RealNVP as RealNVP
    from rgflow.bijectors import Bijector as Bijector
    from rgflow.bijectors import Context as Context
    from rgflow.bijectors import MapSpec as MapSpec
    from rgflow.cells import Cells as Cells
    from rgflow.cells import Geometry as Geometry
    from rgflow.config import AffineMap as AffineMap
    from rgflow.config import CoarseToFineMap as CoarseToFineMap
    from rgflow.config import ConvolutionalMap as ConvolutionalMap
    from rgflow.config import CubeMap as CubeMap
    from rgflow.config import FlowConfig as FlowConfig
    from rgflow.config import GaussianPrior as GaussianPrior
    from rgflow.config import LaplacePrior as LaplacePrior
    from rgflow.config import LogitPixels as LogitPixels
    from rgflow.config import MarginalPixels as MarginalPixels
    from rgflow.config import OwnMap as OwnMap
    from rgflow.config import SiteMap as SiteMap
    from rgflow.config import StateMap as StateMap
    from rgflow.config import TrainConfig as TrainConfig
    from rgflow.config import UniformPixels as UniformPixels
    from rgflow.config import WindowMap as WindowMap
    from rgflow.flow import Flow as Flow
    from rgflow.flow import LosslessWarning as LosslessWarning
    from rgflow.flow import Terms as Terms
    from rgflow.geometries import Blocks as Blocks
    from rgflow.geometries import BlockSpins as BlockSpins
    from rgflow.geometries import Squeeze as Squeeze
    from rgflow.geometries import Windows as Windows
    from rgflow.latents import Latents as Latents
    from rgflow.lattice import Lattice as Lattice
    from rgflow.model import RGFlow as RGFlow
    from rgflow.objectives import Batch as Batch
    from rgflow.objectives import Density as Density
    from rgflow.objectives import Objective as Objective
    from rgflow.presets import preset as preset
