"""Patches of the photographs among Debian's wallpapers: free pictures that no package here brings.

A photograph is reduced by averaging squares of pixels until its shorter side is at most
`MAX_SHORTER_SIDE`, and again by 2 and by 4 where more than `MIN_SHORTER_SIDE` remains. A patch is
cut out of one of these at a random place. Of every eight photographs, one is for validation and one
for the test.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np

from rgflow.data.decoding import Target, open_picture
from rgflow.data.patches import MIN_SHORTER_SIDE, anywhere, cut, reductions
from rgflow.data.source import SPLITS, Chunk, Request, Source, Split

_BUDGIE = "backgrounds/budgie"
_MATE = "backgrounds/mate/nature"
FILES = {
    "budgie-backgrounds": tuple(
        f"{_BUDGIE}/{name}.jpg"
        for name in (
            "beacon-street-sunset", "blue-periwinkle", "canyon-wren", "casa-mila",
            "extreme-desert-hike", "high-trestle-trail", "lake-sherburne", "oakland-zoo-otters",
            "perched-osprey", "piazza-gae-aulenti", "roman-colosseum", "singaporean-cityscape",
            "tea-gardens",
        )
    ),
    "lomiri-wallpapers-16.04": tuple(
        f"backgrounds/{name}.jpg"
        for name in (
            "Bridge_by_Sander_Klootwijk", "Dragonfly_by_Bolly", "Picture_0B_by_freespace",
            "Picture_1A_by_freespace", "Wine_by_Jakkub_Mede", "aitzgorri_by_Aitzol_Berasategi",
            "free_by_Peter_Nerlich", "friends_by_Aitzol_Berasategi", "greentock_by_Peter_Nerlich",
            "life_by_Aitzol_Berasategi", "picosdeeuropa_by_Aitzol_Berasategi",
            "seeding_by_Clements_Engelhardt", "sunset_by_Aitzol_Berasategi",
        )
    ),
    "lomiri-wallpapers-20.04": ("backgrounds/Kleiber_by_Lukas_Baubkus.jpg",),
    "mate-backgrounds": tuple(
        f"{_MATE}/{name}.jpg"
        for name in (
            "Aqua", "Blinds", "Dune", "FreshFlower", "Garden", "GreenMeadow", "LadyBird",
            "RainDrops", "Storm", "TwoWings", "Wood", "YellowFlower",
        )
    ),
    "plasma-workspace-wallpapers": tuple(
        f"wallpapers/{name}/contents/images/2560x1600.jpg"
        for name in (
            "BytheWater", "ColdRipple", "ColorfulCups", "EveningGlow", "FallenLeaf", "Grey",
            "Kite", "OneStandsOut", "Path", "summer_1am",
        )
    ),
}  # fmt: skip
"""Debian's packages and files below `ROOT`: the photographs of things that one sees, as Debian 13
has them."""
ROOT = Path("/usr/share")
COUNTS: dict[Split, int] = {"train": 200_000, "validation": 1_000, "test": 2_000}
HELD_OUT: dict[int, Split] = {3: "validation", 7: "test"}
"""Splits of the photographs by their number modulo 8; all others are learned."""
MAX_SHORTER_SIDE = 1200
"""Pixels of the shorter side: larger photographs, such as of telephones, are soft at full size."""


def source(request: Request) -> Source:
    """Patches of wallpapers.

    The labels are whole numbers: `photograph` (its place in `FILES`), `scale`, the edge of the
    squares that were averaged, and `row` and `column` of the patch in what results.

    Raises:
        FileNotFoundError: If a photograph isn't there; the message says which package to install.
        ValueError: If the patches don't fit into the photographs.
    """
    target = Target.of(request)
    if request.crop is not None:
        raise ValueError(f"Expected no crop of wallpapers; got {request.crop}; leave it out.")
    paths = [ROOT / name for files in FILES.values() for name in files]
    there = {package: all((ROOT / name).is_file() for name in of) for package, of in FILES.items()}
    if missing := [package for package in FILES if not there[package]]:
        raise FileNotFoundError(
            f"Expected the photographs of Debian's packages {', '.join(FILES)} below {ROOT}; those "
            f"of {', '.join(missing)} aren't there: apt install {' '.join(missing)}."
        )
    if max(request.height, request.width) > MIN_SHORTER_SIDE * 4:
        raise ValueError(
            f"Expected patches of at most {MIN_SHORTER_SIDE * 4} pixels; got height "
            f"{request.height}, width {request.width}; ask for smaller."
        )
    numbers = [
        number for number in range(len(paths)) if HELD_OUT.get(number % 8, "train") == request.split
    ]
    count = request.count or COUNTS[request.split]
    return Source(
        kind=f"wallpapers-{request.split}",
        settings={
            "source": "wallpapers",
            # By content, as another version of a package may hold other photographs.
            "photographs": [_digest(paths[number]) for number in numbers],
            "split": request.split,
            "seed": request.seed,
            "shape": target.shape,
            "version": 1,
        },
        count=count,
        chunks=lambda: _stream([(n, paths[n]) for n in numbers], request, count),
    )


@cache
def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def _stream(files: Sequence[tuple[int, Path]], request: Request, count: int) -> Iterator[Chunk]:
    """Cut the patches: photograph, size and place are uniform among those that there are."""
    random = np.random.default_rng((request.seed, SPLITS.index(request.split)))
    pictures = []
    for number, path in files:
        image = open_picture(path)
        first = -(-min(image.size) // MAX_SHORTER_SIDE)
        pictures.append(anywhere(number, reductions(image, request, first), request, random))
    return cut(count, lambda k: pictures[random.integers(len(pictures))](k))
