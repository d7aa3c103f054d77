"""Data sets made once, stored, and memory-mapped from then on.

One folder per set, `KIND-KEY-COUNT`, the key being a hash of all that decides its bytes:

    images.npy            [N, C, H, W]: uint8, or float32 for fields
    label-NAME.npy        [N, ...], one per label
    manifest.json         settings, shapes and types, skipped files; written last
"""

import hashlib
import json
import os
import re
import shutil
import time
import zlib
from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn

from rgflow.data.images import Array, Images
from rgflow.data.source import Source
from rgflow.files import located, locked, write_json
from rgflow.reading import DamagedError, instance, map_npy, read_json
from rgflow.text import bars

HALF_MADE = re.compile(r"\..+-[0-9a-f]{16}-\d+-[0-9a-f]{32}")
"""Names of folders of unfinished entries."""
MAX_CHECKED = 1 << 30
"""Maximum size in bytes of an array that is compared with its checksum whenever it is opened:
reading more takes a second or longer."""
OURS = re.compile(r"(images|label-.+)\.npy|manifest\.json")
"""Names of files in an entry."""
# What reading an entry comes to when it is missing, cut short or overwritten. Not OSError: a set
# that can't be read for want of rights or of file handles is not to be deleted.
LOST = (FileNotFoundError, NotADirectoryError, DamagedError)


