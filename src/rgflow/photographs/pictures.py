"""Pictures as they are in files: of any size and mode, and written back in the same mode.

A flow sees 8-bit grey or colour. Everything else in a picture (transparency, 16 bits, a palette,
CMYK, a colour profile, EXIF) is kept, and pixels that aren't replaced are written as they were
read.

Letters in shapes: C channels; H, W rows and columns.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageColor, ImageOps
from PIL.ImageFile import ImageFile

from rgflow.cells import Mask
from rgflow.data.images import Pixels
from rgflow.files import replacing, writing

FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "AVIF", "HEIF", "TIFF", "BMP", "GIF", "PPM")
"""Formats that are read, if the installed Pillow supports them."""
LOSSLESS = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP", ".bmp": "BMP"}
"""Endings of lossless files, and their formats."""
ROWS = 256
"""Rows of a picture that are taken from Pillow at a time."""
MAX_READABLE = 250_000_000
"""Maximum number of pixels; more could be a decompression bomb."""
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
        new, out = image_of(as_seen(pixels, len(self.seen))), self.image.copy()
        mode = self.image.mode
        if mode.startswith("I"):
            deep, old = np.asarray(new.convert("L")).astype(np.int64) * 257, np.asarray(self.image)
            out = Image.fromarray(np.where(where, deep, old).astype(old.dtype))
        else:
            if mode == "P":
                new = new.convert("RGB").quantize(palette=self.image, dither=Image.Dither.NONE)
            new = new.convert(mode, dither=Image.Dither.NONE)
            out.paste(new, mask=Image.fromarray(where.astype(np.uint8) * 255))
        out.info.update({name: self.image.info[name] for name in _KEPT if name in self.image.info})
        return out

    def enlarged(self, pixels: Pixels, *, averages: bool = False) -> "Picture":
        """The picture with more pixels, in its own mode if that can hold them; notes say if not.

        Alpha is enlarged by Lanczos. New pixels of 16 bits are those of 8 bits, times 257.

        Args:
            pixels: What a flow made of what it saw, uint8 [C, factor·H, factor·W].
            averages: Whether old pixels are averages of these, rather than every `factor`-th of
                them, which are then as they were, whatever a flow sees of them.
        """
        seen, mode, notes = as_seen(pixels, len(self.seen)), self.image.mode, list(self.notes)
        factor = seen.shape[1] // self.size[0]
        if mode.startswith("I"):
            deep = seen[0].astype(np.uint16) * 257
            image = Image.fromarray(deep.astype(np.asarray(self.image).dtype))
            notes.append("new pixels have 8 of 16 bits")
        elif "A" in self.image.getbands():
            alpha = _enlarged(self.image.getchannel("A"), factor, averages)
            image = image_of(_uncovered(seen, np.asarray(alpha), self.behind))
            image.putalpha(alpha)
            image = image.convert(mode) if mode == "LA" else image
        else:
            image = image_of(seen)
        if image.mode != mode:
            lacking = {"P": "its palette", "1": "black and white"}.get(mode, mode)
            notes.append(f"the result is {image.mode}, as {lacking} lacks some of the new colours")
        elif not averages and mode not in ("L", "RGB"):
            values = np.array(image)
            values[::factor, ::factor] = np.asarray(self.image)
            image = Image.fromarray(values)
        for name in ("icc_profile", "exif"):
            if name in self.image.info and not (name == "icc_profile" and mode == "CMYK"):
                image.info[name] = self.image.info[name]  # but a profile of CMYK fits no RGB
        return Picture(seen, image, tuple(notes), self.behind)


def _enlarged(channel: Image.Image, factor: int, averages: bool) -> Image.Image:
    """A channel enlarged by Lanczos, whose pixels stay as every `factor`-th of both directions, or
    in the middle of squares."""
    width, height = channel.size
    left = 0.0 if averages else (1 - 1 / factor) / 2
    wider = Image.fromarray(np.pad(np.asarray(channel), (0, 1), "edge"))
    box = (left, left, width + left, height + left)
    return wider.resize((factor * width, factor * height), Image.Resampling.LANCZOS, box)


def _uncovered(seen: Pixels, alpha: Pixels, behind: tuple[int, ...]) -> Pixels:
    """The colours of transparent pixels [C, H, W] that look as these do over a background."""
    out, share = seen.copy(), np.maximum(alpha, 1) / np.float32(255)
    for channel, colour in zip(out, behind, strict=True):
        channel[:] = ((channel - np.float32(colour)) / share + colour).round().clip(0, 255)
    return out


def read(file: Path | BinaryIO, background: str = "white", *, most: int = MAX_READABLE) -> Picture:
    """Read a picture file, whatever its name: upright by its EXIF orientation, and the first frame
    of an animation.

    Args:
        file: Of any format of `FORMATS` that Pillow can read here.
        background: The colour behind transparent pixels, by name or as #rrggbb.
        most: Maximum number of pixels.

    Raises:
        FileNotFoundError: If it isn't there.
        ValueError: If it isn't such a file, is damaged or too large, or there is no such colour.
    """
    try:
        behind = ImageColor.getrgb(background)[:3]
    except ValueError as error:
        raise ValueError(
            f"Expected a colour by name or as #rrggbb; got {background:.40}."
        ) from error
    name = getattr(file, "name", file)
    try:
        with Image.open(file, formats=readable()) as opened:
            if opened.width * opened.height > most:
                raise ValueError(
                    f"Expected a picture of at most {most / 1e6:.0f} megapixels; {name} has "
                    f"{opened.width}×{opened.height} pixels: make it smaller first."
                )
            frames = getattr(opened, "n_frames", 1)
            deep = _bits(opened) == 16 and opened.mode in ("RGB", "RGBA")
            loss = _loss(opened)
            opened.load()
            ImageOps.exif_transpose(opened, in_place=True)
            image: Image.Image = opened
    except FileNotFoundError:
        raise FileNotFoundError(f"Expected a picture file; there is none at {name}.") from None
    except ValueError:
        raise
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"Expected a picture of at most {most / 1e6:.0f} megapixels; {name} claims more."
        ) from error
    except Exception as error:  # the only class Pillow's errors have in common
        raise ValueError(
            f"Expected a picture file, such as PNG, JPEG or WebP; {name} isn't one, or is damaged."
        ) from error
    if image.mode == "F":
        raise ValueError(
            f"Expected a picture of 8 or 16 bits; {name} has real values of unknown range."
        )
    notes = []
    if frames > 1:
        notes.append(f"the first of {frames} frames is used")
    if deep:
        notes.append("only the upper 8 of 16 bits per colour are read and written")
    if image.has_transparency_data and (image.mode in ("P", "RGB", "L", "1")):
        # Transparent by one colour: as a channel of its own, so that new pixels can be opaque.
        image = image.convert("LA" if image.mode in ("L", "1") else "RGBA")
    if image.has_transparency_data:
        notes.append(f"transparent pixels are seen over {background}")
    return Picture(_seen(image, behind), image, tuple(notes), behind, loss)


def named(image: Image.Image, path: Path) -> Path:
    """The path for a picture that is written without loss: with the ending of PNG or TIFF, if the
    format of its own ending is lossy or can't hold the mode.

    Example:
        >>> named(Image.new("RGBA", (2, 2)), Path("some.jpg")).name
        'some.png'
    """
    if image.mode in _MODES.get(LOSSLESS.get(path.suffix.lower(), ""), ()):
        return path
    return path.with_suffix(".png" if lossless_for(image.mode) == "PNG" else ".tif")


def write(image: Image.Image, path: Path) -> Path:
    """Write a picture without loss to a path that `named` gave, whole or not at all, in a folder
    that is made if need be.

    Returns:
        The path.

    Raises:
        OSError: If the file can't be written.
    """
    kind = LOSSLESS[path.suffix.lower()]
    options: dict[str, Any] = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    for name in _KEPT:
        if name in image.info and not (kind == "WEBP" and name == "dpi"):
            options[name] = image.info[name]
    with writing(path), replacing(path) as part:
        image.save(part, kind, **options)
    return path


def lossless_for(mode: str) -> str:
    """The format without loss for a mode of Pillow: PNG, or TIFF where PNG can't hold it.

    Example:
        >>> lossless_for("RGB"), lossless_for("CMYK")
        ('PNG', 'TIFF')
    """
    return "PNG" if mode in _MODES["PNG"] else "TIFF"


_KEPT = ("icc_profile", "dpi", "exif")
_MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I", "CMYK", "YCbCr", "LAB"),
    "WEBP": ("RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB"),
}


def _loss(opened: Image.Image) -> float:
    """The standard error of the brightness after compression, in levels; at least 1 for JPEG, which
    also rounds colours."""
    if tables := getattr(opened, "quantization", None):  # steps of the coefficients of JPEG
        steps = np.array(next(iter(tables.values())), dtype=float)
        return max(float(((steps**2).mean() / 12) ** 0.5), 1.0)
    if opened.format == "WEBP" and isinstance(opened, ImageFile) and opened.fp:
        opened.fp.seek(0)
        return LOSS if b"VP8 " in opened.fp.read(1 << 16) else 0.0  # the name of the lossy part
    return LOSS if opened.format in ("AVIF", "HEIF") else 0.0


def readable() -> list[str]:
    """The formats that can be read here."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _bits(opened: Image.Image) -> int:
    """Bits per channel of a PNG file."""
    header = getattr(opened, "tile", None)
    return 16 if header and ";16" in str(header[0][3]) else 8


