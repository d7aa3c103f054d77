"""The spline of `unit_spline` as one function forward and one backward, for training.

Both are written bin by bin on planes [R, d], so that a compiler makes a single loop of each: it
reads the parameters once, keeps everything else in registers, and writes the result once. The
backward pass recomputes what it needs from the input. Values and gradients equal those of the plain
functions to rounding; derivatives of higher order, or in forward mode, need the plain ones.

Letters in shapes: R rows; d variables; K bins.
"""

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rgflow.bijectors.unit_spline import LOG_MAX_SLOPE, MIN_BIN, MIXED, _joined, _rational

Planes = list[Tensor]


class _Bin(NamedTuple):
    """The bin that holds an input, as seen from the nearer edge; each [R, d]."""

    width: Tensor
    height: Tensor
    near: Tensor
    """Unbounded derivative at the near end."""
    far: Tensor
    before: Tensor
    """Widths before the bin."""
    below: Tensor
    """Heights before the bin."""
    beyond: Tensor
    """Heights behind the bin."""
    begun: list[Tensor]
    """For all bins but the first, whether it begins before the input."""


def forward_kernel(d: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
    """Cube coordinates d [R, d] by unconstrained parameters [R, 3K+1, d]: the result and the
    log-derivatives, as `spline_forward(d, *spline_parameters(params, K))` gives them."""
    widths, heights, slopes = _planes(d, params)
    held = _find(d.abs(), _softmax(widths), _softmax(heights), slopes)
    near, far = _bounded(held.near)[0], _bounded(held.far)[0]
    xi = (d.abs() - held.before) / held.width
    share, rest, log_slope = _rational(xi, held.height / held.width, near, far)
    y = _joined(d, held.below + held.height * share, held.beyond + held.height * rest)
    return y, log_slope


def backward_kernel(d: Tensor, params: Tensor, gy: Tensor, gl: Tensor) -> tuple[Tensor, ...]:
    """From the gradients of the result and of the log-derivatives to that of d, and of each plane
    of the parameters, all [R, d]."""
    widths, heights, slopes = _planes(d, params)
    a, b = _softmax(widths), _softmax(heights)
    held = _find(d.abs(), a, b, slopes)
    xi = (d.abs() - held.before) / held.width
    grad = _bin_gradients(d, held.width, held.height, held.near, held.far, xi, gy, gl)
    planes = [
        _softmax_backward(a, held.begun, grad.a_at, grad.a_before),
        _softmax_backward(b, held.begun, grad.b_at, grad.b_before),
        _slopes_backward(held.begun, grad.near, grad.far),
    ]
    left = d > 0
    mirrored = [
        torch.where(left, p, q).to(params.dtype)
        for group in planes
        for p, q in zip(group, group[::-1], strict=True)
    ]
    return grad.d, *mirrored


class _BinGradients(NamedTuple):
    """What a gradient comes to at the bin that holds the input; each [R, d]."""

    d: Tensor
    """Of the input."""
    a_at: Tensor
    """Of the bin's share of the widths, before mixing and the smallest share."""
    a_before: Tensor
    """Of that of every bin before it."""
    b_at: Tensor
    """Of the bin's share of the heights."""
    b_before: Tensor
    near: Tensor
    """Of the unbounded derivatives at the two ends of the bin."""
    far: Tensor


def _bin_gradients(
    d: Tensor,
    width: Tensor,
    height: Tensor,
    near: Tensor,
    far: Tensor,
    xi: Tensor,
    gy: Tensor,
    gl: Tensor,
) -> _BinGradients:
    """Back from the gradients of the result and of the log-derivative to the bin.

    Args:
        d: Cube coordinates.
        width: Width of the bin that holds the input, as seen from the nearer edge.
        height: Its height.
        near: Unbounded derivative at its near end.
        far: Unbounded derivative at its far end.
        xi: The place in the bin, ξ.
        gy: Gradient of the result.
        gl: Gradient of the log-derivative.
    """
    (near, dnear), (far, dfar) = _bounded(near), _bounded(far)
    s, rest, tilt = height / width, 1 - xi, 1 - 2 * xi
    product = xi * rest
    curve = 1 - 2 * product
    bend = near + far - 2 * s
    inverse = 1 / (s + bend * product)
    share = (s * xi**2 + near * product) * inverse
    number = far * xi**2 + 2 * s * product + near * rest**2
    inumber = 1 / number
    side = torch.where(d > 0, 1.0, -1.0).to(d.dtype)
    # The far distance is 1 minus the near one, so either way this is the gradient of the latter.
    g = side * gy
    gh = g * height
    gxi = gh * s * number * inverse**2
    gxi = gxi + 2 * gl * ((far * xi + s * tilt - near * rest) * inumber - bend * tilt * inverse)
    gs = gh * (xi**2 - share * curve) * inverse
    gs = gs + 2 * gl * (1 / s + product * inumber - curve * inverse)
    gnear = gh * product * (1 - share) * inverse
    gnear = gnear + gl * (rest**2 * inumber - 2 * product * inverse)
    gfar = gl * (xi**2 * inumber - 2 * product * inverse) - gh * product * share * inverse
    gbefore = -gxi / width
    gwidth, gheight = -(gs * s + gxi * xi) / width, g * share + gs / width
    return _BinGradients(
        -gbefore * side,
        _mixed(gwidth, gheight),
        _mixed(gbefore, g),
        _mixed(gheight, gwidth),
        _mixed(g, gbefore),
        gnear * dnear,
        gfar * dfar,
    )


def _planes(d: Tensor, params: Tensor) -> tuple[Planes, Planes, Planes]:
    """The planes of widths, heights and slopes, as seen from the edge nearer to d."""
    bins, left = (params.shape[1] - 1) // 3, d > 0
    planes = [p.to(d.dtype) for p in params.unbind(1)]
    groups = planes[:bins], planes[bins : 2 * bins], planes[2 * bins :]
    widths, heights, slopes = (
        [torch.where(left, p, q) for p, q in zip(group, group[::-1], strict=True)]
        for group in groups
    )
    return widths, heights, slopes


def _softmax(planes: Planes) -> Planes:
    highest = planes[0]
    for plane in planes[1:]:
        highest = torch.maximum(highest, plane)
    exponentials = [(plane - highest).exp() for plane in planes]
    total = exponentials[0]
    for exponential in exponentials[1:]:
        total = total + exponential
    inverse = 1 / total
    return [exponential * inverse for exponential in exponentials]


def _find(r: Tensor, a: Planes, b: Planes, slopes: Planes) -> _Bin:
    """The bin that holds r, from the softmaxes of widths and heights."""
    most = 1 - len(a) * MIN_BIN
    x = y = before = below = beyond = torch.zeros_like(r)
    width = height = r
    near, far = slopes[0], slopes[1]
    begun: list[Tensor] = []
    for k, (p, q) in enumerate(zip(a, b, strict=True)):
        p, q = p * most + MIN_BIN, q * most + MIN_BIN
        w, h = p + MIXED * (q - p), q - MIXED * (q - p)
        if k == 0:
            width, height = w, h
        else:
            here = r >= x
            begun.append(here)
            width, height = torch.where(here, w, width), torch.where(here, h, height)
            near, far = torch.where(here, slopes[k], near), torch.where(here, slopes[k + 1], far)
            before, below = torch.where(here, x, before), torch.where(here, y, below)
            beyond = torch.where(here, 0.0, beyond + h)
        x, y = x + w, y + h
    return _Bin(width, height, near, far, before, below, beyond, begun)


def _bounded(slope: Tensor) -> tuple[Tensor, Tensor]:
    """A derivative at a knot from its unbounded parameter, and the derivative of that map."""
    inverse = 1 / (1 + slope.abs() / LOG_MAX_SLOPE)
    bounded = (slope * inverse).exp()
    return bounded, bounded * inverse**2


def _mixed(mine: Tensor, other: Tensor) -> Tensor:
    """Back through the mixing of widths and heights."""
    return (1 - MIXED) * mine + MIXED * other


def _softmax_backward(shares: Planes, begun: Planes, at: Tensor, before: Tensor) -> Planes:
    """The gradient of a softmax's inputs, if that of its outputs is `at` for the bin that holds the
    input, `before` for those before it, and 0 behind."""
    gradients = []
    for k in range(len(shares)):
        gradient = torch.where(begun[k], before, at) if k < len(begun) else at
        gradients.append(torch.where(begun[k - 1], gradient, 0.0) if k else gradient)
    mean = gradients[0] * shares[0]
    for gradient, share in zip(gradients[1:], shares[1:], strict=True):
        mean = mean + gradient * share
    most = 1 - len(shares) * MIN_BIN
    return [most * s * (g - mean) for g, s in zip(gradients, shares, strict=True)]


def _slopes_backward(begun: Planes, near: Tensor, far: Tensor) -> Planes:
    """The gradient of the K + 1 slopes, of which only those at the two ends of the bin matter."""
    bins = len(begun) + 1
    here = [~begun[0], *(a & ~b for a, b in pairwise(begun)), begun[-1]]
    between = [
        torch.where(here[k], near, torch.where(here[k - 1], far, 0.0)) for k in range(1, bins)
    ]
    return [torch.where(here[0], near, 0.0), *between, torch.where(here[-1], far, 0.0)]


class Kernels(NamedTuple):
    """How a spline is computed while training."""

    forward: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    """(d, params) → the result and the log-derivatives."""
    backward: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, ...]]
    """(d, params, gradients of both results) → gradients of d and of every plane of params."""


