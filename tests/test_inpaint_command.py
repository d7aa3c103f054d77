"""`rgflow inpaint`: pictures, numbers, and mistakes told in one sentence."""

import json

import numpy as np
import pytest
from PIL import Image

from flows import REAL_NVP
from rgflow.cli import main
from runs import small_run

SHORT = ["--draws", "3", "--steps", "3"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    small = {"height": 16, "width": 16, "hidden": 8}
    small_run(folder / "cube", map="cube", conditioner="trunk", pixels="marginal", **small)
    once = {"map": "coarse_to_fine", "disentanglers": False, "depth": 1, "splits": 1}
    small_run(folder / "once", **once, pixels="marginal", **small)
    small_run(folder / "nvp", **{**REAL_NVP["real-nvp"], **small, "hidden": 4})
    small_run(folder / "fields", pixels=None, **small)
    small_run(folder / "other", height=8, width=8, hidden=8)
    pixels = np.random.default_rng(0).integers(256, size=(16, 16, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "image.png")
    mask = np.zeros((16, 16), np.uint8)
    mask[3:6, 2:8] = mask[12, 12] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    Image.fromarray(mask[:8]).save(folder / "half.png")
    Image.fromarray(mask * 0).save(folder / "empty.png")
    (folder / "text.png").write_text("no picture")
    return folder


def test_images_of_the_data_set(runs, tmp_path, capsys):
    where = ["--split", "test", "--pick", "[0, 4]", "--box", "[6, 2, 4, 5]", "--out", str(tmp_path)]
    assert main(["inpaint", str(runs / "cube"), *where, *SHORT]) == 0
    out = capsys.readouterr().out
    assert "RG-Flow" in out
    assert "Image 2: log p hadn't converged after 3 steps." in out
    written = json.loads((tmp_path / "inpainting.json").read_text())
    assert [method["name"] for method in written["methods"]] == ["RG-Flow", "biharmonic"]
    assert 0 < min(written["methods"][0]["free"]) < 768
    assert all(score["psnr_region"]["mean"] > 0 for score in written["scores"])
    assert written["settings"]["box"] == [6, 2, 4, 5]
    for name in ("inpainting.png", "inpainted-1.png", "inpainted-2.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) >= 16


def test_particles_where_every_pixel_is_mapped_once(runs, tmp_path):
    where = ["--split", "test", "--pick", "[0, 4]", "--box", "[6, 2, 4, 5]", "--out", str(tmp_path)]
    few = ["--particles", "4", "--sweeps", "1", "--completions", "2"]
    assert main(["inpaint", str(runs / "once"), *where, *few]) == 0
    written = json.loads((tmp_path / "inpainting.json").read_text())
    names = ["RG-Flow, particles", "biharmonic"]
    assert [method["name"] for method in written["methods"]] == names
    for name in ("inpainting.png", "completions-1.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) >= 16
    # A climb all the same.
    assert main(["inpaint", str(runs / "once"), *where, *SHORT, "--particles", "0"]) == 0
    methods = json.loads((tmp_path / "inpainting.json").read_text())["methods"]
    assert methods[0]["name"] == "RG-Flow"


def test_options_that_say_nothing_are_refused(runs, tmp_path, capsys):
    where = ["--split", "test", "--box", "[6, 2, 4, 5]", "--out", str(tmp_path)]
    for run, option in (("once", "--draws"), ("cube", "--sweeps"), ("cube", "--completions")):
        assert main(["inpaint", str(runs / run), *where, option, "7"]) == 2
        said = capsys.readouterr().err
        assert f"Expected no {option} with" in said
        assert ("add --particles 0" in said) == (run == "once")


def test_particles_where_pixels_are_mapped_twice(runs, tmp_path, capsys):
    where = ["--split", "test", "--box", "[6, 2, 4, 5]", "--out", str(tmp_path)]
    assert main(["inpaint", str(runs / "cube"), *where, *SHORT, "--particles", "4"]) == 2
    assert "a flow that maps every pixel once" in capsys.readouterr().err


def test_a_picture_with_a_mask_changes_only_there(runs, tmp_path):
    picture, mask = runs / "image.png", runs / "mask.png"
    options = ["--mask", str(mask), *SHORT, "--variables", "pixels", "--restarts", "2"]
    options += ["--out", str(tmp_path)]
    assert main(["inpaint", str(runs / "cube"), str(picture), *options]) == 0
    before = np.asarray(Image.open(picture))
    after = np.asarray(Image.open(tmp_path / "inpainted-1.png"))
    inside = np.asarray(Image.open(mask)) > 0
    assert (before[~inside] == after[~inside]).all()
    assert (before[inside] != after[inside]).any()


def test_a_region_may_be_everything(runs, tmp_path, capsys):
    box = ["--box", "[0, 0, 16, 16]", "--out", str(tmp_path)]
    assert main(["inpaint", str(runs / "cube"), str(runs / "image.png"), *box, *SHORT]) == 0
    written = json.loads((tmp_path / "inpainting.json").read_text())
    assert [method["name"] for method in written["methods"]] == ["RG-Flow"]
    assert "nan" not in capsys.readouterr().out


def test_a_mask_is_what_is_white_and_not_transparent(runs, tmp_path):
    painted = np.zeros((16, 16, 4), np.uint8)
    painted[..., :3] = 255
    painted[2:4, 5:9, 3] = 255
    Image.fromarray(painted).save(tmp_path / "mask.png")
    options = ["--mask", str(tmp_path / "mask.png"), *SHORT, "--out", str(tmp_path)]
    assert main(["inpaint", str(runs / "cube"), str(runs / "image.png"), *options]) == 0
    before = np.asarray(Image.open(runs / "image.png")).astype(int)
    after = np.asarray(Image.open(tmp_path / "inpainted-1.png")).astype(int)
    changed = (before != after).any(2)
    assert changed.sum() <= 8
    assert not changed[4:].any()


BOX = ["--box", "[1, 1, 3, 3]"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cube", [], "picture files or --split; got neither"),
        ("cube", ["image.png", "--split", "test", *BOX], "got both"),
        ("cube", ["image.png"], "--mask or --box; got neither"),
        ("cube", ["image.png", *BOX, "--mask", "mask.png"], "--mask or --box; got both"),
        ("cube", ["image.png", "--box", "[1, 2, 3]"], "[y, x, height, width]; got [1, 2, 3]"),
        ("cube", ["image.png", "--box", "[9, 9, 9, 9]"], "a rectangle inside the 16×16 image"),
        ("cube", ["image.png", "--mask", "half.png"], "mask of 16×16 pixels"),
        ("cube", ["image.png", "--mask", "empty.png"], "white somewhere; empty.png is darker"),
        ("cube", ["image.png", "--mask", "none.png"], "a picture file; there is none"),
        ("cube", ["image.png", "--mask", "text.png"], "text.png isn't one"),
        ("cube", ["text.png", *BOX], "a picture file, such as PNG"),
        (
            "cube",
            ["image.png", "--mask", "mask.png", "mask.png"],
            "one for each of 1 picture that the command names; got 2",
        ),
        ("cube", ["image.png", *BOX, "--variables", "latent"], "nearest: latents"),
        ("cube", ["image.png", *BOX, "--rate", "0"], "rate to be above 0"),
        ("cube", ["--split", "test", "--pick", "[]", *BOX], "1 to 100 images; got 0"),
        ("cube", ["image.png", *BOX, "--pick", "[1]"], "--split with --pick"),
        ("cube", ["--split", "test", "--pick", "[-1]", *BOX], "--pick to be at least 0"),
        ("cube", ["image.png", *BOX, "--data", "msds1"], "--split with --data"),
        ("fields", ["--split", "test", *BOX], "a flow of images to repair"),
        ("nvp", ["image.png", *BOX], "an RG-Flow, in which a hole has a cone"),
        ("none", ["--split", "test", *BOX], "none"),
    ],
)
def test_mistakes(runs, capsys, monkeypatch, name, options, message):
    monkeypatch.chdir(runs)
    assert main(["inpaint", name, *options]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
