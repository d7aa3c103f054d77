"""Holes filled with another place of a photograph."""

import numpy as np
import pytest
import torch

from rgflow import load_flow
from rgflow.data.patches import photograph
from rgflow.photographs.copying import copied


@pytest.fixture(scope="module")
def flow():
    return load_flow("photos").frozen()


def test_what_fits_best_comes_first(flow):
    """The same texture, shifted by three pixels, and darker: both are made good."""
    tile = torch.from_numpy(photograph("china")[:, 300:340, 100:160] // 2 + 50)
    darker = tile - 25
    image, hole = torch.cat([tile, darker], 2), np.zeros((40, 120), dtype=bool)
    hole[12:22, 20:34] = True
    found = copied(flow, image, hole, 3, 58)
    assert len(found) == 4
    assert [one.nats for one in found] == sorted(one.nats for one in found)
    inside = torch.from_numpy(hole)
    for one in found:
        assert torch.equal(one.image[:, ~inside], image[:, ~inside])
    off = [(one.image.float() - image)[:, inside].abs().mean().item() for one in found]
    ways = {one.how: mean for one, mean in zip(found, off, strict=True)}
    right = "blended, from 2 pixels right and 3 pixels up of the place"
    assert ways[right] < 1  # where the same pixels are
    assert found[-1].how == "as it is"
    assert off[-1] == max(off)
    as_it_is = found[-1]
    assert torch.equal(as_it_is.image[:, 12:22, 20:34], image[:, 15:25, 78:92])


def test_places_that_dont_fit_are_refused(flow):
    image, hole = torch.zeros(3, 40, 60, dtype=torch.uint8), np.zeros((40, 60), dtype=bool)
    hole[10:14, 10:14] = True
    for down, across in ((0, 3), (-11, 0), (0, 47), (27, 0)):
        with pytest.raises(ValueError, match="a place inside the picture that isn't marked itself"):
            copied(flow, image, hole, down, across)
    hole = np.zeros((500, 500), dtype=bool)
    hole[:480] = True
    image = torch.zeros(3, 500, 500, dtype=torch.uint8)
    with pytest.raises(ValueError, match="at most 200,000 marked pixels to copy to; got 240,000"):
        copied(flow, image, hole, 0, 0)
