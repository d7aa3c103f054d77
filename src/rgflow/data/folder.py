"""Any folder of PNG, JPEG and WebP files, at any depth."""

import hashlib
import os
from pathlib import Path
from typing import NoReturn

from rgflow.data import splitting
from rgflow.data.decoding import Target, pictures
from rgflow.data.source import SPLITS, Request, Source, Split, stamp
from rgflow.files import located

SUFFIXES = {
    *("", ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp"),
    *(".avif", ".bmp", ".dib", ".dng", ".gif", ".heic", ".heif", ".ico", ".jp2", ".jxl", ".pbm"),
    *(".pgm", ".pnm", ".ppm", ".psd", ".svg", ".tga", ".tif", ".tiff"),
}
"""Of files that are read or, if their content is of another format, named as left out."""


def source(request: Request) -> Source:
    """The pictures in the folder of `folder:PATH` and those below it.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it has no pictures, or can't be read.
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
    return pictures(
        request,
        target,
        lambda decode: decode(lambda k: target.read(root / files[k])),
        kind=f"folder-{root.name[:40]}",
        where=root,
        names=files,
        source="folder",
        root=str(root),
        files=hashlib.sha256(repr(listing).encode()).hexdigest(),
        version=3,
    )


def split_files(root: Path, split: Split) -> list[str]:
    """Relative paths of the images of one split of a folder, in the order of their hashes.

    That order is as good as random, also where every class has a subfolder. If subfolders have
    names of two or three splits (`splitting.NAMES`), they are the splits; a validation or test
    split without a subfolder is 5 % of `train`. Otherwise the hash of a path decides: 90 % train,
    5 % validation, 5 % test. Adding files moves no others, except the few that keep a small split
    from being empty. Hidden files and folders are left out.

    Raises:
        ValueError: If there is no image, or fewer than one per split; if a folder can't be read,
            or subfolders don't say what to train on.
    """
    own_splits = _own_splits(root)
    if len(own_splits) < 2:
        own_splits = {"train": "."}
    if split != "train" and split in own_splits:
        return _find(root, own_splits[split])
    if "train" not in own_splits:
        raise ValueError(
            f"Expected a subfolder train in {root}; got {' and '.join(own_splits.values())} "
            f"alone; add it."
        )
    carved = [name for name in SPLITS if name == "train" or name not in own_splits]
    files = _find(root, own_splits["train"])
    return [files[k] for k in splitting.share(files, split, carved, root / own_splits["train"])]


def _own_splits(root: Path) -> dict[Split, str]:
    """The subfolders that are called as splits are, whatever their case."""
    _, subfolders, _ = next(os.walk(root, onerror=_refuse))
    own_splits: dict[Split, str] = {}
    for name in sorted(subfolders):
        if split := splitting.NAMES.get(name.lower()):
            if split in own_splits:
                raise ValueError(
                    f"Expected one subfolder of {split} images in {root}; got {own_splits[split]} "
                    f"and {name}; move one away."
                )
            own_splits[split] = name
    return own_splits


def _find(root: Path, below: str) -> list[str]:
    """Relative paths of all image files below a subfolder, by their hashes, at least one."""
    files, seen = list[str](), set[str]()
    # Much faster than Path.rglob.
    for folder, subfolders, names in os.walk(root / below, onerror=_refuse, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link made another path to it, or even a circle
            subfolders.clear()
            continue
        seen.add(real)
        # In order, so that of several paths to a folder the same one counts on every machine.
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
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


def _refuse(error: OSError) -> NoReturn:
    raise ValueError(
        f"Expected a folder that can be read; got {error.filename} ({error.strerror}); change its "
        "permissions or move it away."
    ) from error
