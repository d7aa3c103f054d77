"""Grouped autoregressive splines on the unit cube: the coarse sites of a block first.

The variables of a block are put in order from coarse to fine, as the renormalization group has it:
the sites that are even both ways, which go up, before the three sublattices that stay, and so on
within each of the four; one channel after the other. Runs of variables form groups, and each
variable is mapped by a spline that a network of its group makes from all groups before. So
inference evaluates all networks at once, and generation one after another, each of them once. (An
autoregressive order of this kind: Reed et al. 2017, "Parallel multiscale autoregressive density
estimation".)

Letters in shapes: R rows (blocks); D variables of a block; G groups of e = D/G variables; P
parameters of a spline; w width of the networks.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from rgflow.bijectors.base import SQRT_3, Bijector, Domain, Mapped
from rgflow.bijectors.blockwise import SUBLATTICES
from rgflow.bijectors.fused_spline import FusedSpline, Kernels, compiled_kernels
from rgflow.bijectors.pixels import Marginal
from rgflow.bijectors.unit_spline import make_spline, spline_forward, spline_inverse

KNOTS = 128
"""Intervals of the curve through which networks see a variable."""
GRID = 512
"""Steps per unit in which networks see a variable: finer than bfloat16, in which they learn."""
RESIDUAL_GAIN = 0.5
"""Of the second layer of a residual block, so that the sum doesn't outgrow its first term."""


def coarse_to_fine(channels: int, m: int, splits: int) -> NDArray[np.int64]:
    """In which order the variables of a block come, coarse ones first, one group per row.

    Args:
        channels: C.
        m: Edge of the block.
        splits: How many times the sites are divided into four sublattices; each of the 4^splits
            that result makes one group per channel.

    Returns:
        Places in the vector of a block (as `rgflow.bijectors.blockwise` lays it out), [G, e].

    Raises:
        ValueError: If the block can't be divided that often.

    Example:
        >>> coarse_to_fine(channels=1, m=4, splits=1).tolist()
        [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]]
        >>> coarse_to_fine(channels=3, m=8, splits=2).shape
        (48, 4)
    """
    if m % (1 << splits):
        raise ValueError(
            f"Expected m to be a multiple of 2^splits = {1 << splits}; got {m}: lower splits."
        )
    n = m // 2
    places = np.arange(channels * m * m).reshape(4, channels, n, n)
    parts = list(places)  # the blocks' layout has the first division already
    for _ in range(splits - 1):
        parts = [part[:, i::2, j::2] for part in parts for i, j in SUBLATTICES]
    return np.concatenate([part.reshape(channels, -1) for part in parts])


class CoarseToFine(Bijector):
    """Splines on the unit cube, each told how by all coarser groups of variables of its block.

    The networks see a variable u through a piecewise linear curve, one per channel. At first it is
    √3·(2u − 1), standardised; `fit` makes it the quantile function of pixel values. What is one
    value of a pixel, such as exact black, is a wide stretch of u, of which nothing but noise is to
    be learned, and the curve makes it narrow again.

    What they see is rounded to multiples of 1/512, with the derivative of the curve. On images
    unlike any that were learned, networks can amplify a difference, and the next group amplifies
    that: without rounding, the last digit of a number would grow from group to group until an image
    was lost. Rounded, generation finds exactly the splines that inference had.

    Args:
        dim: Variables of a block D.
        channels: Channels C.
        m: Edge of a block; D = C·m².
        splits: How finely the variables are grouped: G = C·4^splits.
        hidden: Width of each group's network.
        blocks: Residual blocks of each.
        bins: Bins of each spline.
    """

    domain: Domain = "cube"
    codomain: Domain = "cube"
    order: Tensor
    back: Tensor
    row: Tensor
    curve: Tensor

    def __init__(
        self, dim: int, *, channels: int, m: int, splits: int, hidden: int, blocks: int, bins: int
    ) -> None:
        super().__init__((dim,))
        order = torch.from_numpy(coarse_to_fine(channels, m, splits))
        self.groups, self.bins = len(order), bins
        self.register_buffer("order", order.flatten(), persistent=False)
        channel = order.flatten() // (m // 2) ** 2 % channels
        self.register_buffer("row", channel[:, None] * (KNOTS + 1), persistent=False)
        line = torch.linspace(-SQRT_3, SQRT_3, KNOTS + 1)
        self.register_buffer("curve", line.repeat(channels, 1))
        self.register_buffer("back", order.flatten().argsort(), persistent=False)
        self.networks = GroupedTrunk(self.groups, order.shape[1], 2 * bins + 1, hidden, blocks)
        self.kernels: Kernels | None = None
        """Compiled kernels, used while training; none: the plain functions."""

    def compile_kernels(self) -> None:
        """Compile splines and networks for training."""
        self.kernels, self.networks.compiled = compiled_kernels(), compiled_networks()

    def fit(self, pixels: Marginal) -> None:
        """Have the networks see variables as values of pixels."""
        self.curve.copy_(pixels.curve(KNOTS))

    def transform(self, x: Tensor) -> Mapped:
        d = x.T[self.order]  # [D, R]
        fused = self.training and self.kernels is not None
        view = compiled_view() if fused and self.networks.compiled else _view
        seen = view(d, self.curve, self.row)
        params = self.networks(seen).flatten(2)  # [G, P, e·R]
        d = d.reshape(self.groups, -1)
        if fused:
            y, log_slope = FusedSpline.apply(d, params, self.kernels)
        else:
            y, log_slope = spline_forward(d, make_spline(params.to(d.dtype), self.bins))
        return y.view(len(self.order), -1)[self.back].T, log_slope.view(-1, len(x)).sum(0)

    def invert(self, y: Tensor) -> Mapped:
        known: list[Tensor] = []  # what the networks see, group by group
        found, log_slopes = [], []
        parts = zip(y.T[self.order].chunk(self.groups), self.row.chunk(self.groups), strict=True)
        for group, (d, row) in enumerate(parts):  # each [e, R]
            params = self.networks.of_group(group, known, d)[None].flatten(2)
            spline = make_spline(params.to(d.dtype), self.bins)
            x, log_slope = spline_inverse(d.reshape(1, -1), spline)
            found.append(x.view_as(d))
            log_slopes.append(log_slope.view_as(d).sum(0))
            known.append(_view(found[-1], self.curve, row))
        return torch.cat(found)[self.back].T, sum(log_slopes[1:], log_slopes[0])


