"""The images of a command: samples by their seeds, picture files, or images of a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from jsonargparse import Namespace

from rgflow.checks import check_whole
from rgflow.cli.parsing import Parser
from rgflow.config import FlowConfig, TrainConfig
from rgflow.data.source import SPLITS
from rgflow.files import expanded, write_picture
from rgflow.text import say

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from rgflow.analysis.levels import Resampled, Tempered
    from rgflow.analysis.mixing import Mixtures
    from rgflow.analysis.traversals import Traversal
    from rgflow.data import Images
    from rgflow.data.decoding import Target
    from rgflow.flow import Flow
    from rgflow.latents import Latents
    from rgflow.trained import Model

Made = TypeVar("Made", bound="Mixtures | Resampled | Tempered | Traversal")
T = TypeVar("T")
WIDTH = 96
"""Width of a drawn image, in pixels."""
MOST = 100
"""The most images in a picture, so that it can be opened."""


def add_options(options: Parser, pick: Sequence[int]) -> None:
    """Add the options for the images and for the folder of pictures."""
    options.model()
    options.several(
        "pick",
        int,
        None,
        "which images: seeds of samples or, with --split, indices in the data set; by default "
        f"{list(pick)}",
    )
    options.word("split", None, "take images of a data set: train, validation or test", SPLITS)
    options.word("data", None, "the data set for --split; by default that of the run")
    options.files(
        "images",
        "use picture files instead; models of photographs use them at full size, unless --size is "
        "given",
    )
    options.temperature(
        None,
        "temperature of samples: one number, or one per level, level 0 first; by default 0.2 at "
        "level 0 and 0.6 above, as for the paper's Fig. 6",
    )
    what = f"edge of a drawn pixel; by default images are about {WIDTH} pixels wide"
    options.whole("scale", None, what, 1, 64)
    options.word("out", None, "output folder; by default RUN/pictures")


def add_video(options: Parser, what: str) -> None:
    """The option for the format of animations, or none."""
    options.word("video", "gif", f"{what}: gif, mp4 or none", ("gif", "mp4", "none"))


def check(settings: Namespace, pick: Sequence[int], drawn: bool = False) -> None:
    """Fill in the default pick; imports nothing heavy. `drawn` says that the command draws latents,
    whatever images it works on.

    Raises:
        ValueError: If the options don't fit together.
    """
    if settings.images and settings.pick is not None:
        raise ValueError("Expected --images or --pick; got both: leave one out.")
    if settings.temperature is not None and (settings.images or settings.split) and not drawn:
        raise ValueError(
            "Expected --temperature only for samples; got it for given images: leave it out."
        )
    check_pick(settings, pick)
    if settings.split is None and settings.data is not None:
        raise ValueError("Expected --split with --data; got none: give --split test.")
    if settings.images and settings.split:
        raise ValueError("Expected --images or --split; got both: leave one out.")


def check_pick(settings: Namespace, pick: Sequence[int]) -> None:
    """Fill in the default pick, and check what was picked."""
    if settings.pick is None:
        settings.pick = list(pick)
    if not 1 <= len(settings.pick) <= MOST:
        raise ValueError(f"Expected --pick to list 1 to {MOST} images; got {len(settings.pick)}.")
    for place in settings.pick:
        check_whole("--pick", place, 0)


def check_video(name: str) -> None:
    """Raise a `ValueError` if this is a format of animations that can't be written here."""
    if name == "mp4":
        from rgflow.figures.animations import check_format

        check_format(name)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pictures:
    """Where pictures go, and how large they are drawn."""

    folder: Path
    scale: int

    def save(self, picture: Image.Image, name: str) -> Path:
        """Write a picture as PNG."""
        return write_picture(self.folder / name, picture)


@dataclass(frozen=True, kw_only=True, eq=False)
class Subjects(Pictures):
    """A flow and the images to look at.

    All is computed in float64, so that images decode to what they were, and the same seeds give the
    same files whatever is decoded together.
    """

    flow: Flow
    latents: Latents
    temperature: float | Sequence[float]
    """Of samples, and of whatever else is drawn."""
    sampled: bool

    @cached_property
    def _bounds(self) -> tuple[float, float]:
        from rgflow.analysis.levels import decode
        from rgflow.figures import bounds

        return bounds(decode(self.flow, self.latents))

    def drawn(self, images: Tensor) -> Tensor:
        """Images in grey levels, reals; real-valued fields are shaded, all alike."""
        from rgflow.figures import shaded

        return images if self.flow.pixels else shaded(images, *self._bounds)

    def shaded(self, made: Made) -> Made:
        """The same with its images as `drawn`."""
        return replace(made, images=self.drawn(made.images))


