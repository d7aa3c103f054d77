"""Any number of pictures, in shards: files and folders, Parquet, and tar archives (WebDataset).

A shard is worked on as a whole, by one process; what was found of it is kept in a file. So the work
can be divided among processes and machines, and goes on where it was interrupted.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rgflow.files import expanded
from rgflow.photographs.pictures import Picture, read

ENDINGS = (
    ".png", ".jpg", ".jpeg", ".webp", ".avif", ".heic", ".tif", ".tiff", ".bmp", ".gif", ".ppm",
    ".pgm",
)  # fmt: skip
"""Of the files that are taken from a folder."""
OF_A_SHARD = 32
"""Pictures of a folder in one shard."""
STREAMED = {".parquet": "parquet", ".tar": "webdataset"}
"""Endings of shards with many pictures, and what Hugging Face's `datasets` calls them."""


@dataclass(frozen=True)
class Shard:
    """Some pictures.

    Attributes:
        name: Of the shard, as a part of a file name.
        files: Picture files, or one file with many pictures.
    """

    name: str
    files: tuple[Path, ...]

    def pictures(self, background: str) -> Iterator[tuple[str, Picture | ValueError]]:
        """Name and picture, or what is wrong with it, one after the other."""
        if self.files[0].suffix.lower() in STREAMED:
            yield from _streamed(self.files[0], background)
            return
        for file in self.files:
            yield str(file), _or_error(file, background)


def shards(paths: Sequence[str]) -> list[Shard]:
    """The shards of files and folders, in order.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If there are no pictures in a folder.
    """
    found: list[Shard] = []
    some: list[Path] = []

    def close() -> None:
        for start in range(0, len(some), OF_A_SHARD):
            part = tuple(some[start : start + OF_A_SHARD])
            found.append(Shard(f"{len(found):06d}", part))
        some.clear()

    for text in paths:
        path = expanded(text)
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in (*ENDINGS, *STREAMED))
            if not inside:
                raise ValueError(
                    f"Expected a folder with pictures, .parquet or .tar files; {path} has none."
                )
        elif path.is_file():
            inside = [path]
        else:
            raise FileNotFoundError(f"Expected a picture, or a folder of some; {path} isn't there.")
        for file in inside:
            if file.suffix.lower() in STREAMED:
                close()
                found.append(Shard(f"{len(found):06d}", (file,)))
            else:
                some.append(file)
    close()
    return found


def _or_error(file: Any, background: str) -> Picture | ValueError:
    try:
        return read(file, background)
    except (ValueError, OSError) as error:
        return ValueError(str(error))


def _streamed(file: Path, background: str) -> Iterator[tuple[str, Picture | ValueError]]:
    """The pictures of a Parquet file or a tar archive, without reading it as a whole."""
    try:
        import datasets
    except ImportError as error:
        raise ValueError(
            f"Expected Hugging Face's datasets for {file.name}; it isn't installed: "
            f"pip install 'rgflow[hf]'."
        ) from error
    kind = STREAMED[file.suffix.lower()]
    rows = datasets.load_dataset(kind, data_files=str(file), split="train", streaming=True)
    columns = [name for name, of in (rows.features or {}).items() if isinstance(of, datasets.Image)]
    if not columns:
        raise ValueError(f"Expected a column of images in {file}; there is none.")
    rows = rows.cast_column(columns[0], datasets.Image(decode=False))
    for number, row in enumerate(rows):
        value = row[columns[0]]
        name = f"{file}#{row.get('__key__', number)}"
        if not value or not value.get("bytes"):
            yield name, ValueError(f"Expected the bytes of a picture; {name} has none.")
            continue
        content = io.BytesIO(value["bytes"])
        content.name = name
        yield name, _or_error(content, background)
