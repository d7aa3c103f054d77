"""3D Chairs: 1,393 chairs from 62 sides, 600x600 RGB on white.

Source: the tree `rendered_chairs/CHAIR/renders/*.png`.
"""

import hashlib

import numpy as np

from rgflow.data import official, splitting
from rgflow.data.decoding import Target, pictures
from rgflow.data.source import SPLITS, Request, Source, Split, stamp

HOME = "https://www.di.ens.fr/willow/research/seeing3Dchairs/"
CROP = 300
"""Pixels of the central crop, as in the paper."""


def source(request: Request) -> Source:
    """3D Chairs; the label `chair` numbers the chairs.

    Raises:
        FileNotFoundError: If the folder is missing.
        ValueError: If it has fewer than 20 pictures.
    """
    target = Target.of(request, crop=CROP)
    (root,) = official.find(request, ("rendered_chairs/",), folders=("", "chairs"), home=HOME)
    everything = sorted(
        path.relative_to(root).as_posix()
        for path in root.glob("*/renders/*.png")
        if not path.name.startswith(".")
    )
    files = split_files(everything, request.split, where=root)
    chairs = {chair: k for k, chair in enumerate(sorted({_chair(file) for file in everything}))}
    numbers = np.array([chairs[_chair(file)] for file in files])
    return pictures(
        request,
        target,
        lambda decode: decode(lambda k: target.read(root / files[k]), {"chair": numbers}),
        kind="chairs",
        where=root,
        names=files,
        source="chairs",
        root=[str(root), *stamp(root)],
        files=hashlib.sha256(repr(files).encode()).hexdigest(),
        version=2,
    )


def split_files(files: list[str], split: Split, where: object) -> list[str]:
    """The files of one split: of all, ordered by the hash of their paths, the last tenth tests.

    These are the paper's numbers, 77,730 and 8,636 of the 86,366; 5 % of the former validate.

    Raises:
        ValueError: If there are fewer than 20.

    >>> files = [str(number) for number in range(86_366)]
    >>> [len(split_files(files, split, "")) for split in ("train", "validation", "test")]
    [73844, 3886, 8636]
    """
    if len(files) < 20:
        raise ValueError(
            f"Expected at least 20 pictures CHAIR/renders/*.png in {where}; got {len(files)}; "
            "check the folder."
        )
    ordered = sorted(files, key=lambda file: (splitting.place(file), file))
    test = len(files) - len(files) // 10
    validation = test - test // 20
    bounds = (0, validation, test, len(files))
    first = SPLITS.index(split)
    return ordered[bounds[first] : bounds[first + 1]]


def _chair(file: str) -> str:
    return file.partition("/")[0]
