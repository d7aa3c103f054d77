"""Metrics of images: against their definitions, and what they may be called."""

import contextlib
import json
import math
import warnings
from dataclasses import asdict

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from rgflow import Lattice
from rgflow.bijectors.pixels import dequantize
from rgflow.metrics.images import psnr, ssim


def random_images(n: int = 3, channels: int = 3, edge: int = 32, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    shape = (n, channels, edge, edge)
    return torch.randint(256, shape, generator=generator, dtype=torch.uint8)


def with_hole(truth, mask):
    """Other images where the mask is, the same elsewhere."""
    return torch.where(torch.tensor(mask), random_images(*truth.shape[:3], seed=1), truth)


BOX = Lattice(height=32, width=32).box(5, 20, 10, 10)


# ---------------------------------------------------------------- PSNR


def test_psnr_is_that_of_8_bit_images():
    truth, images = random_images(), random_images(seed=1)
    squares = (truth.double() - images.double()).square().mean((1, 2, 3))
    expected = 20 * math.log10(255) - 10 * torch.log10(squares)
    found = psnr(images, truth)
    np.testing.assert_allclose(found.values, expected, rtol=1e-12)
    assert found.mean == pytest.approx(expected.mean().item())
    assert found.standard_error == pytest.approx((expected.std() / 3**0.5).item())
    assert found.name == "PSNR"
    # One grey level everywhere is 1/255 of the data range.
    one = psnr((truth // 2) + 1, truth // 2)
    np.testing.assert_allclose(one.values, 20 * math.log10(255))


def test_a_region_of_10_by_10_costs_10_decibels():
    truth = random_images()
    images = with_hole(truth, BOX)
    whole, region = psnr(images, truth), psnr(images, truth, BOX)
    gap = np.subtract(whole.values, region.values)
    np.testing.assert_allclose(gap, 10 * math.log10(1024 / 100), rtol=1e-12)
    assert gap[0] == pytest.approx(10.1, abs=0.01)
    assert whole.mean - region.mean == pytest.approx(gap[0])
    assert region.name == "PSNR of the region"


def test_only_the_region_counts():
    truth = random_images()
    images = with_hole(truth, BOX)
    noise = random_images(seed=2)
    elsewhere = torch.where(torch.tensor(BOX), images, noise)
    assert psnr(elsewhere, truth, BOX) == psnr(images, truth, BOX)
    everything = psnr(noise, truth, np.ones((32, 32), bool))
    np.testing.assert_allclose(everything.values, psnr(noise, truth).values)
    masks = np.stack([BOX, ~BOX, np.roll(BOX, 3, 0)])
    each = psnr(noise, truth, masks)
    alone = [psnr(noise[k : k + 1], truth[k : k + 1], masks[k]).mean for k in range(3)]
    np.testing.assert_allclose(each.values, alone)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_reals_are_the_grey_levels_that_they_stand_for(dtype):
    truth, images = random_images(), random_images(seed=1)
    generator = torch.Generator().manual_seed(0)
    expected = psnr(images, truth)
    assert psnr(dequantize(images, generator, dtype), truth) == expected
    assert psnr(images, dequantize(truth, generator, dtype)) == expected
    assert psnr(dequantize(truth, generator, dtype), truth).values == (math.inf,) * 3
    # The logit map reaches somewhat beyond the ends.
    ends = torch.tensor([-5.0, 261.0], dtype=dtype).view(2, 1, 1, 1)
    assert psnr(ends, torch.tensor([0, 255]).view(2, 1, 1, 1)).values == (math.inf,) * 2


def test_identical_images_are_counted_apart():
    truth = random_images(4)
    images = with_hole(truth, BOX)
    images[2] = truth[2]
    found, rest = psnr(images, truth), psnr(images[[0, 1, 3]], truth[[0, 1, 3]])
    assert found.values[2] == math.inf
    assert found.values.count(math.inf) == 1
    assert (found.mean, found.standard_error) == (rest.mean, rest.standard_error)
    same = psnr(truth, truth)
    assert (same.values, same.mean) == ((math.inf,) * 4, math.inf)
    assert math.isnan(same.standard_error)


def test_errors_over_images():
    one = psnr(random_images(1, seed=1), random_images(1))
    assert math.isnan(one.standard_error)


def test_metrics_are_plain_numbers():
    truth = random_images()
    for found in (psnr(with_hole(truth, BOX), truth), ssim(truth, truth)):
        assert json.loads(json.dumps(asdict(found)))["name"] == found.name


# ---------------------------------------------------------------- SSIM


def test_ssim_is_that_of_wang():
    """Against the definition, written out for a window in the middle of an image."""
    truth, images = random_images(2, 1, 11), random_images(2, 1, 11, seed=1)
    at = np.arange(-5, 6)
    window = np.exp(-np.add.outer(at**2, at**2) / (2 * 1.5**2))
    window /= window.sum()
    expected = []
    for x, y in zip(images.numpy()[:, 0] / 255, truth.numpy()[:, 0] / 255, strict=True):
        mean_x, mean_y = (window * x).sum(), (window * y).sum()
        var_x, var_y = (window * x**2).sum() - mean_x**2, (window * y**2).sum() - mean_y**2
        both = (window * x * y).sum() - mean_x * mean_y
        luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
        expected.append(luminance * (2 * both + 0.03**2) / (var_x + var_y + 0.03**2))
    found = ssim(images, truth)
    np.testing.assert_allclose(found.values, expected, rtol=1e-9)
    assert found.mean == pytest.approx(np.mean(expected))


@pytest.mark.parametrize(("edge", "window"), [(3, 3), (4, 3), (8, 7), (10, 9), (12, 11), (32, 11)])
def test_windows_fit_small_images(edge, window):
    truth = random_images(2, 3, edge)
    found = ssim(truth // 2, truth)
    expected = structural_similarity(
        truth[0].numpy() // 2 / 255, truth[0].numpy() / 255, channel_axis=0, data_range=1,
        gaussian_weights=True, win_size=window, sigma=0.3 * (window // 2),
        use_sample_covariance=False,
    )  # fmt: skip
    assert found.values[0] == pytest.approx(expected)
    assert 0 < found.mean < 1
    assert ssim(truth, truth).values == pytest.approx((1, 1))


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_images_that_cannot_be_compared(metric):
    truth = random_images()
    reals = truth.float()
    reals[1, 0, 3, 3] = math.nan
    for images, message in (
        (truth[:2], r"one shape \[N, C, H, W\]; got \[2, 3, 32, 32\] and \[3, 3"),
        (truth[0], "one shape"),
        (reals, "finite pixels"),
    ):
        with pytest.raises(ValueError, match=message):
            metric(images, truth)
    with pytest.raises(ValueError, match="one shape"):
        metric(truth[:0], truth[:0])


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_images_on_another_scale(metric):
    truth = random_images()
    for wrong in (truth.double() * 257, truth.float() - 128, truth.long() * 2):
        for both in ((wrong, truth), (truth, wrong)):
            with pytest.raises(ValueError, match=r"pixels in \[0, 256\); got .*: scale them"):
                metric(*both)
    with (
        pytest.warns(UserWarning, match="none above 1, .* multiply them by 255") as told,
        contextlib.suppress(ValueError),  # nothing differs
    ):
        metric(truth / 255, random_images(seed=1) / 255)
    assert [one.filename for one in told] == [__file__]


def test_nearly_black_images_are_no_mistake():
    black = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for images in (black, black.float(), dequantize(black), black + 1):
            assert psnr(images, black).mean > 48
        assert psnr(black.float(), black.float() + 1).mean > 48


def test_other_mistakes():
    truth = random_images()
    with pytest.raises(ValueError, match="boolean mask of shape"):
        psnr(truth, truth, BOX[:8])
    with pytest.raises(ValueError, match="got an empty mask"):
        psnr(truth, truth, np.stack([BOX, BOX & False, BOX]))
    with pytest.raises(ValueError, match="at least 3×3 pixels for SSIM; got 2×2"):
        ssim(truth[..., :2, :2], truth[..., :2, :2])
