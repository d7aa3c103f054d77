"""From pixels to the flow's own space: dequantisation, and the bijections of each channel value.

Pixels are 8-bit integers or reals in [0, 256): an integer x8 stands for the interval [x8, x8 + 1).
Densities are per unit of this scale, so that bits per dimension need no correction.

Letters in shapes: N images; C channels; H, W rows and columns.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from rgflow.bijectors.base import Bijector, Context, Domain, Mapped, sum_event
from rgflow.config import LogitPixels, MarginalPixels, UniformPixels
from rgflow.kinds import made_from

LEVELS = 256
"""Number of values of a pixel."""
_NOISE_STEPS = 1 << 15
"""Values of the noise within a grey level: with its 8 bits, they fill the 24 of float32, so that no
sum is rounded up to the next level."""
MIN_PIXEL = 1e-30
"""What a pixel of exactly 0 is taken for where 0 would have no finite latent."""


def largest(dtype: torch.dtype) -> float:
    """The largest number below 256."""
    return LEVELS * (1 - torch.finfo(dtype).eps / 2)


def dequantize(
    x8: Tensor, generator: torch.Generator | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Integer pixels to reals in (0, 256): x8 + ½, or x8 + u with uniform u, given a generator.

    u is an odd multiple of 2^−16, so x8 + u is exact even in float32, and never an integer.

    Args:
        x8: Integer pixels, of any shape.
        generator: Where the noise comes from; none: ½ everywhere, which is deterministic.
        dtype: Of the result.

    Example:
        >>> dequantize(torch.tensor([0, 255], dtype=torch.uint8))
        tensor([  0.5000, 255.5000])
    """
    if generator is None:
        return x8.to(dtype) + 0.5
    # Drawn where the generator is, so that one of the CPU gives the same on all devices.
    steps = torch.randint(_NOISE_STEPS, x8.shape, generator=generator, device=generator.device)
    return with_noise(x8, steps.to(x8.device), dtype)


def with_noise(x8: Tensor, integers: Tensor, dtype: torch.dtype) -> Tensor:
    """Integer pixels plus noise in (0, 1) made from the low 15 bits of random integers of the same
    shape, which the result has too."""
    steps = integers & (_NOISE_STEPS - 1)
    return x8.to(dtype) + (steps.to(dtype) + 0.5) / _NOISE_STEPS


@made_from(LogitPixels)
class Logit(Bijector):
    """y = logit(0.05 + 0.9·x/256), the paper's and the released code's transform.

    log det = Σ [softplus(y) + softplus(−y) + ln(0.9/256)].

    Args:
        channels: C.
    """

    MARGIN = 0.05

    def __init__(self, channels: int) -> None:
        super().__init__((channels, None, None))

    def transform(self, x: Tensor, context: Context | None = None) -> Mapped:
        y = torch.logit(self.MARGIN + (1 - 2 * self.MARGIN) / LEVELS * x)
        return y, sum_event(self._log_slope(y))

    def invert(self, y: Tensor, context: Context | None = None) -> Mapped:
        x = (torch.sigmoid(y) - self.MARGIN) * (LEVELS / (1 - 2 * self.MARGIN))
        return x, -sum_event(self._log_slope(y))

    def _log_slope(self, y: Tensor) -> Tensor:
        return F.softplus(y) + F.softplus(-y) + math.log((1 - 2 * self.MARGIN) / LEVELS)


class Tables(NamedTuple):
    """Probability of every value of a pixel, and of all below and above it, each [C, 256]."""

    share: Tensor
    below: Tensor
    above: Tensor


class Place(NamedTuple):
    """Where cube coordinates lie among the values of pixels; each tensor is of their shape."""

    level: Tensor
    """The value whose interval holds them, 0 to 255."""
    low: Tensor
    """How far into it they lie, 0 to 1."""
    high: Tensor
    """1 − low."""
    share: Tensor
    """Its probability."""
    from_0: Tensor
    """u."""
    from_1: Tensor
    """1 − u."""


def find_place(d: Tensor, tables: Tables) -> Place:
    """Look up cube coordinates [C, n], each row in the tables of its channel."""
    near = d > 0
    from_0, from_1 = torch.where(near, d, 1 + d), torch.where(near, 1 - d, -d)
    level = torch.searchsorted(tables.below, from_0.detach().contiguous(), right=True) - 1
    share, below, above = (table.gather(1, level) for table in tables)
    # From whichever end of (0, 1) they are given by.
    low = torch.where(near, (from_0 - below) / share, 1 - (from_1 - above) / share)
    high = torch.where(near, 1 - low, (from_1 - above) / share)
    return Place(level, low, high, share, from_0, from_1)


