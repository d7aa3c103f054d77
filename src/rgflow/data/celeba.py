"""CelebA: 202,599 faces, aligned and cut out by its authors to 178x218 RGB.

Source: `img_align_celeba` with its pictures, `list_eval_partition.txt` with the official splits,
and, if it is there, `list_attr_celeba.txt` with 40 attributes.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rgflow.data import official
from rgflow.data.decoding import Decode, Target, pictures
from rgflow.data.images import Array
from rgflow.data.source import SPLITS, Chunk, Request, Source, stamp
from rgflow.reading import MAX_TABLE_BYTES, read

HOME = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
FOLDERS = [below + part for below in ("", "celeba/") for part in ("", "Img", "Eval", "Anno")]
CROP = 148
"""Pixels of the central crop, as in the paper."""
NAME = re.compile(r"\w+")


def source(request: Request) -> Source:
    """CelebA; each attribute is a label of its own name, -1 or 1.

    The entry in the cache depends on the list of pictures and the time of their folder, not on the
    pictures, so that loading doesn't touch 200,000 files.

    Raises:
        FileNotFoundError: If files are missing.
        ValueError: If the lists are damaged.
    """
    target = Target.of(request, crop=CROP)
    root, partition = official.find(
        request, ("img_align_celeba/", "list_eval_partition.txt"), folders=FOLDERS, home=HOME
    )
    attributes = official.look(official.data_root(request), "list_attr_celeba.txt", FOLDERS)
    files = _files(partition, SPLITS.index(request.split))

    def chunks(decode: Decode) -> Iterator[Chunk]:
        labels = _attributes(attributes, files) if attributes else None
        return decode(lambda k: target.read(root / files[k]), labels)

    return pictures(
        request,
        target,
        chunks,
        kind="celeba",
        where=root,
        names=files,
        source="celeba",
        pictures=[str(root), *stamp(root)],
        files=hashlib.sha256("\n".join(files).encode()).hexdigest(),
        attributes=[str(attributes), *stamp(attributes)] if attributes else None,
        version=1,
    )


def _files(partition: Path, part: int) -> list[str]:
    """The names that the list gives to a part: 0 training, 1 validation, 2 test."""
    files = []
    for number, line in enumerate(_lines(partition), start=1):
        name, _, which = line.strip().rpartition(" ")
        if not name or which not in ("0", "1", "2") or Path(name).name != name:
            raise ValueError(
                f"Expected lines such as '000001.jpg 0' in {partition}; got {line[:60]!r} as line "
                f"{number}; get the file again."
            )
        if int(which) == part:
            files.append(name)
    if not files:
        raise ValueError(
            f"Expected {SPLITS[part]} images in {partition}; got none; get the file again."
        )
    return files


def _attributes(path: Path, files: list[str]) -> dict[str, Array]:
    """A row per file of what the list says, by the names of the attributes in its second line."""
    _, header, *lines = [*_lines(path), "", ""]
    names = header.split()
    rows = {name: values for name, *values in filter(None, map(str.split, lines))}
    try:
        values = np.array([rows[file] for file in files], np.int8).reshape(len(files), len(names))
        if not set(np.unique(values)) <= {-1, 1} or not all(map(NAME.fullmatch, names)):
            raise ValueError("other values or names")
    except (KeyError, ValueError, OverflowError) as error:
        raise ValueError(
            f"Expected a line of names and, for each picture, as many values -1 or 1 in {path}; "
            f"got {error}; get the file again."
        ) from error
    return dict(zip(names, values.T, strict=True))


def _lines(path: Path) -> list[str]:
    return read(path, MAX_TABLE_BYTES).decode(errors="replace").rstrip().splitlines()
