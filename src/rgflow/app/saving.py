"""Saving pictures of the page of photographs: without loss, or in the format they came in."""

import io
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, JpegImagePlugin

from rgflow.data.opening import picture_file
from rgflow.photographs.pictures import is_lossless_webp, named, write

ENDINGS = {"JPEG": "jpg", "WEBP": "webp", "AVIF": "avif"}
"""Formats that may lose something, and how the names of their files end."""
QUALITY = 95
"""Used for formats whose files don't say with which quality they were written."""


@dataclass(frozen=True)
class Lossy:
    """How a file is compressed with loss.

    Attributes:
        kind: The format, one of `ENDINGS`.
        options: For writing another one like it.
    """

    kind: str
    options: dict[str, Any] = field(default_factory=dict)


def lossy(content: BinaryIO) -> Lossy | None:
    """How a picture file is compressed; none if without loss.

    Example:
        >>> content = io.BytesIO()
        >>> Image.new("RGB", (8, 8)).save(content, "JPEG")
        >>> lossy(content).kind
        'JPEG'
    """
    with picture_file(content, sys.maxsize) as opened:
        kind = {"MPO": "JPEG"}.get(opened.format or "", opened.format or "")
        options: dict[str, Any] = {"quality": QUALITY}
        if isinstance(opened, JpegImagePlugin.JpegImageFile):
            # As it was, so that what hasn't changed loses next to nothing.
            options = {"qtables": [[*one] for one in opened.quantization.values()]}
            if (sampling := JpegImagePlugin.get_sampling(opened)) >= 0:
                options["subsampling"] = sampling
    exact = kind == "WEBP" and is_lossless_webp(content)
    if exact or kind not in ENDINGS or kind not in Image.SAVE:
        return None
    return Lossy(kind, options)


def saved(image: Image.Image, like: Lossy | None) -> tuple[bytes, str]:
    """A picture file with its EXIF, colour profile and resolution, and how its name ends.

    Without `like` it is written without loss, by `rgflow.photographs.pictures.write`.
    """
    if like:
        content, info = io.BytesIO(), image.info
        kept = {name: info[name] for name in ("exif", "icc_profile", "dpi") if name in info}
        image.save(content, like.kind, **like.options, **kept)
        return content.getvalue(), ENDINGS[like.kind]
    with tempfile.TemporaryDirectory() as folder:
        path = write(image, named(image, Path(folder) / "picture.png"))
        return path.read_bytes(), path.suffix[1:]
