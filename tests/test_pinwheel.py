"""The pinwheel: its data, how legs are counted, and learning it."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from PIL import ImageColor

from reproducing import pinwheel
from reproducing.pinwheel_figures import COLOURS, pinwheels
from rgflow.config import PriorKind


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(1)


def test_data_have_four_legs(generator):
    points, legs = pinwheel.draw_pinwheel(4000, 0.3, generator)
    assert torch.bincount(legs).tolist() == pytest.approx([1000] * 4, abs=120)
    quarter = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    first = points[legs == 0].mean(0)
    for k in range(1, 4):
        first = first @ quarter
        assert points[legs == k].mean(0) == pytest.approx(first, abs=0.1)
    radius = points.norm(dim=1) / pinwheel.SCALE
    assert radius.mean() == pytest.approx(1, abs=0.03)
    turned, _ = pinwheel.draw_pinwheel(4000, 0.3 + math.pi / 2, generator.manual_seed(1))
    again, _ = pinwheel.draw_pinwheel(4000, 0.3, generator.manual_seed(1))
    torch.testing.assert_close(turned, again @ quarter)


def test_sectors():
    angles = torch.arange(0, 360, 10) + 3.0
    z = torch.stack((torch.deg2rad(angles).cos(), torch.deg2rad(angles).sin()), 1)
    assert pinwheel.sectors(z).tolist() == (angles // 90).int().tolist()
    around = pinwheel.sectors(z, "half_axes")
    assert around.tolist() == ((angles + 45) // 90 % 4).int().tolist()


@pytest.mark.parametrize("cross", pinwheel.TURNS)
def test_matching_is_the_best_of_all(cross, generator):
    z = torch.randn(500, 2, generator=generator)
    legs = torch.randint(4, (500,), generator=generator)
    share, matched = pinwheel.name_legs(z, legs, cross)
    sector = pinwheel.sectors(z, cross)
    every = [
        (torch.tensor(order)[sector] == legs).double().mean() for order in permutations(range(4))
    ]
    assert share == pytest.approx(max(every))
    assert (torch.tensor(matched)[sector] == legs).double().mean() == pytest.approx(share)
    assert pinwheel.name_legs(z, (sector + 3) % 4, cross) == (1.0, (3, 0, 1, 2))


@pytest.fixture(scope="module")
def learned():
    """Two seeds of both priors after a few steps."""
    done = []
    found = pinwheel.learn_pinwheels(seeds=[0, 3], steps=80, progress=done.append)
    assert sum(done) == 80
    return found


@pytest.mark.parametrize("prior", ["laplace", "gaussian"])
def test_flows_learn_the_pinwheel(prior, learned):
    untrained = pinwheel.learn_pinwheels([prior], [0, 3], steps=1)[prior]
    for found, before in zip(learned[prior], untrained, strict=True):
        assert (found.prior, found.seed, found.turn) == (prior, before.seed, before.turn)
        assert found.nll < before.nll - 0.4
        generator = torch.Generator().manual_seed(9)
        x, legs = pinwheel.draw_pinwheel(5000, found.turn, generator)
        with torch.no_grad():
            z, log_det = found.flow(x)
            torch.testing.assert_close(found.flow.inverse(z)[0], x, rtol=0, atol=1e-3)
        log_p = PriorKind.kinds[prior]().make().log_prob(z).sum(1) + log_det
        assert -log_p.mean().item() == pytest.approx(found.nll, abs=0.1)
        for cross in pinwheel.TURNS:
            share = pinwheel.name_legs(z, legs, cross).share
            assert share == pytest.approx(found.named[cross].share, abs=0.03)


@pytest.mark.slow
def test_a_flow_is_the_same_beside_others(learned):
    alone = pinwheel.learn_pinwheels(["laplace"], [3], steps=80)["laplace"][0]
    beside = learned["laplace"][1]
    assert (alone.turn, alone.seed) == (beside.turn, beside.seed)
    assert alone.nll == pytest.approx(beside.nll, abs=0.02)


def test_estimates():
    found = pinwheel.Estimate.of([0.9, 0.8, 0.7])
    assert found.mean == pytest.approx(0.8)
    assert found.standard_error == pytest.approx(0.1 / 3**0.5)
    assert str(found) == "0.800 ± 0.058"
    assert str(pinwheel.Estimate.of([0.5])) == "0.500"


def test_bad_input():
    with pytest.raises(ValueError, match="Expected prior to be one of"):
        pinwheel.learn_pinwheels(["laplac"])
    with pytest.raises(ValueError, match="Expected steps to be at least 1"):
        pinwheel.learn_pinwheels(steps=0)
    with pytest.raises(ValueError, match="Expected at least one prior and one seed"):
        pinwheel.learn_pinwheels(seeds=[])


def test_picture_has_a_row_for_each_prior(learned):
    one = pinwheels({"laplace": learned["laplace"][:1]})
    two = pinwheels(learned)
    assert one.width == two.width
    assert two.height > 1.5 * one.height
    for colour in COLOURS:
        assert (np.asarray(two) == ImageColor.getrgb(colour)).all(2).sum() > 100
