"""Autoregression within a block, in groups of variables: the coarse sites first.

The variables of a block are put in order from coarse to fine, as the renormalization group has it:
the sites that are even both ways, which go up, before the three sublattices that stay, and so on
within each of the four; one channel after the other. Runs of variables form groups, and each
variable is mapped by a function that a network of its group makes from all groups before. What
those networks have in common is learned once, by a stem for every quarter of the block. So
inference evaluates all networks at once, and generation one after another, each of them once. (An
autoregressive order of this kind: Reed et al. 2017, "Parallel multiscale autoregressive density
estimation".)

Letters in shapes: R rows (blocks); D variables of a block; G groups of e = D/G variables, q = G/4
of them in a quarter; o numbers of context; P parameters of a variable's map; w width of the
networks, t that of stems.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from rgflow.bijectors.base import Bijector, Domain, Mapped
from rgflow.bijectors.blockwise import SUBLATTICES
from rgflow.bijectors.mixture import (
    Units,
    compiled_mixture,
    find_level,
    mixture_forward,
    mixture_inverse,
)
from rgflow.bijectors.pixels import Marginal, Place, Tables, find_place
from rgflow.numerics import derivatives_wanted

MIDDLE = 1 / 4
"""Width of the middle of a residual block, as a share of that of the network."""
STEM_BLOCKS = 2
"""Residual blocks of a stem."""
RESIDUAL_GAIN = 0.5
"""Of the last layer of a residual block, so that the sum doesn't outgrow its first term."""
LEAST = 0.05
"""The smallest spread of what goes up of a block, in units of the channel: where all of it is the
same, the rest needn't be."""


def coarse_to_fine(channels: int, m: int, splits: int) -> NDArray[np.int64]:
    """In which order the variables of a block come, coarse ones first, one group per row.

    Args:
        channels: C.
        m: Edge of the block.
        splits: How many times the sites are divided into four sublattices, or as often as m can be
            halved; each of the 4^splits that result makes one group per channel.

    Returns:
        Places in the vector of a block (as `rgflow.bijectors.blockwise` lays it out), [G, e].

    Example:
        >>> coarse_to_fine(channels=1, m=4, splits=1).tolist()
        [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]]
        >>> coarse_to_fine(channels=3, m=8, splits=2).shape
        (48, 4)
    """
    n, halves = m // 2, (m & -m).bit_length() - 1
    places = np.arange(channels * m * m).reshape(4, channels, n, n)
    parts = list(places)  # the blocks' layout has the first division already
    for _ in range(min(splits, halves) - 1):
        parts = [part[:, i::2, j::2] for part in parts for i, j in SUBLATTICES]
    return np.concatenate([part.reshape(channels, -1) for part in parts])


class Mixtures(NamedTuple):
    """The distributions of one group's variables over levels: what functions of
    `rgflow.bijectors.mixture` take. Values of the e variables in R rows are [1, e·R]."""

    params: Tensor
    units: Units
    tables: Tables


