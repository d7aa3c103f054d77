"""What the ovals of MSDS images are like, and what those of an image have in common: the spread of
colours and of angles.

In MSDS1 the ovals of an image have similar colours and any angles, in MSDS2 it's the other way
round. That RG-Flow has learned so is what the paper shows by its samples in Fig. B2 (Appendix B);
these are numbers for it. Samples have no labels, so a network reads their ovals.

Letters in shapes: N images; F = 128 features; (i, j) column and row of an oval in 0..3.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from rgflow.metrics.frechet import Features
from rgflow.text import mean_and_error

WEIGHTS = Path(__file__).parents[1] / "msds_features" / "ovals.safetensors"
"""What `experiments/msds_features/train.py` has learned."""
PER_OVAL = 8
"""Features of every oval."""
TILE = 8
"""Edge of an oval's tile."""
ACROSS = 4
"""Ovals in a row, and in a column."""
GREY, SCALE = 127.5, 74.0
"""Mean and standard deviation of a colour that is uniform in 0..255."""
JITTER = (2 / 3) ** 0.5
"""Standard deviation of −1, 0 and 1."""


class Reader(nn.Module):
    """From images to 8 features per oval, from which `read_out` tells what the oval is like.

    Every feature is in units of its standard deviation over images of both sets.

    Example:
        >>> load_reader().read(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).shape
        torch.Size([2, 4, 4, 6])
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 24, 4, 2, 1),
            nn.SiLU(),
            nn.Conv2d(24, 24, 3, 1, 1),
            nn.SiLU(),
            nn.Conv2d(24, 48, 4, 2, 1),
            nn.SiLU(),
            nn.Conv2d(48, 96, 4, 2, 1),
            nn.SiLU(),
            nn.Conv2d(96, 96, 1),
            nn.SiLU(),
            nn.Conv2d(96, PER_OVAL, 1),
            nn.SiLU(),
            nn.BatchNorm2d(PER_OVAL, affine=False),
        )
        self.read_out = nn.Conv2d(PER_OVAL, 7, 1)

    def forward(self, images: Tensor) -> Tensor:
        """The features [N, F] of images [N, 3, 32, 32], uint8 or reals in [0, 256).

        Raises:
            ValueError: If the images have another size.
        """
        if images.ndim != 4 or images.shape[1:] != (3, 32, 32):
            raise ValueError(
                f"Expected images as those of MSDS, [N, 3, 32, 32]; got {list(images.shape)}."
            )
        return self.trunk(images.float() / 255).flatten(1)

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
    """The network with its weights, in float32 and evaluation mode."""
    found = Reader()
    found.load_state_dict(load_file(WEIGHTS))
    return found.requires_grad_(False).eval()


def oval_features(device: torch.device | str = "cpu") -> Features:
    """Those by which the network reads ovals; their Fréchet distance is called FD-MSDS.

    It knows colours, angles and places of ovals, and how they go together; of images that aren't of
    MSDS it says nothing.
    """
    reader = load_reader().to(device)
    return Features(
        name="MSDS",
        extract=lambda x8: reader(x8.to(device)),
        resizing="none, 32×32",
        weights=hashlib.sha256(WEIGHTS.read_bytes()).hexdigest(),
    )


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
