"""Pictures of all formats and modes, odd in every way that files of strangers are.

A picture is its bytes and an ending, made from random numbers. Its pixels are noise, so that one
that was changed shows.
"""

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
import tifffile
from PIL import Image, TiffImagePlugin, features

from cases import Random
from damage import damaged
from strange_files import chunk, png, zeros

SIZES = [
    (24, 20), (24, 20), (24, 20), (17, 9), (9, 17), (1, 1), (2, 2), (3, 3), (1, 40), (40, 1),
    (2, 200), (300, 2), (5, 64), (31, 32),
]  # fmt: skip
"""Columns and rows."""
HELD = {
    "png": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I"),
    "jpg": ("L", "RGB", "CMYK"),
    "webp": ("L", "RGB", "RGBA"),
    "tif": (
        "1", "L", "LA", "P", "PA", "RGB", "RGBA", "I;16", "I;16B", "I", "F", "CMYK", "YCbCr", "LAB",
    ),
    "bmp": ("1", "L", "P", "RGB"),
    "gif": ("1", "L", "P", "RGB"),
    "ppm": ("1", "L", "I;16", "RGB"),
    "avif": ("L", "RGB", "RGBA"),
}  # fmt: skip
"""Modes of Pillow that a format can hold."""
PILLOW = {"jpg": "JPEG", "tif": "TIFF"}
ENDINGS = [
    ".png",
    ".JPG",
    ".tiff",
    ".webp",
    ".bmp",
    "",
    ".png.jpg",
    ".dat",
    ".PNG",
    ".gif",
    ".jpeg",
]
"""Endings that tell a format, rightly or not."""


def pixels(mode: str, width: int, height: int, random: Random) -> Image.Image:
    """Noise in a mode."""
    shape = (height, width)
    if mode in ("I;16", "I;16B"):
        deep = random.integers(0, 65536, shape, dtype=np.uint16)
        if mode == "I;16B":
            return Image.frombytes(mode, (width, height), deep.astype(">u2").tobytes())
        return Image.fromarray(deep)
    if mode == "I":
        most = [256, 65536, 2**31 - 1][random.integers(3)]
        return Image.fromarray(random.integers(0, most, shape).astype(np.int32))
    if mode == "F":
        return Image.fromarray(random.normal(size=shape).astype(np.float32))
    if mode in ("P", "PA"):
        made = Image.frombytes("P", (width, height), random.bytes(width * height))
        made.putpalette(random.bytes(768))
        if mode == "PA":
            made = made.convert("PA")
            made.putalpha(Image.frombytes("L", (width, height), random.bytes(width * height)))
        return made
    if mode == "1":
        return Image.fromarray(random.random(shape) < 0.5)
    bands = Image.new(mode, (1, 1)).getbands()
    values = random.integers(0, 256, (*shape, len(bands)), dtype=np.uint8)
    return Image.frombytes(mode, (width, height), values.tobytes())


def options(kind: str, image: Image.Image, random: Random) -> dict[str, object]:
    """Settings and notes of a file, each there or not."""
    found: dict[str, object] = {}
    if random.random() < 0.3 and kind in ("png", "jpg", "webp", "tif", "avif"):
        sizes = [0, 20, 500, 70_000] + ([2_000_000] if random.random() < 0.1 else [])
        found["icc_profile"] = random.bytes(sizes[random.integers(len(sizes))])
    if random.random() < 0.4 and kind in ("png", "jpg", "webp", "tif", "avif"):
        exif = Image.Exif()
        exif[0x0112] = [1, 3, 6, 8, 5, 0, 9, 65535][random.integers(8)]
        if random.random() < 0.3:
            exif[0x927C] = random.bytes(int(random.integers(60_000)))
        if random.random() < 0.3:
            exif[0x010E] = "\x1b[31m=cmd|' /C calc'!A0\n"
        found["exif"] = exif
        if random.random() < 0.2 and kind in ("jpg", "webp", "png"):
            found["exif"] = b"Exif\0\0" + random.bytes(int(random.integers(1, 200)))
    if random.random() < 0.3 and kind in ("png", "jpg", "tif", "bmp"):
        found["dpi"] = [(300, 300), (72, 600), (0, 0), (1e9, 1), (2.54, 2.54)][random.integers(5)]
        if kind == "bmp":
            found["dpi"] = (300, 300)
    if kind in ("webp", "avif"):
        found["quality"] = int(random.integers(1, 101))
        if kind == "webp" and random.random() < 0.6:
            found["lossless"] = True
    if kind == "jpg":
        found |= {"quality": int(random.integers(1, 101)), "progressive": random.random() < 0.3}
    if kind == "tif" and random.random() < 0.5 and image.mode not in ("PA", "LAB"):
        choices = ["tiff_lzw", "tiff_adobe_deflate", "packbits"]
        found["compression"] = choices[random.integers(3)]
    if kind == "gif" and random.random() < 0.3:
        found["transparency"] = int(random.integers(256))
    if kind == "png" and random.random() < 0.2:
        if image.mode == "P":
            found["transparency"] = random.bytes(int(random.integers(1, 257)))
        elif image.mode in ("L", "I;16", "1"):
            found["transparency"] = int(random.integers(2 if image.mode == "1" else 256))
        elif image.mode == "RGB":
            found["transparency"] = tuple(random.integers(256, size=3).tolist())
    return found


