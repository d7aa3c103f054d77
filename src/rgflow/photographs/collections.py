"""Any number of pictures, in units that one worker takes at a time.

Pictures come from files, Parquet files, tar archives (WebDataset), on a disk or in an object store,
and from sets of Hugging Face's `datasets`. Their order, and what is in a unit, depend on the paths
alone.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rgflow.data import hugging_face
from rgflow.data.archives import ARCHIVES, PICTURES, Archive, place
from rgflow.files import as_name, located
from rgflow.outputs import Source
from rgflow.reading import DamagedError, reason

PICTURES_OF_A_UNIT, BYTES_OF_A_UNIT = 32, 1 << 20
"""Pictures of a unit, and bytes of their files, at the most: about a second of work."""


@dataclass(frozen=True)
class Item:
    """A picture.

    Attributes:
        place: Number of its unit, and its number there.
        name: Its name.
        files: Its file, or the bytes of it, and other files that its results depend on.
        source: Where its results go, if they are files.
        error: Why it can't be read.
    """

    place: tuple[int, int]
    name: str
    files: Sequence[Path | bytes] = ()
    source: Source | None = None
    error: str = ""


@dataclass(frozen=True)
class Unit:
    """Some of the pictures.

    Attributes:
        number: Its place among all units.
        groups: For each picture file, the files that its results depend on, itself first; or an
            archive.
        sources: Where the results of these go, if they are files.
        rows: Of an archive.
        shard: Instead, of a set of Hugging Face's `datasets`: name, split, number, how many there
            are, whether it may be read from the hub.
        error: Why an archive can't be read.
        root: The folder that local paths start in; empty: the current one.
    """

    number: int
    groups: Sequence[Sequence[Path]]
    sources: Sequence[Source] = ()
    rows: range | None = None
    shard: tuple[str, str, int, int, bool] | None = None
    error: str = ""
    root: str = ""

    def __len__(self) -> int:
        """Number of pictures, as far as it is known."""
        return len(self.groups) if self.rows is None else len(self.rows)

    def items(self) -> Iterator[Item]:
        """The pictures; one that can't be read has an error."""
        if self.rows is None and self.shard is None:
            for number, files in enumerate(self.groups):
                source = self.sources[number] if self.sources else None
                there = [self._at(file) for file in files]
                yield Item((self.number, number), str(files[0]), there, source, self.error)
            return
        whole, *more = self.groups[0]
        number = 0
        try:
            for number, (key, content) in enumerate(self._inside(whole)):
                name = f"{whole}#{key}"
                error = "" if content else f"Expected the bytes of a picture; {name} has none."
                source = self._of(key) if self.sources else None
                every: list[Path | bytes] = [content or b"", *map(self._at, more)]
                yield Item((self.number, number), name, every, source, error)
        except (DamagedError, OSError) as error:
            yield Item((self.number, number + 1), str(whole), error=str(error))

    def _inside(self, whole: Path) -> Iterator[tuple[str, bytes | None]]:
        """Names and encoded pictures."""
        if self.shard is None:
            yield from Archive(self._at(whole)).read(self.rows or range(0))
            return
        name, split, number, count, download = self.shard
        part = hugging_face.sets(name, download=download, stream=True)[split]
        rows, column = hugging_face.encoded(part.shard(num_shards=count, index=number), name)
        for k, row in enumerate(rows):
            yield str(row.get("__key__", k)), hugging_face.content(row[column])

    def _at(self, path: Path) -> Path:
        return path if "://" in str(path) else Path(self.root, path)

    def _of(self, key: str) -> Source:
        """Where the results of a picture in an archive go: into a folder of its name."""
        safe, source = as_name(key), self.sources[0]
        if safe != key:
            safe += f"-{hashlib.sha256(key.encode(errors='surrogateescape')).hexdigest()[:8]}"
        folder = source.folder / source.stem
        return replace(source, path=Path(f"{safe}.png"), folder=folder, stem=safe)


