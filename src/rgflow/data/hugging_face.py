"""Data sets of Hugging Face's library `datasets`: Parquet files, folders, names of the hub."""

import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from rgflow.data import splitting
from rgflow.data.cache import cache_folder
from rgflow.data.decoding import Target, pictures
from rgflow.data.images import Array, Pixels
from rgflow.data.source import Request, Source
from rgflow.data.stream import picture_column
from rgflow.files import located


def source(request: Request) -> Source:
    """What is named after the colon in `hf:NAME_OR_PATH`, as asked by `rgflow.data.load`.

    The images are those of the first column of images; columns of whole numbers are labels.
    """
    target = Target.of(request)
    name = request.argument
    names = splitting.NAMES
    parts = {names[key]: rows for key, rows in _open(name, request).items() if key in names}
    sizes = {split: len(rows) for split, rows in parts.items()}
    part, numbers = splitting.members(sizes, request.split, name)
    rows = parts[part]
    column = _pictures(name, rows)

    def read(n: int) -> Pixels:
        (picture,) = column[n].values()
        content = picture["bytes"]
        return target.read(Path(picture["path"]) if content is None else BytesIO(content))

    return pictures(
        request,
        target,
        lambda decode: decode(read, _labels(rows)),
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


def _open(name: str, request: Request) -> dict[str, Any]:
    """The parts of a set, by the names they have there."""
    try:
        import datasets
    except ImportError as error:
        raise ValueError(
            "Expected the package datasets, which hf: needs; it isn't installed; "
            "run pip install 'rgflow[hf]'."
        ) from error

    path = located(name)
    if not path.exists() and not request.download:
        raise ValueError(
            f"Expected a file or folder after hf:; got {name}, which isn't there; check the path, "
            "or allow a set of that name to be downloaded from the hub with --download true."
        )
    if not (request.progress and sys.stderr.isatty()):
        datasets.disable_progress_bars()
    storage = str(cache_folder() / "hf")
    try:
        if path.is_file():
            files = {"train": str(path)}
            return datasets.load_dataset("parquet", data_files=files, cache_dir=storage)
        if (path / "dataset_dict.json").is_file():
            return datasets.load_from_disk(str(path))
        if (path / "state.json").is_file():
            return {"train": datasets.load_from_disk(str(path))}
        return datasets.load_dataset(str(path) if path.is_dir() else name, cache_dir=storage)
    except Exception as error:  # of many kinds, from several libraries
        reason = " ".join(str(error.__cause__ or error).split())
        raise ValueError(
            f"Expected a data set that Hugging Face's datasets can read; got {name} ({reason}); "
            "check it."
        ) from error


def _pictures(name: str, rows: Any) -> Any:
    """The column of images alone, still encoded: each {column: {bytes, path}}."""
    from datasets import Image

    column = picture_column(rows.features, name)
    return rows.select_columns([column]).cast_column(column, Image(decode=False))


def _labels(rows: Any) -> dict[str, Array]:
    columns = {
        name: np.asarray(rows[name])
        for name, feature in rows.features.items()
        if name.isidentifier() and str(getattr(feature, "dtype", "")).startswith(("int", "uint"))
    }
    return {name: values for name, values in columns.items() if values.dtype.kind in "iu"}
