"""Likelihoods of sets of images: bounds against what can be computed exactly, errors, shares."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch

from flows import config, random_flow, random_images
from rgflow import RGFlow
from rgflow.cli import main
from rgflow.evaluation import evaluate, summary, terms_of
from runs import small_run


def bytes_for(flow, n, seed=0):
    return random_images(flow, n, seed).floor().to(torch.uint8)


@pytest.fixture(scope="module")
def flow():
    return random_flow(hidden=8)


@pytest.fixture(scope="module")
def smallest():
    """Four pixels, and so uneven within a pixel that draws of noise differ."""
    options = {"height": 2, "width": 2, "channels": 1, "m": 2, "levels": 1}
    options |= {"conditioner": "trunk", "hidden": 8, "blocks": 1, "depth": 1}
    return random_flow(**options, strength=2.0)


def test_uniform_flow_has_eight_bits_whatever_is_asked():
    flow = RGFlow(config(height=8, width=8, depth=1, hidden=8, pixels="marginal")).double()
    result = evaluate(flow, bytes_for(flow, 6), importance=3, subset=6)
    assert result.nll == pytest.approx(8, abs=1e-12)
    assert result.bound.nll == pytest.approx(8, abs=1e-12)
    for error in (result.standard_error, result.draw_error, result.bound.gain):
        assert error == pytest.approx(0, abs=1e-12)


def probability(flow, x8, steps=12):
    """P(x8) of four pixels by the midpoint rule."""
    ticks = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
    noise = torch.cartesian_prod(*[ticks] * 4).view(-1, 1, 2, 2)
    with torch.no_grad():
        return flow.log_prob(x8 + noise).exp().mean()


def test_the_bound_falls_with_the_draws_towards_the_exact_value(smallest):
    x8 = bytes_for(smallest, 6)
    exact = torch.stack([probability(smallest, x) for x in x8.double()])
    truth = smallest.unit(exact.log()).mean().item()
    bounds = [evaluate(smallest, x8, importance=k, subset=6).bound for k in (2, 16, 256)]
    gains = [bound.gain for bound in bounds]
    assert 0 < gains[0] < gains[1] < gains[2]
    mean = bounds[-1].nll + bounds[-1].gain
    assert mean - truth > 0.5  # there is something to gain
    assert bounds[-1].nll == pytest.approx(truth, abs=0.1)


def test_numbers_against_plain_loops(smallest):
    x8 = bytes_for(smallest, 5)
    result = evaluate(smallest, x8, seed=3, importance=4, subset=2)

    def bits(place, draw):
        random = np.random.default_rng((3, draw, place)).integers(1 << 15, size=(1, 2, 2))
        x = x8[place].double() + (torch.from_numpy(random) + 0.5) / (1 << 15)
        return -smallest.log_prob(x[None]).item() / (4 * math.log(2))

    every = np.array([bits(place, 0) for place in range(5)])
    assert result.nll == pytest.approx(every.mean(), rel=1e-12)
    assert result.standard_error == pytest.approx(every.std(ddof=1) / 5**0.5)
    some = np.array([[bits(place, draw) for draw in range(4)] for place in (0, 2)])
    assert result.draw_error == pytest.approx((some.var(1, ddof=1).mean() / 5) ** 0.5)
    bound = -np.log2(np.exp2(-4 * some).mean(1)) / 4
    assert result.bound.nll == pytest.approx(bound.mean(), rel=1e-12)
    assert result.bound.gain == pytest.approx((some.mean(1) - bound).mean(), rel=1e-9)
    assert result.bound.gain_error == pytest.approx((some.mean(1) - bound).std(ddof=1) / 2**0.5)


def test_shares_add_up(flow):
    result = evaluate(flow, bytes_for(flow, 7))
    total = sum(result.prior) + sum(result.log_det) + result.pixels
    assert total == pytest.approx(result.nll, rel=1e-12)


def test_batches_change_nothing(flow):
    x8 = bytes_for(flow, 7)
    one, two = (
        asdict(evaluate(flow, x8, importance=3, subset=4, batch_size=size)) for size in (1, 5)
    )
    bounds = one.pop("bound"), two.pop("bound")
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-9)
    assert one.pop("unit") == two.pop("unit")
    for name, value in one.items():
        assert two[name] == pytest.approx(value, rel=1e-9), name


def test_noise_depends_on_seed_and_draw(flow):
    x8 = bytes_for(flow, 4)
    totals = [terms_of(flow, x8, seed=s, draw=d).total for s, d in ((0, 0), (0, 1), (1, 0))]
    assert not torch.equal(totals[0], totals[1])
    assert not torch.equal(totals[0], totals[2])
    assert torch.equal(totals[0][:2], terms_of(flow, x8[:2]).total)


def test_error_over_draws_is_the_spread_of_repetitions(flow):
    x8 = bytes_for(flow, 10)
    result = evaluate(flow, x8, importance=40, subset=10)
    means = torch.tensor([evaluate(flow, x8, seed=s, subset=0).nll for s in range(1, 41)])
    assert result.draw_error == pytest.approx(means.std().item(), rel=0.4)


def test_training_mode_is_kept(flow):
    flow.train()
    evaluate(flow, bytes_for(flow, 2))
    assert flow.training
    flow.eval()


def test_without_a_subset_there_is_only_the_mean(flow):
    result = evaluate(flow, bytes_for(flow, 3), subset=0)
    assert result == summary(flow, terms_of(flow, bytes_for(flow, 3)), 0)
    assert result.bound is result.draw_error is None


def test_fields_have_nats_per_site_and_no_noise():
    flow = random_flow(pixels=None, channels=2)
    x = random_images(flow, 5)
    result = evaluate(flow, x)
    assert result.unit == "nats/site"
    assert result.nll == pytest.approx(-flow.log_prob(x).mean().item() / 64)
    assert (result.draw_error, result.bound) == (None, None)


def test_progress_reaches_its_total(flow):
    said = []
    evaluate(
        flow,
        bytes_for(flow, 5),
        importance=4,
        subset=3,
        batch_size=2,
        progress=lambda *pair: said.append(pair),
    )
    assert said[-1] == (5 + 3 * 3, 5 + 3 * 3)
    assert sorted(said) == said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"importance": 0}, "Expected importance to be at least 1; got 0."),
        ({"subset": -1}, "Expected subset to be at least 0; got -1."),
        ({"batch_size": 0}, "Expected batch_size to be at least 1; got 0."),
        ({"seed": -1}, "Expected seed to be at least 0; got -1."),
    ],
)
def test_mistakes(flow, options, message):
    with pytest.raises(ValueError, match=message):
        evaluate(flow, bytes_for(flow, 2), **options)


def test_no_images(flow):
    with pytest.raises(ValueError, match="Expected at least one image to evaluate; got none"):
        evaluate(flow, bytes_for(flow, 2)[:0])


# ---------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small_run(tmp_path_factory.mktemp("runs") / "small", hidden=8)


def test_command(run, capsys):
    assert main(["evaluate", str(run), "--count", "12", "--subset", "5", "--importance", "3"]) == 0
    out = capsys.readouterr().out
    result = json.loads((run / "evaluation.json").read_text())
    assert f"{result['nll']:.4f} ± {result['standard_error']:.4f} bits/dim" in out
    assert (result["images"], result["split"]) == (12, "test")
    assert (result["bound"]["images"], result["bound"]["draws"]) == (5, 3)
    assert f"{result['bound']['nll']:.5f}" in out


def test_command_with_fields(tmp_path, capsys):
    folder = small_run(tmp_path / "fields", pixels=None, channels=1, hidden=8)
    assert main(["evaluate", str(folder)]) == 0
    out = capsys.readouterr().out
    result = json.loads((folder / "evaluation.json").read_text())
    assert f"{result['nll']:.4f} ± {result['standard_error']:.4f} nats/site" in out
    assert result["bound"] is None


def test_command_with_one_image_has_no_error(run, capsys):
    assert main(["evaluate", str(run), "--count", "1"]) == 0
    result = json.loads((run / "evaluation.json").read_text())
    assert result["standard_error"] is None
    out = capsys.readouterr().out
    assert f"{result['nll']:.4f} bits/dim on 1 test image of" in out
    assert "nan" not in out.replace("/", " ").replace(str(run.parent), "")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--subset", "-1"], "--subset to be at least 0"),
        (["--batch_size", "x"], "--batch_size to be a whole number; got x"),
        (["--seed", "-1"], "--seed to be at least 0"),
        (["--importance", "0"], "--importance to be at least 1"),
        (["--data", "nothing"], "got 'nothing'"),
    ],
)
def test_command_mistakes(run, capsys, option, message):
    assert main(["evaluate", str(run), *option]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
