"""A first guess of missing pixels by few waves."""

import numpy as np
import pytest
import torch

from rgflow.photographs import spectral as module
from rgflow.photographs.spectral import spectral


@pytest.fixture(scope="module")
def waves():
    """Three waves of different colours, and a hole of lines, single pixels and a square."""
    i, j = torch.meshgrid(torch.arange(300.0), torch.arange(70.0), indexing="ij")
    waves = torch.sin(0.5 * i + 0.2 * j), torch.sin(0.9 * j), torch.cos(0.3 * i - 0.4 * j)
    image = (128 + 50 * torch.stack(waves)).round().to(torch.uint8)
    hole = np.random.default_rng(0).random((300, 70)) < 0.02
    hole[:, 8:10] = hole[250:262, 30:42] = hole[290:, 60:] = True
    return image, hole


def test_waves_continue_whatever_the_hole_holds(waves):
    image, hole = waves[0], waves[1].copy()
    damaged, told = image.clone(), []
    damaged[:, torch.from_numpy(hole)] = 255
    found = spectral(damaged, hole, progress=told.append)
    assert torch.equal(found, spectral(image, hole))
    assert torch.equal(found[:, ~torch.from_numpy(hole)], image[:, ~torch.from_numpy(hole)])
    hole[290:, 60:] = False  # the corner is known from two sides only
    error = (found.float() - image)[:, torch.from_numpy(hole)]
    assert error.square().mean().sqrt() < 4
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)


def test_squares_dont_show(waves, monkeypatch):
    """Other squares change little, as each sees what is around it."""
    image, hole = waves
    found = spectral(image, hole)
    monkeypatch.setattr(module, "SQUARE", 64)
    assert (spectral(image, hole).float() - found)[:, torch.from_numpy(hole)].abs().mean() < 1


@pytest.mark.parametrize("shape", [(1, 1, 2), (1, 8, 9), (2, 3, 200), (4, 40, 40)])
def test_small_images_of_any_channels_are_filled(shape):
    image = torch.full(shape, 7, dtype=torch.uint8)
    hole = np.ones(shape[1:], dtype=bool)
    hole[:, 0] = False
    image[:, :, 1:] = 200
    assert (spectral(image, hole) == 7).all()


def test_every_window_over_a_missing_pixel_is_taken():
    """Beside all windows of the grid, one by one."""
    wanted = np.random.default_rng(0).random((90, 100)) < 0.002
    size, step, turn = 32, 12, 4
    found = module._windows(module._holding(wanted, size), step, turn)
    slow = [
        [i, j]
        for i in range(3 * turn % step, 90 - size + 1, step)
        for j in range(5 * turn % step, 100 - size + 1, step)
        if wanted[i : i + size, j : j + size].any()
    ]
    assert found.T.tolist() == slow


def test_in_the_middle_of_a_large_hole_nothing_shines_through(monkeypatch):
    """Around its inner squares nothing is known."""
    monkeypatch.setattr(module, "SQUARE", 32)
    image = torch.full((1, 300, 300), 100, dtype=torch.uint8)
    hole = np.zeros((300, 300), dtype=bool)
    hole[40:260, 40:260] = True
    image[:, torch.from_numpy(hole)] = 250
    assert (spectral(image, hole) == 100).all()


def test_specks_take_small_windows(waves, monkeypatch):
    """Single pixels, and what would be with large windows."""
    image = waves[0]
    hole = np.zeros(image.shape[1:], dtype=bool)
    hole[5::11, 4::9] = True
    seen, holding = [], module._holding
    monkeypatch.setattr(module, "_holding", lambda *of: seen.append(of[1]) or holding(*of))
    small = spectral(image, hole)
    assert set(seen) == {module.WINDOW // 2}
    monkeypatch.setattr(module, "SPECK", 0)
    for found in (small, spectral(image, hole)):
        assert (found.float() - image)[:, torch.from_numpy(hole)].abs().mean() < 4
    assert set(seen) == {module.WINDOW // 2, module.WINDOW}
