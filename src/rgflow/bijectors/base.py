"""The one contract of all invertible maps.

**Direction.** `forward` goes from the data to the latents (the paper's R, inference), `inverse`
from the latents to the data (G, generation).

**Log-determinants.** Both return the log |det| of the Jacobian *of the map that they applied*, in
nats and one number per sample; so those of `forward` and of `inverse` add up to 0, composing maps
only ever adds, and log p(x) = log p(z) + log_det for z, log_det = forward(x) (paper, eq. 1).

**Domains.** A map acts on real numbers, or on the unit cube, in the cube coordinates of
`rgflow.priors`.

Letters in shapes: N samples; D variables of one block, D = C·m².
"""

import copy
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Literal, Self, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rgflow.priors import Prior

Domain = Literal["real", "cube"]
Mapped = tuple[Tensor, Tensor]


class Bijector(nn.Module):
    """Base class of invertible maps; a subclass writes `transform` and `invert`.

    A bijector of blocks acts on vectors [N, D] and is made by `cls(dim, **options)`.

    Args:
        event_shape: Shape of one sample; `None` in a place where any size will do.

    Example:
        A map of one's own, to be named by its import path in `FlowConfig.bijector`:

        >>> class Stretch(Bijector):
        ...     def __init__(self, dim: int) -> None:
        ...         super().__init__((dim,))
        ...         self.log_scale = nn.Parameter(torch.zeros(dim))
        ...
        ...     def transform(self, x):
        ...         return x * self.log_scale.exp(), self.log_scale.sum().expand(len(x))
        ...
        ...     def invert(self, y):
        ...         return y * (-self.log_scale).exp(), -self.log_scale.sum().expand(len(y))
        >>> y, log_det = Stretch(6).forward(torch.ones(2, 6))
        >>> y.shape, log_det.shape
        (torch.Size([2, 6]), torch.Size([2]))
    """

    domain: Domain = "real"
    codomain: Domain = "real"

    def __init__(self, event_shape: tuple[int | None, ...]) -> None:
        super().__init__()
        self.event_shape = event_shape

    def at(self, position: Tensor) -> "Bijector":
        """This map of blocks, told where those are that it will get; here: regardless of where.

        Args:
            position: An embedding of the position of each, [N, E].
        """
        return self

    def transform(self, x: Tensor) -> Mapped:
        """Map x [N, …] towards the latents: y [N, …] and log |det ∂y/∂x| [N]."""
        raise NotImplementedError

    def invert(self, y: Tensor) -> Mapped:
        """Map y [N, …] towards the data: x [N, …] and log |det ∂x/∂y| [N]."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Mapped:
        """Check the shape, then `transform`."""
        self._check(x)
        return self.transform(x)

    def inverse(self, y: Tensor) -> Mapped:
        """Check the shape, then `invert`."""
        self._check(y)
        return self.invert(y)

    def _check(self, x: Tensor) -> None:
        expected = self.event_shape
        if x.ndim != len(expected) + 1 or any(
            size not in (None, got) for size, got in zip(expected, x.shape[1:], strict=True)
        ):
            shape = ", ".join("any" if size is None else str(size) for size in expected)
            raise ValueError(
                f"Expected a tensor of shape [N, {shape}] for {type(self).__name__}; "
                f"got {list(x.shape)}."
            )


class Compose(Bijector):
    """Bijectors one after another.

    Args:
        bijectors: The maps, in the order in which `forward` applies them; at least one.
        checkpointing: Keep only what passes between them for the backward pass, and recompute
            the rest there.

    Raises:
        ValueError: If there is none, or if neighbours don't share a domain.
    """

    def __init__(self, bijectors: Iterable[Bijector], checkpointing: bool = False) -> None:
        bijectors = list(bijectors)
        if not bijectors:
            raise ValueError("Expected at least one bijector to compose; got none.")
        super().__init__(bijectors[0].event_shape)
        for first, second in itertools.pairwise(bijectors):
            if first.codomain != second.domain:
                raise ValueError(
                    f"Expected neighbours with the same domain; got {type(first).__name__} into "
                    f"the {first.codomain}, {type(second).__name__} from the {second.domain}."
                )
        self.bijectors = cast(Sequence[Bijector], nn.ModuleList(bijectors))
        self.domain, self.codomain = bijectors[0].domain, bijectors[-1].codomain
        self.checkpointing = checkpointing

    def at(self, position: Tensor) -> Self:
        placed = copy.copy(self)
        parts = nn.ModuleList(bijector.at(position) for bijector in self.bijectors)
        placed._modules = {**self._modules, "bijectors": parts}  # and not those of this one
        return placed

    def transform(self, x: Tensor) -> Mapped:
        log_dets = []
        for bijector in self.bijectors:
            if self.checkpointing and torch.is_grad_enabled():
                x, log_det = checkpoint(bijector, x, use_reentrant=False)
            else:
                x, log_det = bijector(x)
            log_dets.append(log_det)
        return x, sum(log_dets[1:], log_dets[0])

    def invert(self, y: Tensor) -> Mapped:
        log_dets = []
        for bijector in reversed(self.bijectors):
            y, log_det = bijector.inverse(y)
            log_dets.append(log_det)
        return y, sum(log_dets[1:], log_dets[0])


class Inverse(Bijector):
    """A bijector with its two directions exchanged."""

    def __init__(self, bijector: Bijector) -> None:
        super().__init__(bijector.event_shape)
        self.bijector = bijector
        self.domain, self.codomain = bijector.codomain, bijector.domain

    def at(self, position: Tensor) -> "Inverse":
        return Inverse(self.bijector.at(position))

    def transform(self, x: Tensor) -> Mapped:
        return self.bijector.invert(x)

    def invert(self, y: Tensor) -> Mapped:
        return self.bijector.transform(y)


class Quantile(Bijector):
    """From the unit cube to the real line by the prior's quantile function, z = Q(u)."""

    domain: Domain = "cube"

    def __init__(self, prior: Prior, event_shape: tuple[int | None, ...]) -> None:
        super().__init__(event_shape)
        self.prior = prior

    def transform(self, x: Tensor) -> Mapped:
        y = self.prior.from_cube(x)
        return y, -sum_event(self.prior.log_prob(y))

    def invert(self, y: Tensor) -> Mapped:
        return self.prior.to_cube(y), sum_event(self.prior.log_prob(y))


def sum_event(x: Tensor) -> Tensor:
    """Sum over all axes but the first: [N, …] → [N]."""
    return x.flatten(1).sum(1)


SQRT_3 = math.sqrt(3)


def standardised(d: Tensor) -> Tensor:
    """Cube coordinates as √3·(2u − 1), which has mean 0 and variance 1 if u is uniform."""
    return SQRT_3 * (2 * d - torch.where(d > 0, 1.0, -1.0).to(d.dtype))
