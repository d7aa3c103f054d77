"""Patches of photographs: where they are cut from, and that no split sees another's pixels."""

import socket
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from rgflow.cli import main
from rgflow.data import SOURCES, Images, load, patches
from rgflow.data.images import Array
from rgflow.data.patches import FILES, PHOTOGRAPHS
from rgflow.data.source import SPLITS, Request, Split

SEEN = 400
"""Patches that are looked at of each split."""


def photograph(name: str) -> Array:
    package, inside = FILES[name]
    with Image.open(str(distribution(package).locate_file(inside))) as image:
        return np.asarray(image.convert("RGB"))


def used(data: Images, height: int = 32, width: int = 32) -> list[Array]:
    """Which pixels of each photograph [H, W] the patches are made from, as their labels say."""
    masks = [np.zeros(photograph(name).shape[:2], bool) for name in PHOTOGRAPHS]
    labels = (data.labels[name].tolist() for name in ("photograph", "scale", "row", "column"))
    for number, scale, row, column in zip(*labels, strict=True):
        part = masks[number][row : row + scale * height, column : column + scale * width]
        assert part.shape == (scale * height, scale * width)
        part[:] = True
    return masks


def test_a_patch_is_the_average_of_what_its_labels_say() -> None:
    data = load("patches", count=30)
    for n, image in enumerate(data.images):
        number, scale, row, column = (int(data.labels[name][n]) for name in patches.LABELS)
        pixels = photograph(PHOTOGRAPHS[number])[row:, column:].astype(float)
        for y, x in ((0, 0), (31, 31), (7, 20)):
            square = pixels[scale * y : scale * (y + 1), scale * x : scale * (x + 1)]
            np.testing.assert_allclose(image[:, y, x], square.mean((0, 1)), atol=0.5001)


@pytest.mark.parametrize("name", ["patches", "patches:chelsea", "patches:flower"])
def test_splits_share_no_pixel(name: str) -> None:
    """Nor do they touch: there is a gap of at least 16 pixels, a block of JPEG's colours."""
    masks = {split: used(load(name, split, count=SEEN)) for split in SPLITS}
    for number in range(len(PHOTOGRAPHS)):
        wider = {
            s: ndimage.maximum_filter(m[number], 33) for s, m in masks.items() if m[number].any()
        }
        for split, near in wider.items():
            for other in wider.keys() - {split}:
                assert not (near & masks[other][number]).any()


@pytest.mark.parametrize("split", SPLITS)
def test_every_photograph_and_scale_has_its_share(split: Split) -> None:
    data = load("patches", split)
    assert len(data) == {"train": 50_000, "validation": 1_000, "test": 2_000}[split]
    for label, values in (("photograph", range(7)), ("scale", (1, 2, 4))):
        found, counts = np.unique(data.labels[label], return_counts=True)
        assert found.tolist() == list(values)
        assert counts.min() > 0.75 * len(data) / len(values)


def test_training_reaches_two_thirds_of_every_photograph() -> None:
    for mask in used(load("patches", count=20_000)):
        assert 0.58 < mask.mean() < 0.68


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_one_photograph_is_left_for_the_test(name: str) -> None:
    number = PHOTOGRAPHS.index(name)
    numbers = {
        split: set(load(f"patches:{name}", split, count=200).labels["photograph"].tolist())
        for split in SPLITS
    }
    assert numbers["test"] == {number}
    assert numbers["train"] == numbers["validation"] == set(range(7)) - {number}


def test_a_left_out_photograph_is_tested_everywhere() -> None:
    mask = used(load("patches:china", "test"))[PHOTOGRAPHS.index("china")]
    assert mask.mean() > 0.98


def test_places_are_uniform() -> None:
    """Also over two regions: the share of patches in each is that of its places."""
    data = load("patches:flower", count=20_000)
    small = (data.labels["scale"] == 1) & (data.labels["photograph"] == 0)
    held_out = data.labels["column"][small] >= 512 - 154
    width, right = 512 - 154 - 32, 154
    places = (512 - 31) * (width - 31), (272 - 32 - 31) * (right - 31)
    share = places[1] / sum(places)
    assert held_out.mean() == pytest.approx(share, abs=4 * (share / small.sum()) ** 0.5)
    rows = data.labels["row"][small & (data.labels["column"] < width)]
    assert rows.mean() == pytest.approx(480 / 2, abs=4 * 139 / len(rows) ** 0.5)