class CoarseToFine(Bijector):
    """Mixtures of logistics (`rgflow.bijectors.mixture`), each told by all coarser variables.

    The sites that go up are left as they are, so that the next level sees an image with every other
    row and column left out; at the top all are mapped. `fit` makes levels those of pixels.

    The networks see every variable as its level, without its place within: what dequantisation
    adds is noise to them. The derivative is that of the pixel's value. Below the top, levels count
    from the mean of those of the block that go up, by their spread, channel by channel: what is
    learned of one brightness and contrast holds for all. As levels are whole numbers,
    generation finds exactly the mixtures that inference had, also on images unlike any that were
    learned, where networks amplify differences and the next group amplifies those.

    Args:
        dim: Variables of a block D.
        channels: Channels C.
        m: Edge of a block; D = C·m².
        splits: How finely the variables are grouped: G = C·4^splits, or as many as there are.
        hidden: Width of each group's network.
        blocks: Residual blocks of each.
        stem: Width of the stems; 0: there are none.
        components: Components of each mixture.
        top: Whether all variables are mapped.
    """

    domain: Domain = "cube"
    codomain: Domain = "cube"
    order: Tensor
    back: Tensor
    channel: Tensor

    def __init__(
        self,
        dim: int,
        *,
        channels: int,
        m: int,
        splits: int,
        hidden: int,
        blocks: int,
        stem: int,
        components: int,
        top: bool,
    ) -> None:
        super().__init__((dim,))
        order = torch.from_numpy(coarse_to_fine(channels, m, splits))
        self.groups, self.size = order.shape
        self.kept = 0 if top else self.groups // 4
        self.register_buffer("order", order.flatten(), persistent=False)
        self.register_buffer("back", order.flatten().argsort(), persistent=False)
        self.channels = channels
        self.register_buffer("channel", torch.arange(self.groups) % channels, persistent=False)
        self.pixels = Marginal(channels)
        params = 3 * components
        context = 2 * channels if self.kept else 0
        self.networks = GroupedTrunk(
            self.groups, self.kept, self.size, context, params, hidden, blocks, stem
        )
        self.compiled = False

    def compile_kernels(self) -> None:
        """Compile mixtures and networks for training."""
        self.compiled, self.networks.compiled = True, compiled_networks()

    def fit(self, pixels: Marginal) -> None:
        """Take the levels of pixels from their marginal distribution."""
        self.pixels.counts.copy_(pixels.counts)

    def transform(self, x: Tensor) -> Mapped:
        d = self.in_order(x).flatten(1)
        tables, units = self._tables(x.dtype)
        place = find_place(d, tables)
        level, k = _level(place), self.kept
        context = level.new_empty(0, len(x))
        if k:
            units, context = relative(level[:k].unflatten(1, (self.size, -1)), units, self.channels)
        seen = torch.cat((context, _seen(level, units).view(-1, len(x))))
        params = self.networks(seen).flatten(2)  # [mapped groups, P, e·R]
        forward = compiled_mixture() if self.compiled and self.training else mixture_forward
        y, log_slope = forward(
            Place(*(part[k:] for part in place)), params, Units(*(part[k:] for part in units))
        )
        y = torch.cat((d[:k], y)).view(-1, len(x))
        return y[self.back].T, log_slope.view(-1, len(x)).sum(0)

    def invert(self, y: Tensor) -> Mapped:
        d = self.in_order(y).flatten(1)
        known = self.generation(len(y), y.dtype)
        derivatives = derivatives_wanted()
        k = self.kept
        up = find_place(d[:k], Tables(*(table[:k] for table in known.tables)))
        found, params = [], []
        for group in range(self.groups):
            if group < k:
                level = _level(up)[group : group + 1]
            else:
                one, mixtures = d[group : group + 1], known.mixtures()
                level = find_level(one, *mixtures)
                found.append(level)
                params.append(mixtures.params)
                if derivatives:
                    *_, low = mixture_inverse(one, level, *mixtures)
                    level = level + (low - low.detach())
            known.add(level.view(self.size, -1).to(y.dtype))
        x, log_slope, _ = mixture_inverse(
            d[k:],
            torch.cat(found),
            torch.cat(params),
            Units(*(part[k:] for part in known.units)),
            Tables(*(table[k:] for table in known.tables)),
        )
        x = torch.cat((d[:k], x)).view(-1, len(y))
        return x[self.back].T, log_slope.view(-1, len(y)).sum(0)

    def in_order(self, blocks: Tensor) -> Tensor:
        """Blocks [R, D] of anything by group of variables, [G, e, R]."""
        return blocks.T[self.order].view(self.groups, self.size, -1)

    def generation(self, rows: int, dtype: torch.dtype) -> "Generation":
        """The way from coarse to fine, for so many blocks and computed in this number format."""
        return Generation(self, *self._tables(dtype), rows)

    def _tables(self, dtype: torch.dtype) -> tuple[Tables, Units]:
        """Of every group, [G, 256] and [G, 1]."""
        tables = Tables(*(table[self.channel] for table in self.pixels.tables(dtype)))
        units = Units(*(u[self.channel, None].to(dtype) for u in self.pixels.units()))
        return tables, units


