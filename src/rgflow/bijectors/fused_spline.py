"""The spline of `unit_spline` as one function forward and one backward, for training.

Both are written bin by bin on planes [R, d], so that a compiler makes a single loop of each: it
reads the parameters once, keeps everything else in registers, and writes the result once. The
backward pass recomputes what it needs from the input. Values and gradients equal those of the plain
functions to rounding; derivatives of higher order, or in forward mode, need the plain ones.

Letters in shapes: R rows; d variables; K bins. Other letters are those of `unit_spline`.
"""

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rgflow.bijectors.unit_spline import MIN_BIN, UNIFORM_SHARE, _joined

Planes = list[Tensor]


class _Bin(NamedTuple):
    """The bin that holds an input, as seen from the nearer edge; each [R, d]."""

    width: Tensor
    start: Tensor
    """Value at the near end."""
    end: Tensor
    """Value at the far end."""
    before: Tensor
    """Widths before the bin."""
    below: Tensor
    """Areas before the bin."""
    beyond: Tensor
    """Areas behind the bin."""
    total: Tensor
    """All areas, T."""
    begun: Planes
    """For all bins but the first, whether it begins before the input."""


def forward_kernel(d: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
    """Cube coordinates d [R, d] by unconstrained parameters [R, 2K+1, d]: the result and the
    log-derivatives, as `spline_forward(d, make_spline(params, K))` gives them."""
    widths, knots = _planes(d, params)
    held = _find(d.abs(), _softmax(widths), _exponentials(knots))
    scale = (1 - UNIFORM_SHARE) / held.total
    x = d.abs() - held.before
    value = held.start + (held.end - held.start) * x / held.width
    near = scale * (held.below + x * (held.start + value) / 2) + UNIFORM_SHARE * d.abs()
    rest = (held.width - x) * (value + held.end) / 2
    far = scale * (held.beyond + rest) + UNIFORM_SHARE * (1 - d.abs())
    return _joined(d, near, far), (scale * value + UNIFORM_SHARE).log()


def backward_kernel(d: Tensor, params: Tensor, gy: Tensor, gl: Tensor) -> tuple[Tensor, ...]:
    """Gradients of d and of each plane of the parameters, from those of the result and of the
    log-derivatives; all [R, d].

    Args:
        d: What was mapped, [R, d].
        params: The parameters, [R, planes, d].
        gy: The gradient of the result, [R, d].
        gl: The gradient of the log-derivatives, [R, d].
    """
    widths, knots = _planes(d, params)
    shares, values = _softmax(widths), _exponentials(knots)
    held = _find(d.abs(), shares, values)
    scale = (1 - UNIFORM_SHARE) / held.total
    x = d.abs() - held.before
    xi, climb = x / held.width, held.end - held.start
    value = held.start + climb * xi
    # Of the area up to the input, of the value there, of T, and of where the bin begins. The far
    # distance is 1 minus the near one, so either way `side * gy` is the gradient of the latter.
    side = torch.where(d > 0, 1.0, -1.0).to(d.dtype)
    garea = side * gy * scale
    gvalue = gl * scale / (scale * value + UNIFORM_SHARE)
    area = held.below + x * (held.start + value) / 2
    gtotal = -(garea * area + gvalue * value) / held.total
    gplace = garea * value + gvalue * climb / held.width
    gwidth = -climb * xi * (garea * xi / 2 + gvalue / held.width)
    gstart = garea * x * (1 - xi / 2) + gvalue * (1 - xi)
    gend = garea * x * xi / 2 + gvalue * xi
    gwidths, gknots = _spread(shares, values, held.begun, garea, gtotal, gplace)
    here = _here(held.begun)
    for k, at in enumerate(here):
        gwidths[k] = gwidths[k] + torch.where(at, gwidth, 0.0)
        gknots[k] = gknots[k] + torch.where(at, gstart, 0.0)
        gknots[k + 1] = gknots[k + 1] + torch.where(at, gend, 0.0)
    planes = (
        _softmax_backward(shares, gwidths),
        [g * v for g, v in zip(gknots, values, strict=True)],
    )
    left = d > 0
    mirrored = [
        torch.where(left, p, q).to(params.dtype)
        for group in planes
        for p, q in zip(group, group[::-1], strict=True)
    ]
    return gplace * side + UNIFORM_SHARE * gy, *mirrored


def _planes(d: Tensor, params: Tensor) -> tuple[Planes, Planes]:
    """The planes of widths and knots, as seen from the edge nearer to d."""
    bins, left = (params.shape[1] - 1) // 2, d > 0
    planes = [p.to(d.dtype) for p in params.unbind(1)]
    widths, knots = (
        [torch.where(left, p, q) for p, q in zip(group, group[::-1], strict=True)]
        for group in (planes[:bins], planes[bins:])
    )
    return widths, knots


def _exponentials(planes: Planes) -> Planes:
    """The exponential function of planes, scaled so that the largest is 1."""
    highest = planes[0]
    for plane in planes[1:]:
        highest = torch.maximum(highest, plane)
    return [(plane - highest).exp() for plane in planes]


def _softmax(planes: Planes) -> Planes:
    exponentials = _exponentials(planes)
    inverse = 1 / _sum(exponentials)
    return [exponential * inverse for exponential in exponentials]


def _sum(planes: Planes) -> Tensor:
    total = planes[0]
    for plane in planes[1:]:
        total = total + plane
    return total


def _find(r: Tensor, shares: Planes, values: Planes) -> _Bin:
    """The bin that holds r, from the softmax of the widths and the values at the knots."""
    most = 1 - len(shares) * MIN_BIN
    x = total = before = below = beyond = torch.zeros_like(r)
    width, start, end = r, values[0], values[1]
    begun: Planes = []
    for k, share in enumerate(shares):
        w = share * most + MIN_BIN
        area = w * (values[k] + values[k + 1]) / 2
        if k == 0:
            width = w
        else:
            here = r >= x
            begun.append(here)
            width = torch.where(here, w, width)
            start = torch.where(here, values[k], start)
            end = torch.where(here, values[k + 1], end)
            before, below = torch.where(here, x, before), torch.where(here, total, below)
            beyond = torch.where(here, 0.0, beyond + area)
        x, total = x + w, total + area
    return _Bin(width, start, end, before, below, beyond, total, begun)


def _here(begun: Planes) -> Planes:
    """For every bin, whether it holds the input."""
    return [~begun[0], *(a & ~b for a, b in pairwise(begun)), begun[-1]]


def _spread(
    shares: Planes, values: Planes, begun: Planes, garea: Tensor, gtotal: Tensor, gplace: Tensor
) -> tuple[Planes, Planes]:
    """Gradients for each bin's width and area: through the total T, the area before the input, and
    the left edge of its bin.

    Returns:
        Gradients of the K widths and of the K + 1 values at the knots.
    """
    most = 1 - len(shares) * MIN_BIN
    gwidths: Planes = []
    gknots = [torch.zeros_like(gtotal)]
    for k, share in enumerate(shares):
        w = share * most + MIN_BIN
        gwhole, gedge = gtotal, torch.zeros_like(gtotal)
        if k < len(begun):
            gwhole = torch.where(begun[k], gtotal + garea, gtotal)
            gedge = torch.where(begun[k], gplace, 0.0)
        gwidths.append(gwhole * (values[k] + values[k + 1]) / 2 - gedge)
        gknots[k] = gknots[k] + gwhole * w / 2
        gknots.append(gwhole * w / 2)
    return gwidths, gknots


def _softmax_backward(shares: Planes, gradients: Planes) -> Planes:
    """Gradients of the softmax's inputs, from those of the widths."""
    mean = _sum([g * share for g, share in zip(gradients, shares, strict=True)])
    most = 1 - len(shares) * MIN_BIN
    return [most * s * (g - mean) for g, s in zip(gradients, shares, strict=True)]


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
        """Run the forward kernel; only its inputs are kept. Arguments as for `forward_kernel`."""
        ctx.save_for_backward(d, params)
        ctx.backward_kernel = kernels.backward
        return kernels.forward(_dynamic(d), _dynamic(params))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gy: Tensor, gl: Tensor) -> tuple[Tensor, Tensor, None]:
        """Run the backward kernel, with arguments as for `backward_kernel`."""
        inputs = (*ctx.saved_tensors, gy.contiguous(), gl.contiguous())
        gd, *planes = ctx.backward_kernel(*map(_dynamic, inputs))
        return gd, torch.stack(planes, 1), None


def _dynamic(x: Tensor) -> Tensor:
    """Tell the compiler that the number of rows varies."""
    torch._dynamo.maybe_mark_dynamic(x, 0)
    return x
