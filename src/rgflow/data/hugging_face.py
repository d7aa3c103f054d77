"""Data sets of Hugging Face's library `datasets`: Parquet files, folders, names of the hub."""

import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from rgflow.checks import check_installed
from rgflow.data import splitting
from rgflow.data.archives import picture_column
from rgflow.data.cache import cache_folder
from rgflow.data.decoding import Target, pictures
from rgflow.data.images import Array, Pixels
from rgflow.data.source import Request, Source
from rgflow.files import located
from rgflow.reading import read

MAX_PICTURE = 1 << 28
"""Maximum size of the file of a picture, in bytes: an uncompressed one of 89 megapixels."""


def source(request: Request) -> Source:
    """The set `hf:NAME_OR_PATH`: images of its first column of images; columns of whole numbers are
    labels.

    Args:
        request: As asked by `rgflow.data.load`.

    Raises:
        FileNotFoundError: If there is no such file or folder, and nothing may be downloaded.
        ValueError: If `datasets` isn't installed, or can't read the set, or it has no images.
    """
    target = Target.of(request)
    name = request.argument
    names = splitting.NAMES
    found = sets(name, download=request.download, progress=request.progress)
    parts = {names[key]: rows for key, rows in found.items() if key in names}
    sizes = {split: len(rows) for split, rows in parts.items()}
    part, numbers = splitting.members(sizes, request.split, name)
    rows = parts[part]
    pictures_of, column = encoded(rows, name)

    def picture(n: int) -> Pixels:
        return target.read(BytesIO(content(pictures_of[n][column]) or b""))

    return pictures(
        request,
        target,
        lambda decode: decode(picture, _labels(rows)),
        kind=f"hf-{Path(name).stem[:40]}",
        where=name,
        names=[f"row {number} of {part}" for number in numbers],
        numbers=numbers,
        source="hf",
        name=name,
        rows=rows._fingerprint,
        split=request.split,
        version=3,
    )


def sets(
    name: str, *, download: bool, stream: bool = False, progress: bool = False
) -> dict[str, Any]:
    """The splits of a set that `datasets` can read, by their names there.

    Args:
        name: A Parquet file, a folder, or a name on the hub.
        download: Whether a set of that name may be read from the hub. Nothing else uses the
            network.
        stream: Whether rows are read one after another, without a copy in the cache folder.
        progress: Whether bars are shown on a terminal.

    Raises:
        FileNotFoundError: If there is no such file or folder, and nothing may be downloaded.
        ValueError: If `datasets` isn't installed, or can't read the set.
    """
    path = located(name)
    if not path.exists() and not download:
        raise FileNotFoundError(
            f"Expected a file or folder after hf:; {name} isn't there: check the path, or allow a "
            f"set of that name to be read from the hub with the option download."
        )
    check_installed("datasets", "which hf: needs", "hf")
    import datasets

    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # else every opening calls a server
    if not (progress and sys.stderr.isatty()):
        datasets.disable_progress_bars()
    options = {"streaming": True} if stream else {"cache_dir": str(cache_folder() / "hf")}
    try:
        if path.is_file():
            files = {"train": str(path)}
            return datasets.load_dataset("parquet", data_files=files, **options)
        for mark in ("dataset_dict.json", "state.json"):  # of `save_to_disk`
            if (path / mark).is_file():
                found = datasets.load_from_disk(str(path))
                found = found if isinstance(found, dict) else {"train": found}
                return {k: x.to_iterable_dataset() if stream else x for k, x in found.items()}
        return datasets.load_dataset(str(path) if path.is_dir() else name, **options)
    except Exception as error:  # of many kinds, from several libraries
        because = " ".join(str(error.__cause__ or error).split())
        raise ValueError(
            f"Expected a data set that Hugging Face's datasets can read; got {name} ({because}): "
            f"check it."
        ) from error


def encoded(rows: Any, name: str) -> tuple[Any, str]:
    """A set with nothing but its pictures, still encoded, and their keys if they have any; and the
    name of the column of pictures.

    Args:
        rows: One of `sets`.
        name: Name of the set, for the error.

    Raises:
        ValueError: If it has no column of pictures.
    """
    from datasets import Features, Image

    column = picture_column((rows.features or Features()).arrow_schema, name)
    columns = [column, *(key for key in rows.features if key == "__key__")]
    return rows.select_columns(columns).cast_column(column, Image(decode=False)), column


def content(picture: dict[str, Any] | None) -> bytes | None:
    """The bytes of a picture of an `encoded` set, from a regular file where it has none itself."""
    found, path = (picture or {}).get("bytes"), (picture or {}).get("path")
    if found is None and path:
        return read(Path(path), MAX_PICTURE)
    return found


def _labels(rows: Any) -> dict[str, Array]:
    columns = {
        name: np.asarray(rows[name])
        for name, feature in rows.features.items()
        if name.isidentifier() and str(getattr(feature, "dtype", "")).startswith(("int", "uint"))
    }
    return {name: values for name, values in columns.items() if values.dtype.kind in "iu"}
