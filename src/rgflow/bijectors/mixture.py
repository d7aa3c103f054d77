"""Mixtures of logistic distributions over the levels of pixels, as maps of the unit interval.

A variable u of the unit interval stands for a pixel through the marginal distribution (`Marginal`):
level k, one of 256 values, is the stretch of u between β_k and β_(k+1), of length p_k. With
x_k = (k − centre)/unit and components of shares π_j, means μ_j and scales s_j, all of them from
a network,

    F_k = Σ_j π_j σ((x_k − μ_j)/s_j),    F_0 = 0,    F_256 = 1,    P_k = F_(k+1) − F_k,

and with f in [0, 1] for the place of u within its level,

    y     = (1 − ε) (F_k + f P_k) + ε u,
    1 − y = (1 − ε) (1 − F_(k+1) + (1 − f) P_k) + ε (1 − u),
    slope = (1 − ε) P_k / p_k + ε.

So the density is the discretised mixture of logistics of Salimans et al. 2017 ("PixelCNN++",
section 2.1), with a small share ε of the marginal distribution, uniform within every level: what
dequantisation adds costs nothing, and a network learns a value by regression, as one number μ. Both
lines for y are computed, so that it is precise at both ends (`rgflow.priors`).

Where only some levels are possible (`Bounded`), the distribution is this one,
truncated to them: what lies below, within and above a level counts from the lowest to the highest,
divided by the probability of all of these.

Letters in shapes: G groups of variables of one channel; n values of each; K components.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from rgflow.bijectors.pixels import LEVELS, Place, Tables

MARGINAL_SHARE = 1e-6
"""Share ε of the marginal distribution, which is the smallest slope: it bounds how much precision
can be lost, whatever the network says. It is also how often a variable of a sample is drawn without
regard to the others, so it has to be small beside one over the number of variables."""
MIN_SCALE = 0.1
"""Smallest scale of a component, in grey levels: such a distribution lies within one level."""
SCALE = 0.25
"""Scale of all components where the network says nothing, in units of x."""
SPREAD = 1.0
"""The means of the components are spread from −1 to 1 where the network says nothing."""
SEARCH_BITS = ((8, 1 << 4), (4, 1 << 8), (2, 1 << 10))
"""Bits that `find_level` finds at a time, and the maximum number of variables for it: with few,
starting an operation costs more than its arithmetic."""
MAX_LOG_SCALE = 5.0
"""Largest log of a component's scale, in units of `SCALE`: whatever the network says, scales are at
most 37 units of x and don't overflow."""
OUTER_EDGE = 1e6
"""Outer edges of the lowest and highest grey level, in units of x: far out, so that they include
the tails."""


class Units(NamedTuple):
    """How x is measured: x_k = (k − centre)/unit; each [G, 1]."""

    centre: Tensor
    unit: Tensor


class Bounded(NamedTuple):
    """The same, and between which levels each variable lies; each [G, n]."""

    centre: Tensor
    unit: Tensor
    low: Tensor
    """The lowest possible level."""
    high: Tensor
    """The highest."""


Measured = Units | Bounded


def of_some(units: Measured, which: Any) -> Measured:
    """Those of some groups and variables, by an index of all."""
    return type(units)(*(part[which] for part in units))


class Components(NamedTuple):
    """Parameters of every component and variable, each [K, G, n]."""

    share: Tensor
    mean: Tensor
    sharp: Tensor
    """One over the scale."""


def mixture_forward(place: Place, params: Tensor, units: Measured) -> tuple[Tensor, Tensor]:
    """Map variables, given as places.

    Args:
        place: Of the variables, each of its tensors [G, n].
        params: Unconstrained parameters [G, 3K, n].
        units: Of each group.

    Returns:
        The results in cube coordinates, and log-derivatives; both [G, n]. The latter are constant
        within a level; their gradient in the place is as if k were a real number, so that it leads
        to the likelier level.
    """
    params = params.to(place.share.dtype)
    components = _components(params, units)
    below, here, above = _around(place.level, components, units)
    from_0, from_1 = _within(place.from_0, place.from_1, units)
    low = (1 - MARGINAL_SHARE) * (below + place.low * here) + MARGINAL_SHARE * from_0
    high = (1 - MARGINAL_SHARE) * (above + place.high * here) + MARGINAL_SHARE * from_1
    slope = (1 - MARGINAL_SHARE) * here / place.share + MARGINAL_SHARE
    log_slope = slope.log()
    if place.low.requires_grad:
        with torch.no_grad():
            rise = (1 - MARGINAL_SHARE) * _rise(place.level, params, units) / (place.share * slope)
        log_slope = log_slope + rise * (place.low - place.low.detach())
    if isinstance(units, Bounded):
        whole = _possible(components, units)
        low, high, log_slope = low / whole, high / whole, log_slope - whole.log()
    return cube(low, high), log_slope


