"""Any number of pictures, in shards that are worked on one after another, or by many processes.

Pictures come from files, Parquet files, tar archives (WebDataset), and sets of Hugging Face's
`datasets`. Which pictures are in a shard depends on the paths alone.
"""

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from rgflow.data import hugging_face
from rgflow.data.archives import ARCHIVES, PICTURES, Archive
from rgflow.files import expanded, located
from rgflow.photographs.pictures import Picture, read
from rgflow.reading import DamagedError

FILES_OF_A_SHARD = 32
"""Picture files of a folder in one shard."""


@dataclass(frozen=True)
class Shard:
    """Some of the pictures.

    Attributes:
        places: Picture files, one archive, or the name of a part of a set.
        name: Name of the shard, part of a file name.
        rows: A part of a set of Hugging Face's `datasets`; None for files.
        folder: The folder of that set, unless it is on the hub.
    """

    places: tuple[str, ...]
    name: str = ""
    rows: Any = None
    folder: Path | None = None

    @property
    def files(self) -> Sequence[str]:
        """The picture files; none of an archive or a set."""
        archive = Path(self.places[0]).suffix.lower() in ARCHIVES
        return () if archive or self.rows is not None else self.places

    def stamps(self) -> list[tuple[str, int, int]]:
        """Names, sizes and times of change, in nanoseconds, of the files, or of all files in the
        folder of the set. A set on the hub has none, nor have files that aren't there."""
        files = [Path(place) for place in self.places] if self.rows is None else []
        if self.folder:
            files = _inside(self.folder)
        found = []
        for file in files:
            with suppress(OSError):
                about = file.stat()
                found.append((str(file), about.st_size, about.st_mtime_ns))
        return found

    def pictures(
        self, background: str, most: int, first: int = 0
    ) -> Iterator[tuple[str, Picture | ValueError]]:
        """Names and pictures, or what is wrong with them, or with the archive that they are in.

        Args:
            background: The colour behind transparent pixels.
            most: Maximum number of pixels.
            first: Number of the picture to begin with.

        Raises:
            ValueError: If a set of Hugging Face's `datasets` can't be read.
        """
        for name, where in self._files(first):
            found: Picture | ValueError
            try:
                if isinstance(where, Exception):
                    raise where
                file = where if isinstance(where, Path) else _file(name, where)
                found = read(file, background, most=most)
            except (ValueError, OSError) as error:
                found = ValueError(str(error))
            yield name, found

    def _files(self, first: int) -> Iterator[tuple[str, Path | dict[str, Any] | Exception]]:
        """Names, and files or encoded pictures as `datasets` has them; what is wrong with an
        archive."""
        place = self.places[0]
        if self.rows is not None:
            rows, column = hugging_face.encoded(self.rows, place)
            for number, row in enumerate(rows.skip(first), first):
                yield f"{place}#{row.get('__key__', number)}", row[column]
        elif not self.files:
            pictures = Archive(Path(place))
            try:
                for key, content in pictures.read(range(first, len(pictures))):
                    yield f"{place}#{key}", {"bytes": content}
            except (DamagedError, OSError) as error:
                yield place, error
        else:
            for place in self.files[first:]:
                yield place, Path(place)


def shards(paths: Sequence[str], download: bool = False) -> list[Shard]:
    """The shards of files, folders, and `hf:NAME_OR_PATH`, in order.

    Args:
        paths: Their paths.
        download: Whether sets may be read from the hub.

    Raises:
        FileNotFoundError: If there is a single path, and nothing there.
        ValueError: If there are no pictures in a folder, or a set can't be read.
    """
    every: list[Path | Shard] = []
    for text in paths:
        if text.startswith("hf:"):
            every += _parts(text, download)
            continue
        path = expanded(text)
        folder = os.path.isdir(path)
        if len(paths) == 1 and not os.path.lexists(path):
            raise FileNotFoundError(f"Expected a picture or a folder of them; {path} isn't there.")
        found = _inside(path) if folder else [path]  # of several, one that isn't there is a row
        if not found:
            raise ValueError(
                f"Expected a folder with pictures, .parquet or .tar files; {path} has none."
            )
        every += [
            Shard((str(file),)) if file.suffix.lower() in ARCHIVES else file for file in found
        ]
    made: list[Shard] = []
    for whole, group in groupby(every, lambda one: isinstance(one, Shard)):
        some = list(group)
        if not whole:
            names = [str(file) for file in some]
            starts = range(0, len(names), FILES_OF_A_SHARD)
            some = [Shard(tuple(names[k : k + FILES_OF_A_SHARD])) for k in starts]
        made += [one for one in some if isinstance(one, Shard)]
    return [replace(one, name=f"{number:06d}") for number, one in enumerate(made)]


def _inside(folder: Path) -> list[Path]:
    """Files with pictures in a folder and those below it, in order, and folders that can't be
    read."""
    endings, closed = (*PICTURES, *ARCHIVES), list[OSError]()
    walk = os.walk(folder, onerror=closed.append)
    found = [Path(place, name) for place, _, names in walk for name in names]
    return sorted(
        [path for path in found if path.suffix.lower() in endings and not os.path.isdir(path)]
        + [Path(error.filename) for error in closed]
    )


def _parts(name: str, download: bool) -> list[Shard]:
    """The shards of `hf:NAME_OR_PATH`, each a file of the set."""
    path = located(name[3:])
    folder = path if path.is_dir() else None
    found = []
    for split, rows in hugging_face.sets(name[3:], download=download, stream=True).items():
        for number in range(count := rows.num_shards):
            part = rows.shard(num_shards=count, index=number)
            found.append(Shard((f"{name}/{split}-{number}",), rows=part, folder=folder))
    return found


def _file(name: str, picture: dict[str, Any]) -> io.BytesIO:
    """The file of an encoded picture."""
    content = hugging_face.content(picture)
    if not content:
        raise ValueError(f"Expected the bytes of a picture; {name} has none.")
    file = io.BytesIO(content)
    file.name = name
    return file
