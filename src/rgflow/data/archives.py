"""Pictures in Parquet files and tar archives (WebDataset), on a disk or in an object store, read
one by one, in any order.

pyarrow and Python's `tarfile` read them, not Hugging Face's `datasets`: that package also decodes
everything else in an archive, without a limit of size, and opening a local file calls a server.
Here, nothing but the bytes of pictures is read.
"""

import posixpath
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from rgflow.checks import check_installed
from rgflow.files import expanded
from rgflow.reading import DamagedError, opened, reason

ARCHIVES = (".parquet", ".tar")
"""Endings of archives."""
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


def place(text: str | Path) -> Path:
    """Where to read from: a file or a folder, or one of an object store by its URL, which has the
    methods of a path.

    Raises:
        ValueError: If what reads object stores isn't installed.

    Example:
        >>> place("pictures/a.png").name
        'a.png'
    """
    if "://" not in str(text):
        return expanded(text)
    check_installed("upath", f"to read {text}", "cluster")
    from upath import UPath

    try:
        return cast(Path, UPath(str(text)))
    except (ImportError, ValueError) as error:  # of a protocol
        raise ValueError(
            f"Expected a URL of an object store, such as s3://bucket/folder; {text} can't be read "
            f"({reason(error)}): run pip install 'rgflow[cluster]'."
        ) from error


@dataclass(frozen=True)
class Archive:
    """Pictures numbered from 0: of a Parquet file, the rows of the first column of pictures; of an
    uncompressed tar archive, the first picture of every sample, named by the path up to the first
    dot of the file's name.

    Attributes:
        path: A file with one of the endings `ARCHIVES`.
    """

    path: Path

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}  # as what a process has read would be large

    def __len__(self) -> int:
        return sum(self._groups) if self._is_parquet else len(self._members)

    def read(self, numbers: Sequence[int]) -> Iterator[tuple[str, bytes | None]]:
        """Names and encoded pictures; None where a row has no picture.

        Args:
            numbers: Which pictures, in rising order.

        Raises:
            ValueError: If the file is damaged.
        """
        if self._is_parquet:
            yield from self._rows(numbers)
            return
        with self._opened() as file:
            for number in numbers:
                name, place, size = self._members[number]
                file.seek(place)
                yield name, file.read(size)

    @property
    def _is_parquet(self) -> bool:
        return self.path.suffix.lower() == ".parquet"

    @cached_property
    def _members(self) -> list[tuple[str, int, int]]:
        """Name, position and size of every picture of a tar archive."""
        found: dict[str, tuple[int, int]] = {}
        with self._opened() as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                folder, name = posixpath.split(member.name)
                stem = name.partition(".")[0]
                whole = member.isreg() and not member.issparse()
                if whole and stem and name.lower().endswith(PICTURES):
                    place = member.offset_data, member.size
                    found.setdefault(posixpath.join(folder, stem), place)
        return [(name, *place) for name, place in found.items()]

    @cached_property
    def _groups(self) -> list[int]:
        """The number of rows of every row group of a Parquet file."""
        with self._parquet() as file:
            groups = range(file.metadata.num_row_groups)
            return [file.metadata.row_group(group).num_rows for group in groups]

    def _rows(self, numbers: Sequence[int]) -> Iterator[tuple[str, bytes | None]]:
        with self._parquet() as file:
            column = f"{picture_column(file.schema_arrow, str(self.path))}.bytes"
            self._check_size(file.metadata, column)
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

    def _check_size(self, metadata: Any, column: str) -> None:
        """Raise a `DamagedError` if a column claims to be much larger than its file."""
        groups = map(metadata.row_group, range(metadata.num_row_groups))
        parts = [group.column(k) for group in groups for k in range(group.num_columns)]
        claimed = sum(x.total_uncompressed_size for x in parts if x.path_in_schema == column)
        if claimed > MAX_INFLATION * self.path.stat().st_size:
            raise DamagedError(
                f"Expected pictures of at most {MAX_INFLATION} times the size of the file; those "
                f"in {self.path} claim {claimed:,} bytes."
            )

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """The file, open; whatever is wrong with it is one sentence."""
        try:
            with opened(self.path) as file:
                yield file
        except (tarfile.TarError, ValueError, OSError) as error:
            if isinstance(error, DamagedError | FileNotFoundError) or (
                isinstance(error, OSError) and error.errno
            ):
                raise
            raise DamagedError(
                f"Expected a {self.path.suffix} file of pictures; {self.path} is damaged "
                f"({reason(error)})."
            ) from error

    @contextmanager
    def _parquet(self) -> Iterator[Any]:
        check_installed("pyarrow", f"to read {self.path.name}", "hf")
        from pyarrow import parquet

        with self._opened() as file:
            yield parquet.ParquetFile(file)


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
