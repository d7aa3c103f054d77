"""An image with its latents, and the ways to make one.

Latents are in float64, so that images decode to what they were.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from rgflow.app.models import OpenModel
from rgflow.figures import to_bytes
from rgflow.latents import Latents


@dataclass(frozen=True, eq=False)
class LatentImage:
    """An image with its latents.

    Attributes:
        pixels: uint8 [C, H, W].
        latents: The latents of this one image, in float64.
        caption: How the image was made, in a few words.
        edited: What was done to its latents last.
    """

    pixels: Tensor
    latents: Latents
    caption: str
    edited: str = ""


def decoded(opened: OpenModel, z: Latents, caption: str) -> LatentImage:
    """The image that the latents of one image decode to."""
    with torch.no_grad():
        pixels = to_bytes(opened.exact.decode(z))[0]
    return LatentImage(pixels, z, caption)


def sampled(
    opened: OpenModel, seeds: Iterable[int], temperature: float | list[float]
) -> list[LatentImage]:
    """Draw one image for every seed."""
    seeds = list(seeds)
    z = opened.flow.draw_each(seeds, temperature).to(torch.float64)
    return [
        decoded(opened, z.select(slice(k, k + 1)), f"sample {seed}") for k, seed in enumerate(seeds)
    ]


def encoded(opened: OpenModel, pixels: Tensor, caption: str) -> LatentImage:
    """Encode an image, uint8 [C, H, W]."""
    with torch.no_grad():
        return decoded(opened, opened.exact.encode(pixels[None]), caption)
