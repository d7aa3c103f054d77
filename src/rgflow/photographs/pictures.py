"""Pictures as they are in files: of any size and mode, and written back in the same mode.

A flow sees 8-bit grey or colour, the upper bits of 16. Everything else in a picture (transparency,
lower bits, a palette, CMYK, a colour profile, EXIF) is kept, and pixels that aren't replaced are
written as they were read.

Letters in shapes: C channels; H, W rows and columns.
"""

import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from PIL import Image, ImageColor
from PIL.ImageFile import ImageFile

from rgflow.cells import Mask
from rgflow.data.images import Pixels
from rgflow.data.opening import KEPT, MAX_PIXELS, decoded, flat, in_tiff, keep, picture_file
from rgflow.photographs.deep import deep

LOSSLESS = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP", ".bmp": "BMP"}
"""Endings of lossless files, and their formats."""
SAVING: dict[str, dict[str, Any]] = {
    "WEBP": {"lossless": True, "exact": True},
    "PNG": {"compress_level": 4},
}
"""How they are written; level 4 of PNG takes half the time of 6, for files 1 % larger."""
MAX_EDGES = {"WEBP": 16383}
"""Pixels along an edge, where a format has a limit."""
ROWS = 256
"""Rows of a picture that are taken from Pillow at a time."""
LOSS = 4.0
"""Standard error in levels of formats that don't say it: that of JPEG at quality 90."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture, and what a flow sees of it.

    Attributes:
        seen: What a flow sees, uint8 [C, H, W]: 1 channel for grey, 3 for colour; transparent
            pixels are blended with the background.
        image: The picture as it is, upright.
        notes: What a flow doesn't see of it, in words.
        behind: The colour behind transparent pixels.
        loss: Standard error of the brightness after compression, in levels; 0: nothing was lost.
    """

    seen: Pixels
    image: Image.Image
    notes: tuple[str, ...] = field(default=())
    behind: tuple[int, ...] = (255, 255, 255)
    loss: float = 0.0

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.seen.shape[1], self.seen.shape[2]

    def pixels(self, channels: int) -> Pixels:
        """What a flow with that many channels sees, uint8 [C, H, W], to read only; grey as three
        equal channels.

        Raises:
            ValueError: If the picture has colours, and the flow has none.
        """
        if len(self.seen) not in (1, channels):
            raise ValueError("Expected a grey picture, as the model has one channel; got colours.")
        if len(self.seen) == channels:
            return self.seen
        return np.broadcast_to(self.seen, (channels, *self.size)).copy()

    def replaced(self, pixels: Pixels, where: Mask) -> Image.Image:
        """The picture with other pixels in some places, in its own size and mode.

        Args:
            pixels: New pixels as a flow sees them, uint8 [C, H, W]; only those in these places
                matter. Where the picture is grey, the mean of three channels is taken.
            where: The places, [H, W]; all others stay byte for byte. New pixels are opaque.
        """
        out = self.image.copy()
        if not where.any():
            return out
        i, j = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
        rows, columns = slice(i[0], i[-1] + 1), slice(j[0], j[-1] + 1)
        new = image_of(as_seen(pixels[:, rows, columns], len(self.seen)))
        if out.mode == "I;16":
            new = Image.fromarray(np.asarray(new).astype(np.uint16) * 257)
        elif out.mode == "P":
            new = new.convert("RGB").quantize(palette=out, dither=Image.Dither.NONE)
        else:
            new = new.convert(out.mode, dither=Image.Dither.NONE)
        place, mask = (int(j[0]), int(i[0])), Image.fromarray(where[rows, columns])
        out.paste(new, place, mask)
        if "lower" in out.info:  # new pixels of 16 bits are those of 8, times 257
            out.info["lower"] = out.info["lower"].copy()
            out.info["lower"].paste(new, place, mask)
        return out

    def enlarged(self, pixels: Pixels, *, averages: bool = False) -> "Picture":
        """The picture with more pixels, in its own mode if that can hold them; notes say if not.

        Alpha is enlarged by Lanczos. New pixels of 16 bits are those of 8 bits, times 257.

        Args:
            pixels: What a flow made of what it saw, uint8 [C, h, w], all of it enlarged.
            averages: Whether old pixels are averages of these, rather than every `factor`-th of
                them, which are then as they were, whatever a flow sees of them.
        """
        mode, notes, lower = self.image.mode, list(self.notes), self.image.info.get("lower")
        # Of a grey picture one channel, as the mean of three, rounded, would change averages.
        one = averages and len(self.seen) == 1
        seen = pixels[:1] if one else as_seen(pixels, len(self.seen))
        size = seen.shape[2], seen.shape[1]
        if mode == "I;16":
            image = Image.fromarray(seen[0].astype(np.uint16) * 257)
        elif mode in ("LA", "RGBA"):
            alpha = _enlarged(self.image.getchannel("A"), size, averages)
            image = image_of(_uncovered(seen, np.asarray(alpha), self.behind))
            image.putalpha(alpha)
            image = image.convert(mode) if mode == "LA" else image
        else:
            image = image_of(seen)
        if image.mode != mode:
            lacking = {"P": "its palette", "1": "black and white"}.get(mode, mode)
            notes.append(f"the result is {image.mode}, as {lacking} lacks some of the new colours")
        elif not averages and mode not in ("L", "RGB"):
            image = _with(image, self.image)
        if mode == "I;16" or lower:
            notes.append("new pixels have 8 of 16 bits")
        image.info = {x: self.image.info[x] for x in KEPT if x in self.image.info}
        if lower:
            image.info["lower"] = image.copy() if averages else _with(image, lower)
        if mode in ("CMYK", "LAB") and image.info.pop("icc_profile", None):
            notes.append("its colour profile, which fits no RGB, is left out")
        return Picture(seen, image, tuple(notes), self.behind)


