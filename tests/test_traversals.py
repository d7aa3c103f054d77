"""Traversals: what moves, what stays, and what the command draws."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from flows import BIJECTORS, OPTIONS, REAL_NVP, random_flow, random_images
from pictures import shows
from rgflow import Latents
from rgflow.analysis import receptive_fields
from rgflow.analysis.fields import REPLACEMENT_SEED, sites_of
from rgflow.analysis.traversals import (
    field_along,
    fig6_temperature,
    move,
    prior_scale,
    traverse,
)
from rgflow.cli import main
from rgflow.cli.subjects import Subjects
from rgflow.figures import bounds
from rgflow.figures.traversals import Shown, traversals
from runs import small_run

KINDS = {
    "affine": BIJECTORS["affine-paper"],
    "cube-marginal": OPTIONS["cube-marginal"],
    "fields": OPTIONS["fields"],
    "real-nvp": REAL_NVP["real-nvp-scales"],
}
ADDRESSES = {"real-nvp": (1, 1, 3, 2)}


def unit_direction(z: Latents, address) -> Latents:
    return z.select(slice(1)).map(torch.zeros_like).set(address, 1.0)


@pytest.mark.parametrize("name", KINDS)
def test_images_are_those_of_the_moved_latents(name):
    flow = random_flow(torch.float32, **KINDS[name])
    address = ADDRESSES.get(name, (0, 2, 1, 1))
    x = random_images(flow, 3)
    z = flow.encode(x, dtype=torch.float64)
    found = traverse(flow, z, address, [-1.0, 0.0, 2.5])
    assert found.shape == (3, 3, *x.shape[1:])
    assert found.dtype == torch.float64  # that of the latents
    for k, value in enumerate((-1.0, 0.0, 2.5)):
        with torch.no_grad():
            expected = flow.decode(z.set(address, value))
        torch.testing.assert_close(found[:, k], expected)
    here = traverse(flow, z, address, [0.0, 1.0], add=True)
    torch.testing.assert_close(here[:, 0], x.double(), rtol=1e-6, atol=1e-6)
    assert not torch.allclose(here[:, 1], here[:, 0])


def test_only_the_cone_of_the_latent_changes():
    flow = random_flow(height=16, width=16, channels=1)
    z = flow.draw_each(range(2))
    found = traverse(flow, z, (0, 4, 5, 0), [-2.0, 0.0, 2.0])
    changed = (found - found[:, 1:2]).abs().amax((0, 1, 2)) > 1e-9  # rounding
    assert np.array_equal(changed.numpy(), flow.lattice.generation_cone(flow.lattice.site(0, 4, 5)))


def test_all_other_latents_stay_to_the_bit():
    flow = random_flow(torch.float32)
    z, address = flow.draw_each(range(3)), (0, 2, 1, 1)
    for moved, expected in (
        (move(z, address, 1.5), torch.full((3,), 1.5)),
        (move(z, address, 1.5, add=True), z[address] + 1.5),
        (move(z, unit_direction(z, address), 1.5), torch.full((3,), 1.5)),
        (move(z, unit_direction(z, address), 1.5, add=True), z[address] + 1.5),
    ):
        torch.testing.assert_close(moved[address], expected)
        assert torch.equal(moved.set(address, 0).flat(), z.set(address, 0).flat())


def test_a_direction_moves_along_itself_only():
    flow = random_flow()
    z, d = flow.draw_each(range(3)), flow.draw_each([9])
    moved = move(z, d, 0.7)
    share = moved.flat() @ d.flat()[0] / d.flat().square().sum()
    torch.testing.assert_close(share, torch.full((3,), 0.7, dtype=torch.float64))
    step = moved.flat() - z.flat()
    along = step @ d.flat().T / d.flat().norm()
    torch.testing.assert_close(step.norm(dim=1), along[:, 0].abs())
    torch.testing.assert_close(move(z, d, 0.7, add=True).flat(), z.flat() + 0.7 * d.flat())


@pytest.mark.parametrize("name", ["affine", "real-nvp"])
@pytest.mark.parametrize("space", ["flow", "pixels"])
def test_fields_along_directions(name, space):
    flow = random_flow(**KINDS[name])
    address = ADDRESSES.get(name, (0, 2, 1, 1))
    found = receptive_fields(flow, draws=2, space=space, sites=sites_of(flow, [address]))
    d = unit_direction(flow.draw_each([0]), address)
    one = field_along(flow, d, draws=2, space=space)
    torch.testing.assert_close(one.field, found.field(address), rtol=1e-9, atol=1e-9)
    assert (one.strength, one.error) == pytest.approx(found.strength(address))
    thrice = field_along(flow, d.map(lambda z: -3 * z).to(torch.float32), draws=2, space=space)
    torch.testing.assert_close(thrice.field, 3 * one.field, rtol=1e-9, atol=1e-9)
    assert (thrice.draws, thrice.seed, thrice.space, thrice.temperature) == (2, 0, space, 1.0)


@pytest.mark.parametrize("name", ["affine", "real-nvp"])
@pytest.mark.parametrize("change", ["step", "redraw"])
def test_steps_along_directions(name, change):
    flow = random_flow(**KINDS[name])
    z, d = flow.draw_each([0]), flow.draw_each([1])
    distance = 1.0
    if change == "redraw":
        distance = flow.draw_each([REPLACEMENT_SEED]).levels[-1].flatten()[0]
    moved = flow.decode(Latents.from_flat(z.flat() + distance * d.flat(), z.lattice, 3))
    expected = (moved - flow.decode(z)).abs().sum(1)[0]
    along = field_along(flow, d, draws=1, change=change)
    assert (along.change, along.space) == (change, "pixels")
    torch.testing.assert_close(along.field, expected, rtol=1e-9, atol=1e-9)


def test_scales():
    assert fig6_temperature(4) == (0.2, 0.6, 0.6, 0.6)
    assert fig6_temperature(1) == (0.2,)
    assert prior_scale(random_flow(prior="laplace")) == pytest.approx(math.sqrt(0.5))
    assert prior_scale(random_flow(prior={"kind": "gaussian", "scale": 2.0})) == 2.0


def test_bad_input():
    flow, other = random_flow(), random_flow(height=16, width=16)
    z, d = flow.draw_each([0]), flow.draw_each([1])
    for along, values, message in (
        ((0, 0, 0, 0), [1.0], "a position of level 0"),
        ((7, 0, 0, 0), [1.0], "a level of 0 to 1"),
        ((1, 0, 0, 3), [1.0], "a channel of 0 to 2"),
        ((1, 0, 0, 0), [], "one or more finite values"),
        ((1, 0, 0, 0), [1.0, math.nan], "one or more finite values"),
        (other.draw_each([0]), [1.0], "a direction in the latents of one image"),
        (flow.draw_each([0, 1]), [1.0], "a direction in the latents of one image"),
        (d.map(torch.zeros_like), [1.0], "finite length above 0; got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            traverse(flow, z, along, values)
    with pytest.raises(ValueError, match="Expected latents of 3 channels on"):
        traverse(flow, other.draw_each([0]), (0, 0, 1, 0), [1.0])
    with pytest.raises(ValueError, match="draws to be at least 1"):
        field_along(flow, d, draws=0)


# ---------------------------------------------------------------- pictures


def test_what_is_where_in_the_picture():
    flow = random_flow()
    found = traverse(flow, flow.draw_each([0, 1]), (1, 0, 2, 0), [-1.0, 0.0, 2.0])
    field = torch.rand(8, 8)
    shown = [Shown(found, (-1.0, 0.0, 2.0), field, "h = 1", "strength 1")] * 3
    picture = traversals(shown, scale=10, across=2)
    assert all(shows(picture, image, 10) for image in found.flatten(0, 1))


# ---------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small_run(tmp_path_factory.mktemp("runs") / "small", map="cube", hidden=8)


def test_the_most_visible_latents(run, capsys):
    assert main(["traverse", str(run), "--strongest", "1", "--draws", "1"]) == 0
    out = capsys.readouterr().out
    assert "h = 1, (" in out
    assert "h = 0, (" in out
    assert "See traversals.png" in out
    assert (run / "pictures/traversals.png").is_file()


def test_one_latent_of_given_images(run, tmp_path, capsys):
    for k in range(2):
        pixels = np.random.default_rng(k).integers(256, size=(20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{k}.png")
    files = [str(tmp_path / f"{k}.png") for k in range(2)]
    options = [
        "--latent",
        "[1, 0, 2, 0]",
        "--range",
        "[0, 6]",
        "--unit",
        "prior",
        "--add",
        "--draws",
        "1",
    ]
    options += ["--draws", "1", "--out", str(tmp_path / "out")]
    assert main(["traverse", str(run), *options, "--images", *files]) == 0
    names = {path.name for path in (tmp_path / "out").glob("[!.]*")}
    assert names == {"traversal-1-0-2-0.png"}
    said = capsys.readouterr().out
    assert "h = 1, (0, 2), c = 0" in said
    assert "in the flow's own space, 1 draw, temperature 1, seed 0." in said
    changed = "0.png: fitted from 30×20 to 8×8 pixels; 1 more of 2 likewise.\n"
    assert said.startswith(changed)


def test_images_of_another_data_set_are_said_to_be_changed(run, tmp_path, capsys):
    for part in ("train", "test"):
        (tmp_path / "photos" / part).mkdir(parents=True)
        for k, size in enumerate(((16, 8), (8, 8))):
            Image.new("RGB", size, (k, 90, 200)).save(tmp_path / "photos" / part / f"{k}.png")
    options = ["--latent", "[1, 0, 2, 0]", "--draws", "1", "--split", "test"]
    options += ["--data", f"folder:{tmp_path / 'photos'}", "--out", str(tmp_path)]
    assert main(["traverse", str(run), *options, "--pick", "[0]"]) == 0
    assert "cropped and resized to 8×8 pixels where they" in capsys.readouterr().out


def test_a_direction_from_a_file_and_images_of_a_data_set(run, tmp_path):
    random_flow().draw_each([3]).to(torch.float32).save(tmp_path / "smile.safetensors")
    options = ["--direction", str(tmp_path / "smile.safetensors"), "--draws", "1"]
    options += ["--split", "test", "--pick", "[3]", "--out", str(tmp_path)]
    assert main(["traverse", str(run), *options]) == 0
    assert (tmp_path / "traversal-smile.png").is_file()


def test_the_same_seeds_give_the_same_files(run, tmp_path):
    for name in ("a", "b"):
        options = ["--latent", "[1, 0, 2, 0]", "--draws", "1", "--out", str(tmp_path / name)]
        assert main(["traverse", str(run), *options]) == 0
    files = [{p.name: p.read_bytes() for p in (tmp_path / n).glob("[!.]*")} for n in ("a", "b")]
    assert files[0] == files[1]
    assert len(files[0]) == 1


def test_the_folder_of_a_model_and_other_flows(run, tmp_path):
    options = ["--strongest", "1", "--draws", "1"]
    assert main(["traverse", str(run / "model"), *options, "--out", str(tmp_path)]) == 0
    assert (tmp_path / "traversals.png").is_file()
    for name, kind in (("fields", {"pixels": None, "channels": 1}), ("nvp", KINDS["real-nvp"])):
        other = small_run(tmp_path / name, **kind)
        assert main(["traverse", str(other), *options]) == 0
        assert (other / "pictures/traversals.png").is_file()


def test_fields_are_drawn_as_numbers(tmp_path):
    flow = random_flow(pixels=None, channels=1)
    z = flow.draw_each([0, 1])
    found = Subjects(flow=flow, latents=z, temperature=1.0, sampled=True, folder=tmp_path, scale=1)
    moved = traverse(flow, z, (1, 0, 2, 0), [0.0, -3.0, 3.0])
    drawn = found.drawn(moved)
    low, high = bounds(flow.decode(z))
    torch.testing.assert_close(drawn.diff(dim=1), moved.diff(dim=1) * 255 / (high - low))
    assert drawn.amax() > 255  # which pictures cut off, and numbers don't


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--latent", "[9, 0, 0, 0]"], "a level of 0 to 1; got 9"),
        (["--latent", "[0, 0, 0, 0]"], "a position of level 0"),
        (["--latent", "[1, 0, 0]"], "--latent to be [h, i, j, c]"),
        (["--latent", "[1, 0, 0, 9]"], "a channel of 0 to 2; got 9"),
        (["--latent", "x"], "--latent to be a list"),
        (["--latent", "[1, 0, 0, 0]", "--direction", "d"], "got both"),
        (["--direction", "/no/such"], "there is none at /no/such"),
        (["--range", "[1]"], "--range to be [first, last]"),
        (["--range", "[0, .inf]", "--latent", "[1, 0, 0, 0]"], "finite"),
        (["--values", "1"], "--values to be at least 2"),
        (["--strongest", "0"], "--strongest to be at least 1"),
        (["--draws", "0"], "--draws to be at least 1"),
        (["--unit", "latents"], "nearest: latent"),
        (["--pick", "[]"], "--pick to list 1 to 100 images; got 0"),
        (["--pick", "[-1]"], "--pick to be at least 0"),
        (["--split", "tests"], "nearest: test"),
        (["--data", "msds1"], "--split with --data"),
        (["--split", "test", "--images", "a.png"], "got both"),
        (["--images", "a.png", "--pick", "[1]"], "--images or --pick"),
        (["--images", "a.png", "--temperature", "0.5"], "--temperature only for samples"),
        (["--split", "test", "--temperature", "0.5"], "--temperature only for samples"),
        (["--images", "/no/such.png"], "there is none at /no/such.png"),
        (["--images", __file__], "isn't one, or is damaged"),
        (["--split", "test", "--pick", "[500]"], "Expected indices below 180"),
        (["--temperature", "-1"], "temperature to be at least 0"),
        (["--temperature", "[1, 1, 1]"], "one for each of the 2 levels; got 3"),
        (["--scale", "0"], "--scale to be at least 1"),
        (["--out", "/dev/null/pictures"], "Expected to write /dev/null/pictures/"),
    ],
)
def test_mistakes(run, capsys, options, message):
    assert main(["traverse", str(run), "--draws", "1", *options]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_mistakes_with_other_folders(run, tmp_path, capsys):
    fields = small_run(tmp_path / "fields", pixels=None, channels=1)
    for arguments, message in (
        (["/no/such"], "there is none at /no/such"),
        ([str(run / "model"), "--split", "test"], "with --data"),
        ([str(fields), "--images", "a.png"], "a flow of images for --images"),
    ):
        assert main(["traverse", *arguments]) == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1
