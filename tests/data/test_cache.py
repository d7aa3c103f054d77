"""The cache: made once, found again, never wrong."""

import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from rgflow.data import cache, load
from rgflow.data.images import Array, Images
from rgflow.data.source import Chunk, Source


class Counter:
    """A source of 4x4 images holding their own number, that remembers how often it was asked."""

    def __init__(self) -> None:
        self.made = 0

    def load(self, count: int, *, chunk: int = 3, seed: int = 0) -> Images:
        def chunks() -> Iterator[Chunk]:
            self.made += 1
            for first in range(0, count, chunk):
                number = np.arange(first, min(first + chunk, count))
                images = np.broadcast_to(number[:, None, None, None], (len(number), 1, 4, 4))
                skipped = ((0, f"before {first}"),) if first else ()
                yield Chunk(images.astype(np.uint8), {"number": number}, skipped)

        source = Source(kind="count", settings={"seed": seed}, count=count, chunks=chunks)
        return cache.load(source, name="count", progress=False)


def entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_made_once(cache_folder: Path) -> None:
    counter = Counter()
    first, again = counter.load(10), counter.load(10)
    assert counter.made == 1
    for data in (first, again):
        assert data.images[:, 0, 0, 0].tolist() == data.labels["number"].tolist() == [*range(10)]
        assert data.skipped == ("before 3", "before 6", "before 9")
        assert isinstance(data.images, np.memmap)
        assert not data.images.flags.writeable
    (entry,) = entries(cache_folder)
    assert sorted(path.name for path in entry.iterdir()) == [
        "images.npy",
        "label-number.npy",
        "manifest.json",
    ]
    np.testing.assert_array_equal(np.load(entry / "images.npy"), first.images)


def test_a_longer_set_serves_a_shorter_one(cache_folder: Path) -> None:
    counter = Counter()
    counter.load(10)
    shorter = counter.load(6)
    assert counter.made == 1
    assert len(shorter) == 6
    assert len(shorter.labels["number"]) == 6
    assert shorter.skipped == ("before 3",)
    assert len(counter.load(11)) == 11
    assert counter.made == 2
    assert len(counter.load(7)) == 7
    assert counter.made == 2


def test_settings_are_kept_apart() -> None:
    counter = Counter()
    counter.load(4)
    counter.load(4, seed=1)
    assert counter.made == 2


def spoil_cut(entry: Path) -> None:
    os.truncate(entry / "images.npy", 200)


def spoil_header(entry: Path) -> None:
    with (entry / "images.npy").open("r+b") as file:
        file.seek(12)
        file.write(b"((((('")


def spoil_empty(entry: Path) -> None:
    (entry / "label-number.npy").write_bytes(b"")


def spoil_missing(entry: Path) -> None:
    (entry / "images.npy").unlink()


def spoil_other(entry: Path) -> None:
    np.save(entry / "images.npy", np.zeros((3, 1, 4, 4), np.uint8))


def spoil_no_manifest(entry: Path) -> None:
    (entry / "manifest.json").unlink()


def spoil_json(entry: Path) -> None:
    (entry / "manifest.json").write_text("{")


def spoil_shape(entry: Path) -> None:
    (entry / "manifest.json").write_text(json.dumps([1, 2]))


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_cut,
        spoil_header,
        spoil_empty,
        spoil_missing,
        spoil_other,
        spoil_no_manifest,
        spoil_json,
        spoil_shape,
    ],
)
@pytest.mark.parametrize("count", [10, 6])
def test_damage_is_noticed_and_mended(
    spoil: Callable[[Path], None], count: int, cache_folder: Path
) -> None:
    counter = Counter()
    counter.load(10)
    spoil(entries(cache_folder)[0])
    data = counter.load(count)
    assert counter.made == 2
    assert data.images[:, 0, 0, 0].tolist() == [*range(count)]
    counter.load(count)
    assert counter.made == 2
    assert len(entries(cache_folder)) == 1


def test_what_making_took_is_told_once() -> None:
    counter = Counter()
    assert counter.load(4).seconds > 0
    assert counter.load(4).seconds == 0


