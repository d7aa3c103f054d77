"""From image files and arrays of any kind to images of one size."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from PIL import Image, ImageOps

from rgflow.data.images import Array, Pixels
from rgflow.data.opening import decoded, flat, picture_file
from rgflow.data.source import Chunk, Request, Source, processors
from rgflow.text import printable

FORMATS = ("PNG", "JPEG", "WEBP")
"""Formats of training data."""
CHUNK_FILES = 256
"""Maximum number of images in a chunk, so that the progress bar moves even if each takes long."""
CHUNK_BYTES = 2**26
"""Maximum size of a chunk."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """The size and colours of the images wanted.

    Raises:
        ValueError: If the number of channels isn't that of a picture.

    >>> Target(height=32, width=32, channels=2)
    Traceback (most recent call last):
    ValueError: Expected channels to be 1 (grey) or 3 (colour); got 2.
    """

    height: int
    width: int
    channels: int
    crop: int | None = None

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ValueError(
                f"Expected channels to be 1 (grey) or 3 (colour); got {self.channels}."
            )

    @classmethod
    def of(cls, request: Request, *, crop: int | None = None) -> "Target":
        """The target of a request; `crop` is the set's own, if the request names none."""
        return cls(
            height=request.height,
            width=request.width,
            channels=request.channels,
            crop=request.crop or crop,
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """C, H, W."""
        return self.channels, self.height, self.width

    def read(self, file: Path | BinaryIO) -> Pixels:
        """Read one file as `open_picture`, and bring it to size as `fit`, [C, H, W].

        Raises:
            FileNotFoundError: If it isn't there.
            ValueError: If it can't be read.
        """
        return self.fit(open_picture(file))

    def fit(self, image: Image.Image | Pixels) -> Pixels:
        """Bring an image, or an array [H, W] or [H, W, 3], to the target's colours and size,
        [C, H, W].

        The centre `crop` x `crop` (or what there is of it), of that the largest centred part of
        the target's proportions, and a bicubic, anti-aliased resize.

        >>> Target(height=2, width=2, channels=1).fit(Image.new("RGB", (6, 4), (90, 90, 90)))
        array([[[90, 90],
                [90, 90]]], dtype=uint8)
        """
        image = image if isinstance(image, Image.Image) else Image.fromarray(image)
        image = image.convert("RGB")  # grey survives the way through RGB unchanged
        if self.channels == 1:
            image = image.convert("L")
        if self.crop is not None:
            w, h = min(self.crop, image.width), min(self.crop, image.height)
            left, top = (image.width - w) // 2, (image.height - h) // 2
            image = image.crop((left, top, left + w, top + h))
        image = ImageOps.fit(image, (self.width, self.height), Image.Resampling.BICUBIC)
        return np.asarray(image).reshape(*self.shape[1:], self.channels).transpose(2, 0, 1)


def open_picture(file: Path | BinaryIO) -> Image.Image:
    """A PNG, JPEG or WebP file, whatever its name, in its own size, as 8-bit grey or RGB.

    Turned as its EXIF orientation says, transparency on black, 16 bits as the upper 8, the first
    frame of an animation.

    Raises:
        FileNotFoundError: If it isn't there.
        ValueError: If it isn't such a file, is damaged or too large.
    """
    with picture_file(file, formats=FORMATS) as found:
        return flat(decoded(found)[0], (0, 0, 0))


Decode: TypeAlias = Callable[..., Iterator[Chunk]]
"""How a source decodes its images when they are wanted: from a function that makes the image with a
number and, if there are labels, these by name, with a row per number."""


def pictures(
    request: Request,
    target: Target,
    chunks: Callable[[Decode], Iterator[Chunk]],
    *,
    kind: str,
    where: object,
    names: Sequence[str] | None = None,
    numbers: Sequence[int] | None = None,
    **settings: Any,
) -> Source:
    """A source of pictures that are decoded one by one, in threads. Those that can't be decoded are
    left out.

    Args:
        request: What was asked for.
        target: Size and colours of the images.
        chunks: Makes the images; called when they are wanted. It raises a `ValueError` if none can
            be decoded.
        kind: As for `Source`, without the split.
        where: The set, for messages.
        names: Names of the images if they have to be skipped, such as their files; by default their
            numbers.
        numbers: As for `Source`; None: images are numbered as the names are.
        settings: All that decides the bytes, besides the target.

    Returns:
        The source.
    """
    called = names or [f"image {number}" for number in numbers or ()]
    places = range(len(called)) if numbers is None else numbers
    count = min(request.count or len(called), len(called))

    def decode(
        read: Callable[[int], Pixels], labels: Mapping[str, Array] | None = None
    ) -> Iterator[Chunk]:
        def attempt(k: int) -> Pixels | str:
            try:
                return read(places[k])
            except Exception as error:  # of other decoders, too
                return printable(f"{called[k]}: {error}")

        known = {name: values[places] for name, values in (labels or {}).items()}
        return _decoded(attempt, len(called), count, target.shape, known, where)

    return Source(
        kind=f"{kind}-{request.split}",
        settings={**settings, **asdict(target)},
        numbers=numbers,
        files=names if numbers is None else None,
        count=count,
        chunks=lambda: chunks(decode),
    )


def _decoded(
    attempt: Callable[[int], Pixels | str],
    available: int,
    count: int,
    shape: tuple[int, int, int],
    labels: Mapping[str, Array],
    where: object,
) -> Iterator[Chunk]:
    """Images by their places until there are `count`, in threads; Pillow's decoders run side by
    side. `attempt` gives a name and a reason where there is no image."""
    size = max(1, min(CHUNK_FILES, CHUNK_BYTES // math.prod(shape)))
    made, position, reason = 0, 0, ""
    with ThreadPoolExecutor(processors()) as pool:
        while made < count and position < available:
            batch = range(position, min(position + min(size, count - made), available))
            images, skipped, rows = list[Pixels](), list[tuple[int, str]](), list[int]()
            for k, result in zip(batch, pool.map(attempt, batch), strict=True):
                if isinstance(result, str):
                    skipped.append((len(images), result))
                    reason = reason or result
                else:
                    images.append(result)
                    rows.append(k)
            yield Chunk(
                np.array(images, np.uint8).reshape(-1, *shape),
                {name: values[rows] for name, values in labels.items()},
                tuple(skipped),
            )
            position = batch.stop
            made += len(images)
    if not made:
        raise ValueError(
            f"Expected readable images in {where}; got {position} that can't be read, the first "
            f"being {reason}; replace them."
        )
