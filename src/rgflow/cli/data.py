"""`rgflow data`: generate or decode a data set before it is needed, and preview it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rgflow.cli.parsing import Parser, parse, some
from rgflow.data.source import SPLITS
from rgflow.files import write_picture
from rgflow.text import say

if TYPE_CHECKING:
    from rgflow.data import Images

MAX_ON_SHEET = 64
"""Maximum number of images on the sheet."""
MAX_NAMED = 20
"""Maximum number of files left out that are named on the screen."""


def run(arguments: Sequence[str]) -> None:
    """Parse, prepare the splits, and show.

    Raises:
        ValueError: If no images are wanted.
    """
    options = Parser(
        "data",
        "Generate or decode a data set, and keep it in the cache folder for training.",
        "rgflow data msds1 --train 90000 --test 10000",
    )
    options.add_argument("name", help="such as msds1, celeba or folder:PATH")
    for split in SPLITS:
        options.whole(split, None, f"maximum number of {split} images; by default all", 0)
    options.add_argument("--height", type=int, default=32, help="rows of pixels")
    options.add_argument("--width", type=int, default=32, help="columns of pixels")
    options.add_argument("--channels", type=int, default=3, help="3 for colour, 1 for grey")
    options.add_argument(
        "--crop", type=int | None, default=None, help="crop to the central CROP × CROP pixels first"
    )
    options.word(
        "data_root", None, "folder with the official files; by default in the cache folder"
    )
    options.add_argument(
        "--download", type=bool, default=False, help="whether hf:NAME may be downloaded"
    )
    settings = parse(options, arguments)

    from rgflow import data

    counts = {split: settings[split] for split in SPLITS}
    wanted = [split for split in SPLITS if counts[split] != 0]
    if not wanted:
        raise ValueError("Expected images to prepare; got 0 for every split: raise one of them.")
    for split in wanted:
        images = data.load(
            settings.name,
            split,
            count=counts[split],
            **some(settings, "height", "width", "channels", "crop", "data_root", "download"),
        )
        how = (
            f"made in {images.seconds:.1f} s, {len(images) / images.seconds:.0f} images/s"
            if images.seconds
            else "already in the cache"
        )
        say(f"{split}: {len(images)} images in {images.folder} ({how}).")
        _list_skipped(images)
        if split == wanted[0]:
            assert images.folder
            _draw(images, images.folder / "first.png")
            say(f"The first images are in {images.folder / 'first.png'}.")


def _list_skipped(images: "Images") -> None:
    for reason in images.skipped[:MAX_NAMED]:
        say(f"left out: {reason}")
    if len(images.skipped) > MAX_NAMED:
        say(f"and {len(images.skipped) - MAX_NAMED} other files; manifest.json there lists them.")


def _draw(images: "Images", path: Path) -> None:
    """A sheet of the first images; for fields, the first channel from its least to its largest
    value."""
    import torch

    from rgflow import figures

    shown = torch.tensor(images.images[:MAX_ON_SHEET])
    if shown.dtype != torch.uint8:
        shown = shown[:, :1]
        shown = figures.shaded(shown, float(shown.min()), float(shown.max()))
    write_picture(path, figures.grid(shown))