def load(settings: Namespace) -> Subjects:
    """Load the flow and the latents of the images.

    Raises:
        FileNotFoundError: If a file or folder isn't there.
        ValueError: If it isn't what it should be.
    """
    import copy

    import torch

    from rgflow import trained
    from rgflow.analysis.traversals import fig6_temperature

    model = trained.load(settings.run, settings.size)
    flow = model.flow
    device = flow.device
    exact = copy.deepcopy(flow).to(torch.float64)
    temperature = settings.temperature
    if temperature is None:
        temperature = fig6_temperature(flow.levels)
    sampled = not (settings.images or settings.split)
    if sampled:
        # Drawn in the flow's own format, as by `rgflow sample`.
        latents = flow.draw_each(settings.pick, temperature).to(torch.float64, device)
    else:
        given = settings.images
        images = read(given, flow.config) if given else picked(settings, model)
        with torch.no_grad():
            latents = exact.encode(images.to(device), dtype=torch.float64)
    return Subjects(
        flow=exact,
        latents=latents,
        temperature=temperature,
        sampled=sampled,
        **place(settings, model),
    )


def place(settings: Namespace, model: Model) -> dict[str, Any]:
    """Where pictures go, and how large they are drawn, by the options."""
    from rgflow.figures import pixel_size

    return {
        "folder": expanded(settings.out) if settings.out else model.pictures,
        "scale": settings.scale or pixel_size(model.flow.config.width, WIDTH),
    }


def listed(paths: Sequence[Path]) -> str:
    """The names of files in one folder, in words."""
    *names, last = (path.name for path in paths)
    folder = paths[0].parent
    return f"{', '.join(names)} and {last} in {folder}" if names else f"{last} in {folder}"


def read(files: Sequence[str], config: FlowConfig) -> Tensor:
    """Picture files in the size and the colours of a flow, uint8 [N, C, H, W]."""
    import numpy as np
    import torch

    from rgflow.data.decoding import Target

    if config.pixels is None:
        raise ValueError(
            "Expected a flow of images for --images; this one is of real-valued fields: take them "
            "from a data set with --split."
        )
    target = Target(height=config.height, width=config.width, channels=config.channels)
    paths = [expanded(file) for file in files]
    images = [opened(path, "a picture file, PNG, JPEG or WebP", target.read) for path in paths]
    _tell_changes(paths, target)
    return torch.from_numpy(np.stack(images))


def opened(path: Path, what: str, read: Callable[[Path], T]) -> T:
    """What a function makes of a picture file.

    Raises:
        FileNotFoundError: If it isn't there.
        ValueError: If it can't be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Expected {what}; there is none at {path}.")
    try:
        return read(path)
    except Exception as error:  # the only class Pillow's errors have in common
        raise ValueError(f"Expected {what}; {path} can't be read ({error}).") from error


def _tell_changes(paths: Sequence[Path], target: Target) -> None:
    """Report in one sentence how picture files were changed to fit, if any were."""
    changed = {path: change for path in paths if (change := _change(path, target))}
    if changed:
        first, change = next(iter(changed.items()))
        more = len(changed) - 1
        say(f"{first.name}: {change}{f'; {more} more of {len(paths)} likewise' * (more > 0)}.")


def _change(path: Path, target: Target) -> str:
    """How a picture file is changed to fit a target, in words; empty if it isn't."""
    from PIL import Image, ImageOps

    from rgflow.data.decoding import FORMATS

    with Image.open(path, formats=FORMATS) as opened:
        image = ImageOps.exif_transpose(opened)
    width, height = image.size
    w, h = (min(size, target.crop or size) for size in image.size)
    cropped = (w, h) != image.size or w * target.height != h * target.width
    resized = min(w / target.width, h / target.height) != 1
    words = " and ".join(["cropped"] * cropped + ["resized"] * resized)
    changes = (
        [f"{words} from {width}×{height} to {target.width}×{target.height} pixels"] if words else []
    )
    if target.channels == 1 and Image.getmodebase(image.mode) != "L":
        changes.append("converted to grey")
    return ", ".join(changes)


def picked(settings: Namespace, model: Model) -> Tensor:
    """The images at some places of a data set, [N, C, H, W]."""
    import torch

    if settings.data is None and model.config is None:
        raise ValueError(
            "Expected a data set for --split; the folder of a model names none: give --data."
        )
    count = max(settings.pick) + 1
    found = model.images(settings.data, settings.split, count)
    if len(found) < count:
        raise ValueError(
            f"Expected indices below {len(found)}, the number of images in the {settings.split} "
            f"split of {found.name}; got {count - 1}."
        )
    if settings.data is not None:
        _tell_fitting(found, settings, model.flow.config, model.config)
    return torch.from_numpy(found.images[settings.pick])


def _tell_fitting(
    found: Images, settings: Namespace, model: FlowConfig, config: TrainConfig | None
) -> None:
    """Say in one sentence how the images of another data set than the run's were changed to fit."""
    from rgflow.data.decoding import Target

    kind, _, place = found.name.partition(":")
    if model.pixels is None:
        return
    if kind != "folder":
        say(
            f"Images of {found.name} are cropped and resized to {model.width}×{model.height} "
            f"pixels where they have another size."
        )
        return
    assert found.files
    root, files = expanded(place), found.files
    crop = config.crop if config and settings.data == config.data else None
    target = Target(height=model.height, width=model.width, channels=model.channels, crop=crop)
    _tell_changes([root / files[place] for place in settings.pick], target)