def _view(d: Tensor, curve: Tensor, row: Tensor) -> Tensor:
    """Cube coordinates [D, R] as networks see them.

    Args:
        d: Cube coordinates.
        curve: Values at equally spaced u, [C, knots].
        row: Where the curve of each variable begins in all of them, [D, 1].
    """
    place = torch.where(d > 0, d, 1 + d) * KNOTS
    knot = place.detach().floor().clamp(max=KNOTS - 1)  # u may be 1 to rounding
    index, values = knot.long() + row, curve.flatten()
    seen = torch.lerp(values[index], values[index + 1], place - knot)
    # The value is exactly the rounded one, the derivative that of the curve.
    return torch.round(seen.detach() * GRID) / GRID + (seen - seen.detach())


@cache
def compiled_view() -> Callable[..., Tensor]:
    """`_view`, compiled at its first call."""
    return torch.compile(_view)


class GroupedTrunk(nn.Module):
    """One residual network per group, which sees the groups before it; all side by side.

    Linear, pre-normalised residual blocks, SiLU, linear. All parameters are 0 at the start.

    Args:
        groups: G.
        size: Variables of a group e.
        params: Parameters per variable P.
        hidden: Width w of each network.
        blocks: Residual blocks of each.
    """

    compute_dtype: torch.dtype | None = None
    seen: Tensor

    def __init__(self, groups: int, size: int, params: int, hidden: int, blocks: int) -> None:
        super().__init__()
        self.groups, self.size, self.params, self.hidden = groups, size, params, hidden
        before = torch.arange(groups)[:, None, None] * size
        self.register_buffer("seen", torch.arange(groups * size) < before, persistent=False)
        first = torch.randn(groups, hidden, groups * size) / before.clamp(min=1) ** 0.5
        self.first = nn.Parameter(first * self.seen)  # [G, w, D]
        self.first_bias = nn.Parameter(torch.zeros(groups, 1, hidden))
        self.blocks = nn.ModuleList(_GroupedResidual(groups, hidden) for _ in range(blocks))
        self.last = nn.Parameter(torch.zeros(groups, params * size, hidden))
        self.last_bias = nn.Parameter(torch.zeros(groups, params * size, 1))
        self.compiled: Callable[..., Tensor] | None = None
        """`_after_first`, compiled, for training; none: as it stands."""

    def forward(self, x: Tensor) -> Tensor:
        """x [D, R], in order → parameters [G, P, e, R], in the dtype of the networks."""
        x = self._lowered(x)
        weight = (self.first * self.seen).flatten(0, 1).to(x.dtype)  # [G·w, D]
        h = (x.T @ weight.T).view(-1, self.groups, self.hidden).transpose(0, 1)  # [G, R, w]
        return self._rest(h, slice(None))

    def of_group(self, group: int, known: list[Tensor], like: Tensor) -> Tensor:
        """Parameters [P, e, R] of one group, from the groups before it.

        Args:
            group: Which.
            known: Those groups, each [e, R].
            like: A tensor [e, R], for where there are none.
        """
        if known:
            x = self._lowered(torch.cat(known))
            weight = self.first[group, :, : len(x)].to(x.dtype)
            h = (x.T @ weight.T)[None]
        else:
            h = self._lowered(like).new_zeros(1, like.shape[1], self.hidden)
        return self._rest(h, slice(group, group + 1))[0]

    def _lowered(self, x: Tensor) -> Tensor:
        return x.to(self.compute_dtype) if self.training and self.compute_dtype else x

    def _rest(self, h: Tensor, which: slice) -> Tensor:
        """After the first layer's product [G, R, w], for some of the groups."""
        function = self.compiled if self.training and self.compiled else _after_first
        blocks = [tuple(p[which] for p in block.parameters()) for block in self.blocks]
        ends = (self.first_bias[which], self.last[which], self.last_bias[which])
        return function(h, blocks, *ends).view(len(h), self.params, self.size, -1)


class _GroupedResidual(nn.Module):
    """The parameters of h → h + f(norm h) for every group, f being linear, SiLU, linear."""

    def __init__(self, groups: int, hidden: int) -> None:
        super().__init__()
        shape, std = (groups, hidden, hidden), hidden**-0.5
        self.first = nn.Parameter(std * torch.randn(shape))
        self.second = nn.Parameter(RESIDUAL_GAIN * std * torch.randn(shape))
        self.first_bias = nn.Parameter(torch.zeros(groups, 1, hidden))
        self.second_bias = nn.Parameter(torch.zeros(groups, 1, hidden))


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
    return torch.baddbmm(last_bias.to(dtype), last.to(dtype), F.silu(h).mT)


@cache
def compiled_networks() -> Callable[..., Tensor]:
    """What follows the first layer's product, compiled at its first call."""
    return torch.compile(_after_first)
