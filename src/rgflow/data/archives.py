"""Pictures in Parquet files and tar archives (WebDataset), read one by one, in any order.

pyarrow and Python's `tarfile` read them, not Hugging Face's `datasets`: that package also decodes
everything else in an archive, without a limit of size, and opening a local file calls a server.
Here, nothing but the bytes of pictures is read.
"""

import posixpath
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rgflow.reading import DamagedError, opened, reason

PICTURES = (
    ".png", ".jpg", ".jpeg", ".webp", ".avif", ".heic", ".tif", ".tiff", ".bmp", ".gif", ".ppm",
    ".pgm",
)  # fmt: skip
"""Endings of pictures in folders and tar archives."""
MAX_INFLATION = 16
"""Maximum size of a column of pictures in Parquet, in units of the file's size: compressed pictures
hardly shrink further."""
ROWS_AT_ONCE = 16
"""Rows of a Parquet file that are in memory together."""


@dataclass(frozen=True)
class Archive(ABC):
    """A file with many pictures, numbered from 0.

    Attributes:
        path: Path of the file.
    """

    path: Path

    @abstractmethod
    def __len__(self) -> int:
        """The number of pictures; no picture is read for it."""

    @abstractmethod
    def read(self, numbers: Sequence[int]) -> Iterator[tuple[str, bytes | None]]:
        """Names and encoded pictures; None where a row has no picture.

        Args:
            numbers: Which pictures, in rising order.

        Raises:
            ValueError: If the file is damaged.
        """


class Tar(Archive):
    """An uncompressed tar archive, such as a shard of a WebDataset: the first picture of every
    sample. Its name is the path up to the first dot of the file name."""

    @cached_property
    def _pictures(self) -> list[tuple[str, int, int]]:
        """Name, position and size of every picture."""
        found: dict[str, tuple[int, int]] = {}
        with _opened(self.path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                folder, name = posixpath.split(member.name)
                stem = name.partition(".")[0]
                whole = member.isreg() and not member.issparse()
                if whole and stem and name.lower().endswith(PICTURES):
                    place = member.offset_data, member.size
                    found.setdefault(posixpath.join(folder, stem), place)
        return [(name, *place) for name, place in found.items()]

    def __len__(self) -> int:
        return len(self._pictures)

    def read(self, numbers: Sequence[int]) -> Iterator[tuple[str, bytes | None]]:
        with _opened(self.path) as file:
            for number in numbers:
                name, place, size = self._pictures[number]
                file.seek(place)
                yield name, file.read(size)


class Parquet(Archive):
    """A Parquet file: the first column of pictures, each named by its number."""

    @cached_property
    def _groups(self) -> list[int]:
        """The number of rows of every row group."""
        with _parquet(self.path) as file:
            groups = range(file.metadata.num_row_groups)
            return [file.metadata.row_group(group).num_rows for group in groups]

    def __len__(self) -> int:
        return sum(self._groups)

    def read(self, numbers: Sequence[int]) -> Iterator[tuple[str, bytes | None]]:
        with _parquet(self.path) as file:
            column = f"{picture_column(file.schema_arrow, str(self.path))}.bytes"
            _check_size(self.path, file.metadata, column)
            first, wanted = 0, iter(numbers)
            number = next(wanted, None)
            for group, count in enumerate(self._groups):
                if number is None or number >= first + count:
                    first += count
                    continue
                for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=[column]):
                    while number is not None and number < first + len(batch):
                        row = batch.column(0)[number - first].as_py() or {}
                        yield str(number), row.get("bytes")
                        number = next(wanted, None)
                    first += len(batch)


def archive(path: Path) -> Archive:
    """The archive in a file.

    Args:
        path: A file with one of the endings `ARCHIVES`.
    """
    return ARCHIVES[path.suffix.lower()](path)


ARCHIVES: dict[str, type[Archive]] = {".parquet": Parquet, ".tar": Tar}
"""Kinds of archives, by the ending of the file."""


def picture_column(schema: Any, name: str) -> str:
    """The first column of pictures, that is, of bytes and path, as Hugging Face's `datasets` has
    it.

    Args:
        schema: Schema of the table, of `pyarrow`.
        name: Name of the set, for the error.

    Raises:
        DamagedError: If there is none.
    """
    from pyarrow.types import is_struct

    for field in schema:
        if is_struct(field.type) and {part.name for part in field.type} == {"bytes", "path"}:
            return field.name
    raise DamagedError(
        f"Expected a column of images, or of bytes and path, in {name}; got "
        f"{', '.join(schema.names) or 'none'}; convert it."
    )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An archive, open; whatever is wrong with it is one sentence."""
    try:
        with opened(path) as file:
            yield file
    except (tarfile.TarError, ValueError, OSError) as error:
        if isinstance(error, DamagedError) or (isinstance(error, OSError) and error.errno):
            raise
        raise DamagedError(
            f"Expected a {path.suffix} file of pictures; {path} is damaged ({reason(error)})."
        ) from error


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    """A Parquet file, open."""
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError(
            f"Expected pyarrow, to read {path.name}; it isn't installed: pip install 'rgflow[hf]'."
        ) from error
    with _opened(path) as file:
        yield parquet.ParquetFile(file)


def _check_size(path: Path, metadata: Any, column: str) -> None:
    """Raise a `DamagedError` if a column claims to be much larger than its file."""
    claimed = 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for number in range(group.num_columns):
            if group.column(number).path_in_schema == column:
                claimed += group.column(number).total_uncompressed_size
    if claimed > MAX_INFLATION * path.stat().st_size:
        raise DamagedError(
            f"Expected pictures of at most {MAX_INFLATION} times the size of the file; those in "
            f"{path} claim {claimed:,} bytes."
        )
