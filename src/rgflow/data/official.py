"""Published sets in their official files, found where the user has put them."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from rgflow.data import splitting
from rgflow.data.cache import cache_folder
from rgflow.data.decoding import Decode, Target, pictures
from rgflow.data.images import Array, Pixels
from rgflow.data.source import SPLITS, Chunk, Request, Source, Split, stamp
from rgflow.files import located
from rgflow.reading import MAX_TABLE_BYTES, read

HOMES = {
    "cifar10": "https://www.cs.toronto.edu/~kriz/cifar.html",
    "celeba": "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    "chairs": "https://www.di.ens.fr/willow/research/seeing3Dchairs/",
}
"""Where to get the sets."""
FOLDERS = ("", "cifar-10-batches-bin", "Img", "Eval", "Anno")
"""Folders that may hold files of a set, as its authors give it out."""
CIFAR10_FILES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
CIFAR10_RECORD = 1 + 3 * 32 * 32
"""Bytes of an image with its label."""
CELEBA_CROP, CHAIRS_CROP = 148, 300
"""Pixels of the central crop, as in the paper."""
NAME = re.compile(r"\w+")
"""Names of attributes."""


def cifar10(request: Request) -> Source:
    """CIFAR-10, 60,000 photographs of ten kinds of things, 32x32 RGB; the label is `class`, 0..9.

    Of the binary version, records of one label and 3,072 bytes, channel by channel. The version for
    Python isn't read: it consists of pickles, which run whatever code they hold.

    Raises:
        FileNotFoundError: If files are missing.
        ValueError: If files are damaged.
    """
    target = Target.of(request)
    files = find(request, CIFAR10_FILES)
    parts: dict[Split, list[Path]] = {"train": files[:-1], "test": files[-1:]}
    sizes = {split: sum(map(_count_of, paths)) for split, paths in parts.items()}
    where = files[0].parent
    part, numbers = splitting.members(sizes, request.split, where)

    def chunks(decode: Decode) -> Iterator[Chunk]:
        records = np.concatenate([_records_of(path) for path in parts[part]])
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


def _count_of(path: Path) -> int:
    size = path.stat().st_size
    if not size or size % CIFAR10_RECORD:
        raise ValueError(
            f"Expected whole records of {CIFAR10_RECORD} bytes in {path}; got {size} bytes; get "
            f"the file again."
        )
    return size // CIFAR10_RECORD


def _records_of(path: Path) -> Pixels:
    """The records of a file, [n, 3073]."""
    records = np.fromfile(path, np.uint8).reshape(-1, CIFAR10_RECORD)
    if records[:, 0].max() > 9:
        raise ValueError(
            f"Expected labels 0 to 9 in {path}; got {records[:, 0].max()}; get the file again."
        )
    return records


def celeba(request: Request) -> Source:
    """CelebA, 202,599 faces, aligned and cut out by its authors to 178x218 RGB; if there is
    `list_attr_celeba.txt`, each of its 40 attributes is a label of its own name, -1 or 1.

    The entry in the cache depends on the list of pictures and the time of their folder, not on the
    pictures, so that loading doesn't touch 200,000 files.

    Raises:
        FileNotFoundError: If files are missing.
        ValueError: If the lists are damaged.
    """
    target = Target.of(request, crop=CELEBA_CROP)
    root, partition = find(request, ("img_align_celeba/", "list_eval_partition.txt"))
    attributes = look(request, "list_attr_celeba.txt")
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


def chairs(request: Request) -> Source:
    """3D Chairs, 86,366 pictures of 600x600 RGB: the tree `rendered_chairs/CHAIR/renders/*.png`.

    Ordered by the hash of their paths, the last tenth are tests, and 5 % of the others validate.
    These are the paper's numbers, 77,730 and 8,636.

    Raises:
        FileNotFoundError: If the folder is missing.
        ValueError: If it has fewer than 20 pictures.
    """
    target = Target.of(request, crop=CHAIRS_CROP)
    (root,) = find(request, ("rendered_chairs/",))
    paths = (path.relative_to(root).as_posix() for path in root.glob("*/renders/[!.]*.png"))
    files = sorted(paths, key=lambda file: (splitting.place(file), file))
    if len(files) < 20:
        raise ValueError(
            f"Expected at least 20 pictures CHAIR/renders/*.png in {root}; got {len(files)}; "
            "check the folder."
        )
    test = len(files) - len(files) // 10
    bounds = (0, test - test // 20, test, len(files))
    first = SPLITS.index(request.split)
    files = files[bounds[first] : bounds[first + 1]]
    return pictures(
        request,
        target,
        lambda decode: decode(lambda k: target.read(root / files[k])),
        kind="chairs",
        where=root,
        names=files,
        source="chairs",
        root=[str(root), *stamp(root)],
        files=hashlib.sha256(repr(files).encode()).hexdigest(),
        version=3,
    )


def data_root(request: Request) -> Path:
    """The folder that the user names, or else `downloads` in the cache folder."""
    return located(request.data_root or str(cache_folder() / "downloads"))


def look(request: Request, name: str) -> Path | None:
    """The first file of a name in the folder that the user names, or else in `downloads` in the
    cache folder, or in a folder of the set there, or in one of `FOLDERS`.

    With a slash at its end, it is the name of a folder. Each may lie in a folder of its own name,
    as in Kaggle's archives.
    """
    fits, root = Path.is_dir if name.endswith("/") else Path.is_file, data_root(request)
    folders = (root / of_set / part for of_set in ("", request.name) for part in FOLDERS)
    paths = (folder / way for folder in folders for way in (f"{name}/{name}", name))
    return next((path for path in paths if fits(path)), None)


def find(request: Request, names: Sequence[str]) -> list[Path]:
    """Where each file of a set is.

    Args:
        request: What was asked for; it names the set and the root.
        names: Names of files and, with a slash at the end, of folders.

    Raises:
        FileNotFoundError: If some are missing.
    """
    found = {name: look(request, name) for name in names}
    paths = [path for path in found.values() if path]
    if len(paths) == len(names):
        return paths
    missing = ", ".join(name for name, path in found.items() if not path)
    got = f"no {missing}" if paths else "none of them"
    raise FileNotFoundError(
        f"Expected {', '.join(names)} of {request.name} in {data_root(request)} or its folder "
        f"{request.name}; got {got}; get the set from {HOMES[request.name]} and name its folder "
        f"with --data_root."
    )
