"""Masked autoregressive bijector: every variable is mapped conditionally on those before it.

Letters in shapes: R rows (blocks); D variables of a block; P parameters per variable.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from rgflow.bijectors.base import Bijector, Context, Mapped, MapSpec, sum_event


class Autoregressive(Bijector):
    """Two masked autoregressive passes, the second in the reverse order (Papamakarios et al. 2017).

    y_i = f(x_i; x_<i) with an affine map or a rational-quadratic spline f; networks, splines and
    the scheme are zuko's (`pip install zuko`). Inference takes one evaluation of each network,
    generation D.

    Args:
        spec: Of the cells. All of the context is seen by every variable's network.
        hidden: Width of the masked networks.
        blocks: Hidden layers of the masked networks.
        bins: Bins of the splines; 0 for affine maps.
    """

    def __init__(self, spec: MapSpec, *, hidden: int = 256, blocks: int = 2, bins: int = 8) -> None:
        from zuko.nn import MaskedMLP

        dim = spec.dim
        super().__init__((dim,))
        self.dim, self.bins = dim, bins
        self.params = 3 * bins - 1 if bins else 2
        before = cast(
            torch.BoolTensor,
            torch.ones(dim, dim, device="cpu").tril(-1).bool().repeat_interleave(self.params, 0),
        )
        known = torch.ones(len(before), spec.features + spec.embedding, device="cpu").bool()
        before = cast(torch.BoolTensor, torch.cat((known, before), 1))
        with torch.device("cpu"):  # as there are no masks on the device `meta`
            self.nets = nn.ModuleList(
                MaskedMLP(before, (hidden,) * blocks, activation=nn.SiLU) for _ in range(2)
            )
        for net in self.nets:
            for parameter in list(net.parameters())[-2:]:  # of the last layer
                nn.init.zeros_(parameter)

    def hidden_matrices(self) -> Iterable[Tensor]:
        linears = ([m for m in net.modules() if isinstance(m, nn.Linear)] for net in self.nets)
        return [layer.weight for of_net in linears for layer in of_net[1:-1]]

    def _elementwise(self, net: nn.Module, known: Tensor, x: Tensor) -> Any:
        from zuko.transforms import MonotonicAffineTransform, MonotonicRQSTransform

        params = net(torch.cat((known, x), 1)).unflatten(-1, (-1, self.params))  # [R, D, P]
        if self.bins:
            sizes = (self.bins, self.bins, self.bins - 1)
            widths, heights, slopes = params.split(sizes, -1)
            return MonotonicRQSTransform(widths, heights, slopes)
        return MonotonicAffineTransform(shift=params[..., 1], scale=params[..., 0])

    def _passes(self, context: Context | None, x: Tensor) -> list[Any]:
        from zuko.transforms import AutoregressiveTransform

        known = x[:, :0]
        if context:
            known = torch.cat((context.features, context.embedding), 1)
        return [
            AutoregressiveTransform(partial(self._elementwise, net, known), self.dim)
            for net in self.nets
        ]

    def transform(self, x: Tensor, context: Context | None = None) -> Mapped:
        one, other = self._passes(context, x)
        x, first = one.call_and_ladj(x)
        y, second = other.call_and_ladj(x.flip(1))
        return y.flip(1), sum_event(first) + sum_event(second)

    def invert(self, y: Tensor, context: Context | None = None) -> Mapped:
        one, other = self._passes(context, y)
        y = y.flip(1)
        middle = other.inv(y)
        second = -sum_event(other.log_abs_det_jacobian(middle, y))
        middle = middle.flip(1)
        x = one.inv(middle)
        return x, second - sum_event(one.log_abs_det_jacobian(x, middle))
