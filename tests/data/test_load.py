"""`load`: names, defaults and what it says to a mistake."""

import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rgflow import preset
from rgflow.data import SOURCES, Images, load, load_for, msds
from rgflow.data.source import Request, Split
from rgflow.kinds import trust


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_msds_is_what_stream_makes(split: Split) -> None:
    data = load("msds2", split, count=5, seed=9)
    images, labels, _ = next(msds.stream("msds2", 5, split=split, seed=9))
    assert data.name == "msds2"
    np.testing.assert_array_equal(data.images, images)
    assert data.labels.keys() == labels.keys()
    for name, label in labels.items():
        np.testing.assert_array_equal(data.labels[name], label)
        assert data.labels[name].dtype == np.float32


def test_default_counts() -> None:
    for split, count in {"train": 90_000, "validation": 5_000, "test": 10_000}.items():
        assert SOURCES["msds1"](Request(name="msds1", split=split)).count == count  # type: ignore[arg-type]


def test_import_is_light() -> None:
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; import rgflow.data; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("MSDS1", "msds1"),
        ("msds_2", "msds2"),
        ("msds1:x", "msds1"),
    ],
)
def test_unknown_name(name: str, nearest: str) -> None:
    known = f"Expected the data set to be one of {', '.join(SOURCES)}"
    with pytest.raises(ValueError, match=f"{known}; got '{name}' .nearest: ({nearest})"):
        load(name)


def test_a_source_of_your_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its import path, once it is trusted; functions that weren't meant so are never called."""
    (tmp_path / "own_sets.py").write_text(
        "import numpy as np\n"
        "from rgflow.data import register\n"
        "from rgflow.data.source import Chunk, Source\n"
        "@register\n"
        "def grey(request):\n"
        "    level = int(request.argument)\n"
        "    images = np.full((4, 3, request.height, request.width), level, np.uint8)\n"
        "    settings = {'source': 'grey', 'level': level, 'split': request.split}\n"
        "    return Source(kind='grey', settings=settings, count=4,\n"
        "                  chunks=lambda: iter([Chunk(images, {})]))\n"
        "def other(request):\n"
        "    raise AssertionError\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("own_sets.grey:7", "own_sets.other", "os.abort"):
        path = name.partition(":")[0]
        with pytest.raises(ValueError, match=f"'{path}' would run code: .* add --trust {path[:2]}"):
            load(name)
    assert "own_sets" not in sys.modules
    trust("own_sets")
    assert (load("own_sets.grey:7", height=8, width=8).images == 7).all()
    with pytest.raises(ValueError, match="'own_sets.other' would run code"):
        load("own_sets.other")
    config = replace(preset("msds1-tiny"), data="own_sets.grey:9")
    assert (load_for(config, "test").images == 9).all()
    for name in ("own_sets.grey", "own_sets.grey:ARGUMENT"):
        monkeypatch.delitem(SOURCES, name)


def test_a_bare_path_is_recognised(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"nearest: folder:{tmp_path}"):
        load(str(tmp_path))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"split": "val"}, "Expected split to be one of train, validation, test; got 'val'"),
        ({"channels": 0}, "Expected channels to be at least 1; got 0"),
        ({"height": 0}, "Expected height to be at least 1; got 0"),
        ({"width": 1.5}, "Expected width to be a whole number; got 1.5"),
        ({"count": 0}, "Expected count to be at least 1; got 0"),
        ({"crop": 0}, "Expected crop to be at least 1; got 0"),
        ({"seed": -1}, "Expected seed to be at least 0; got -1"),
        ({"seed": 2**63}, "Expected seed to be at most 922.*; got 922"),
    ],
)
def test_impossible_arguments(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load("msds1", **wrong)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_on_terminals(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen(StringIO):
        def isatty(self) -> bool:
            return terminal

    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    load("msds1", "test", count=20, progress=False)
    assert not screen.getvalue()
    load("msds1", "train", count=20)
    shown = "Preparing msds1" in screen.getvalue() and "20/20" in screen.getvalue()
    assert shown == terminal


def test_a_run_loads_its_own() -> None:
    """In the size of its flow, from its folder."""
    config = replace(preset("msds1-tiny"), data="cifar10", data_root="/nowhere")
    with pytest.raises(FileNotFoundError, match=r"of cifar10 in /nowhere .*; got none"):
        load_for(config, "test")
    assert load_for(config, "test", name="msds2", count=3).name == "msds2"
    config = replace(config, data="celeba", crop=8)  # which is for celeba only
    assert load_for(config, "test", name="msds2", count=3).name == "msds2"


@pytest.mark.parametrize("where", ["~nobody/x", "\0", "loop/x", "x" * 300, "/dev/null", "\ud800"])
@pytest.mark.parametrize("known", SOURCES)
def test_odd_paths(where: str, known: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, whatever stands for a path."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    kind, colon, _ = known.partition(":")
    name, root = (f"{kind}:{where}", None) if colon else (kind, where)
    drawn = "msds1", "msds2", "faces", "faces:correlated"  # which look at no folder
    if known in (*drawn, "patches", "wallpapers"):
        name = where
    with pytest.raises((ValueError, OSError)):
        load(name, data_root=root)


def test_images_are_checked() -> None:
    with pytest.raises(
        ValueError, match=r"Expected images of type uint8 or float32 .*; got float64"
    ):
        Images(name="x", images=np.zeros((2, 3, 4, 4)))
    with pytest.raises(ValueError, match=r"shape \[N, C, H, W\]; got uint8 of shape \[4, 4\]"):
        Images(name="x", images=np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"Expected 2 rows in label 'a', .*; got shape \[3\]"):
        Images(name="x", images=np.zeros((2, 3, 4, 4), np.uint8), labels={"a": np.zeros(3)})
