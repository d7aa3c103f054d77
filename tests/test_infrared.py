"""Damage is found in infrared scans, however they are stored, and repaired with all bits kept."""

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy.ndimage import binary_dilation

from rgflow.cli import main
from rgflow.data.patches import photograph
from rgflow.photographs import pictures
from rgflow.photographs.infrared import damage_in, read_infrared
from rgflow.photographs.simulation import Dust, Hairs, Scratches, Specks

SIZE = 300, 400


def scan_of(kinds, seed, leak=0.0):
    """An infrared scan with dim corners and noise, in which some of a picture shows, and the
    opacity of the damage."""
    random = np.random.default_rng(seed)
    clear = np.ones(SIZE)
    for kind in kinds:
        clear *= 1 - kind.covers(SIZE, random)
    rows, columns = np.ogrid[-1 : 1 : SIZE[0] * 1j, -1 : 1 : SIZE[1] * 1j]
    light = 200 * (1 - 0.1 * rows**2 - 0.1 * columns**2)
    texture = np.sin(np.arange(SIZE[1]) / 3) + random.normal(size=SIZE) / 2
    scan = light * (1 + leak * texture) * (1 - 0.85 * (1 - clear)) + random.normal(0, 3, SIZE)
    return scan.clip(0, 255).astype(np.uint8), 1 - clear


@pytest.mark.parametrize("leak", [0.0, 0.02])
@pytest.mark.parametrize("kinds", [(Scratches(), Hairs()), (Dust(), Specks())])
def test_damage_is_found(kinds, leak):
    scan, opacity = scan_of(kinds, 0, leak)
    found, visible = damage_in(scan), opacity > 0.2
    assert visible.sum() > 200
    assert found[visible].mean() > 0.99
    assert found[~binary_dilation(opacity > 0.03, np.ones((3, 3)))].mean() < 0.001
    assert not damage_in(scan_of((), 1)[0]).any()


@pytest.mark.parametrize("bits", [8, 16])
def test_however_it_is_stored(bits, tmp_path):
    random = np.random.default_rng(0)
    deep = random.integers(0, 65536, (20, 30, 4), dtype=np.uint16)
    values = deep if bits == 16 else (deep >> 8).astype(np.uint8)
    infrared, path = deep[..., 3] >> 8, tmp_path / "scan.tif"
    four = {"photometric": "rgb", "extrasamples": ["unspecified"]}
    turned = [("Orientation", "H", 1, 3, True)]
    for compression in (None, "zlib"):
        tifffile.imwrite(path, values, compression=compression, extratags=turned, **four)
        assert np.array_equal(read_infrared(path, (20, 30)), infrared[::-1, ::-1])
        note = "only 3 of 4 channels are read and written"
        assert note in pictures.read(path).notes
    with tifffile.TiffWriter(path) as writer:
        writer.write(values[..., :3], photometric="rgb")
        writer.write(values[..., 3], photometric="minisblack")
    assert np.array_equal(read_infrared(path, (20, 30)), infrared)
    Image.fromarray(values[..., 3]).save(tmp_path / "grey.png")
    assert np.array_equal(read_infrared(tmp_path / "grey.png", (20, 30)), infrared)
    with pytest.raises(ValueError, match="infrared scan of 30×21 pixels.*has 30×20"):
        read_infrared(tmp_path / "grey.png", (21, 30))
    Image.fromarray((values[..., :3] >> (bits - 8)).astype(np.uint8)).save(tmp_path / "colour.png")
    with pytest.raises(ValueError, match="fourth channel or second page.*has none"):
        read_infrared(tmp_path / "colour.png", (20, 30))


def test_films_are_repaired_with_all_bits_kept(tmp_path, capsys):
    """In one command, with infrared in the scan or beside it."""
    random, picture = (
        np.random.default_rng(0),
        photograph("chelsea", 2)[:, 20:100, 30:150].transpose(1, 2, 0),
    )
    deep = picture.astype(np.uint16) << 8 | random.integers(0, 256, picture.shape).astype(np.uint16)
    infrared = np.full(deep.shape[:2], 50_000, np.uint16)
    hurt = np.zeros(infrared.shape, bool)
    hurt[40, 20:70] = hurt[20:23, 60:63] = True
    infrared[hurt] = 9_000
    bad = np.where(hurt[..., None], 65_535, deep)
    both = np.concatenate((bad, infrared[..., None]), 2)
    scan, out = tmp_path / "scan.tif", tmp_path / "out"
    tifffile.imwrite(scan, both, photometric="rgb", extrasamples=["unspecified"])
    tifffile.imwrite(tmp_path / "bare.tif", bad, photometric="rgb")
    tifffile.imwrite(tmp_path / "ir.tif", infrared, photometric="minisblack")
    assert main(["repair", str(scan), "--infrared", "--out", str(out)]) == 0
    beside = ["--infrared", str(tmp_path / "ir.tif"), "--out", str(out)]
    assert main(["repair", str(tmp_path / "bare.tif"), *beside]) == 0
    near = binary_dilation(hurt, np.ones((3, 3)))
    for name in ("scan", "bare"):
        assert np.array_equal(np.asarray(Image.open(out / f"{name}-mask.png")) > 0, near)
        found = tifffile.imread(out / f"{name}.tif")
        assert found.dtype == np.uint16
        assert np.array_equal(found[~near], deep[~near])
        assert np.abs((found[hurt] >> 8) - picture[hurt].astype(float)).mean() < 12
    capsys.readouterr()
    assert main(["repair", str(scan), str(scan), *beside]) == 2
    assert "an infrared scan for each of 2 pictures; got 1" in capsys.readouterr().err
    assert main(["repair", str(scan), "--box", "[0, 0, 2, 2]", *beside]) == 2
    assert "one of --mask, --box and --infrared" in capsys.readouterr().err
