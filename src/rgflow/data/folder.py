"""Any folder of PNG, JPEG and WebP files, at any depth."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from rgflow.data import splitting
from rgflow.data.decoding import Target, decoded, printable
from rgflow.data.source import Request, Source, Split, located, stamp

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}


def source(request: Request) -> Source:
    """The folder named after the colon in `folder:PATH`, as asked by `rgflow.data.load`.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no path was given, it isn't a folder, or it holds too few images.
    """
    root = located(request.argument)
    if not root.exists():
        raise FileNotFoundError(
            f"Expected a folder of images; got {root}, which doesn't exist; check the path."
        )
    if not root.is_dir():
        raise ValueError(f"Expected a folder of images; got the file {root}; name its folder.")

    target = Target.of(request)
    files = split_files(root, request.split)
    listing = [(file, *stamp(root / file)) for file in files]
    count = min(request.count or len(files), len(files))
    return Source(
        kind=f"folder-{root.name[:40]}-{request.split}",
        settings={
            "source": "folder",
            "root": str(root),
            "files": hashlib.sha256(repr(listing).encode()).hexdigest(),
            **asdict(target),
            "version": 2,
        },
        count=count,
        chunks=lambda: decoded(
            files,
            lambda k: target.read(root / files[k]),
            shape=target.shape,
            count=count,
            where=root,
            workers=request.workers,
        ),
    )


def split_files(root: Path, split: Split) -> list[str]:
    """Relative paths of the images of one split of a folder, in the order of their hashes.

    So the first ones are as good as drawn by lot, also where every class has a subfolder.

    With subfolders `train` and `test`, they are the splits, and `validation` or `val` the third.
    Otherwise each file goes where the hash of its path falls: 90 % train, 5 % validation, 5 %
    test; adding files moves none of the others, save among the few that keep a small split from
    being empty. With `train` and `test` alone, 5 % of `train` are the validation set, likewise.
    Hidden files and folders are left out.

    Raises:
        ValueError: no image, or fewer than one per split.
    """
    if not (root / "train").is_dir() or not (root / "test").is_dir():
        return _share(root, ".", split, ("train", "validation", "test"))
    validation = next((name for name in ("validation", "val") if (root / name).is_dir()), None)
    if split == "test" or (split == "train" and validation):
        return _find(root, split)
    if validation:
        return _find(root, validation)
    return _share(root, "train", split, ("train", "validation"))


def kept_files(root: Path, split: Split, skipped: Iterable[str]) -> list[str]:
    """Those of `split_files` that could be read.

    Args:
        root: The folder.
        split: train, validation or test.
        skipped: What `Images.skipped` says of the others.
    """
    files = split_files(root, split)
    by_words = {printable(f"{file}:"): file for file in files}
    lost = set()
    for line in skipped:
        if begun := [words for words in by_words if line.startswith(words)]:
            lost.add(by_words[max(begun, key=len)])  # a name may begin with another and a colon
    return [file for file in files if file not in lost]


def _find(root: Path, below: str) -> list[str]:
    """Relative paths of all image files below a subfolder, by their hashes, at least one."""
    files = []
    for folder, subfolders, names in os.walk(root / below):  # much faster than Path.rglob
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        here = Path(folder).relative_to(root)
        files += [
            (here / name).as_posix()
            for name in names
            if Path(name).suffix.lower() in SUFFIXES
            and not name.startswith(".")
            and os.path.isfile(os.path.join(folder, name))
        ]
    files.sort(key=lambda file: (splitting.place(file), file))
    if not files:
        raise ValueError(
            f"Expected PNG, JPEG or WebP images in {(root / below).resolve()}; got none; "
            "check the path."
        )
    return files


def _share(root: Path, below: str, split: Split, splits: tuple[Split, ...]) -> list[str]:
    files = _find(root, below)
    return [files[k] for k in splitting.share(files, split, splits, root / below)]
