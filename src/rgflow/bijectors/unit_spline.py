"""Monotonic rational-quadratic splines of the unit interval onto itself, precise at both ends.

The spline of Durkan et al. (2019, eqs. 4–8) with K bins and all K + 1 knot derivatives free, in
cube coordinates (`rgflow.priors`): d = u for u ≤ ½ and d = u − 1 above. In a bin of width w, height
h, slope s = h/w and derivatives δ₀, δ₁ at its ends, with ξ in (0, 1) the place in the bin,

    y     = y_k         + h (s ξ²     + δ₀ ξ(1−ξ)) / (s + (δ₀ + δ₁ − 2s) ξ(1−ξ)),
    1 − y = 1 − y_(k+1) + h (s (1−ξ)² + δ₁ ξ(1−ξ)) / (the same).

Both lines together give y as a distance from either edge without subtracting nearly equal numbers.
As they mirror each other, everything is computed as seen from the edge nearer to the input
("near"); for an input above ½ the parameters are mirrored first.

Letters in shapes: R rows; d variables; K bins.
"""

import math

import torch
from torch import Tensor

MIN_BIN = 1e-3
"""Smallest share of a bin before mixing, so that none vanishes."""
MIXED = 0.1
"""Share of widths in the heights and the other way round. It bounds the slopes of bins and at knots
to 1/9 … 9, hence how much precision one coupling can cost, whatever the network says: with 99
instead, noise and photographs don't come back from a flow that has learned MSDS1 for 4 minutes."""
LOG_MAX_SLOPE = math.log(1 / MIXED - 1)


def spline_parameters(params: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """From unconstrained parameters [R, 3K+1, d] to a spline; zeros give the identity.

    Returns:
        Widths [R, K, d] and heights [R, K, d], each of sum 1, and derivatives [R, K+1, d].
    """
    widths, heights, slopes = params.split((bins, bins, bins + 1), 1)
    widths = torch.softmax(widths, 1) * (1 - bins * MIN_BIN) + MIN_BIN
    heights = torch.softmax(heights, 1) * (1 - bins * MIN_BIN) + MIN_BIN
    shift = MIXED * (heights - widths)
    bounded = slopes / (1 + slopes.abs() / LOG_MAX_SLOPE)
    return widths + shift, heights - shift, bounded.exp()


def spline_forward(
    d: Tensor, widths: Tensor, heights: Tensor, slopes: Tensor
) -> tuple[Tensor, Tensor]:
    """Map cube coordinates d [R, d]: the result, also in them, and log-derivatives [R, d]."""
    widths, heights, slopes = _from_nearer_edge(d, widths, heights, slopes)
    before, here, after = _find_bin(d.abs(), widths)
    w, h, near, far = _knots(here, widths, heights, slopes)
    xi = (d.abs() - _pick(before, widths)) / w
    share, rest, log_slope = _rational(xi, h / w, near, far)
    from_near = _pick(before, heights) + h * share
    from_far = _pick(after, heights) + h * rest
    return _joined(d, from_near, from_far), log_slope


def spline_inverse(
    d: Tensor, widths: Tensor, heights: Tensor, slopes: Tensor
) -> tuple[Tensor, Tensor]:
    """The inverse of `spline_forward`, with the log-derivatives of the inverse."""
    widths, heights, slopes = _from_nearer_edge(d, widths, heights, slopes)
    before, here, after = _find_bin(d.abs(), heights)
    w, h, near, far = _knots(here, widths, heights, slopes)
    s = h / w
    # The quadratic of Durkan et al., eq. 29, in the form whose root near 0 is exact.
    share = (d.abs() - _pick(before, heights)) / h
    bend = share * (near + far - 2 * s)
    b = near - bend
    discriminant = b**2 + 4 * (s - near + bend) * s * share
    xi = 2 * s * share / (b + discriminant.clamp(min=0).sqrt())
    _, _, log_slope = _rational(xi, s, near, far)
    from_near = _pick(before, widths) + w * xi
    from_far = _pick(after, widths) + w * (1 - xi)
    return _joined(d, from_near, from_far), -log_slope


def _from_nearer_edge(d: Tensor, *params: Tensor) -> tuple[Tensor, ...]:
    """Mirror the parameters [R, …, d] of those variables that lie above ½."""
    left = (d > 0)[:, None]
    return tuple(torch.where(left, p, p.flip(1)) for p in params)


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


def _knots(here: Tensor, widths: Tensor, heights: Tensor, slopes: Tensor) -> tuple[Tensor, ...]:
    """Width, height and derivatives at the near and the far end of the bin, each [R, d]."""
    return (
        _pick(here, widths),
        _pick(here, heights),
        _pick(here, slopes[:, :-1]),
        _pick(here, slopes[:, 1:]),
    )


def _rational(xi: Tensor, s: Tensor, near: Tensor, far: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Share of the bin's height before and after the result, and the log-derivative."""
    rest = 1 - xi
    product = xi * rest
    denominator = s + (near + far - 2 * s) * product
    slope = s**2 * (far * xi**2 + 2 * s * product + near * rest**2) / denominator**2
    return (
        (s * xi**2 + near * product) / denominator,
        (s * rest**2 + far * product) / denominator,
        slope.log(),
    )


def _joined(d: Tensor, from_near: Tensor, from_far: Tensor) -> Tensor:
    """Cube coordinates of a point at these distances from the edges, as `d` saw them.

    A distance that underflows is taken for the smallest number, so that the side is never lost.
    """
    tiny = torch.finfo(d.dtype).tiny
    from_near, from_far = from_near.clamp(min=tiny), from_far.clamp(min=tiny)
    side = torch.where(d > 0, 1.0, -1.0).to(d.dtype)
    return torch.where(from_near <= from_far, side * from_near, -side * from_far)
