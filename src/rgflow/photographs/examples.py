"""Damaged photographs to try repairs on, from packages that rgflow depends on."""

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from rgflow.cells import Mask
from rgflow.data.patches import photograph

Random = np.random.Generator


def _scratches(shape: tuple[int, int], random: Random) -> Mask:
    image = Image.new("L", shape[::-1])
    draw = ImageDraw.Draw(image)
    for _ in range(7):
        x, y = random.random(2) * shape[::-1]
        angle, bend = random.uniform(0, np.pi), random.uniform(-0.004, 0.004)
        points = []
        for _ in range(60):
            points.append((float(x), float(y)))
            x, y = x + 5 * np.cos(angle), y + 5 * np.sin(angle)
            angle += bend * 5
        draw.line(points, fill=255, width=int(random.integers(1, 4)))
    return np.asarray(image) > 0


def _dust(shape: tuple[int, int], random: Random) -> Mask:
    out: Mask = random.random(shape) < 0.03
    return out


def _text(shape: tuple[int, int], random: Random) -> Mask:
    image = Image.new("L", shape[::-1])
    font = ImageFont.load_default(size=26)
    for top in range(20, shape[0] - 30, 90):
        ImageDraw.Draw(image).text((20, top), "do not copy  " * 6, fill=255, font=font)
    return np.asarray(image) > 128


def _blocks(shape: tuple[int, int], random: Random) -> Mask:
    few = random.random([size // 8 for size in shape]) < 0.05
    out = np.zeros(shape, dtype=bool)
    lost = few.repeat(8, 0).repeat(8, 1)
    out[: lost.shape[0], : lost.shape[1]] = lost
    return out


EXAMPLES: dict[str, tuple[str, Callable[[tuple[int, int], Random], Mask], int]] = {
    "scratches": ("china", _scratches, 250),
    "text": ("flower", _text, 255),
    "dust": ("astronaut", _dust, 0),
    "blocks": ("coffee", _blocks, 40),
}
"""By kind of damage: the photograph, the function that makes the mask, and the grey level of
damaged pixels."""


def damaged(name: str) -> tuple[io.BytesIO, Mask]:
    """A PNG file of a damaged photograph, and what is damaged, [H, W].

    Example:
        >>> file, mask = damaged("scratches")
        >>> Image.open(file).size, mask.shape
        ((640, 427), (427, 640))
    """
    which, make, grey = EXAMPLES[name]
    pixels: NDArray[np.uint8] = photograph(which).transpose(1, 2, 0)
    mask = make((pixels.shape[0], pixels.shape[1]), np.random.default_rng(4))
    bad = np.where(mask[..., None], grey, pixels).astype(np.uint8)
    return _file(bad, which), mask


def _file(pixels: NDArray[np.uint8], name: str) -> io.BytesIO:
    """Pixels [H, W, 3] as a PNG file of some name."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    file.seek(0)
    file.name = f"{name}.png"
    return file
