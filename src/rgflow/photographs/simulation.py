"""Simulated damage of photographs: what happens to prints, films and files, and the scan after it.

Every kind of damage is a layer of paint: shapes of some width, softness, opacity and colour, and a
grain of their own. Layers of a print lie under the blur, noise, tone and compression of its scan;
those of a file, such as dead pixels, come after the scan and have hard edges. Wide layers through
which the picture shines, such as stains, count as seen but not as damage: nobody wants them cut out
and filled.

Lengths are in pixels, colours in levels of 0 to 255, opacities from 0 to 1. `Range` is the least
and the most, between which logarithms are uniform if both are positive.

Letters in shapes: C channels; H, W rows and columns; P points of a line, columns before rows.
"""

import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import ClassVar

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter  # type: ignore[attr-defined]  # found when it runs

from rgflow.cells import Mask
from rgflow.data.decoding import open_picture
from rgflow.data.images import Pixels
from rgflow.kinds import Kind, config
from rgflow.photographs.drawing import (
    Canvas,
    Random,
    Reals,
    anywhere,
    between,
    clouds,
    outline,
    wandering,
)

Range = tuple[float, float]
VISIBLE = 12
"""Levels by which a pixel of a damaged picture differs from the true one, in some channel."""
LIGHT, DARK, GREY = (190, 255), (0, 70), (60, 200)
"""Ranges of shades."""


@config
class Damage(Kind, ABC, family="damage"):
    """A kind of damage.

    `hides` says whether it hides the picture, and counts as damage.
    """

    hides: ClassVar[bool] = True
    digital: bool = False
    """Whether it comes after the scan: opaque, with hard edges."""
    number: Range = (0.5, 5)
    """How many shapes are expected in 128×128 pixels."""
    opacity: Range = (0.3, 1.0)
    """Of the most opaque part of a shape."""
    shades: tuple[Range, ...] = (LIGHT, LIGHT, DARK)
    """Ranges of grey levels, from one of which the colour is."""
    hue: tuple[float, float, float] = (0, 0, 0)
    """What red, green and blue differ from the grey level, in the mean."""
    tint: float = 8.0
    """Standard deviation of what red, green and blue differ from the grey level."""
    grain: Range = (0.0, 10.0)
    """Standard deviation of the pixels of a layer."""

    @abstractmethod
    def covers(self, shape: tuple[int, int], random: Random) -> Reals:
        """The opacity of all shapes in a picture, [H, W]."""

    def colours(self, shape: tuple[int, int], random: Random) -> Reals:
        """The colour of the layer, [H, W, 3]."""
        shade = between(random, self.shades[random.integers(len(self.shades))])
        colour = shade + np.array(self.hue) + self.tint * random.normal(size=3)
        noise = between(random, self.grain) * random.normal(size=(*shape, 1))
        return (colour + noise).clip(0, 255).astype(np.float32)


@config
class Shapes(Damage, ABC):
    """Damage that is drawn shape by shape."""

    width: Range = (0.7, 3)
    """Of lines, or twice the radius of spots."""
    softness: Range = (0.3, 1.0)
    """Standard deviation of the blur of edges."""
    uneven: Range = (0.0, 0.6)
    """By how much the opacity changes along a shape."""

    @abstractmethod
    def draw(self, canvas: Canvas, random: Random) -> None:
        """Draw one shape."""

    def covers(self, shape: tuple[int, int], random: Random) -> Reals:
        canvas, mean = Canvas(shape), between(random, self.number) * shape[0] * shape[1] / 128**2
        for _ in range(max(random.poisson(mean), 1)):
            self.draw(canvas, random)
        patchy = np.abs(clouds(shape, 12, random)) * between(random, self.uneven)
        return canvas.softened(between(random, self.softness)) * np.clip(1 - patchy, 0, 1)


