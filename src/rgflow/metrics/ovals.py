"""What the ovals of MSDS images have in common: the spread of colours and of angles in an image.

In MSDS1 the ovals of an image have similar colours and any angles, in MSDS2 it's the other way
round. That RG-Flow has learned so is what the paper shows by its samples in Fig. B2 (Appendix B);
these are numbers for it. Samples have no labels, so a network reads their ovals.

Letters in shapes: N images; (i, j) column and row of an oval in 0..3.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rgflow.text import mean_and_error


@dataclass(frozen=True, kw_only=True)
class Spreads:
    """How different the ovals of an image are, averaged over images.

    It is presumed that there are ovals: the colours of a black image don't differ either.

    Attributes:
        images: Number of images N.
        colour: Standard deviation of the colours of the 16 ovals of an image, in grey levels, the
            mean over the channels.
        colour_error: Standard error of its mean over the images; NaN of a single one.
        angle: Circular standard deviation of their angles, which are the same after 180°, in
            degrees.
        angle_error: Standard error of its mean over the images; NaN of a single one.
    """

    images: int
    colour: float
    colour_error: float
    angle: float
    angle_error: float


def spreads(ovals: Tensor) -> Spreads:
    """The spread of the colours and of the angles of an image's ovals (paper, Fig. B2).

    With R = |mean of exp 2iθ|, the circular standard deviation of axes is √(−2 ln R)/2 (Mardia and
    Jupp 2000, section 2.3). It's that of 16 ovals: of angles that are uniform over 180° it is about
    52°, and would grow without bound with the number of ovals.

    Args:
        ovals: What the ovals are like, [N, 4 (i), 4 (j), 6]: the labels of MSDS, or what
            `rgflow.metrics.reader.OvalReader.read` finds.

    Raises:
        ValueError: If there are no images, or the shape is another.

    Example:
        >>> ovals = torch.zeros(1, 4, 4, 6)
        >>> ovals[0, :2, :, 3:] = 100  # half of the ovals are grey, the others black
        >>> ovals[0, ..., 2] = torch.tensor([0.0, 180.0, 20.0, 20.0])
        >>> found = spreads(ovals)
        >>> round(found.colour, 1), round(found.angle, 1)
        (51.6, 10.1)
    """
    if ovals.ndim != 4 or ovals.shape[1:] != (4, 4, 6) or not len(ovals):
        raise ValueError(
            f"Expected the ovals of at least one image, [N, 4, 4, 6]; got {list(ovals.shape)}."
        )
    each = ovals.double().flatten(1, 2)
    colour = each[..., 3:].std(1).mean(1)
    twice = torch.deg2rad(2 * each[..., 2])
    length = torch.hypot(twice.cos().mean(1), twice.sin().mean(1)).clamp(max=1)
    angle = torch.rad2deg((-2 * length.log()).sqrt() / 2)
    mean_colour, colour_error = mean_and_error(colour.tolist())
    mean_angle, angle_error = mean_and_error(angle.tolist())
    return Spreads(
        images=len(ovals),
        colour=mean_colour,
        colour_error=colour_error,
        angle=mean_angle,
        angle_error=angle_error,
    )


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
        mixed: The ovals of N mixtures, [N, 4 (i), 4 (j), 6], as for `spreads`.
        first: Those of the first image of each.
        second: Those of the second.

    Example:
        >>> a, b = 100 * torch.rand(2, 50, 4, 4, 6)
        >>> found = inherited(torch.cat((b[..., :3], a[..., 3:]), -1), a, b)
        >>> for name in ("colour", "angle"):
        ...     print(name, round(abs(found[name].first), 6), round(abs(found[name].second), 6))
        colour 1.0 0.0
        angle 0.0 1.0
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