def mixture_inverse(
    d: Tensor, level: Tensor, params: Tensor, units: Measured, tables: Tables
) -> tuple[Tensor, Tensor, Tensor]:
    """The inverse of `mixture_forward`, of results whose levels are known.

    Args:
        d: Results, in cube coordinates [G, n].
        level: What `find_level` says of them.
        params: As there.
        units: As there.
        tables: Of each group.

    Returns:
        Cube coordinates, log-derivatives of the inverse, and how far into their levels the former
        lie; each [G, n].
    """
    share, before, after = (table.gather(1, level) for table in tables)
    components = _components(params.to(d.dtype), units)
    below, here, above = _around(level, components, units)
    height = (1 - MARGINAL_SHARE) * here + MARGINAL_SHARE * share
    log_slope = torch.log(share / height)
    if isinstance(units, Bounded):
        whole = _possible(components, units)
        d, log_slope = d * whole, log_slope + whole.log()
    least, most = _within(before, after, units)
    low = (d - (1 - MARGINAL_SHARE) * below - MARGINAL_SHARE * least) / height
    high = (-d - (1 - MARGINAL_SHARE) * above - MARGINAL_SHARE * most) / height
    low = torch.where(d > 0, low, 1 - high).clamp(0, 1)
    high = torch.where(d > 0, 1 - low, high).clamp(0, 1)
    return cube(before + share * low, after + share * high), log_slope, low


def find_level(d: Tensor, params: Tensor, units: Measured, tables: Tables) -> Tensor:
    """Levels that map to these results; those of uniform results are draws from the mixtures.

    A search digit by digit: each is the highest with which a level begins before d. For few
    variables, larger digits take fewer operations.

    Args:
        d: Results, in cube coordinates [G, n].
        params: Unconstrained parameters [G, 3K, n].
        units: Of each group.
        tables: Of each group, [G, 256] each.

    Returns:
        Levels, whole numbers [G, n].
    """
    components = _components(params.to(d.dtype), units)
    near, level, left = d > 0, torch.zeros_like(d, dtype=torch.long), 8
    if isinstance(units, Bounded):
        d, level = d * _possible(components, units), units.low.long()
        left = int((units.high - units.low).max()).bit_length() if level.numel() else 0
    # Measured from the end at which d is small.
    sign = torch.where(near, 1.0, -1.0).to(d.dtype)
    bits = next((bits for bits, most in SEARCH_BITS if d.numel() <= most), 1)
    while left:
        digit = min(bits, left)
        left -= digit
        steps = torch.arange(1, 1 << digit, device=d.device)[:, None] << left
        begin = level[:, None] + steps
        edge = _edge(begin, near[:, None], sign[:, None], components, units, tables)
        level = level + ((edge <= d[:, None]).sum(1) << left)
    return level


def level_log_prob(level: Tensor, params: Tensor, units: Measured, tables: Tables) -> Tensor:
    """Log-probabilities of levels.

    Args:
        level: Levels [G, n].
        params: Unconstrained parameters [G, 3K, n].
        units: Of each group.
        tables: Of each group, [G, 256] each.

    Returns:
        In nats, [G, n].
    """
    components = _components(params, units)
    here = _mass(*_outer(level, units), components).sum(0)
    log_p = torch.log((1 - MARGINAL_SHARE) * here + MARGINAL_SHARE * tables.share.gather(1, level))
    return log_p - _possible(components, units).log() if isinstance(units, Bounded) else log_p


def start_means(n: int, like: Tensor) -> Tensor:
    """Means of n components where the network says nothing, [n], in the format of a tensor."""
    spread = SPREAD if n > 1 else 0.0
    return torch.linspace(-spread, spread, n, dtype=like.dtype, device=like.device)


