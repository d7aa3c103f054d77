"""What the ovals of MSDS images are like, and what those of an image have in common: the spread of
colours and of angles.

In MSDS1 the ovals of an image have similar colours and any angles, in MSDS2 it's the other way
round. That RG-Flow has learned so is what the paper shows by its samples in Fig. B2 (Appendix B);
these are numbers for it. Samples have no labels, so a network reads their ovals.

Letters in shapes: N images; (i, j) column and row of an oval in 0..3.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from rgflow.metrics import reader
from rgflow.metrics.reader import PER_OVAL, OvalReader
from rgflow.text import mean_and_error

TILE = 8
"""Edge of an oval's tile."""
ACROSS = 4
"""Ovals in a row, and in a column."""
GREY, SCALE = 127.5, 74.0
"""Mean and standard deviation of a colour that is uniform in 0..255."""
JITTER = (2 / 3) ** 0.5
"""Standard deviation of −1, 0 and 1."""


class Reader(OvalReader):
    """The network of the package, with what its read-out says of ovals.

    Example:
        >>> load_reader().read(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).shape
        torch.Size([2, 4, 4, 6])
    """

    def standardised(self, images: Tensor) -> Tensor:
        """What is read in units of about its standard deviation, [N, 4 (i), 4 (j), 7].

        The last axis is red, green, blue, √2 cos 2θ, √2 sin 2θ (the same after 180°, as an oval
        is), and by how much x and y are off the tile's usual place.
        """
        features = self(images).unflatten(1, (PER_OVAL, ACROSS, ACROSS))
        return self.read_out(features).permute(0, 3, 2, 1)

    @torch.no_grad()
    def read(self, images: Tensor) -> Tensor:
        """What the ovals of images are like, [N, 4 (i), 4 (j), 6], as the labels of MSDS have it.

        The last axis is x and y of the tile's top left corner in pixels, the angle in degrees in
        [0, 180), and red, green and blue in grey levels. Nothing is rounded.
        """
        found = self.standardised(images)
        place = found[..., 5:] * JITTER + corners(found)
        angle = torch.rad2deg(torch.atan2(found[..., 4], found[..., 3])) / 2 % 180
        return torch.cat([place, angle[..., None], found[..., :3] * SCALE + GREY], -1)


def corners(like: Tensor) -> Tensor:
    """x and y of the tiles' usual top left corners, [4 (i), 4 (j), 2]."""
    at = TILE * torch.arange(ACROSS, dtype=like.dtype, device=like.device)
    return torch.stack(torch.meshgrid(at, at, indexing="ij"), -1)


def load_reader() -> Reader:
    """The network with the weights that are shipped, in float32 and evaluation mode."""
    found = Reader()
    found.load_state_dict(reader.load_reader().state_dict())
    return found.requires_grad_(False).eval()


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
            `Reader.read` finds.

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


def spreads_read(images: Tensor) -> Spreads:
    """The spreads of the ovals that a network reads in uint8 images [N, 3, 32, 32]."""
    network = load_reader()
    return spreads(torch.cat([network.read(batch) for batch in images.split(64)]))
