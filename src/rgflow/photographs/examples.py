"""Damaged photographs to try repairs on, from packages that rgflow depends on."""

import io

import numpy as np
from PIL import Image

from rgflow.cells import Mask
from rgflow.data.images import Pixels
from rgflow.data.patches import photograph
from rgflow.photographs.simulation import (
    Cracks,
    DeadPixels,
    Dust,
    Folds,
    Hairs,
    MissingBlocks,
    Scan,
    Scratches,
    Simulator,
    Specks,
    Text,
)

FILE = Scan(blur=(0, 0), noise=(0, 0), gain=(1, 1), gamma=(1, 1), compressed=0)
PRINT = (
    Folds(number=(0.03, 0.03), width=(3, 5)),
    Cracks(number=(0.1, 0.1)),
    Hairs(number=(0.3, 0.3), width=(1, 2.5)),
    Dust(number=(3, 3), width=(2, 8)),
    Scratches(number=(0.5, 0.5), width=(1, 2)),
)
EXAMPLES: dict[str, tuple[str, Simulator]] = {
    name: (which, Simulator(chances=[(kind, 1.0) for kind in kinds], scan=scan))
    for name, which, kinds, scan in (
        ("scratches", "china", (Scratches(number=(1, 1)),), FILE),
        ("text", "flower", (Text(shades=((255, 255),), number=(0.5, 0.5)),), FILE),
        ("dust", "astronaut", (Dust(number=(6, 6)), Specks(number=(10, 10))), FILE),
        ("dead-pixels", "chelsea", (DeadPixels(number=(400, 400)),), FILE),
        ("blocks", "coffee", (MissingBlocks(number=(3, 3), edges=(8,)),), FILE),
        ("print", "rocket", PRINT, Scan()),
    )
}
"""By kind of damage: the photograph, and what damages it."""


def whole(name: str) -> io.BytesIO:
    """A PNG file of a photograph of `EXAMPLES` without damage.

    Example:
        >>> Image.open(whole("dust")).size
        (512, 512)
    """
    which = EXAMPLES[name][0]
    return _file(photograph(which), which)


def damaged(name: str) -> tuple[io.BytesIO, Mask]:
    """A PNG file of a damaged photograph, and what is damaged, [H, W].

    Example:
        >>> file, mask = damaged("scratches")
        >>> Image.open(file).size, mask.shape
        ((640, 427), (427, 640))
    """
    which, simulator = EXAMPLES[name]
    made = simulator(photograph(which), np.random.default_rng(4))
    return _file(made.picture, which), made.mask


def _file(pixels: Pixels, name: str) -> io.BytesIO:
    """Pixels [3, H, W] as a PNG file of some name."""
    file = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(file, "PNG")
    file.seek(0)
    file.name = f"{name}.png"
    return file
