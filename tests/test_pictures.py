"""Picture files of anybody are read in bounded memory or refused in one sentence; what a format or
a mode can't hold is said."""

import io
import os
import signal
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, TiffImagePlugin

from pictures import written
from rgflow import load_flow
from rgflow.cli import main
from rgflow.data import opening
from rgflow.data.decoding import open_picture
from rgflow.photographs import pictures
from rgflow.photographs.enlarging import enlarge

GREY = np.random.default_rng(0).integers(0, 65536, (20, 30))
COLOUR = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
SOME = np.zeros((20, 30), dtype=bool)
SOME[3:6, 4:9] = True


@pytest.fixture
def soon():
    """Ends a test that waits."""

    def late(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def chunk(kind, content):
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png(width, height, *, bits=8, colour=2, more=b"", pixels=b""):
    """A PNG file with a header of one's own."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + more
        + chunk(b"IDAT", zlib.compress(pixels))
        + chunk(b"IEND", b"")
    )


def saved(image, path, kind=None, **options):
    image.save(path, kind, **options)
    return path


def rewritten(path, folder):
    """A picture with a few white pixels, written beside the one that it was, and read again."""
    picture = pictures.read(path)
    seen = picture.seen.copy()
    seen[:, SOME] = 255
    out = picture.replaced(seen, SOME)
    return picture, pictures.read(written(out, folder / path.name))


# ------------------------------------------------------------------------------- what is refused


def test_pipes_are_refused_at_once(tmp_path, soon, capsys):
    pipe, good = tmp_path / "pipe.png", saved(Image.new("RGB", (30, 20)), tmp_path / "good.png")
    os.mkfifo(pipe)
    for read in (pictures.read, open_picture, lambda path: pictures.read_mask(path, (20, 30))):
        with pytest.raises(ValueError, match="Expected a file; .*pipe.png is a pipe or a device"):
            read(pipe)
    out = ["--out", str(tmp_path / "out")]
    assert main(["repair", str(good), "--mask", str(pipe), *out]) != 0
    assert main(["enlarge", str(pipe), *out]) != 0
    assert capsys.readouterr().err.count("pipe or a device") == 2


CLAIMS = {
    "png": png(12_000, 12_000),
    "webp": b"RIFF\x28\0\0\0WEBPVP8L\x1c\0\0\0\x2f"
    + struct.pack("<I", 12_799 | 12_799 << 14)
    + bytes(23),
    "bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 9000, 9000, 1, 24, *[0] * 6),
}


@pytest.mark.parametrize("kind", CLAIMS)
def test_claims_are_checked_before_anything_is_decoded(kind, monkeypatch):
    monkeypatch.setattr(pictures, "decoded", None)
    with pytest.raises(ValueError, match="at most 64 megapixels; this has .*raise the limit"):
        pictures.read(io.BytesIO(CLAIMS[kind]))
    with opening.picture_file(io.BytesIO(CLAIMS[kind]), most=400_000_000) as found:
        assert found.width * found.height > 80_000_000


def test_masks_of_another_size_are_not_decoded(tmp_path, monkeypatch):
    mask = tmp_path / "mask.png"
    monkeypatch.setattr(pictures, "decoded", None)
    for edge in (7000, 40_000):
        mask.write_bytes(png(edge, edge, bits=1, colour=0))
        with pytest.raises(ValueError, match="48×40 pixels, like the pict|at most 64 mega"):
            pictures.read_mask(mask, (40, 48))


def test_turned_masks_are_read(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(SOME.T[:, ::-1].astype(np.uint8) * 255)
    path = saved(image.transpose(Image.Transpose.ROTATE_180), tmp_path / "mask.png", exif=exif)
    found = pictures.read_mask(path, (20, 30)) | pictures.read_mask(path, (20, 30))[::-1]
    assert (found | found[:, ::-1])[SOME].all()


def test_files_of_a_few_bytes_that_would_take_long_or_much_memory():
    content = io.BytesIO()
    Image.new("L", (80, 80), 9).save(content, "JPEG", progressive=True)
    whole = content.getvalue()
    last = whole[whole.rindex(b"\xff\xda") : -2]
    assert pictures.read(io.BytesIO(whole[:-2] + last * 9 + whole[-2:])).size == (80, 80)
    with pytest.raises(ValueError, match="repeats what takes long"):
        pictures.read(io.BytesIO(whole[:-2] + last * 60 + whole[-2:]))
    many = chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(16_000_000))) * 60
    with pytest.raises(ValueError, match="repeats what takes long"):
        pictures.read(io.BytesIO(png(8, 8, more=many)))
    head = struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 1078, 40, 64_000_000, 1, 1, 8, 1, *[0] * 5)
    with pytest.raises(ValueError, match="edges of at most 262,144 pixels; this has 64000000×1"):
        pictures.read(io.BytesIO(b"BM" + head + bytes(1024) + b"\0\2\xff\xff"))


def test_files_that_are_too_long_are_not_read(tmp_path):
    path = tmp_path / "x.webp"
    path.write_bytes(CLAIMS["webp"])
    os.truncate(path, 1 << 32)  # of which the disk holds nothing
    with pytest.raises(ValueError, match=r"file of at most 579 MB; x.webp has 4295: make it smal"):
        pictures.read(path)


ERRORS = [AssertionError(), OSError("cut"), struct.error("short"), SyntaxError("bad"), KeyError(3)]
ERRORS += [RecursionError(), ValueError("odd"), EOFError(), Image.DecompressionBombError("large")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_whatever_pillow_raises_is_one_sentence(error, tmp_path, monkeypatch):
    path = saved(Image.new("RGB", (30, 20)), tmp_path / "x.png")

    def fail(*_):
        raise error

    for name in ("load", "_open"):
        with monkeypatch.context() as patch:
            patch.setattr(Image.OPEN["PNG"][0], name, fail)
            for read in (pictures.read, open_picture):
                with pytest.raises(ValueError, match="x.png isn't one, or is damaged"):
                    read(path)


def test_files_of_phones_and_cameras_get_advice(tmp_path, capsys):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[50706], tags.tagtype[50706] = b"\1\4\0\0", 1
    saved(Image.new("RGB", (30, 20)), tmp_path / "x.tiff", tiffinfo=tags)
    dng = (tmp_path / "x.tiff").read_bytes()
    mosaic = struct.pack(">HHIHH", 262, 3, 1, 32803, 0)
    phone = "is a HEIC picture of a phone: export it as JPEG or PNG"
    camera = "is a raw file of a camera: export it as TIFF or JPEG"
    for name, content, words in (
        ("x.heic", b"\0\0\0\x18ftypheic" + bytes(40), phone),
        ("x.HEIF", b"\0\0\0\x1cftypmif1" + bytes(40), phone),
        ("x.dng", dng, camera),
        ("x.nef", b"MM\0*" + bytes(30) + mosaic, camera),
        ("x.cr2", b"II*\0\x10\0\0\0CR\2\0" + bytes(30), camera),
        ("x.cr3", b"\0\0\0\x18ftypcrx " + bytes(30), camera),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        for read in (pictures.read, open_picture):
            with pytest.raises(ValueError, match=f"^Expected a picture file.*{name} {words}"):
                read(path)
        assert main(["enlarge", str(path), "--out", str(tmp_path / "out")]) == 2
        assert words in capsys.readouterr().err
    grey = Image.frombytes("L", (2, 2), b"CRCR")
    saved(grey, tmp_path / "grey.tiff")
    assert (tmp_path / "grey.tiff").read_bytes()[:4] == b"II*\0"
    assert pictures.read(tmp_path / "grey.tiff").image.tobytes() == b"CRCR"


def test_a_palette_that_is_missing_or_short(tmp_path, capsys):
    lines = b"".join(b"\0" + bytes([0, 1, 2, 250]) for _ in range(4))
    path = tmp_path / "x.png"
    path.write_bytes(png(4, 4, colour=3, pixels=lines))
    assert main(["enlarge", str(path), "--out", str(tmp_path / "out")]) != 0
    assert capsys.readouterr().err.count("is damaged (it has no palette)") == 1
    path.write_bytes(png(4, 4, colour=3, more=chunk(b"PLTE", bytes(range(9))), pixels=lines))
    picture = pictures.read(path)
    assert (picture.image.mode, "lacks some of its colours" in picture.notes[0]) == ("RGB", True)
    assert picture.seen[:, 0].T.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 0, 0]]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (GREY * 30_000, "that is read; x.png has values from .* to 1,9"),
        (GREY - 9000, "values from -"),
        (GREY / 7.0, "real values of unknown range"),
    ],
)
def test_values_beyond_16_bits_are_refused(values, words, tmp_path):
    """Whatever the name says: they would be written as other values."""
    kind = np.float32 if values.dtype == float else np.int32
    path = saved(Image.fromarray(values.astype(kind)), tmp_path / "x.png", "TIFF")
    with pytest.raises(ValueError, match=words):
        pictures.read(path)


# -------------------------------------------------------------------- what is kept, and what isn't


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
@pytest.mark.parametrize("kind", [np.uint16, np.int32, ">u2"])
def test_grey_of_16_bits_is_kept_however_it_is_stored(kind, name, tmp_path):
    path = saved(Image.fromarray(GREY.astype(kind)), tmp_path / name, "TIFF")
    picture, again = rewritten(path, tmp_path / "out")
    assert picture.image.mode == again.image.mode == "I;16"
    assert not picture.notes
    assert np.array_equal(np.asarray(again.image), np.where(SOME, 65535, GREY))
    assert np.array_equal(picture.seen[0], GREY >> 8)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("channels", [3, 4])
def test_tiff_colours_of_16_bits_are_kept(channels, compression, order, tmp_path):
    """As another program reads them; upright, with what else is in the file."""
    deep = np.random.default_rng(2).integers(0, 65536, (20, 30, channels), dtype=np.uint16)
    path, how = tmp_path / "x.tif", {"resolution": (300, 300), "resolutionunit": 2}
    exif = [("Orientation", "H", 1, 3, True), ("Model", "s", 0, "a scanner", True)]
    tifffile.imwrite(
        path, deep, photometric="rgb", compression=compression, byteorder=order, extratags=exif,
        extrasamples=["unassalpha"] * (channels == 4), iccprofile=os.urandom(500), **how,
    )  # fmt: skip
    deep = deep[::-1, ::-1]
    picture, again = rewritten(path, tmp_path / "out")
    assert not any("bits" in note for note in picture.notes)
    assert np.array_equal(np.asarray(picture.image), deep >> 8)
    found = tifffile.imread(tmp_path / "out" / "x.tif")
    assert np.array_equal(found, np.where(SOME[..., None], 65535, deep))
    for name in ("dpi", "icc_profile"):
        assert again.image.info[name] == picture.image.info[name]
    assert again.image.getexif()[0x0110] == "a scanner"
    large = picture.enlarged(picture.seen.repeat(2, 1).repeat(2, 2)).image
    written(large, tmp_path / "large.tif")
    assert np.array_equal(tifffile.imread(tmp_path / "large.tif")[::2, ::2], deep)


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (6, 4)])
def test_png_colours_of_16_bits_are_kept(colour, channels, tmp_path):
    """Read as stored, byte for byte."""
    deep = np.random.default_rng(3).integers(0, 65536, (20, 30, channels), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    path = tmp_path / "x.png"
    path.write_bytes(png(30, 20, bits=16, colour=colour, pixels=rows))
    picture, _ = rewritten(path, tmp_path / "out")
    assert not any("bits" in note for note in picture.notes)
    content = (tmp_path / "out" / "x.png").read_bytes()
    at = content.index(b"IDAT")
    size = int.from_bytes(content[at - 4 : at], "big")
    lines = np.frombuffer(zlib.decompress(content[at + 4 :][:size]), np.uint8).reshape(20, -1)
    assert (lines[:, 0] == 1).all()  # each pixel less the one to its left
    pixels = lines[:, 1:].reshape(20, 30, 2 * channels).cumsum(1, dtype=np.uint8)
    found = np.ascontiguousarray(pixels).view(">u2")
    assert np.array_equal(found, np.where(SOME[..., None], 65535, deep))


def test_16_bits_in_planes_are_refused(tmp_path):
    """Where Pillow would make noise of them; compressed ones it reads."""
    deep = np.random.default_rng(2).integers(0, 65536, (3, 20, 30), dtype=np.uint16)
    how = {"photometric": "rgb", "planarconfig": "separate"}
    tifffile.imwrite(tmp_path / "x.tif", deep, **how)
    with pytest.raises(ValueError, match="has uncompressed planes of 16 bits: convert it first"):
        pictures.read(tmp_path / "x.tif")
    tifffile.imwrite(tmp_path / "x.tif", deep, compression="zlib", **how)
    picture = pictures.read(tmp_path / "x.tif")
    assert np.array_equal(picture.seen, deep >> 8)
    assert "only the upper 8 of 16 bits per colour are read and written" in picture.notes


def test_grey_whose_zero_is_white(tmp_path):
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[262] = 0
    path = saved(Image.fromarray(GREY.astype(np.uint16)), tmp_path / "x.tif", tiffinfo=info)
    picture, again = rewritten(path, tmp_path / "out")
    assert np.array_equal(picture.seen[0], (65535 - GREY) >> 8)
    assert np.array_equal(again.seen[0][~SOME], picture.seen[0][~SOME])


@pytest.mark.parametrize(
    ("content", "bits"),
    [
        (b"P6 30 20 1023\n" + bytes(20 * 30 * 6), 10),
        (png(30, 20, bits=16, colour=4, pixels=bytes(20 * 121)), 16),
    ],
)
def test_bits_that_are_dropped_are_noted(content, bits):
    found = pictures.read(io.BytesIO(content)).notes
    assert f"only the upper 8 of {bits} bits per colour are read and written" in found


def test_bits_of_avif():
    """Which Pillow doesn't tell, and doesn't write."""
    content = io.BytesIO()
    Image.fromarray(COLOUR).save(content, "AVIF")
    assert not pictures.read(content).notes
    deep = bytearray(content.getvalue())
    deep[deep.index(b"av1C") + 6] |= 64
    with opening.picture_file(content) as found:
        found.fp = io.BytesIO(deep)
        assert "only the upper 8 of 10 bits" in opening.decoded(found)[1][0]


def test_what_is_compressed_with_loss_is_written_without(tmp_path):
    """Also where Pillow would compress it as it was."""
    path = saved(Image.fromarray(COLOUR), tmp_path / "x.tif", compression="jpeg")
    picture, again = rewritten(path, tmp_path / "out")
    assert picture.loss > 0
    assert np.array_equal(again.seen[:, ~SOME], picture.seen[:, ~SOME])


def test_a_long_profile_before_lossy_webp(tmp_path):
    path = saved(Image.fromarray(COLOUR), tmp_path / "x.webp", icc_profile=bytes(200_000))
    assert pictures.read(path).loss > 0
    saved(Image.fromarray(COLOUR), path, icc_profile=bytes(200_000), lossless=True)
    assert pictures.read(path).loss == 0


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.jpg", "x.bmp", "x.webp"])
def test_profile_resolution_and_exif_are_kept_in_every_format(name, tmp_path):
    exif = Image.Exif()
    exif[0x0110], exif[0x0112], exif[258], exif[284] = "a camera", 3, 1, 2
    image, profile = Image.fromarray(COLOUR), os.urandom(2_000_000)
    path = saved(image, tmp_path / name, "JPEG", icc_profile=profile, dpi=(300, 300), exif=exif)
    picture, again = rewritten(path, tmp_path / "out")
    large = picture.enlarged(picture.seen.repeat(2, 1).repeat(2, 2)).image
    kept = written(large, tmp_path / "large" / name)
    for one in (picture, again, pictures.read(kept)):
        assert one.image.info["icc_profile"] == profile
        assert np.allclose(one.image.info["dpi"], 300, atol=0.01)
        assert one.image.getexif()[0x0110] == "a camera"
    assert np.array_equal(again.seen[:, ~SOME], picture.seen[:, ~SOME])


def test_words_of_tiff_are_kept_and_it_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "a maker", 6
    path = saved(Image.fromarray(COLOUR), tmp_path / "x.tif", exif=exif, compression="tiff_lzw")
    picture = pictures.read(path)
    assert picture.size == (30, 20)
    for name in ("x.png", "x.tif"):
        found = pictures.read(written(picture.image, tmp_path / "out" / name))
        assert np.array_equal(found.seen, picture.seen)
        assert found.image.getexif()[0x010F] == "a maker"


@pytest.mark.filterwarnings("ignore:Metadata Warning")
def test_what_is_damaged_besides_pixels_is_left_out(tmp_path):
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[34675], info.tagtype[34675] = (1, 2, 3), 3  # a profile of numbers
    path = saved(Image.fromarray(COLOUR), tmp_path / "x.tif", tiffinfo=info)
    assert "its colour profile is damaged or too large, and left out" in pictures.read(path).notes
    path = saved(Image.fromarray(COLOUR), tmp_path / "x.jpg", exif=b"Exif\0\0" + b"damaged" * 9)
    picture, again = rewritten(path, tmp_path / "out")
    assert "its EXIF is damaged or too large, and left out" in picture.notes
    assert np.array_equal(again.seen[:, ~SOME], picture.seen[:, ~SOME])


def test_names_say_what_their_formats_hold(tmp_path):
    image = Image.new("RGB", (20_000, 2))
    assert pictures.named(image, tmp_path / "long.webp").name == "long.png"
    image = Image.new("RGB", (20, 2))
    assert pictures.named(image, tmp_path / "x.webp").name == "x.webp"
    image.info["dpi"] = (300, 300)
    assert pictures.named(image, tmp_path / "x.webp").name == "x.png"
    assert pictures.named(image, tmp_path / "x.bmp").name == "x.bmp"
    image.info["icc_profile"] = b"of these colours"
    assert pictures.named(image, tmp_path / "x.bmp").name == "x.png"


def test_a_transparent_grey_of_16_bits_stays_transparent(tmp_path):
    image = Image.fromarray(GREY.astype(np.uint16))
    path = saved(image, tmp_path / "x.png", transparency=int(GREY[0, 0]))
    picture, again = rewritten(path, tmp_path / "out")
    assert picture.seen[0, 0, 0] == again.seen[0, 0, 0] == 255
    assert again.image.info["transparency"] == GREY[0, 0]


def test_lab_is_enlarged_as_rgb(tmp_path):
    """Its colours aren't taken for transparency, nor its profile for one of RGB."""
    image = Image.frombytes("LAB", (30, 20), COLOUR.tobytes())
    path = saved(image, tmp_path / "x.tif", icc_profile=b"of LAB")
    picture, again = rewritten(path, tmp_path / "out")
    assert again.image.mode == "LAB"
    before, after = np.asarray(picture.image), np.asarray(again.image)
    assert np.array_equal(before[~SOME], after[~SOME])
    large = picture.enlarged(picture.seen.repeat(2, 1).repeat(2, 2))
    assert large.image.mode == "RGB"
    assert np.array_equal(np.asarray(large.image)[::2, ::2], picture.seen.transpose(1, 2, 0))
    assert large.notes == (
        "the result is RGB, as LAB lacks some of the new colours",
        "its colour profile, which fits no RGB, is left out",
    )


def test_tiny_pictures_are_enlarged_with_their_pixels_kept():
    flow = load_flow("photos")
    for size, factor in (((1, 1), 2), ((2, 2), 4), ((3, 3), 2), ((2, 60), 2)):
        image = torch.randint(256, (3, *size), dtype=torch.uint8)
        large = enlarge(flow, image, factor)
        assert large.shape == (3, factor * size[0], factor * size[1])
        assert torch.equal(large[:, ::factor, ::factor], image)


# ------------------------------------------------------------------------------------------ memory

READ = """
import resource, sys
from pathlib import Path
from rgflow.photographs import pictures
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
pictures.read(Path(sys.argv[1]))
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["png", "webp", "tif", "jpg"])
def test_the_largest_pictures_are_read_in_1_gib(kind, tmp_path):
    options = {"webp": {"method": 0}, "jpg": {"progressive": True, "subsampling": 0}}
    path = tmp_path / f"x.{kind}"
    Image.new("RGB", (8000, 8000), (9, 99, 199)).save(path, **options.get(kind, {}))
    found = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True
    )
    assert float(found.stdout) < 1024
