"""The paper's synthetic sets, MSDS1 and MSDS2: 16 ovals on black, 32x32 RGB.

In MSDS1 the colour belongs to the image and the orientation to the oval, in MSDS2 it's the other
way round. Source: section 4.1 and appendix B of the paper, and its released generators; the angle
stays a float and is stored as drawn, so the labels say all there is to know about the pixels.

Letters in shapes: N images, (i, j) column and row of an oval in 0..3.
"""

from collections.abc import Callable, Iterator
from typing import Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from rgflow.data.drawn import drawn, uniform
from rgflow.data.images import Array, Pixels
from rgflow.data.source import SPLITS, Chunk, Request, Source, Split

Kind: TypeAlias = Literal["msds1", "msds2"]
Labels: TypeAlias = dict[str, Array]
KINDS: tuple[Kind, ...] = ("msds1", "msds2")
COUNTS: dict[Split, int] = {"train": 90_000, "validation": 5_000, "test": 10_000}
"""The paper's numbers of images; validation, which it lacks, is a stream of its own."""

CHUNK = 500
"""Images that one process draws at a time."""
DRAWS = 100
"""Random numbers per image: 16 ovals of 6, then 3 for the base colour and 1 for the base angle."""
WORTH_A_PROCESS = 1_500
"""Images drawn in about the time it takes to start a Python process."""


def source(request: Request) -> Source:
    """MSDS1 or MSDS2.

    Raises:
        ValueError: If another size is asked for.
    """
    kind = cast(Kind, request.name)
    size = (request.height, request.width, request.channels)
    if size != (32, 32, 3) or request.crop is not None:
        raise ValueError(
            f"Expected {kind} at its only size, height 32, width 32, channels 3 and no crop; "
            f"got {size[0]}, {size[1]}, {size[2]} and crop {request.crop}."
        )
    count = request.count or COUNTS[request.split]
    return Source(
        kind=f"{kind}-{request.split}",
        settings={"source": kind, "split": request.split, "seed": request.seed, "version": 1},
        count=count,
        chunks=lambda: stream(kind, count, split=request.split, seed=request.seed),
    )


def endless(kind: Kind) -> Callable[[int, int], Pixels]:
    """Training images without an end, of which `load` has the first: a function of the number of
    the first one, and how many.

    >>> (endless("msds1")(2, 1) == next(stream("msds1", 3)).images[2:]).all()
    np.True_
    """

    def images(start: int, count: int) -> Pixels:
        return draw(sample(kind, count, split="train", seed=0, start=start)["ovals"])

    return images


def stream(
    kind: Kind,
    count: int,
    *,
    split: Split = "train",
    seed: int = 0,
    workers: int | None = None,
    chunk: int = CHUNK,
) -> Iterator[Chunk]:
    """Make the first images of a set, chunk by chunk.

    Image n depends on (kind, seed, split, n) only, not on how many are made, or by how many
    workers.

    Args:
        kind: `msds1` or `msds2`.
        count: Number of images.
        split: Each split has images of its own.
        seed: Seed of the images.
        workers: Processes that draw; 0: this one draws; None: as many as the machine has.
        chunk: Maximum number of images in a chunk.

    Returns:
        images, uint8 [n, 3, 32, 32], and labels, float32: `ovals` [n, 4 (i), 4 (j), 6], the last
        axis being x and y of the tile's top left corner in pixels, the angle in degrees
        (counter-clockwise), and R, G, B in 0..255; and `base_colour` [n, 3] (MSDS1, before the
        ovals' own offsets) or `base_angle` [n] (MSDS2, likewise).

    Raises:
        ValueError: If there is no such kind or split, or a number is negative.
    """
    if kind not in KINDS:
        raise ValueError(f"Expected kind to be msds1 or msds2; got {kind!r}.")
    Request(name=kind, split=split, count=count, seed=seed)
    batches = (
        sample(kind, min(chunk, count - first), split=split, seed=seed, start=first)
        for first in range(0, count, chunk)
    )
    return drawn(_chunk, batches, workers, count // WORTH_A_PROCESS)


def sample(kind: Kind, count: int, *, split: Split, seed: int, start: int) -> Labels:
    """Draw the labels of images `start` to `start + count` (described at `stream`).

    Args:
        kind: As of `stream`.
        count: Number of images.
        split: As of `stream`.
        seed: As of `stream`.
        start: Number of the first image.

    >>> sample("msds1", 2, split="test", seed=0, start=0)["base_colour"].shape
    (2, 3)
    """
    of = KINDS.index(kind) * len(SPLITS) + SPLITS.index(split)
    u = uniform(seed, of, start, count, DRAWS)

    cell = u[:, :96].reshape(count, 4, 4, 6)
    i, j = np.arange(4)[:, None], np.arange(4)
    x = 8 * i + _integers(cell[..., 0], -1, 1)
    y = 8 * j + _integers(cell[..., 1], -1, 1)
    if kind == "msds1":
        base_colour = _integers(u[:, 96:99], 32, 223)
        colour = base_colour[:, None, None] + _integers(cell[..., 3:], -32, 32)
        angle = 180 * cell[..., 2]
        base = {"base_colour": base_colour.astype(np.float32)}
    else:
        base_angle = 180 * u[:, 99]
        colour = _integers(cell[..., 3:], 0, 255)
        angle = base_angle[:, None, None] + 45 * cell[..., 2]
        base = {"base_angle": base_angle.astype(np.float32)}
    ovals = np.concatenate([np.stack([x, y, angle], -1), colour], -1)
    return {"ovals": ovals.astype(np.float32), **base}


def draw(ovals: NDArray[np.float32]) -> Pixels:
    """Draw images [N, 3, 32, 32] from their labels `ovals` [N, 4, 4, 6].

    >>> ovals = sample("msds1", 2, split="train", seed=0, start=0)["ovals"]
    >>> ovals[..., 3:] = 0  # black on black
    >>> draw(ovals).max()
    np.uint8(0)
    """
    # The ellipse isn't anti-aliased, so every tile is one stencil filled with a colour. Pillow
    # rotates RGBA as RGBa (premultiplied); filling that directly saves a conversion per oval.
    stencil = Image.new("L", (8, 8))
    ImageDraw.Draw(stencil).ellipse((1, 3, 7, 5), 255)
    tile = Image.new("RGBa", (8, 8))
    images = np.empty((len(ovals), 3, 32, 32), np.uint8)
    for n, image_ovals in enumerate(ovals.reshape(-1, 16, 6).tolist()):
        canvas = Image.new("RGB", (32, 32))
        for x, y, angle, *colour in image_ovals:
            r, g, b = map(int, colour)
            tile.paste((r, g, b, 255), (0, 0), stencil)
            oval = tile.rotate(angle, Image.Resampling.BICUBIC).convert("RGBA")
            canvas.paste(oval, (int(x), int(y)), oval)
        images[n] = np.asarray(canvas).transpose(2, 0, 1)
    return images


def _chunk(labels: Labels) -> Chunk:
    return Chunk(draw(labels["ovals"]), labels)


def _integers(u: Array, low: int, high: int) -> Array:
    """Uniform in low..high, both included, from u uniform in [0, 1)."""
    integers: Array = low + np.floor(u * (high - low + 1))
    return integers
