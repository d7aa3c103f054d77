"""MSDS1 and MSDS2 against a literal reference, the measured statistics, and their own labels."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import stats

from rgflow.data import load, msds
from rgflow.data.images import Array, Pixels
from rgflow.data.source import SPLITS, Split

KINDS: tuple[msds.Kind, ...] = ("msds1", "msds2")


def literal(ovals: Array) -> Pixels:
    """One image, step by step as the paper's generator has it."""
    image = Image.new("RGB", (32, 32), (0, 0, 0))
    for i in range(4):
        for j in range(4):
            x, y, angle, r, g, b = ovals[i, j].tolist()
            tile = Image.new("RGBA", (8, 8), (255, 255, 255, 0))
            ImageDraw.Draw(tile).ellipse((1, 3, 7, 5), (int(r), int(g), int(b), 255))
            tile = tile.rotate(angle, resample=Image.Resampling.BICUBIC)
            image.paste(tile, (int(x), int(y)), mask=tile)
    return np.asarray(image).transpose(2, 0, 1)


def drawn(
    kind: msds.Kind, count: int, split: Split = "train", seed: int = 0
) -> tuple[Pixels, msds.Labels]:
    """All images in one chunk, and their labels."""
    whole = msds.stream(kind, count, split=split, seed=seed, workers=0, chunk=count)
    return next(whole)[:2]


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest) -> tuple[msds.Kind, Pixels, msds.Labels]:
    return request.param, *drawn(request.param, 2_000)


@pytest.mark.parametrize("kind", KINDS)
def test_same_bytes_as_the_literal_generator(kind: msds.Kind) -> None:
    images, labels = drawn(kind, 200, seed=3)
    for image, ovals in zip(images, labels["ovals"], strict=True):
        np.testing.assert_array_equal(image, literal(ovals))


