"""The contract between `load`, the sources of data and the cache.

A source of data is a function from a `Request` to a `Source`. It checks what was asked, and says
what the images depend on and how to make them, but makes nothing yet. It raises a
`FileNotFoundError` where files are missing, and a `ValueError` where they are damaged or don't give
what was asked. `rgflow.data.SOURCES` lists the package's own; `rgflow.data.register` adds yours.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from rgflow.checks import as_python, check_name, check_whole
from rgflow.data.images import Array

Split: TypeAlias = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


class Chunk(NamedTuple):
    """A few consecutive images of a source; as many as fit easily in memory."""

    images: Array
    """[n, C, H, W], uint8, or float32 for fields; n may be 0."""
    labels: dict[str, Array]
    """By name, each [n, ...]; the same names and types in every chunk."""
    skipped: tuple[tuple[int, str], ...] = ()
    """Files that were left out, each with the number of the chunk's images before it, and its name
    and the reason."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """The arguments of `rgflow.data.load`, checked as far as all sources agree.

    >>> Request(name="folder:~/cats", height=0)
    Traceback (most recent call last):
    ValueError: Expected height to be at least 1; got 0.
    """

    name: str
    split: Split = "train"
    height: int = 32
    width: int = 32
    channels: int = 3
    count: int | None = None
    seed: int = 0
    crop: int | None = None
    data_root: str | None = None
    download: bool = False
    patches: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        for one in fields(self):
            object.__setattr__(self, one.name, as_python(getattr(self, one.name)))
        check_name("split", self.split, SPLITS)
        least = {"height": 1, "width": 1, "channels": 1, "count": 1, "crop": 1, "seed": 0}
        for field, low in least.items():
            if getattr(self, field) is not None:
                check_whole(field, getattr(self, field), low)

    @property
    def argument(self) -> str:
        """What follows the colon in the name.

        Raises:
            ValueError: If nothing does.
        """
        kind, _, argument = self.name.partition(":")
        if not argument:
            raise ValueError(f"Expected {kind}:PATH; got no path; write it after the colon.")
        return argument


@dataclass(frozen=True, kw_only=True)
class Source:
    """How to make one data set.

    The first n images must not depend on `count`: a longer set serves a shorter one.
    """

    kind: str
    """Readable start of the cache entry's name, such as `msds1-train`."""
    settings: dict[str, Any]
    """All that decides the bytes, except `count`; JSON."""
    count: int
    """Images wanted; the chunks may hold fewer, if files have to be skipped."""
    chunks: Callable[[], Iterator[Chunk]]
    """Makes the images, in order."""
    numbers: Sequence[int] | None = None
    """Which images of its array they are, if the set has one that others may have labelled."""
    files: Sequence[str] | None = None
    """The files they are in, if each has its own."""


def stamp(path: Path) -> tuple[int, int]:
    """Size of a file, and time of its last change in nanoseconds: whether it is as it was when it
    was decoded."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def processors() -> int:
    """Processors this process may use, which in a container are fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
