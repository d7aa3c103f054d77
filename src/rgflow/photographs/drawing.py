"""Soft lines, areas and words of any width: drawn at several times the resolution and averaged.

Lengths are in pixels. Letters in shapes: H, W rows and columns; P points, columns before rows.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Random = np.random.Generator
Reals = NDArray[Any]
"""Real numbers."""
FINE = 4
"""Shapes are drawn at so many times the resolution, and averaged."""


def between(random: Random, least_and_most: Sequence[float]) -> float:
    """A number in a range, whose logarithm is uniform if the range is positive."""
    least, most = least_and_most
    if least > 0:
        return float(np.exp(random.uniform(np.log(least), np.log(most))))
    return float(random.uniform(least, most))


def clouds(shape: tuple[int, int], size: float, random: Random) -> Reals:
    """Smooth noise [H, W] of standard deviation 1 that changes over `size` pixels."""
    coarse = [int(edge / size) + 3 for edge in shape]
    small = Image.fromarray(random.normal(size=coarse).astype(np.float32))
    large = (int(coarse[1] * size) + 1, int(coarse[0] * size) + 1)
    wide = np.asarray(small.resize(large, Image.Resampling.BICUBIC))
    return np.float32(1.25) * wide[: shape[0], : shape[1]]  # as interpolation makes it smaller


class Canvas:
    """Where shapes are drawn by their opacity, places and widths being real numbers of pixels."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.image = Image.new("L", (shape[1] * FINE, shape[0] * FINE))
        self.pen = ImageDraw.Draw(self.image)

    def line(self, points: NDArray[Any], width: float, opacity: float) -> None:
        """A line through points [P, 2]."""
        places = [(float(x), float(y)) for x, y in points * FINE]
        self.pen.line(places, round(255 * opacity), max(round(width * FINE), 1), joint="curve")

    def area(self, outline: NDArray[Any], opacity: float) -> None:
        """The inside of a closed line [P, 2]."""
        places = [(float(x), float(y)) for x, y in outline * FINE]
        self.pen.polygon(places, fill=round(255 * opacity))

    def words(self, text: str, place: NDArray[Any], size: float, opacity: float) -> None:
        """Words.

        Args:
            text: The words.
            place: Their upper left corner, in pixels, x and y, [2].
            size: Height of a line, in pixels.
            opacity: From 0 to 1.
        """
        x, y = (place * FINE).tolist()
        self.pen.text((x, y), text, fill=round(255 * opacity), font=_font(round(size * FINE)))

    def softened(self, softness: float) -> Reals:
        """What was drawn, [H, W], blurred by a Gaussian of this standard deviation."""
        small = self.image.reduce(FINE).filter(ImageFilter.GaussianBlur(softness))
        return np.asarray(small, dtype=np.float32) / np.float32(255)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def anywhere(shape: tuple[int, int], random: Random) -> NDArray[np.float64]:
    """A place in a picture, column and row."""
    return random.random(2) * shape[::-1]


def wandering(
    start: NDArray[Any], length: float, bend: float, shake: float, random: Random
) -> NDArray[np.float64]:
    """A line [P, 2] whose direction changes steadily, and at random.

    Args:
        start: Its middle, x and y, [2].
        length: In pixels.
        bend: Change of direction, in radians per pixel.
        shake: Standard deviation of random changes, in radians per root of a pixel.
        random: Source of randomness.
    """
    step = min(max(length / 60, 1.0), 6.0)
    count = max(int(length / step), 2)
    turns = bend * step + shake * step**0.5 * random.normal(size=count)
    angles = random.uniform(0, 2 * np.pi) + np.cumsum(turns)
    path = np.cumsum(step * np.stack([np.cos(angles), np.sin(angles)], 1), 0)
    return start + path - path[count // 2]


def outline(
    centre: NDArray[Any], radius: float, length: float, rough: float, random: Random
) -> NDArray[np.float64]:
    """A closed line [P, 2] around a rough ellipse.

    Args:
        centre: x and y, [2].
        radius: Mean radius, in pixels.
        length: How many times as long as wide it is.
        rough: How far the radius varies, as a share of it.
        random: Source of randomness.
    """
    turns, waves = np.linspace(0, 2 * np.pi, 24, endpoint=False), np.arange(2, 7)
    sizes = rough * random.normal(size=len(waves)) / waves**0.5
    phases = random.uniform(0, 2 * np.pi, (len(waves), 1))
    radii = radius * np.exp(sizes @ np.cos(waves[:, None] * turns + phases))
    x, y = radii * np.cos(turns) * length**0.5, radii * np.sin(turns) / length**0.5
    c, s = np.cos(angle := random.uniform(0, np.pi)), np.sin(angle)
    return centre + np.stack([c * x - s * y, s * x + c * y], 1)