def component_log_prob(level: Tensor, params: Tensor, units: Measured) -> Tensor:
    """Log-probabilities of levels by each component alone, at least ln ε, [G, K, n].

    Args:
        level: Levels, real numbers [G, n].
        params: Unconstrained parameters [G, 3K, n].
        units: Of each group.
    """
    components = _components(params, units)._replace(share=params.new_ones(()))
    here = _mass(*_outer(level, units), components)
    return torch.log(here + MARGINAL_SHARE).transpose(0, 1)


def mean_levels(params: Tensor, units: Measured) -> Tensor:
    """Means of the levels, real numbers [G, n]; arguments as for `level_log_prob`.

    They are those of the mixtures before these are cut into levels, less ½, which differ by what
    whole numbers add to integrals of components narrower than their step: less than ½.
    """
    if isinstance(units, Units):
        ends = torch.zeros_like(params[:, 0]), torch.full_like(params[:, 0], LEVELS - 1)
        units = Bounded(units.centre, units.unit, *ends)
    components = share, mean, sharp = _components(params, units)
    a, b = (units.low - units.centre) / units.unit, (units.high + 1 - units.centre) / units.unit
    # ∫(x − μ)/s dσ = z σ(z) − softplus(z), z = (x − μ)/s, from the side on which σ is small.
    za, zb = (a - mean) * sharp, (b - mean) * sharp
    side = torch.copysign(za.new_ones(()), -(za + zb))
    at_a, at_b = (z * torch.sigmoid(z) - F.softplus(z) for z in (side * za, side * zb))
    moment = (share * (at_b - at_a) / sharp + mean * _mass(a, b, components)).sum(0)
    start, end = _ends(units)
    below, above = _mass(start, a, components).sum(0), _mass(b, end, components).sum(0)
    moment = moment + below * (a + 0.5 / units.unit) + above * (b - 0.5 / units.unit)
    uniform = MARGINAL_SHARE * (units.high + 1 - units.low) / LEVELS
    found = (1 - MARGINAL_SHARE) * moment + uniform * (a + b) / 2
    found = found / _possible(components, units)
    return (found * units.unit + units.centre - 0.5).clamp(units.low, units.high)


def _mass(start: Tensor, end: Tensor, components: Components) -> Tensor:
    """Probability of every component between two places x, [K, G, n], measured from the side on
    which it is small, so that it is precise."""
    share, mean, sharp = components
    a, b = (start - mean) * sharp, (end - mean) * sharp
    side = torch.copysign(a.new_ones(()), -(a + b).detach())
    return share * side * (torch.sigmoid(side * b) - torch.sigmoid(side * a))


def _outer(level: Tensor, units: Measured) -> tuple[Tensor, Tensor]:
    """Where levels begin and end, in units of x; the tails belong to 0 and 255."""
    start, end = (level - units.centre) / units.unit, (level + 1 - units.centre) / units.unit
    return start.where(level > 0, -OUTER_EDGE), end.where(level < LEVELS - 1, OUTER_EDGE)


def _within(from_0: Tensor, from_1: Tensor, units: Measured) -> tuple[Tensor, Tensor]:
    """Distances from the ends of the unit interval as those from the ends of the part that is
    possible."""
    if not isinstance(units, Bounded):
        return from_0, from_1
    return from_0 - units.low / LEVELS, from_1 - (LEVELS - 1 - units.high) / LEVELS


def _possible(components: Components, units: Bounded) -> Tensor:
    """Probability of all possible levels, before truncation, [G, n]."""
    start, end = _ends(units)
    mass = _mass(start, end, components).sum(0)
    uniform = (units.high + 1 - units.low) / LEVELS
    return (1 - MARGINAL_SHARE) * mass + MARGINAL_SHARE * uniform


def _ends(units: Bounded) -> tuple[Tensor, Tensor]:
    """Where the possible levels begin and end, in units of x; the tails belong to 0 and 255."""
    start, end = ((k - units.centre) / units.unit for k in (units.low, units.high + 1))
    return start.where(units.low > 0, -OUTER_EDGE), end.where(units.high < LEVELS - 1, OUTER_EDGE)


