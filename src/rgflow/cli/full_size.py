"""`rgflow levels`, `mix` and `traverse` on pictures of any size, by models of photographs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rgflow.checks import check_whole, per_level
from rgflow.cli.subjects import listed
from rgflow.files import expanded
from rgflow.text import bars, say

if TYPE_CHECKING:
    from jsonargparse import Namespace
    from torch import Tensor

    from rgflow.flow import Flow
    from rgflow.photographs.pictures import Picture

FINEST = 5
"""Number of finest levels to show: coarser ones change the whole picture."""
THRESHOLD = 3
"""Levels that mixtures take from the other picture, unless --threshold or --share says."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A picture file in hand.

    Attributes:
        path: Of the file.
        picture: What it holds.
        flow: Of photographs.
        folder: Where results go.
    """

    path: Path
    picture: Picture
    flow: Flow
    folder: Path

    @cached_property
    def image(self) -> Tensor:
        """What the flow sees, uint8 [C, H, W]."""
        import torch

        return torch.from_numpy(self.picture.pixels(self.flow.config.channels))

    def save(self, pixels: Tensor, name: str) -> Path:
        """Write the picture with other pixels, uint8 [C, H, W], in its own size and mode."""
        from rgflow.photographs.pictures import write

        changed = (pixels != self.image).any(0).numpy()
        out = self.folder / f"{self.path.stem}-{name}{self.path.suffix}"
        return write(self.picture.replaced(pixels.numpy(), changed), out)

    @contextmanager
    def bar(self, what: str) -> Iterator[Callable[[float], None]]:
        """A progress bar, moved by the share of the work that is done."""
        with bars() as shown:
            task = shown.add_task(f"{self.path.name}, {what}", total=1.0)
            yield lambda share: shown.update(task, completed=share)


def opened(settings: Namespace) -> list[Opened]:
    """The picture files, if they are to be taken at full size: by a model of photographs, and
    without --size; else none.

    Raises:
        FileNotFoundError: If a file, or the model, isn't there.
        ValueError: If a file can't be read.
    """
    if not settings.images or settings.size is not None:
        return []
    from rgflow import trained
    from rgflow.photographs.pictures import read
    from rgflow.photographs.scoring import is_of_photographs
    from rgflow.training.optimisation import prepare_machine

    model = trained.load(settings.run)
    if not is_of_photographs(model.flow):
        return []
    prepare_machine()
    folder = expanded(settings.out) if settings.out else model.pictures
    return [Opened(path, read(path), model.flow, folder) for path in map(expanded, settings.images)]


def levels(pictures: list[Opened], settings: Namespace) -> None:
    """Every picture from coarse to fine, and with each of its finest levels drawn anew."""
    import torch

    from rgflow.analysis.traversals import fig6_temperature
    from rgflow.photographs.changing import coarse, draw_level
    from rgflow.photographs.scoring import sized

    for one in pictures:
        count = sized(one.flow, one.image[None]).levels
        temperature = settings.temperature
        if temperature is None:
            temperature = fig6_temperature(count)
        of_level = per_level("temperature", temperature, count)
        finest = range(min(FINEST, count))
        written = [
            one.save(torch.from_numpy(coarse(one.flow, one.image.numpy(), level)), f"level-{level}")
            for level in finest[1:]
        ]
        for level in finest:
            for number in range(settings.draws or 1):
                generator = torch.Generator().manual_seed(settings.seed + number)
                with one.bar(f"level {level}") as progress:
                    new = draw_level(
                        one.flow, one.image, level, temperature=of_level[level],
                        generator=generator, progress=progress,
                    )  # fmt: skip
                written.append(one.save(new, f"level-{level}-drawn-{number + 1}"))
        say(f"{one.path.name} level by level, the finest {len(finest)}: see {listed(written)}.")


def mix(pictures: list[Opened], settings: Namespace) -> None:
    """The first picture with the fine levels of each of the others."""
    import torch

    from rgflow.photographs.changing import fitted, mix
    from rgflow.photographs.scoring import sized

    if len(pictures) < 2:
        raise ValueError("Expected at least two images to mix; got one.")
    first, *others = pictures
    count = sized(first.flow, first.image[None]).levels
    threshold = THRESHOLD if settings.threshold is None else settings.threshold
    check_whole("--threshold", threshold, 0, count)
    shares = [1.0] * threshold if settings.share is None else settings.share
    if len(shares) > count:
        raise ValueError(
            f"Expected at most {count} values of --share, one for each level of "
            f"{first.path.name}; got {len(shares)}."
        )
    written = []
    for other in others:
        pixels = fitted(other.image.numpy(), *first.picture.size)
        with first.bar(f"mixed with {other.path.name}") as progress:
            mixed = mix(
                first.flow, first.image, torch.from_numpy(pixels), shares, progress=progress
            )
        written.append(first.save(mixed, f"with-{other.path.stem}"))
        if pixels.shape != other.image.shape:
            say(f"{other.path.name}: cropped and resized to the size of {first.path.name}.")
    say(f"{first.path.name} mixed: see {listed(written)}.")


def traverse(pictures: list[Opened], settings: Namespace) -> None:
    """Every picture with one of its latents at several values."""
    import torch

    from rgflow.analysis.traversals import prior_scale
    from rgflow.photographs.changing import vary

    if settings.latent is None:
        raise ValueError(
            "Expected --latent '[h, i, j, c]', level, pixel position and channel, for pictures at "
            "full size; got none."
        )
    for one in pictures:
        unit = prior_scale(one.flow) if settings.unit == "prior" else 1.0
        first, last = (unit * value for value in settings.range)
        values = torch.linspace(first, last, settings["values"], dtype=torch.float64).tolist()
        name, written = "-".join(map(str, settings.latent)), []
        with one.bar("traversing") as progress:
            for number, value in enumerate(values):
                new, _ = vary(one.flow, one.image, tuple(settings.latent), value, add=settings.add)
                written.append(one.save(new, f"latent-{name}-{number + 1}"))
                progress((number + 1) / len(values))
        say(f"{one.path.name} with the latent at {first:g} to {last:g}: see {listed(written)}.")
