"""Taking noise and compression off a photograph, pixel by pixel, given all others.

Letters in shapes: C channels; H, W rows and columns.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from rgflow.bijectors.cellwise import BAND
from rgflow.checks import check_at_least
from rgflow.flow import Flow
from rgflow.photographs.restoring import Around


@torch.no_grad()
def denoise(
    flow: Flow,
    image: Tensor,
    noise: float,
    *,
    progress: Callable[[float], None] | None = None,
) -> Tensor:
    """A photograph whose pixels have moved within what noise explains.

    Every pixel is replaced by its mean, given what was measured, with Gaussian errors, and all
    other pixels, of which those before it are replaced already. Pixels that don't read one another
    are replaced together.

    Args:
        flow: A flow of windows whose coarse images are sites, of any size.
        image: uint8 [C, H, W].
        noise: Standard error of a pixel, in grey levels; 0: nothing changes.
        progress: Called with the share of the work that is done.

    Returns:
        uint8 [C, H, W].

    Raises:
        ValueError: If the flow is of another kind, or the noise is negative.

    Example:
        >>> from rgflow import load_flow
        >>> grey = torch.full((3, 24, 24), 128, dtype=torch.uint8)
        >>> noisy = grey + torch.randint(5, grey.shape, dtype=torch.uint8)
        >>> found = denoise(load_flow("photos"), noisy, 1.5)
        >>> bool(found.float().var() < noisy.float().var())
        True
    """
    check_at_least("noise", noise, 0)
    around = Around(flow, image.clone())
    if not noise:
        return image
    (height, width), done = image.shape[1:], 0
    every = torch.cartesian_prod(torch.arange(height), torch.arange(width)).view(-1, 2)
    phases = every % around.step @ torch.tensor([around.step, 1])
    for phase in phases.unique():
        for sites in every[phases == phase].split(BAND):
            around.denoise(sites, noise)
            done += len(sites)
            if progress:
                progress(done / (height * width))
    return around.image.to(image.device)
