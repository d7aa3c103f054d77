"""Any number of pictures, in shards: files, Parquet, tar archives (WebDataset), named sets.

One process scores a whole shard and keeps the results in a file. So the work can be shared among
processes and machines, and continues where it was interrupted.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rgflow.data.stream import SHARDS, open_shard, rows_of
from rgflow.files import expanded, located
from rgflow.photographs.pictures import Picture, read

ENDINGS = (
    ".png", ".jpg", ".jpeg", ".webp", ".avif", ".heic", ".tif", ".tiff", ".bmp", ".gif", ".ppm",
    ".pgm",
)  # fmt: skip
"""Endings of the files that are read from a folder."""
OF_A_SHARD = 32
"""Pictures of a folder in one shard."""


@dataclass(frozen=True)
class Shard:
    """Some pictures.

    Attributes:
        name: Name of the shard, part of a file name.
        places: Picture files, one file with many pictures, or the part of a named set.
        rows: A part of a set of Hugging Face's `datasets`; none: files.
        folder: Where that set is, unless it is on the hub.
    """

    name: str
    places: tuple[str, ...]
    rows: Any = None
    folder: Path | None = None

    def stamps(self) -> list[tuple[str, int, int]]:
        """Names, sizes and times of change, in nanoseconds, of its files, or of all in the folder
        of its set, if they are there; nothing for a set on the hub."""
        files = [Path(place) for place in self.places] if self.rows is None else []
        if self.folder:
            files = _inside(self.folder)
        found = []
        for file in files:
            with suppress(OSError):
                about = file.stat()
                found.append((str(file), about.st_size, about.st_mtime_ns))
        return found

    def pictures(self, background: str) -> Iterator[tuple[str, Picture | ValueError]]:
        """Names and pictures, or errors, one after another."""
        first = Path(self.places[0])
        rows = self.rows
        if rows is None and first.suffix.lower() in SHARDS:
            rows = open_shard(first)
        if rows is not None:
            yield from _streamed(rows_of(rows, self.places[0]), self.places[0], background)
            return
        for file in self.places:
            yield file, _or_error(Path(file), background)


def shards(paths: Sequence[str], download: bool = False) -> list[Shard]:
    """The shards of files, folders, and `hf:NAME_OR_PATH`, in order.

    Args:
        paths: Their paths.
        download: Whether sets may be read from the hub.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If there are no pictures in a folder.
    """
    found: list[Shard] = []
    some: list[Path] = []

    def close() -> None:
        for start in range(0, len(some), OF_A_SHARD):
            part = tuple(map(str, some[start : start + OF_A_SHARD]))
            found.append(Shard(f"{len(found):06d}", part))
        some.clear()

    for text in paths:
        if text.startswith("hf:"):
            close()
            path = located(text[3:])
            folder = path if path.is_dir() else None
            for split, rows in _sets(text[3:], download).items():
                for number in range(count := rows.num_shards):
                    place = f"{text}/{split}-{number}"
                    part = rows.shard(num_shards=count, index=number)
                    found.append(Shard(f"{len(found):06d}", (place,), part, folder))
            continue
        path = expanded(text)
        if path.is_dir():
            inside = _inside(path)
            if not inside:
                raise ValueError(
                    f"Expected a folder with pictures, .parquet or .tar files; {path} has none."
                )
        elif path.is_file():
            inside = [path]
        else:
            raise FileNotFoundError(f"Expected a picture or a folder of them; {path} isn't there.")
        for file in inside:
            if file.suffix.lower() in SHARDS:
                close()
                found.append(Shard(f"{len(found):06d}", (str(file),)))
            else:
                some.append(file)
    close()
    return found


def _inside(folder: Path) -> list[Path]:
    """Files with pictures in a folder and those below it, in order."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in (*ENDINGS, *SHARDS))


def _or_error(file: Any, background: str) -> Picture | ValueError:
    try:
        return read(file, background)
    except (ValueError, OSError) as error:
        return ValueError(str(error))


def _streamed(
    contents: Iterable[tuple[str, bytes | None]], place: str, background: str
) -> Iterator[tuple[str, Picture | ValueError]]:
    """Encoded pictures, read one after the other."""
    for key, content in contents:
        name = f"{place}#{key}"
        if not content:
            yield name, ValueError(f"Expected the bytes of a picture; {name} has none.")
            continue
        file = io.BytesIO(content)
        file.name = name
        yield name, _or_error(file, background)


def _sets(name: str, download: bool) -> dict[str, Any]:
    """The splits of a set that Hugging Face's `datasets` reads in a stream."""
    path = located(name)
    if not path.exists() and not download:
        raise FileNotFoundError(
            f"Expected a file or folder after hf:; {name} isn't there: check the path, or allow a "
            f"set of that name to be read from the hub with --download."
        )
    try:
        import datasets
    except ImportError as error:
        raise ValueError(
            "Expected the package datasets, which hf: needs; it isn't installed; run pip install "
            "'rgflow[hf]'."
        ) from error
    try:
        found = datasets.load_dataset(str(path) if path.exists() else name, streaming=True)
    except Exception as error:  # of many kinds, from several libraries
        reason = " ".join(str(error.__cause__ or error).split())
        raise ValueError(
            f"Expected a data set that Hugging Face's datasets can read; got {name} ({reason}): "
            f"check it."
        ) from error
    return dict(found)
