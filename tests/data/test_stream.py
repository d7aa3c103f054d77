"""Shards that are read in a stream: the same crops whenever they are asked for."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from rgflow import data
from rgflow.cli import main
from rgflow.config import TrainConfig
from rgflow.data import stream
from rgflow.data.decoding import Target
from rgflow.data.stream import Stream, find_archives, numbers_of

pytest.importorskip("pyarrow")
TARGET = Target(height=8, width=8, channels=3)


def picture(number):
    """A PNG file of a size of its own, whose red is its number and whose green is the column."""
    width, height = 9 + number % 7, 20 - number % 9
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[..., 0], pixels[..., 1] = number, np.arange(width)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Two Parquet files and a tar archive, 120 pictures in all; one is damaged."""
    import pyarrow
    from pyarrow import parquet

    folder = tmp_path_factory.mktemp("shards")
    for number in range(2):
        rows = [{"bytes": picture(40 * number + k), "path": None} for k in range(40)]
        if number:
            rows[3]["bytes"] = b"These are words."
        parquet.write_table(
            pyarrow.table({"image": rows}), folder / f"{number}.parquet", row_group_size=10
        )
    with tarfile.open(folder / "2.tar", "w") as archive:
        for k in range(40):
            entry, content = tarfile.TarInfo(f"{k:03}.png"), picture(80 + k)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(stream, "BLOCK", 16)


def numbers(images):
    return images[:, 0, 0, 0].tolist()


def test_every_training_picture_comes_once_in_an_epoch(shards):
    of = Stream(str(shards), TARGET)
    rows = {one.path.name: numbers_of(one, "train") for one in find_archives(str(shards))}
    expected = {40 * k + row for k, name in enumerate(sorted(rows)) for row in rows[name]} - {43}
    assert len(of) == sum(map(len, rows.values()))
    assert 80 < len(of) < 120
    first, second = (numbers(of(epoch * len(of), len(of))) for epoch in (0, 1))
    assert set(first) == set(second) == expected
    assert first != second
    assert first != sorted(first)
    crops = of(0, 12)
    assert (np.diff(crops[:, 1, 0].astype(int), axis=1) == 1).all()  # neighbours, not resized
    assert len(set(crops[:, 1, 0, 0].tolist())) > 1


def test_what_comes_depends_on_the_place_alone(shards):
    of = Stream(str(shards), TARGET, seed=3)
    batches = [of(first, 4) for first in range(0, 240, 4)]
    again = Stream(str(shards), TARGET, seed=3)  # as after a resumption
    for place in (30, 31, 59, 7, 8):
        assert np.array_equal(again(4 * place, 4), batches[place])
    other = Stream(str(shards), TARGET, seed=4)
    assert not np.array_equal(other(0, 4), batches[0])


@pytest.mark.parametrize("world", [2, 5])
def test_processes_share_the_pictures(shards, world):
    """By shards, or by pictures where there are fewer shards."""
    streams = [Stream(str(shards), TARGET, rank=rank, world=world) for rank in range(world)]
    seen = [set(numbers(of(rank * len(of), len(of)))) for rank, of in enumerate(streams)]
    assert all(len(one) > 10 for one in seen)
    assert sum(map(len, seen)) == len(set().union(*seen))
    assert set().union(*seen) == set(numbers(Stream(str(shards), TARGET)(0, 120)))


def test_splits_share_no_picture(shards):
    found = {
        split: set(numbers(data.load(f"stream:{shards}", split, height=8, width=8).images))
        for split in ("train", "validation", "test")
    }
    assert all(found.values())
    assert sum(map(len, found.values())) == len(set().union(*found.values()))


def test_a_training_goes_on_with_the_same_batches(shards, tmp_path):
    flags = {
        "data": f"stream:{shards}", "model.height": 8, "model.width": 8, "model.map.hidden": 8,
        "model.compute_dtype": "float32", "batch_size": 4, "validate_every": 0,
        "validate_count": 3, "compile": "false", "schedule": "constant",
    }  # fmt: skip
    options = [str(x) for name, value in flags.items() for x in (f"--{name}", value)]
    start = ["train", "msds1-tiny", *options]
    assert main([*start, "--steps", "9", "--out", str(tmp_path / "whole")]) == 0
    assert main([*start, "--steps", "5", "--out", str(tmp_path / "cut")]) == 0
    assert main(["train", "--resume", str(tmp_path / "cut"), "--steps", "9"]) == 0
    whole, cut = (
        (tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("whole", "cut")
    )
    assert whole == cut


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("nowhere", FileNotFoundError, "a folder of shards after stream:; .*nowhere isn't there"),
        ("empty", ValueError, "Expected .parquet or .tar files in .*empty; there are none"),
    ],
)
def test_mistakes(name, error, message, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(error, match=message):
        data.load(f"stream:{tmp_path / name}")
    assert TrainConfig(data="stream:x").data == "stream:x"
