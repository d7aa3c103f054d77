"""Picture files from anybody: first the header, then the pixels, or a sentence that says why not.

No other module opens pictures with Pillow.

Letters in shapes: C channels; H, W rows and columns.
"""

import io
import logging
import math
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin
from PIL.ImageFile import ImageFile

from rgflow.reading import DamagedError, opened, reason

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "HEIF", "TIFF", "BMP", "GIF", "PPM")
"""Formats that are read, if the installed Pillow supports them."""
MAX_PIXELS = 64_000_000
"""Pixels of a picture, unless more are asked for. Decoding WebP takes the most memory, 16 bytes per
pixel: 1 GiB for these."""
FILE_BYTES_PER_PIXEL, SPARE_FILE_BYTES = 8, 1 << 26
"""What a file may have: four channels of 16 bits, and whatever else is in it."""
MAX_EDGE = 1 << 18
"""Pixels along an edge: two bytes of a BMP file may stand for 255 rows, and Pillow makes them."""
MAX_REPEATS = 50
REPEATED = {"JPEG": rb"\xff\xda\x00[\x06-\x0c][\x01-\x04]", "PNG": rb"iCCP"}
"""How something begins of which 100 bytes, or 16 kB, take long: a pass over a JPEG picture, usually
one of 10, and a colour profile, of which there may be one."""
HEIC = re.compile(rb".{4}ftyp(hei[cmsx]|hev[cmsx]|mif1|msf1)", re.DOTALL)
RAW = re.compile(rb".{4}ftypcrx |FUJIFILM|II(R[OS]|U\0)|II\*\0\x10\0{3}CR\x02\0", re.DOTALL)
RAW_TAGS = (
    rb"\x06\x01\x03\0\x01\0{3}\x23\x80|\x01\x06\0\x03\0{3}\x01\x80\x23"
    rb"|\x12\xc6\x01\0\x04\0{3}|\xc6\x12\0\x01\0{3}\x04"
)
"""How pictures of phones and raw files of cameras begin; and what the latter hold if they are TIFF
files, of which Pillow would read a small preview: a mosaic of colours, or the version of DNG."""
MAX_PROFILE_BYTES = 1 << 24
"""Bytes of a colour profile, or of EXIF; JPEG can't hold larger ones."""
MAX_DPI = 1 << 16
"""Dots per inch; not all formats can hold larger numbers."""
MODES = {name: name for name in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB")} | {
    **{"I;16": "I;16", "I;16B": "I;16", "I;16L": "I;16", "I": "I;16"},
    **{"PA": "RGBA", "RGBX": "RGB"},
}
"""Modes of Pillow that are read, and those in which they are kept; others are refused."""

# What Pillow says of a file besides raising an error isn't for the terminal.
logging.getLogger("PIL").addHandler(logging.NullHandler())
# Otherwise Pillow doesn't read all files that it writes.
PngImagePlugin.MAX_TEXT_CHUNK = max(PngImagePlugin.MAX_TEXT_CHUNK, MAX_PROFILE_BYTES)


class _RefusedError(Exception):
    """What a picture has that isn't read, in words."""


@contextmanager
def picture_file(
    file: Path | BinaryIO, most: int = MAX_PIXELS, formats: Sequence[str] = FORMATS
) -> Iterator[ImageFile]:
    """A picture file, whatever its name, of which only the header has been read.

    What goes wrong in the block counts as damage, as Pillow's errors have no class in common.

    Args:
        file: A regular file, or one in memory.
        most: Maximum number of pixels.
        formats: Those that it may have.

    Raises:
        FileNotFoundError: If it isn't there.
        PermissionError: If it may not be read.
        DamagedError: If it isn't such a file, is damaged or too large.

    Example:
        >>> content = io.BytesIO()
        >>> Image.new("L", (30, 20)).save(content, "PNG")
        >>> with picture_file(content) as found:
        ...     found.size
        (30, 20)
    """
    name = getattr(file, "name", "this")
    with opened(file, "a picture file") if isinstance(file, Path) else nullcontext(file) as content:
        try:
            yield _header(content, name, most, formats)
        except DamagedError:
            raise
        except _RefusedError as error:
            raise DamagedError(
                f"Expected a picture of a kind that is read; {name} has {error}: convert it first."
            ) from error
        except MemoryError as error:
            raise DamagedError(
                f"Expected enough memory for {name}; there isn't enough: make it smaller."
            ) from error
        except Exception as error:
            raise DamagedError(
                f"Expected a picture file, such as PNG, JPEG or WebP; {name} isn't one, or is "
                f"damaged ({reason(error)})."
            ) from error


