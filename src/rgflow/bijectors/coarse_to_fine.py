"""Autoregression within a block, in groups of variables: the coarse sites first.

The variables of a block are put in order from coarse to fine, as the renormalization group has it:
the sites that are even both ways, which go up, before the three sublattices that stay, and so on
within each of the four; one channel after the other. Runs of variables form groups, and each
variable is mapped by a function that a network of its group makes from all groups before. What
those networks have in common is learned once, by a stem for every quarter of the block. So
inference evaluates all networks at once, and generation one after another, each of them once. (An
autoregressive order of this kind: Reed et al. 2017, "Parallel multiscale autoregressive density
estimation".)

Letters in shapes: R rows (blocks); D variables of a block; G groups of e = D/G variables; o numbers
of context; P parameters of a variable's map.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rgflow.bijectors.base import Bijector, Context, Domain, Mapped, MapSpec, standardised
from rgflow.bijectors.grouped import GroupedTrunk, compiled_networks
from rgflow.bijectors.mixture import (
    Units,
    compiled_mixture,
    find_level,
    mixture_forward,
    mixture_inverse,
)
from rgflow.bijectors.pixels import Marginal, Place, Tables, find_place
from rgflow.cells import SUBLATTICES
from rgflow.config import CoarseToFineMap
from rgflow.kinds import made_from
from rgflow.numerics import derivatives_wanted

MIN_RELATIVE_SPREAD = 0.05
"""Lower bound, in units of the channel's standard deviation, on the spread of a block's coarse
values: where these are equal, the others may still differ."""


def coarse_to_fine(channels: int, m: int, splits: int) -> NDArray[np.int64]:
    """In which order the variables of a block come, coarse ones first, one group per row.

    Args:
        channels: C.
        m: Edge of the block; if odd, its sites are one part.
        splits: How many times the sites are divided into four sublattices, or as often as m can be
            halved; each of the 4^splits that result makes one group per channel.

    Returns:
        Places in the vector of a block (as `rgflow.cells.square` lays it out), [G, e].

    Example:
        >>> coarse_to_fine(channels=1, m=4, splits=1).tolist()
        [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]]
        >>> coarse_to_fine(channels=3, m=8, splits=2).shape
        (48, 4)
    """
    n, halves = m // 2, (m & -m).bit_length() - 1
    if not halves:
        return np.arange(channels * m * m).reshape(channels, -1)
    places = np.arange(channels * m * m).reshape(4, channels, n, n)
    parts = list(places)  # the blocks' layout has the first division already
    for _ in range(min(splits, halves) - 1):
        parts = [part[:, i::2, j::2] for part in parts for i, j in SUBLATTICES]
    return np.concatenate([part.reshape(channels, -1) for part in parts])


class Mixtures(NamedTuple):
    """The distributions of one group's variables over levels, as arguments of
    `rgflow.bijectors.mixture`. Values of the e variables in R rows are [1, e·R]."""

    params: Tensor
    units: Units
    tables: Tables


@made_from(CoarseToFineMap)
class CoarseToFine(Bijector):
    """Mixtures of logistics (`rgflow.bijectors.mixture`), each given all coarser variables.

    The sites that go up are left as they are, so that the next level sees an image with every other
    row and column left out; at the top all are mapped. `fit` makes levels those of pixels.

    The networks see every variable as its level, without its place within: what dequantisation
    adds is noise to them. The derivative is that of the pixel's value. Below the top, levels count
    from the mean of those of the block that go up, by their spread, channel by channel: what is
    learned of one brightness and contrast holds for all. As levels are whole numbers,
    generation finds exactly the mixtures that inference had, also on images unlike any that were
    learned, where networks amplify differences and the next group amplifies those.

    Args:
        spec: Of the cells, which write squares. All networks see the context.
        splits: How finely the variables are grouped: G = C·4^splits, or as many as there are.
        hidden: Width of each group's network.
        blocks: Residual blocks of each.
        stem: Width of the stems; 0: there are none.
        components: Components of each mixture.
    """

    domain: Domain = "cube"
    codomain: Domain = "cube"
    staircase = True
    order: Tensor
    back: Tensor
    channel: Tensor

    def __init__(
        self,
        spec: MapSpec,
        *,
        splits: int = 2,
        hidden: int = 512,
        blocks: int = 4,
        stem: int = 0,
        components: int = 3,
    ) -> None:
        super().__init__((spec.dim,))
        channels = spec.channels
        order = torch.from_numpy(coarse_to_fine(channels, spec.edge, splits))
        self.groups, self.size = order.shape
        self.kept = 0 if spec.top else self.groups // 4
        self.register_buffer("order", order.flatten(), persistent=False)
        self.register_buffer("back", order.flatten().argsort(), persistent=False)
        self.channels = channels
        self.register_buffer("channel", torch.arange(self.groups) % channels, persistent=False)
        self.pixels = Marginal(channels)
        params = 3 * components
        self.known = spec.embedding + spec.features
        context = self.known + (2 * channels if self.kept else 0)
        self.networks = GroupedTrunk(
            self.groups, self.kept, self.size, context, params, hidden, blocks, stem
        )
        self.compiled = False

    def compile_kernels(self, on: bool = True) -> bool:
        self.compiled, self.networks.compiled = on, compiled_networks() if on else None
        return True

    def fit(self, counts: Tensor) -> None:
        """Take how often every value of a pixel occurs, [C, 256]."""
        self.pixels.counts.copy_(counts)

    def hidden_matrices(self) -> Iterable[Tensor]:
        return self.networks.hidden_matrices()

    def transform(self, x: Tensor, context: Context | None = None) -> Mapped:
        d = self.in_order(x).flatten(1)
        tables, units = self._tables(x.dtype)
        place = find_place(d, tables)
        level, k = _level(place), self.kept
        seen_of_all = [self._known(context, x)]
        if k:
            up = level[:k].unflatten(1, (self.size, -1))
            units, measured = relative(up, units, self.channels)
            seen_of_all.append(measured)
        seen = torch.cat((*seen_of_all, _seen(level, units).view(-1, len(x))))
        params = self.networks(seen).flatten(2)  # [mapped groups, P, e·R]
        forward = (
            compiled_mixture()
            if self.compiled and self.networks.precision.fast
            else mixture_forward
        )
        y, log_slope = forward(
            Place(*(part[k:] for part in place)), params, Units(*(part[k:] for part in units))
        )
        y = torch.cat((d[:k], y)).view(-1, len(x))
        return y[self.back].T, log_slope.view(-1, len(x)).sum(0)

    def invert(self, y: Tensor, context: Context | None = None) -> Mapped:
        d = self.in_order(y).flatten(1)
        known = self.generation(y, context)
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

    def generation(self, like: Tensor, context: Context | None = None) -> "Generation":
        """Generation from coarse to fine, group by group.

        Args:
            like: Gives the number of blocks R and the number format, [R, .].
            context: Of the blocks.
        """
        tables, units = self._tables(like.dtype)
        return Generation(self, tables, units, self._known(context, like))

    def _known(self, context: Context | None, like: Tensor) -> Tensor:
        """The networks' input from the context of blocks [R, …], in their number format, [., R]."""
        if not context or not self.known:
            return like.new_empty(0, len(like))
        values = replace(context, values=standardised(context.values)).features
        return torch.cat((context.embedding, values), 1).T.to(like.dtype)

    def _tables(self, dtype: torch.dtype) -> tuple[Tables, Units]:
        """Lookup tables of all groups: values [G, 256] and units [G, 1]."""
        tables = Tables(*(table[self.channel] for table in self.pixels.tables(dtype)))
        units = Units(*(u[self.channel, None].to(dtype) for u in self.pixels.units()))
        return tables, units


