"""Patches of photographs that scikit-image and scikit-learn include: natural images offline.

A patch is cut at a random place of a photograph and reduced by averaging squares of `scale` x
`scale` pixels (1, 2 or 4), so that it depends on no pixel outside its square. No pixel is in two
splits:

- `patches`: training patches come from the left of every photograph, validation patches from the
  upper right, test patches from the lower right.
- `patches:NAME`: training patches come from the left and the lower right of the six other
  photographs, validation patches from their upper right, test patches from the whole photograph
  NAME.

The regions for training hold 1.2 million pixels, 1,108 patches of scale 1 side by side, so the
50,000 training patches overlap. Patches of more than 134 x 135 pixels fit nowhere and are refused.

Sources and licences, as `skimage.data` and `sklearn.datasets` state them:

- astronaut (512 x 512): NASA, public domain
- chelsea (451 x 300): Stefan van der Walt, CC0
- coffee (600 x 400): Rachel Michetti, courtesy of Pikolo Espresso Bar, CC0
- rocket (640 x 427): SpaceX, public domain
- motorcycle (741 x 500): the left image of the Middlebury 2014 stereo benchmark by N. Nesic,
  P. Westling, X. Wang, Y. Kitajima, G. Krathwohl and D. Scharstein; no licence stated
- china (640 x 427): danielbuechele on Flickr, CC BY 2.0
- flower (640 x 427): vultilion on Flickr, CC BY 2.0

Letters in shapes: H, W of a patch, C channels.
"""

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from importlib.metadata import distribution
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from PIL import Image

from rgflow.checks import check_name
from rgflow.data.decoding import Target, open_picture
from rgflow.data.images import Pixels
from rgflow.data.opening import picture_file
from rgflow.data.source import SPLITS, Chunk, Request, Source, Split

FILES = {
    "astronaut": ("scikit-image", "skimage/data/astronaut.png"),
    "chelsea": ("scikit-image", "skimage/data/chelsea.png"),
    "coffee": ("scikit-image", "skimage/data/coffee.png"),
    "rocket": ("scikit-image", "skimage/data/rocket.jpg"),
    "motorcycle": ("scikit-image", "skimage/data/motorcycle_left.png"),
    "china": ("scikit-learn", "sklearn/datasets/images/china.jpg"),
    "flower": ("scikit-learn", "sklearn/datasets/images/flower.jpg"),
}
"""Package, and path in its wheel: the colour photographs of things that one sees."""
PHOTOGRAPHS = tuple(FILES)
"""The names, in the order of the label `photograph`."""

COUNTS: dict[Split, int] = {"train": 50_000, "validation": 1_000, "test": 2_000}
SCALES = (1, 2, 4)
"""Edges of the squares that are averaged; those are used at which a patch fits everywhere."""
HELD_OUT = 0.3
"""Share of a photograph's columns, at its right, that validation and test patches come from."""
GAP = 32
"""Pixels between two regions: more than a block of JPEG's colours (16), which mixes neighbours."""
LABELS = ("photograph", "scale", "row", "column")
Picked: TypeAlias = tuple[Pixels, tuple[int, int, int, int]]
"""A patch [H, W, C], and its labels."""
CHUNK = 500
"""Patches that are made together."""
MIN_SHORTER_SIDE = 128
"""Pixels of the shorter side, so that a picture isn't reduced to a stamp."""


class Region(NamedTuple):
    """A rectangle of a photograph, in pixels; a patch lies within one."""

    top: int
    left: int
    height: int
    width: int


