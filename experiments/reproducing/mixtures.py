"""From which of two images of MSDS their mixtures have what, in numbers.

Letters in shapes: N images; (i, j) column and row of an oval in 0..3.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Inherited(NamedTuple):
    """How much of one factor mixed images have from each of two images: 0 nothing, 1 all."""

    first: float
    first_error: float
    """Standard error over the pairs."""
    second: float
    second_error: float


def inherited(mixed: Tensor, first: Tensor, second: Tensor) -> dict[str, Inherited]:
    """From which of two images the ovals of their mixture have what (paper, section 4.5).

    A factor of mixtures is fitted, by least squares over all pairs, with α times that of the first
    image and β times that of the second, each less its mean; mixtures that have it from neither
    come to 0 and 0. Factors are the mean colour of an image's ovals and their mean axis (the mean
    of exp 2iθ), by how much single ovals differ from both, and the places of ovals.

    Args:
        mixed: The ovals of N mixtures, [N, 4 (i), 4 (j), 6], as
            `reproducing.ovals.Reader.read` finds them.
        first: Those of the first image of each.
        second: Those of the second.

    Returns:
        By the name of the factor.
    """
    found = {}
    of = (_factors(ovals.double()) for ovals in (mixed, first, second))
    for (name, m), a, b in zip(next(of).items(), *(one.values() for one in of), strict=True):
        x = torch.stack([(x - x.mean(0)).flatten(1) for x in (a, b)])  # [2, N, …]
        y = (m - m.mean(0)).flatten(1)
        inverse = torch.linalg.inv(torch.einsum("inf,jnf->ij", x, x))
        shares = inverse @ torch.einsum("inf,nf->i", x, y)
        # By pairs, as what is left of one pair's ovals may be alike.
        left = torch.einsum("inf,nf->in", x, y - torch.einsum("i,inf->nf", shares, x))
        errors = (inverse @ (left @ left.T) @ inverse).diagonal().sqrt()
        (alpha, beta), (alpha_error, beta_error) = shares.tolist(), errors.tolist()
        found[name] = Inherited(alpha, alpha_error, beta, beta_error)
    return found


def _factors(ovals: Tensor) -> dict[str, Tensor]:
    """What `inherited` looks at, each [N, …]."""
    each = ovals.flatten(1, 2)
    twice = torch.deg2rad(2 * each[..., 2])
    axes, colours = torch.stack((twice.cos(), twice.sin()), 2), each[..., 3:]
    axis, colour = axes.mean(1, keepdim=True), colours.mean(1, keepdim=True)
    return {
        "base colour": colour,
        "base angle": axis,
        "colour": colours - colour,
        "angle": axes - axis,
        "place": each[..., :2],
    }
