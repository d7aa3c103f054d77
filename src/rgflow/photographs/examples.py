"""Damaged photographs to try repairs on: simulated damage of photographs from packages that rgflow
depends on."""

import io

import numpy as np
from PIL import Image

from rgflow.cells import Mask
from rgflow.data.patches import photograph
from rgflow.photographs.simulation import (
    Damage,
    DeadPixels,
    Dust,
    Hairs,
    MissingBlocks,
    Scan,
    Scratches,
    Simulator,
    Specks,
    Text,
)

_SCAN = Scan(blur=(0.3, 0.3), noise=(1.0, 1.0), gain=(1, 1), gamma=(1, 1), compressed=0.0)
_WHITE = ((225, 255),)

EXAMPLES: dict[str, tuple[str, tuple[Damage, ...]]] = {
    "scratches": ("china", (Scratches(number=(0.6, 0.6), opacity=(0.8, 1), shades=_WHITE),)),
    "text": ("flower", (Text(number=(0.3, 0.3), width=(24, 34), opacity=(1, 1), shades=_WHITE),)),
    "dust": ("coffee", (Dust(opacity=(0.5, 1)), Specks(number=(5, 5), opacity=(0.5, 1)))),
    "pixels": ("astronaut", (DeadPixels(number=(490, 490)),)),
    "blocks": ("coffee", (MissingBlocks(number=(8, 8), edges=(8,), shades=((40, 40),)),)),
    "print": ("astronaut", (Scratches(number=(0.3, 0.3)), Hairs(), Dust(number=(1, 1)), Specks())),
}
"""By what they show: the photograph, and the kinds of damage."""


def damaged(name: str) -> tuple[io.BytesIO, Mask]:
    """A PNG file of a damaged photograph, and what is damaged, [H, W].

    Example:
        >>> file, mask = damaged("scratches")
        >>> Image.open(file).size, mask.shape
        ((640, 427), (427, 640))
    """
    which, kinds = EXAMPLES[name]
    simulator = Simulator(chances=[(kind, 1.0) for kind in kinds], scan=_SCAN)
    made = simulator(photograph(which), np.random.default_rng(4))
    file = io.BytesIO()
    Image.fromarray(made.picture.transpose(1, 2, 0)).save(file, "PNG")
    file.seek(0)
    file.name = f"{which}.png"
    return file, made.mask