def source(request: Request) -> Source:
    """Patches of all photographs, or with one kept for the test.

    The labels are whole numbers: `photograph` (its place in `PHOTOGRAPHS`), `scale`, and `row`
    and `column` of the patch's top left corner, in pixels of the photograph.

    Raises:
        FileNotFoundError: If a photograph isn't there.
        ValueError: If there is no photograph NAME, or the patches don't fit into the photographs.
    """
    target = Target.of(request)
    _, colon, left_out = request.name.partition(":")
    if colon:
        check_name("the photograph", left_out, PHOTOGRAPHS)
    if request.crop is not None:
        raise ValueError(f"Expected no crop of {request.name}; got {request.crop}; leave it out.")
    contents = {name: file_of(name) for name in PHOTOGRAPHS}
    layouts = []
    for name, content in contents.items():
        with picture_file(BytesIO(content)) as photograph:
            layouts.append(layout(photograph.height, photograph.width, name, left_out))
    scales = _fitting(request, [r for splits in layouts for rs in splits.values() for r in rs])
    regions = [splits.get(request.split, []) for splits in layouts]
    count = request.count or COUNTS[request.split]
    return Source(
        kind=f"patches-{left_out or 'all'}-{request.split}",
        settings={
            "source": "patches",
            # By content, as another version of a package may hold other photographs.
            "photographs": {
                name: sha256(content).hexdigest() for name, content in contents.items()
            },
            "left_out": left_out,
            "split": request.split,
            "seed": request.seed,
            "shape": target.shape,
            "version": 1,
        },
        count=count,
        chunks=lambda: _stream(list(contents.values()), regions, scales, request, count),
    )


def layout(height: int, width: int, name: str, left_out: str = "") -> dict[Split, list[Region]]:
    """The regions of a photograph for each split, `GAP` apart.

    The right of a photograph is held out: its upper half for validation, its lower half for the
    test or, if another photograph is kept for that, for training too.

    Args:
        height: Rows of the photograph.
        width: Columns of the photograph.
        name: Name of the photograph.
        left_out: Name of the photograph that is kept for the test.

    >>> layout(300, 451, "chelsea")["validation"]
    [Region(top=0, left=316, height=134, width=135)]
    >>> layout(300, 451, "chelsea", left_out="chelsea")
    {'test': [Region(top=0, left=0, height=300, width=451)]}
    """
    if name == left_out:
        return {"test": [Region(0, 0, height, width)]}
    right = round(HELD_OUT * width)
    upper = (height - GAP) // 2
    learned = Region(0, 0, height, width - right - GAP)
    top = Region(0, width - right, upper, right)
    bottom = Region(upper + GAP, width - right, height - upper - GAP, right)
    if left_out:
        return {"train": [learned, bottom], "validation": [top]}
    return {"train": [learned], "validation": [top], "test": [bottom]}


def file_of(name: str) -> bytes:
    """The file of a photograph, from the folder of its package, which itself might download it."""
    package, inside = FILES[name]
    path = Path(str(distribution(package).locate_file(inside)))
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"Expected the photograph {name}, which is in {package}'s wheel, in {path}; got no "
            f"such file; install {package} with pip."
        ) from error


