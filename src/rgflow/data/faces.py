"""Drawn faces whose labels say all there is to see: `faces`, and `faces:correlated`.

The parts are those of `python-avatars` (MIT licence), which has them from Avataaars by Pablo
Stanley, without those that it has from blush.design; `resvg-py` (MIT licence) turns them into
pixels. Of these parts there are so many that each can be told from the others in its pixels.

Factors are independent, and their classes equally frequent, but for hair and hats, which share a
place: each kind of hair and of hat is equally frequent, and under a hat there is no hair. In
`faces:correlated` the brows go with the hair in 80 % of the images, and one pair of them,
`HELD_OUT`, is in test images only.

Letters in shapes: N images; S pixels along an edge.
"""

import re
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from io import BytesIO
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from rgflow.checks import check_installed, check_name
from rgflow.data.drawn import drawn, uniform
from rgflow.data.images import Array, Pixels
from rgflow.data.opening import picture_file
from rgflow.data.source import SPLITS, Chunk, Request, Source, Split

Labels: TypeAlias = dict[str, Array]
KINDS = ("faces", "faces:correlated")
COUNTS: dict[Split, int] = {"train": 50_000, "validation": 2_000, "test": 5_000}
SIZES = range(32, 257)

PARTS = {
    "hair": (
        "none", "frizzle", "short_flat", "short_dreads_2", "bun", "bob", "curly", "straight_strand",
        "big_hair", "dreads",
    ),
    "hat": ("none", "hat", "turban", "winter_hat_1", "winter_hat_2", "winter_hat_4"),
    "brows": (
        "angry_natural", "flat_natural", "raised_excited_natural", "sad_concerned_natural",
        "unibrow_natural", "up_down_natural",
    ),
    "eyes": ("default", "happy", "surprised", "squint", "heart", "x_dizzy", "wink"),
    "nose": ("default", "small", "wide"),
    "mouth": (
        "default", "smile", "serious", "sad", "twinkle", "grimace", "tongue", "scream_open",
    ),
    "beard": ("none", "beard_light", "beard_magestic", "moustache_fancy", "moustache_magnum"),
    "glasses": ("none", "round", "prescription_1", "prescription_2"),
    "clothes": (
        "blazer_shirt", "collar_sweater", "hoodie", "overall", "shirt_crew_neck", "shirt_v_neck",
    ),
}  # fmt: skip
"""The classes of what has shapes, as `python-avatars` calls them."""
_HAIR = {
    "none": "#000000", "black": "#2a1c1a", "brown": "#70422f", "red": "#c8380c",
    "blonde": "#d8b46c", "pink": "#f49a9a", "silver": "#e4e0e2",
}  # fmt: skip
_CLOTHES = {
    "black": "#262c34", "navy": "#24507c", "blue": "#4f98e4", "red": "#f85c5c", "green": "#a4fcc4",
    "yellow": "#fcfcb0", "white": "#ffffff",
}  # fmt: skip
COLOURS = {
    "skin": {
        "pale": "#ffe0c8", "peach": "#f0b890", "yellow": "#f5d060", "orange": "#f59646",
        "brown": "#c88850", "russet": "#a04828", "dark": "#5c4030",
    },
    "hair": _HAIR,
    "beard": _HAIR,
    "hat": {"none": "#000000"} | _CLOTHES,
    "clothes": _CLOTHES,
}  # fmt: skip
"""The classes of what has a colour, each with its colour before it varies. Those of hair, beard and
hat are none where there is none."""
CLASSES = {f"{name}_class": classes for name, classes in PARTS.items()} | {
    f"{name}_colour_class": (*classes,) for name, classes in COLOURS.items()
}
"""The names of the classes of every label that is a class."""

_ENUMS = {
    "hair": "HairType", "hat": "HatType", "brows": "EyebrowType", "eyes": "EyeType",
    "nose": "NoseType", "mouth": "MouthType", "beard": "FacialHairType",
    "glasses": "AccessoryType", "clothes": "ClothingType",
}  # fmt: skip
EDGE, LEFT, TOP = 272, -4, -10
"""The square that is shown, in units of the drawing, in which a head is 112 wide."""
SHIFT = 8
"""Largest shift, in the same units."""
TURN = 5
"""Largest turn, in degrees."""
LIGHT = 0.25
"""Largest loss of light from the middle to an edge, for each axis."""
VARIATION = 10
"""Largest difference of a colour from that of its class, in grey levels."""
GOES_WITH = 0.8
"""Share of `faces:correlated` in which the brows are those that go with the hair."""
HELD_OUT = {"hair": "bun", "brows": "flat_natural"}
"""The pair that only the test images of `faces:correlated` have."""
NOSE = 0.4
"""Opacity of the noses' shade, which at the package's 0.16 can't be seen on dark skin."""
DRAWS = 40
"""Random numbers per image."""
CHUNK = 100
"""Images that one process draws at a time."""


