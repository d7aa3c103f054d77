"""Masked autoregressive bijector: every variable told how by all variables before it.

Letters in shapes: R rows (blocks); D variables of a block; P parameters per variable.
"""

from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from zuko.nn import MaskedMLP
from zuko.transforms import (
    AutoregressiveTransform,
    MonotonicAffineTransform,
    MonotonicRQSTransform,
    Transform,
)

from rgflow.bijectors.base import Bijector, Mapped, sum_event


class AutoregressiveBijector(Bijector):
    """Two masked autoregressive passes, the second in the reverse order (Papamakarios et al. 2017).

    y_i = f(x_i; x_<i) with an affine map or a rational-quadratic spline f; networks, splines and
    the scheme are zuko's. Inference takes one evaluation of each network, generation D.

    Args:
        dim: Variables of a block D.
        hidden: Width of the masked networks.
        blocks: Hidden layers of the masked networks.
        bins: Bins of the splines; 0 for affine maps.
    """

    def __init__(self, dim: int, *, hidden: int = 256, blocks: int = 2, bins: int = 8) -> None:
        super().__init__((dim,))
        self.dim, self.bins = dim, bins
        self.params = 3 * bins - 1 if bins else 2
        before = cast(
            torch.BoolTensor,
            torch.ones(dim, dim, device="cpu").tril(-1).bool().repeat_interleave(self.params, 0),
        )
        with torch.device("cpu"):  # as there are no masks on the device `meta`
            self.nets = nn.ModuleList(
                MaskedMLP(before, (hidden,) * blocks, activation=nn.SiLU) for _ in range(2)
            )
        for net in self.nets:
            for parameter in list(net.parameters())[-2:]:  # of the last layer
                nn.init.zeros_(parameter)

    def _elementwise(self, net: nn.Module, x: Tensor) -> Transform:
        params = net(x).unflatten(-1, (-1, self.params))  # [R, D, P]
        if self.bins:
            sizes = (self.bins, self.bins, self.bins - 1)
            widths, heights, slopes = params.split(sizes, -1)
            return MonotonicRQSTransform(widths, heights, slopes)
        return MonotonicAffineTransform(shift=params[..., 1], scale=params[..., 0])

    def _pass(self, net: nn.Module) -> AutoregressiveTransform:
        return AutoregressiveTransform(partial(self._elementwise, net), self.dim)

    def transform(self, x: Tensor) -> Mapped:
        x, first = self._pass(self.nets[0]).call_and_ladj(x)
        y, second = self._pass(self.nets[1]).call_and_ladj(x.flip(1))
        return y.flip(1), sum_event(first) + sum_event(second)

    def invert(self, y: Tensor) -> Mapped:
        log_dets = []
        for net in reversed(self.nets):
            y = y.flip(1) if net is self.nets[1] else y
            autoregressive = self._pass(net)
            x = autoregressive.inv(y)
            log_dets.append(-sum_event(autoregressive.log_abs_det_jacobian(x, y)))
            y = x.flip(1) if net is self.nets[1] else x
        return y, log_dets[0] + log_dets[1]
