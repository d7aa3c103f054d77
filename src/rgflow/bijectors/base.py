"""The one contract of all invertible maps.

**Direction.** `forward` goes from the data to the latents (the paper's R, inference), `inverse`
from the latents to the data (G, generation).

**Log-determinants.** Both return the log |det| of the Jacobian *of the map that they applied*, in
nats and one number per sample; so those of `forward` and of `inverse` add up to 0, composing maps
only ever adds, and log p(x) = log p(z) + log_det for z, log_det = forward(x) (paper, eq. 1).

**Context.** A map of cells also gets what a cell reads and doesn't write, and embeddings. Both are
the same in both directions, and the log-determinant is that of the map of x at a fixed context.

**Domains.** A map acts on real numbers, or on the unit cube, in the cube coordinates of
`rgflow.priors`.

**Precision.** A map computes in the number format of what it is given, whether it is in training
mode or not. Only within `Flow.fast`, which a training step asks for, may networks use `precision`.

Letters in shapes: N samples; R cells; D variables that one cell writes, D = C·W; K numbers of
context; E of embeddings.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rgflow.cells import Square
from rgflow.numerics import EXACT, Precision
from rgflow.priors import Prior

Domain = Literal["real", "cube"]
Mapped = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Context:
    """What a map of R cells is conditioned on.

    Attributes:
        values: What the cells read and don't write, in the map's domain, [R, K]; what is missing
            is 0.
        embedding: Of their positions, their level, labels, [R, E]; E may be 0.
        missing: Which sites of the context lie outside, [R, sites]; none: they can't.
    """

    values: Tensor
    embedding: Tensor
    missing: Tensor | None = None

    def __bool__(self) -> bool:
        """Whether anything is known."""
        return bool(self.values.shape[1] or self.embedding.shape[1])

    @staticmethod
    def joined(contexts: Sequence["Context"]) -> "Context":
        """Of all cells of several contexts, one after another; rows are last in memory."""
        if len(contexts) == 1:
            return contexts[0]
        missing = [one.missing.T for one in contexts if one.missing is not None]
        return Context(
            torch.cat([one.values.T for one in contexts], 1).T,
            torch.cat([one.embedding for one in contexts]),
            torch.cat(missing, 1).T if missing else None,
        )

    def rows(self, which: Tensor) -> "Context":
        """The context of some cells, chosen by a mask [R] or by their numbers [r]."""
        missing = None if self.missing is None else self.missing[which]
        return Context(self.values[which], self.embedding[which], missing)

    @property
    def features(self) -> Tensor:
        """Input of networks, [R, F]: values, and flags (1: missing, or 0)."""
        if self.missing is None:
            return self.values
        return torch.cat((self.values, self.missing.to(self.values.dtype)), 1)


@dataclass(frozen=True, kw_only=True)
class MapSpec:
    """What a map of cells has to know to be made.

    Attributes:
        channels: C.
        sites: Sites that a cell writes, W.
        level: At which it is, or the first of those that share it.
        top: Whether all sites stay there; otherwise some go on to the next level.
        context: Numbers that a cell reads beside these, K.
        flags: Sites of the context that may be missing.
        embedding: Size of the embeddings, E.
        square: What a cell knows of its square, if coarse images are averages.
        near: Places of the sites of the context, the nearest first.
    """

    channels: int
    sites: int
    level: int = 0
    top: bool = True
    context: int = 0
    flags: int = 0
    embedding: int = 0
    square: Square | None = None
    near: tuple[int, ...] = ()

    @property
    def dim(self) -> int:
        """Variables that a cell writes, D = C·W."""
        return self.channels * self.sites

    @property
    def edge(self) -> int:
        """Edge of the square that a cell writes.

        Raises:
            ValueError: If the cell writes no square.
        """
        edge = math.isqrt(self.sites)
        if edge * edge != self.sites:
            raise ValueError(f"Expected cells that write a square; got {self.sites} sites.")
        return edge

    @property
    def features(self) -> int:
        """Width of `Context.features`."""
        return self.context + self.flags


class Bijector(nn.Module):
    """Base class of invertible maps; a subclass writes `transform` and `invert`.

    A map of cells acts on vectors [R, D] and is made by `cls(spec, **options)`.

    Args:
        event_shape: Shape of one sample; `None` in a place where any size will do.

    Example:
        A conditional map of one's own, to be named by its import path in a config:

        >>> class Shift(Bijector):
        ...     def __init__(self, spec: MapSpec, gain: float = 1.0) -> None:
        ...         super().__init__((spec.dim,))
        ...         self.gain = gain
        ...         self.shift = nn.Linear(spec.features + spec.embedding, spec.dim)
        ...
        ...     def move(self, context):
        ...         known = torch.cat((context.features, context.embedding), 1)
        ...         return self.gain * self.shift(known)
        ...
        ...     def transform(self, x, context=None):
        ...         return x + self.move(context), x.new_zeros(len(x))
        ...
        ...     def invert(self, y, context=None):
        ...         return y - self.move(context), y.new_zeros(len(y))
        >>> shift = Shift(MapSpec(channels=3, sites=1, context=4, embedding=2), gain=0.5)
        >>> context = Context(torch.randn(5, 4), torch.randn(5, 2))
        >>> y, log_det = shift.forward(torch.ones(5, 3), context)
        >>> y.shape, log_det.shape
        (torch.Size([5, 3]), torch.Size([5]))
    """

    domain: Domain = "real"
    codomain: Domain = "real"
    staircase = False
    """Whether the map sees its input in steps, so that derivatives tell little of what it does."""

    def __init__(self, event_shape: tuple[int | None, ...]) -> None:
        super().__init__()
        self.event_shape = event_shape

    def transform(self, x: Tensor, context: Context | None = None) -> Mapped:
        """Map x [N, …] towards the latents: y [N, …] and log |det ∂y/∂x| [N]."""
        raise NotImplementedError

    def invert(self, y: Tensor, context: Context | None = None) -> Mapped:
        """Map y [N, …] towards the data: x [N, …] and log |det ∂x/∂y| [N]."""
        raise NotImplementedError

    def forward(self, x: Tensor, context: Context | None = None) -> Mapped:
        """Check the shape of x [N, …], then `transform`."""
        self._check(x)
        return self.transform(x, context)

    def inverse(self, y: Tensor, context: Context | None = None) -> Mapped:
        """Check the shape of y [N, …], then `invert`."""
        self._check(y)
        return self.invert(y, context)

    # What the rest of the package asks of every map. A flow asks each of its maps by itself, also
    # those within another one.

    def count(self, x8: Tensor) -> Tensor | None:
        """Of a pixel map: take what it needs from training images, uint8 [N, C, H, W]; returns what
        maps of cells have to know, how often every value occurs, [C, 256], or none."""
        return None

    def fit(self, counts: Tensor) -> None:
        """Take from training images how often every value of a pixel occurs, [C, 256]."""

    def rescale(self, scale: float) -> None:
        """Take the spread of fields before training, where these don't come from data."""

    def compile_kernels(self, on: bool = True) -> bool:
        """Compile the kernels used within `Flow.fast`, or undo it; returns whether this map has
        kernels."""
        return False

    def freeze(self) -> None:
        """Compute once what depends on parameters alone, as they won't change any more."""

    def hidden_matrices(self) -> Iterable[Tensor]:
        """The matrices, or stacks of them [..., rows, columns], that lead to hidden layers."""
        return ()

    def log_det(self, x: Tensor, context: Context | None = None) -> Tensor:
        """The log-determinant of `forward` alone, [N]; a subclass may have a faster way to it."""
        return self.forward(x, context)[1]

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

    precision: Precision = EXACT

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

    def _as_now(self, bijector: Bijector, policy: dict[str, Any], *at: Any) -> Mapped:
        """A map under a precision policy: that of the forward pass, when it is recomputed."""
        with self.precision.changed(**policy):
            return bijector(*at)

    def transform(self, x: Tensor, context: Context | None = None) -> Mapped:
        log_dets = []
        for bijector in self.bijectors:
            if self.checkpointing and torch.is_grad_enabled():
                mapping = partial(self._as_now, bijector, dict(vars(self.precision)))
                x, log_det = checkpoint(mapping, x, context, use_reentrant=False)
            else:
                x, log_det = bijector(x, context)
            log_dets.append(log_det)
        return x, sum(log_dets[1:], log_dets[0])

    def log_det(self, x: Tensor, context: Context | None = None) -> Tensor:
        if len(self.bijectors) > 1 or self.checkpointing:
            return super().log_det(x, context)
        return self.bijectors[0].log_det(x, context)

    def invert(self, y: Tensor, context: Context | None = None) -> Mapped:
        log_dets = []
        for bijector in reversed(self.bijectors):
            y, log_det = bijector.inverse(y, context)
            log_dets.append(log_det)
        return y, sum(log_dets[1:], log_dets[0])


