"""Couplings: each half of a block is mapped element by element, conditioned on the other half.

One coupling is the paper's RNVP block (Appendix A): the even half conditions first and the odd half
is mapped; then the mapped odd half conditions and the even half is mapped.

Letters in shapes: R rows (blocks); D variables of a block, d = D/2; P parameters per variable.
"""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from rgflow.bijectors.base import (
    Bijector,
    Context,
    Domain,
    Mapped,
    MapSpec,
    standardised,
    sum_event,
)
from rgflow.bijectors.fused_spline import FusedSpline, Kernels, compiled_kernels
from rgflow.bijectors.unit_spline import make_spline, spline_forward, spline_inverse
from rgflow.checks import check_name
from rgflow.conditioners import CONDITIONERS
from rgflow.config import AffineMap, CubeMap
from rgflow.kinds import made_from


class Coupling(Bijector):
    """Two half-steps of an elementwise map; a subclass writes that map and its inverse.

    Args:
        spec: Of the cells, which write an even number of variables. Networks see features of the
            context as further inputs, and embeddings as a shift of their inputs, linear in them and
            0 at the start.
        params: Parameters per variable P.
        conditioner: The kind of the networks.
        hidden: Width of their hidden layers.
        blocks: Residual blocks of each.

    Example:
        >>> class Additive(Coupling):
        ...     def __init__(self, spec: MapSpec, hidden: int = 64) -> None:
        ...         super().__init__(spec, 1, conditioner="trunk", hidden=hidden, blocks=1)
        ...
        ...     def elementwise(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        ...         return x + params[:, 0], torch.zeros_like(x)
        ...
        ...     def elementwise_inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        ...         return y - params[:, 0], torch.zeros_like(y)
        >>> additive = Additive(MapSpec(channels=3, sites=4))
        >>> x = torch.randn(5, 12)
        >>> torch.allclose(additive.inverse(additive(x)[0])[0], x, atol=1e-6)
        True
    """

    def __init__(
        self, spec: MapSpec, params: int, *, conditioner: str, hidden: int, blocks: int
    ) -> None:
        check_name("conditioner", conditioner, CONDITIONERS)
        if spec.dim % 2:
            raise ValueError(
                f"Expected an even number of variables in a block; got {spec.dim}: use a map "
                f"without halves, or more channels."
            )
        super().__init__((spec.dim,))
        make = CONDITIONERS[conditioner]
        self.conditioner = make(
            spec.dim, params, hidden=hidden, blocks=blocks, features=spec.features
        )
        self.shift = nn.Linear(spec.embedding, spec.dim, bias=False) if spec.embedding else None
        if self.shift:
            nn.init.zeros_(self.shift.weight)

    def hidden_matrices(self) -> Iterable[Tensor]:
        return self.conditioner.hidden_matrices()

    def freeze(self) -> None:
        self.conditioner.freeze()

    def elementwise(self, x: Tensor, params: Tensor) -> Mapped:
        """x [R, d] by parameters [R, P, d]: y and log |dy/dx|, each [R, d]."""
        raise NotImplementedError

    def elementwise_inverse(self, y: Tensor, params: Tensor) -> Mapped:
        """The inverse of `elementwise`: x and log |dx/dy|, each [R, d]."""
        raise NotImplementedError

    def condition(self, x: Tensor, half: int, context: Context | None) -> Tensor:
        """Parameters [R, P, d] for the other half, from one half x [R, d], in its dtype."""
        return self.networks(x, half, context).to(x.dtype)

    def networks(self, x: Tensor, half: int, context: Context | None) -> Tensor:
        """Parameters [R, P, d] in the networks' dtype, from what they see of a half [R, d]."""
        if self.shift and context:
            x = x + self.shift(context.embedding).chunk(2, 1)[half]
        features = self.seen(context) if context else None
        params: Tensor = self.conditioner(x, half, features)
        return params

    def seen(self, context: Context) -> Tensor:
        """What networks see of a context, [R, F]."""
        return context.features

    def transform(self, x: Tensor, context: Context | None = None) -> Mapped:
        even, odd = x.chunk(2, 1)
        odd, first = self.elementwise(odd, self.condition(even, 0, context))
        even, second = self.elementwise(even, self.condition(odd, 1, context))
        return torch.cat((even, odd), 1), sum_event(first) + sum_event(second)

    def invert(self, y: Tensor, context: Context | None = None) -> Mapped:
        even, odd = y.chunk(2, 1)
        even, second = self.elementwise_inverse(even, self.condition(odd, 1, context))
        odd, first = self.elementwise_inverse(odd, self.condition(even, 0, context))
        return torch.cat((even, odd), 1), sum_event(first) + sum_event(second)


