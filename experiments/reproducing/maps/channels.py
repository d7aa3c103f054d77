"""Channels mixed by one rotation: what couplings, which keep each channel to itself, can't do."""

import torch
from torch import Tensor, nn

from rgflow.bijectors.base import Bijector, Context, Mapped, MapSpec


class ChannelMixing(Bijector):
    """The same rotation of the channels of every site of a block, exp(A − Aᵀ).

    Glow's 1×1 convolution (Kingma and Dhariwal 2018) starts as a rotation and may become any
    matrix; this one stays a rotation, as couplings stretch anyway, so it costs no precision, its
    inverse is its transpose and its log-determinant is 0. A is 0 at the start.

    Args:
        spec: Of the cells; their variables are ordered as `rgflow.cells.Cells` says.

    Example:
        >>> mixing = ChannelMixing(MapSpec(channels=3, sites=4))
        >>> x = torch.randn(5, 12)
        >>> torch.equal(mixing.forward(x)[0], x)
        True
    """

    def __init__(self, spec: MapSpec) -> None:
        super().__init__((spec.dim,))
        self.channels = channels = spec.channels
        self.groups = 4 if spec.sites % 4 == 0 else 1
        # As a vector: it is no matrix that leads to a hidden layer.
        self.angles = nn.Parameter(torch.zeros(channels * channels))

    def transform(self, x: Tensor, context: Context | None = None) -> Mapped:
        return self._mix(x, self.rotation()), x.new_zeros(len(x))

    def invert(self, y: Tensor, context: Context | None = None) -> Mapped:
        return self._mix(y, self.rotation().mT), y.new_zeros(len(y))

    def rotation(self) -> Tensor:
        """The matrix, [C, C]."""
        angles = self.angles.view(self.channels, self.channels)
        return torch.matrix_exp(angles - angles.mT)

    def _mix(self, x: Tensor, matrix: Tensor) -> Tensor:
        sublattices = x.view(len(x), self.groups, self.channels, -1)
        return (matrix @ sublattices).flatten(1)
