"""The network that reads ovals, and what is made of its readings."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from reproducing.ovals import (
    GREY,
    JITTER,
    SCALE,
    Reader,
    corners,
    load_reader,
    oval_features,
    spreads,
)
from rgflow.data import msds

RESULT = Path(__file__).parents[1] / "experiments" / "msds_features" / "result.json"


@pytest.fixture(scope="module", params=msds.KINDS)
def tests(request):
    """200 test images of a set, their labels, and what the shipped network reads."""
    images, labels, _ = next(msds.stream(request.param, 200, split="test"))
    images = torch.from_numpy(images)
    return images, torch.from_numpy(labels["ovals"]), load_reader().read(images)


def test_ovals_are_read_well(tests):
    _, truth, found = tests
    off = (found - truth).abs()
    turned = off[..., 2] % 180
    assert off[..., 3:].mean() < 3  # of 255
    assert torch.minimum(turned, 180 - turned).mean() < 2  # of 90 at the most
    assert off[..., :2].mean() < 0.1
    left = (found - truth).square().sum((0, 1, 2)) / (truth - truth.mean(0)).square().sum((0, 1, 2))
    assert left[[0, 1, 3, 4, 5]].max() < 0.03


def test_spreads_read_are_those_of_the_labels(tests):
    _, truth, found = tests
    read, known = spreads(found), spreads(truth)
    assert read.colour == pytest.approx(known.colour, abs=0.7)
    assert read.angle == pytest.approx(known.angle, abs=0.7)
    assert read.colour_error == pytest.approx(known.colour_error, rel=0.2)


def test_what_is_read_draws_the_image_again(tests):
    """Above all, that columns and rows aren't mixed up."""
    images, _, found = tests
    rounded = found[:20].clone()
    rounded[..., [0, 1]] = rounded[..., [0, 1]].round()
    rounded[..., 3:] = rounded[..., 3:].round().clamp(0, 255)
    again = msds.draw(rounded.numpy()).astype(float)
    truth = images[:20].numpy().astype(float)
    assert np.square(again - truth).mean() < 0.2 * truth.var()


def test_the_sets_differ_in_their_spreads():
    one, two = (
        spreads(torch.from_numpy(msds.sample(kind, 2000, split="test", seed=0, start=0)["ovals"]))
        for kind in msds.KINDS
    )
    # Uniform in 65 and in 256 grey levels; a little less, as the root of a variance is.
    assert one.colour == pytest.approx(65 / 12**0.5, rel=0.02)
    assert two.colour == pytest.approx(256 / 12**0.5, rel=0.02)
    assert two.angle == pytest.approx(45 / 12**0.5, rel=0.05)
    assert one.angle > 4 * two.angle
    assert one.colour_error < 0.05
    assert one.angle_error < 0.3


def test_spreads_of_axes():
    ovals = torch.zeros(2, 4, 4, 6)
    ovals[0, ..., 2] = torch.arange(16).view(4, 4) * 180  # the same oval every time
    ovals[1, ..., 2] = torch.tensor([1.0, 179.0, 1.0, 179.0])
    each = [spreads(one[None]) for one in ovals]
    assert each[0].angle < 0.1
    assert each[1].angle == pytest.approx(1, rel=1e-3)  # not 89
    assert np.isnan(each[0].angle_error)
    both = spreads(ovals)
    assert both.angle == pytest.approx((each[0].angle + each[1].angle) / 2)
    with pytest.raises(ValueError, match=r"the ovals of at least one image.*got \[0, 4, 4, 6\]"):
        spreads(ovals[:0])


def test_reading_undoes_standardising():
    """A read-out that is right in every number gives back the labels."""
    truth = torch.from_numpy(msds.sample("msds2", 5, split="test", seed=0, start=0)["ovals"])

    class Knowing(Reader):
        def standardised(self, images):
            twice = torch.deg2rad(2 * truth[..., 2:3])
            axes = 2**0.5 * torch.cat([twice.cos(), twice.sin()], -1)
            place = (truth[..., :2] - corners(truth)) / JITTER
            return torch.cat([(truth[..., 3:] - GREY) / SCALE, axes, place], -1)

    found = Knowing().read(torch.zeros(5, 3, 32, 32))
    truth = torch.cat([truth[..., :2], truth[..., 2:3] % 180, truth[..., 3:]], -1)
    torch.testing.assert_close(found, truth, rtol=1e-4, atol=1e-3)


def test_features_are_in_units_of_their_standard_deviation(tests):
    features = load_reader()(tests[0]).unflatten(1, (8, 16))
    assert features.mean((0, 2)).abs().max() < 0.5
    assert 0.5 < features.std((0, 2)).min() < features.std((0, 2)).max() < 1.5


@pytest.mark.skipif(not RESULT.is_file(), reason="installed without its sources")
def test_the_shipped_weights_are_those_that_were_measured():
    assert oval_features().weights == json.loads(RESULT.read_text())["weights"]