@config
class Scratches(Shapes, kind="scratches"):
    """Scratches of a film or a print: long, and nearly straight."""

    width: Range = (0.7, 5)
    length: Range = (20, 400)
    bend: Range = (-0.004, 0.004)
    shake: float = 0.01

    def draw(self, canvas: Canvas, random: Random) -> None:
        length, bend = between(random, self.length), between(random, self.bend)
        path = wandering(anywhere(canvas.shape, random), length, bend, self.shake, random)
        canvas.line(path, between(random, self.width), between(random, self.opacity))


@config
class Hairs(Scratches, kind="hairs"):
    """Hairs that lay on the film or the glass: long, and bent."""

    number: Range = (0.3, 1.5)
    width: Range = (0.8, 5)
    length: Range = (40, 250)
    bend: Range = (-0.04, 0.04)
    shake: float = 0.05
    opacity: Range = (0.4, 1.0)
    shades: tuple[Range, ...] = (LIGHT, DARK, DARK)


@config
class Fibres(Scratches, kind="fibres"):
    """Fibres of cloth: short, thin and curled."""

    number: Range = (0.5, 5)
    width: Range = (0.6, 1.8)
    length: Range = (6, 50)
    bend: Range = (-0.12, 0.12)
    shake: float = 0.1


@config
class Dust(Shapes, kind="dust"):
    """Grains of dust: spots of any shape."""

    number: Range = (1, 15)
    width: Range = (1.5, 16)
    rough: Range = (0.05, 0.35)
    elongation: Range = (1, 3)

    def draw(self, canvas: Canvas, random: Random) -> None:
        radius, longer = between(random, self.width) / 2, between(random, self.elongation)
        rough, place = between(random, self.rough), anywhere(canvas.shape, random)
        canvas.area(outline(place, radius, longer, rough, random), between(random, self.opacity))


@config
class Specks(Dust, kind="specks"):
    """The finest dust: many spots of a pixel or two."""

    number: Range = (5, 80)
    width: Range = (0.8, 3)
    rough: Range = (0.01, 0.1)
    elongation: Range = (1, 1.6)
    softness: Range = (0.2, 0.8)


@config
class FingerMarks(Damage, kind="finger marks"):
    """Ridges of a finger, in an ellipse whose rim is faint; the picture shines through."""

    hides: ClassVar[bool] = False
    width: Range = (3, 9)
    radius: Range = (30, 90)
    opacity: Range = (0.2, 0.6)

    def covers(self, shape: tuple[int, int], random: Random) -> Reals:
        y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
        a, b = anywhere(shape, random)
        c, s = np.cos(angle := random.uniform(0, np.pi)), np.sin(angle)
        u, v = c * (x - a) + s * (y - b), 1.4 * (c * (y - b) - s * (x - a))
        radius, period = between(random, self.radius), 2 * between(random, self.width)
        ways = np.hypot(u, v) + period * clouds(shape, 3 * period, random)  # which ridges follow
        ridges = np.clip(1.5 * np.cos(2 * np.pi / period * ways), 0, 1)
        patches = np.clip(0.7 + 0.5 * clouds(shape, 8, random), 0, 1)
        inside = np.clip(2 - 2 * np.hypot(u, v) / radius, 0, 1)
        return (between(random, self.opacity) * ridges * patches * inside).astype(np.float32)


@config
class Cracks(Shapes, kind="cracks"):
    """Cracks of the emulsion: jagged lines with branches."""

    number: Range = (0.2, 1.5)
    width: Range = (0.7, 3)
    length: Range = (30, 250)
    opacity: Range = (0.5, 1.0)

    def draw(self, canvas: Canvas, random: Random) -> None:
        length, width = between(random, self.length), between(random, self.width)
        start, strength = anywhere(canvas.shape, random), between(random, self.opacity)
        for size in (length, *(random.uniform(0.1, 0.5, random.integers(3)) * length)):
            path = wandering(start, size, 0, 0.25, random)
            canvas.line(path, width, strength)
            start, width = path[random.integers(len(path))], 0.8 * width


