"""Files of the page of photographs to take away: of one picture, and of all in one archive."""

import io
from collections.abc import Iterator, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from PIL import Image, ImageDraw

from rgflow.app.project import Photo, smaller
from rgflow.app.saving import QUALITY, saved
from rgflow.photographs.pictures import image_of

SHEET = 400
"""Longer edge in pixels of a picture on the contact sheet."""


def exported(photo: Photo, *, like: bool) -> tuple[str, bytes]:
    """The name and the content of a file of a picture as it is now, as for `saved`."""
    image = photo.picture().replaced(photo.now, photo.load().changed)
    content, ending = saved(image, photo.about.lossy if like else None)
    return f"{Path(photo.about.name).stem}-{photo.about.made}.{ending}", content


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
            rows.append(_row(photo, name))
            yield parts.taken()
        size = max(row.width for row in rows), sum(row.height for row in rows)
        sheet, top, file = Image.new("RGB", size, "white"), 0, io.BytesIO()
        for row in rows:
            sheet.paste(row, (0, top))
            top += row.height
        sheet.save(file, "JPEG", quality=QUALITY)
        archive.writestr("contact-sheet.jpg", file.getvalue())
    yield parts.taken()


def _row(photo: Photo, name: str) -> Image.Image:
    """A picture before and after, with its name, for the contact sheet."""
    both = photo.load().before, photo.now
    pair = [image_of(smaller(one, SHEET).transpose(2, 0, 1)) for one in both]
    row = Image.new("RGB", (2 * SHEET + 30, pair[1].height + 40), "white")
    for k, one in enumerate(pair):
        row.paste(one.convert("RGB"), (10 + k * (SHEET + 10), 30))
    ImageDraw.Draw(row).text((10, 8), f"{name}: before, after", "black")
    return row


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