def test_an_entry_that_cannot_be_read(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is neither deleted nor made again."""
    counter = Counter()
    folder = counter.load(4).folder
    assert folder

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(cache, "map_npy", refuse)
    with pytest.raises(ValueError, match=r"that can be read; got .*count-.* \(Permission denied\)"):
        counter.load(4)
    assert entries(cache_folder) == [folder]
    assert counter.made == 1


def test_a_full_disk(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    appended = []

    def append(path: Path, rows: Array) -> None:
        if len(appended) == 3:
            raise OSError(28, "No space left on device")
        appended.append(path)

    monkeypatch.setattr(cache, "_append", append)
    with pytest.raises(
        ValueError, match=r"Expected a cache folder that has room .* \(No space left on device\)"
    ):
        Counter().load(10)
    assert not entries(cache_folder)


def test_memory_stays_flat() -> None:
    """A set of 64 MiB is made in the memory of two chunks or so, of 1 MiB each."""

    def chunks() -> Iterator[Chunk]:
        for number in range(64):
            yield Chunk(np.full((64, 1, 128, 128), number, np.uint8), {})

    source = Source(kind="large", settings={}, count=64 * 64, chunks=chunks)
    tracemalloc.start()
    data = cache.load(source, name="large", progress=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert data.images[::64, 0, 0, 0].tolist() == [*range(64)]
    assert peak < 5 * 2**20


def test_failure_leaves_nothing(cache_folder: Path) -> None:
    def chunks() -> Iterator[Chunk]:
        yield Chunk(np.zeros((1, 1, 4, 4), np.uint8), {})
        raise KeyboardInterrupt

    source = Source(kind="count", settings={}, count=2, chunks=chunks)
    with pytest.raises(KeyboardInterrupt):
        cache.load(source, name="count", progress=False)
    assert not entries(cache_folder)


def test_the_first_of_two_processes_wins(cache_folder: Path) -> None:
    """Here the second starts and ends while the first is at work."""
    slow, fast = Counter(), Counter()

    def chunks() -> Iterator[Chunk]:
        fast.load(2)
        yield Chunk(np.zeros((2, 1, 4, 4), np.uint8), {"number": np.zeros(2, np.int64)})

    source = Source(kind="count", settings={"seed": 0}, count=2, chunks=chunks)
    data = cache.load(source, name="count", progress=False)
    assert data.labels["number"].tolist() == [0, 1]
    assert slow.load(2).labels["number"].tolist() == [0, 1]
    assert (fast.made, slow.made) == (1, 0)
    assert len(entries(cache_folder)) == 1


def test_processes_racing_all_end_well(cache_folder: Path) -> None:
    code = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "from rgflow.data import load\n"
        "print(load('msds2', 'test', count=300).images.sum())"
    )
    racing = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert len({process.communicate(timeout=60)[0] for process in racing}) == 1
    assert [process.returncode for process in racing] == [0] * 4
    assert len(entries(cache_folder)) == 1


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RGFLOW_CACHE", "~/here")
    assert cache.cache_folder() == Path.home() / "here"
    monkeypatch.delenv("RGFLOW_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "rgflow"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.cache_folder() == Path.home() / ".cache" / "rgflow"


def test_a_cache_that_cannot_be_written(cache_folder: Path) -> None:
    cache_folder.write_text("a file")
    with pytest.raises(
        ValueError, match=r"Expected a cache folder .*; set RGFLOW_CACHE to another"
    ):
        load("msds1", count=1)


def test_only_what_is_ours_is_cleared_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RGFLOW_CACHE", str(tmp_path))
    long_ago = 10**9
    ours, theirs = f".count-{'0' * 16}-3-{'1' * 32}", (".vscode-server", ".config-of-mine")
    for name in (ours, *theirs):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
        os.utime(tmp_path / name, (long_ago, long_ago))
    Counter().load(3)
    assert not (tmp_path / ours).exists()
    assert all((tmp_path / name / "file").exists() for name in theirs)


def test_a_flipped_bit_is_noticed(cache_folder: Path) -> None:
    counter = Counter()
    path = counter.load(10).folder
    assert path
    content = bytearray((path / "images.npy").read_bytes())
    content[-1] ^= 1
    (path / "images.npy").write_bytes(content)
    assert counter.load(10).images[-1, 0, 3, 3] == 9
    assert counter.made == 2


def test_mistakes_of_our_own_are_not_taken_for_damage(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = Counter()
    counter.load(4)

    def wrong(array: Array) -> None:
        raise AttributeError("a slip")

    monkeypatch.setattr(cache, "_layout", wrong)
    with pytest.raises(AttributeError, match="a slip"):
        counter.load(4)
    assert len(entries(cache_folder)) == 1


def test_what_somebody_has_put_into_a_damaged_entry_is_kept(cache_folder: Path) -> None:
    counter = Counter()
    path = counter.load(4).folder
    assert path
    (path / "notes.txt").write_text("mine")
    (path / "manifest.json").write_text("{")
    counter.load(4)
    (kept,) = cache_folder.glob("kept.*/notes.txt")
    assert kept.read_text() == "mine"


def test_what_is_being_made_for_days_is_left_to_its_maker(cache_folder: Path) -> None:
    def chunks() -> Iterator[Chunk]:
        (building,) = cache_folder.iterdir()
        for path in (building, cache_folder / f".dead-{'0' * 16}-4-{'0' * 32}"):
            path.mkdir(exist_ok=True)
            os.utime(path, (0, 0))
        Counter().load(3)
        assert [*cache_folder.glob(".*")] == [building]
        yield Chunk(np.zeros((1, 1, 4, 4), np.uint8), {})

    source = Source(kind="slow", settings={}, count=1, chunks=chunks)
    assert len(cache.load(source, name="slow", progress=False)) == 1
