"""What experiments measure: of random flows, whose numbers are known in other ways."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL.Image import Resampling

from flows import BIJECTORS, random_flow
from reproducing.measures import (
    MeasuredFlow,
    inheritance,
    inpainting,
    overfitting,
    priors,
    samples,
    varied,
)
from reproducing.measures.enlarging import averaged, resized, shift, whole_photographs
from reproducing.mixtures import inherited
from rgflow import data
from rgflow.config import TrainConfig
from rgflow.evaluation import evaluate
from rgflow.metrics.frechet import Features

COARSE = {**BIJECTORS["coarse-to-fine"], "disentanglers": False, "depth": 1, "pixels": "marginal"}


@pytest.fixture
def subject(tmp_path):
    """Of a random flow with the settings that are given, on a few images of MSDS1."""

    def make(**options):
        flow = random_flow(torch.float32, height=32, width=32, **options)
        return MeasuredFlow(
            flow=flow, config=TrainConfig(data="msds1", model=flow.config), name="mine"
        )

    return make


@pytest.mark.slow
def test_a_prior_changes_the_latents_but_no_likelihood(subject):
    mine = subject(**COARSE)
    found = priors(mine, count=60, pairs=4, steps=4, places=1, draws=1, repeats=2)
    assert list(found.numbers) == ["laplace", "gaussian"]
    assert set(found.pictures) == {"ways"}
    nll = [one["nll"] for one in found.numbers.values()]
    images = torch.from_numpy(data.load("msds1", "test", count=4).images.copy())
    assert nll[0] == pytest.approx(evaluate(mine.flow, images, seed=0, subset=0).nll)
    assert nll[1] == pytest.approx(nll[0], rel=1e-5)
    steps = [one["largest_step"] for one in found.numbers.values()]
    assert all(len(one) == 4 and min(one) >= 1 for one in steps)
    assert len(set(map(tuple, steps))) == 2  # straight ways are others
    for one in found.numbers.values():
        assert [len(level["step"]) for level in one["fields"]] == [2] * mine.flow.levels
        assert one["r2"] == list(one["directions"].values())
        assert np.isfinite(one["halfway_nll"]).all()


def test_images_learned_and_images_that_nobody_has_seen(subject):
    mine = subject(**COARSE | {"depth": 1, "disentanglers": False})
    numbers = overfitting(mine, count=20).numbers
    for one in ("training", "unseen"):
        bits = sum(level["bits"] for level in numbers[one]["levels"])
        assert bits / mine.flow.dim == pytest.approx(numbers[one]["nll"], abs=0.02)
    assert numbers["gap"]["nll"] == numbers["unseen"]["nll"] - numbers["training"]["nll"]
    assert "levels" not in overfitting(subject(), count=20).numbers["unseen"]
    photographs = replace(mine, config=replace(mine.config, data="patches"))
    with pytest.raises(ValueError, match="of which any number .* mine is of patches"):
        overfitting(photographs, count=20)


def test_on_the_real_line_the_prior_is_no_choice_of_afterwards(subject):
    with pytest.raises(ValueError, match="whose prior can be exchanged; mine works"):
        priors(subject(), count=60)


def test_samples_over_other_features_too(subject):
    means = Features(
        name="means",
        extract=lambda x8: x8.float().mean((2, 3)),
        resizing="none",
        weights="0",
    )
    found = samples(replace(subject(), inception=means), count=20)
    assert {"FD-MSDS", "FD-means"} <= set(found.numbers["distances"])
    assert found.numbers["distances"]["FD-means"]["distance"] > 0


def test_latents_varied_by_level_and_from_0_on(subject):
    mine = subject(levels=3)
    found = varied(mine, each=1, reach=[0, 6, 1.5], one_sided=True, draws=1)
    assert [one["latent"][0] for one in found.numbers["latents"]] == [2, 1]
    assert found.pictures["varied"].caption.endswith("goes from 0 to 1.5 or 6")
    assert varied(mine, each=1, draws=1).pictures["varied"].caption.endswith("from −3 to 3")
    with pytest.raises(ValueError, match="one for each of the 3 levels; got 2"):
        varied(mine, reach=[1.0, 2.0])


def test_what_mixtures_inherit(subject):
    found = inheritance(subject(levels=3), pairs=6).numbers
    assert found.pop("pairs") == 6
    assert set(found) == {"base colour", "base angle", "colour", "angle", "place"}
    for one in found.values():
        assert set(one) == {"1", "2"}
        assert all(np.isfinite(list(x.values())).all() for x in one.values())


def test_squares_drawn_by_particles(subject):
    found = inpainting(subject(**COARSE), count=2, edge=3, particles=4)
    assert list(found.numbers) == ["RG-Flow, particles", "biharmonic"]
    for one in found.numbers.values():
        assert 0 < one["psnr_region"]["mean"] < one["psnr"]["mean"]


def test_what_is_from_neither_image_and_what_is_half_from_each_or_all_from_one():
    a, b, other = 100 * torch.rand(3, 400, 4, 4, 6, generator=torch.Generator().manual_seed(0))
    half = (a + b) / 2
    for ovals, share in ((other, 0.0), (half, 0.5)):
        found = inherited(ovals, a, b)
        for name in ("base colour", "colour", "place"):
            first, first_error, second, second_error = found[name]
            assert first == pytest.approx(share, abs=4 * first_error + 1e-9)
            assert second == pytest.approx(share, abs=4 * second_error + 1e-9)
            assert (first_error > 1e-3) == (ovals is other)
    mixed = torch.cat((b[..., :3], a[..., 3:]), -1)
    found = inherited(mixed, a, b)
    assert found["colour"][::2] == pytest.approx((1, 0), abs=1e-6)
    assert found["angle"][::2] == pytest.approx((0, 1), abs=1e-6)


def test_how_far_an_enlarged_picture_is_from_where_it_should_be():
    _, truth = next(whole_photographs())
    large = resized(averaged(truth), truth.shape[:2], Resampling.LANCZOS)
    assert shift(large, truth) < 0.05
    moved = (truth[1:, 1:].astype(int) + truth[:-1, :-1]) // 2  # by half a pixel, both ways
    assert shift(moved.astype(np.uint8), truth[1:, 1:]) == pytest.approx(0.5**0.5, abs=0.05)
