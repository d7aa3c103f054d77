"""An image with its latents, and the ways to make one.

Latents are in float64, so that images decode to what they were, and the Python beside them
(`rgflow.app.recipe`) gives the same pixels.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from rgflow.app.models import OpenModel
from rgflow.app.recipe import ARRAYS, Recipe, array
from rgflow.figures import to_bytes
from rgflow.latents import Latents


@dataclass(frozen=True, eq=False)
class LatentImage:
    """An image with its latents.

    Attributes:
        pixels: uint8 [C, H, W].
        latents: The latents of this one image, in float64.
        recipe: How they were made.
        caption: The same in a few words.
        notes: More about the image, as HTML.
    """

    pixels: Tensor
    latents: Latents
    recipe: Recipe
    caption: str
    notes: str = ""


def decoded(opened: OpenModel, z: Latents, recipe: Recipe, caption: str) -> LatentImage:
    """The image of some latents."""
    with torch.no_grad():
        pixels = to_bytes(opened.exact.decode(z))[0]
    return LatentImage(pixels, z, recipe, caption)


def sampled(
    opened: OpenModel, seeds: Iterable[int], temperature: float | list[float]
) -> list[LatentImage]:
    """Draw images, one for every seed."""
    seeds = list(seeds)
    z = opened.flow.draw_each(seeds, temperature).to(torch.float64)
    return [
        decoded(opened, z.select(slice(k, k + 1)), drawn(seed, temperature), f"sample {seed}")
        for k, seed in enumerate(seeds)
    ]


def encoded(opened: OpenModel, pixels: Tensor, caption: str) -> LatentImage:
    """An image of the user's own, uint8 [C, H, W]."""
    with torch.no_grad():
        z = opened.exact.encode(pixels[None])
    recipe = Recipe(
        f"flow.encode(torch.from_numpy({array(pixels[None])}), dtype=torch.float64)",
        imports=ARRAYS,
    )
    return decoded(opened, z, recipe, caption)


def drawn(seed: int, temperature: float | list[float]) -> Recipe:
    """The recipe of a sample."""
    return Recipe(f"flow.draw_each([{seed}], {temperature}).to(torch.float64)")
