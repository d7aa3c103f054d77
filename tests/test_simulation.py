"""Simulated damage of photographs."""

import numpy as np
import pytest

from rgflow.data.patches import photograph
from rgflow.photographs import drawing, simulation
from rgflow.photographs.simulation import VISIBLE, Damage, Scan, Simulator

UNSCANNED = Scan(blur=(0, 0), noise=(0, 0), gain=(1, 1), gamma=(1, 1), compressed=0)


@pytest.fixture(scope="module")
def chelsea():
    return photograph("chelsea", 2)


@pytest.mark.parametrize("softness", [0, 1.5])
@pytest.mark.parametrize("width", [0.75, 2.5, 6])
def test_lines_cover_as_much_as_they_are_wide(width, softness):
    """However soft they are, and wherever they lie between pixels."""
    canvas = drawing.Canvas((40, 60))
    canvas.line(np.array([(-20, 19.3), (80, 19.3)]), width, 0.8)
    covered = canvas.softened(softness)
    np.testing.assert_allclose(covered[:, 30].sum(), 0.8 * width, rtol=0.1)
    assert covered.max() <= 0.81


def test_numbers_between_have_uniform_logarithms():
    random = np.random.default_rng(0)
    found = np.array([drawing.between(random, (1, 100)) for _ in range(4000)])
    assert found.min() >= 1
    assert found.max() <= 100
    assert abs(np.median(found) - 10) < 1
    found = np.array([drawing.between(random, (-1, 3)) for _ in range(4000)])
    assert abs(found.mean() - 1) < 0.1


@pytest.mark.parametrize("size", [2.5, 7, 50])
def test_clouds_have_unit_variance(size):
    found = drawing.clouds((300, 420), size, np.random.default_rng(0))
    assert found.shape == (300, 420)
    assert 0.75 < found.std() < 1.3
    assert np.abs(np.diff(found, axis=0)).mean() < 1.5 / size


@pytest.mark.parametrize("kind", Damage.kinds)
def test_every_kind_of_damage(kind, chelsea):
    """The same seed makes the same; only what is covered changes; what hides is in the mask where
    it is seen, and nothing else is."""
    make = Simulator(chances=((Damage.from_dict(kind), 1),), scan=UNSCANNED)
    covered = changed = False
    for seed in range(4):
        one, same = (make(chelsea, np.random.default_rng(seed)) for _ in range(2))
        for name in ("picture", "truth", "mask", "opacity"):
            assert np.array_equal(getattr(one, name), getattr(same, name))
        assert (one.picture.dtype, one.picture.shape) == (np.uint8, chelsea.shape)
        assert 0 <= one.opacity.min() <= one.opacity.max() <= 1
        change = np.abs(one.picture.astype(int) - chelsea).max(0)
        if one.mask.any():
            assert change[one.mask].min() >= VISIBLE
        hides = Damage.kinds[kind].hides
        assert np.array_equal(one.truth, chelsea if hides else one.picture)
        if hides:
            assert change[~one.mask].max() <= VISIBLE + 1
            assert change[one.opacity == 0].max() == 0
            covered = covered or one.mask.any()
        else:
            assert not one.mask.any()
            assert one.opacity.max() == 0
        changed = changed or change.max() > VISIBLE
    assert changed
    assert covered == Damage.kinds[kind].hides


def test_what_comes_after_the_scan_has_hard_edges(chelsea):
    shapes = simulation.Scratches(digital=True, shades=((255, 255),), tint=0, grain=(0, 0))
    made = Simulator(chances=((shapes, 1),))(chelsea, np.random.default_rng(0))
    assert set(np.unique(made.opacity)) == {0, 1}
    assert made.mask.any()
    assert (made.opacity[made.mask] == 1).all()


def test_the_scan_changes_the_truth_as_the_picture(chelsea):
    """But for noise and compression; so what isn't damaged differs by these alone."""
    scan = Scan(blur=(0.5, 0.5), noise=(2, 2), gain=(0.9, 0.9), gamma=(1.2, 1.2), compressed=0)
    made = Simulator(chances=(), scan=scan)(chelsea, np.random.default_rng(0))
    error = made.picture.astype(float) - made.truth
    assert abs(error.mean()) < 0.1
    assert abs(error.std() - 2) < 0.2
    assert made.truth.mean() < 0.9 * chelsea.mean()
    compressed = Simulator(chances=(), scan=Scan(compressed=1, noise=(0, 0), quality=(60, 60)))
    again = compressed(chelsea, np.random.default_rng(0))
    assert 0.5 < np.abs(again.picture.astype(float) - again.truth).mean() < 8


def test_settings_are_checked():
    with pytest.raises(ValueError, match=r"damage scratches: .* got 'widht' \(nearest: width\)"):
        simulation.Scratches(widht=(1, 2))
    with pytest.raises(ValueError, match="Expected"):
        simulation.Scratches(width=3)