def _header(content: BinaryIO, name: object, most: int, formats: Sequence[str]) -> ImageFile:
    """The header of a picture of at most so many pixels."""
    size = content.seek(0, io.SEEK_END)
    limit = FILE_BYTES_PER_PIXEL * max(most, MAX_PIXELS) + SPARE_FILE_BYTES
    if size > limit:
        raise DamagedError(
            f"Expected a picture file of at most {limit / 1e6:.0f} MB; {name} has "
            f"{size / 1e6:.0f}: make it smaller, or raise the limit."
        )
    content.seek(0)
    start = content.read(16)
    Image.init()
    instead = ""
    if HEIC.match(start) and "HEIF" not in Image.OPEN:
        instead = "a HEIC picture of a phone: export it as JPEG or PNG, in Photos, Preview or GIMP"
    elif RAW.match(start) or (start[:3] in (b"II*", b"MM\0") and _count(content, RAW_TAGS)):
        instead = "a raw file of a camera: export it as TIFF or JPEG, as darktable or Lightroom do"
    if instead:
        raise DamagedError(f"Expected a picture file, such as PNG or JPEG; {name} is {instead}.")
    for kind in formats:
        make, accepts = Image.OPEN.get(kind, (None, None))
        if make and (accepts is None or accepts(start) is True):
            if kind in REPEATED and _count(content, REPEATED[kind]) > MAX_REPEATS:
                raise ValueError("it repeats what takes long")
            content.seek(0)
            found = make(content, "")  # as Image.open would; but that has one limit for all threads
            has = f"{name} has {found.width}×{found.height} pixels: make it smaller"
            if math.prod(found.size) > most:
                raise DamagedError(
                    f"Expected a picture of at most {most / 1e6:g} megapixels; {has}, or raise the "
                    "limit."
                )
            if max(found.size) > MAX_EDGE:
                raise DamagedError(f"Expected edges of at most {MAX_EDGE:,} pixels; {has}.")
            return found
    raise ValueError("unknown format")


def _count(content: BinaryIO, pattern: bytes) -> int:
    """How often a few bytes are in a file."""
    content.seek(0)
    blocks = iter(lambda: content.read(1 << 20), b"")
    return sum(len(re.findall(pattern, block)) for block in blocks)


def decoded(file: ImageFile) -> tuple[Image.Image, list[str]]:
    """The picture in a file, upright and in a mode that is kept, and what it lacks, in words.

    Raises:
        ValueError: If it lacks its palette, or Pillow's errors of all kinds, if it is damaged;
            `picture_file` says it in a sentence.
    """
    notes, tags = list[str](), getattr(file, "tag_v2", {})
    if getattr(file, "is_animated", False):
        notes.append("only its first frame is used")
    if file.tile and file.tile[0][0] == "raw" and tags.get(284) == 2 and 16 in tags.get(258, ()):
        raise _RefusedError("uncompressed planes of 16 bits")  # whose bytes Pillow mixes up
    files = [file, *_lower(file)]
    if (bits := _bits(file)) > 8 and not file.mode.startswith("I") and len(files) == 1:
        notes.append(f"only the upper 8 of {bits} bits per colour are read and written")
    if (channels := tags.get(277, 0)) > len(file.getbands()):
        notes.append(f"only {len(file.getbands())} of {channels} channels are read and written")
    file.load()
    if file.mode == "P" and not file.palette:
        raise ValueError("it has no palette")
    try:  # copies: the file holds on to memory of its decoder
        image, *lower = [ImageOps.exif_transpose(one) for one in files]
        if tags and {*file.getexif()} & {*WORDS}:
            image.info["exif"] = in_tiff(file.getexif())
    except Exception:
        image, *lower = [one.copy() for one in files]
        image.info["exif"] = None
    image.info.pop("lower", None)
    if lower:
        image.info["lower"] = lower[0]
    if (mode := MODES.get(image.mode)) is None:
        raise _RefusedError("real values of unknown range" if image.mode == "F" else image.mode)
    if mode == "I;16":
        values = np.asarray(image)
        if not 0 <= values.min() <= values.max() < 1 << 16:
            raise _RefusedError(f"values from {values.min():,} to {values.max():,}")
        info = image.info
        image = Image.fromarray(values.astype(np.uint16) ^ (0xFFFF if tags.get(262) == 0 else 0))
        image.info = info
    elif image.has_transparency_data:
        # Transparent by one colour: as a channel of its own, so that new pixels can be opaque.
        mode = "LA" if mode in ("1", "L", "LA") else "RGBA"
        if image.mode == "P":
            notes.append("the result is RGBA, as a colour of its palette is transparent")
    elif mode == "P" and np.asarray(image).max() >= len(image.getpalette() or ()) // 3:
        mode = "RGB"
        notes.append("the result is RGB, as its palette lacks some of its colours")
    return image if image.mode == mode else image.convert(mode), notes


def _lower(file: ImageFile) -> list[ImageFile]:
    """The same picture with the lower 8 of 16 bits per colour, where Pillow, which reads the upper
    ones, can be made to: by the other order of bytes."""
    name, _, order = _raw(file).partition(";16")
    little = order == "L" or (order == "N" and sys.byteorder == "little")
    planes = getattr(file, "tag_v2", {}).get(284) == 2
    deep = file.format in ("PNG", "TIFF") and name in ("RGB", "RGBX", "RGBA") and order
    if not deep or planes or "transparency" in file.info:
        return []
    return [_again(file, f"{name};16{'B' if little else 'L'}", file.mode)]