class Inverse(Bijector):
    """A bijector with its two directions exchanged."""

    def __init__(self, bijector: Bijector) -> None:
        super().__init__(bijector.event_shape)
        self.bijector = bijector
        self.domain, self.codomain = bijector.codomain, bijector.domain

    def transform(self, x: Tensor, context: Context | None = None) -> Mapped:
        return self.bijector.invert(x, context)

    def invert(self, y: Tensor, context: Context | None = None) -> Mapped:
        return self.bijector.transform(y, context)


class Quantile(Bijector):
    """From the unit cube to the real line by the prior's quantile function, z = Q(u)."""

    domain: Domain = "cube"

    def __init__(self, prior: Prior, event_shape: tuple[int | None, ...]) -> None:
        super().__init__(event_shape)
        self.prior = prior

    def transform(self, x: Tensor, context: Context | None = None) -> Mapped:
        y = self.prior.from_cube(x)
        return y, -sum_event(self.prior.log_prob(y))

    def invert(self, y: Tensor, context: Context | None = None) -> Mapped:
        return self.prior.to_cube(y), sum_event(self.prior.log_prob(y))


def sum_event(x: Tensor) -> Tensor:
    """Sum over all axes but the first: [N, …] → [N]."""
    return x.flatten(1).sum(1)


SQRT_3 = math.sqrt(3)


def standardised(d: Tensor) -> Tensor:
    """Cube coordinates of any shape as √3·(2u − 1), of mean 0 and variance 1 if u is uniform."""
    return SQRT_3 * (2 * d - torch.where(d > 0, 1.0, -1.0).to(d.dtype))
