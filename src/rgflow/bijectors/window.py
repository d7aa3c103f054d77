"""Mixtures of logistics for one site, given the known sites of a window around it.

Levels of pixels are whole numbers, so generation has exactly the context that inference had.

Where coarse images are averages (`rgflow.geometries.BlockSpins`), every pixel is drawn within what
the average of its square leaves open. With n pixels in the square, of average y = ⌊(Σx + n/2)/n⌋, m
of them still to come, this one included, and p the sum of the others, it lies

    from max(0, n·y − ⌊n/2⌋ − p − 255·(m − 1)) to min(255, n·y − ⌊n/2⌋ + n − 1 − p).

So the last pixel has at most n values, nothing is lost, and the density is exact. The map of the
last pixel puts the average in its place: the whole part of its result is y, and the fraction the
place of the pixel among those n values, in their distribution.

Letters in shapes: R rows (sites); C channels; S sites of the context; E numbers of embeddings;
K components, k of them copies; w width of the network.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from rgflow.bijectors.base import Bijector, Context, Domain, Mapped, MapSpec
from rgflow.bijectors.mixture import (
    Bounded,
    Measured,
    Units,
    component_log_prob,
    cube,
    find_level,
    level_log_prob,
    mean_levels,
    mixture_forward,
    mixture_inverse,
    of_some,
    start_means,
)
from rgflow.bijectors.pixels import LEVELS, MIN_PIXEL, Tables, find_place
from rgflow.conditioners import WindowNetwork
from rgflow.config import WindowMap
from rgflow.kinds import made_from
from rgflow.numerics import EXACT, Precision, derivatives_wanted

MIN_SPREAD_LEVELS = 2.5
"""Lower bound, in grey levels, on the spread of a window: where all its sites are equal, the site
to be predicted may still differ."""

NARROW = -3.0
"""Log of the scale at which a component begins that copies a site, in units of `SCALE`."""
ABSENT = -30.0
"""Added to the log of its share where the site is missing."""


@made_from(WindowMap)
class WindowMixture(Bijector):
    """Discretised mixtures of logistics (`rgflow.bijectors.mixture`) for the channels of one site.

    A network sees the known sites of the window, channel by channel, as differences from their mean
    in units of their spread, so that what is learned of one brightness and contrast holds for all;
    and the mean and the spread. The mixtures are measured in the same units. Channels come in
    order: the means of each are linear in the channels before it (Salimans et al. 2017,
    arXiv:1701.05517, section 2.2). So both directions evaluate the network once. In a square with a
    known average, the mixtures start around the mean of the pixels still to come, which the network
    sees as well.

    With copies, one choice of a component holds for all channels of a site: the shares π_j of
    channel c are weighed by the probabilities that component j gave to the channels before it,
    π_j Π_(b<c) P_j(x_b), normalised.

    Args:
        spec: Of the cells, which write one site.
        hidden: Width of the network.
        blocks: Residual blocks.
        components: Components of each mixture.
        copies: How many further components begin at the values of the nearest sites of the context,
            narrow, so that colours are continued.

    Raises:
        ValueError: If cells write more than one site.
    """

    domain: Domain = "cube"
    codomain: Domain = "cube"
    staircase = True
    precision: Precision = EXACT
    share: Tensor
    below: Tensor
    above: Tensor

    def __init__(
        self,
        spec: MapSpec,
        *,
        hidden: int = 128,
        blocks: int = 1,
        components: int = 3,
        copies: int = 0,
    ) -> None:
        super().__init__((spec.dim,))
        if spec.sites != 1:
            raise ValueError(
                f"Expected cells that write one site for the map window; got {spec.sites}: use the "
                f"geometry windows."
            )
        self.near, self.joint = spec.near[:copies], copies > 0
        self.components = components + len(self.near)
        self.channels, self.square = spec.channels, spec.square
        share = torch.full((LEVELS,), 1 / LEVELS, dtype=torch.float64)
        below = torch.arange(LEVELS, dtype=torch.float64) / LEVELS
        for name, table in Tables(share, below, below.flip(0))._asdict().items():
            self.register_buffer(name, table.repeat(spec.channels, 1), persistent=False)
        seen = spec.features + spec.embedding + (spec.channels + 1 if spec.context else 0)
        seen += spec.channels if spec.square else 0
        pairs = spec.channels * (spec.channels - 1) // 2
        params = (3 * spec.channels + pairs) * self.components
        width = -(-hidden // 2) if self.averages else hidden  # of a choice among four values
        self.network = WindowNetwork(max(seen, 1), width, blocks, params)

    def hidden_matrices(self) -> Iterable[Tensor]:
        return self.network.hidden_matrices()

    @property
    def averages(self) -> bool:
        """Whether averages take the place of the pixels that cells write, towards the latents."""
        return self.square is not None and self.square.average is None

    def transform(self, x: Tensor, context: Context | None = None) -> Mapped:
        tables = self._tables(x.dtype)
        place = find_place(x.T.contiguous(), tables)
        level = place.level + (place.low - place.low.detach())
        params, factors, units = self._params(context, x, own=place.level.T.to(x.dtype))
        params = self._shifted(params, factors, level, units)
        y, log_slope = mixture_forward(place, params, units)
        if self.averages:
            assert context is not None
            average = self._averages(place.level.T.to(x.dtype), _levels(context.values), context)
            y, log_slope = _with_fraction(average.T, y), log_slope - math.log(LEVELS)
        return y.T, log_slope.sum(0)

    def log_det(self, x: Tensor, context: Context | None = None) -> Tensor:
        if derivatives_wanted(x):
            return super().log_det(x, context)
        self._check(x)
        level = _levels(x)
        log_p = self._level_log_prob(level, *self._params(context, x, own=level))
        return log_p if self.averages else log_p + self.channels * math.log(LEVELS)

    def invert(self, y: Tensor, context: Context | None = None) -> Mapped:
        d, tables, own = y.T, self._tables(y.dtype), None
        if self.averages:
            place = find_place(d.contiguous(), tables)
            d, own = cube(place.low, place.high), place.level.T.to(y.dtype)
        params, factors, units = self._params(context, y, average=own)
        derivatives = derivatives_wanted()
        known, levels = y.new_zeros(0, len(y)), []
        for channel in range(self.channels):
            own = d[channel, None]
            of = self._of_channel(channel, params, factors, known, units)
            level = find_level(own.contiguous(), *of)
            levels.append(level)
            if derivatives:
                *_, low = mixture_inverse(own, level, *of)
                level = level + (low - low.detach())
            known = torch.cat((known, level.to(y.dtype)))
        params = self._shifted(params, factors, known, units)
        x, log_slope, _ = mixture_inverse(d, torch.cat(levels), params, units, tables)
        if self.averages:
            log_slope = log_slope + math.log(LEVELS)
        return x.T, log_slope.sum(0)

    def level_log_prob(self, level: Tensor, around: Context, channels: int | None = None) -> Tensor:
        """Log-probability of bytes given their context, where `transform` gives densities.

        Args:
            level: Of the channels of sites, whole numbers 0 to 255, [R, C].
            around: As for `transform`, but values are whole numbers, and 0 where missing.
            channels: How many channels count, the first ones: 1 of a grey picture, whose others
                are equal to it. Default: all.

        Returns:
            In nats, all these channels together, [R].
        """
        return self._level_log_prob(level, *self._given(around, own=level), channels)

    def averages_of(self, level: Tensor, around: Context) -> Tensor:
        """The averages that take the place of pixels, where `averages` says so; arguments as for
        `level_log_prob`, [R, C]."""
        return self._averages(level, around.values.to(level), around)

    def averages_in_cube(self, x: Tensor, context: Context) -> Tensor:
        """The same of pixels [R, C] in cube coordinates, and in these, each in the middle of its
        level; the context as for `transform`."""
        average = self._averages(_levels(x), _levels(context.values), context).T
        return _with_fraction(average, torch.full_like(average, 0.5)).T

    def _level_log_prob(
        self, level: Tensor, params: Tensor, factors: Tensor, units: Measured,
        channels: int | None = None,
    ) -> Tensor:  # fmt: skip
        level = level.T.to(params.dtype)
        params = self._shifted(params, factors, level, units)
        found = level_log_prob(level.long(), params, units, self._tables(level.dtype))
        return found[:channels].sum(0)

    def excess(self, level: Tensor, around: Context) -> Tensor:
        """How much less likely than the medians bytes are, in one evaluation.

        Args:
            level: As for `level_log_prob`.
            around: As for `level_log_prob`.

        Returns:
            In nats, all channels together, [R].
        """
        given = self._given(around, own=level)
        half = given[0].new_full(level.shape, 0.5)
        every = torch.ones(len(level), dtype=torch.bool, device=level.device)
        return self._draw_levels(half, every, half, *given)[1] - self._level_log_prob(level, *given)

    def draw_levels(
        self, level: Tensor, free: Tensor, u: Tensor | None, around: Context
    ) -> tuple[Tensor, Tensor]:
        """Draw the bytes of some sites, with the log-probability of all, in one evaluation.

        Args:
            level: As for `level_log_prob`; of those to be drawn, the averages where `averages` says
                so, and anything otherwise.
            free: Which are to be drawn, [R].
            u: Uniform numbers, [R, C]; none: means, rounded.
            around: As for `level_log_prob`.

        Returns:
            Bytes [R, C], and log-probabilities in nats [R].
        """
        average = None
        if self.averages:
            level = level.to(self.network.first.weight.dtype)
            average = torch.where(free[:, None], level, self.averages_of(level, around))
        return self._draw_levels(level, free, u, *self._given(around, average=average))

    def _draw_levels(
        self, level: Tensor, free: Tensor, u: Tensor | None, given: Tensor, factors: Tensor,
        units: Measured,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        level, tables = level.T.to(given.dtype).clone(), self._tables(given.dtype)
        d = None if u is None else torch.where(u <= 0.5, u, u - 1).T[:, free]
        drawn = of_some(units, (slice(None), free))
        own_params, own_factors = given[..., free], factors[..., free]
        found = drawn.centre[:0]
        for channel in range(self.channels):
            of = self._of_channel(channel, own_params, own_factors, found, drawn)
            if d is None:
                new = mean_levels(*of[:2]).round()
            else:
                new = find_level(d[channel, None].contiguous(), *of).to(level.dtype)
            found = torch.cat((found, new))
        level[:, free] = found
        params = self._shifted(given, factors, level, units)
        return level.T, level_log_prob(level.long(), params, units, tables).sum(0)

    def denoised(self, level: Tensor, noise: float, around: Context) -> Tensor:
        """Means of bytes, given measurements of them with Gaussian errors: channel by channel, of
        p(x) exp(−(x − measured)²/2σ²), rounded.

        Args:
            level: What was measured, [R, C].
            noise: The standard error σ, in grey levels.
            around: As for `level_log_prob`.

        Returns:
            Bytes [R, C].
        """
        given, factors, units = self._given(around, own=level)
        measured = level.T.to(given.dtype)
        found = measured[:0]
        reach = min(math.ceil(3 * noise), LEVELS - 1)
        apart = torch.arange(-reach, reach + 1, device=level.device)[:, None].to(given.dtype)
        count = len(apart)
        for channel in range(self.channels):
            params, of, table = self._of_channel(channel, given, factors, found, units)
            every: Measured = type(of)(*(unit.repeat(1, count) for unit in of))
            levels = measured[channel] + apart  # [levels, R]
            place = levels.clamp(0, LEVELS - 1).long().view(1, -1)
            log_p = level_log_prob(place, params.repeat(1, 1, count), every, table).view_as(levels)
            log_p = log_p - apart**2 / (2 * noise**2)
            log_p = log_p.masked_fill((levels < 0) | (levels >= LEVELS), -torch.inf)
            mean = (log_p.softmax(0) * levels).sum(0, keepdim=True).round()
            found = torch.cat((found, mean))
        return found.T

    def places(self, level: Tensor, around: Context) -> Tensor:
        """Where in their distributions the bytes of some sites lie, from which `draw_levels` would
        draw them: the middles of their shares of the unit interval.

        Args:
            level: As for `level_log_prob`.
            around: As for `level_log_prob`.

        Returns:
            Cube coordinates (`rgflow.priors`), [R, C].
        """
        params, factors, units = self._given(around, own=level)
        level = level.T.to(params.dtype)
        params = self._shifted(params, factors, level, units)
        u = (level + 0.5) / LEVELS
        place = find_place(torch.where(u <= 0.5, u, u - 1), self._tables(level.dtype))
        return mixture_forward(place, params, units)[0].T

    def _given(
        self, around: Context, own: Tensor | None = None, average: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Measured]:
        """Unshifted parameters, slopes of the means and units, given the context in whole
        numbers."""
        dtype = self.network.first.weight.dtype
        like = around.values.new_empty(len(around.values), self.channels, dtype=dtype)
        return self._params(around, like, around.values.to(dtype), own, average)

    def _params(
        self,
        context: Context | None,
        like: Tensor,
        level: Tensor | None = None,
        own: Tensor | None = None,
        average: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Measured]:
        """As `_given`, from a context, in the dtype of `like`; `level` holds the levels of the
        context, if they are known. Where `averages` says so, the pixels [R, C] that cells write
        have to be given, or their averages."""
        if context is not None and level is None:
            level = _levels(context.values)
        if self.averages and average is None:
            assert own is not None
            assert level is not None
            assert context is not None
            average = self._averages(own.to(like.dtype), level, context)
        units, seen = self._seen(context, like, level, average)
        params, factors = _split(self.network(seen).to(like.dtype), self.channels, self.components)
        if self.near:
            assert level is not None
            assert context is not None
            params = self._anchored(params, level, context.missing, units)
        return params, factors, units

    def _anchored(
        self, params: Tensor, level: Tensor, missing: Tensor | None, units: Measured
    ) -> Tensor:
        """Parameters whose last components begin as narrow ones at the values of the nearest sites;
        those of missing sites have no share."""
        near, free = list(self.near), (0, 0, self.components - len(self.near), 0)
        values = level.T.unflatten(0, (-1, self.channels))[near].transpose(0, 1)  # [C, k, R]
        means = (values + 0.5 - units.centre[:, None]) / units.unit[:, None]
        start = start_means(self.components, means)[-len(near) :, None]
        absent = torch.zeros_like(means)
        if missing is not None:
            absent = absent.masked_fill(missing.T[near], ABSENT)
        begin = torch.stack((absent, means - start, torch.full_like(means, NARROW)), 1)
        return params + F.pad(begin, free).flatten(1, 2)

    def probabilities(
        self, context: Context, before: Tensor, average: Tensor | None = None
    ) -> Tensor:
        """Probabilities of all 256 levels of the next channel, as a coder needs them, [R, 256].

        Args:
            context: Of the cells.
            before: Levels of the channels before it, [R, c].
            average: Of their squares, [R, C], where `averages` says so.
        """
        like = context.values.new_empty(len(before), self.channels)
        params, factors, units = self._params(context, like, average=average)
        channel = before.shape[1]
        before = before.T.to(like.dtype)
        params, of, tables = self._of_channel(channel, params, factors, before, units)
        level = torch.arange(LEVELS, device=like.device).repeat_interleave(len(like))[None]
        every: Measured = type(of)(*(unit.repeat(1, LEVELS) for unit in of))
        found = level_log_prob(level, params.repeat(1, 1, LEVELS), every, tables).exp()
        if isinstance(every, Bounded):
            found = found.masked_fill((level < every.low) | (level > every.high), 0)
        return found.view(LEVELS, -1).T

    def _of_channel(
        self, channel: int, params: Tensor, factors: Tensor, before: Tensor, units: Measured
    ) -> tuple[Tensor, Measured, Tables]:
        """What the functions of mixtures need of one channel, given the levels of those before it
        [channel, R]."""
        first, one = slice(channel + 1), slice(channel, channel + 1)
        params = self._shifted(params[first], factors, before, of_some(units, first))[one]
        tables = self._tables(params.dtype)
        return params, of_some(units, one), Tables(*(table[one] for table in tables))

    def _shifted(self, params: Tensor, factors: Tensor, known: Tensor, units: Measured) -> Tensor:
        """Parameters of the first channels, given the levels [C, R] of all but the last of them:
        these shift the means, and weigh the shares if channels choose a component together."""
        before = len(params) - 1
        if not before:
            return params
        known, earlier, pairs = known[:before], of_some(units, slice(before)), 0
        x = (known - earlier.centre) / earlier.unit
        shares, means, scales = params.chunk(3, 1)
        shifts = [torch.zeros_like(means[0])]
        for channel in range(1, len(params)):
            of = factors[pairs : pairs + channel]
            pairs += channel
            shifts.append((of * x[:channel, None]).sum(0))
        means = means + torch.stack(shifts)
        if self.joint:
            given = torch.cat((shares, means, scales), 1)[:before]
            found = component_log_prob(known, given, earlier)
            shares = shares + F.pad(found.cumsum(0), (0, 0, 0, 0, 1, 0))
        return torch.cat((shares, means, scales), 1)

    def _tables(self, dtype: torch.dtype) -> Tables:
        return Tables(*(table.to(dtype) for table in (self.share, self.below, self.above)))

    def _seen(
        self, context: Context | None, like: Tensor, level: Tensor | None, average: Tensor | None
    ) -> tuple[Measured, Tensor]:
        """Units of every site, each [C, R], and the network's input, [R, .]."""
        shape = self.channels, len(like)
        if context is None or level is None or not level.shape[1]:
            none = Units(like.new_full(shape, LEVELS / 2), like.new_full(shape, LEVELS / 4))
            if context is None or not context.embedding.shape[1]:
                return none, like.new_ones(len(like), 1)
            return none, context.embedding
        seen, mean, spread = _of_window(level, context.missing, self.channels)
        units: Measured = Units(mean, spread.expand(shape))
        if self.square:
            rest, low, high = self._left_open(level, context, average)
            units = Bounded(rest, spread.expand(shape), low, high)
            seen = torch.cat((seen, ((rest - mean) / spread).T), 1)
        if context.embedding.shape[1]:
            seen = torch.cat((seen, context.embedding), 1)
        return units, seen

    def _known(self, level: Tensor, context: Context) -> tuple[Tensor, Tensor | int]:
        """Of the known pixels of squares the sum [C, R], and how many there are, [R]."""
        assert self.square
        known = list(self.square.known)
        total = level.T.unflatten(0, (-1, self.channels))[known].sum(0)
        if context.missing is None:
            return total, len(known)
        return total, (~context.missing.T[known]).to(level.dtype).sum(0)

    def _averages(self, pixel: Tensor, level: Tensor, context: Context) -> Tensor:
        """The averages of squares whose last pixels are these, [R, C]; derivatives are those of the
        other pixels' share."""
        total, count = self._known(level, context)
        n = count + 1
        exact = (pixel.T.detach() + total + n // 2) / n
        average = exact.detach().floor()
        return (average + (exact - exact.detach()) if derivatives_wanted(level) else average).T

    def _left_open(
        self, level: Tensor, context: Context, average: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the averages of squares and their known pixels leave open: the mean of the pixels
        still to come, and the lowest and highest level, each [C, R]."""
        assert self.square
        total, count = self._known(level, context)
        n: Tensor | int = count + 1
        if self.square.average is not None:
            average = level.T.unflatten(0, (-1, self.channels))[self.square.average].T
            n = 4
            if isinstance(count, Tensor):  # where a pixel is missing, an edge cuts the square
                n = torch.where(count < len(self.square.known), 2, 4).to(level.dtype)
        assert average is not None
        least, left = n * average.T - n // 2 - total, n - count
        low = (least - (LEVELS - 1) * (left - 1)).clamp(0, LEVELS - 1)
        high = torch.maximum((least + n - 1).clamp(0, LEVELS - 1), low)
        return (least + (n - 1) / 2) / left, low, high


def _with_fraction(level: Tensor, d: Tensor) -> Tensor:
    """Cube coordinates of pixels of these levels, and with these fractions, given in cube
    coordinates, both [C, R]."""
    # Less than 1, even next to numbers that have fewer digits left for it.
    most = 1 - LEVELS / 4 * torch.finfo(d.dtype).eps
    low, high = (
        torch.where(d > 0, a, b).clamp(MIN_PIXEL, most) for a, b in ((d, 1 + d), (1 - d, -d))
    )
    return torch.where(level < LEVELS // 2, level + low, level + 1 - LEVELS - high) / LEVELS


def _of_window(
    level: Tensor, missing: Tensor | None, channels: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The network's input [R, .], the mean [C, R] and the spread [1, R] of windows with these
    levels [R, S·C].

    Rows are last in memory, as they come from images by slices.
    """
    level = level.T.unflatten(0, (-1, channels))  # [S, C, R]
    if missing is None:
        count: Tensor | int = len(level)
        mean = level.sum(0) / count
        rest = level - mean
    else:
        there = (~missing).T.to(level.dtype)[:, None]
        count = there.sum(0).clamp(min=1)
        mean = (level * there).sum(0) / count
        rest = (level - mean) * there
    variance = rest.square().sum((0, 1)) / (channels * count)
    spread = (variance + MIN_SPREAD_LEVELS**2).sqrt().view(1, -1)
    parts = [
        (rest / spread).flatten(0, 1),
        (mean - LEVELS / 2) / (LEVELS / 2),
        (spread / LEVELS).log(),
    ]
    if missing is not None:
        parts.append(missing.T.to(level.dtype))
    return torch.cat(parts).T, mean, spread


def _split(out: Tensor, channels: int, components: int) -> tuple[Tensor, Tensor]:
    """Unshifted parameters [C, 3K, R], and slopes of the means in earlier channels, [C·(C−1)/2, K,
    R]."""
    params, factors = out.T.contiguous().tensor_split([3 * channels * components])
    rows = len(out)
    return params.reshape(channels, -1, rows), factors.reshape(-1, components, rows)


def _levels(d: Tensor) -> Tensor:
    """Levels of pixels in cube coordinates, whole numbers with the derivative of pixels."""
    x = LEVELS * d
    level = x.detach().floor()
    level = level - LEVELS * (level / LEVELS).floor()  # faster than `torch.where`
    return level + (x - x.detach()) if derivatives_wanted(d) else level