def fourth(file: ImageFile) -> Image.Image | None:
    """The upper 8 bits of a fourth channel that Pillow leaves out, upright; none: there is none."""
    if file.mode != "RGB" or not (raw := _raw(file)).startswith("RGBX"):
        return None
    return ImageOps.exif_transpose(_again(file, raw.replace("X", "A"), "RGBA")).getchannel("A")


def _raw(file: ImageFile) -> str:
    """How Pillow calls the order of the bytes of pixels; empty: in several ways."""
    names = {one[3] if isinstance(one[3], str) else str(one[3][0]) for one in file.tile if one[3]}
    return names.pop() if len(names) == 1 else ""


def _again(file: ImageFile, raw: str, mode: str) -> ImageFile:
    """The same picture, read as if its bytes had another order."""
    assert file.fp is not None
    at = file.fp.tell()
    file.fp.seek(0)
    found = type(file)(file.fp, "")
    found._mode = mode
    found.tile = [
        one._replace(args=(raw, *one.args[1:]) if isinstance(one.args, tuple) else raw)
        for one in found.tile
    ]
    found.load()
    file.fp.seek(at)
    return found


KEPT = ("icc_profile", "exif", "dpi")
"""What is kept of a file besides pixels, as Pillow calls it."""
WORDS = (270, 271, 272, 305, 306, 315, 33432, 34665, 34853)
"""Tags for description, camera, software, date, artist, copyright, EXIF's own and the place."""


def keep(image: Image.Image, notes: list[str]) -> None:
    """Keep, of what was in a file besides pixels, its colour profile, EXIF, resolution, the grey
    that is transparent, and the lower 8 of 16 bits per colour, a picture of its own. Pillow would
    use the rest, such as compression, when it writes a picture.

    Args:
        image: The picture.
        notes: Gets more of what it lacks, in words.
    """
    info, found = image.info, dict[str | tuple[int, int], Any]()
    if "lower" in info:
        found["lower"] = info["lower"]
    for name, called in (("icc_profile", "colour profile"), ("exif", "EXIF")):
        if name in info:
            try:
                if len(info[name]) > MAX_PROFILE_BYTES or not isinstance(info[name], bytes):
                    raise ValueError
                if name == "exif":
                    in_tiff(info[name])
                found[name] = info[name]
            except Exception:  # whatever Pillow raises
                notes.append(f"its {called} is damaged or too large, and left out")
    with suppress(TypeError, ValueError):
        dpi = tuple(map(float, info.get("dpi", ())))
        if len(dpi) == 2 and all(1 < x < MAX_DPI for x in dpi):
            found["dpi"] = dpi
    if image.mode == "I;16" and isinstance(clear := info.get("transparency"), int):
        found["transparency"] = clear
    image.info = found


def in_tiff(exif: Image.Exif | bytes) -> bytes:
    """EXIF without what would tell how the pixels of a TIFF file are stored."""
    if isinstance(exif, bytes):
        content, exif = exif, Image.Exif()
        exif.load(content)
    for tag in {*exif} - {*WORDS}:
        del exif[tag]
    exif.bigtiff = False  # as no other file can hold the tags of large ones
    return exif.tobytes()


def _bits(file: ImageFile) -> int:
    """Bits per colour, of which Pillow reads the upper 8; of grey it reads 16."""
    if file.format == "AVIF" and file.fp:
        file.fp.seek(0)
        start = file.fp.read(1 << 12)
        at = start.find(b"av1C")
        return 10 if at >= 0 and start[at + 6] & 64 else 8
    name, _, _, how = file.tile[0] if file.tile else ("", 0, 0, "")
    if name.startswith("ppm") and isinstance(how, tuple):
        return int(how[1]).bit_length()
    return 16 if ";16" in str(how) and "BGR" not in str(how) else 8


def flat(image: Image.Image, behind: tuple[int, ...]) -> Image.Image:
    """A picture of one of `MODES` in 8-bit grey or RGB, over the colour `behind` it."""
    if image.mode == "I;16":
        values = np.asarray(image)
        grey = (values >> 8).astype(np.uint8)
        if (clear := image.info.get("transparency")) is not None:
            grey[values == clear] = np.asarray(Image.new("RGB", (1, 1), behind).convert("L"))[0, 0]
        return Image.fromarray(grey)
    if image.mode in ("LA", "RGBA"):
        over = Image.new("RGBA", image.size, (*behind, 255))
        over.alpha_composite(image if image.mode == "RGBA" else image.convert("RGBA"))
        image = over
    mode = "L" if image.mode in ("1", "L") else "RGB"
    return image if image.mode == mode else image.convert(mode)