@made_from(AffineMap)
class AffineCoupling(Coupling):
    """x₂′ = x₂·exp(tanh s(x₁)) + t(x₁), the RNVP block of eq. A.1.

    The tanh stabilises, as in the released code.

    Args:
        spec: As for `Coupling`, and so are the options; P = 2.
    """

    def __init__(
        self, spec: MapSpec, *, conditioner: str = "paper", hidden: int = 512, blocks: int = 4
    ) -> None:
        super().__init__(spec, 2, conditioner=conditioner, hidden=hidden, blocks=blocks)

    def elementwise(self, x: Tensor, params: Tensor) -> Mapped:
        s, t = torch.tanh(params[:, 0]), params[:, 1]
        return x * s.exp() + t, s

    def elementwise_inverse(self, y: Tensor, params: Tensor) -> Mapped:
        s, t = torch.tanh(params[:, 0]), params[:, 1]
        return (y - t) * (-s).exp(), -s


@made_from(CubeMap)
class CubeCoupling(Coupling):
    """Quadratic splines on the unit cube (`rgflow.bijectors.unit_spline`).

    The coupling is conjugated by the prior's distribution function: it acts on u = F(y), and its
    networks see √3·(2u − 1). Where couplings follow one another, the F of one and the quantile
    function of the one before cancel, so u is simply passed on, in the cube coordinates of
    `rgflow.priors`, which keep full relative precision at both ends of (0, 1); nothing is clamped.

    Args:
        spec: As for `Coupling`, and so are the other options; P = 2·bins + 1.
        bins: Bins of each spline.
    """

    domain: Domain = "cube"
    codomain: Domain = "cube"

    def __init__(
        self,
        spec: MapSpec,
        *,
        conditioner: str = "paper",
        hidden: int = 512,
        blocks: int = 4,
        bins: int = 8,
    ) -> None:
        params = 2 * bins + 1
        super().__init__(spec, params, conditioner=conditioner, hidden=hidden, blocks=blocks)
        self.bins = bins
        self.kernels: Kernels | None = None
        """Compiled kernels, used within `Flow.fast`; none: the plain functions."""

    def compile_kernels(self, on: bool = True) -> bool:
        self.kernels = compiled_kernels() if on else None
        return True

    def seen(self, context: Context) -> Tensor:
        return replace(context, values=standardised(context.values)).features

    def condition(self, x: Tensor, half: int, context: Context | None) -> Tensor:
        params = self.networks(standardised(x), half, context)
        # The kernels widen bfloat16 as they read it, which saves a pass over all parameters.
        return params if self._fused else params.to(x.dtype)

    @property
    def _fused(self) -> bool:
        return self.conditioner.precision.fast and self.kernels is not None

    def elementwise(self, x: Tensor, params: Tensor) -> Mapped:
        if self._fused:
            return FusedSpline.apply(x, params, self.kernels)
        return spline_forward(x, make_spline(params, self.bins))

    def elementwise_inverse(self, y: Tensor, params: Tensor) -> Mapped:
        return spline_inverse(y, make_spline(params, self.bins))
