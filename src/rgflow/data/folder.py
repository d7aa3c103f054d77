"""Any folder of PNG, JPEG and WebP files, at any depth: each an image, or cut into patches."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from rgflow.data import splitting
from rgflow.data.decoding import Target, open_picture, pictures
from rgflow.data.patches import COUNTS, anywhere, cut, reductions
from rgflow.data.source import SPLITS, Chunk, Request, Source, Split, stamp
from rgflow.files import located
from rgflow.text import printable

SUFFIXES = {
    *("", ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp"),
    *(".avif", ".bmp", ".dib", ".dng", ".gif", ".heic", ".heif", ".ico", ".jp2", ".jxl", ".pbm"),
    *(".pgm", ".pnm", ".ppm", ".psd", ".svg", ".tga", ".tif", ".tiff"),
}
"""Of files that are read or, if their content is of another format, named as left out."""


def source(request: Request) -> Source:
    """The pictures in the folder of `folder:PATH` and those below it, or patches of them.

    A patch is cut at a random place of a picture in its own size or reduced by averaging squares of
    2×2 or 4×4 pixels (`rgflow.data.patches.reductions`). Every picture gives as many; their labels
    are those of `patches`. Pictures smaller than a patch, and those of one colour, are left out.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it has no pictures, too few, or none that patches can be cut from; if it
            can't be read.
    """
    root = located(request.argument)
    if not root.exists():
        raise FileNotFoundError(
            f"Expected a folder of images; got {root}, which doesn't exist; check the path."
        )
    if not root.is_dir():
        raise ValueError(f"Expected a folder of images; got the file {root}; name its folder.")

    target = Target.of(request)
    files = split_files(root, request.split, few=request.patches)
    listing = [(file, *stamp(root / file)) for file in files]
    settings: dict[str, Any] = {
        "source": "folder",
        "root": str(root),
        "files": hashlib.sha256(repr(listing).encode()).hexdigest(),
        "version": 3,
    }
    kind = f"folder-{root.name[:40]}"
    if not request.patches:
        return pictures(
            request,
            target,
            lambda decode: decode(lambda k: target.read(root / files[k])),
            kind=kind,
            where=root,
            names=files,
            **settings,
        )
    if request.crop is not None:
        raise ValueError(
            f"Expected no crop of pictures that patches are cut from; got {request.crop}; leave it "
            "out."
        )
    count = request.count or COUNTS[request.split]
    of_patches = {"split": request.split, "seed": request.seed, "shape": target.shape}
    return Source(
        kind=f"{kind}-patches-{request.split}",
        # Picture by picture, each opened once, so fewer patches aren't the first of more.
        settings={**settings, **of_patches, "patches": count},
        count=count,
        chunks=lambda: _patches(root, files, request, count),
    )


def _patches(root: Path, files: Sequence[str], request: Request, count: int) -> Iterator[Chunk]:
    """Patches of all pictures that serve, which share the number equally."""
    random = np.random.default_rng((request.seed, SPLITS.index(request.split)))
    reason, made = "", 0
    for k, file in enumerate(files):
        if not (share := (k + 1) * count // len(files) - k * count // len(files)):
            continue
        try:
            image = open_picture(root / file)
            if image.width < request.width or image.height < request.height:
                raise ValueError(f"{image.width} × {image.height} pixels are less than a patch")
            sizes = reductions(image, request)
            if not np.ptp(sizes[0][1], (0, 1)).any():
                raise ValueError("it has one colour only")
        except Exception as error:  # of decoders, too
            left_out = printable(f"{file}: {error}")
            reason = reason or left_out
            yield Chunk(np.empty((0, *Target.of(request).shape), np.uint8), {}, ((0, left_out),))
            continue
        yield from cut(share, anywhere(k, sizes, request, random))
        made += share
    if not made:
        raise ValueError(
            f"Expected pictures in {root} that patches of {request.height} × {request.width} "
            f"pixels can be cut from, for the {request.split} split; got none, the first being "
            f"{reason}: add others."
        )


def split_files(root: Path, split: Split, *, few: bool = False) -> list[str]:
    """Relative paths of the images of one split of a folder, in the order of their hashes.

    That order is as good as random, also where every class has a subfolder. If subfolders have
    names of two or three splits (`splitting.NAMES`), they are the splits; a validation or test
    split without a subfolder is 5 % of `train`. Otherwise the hash of a path decides: 90 % train,
    5 % validation, 5 % test. Adding files moves no others, except the few that keep a small split
    from being empty. Hidden files and folders are left out.

    Args:
        root: The folder.
        split: The split that is wanted.
        few: Whether fewer than 20 files are for training and validation only, as all count.

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
    if few and len(files) * splitting.SHARE < 1 and "test" in carved:
        carved.remove("test")
        if split == "test":
            raise ValueError(
                f"Expected a subfolder test in {root}, or enough pictures to take 5 % of them for "
                f"the test; got {len(files)}: add more, or use rgflow score on others."
            )
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
