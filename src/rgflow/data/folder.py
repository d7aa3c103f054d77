"""Any folder of PNG, JPEG and WebP files, at any depth, as images of one size."""

import hashlib
import math
import os
from bisect import bisect
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from rgflow.data.images import Pixels
from rgflow.data.source import Chunk, Request, Source, Split, processors

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
FORMATS = ("PNG", "JPEG", "WEBP")
CHUNK_FILES = 256  # so that the progress bar moves even if each takes long
CHUNK_BYTES = 2**26


def source(request: Request) -> Source:
    """The folder named after the colon in `folder:PATH`, as asked by `rgflow.data.load`.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no path was given, it isn't a folder, or it holds too few images.
    """
    if not request.argument:
        raise ValueError("Expected folder:PATH; got no path; write it after the colon.")
    root = Path(request.argument).expanduser().resolve()
    if not root.exists():
        raise FileNotFoundError(
            f"Expected a folder of images; got {root}, which doesn't exist; check the path."
        )
    if not root.is_dir():
        raise ValueError(f"Expected a folder of images; got the file {root}; name its folder.")

    files = split_files(root, request.split)
    stats = [(root / file).stat() for file in files]
    listing = [
        (file, stat.st_size, stat.st_mtime_ns) for file, stat in zip(files, stats, strict=True)
    ]
    count = min(request.count or len(files), len(files))
    shape = (request.channels, request.height, request.width)
    decode = partial(
        decode_file,
        height=request.height,
        width=request.width,
        channels=request.channels,
        crop=request.crop,
    )
    return Source(
        kind=f"folder-{root.name[:40]}-{request.split}",
        settings={
            "source": "folder",
            "root": str(root),
            "files": hashlib.sha256(repr(listing).encode()).hexdigest(),
            **decode.keywords,
            "version": 1,
        },
        count=count,
        chunks=lambda: _stream(root, files, count, decode, shape, request.workers),
    )


def split_files(root: Path, split: Split) -> list[str]:
    """Relative paths, sorted, of the images of one split of a folder.

    With subfolders `train` and `test`, they are the splits, and `validation` or `val` the third.
    Otherwise each file goes where the hash of its path falls: 90 % train, 5 % validation, 5 %
    test; adding files moves none of the others, save among the few that keep a small split from
    being empty. With `train` and `test` alone, 5 % of `train` are the validation set, likewise.
    Hidden files and folders are left out.

    Raises:
        ValueError: no image, or fewer than one per split.
    """
    if not (root / "train").is_dir() or not (root / "test").is_dir():
        return _share(root, ".", split, ("train", "validation", "test"), (0.9, 0.95))
    validation = next((name for name in ("validation", "val") if (root / name).is_dir()), None)
    if split == "test" or (split == "train" and validation):
        return _find(root, split)
    if validation:
        return _find(root, validation)
    return _share(root, "train", split, ("train", "validation"), (0.95,))


def decode_file(
    path: Path, *, height: int, width: int, channels: int, crop: int | None = None
) -> Pixels:
    """Read one file as an image [C, H, W].

    Turned as its EXIF orientation says, transparency on black, 16 bits as the upper 8, the first
    frame of an animation; then the centre `crop` x `crop` (or what there is of it), the largest
    centred part of the target's proportions, and a bicubic, anti-aliased resize.

    Raises:
        Exception: whatever Pillow raises for a damaged file.
    """
    with Image.open(path, formats=FORMATS) as opened:
        image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I"):  # 16-bit grey, which convert() would clip at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    image = image.convert("RGB")  # grey survives the way through RGB unchanged
    if channels == 1:
        image = image.convert("L")
    if crop is not None:
        w, h = min(crop, image.width), min(crop, image.height)
        left, top = (image.width - w) // 2, (image.height - h) // 2
        image = image.crop((left, top, left + w, top + h))
    image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)


def _find(root: Path, below: str) -> list[str]:
    """Relative paths of all image files below a subfolder, sorted, at least one."""
    paths = (path.relative_to(root) for path in (root / below).rglob("*"))
    files = sorted(
        path.as_posix()
        for path in paths
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.parts)
        and (root / path).is_file()
    )
    if not files:
        raise ValueError(
            f"Expected PNG, JPEG or WebP images in {(root / below).resolve()}; got none; "
            "check the path."
        )
    return files


def _share(
    root: Path, below: str, split: Split, splits: tuple[Split, ...], cuts: tuple[float, ...]
) -> list[str]:
    """The files of one split, where split k takes the hashes from cut k - 1 to cut k."""
    files = _find(root, below)
    if len(files) < len(splits):
        raise ValueError(
            f"Expected at least {len(splits)} images in {root / below}, one each for "
            f"{', '.join(splits)}; got {len(files)}; add images."
        )
    placed = sorted((_place(file), file) for file in files)
    bounds = [0]
    for k, cut in enumerate(cuts, start=1):  # each split gets one file at least
        bound = bisect(placed, (cut, ""))
        bounds.append(min(max(bound, bounds[-1] + 1), len(files) - len(splits) + k))
    bounds.append(len(files))
    k = splits.index(split)
    return sorted(file for _, file in placed[bounds[k] : bounds[k + 1]])


def _place(file: str) -> float:
    """A number in [0, 1) that is as good as random, and always the same for the same path."""
    return int.from_bytes(hashlib.sha256(os.fsencode(file)).digest()[:6], "big") / 2**48


def _stream(
    root: Path,
    files: list[str],
    count: int,
    decode: Callable[[Path], Pixels],
    shape: tuple[int, int, int],
    workers: int | None,
) -> Iterator[Chunk]:
    """Decode the first `count` readable files in threads; Pillow's decoders run side by side."""

    def attempt(file: str) -> Pixels | str:
        try:
            return decode(root / file)
        except Exception as error:  # the only class Pillow's errors have in common
            return f"{file}: {error}"

    size = max(1, min(CHUNK_FILES, CHUNK_BYTES // math.prod(shape)))
    made, position, reason = 0, 0, ""
    with ThreadPoolExecutor(max(1, processors() if workers is None else workers)) as pool:
        while made < count and position < len(files):
            batch = files[position : position + min(size, count - made)]
            images, skipped = list[Pixels](), list[tuple[int, str]]()
            for result in pool.map(attempt, batch):
                if isinstance(result, str):
                    skipped.append((len(images), result))
                    reason = reason or result
                else:
                    images.append(result)
            yield Chunk(np.array(images, np.uint8).reshape(-1, *shape), {}, tuple(skipped))
            position += len(batch)
            made += len(images)
    if not made:
        raise ValueError(
            f"Expected readable images in {root}; got {position} that can't be read, the first "
            f"being {reason}; replace them."
        )
