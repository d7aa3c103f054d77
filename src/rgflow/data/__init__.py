"""Images to learn from, by name: `load("msds1")`.

Every source is made or decoded once, stored in the cache folder, and memory-mapped afterwards.
"""

from collections.abc import Callable
from pathlib import Path

from rgflow.config import unknown_name
from rgflow.data import cache, folder, msds
from rgflow.data.images import Images
from rgflow.data.source import Request, Source, Split

__all__ = ["SOURCES", "Images", "load"]

SOURCES: dict[str, Callable[[Request], Source]] = {
    "msds1": msds.source,
    "msds2": msds.source,
    "folder:PATH": folder.source,
}
"""All that `load` knows; a word in capitals after a colon stands for the user's."""


def load(
    name: str,
    split: Split = "train",
    *,
    height: int = 32,
    width: int = 32,
    channels: int = 3,
    count: int | None = None,
    seed: int = 0,
    crop: int | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Images:
    """Load a data set, making or decoding it first if the cache doesn't hold it.

    Args:
        name: `msds1`, `msds2`, or `folder:PATH` for the PNG, JPEG and WebP files below PATH.
        split: `train`, `validation` or `test`; no image is in two of them.
        height: rows of pixels wanted.
        width: columns of pixels wanted.
        channels: 3 for colour, 1 for grey.
        count: only the first so many images, or what there are; by default all of a folder, and
            of MSDS the paper's 90,000 for training and 10,000 for testing, and 5,000 for
            validation.
        seed: of the sets made at random; folders are split by file name, whatever the seed.
        crop: cut the centre `crop` x `crop` pixels out of each file first.
        workers: processes that draw, or threads that decode; 0 for no parallel work, None to suit
            the machine.
        progress: show a bar on stderr if that is a terminal.

    Raises:
        ValueError: an argument isn't possible; the message says what is.
        FileNotFoundError: the folder doesn't exist.

    >>> data = load("msds1", "test", count=8)
    >>> data.images.shape, data.labels["ovals"].shape
    ((8, 3, 32, 32), (8, 4, 4, 6))
    """
    request = Request(
        name=name,
        split=split,
        height=height,
        width=width,
        channels=channels,
        count=count,
        seed=seed,
        crop=crop,
        workers=workers,
    )
    for known, source in SOURCES.items():
        word, colon, _ = known.partition(":")
        if name == word or (colon and name.startswith(word + colon)):
            return cache.load(source(request), name=name, progress=progress)
    folders = [f"folder:{name}"] if name and Path(name).expanduser().is_dir() else []
    raise ValueError(unknown_name("the data set", name, SOURCES, likely=folders))