@config
class Folds(Shapes, kind="folds"):
    """Folds across the picture: a soft line, and within it a thin one where the paper broke."""

    number: Range = (0.05, 0.4)
    width: Range = (2, 9)
    softness: Range = (0.6, 2)
    opacity: Range = (0.3, 0.9)

    def draw(self, canvas: Canvas, random: Random) -> None:
        length, width = 2.0 * max(canvas.shape), between(random, self.width)
        path = wandering(anywhere(canvas.shape, random), length, 0, 0.006, random)
        strength = between(random, self.opacity)
        canvas.line(path, width, strength)
        broken = path + random.normal(0, 0.15 * width, path.shape)
        canvas.line(broken, 0.35 * width, min(1.5 * strength, 1))


@config
class Text(Shapes, kind="text"):
    """Words over the picture."""

    number: Range = (0.3, 2)
    width: Range = (9, 40)
    softness: Range = (0.1, 0.7)
    opacity: Range = (0.6, 1.0)
    shades: tuple[Range, ...] = (LIGHT, DARK, GREY)
    tint: float = 60.0
    uneven: Range = (0.0, 0.1)

    def draw(self, canvas: Canvas, random: Random) -> None:
        place, size = anywhere(canvas.shape, random) - [40, 8], between(random, self.width)
        canvas.words(self.words(random), place, size, between(random, self.opacity))

    def words(self, random: Random) -> str:
        """What is written."""
        return " ".join(
            "".join(chr(random.choice((65, 97)) + k) for k in random.integers(26, size=size))
            for size in random.integers(2, 9, size=random.integers(1, 5))
        )


@config
class DateStamps(Text, kind="date stamps"):
    """Dates that a camera burnt in, in orange or red."""

    number: Range = (0.3, 0.8)
    width: Range = (10, 26)
    softness: Range = (0.4, 1.2)

    def words(self, random: Random) -> str:
        made = date.fromordinal(date(1975, 1, 1).toordinal() + int(random.integers(13_000)))
        return made.strftime(random.choice(("%d %m '%y", "'%y %m %d", "%d.%m.%Y", "%m-%d-%y")))

    def colours(self, shape: tuple[int, int], random: Random) -> Reals:
        colour = (255, random.uniform(60, 200), random.uniform(0, 90))
        return np.broadcast_to(np.array(colour, dtype=np.float32), (*shape, 3))


@config
class DeadPixels(Damage, kind="dead pixels"):
    """Dead and hot pixels: single ones, black, white or of one channel, or of any colour."""

    digital: bool = True
    number: Range = (3, 800)

    def covers(self, shape: tuple[int, int], random: Random) -> Reals:
        share = between(random, self.number) / 128**2
        return (random.random(shape) < share).astype(np.float32)

    def colours(self, shape: tuple[int, int], random: Random) -> Reals:
        how = random.integers(3)
        if how == 0:
            return random.integers(256, size=(*shape, 3))
        if how == 1:
            return 255 * random.integers(2, size=(*shape, 3))
        levels = (0, 0, 255, 255, random.integers(256))
        return np.broadcast_to(levels[random.integers(5)], (*shape, 3))


