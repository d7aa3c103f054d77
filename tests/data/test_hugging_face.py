"""Data sets of Hugging Face's library, all of them local."""

import socket
import sys
from collections.abc import Iterator
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rgflow.data import load
from rgflow.data.source import SPLITS

datasets = pytest.importorskip("datasets")
pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody calls a server, not even to count downloads, and where errors are caught."""
    called = []

    def refuse(*to: object) -> None:
        called.append(to)
        raise OSError("there is no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield
    assert called == []


def encoded(number: int) -> bytes:
    file = BytesIO()
    Image.new("RGB", (12, 8), (number, 0, 0)).save(file, "PNG")
    return file.getvalue()


def table(numbers: range, *, damaged: int | None = None, column: str = "image") -> Any:
    """Rows of an image, its number as a label, and a text."""
    rows = [
        {"bytes": b"x" if number == damaged else encoded(number), "path": f"{number}.png"}
        for number in numbers
    ]
    text = [f"image {number}" for number in numbers]
    return pyarrow.table({"text": text, column: rows, "number": list(numbers)})


def check(name: str, *, skipped: int | None = None, count: int = 40) -> dict[str, list[int]]:
    """The numbers in each split; every image is there once."""
    found = {}
    for split in SPLITS:
        data = load(name, split, height=8, width=8)
        found[split] = data.images[:, 0, 4, 4].tolist()
        assert data.labels["number"].tolist() == found[split]
        assert list(data.labels) == ["number"]
    assert sorted(chain(*found.values())) == [n for n in range(count) if n != skipped]
    return found


def test_a_parquet_file(tmp_path: Path) -> None:
    parquet.write_table(table(range(40)), tmp_path / "a.parquet")
    found = check(f"hf:{tmp_path}/a.parquet")
    assert min(map(len, found.values())) >= 1
    assert load(f"hf:{tmp_path}/a.parquet", height=8, width=8).seconds == 0  # from the cache
    parquet.write_table(table(range(41)), tmp_path / "a.parquet")
    check(f"hf:{tmp_path}/a.parquet", count=41)  # and yet a change is noticed


def test_a_parquet_folder_with_splits(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    parquet.write_table(table(range(30)), folder / "train-00000-of-00001.parquet")
    parquet.write_table(table(range(30, 40)), folder / "test-00000-of-00001.parquet")
    found = check(f"hf:{folder}")
    assert found["test"] == [*range(30, 40)]


def test_what_save_to_disk_writes(tmp_path: Path) -> None:
    rows = datasets.Dataset(table(range(40))).cast_column("image", datasets.Image())
    rows.save_to_disk(str(tmp_path / "one"))
    check(f"hf:{tmp_path}/one")
    parts = datasets.DatasetDict(
        {"train": rows.select(range(20)), "valid": rows.select(range(20, 30))}
    )
    parts["test"] = rows.select(range(30, 40))
    parts.save_to_disk(str(tmp_path / "three"))
    found = check(f"hf:{tmp_path}/three")
    assert found["validation"] == [*range(20, 30)]


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    for split, numbers in (("train", range(20)), ("test", range(20, 25))):
        (tmp_path / "set" / split).mkdir(parents=True)
        for number in numbers:
            (tmp_path / "set" / split / f"{number}.png").write_bytes(encoded(number))
    data = load(f"hf:{tmp_path}/set", "test", height=8, width=8)
    assert sorted(data.images[:, 0, 4, 4].tolist()) == [*range(20, 25)]


def test_a_damaged_row_is_named(tmp_path: Path) -> None:
    parquet.write_table(table(range(40), damaged=2), tmp_path / "a.parquet")
    check(f"hf:{tmp_path}/a.parquet", skipped=2)
    skipped = [s for split in SPLITS for s in load(f"hf:{tmp_path}/a.parquet", split).skipped]
    assert [reason.partition(":")[0] for reason in skipped] == ["row 2 of train"]
    for split in SPLITS:
        for count in (None, 3):
            found = load(f"hf:{tmp_path}/a.parquet", split, count=count)
            assert found.numbers is not None
            assert [*found.numbers] == found.images[:, 0, 4, 4].tolist()


def test_what_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(name: str, message: str) -> None:
        with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
            load(f"hf:{name}", height=8, width=8)
        assert "\n" not in str(error.value)

    path = tmp_path / "a.parquet"
    told(str(path), r"Expected a file or folder after hf:; .*a.parquet isn't there")
    told("someone/pictures", r"someone/pictures isn't there: .* with the option download")
    told("", r"Expected hf:PATH; got no path")
    path.write_bytes(b"not a table")
    told(str(path), r"Expected a data set that Hugging Face's datasets can read; got .*a.parquet")
    parquet.write_table(table(range(40)), path)
    path.write_bytes(path.read_bytes()[:-100])
    told(str(path), r"Expected a data set that Hugging Face's datasets can read; got .*a.parquet")
    (tmp_path / "empty").mkdir()
    told(str(tmp_path / "empty"), r"Hugging Face's datasets can read; got .*empty")
    parquet.write_table(pyarrow.table({"text": ["a"] * 9}), path)
    told(str(path), r"Expected a column of images, .* in .*a.parquet; got text; convert it")
    parquet.write_table(table(range(2)), path)
    told(str(path), r"Expected at least 3 images in .*; got 2")

    monkeypatch.setitem(sys.modules, "datasets", None)
    told(str(path), r"Expected the package datasets, .* pip install 'rgflow\[hf\]'")


def test_a_hub_name_is_asked_for_only_if_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def hub(name: str, **_: object) -> Any:
        asked.append(name)
        return {"train": datasets.Dataset(table(range(40)))}

    monkeypatch.setattr(datasets, "load_dataset", hub)
    with pytest.raises(FileNotFoundError, match="isn't there"):
        load("hf:someone/pictures", height=8, width=8)
    assert asked == []
    data = load("hf:someone/pictures", height=8, width=8, download=True)
    assert asked == ["someone/pictures"]
    np.testing.assert_array_equal(data.labels["number"], data.images[:, 0, 4, 4])
