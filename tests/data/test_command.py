"""`rgflow data`."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rgflow.cli import main
from rgflow.data import load

Capture = pytest.CaptureFixture[str]


def said(capsys: Capture, *arguments: str) -> str:
    assert main(["data", *arguments]) == 0
    return capsys.readouterr().out


def refused(capsys: Capture, *arguments: str) -> str:
    assert main(["data", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_splits_are_prepared(capsys: Capture, cache_folder: Path) -> None:
    counts = ["--train", "70", "--validation", "5", "--test", "0"]
    lines = said(capsys, "msds1", *counts).splitlines()
    folder = load("msds1", count=70).folder
    assert folder
    assert folder.parent == cache_folder
    made = r"\(made in [\d.]+ s, \d+ images/s\)"
    assert re.fullmatch(rf"train: 70 images in {folder} {made}\.", lines[0])
    assert lines[1] == f"The first images are in {folder / 'first.png'}."
    assert re.fullmatch(rf"validation: 5 images in .*msds1-validation-.* {made}\.", lines[2])
    assert len(lines) == 3
    with Image.open(folder / "first.png") as sheet:
        assert sheet.size == (2 + 8 * 66, 2 + 8 * 66)
        first = np.asarray(sheet)[2:66:2, 2:66:2].transpose(2, 0, 1)
    np.testing.assert_array_equal(first, load("msds1", count=70).images[0])
    again = said(capsys, "msds1", *counts).splitlines()
    assert again[0] == f"train: 70 images in {folder} (already in the cache)."


def sheet_of(out: str) -> str:
    return re.findall(r"The first images are in (.*)\.", out)[0]


def test_what_is_left_out_is_named(capsys: Capture, tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        (tmp_path / "pictures" / split).mkdir(parents=True)
        Image.new("L", (20, 20), 200).save(tmp_path / "pictures" / split / "good.png")
    for k in range(25):
        (tmp_path / "pictures/train" / f"bad{k:02}.png").write_bytes(b"")
    size = ["--height", "16", "--width", "8", "--channels", "1", "--crop", "10"]
    out = said(capsys, f"folder:{tmp_path}/pictures", *size)
    assert "train: 1 images" in out
    assert len(re.findall(r"left out: train/bad\d\d.png: ", out)) == 20
    assert "and 5 other files" in out
    with Image.open(sheet_of(out)) as picture:
        assert picture.size == (2 + 18, 2 + 34)


def test_fields_are_drawn(capsys: Capture, tmp_path: Path) -> None:
    fields = np.random.default_rng(0).normal(size=(40, 5, 8, 8))
    np.save(tmp_path / "a.npy", fields)
    size = ["--height", "8", "--width", "8", "--channels", "5"]
    with Image.open(sheet_of(said(capsys, f"fields:{tmp_path}/a.npy", *size))) as picture:
        levels = np.asarray(picture)
    assert (levels.min(), levels.max()) == (0, 255)


def test_official_files_from_a_folder(capsys: Capture, tmp_path: Path) -> None:
    for name in [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]:
        (tmp_path / name).write_bytes(bytes(3073 * 4))
    out = said(capsys, "cifar10", "--data_root", str(tmp_path))
    assert "test: 4 images in" in out


def test_mistakes(capsys: Capture, tmp_path: Path, cache_folder: Path) -> None:
    assert "nearest: celeba" in refused(capsys, "celebA")
    assert "got none of them" in refused(capsys, "chairs", "--data_root", str(tmp_path))
    assert "got 0 for every split" in refused(
        capsys, "msds1", "--train", "0", "--validation", "0", "--test", "0"
    )
    assert "Expected --train to be at least 0; got -3" in refused(capsys, "msds1", "--train", "-3")
    assert "nearest: --height" in refused(capsys, "msds1", "--heigth", "8")
    assert "at its only size" in refused(capsys, "msds1", "--height", "8")
    assert "Expected --download to be true or false" in refused(
        capsys, "cifar10", "--download", "perhaps"
    )
    (tmp_path / "empty").mkdir()
    assert "got none; check the path" in refused(capsys, f"folder:{tmp_path}/empty")
    Image.new("RGB", (8, 8)).save(tmp_path / "empty" / "one.png")
    assert "at least 3 images" in refused(capsys, f"folder:{tmp_path}/empty")
    shutil.rmtree(cache_folder, ignore_errors=True)
    cache_folder.write_text("a file")
    assert "set RGFLOW_CACHE to another" in refused(capsys, "msds1", "--train", "1")
