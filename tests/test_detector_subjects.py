"""What the network that finds damage learns from: pictures in folders and in archives."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("detector", reason="a checkout has the experiments")
from detector import subjects
from rgflow.data import wallpapers


def picture(form, seed, **options):
    """A file of 300×300 random pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (300, 300, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two pictures in a folder, one in an archive of a game, two in one of Qt; and what is no
    picture, too small or a mask."""
    png, webp = picture("PNG", 0), [picture("WEBP", seed) for seed in (1, 2)]
    (tmp_path / "a.png").write_bytes(png)
    (tmp_path / "b.jpg").write_bytes(picture("JPEG", 3))
    (tmp_path / "c_normal.png").write_bytes(png)
    (tmp_path / "notes.txt").write_bytes(png)
    small = io.BytesIO()
    Image.new("RGB", (300, 300)).save(small, "PNG")
    (tmp_path / "d.png").write_bytes(small.getvalue())
    with zipfile.ZipFile(tmp_path / "e.pk3", "w") as archive:
        archive.writestr("textures/f.png", picture("PNG", 4))
        archive.writestr("textures/f.txt", "")
    (tmp_path / "explore_g.rcc").write_bytes(b"qres" + webp[0] + b"\0between" + webp[1] + b"end")
    monkeypatch.setattr(wallpapers, "ROOT", tmp_path)
    return tmp_path


def test_pictures_come_out_of_folders_and_archives(folder):
    found = subjects._pictures(".")
    seeds = [0, 3, 4, 1, 2]
    forms = ["PNG", "JPEG", "PNG", "WEBP", "WEBP"]
    expected = [picture(form, seed) for form, seed in zip(forms, seeds, strict=True)]
    assert [one.getvalue() for one in found] == expected
    assert len(subjects._pictures(".", "explore_*")) == 2


def test_no_pictures_are_one_sentence(folder):
    with pytest.raises(FileNotFoundError, match=r"nothing; got none; install the packages that"):
        subjects._pictures("nothing")