def photograph(name: str, scale: int = 1) -> Pixels:
    """A whole photograph, the average of every square of `scale` x `scale` pixels, [3, H, W].

    >>> photograph("chelsea", scale=2).shape
    (3, 150, 225)
    """
    check_name("the photograph", name, PHOTOGRAPHS)
    pixels = np.asarray(open_picture(BytesIO(file_of(name))))
    height, width = (edge // scale * scale for edge in pixels.shape[:2])
    return averaged(pixels, scale)[:height:scale, :width:scale].transpose(2, 0, 1)


def _fitting(request: Request, regions: Sequence[Region]) -> list[int]:
    """The scales at which a patch fits into every region."""
    high, wide = min(r.height for r in regions), min(r.width for r in regions)
    scales = [s for s in SCALES if s * request.height <= high and s * request.width <= wide]
    if not scales:
        raise ValueError(
            f"Expected patches that fit into every region of the photographs, of at most {high} x "
            f"{wide} pixels; got height {request.height}, width {request.width}; ask for smaller."
        )
    return scales


def _stream(
    contents: Sequence[bytes],
    regions: Sequence[Sequence[Region]],
    scales: Sequence[int],
    request: Request,
    count: int,
) -> Iterator[Chunk]:
    """Cut the patches: scale, photograph and place are uniform among those that there are."""
    numbers = [number for number, parts in enumerate(regions) if parts]
    averages = {}
    for number in numbers:
        image = open_picture(BytesIO(contents[number]))
        pixels = np.asarray(image.convert("L" if request.channels == 1 else "RGB"))
        photograph = pixels.reshape(*pixels.shape[:2], request.channels)
        for scale in scales:
            averages[number, scale] = averaged(photograph, scale)
    key = np.array([request.seed, SPLITS.index(request.split)], np.uint64)

    def pick(n: int) -> Picked:
        # As for MSDS: patch n owns block n + 1 of four numbers, so it depends on n only.
        raw = np.random.Philox(key=key, counter=n).random_raw(4)
        a, b, c, _ = ((raw >> np.uint64(11)) * 2.0**-53).tolist()  # uniform in [0, 1)
        scale = scales[int(a * len(scales))]
        number = numbers[int(b * len(numbers))]
        height, width = scale * request.height, scale * request.width
        row, column = _place(c, regions[number], height, width)
        corners = averages[number, scale]
        part = corners[row : row + height : scale, column : column + width : scale]
        return part, (number, scale, row, column)

    return cut(count, pick)


def cut(count: int, pick: Callable[[int], Picked]) -> Iterator[Chunk]:
    """Patches, chunk by chunk.

    Args:
        count: Number of patches.
        pick: Gives the patch with a number, uint8 [H, W, C], and its labels, in the order of
            `LABELS`. It is called with 0, 1, 2, ….
    """
    for first in range(0, count, CHUNK):
        patches, labels = zip(*map(pick, range(first, min(first + CHUNK, count))), strict=True)
        columns = np.array(labels, np.int64).T
        yield Chunk(
            np.stack(patches).transpose(0, 3, 1, 2), dict(zip(LABELS, columns, strict=True))
        )


def _place(u: float, regions: Sequence[Region], height: int, width: int) -> tuple[int, int]:
    """Row and column of a rectangle, uniform among all places within one of the regions."""
    places = [(r.height - height + 1) * (r.width - width + 1) for r in regions]
    place = int(u * sum(places))
    for region, number in zip(regions, places, strict=True):
        if place < number:
            row, column = divmod(place, region.width - width + 1)
            return region.top + row, region.left + column
        place -= number
    raise AssertionError(u)


def reductions(image: Image.Image, request: Request, first: int = 1) -> list[tuple[int, Pixels]]:
    """A picture in several sizes for patches, each with the edge of the squares that are averaged,
    [h, w, C]: `first`, and 2 and 4 times that, unless too little remains.

    >>> image = Image.new("RGB", (600, 300))
    >>> [(s, pixels.shape) for s, pixels in reductions(image, Request(name="folder:~/cats"))]
    [(1, (300, 600, 3)), (2, (150, 300, 3))]
    """
    image = image.convert("L" if request.channels == 1 else "RGB")
    least = max(MIN_SHORTER_SIDE, request.height, request.width)
    found: list[tuple[int, Pixels]] = []
    for scale in (first, 2 * first, 4 * first):
        reduced = image.reduce(scale)
        if min(reduced.size) >= least or not found:
            pixels = np.asarray(reduced)
            found.append((scale, pixels.reshape(*pixels.shape[:2], request.channels)))
    return found


def anywhere(
    number: int, sizes: Sequence[tuple[int, Pixels]], request: Request, random: np.random.Generator
) -> Callable[[int], Picked]:
    """Picks patches of a picture, for `cut`: size and place are uniform.

    Args:
        number: Of the picture, a label of its patches.
        sizes: The picture in several sizes, each with its scale, as `reductions` gives them.
        request: Which patches are asked for.
        random: Source of randomness.
    """

    def pick(_: int) -> Picked:
        scale, pixels = sizes[int(random.integers(len(sizes)))]
        row = int(random.integers(pixels.shape[0] - request.height + 1))
        column = int(random.integers(pixels.shape[1] - request.width + 1))
        part = pixels[row : row + request.height, column : column + request.width]
        return part, (number, scale, row, column)

    return pick


def averaged(pixels: Pixels, scale: int) -> Pixels:
    """The average of every square of `scale` x `scale` pixels, at its top left corner.

    [H, W, C] to [H - scale + 1, W - scale + 1, C].

    >>> averaged(np.array([[[0], [1], [5]], [[2], [3], [6]]], np.uint8), 2)  # 1.5, rounded up
    array([[[2], [4]]], dtype=uint8)
    """
    sums = pixels.astype(np.uint16)
    for axis in (0, 1):
        count = sums.shape[axis] - scale + 1
        shifted = [sums.take(range(k, k + count), axis) for k in range(scale)]
        sums = np.sum(shifted, axis=0, dtype=np.uint16)
    return ((sums + scale**2 // 2) // scale**2).astype(np.uint8)