def _level(place: Place) -> Tensor:
    """The level of variables, with the derivative of pixels."""
    return place.level + (place.low - place.low.detach())


def _seen(level: Tensor, units: Units) -> Tensor:
    """What networks see of variables at these levels."""
    return (level - units.centre) / units.unit


def relative(up: Tensor, units: Units, channels: int) -> tuple[Units, Tensor]:
    """Units of every block: from the mean of what goes up of it, by the standard deviation of that.

    Args:
        up: Levels of the groups that go up, [k, e, R].
        units: Of all groups, [G, 1].
        channels: C, which groups belong to in turn.

    Returns:
        Units of the variables of all groups, [G, e·R]; and mean and log of the deviation, in those
        of the channels, which networks see too, [2C, R].
    """
    groups, size, _ = up.shape
    x = _seen(up, Units(*(u[:groups, None] for u in units))).unflatten(0, (-1, channels))
    mean, deviation = x.mean((0, 2)), (x.var((0, 2), correction=0) + LEAST**2).sqrt()
    repeats = (len(units.unit) // channels, size)
    centre = units.centre + units.unit * mean.repeat(repeats)
    return Units(centre, units.unit * deviation.repeat(repeats)), torch.cat((mean, deviation.log()))


class Generation:
    """What is known of R blocks while they are generated, group after group.

    Args:
        bijector: Whose blocks.
        tables: Of every group, [G, 256].
        units: Of every group, [G, 1].
        rows: R.
    """

    def __init__(self, bijector: CoarseToFine, tables: Tables, units: Units, rows: int) -> None:
        self._networks, self._kept = bijector.networks, bijector.kept
        self._channels = bijector.channels
        self.tables, self.units = tables, units
        self._group = 0
        """That which comes next."""
        self._known = [units.unit.new_empty(0, rows)]
        """The context and the groups so far, [., R]: levels until all that go up are there, and
        then what the networks see."""
        self._features: Tensor | None = None
        self._quarter = 0  # whose features they are

    def mixtures(self) -> Mixtures:
        """The distributions of the group that comes next, which has to be one that is mapped."""
        networks, group = self._networks, self._group
        known = torch.cat(self._known)
        if group // networks.quarter != self._quarter:
            self._quarter = group // networks.quarter
            self._features = networks.features(self._quarter, known)
            self._known = [known]
        params = networks.of_group(group, known, self._features)
        return Mixtures(
            params.flatten(2), self._units(), Tables(*(t[self._one] for t in self.tables))
        )

    def add(self, level: Tensor) -> None:
        """The levels of the group that came next, [e, R]."""
        if self._group >= self._kept:
            level = _seen(level.flatten(), self._units()).view_as(level)
        self._known.append(level)
        self._group += 1
        if self._group == self._kept:
            up = torch.stack(self._known[1:])
            self.units, context = relative(up, self.units, self._channels)
            seen = _seen(up.flatten(1), Units(*(u[: self._kept] for u in self.units)))
            self._known = [context, seen.view(-1, up.shape[2])]

    def pick(self, rows: Tensor) -> None:
        """Go on with these blocks, some of them perhaps several times."""
        if self.units.unit.shape[1] > 1:  # those of blocks
            each = (
                one.unflatten(1, (-1, self._known[0].shape[1]))[..., rows] for one in self.units
            )
            self.units = Units(*(one.flatten(1) for one in each))
        self._known = [part[:, rows] for part in self._known]
        if self._features is not None:
            self._features = self._features[rows]

    @property
    def _one(self) -> slice:
        return slice(self._group, self._group + 1)

    def _units(self) -> Units:
        """Of the group that comes next."""
        return Units(*(u[self._one] for u in self.units))


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

    compute_dtype: torch.dtype | None = None
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
        self.quarter = groups // 4
        widths = [context + k * self.quarter * size for k in (1, 2, 3)] if stem else []
        self.stems = cast(Sequence[_Stem], nn.ModuleList(_Stem(width, stem) for width in widths))
        # From the features of each stem to the hidden layers of its groups.
        features = torch.randn(len(widths), self.quarter, hidden, stem) / max(stem, 1) ** 0.5
        self.from_stems = nn.Parameter(features) if stem else None
        self.compiled: Callable[..., Tensor] | None = None
        """`_after_first`, compiled, for training; none: as it stands."""

    def forward(self, x: Tensor) -> Tensor:
        """x [o + D, R], in order → parameters [mapped groups, P, e, R], in the networks' dtype."""
        x = self._lowered(x)
        weight = (self.first * self.seen).flatten(0, 1).to(x.dtype)
        h = x.T @ weight.T
        if self.from_stems is not None:
            widths = [stem.first.shape[1] for stem in self.stems]
            told = [
                stem(x[:width].T) @ matrix.flatten(0, 1).to(x.dtype).T
                for stem, width, matrix in zip(self.stems, widths, self.from_stems, strict=True)
            ]
            last = 3 * self.quarter * self.hidden  # at the top the first quarter has networks too
            h = torch.cat((h[:, :-last], h[:, -last:] + torch.cat(told, 1)), 1)
        h = h.view(x.shape[1], -1, self.hidden).transpose(0, 1)  # [groups, R, w]
        return self._rest(h, slice(None))

    def features(self, quarter: int, known: Tensor) -> Tensor | None:
        """What the stem of a quarter says to its groups, [R, q·w]; none without stems.

        Args:
            quarter: From 1 to 3; the first, which is 0, has none.
            known: The context and at least all groups before it [., R].
        """
        if self.from_stems is None or not quarter:
            return None
        stem = self.stems[quarter - 1]
        features: Tensor = stem(known[: stem.first.shape[1]].T)
        return features @ self.from_stems[quarter - 1].flatten(0, 1).T.to(known.dtype)

    def of_group(self, group: int, known: Tensor, features: Tensor | None) -> Tensor:
        """Parameters [1, P, e, R] of one group, from the groups before it.

        Args:
            group: Which.
            known: The context and those groups [., R], of which there needn't be any.
            features: What `features` says of its quarter.
        """
        index = group - self.kept
        h = known.T @ self.first[index, :, : len(known)].T.to(known.dtype)
        if features is not None:
            h = h + features.unflatten(1, (-1, self.hidden))[:, group % self.quarter]
        return self._rest(self._lowered(h)[None], slice(index, index + 1))

    def hidden_matrices(self) -> list[nn.Parameter]:
        """All that lead to a hidden layer."""
        parts = cast(Iterable[_GroupedResidual | _Stem], (*self.blocks, *self.stems))
        found = [self.first, *(p for part in parts for p in part.hidden_matrices())]
        return found if self.from_stems is None else [*found, self.from_stems]

    def _lowered(self, x: Tensor) -> Tensor:
        return x.to(self.compute_dtype) if self.training and self.compute_dtype else x

    def _rest(self, h: Tensor, which: slice) -> Tensor:
        """After the first layer's product [G, R, w], for some of the groups."""
        function = self.compiled if self.training and self.compiled else _after_first
        blocks = [
            tuple(p[which] for p in cast(_GroupedResidual, block).in_use()) for block in self.blocks
        ]
        ends = (self.first_bias[which], self.last[which], self.last_bias[which])
        return function(h, blocks, *ends).view(len(h), self.params, self.size, -1)


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

    def in_use(self) -> tuple[nn.Parameter, ...]:
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
    h: Tensor, blocks: list[tuple[Tensor, ...]], bias: Tensor, last: Tensor, last_bias: Tensor
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
    """What follows the first layer's product, compiled at its first call."""
    return torch.compile(_after_first)
