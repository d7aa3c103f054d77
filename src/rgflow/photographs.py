"""Photographs of any size under a flow whose geometry takes them: windows with an open boundary.

The grid of such a flow is larger than the photograph where its edges aren't multiples of all steps
of the levels. What lies beyond is never read, so it doesn't matter what stands there, and it isn't
counted.

Letters in shapes: N images; C channels; H, W rows and columns of a photograph.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from rgflow.bijectors.pixels import LEVELS
from rgflow.flow import Flow


@dataclass(frozen=True, eq=False)
class Bits:
    """How many bits a flow takes for photographs.

    Attributes:
        levels: For every level, level 0 first, [N, levels].
        dim: Numbers of a photograph, C·H·W.
    """

    levels: Tensor
    dim: int

    @property
    def total(self) -> Tensor:
        """Of whole photographs, [N]."""
        return self.levels.sum(1)

    @property
    def per_dim(self) -> Tensor:
        """Bits per dimension, [N]."""
        return self.total / self.dim


def padded(flow: Flow, images: Tensor) -> Tensor:
    """Images [N, C, H, W] on the grid of a flow, the rest being 0.

    Raises:
        ValueError: If they are larger than the grid.
    """
    _, height, width = flow.image_shape
    down, along = height - images.shape[2], width - images.shape[3]
    if min(down, along) < 0:
        raise ValueError(
            f"Expected images of at most {height}×{width} pixels; got {images.shape[2]}×"
            f"{images.shape[3]}: use flow.resized for their size."
        )
    return F.pad(images, (0, along, 0, down))


@torch.no_grad()
def bits(flow: Flow, images: Tensor, seed: int = 0) -> Bits:
    """How many bits photographs take, with noise that dequantises them, as `Flow.bits_per_dim`.

    Args:
        flow: Of any size for which it can be resized.
        images: uint8 [N, C, H, W].
        seed: Of the noise.

    Raises:
        ValueError: If the flow can't take such images.

    Example:
        >>> from rgflow import FlowConfig, RGFlow, UniformPixels, WindowMap, Windows
        >>> kinds = {"geometry": Windows(boundary="open"), "map": WindowMap(hidden=8)}
        >>> flow = RGFlow(
        ...     FlowConfig(height=8, width=8, pixels=UniformPixels(), shared=True, **kinds)
        ... )
        >>> found = bits(flow, torch.randint(256, (1, 3, 21, 13), dtype=torch.uint8))
        >>> found.levels.shape, found.dim
        (torch.Size([1, 4]), 819)
    """
    channels, height, width = images.shape[1:]
    flow = flow.resized(height, width)
    generator = torch.Generator().manual_seed(seed)
    terms = flow.terms(padded(flow, images), generator)
    # Relative to uniform values, of which those beyond the photograph are some.
    relative = -(terms.prior + terms.log_det).double() / math.log(2)
    inside = torch.from_numpy(flow.lattice.site_levels[:height, :width].copy()).flatten()
    counts = torch.bincount(inside, minlength=flow.levels).to(relative)
    return Bits(relative + math.log2(LEVELS) * channels * counts, channels * height * width)