@pytest.mark.parametrize("angle", [0, 90, 180, 1e-3, 179.999])
def test_same_bytes_at_special_angles(angle: float) -> None:
    """Pillow has shortcuts for right angles."""
    ovals = msds.sample("msds1", 1, split="train", seed=0, start=0)["ovals"]
    ovals[..., 2] = angle
    np.testing.assert_array_equal(msds.draw(ovals)[0], literal(ovals[0]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("workers", "chunk"), [(0, 7), (1, 50), (2, 16), (3, 1_000)])
def test_bytes_depend_on_neither_workers_nor_chunks(
    kind: msds.Kind, workers: int, chunk: int
) -> None:
    images, labels = drawn(kind, 60, split="test", seed=1)
    chunks = list(msds.stream(kind, 60, split="test", seed=1, workers=workers, chunk=chunk))
    np.testing.assert_array_equal(np.concatenate([c.images for c in chunks]), images)
    for name, label in labels.items():
        np.testing.assert_array_equal(np.concatenate([c.labels[name] for c in chunks]), label)


@pytest.mark.parametrize("kind", KINDS)
def test_images_are_reached_by_number(kind: msds.Kind) -> None:
    images, labels = drawn(kind, 10)
    np.testing.assert_array_equal(msds.endless(kind)(6, 4), images[6:])
    later = msds.sample(kind, 4, split="train", seed=0, start=6)
    np.testing.assert_array_equal(later["ovals"], labels["ovals"][6:])


def test_streams_differ() -> None:
    """By kind, split and seed; the splits share no image."""
    streams = [
        drawn(kind, 3, split=split, seed=seed)[0].tobytes()
        for kind in KINDS
        for split in SPLITS
        for seed in (0, 1)
    ]
    assert len(set(streams)) == len(streams)


def test_bytes_never_change() -> None:
    """Labels come from integer arithmetic alone, so they're the same on every machine."""
    ovals = msds.sample("msds1", 1_000, split="train", seed=0, start=0)["ovals"]
    assert hashlib.sha256(ovals.astype("<f4").tobytes()).hexdigest()[:16] == "fb61851d03a26bb4"


def test_statistics(made: tuple[msds.Kind, Pixels, msds.Labels]) -> None:
    """The shares of zeros and of black pixels were measured on the released generators."""
    kind, images, labels = made
    assert (images == 0).mean() == pytest.approx({"msds1": 0.595, "msds2": 0.602}[kind], abs=3e-3)
    assert (images == 0).all(axis=1).mean() == pytest.approx(0.587, abs=3e-3)

    ovals = labels["ovals"]
    i, j = np.arange(4)[:, None], np.arange(4)
    for jitter in (ovals[..., 0] - 8 * i, ovals[..., 1] - 8 * j):
        values, counts = np.unique(jitter, return_counts=True)
        assert values.tolist() == [-1, 0, 1]
        assert counts / jitter.size == pytest.approx(1 / 3, abs=0.01)
    angle, colour = ovals[..., 2], ovals[..., 3:]
    if kind == "msds1":
        base = labels["base_colour"]
        assert (base.min(), base.max()) == (32, 223)
        offset = colour - base[:, None, None]
        assert (offset.min(), offset.max()) == (-32, 32)
        assert base.mean() == pytest.approx(127.5, abs=3)
        assert np.unique(offset, return_counts=True)[1] / offset.size == pytest.approx(
            1 / 65, rel=0.15
        )
    else:
        base = labels["base_angle"]
        assert base.min() >= 0
        assert base.max() <= 180
        assert base.mean() == pytest.approx(90, abs=4)
        angle = angle - base[:, None, None]
        assert (colour.min(), colour.max()) == (0, 255)
        assert colour.mean() == pytest.approx(127.5, abs=1)
    top = 180 if kind == "msds1" else 45
    assert angle.min() >= -1e-4
    assert angle.max() == pytest.approx(top, rel=1e-2)
    assert angle.max() <= top + 1e-4
    assert angle.mean() == pytest.approx(top / 2, rel=0.02)
    np.testing.assert_array_equal(ovals[..., [0, 1, 3, 4, 5]] % 1, 0)


def test_numbers_are_uniform_and_independent(made: tuple[msds.Kind, Pixels, msds.Labels]) -> None:
    """Kolmogorov-Smirnov and chi-squared tests; a fixed seed, so that none fails by chance."""
    kind, _, labels = made
    ovals = labels["ovals"]
    angle, colour = ovals[..., 2], ovals[..., 3:]
    if kind == "msds1":
        own = angle / 180
        assert stats.chisquare(_counts(labels["base_colour"], 32, 223)).pvalue > 0.01
        assert stats.chisquare(_counts(offsets(labels), -32, 32)).pvalue > 0.01
    else:
        own = (angle - labels["base_angle"][:, None, None]) / 45
        assert stats.kstest(labels["base_angle"] / 180, "uniform").pvalue > 0.01
        assert stats.chisquare(_counts(colour, 0, 255)).pvalue > 0.01
    assert stats.kstest(own.ravel(), "uniform").pvalue > 0.01
    # What an oval has of its own says nothing of another oval's, of a channel of another.
    deviations = np.concatenate(
        [
            (ovals[..., :2] % 8).reshape(len(ovals), -1),
            own.reshape(len(ovals), -1),
            (offsets(labels) if kind == "msds1" else colour).reshape(len(ovals), -1),
        ],
        axis=1,
    )
    correlations = np.corrcoef(deviations, rowvar=False) - np.eye(deviations.shape[1])
    assert np.abs(correlations).max() < 5 / np.sqrt(len(ovals))


def test_what_an_image_shares(made: tuple[msds.Kind, Pixels, msds.Labels]) -> None:
    """The colour in MSDS1 and the orientation in MSDS2, within the ranges of the ovals' own."""
    kind, _, labels = made
    colour = np.ptp(labels["ovals"][..., 3:], axis=(1, 2))
    angle = np.ptp(labels["ovals"][..., 2], axis=(1, 2))
    if kind == "msds1":
        assert colour.max() <= 64
        assert np.median(angle) > 120
    else:
        assert angle.max() <= 45
        assert np.median(colour) > 180


def offsets(labels: msds.Labels) -> Array:
    """What the colours of the ovals differ by from their image's."""
    difference: Array = labels["ovals"][..., 3:] - labels["base_colour"][:, None, None]
    return difference


def _counts(values: Array, low: int, high: int) -> Array:
    return np.bincount(values.astype(int).ravel() - low, minlength=high - low + 1)


def test_labels_describe_the_image(made: tuple[msds.Kind, Pixels, msds.Labels]) -> None:
    """The middle of an oval has its colour: column i, row j, x to the right, RGB.

    Within a third: the rotation's centre is half a pixel from the ellipse's, so the middle is
    up to 17 % brighter (overshoot of the bicubic kernel) or, past 180 degrees, a quarter darker.
    """
    _, images, labels = made
    x, y = labels["ovals"][..., :2].astype(int).transpose(3, 0, 1, 2)
    n = np.arange(len(images))[:, None, None]
    middle = images[n, :, y + 4, x + 4].astype(float)  # [N, i, j, C]
    colour = labels["ovals"][..., 3:]
    assert (np.abs(middle - colour) <= 0.3 * colour + 2).all()
    assert np.median(np.abs(middle - colour)) <= 5


def test_labels_are_all_there_is(made: tuple[msds.Kind, Pixels, msds.Labels]) -> None:
    _, images, labels = made
    np.testing.assert_array_equal(msds.draw(labels["ovals"][:50]), images[:50])


def test_a_script_needs_no_main_guard() -> None:
    """Workers don't run the user's script again, as those of multiprocessing would."""
    made = "next(msds.stream('msds1', 4, workers=2)).images"
    script = f"from rgflow.data import msds; print({made}.shape)"
    code = f"import sys; sys.path[:] = {sys.path!r}\n{script}"
    done = subprocess.run(
        [sys.executable, "-"], input=code, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "(4, 3, 32, 32)\n"
    assert not done.stderr


def test_errors() -> None:
    with pytest.raises(ValueError, match="Expected kind to be msds1 or msds2; got 'msds3'"):
        msds.stream("msds3", 4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Expected count to be at least 1; got 0"):
        msds.stream("msds1", 0)
    message = "Expected msds1 at its only size, .*; got 64, 32, 3 and crop None"
    with pytest.raises(ValueError, match=message):
        load("msds1", height=64)
    with pytest.raises(ValueError, match="got 32, 32, 1 and crop None"):
        load("msds1", channels=1)
    with pytest.raises(ValueError, match="got 32, 32, 3 and crop 16"):
        load("msds1", crop=16)