@dataclass(frozen=True)
class Collection:
    """Pictures that a user names.

    Attributes:
        groups: For each picture file or archive, the files that its results depend on; of a set of
            Hugging Face's `datasets`, its name.
        shards: Of such sets, by their places in `groups`.
        sizes: Of the files, in bytes, as far as they are known.
        named: Whether all are picture files, each named by itself.
    """

    groups: Sequence[Sequence[Path]]
    shards: dict[int, tuple[str, str, int, int, bool]]
    sizes: dict[int, int]
    named: bool = True

    def units(self, sources: Sequence[Source] = ()) -> Iterator[Unit]:
        """All pictures, in order.

        Args:
            sources: Where the results of each go, by their places in `groups`; empty: nowhere.
        """
        some, size, number = list[int](), 0, 0
        of = {source.number: source for source in sources}
        every = [k for k in range(len(self.groups)) if k in of or not sources]

        def unit(those: Sequence[int]) -> Unit:
            nonlocal number
            number += 1
            groups = [self.groups[k] for k in those]
            return Unit(number - 1, groups, [of[k] for k in those if sources])

        for k in every:
            large = size + self.sizes.get(k, 0) > BYTES_OF_A_UNIT
            archive = self.groups[k][0].suffix.lower() in ARCHIVES
            if some and (large or archive or k in self.shards or len(some) == PICTURES_OF_A_UNIT):
                yield unit(some)
                some, size = [], 0
            if k in self.shards:
                yield replace(unit([k]), shard=self.shards[k])
            elif archive:
                for rows, error in _parts(self.groups[k][0]):
                    yield replace(unit([k]), rows=rows, error=error)
            else:
                some, size = [*some, k], size + self.sizes.get(k, 0)
        if some:
            yield unit(some)


def _parts(archive: Path) -> Iterator[tuple[range | None, str]]:
    """The rows of an archive, some at a time, or what is wrong with it."""
    try:
        count = len(Archive(archive))
    except (ValueError, OSError) as error:
        yield None, str(error)
        return
    for first in range(0, count, PICTURES_OF_A_UNIT):
        yield range(first, min(first + PICTURES_OF_A_UNIT, count)), ""


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
    groups, shards, sizes = list[list[Path]](), {}, dict[int, int]()
    named = True
    for number, name in enumerate(names):
        beside = [*more[number]] if more else []
        if name.startswith("hf:"):
            named = False
            whole = str(located(name[3:])) if located(name[3:]).exists() else name[3:]
            for split, rows in hugging_face.sets(whole, download=download, stream=True).items():
                for k in range(count := rows.num_shards):
                    shards[len(groups)] = whole, split, k, count, download
                    groups.append([Path(f"{name}/{split}-{k}"), *beside])
            continue
        path = place(name)
        inside = _inside(path)
        found = inside or [(path, 0)]  # what can't be read is a row
        if inside == [] and len(names) == 1:
            raise ValueError(
                f"Expected a folder with pictures, .parquet or .tar files; {path} has none."
            )
        for file, size in found:
            sizes[len(groups)] = size
            groups.append([file, *beside])
        named = named and inside is None and path.suffix.lower() not in ARCHIVES
    return Collection(groups, shards, sizes, named)


def _inside(folder: Path) -> list[tuple[Path, int]] | None:
    """Files with pictures in a folder and those below it, with their sizes, in order, and folders
    that can't be read; None if it is none."""
    endings = (*PICTURES, *ARCHIVES)
    if "://" in str(folder):
        store: Any = folder
        try:
            if not folder.is_dir():
                return None
            found = store.fs.find(store.path, detail=True).items()
        except Exception as error:  # of the store's own library
            raise OSError(f"Expected to read {folder}; it can't be ({reason(error)}).") from error
        every = [(place(f"{store.protocol}://{name}"), one["size"] or 0) for name, one in found]
        return [one for one in every if one[0].suffix.lower() in endings]
    if not os.path.isdir(folder):
        return None
    closed, files = list[OSError](), list[tuple[Path, int]]()
    for parent, _, names in os.walk(folder, onerror=closed.append):
        for path in (Path(parent, name) for name in names):
            if path.suffix.lower() in endings and not os.path.isdir(path):
                size = os.path.getsize(path) if os.path.exists(path) else 0
                files.append((path, size))
    return sorted(files + [(Path(error.filename), 0) for error in closed])