@made_from(MarginalPixels)
class Marginal(Bijector):
    """u = F_c(x): the distribution function of channel c's pixels, piecewise linear.

    Its result is in the cube coordinates of `rgflow.priors`. It starts as the uniform distribution;
    `count` counts a training set.

    Args:
        channels: C.
    """

    codomain: Domain = "cube"
    UNIFORM_SHARE = 1e-3
    """Weight of the uniform distribution in F, so that every value has some probability; it costs
    0.0014 bits per dimension at the most."""

    counts: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__((channels, None, None))
        self.register_buffer("counts", torch.ones(channels, LEVELS, dtype=torch.int64))
        self._made: dict[torch.dtype, tuple[Any, Tables]] = {}

    def count(self, x8: Tensor) -> Tensor:
        """Set F from integer pixels [N, C, H, W]; returns how often each occurs, [C, 256].

        Raises:
            ValueError: If there are none, or they aren't uint8.
        """
        self._check(x8)
        if not len(x8) or x8.dtype != torch.uint8:
            raise ValueError(f"Expected uint8 images to fit to; got {len(x8)} of {x8.dtype}.")
        for channel, counts in enumerate(self.counts):
            counts.copy_(torch.bincount(x8[:, channel].flatten(), minlength=LEVELS))
        return self.counts

    def units(self) -> tuple[Tensor, Tensor]:
        """Of every channel, about the mean and the standard deviation of its pixels, each [C].

        Means are whole numbers and deviations powers of two, so that (k − mean)/deviation is exact
        in bfloat16, which has 8 digits.
        """
        values = torch.arange(LEVELS, dtype=torch.float64, device=self.counts.device)
        counts = self.counts.double()
        shares = counts / counts.sum(1, keepdim=True)
        mean = shares @ values
        variance = (shares * (values - mean[:, None]) ** 2).sum(1)
        return mean.round(), 2 ** (variance.clamp(min=1).log2() / 2).round()

    def tables(self, dtype: torch.dtype) -> Tables:
        """Probabilities of the values of every channel; made once for every number format."""
        of = (self.counts.data_ptr(), self.counts._version, self.counts.device)
        if self._made.get(dtype, (None,))[0] != of or torch.is_inference_mode_enabled():
            self._made[dtype] = (of, self._tables(dtype))
        made: Tables = self._made[dtype][1]
        return made

    def _tables(self, dtype: torch.dtype) -> Tables:
        counts = self.counts.double()
        observed = counts / counts.sum(1, keepdim=True)
        p = observed * (1 - self.UNIFORM_SHARE) + self.UNIFORM_SHARE / LEVELS
        below = F.pad(p.cumsum(1)[:, :-1], (1, 0))
        above = F.pad(p.flip(1).cumsum(1)[:, :-1], (1, 0)).flip(1)
        return Tables(p.to(dtype), below.to(dtype), above.to(dtype))

    def transform(self, x: Tensor, context: Context | None = None) -> Mapped:
        tables = self.tables(x.dtype)
        x = x.clamp(MIN_PIXEL, largest(x.dtype))
        value = x.detach().floor().clamp(0, LEVELS - 1)
        begins = torch.arange(len(self.counts), device=x.device)[:, None, None] * LEVELS
        p, below, above = (table.flatten()[value.long() + begins] for table in tables)
        left = below + p * (x - value)
        right = above + p * (value + 1 - x)
        return torch.where(left <= right, left, -right), sum_event(p.log())

    def invert(self, y: Tensor, context: Context | None = None) -> Mapped:
        channels = y.transpose(0, 1)
        place = find_place(channels.flatten(1), self.tables(y.dtype))
        x, p = (
            part.view_as(channels).transpose(0, 1)
            for part in (place.level + place.low, place.share)
        )
        return x.clamp(0, largest(y.dtype)), -sum_event(p.log())


@made_from(UniformPixels)
class Uniform(Marginal):
    """u = x/256: the uniform distribution, whatever images there are."""

    def count(self, x8: Tensor) -> Tensor:
        """As for `Marginal.count`; nothing is counted."""
        return self.counts