def _components(params: Tensor, units: Measured) -> Components:
    """Unconstrained parameters [G, 3K, n] as components."""
    shares, means, scales = params.transpose(0, 1).chunk(3)
    start = start_means(len(means), means)
    scale = MIN_SCALE / units.unit + SCALE * torch.exp(scales.clamp(max=MAX_LOG_SCALE))
    return Components(shares.softmax(0), means + start[:, None, None], 1 / scale)


def _around(
    level: Tensor, components: Components, units: Measured
) -> tuple[Tensor, Tensor, Tensor]:
    """F_k, P_k and 1 − F_(k+1) of levels k, each [G, n], from the lowest to the highest level that
    is possible."""
    share, mean, sharp = components
    start = (level - units.centre) / units.unit
    end = (level + 1 - units.centre) / units.unit
    a, b = (start - mean) * sharp, (end - mean) * sharp
    # Both from the side on which they are small, so that their difference is precise.
    left = a + b < 0
    side = torch.where(left, 1.0, -1.0).to(a.dtype)
    a = torch.where(level == 0, -torch.inf, a)
    b = torch.where(level == LEVELS - 1, torch.inf, b)
    at_start, at_end = torch.sigmoid(side * a), torch.sigmoid(side * b)
    here = share * side * (at_end - at_start)
    if isinstance(units, Bounded):
        first, last = _ends(units)
        below = _mass(first, start.where(level > 0, -OUTER_EDGE), components)
        above = _mass(end.where(level < LEVELS - 1, OUTER_EDGE), last, components)
        return below.sum(0), here.sum(0), above.sum(0)
    below = share * torch.where(left, at_start, 1 - at_start)
    above = share * torch.where(left, 1 - at_end, at_end)
    return below.sum(0), here.sum(0), above.sum(0)


def _rise(level: Tensor, params: Tensor, units: Measured) -> Tensor:
    """The derivative of P_k in k, [G, n]."""
    share, mean, sharp = _components(params, units)
    sharp = sharp / units.unit
    rise = torch.zeros_like(params[:, 0])
    for k, sign in ((level, -1.0), (level + 1, 1.0)):
        inside = (k > 0) & (k < LEVELS)
        at = torch.sigmoid((k - units.centre - mean * units.unit) * sharp)
        rise = rise + torch.where(inside, sign * (share * sharp * at * (1 - at)).sum(0), 0.0)
    return rise


def _edge(
    level: Tensor,
    near: Tensor,
    sign: Tensor,
    components: Components,
    units: Measured,
    tables: Tables,
) -> Tensor:
    """Lower edges of t levels (1 to 255) of every variable, [G, t, n]: y for variables near 0, y −
    1 for the others; `near` and their sign are [G, 1, n]."""
    share, mean, sharp = (part[:, :, None] for part in components)
    of: Measured = type(units)(*(part[:, None] for part in units))
    start = (level - of.centre) / of.unit
    at = level.flatten(1).clamp(max=LEVELS - 1)
    before, after = (
        table.gather(1, place).view_as(start)
        for table, place in ((tables.below, at), (tables.above, at - 1))
    )
    if isinstance(of, Bounded):
        first, last = _ends(of)
        begin, end = torch.where(near, first, start), torch.where(near, start, last)
        mass = _mass(begin, end, Components(share, mean, sharp)).sum(0)
        before, after = _within(before, after, of)
    else:
        mass = (share * torch.sigmoid(sign * ((start - mean) * sharp))).sum(0)
    edge = sign * ((1 - MARGINAL_SHARE) * mass + MARGINAL_SHARE * torch.where(near, before, after))
    if isinstance(of, Units):
        return edge
    return edge.masked_fill(level > of.high, torch.inf)


def cube(from_0: Tensor, from_1: Tensor) -> Tensor:
    """Cube coordinates of points at these distances from both ends, all of the same shape, [G, n];
    distances that underflow become the smallest number, so that the side is never lost."""
    tiny = torch.finfo(from_0.dtype).tiny
    return torch.where(from_0 <= from_1, from_0.clamp(min=tiny), -from_1.clamp(min=tiny))


@cache
def compiled_mixture() -> Callable[[Place, Tensor, Units], tuple[Tensor, Tensor]]:
    """The same as `mixture_forward`, compiled at its first call."""
    return torch.compile(mixture_forward)
