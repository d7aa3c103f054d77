"""A small network that has learned to read the ovals of MSDS1 and MSDS2: colours, angles, places.

FD-MSDS is the Fréchet distance of its features. The weights are shipped with the package and
frozen; how they were trained is in `experiments/msds_features`.

Letters in shapes: N images; F = 128 features.
"""

import hashlib
from functools import cache
from importlib.resources import files

from safetensors.torch import load
from torch import Tensor, nn

PER_OVAL = 8
"""Features of every oval."""
WEIGHTS = "ovals.safetensors"


class OvalReader(nn.Module):
    """From images to 8 features per oval, from which `read_out` tells what the oval is like.

    Every feature is in units of its standard deviation over images of both sets.

    Example:
        >>> import torch
        >>> load_reader()(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).shape
        torch.Size([2, 128])
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
