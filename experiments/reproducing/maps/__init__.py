"""Maps that only the ablations compare with; configs name them by import path."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from reproducing.maps.autoregressive import Autoregressive
from reproducing.maps.channels import ChannelMixing
from reproducing.maps.dequantizer import Dequantizer
from reproducing.maps.logistic import FlowPlusPlus
from rgflow.bijectors import AffineCoupling, Compose, Context, MapSpec, Marginal
from rgflow.bijectors.base import Mapped
from rgflow.config import Pixels

__all__ = [
    "Autoregressive",
    "ChannelMixing",
    "Dequantizer",
    "FlowPlusPlus",
    "LearnedNoise",
    "MixedAffine",
    "NoisyMarginal",
]


class MixedAffine(Compose):
    """A rotation of the channels, then an affine coupling.

    Args:
        spec: Of the cells.
        options: Of the coupling (`rgflow.bijectors.AffineCoupling`).
    """

    def __init__(self, spec: MapSpec, **options: Any) -> None:
        super().__init__([ChannelMixing(spec), AffineCoupling(spec, **options)])


@dataclass(frozen=True, kw_only=True)
class LearnedNoise(Pixels):
    """Pixels dequantised by learned noise, then the distribution function of each channel."""

    def make(self, channels: int) -> "NoisyMarginal":
        """The pixel map of so many channels."""
        return NoisyMarginal(channels)


class NoisyMarginal(Marginal):
    """Learned noise within every value, then the distribution function.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.noise = Dequantizer(channels)

    def transform(self, x: Tensor, context: Context | None = None) -> Mapped:
        x, first = self.noise(x)
        u, second = super().transform(x)
        return u, first + second

    def invert(self, y: Tensor, context: Context | None = None) -> Mapped:
        x, first = super().invert(y)
        x, second = self.noise.inverse(x)
        return x, first + second
