"""The networks inside couplings: from one half of a block to the other half's parameters.

A block is a vector whose first half are the even sites of a checkerboard and whose second half the
odd ones (`rgflow.bijectors.cellwise`). A conditioner takes one half and says, for every variable
of the other half, P parameters of an elementwise map. At the start all parameters are 0, which
makes every coupling the identity.

Letters in shapes: R rows (blocks); D variables of a block, d = D/2; P parameters; K networks; F
features of the context.
"""

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rgflow.numerics import EXACT, Precision

SILU_VARIANCE_GAIN = 2.81
"""1 / E[silu(x)²] for a standard normal x, as the released code rounds it."""


class Conditioner(nn.Module):
    """Base class: `conditioner(x [R, d], half)` → parameters [R, P, d] for the other half.

    `half` says which half x is: 0 (even sites) or 1 (odd). Networks compute in the number format
    that `precision` says, which is also that of what comes out. Here they are one for each half.

    Args:
        dim: Variables of a block, D.
        params: Parameters per variable, P.
        hidden: Width of the hidden layers.
        blocks: Residual blocks per network.
        features: Numbers of context F, which all networks see too.
    """

    precision: Precision = EXACT
    network: ClassVar[type[nn.Module]]
    """That of a half, from [R, d + F] to [R, P, d]; made of d, P, the width, the blocks and F."""

    def __init__(
        self, dim: int, params: int, *, hidden: int, blocks: int, features: int = 0
    ) -> None:
        super().__init__()
        self.make_networks(dim, params, hidden, blocks, features)

    def make_networks(self, dim: int, params: int, hidden: int, blocks: int, features: int) -> None:
        """Make the networks, which a subclass may do in another way. Arguments are those of the
        class."""
        made = (self.network(dim // 2, params, hidden, blocks, features) for _ in range(2))
        self.halves = nn.ModuleList(made)

    def forward(self, x: Tensor, half: int, features: Tensor | None = None) -> Tensor:
        """Parameters [R, P, d] for the other half; `features` [R, F] are those of the context."""
        dtype = self.precision.networks or x.dtype
        known = None if features is None or not features.shape[1] else features.to(dtype)
        return self.parameters_for(x.to(dtype), half, known)

    def parameters_for(self, x: Tensor, half: int, features: Tensor | None) -> Tensor:
        """[R, d], and [R, F] if there are any → [R, P, d], in the dtype of x."""
        out: Tensor = self.halves[half](x if features is None else torch.cat((x, features), 1))
        return out

    def hidden_matrices(self) -> Iterable[Tensor]:
        """The matrices between hidden layers, or stacks of them [K, out, in]."""
        return [m for one in self.modules() if isinstance(one, _Block) for m in one.matrices()]

    def freeze(self) -> None:
        """Norm weights once and for all."""
        for module in self.modules():
            if isinstance(module, GroupedLinear):
                module.fix()


class GroupedLinear(nn.Module):
    """K weight-normed linear layers as one batched product: [K or 1, R, in] → [K, R, out].

    Args:
        groups: K.
        in_features: Width of the input.
        out_features: Width of the output.
        bound: Weights start uniform in ±bound (none: Kaiming normal for SiLU), biases at 0.
    """

    def __init__(
        self, groups: int, in_features: int, out_features: int, bound: float | None = None
    ) -> None:
        super().__init__()
        direction = torch.empty(groups, out_features, in_features)
        if bound is None:
            nn.init.normal_(direction, std=math.sqrt(2 / in_features))
        else:
            nn.init.uniform_(direction, -bound, bound)
        self.direction = nn.Parameter(direction)
        self.length = nn.Parameter(direction.norm(dim=2))
        self.bias = nn.Parameter(torch.zeros(groups, out_features))
        self.fixed: Tensor | None = None
        self.precision = EXACT

    def fix(self) -> None:
        """Norm the weights once and for all, for a copy that isn't trained any more."""
        self.fixed = self._weight().detach()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """What moves a module to another device or number format."""
        super()._apply(fn, recurse)
        if self.fixed is not None:  # as if it had been moved first and fixed then
            self.fix()
        return self

    def _weight(self) -> Tensor:
        """The weights, [K, out, in]."""
        # The kernel behind torch's own weight norm: one pass forward, one backward.
        rows, lengths = self.direction.flatten(0, 1), self.length.reshape(-1, 1)
        weight: Tensor = torch._weight_norm(rows, lengths, 0)
        return weight.view_as(self.direction)

    def forward(self, x: Tensor) -> Tensor:
        """[K or 1, R, in] → [K, R, out]."""
        groups = len(self.direction)
        weight = (self._weight() if self.fixed is None else self.fixed).to(x.dtype)
        if len(x) != groups:
            x = x.expand(groups, -1, -1)
        bias = self.bias[:, None].to(x.dtype)
        if self.precision.fast:
            return _BatchedLinear.apply(x, weight, bias)
        return torch.baddbmm(bias, x, weight.transpose(1, 2))


class _BatchedLinear(torch.autograd.Function):
    """x Wᵀ + b for K layers, with the gradient of W as the cheaper of its two products.

    x [K, R, in], W [K, out, in], b [K, 1, out] → [K, R, out].
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        # Adding the bias in place afterwards is cheaper than spreading it out for `baddbmm`.
        return torch.bmm(x, weight.transpose(1, 2)).add_(bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        if weight.shape[1] <= weight.shape[2]:
            grad_weight = torch.bmm(grad.transpose(1, 2), x)
        else:
            grad_weight = torch.bmm(x.transpose(1, 2), grad).transpose(1, 2)
        grad_x = torch.bmm(grad, weight) if ctx.needs_input_grad[0] else None
        return grad_x, grad_weight, grad.sum(1, keepdim=True)


class _Block(nn.Module):
    """A residual block."""

    def matrices(self) -> list[Tensor]:
        """Those between hidden layers."""
        raise NotImplementedError


class _Residual(_Block):
    """x → (x + f(x)) / √2, with f three linear layers and an activation between them (App. A).

    The √2 keeps the variance, which the paper doesn't mention and the released code has.
    """

    def __init__(self, groups: int, dim: int, hidden: int) -> None:
        super().__init__()
        widths = (dim, hidden, hidden, dim)
        self.linears = nn.ModuleList(
            GroupedLinear(groups, a, b) for a, b in itertools.pairwise(widths)
        )

    def matrices(self) -> list[Tensor]:
        return [cast(GroupedLinear, self.linears[1]).direction]

    def forward(self, x: Tensor) -> Tensor:
        first, second, third = self.linears
        return (x + third(F.silu(second(F.silu(first(x)))))) * math.sqrt(0.5)


def _first(out: Tensor, width: int) -> Tensor:
    """The first variables of what networks say [K, R, .], all of them without a context."""
    return out if out.shape[2] == width else out[:, :, :width]  # whose gradient is a copy


class _PaperHalf(nn.Module):
    """P separate residual networks d → d, run side by side, each with its own output scale."""

    def __init__(self, dim: int, params: int, hidden: int, blocks: int, features: int) -> None:
        super().__init__()
        width = dim + features
        self.blocks = nn.Sequential(*(_Residual(params, width, hidden) for _ in range(blocks)))
        self.scale = nn.Parameter(torch.zeros(params, dim))

    def forward(self, x: Tensor) -> Tensor:
        out = _first(self.blocks(x[None]), self.scale.shape[1])
        return (out * self.scale[:, None].to(x.dtype)).transpose(0, 1)


class PaperConditioner(Conditioner):
    """The paper's: one residual network per parameter (s and t) and per half (Appendix A).

    `blocks` residual blocks of linear layers d → hidden → hidden → d with SiLU between them, weight
    norm, Kaiming initialisation, and a scale per output that starts at 0.

    Example:
        >>> net = PaperConditioner(48, 2, hidden=512, blocks=4)
        >>> sum(p.numel() for p in net.parameters()) // 4  # one of s1, t1, s2, t2
        1155288
        >>> net(torch.randn(5, 24), 0).shape
        torch.Size([5, 2, 24])
    """

    network = _PaperHalf


class _Swish(nn.Module):
    """x·σ(βx) with one learned β per feature."""

    def __init__(self, groups: int, dim: int) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.ones(groups, dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.beta[:, None].to(x.dtype) * x)


class _ReleasedResidual(_Block):
    """The released code's residual block: an activation before every linear layer."""

    def __init__(self, groups: int, dim: int, hidden: int) -> None:
        super().__init__()
        self.groups = groups
        widths = (dim, hidden, hidden, dim)
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(widths):
            bound = math.sqrt(3 * SILU_VARIANCE_GAIN / a)
            layers += [_Swish(groups, a), GroupedLinear(groups, a, b, bound)]
        self.layers = nn.Sequential(*layers)

    def matrices(self) -> list[Tensor]:
        return [cast(GroupedLinear, self.layers[3]).direction]

    def forward(self, x: Tensor) -> Tensor:
        x = x.expand(self.groups, -1, -1)
        return (x + self.layers(x)) * math.sqrt(0.5)


class ReleasedConditioner(Conditioner):
    """The released code's: networks of the whole block, with the unknown half masked to zero.

    One network per parameter, shared by both halves; an activation x·σ(βx) with learned β before
    every linear layer; weights uniform in ±√(3·2.81/fan-in).

    Example:
        >>> net = ReleasedConditioner(48, 2, hidden=512, blocks=4)
        >>> sum(p.numel() for p in net.parameters()) // 2  # one of s, t
        1258096
    """

    def make_networks(self, dim: int, params: int, hidden: int, blocks: int, features: int) -> None:
        width = dim + features
        self.blocks = nn.Sequential(
            *(_ReleasedResidual(params, width, hidden) for _ in range(blocks))
        )
        self.scale = nn.Parameter(torch.zeros(params, dim))

    def parameters_for(self, x: Tensor, half: int, features: Tensor | None) -> Tensor:
        known_first = (x, torch.zeros_like(x)) if half == 0 else (torch.zeros_like(x), x)
        known = known_first if features is None else (*known_first, features)
        out = self.blocks(torch.cat(known, 1)[None])
        out = _first(out, self.scale.shape[1]) * self.scale[:, None].to(x.dtype)
        return out.chunk(2, 2)[1 - half].transpose(0, 1)


class _TrunkResidual(_Block):
    """h → h + f(norm h), with f two linear layers and SiLU between them."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.first = nn.Linear(hidden, hidden)
        self.second = nn.Linear(hidden, hidden)

    def matrices(self) -> list[Tensor]:
        return [self.first.weight, self.second.weight]

    def forward(self, h: Tensor) -> Tensor:
        norm, dtype = self.norm, h.dtype
        normed = F.layer_norm(
            h, norm.normalized_shape, norm.weight.to(dtype), norm.bias.to(dtype), norm.eps
        )
        return h + linear(self.second, F.silu(linear(self.first, normed)))


class _Trunk(nn.Module):
    """Linear, pre-normalised residual blocks, SiLU, linear: d → P·d."""

    def __init__(self, dim: int, params: int, hidden: int, blocks: int, features: int) -> None:
        super().__init__()
        self.dim = dim
        self.first = nn.Linear(dim + features, hidden)
        self.blocks = nn.Sequential(*(_TrunkResidual(hidden) for _ in range(blocks)))
        self.last = nn.Linear(hidden, params * dim)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor) -> Tensor:
        h = self.blocks(linear(self.first, x))
        return linear(self.last, F.silu(h)).unflatten(1, (-1, self.dim))


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """A linear layer in the dtype of its input, [..., in] → [..., out]."""
    return F.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


class TrunkConditioner(Conditioner):
    """One network per half for all parameters: for splines, which have many."""

    network = _Trunk


class WindowNetwork(nn.Module):
    """Linear, SiLU, residual blocks h + SiLU(linear h), linear; the last layer is 0 at the start.

    Args:
        seen: Numbers that it sees.
        hidden: Width w.
        blocks: Residual blocks.
        params: Numbers that it gives.
    """

    precision: Precision = EXACT

    def __init__(self, seen: int, hidden: int, blocks: int, params: int) -> None:
        super().__init__()
        self.first = nn.Linear(seen, hidden)
        inner = [nn.Linear(hidden, hidden) for _ in range(blocks)]
        self.blocks = nn.ModuleList(inner)
        self.last = nn.Linear(hidden, params)
        for layer in (self.first, *inner):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
            nn.init.zeros_(layer.bias)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.precision.networks or x.dtype)
        place = not torch.is_grad_enabled()  # what is in place needs less memory, and time
        h = F.silu(linear(self.first, x), inplace=place)
        for number in range(len(self.blocks)):
            new = F.silu(self._block(number, h), inplace=place)
            h = h.add_(new) if place else h + new
        return linear(self.last, h)

    def _block(self, number: int, h: Tensor) -> Tensor:
        return linear(cast(nn.Linear, self.blocks[number]), h)

    def hidden_matrices(self) -> list[Tensor]:
        """As for `Bijector.hidden_matrices`."""
        layers = [self.first, *cast(Iterable[nn.Linear], self.blocks)]
        return [layer.weight for layer in layers]


class ExchangeableNetwork(WindowNetwork):
    """The same for each of several things that are alike, [..., q, numbers]. Blocks also see the
    mean over all, so what is exchanged before is exchanged after it (Zaheer et al. 2017,
    arXiv:1703.06114)."""

    def __init__(self, seen: int, hidden: int, blocks: int, params: int) -> None:
        super().__init__(seen, hidden, blocks, params)
        means = [nn.Linear(hidden, hidden, bias=False) for _ in range(blocks)]
        self.means = nn.ModuleList(means)
        for layer in means:
            nn.init.normal_(layer.weight, std=hidden**-0.5)

    def _block(self, number: int, h: Tensor) -> Tensor:
        weight = cast(nn.Linear, self.means[number]).weight.to(h.dtype)
        return super()._block(number, h) + F.linear(h.mean(-2, keepdim=True), weight)

    def hidden_matrices(self) -> list[Tensor]:
        means = (layer.weight for layer in cast(Iterable[nn.Linear], self.means))
        return [*super().hidden_matrices(), *means]


CONDITIONERS: dict[str, type[Conditioner]] = {
    "paper": PaperConditioner,
    "released": ReleasedConditioner,
    "trunk": TrunkConditioner,
}