PLAIN_KERNELS = Kernels(forward_kernel, backward_kernel)
"""Uncompiled, which is slower than the plain functions: to check the compiled ones against."""


@cache
def compiled_kernels() -> Kernels:
    """One loop forward and one backward, compiled for any number of rows at their first call."""
    return Kernels(torch.compile(forward_kernel), torch.compile(backward_kernel))


class FusedSpline(torch.autograd.Function):
    """`FusedSpline.apply(d, params, kernels)`: the result and the log-derivatives."""

    @staticmethod
    def forward(ctx: Any, d: Tensor, params: Tensor, kernels: Kernels) -> tuple[Tensor, Tensor]:
        """Run the forward kernel; only its inputs are kept."""
        ctx.save_for_backward(d, params)
        ctx.backward_kernel = kernels.backward
        return kernels.forward(_dynamic(d), _dynamic(params))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gy: Tensor, gl: Tensor) -> tuple[Tensor, Tensor, None]:
        """Run the backward kernel."""
        inputs = (*ctx.saved_tensors, gy.contiguous(), gl.contiguous())
        gd, *planes = ctx.backward_kernel(*map(_dynamic, inputs))
        return gd, torch.stack(planes, 1), None


def _dynamic(x: Tensor) -> Tensor:
    """Tell the compiler that the number of rows varies."""
    torch._dynamo.maybe_mark_dynamic(x, 0)
    return x