def plain(random: Random, size: tuple[int, int] | None = None) -> tuple[str, str, bytes]:
    """A picture as Pillow writes it: format and mode, ending, bytes."""
    kinds = [kind for kind in HELD if kind != "avif" or features.check("avif")]
    kind = kinds[random.integers(len(kinds))]
    modes = HELD[kind]
    mode = modes[random.integers(len(modes))]
    width, height = size or SIZES[random.integers(len(SIZES))]
    image, out = pixels(mode, width, height, random), io.BytesIO()
    more = options(kind, image, random)
    if kind in ("gif", "webp", "tif") and random.random() < 0.15:
        other = pixels(mode, width, height, random)
        more |= {"save_all": True, "append_images": [other] * int(random.integers(1, 4))}
    if kind == "png" and random.random() < 0.05:
        more |= {"save_all": True, "append_images": [pixels(mode, width, height, random)]}
    try:
        image.save(out, PILLOW.get(kind, kind.upper()), **more)
    except Exception:  # Pillow can't write all of these together
        out = io.BytesIO()
        image.save(out, PILLOW.get(kind, kind.upper()))
    return f"{kind} {mode} {width}×{height}", f".{kind}", out.getvalue()


def good(random: Random, size: tuple[int, int] = (17, 13)) -> bytes:
    """A picture that everything can read."""
    out = io.BytesIO()
    pixels("RGB", *size, random).save(out, "PNG")
    return out.getvalue()


def _head(width: int, height: int, depth: int, colour: int, interlace: int = 0) -> bytes:
    fields = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", fields)


def _png(random: Random, depth: int, colour: int, *extra: bytes, interlace: int = 0) -> bytes:
    """A PNG file of noise, 12×10 pixels, of a bit depth and type of colour, with other chunks."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = -(-12 * samples * depth // 8)
    data = b"".join(b"\0" + random.bytes(row) for _ in range(10))
    body = chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return _head(12, 10, depth, colour, interlace) + b"".join(extra) + body


def no_palette(random: Random) -> bytes:
    """A PNG file of a palette, without its palette."""
    return _png(random, 8, 3)


def short_palette(random: Random) -> bytes:
    """One whose palette has fewer colours than its pixels name."""
    return _png(random, 8, 3, chunk(b"PLTE", random.bytes(6)))


def deep_colours(random: Random) -> bytes:
    """A PNG or TIFF file of 16 bits per colour, with alpha, infrared, or none, in planes or not."""
    if random.random() < 0.5:
        return _png(random, 16, [2, 4, 6][random.integers(3)])
    kind = [None, "unspecified", "unassalpha", "assocalpha"][random.integers(4)]
    planes, out = random.random() < 0.2, io.BytesIO()
    pixels = random.integers(0, 65536, (12, 10, 3 + (kind is not None)), dtype=np.uint16)
    tifffile.imwrite(
        out,
        np.moveaxis(pixels, 2, 0) if planes else pixels,
        photometric="rgb",
        planarconfig="separate" if planes else "contig",
        compression=[None, "zlib"][random.integers(2)],
        byteorder="<>"[random.integers(2)],
        extrasamples=[kind] if kind else None,
    )
    return out.getvalue()


def few_bits(random: Random) -> bytes:
    """One of 2 or 4 bits per pixel."""
    return _png(random, [1, 2, 4][random.integers(3)], 0)


def texts(random: Random) -> bytes:
    """One with compressed texts that are large."""
    text = b"Comment\0\0" + zlib.compress(bytes(int(10 ** random.uniform(4, 7))))
    return _png(random, 8, 2, *[chunk(b"zTXt", text)] * int(random.integers(1, 4)))


def profile(random: Random) -> bytes:
    """One with a compressed profile that is large."""
    content = b"icc\0\0" + zlib.compress(bytes(int(10 ** random.uniform(4, 7))))
    return _png(random, 8, 2, chunk(b"iCCP", content))


def strange_chunks(random: Random) -> bytes:
    """One with odd chunks."""
    many = [
        chunk(b"tRNS", random.bytes(int(random.integers(0, 300)))),
        chunk(b"gAMA", struct.pack(">I", 0)),
        chunk(b"pHYs", random.bytes(9)),
        chunk(b"eXIf", random.bytes(50)),
        chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)),
        chunk(b"fcTL", random.bytes(26)),
        chunk(b"xxxx", random.bytes(1000)),
        chunk(b"IHDR", random.bytes(13)),
        chunk(b"PLTE", random.bytes(int(random.integers(0, 800)))),
    ]
    some = [many[k] for k in random.integers(len(many), size=random.integers(1, 4))]
    return _png(random, 8, [0, 2, 3, 6][random.integers(4)], *some)


def claim(random: Random) -> bytes:
    """A file whose header claims a size that it hasn't."""
    width, height = (
        int([40_000, 250_000, 2**31 - 1, 65_535, 12_000, 1, 0][k])
        for k in random.integers(7, size=2)
    )
    forms: list[Callable[[], bytes]] = [
        lambda: png(width, height, zlib.compress(b"\0" * 100)),
        lambda: b"P6 %d %d 255\n" % (width, height) + bytes(300),
        lambda: b"P5 %d %d 65535\n" % (width, height) + bytes(300),
        lambda: (
            b"GIF89a" + struct.pack("<HHBBB", width % 65536, height % 65536, 0xF0, 0, 0)
            + bytes(6) + b"," + struct.pack("<HHHHB", 0, 0, width % 65536, height % 65536, 0)
            + b"\x02\x02\x44\x01\0;"
        ),
        lambda: (
            b"BM" + struct.pack("<IHHI", 154, 0, 0, 54)
            + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(100)
        ),
        lambda: _tiff(width, height),
        lambda: _webp(width, height),
        lambda: _jpeg(width, height),
    ]  # fmt: skip
    return forms[random.integers(len(forms))]()


