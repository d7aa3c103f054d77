"""Files with 16 bits per colour, which Pillow doesn't write.

Letters in shapes: H, W rows and columns; C channels, 3 or 4.
"""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

EXIF, GPS = 34665, 34853
"""Tags of TIFF whose values are directories."""


def deep(image: Image.Image, lower: Image.Image, kind: str, options: dict[str, Any]) -> bytes:
    """The content of a file, without loss.

    Args:
        image: The upper 8 bits of the colours, RGB or RGBA.
        lower: The lower 8 bits.
        kind: PNG or TIFF.
        options: What is kept besides pixels, as Pillow calls it: icc_profile, exif, dpi.

    Example:
        >>> image = Image.new("RGB", (20, 10), (255, 2, 0))
        >>> content = deep(image, Image.new("RGB", (20, 10), (0, 7, 0)), "PNG", {})
        >>> Image.open(io.BytesIO(content)).getpixel((3, 4))
        (255, 2, 0)
    """
    values = np.asarray(image).astype(np.uint16) << 8 | np.asarray(lower)
    if kind == "TIFF":
        return _tiff(values, options)
    file = io.BytesIO()  # of a small one, for all but the pixels
    image.crop((0, 0, 1, 1)).save(file, kind, **options)
    return _png(values, file.getvalue())


def _png(values: NDArray[np.uint16], small: bytes) -> bytes:
    """PNG of values [H, W, C], with what is in the file of a smaller picture besides pixels."""
    height, width, channels = values.shape
    rows = values.astype(">u2").view(np.uint8).reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = 1  # every byte less that of the pixel to its left
    filtered[:, 1:] = rows
    filtered[:, 1 + 2 * channels :] -= rows[:, : -2 * channels]
    chunks, at = [], 8
    while at < len(small):
        (size,), kind = struct.unpack(">I", small[at : at + 4]), small[at + 4 : at + 8]
        content = small[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            content = struct.pack(">IIBB", width, height, 16, content[9]) + content[10:]
        elif kind == b"IDAT":
            content = zlib.compress(filtered.tobytes(), 6)
        chunks += [struct.pack(">I", len(content)), kind, content]
        chunks.append(struct.pack(">I", zlib.crc32(content, zlib.crc32(kind))))
        at += 12 + size
    return b"".join([small[:8], *chunks])


def _tiff(values: NDArray[np.uint16], options: dict[str, Any]) -> bytes:
    """TIFF of values [H, W, C]."""
    height, width, channels = values.shape
    exif, tags, file = Image.Exif(), ImageFileDirectory_v2(), io.BytesIO()
    exif.load(options.get("exif", b""))
    for tag in exif:
        tags[tag] = exif.get_ifd(tag) if tag in (EXIF, GPS) else exif[tag]
    content = zlib.compress(values.astype("<u2").tobytes(), 6)
    tags[256], tags[257], tags[258] = width, height, (16,) * channels
    tags[259], tags[262], tags[277] = 8, 2, channels  # deflate, RGB
    tags[273], tags[278], tags[279] = 0, height, len(content)  # one strip after the tags
    if channels == 4:
        tags[338] = 2  # alpha, by which colours aren't multiplied
    if "icc_profile" in options:
        tags[34675] = options["icc_profile"]
    if "dpi" in options:
        tags[282], tags[283] = options["dpi"]
        tags[296] = 2  # per inch
    tags.save(file)
    return file.getvalue() + content
