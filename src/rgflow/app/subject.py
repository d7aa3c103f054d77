"""An image with its latents, and the ways in which one comes about.

Latents are in float64, so that images decode to what they were, and the Python beside them
(`rgflow.app.recipe`) gives the same pixels.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from rgflow.app.recipe import ARRAYS, Recipe, array
from rgflow.app.shelf import Opened
from rgflow.figures import to_bytes
from rgflow.latents import Latents


@dataclass(frozen=True, eq=False)
class Subject:
    """An image, with its latents.

    Attributes:
        image: uint8 [C, H, W].
        latents: Of this one image, in float64.
        recipe: How they came about.
        what: The same in a few words.
        told: What was found out about it, as HTML.
    """

    image: Tensor
    latents: Latents
    recipe: Recipe
    what: str
    told: str = ""


def decoded(opened: Opened, z: Latents, recipe: Recipe, what: str) -> Subject:
    """The image of some latents."""
    with torch.no_grad():
        image = to_bytes(opened.exact.decode(z))[0]
    return Subject(image, z, recipe, what)


def sampled(
    opened: Opened, seeds: Iterable[int], temperature: float | list[float]
) -> list[Subject]:
    """Draw images, one for every seed."""
    seeds = list(seeds)
    z = opened.flow.draw_each(seeds, temperature).to(torch.float64)
    return [
        decoded(opened, z.select(slice(k, k + 1)), drawn(seed, temperature), f"sample {seed}")
        for k, seed in enumerate(seeds)
    ]


def encoded(opened: Opened, image: Tensor, what: str) -> Subject:
    """An image of one's own, uint8 [C, H, W]."""
    with torch.no_grad():
        z = opened.exact.encode(image[None])
    recipe = Recipe(
        f"flow.encode(torch.from_numpy({array(image[None])}), dtype=torch.float64)",
        imports=ARRAYS,
    )
    return decoded(opened, z, recipe, what)


def drawn(seed: int, temperature: float | list[float]) -> Recipe:
    """The recipe of a sample."""
    return Recipe(f"flow.draw_each([{seed}], {temperature}).to(torch.float64)")
