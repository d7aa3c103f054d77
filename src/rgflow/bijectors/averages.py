"""Averages of squares of four pixels, and back: whole numbers to whole numbers, as in lossless
wavelets (Calderbank et al. 1998, "Wavelet transforms that map integers to integers").

With the levels a, x_1, x_2, x_3 of a square, 0 to 255, a at the site that goes up, and differences
d_i = x_i − a, of −128 to 127 modulo 256,

    s   = a + ⌊(d_1 + d_2 + d_3 + 2)/4⌋ modulo 256,
    e_i = s + d_i where |d_i| is at most t, the distance of s from the nearer end of 0 to 255.

So s is the rounded average where no difference is beyond that range, and the e_i are the
differences, centred on s so that they are grey levels too. Beyond t, differences of either sign
take turns from there to the other end (2|d_i|, less 1 where d_i < 0, counted from the end that is
nearer to s), as black and white are frequent in images, and close differences stay close so. The
e_i and s give the d_i; the way back is a = s − ⌊(d_1 + d_2 + d_3 + 2)/4⌋ and x_i = a + d_i.

Letters in shapes: R squares; C channels.
"""

from typing import Literal

import torch
from torch import Tensor

from rgflow.bijectors.base import Bijector, Context, Domain, Mapped, MapSpec
from rgflow.bijectors.pixels import LEVELS, MIN_PIXEL
from rgflow.numerics import derivatives_wanted

Sign = Literal[1, -1]
"""1 towards the averages, −1 back."""


class Averages(Bijector):
    """Each channel of a square to its average and three differences; what cells of the map
    `averages` (`rgflow.cells`) do.

    Of a dequantised pixel the whole part is mapped, and the fraction stays with its site; bytes are
    mapped to bytes. So the log-determinant is 0. Derivatives are as if levels were real numbers:
    those of the same formulas without rounding, whose determinant is 1 as well.

    Args:
        spec: Of the cells, which write four sites, first that which goes up.

    Example:
        >>> square = torch.tensor([[100.5, 101.5, 104.5, 106.5]]) / 256
        >>> y, log_det = Averages(MapSpec(channels=1, sites=4)).forward(square)
        >>> (256 * y).tolist(), log_det.tolist()
        ([[103.5, 104.5, 107.5, 109.5]], [0.0])
    """

    domain: Domain = "cube"
    codomain: Domain = "cube"
    staircase = True

    def __init__(self, spec: MapSpec) -> None:
        super().__init__((spec.dim,))
        self.channels = spec.channels

    def transform(self, x: Tensor, context: Context | None = None) -> Mapped:
        return self._map(x, 1)

    def invert(self, y: Tensor, context: Context | None = None) -> Mapped:
        return self._map(y, -1)

    def _map(self, x: Tensor, sign: Sign) -> Mapped:
        if not x.is_floating_point():  # bytes
            levels = map_levels(x.view(len(x), 4, -1).short(), sign)
            return levels.to(x).view_as(x), x.new_zeros(len(x))
        y = _map_cube(x.detach().view(len(x), 4, -1), sign).view_as(x)
        if derivatives_wanted(x):
            first, rest = x.view(len(x), 4, -1).split((1, 3), 1)
            moved = first + sign * (rest - first).sum(1, keepdim=True) / 4
            smooth = torch.cat((moved, moved + rest - first), 1).view_as(x)
            y = y + (smooth - smooth.detach())
        return y, x.new_zeros(len(x))


def map_levels(levels: Tensor, sign: Sign) -> Tensor:
    """Whole numbers 0 to 255 of squares, [R, 4, C], to averages and differences, or back; as many.

    Example:
        >>> white_on_black = torch.tensor([0, 255, 0, 255]).view(1, 4, 1)
        >>> there = map_levels(white_on_black, 1)
        >>> torch.equal(map_levels(there, -1), white_on_black)
        True
    """
    first, rest = levels[:, :1], levels[:, 1:]
    if sign > 0:
        apart = (rest - first + LEVELS // 2) % LEVELS - LEVELS // 2
    else:
        apart = _unfolded(first, rest)
    rise = (apart.sum(1, keepdim=True) + 2).div(4, rounding_mode="floor")
    moved = (first + sign * rise) % LEVELS
    return torch.cat((moved, _folded(moved, apart) if sign > 0 else (moved + apart) % LEVELS), 1)


def _folded(average: Tensor, apart: Tensor) -> Tensor:
    """Differences −128 to 127 as levels around an average."""
    low = average < LEVELS // 2
    end = torch.where(low, average, LEVELS - 1 - average)
    near = end + torch.where(low, apart, -apart)
    far = 2 * apart.abs() - (apart < 0).to(apart.dtype)
    level = torch.where(apart.abs() <= end, near, far)
    return torch.where(low, level, LEVELS - 1 - level)


def _unfolded(average: Tensor, level: Tensor) -> Tensor:
    """The differences of `_folded`."""
    low = average < LEVELS // 2
    end = torch.where(low, average, LEVELS - 1 - average)
    level = torch.where(low, level, LEVELS - 1 - level)
    near = torch.where(low, level - end, end - level)
    half = (level + 1).div(2, rounding_mode="floor")
    far = torch.where(level % 2 > 0, -half, half)
    return torch.where(level <= 2 * end, near, far)


def _map_cube(d: Tensor, sign: Sign) -> Tensor:
    """The same of cube coordinates, whose fractions of a level stay."""
    x = LEVELS * d
    level = x.floor()
    # Less than 1, even next to numbers that have fewer digits left for it.
    rest = (x - level).clamp(max=1 - LEVELS / 4 * torch.finfo(d.dtype).eps)
    level = map_levels(level % LEVELS, sign)
    near = level < LEVELS // 2
    return torch.where(near, (level + rest).clamp(min=MIN_PIXEL), level - LEVELS + rest) / LEVELS
