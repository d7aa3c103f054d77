"""Images made softer and noisier, as the samples of flows are."""

import torch
from torch import Tensor
from torch.nn import functional as F

BLUR, NOISE = 0.5, 8.0
"""Largest share of the blurred image, and largest standard deviation of the noise."""


def roughened(images: Tensor, generator: torch.Generator | None) -> Tensor:
    """The first half of images [N, C, H, W] with some blur and some noise, the others as they are:
    real images must be read as well as can be."""
    half = len(images) // 2
    share, sigma = (torch.rand(half, 1, 1, 1, generator=generator) for _ in range(2))
    some = images[:half]
    some = some + BLUR * share * (F.avg_pool2d(some, 3, 1, 1) - some)
    some = some + NOISE * sigma * torch.randn(some.shape, generator=generator)
    return torch.cat([some.clamp(0, 255), images[half:]])
