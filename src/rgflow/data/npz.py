"""Images in a NumPy archive, `.npz`: arrays of bytes, with the channels first, last or left out.

They are read into memory whole, as an archive can't be mapped.
"""

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from errno import EINVAL
from pathlib import Path

import numpy as np

from rgflow.data import splitting
from rgflow.data.decoding import Decode, Target, pictures
from rgflow.data.images import Array
from rgflow.data.source import Chunk, Request, Source, Split, stamp
from rgflow.files import located
from rgflow.reading import DamagedError, Npy, check_member, npy_header, opened, reason

WHOLE = ("images", "x", "arr_0")
"""Names of an array that holds all images."""
FREE_COUNT = 100_000
"""Maximum number of images in an archive of any size; beyond it, each image must take at least a
byte."""


def source(request: Request) -> Source:
    """The images in the archive of `npz:PATH`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or has no array of images.
    """
    target = Target.of(request)
    path = located(request.argument)
    headers = _headers(path)
    arrays = _arrays(path, headers)
    for name in arrays.values():
        _channels_last(path, name, headers[name])
    sizes = {split: headers[name].shape[0] for split, name in arrays.items()}
    if (claimed := sum(sizes.values())) > path.stat().st_size + FREE_COUNT:
        raise ValueError(
            f"Expected at least a byte for every image; {path} claims {claimed:,} images in "
            f"{path.stat().st_size:,} bytes."
        )
    part, numbers = splitting.members(sizes, request.split, path)
    images = arrays[part]
    last = _channels_last(path, images, headers[images])

    def chunks(decode: Decode) -> Iterator[Chunk]:
        rows = _array(path, images)
        if rows.ndim == 4 and not last:
            rows = rows.transpose(0, 2, 3, 1)
        rows = rows.squeeze(3) if rows.shape[3:] == (1,) else rows
        return decode(lambda n: target.fit(rows[n]))

    return pictures(
        request,
        target,
        chunks,
        kind=f"npz-{path.stem[:40]}",
        where=path,
        numbers=numbers,
        source="npz",
        file=[str(path), *stamp(path)],
        split=request.split,
        version=4,
    )


def _headers(path: Path) -> dict[str, Npy]:
    """Headers of the archive's arrays, by name, without reading the data."""
    headers, others = dict[str, Npy](), list[DamagedError]()
    with _archive(path) as archive:
        for member in archive.infolist():
            if member.filename.endswith(".npy"):
                try:
                    check_member(member)
                    with archive.open(member) as file:
                        header = npy_header(file, member.file_size)
                    headers[member.filename.removesuffix(".npy")] = header
                except DamagedError as error:  # or an array of something else, beside images
                    others.append(DamagedError(f"{member.filename}: {error}"))
        if others and not headers:
            raise others[0]
    return headers


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive; errors become one sentence."""
    if path.is_dir():
        raise ValueError(f"Expected a NumPy archive; got the folder {path}; name a file in it.")
    try:
        with opened(path, "a NumPy archive") as file, zipfile.ZipFile(file) as archive:
            yield archive
    except Exception as error:  # whatever zipfile raises for what isn't one
        if isinstance(error, OSError) and error.errno != EINVAL:  # no rights, no room
            raise
        raise ValueError(
            f"Expected a NumPy archive in {path}; got a damaged one ({reason(error)})."
        ) from error


def _arrays(path: Path, headers: Mapping[str, Npy]) -> dict[Split, str]:
    """The names of the arrays of images, by split."""
    arrays: dict[Split, str] = {}
    for word, split in splitting.NAMES.items():
        for name in (word, f"{word}_images", f"x_{word}"):
            if name in headers:
                arrays.setdefault(split, name)
    if arrays:
        return arrays
    names = list(headers) if len(headers) == 1 else [name for name in WHOLE if name in headers]
    if not names:
        raise ValueError(
            f"Expected an array named images, x, arr_0, train or test in {path}; got "
            f"{', '.join(headers) or 'no array'}; rename it."
        )
    return {"train": names[0]}


def _channels_last(path: Path, name: str, header: Npy) -> bool:
    """Whether the channels are the last axis; true if both could be."""
    shape = header.shape
    last = len(shape) == 4 and shape[3] in (1, 3)
    first = len(shape) == 4 and shape[1] in (1, 3)
    if header.dtype != np.uint8 or not (last or first or len(shape) == 3):
        raise ValueError(
            f"Expected {name} in {path} to be bytes (uint8) of shape [N, H, W], [N, H, W, C] or "
            f"[N, C, H, W] with C 1 or 3; got {header.dtype} of shape {list(shape)}; convert it."
        )
    return last


def _array(path: Path, name: str) -> Array:
    """One array of the archive."""
    with _archive(path) as archive:
        check_member(archive.getinfo(f"{name}.npy"))
        with archive.open(f"{name}.npy") as file:
            found: Array = np.lib.format.read_array(file, allow_pickle=False)
            return found
