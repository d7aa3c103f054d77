"""A small network that reads the ovals of MSDS1 and MSDS2: colours, angles, places.

FD-MSDS is the Fréchet distance of its features. Its read-out says what the samples of a flow show,
which have no labels. The weights are shipped with the package and frozen; how they were
trained is in `experiments/msds_features`.

Letters in shapes: N images; (i, j) column and row of an oval in 0..3; F = 128 features.
"""

import hashlib
from functools import cache
from importlib.resources import files

import torch
from safetensors.torch import load
from torch import Tensor, nn

TILE = 8
"""Edge of an oval's tile."""
ACROSS = 4
"""Ovals in a row, and in a column."""
PER_OVAL = 8
"""Features of every oval."""
GREY, SCALE = 127.5, 74.0
"""Mean and standard deviation of a colour that is uniform in 0..255."""
JITTER = (2 / 3) ** 0.5
"""Standard deviation of −1, 0 and 1."""
WEIGHTS = "ovals.safetensors"


class OvalReader(nn.Module):
    """From images to 8 features per oval, and by a linear map on to what the oval is like.

    Every feature is in units of its standard deviation over images of both sets.

    Example:
        >>> reader = load_reader()
        >>> x8 = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
        >>> reader(x8).shape, reader.read(x8).shape
        (torch.Size([2, 128]), torch.Size([2, 4, 4, 6]))
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


def _shipped() -> bytes:
    return (files("rgflow.metrics") / "weights" / WEIGHTS).read_bytes()


@cache
def weights_hash() -> str:
    """The SHA-256 of the shipped weights, in hexadecimal digits."""
    return hashlib.sha256(_shipped()).hexdigest()


def load_reader() -> OvalReader:
    """The network with the weights that are shipped, in float32 and evaluation mode."""
    reader = OvalReader()
    reader.load_state_dict(load(_shipped()))
    return reader.requires_grad_(False).eval()
