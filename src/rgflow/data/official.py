"""Published sets in their official files, found where the user has put them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from rgflow.data import splitting
from rgflow.data.cache import cache_folder
from rgflow.data.decoding import Target, pictures
from rgflow.data.source import SPLITS, Request, Source, stamp
from rgflow.files import located

CHAIRS = "https://www.di.ens.fr/willow/research/seeing3Dchairs/"
CHAIRS_CROP = 300
"""Pixels of the central crop of 3D Chairs, as in the paper."""


def chairs(request: Request) -> Source:
    """3D Chairs, 86,366 pictures of 600x600 RGB: the tree `rendered_chairs/CHAIR/renders/*.png`.

    Ordered by the hash of their paths, the last tenth are tests, and 5 % of the others validate.
    These are the paper's numbers, 77,730 and 8,636.

    Raises:
        FileNotFoundError: If the folder is missing.
        ValueError: If it has fewer than 20 pictures.
    """
    target = Target.of(request, crop=CHAIRS_CROP)
    (root,) = find(request, ("rendered_chairs/",), folders=("", "chairs"), home=CHAIRS)
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


def look(root: Path, name: str, folders: Sequence[str]) -> Path | None:
    """The first file of this name in some folders of a root.

    With a slash at its end, it is the name of a folder. Each may lie in a folder of its own name,
    as in Kaggle's archives.
    """
    fits = Path.is_dir if name.endswith("/") else Path.is_file
    paths = (root / folder / way for folder in folders for way in (f"{name}/{name}", name))
    return next((path for path in paths if fits(path)), None)


def find(
    request: Request, names: Sequence[str], *, folders: Sequence[str], home: str
) -> list[Path]:
    """Where each file of a set is.

    Args:
        request: What was asked for; it names the root.
        names: Names of files and, with a slash at the end, of folders.
        folders: Folders below the root that may hold them.
        home: Where to get the set.

    Raises:
        FileNotFoundError: If some are missing.
    """
    root = data_root(request)
    found = {name: look(root, name, folders) for name in names}
    paths = [path for path in found.values() if path]
    if len(paths) == len(names):
        return paths
    missing = ", ".join(name for name, path in found.items() if not path)
    got = f"no {missing}" if paths else "none of them"
    raise FileNotFoundError(
        f"Expected {', '.join(names)} of {request.name} in {root} or its folder {request.name}; "
        f"got {got}; get the set from {home} and name its folder with --data_root."
    )
