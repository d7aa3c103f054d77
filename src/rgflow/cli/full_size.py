"""Photographs at full size, for `rgflow levels`, `mix` and `traverse`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rgflow.cli.parsing import most, outputs
from rgflow.outputs import Made, check_space

if TYPE_CHECKING:
    from jsonargparse import Namespace
    from torch import Tensor

    from rgflow.model import RGFlow
    from rgflow.outputs import Source
    from rgflow.photographs.collections import Given
    from rgflow.photographs.pictures import Picture
    from rgflow.trained import Model


@dataclass(frozen=True, eq=False)
class Photograph:
    """A picture file that is changed at its own size.

    Attributes:
        source: The file, and the names of its results.
        picture: What it holds.
        image: What the flow sees, uint8 [C, H, W].
        flow: A flow of photographs, for images of this size.
        made: What is made of it so far.
    """

    source: Source
    picture: Picture
    image: Tensor
    flow: RGFlow
    made: Made = field(default_factory=Made)

    @property
    def name(self) -> str:
        """Of the file."""
        return self.source.path.name

    def save(self, pixels: Tensor, name: str) -> None:
        """Write the picture with other pixels, uint8 [C, H, W], in its own size and mode."""
        from rgflow.cli.collecting import save

        changed = (pixels != self.image).any(0).numpy()
        image = self.picture.replaced(pixels.numpy(), changed)
        save(self.made, image, self.source.out(f"*-{name}{self.source.path.suffix}"))

    @property
    def written(self) -> list[Path]:
        """The files so far."""
        return [path for path, _ in self.made.files]


def is_full_size(settings: Namespace, model: Model) -> bool:
    """Whether there are picture files that are to be changed at full size: by a model of
    photographs, and without --size."""
    from rgflow.photographs.scoring import is_of_photographs

    return bool(settings.images) and settings.size is None and is_of_photographs(model.flow)


def each(
    settings: Namespace,
    model: Model,
    groups: Sequence[Sequence[Path]],
    names: Callable[[int], Sequence[str]],
    work: Callable[[Photograph], None],
) -> None:
    """Change photographs one after another; one that fails is left out.

    Args:
        settings: Of the command.
        model: Of photographs.
        groups: For each photograph its file, and others that its results depend on.
        names: The names of the results of the photograph with a number, as for `Photograph.save`.
        work: Changes one, and writes the results.

    Raises:
        ValueError: If names are taken, or photographs were left out.
    """
    import torch

    from rgflow import trained
    from rgflow.cli import collecting
    from rgflow.photographs.collections import Collection
    from rgflow.photographs.pictures import MAX_PIXELS, lossless_ending, read
    from rgflow.photographs.scoring import sized

    def patterns(number: int) -> list[str]:
        ending = lossless_ending(groups[number][0])
        return [f"*-{name}{ending}" for name in names(number)]

    def change(given: Given) -> Made:
        source = given.source
        assert source is not None
        picture = read(given.file, most=most(settings, MAX_PIXELS))
        check_space(source.folder, len(names(source.number)) * picture.seen.nbytes)
        image = torch.from_numpy(picture.pixels(model.flow.config.channels))
        photograph = Photograph(source, picture, image, sized(model.flow, image[None]))
        work(photograph)
        return photograph.made

    results = outputs(settings, groups, trained.fingerprint(model.flow), own=model.pictures)
    with results.guarded():
        collecting.each(settings, results, Collection(groups), change, patterns)