def cache_folder() -> Path:
    """`$RGFLOW_CACHE`, or `$XDG_CACHE_HOME/rgflow`, or `~/.cache/rgflow`."""
    if chosen := os.environ.get("RGFLOW_CACHE"):
        return located(chosen)
    return located(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "rgflow"


def load(source: Source, *, name: str, progress: bool = True) -> Images:
    """The source's images from the cache, made first if they aren't there.

    A longer set of the same settings serves a shorter one. An entry that is damaged is made
    anew. Two processes may make the same entry at once: the first to finish is kept.

    Raises:
        ValueError: If the cache folder can't be read or written to, or the source can't be made.
    """
    began = time.perf_counter()
    folder = cache_folder()
    settings = json.dumps(source.settings, sort_keys=True)
    key = hashlib.sha256(settings.encode()).hexdigest()[:16]
    stem = f"{source.kind}-{key}"
    for count, entry in sorted((_count(entry), entry) for entry in folder.glob(f"*-{key}-*")):
        if count >= source.count:
            if found := _open(entry, source, name):
                return found
            _remove(entry)

    _remove_abandoned(folder)
    entry = folder / f"{stem}-{source.count}"
    building = folder / f".{entry.name}-{uuid4().hex}"
    try:
        building.mkdir(parents=True)
    except OSError as error:
        raise _unusable("can be written to", folder, error) from error
    try:
        columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with (
            locked(building),  # so that nobody takes it for abandoned
            bars(*columns, transient=False, progress=progress) as shown,
        ):
            task = shown.add_task(f"Preparing {name}", total=source.count)
            _write(building, source, lambda count: shown.advance(task, count))
        try:
            os.replace(building, entry)
        except OSError:  # another process was faster, or else there is a real obstacle
            if not _open(entry, source, name):
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    stored = _open(entry, source, name)
    assert stored, entry
    return replace(stored, seconds=time.perf_counter() - began)


def _unusable(what: str, folder: Path, error: OSError) -> ValueError:
    return ValueError(
        f"Expected a cache folder that {what}; got {folder} ({error.strerror or error}); "
        "set RGFLOW_CACHE to another."
    )


def _write(folder: Path, source: Source, advance: Callable[[int], None]) -> None:
    made, skipped = 0, list[tuple[int, str]]()
    for images, labels, left_out in source.chunks():
        try:
            _append(folder / "images.npy", images)
            for name, rows in labels.items():
                _append(folder / f"label-{name}.npy", rows)
        except OSError as error:  # a full disk, above all
            raise _unusable("has room for the images", folder.parent, error) from error
        skipped += [(made + before, reason) for before, reason in left_out]
        made += len(images)
        advance(len(images) + len(left_out))
    arrays = {path.stem: _layout(map_npy(path)) for path in sorted(folder.glob("*.npy"))}
    write_json(
        folder / "manifest.json",
        {"settings": source.settings, "arrays": arrays, "skipped": skipped},
    )


def _append(path: Path, rows: Array) -> None:
    """Add rows to a `.npy` file, in memory that doesn't depend on how many it has.

    Not by assigning to a memory map, where a full disk is a crash instead of an error.
    """
    if not len(rows):
        return
    before = len(map_npy(path)) if path.exists() else 0
    with path.open("r+b" if before else "wb") as file:
        # NumPy pads headers so that a new number of rows leaves their length as it was.
        shape = (before + len(rows), *rows.shape[1:])
        header = {"shape": shape, "fortran_order": False, "descr": rows.dtype.str}
        np.lib.format.write_array_header_1_0(file, header)
        file.seek(0, os.SEEK_END)
        file.write(rows.tobytes())


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Contents of an entry's manifest file.

    Attributes:
        settings: All that decides its bytes.
        arrays: By name, the type, the shape, and the CRC-32 of every array.
        skipped: The number of images before each file that was left out, and why it was.
    """

    settings: dict[str, Any]
    arrays: dict[str, tuple[str, tuple[int, ...], int]]
    skipped: tuple[tuple[int, str], ...]


def _layout(array: Array) -> tuple[str, tuple[int, ...], int]:
    """A manifest's entry for an array; without a checksum if the array is too large to read at
    every start."""
    known = array.nbytes <= MAX_CHECKED and array.nbytes > 0
    return array.dtype.str, array.shape, zlib.crc32(array.reshape(-1).data) if known else 0


def _open(entry: Path, source: Source, name: str) -> Images | None:
    """The first images of an entry, as many as the source has, or None if it is damaged or gone."""
    count = source.count
    try:
        made = instance(Manifest, read_json(entry / "manifest.json", "a list of what is there"))
        arrays = {array: map_npy(entry / f"{array}.npy") for array in made.arrays}
        if {array: _layout(rows) for array, rows in arrays.items()} != made.arrays:
            return None
    except LOST:
        return None
    except OSError as error:
        raise _unusable("can be read", entry, error) from error
    if "images" not in arrays:
        return None
    images = arrays.pop("images")[:count]
    before = [before for before, _ in made.skipped]
    kept = [k + bisect_right(before, k) for k in range(len(images))]
    return Images(
        name=name,
        images=images,
        numbers=None if source.numbers is None else tuple(source.numbers[k] for k in kept),
        files=None if source.files is None else tuple(source.files[k] for k in kept),
        labels={array.removeprefix("label-"): rows[:count] for array, rows in arrays.items()},
        skipped=tuple(reason for before, reason in made.skipped if before < count),
        folder=entry,
    )


def _count(entry: Path) -> int:
    """Number of images in an entry, from the end of its name; 0 for a foreign folder."""
    end = entry.name.rpartition("-")[2]
    return int(end) if end.isdecimal() and not entry.name.startswith(".") else 0


def _remove_abandoned(folder: Path) -> None:
    """Delete unfinished entries that are older than a day and not locked, as of killed
    processes."""
    for path in folder.glob(".*-*"):  # the folder may hold what isn't ours
        with suppress(OSError):
            if HALF_MADE.fullmatch(path.name) and time.time() - path.stat().st_mtime > 86_400:
                with locked(path) as alone:
                    if alone:
                        shutil.rmtree(path, ignore_errors=True)


def _remove(entry: Path) -> None:
    """Delete an entry, renaming it first so that no reader sees it half deleted; if it contains
    foreign files, only rename it."""
    try:
        ours = all(OURS.fullmatch(path.name) for path in entry.iterdir())
        mark = "." if ours else "kept."
        aside = entry.rename(entry.with_name(f"{mark}{entry.name}-{uuid4().hex}"))
    except (FileNotFoundError, NotADirectoryError):
        return  # another process did
    if ours:
        shutil.rmtree(aside, ignore_errors=True)
