"""What commands write: under names of its own, whole, recorded, and never in place of what people
own; many files in one run."""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rgflow import RGFlow, files, outputs, preset
from rgflow.cli import main
from rgflow.photographs import enlarging, restoring, scoring
from runs import largest_file

BOX = ["--box", "[5, 5, 4, 4]"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, which commands run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def picture(path, size=(24, 20), seed=0):
    """A picture file of noise."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    noise = random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def contents(folder="."):
    """All files below a folder and what they hold, without records and unfinished work."""
    every = (path for path in Path(folder).rglob("*") if path.is_file())
    every = (path for path in every if path.name != outputs.RECORD and path.suffix != ".kept")
    return {str(path): path.read_bytes() for path in every}


def refused(arguments, capsys, message):
    """A command is refused in one sentence, and changes nothing."""
    before = contents()
    capsys.readouterr()
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert contents() == before


# ---------------------------------------------------------------- what isn't written over


@pytest.mark.parametrize("more", [[], ["--overwrite"]])
@pytest.mark.parametrize("command", [["repair", *BOX], ["enlarge"]])
@pytest.mark.parametrize("how", ["itself", "link", "hard link", "folder"])
def test_an_input_is_never_written_over(how, command, more, here, capsys):
    picture("in/x.png")
    match how:
        case "link":
            Path("out").mkdir()
            Path("out/x.png").symlink_to("../in/x.png")
        case "hard link":
            Path("out").mkdir()
            os.link("in/x.png", "out/x.png")
        case "folder":
            Path("out").symlink_to("in")
    out = "in" if how == "itself" else "out"
    refused([*command, "in/x.png", "--out", out, *more], capsys, "replace no input")


@pytest.mark.parametrize("command", [["repair", *BOX], ["enlarge"], ["score"]])
def test_results_go_to_no_empty_name(command, here, capsys):
    """As of `--out "$FOLDER"` where there is no such variable."""
    picture("x.png")
    refused([*command, "x.png", "--out", ""], capsys, "Expected a value for --out")


def test_inputs_are_told_apart_by_where_they_lie(here):
    picture("q.png", seed=1)
    picture("real/q.png", seed=2)
    Path("real/sub").mkdir()
    Path("link").symlink_to("real/sub")
    assert main(["enlarge", "q.png", "link/../q.png"]) == 0
    results = Path("enlarged/q.png"), Path("enlarged/real/q.png")
    assert results[0].read_bytes() != results[1].read_bytes()


def test_a_mask_is_an_input(here, capsys):
    picture("in/x.png")
    Image.new("L", (24, 20), 255).save("in/x-before-after.png")
    arguments = ["repair", "in/x.png", "--mask", "in/x-before-after.png", "--out", "in"]
    Path("in/x.png").rename("x.png")
    arguments[1] = "x.png"
    refused([*arguments, "--overwrite"], capsys, "replace no input")


def test_what_was_found_is_edited_and_given_back(here, capsys):
    pixels = np.full((40, 50, 3), 99, dtype=np.uint8)
    pixels[10, 10:30] = 255
    Image.fromarray(pixels).save("x.png")
    refused(["repair", "x.png", "--sensitivity", "1"], capsys, "everything is marked: lower it")
    assert main(["repair", "x.png"]) == 0
    mask = np.array(Image.open("repaired/x-mask.png"))
    mask[20, 20] = 255
    Image.fromarray(mask).save("repaired/x-mask.png")
    again = ["repair", "x.png", "--mask", "repaired/x-mask.png"]
    refused(again, capsys, "add --overwrite")
    assert main([*again, "--overwrite"]) == 0
    assert f"{(mask > 0).sum()} pixels repaired" in capsys.readouterr().out
    assert (np.asarray(Image.open("repaired/x-mask.png")) == mask).all()


def test_masks_of_a_folder_are_edited_and_given_back(here, capsys):
    pixels = np.full((40, 50, 3), 99, dtype=np.uint8)
    damaged = pixels.copy()
    damaged[10, 10:30] = 255
    for name, of in (("x.png", damaged), ("x.bmp", pixels), ("below/x.png", damaged)):
        path = Path("in", name)
        path.parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray(of).save(path)
    assert main(["repair", "in"]) == 0
    masks = sorted(Path("repaired").rglob("*-mask.png"))
    assert [str(path) for path in masks] == ["repaired/below/x-mask.png", "repaired/x-png-mask.png"]
    mask = np.array(Image.open(masks[1]))
    mask[20, 20] = 255
    Image.fromarray(mask).save(masks[1])
    capsys.readouterr()
    assert main(["repair", "in", "--mask", "repaired", "--out", "again"]) == 0
    said = capsys.readouterr().out
    assert "x.bmp: it has no mask there" in said
    assert f"{(mask > 0).sum()} pixels repaired" in said
    results = [path for path in Path("again").rglob("*.png") if "before" not in path.name]
    assert sorted(map(str, results)) == ["again/below/x.png", "again/x-png.png"]


@pytest.mark.parametrize("name", ["x.png", "x-mask.png", "x-before-after.png", "x-2.png"])
def test_files_of_the_user_stay(name, here, capsys, monkeypatch):
    picture("x.png")
    picture(f"out/{name}", seed=1)
    arguments = ["repair", "x.png", "--completions", "2", "--out", "out"]
    with monkeypatch.context() as patch:
        patch.setattr(restoring, "restore", None)  # nothing is computed before
        refused(arguments, capsys, f"out/{name} is there")
    if name == "x.png":
        assert main([*arguments[:2], *BOX, "--out", "out", "--overwrite"]) == 0
        assert np.asarray(Image.open("out/x.png")).shape == (20, 24, 3)


def test_results_of_other_settings_stay_and_own_ones_are_continued(here, capsys):
    picture("x.png")
    assert main(["repair", "x.png", *BOX]) == 0
    refused(["repair", "x.png", "--box", "[1, 1, 3, 3]"], capsys, "didn't write it")
    refused(["enlarge", "x.png", "--out", "repaired"], capsys, "didn't write it")
    before = contents()
    assert main(["repair", "x.png", *BOX]) == 0
    assert "1 of 1 picture was done before" in capsys.readouterr().out
    assert contents() == before
    assert main(["repair", "x.png", "--box", "[1, 1, 3, 3]", "--overwrite"]) == 0
    assert contents() != before
    # Changed by somebody since then.
    Image.open("repaired/x.png").rotate(180).save("repaired/x.png")
    refused(["repair", "x.png", "--box", "[1, 1, 3, 3]"], capsys, "didn't write it")
    # One of the files is gone: all are made again.
    assert main(["repair", "x.png", *BOX, "--out", "new"]) == 0
    Path("new/x.png").unlink()
    assert main(["repair", "x.png", *BOX, "--out", "new"]) == 0
    assert Path("new/x.png").is_file()


# ---------------------------------------------------------------- names


def test_distinct_inputs_have_distinct_results(here):
    for number, name in enumerate(["a/x.png", "b/x.png", "a/z.png", "a/z.jpg", "a/Z.png"]):
        picture(name, seed=number)
    every = ["a/x.png", "b/x.png", "a/z.png", "a/z.jpg", "a/Z.png", "a/x.png"]
    assert main(["enlarge", *every, "--out", "o"]) == 0
    found = ["a/x.png", "b/x.png", "a/z.png", "a/z-jpg.png", "a/Z-png.png"]
    assert sorted(contents("o")) == sorted(f"o/{name}" for name in found)
    for name, result in zip(every, found, strict=False):
        small, large = (Image.open(path) for path in (name, f"o/{result}"))
        if name.endswith(".png"):
            assert np.array_equal(large.reduce(2), small)


def test_results_beside_the_result_have_names_of_their_own(here):
    picture("m.png")
    picture("m-before-after.png", (30, 20), seed=1)
    assert main(["repair", "m.png", "m-before-after.png", *BOX, "--out", "o"]) == 0
    assert len(contents("o")) == 4
    assert Image.open("o/m-before-after.png").width > 40
    assert Image.open("o/m-before-after-png.png").size == (30, 20)


def test_long_names(here):
    name = "n" * 240 + ".png"
    picture(name)
    assert main(["repair", name, *BOX, "--out", "o"]) == 0
    found = sorted(Path(path).name for path in contents("o"))
    assert name in found
    (other,) = {*found} - {name}
    assert other.endswith("-before-after.png")
    assert other.startswith("nnn")


# ---------------------------------------------------------------- many files


def test_a_bad_file_does_not_end_a_run(here, capsys):
    for number in range(2):
        picture(f"good{number}.png", seed=number)
    Path("bad.png").write_text("no picture")
    latin = os.fsdecode(b"gr\xf6n.png")
    Path("good0.png").rename(latin)
    arguments = ["repair", latin, "bad.png", "none.png", "good1.png", *BOX]
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert "left out: bad.png: Expected a picture file" in said.out
    assert "left out: none.png: Expected a picture file; there is none" in said.out
    assert said.err.count("\n") == 1
    assert "4 pictures; 2 had to be left out" in said.err
    assert len(contents("repaired")) == 4
    before = contents("repaired")
    picture("bad.png", seed=3)
    assert main(arguments) == 1
    assert "2 of 4 pictures were done before" in capsys.readouterr().out
    assert before.items() < contents("repaired").items()
    picture("none.png", seed=4)
    assert main(arguments) == 0


def test_a_full_disk_is_one_sentence_and_work_is_continued(here, capsys, monkeypatch):
    picture("x.png", (70, 64))
    picture("y.png")
    with largest_file(8000):
        refused(["enlarge", "x.png", "--out", "o"], capsys, ".kept; File too large")
        assert main(["enlarge", "x.png", "y.png", "--out", "o"]) == 1
    assert ".kept; File too large" in capsys.readouterr().out
    assert main(["enlarge", "x.png", "y.png", "--out", "o"]) == 0
    assert sorted(contents("o")) == ["o/x.png", "o/y.png"]
    monkeypatch.setattr(outputs.shutil, "disk_usage", lambda _: type("", (), {"free": 1000}))
    monkeypatch.setattr(enlarging, "enlarge", None)
    refused(["enlarge", "x.png", "--out", "p"], capsys, "MB of free space for p; there are 0")


def test_what_cannot_be_continued_leaves_nothing(here, capsys, monkeypatch):
    picture("x.png")
    old = enlarging.enlarge

    def fails(*arguments, **options):
        old(*arguments, **options)
        raise ValueError("It doesn't work.")

    monkeypatch.setattr(enlarging, "enlarge", fails)
    assert main(["enlarge", "x.png", "--out", "o"]) == 2
    assert not Path("o").exists()


def test_one_process_at_a_time(here, capsys):
    picture("x.png")
    Path("repaired").mkdir()
    with files.locked(Path("repaired")):
        refused(["repair", "x.png", *BOX], capsys, "another process writes there")


def test_a_killed_command_leaves_its_own_files_whole_and_continues(here):
    """And the parts that it leaves are removed, but not those of anybody else."""
    picture("x.png", (160, 120))
    command = [sys.executable, "-m", "rgflow", "enlarge", "x.png", "--out", "o"]
    process = subprocess.Popen(command)
    while not sum(path.stat().st_size for path in Path("o").glob("*.kept")) > 12_000:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    (kept,) = Path("o").glob(".*.kept")
    with kept.open("r+b") as file:  # as a crash of the machine leaves it
        file.seek(9_000)
        file.write(b"\0" * 100)
    Path("o/.x.png.0123456789abcdef0123456789abcdef.part").touch()
    others = ["o/.theirs.part", "o/.x2.png.0123456789abcdef0123456789abcdef.part"]
    for path in others:  # such as that of a process that draws figures into the same folder
        Path(path).touch()
    assert main(command[3:]) == 0
    assert sorted(contents("o")) == [*others, "o/x.png"]
    assert not list(Path("o").glob("*.kept"))
    assert main([*command[3:-1], "whole"]) == 0
    assert Path("o/x.png").read_bytes() == Path("whole/x.png").read_bytes()


def test_records_of_strangers(here, capsys):
    """They are refused if they are no records, and nothing is done to what they lead to."""
    picture("x.png")
    Path("repaired").mkdir()
    record = Path("repaired", outputs.RECORD)
    record.write_text("[1]\n")
    refused(["repair", "x.png", *BOX], capsys, "Expected the record of a folder of results")
    record.unlink()
    Path("precious.jsonl").write_text('{"a": 1}\n{"b": ')
    record.symlink_to("../precious.jsonl")
    refused(["repair", "x.png", *BOX], capsys, "is a link")
    record.unlink()
    record.write_text(json.dumps({"name": "x.png", "key": ["?"], "sha256": None}) + '\n{"cut')
    assert main(["repair", "x.png", *BOX]) == 0
    assert main(["repair", "x.png", *BOX]) == 0
    assert "1 of 1 picture was done before" in capsys.readouterr().out


# ---------------------------------------------------------------- tables


def rows_of(path):
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_tables_of_the_user_and_of_other_pictures_stay(here, capsys):
    picture("p/x.png")
    Path("t.csv").write_text("mine\n")
    refused(["score", "p", "--out", "t.csv"], capsys, "t.csv is there")
    assert main(["score", "p", "--out", "u.csv"]) == 0
    Path("u.csv.parts", "notes.jsonl").write_text("mine\n")
    assert main(["score", "p", "--out", "u.csv"]) == 0
    picture("q.png")
    refused(["score", "q.png", "--out", "u.csv"], capsys, "didn't write it")
    assert main(["score", "q.png", "--out", "u.csv", "--overwrite"]) == 0
    assert [row["file"] for row in rows_of("u.csv")] == ["q.png"]
    assert Path("u.csv.parts", "notes.jsonl").read_text() == "mine\n"
    assert main(["score", "q.png", "--out", "t.csv", "--overwrite"]) == 0


def test_a_table_is_not_written_over_a_table_that_is_scored(here, capsys):
    parquet, pyarrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    image = picture("x.png").read_bytes()
    rows = pyarrow.table({"image": [{"bytes": image, "path": None}]})
    Path("p").mkdir()
    parquet.write_table(rows, "p/t.parquet")
    refused(["score", "p", "--out", "p/t.parquet", "--overwrite"], capsys, "replace no input")


def test_two_commands_do_not_write_one_table(here, capsys):
    picture("p/x.png")
    Path("t.csv.parts").mkdir()
    with files.locked(Path("t.csv.parts")):
        refused(["score", "p", "--out", "t.csv"], capsys, "another process writes there")
    assert main(["score", "p", "--out", "t.csv"]) == 0
    record = Path("t.csv.parts", outputs.RECORD)
    record.write_text("{}\n[1]\n")
    assert main(["score", "p", "--out", "t.csv"]) == 2
    assert "the record of a folder of results" in capsys.readouterr().err


def test_what_cannot_be_scored_is_a_row(here, capsys, monkeypatch):
    """Bad pictures, names that aren't text, damaged archives, too little memory."""
    for name in (b"gr\xf6n.png", b"good.png", b"large.png"):
        picture(os.path.join("p", os.fsdecode(name)), (24 + len(name), 20))
    Path("p/bad.png").write_text("no picture")
    Path("p/damaged.tar").write_bytes(b"\1" * 2000)
    old = scoring.bits

    def bits(flow, images, **options):
        if images.shape[3] == 24 + len("large.png"):
            raise MemoryError
        return old(flow, images, **options)

    monkeypatch.setattr(scoring, "bits", bits)
    for _ in range(2):
        for out in ("t.csv", "t.jsonl"):
            assert main(["score", "p", "--out", out]) == 1
            said = capsys.readouterr()
            assert "Expected to work on 5 pictures; 3 had to be left out" in said.err
            assert "left out: p/damaged.tar: Expected a .tar file" in said.out
    rows = {row["file"]: row for row in rows_of("t.csv")}
    assert sorted(rows) == [
        "p/bad.png", "p/damaged.tar", "p/good.png", "p/gr\\udcf6n.png", "p/large.png",
    ]  # fmt: skip
    assert all(bool(row["bits"]) != bool(row["error"]) for row in rows.values())
    assert rows["p/gr\\udcf6n.png"]["bits"]
    assert "memory" in rows["p/large.png"]["error"]
    lines = Path("t.jsonl").read_text().splitlines()
    assert {json.loads(line)["file"] for line in lines} == {*rows}


@pytest.mark.parametrize("name", ["=1+1.png", "+1.png", "-1.png", "@x.png", " =2.png", "'=3.png"])
def test_no_cell_is_a_formula(name, here):
    """And nothing is lost: of text that begins with an apostrophe the first one was added."""
    picture(name)
    assert main(["score", "--out", "t.csv", "--", name]) == 0
    assert [row["file"] for row in rows_of("t.csv")] == [f"'{name}"]
    assert main(["score", "--out", "t.csv", "--", name]) == 0


# ---------------------------------------------------------------- figures


def test_figures_replace_their_own_and_nothing_else(here, capsys):
    arguments = ["sample", "msds1-tiny", "-n", "1", "--out", "o"]
    RGFlow(preset("msds1-tiny").model).save_pretrained("msds1-tiny")
    assert main(arguments) == 0
    assert main(arguments) == 0
    assert main([*arguments, "--seed", "3"]) == 0
    Image.open("o/stages.png").rotate(180).save("o/stages.png")
    refused(arguments, capsys, "stages.png is there")
    assert main([*arguments, "--overwrite"]) == 0
    picture("p/samples.png")
    refused([*arguments[:-1], "p"], capsys, "p/samples.png is there")
    picture("q/mixing-grid.png")
    arguments = [
        "mix",
        "msds1-tiny",
        "--images",
        "q/mixing-grid.png",
        "q/mixing-grid.png",
        "--out",
        "q",
    ]
    refused([*arguments, "--overwrite"], capsys, "replace no input")
    # In a folder of its own a command replaces figures, but no input.
    for _ in range(2):
        assert main(["sample", "msds1-tiny", "-n", "1"]) == 0
    picture("msds1-tiny/pictures/mixing-grid.png")
    arguments[3:] = ["msds1-tiny/pictures/mixing-grid.png"] * 2
    refused([*arguments], capsys, "replace no input")


def test_photographs_at_full_size_are_results_like_others(here, capsys):
    """One that fails is left out, and nothing of the user is replaced."""
    picture("a/x.png")
    picture("b/x.png", seed=1)
    Path("bad.png").write_text("no picture")
    latent = ["--latent", "[1, 6, 12, 0]", "--values", "2"]
    arguments = ["traverse", "photos", "--images", "a/x.png", "bad.png", "b/x.png", *latent]
    assert main([*arguments, "--out", "o"]) == 1
    assert "left out: bad.png" in capsys.readouterr().out
    found = [f"{folder}/x-latent-1-6-12-0-{k}.png" for folder in "ab" for k in (1, 2)]
    assert sorted(contents("o")) == [f"o/{name}" for name in found]
    picture("p/x-with-x.png")
    arguments = ["mix", "photos", "--images", "a/x.png", "b/x.png", "bad.png", "--out"]
    before = contents("p")
    assert main([*arguments, "p"]) == 1
    assert "p/x-with-x.png is there" in capsys.readouterr().out
    assert contents("p") == before
    assert main([*arguments, "q"]) == 1
    assert sorted(contents("q")) == ["q/x-with-x.png"]
    picture("r/x-level-1.png")
    refused(["levels", "photos", "--images", "a/x.png", "--out", "r"], capsys, "is there")


def test_a_taken_name_is_left_out_and_so_is_what_is_made_meanwhile(here, capsys, monkeypatch):
    """And pictures without damage are done, too."""
    for k in range(3):
        picture(f"in/{k}.png", seed=k)
    arguments = ["repair", "in/0.png", "in/1.png", "in/2.png", *BOX, "--out", "o"]
    picture("o/1.png", seed=9)
    mine = Path("o/1.png").read_bytes()
    before = os.fsync

    def made_meanwhile(handle):
        before(handle)
        if list(Path("o").glob(".2.png.*.part")) and not Path("o/2.png").is_file():
            Path("o/2.png").write_bytes(b"mine")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", made_meanwhile)
        assert main(arguments) == 1
    said = capsys.readouterr().out
    assert "left out: in/1.png: Expected names that are free; o/1.png is there" in said
    assert "left out: in/2.png: Expected names that are free; o/2.png was made meanwhile" in said
    assert Path("o/1.png").read_bytes() == mine
    assert Path("o/2.png").read_bytes() == b"mine"
    Image.new("RGB", (40, 40)).save("black.png")
    for said in ("no damage was found", "1 of 1 picture was done before"):
        assert main(["repair", "black.png"]) == 0
        assert said in capsys.readouterr().out


def test_a_limit_of_pixels(here, capsys):
    picture("x.png")
    for command in ("repair", "enlarge", "score"):
        assert main([command, "x.png", "--limit", "0.0001"]) == 2
        assert "480" in (said := capsys.readouterr().err) or "20 pixels" in said
    assert main(["enlarge", "x.png", "--limit", "1"]) == 0