def _enlarged(channel: Image.Image, size: tuple[int, int], averages: bool) -> Image.Image:
    """A channel enlarged by Lanczos to a width and height, whose pixels stay in the middle of
    squares, or as every second, fourth, … in both directions."""
    width, height = channel.size
    left = 0.0 if averages else (1 - width / size[0]) / 2
    wider = Image.fromarray(np.pad(np.asarray(channel), (0, 1), "edge"))
    box = (left, left, width + left, height + left)
    return wider.resize(size, Image.Resampling.LANCZOS, box)


def _with(image: Image.Image, old: Image.Image) -> Image.Image:
    """An enlarged picture whose old pixels are as they were."""
    values, factor = np.array(image), image.width // old.width
    values[::factor, ::factor] = np.asarray(old)
    return Image.fromarray(values)


def _uncovered(seen: Pixels, alpha: Pixels, behind: tuple[int, ...]) -> Pixels:
    """The colours of transparent pixels [C, H, W] that look as these do over a background."""
    out, share = seen.copy(), np.maximum(alpha, 1) / np.float32(255)
    for channel, colour in zip(out, behind, strict=True):
        channel[:] = ((channel - np.float32(colour)) / share + colour).round().clip(0, 255)
    return out


def _any_transparent(image: Image.Image) -> bool:
    """Whether a picture with a channel of transparency has a pixel that isn't opaque."""
    if "A" not in image.getbands():
        return True
    return image.getchannel("A").getextrema() != (255, 255)


def read(file: Path | BinaryIO, background: str = "white", *, most: int = MAX_PIXELS) -> Picture:
    """Read a picture file, whatever its name: upright by its EXIF orientation, and the first frame
    of an animation.

    Args:
        file: Of any format of `rgflow.data.opening.FORMATS` that Pillow can read here.
        background: The colour behind transparent pixels, by name or as #rrggbb.
        most: Maximum number of pixels.

    Raises:
        FileNotFoundError: If it isn't there.
        PermissionError: If it may not be read.
        ValueError: If it isn't such a file, is damaged or too large, or there is no such colour.
    """
    try:
        behind = ImageColor.getrgb(background)[:3]
    except ValueError as error:
        raise ValueError(
            f"Expected a colour by name or as #rrggbb; got {background:.40}."
        ) from error
    with picture_file(file, most) as found:
        loss = _loss(found)
        image, notes = decoded(found)
        keep(image, notes)
        del found  # and with it the memory of its decoder
        if image.has_transparency_data and _any_transparent(image):
            notes.append(f"transparent pixels are seen over {background}")
        return Picture(_seen(image, behind), image, tuple(notes), behind, loss)


_MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK", "YCbCr", "LAB"),
    "WEBP": ("RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB"),
}
_KEPT = {
    "PNG": (*KEPT, "transparency", "lower"),
    "TIFF": (*KEPT, "lower"),
    "WEBP": ("icc_profile", "exif"),
    "BMP": ("dpi",),
}
"""What the formats hold besides pixels."""


def lossless_ending(path: Path) -> str:
    """That of a picture without loss that is made of a file: its own, or .png."""
    return path.suffix if path.suffix.lower() in LOSSLESS else ".png"


