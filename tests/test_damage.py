"""The network that finds damage in photographs, and damaged photographs to try."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from rgflow.cli import main
from rgflow.data.patches import photograph
from rgflow.photographs import damage, detector, examples
from rgflow.photographs.damage import SENSITIVITY, _edges, find_damage, seen_through
from rgflow.photographs.detector import Detector, examine
from rgflow.photographs.pictures import read
from rgflow.photographs.simulation import Damage, Scan, Simulator
from rgflow.repair.biharmonic import biharmonic


@pytest.fixture(scope="module")
def chelsea():
    return photograph("chelsea", 2)


@pytest.mark.parametrize("name", examples.EXAMPLES)
def test_examples_are_damaged_where_their_masks_say(name):
    file, mask = examples.damaged(name)
    assert 0.001 < mask.mean() < 0.15
    assert file.name.endswith(".png")


@pytest.mark.parametrize("shape", [(1, 1), (5, 90), (37, 53), (300, 48)])
def test_parts_are_the_whole(shape, monkeypatch):
    image = torch.randint(256, (3, *shape), dtype=torch.uint8)
    told, whole = [], find_damage(image).probability
    (_, *all_of_it), hole = next(examine(image)), np.zeros(shape, dtype=bool)
    hole[-1, -1] = hole[shape[0] // 2, shape[1] // 3] = True
    monkeypatch.setattr(detector, "EDGE", 50)
    parts = find_damage(image, progress=told.append).probability
    assert whole.shape == shape
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    for part, *found in examine(image, where=hole):
        for one, right in zip(found, all_of_it, strict=True):
            torch.testing.assert_close(one, right[..., *part], atol=1e-3, rtol=1e-3)
        hole[part] = False
    assert not hole.any()
    assert told == sorted(told)
    assert told[-1] == 1


def test_bands_of_rows_are_the_whole(monkeypatch):
    image = torch.from_numpy(read(examples.damaged("dust")[0]).seen)[:, :90, :200]
    found = []
    for rows in (10_000, 11):
        monkeypatch.setattr(damage, "ROWS", rows)
        found.append(find_damage(image))
    whole, bands = found
    assert (whole.marks > whole.probability).any()  # there are edges
    np.testing.assert_array_equal(bands.probability, whole.probability)
    np.testing.assert_array_equal(bands.marks, whole.marks)


def test_a_pixel_depends_on_no_more_than_its_rim():
    """By derivatives, of a network with other weights, as those of zero would show nothing."""
    torch.manual_seed(0)
    network, size = Detector().eval(), 2 * detector.RIM + 48
    x = torch.rand(1, 3, size, size, requires_grad=True)
    for at in (detector.RIM + 16, detector.RIM + 31):
        (slope,) = torch.autograd.grad(network(255 * x)[0][0, at, at], x)
        rows = slope.abs().sum((0, 1, 3)).nonzero()
        assert at - detector.RIM <= rows.min()
        assert rows.max() <= at + detector.RIM


def test_a_network_that_is_fused_says_the_same():
    """With every parameter random, on a picture whose rows and columns differ."""
    torch.manual_seed(0)
    network = Detector().double().eval()
    for x in (*network.parameters(), *network.buffers()):
        if x.is_floating_point():
            x.data = (
                torch.rand_like(x) if x.ndim == 1 else 3 * torch.randn_like(x) / x[0].numel() ** 0.5
            )
    x = 255 * torch.rand(1, 3, 48, 64, dtype=torch.float64)
    with torch.no_grad():
        slow = network(x)
        for one, right in zip(network.fused()(x), slow, strict=True):
            torch.testing.assert_close(one, right)
    assert slow[0].std() > 0.1


def test_grey_pictures_are_like_those_of_three_equal_channels(chelsea):
    grey = torch.from_numpy(chelsea[:1])
    one, three = (find_damage(x).probability for x in (grey, grey.expand(3, -1, -1)))
    assert np.array_equal(one, three)


@pytest.mark.parametrize("quality", [None, 75])
@pytest.mark.parametrize("name", ["scratches", "dust", "hairs"])
def test_soft_damage_is_found_in_a_photograph_that_was_not_learned(name, quality):
    """Much of it: the network knows it from the picture, but says so of few pixels."""
    kind = Damage.kinds[name](opacity=(0.6, 0.9), shades=((225, 255),))
    lossy = float(quality is not None)
    scan = Scan(blur=(0.3, 0.3), noise=(1, 1), compressed=lossy, quality=(75, 75))
    simulator = Simulator(chances=((kind, 1),), scan=scan)
    truth, odds, marked = [], [], []
    for seed in (11, 12, 13):
        made = simulator(photograph("coffee", 2), np.random.default_rng(seed))
        found = find_damage(torch.from_numpy(made.picture))
        truth.append(made.mask.ravel())
        odds.append(found.probability.ravel())
        marked.append(found.found.ravel())
    mask = np.concatenate(truth)
    assert mask.sum() > 100
    assert roc_auc_score(mask, np.concatenate(odds)) > 0.96
    assert np.concatenate(marked)[mask].mean() > 0.4


@pytest.mark.parametrize(("name", "share"), [("pixels", 0.9), ("blocks", 0.95), ("scratches", 0.3)])
def test_much_of_an_example_is_found(name, share):
    file, seen = examples.damaged(name)
    found = find_damage(torch.from_numpy(read(file).seen)).found
    assert (found & seen).sum() >= share * seen.sum()


@pytest.mark.parametrize("mode", ["RGB", "palette", "dithered", "black and white"])
def test_little_is_found_where_nothing_is_damaged(mode):
    found = []
    for name in ("astronaut", "coffee"):
        image = Image.fromarray(photograph(name, 2).transpose(1, 2, 0))
        if mode == "black and white":
            image = image.convert("L")
        elif mode != "RGB":
            dither = Image.Dither.FLOYDSTEINBERG if mode == "dithered" else Image.Dither.NONE
            image = image.quantize(256, dither=dither)
        pixels = np.asarray(image.convert("RGB")).transpose(2, 0, 1).copy()
        found.append(find_damage(torch.from_numpy(pixels)).found.mean())
    assert np.mean(found) < 0.003


def test_shapes_of_one_colour_are_found_whole(chelsea):
    """A network that sees only a part of a line is told the rest by its colour."""
    image, hole = chelsea.copy(), np.zeros(chelsea.shape[1:], dtype=bool)
    hole[20:100, 30:33] = hole[50, 10:120] = True
    for colour in (0, 128, 255):
        image[:, hole] = colour
        found = find_damage(torch.from_numpy(image)).found
        assert found[hole].mean() > 0.98
        assert (found & ~hole).sum() < 0.1 * hole.sum()


def test_soft_edges_of_what_is_surely_damaged_are_marked():
    probability = np.zeros((30, 30), dtype=np.float32)
    probability[8:10, 5:25] = 0.9
    probability[6:8, 5:25] = 0.2
    probability[20:22, 5:25] = 0.6  # not surely
    probability[27, 15] = 1  # a pixel alone
    marked = _edges(probability) > 0.5
    expected = np.zeros_like(marked)
    expected[6:11, 5:25] = expected[7:11, [4, 25]] = True
    assert np.array_equal(marked, expected)


def test_what_shines_through_improves_what_fills_a_hole(chelsea):
    kind = Damage.kinds["scratches"](opacity=(0.3, 0.5), shades=((225, 255),), width=(2, 4))
    simulator = Simulator(chances=((kind, 1),), scan=Scan(noise=(1, 1), compressed=0))
    made = simulator(chelsea, np.random.default_rng(3))
    image, truth = torch.from_numpy(made.picture), made.truth.astype(float)
    filled = biharmonic(image[None], made.mask)[0]
    better = seen_through(image, made.mask, filled).numpy()
    before, after = (np.square(x - truth)[:, made.mask].mean() for x in (filled.numpy(), better))
    assert after < 0.9 * before
    assert np.array_equal(better[:, ~made.mask], filled.numpy()[:, ~made.mask])
    again = seen_through(image, made.mask, filled, find_damage(image)).numpy()
    assert np.abs(again.astype(int) - better).max() <= 1
    grey = seen_through(image[:1], made.mask, filled[:1])
    assert grey.shape == filled[:1].shape


def test_the_command_has_the_same_sensitivity(capsys):
    with pytest.raises(SystemExit):
        main(["repair", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert f"a probability above 1 − sensitivity (type: float, default: {SENSITIVITY})" in words


def test_what_is_found_grows_with_the_sensitivity(chelsea):
    damaged = chelsea.copy()
    damaged[:, 20:100, 30] = 250
    image = torch.from_numpy(damaged)
    found = [find_damage(image, sensitivity=x).found for x in (0, 0.3, 0.5, 0.99, 1)]
    assert not found[0].any()
    assert found[1][20:100, 30].mean() > 0.9
    for fewer, more in pairwise(found):
        assert not (fewer & ~more).any()
    assert found[-1].all()
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="Expected sensitivity to be at"):
            find_damage(image, sensitivity=wrong)
