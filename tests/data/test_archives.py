"""Pictures in Parquet files and tar archives: only these, in any order, in bounded memory."""

import io
import os
import sys
import tarfile
import tracemalloc

import numpy as np
import pytest

from rgflow.data.archives import Archive


def pack(path, files):
    """A tar archive of names and contents."""
    with tarfile.open(path, "w") as made:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            made.addfile(entry, io.BytesIO(content))
    return Archive(path)


def test_samples_of_a_tar_archive(tmp_path):
    """One picture of each, whatever else there is."""
    files = {"a/0.jpg": b"0", "a/0.txt": b"text", "a/0.mask.png": b"mask", "a/1.PNG": b"11"}
    found = pack(tmp_path / "x.tar", files | {"._2.png": b"of a Mac", "words": b"", "2.cls": b"2"})
    assert len(found) == 2
    assert [*found.read([0, 1])] == [("a/0", b"0"), ("a/1", b"11")]
    assert [*found.read([1])] == [("a/1", b"11")]


def test_nothing_else_of_a_sample_is_unpacked(tmp_path):
    """Arrays that would take 100 times the memory."""
    content = io.BytesIO()
    np.savez_compressed(content, zeros=np.zeros(50_000_000, np.uint8))
    found = pack(tmp_path / "x.tar", {"0.png": b"picture", "0.npz": content.getvalue()})
    tracemalloc.start()
    assert [*found.read([0])] == [("0", b"picture")]
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("rows_of_a_group", [1, 7, 40, 100])
def test_any_rows_of_a_parquet_file(tmp_path, rows_of_a_group):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [{"path": "a name", "bytes": str(k).encode() if k else None} for k in range(100)]
    table = pyarrow.table({"number": range(100), "image": rows})
    parquet.write_table(table, tmp_path / "x.parquet", row_group_size=rows_of_a_group)
    found = Archive(tmp_path / "x.parquet")
    assert len(found) == 100
    for numbers in ([], [0], [99], [3, 4, 39, 40, 41, 98], range(100)):
        assert [*found.read(numbers)] == [(str(k), rows[k]["bytes"]) for k in numbers]


def damaged(kind, path):
    """Files that hold something else than they should, and what is said of them."""
    content = path.read_bytes()
    if kind == "cut short":
        path.write_bytes(content[:-700])
        return "is damaged"
    if kind == "words":
        path.write_bytes(b"These are words. " * 100)
        return "is damaged"
    if kind == "pipe":
        path.unlink()
        os.mkfifo(path)
        return "Expected a file; .* is a pipe"
    from pyarrow import parquet, table

    if kind == "text":
        parquet.write_table(table({"text": ["a"]}), path)
        return "Expected a column of images, or of bytes and path, in .*; got text"
    rows = [{"bytes": bytes(10_000_000), "path": None}]
    parquet.write_table(table({"image": rows}), path, compression="zstd")
    return "at most 16 times the size of the file; .* claim 10,000,"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("x.tar", kind) for kind in ("cut short", "words", "pipe")),
        *(("x.parquet", kind) for kind in ("cut short", "words", "pipe", "text", "bomb")),
    ],
)
def test_damage_is_one_sentence(name, kind, tmp_path):
    path = tmp_path / name
    if name == "x.tar":
        pack(path, {"0.png": bytes(10_000)})
        path.write_bytes(path.read_bytes()[:11_000])
    else:
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.table({"image": [{"bytes": b"0", "path": None}]}), path)
    message = damaged(kind, path)
    with pytest.raises(ValueError, match=message) as error:
        [*Archive(path).read(range(len(Archive(path))))]
    assert "\n" not in str(error.value)


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    (tmp_path / "x.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"pyarrow, to read x.parquet; .* 'rgflow\[hf\]'"):
        len(Archive(tmp_path / "x.parquet"))