def named(image: Image.Image, path: Path) -> Path:
    """The path for a picture that is written without loss: with the ending of PNG or TIFF, if the
    format of its own ending is lossy or can't hold the picture.

    Example:
        >>> named(Image.new("RGBA", (2, 2)), Path("some.jpg")).name
        'some.png'
    """
    kind = LOSSLESS.get(path.suffix.lower(), "")
    fits = image.mode in _MODES.get(kind, ()) and max(image.size) <= MAX_EDGES.get(kind, math.inf)
    if fits and {*_KEPT["PNG"]} & image.info.keys() <= {*_KEPT[kind]}:
        return path
    return path.with_suffix(".png" if lossless_for(image.mode) == "PNG" else ".tif")


def encoded(image: Image.Image, path: Path) -> bytes:
    """The content of a picture's file without loss, in the format of a path that `named` gave."""
    kind, file = LOSSLESS[path.suffix.lower()], io.BytesIO()
    options = {name: image.info[name] for name in _KEPT[kind] if name in image.info}
    if kind == "TIFF" and "exif" in options:
        options["exif"] = in_tiff(options["exif"])
    if lower := options.pop("lower", None):
        return deep(image, lower, kind, options)
    image.save(file, kind, **SAVING.get(kind, {}), **options)
    return file.getvalue()


def lossless_for(mode: str) -> str:
    """The format without loss for a mode of Pillow: PNG, or TIFF where PNG can't hold it.

    Example:
        >>> lossless_for("RGB"), lossless_for("CMYK")
        ('PNG', 'TIFF')
    """
    return "PNG" if mode in _MODES["PNG"] else "TIFF"


def _loss(opened: ImageFile) -> float:
    """The standard error of the brightness after compression, in levels; at least 1 for JPEG, which
    also rounds colours."""
    if tables := getattr(opened, "quantization", None):  # steps of the coefficients of JPEG
        steps = np.array(next(iter(tables.values())), dtype=float)
        return max(float(((steps**2).mean() / 12) ** 0.5), 1.0)
    if opened.format == "WEBP" and opened.fp:
        return 0.0 if is_lossless_webp(opened.fp) else LOSS
    lossy = "jpeg" in str(opened.info.get("compression")) or opened.format in ("AVIF", "HEIF")
    return LOSS if lossy else 0.0


def is_lossless_webp(file: IO[bytes]) -> bool:
    """Whether the chunks of a WebP file hold a picture without loss."""
    file.seek(12)
    for _ in range(16):  # there are at most four before the pixels
        head = file.read(8)
        if head[:4] == b"VP8L":
            return True
        size = int.from_bytes(head[4:], "little")
        if head[:4] in (b"VP8 ", b"ANMF", b""):
            break
        file.seek(size + size % 2, io.SEEK_CUR)
    return False


def _seen(image: Image.Image, behind: tuple[int, ...]) -> Pixels:
    """What a flow sees, [C, H, W]."""
    channels = 1 if image.mode in ("1", "L", "I;16") else 3
    out = np.empty((channels, image.height, image.width), np.uint8)
    for top in range(0, image.height, ROWS):  # as Pillow copies what it gives away
        rows = flat(image.crop((0, top, image.width, min(top + ROWS, image.height))), behind)
        part = np.asarray(rows).reshape(rows.height, rows.width, channels)
        out[:, top : top + ROWS] = part.transpose(2, 0, 1)
    return out


def read_mask(file: Path, size: tuple[int, int]) -> Mask:
    """Read a mask [H, W] from a picture file: true where it is white and opaque.

    Args:
        file: The file.
        size: Rows and columns that it must have.

    Raises:
        FileNotFoundError: If it isn't there.
        ValueError: If it can't be read, has another size, or is white nowhere.
    """
    with picture_file(file, max(MAX_PIXELS, math.prod(size))) as found:
        has = found.size
        if sorted(has) == sorted(size):  # or else it isn't decoded
            grey = flat(decoded(found)[0], (0, 0, 0)).convert("L")
            has = grey.size
    if has != size[::-1]:
        raise ValueError(
            f"Expected a mask of {size[1]}×{size[0]} pixels, like the picture; {file} has "
            f"{has[0]}×{has[1]}."
        )
    mask = np.asarray(grey) >= 128
    if not mask.any():
        raise ValueError(
            f"Expected a mask that is white somewhere; {file} is darker than middle grey "
            "everywhere: paint in white what to repair."
        )
    return mask


def image_of(seen: Pixels) -> Image.Image:
    """Pixels [C, H, W] as a picture, grey or colour."""
    return Image.fromarray(seen[0] if len(seen) == 1 else seen.transpose(1, 2, 0).copy())


def as_seen(pixels: Pixels, channels: int) -> Pixels:
    """Pixels of a flow [C, H, W] in 1 channel or 3; grey is the mean of three."""
    if len(pixels) == channels:
        return pixels
    return pixels.mean(0, keepdims=True).round().astype(np.uint8)
