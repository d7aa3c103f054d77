"""MNIST: 70,000 handwritten digits, 28x28 grey.

Source: the idx files, which may be compressed. For a size of 32x32 they get a margin of 2 black
pixels; other sizes are made by resizing.
"""

import gzip
import math
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np

from rgflow.data import official, splitting
from rgflow.data.decoding import Decode, Target, pictures
from rgflow.data.images import Pixels
from rgflow.data.source import Chunk, Request, Source, Split, stamp
from rgflow.reading import MAX_DEFLATE_RATIO, DamagedError, opened

HOME = "https://ossci-datasets.s3.amazonaws.com/mnist/"
"""A mirror, as the authors' address no longer serves the files."""
FOLDERS = ("", "mnist", "MNIST", "MNIST/raw", "raw")
MD5 = {
    "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
}
"""MD5 sums of the compressed files."""
MARGIN = 2
"""Black pixels around a digit in images of 32×32."""


def source(request: Request) -> Source:
    """MNIST; the label is `class`, 0..9.

    Raises:
        FileNotFoundError: If files are missing.
        ValueError: If files are damaged.
    """
    target = Target.of(request)
    files = official.find(request, list(MD5), folders=FOLDERS, home=HOME, fetch=fetch)
    parts: dict[Split, list[Path]] = {"train": files[:2], "test": files[2:]}
    sizes = {split: len(_read(paths[0], 3, header_only=True)) for split, paths in parts.items()}
    where = files[0].parent
    part, numbers = splitting.members(sizes, request.split, where)

    def chunks(decode: Decode) -> Iterator[Chunk]:
        images, classes = _read(parts[part][0], 3), _read(parts[part][1], 1)
        if len(images) != len(classes):
            raise ValueError(
                f"Expected a label for each image of {parts[part][0]}; got {len(classes)} for "
                f"{len(images)} in {parts[part][1]}; get both files again."
            )
        if (target.height, target.width, target.crop) == (32, 32, None):
            images = np.pad(images, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)))
        return decode(lambda n: target.fit(images[n]), {"class": classes.astype(np.int64)})

    return pictures(
        request,
        target,
        chunks,
        kind="mnist",
        where=where,
        numbers=numbers,
        source="mnist",
        files=[[str(path), *stamp(path)] for path in files],
        split=request.split,
        version=2,
    )


def fetch(folder: Path, progress: bool) -> None:
    """Download the four files into a folder, 12 MB."""
    for name, md5 in MD5.items():
        official.download(f"{HOME}{name}.gz", folder / f"{name}.gz", md5, progress=progress)


@contextmanager
def _open(path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """Open a file decompressed, with its claimed uncompressed size if known."""
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if path.suffix != ".gz":
            yield file, size
            return
        file.seek(max(size - 4, 0))
        claimed = int.from_bytes(file.read(4), "little")  # less what are multiples of 4 GiB
        file.seek(0)
        with gzip.open(file) as unpacked:
            yield cast(IO[bytes], unpacked), min(claimed, size * MAX_DEFLATE_RATIO)


def _read(path: Path, dimensions: int, *, header_only: bool = False) -> Pixels:
    """The array in a file. Its header holds a magic number for bytes and the number of dimensions,
    then their sizes; if only the header is wanted, an array of that shape that takes no memory."""
    offset = 4 * (dimensions + 1)
    try:
        with _open(path) as (file, size):
            magic, *shape = struct.unpack(f">{dimensions + 1}I", file.read(offset))
            if magic != 0x800 + dimensions:
                raise DamagedError(f"the magic number {magic}")
            count = math.prod(shape)
            if count != size - offset:
                raise DamagedError(f"a header that claims {count:,} bytes of {size - offset:,}")
            if header_only:
                return np.broadcast_to(np.uint8(0), shape)
            # To the end, where gzip compares its sum.
            return np.frombuffer(file.read(count + 1), np.uint8).reshape(shape)
    except (struct.error, gzip.BadGzipFile, EOFError, zlib.error, ValueError) as error:
        raise ValueError(
            f"Expected {path} to be an idx file of bytes in {dimensions} dimensions; got {error}; "
            "get the file again."
        ) from error
