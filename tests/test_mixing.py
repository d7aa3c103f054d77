"""Mixing: both ends of every way, what stays untouched, and what the command draws."""

import math

import pytest
import torch

from flows import BIJECTORS, OPTIONS, REAL_NVP, random_flow, random_images
from pictures import shows
from rgflow.analysis.mixing import (
    every_threshold,
    hyperbolic,
    mix,
    mixing_grid,
)
from rgflow.cli import main
from rgflow.figures.mixing import between, thresholds
from runs import small_run

KINDS = {
    "affine": BIJECTORS["affine-paper"],
    "cube-marginal": OPTIONS["cube-marginal"],
    "fields": OPTIONS["fields"],
    "real-nvp": REAL_NVP["real-nvp-scales"],
}


@pytest.mark.parametrize("name", KINDS)
def test_the_ends_are_the_images_themselves(name):
    flow = random_flow(torch.float32, **KINDS[name])
    x = random_images(flow, 4, seed=3).float()
    z = flow.encode(x)
    assert z.levels[0].dtype == torch.float32
    a, b = z.select(slice(0, 2)), z.select(slice(2, 4))
    # "To float32 accuracy": as near as the images are to what their own latents decode to.
    with torch.no_grad():
        allowed = 2 * (flow.decode(z) - x).abs().max().item() + 1e-3
    for shares in (every_threshold(flow.levels), [(k / 2,) * flow.levels for k in range(3)]):
        found = mix(flow, a, b, shares)
        assert (found[:, 0] - x[:2]).abs().max() <= allowed
        assert (found[:, -1] - x[2:]).abs().max() <= allowed
    assert allowed < 0.1


def test_uint8_images_come_back_from_both_ends():
    flow = random_flow(torch.float32, **KINDS["cube-marginal"])
    x8 = random_images(flow, 2).to(torch.uint8)
    z = flow.encode(x8, dtype=torch.float64)
    found = mix(flow, z.select(slice(0, 1)), z.select(slice(1, 2)), every_threshold(flow.levels))
    assert found.dtype == torch.float64
    assert torch.equal(found[0, [0, -1]].floor().to(torch.uint8), x8)


@pytest.mark.parametrize("name", KINDS)
def test_every_threshold_takes_its_levels_to_the_bit(name):
    flow = random_flow(torch.float32, **KINDS[name])
    a, b = flow.draw_each([0, 1]), flow.draw_each([2, 3])
    every = every_threshold(flow.levels)
    found = mix(flow, a, b, every)
    assert found.shape[1] == len(every) == flow.levels + 1
    for threshold, shares in enumerate(every):
        mixed = a.mix(b, shares)
        for h, level in enumerate(mixed.levels):
            assert torch.equal(level, (a if h >= threshold else b).levels[h])
        with torch.no_grad():  # in other batches, hence other last digits
            expected = flow.decode(mixed)
        torch.testing.assert_close(found[:, threshold], expected, rtol=1e-5, atol=1e-2)
    assert not torch.allclose(mix(flow, b, a, every)[:, 1], found[:, 1])  # it isn't symmetric


def test_levels_outside_a_mix_are_untouched():
    flow = random_flow(torch.float32, levels=2)
    a, b = flow.draw_each([0]), flow.draw_each([1])
    for shares in [(0.0, 0.0), (0.25, 0.0), (1.0, 0.0), (1.0, 0.75), (1.0, 1.0)]:
        mixed = a.mix(b, shares)
        for h, share in enumerate(shares):
            if share in (0.0, 1.0):
                assert torch.equal(mixed.levels[h], (b if share else a).levels[h])
            else:
                assert not torch.equal(mixed.levels[h], a.levels[h])


def test_grid_has_high_levels_across_and_low_levels_downwards():
    flow = random_flow(torch.float32)
    high, low = flow.draw_each([0, 1, 2]), flow.draw_each([3, 4])
    images = mixing_grid(flow, high, low, 1)
    assert images.shape == (2, 3, 3, 8, 8)
    one = high.select(slice(2, 3)).mix(low.select(slice(1, 2)), hyperbolic(2, 1))
    with torch.no_grad():
        torch.testing.assert_close(images[1, 2], flow.decode(one)[0])
    same = mixing_grid(flow, high, high, 1)
    with torch.no_grad():
        torch.testing.assert_close(same[[0, 1, 2], [0, 1, 2]], flow.decode(high))


def test_bad_input():
    flow, other = random_flow(), random_flow(height=16, width=16)
    a, b = flow.draw_each([0]), flow.draw_each([1])
    for threshold in (-1, 3, 0.5):
        with pytest.raises(ValueError, match="Expected the threshold Θ to be"):
            hyperbolic(2, threshold)
    for first, second, shares, message in (
        (a, other.draw_each([0]), [(0, 1)], "as many images of the same size"),
        (a, flow.draw_each([1, 2]), [(0, 1)], "as many images of the same size"),
        (a, b.to(torch.float32), [(0, 1)], "in the same number format"),
        (a, b, [(0, 1, 1)], "one for each of the 2 levels; got 3"),
        (a, b, [(0, math.nan)], "finite shares"),
        (a, b, [], "at least one batch"),
    ):
        with pytest.raises(ValueError, match=message):
            mix(flow, first, second, shares)


# ---------------------------------------------------------------- pictures


def test_pictures_of_pairs():
    flow = random_flow(torch.float32)
    a, b = flow.draw_each([0]), flow.draw_each([1])
    every = every_threshold(2)
    one_way, other_way = mix(flow, a, b, every), mix(flow, b, a, every)
    picture = thresholds(one_way, other_way, scale=4)
    mixtures = torch.cat((one_way[0], other_way[0]))
    assert all(shows(picture, image, 4) for image in mixtures)
    assert all(shows(between(one_way[0], scale=4), image, 4) for image in one_way[0])


# ---------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small_run(tmp_path_factory.mktemp("runs") / "small", map="cube", hidden=8)


def test_mix_samples(run, capsys):
    assert main(["mix", str(run), "--pick", "[0, 4, 2]", "--share", "[1, 0.5]"]) == 0
    out = capsys.readouterr().out
    assert "3 images mixed: see mixed.png, mixing-grid.png and mixing.png in" in out
    assert main(["mix", str(run), "--pick", "[0, 4]", "--share", "[-0.5, 1.5]"]) == 0  # bars end


def test_mix_images_of_the_data_set_and_of_other_flows(run, tmp_path):
    options = ["--split", "test", "--pick", "[3, 8]", "--threshold", "0"]
    assert main(["mix", str(run), *options, "--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.glob("[!.]*")} == {"mixing.png", "mixing-grid.png"}
    for name, kind in (("nvp", REAL_NVP["real-nvp"]), ("fields", {"pixels": None, "channels": 1})):
        other = small_run(tmp_path / name, **kind)
        assert main(["mix", str(other), "--pick", "[0, 1]"]) == 0
        assert (other / "pictures/mixing.png").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threshold", "3"], "threshold Θ to be at most 2; got 3"),
        (["--threshold", "-1"], "--threshold to be at least 0; got -1"),
        (["--share", "[1]"], "one for each of the 2 levels; got 1"),
        (["--share", "[1, .nan]"], "finite"),
        (["--pick", "[3]"], "at least two images to mix"),
    ],
)
def test_mistakes(run, capsys, options, message):
    assert main(["mix", str(run), *options]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