def _level(place: Place) -> Tensor:
    """The level of variables, with the derivative of pixels."""
    return place.level + (place.low - place.low.detach())


def _seen(level: Tensor, units: Units) -> Tensor:
    """The networks' input from variables at these levels."""
    return (level - units.centre) / units.unit


def relative(up: Tensor, units: Units, channels: int) -> tuple[Units, Tensor]:
    """Units of every block: the mean and the standard deviation of its coarse values.

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
    mean, deviation = x.mean((0, 2)), (x.var((0, 2), correction=0) + MIN_RELATIVE_SPREAD**2).sqrt()
    repeats = (len(units.unit) // channels, size)
    centre = units.centre + units.unit * mean.repeat(repeats)
    return Units(centre, units.unit * deviation.repeat(repeats)), torch.cat((mean, deviation.log()))


class Generation:
    """The state of R blocks that are generated group by group.

    Args:
        bijector: Whose blocks.
        tables: Of every group, [G, 256].
        units: Of every group, [G, 1].
        context: What networks see of the context of the blocks, [., R]; it may be empty.
    """

    def __init__(
        self, bijector: CoarseToFine, tables: Tables, units: Units, context: Tensor
    ) -> None:
        self._trunk, self._kept = bijector.networks, bijector.kept
        self._networks = self._trunk.apart(tables.share.dtype)
        self._channels = bijector.channels
        self.tables, self.units = tables, units
        self._tables, self._units = _apart(tables), _apart(units)
        self._group = 0
        """The next group."""
        self._known = [context]
        """The context and the groups so far, [., R]: levels until all that go up are there, and
        then what the networks see. The context comes first."""
        self._of_stem: Tensor | None = None
        """Output of the quarter's stem for each of its groups."""
        self._quarter = 0

    def mixtures(self) -> Mixtures:
        """The distributions of the next group, which must be one that is mapped."""
        trunk, group = self._trunk, self._group
        known = torch.cat(self._known)
        if group // trunk.quarter != self._quarter:
            self._quarter = group // trunk.quarter
            self._of_stem = trunk.features(self._quarter, known)
            self._known = [known]
        of_stem = None if self._of_stem is None else self._of_stem[group % trunk.quarter]
        params = trunk.of_group(self._networks[group - self._kept], known, of_stem)
        return Mixtures(params, Units(*self._units[group]), Tables(*self._tables[group]))

    def add(self, level: Tensor) -> None:
        """Add the levels of the next group, [e, R]."""
        if self._group >= self._kept:
            level = _seen(level.flatten(), Units(*self._units[self._group])).view_as(level)
        self._known.append(level)
        self._group += 1
        if self._group == self._kept:
            up = torch.stack(self._known[1:])
            self.units, context = relative(up, self.units, self._channels)
            self._units = _apart(self.units)
            seen = _seen(up.flatten(1), Units(*(u[: self._kept] for u in self.units)))
            self._known = [self._known[0], context, seen.view(-1, up.shape[2])]

    def pick(self, rows: Tensor) -> None:
        """Continue with these blocks, given by their numbers [r]; some may occur several times."""
        if self.units.unit.shape[1] > 1:  # those of blocks
            before = self._known[0].shape[1]
            each = (one.unflatten(1, (-1, before))[..., rows].flatten(1) for one in self.units)
            self.units = Units(*each)
            self._units = _apart(self.units)
        self._known = [part[:, rows] for part in self._known]
        if self._of_stem is not None:
            self._of_stem = self._of_stem[:, rows]


def _apart(of_all: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
    """Split stacked parameters into one tuple per group."""
    return list(zip(*(part.split(1) for part in of_all), strict=True))