def _tiff(width: int, height: int) -> bytes:
    """A TIFF file of a strip, with a size that it claims."""
    out = io.BytesIO()
    about = TiffImagePlugin.ImageFileDirectory_v2()
    Image.new("RGB", (8, 8)).save(out, "TIFF", tiffinfo=about)
    content = bytearray(out.getvalue())
    at = struct.unpack_from("<I", content, 4)[0]
    for k in range(struct.unpack_from("<H", content, at)[0]):
        entry = at + 2 + 12 * k
        tag = struct.unpack_from("<H", content, entry)[0]
        if tag in (256, 257):
            content[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, (width, height)[tag - 256])
    return bytes(content)


def _webp(width: int, height: int) -> bytes:
    """A WebP file, whose header of lossless pixels claims a size of at most 2^14."""
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "WEBP", lossless=True)
    content = bytearray(out.getvalue())
    at = content.index(b"VP8L") + 9
    wide, high = (min(max(size - 1, 0), 2**14 - 1) for size in (width, height))
    sizes = wide | high << 14
    content[at : at + 4] = struct.pack("<I", sizes)
    return bytes(content)


def _jpeg(width: int, height: int) -> bytes:
    """A JPEG file whose frame claims a size of at most 2^16."""
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "JPEG")
    content = bytearray(out.getvalue())
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", height % 65536, width % 65536)
    return bytes(content)


@cache
def _black(edge: int) -> bytes:
    return zeros(edge, edge)


def bomb(random: Random) -> bytes:
    """A small file of very many black pixels."""
    return _black([18_000, 23_000][random.integers(2)])


def not_one(random: Random) -> bytes:
    """A file that is no picture."""
    forms = [
        b"", b"\0", b"text\n" * 10, b"PK\x03\x04" + random.bytes(100), b"<svg xmlns='x'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(x) run\n", b"%PDF-1.4\n",
        b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\xff\xff\xff\xffWEBPVP8 ",
        b"II*\0\x08\0\0\0", b"P6\n#" + b"x" * 5000, b"BM" + bytes(60), random.bytes(3000),
        b"#!/bin/sh\ntouch /tmp/x\n", b"\xef\xbb\xbf{}",
    ]  # fmt: skip
    return forms[random.integers(len(forms))]


ODD: dict[str, Callable[[Random], bytes]] = {
    "no palette": no_palette,
    "short palette": short_palette,
    "16 bits per colour": deep_colours,
    "few bits": few_bits,
    "large texts": texts,
    "large profile": profile,
    "strange chunks": strange_chunks,
    "claim": claim,
    "bomb": bomb,
    "no picture": not_one,
}


def picture(random: Random) -> tuple[str, str, bytes]:
    """Any picture: what it is, an ending, and its bytes."""
    dice = random.random()
    if dice < 0.5:
        about, ending, content = plain(random)
    elif dice < 0.7:
        about, ending, content = plain(random)
        change, content = damaged(content, random)
        about = f"{about}, {change}"
    else:
        names = list(ODD)
        about = names[random.integers(len(names))]
        if about == "bomb" and random.random() < 0.9:  # which take long
            about = "claim"
        ending, content = ".png", ODD[about](random)
    if random.random() < 0.15:
        ending = ENDINGS[random.integers(len(ENDINGS))]
    return about, ending, content
