"""CIFAR-10: 60,000 photographs of ten kinds of things, 32x32 RGB.

Source: the binary version, records of one label and 3,072 bytes, channel by channel. The version
for Python isn't read: it consists of pickles, which run whatever code they hold.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rgflow.data import official, splitting
from rgflow.data.decoding import Decode, Target, pictures
from rgflow.data.images import Pixels
from rgflow.data.source import Chunk, Request, Source, Split, stamp

HOME = "https://www.cs.toronto.edu/~kriz/cifar.html"
FOLDERS = ("", "cifar-10-batches-bin", "cifar10", "cifar10/cifar-10-batches-bin")
FILES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
RECORD = 1 + 3 * 32 * 32
"""Bytes of an image with its label."""


def source(request: Request) -> Source:
    """CIFAR-10; the label is `class`, 0..9.

    Raises:
        FileNotFoundError: If files are missing.
        ValueError: If files are damaged.
    """
    target = Target.of(request)
    files = official.find(request, FILES, folders=FOLDERS, home=HOME)
    parts: dict[Split, list[Path]] = {"train": files[:-1], "test": files[-1:]}
    sizes = {split: sum(map(_records, paths)) for split, paths in parts.items()}
    where = files[0].parent
    part, numbers = splitting.members(sizes, request.split, where)

    def chunks(decode: Decode) -> Iterator[Chunk]:
        records = np.concatenate([_read(path) for path in parts[part]])
        images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return decode(lambda n: target.fit(images[n]), {"class": records[:, 0].astype(np.int64)})

    return pictures(
        request,
        target,
        chunks,
        kind="cifar10",
        where=where,
        numbers=numbers,
        source="cifar10",
        files=[[str(path), *stamp(path)] for path in files],
        split=request.split,
        version=2,
    )


def _records(path: Path) -> int:
    size = path.stat().st_size
    if not size or size % RECORD:
        raise ValueError(
            f"Expected whole records of {RECORD} bytes in {path}; got {size} bytes; get the file "
            "again."
        )
    return size // RECORD


def _read(path: Path) -> Pixels:
    """The records of a file, [n, 3073]."""
    records = np.fromfile(path, np.uint8).reshape(-1, RECORD)
    if records[:, 0].max() > 9:
        raise ValueError(
            f"Expected labels 0 to 9 in {path}; got {records[:, 0].max()}; get the file again."
        )
    return records
