"""Many pictures on many workers: the same results for any number, whatever dies meanwhile."""

import csv
import io
import subprocess
import sys
import tarfile
import time
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows import OPEN, random_flow
from rgflow import outputs
from rgflow.cli import main
from rgflow.cli.engines import Worker, by_processes
from rgflow.photographs.collections import ROWS, collection
from rgflow.processes import Helpers
from works import counting, deadly, dying


def picture(seed=0, size=(24, 20)):
    """The file of a picture of noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).save(content, "PNG")
    return content.getvalue()


def archive(path, contents):
    """A tar archive."""
    with tarfile.open(path, "w") as file:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))


def rows_of(path):
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with pictures in files and archives, some of which can't be read, and a model."""
    monkeypatch.chdir(tmp_path)
    random_flow(**OPEN).float().save_pretrained("model")
    Path("many/below").mkdir(parents=True)
    for number in range(5):
        Path(f"many/below/{number}.png").write_bytes(picture(number))
    Path("many/bad.png").write_bytes(picture(9)[:200])
    archive("many/some.tar", {"x/a.png": picture(7), "a.png": picture(8), "../b.png": b"bad"})
    Path("many/torn.tar").write_bytes(b"\1" * 2000)
    return tmp_path


WRONG = ["many/bad.png", "many/some.tar#../b", "many/torn.tar"]


def test_processes_share_the_work(here, capsys):
    """And what was done before, under whatever name, isn't made again."""
    command = ["score", "many", "--model", "model", "--out"]
    assert main([*command, "one.csv"]) == 1
    assert main([*command, "two.csv", "--processes", "2"]) == 1
    assert Path("one.csv").read_bytes() == Path("two.csv").read_bytes()
    assert [row["file"] for row in rows_of("two.csv") if row["error"]] == WRONG
    assert "10 pictures; 3 had to be left out" in capsys.readouterr().err
    Path("many/below/0.png").rename("many/0.png")
    Path("many/bad.png").write_bytes(picture(9))
    assert main([*command, "two.csv"]) == 1
    assert "7 of 10 pictures were done before" in capsys.readouterr().out
    done = {row["file"] for row in rows_of("two.csv") if row["bits"]}
    assert {"many/0.png", "many/bad.png"} < done


@pytest.mark.parametrize("command", [["repair", "--box", "[5, 5, 4, 4]"],
                                     ["enlarge", "--temperature", "1"]])  # fmt: skip
def test_collections_become_pictures_and_a_table(command, here):
    options = [*command[1:], "--model", "model", "--reduced", "sites"]
    options = options[: None if command[0] == "enlarge" else -2]
    for out, processes in (("a", "1"), ("b", "2")):
        arguments = [command[0], "many", *options, "--out", out, "--processes", processes]
        assert main(arguments) == 1
        assert main(arguments) == 1  # and again
    found = {
        out: {
            str(path.relative_to(out)): path.read_bytes()
            for path in Path(out).rglob("*")
            if path.is_file() and path.name != outputs.RECORD
        }
        for out in "ab"
    }
    assert found["a"] == found["b"]
    names = {name for name in found["a"] if "before-after" not in name}
    inside = {name for name in names if name.startswith("some/")}
    assert names - inside == {"pictures.csv", *(f"below/{k}.png" for k in range(5))}
    assert len(inside) == 2
    rows = {row["file"]: row for row in rows_of("b/pictures.csv")}
    assert [name for name, row in rows.items() if row["error"]] == WRONG
    assert rows["many/below/3.png"]["result"] == "below/3.png"


def test_what_is_random_depends_on_the_content(here):
    Path("twice").mkdir()
    for name in ("a.png", "b.png"):
        Path("twice", name).write_bytes(picture(3))
    Path("twice/c.png").write_bytes(picture(4))
    how = ["--model", "model", "--reduced", "sites", "--temperature", "1", "--out", "o"]
    assert main(["enlarge", "twice", *how]) == 0
    a, b, c = (Path("o", name).read_bytes() for name in ("a.png", "b.png", "c.png"))
    assert a == b != c


