"""The networks of `rgflow.bijectors.coarse_to_fine`: one per group of variables, and their stems.

Letters in shapes: R rows (blocks); D variables of a block; G groups of e = D/G variables, q = G/4
of them in a quarter; o numbers of context; P parameters of a variable's map; w width of the
networks, t that of stems.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rgflow.numerics import EXACT, Precision

MIDDLE = 1 / 4
"""Width of the middle of a residual block, as a share of that of the network."""
STEM_BLOCKS = 2
"""Residual blocks of a stem."""
RESIDUAL_GAIN = 0.5
"""Of the last layer of a residual block, so that the sum doesn't outgrow its first term."""


class GroupedTrunk(nn.Module):
    """One residual network per group, which sees the groups before it; all side by side.

    Linear, pre-normalised residual blocks with a narrow middle, SiLU, linear. What follows
    the hidden layers is 0 at the start. The groups of the second quarter, of the third and of the
    last share a stem each, which sees the quarters before: its features come to their hidden layers
    too.

    Args:
        groups: G.
        kept: The first groups, which have no network.
        size: Variables of a group e.
        context: What all of them see besides, o numbers.
        params: Parameters per variable P.
        hidden: Width w of each network.
        blocks: Residual blocks of each.
        stem: Width t of the stems; 0: there are none.
    """

    precision: Precision = EXACT
    seen: Tensor

    def __init__(
        self,
        groups: int,
        kept: int,
        size: int,
        context: int,
        params: int,
        hidden: int,
        blocks: int,
        stem: int,
    ) -> None:
        super().__init__()
        self.kept, self.size, self.params, self.hidden = kept, size, params, hidden
        before = torch.arange(kept, groups)[:, None, None] * size + context
        every = context + groups * size
        self.register_buffer("seen", torch.arange(every) < before, persistent=False)
        mapped = groups - kept
        first = torch.randn(mapped, hidden, every) / before.clamp(min=1) ** 0.5
        self.first = nn.Parameter(first * self.seen)  # [mapped groups, w, o + D]
        self.first_bias = nn.Parameter(torch.zeros(mapped, 1, hidden))
        self.blocks = nn.ModuleList(_GroupedResidual(mapped, hidden) for _ in range(blocks))
        self.last = nn.Parameter(torch.zeros(mapped, params * size, hidden))
        self.last_bias = nn.Parameter(torch.zeros(mapped, params * size, 1))
        self.quarter = groups // 4 or groups  # of a few groups, all are in the first
        widths = (
            [context + k * self.quarter * size for k in (1, 2, 3)] if stem and self.quarter else []
        )
        self.stems = cast(Sequence[_Stem], nn.ModuleList(_Stem(width, stem) for width in widths))
        # From the features of each stem to the hidden layers of its groups.
        features = torch.randn(len(widths), self.quarter, hidden, stem) / max(stem, 1) ** 0.5
        self.from_stems = nn.Parameter(features) if widths else None
        self.compiled: Callable[..., Tensor] | None = None
        """`_after_first`, compiled, for use within `Flow.fast`; none: as it stands."""

    def forward(self, x: Tensor) -> Tensor:
        """x [o + D, R], in order → parameters [mapped groups, P, e, R], in the networks' dtype."""
        x = self._lowered(x)
        weight = (self.first * self.seen).flatten(0, 1).to(x.dtype)
        h = x.T @ weight.T
        if self.from_stems is not None:
            widths = [stem.first.shape[1] for stem in self.stems]
            of_stems = [
                stem(x[:width].T) @ matrix.flatten(0, 1).to(x.dtype).T
                for stem, width, matrix in zip(self.stems, widths, self.from_stems, strict=True)
            ]
            last = 3 * self.quarter * self.hidden  # at the top the first quarter has networks too
            h = torch.cat((h[:, :-last], h[:, -last:] + torch.cat(of_stems, 1)), 1)
        h = h.view(x.shape[1], -1, self.hidden).transpose(0, 1)  # [groups, R, w]
        rest = self.compiled if self.precision.fast and self.compiled else _after_first
        blocks = [cast(_GroupedResidual, block).in_use() for block in self.blocks]
        out = rest(h, blocks, self.first_bias, self.last, self.last_bias)
        return out.view(len(h), self.params, self.size, -1)

    def features(self, quarter: int, known: Tensor) -> Tensor | None:
        """What the stem of a quarter says to each of its groups, [q, R, w]; none without stems.

        Args:
            quarter: From 1 to 3; the first, which is 0, has none.
            known: The context and at least all groups before it [., R].
        """
        if self.from_stems is None or not quarter:
            return None
        stem = self.stems[quarter - 1]
        features: Tensor = stem(known[: stem.first.shape[1]].T)
        hidden = features @ self.from_stems[quarter - 1].flatten(0, 1).T.to(known.dtype)
        return hidden.unflatten(1, (-1, self.hidden)).transpose(0, 1)

    def apart(self, dtype: torch.dtype) -> list["GroupNetwork"]:
        """The network of every mapped group by itself, in this number format."""

        def split(*parameters: Tensor) -> Iterable[tuple[Tensor, ...]]:
            return zip(*(p.to(dtype).split(1) for p in parameters), strict=True)

        parts = (cast(_GroupedResidual, block).in_use() for block in self.blocks)
        blocks = zip(*(split(*part) for part in parts), strict=True)
        ends = split(self.first, self.first_bias, self.last, self.last_bias)
        return [GroupNetwork(a, b, y, z, of) for (a, b, y, z), of in zip(ends, blocks, strict=True)]

    def of_group(self, network: "GroupNetwork", known: Tensor, of_stem: Tensor | None) -> Tensor:
        """Parameters [1, P, e·R] of one group, from the groups before it.

        Args:
            network: Of the group.
            known: The context and those groups [., R], of which there needn't be any.
            of_stem: What `features` gives for it.
        """
        h = known.T @ network.first[0, :, : len(known)].T
        h = h if of_stem is None else h + of_stem
        out = _after_first(
            h[None], network.blocks, network.first_bias, network.last, network.last_bias
        )
        return out.view(1, self.params, -1)

    def hidden_matrices(self) -> list[nn.Parameter]:
        """All that lead to a hidden layer."""
        parts = cast(Iterable[_GroupedResidual | _Stem], (*self.blocks, *self.stems))
        found = [self.first, *(p for part in parts for p in part.hidden_matrices())]
        return found if self.from_stems is None else [*found, self.from_stems]

    def _lowered(self, x: Tensor) -> Tensor:
        return x.to(self.precision.networks or x.dtype)