@config
class MissingBlocks(Damage, kind="missing blocks"):
    """Blocks of one colour on a grid, as a decoder leaves them."""

    digital: bool = True
    number: Range = (0.5, 12)
    edges: tuple[int, ...] = (4, 8, 8, 16, 32)
    shades: tuple[Range, ...] = ((0, 0), (128, 128), (0, 255), LIGHT)
    tint: float = 0.0
    grain: Range = (0.0, 0.0)

    def covers(self, shape: tuple[int, int], random: Random) -> Reals:
        edge = int(random.choice(self.edges))
        count = [size // edge + 2 for size in shape]
        share = between(random, self.number) / 128**2 * edge**2
        lost = (random.random(count) < share).repeat(edge, 0).repeat(edge, 1)
        i, j = random.integers(edge, size=2)
        return lost[i : i + shape[0], j : j + shape[1]].astype(np.float32)


@config
class MissingLines(MissingBlocks, kind="missing lines"):
    """Rows or columns of one colour, as a broken sensor or transfer leaves them."""

    number: Range = (0.3, 3)
    thickness: tuple[int, ...] = (1, 1, 2, 3)

    def covers(self, shape: tuple[int, int], random: Random) -> Reals:
        found, axis = np.zeros(shape, dtype=np.float32), int(random.integers(2))
        lines = np.moveaxis(found, axis, 0)
        for _ in range(max(random.poisson(between(random, self.number) * shape[axis] / 128), 1)):
            start, end = random.integers(len(lines)), random.integers(1, lines.shape[1] + 1)
            lines[start : start + random.choice(self.thickness), : end if end % 2 else None] = 1
        return found


@config
class Stains(Shapes, kind="stains"):
    """Stains of water or glue, darker at their rim; the picture shines through."""

    hides: ClassVar[bool] = False
    number: Range = (0.1, 0.6)
    width: Range = (40, 200)
    softness: Range = (2, 8)
    opacity: Range = (0.1, 0.45)
    shades: tuple[Range, ...] = ((90, 200),)
    hue: tuple[float, float, float] = (15, 0, -30)
    tint: float = 15.0
    grain: Range = (0.0, 3.0)

    def draw(self, canvas: Canvas, random: Random) -> None:
        strength = between(random, self.opacity)
        radius = between(random, self.width) / 2
        edge = outline(anywhere(canvas.shape, random), radius, 1.3, 0.3, random)
        canvas.area(edge, strength)
        canvas.line(np.concatenate((edge, edge[:2])), 4, min(1.4 * strength, 1))


@config
class FadedBorders(Stains, kind="faded borders"):
    """Edges that light has bleached."""

    width: Range = (20, 150)
    opacity: Range = (0.2, 0.7)
    shades: tuple[Range, ...] = ((200, 245),)
    hue: tuple[float, float, float] = (0, 0, 0)

    def covers(self, shape: tuple[int, int], random: Random) -> Reals:
        y, x = np.ogrid[: shape[0], : shape[1]]
        near = (y, x, shape[0] - 1 - y, shape[1] - 1 - x)
        sides = random.choice(4, random.integers(1, 5), replace=False)
        depth = np.minimum.reduce([np.broadcast_to(near[k], shape) for k in sides])
        wide = between(random, self.width) * np.exp(0.3 * clouds(shape, 40, random))
        return (between(random, self.opacity) * np.exp(-depth / wide)).astype(np.float32)


@config
class Margins(Stains, kind="margins"):
    """Margins of one colour around the picture, which are no damage."""

    width: Range = (5, 80)
    shades: tuple[Range, ...] = ((255, 255), (0, 0), LIGHT, DARK)
    hue: tuple[float, float, float] = (0, 0, 0)
    tint: float = 2.0

    def covers(self, shape: tuple[int, int], random: Random) -> Reals:
        found = np.zeros(shape, dtype=np.float32)
        for axis in random.choice(2, random.integers(1, 3), replace=False):
            wide, lines = round(between(random, self.width)), np.moveaxis(found, axis, 0)
            lines[: wide * random.integers(2)] = 1
            lines[max(len(lines) - wide * random.integers(2), 0) :] = 1
        return found


@config
class Tape(Stains, kind="tape"):
    """Strips of yellowed tape with straight edges."""

    number: Range = (0.05, 0.3)
    width: Range = (30, 90)
    softness: Range = (0.3, 1)
    opacity: Range = (0.1, 0.5)
    shades: tuple[Range, ...] = ((150, 220),)

    def draw(self, canvas: Canvas, random: Random) -> None:
        path = wandering(anywhere(canvas.shape, random), between(random, (80, 300)), 0, 0, random)
        canvas.line(path[[0, -1]], between(random, self.width), between(random, self.opacity))


@config
class Scan(Kind, family="scan", kind="scan"):
    """What a scan does to a print and its damage."""

    blur: Range = (0.0, 0.7)
    """Standard deviation of the blur."""
    noise: Range = (0.0, 5.0)
    """Standard deviation of the noise."""
    gain: Range = (0.85, 1.1)
    """By which all levels are multiplied."""
    gamma: Range = (0.8, 1.25)
    """The power of levels."""
    compressed: float = 0.6
    """Share of pictures that are saved as JPEG."""
    quality: tuple[int, int] = (60, 96)
    """Of JPEG."""


@dataclass(frozen=True, eq=False)
class Simulated:
    """A damaged picture, and the truth.

    Attributes:
        picture: As it is found, uint8 [3, H, W].
        truth: The same scan without what hides the picture, noise and compression.
        mask: What is damaged: changed by more than `VISIBLE` levels by what hides the picture.
        opacity: Of all that hides the picture, [H, W].
    """

    picture: Pixels
    truth: Pixels
    mask: Mask
    opacity: Reals


@dataclass(frozen=True, kw_only=True)
class Simulator:
    """Damages pictures.

    Attributes:
        chances: Kinds of damage, and how often each is there; several may be.
        scan: The scan after it.

    Example:
        >>> image = np.full((3, 64, 64), 90, dtype=np.uint8)
        >>> made = Simulator(chances=((Dust(), 1.0),))(image, np.random.default_rng(0))
        >>> made.picture.shape, made.mask.shape
        ((3, 64, 64), (64, 64))
    """

    chances: Sequence[tuple[Damage, float]]
    scan: Scan = field(default_factory=Scan)

    def __call__(self, image: Pixels, random: Random) -> Simulated:
        """Damage a picture uint8 [3, H, W]; everything random depends on the generator."""
        scan, shape = self.scan, (image.shape[1], image.shape[2])
        there = [kind for kind, chance in self.chances if random.random() < chance]
        through = image.transpose(1, 2, 0).astype(np.float32)
        opacity = np.zeros(shape, dtype=np.float32)
        for kind in (one for one in there if not one.hides):
            cover = kind.covers(shape, random)
            through += cover[..., None] * (kind.colours(shape, random) - through)
        found = through.copy()
        for kind in (one for one in there if one.hides and not one.digital):
            cover = kind.covers(shape, random)
            found += cover[..., None] * (kind.colours(shape, random) - found)
            opacity += (1 - opacity) * cover
        blur, gain, power = (between(random, of) for of in (scan.blur, scan.gain, scan.gamma))
        opacity = gaussian_filter(opacity, blur)
        through, found = (
            255 * (gain * gaussian_filter(x, (blur, blur, 0)) / 255).clip(0, 1) ** power
            for x in (through, found)
        )
        mask = np.abs(found - through).max(-1) > VISIBLE
        found += between(random, scan.noise) * random.normal(size=found.shape)
        for kind in (one for one in there if one.digital):
            lost, colour = kind.covers(shape, random) > 0.5, kind.colours(shape, random)
            found[lost], opacity[lost] = colour[lost], 1
            mask[lost] = np.abs(colour - through).max(-1)[lost] > VISIBLE
        picture = _bytes(found)
        if random.random() < scan.compressed:
            content = io.BytesIO()
            quality = int(random.integers(scan.quality[0], scan.quality[1] + 1))
            Image.fromarray(picture).save(content, "JPEG", quality=quality)
            picture = np.asarray(open_picture(content))
        return Simulated(
            picture.transpose(2, 0, 1).copy(), _bytes(through).transpose(2, 0, 1), mask, opacity
        )


def _bytes(x: Reals) -> Pixels:
    return x.round().clip(0, 255).astype(np.uint8)