def test_what_kills_its_process_is_left_out_and_nothing_else(tmp_path):
    contents = [b"1", b"always", b"22", b"once", b"333", b"4444"]
    for number, content in enumerate(contents):
        (tmp_path / f"{number}.png").write_bytes(content)
    items = chain.from_iterable(collection([str(tmp_path)]).units())
    made = sorted(by_processes(Worker(deadly, ""), items, 2), key=lambda one: one.place)
    assert [one.row.get("length") for one in made] == [1, None, 2, 4, 3, 4]
    assert "ended its process 5 times" in made[1].error


def test_a_process_that_dies_as_it_begins_is_started_again(tmp_path):
    left = tmp_path / "left"
    left.write_text("3")
    with Helpers(1, begin=partial(dying, left)) as helpers:
        assert helpers.call(counting, 0, 3, callbacks={"progress": print}) == 3
    left.write_text("100")
    never = pytest.raises(RuntimeError, match="processes to start")
    with Helpers(1, begin=partial(dying, left)) as helpers, never:
        helpers.call(counting, 0, 3, callbacks={"progress": print})


WAITING = """
import sys
sys.path[:0] = {path!r}
from itertools import chain
from rgflow.cli.engines import Worker, by_processes
from rgflow.photographs.collections import collection
from works import waiting
items = chain.from_iterable(collection([{folder!r}]).units())
list(by_processes(Worker(waiting, ""), items, 2))
"""


def test_workers_end_with_the_process_that_started_them(tmp_path):
    for number in range(2):
        (tmp_path / f"{number}.png").touch()
    code = WAITING.format(path=sys.path, folder=str(tmp_path))
    driver = subprocess.Popen([sys.executable, "-c", code])
    while len(begun := list(tmp_path.glob("*.begun"))) < 2:
        assert driver.poll() is None
        time.sleep(0.05)
    driver.kill()
    driver.wait()
    workers = [Path("/proc", path.name.split(".")[2]) for path in begun]
    for _ in range(200):
        if not any(path.exists() and "Z" not in state(path) for path in workers):
            return
        time.sleep(0.05)
    raise AssertionError("Expected no worker to be left; there are some.")


def state(process):
    """The state of a process, by its folder in /proc; empty if it has ended."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def test_helpers_tell_end_and_are_replaced():
    """One process: it is used again after a result and after an error, and made anew after it was
    stopped or has died."""
    helpers, told = Helpers(1), []

    def call(*numbers):
        return helpers.call(counting, *numbers, callbacks={"progress": told.append})

    def stopping(number):
        raise KeyboardInterrupt

    assert call(0, 3) == 3
    with pytest.raises(ValueError, match="got 9"):
        call(8, 20)
    assert told == [0, 1, 2, 8]
    with pytest.raises(KeyboardInterrupt):
        helpers.call(counting, 0, 6, callbacks={"progress": stopping})
    with pytest.raises(ValueError, match="ended, perhaps for lack of memory"):
        call(6, 20)
    assert call(3, 4) == 4


def test_units_depend_on_the_paths_alone(here):
    units = list(collection(["many", "many/below/1.png"]).units())
    assert [len(list(unit)) for unit in units] == [1] * 6 + [3, 1, 1]
    names = [item.name for unit in units for item in unit]
    assert names[:2] == ["many/bad.png", "many/below/0.png"]
    assert names[-1] == "many/below/1.png"
    archive("large.tar", {f"{k}.png": b"" for k in range(2 * ROWS + 1)})
    assert [len(list(unit)) for unit in collection(["large.tar"]).units()] == [32, 32, 1]


def test_nobody_needs_the_engine(monkeypatch, here, capsys):
    """It isn't even looked for; who asks for it is told how to get it."""
    code = "import sys, rgflow.cli.score, rgflow.cli.engines; print('ray' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
    from rgflow import checks

    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    command = ["score", "many", "--model", "model", "--out", "t.csv", "--engine", "ray"]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "pip install 'rgflow[cluster]'" in said
    assert said.count("\n") == 1
    assert main(["score", "s3://bucket/x", "--model", "model"]) == 2
    assert "pip install 'rgflow[cluster]'" in capsys.readouterr().err