def source(request: Request) -> Source:
    """Faces of one size.

    Raises:
        ValueError: If the images wouldn't be square, of 32 to 256 pixels and in colour, or a
            package is missing.
    """
    check_name("data set of faces", request.name, KINDS)
    size = (request.height, request.width, request.channels)
    if size[0] not in SIZES or size != (size[0], size[0], 3) or request.crop is not None:
        raise ValueError(
            f"Expected faces with height and width the same, from {SIZES[0]} to {SIZES[-1]}, "
            f"channels 3 and no crop; got {size[0]}, {size[1]}, {size[2]} and crop {request.crop}."
        )
    for package in (packages := ("python-avatars", "resvg-py")):
        check_installed(package, "which draws faces", "faces")
    count = request.count or COUNTS[request.split]
    settings = {"source": request.name, "split": request.split, "seed": request.seed}
    return Source(
        kind=f"{request.name.replace(':', '-')}-{request.split}",
        settings=settings
        | {"size": size[0], "version": 1}
        | {package: version(package) for package in packages},
        count=count,
        chunks=lambda: stream(request.name, count, size[0], request.split, request.seed),
    )


def stream(
    kind: str,
    count: int,
    size: int,
    split: Split = "train",
    seed: int = 0,
    *,
    workers: int | None = None,
) -> Iterator[Chunk]:
    """Make the first images of a set, chunk by chunk; image n depends on all but `count`.

    Args:
        kind: `faces` or `faces:correlated`.
        count: Number of images.
        size: Pixels along an edge, S.
        split: Each split has images of its own.
        seed: Seed of the images.
        workers: Processes that draw; 0: this one draws; None: as many as the machine has.

    Returns:
        images, uint8 [n, 3, S, S], and the labels that `sample` describes.
    """
    tasks = (
        sample(kind, min(CHUNK, count - first), split=split, seed=seed, start=first)
        for first in range(0, count, CHUNK)
    )
    return drawn(partial(_chunk, size=size), tasks, workers, count // CHUNK)


def sample(kind: str, count: int, *, split: Split, seed: int, start: int) -> Labels:
    """Draw the labels of images.

    Args:
        kind: `faces` or `faces:correlated`.
        count: Number of images, N.
        split: Of the set.
        seed: Of the set.
        start: Number of the first image.

    Returns:
        Whole numbers [N], whose names are in `CLASSES`: `hair_class`, `hat_class`,
        `brows_class`, `eyes_class`, `nose_class`, `mouth_class`, `beard_class`, `glasses_class`,
        `clothes_class`, and of skin, hair, beard, hat and clothes `skin_colour_class` and so on.
        float32: `skin_colour` and so on [N, 3], R, G, B in 0..255, near the class's, zeros where
        there is none; `background_colour` [N, 3], any; `shift` [N, 2], to the right and down, as
        shares of an edge; `turn` [N], degrees clockwise; `light` [N, 2], where the light comes
        from, right and below, as shares of the light that are lost from the middle to an edge.

    >>> labels = sample("faces", 2, split="test", seed=0, start=0)
    >>> [CLASSES["eyes_class"][n] for n in labels["eyes_class"]]
    ['surprised', 'wink']
    """
    of = KINDS.index(kind) * len(SPLITS) + SPLITS.index(split)
    columns = iter(uniform(seed, of, start, count, DRAWS).T)

    def whole(n: int) -> NDArray[np.int64]:
        return (next(columns) * n).astype(np.int64)

    def between(low: float, high: float, n: int) -> NDArray[np.float64]:
        return low + (high - low) * np.stack([next(columns) for _ in range(n)], 1)

    hairs = len(PARTS["hair"])
    top = whole(hairs + len(PARTS["hat"]) - 1)
    parts = {"hair": np.where(top < hairs, top, 0), "hat": np.maximum(top - hairs + 1, 0)}
    parts |= {name: whole(len(PARTS[name])) for name in PARTS if name not in parts}
    goes = next(columns) < GOES_WITH
    if kind == "faces:correlated":
        usual = parts["hair"] % len(PARTS["brows"])
        rare = [parts[name] == PARTS[name].index(one) for name, one in HELD_OUT.items()]
        goes |= np.logical_and(*rare) & (split != "test")
        parts["brows"] = np.where(goes, usual, parts["brows"])

    labels: Labels = {f"{name}_class": rows for name, rows in parts.items()}
    for name, classes in COLOURS.items():
        none = "none" in classes
        chosen, there = whole(len(classes) - none) + none, np.ones(count, bool)
        if none:
            there = parts[name] > 0
        palette = np.array([[*bytes.fromhex(code[1:])] for code in classes.values()])
        colours = palette[chosen] + np.rint(between(-VARIATION, VARIATION, 3))
        labels[f"{name}_colour_class"] = np.where(there, chosen, 0)
        labels[f"{name}_colour"] = np.where(there[:, None], colours.clip(0, 255), 0)
    labels["background_colour"] = np.rint(between(0, 255, 3))
    labels["shift"] = between(-SHIFT / EDGE, SHIFT / EDGE, 2)
    labels["turn"] = between(-TURN, TURN, 1)[:, 0]
    labels["light"] = between(-LIGHT, LIGHT, 2)
    return {
        name: rows if rows.dtype == np.int64 else rows.astype(np.float32)
        for name, rows in labels.items()
    }


def draw(labels: Labels, size: int) -> Pixels:
    """Draw images [N, 3, S, S] from their labels (described at `sample`) alone.

    Raises:
        ModuleNotFoundError: If a package of the extra `faces` is missing.
    """
    import resvg_py

    images = np.empty((len(labels["turn"]), 3, size, size), np.uint8)
    middle = (np.arange(size) + 0.5) * 2 / size - 1
    for n in range(len(images)):
        one = {name: rows[n] for name, rows in labels.items()}
        png = resvg_py.svg_to_bytes(svg_string=_svg(one), width=size, skip_system_fonts=True)
        with picture_file(BytesIO(bytes(png))) as file:
            pixels = np.asarray(file)[..., :3].transpose(2, 0, 1)
        x, y = one["light"].astype(np.float64)
        light = 1 - (abs(x) + abs(y) - x * middle - y * middle[:, None]) / 2
        images[n] = np.floor(pixels * light + 0.5)
    return images


def _svg(one: Labels) -> str:
    """The drawing of one face."""
    import python_avatars

    def part(name: str) -> object:
        known = getattr(python_avatars, _ENUMS[name])
        return known[PARTS[name][one[f"{name}_class"]].upper()]

    def colour(name: str) -> str:
        return "#" + bytes(one[f"{name}_colour"].astype(np.uint8)).hex()

    face = python_avatars.Avatar(
        style=python_avatars.AvatarStyle.TRANSPARENT,
        top=part("hat" if one["hat_class"] else "hair"),
        hat_color=colour("hat"),
        eyebrows=part("brows"),
        eyes=part("eyes"),
        nose=part("nose"),
        mouth=part("mouth"),
        facial_hair=part("beard"),
        skin_color=colour("skin"),
        hair_color=colour("hair"),
        facial_hair_color=colour("beard"),
        accessory=part("glasses"),
        clothing=part("clothes"),
        clothing_color=colour("clothes"),
    ).render()
    face = re.sub(r'(_Nose"[^>]*fill-opacity=)"[^"]*"', rf'\1"{NOSE}"', face)
    start, _, content = face[face.index("<svg") :].partition(">")
    namespaces = " ".join(word for word in start.split() if word.startswith("xmlns"))
    x, y = one["shift"] * EDGE
    return (
        f'<svg {namespaces} viewBox="{LEFT} {TOP} {EDGE} {EDGE}">'
        f'<rect x="{LEFT}" y="{TOP}" width="{EDGE}" height="{EDGE}" fill="{colour("background")}"/>'
        f'<g transform="translate({x:.4f} {y:.4f}) '
        f'rotate({one["turn"]:.4f} {LEFT + EDGE / 2} {TOP + EDGE / 2})">'
        f"{content.rpartition('</svg>')[0]}</g></svg>"
    )


def _chunk(labels: Labels, size: int) -> Chunk:
    return Chunk(draw(labels, size), labels)
