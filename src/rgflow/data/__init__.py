"""Images to learn from, by name: `load("msds1")`.

Every source is made or decoded once, stored in the cache folder, and memory-mapped afterwards.
"""

import os
from collections.abc import Callable

from rgflow.checks import short, unknown_name
from rgflow.config import TrainConfig
from rgflow.data import (
    cache,
    faces,
    fields,
    folder,
    hugging_face,
    msds,
    npz,
    official,
    patches,
    stream,
    wallpapers,
)
from rgflow.data.images import Images
from rgflow.data.source import Request, Source, Split

__all__ = ["SOURCES", "Images", "find_source", "load", "load_for", "register"]


def find_source(request: Request) -> Source:
    """The source of a request.

    Raises:
        FileNotFoundError: If its files are missing.
        ValueError: If there is none of that name, or it can't give what is asked.
    """
    name = request.name
    for known, source in SOURCES.items():
        word, colon, _ = known.partition(":")
        if name == word or (colon and name.startswith(word + colon)):
            return source(request)
    path = name.partition(":")[0]
    if "." in path and all(part.isidentifier() for part in path.split(".")):
        raise ValueError(
            f"Expected the data set to be one of {', '.join(SOURCES)}, or one of your own that is "
            f"registered; {short(path)} would run code: if you know it, add --trust "
            f"{path.rpartition('.')[0]:.300}, or import it in Python."
        )
    folders = [f"folder:{name}"] if os.path.isdir(os.path.expanduser(name)) else []
    raise ValueError(unknown_name("the data set", name, SOURCES, likely=folders))


SOURCES: dict[str, Callable[[Request], Source]] = {
    "msds1": msds.source,
    "msds2": msds.source,
    "faces": faces.source,
    "faces:correlated": faces.source,
    "patches": patches.source,
    "patches:NAME": patches.source,
    "wallpapers": wallpapers.source,
    "cifar10": official.cifar10,
    "celeba": official.celeba,
    "chairs": official.chairs,
    "folder:PATH": folder.source,
    "npz:PATH": npz.source,
    "fields:PATH": fields.source,
    "hf:NAME_OR_PATH": hugging_face.source,
    "stream:PATH": stream.source,
}
"""Data sources by name; capitals after the colon stand for an argument."""


def register(source: Callable[[Request], Source]) -> Callable[[Request], Source]:
    """Let `load` find a source of your own by its import path, with or without an argument after a
    colon; a decorator.

    Args:
        source: A function with a name in a module; `rgflow.data.source` says what it has to do.

    Returns:
        The function itself.
    """
    path = f"{source.__module__}.{source.__qualname__}"
    SOURCES.update({path: source, f"{path}:ARGUMENT": source})
    return source


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
    data_root: str | None = None,
    download: bool = False,
    patches: bool = False,
    progress: bool = True,
) -> Images:
    """Load a data set, making or decoding it first if the cache doesn't hold it.

    Args:
        name: `msds1`, `msds2`, `faces`, `faces:correlated`, `patches`, `patches:NAME` to test on
            the photograph NAME, `wallpapers`, `cifar10`, `celeba`, `chairs`, `folder:PATH` for the
            PNG, JPEG and WebP files below PATH, `npz:PATH`, `fields:PATH`, `hf:NAME_OR_PATH`,
            `stream:PATH` for some crops of the pictures in shards, or one of your own by its import
            path (`register`).
        split: `train`, `validation` or `test`; no image is in two of them.
        height: rows of pixels wanted.
        width: columns of pixels wanted.
        channels: 3 for colour, 1 for grey; any number for fields.
        count: only the first so many images, or what there are; by default all there are, and of
            MSDS the paper's 90,000 for training and 10,000 for testing, and 5,000 for
            validation; of `patches` 50,000, 2,000 and 1,000; of faces 50,000, 5,000 and 2,000.
        seed: of the sets made at random; the others are split in one way, whatever the seed.
        crop: cut the centre `crop` x `crop` pixels out of each image first; by default 148 of
            `celeba`, 300 of `chairs`, and nothing of the others.
        data_root: the folder with the official files of `cifar10`, `celeba` or `chairs`;
            by default `downloads` in the cache folder.
        download: whether `hf:NAME` may be fetched from the network.
        patches: cut patches from the pictures of `folder:PATH` instead of resizing each to one
            image; as many as of `patches`, and other sets stay as they are.
        progress: show a bar on standard error, or a line now and then if that is no terminal.

    Raises:
        ValueError: If an argument isn't possible; the message says what is.
        FileNotFoundError: If there are no such files; the message says which belong where.

    >>> data = load("msds1", "test", count=8)
    >>> data.images.shape, data.labels["ovals"].shape
    ((8, 3, 32, 32), (8, 4, 4, 6))
    """
    request = Request(**locals())
    return cache.load(find_source(request), name=name, progress=progress)


def load_for(
    config: TrainConfig,
    split: Split = "train",
    *,
    count: int | None = None,
    name: str | None = None,
    progress: bool = True,
) -> Images:
    """The images of one split for a training run: its data set, in the size of its flow; of a
    folder, patches if the flow serves pictures of any size.

    Args:
        config: The run's settings.
        split: `train`, `validation` or `test`.
        count: As for `load`.
        name: Another data set than the run's; its pictures aren't cropped as those of the run are.
        progress: As for `load`.
    """
    model = config.model
    return load(
        name or config.data,
        split,
        height=model.height,
        width=model.width,
        channels=model.channels,
        count=count,
        crop=config.crop if name in (None, config.data) else None,
        data_root=config.data_root,
        download=config.download,
        patches=model.learns_patches,
        progress=progress,
    )
