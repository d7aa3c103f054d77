"""Couplings: each half of a block is mapped element by element, told how by the other half.

One coupling is the paper's RNVP block (Appendix A): the even half conditions first and the odd half
is mapped; then the mapped odd half conditions and the even half is mapped.

Letters in shapes: R rows (blocks); D variables of a block, d = D/2; P parameters per variable.
"""

import copy
from typing import Self

import torch
from torch import Tensor, nn
from zuko.transforms import MonotonicRQSTransform

from rgflow.bijectors.base import Bijector, Domain, Mapped, standardised, sum_event
from rgflow.bijectors.fused_spline import FusedSpline, Kernels, compiled_kernels
from rgflow.bijectors.logistic import logistic_forward, logistic_inverse, make_logistics
from rgflow.bijectors.unit_spline import make_spline, spline_forward, spline_inverse
from rgflow.conditioners import MakeConditioner


class Coupling(Bijector):
    """Two half-steps of an elementwise map; a subclass writes that map and its inverse.

    Args:
        dim: Variables of a block D, even.
        params: Parameters per variable P.
        conditioner: Makes the network, from D and P.
        embedding: Size E of what `at` tells of the position of blocks. Networks see it as a shift
            of what else they see, linear in it and 0 at the start.
    """

    def __init__(
        self, dim: int, params: int, conditioner: MakeConditioner, *, embedding: int = 0
    ) -> None:
        if dim % 2:
            raise ValueError(f"Expected an even number of variables in a block; got {dim}.")
        super().__init__((dim,))
        self.conditioner = conditioner(dim, params)
        self.shift = nn.Linear(embedding, dim, bias=False) if embedding else None
        if self.shift:
            nn.init.zeros_(self.shift.weight)
        self.position: Tensor | None = None

    def at(self, position: Tensor) -> Self:
        placed = copy.copy(self)  # with the same parameters
        placed.position = position
        return placed

    def elementwise(self, x: Tensor, params: Tensor) -> Mapped:
        """x [R, d] by parameters [R, P, d]: y and log |dy/dx|, each [R, d]."""
        raise NotImplementedError

    def elementwise_inverse(self, y: Tensor, params: Tensor) -> Mapped:
        """The inverse of `elementwise`: x and log |dx/dy|, each [R, d]."""
        raise NotImplementedError

    def condition(self, x: Tensor, half: int) -> Tensor:
        """Parameters [R, P, d] for the other half, from one half x [R, d], in its dtype."""
        return self.networks(x, half).to(x.dtype)

    def networks(self, x: Tensor, half: int) -> Tensor:
        """The same in the dtype of the networks, from what they are to see of x."""
        if self.shift:
            if self.position is None:
                raise ValueError("Expected to be told the position of blocks, by `at`; got none.")
            x = x + self.shift(self.position).chunk(2, 1)[half]
        params: Tensor = self.conditioner(x, half)
        return params

    def transform(self, x: Tensor) -> Mapped:
        even, odd = x.chunk(2, 1)
        odd, first = self.elementwise(odd, self.condition(even, 0))
        even, second = self.elementwise(even, self.condition(odd, 1))
        return torch.cat((even, odd), 1), sum_event(first) + sum_event(second)

    def invert(self, y: Tensor) -> Mapped:
        even, odd = y.chunk(2, 1)
        even, second = self.elementwise_inverse(even, self.condition(odd, 1))
        odd, first = self.elementwise_inverse(odd, self.condition(even, 0))
        return torch.cat((even, odd), 1), sum_event(first) + sum_event(second)


class AffineCoupling(Coupling):
    """x₂′ = x₂·exp(tanh s(x₁)) + t(x₁), the RNVP block of eq. A.1.

    The tanh stabilises, as in the released code.

    Args:
        dim: Variables of a block D.
        conditioner: Makes the network, from D and P = 2.
        embedding: As for `Coupling`.
    """

    def __init__(self, dim: int, conditioner: MakeConditioner, *, embedding: int = 0) -> None:
        super().__init__(dim, 2, conditioner, embedding=embedding)

    def elementwise(self, x: Tensor, params: Tensor) -> Mapped:
        s, t = torch.tanh(params[:, 0]), params[:, 1]
        return x * s.exp() + t, s

    def elementwise_inverse(self, y: Tensor, params: Tensor) -> Mapped:
        s, t = torch.tanh(params[:, 0]), params[:, 1]
        return (y - t) * (-s).exp(), -s


