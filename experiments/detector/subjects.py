"""What damage is on when the network that finds it learns: photographs, textures and pages.

Damage looks like grain, twigs, stars and print, which few wallpapers have. So half of what the
network learns from comes from games and a planetarium in Debian: brick, bark, gravel, cloth, towns
from above, nebulae, the Moon, old drawings.

    apt install --no-install-recommends supertuxkart-data torcs-data flightgear-data-base \
        stellarium-data ufoai-textures
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
    """The wallpapers of a split in all sizes, [H, W, 3]."""
    names = [name for of in wallpapers.FILES.values() for name in of]
    return _sizes([wallpapers.ROOT / name for name in names], split, edge)


def textures(split: Split, edge: int) -> list[list[Pixels]]:
    """The textures of a split in all sizes, [H, W, 3].

    Raises:
        FileNotFoundError: If a package isn't installed.
    """
    found = list[BytesIO]()
    for folder in TEXTURES:
        before = len(found)
        found += [
            BytesIO(x) for name, x in _files(wallpapers.ROOT / folder) if _is_texture(name, x)
        ]
        if len(found) == before:
            raise FileNotFoundError(
                f"Expected textures in {wallpapers.ROOT / folder}; got none; install the packages "
                "that the first lines of this file name."
            )
    return _sizes(found, split, edge)


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Names and content of the pictures in a folder and in its archives."""
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".pk3":
            with ZipFile(path) as archive:
                names = sorted(name for name in archive.namelist() if name.endswith(SUFFIXES))
                yield from ((name, archive.read(name)) for name in names)
        elif path.suffix in SUFFIXES:
            yield path.name, path.read_bytes()


def _is_texture(name: str, content: bytes) -> bool:
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