def _seen(image: Image.Image, behind: tuple[int, ...]) -> Pixels:
    """What a flow sees, [C, H, W]."""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        return (values.clip(0, 65535) >> 8).astype(np.uint8)[None]
    if image.mode in ("1", "L"):
        return np.array(image.convert("L"))[None]
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*behind, 255)), rgba)
    image = image if image.mode == "RGB" else image.convert("RGB")  # which copies anyway
    out = np.empty((3, image.height, image.width), np.uint8)
    for top in range(0, image.height, ROWS):  # as Pillow copies what it gives away
        rows = image.crop((0, top, image.width, min(top + ROWS, image.height)))
        out[:, top : top + ROWS] = np.asarray(rows).transpose(2, 0, 1)
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
    grey = np.asarray(image_of(read(file, "black").seen).convert("L"))
    if grey.shape != size:
        raise ValueError(
            f"Expected a mask of {size[1]}×{size[0]} pixels, like the picture; {file} has "
            f"{grey.shape[1]}×{grey.shape[0]}."
        )
    mask = np.asarray(grey >= 128)
    if not mask.any():
        raise ValueError(f"Expected a mask that is white somewhere; {file} is black.")
    return mask


def image_of(seen: Pixels) -> Image.Image:
    """Pixels [C, H, W] as a picture, grey or colour."""
    return Image.fromarray(seen[0] if len(seen) == 1 else seen.transpose(1, 2, 0).copy())


def as_seen(pixels: Pixels, channels: int) -> Pixels:
    """Pixels of a flow [C, H, W] in 1 channel or 3; grey is the mean of three."""
    if len(pixels) == channels:
        return pixels
    return pixels.mean(0, keepdims=True).round().astype(np.uint8)
