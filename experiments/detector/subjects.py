"""What damage is on when the network that finds it learns: photographs, textures and pages.

Damage looks like grain, twigs, stars and print, which few wallpapers have. So photographs of
monuments, animals and musicians come out of a program that teaches children; and half of what the
network learns from, out of games and a planetarium in Debian: brick, bark, gravel, cloth, towns
from above, nebulae, the Moon, old drawings.

    apt install --no-install-recommends supertuxkart-data torcs-data flightgear-data-base \
        stellarium-data ufoai-textures gcompris-qt-data
"""

import re
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import BinaryIO
from zipfile import ZipFile

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rgflow.data import wallpapers
from rgflow.data.decoding import open_picture
from rgflow.data.images import Pixels
from rgflow.data.patches import reductions
from rgflow.data.source import Request, Split
from rgflow.photographs.drawing import Random

TEXTURES = (
    "games/supertuxkart/data", "games/torcs", "games/flightgear/Textures/Terrain", "stellarium",
    "games/ufoai",
)  # fmt: skip
"""Folders below `wallpapers.ROOT` of the packages of textures, with files or archives (`.pk3`)."""
PHOTOGRAPHS = "gcompris-qt/rcc"
"""Folder of archives (`.rcc`) of photographs, in those named `explore_*`."""
SUFFIXES = (".jpg", ".png")
LEAST_EDGE, LEAST_BYTES = 256, 40_000
"""Of pictures that are large enough, and have something to see."""
NOT_SEEN = re.compile(r"mask|overlay|relief|normal|_nm|light|spec|gloss|bump", re.IGNORECASE)
"""Names of files that say how surfaces shine."""
FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSerif-Italic", "DejaVuSansMono")
LETTERS = np.array(list("       etaoinshrdlucmfwypvbgkETAOINS1234567890.,-"))
OFTEN = 1 / np.arange(6, 6 + len(LETTERS))
"""Characters of pages, and how often they are there, roughly."""


def photographs(split: Split, edge: int) -> list[list[Pixels]]:
    """The photographs of a split in all sizes, [H, W, 3]: wallpapers, then those of archives.

    Raises:
        FileNotFoundError: As of `textures`.
    """
    names = [name for of in wallpapers.FILES.values() for name in of]
    others = _pictures(PHOTOGRAPHS, "explore_*")
    return [
        *_sizes([wallpapers.ROOT / name for name in names], split, edge),
        *_sizes(others, split, edge),
    ]


def textures(split: Split, edge: int) -> list[list[Pixels]]:
    """The textures of a split in all sizes, [H, W, 3].

    Raises:
        FileNotFoundError: If a package isn't installed.
    """
    return _sizes([one for folder in TEXTURES for one in _pictures(folder)], split, edge)


def _pictures(folder: str, named: str = "*") -> list[BytesIO]:
    """The files of a package's pictures that are large enough.

    Raises:
        FileNotFoundError: If the package isn't installed.
    """
    files = _files(sorted((wallpapers.ROOT / folder).rglob(named)))
    found = [BytesIO(content) for name, content in files if _is_seen(name, content)]
    if not found:
        raise FileNotFoundError(
            f"Expected pictures in {wallpapers.ROOT / folder}; got none; install the packages that "
            "the first lines of this file name."
        )
    return found


def _files(paths: list[Path]) -> Iterator[tuple[str, bytes]]:
    """Names and content of pictures, and of those in archives."""
    for path in paths:
        if path.suffix == ".pk3":
            with ZipFile(path) as archive:
                names = sorted(name for name in archive.namelist() if name.endswith(SUFFIXES))
                yield from ((name, archive.read(name)) for name in names)
        elif path.suffix == ".rcc":  # of Qt: what is compressed already lies there as it is
            content = path.read_bytes()
            for one in re.finditer(rb"RIFF(.{4})WEBP", content, re.DOTALL):
                size = int.from_bytes(one[1], "little")
                yield path.name, content[one.start() : one.start() + 8 + size]
        elif path.suffix in SUFFIXES:
            yield path.name, path.read_bytes()


def _is_seen(name: str, content: bytes) -> bool:
    """Whether a picture has colours, all there, to be seen as they are."""
    if len(content) < LEAST_BYTES or NOT_SEEN.search(name):
        return False
    with Image.open(BytesIO(content)) as image:
        if image.mode not in ("RGB", "L") or min(image.size) < LEAST_EDGE:
            return False
        mean = np.asarray(image.convert("RGB").resize((1, 1), Image.Resampling.BOX), int)[0, 0]
    return bool(np.abs(mean - (128, 128, 240)).max() > 40)  # directions of a surface, in colours


def _sizes(files: Sequence[Path | BinaryIO], split: Split, edge: int) -> list[list[Pixels]]:
    request = Request(name="wallpapers", split=split, height=edge, width=edge, channels=3)
    found = []
    for number, file in enumerate(files):
        if wallpapers.HELD_OUT.get(number % 8, "train") == split:
            image = open_picture(file)
            first = -(-min(image.size) // wallpapers.MAX_SHORTER_SIDE)
            found.append([pixels for _, pixels in reductions(image, request, first)])
    return found


def page(edge: int, random: Random) -> Pixels:
    """A part of a printed page, [edge, edge, 3]: words of random letters on paper."""
    paper, ink = random.integers(200, 256, 3), random.integers(0, 110, 3)
    if random.random() < 0.2:
        paper, ink = ink, paper
    image = Image.new("RGB", (2 * edge, 2 * edge), tuple(map(int, paper)))
    draw, size = ImageDraw.Draw(image), int(random.integers(7, 36))
    folder = Path(matplotlib.get_data_path()) / "fonts/ttf"
    font = ImageFont.truetype(str(folder / f"{random.choice(FONTS)}.ttf"), size)
    spacing, y, many = random.uniform(1, 2) * size, 0.0, 4 * edge // size + 20
    while y < 2 * edge:
        words = "".join(random.choice(LETTERS, many, p=OFTEN / OFTEN.sum()))
        draw.text((random.uniform(-20, 20), y), words, fill=tuple(map(int, ink)), font=font)
        y += spacing
    turned = image.rotate(random.uniform(-4, 4), Image.Resampling.BICUBIC)
    i, j = random.integers(edge // 4, 3 * edge // 4, 2)
    return np.asarray(turned)[i : i + edge, j : j + edge]
