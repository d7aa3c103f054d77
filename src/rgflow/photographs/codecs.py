"""Lossless codecs that a flow is compared with: the sizes of the files that they make.

Letters in shapes: C channels, 1 or 3; H, W rows and columns.
"""

import io
from collections.abc import Sequence
from importlib.util import find_spec

from rgflow.checks import check_installed
from rgflow.photographs.pictures import Pixels, image_of

CODECS = ("png", "webp", "jpegxl")
"""Names of the codecs."""


def check_codecs(names: Sequence[str]) -> list[str]:
    """The codecs of these names, where `all` stands for those that can be used here.

    Raises:
        ValueError: If there is no codec of a name.

    Example:
        >>> check_codecs(["png", "gif"])
        Traceback (most recent call last):
        ...
        ValueError: Expected --codecs among png, webp, jpegxl, all; got gif.
    """
    for name in names:
        if name not in (*CODECS, "all"):
            raise ValueError(f"Expected --codecs among {', '.join(CODECS)}, all; got {name}.")
    if "all" not in names:
        return list(names)
    return [name for name in CODECS if name != "jpegxl" or find_spec("imagecodecs")]


def size(codec: str, seen: Pixels) -> int:
    """Bytes of the file that a codec makes, at its best effort.

    Args:
        codec: One of `CODECS`.
        seen: The pixels, uint8 [C, H, W].

    Raises:
        ValueError: If the package that the codec needs isn't installed.
    """
    image, file = image_of(seen), io.BytesIO()
    if codec == "png":
        image.save(file, "PNG", optimize=True)
    elif codec == "webp":
        # Quality 100 takes eight times as long, for files that are 0 to 2 % smaller.
        image.save(file, "WEBP", lossless=True, quality=90, method=6)
    else:
        check_installed("imagecodecs", "for --codecs jpegxl", "codecs")
        import imagecodecs

        values = seen[0] if len(seen) == 1 else seen.transpose(1, 2, 0).copy()
        file.write(imagecodecs.jpegxl_encode(values, effort=9, lossless=True))
    return file.tell()
