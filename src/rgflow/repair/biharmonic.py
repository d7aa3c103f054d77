"""Regions of images filled in smoothly from their edges: the classical floor for inpainting.

The region solves the biharmonic equation, Δ²x = 0, discretised with 13 points, with the pixels
around it as boundary values, for each channel separately (Damelin and Hoang 2018). Nothing is
learned.
"""

import torch
from skimage.restoration import inpaint_biharmonic
from torch import Tensor

from rgflow.bijectors.pixels import dequantize
from rgflow.lattice import Mask, Sites


def biharmonic(images: Tensor, masks: Mask) -> Tensor:
    """Fill in regions of images; all other pixels stay as they are.

    New values lie between the lowest and the highest known value of their channel. The edges of an
    image don't wrap around. What is in the regions, NaN included, doesn't matter.

    Args:
        images: [N, C, H, W], uint8 or reals, in [0, 256) or of any range.
        masks: The regions, of any shape, [H, W] for all images alike or [N, H, W].

    Returns:
        The images, of the same type: reals, or uint8 rounded to the nearest.

    Raises:
        ValueError: If masks don't fit the images, a known pixel isn't finite, or all are to be
            filled in.

    Example:
        >>> slope = 10 * torch.arange(16.0).repeat(1, 1, 16, 1)
        >>> box = Sites(height=16, width=16).box(4, 5, 3, 6)
        >>> filled = biharmonic(slope.masked_fill(torch.tensor(box), 0), box)
        >>> torch.allclose(filled, slope)
        True
    """
    if images.ndim != 4:
        raise ValueError(f"Expected images [N, C, H, W]; got {list(images.shape)}.")
    n, _, height, width = images.shape
    regions = torch.tensor(Sites(height=height, width=width).masks(masks, n))
    if regions.flatten(1).all(1).any():
        raise ValueError("Expected masks that leave some pixels known; got one that covers all.")
    reals = images if images.is_floating_point() else dequantize(images)
    known = reals.detach().cpu().double().masked_fill(regions[:, None], 0)
    if not known.isfinite().all():
        raise ValueError("Expected finite pixels around the regions; got NaN or infinite ones.")
    # Without a region there would be an equation without unknowns.
    filled = [
        torch.from_numpy(inpaint_biharmonic(x.numpy(), mask.numpy(), channel_axis=0))
        if mask.any()
        else x
        for x, mask in zip(known, regions, strict=True)
    ]
    new = torch.stack(filled).to(images)
    return torch.where(regions[:, None].to(images.device), new, images)
