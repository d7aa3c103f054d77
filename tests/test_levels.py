"""Levels: one drawn anew while the others stay, temperatures, and what the command draws."""

import numpy as np
import pytest
import torch
from PIL import Image

from flows import OPTIONS, REAL_NVP, random_flow, random_images
from pictures import shows
from rgflow.analysis.fields import receptive_fields
from rgflow.analysis.levels import at_temperatures, changes, decode, mixed_temperature, resample
from rgflow.analysis.traversals import field_along
from rgflow.cli import main
from rgflow.figures.levels import mixed_temperatures, progressive
from runs import small_run


@pytest.mark.parametrize("kind", [{}, REAL_NVP["real-nvp"], OPTIONS["cube-marginal"]])
def test_decode_in_batches(kind):
    flow, done = random_flow(torch.float32, **kind), []
    z = flow.encode(random_images(flow, 5), dtype=torch.float64)
    images = decode(flow, z, batch_size=2, progress=done.append)
    assert done == [2, 2, 1]
    assert images.dtype == torch.float64
    assert flow.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(images, flow.decode(z))


def test_coarse_graining_is_generation_in_reverse():
    flow = random_flow()
    x = random_images(flow, 2)
    for up, down in zip(flow.coarse(x), flow.coarse(flow.encode(x)), strict=True):
        torch.testing.assert_close(up, down, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", [{}, REAL_NVP["real-nvp"]])
def test_one_level_is_drawn_anew_and_the_others_stay(kind):
    flow = random_flow(**kind)
    z = flow.draw_each([0, 1])
    found = resample(flow, z, draws=3, temperature=[0.5, 0.9], seed=7)
    assert found.shape == (2, flow.levels, 3, *flow.image_shape)
    with torch.no_grad():
        for h in range(flow.levels):
            for k in range(3):
                fresh = flow.draw_each([7 + k], [0.5, 0.9]).levels[h]
                expected = flow.decode(z.replace(h, fresh.expand_as(z.levels[h])))
                torch.testing.assert_close(found[:, h, k], expected)


def test_the_number_says_how_much_a_level_carries():
    flow = random_flow()
    z = flow.draw_each([0, 1])
    x, found = decode(flow, z), resample(flow, z, draws=2)
    by_hand = (found[0, 1] - x[0]).square().mean().sqrt()
    torch.testing.assert_close(changes(x, found)[0, 1], by_hand)
    cold = flow.draw_each([0], 0.0)
    still = resample(flow, cold, draws=2, temperature=0.0)
    assert changes(decode(flow, cold), still).max() < 1e-9


def test_the_same_seeds_at_all_temperatures():
    flow = random_flow()
    found = at_temperatures(flow, [3, 5], [1.0, [0.2, 0.6]])
    assert found.shape == (2, 2, *flow.image_shape)
    with torch.no_grad():
        torch.testing.assert_close(found[1], flow.decode(flow.draw_each([3, 5], [0.2, 0.6])))
    hot = at_temperatures(flow, [3], [1.0])
    torch.testing.assert_close(hot[0, 0], found[0, 0])  # whatever is drawn beside it


def test_mixed_temperatures():
    assert mixed_temperature(3, 2, 0.1, 0.9) == (0.1, 0.1, 0.9)
    assert mixed_temperature(3, 0, 0.1, 0.9) == (0.9, 0.9, 0.9)
    with pytest.raises(ValueError, match="at most 3; got 4"):
        mixed_temperature(3, 4, 0.1, 0.9)


def test_bad_input():
    flow, other = random_flow(), random_flow(height=16, width=16)
    for act, message in (
        (lambda: resample(flow, flow.draw_each([0]), draws=0), "draws to be at least 1"),
        (lambda: resample(flow, flow.draw_each([0]), seed=-1), "seed to be at least 0"),
        (lambda: resample(flow, flow.draw_each([0]), temperature=[1.0]), "one for each"),
        (lambda: resample(flow, other.draw_each([0])), "Expected latents of"),
        (lambda: decode(flow, other.draw_each([0])), "Expected latents of 3 channels on"),
        (lambda: decode(flow, flow.draw_each([0]), batch_size=0), "batch_size to be at least 1"),
        (lambda: at_temperatures(flow, [0], []), "at least one"),
        (lambda: at_temperatures(flow, [], [1.0]), "at least one"),
        (lambda: at_temperatures(flow, [0], [-1.0]), "temperature to be at least 0"),
    ):
        with pytest.raises(ValueError, match=message):
            act()


# ---------------------------------------------------------------- pictures


def test_stages_go_either_way():
    stages = [torch.full((1, 3, 8 >> h, 8 >> h), 100.0 * h) for h in range(3)]
    there = progressive(stages, scale=10)
    back = progressive(stages, scale=10, coarse_first=False)
    assert there.size == back.size
    assert there.getpixel((40, there.height - 40)) == (200, 200, 200)
    assert back.getpixel((60, there.height - 40)) == (0, 0, 0)


@pytest.mark.parametrize("seeds", [1, 3, 4])
def test_cells_hold_the_same_seeds(seeds):
    flow = random_flow()
    pairs = [mixed_temperature(2, 1, t, u) for t in (0.1, 1.0) for u in (0.1, 0.5, 1.0)]
    found = at_temperatures(flow, range(seeds), pairs)
    picture = mixed_temperatures(found, (0.1, 1.0), (0.1, 0.5, 1.0), 1, scale=2)
    assert all(shows(picture, image, 2) for image in found.flatten(0, 1))


# ---------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small_run(tmp_path_factory.mktemp("runs") / "small", map="cube", hidden=8)


def test_levels_of_samples(run, capsys):
    assert main(["levels", str(run), "--draws", "2", "--temperatures", "[0.3, 1]"]) == 0
    assert "4 images level by level: see progressive.png, resampled.png" in capsys.readouterr().out
    for name in ("progressive", "resampled", "temperatures"):
        Image.open(run / f"pictures/{name}.png").verify()


def test_levels_of_given_images(run, tmp_path):
    options = ["--split", "test", "--pick", "[1, 2]", "--draws", "1", "--out", str(tmp_path)]
    assert main(["levels", str(run), *options]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"coarse-grained.png", "resampled.png"}


def test_levels_of_other_flows(tmp_path):
    for name, kind in (("fields", {"pixels": None, "channels": 1}), ("nvp", REAL_NVP["real-nvp"])):
        other = small_run(tmp_path / name, **kind)
        options = ["--draws", "1", "--temperatures", "[0.5, 1]"]
        assert main(["levels", str(other), *options]) == 0
        assert (other / "pictures/temperatures.png").is_file()


def test_temperatures_of_numpy_are_numbers():
    flow = random_flow()
    hot = at_temperatures(flow, [0], np.float32([0.5, 1.0]))
    assert torch.equal(hot, at_temperatures(flow, [0], [0.5, 1.0]))
    assert receptive_fields(flow, draws=1, temperature=np.float32(0.5)).temperature == 0.5
    along = field_along(flow, flow.draw_each([1]), draws=1, temperature=np.float32(0.5))
    assert along.temperature == 0.5


def test_one_level_has_one_temperature(tmp_path):
    other = small_run(tmp_path / "run", levels=1)
    assert main(["levels", str(other), "--draws", "1", "--temperatures", "[0.5, 1]"]) == 0
    names = {path.name for path in (other / "pictures").iterdir()}
    assert names == {"progressive.png", "resampled.png"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--draws", "0"], "--draws to be at least 1"),
        (["--seed", "-1"], "--seed to be at least 0"),
        (["--temperatures", "[]"], "at least one temperature"),
        (["--temperatures", "[-1]"], "--temperatures to be at least 0"),
        (["--split_at", "3"], "at most 1; got 3"),
    ],
)
def test_mistakes(run, capsys, options, message):
    assert main(["levels", str(run), *options]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
