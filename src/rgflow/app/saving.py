"""Files of the page of photographs to take away: of one picture, without loss or in the format it
came in, and of all in one archive."""

import io
import sys
from collections.abc import Iterator, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZipFile

from PIL import Image, JpegImagePlugin

from rgflow.app.project import Lossy, Photo, smaller
from rgflow.data.opening import picture_file
from rgflow.figures.panels import beside, framed, stacked, titled
from rgflow.photographs.pictures import encoded, image_of, is_lossless_webp, named

ENDINGS = {"JPEG": "jpg", "WEBP": "webp", "AVIF": "avif"}
"""Formats that may lose something, and how the names of their files end."""
QUALITY = 95
"""Used for formats whose files don't say with which quality they were written."""
SHEET = 400
"""Longer edge in pixels of a picture on the contact sheet."""


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

    Without `like` it is without loss.
    """
    if like:
        content, info = io.BytesIO(), image.info
        kept = {name: info[name] for name in ("exif", "icc_profile", "dpi") if name in info}
        image.save(content, like.kind, **like.options, **kept)
        return content.getvalue(), ENDINGS[like.kind]
    path = named(image, Path("picture.png"))
    return encoded(image, path), path.suffix[1:]


def exported(photo: Photo, *, like: bool) -> tuple[str, bytes]:
    """The name and the content of a file of a picture as it is now, as for `saved`."""
    changed, made = photo.load().changed, photo.about.made
    image = photo.picture().replaced(photo.now, changed)
    content, ending = saved(image, photo.about.lossy if like else None)
    end = f"-{made}" if changed.any() or made != "repaired" else ""
    return f"{Path(photo.about.name).stem}{end}.{ending}", content


def archived(photos: Sequence[Photo], *, like: bool) -> Iterator[bytes]:
    """A ZIP file of pictures as they are now, and of a contact sheet before and after, in parts as
    it is made."""
    parts, rows, taken = _Parts(), list[Image.Image](), set[str]()
    with ZipFile(parts, "w") as archive:
        for photo in photos:
            name, content = exported(photo, like=like)
            stem, _, ending = name.rpartition(".")
            names = chain([name], (f"{stem} {number}.{ending}" for number in count(2)))
            name = next(one for one in names if one not in taken)
            taken.add(name)
            archive.writestr(name, content)
            seen = [smaller(one, SHEET) for one in (photo.load().before, photo.now)]
            pair = [image_of(one.transpose(2, 0, 1)).convert("RGB") for one in seen]
            rows.append(titled(f"{name}: before, after", beside(pair)))
            yield parts.taken()
        file = io.BytesIO()
        framed(stacked(rows)).save(file, "JPEG", quality=QUALITY)
        archive.writestr("contact-sheet.jpg", file.getvalue())
    yield parts.taken()


class _Parts(io.RawIOBase):
    """A stream whose parts are taken away as they are written."""

    content = b""

    def write(self, part: Any) -> int:
        self.content += bytes(part)
        return len(part)

    def taken(self) -> bytes:
        """What was written since."""
        content, self.content = self.content, b""
        return content
