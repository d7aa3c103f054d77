"""Photographs at full size, for `rgflow levels`, `mix` and `traverse`."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rgflow.files import expanded

if TYPE_CHECKING:
    from jsonargparse import Namespace
    from torch import Tensor

    from rgflow.model import RGFlow
    from rgflow.photographs.pictures import Picture
    from rgflow.trained import Model


@dataclass(frozen=True, eq=False)
class Photograph:
    """A picture file that is changed at its own size.

    Attributes:
        path: Of the file.
        picture: What it holds.
        model: Of photographs.
        written: The files written so far.
    """

    path: Path
    picture: Picture
    model: Model
    written: list[Path] = field(default_factory=list)

    @cached_property
    def flow(self) -> RGFlow:
        """The flow, for images of this size."""
        from rgflow.photographs.scoring import sized

        return sized(self.model.flow, self.image[None])

    @cached_property
    def image(self) -> Tensor:
        """What the flow sees, uint8 [C, H, W]."""
        import torch

        return torch.from_numpy(self.picture.pixels(self.model.flow.config.channels))

    def save(self, pixels: Tensor, name: str) -> None:
        """Write the picture with other pixels, uint8 [C, H, W], in its own size and mode."""
        from rgflow.photographs.pictures import named, write

        changed = (pixels != self.image).any(0).numpy()
        out = self.model.pictures / f"{self.path.stem}-{name}{self.path.suffix}"
        image = self.picture.replaced(pixels.numpy(), changed)
        self.written.append(write(image, named(image, out)))


def photographs(settings: Namespace, model: Model) -> list[Photograph]:
    """The picture files, if they are to be changed at full size: by a model of photographs, and
    without --size; else none.

    Raises:
        FileNotFoundError: If a file isn't there.
        ValueError: If a file can't be read.
    """
    from rgflow.photographs.pictures import read
    from rgflow.photographs.scoring import is_of_photographs

    if not settings.images or settings.size is not None or not is_of_photographs(model.flow):
        return []
    return [Photograph(path, read(path), model) for path in map(expanded, settings.images)]
