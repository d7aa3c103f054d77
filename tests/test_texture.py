"""Holes filled with what the photograph holds elsewhere."""

import numpy as np
import pytest
import torch

from rgflow import load_flow
from rgflow.photographs.restoring import completions, deep_parts, grained, restore
from rgflow.photographs.spectral import spectral
from rgflow.photographs.texture import textured


@pytest.fixture(scope="module")
def tiles():
    """Random tiles that repeat, with a hole wider than 16 pixels, and a thin one."""
    tile = torch.randint(256, (3, 12, 10), generator=torch.Generator().manual_seed(0))
    image = tile.to(torch.uint8).repeat(1, 8, 10)
    hole = np.zeros(image.shape[1:], dtype=bool)
    hole[20:42, 30:52] = hole[60:64, 10:90] = True
    return image, hole


def test_what_repeats_is_found_whatever_the_hole_holds(tiles):
    image, hole = tiles
    damaged = image.clone()
    damaged[:, torch.from_numpy(hole)] = 255
    told = []
    assert torch.equal(textured(damaged, hole, progress=told.append), image)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)


def test_nothing_comes_from_what_is_barred():
    """Stripes that repeat are black on one side, which is barred, and grey on the other."""
    image = (torch.arange(80) % 4 * 20 + 100).to(torch.uint8).repeat(1, 60, 1)
    image[:, :, :40] = 0
    hole, barred = np.zeros((2, 60, 80), dtype=bool)
    hole[20:40, 36:56] = barred[:, :40] = True
    found = textured(image, hole, barred=barred)
    assert found[0][torch.from_numpy(hole)].min() > 90
    assert torch.equal(found[0][torch.from_numpy(~hole)], image[0][torch.from_numpy(~hole)])


@pytest.mark.parametrize("shape", [(8, 9), (9, 200), (40, 40)])
def test_where_nothing_can_be_taken_the_nearest_pixels_are(shape):
    image = torch.full((1, *shape), 7, dtype=torch.uint8)
    hole = np.ones(shape, dtype=bool)
    hole[0] = False
    image[:, 1:] = 200
    assert (textured(image, hole) == 7).all()


def test_wide_holes_come_from_elsewhere(tiles):
    """Few waves don't know these tiles."""
    image, hole = tiles
    flow, deep = load_flow("photos").frozen(), deep_parts(hole)
    assert deep[20:42, 30:52].all()
    assert not deep[60:64].any()
    found = restore(flow, image, hole, sweeps=1)
    guessed, mixed = (
        (one.float() - image)[:, 28:34, 38:44].abs().mean()
        for one in (spectral(image, hole), found)
    )
    assert mixed < 0.5 * guessed
    assert torch.equal(found[:, ~torch.from_numpy(hole)], image[:, ~torch.from_numpy(hole)])
    assert torch.equal(grained(flow, found, deep), found)


def test_completions_of_wide_holes_differ():
    image, hole = torch.randint(90, 170, (3, 70, 80), dtype=torch.uint8), np.zeros((70, 80), bool)
    hole[20:40, 20:40] = hole[50:52, 10:14] = True
    flow, inside = load_flow("photos").frozen(), torch.from_numpy(hole)
    told = []
    made = list(completions(flow, image, hole, 2, particles=4, progress=told.append))
    assert (made[0] != made[1])[:, 20:40, 20:40].float().mean() > 0.5
    assert all(torch.equal(one[:, ~inside], image[:, ~inside]) for one in made)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)
