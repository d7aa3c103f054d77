"""Latents drawn from the prior of a flow."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rgflow.checks import check_whole, per_level
from rgflow.hierarchy import Hierarchy
from rgflow.latents import Latents
from rgflow.priors import Convention

Temperatures = float | Sequence[float] | Latents
"""One temperature, one per level (level 0 first), or one per latent (paper, Appendix D)."""


def draw(
    flow: Hierarchy,
    n: int,
    temperature: Temperatures = 1.0,
    generator: torch.Generator | None = None,
    convention: Convention = "density",
) -> Latents:
    """Draw latents of n images from the prior.

    Args:
        flow: The flow.
        n: Number of images.
        temperature: T of p^(1/T); one, one per level, or one per latent (a `Latents` of one
            image or of n).
        generator: Source of randomness; the same generator state gives the same draws. With a
            CPU generator, they are the same on all devices.
        convention: `"density"`, or the released code's `"scale"`.

    Raises:
        ValueError: If the temperatures are for another number of images or levels.
    """
    n = check_whole("the number of images", n, 1)
    temperatures: Any
    if isinstance(temperature, Latents):
        flow.check_latents(temperature)
        temperatures = temperature.levels
        if len(temperature) not in (1, n):
            raise ValueError(
                f"Expected temperatures of 1 image or of {n}, as many as are drawn; got those "
                f"of {len(temperature)}."
            )
    else:
        temperatures = per_level("temperature", temperature, flow.levels)
    source = generator.device if generator else flow.device
    levels = []
    for level, each in enumerate(temperatures):
        shape = flow.lattice.latent_shape(level, flow.config.channels)
        like = torch.empty(n, *shape, dtype=flow.dtype, device=source)
        if isinstance(each, Tensor):
            each = each.to(like)
        z = flow.prior.tempered(each, convention).sample_like(like, generator)
        levels.append(z.to(flow.device))
    return Latents(tuple(levels), flow.lattice)
