"""What a flow and a run are made of, as plain data that needs no torch.

Everything here is a frozen, keyword-only dataclass (`rgflow.kinds`), so that a command can parse,
print and check it in milliseconds. The modules that do the work take these objects.
"""

from rgflow.config.flow import ComputeDtype as ComputeDtype
from rgflow.config.flow import FlowConfig as FlowConfig
from rgflow.config.maps import AffineMap as AffineMap
from rgflow.config.maps import CoarseToFineMap as CoarseToFineMap
from rgflow.config.maps import ConvolutionalMap as ConvolutionalMap
from rgflow.config.maps import CubeMap as CubeMap
from rgflow.config.maps import Map as Map
from rgflow.config.maps import OwnMap as OwnMap
from rgflow.config.maps import SiteMap as SiteMap
from rgflow.config.maps import StateMap as StateMap
from rgflow.config.maps import WindowMap as WindowMap
from rgflow.config.parts import FAMILIES as FAMILIES
from rgflow.config.parts import GaussianPrior as GaussianPrior
from rgflow.config.parts import LaplacePrior as LaplacePrior
from rgflow.config.parts import LogitPixels as LogitPixels
from rgflow.config.parts import MarginalPixels as MarginalPixels
from rgflow.config.parts import Pixels as Pixels
from rgflow.config.parts import PriorKind as PriorKind
from rgflow.config.parts import UniformPixels as UniformPixels
from rgflow.config.training import TrainConfig as TrainConfig
