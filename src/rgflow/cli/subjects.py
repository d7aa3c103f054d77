"""The images of a command: samples by their seeds, picture files, or images of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace

from rgflow.checks import check_whole
from rgflow.cli.parsing import Parser, most
from rgflow.config import FlowConfig
from rgflow.data.source import SPLITS
from rgflow.files import expanded, write_picture
from rgflow.text import say

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from rgflow.flow import Flow
    from rgflow.latents import Latents
    from rgflow.trained import Model

IMAGE_WIDTH = 96
"""Width at which an image is drawn by default, in pixels."""
MAX_IMAGES = 100
"""Images in a picture at the most, so that it can be opened."""


def add_options(options: Parser, pick: Sequence[int], *names: str) -> None:
    """Add the options for the images and for the folder of pictures, with the patterns of their
    names."""
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
    what = f"edge of a drawn pixel; by default images are about {IMAGE_WIDTH} pixels wide"
    options.whole("scale", None, what, 1, 64)
    options.limit()
    options.out(None, "output folder; by default RUN/pictures", *names)


def check(settings: Namespace, pick: Sequence[int], drawn: bool = False) -> None:
    """Check the options before anything heavy is imported, and fill in the default pick.

    Args:
        settings: The options.
        pick: The images if none are named.
        drawn: Whether the command draws latents, whatever images it works on.

    Raises:
        ValueError: If the options don't fit together.
    """
    for other in ("pick", "split"):
        if settings.images and settings[other] is not None:
            raise ValueError(f"Expected --images or --{other}; got both: leave one out.")
    if settings.temperature is not None and (settings.images or settings.split) and not drawn:
        raise ValueError(
            "Expected --temperature only for samples; got it for given images: leave it out."
        )
    check_pick(settings, pick)
    if settings.split is None and settings.data is not None:
        raise ValueError("Expected --split with --data; got none: give --split test.")


def check_pick(settings: Namespace, pick: Sequence[int]) -> None:
    """Fill in the default pick, and check what was picked; a `ValueError` if it can't be."""
    if settings.pick is None:
        settings.pick = list(pick)
    if not 1 <= len(settings.pick) <= MAX_IMAGES:
        raise ValueError(
            f"Expected --pick to list 1 to {MAX_IMAGES} images; got {len(settings.pick)}."
        )
    for place in settings.pick:
        check_whole("--pick", place, 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pictures:
    """Where pictures go, how large they are drawn, and which have been written."""

    folder: Path
    scale: int
    written: list[Path] = field(default_factory=list)

    def save(self, picture: Image.Image, name: str) -> Path:
        """Write a picture as PNG."""
        self.written.append(write_picture(self.folder / name, picture))
        return self.written[-1]


@dataclass(frozen=True, kw_only=True, eq=False)
class Subjects(Pictures):
    """A flow and the images to look at.

    All is computed in float64, so that images decode to what they were, and the same seeds give the
    same files whatever is decoded together.

    Attributes:
        flow: The flow.
        latents: Of the images.
        temperature: Of samples, and of whatever else is drawn.
        sampled: Whether the images are samples.
    """

    flow: Flow
    latents: Latents
    temperature: float | Sequence[float]
    sampled: bool

    @cached_property
    def _bounds(self) -> tuple[float, float]:
        from rgflow.analysis.levels import decode
        from rgflow.figures import bounds

        return bounds(decode(self.flow, self.latents))

    def drawn(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] in grey levels, reals; real-valued fields are shaded, all alike."""
        from rgflow.figures import shaded

        return images if self.flow.pixels else shaded(images, *self._bounds)


def load_model(settings: Namespace) -> Model:
    """Load the model that a command is about, as its options `run`, `size` and `out` say.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it can't be read, or can't take images of this size.
    """
    from rgflow import trained
    from rgflow.training.optimisation import prepare_machine

    prepare_machine()
    return trained.load(settings.run, settings.size, settings.get("out"))


def load(settings: Namespace, model: Model) -> Subjects:
    """Load or draw the images, and encode them.

    Raises:
        FileNotFoundError: If a file or folder isn't there.
        ValueError: If it isn't what it should be.
    """
    import torch

    from rgflow.analysis.traversals import fig6_temperature

    flow = model.flow
    device = flow.device
    exact = flow.in_dtype(torch.float64)
    temperature = settings.temperature
    if temperature is None:
        temperature = fig6_temperature(flow.levels)
    sampled = not (settings.images or settings.split)
    if sampled:
        # Drawn in the flow's own format, as by `rgflow sample`.
        latents = flow.draw_each(settings.pick, temperature).to(torch.float64, device)
    else:
        given = settings.images
        images = read(given, flow.config, settings) if given else picked(settings, model)
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

    scale = settings.scale or pixel_size(model.flow.config.width, IMAGE_WIDTH)
    return {"folder": model.pictures, "scale": scale}


def file_names(paths: Sequence[Path]) -> str:
    """The names of files in one folder, in words."""
    *names, last = (path.name for path in paths)
    folder = paths[0].parent
    return f"{', '.join(names)} and {last} in {folder}" if names else f"{last} in {folder}"


def read(files: Sequence[str], config: FlowConfig, settings: Namespace) -> Tensor:
    """Picture files in the size and the colours of a flow, uint8 [N, C, H, W]; says how they were
    changed to fit.

    Raises:
        FileNotFoundError: If one isn't there.
        ValueError: If one can't be read, or the flow is of real-valued fields.
    """
    import numpy as np
    import torch

    from rgflow.data.decoding import Target, open_picture
    from rgflow.data.opening import MAX_PIXELS

    if config.pixels is None:
        raise ValueError(
            "Expected a flow of images for --images; this one is of real-valued fields: take them "
            "from a data set with --split."
        )
    target = Target(height=config.height, width=config.width, channels=config.channels)
    images, changes = [], []
    for path in map(expanded, files):
        picture = open_picture(path, most(settings, MAX_PIXELS))
        images.append(target.fit(picture))
        if picture.size != (config.width, config.height):
            sizes = (f"{w}×{h}" for w, h in (picture.size, (config.width, config.height)))
            changes.append(f"{path.name}: fitted from {' to '.join(sizes)} pixels")
    if changes:
        more = f"; {len(changes) - 1} more of {len(files)} likewise" * (len(changes) > 1)
        say(f"{changes[0]}{more}.")
    return torch.from_numpy(np.stack(images))


def picked(settings: Namespace, model: Model) -> Tensor:
    """The images at some places of a data set, [N, C, H, W].

    Raises:
        ValueError: If the data set has fewer, or none is named.
    """
    import torch

    count = max(settings.pick) + 1
    found, like = model.images(settings.data, settings.split, count), model.flow.config
    if len(found) < count:
        raise ValueError(
            f"Expected indices below {len(found)}, the number of images in the {settings.split} "
            f"split of {found.name}; got {count - 1}."
        )
    if settings.data is not None and like.pixels:
        say(
            f"Images of {found.name} are cropped and resized to {like.width}×{like.height} pixels "
            f"where they have another size."
        )
    return torch.from_numpy(found.images[settings.pick])
