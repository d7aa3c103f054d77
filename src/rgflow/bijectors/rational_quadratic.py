"""Monotonic rational-quadratic splines (Durkan et al. 2019, arXiv:1906.04032) on planes.

A parameter is a plane of all variables, so what is done bin by bin runs over memory in order; value
and slope come from one search, in either direction. Parameters mean what they mean in zuko.

Letters in shapes: K bins; n variables.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from rgflow.bijectors.base import Mapped

BOUND = 5.0
"""Splines map [−B, B] to itself, and are the identity outside."""
STEEPEST = math.log(1000)
"""Slopes at knots are within a factor exp of this of 1; bins are bounded likewise."""


def rational_quadratic(x: Tensor, params: Tensor, *, inverse: bool = False) -> Mapped:
    """Map variables by a spline each.

    Args:
        x: [n].
        params: Unconstrained widths [K], heights [K] and slopes [K − 1], [3K − 1, n].
        inverse: Whether to apply the inverses of the splines.

    Returns:
        The images [n], and the logarithms of the slopes of what was applied [n].

    Example:
        >>> x, params = torch.linspace(-6, 6, 5), torch.randn(11, 5)
        >>> y, log_slope = rational_quadratic(x, params)
        >>> back, log_inverse = rational_quadratic(y, params, inverse=True)
        >>> torch.allclose(back, x, atol=1e-4), torch.allclose(log_inverse, -log_slope, atol=1e-4)
        (True, True)
    """
    bins = (len(params) + 1) // 3
    widths, heights, slopes = params.split((bins, bins, bins - 1))
    widths, heights = (_squashed(part, 2).softmax(0) for part in (widths, heights))
    slopes = F.pad(_squashed(slopes, 1), (0, 0, 1, 1)).exp()
    right, above = widths.cumsum(0), heights.cumsum(0)
    u = (x / BOUND + 1) / 2  # the spline in units of its bounds
    edges = (above if inverse else right)[:-1]
    k = (u.detach() >= edges.detach()).sum(0)
    planes = torch.stack(
        (widths, right - widths, heights, above - heights, slopes[:-1], slopes[1:])
    )
    width, left, height, below, d0, d1 = planes.gather(1, k.expand(6, 1, -1))[:, 0]
    inside = (u > 0) & (u < 1)
    s = height / width
    bend = d0 + d1 - 2 * s
    if inverse:
        rise = torch.where(inside, u - below, height / 2)
        a, b = height * (s - d0) + rise * bend, height * d0 - rise * bend
        xi = 2 * s * rise / (b + (b.square() + 4 * a * s * rise).sqrt())
    else:
        xi = torch.where(inside, u - left, width / 2) / width
    between = xi * (1 - xi)
    steep = s + bend * between
    slope = 2 * s * between + d0 * (1 - xi).square() + d1 * xi.square()
    log_slope = torch.where(inside, 2 * (s / steep).log() + slope.log(), 0.0)
    if inverse:
        return torch.where(inside, BOUND * (2 * (left + xi * width) - 1), x), -log_slope
    y = below + height * (s * xi.square() + d0 * between) / steep
    return torch.where(inside, BOUND * (2 * y - 1), x), log_slope


def _squashed(params: Tensor, share: int) -> Tensor:
    """Within ± the largest logarithm of a slope, or half of it."""
    return params / (1 + (share / STEEPEST * params).abs())