class GroupNetwork(NamedTuple):
    """The parameters of one group's network, as stacks of one."""

    first: Tensor
    first_bias: Tensor
    last: Tensor
    last_bias: Tensor
    blocks: tuple[tuple[Tensor, ...], ...]


class _GroupedResidual(nn.Module):
    """The parameters of h → h + f(norm h) for every group, f being linear, SiLU, linear."""

    def __init__(self, groups: int, hidden: int) -> None:
        super().__init__()
        middle = max(int(hidden * MIDDLE), 1)
        self.first = nn.Parameter(hidden**-0.5 * torch.randn(groups, middle, hidden))
        self.second = nn.Parameter(
            RESIDUAL_GAIN * middle**-0.5 * torch.randn(groups, hidden, middle)
        )
        self.first_bias = nn.Parameter(torch.zeros(groups, 1, middle))
        self.second_bias = nn.Parameter(torch.zeros(groups, 1, hidden))

    def in_use(self) -> tuple[Tensor, ...]:
        """As `_after_first` takes them."""
        return self.first, self.second, self.first_bias, self.second_bias

    def hidden_matrices(self) -> list[nn.Parameter]:
        """All that lead to a hidden layer."""
        return [self.first, self.second]


class _Stem(nn.Module):
    """A residual network [R, known variables] → features [R, t], for all groups of a quarter.

    Linear, residual blocks h → h + f(norm h) with f being a gated layer (SwiGLU, Shazeer 2020) and
    a linear one, then norm and SiLU.
    """

    def __init__(self, known: int, width: int) -> None:
        super().__init__()
        self.first = nn.Parameter(known**-0.5 * torch.randn(width, known))
        inner = width**-0.5 * torch.randn(STEM_BLOCKS, 3, width, width)  # gate, value, last
        inner[:, 2] *= RESIDUAL_GAIN
        self.inner = nn.Parameter(inner)
        self.first_bias = nn.Parameter(torch.zeros(width))
        self.inner_bias = nn.Parameter(torch.zeros(STEM_BLOCKS, 3, width))

    def forward(self, x: Tensor) -> Tensor:
        def linear(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            return F.linear(h, weight.to(h.dtype), bias.to(h.dtype))

        h = linear(x, self.first, self.first_bias)
        for weights, biases in zip(self.inner, self.inner_bias, strict=True):
            normed = F.rms_norm(h, h.shape[-1:])
            inner = linear(normed, weights[:2].flatten(0, 1), biases[:2].flatten())
            gate, value = inner.chunk(2, 1)
            h = h + linear(F.silu(gate) * value, weights[2], biases[2])
        return F.silu(F.rms_norm(h, h.shape[-1:]))

    def hidden_matrices(self) -> list[nn.Parameter]:
        """All that lead to a hidden layer."""
        return [self.first, self.inner]


def _after_first(
    h: Tensor, blocks: Sequence[tuple[Tensor, ...]], bias: Tensor, last: Tensor, last_bias: Tensor
) -> Tensor:
    """From the first layer's product [G, R, w] to the last layer's result [G, P·e, R]."""
    dtype = h.dtype
    h = h + bias.to(dtype)
    for first, second, first_bias, second_bias in blocks:
        normed = F.rms_norm(h, h.shape[-1:])
        inner = torch.baddbmm(first_bias.to(dtype), normed, first.to(dtype).mT)
        h = h + torch.baddbmm(second_bias.to(dtype), F.silu(inner), second.to(dtype).mT)
    return torch.baddbmm(last_bias, last, F.silu(h).to(last.dtype).mT)


@cache
def compiled_networks() -> Callable[..., Tensor]:
    """What follows the first layer's product [groups, R, d], compiled at its first call."""
    return torch.compile(_after_first)
