"""Any number of pictures, in units that one worker takes at a time.

Pictures come from files, Parquet files, tar archives (WebDataset), on a disk or in an object store,
and from sets of Hugging Face's `datasets`. Their order depends on the paths alone.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from rgflow.data import hugging_face
from rgflow.data.archives import ARCHIVES, PICTURES, Archive, place
from rgflow.files import as_name, located
from rgflow.outputs import Source
from rgflow.reading import DamagedError, reason

ROWS = 32
"""Pictures of an archive in a unit, at the most."""
Read = Callable[[], Iterable[tuple[str, bytes | None]]]
"""Reads names and encoded pictures; None where there is none."""


@dataclass(frozen=True)
class Given:
    """A picture to work on.

    Attributes:
        place: Its place among all: of its file or archive, and in that.
        name: Its name.
        content: Its file, or the bytes of it.
        more: Other files that its results depend on.
        source: Where its results go, if they are files.
        error: Why it can't be read; empty: it can.
        seed: For whatever is random, by its content.
        kept: A file for unfinished work, which is found again; None: there is none.
    """

    place: tuple[int, int]
    name: str
    content: Path | bytes
    more: Sequence[Path] = ()
    source: Source | None = None
    error: str = ""
    seed: int = 0
    kept: Path | None = None

    @property
    def file(self) -> Path | BytesIO:
        """Its file, or one in memory."""
        if not isinstance(self.content, bytes):
            return self.content
        found = BytesIO(self.content)
        found.name = Path(self.name).name
        return found

    def generator(self, seed: int) -> torch.Generator:
        """The source of whatever is random, by a seed and the picture's content."""
        return torch.Generator().manual_seed((seed + self.seed) % 2**63)


@dataclass(frozen=True)
class Unit:
    """A picture, or some in an archive or in a set of Hugging Face's `datasets`.

    Attributes:
        whole: The picture; or all of the archive, with the place of the first of these.
        read: Reads these; None: there is one picture.
    """

    whole: Given
    read: Read | None = None

    def __iter__(self) -> Iterator[Given]:
        whole = self.whole
        if not self.read:
            yield whole
            return
        number, row = whole.place
        try:
            for key, content in self.read():
                name, source = f"{whole.name}#{key}", whole.source
                error = "" if content else f"Expected the bytes of a picture; {name} has none."
                if source:  # results go into a folder of its name
                    safe = as_name(key)
                    if safe != key:
                        coded = key.encode(errors="surrogateescape")
                        safe += f"-{hashlib.sha256(coded).hexdigest()[:8]}"
                    folder = source.folder / source.stem
                    source = replace(source, path=Path(f"{safe}.png"), folder=folder, stem=safe)
                yield Given((number, row), name, content or b"", whole.more, source, error)
                row += 1
        except (DamagedError, OSError) as error:
            yield replace(whole, place=(number, row), error=str(error))


@dataclass(frozen=True)
class Collection:
    """Pictures that a user names.

    Attributes:
        groups: For each picture file or archive, the files that its results depend on; of a set of
            Hugging Face's `datasets`, its name.
        shards: What reads such sets, by their places in `groups`.
        named: Whether all are picture files, each named by itself.
    """

    groups: Sequence[Sequence[Path]]
    shards: dict[int, Read] = field(default_factory=dict)
    named: bool = True

    def units(self, sources: Sequence[Source] = ()) -> Iterator[Unit]:
        """All pictures, in order: each file, or some of an archive, at a time.

        Args:
            sources: Where the results of each go, by their places in `groups`; empty: nowhere.
        """
        of = {source.number: source for source in sources}
        for number, (first, *more) in enumerate(self.groups):
            whole = Given((number, 0), str(first), first, more, of.get(number))
            if sources and not whole.source:
                continue
            if number in self.shards:
                yield Unit(whole, self.shards[number])
            elif first.suffix.lower() not in ARCHIVES:
                yield Unit(whole)
            else:
                archive = Archive(first)
                try:
                    count = len(archive)
                except (ValueError, OSError) as error:
                    yield Unit(replace(whole, error=str(error)))
                    continue
                for start in range(0, count, ROWS):
                    rows = range(start, min(start + ROWS, count))
                    part = replace(whole, place=(number, start))
                    yield Unit(part, partial(archive.read, rows))


def collection(
    names: Sequence[str], more: Sequence[Sequence[Path]] = (), download: bool = False
) -> Collection:
    """The pictures in files, folders, archives, and `hf:NAME_OR_PATH`, in order.

    Args:
        names: Their paths or URLs.
        more: For each name, other files that the results depend on.
        download: Whether sets may be read from the hub.

    Raises:
        ValueError: If there are no pictures in a folder, or a set can't be read.
        OSError: If an object store can't be.
    """
    groups, shards, named = list[list[Path]](), dict[int, Read](), True
    for number, name in enumerate(names):
        beside = [*more[number]] if more else []
        if name.startswith("hf:"):
            named = False
            whole = str(located(name[3:])) if located(name[3:]).exists() else name[3:]
            for split, rows in hugging_face.sets(whole, download=download, stream=True).items():
                for k in range(count := rows.num_shards):
                    shards[len(groups)] = partial(_shard, whole, split, k, count, download)
                    groups.append([Path(f"{name}/{split}-{k}"), *beside])
            continue
        path = place(name)
        inside = _inside(path)
        if inside == [] and len(names) == 1:
            raise ValueError(
                f"Expected a folder with pictures, .parquet or .tar files; {path} has none."
            )
        groups += [[file, *beside] for file in inside or [path]]  # what can't be read is a row
        named = named and inside is None and path.suffix.lower() not in ARCHIVES
    return Collection(groups, shards, named)


def _shard(
    name: str, split: str, number: int, count: int, download: bool
) -> Iterator[tuple[str, bytes | None]]:
    """Names and encoded pictures of one of `count` parts of a set."""
    part = hugging_face.sets(name, download=download, stream=True)[split]
    rows, column = hugging_face.encoded(part.shard(num_shards=count, index=number), name)
    for k, row in enumerate(rows):
        yield str(row.get("__key__", k)), hugging_face.content(row[column])


def _inside(folder: Path) -> list[Path] | None:
    """Files with pictures in a folder and those below it, in order, and folders that can't be
    read; None if it is none."""
    endings, closed = (*PICTURES, *ARCHIVES), list[Path]()
    if "://" in str(folder):
        store: Any = folder
        try:
            if not folder.is_dir():
                return None
            files = [place(f"{store.protocol}://{name}") for name in store.fs.find(store.path)]
        except Exception as error:  # of the store's own library
            raise OSError(f"Expected to read {folder}; it can't be ({reason(error)}).") from error
        return [path for path in files if path.suffix.lower() in endings]
    if not os.path.isdir(folder):
        return None
    walked = os.walk(folder, onerror=lambda error: closed.append(Path(error.filename)))
    files = [Path(parent, name) for parent, _, names in walked for name in names]
    files = [path for path in files if path.suffix.lower() in endings]
    return sorted(closed + [path for path in files if not os.path.isdir(path)])
