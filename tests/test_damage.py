"""The network that finds damage in photographs, and damaged photographs to try."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from rgflow.data.patches import photograph
from rgflow.photographs import detector, examples
from rgflow.photographs.damage import find_damage
from rgflow.photographs.detector import Detector, probabilities
from rgflow.photographs.simulation import Damage, Scan, Simulator


@pytest.fixture(scope="module")
def chelsea():
    return photograph("chelsea", 2)


@pytest.mark.parametrize("name", examples.EXAMPLES)
def test_examples_are_damaged_where_their_masks_say(name):
    file, mask = examples.damaged(name)
    assert 0.001 < mask.mean() < 0.15
    assert file.name.endswith(".png")


@pytest.mark.parametrize("shape", [(1, 1), (5, 90), (37, 53), (300, 48)])
def test_strips_are_the_whole(shape, monkeypatch):
    image = torch.randint(256, (3, *shape), dtype=torch.uint8)
    told, whole = [], probabilities(image)
    monkeypatch.setattr(detector, "STRIP_PIXELS", 1)
    strips = probabilities(image, progress=told.append)
    assert whole.shape == shape
    np.testing.assert_allclose(strips, whole, atol=1e-5)
    assert told == sorted(told)
    assert told[-1] == 1


def test_a_pixel_depends_on_no_more_than_its_rim():
    """By derivatives, of a network with other weights, as those of zero would show nothing."""
    torch.manual_seed(0)
    network, size = Detector().eval(), 2 * detector.RIM + 48
    x = torch.rand(1, 3, size, size, requires_grad=True)
    for at in (detector.RIM + 16, detector.RIM + 31):
        (slope,) = torch.autograd.grad(network(255 * x)[0, at, at], x)
        rows = slope.abs().sum((0, 1, 3)).nonzero()
        assert at - detector.RIM <= rows.min()
        assert rows.max() <= at + detector.RIM


def test_grey_pictures_are_like_those_of_three_equal_channels(chelsea):
    grey = torch.from_numpy(chelsea[:1])
    assert np.array_equal(probabilities(grey), probabilities(grey.expand(3, -1, -1)))


@pytest.mark.parametrize("quality", [None, 75])
@pytest.mark.parametrize("name", ["scratches", "dust", "hairs", "specks", "text"])
def test_soft_damage_is_found_in_a_photograph_that_was_not_learned(name, quality, chelsea):
    kind = Damage.kinds[name](opacity=(0.6, 0.9), shades=((225, 255),))
    scan = Scan(blur=(0.3, 0.3), noise=(1, 1), compressed=quality is not None, quality=(75, 75))
    made = Simulator(chances=((kind, 1),), scan=scan)(chelsea, np.random.default_rng(11))
    found = find_damage(torch.from_numpy(made.picture))
    assert made.mask.sum() > 30
    assert roc_auc_score(made.mask.ravel(), found.probability.ravel()) > 0.95
    assert (found.found & made.mask).sum() > 0.6 * made.mask.sum()


def test_what_is_found_grows_with_the_sensitivity(chelsea):
    damaged = chelsea.copy()
    damaged[:, 20:100, 30] = 250
    image = torch.from_numpy(damaged)
    found = [find_damage(image, sensitivity=x).found for x in (0, 0.1, 0.5, 0.99, 1)]
    assert not found[0].any()
    assert found[1][20:100, 30].mean() > 0.9
    for fewer, more in pairwise(found):
        assert not (fewer & ~more).any()
    assert found[-1].all()
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="Expected sensitivity to be at"):
            find_damage(image, sensitivity=wrong)
