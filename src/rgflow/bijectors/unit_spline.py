"""Monotonic quadratic splines of the unit interval onto itself, precise at both ends.

The derivative of such a map is a density on (0, 1): piecewise linear between K + 1 knots (Müller et
al. 2019, "Neural importance sampling", section 4.3), mixed with a small share ε of the uniform
density, so that no slope is below ε. Everything is in cube coordinates (`rgflow.priors`): d = u for
u ≤ ½ and d = u − 1 above. With widths w_j of the bins and values e_j at the knots, both positive,
areas A_j = w_j (e_j + e_(j+1))/2 of sum T, and ξ in (0, 1) the place in bin k,

    e(u)  = e_k + (e_(k+1) − e_k) ξ,
    slope = (1 − ε) e(u) / T + ε,
    y     = (1 − ε) (Σ_(j<k) A_j + w_k ξ (e_k + e(u))/2) / T + ε u,
    1 − y = (1 − ε) (Σ_(j>k) A_j + w_k (1−ξ) (e(u) + e_(k+1))/2) / T + ε (1 − u).

Both lines together give y as a distance from either edge without subtracting nearly equal numbers.
As they mirror each other, everything is computed as seen from the edge nearer to the input
("near"); for an input above ½ the parameters are mirrored first.

Letters in shapes: R rows; d variables; K bins.
"""

from typing import NamedTuple

import torch
from torch import Tensor

MIN_BIN = 1e-3
"""Smallest width of a bin, so that none vanishes."""
UNIFORM_SHARE = 0.02
"""Share ε of the uniform density, which is the smallest slope. It bounds how much precision one
coupling can cost, whatever the network says, while slopes can be as large as a sharp density needs:
only squeezing loses digits."""


class Spline(NamedTuple):
    """A spline for each of R·d variables."""

    widths: Tensor
    """Of the bins, [R, K, d], of sum 1."""
    knots: Tensor
    """Values e at the knots, [R, K+1, d], the largest of them 1."""


def make_spline(params: Tensor, bins: int) -> Spline:
    """From unconstrained parameters [R, 2K+1, d] to splines; zeros give the identity."""
    widths, knots = params.split((bins, bins + 1), 1)
    widths = torch.softmax(widths, 1) * (1 - bins * MIN_BIN) + MIN_BIN
    return Spline(widths, (knots - knots.amax(1, keepdim=True)).exp())


def spline_forward(d: Tensor, spline: Spline) -> tuple[Tensor, Tensor]:
    """Map cube coordinates d [R, d]: the result, also in them, and log-derivatives [R, d]."""
    widths, knots, areas, scale = _from_nearer_edge(d, spline)
    before, here, after = _find_bin(d.abs(), widths)
    width, start, end = _pick(here, widths), _pick(here, knots[:, :-1]), _pick(here, knots[:, 1:])
    xi = (d.abs() - _pick(before, widths)) / width
    value = start + (end - start) * xi
    below = _pick(before, areas) + width * xi * (start + value) / 2
    beyond = _pick(after, areas) + width * (1 - xi) * (value + end) / 2
    near = scale * below + UNIFORM_SHARE * d.abs()
    far = scale * beyond + UNIFORM_SHARE * (1 - d.abs())
    return _joined(d, near, far), (scale * value + UNIFORM_SHARE).log()


def spline_inverse(d: Tensor, spline: Spline) -> tuple[Tensor, Tensor]:
    """The inverse of `spline_forward`, with the log-derivatives of the inverse; both [R, d]."""
    widths, knots, areas, scale = _from_nearer_edge(d, spline)
    heights = scale[:, None] * areas + UNIFORM_SHARE * widths
    before, here, after = _find_bin(d.abs(), heights)
    width, start, end = _pick(here, widths), _pick(here, knots[:, :-1]), _pick(here, knots[:, 1:])
    # In the bin, y = c + b x + a x² with x the distance from its near end: the root that is exact
    # near 0. The discriminant is the square of the slope there.
    first, last = scale * start + UNIFORM_SHARE, scale * end + UNIFORM_SHARE
    rise = (d.abs() - _pick(before, heights)).clamp(min=0)
    slope = (first**2 + 2 * rise * (last - first) / width).clamp(min=UNIFORM_SHARE**2).sqrt()
    x = 2 * rise / (first + slope)
    return _joined(d, _pick(before, widths) + x, _pick(after, widths) + width - x), -slope.log()


def _from_nearer_edge(d: Tensor, spline: Spline) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Widths [R, K, d], knots [R, K+1, d], areas [R, K, d], and (1 − ε)/T [R, d], mirrored for
    those variables that lie above ½."""
    left = (d > 0)[:, None]
    widths, knots = (torch.where(left, p, p.flip(1)) for p in spline)
    areas = widths * (knots[:, :-1] + knots[:, 1:]) / 2
    return widths, knots, areas, (1 - UNIFORM_SHARE) / areas.sum(1)


def _find_bin(r: Tensor, edges: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where r in (0, ½], [R, d], lies among bins of these widths or heights, [R, K, d].

    Returns:
        Three masks [R, K, d] of numbers 0 and 1: bins before r, the bin that holds it, bins after.
    """
    passed = torch.cumsum(edges, 1)[:, :-1] <= r[:, None]
    before = torch.nn.functional.pad(passed, (0, 0, 0, 1))
    begun = torch.nn.functional.pad(passed, (0, 0, 1, 0), value=True)
    return before.to(r.dtype), (begun & ~before).to(r.dtype), (~begun).to(r.dtype)


def _pick(mask: Tensor, values: Tensor) -> Tensor:
    """The sum of the marked values: [R, K, d], [R, K, d] → [R, d]."""
    return (mask * values).sum(1)


def _joined(d: Tensor, from_near: Tensor, from_far: Tensor) -> Tensor:
    """Cube coordinates of a point at these distances from the edges, as `d` saw them.

    A distance that underflows is taken for the smallest number, so that the side is never lost.
    """
    tiny = torch.finfo(d.dtype).tiny
    from_near, from_far = from_near.clamp(min=tiny), from_far.clamp(min=tiny)
    side = torch.where(d > 0, 1.0, -1.0).to(d.dtype)
    return torch.where(from_near <= from_far, side * from_near, -side * from_far)
