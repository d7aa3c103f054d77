"""Real-valued fields in a `.npy` file, [N, C, H, W]: configurations of a lattice theory, maps."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rgflow.data import splitting
from rgflow.data.images import Array
from rgflow.data.source import Chunk, Request, Source, stamp
from rgflow.files import located
from rgflow.reading import DamagedError, map_npy

CHUNK_BYTES = 2**24
"""Bytes of fields that are read together."""


def source(request: Request) -> Source:
    """The fields in the file of `fields:PATH`. Their values stay what they are, in float32.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or its fields have another size than asked.
    """
    path = located(request.argument)
    fields = _open(path)
    shape = (request.channels, request.height, request.width)
    if fields.shape[1:] != shape:
        c, h, w = fields.shape[1:]
        raise ValueError(
            f"Expected fields of channels {shape[0]}, height {shape[1]}, width {shape[2]} in "
            f"{path}; got {c}, {h}, {w}; ask for these instead."
        )
    if request.crop is not None:
        raise ValueError(f"Expected no crop, as fields stay as they are; got {request.crop}.")
    _, numbers = splitting.members({"train": len(fields)}, request.split, path)
    count = min(request.count or len(numbers), len(numbers))
    return Source(
        kind=f"fields-{path.stem[:40]}-{request.split}",
        settings={
            "source": "fields",
            "file": [str(path), *stamp(path)],
            "split": request.split,
            "version": 2,
        },
        numbers=numbers,
        count=count,
        chunks=lambda: _stream(path, fields, numbers[:count]),
    )


def _open(path: Path) -> Array:
    try:
        fields: Array = map_npy(path, "a .npy file of fields")
    except DamagedError as error:
        raise ValueError(f"Expected a .npy file of fields; got {path} ({error}).") from error
    if not np.issubdtype(fields.dtype, np.floating) or fields.ndim != 4 or not fields.size:
        raise ValueError(
            f"Expected real numbers (float) of shape [N, C, H, W] in {path}; got {fields.dtype} "
            f"of shape {list(fields.shape)}; convert them."
        )
    return fields


def _stream(path: Path, fields: Array, numbers: list[int]) -> Iterator[Chunk]:
    size = max(1, CHUNK_BYTES // fields[0].nbytes)
    for first in range(0, len(numbers), size):
        part = numbers[first : first + size]
        with np.errstate(over="ignore"):  # beyond float32 is infinite, which is refused
            rows = fields[part].astype(np.float32)
        if not (finite := np.isfinite(rows).all(axis=(1, 2, 3))).all():
            raise ValueError(
                f"Expected finite numbers of type float32 in {path}; got another in field "
                f"{part[int(finite.argmin())]}; remove it."
            )
        yield Chunk(rows, {})
