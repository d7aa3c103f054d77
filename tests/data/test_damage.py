"""Damaged pictures by the hundred: each is decoded or named, none stops the others."""

import struct
import warnings
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from rgflow.data import load
from rgflow.data.decoding import Target, pictures
from rgflow.data.images import Pixels
from rgflow.data.source import Request
from rgflow.data.splitting import place

Action = Literal["error", "ignore"]
Random = np.random.Generator
SUFFIX = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}


def seeds() -> dict[str, bytes]:
    """Whole files of several kinds, by format and kind."""
    random = np.random.default_rng(0)
    noise = Image.fromarray(random.integers(0, 256, (40, 40, 3), np.uint8))
    smooth = Image.linear_gradient("L").resize((48, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    pictures = {
        "PNG rgb": (noise, {}),
        "PNG palette": (noise.quantize(16), {"transparency": 3}),
        "PNG alpha": (noise.convert("RGBA"), {}),
        "PNG 16 bits": (Image.fromarray(random.integers(0, 65536, (40, 40), np.uint16)), {}),
        "PNG animated": (noise, {"save_all": True, "append_images": [smooth.convert("RGB")]}),
        "JPEG rgb": (noise, {"exif": exif}),
        "JPEG progressive": (smooth.convert("RGB"), {"progressive": True}),
        "JPEG cmyk": (noise.convert("CMYK"), {}),
        "WEBP lossy": (noise, {}),
        "WEBP lossless": (smooth.convert("RGB"), {"lossless": True, "exif": exif}),
        "WEBP animated": (noise, {"save_all": True, "append_images": [noise.rotate(90)]}),
    }
    files = {}
    for kind, (picture, options) in pictures.items():
        file = BytesIO()
        picture.save(file, kind.partition(" ")[0], **options)
        files[kind] = file.getvalue()
    return files


def truncated(data: bytes, random: Random) -> bytes:
    return data[: random.integers(len(data))]


def flipped(data: bytes, random: Random) -> bytes:
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    bits[random.integers(len(bits), size=random.integers(1, 40))] ^= 1
    return np.packbits(bits).tobytes()


def inserted(data: bytes, random: Random) -> bytes:
    at = random.integers(len(data))
    return data[:at] + random.bytes(int(random.integers(1, 50))) + data[at:]


def beheaded(data: bytes, random: Random) -> bytes:
    spoilt = bytearray(data)
    for at in random.integers(min(64, len(data)), size=4):
        spoilt[at] = random.integers(256)
    return bytes(spoilt)


def blanked(data: bytes, random: Random) -> bytes:
    at, size = random.integers(len(data)), random.integers(1, 200)
    return data[:at] + bytes(int(size)) + data[at + size :]


def swapped(data: bytes, random: Random) -> bytes:
    a, b, c = sorted(random.integers(len(data), size=3).tolist())
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def lengthened(data: bytes, random: Random) -> bytes:
    return data + random.bytes(int(random.integers(1, 500)))


def misnamed(data: bytes, random: Random) -> bytes:
    return data  # as it is, but under another format's suffix


def replaced(data: bytes, random: Random) -> bytes:
    return random.bytes(int(random.integers(0, 300)))


def removed(data: bytes, random: Random) -> bytes:
    at, size = random.integers(len(data)), random.integers(1, 100)
    return data[:at] + data[at + size :]


CORRUPTIONS: list[Callable[[bytes, Random], bytes]] = [
    truncated,
    flipped,
    inserted,
    beheaded,
    blanked,
    swapped,
    lengthened,
    misnamed,
    replaced,
    removed,
]
EACH = 5


def test_no_damage_stops_the_others(tmp_path: Path) -> None:
    root = tmp_path / "pictures" / "train"
    root.mkdir(parents=True)
    for other in ("validation", "test"):
        (tmp_path / "pictures" / other).mkdir()
    random = np.random.default_rng(1)
    files, whole = seeds(), list[str]()
    for kind, data in files.items():
        suffix = SUFFIX[kind.partition(" ")[0]]
        others = [other for other in SUFFIX.values() if other != suffix]
        name = f"{len(whole):02} whole{suffix}"
        (root / name).write_bytes(data)
        whole.append(name)
        for corruption in CORRUPTIONS:
            for k in range(EACH):
                end = others[k % 2] if corruption is misnamed else suffix
                name = f"{len(whole):02} {corruption.__name__} {k}{end}"
                (root / name).write_bytes(corruption(data, random))
    damaged = len(files) * len(CORRUPTIONS) * EACH
    assert damaged >= 500

    data = load(f"folder:{root.parent}", height=16, width=16)
    named = [reason.partition(":")[0] for reason in data.skipped]
    everything = {f"train/{path.name}" for path in root.iterdir()}
    assert len(data) + len(named) == len(everything) == damaged + len(whole)
    assert len(set(named)) == len(named)
    assert set(named) < everything
    kept = sorted(everything - set(named), key=place)
    assert {f"train/{name}" for name in whole} <= set(kept)
    assert sum("misnamed" in name for name in kept) == len(files) * EACH
    assert not any("replaced" in name for name in kept)
    assert not any("\n" in reason for reason in data.skipped)
    assert len(named) > 100
    for name, content in zip(whole, files.values(), strict=True):
        expected = alone(content, tmp_path / "alone")
        np.testing.assert_array_equal(data.images[kept.index(f"train/{name}")], expected)


def alone(content: bytes, folder: Path) -> Pixels:
    """What a file gives in a folder with whole ones only."""
    for split in ("train", "test", "val"):
        (folder / split).mkdir(parents=True, exist_ok=True)
        (folder / split / "a.png").write_bytes(content)
    data = load(f"folder:{folder}", height=16, width=16)
    assert not data.skipped
    return np.array(data.images[0])


def chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def bomb(width: int, height: int) -> bytes:
    """A PNG of very many white pixels, in a few bytes."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("action", ["error", "ignore"])
def test_odd_things_with_the_names_of_pictures(tmp_path: Path, action: Action) -> None:
    warnings.simplefilter(action)
    root = tmp_path / "train"
    root.mkdir()
    for folder in (root, tmp_path / "test", tmp_path / "val"):
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (9, 9, 9)).save(folder / "good.png")
    (root / "folder.png").mkdir()
    Image.new("RGB", (8, 8), (7, 7, 7)).save(root / "folder.png" / "inside.png")
    (root / "gone.png").symlink_to(tmp_path / "nowhere")
    (root / "bomb.png").write_bytes(bomb(10_000, 10_000))
    (root / "bomb2.png").write_bytes(bomb(100_000, 100_000))
    (root / "empty.jpg").write_bytes(b"")
    (root / "line\nbreak.png").write_bytes(b"x")
    Image.new("RGB", (8, 8)).save(root / "bitmap.png", "BMP")
    Image.new("RGB", (1, 500), (5, 5, 5)).save(root / "thin.png")
    odd = bytes(root / "latin-") + b"\xe9.png"
    with open(odd, "wb") as file:
        file.write(b"x")
    data = load(f"folder:{tmp_path}", height=8, width=8)
    assert data.images[:, 0, 0, 0].tolist() == [5, 7, 9]
    skipped = sorted(data.skipped)
    assert [reason.partition(": ")[0] for reason in skipped] == [
        "train/bitmap.png",
        "train/bomb.png",
        "train/bomb2.png",
        "train/empty.jpg",
        "train/latin-\\udce9.png",
        "train/line\\nbreak.png",
    ]
    assert all("at most 64 megapixels" in reason for reason in skipped[1:3])
    "".join(data.skipped).encode()


def test_filters_of_warnings_stay_as_they_are() -> None:
    """They are the whole process's, and threads that change them for a while don't agree."""
    before, seen = list(warnings.filters), list[object]()

    def read(k: int) -> Pixels:
        seen.append(list(warnings.filters))
        return np.zeros((1, 2, 2), np.uint8)

    request = Request(name="a list", height=2, width=2, channels=1)
    target, names = Target.of(request), ["a", "b"]
    source = pictures(
        request, target, lambda decode: decode(read), kind="x", where="a list", names=names
    )
    list(source.chunks())
    assert seen == [before, before]