class SplineCoupling(Coupling):
    """Monotonic rational-quadratic splines on [−B, B], the identity outside (Durkan et al. 2019).

    The spline itself is zuko's.

    Args:
        dim: Variables of a block D.
        conditioner: Makes the network, from D and P = 3·bins − 1.
        bins: Bins of each spline.
        bound: B.
        embedding: As for `Coupling`.
    """

    def __init__(
        self,
        dim: int,
        conditioner: MakeConditioner,
        *,
        bins: int = 8,
        bound: float = 5.0,
        embedding: int = 0,
    ) -> None:
        super().__init__(dim, 3 * bins - 1, conditioner, embedding=embedding)
        self.bins, self.bound = bins, bound

    def _spline(self, params: Tensor) -> MonotonicRQSTransform:
        sizes = (self.bins, self.bins, self.bins - 1)
        widths, heights, slopes = params.movedim(1, -1).split(sizes, -1)
        return MonotonicRQSTransform(widths, heights, slopes, bound=self.bound)

    def elementwise(self, x: Tensor, params: Tensor) -> Mapped:
        return self._spline(params).call_and_ladj(x)

    def elementwise_inverse(self, y: Tensor, params: Tensor) -> Mapped:
        spline = self._spline(params)
        x = spline.inv(y)
        return x, -spline.log_abs_det_jacobian(x, y)


class MixtureCoupling(Coupling):
    """The distribution function of a mixture of logistics, its logit, and then an affine map, as in
    Flow++ (Ho et al. 2019; `rgflow.bijectors.logistic`).

    Args:
        dim: Variables of a block D.
        conditioner: Makes the network, from D and P = 3·components + 2.
        components: Of each mixture.
        embedding: As for `Coupling`.
    """

    def __init__(
        self, dim: int, conditioner: MakeConditioner, *, components: int = 3, embedding: int = 0
    ) -> None:
        super().__init__(dim, 3 * components + 2, conditioner, embedding=embedding)

    def elementwise(self, x: Tensor, params: Tensor) -> Mapped:
        x, log_slope = logistic_forward(x, make_logistics(params[:, 2:]))
        s, t = torch.tanh(params[:, 0]), params[:, 1]
        return x * s.exp() + t, log_slope + s

    def elementwise_inverse(self, y: Tensor, params: Tensor) -> Mapped:
        s, t = torch.tanh(params[:, 0]), params[:, 1]
        x, log_slope = logistic_inverse((y - t) * (-s).exp(), make_logistics(params[:, 2:]))
        return x, log_slope - s


class CubeCoupling(Coupling):
    """Quadratic splines on the unit cube (`rgflow.bijectors.unit_spline`).

    The coupling is conjugated by the prior's distribution function: it acts on u = F(y), and its
    networks see √3·(2u − 1). Where couplings follow one another, the F of one and the quantile
    function of the one before cancel, so u is simply passed on, in the cube coordinates of
    `rgflow.priors`, which keep full relative precision at both ends of (0, 1); nothing is clamped.

    Args:
        dim: Variables of a block D.
        conditioner: Makes the network, from D and P = 2·bins + 1.
        bins: Bins of each spline.
        embedding: As for `Coupling`.
    """

    domain: Domain = "cube"
    codomain: Domain = "cube"

    def __init__(
        self, dim: int, conditioner: MakeConditioner, *, bins: int = 8, embedding: int = 0
    ) -> None:
        super().__init__(dim, 2 * bins + 1, conditioner, embedding=embedding)
        self.bins = bins
        self.kernels: Kernels | None = None
        """Compiled kernels, used while training; none: the plain functions."""

    def compile_kernels(self, on: bool = True) -> None:
        """Compile the splines for training, or, if not `on`, don't."""
        self.kernels = compiled_kernels() if on else None

    def condition(self, x: Tensor, half: int) -> Tensor:
        params = self.networks(standardised(x), half)
        # The kernels widen bfloat16 as they read it, which saves a pass over all parameters.
        return params if self._fused else params.to(x.dtype)

    @property
    def _fused(self) -> bool:
        return self.training and self.kernels is not None

    def elementwise(self, x: Tensor, params: Tensor) -> Mapped:
        if self._fused:
            return FusedSpline.apply(x, params, self.kernels)
        return spline_forward(x, make_spline(params, self.bins))

    def elementwise_inverse(self, y: Tensor, params: Tensor) -> Mapped:
        return spline_inverse(y, make_spline(params, self.bins))
