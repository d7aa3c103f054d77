"""Completions of holes, drawn from a flow, for `rgflow inpaint`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from rgflow.cli.subjects import Pictures
    from rgflow.lattice import Mask
    from rgflow.repair.particles import Completion


class Inputs(NamedTuple):
    """Images with holes, and where pictures of their completions go."""

    images: Tensor
    """On the CPU, [N, C, H, W]."""
    masks: Mask
    """Their holes, [N, H, W]."""
    truth: Tensor | None
    """The images as they should be, if that is known."""
    pictures: Pictures

    def draw(self, n: int, some: Tensor, mean: Tensor, spread: Tensor) -> Path:
        """Draw completions of one image, with the mean and the spread of all of them.

        Args:
            n: Index of the image.
            some: Completions to show, [D, C, H, W].
            mean: Of all completions, [C, H, W].
            spread: Their standard deviation, [C, H, W].
        """
        from rgflow.figures.repair import completions

        picture = completions(
            self.images[n],
            self.masks[n],
            some,
            mean,
            spread,
            truth=self.truth[n] if self.truth is not None else None,
            scale=self.pictures.scale,
        )
        return self.pictures.save(picture, f"completions-{n + 1}.png")


def of_particles(inputs: Inputs, count: int, found: Sequence[Completion]) -> list[Path]:
    """Draw the last `count` samples of particles, as pictures; the files written."""
    written = []
    for n, one in enumerate(found):
        some = one.samples[-count:].cpu()
        values = some.float()
        written.append(inputs.draw(n, some, values.mean(0), values.std(0, correction=0)))
    return written