def test_power_falls_as_in_natural_images() -> None:
    """Nearly alike at all scales, with about the square or the cube of the frequency."""
    data = load("patches", count=3_000, channels=1)
    k = np.hypot(*np.meshgrid(np.fft.fftfreq(32, 1 / 32), np.fft.fftfreq(32, 1 / 32)))
    rings = [(k >= q - 0.5) & (k < q + 0.5) for q in range(2, 16)]
    for scale in (1, 2, 4):
        grey = data.images[data.labels["scale"] == scale][:, 0].astype(float)
        grey -= grey.mean((1, 2), keepdims=True)
        power = (np.abs(np.fft.fft2(grey * np.outer(*[np.hanning(32)] * 2))) ** 2).mean(0)
        slope = np.polyfit(np.log(range(2, 16)), np.log([power[r].mean() for r in rings]), 1)[0]
        assert -3.3 < slope < -2.3


def test_bytes_depend_on_seed_and_number_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    data = load("patches", count=50)
    monkeypatch.setattr(patches, "CHUNK", 7)
    for seed, same in ((0, True), (1, False)):
        monkeypatch.setenv("RGFLOW_CACHE", f"{data.folder}-{seed}")  # made anew
        other = load("patches", count=40, seed=seed)
        assert (other.images == data.images[:40]).all() == same
        assert all((other.labels[k] == data.labels[k][:40]).all() == same for k in patches.LABELS)
    assert load("patches", count=10, seed=1).folder == other.folder


def test_other_photographs_make_another_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the package is called, and even if the file has the same name, size and time."""

    def settings() -> dict[str, Any]:
        return SOURCES["patches"](Request(name="patches")).settings

    before, content = settings(), patches.file_of
    assert before == settings()
    monkeypatch.setattr(patches, "file_of", lambda name: content(name) + b"\0")
    assert before != settings()


@pytest.mark.parametrize(
    ("size", "scales"),
    [((32, 32), {1, 2, 4}), ((64, 64), {1, 2}), ((16, 48), {1, 2}), ((134, 135), {1})],
)
def test_sizes(size: tuple[int, int], scales: set[int]) -> None:
    """Those scales are used at which a patch fits into every region."""
    for split in SPLITS:
        data = load("patches", split, height=size[0], width=size[1], channels=1, count=60)
        assert data.images.shape == (60, 1, *size)
        assert set(data.labels["scale"].tolist()) == scales
        used(data, *size)


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> NoReturn:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket, "socket", refuse)
    assert len(load("patches", count=3)) == 3


def test_a_photograph_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILES, "china", ("scikit-learn", "sklearn/china.jpg"))
    message = "Expected the photograph china, which is in scikit-learn's wheel, in .*; got no such"
    with pytest.raises(FileNotFoundError, match=message):
        load("patches")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("patches:Chelsae", {}, "astronaut, .*; got 'Chelsae' .nearest: chelsea"),
        ("patches:", {}, "Expected the photograph to be one of astronaut, .*; got ''"),
        ("patch", {}, "got 'patch' .nearest: patches"),
        ("patches", {"height": 135}, "of at most 134 x 135 pixels; got height 135, width 32"),
        ("patches:chelsea", {"width": 600}, "of at most 184 x 154 pixels; got height 32"),
        ("patches", {"channels": 2}, r"Expected channels to be 1 .grey. or 3 .colour.; got 2"),
        ("patches", {"crop": 16}, "Expected no crop of patches; got 16"),
    ],
)  # fmt: skip
def test_errors(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(name, **options)


def test_a_flow_learns_and_is_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    words = "--model.height 8 --model.width 8 --model.levels 1 --model.map.hidden 8 --compile false"
    words += " --train_count 200 --validate_count 10 --batch_size 8 --steps 3 --flip true"
    words += " --data patches:rocket"
    assert main(["train", "msds1-tiny", *words.split(), "--out", str(run)]) == 0
    assert main(["evaluate", str(run), "--count", "20"]) == 0
    assert "patches:rocket" in capsys.readouterr().out
    assert main(["train", "--data", "patches:rokcet", "--steps", "1"]) == 2
    assert "nearest: rocket" in capsys.readouterr().err
