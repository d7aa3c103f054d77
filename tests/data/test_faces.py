"""Drawn faces: labels against pixels, factor by factor; how often there is what."""

import hashlib
import platform
from collections.abc import Collection
from importlib.metadata import version

import numpy as np
import pytest
from scipy import ndimage, stats

from rgflow import checks
from rgflow.analysis.labels import labels_of
from rgflow.data import faces, load
from rgflow.data.images import Array, Pixels
from rgflow.data.source import SPLITS, Split

pytest.importorskip("python_avatars", reason="without the extra faces")
pytest.importorskip("resvg_py", reason="without the extra faces")

CONTINUOUS = ("shift", "turn", "light")
BOXES = {  # left, top, right, bottom, in units of the drawing
    "hair_class": (12, 0, 256, 262),
    "hat_class": (8, 0, 256, 252),
    "brows_class": (84, 80, 180, 106),
    "eyes_class": (88, 96, 176, 128),
    "nose_class": (116, 126, 148, 142),
    "mouth_class": (100, 138, 164, 180),
    "beard_class": (72, 96, 194, 220),
    "glasses_class": (64, 88, 200, 140),
    "clothes_class": (32, 180, 232, 262),
}
"""Where each factor may change a face that is neither shifted nor turned."""
HARDEST = {"nose_class": 12, "brows_class": 16, "beard_class": 14}
"""Grey levels by which two classes differ at least in some pixel of any face; of others, 20."""


def sample(count: int, *, plain: bool = True, split: Split = "train") -> faces.Labels:
    """Labels of faces, in plain ones without shifts, turns and light."""
    labels = faces.sample("faces", count, split=split, seed=0, start=0)
    return labels | {name: 0 * labels[name] for name in CONTINUOUS} if plain else labels


def with_class(labels: faces.Labels, label: str, k: int) -> faces.Labels:
    """The same faces with this class of one factor, and what that brings along."""
    name = label.removesuffix("_class").removesuffix("_colour")
    count = len(labels["turn"])
    changed = {label: np.full(count, k)}
    if label in ("hair_class", "hat_class"):  # they share a place
        other = {"hair_class": "hat_class", "hat_class": "hair_class"}[label]
        changed |= {other: np.zeros(count, np.int64)}
    if label.endswith("colour_class"):
        code = list(faces.COLOURS[name].values())[k]
        rgb = [*bytes.fromhex(code[1:])]
        changed |= {f"{name}_colour": np.tile(np.array(rgb, np.float32), (count, 1))}
    return labels | changed


def shown(labels: faces.Labels, label: str) -> faces.Labels:
    """Those of the faces that have what a colour is of."""
    name = label.removesuffix("_colour_class")
    there = labels[label] > 0 if "none" in faces.CLASSES[label] else labels[label] >= 0
    return {one: rows[there] for one, rows in labels.items()} if name in faces.COLOURS else labels


def apart(count: int, size: int, labels: Collection[str] = faces.CLASSES) -> dict[str, int]:
    """By factor, the grey levels by which the pixels of two of its classes differ at least, in the
    pixel where they differ most, in any of the faces."""
    found = {}
    for label in labels:
        colour = label.endswith("colour_class")
        base = shown(sample(count), label)
        one = [
            faces.draw(with_class(base, label, k), size).astype(int)
            for k, name in enumerate(faces.CLASSES[label])
            if not (colour and name == "none")
        ]
        found[label] = min(
            np.abs(a - b).max((1, 2, 3)).min() for n, a in enumerate(one) for b in one[:n]
        )
    return found


def drawn(
    kind: str, count: int, split: Split = "train", seed: int = 0
) -> tuple[Pixels, faces.Labels]:
    """All images, 32 pixels large, and their labels."""
    chunks = list(faces.stream(kind, count, 32, split, seed, workers=0))
    names = chunks[0].labels
    return (
        np.concatenate([chunk.images for chunk in chunks]),
        {name: np.concatenate([chunk.labels[name] for chunk in chunks]) for name in names},
    )


def test_labels_never_change() -> None:
    """They come from integer arithmetic, so they're the same on every machine."""
    labels = faces.sample("faces", 1_000, split="train", seed=0, start=0)
    content = b"".join(
        rows.astype(rows.dtype.newbyteorder("<")).tobytes() for rows in labels.values()
    )
    assert hashlib.sha256(content).hexdigest()[:16] == "fe1d3dcb4a29462e"


def test_pixels_never_change() -> None:
    """Of these versions, on this kind of processor."""
    packages = {name: version(name) for name in ("python-avatars", "resvg-py")}
    if packages != {"python-avatars": "1.4.1", "resvg-py": "0.5.0"}:
        pytest.skip(f"other versions, which may draw otherwise: {packages}")
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip(f"never compared on {platform.machine()}")
    images, _ = drawn("faces", 40)
    assert hashlib.sha256(images.tobytes()).hexdigest()[:16] == "70db7c4ab5346723"


def test_images_depend_on_neither_chunks_nor_count(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = drawn("faces", 12, "test", 1)
    monkeypatch.setattr(faces, "CHUNK", 5)
    for count in (12, 7):
        others, of_others = drawn("faces", count, "test", 1)
        np.testing.assert_array_equal(others, images[:count])
        for name, rows in of_others.items():
            np.testing.assert_array_equal(rows, labels[name][:count])
    later = faces.sample("faces", 4, split="test", seed=1, start=8)
    np.testing.assert_array_equal(faces.draw(later, 32), images[8:])


def test_streams_differ() -> None:
    """By kind, split and seed."""
    streams = {
        faces.sample(kind, 3, split=split, seed=seed, start=0)["shift"].tobytes()
        for kind in faces.KINDS
        for split in SPLITS
        for seed in (0, 1)
    }
    assert len(streams) == 2 * 3 * 2


@pytest.mark.parametrize("label", faces.CLASSES)
def test_classes_are_equally_frequent(label: str) -> None:
    """Chi-squared tests, with a fixed seed, so that none fails by chance."""
    labels = faces.sample("faces", 20_000, split="train", seed=0, start=0)
    counts = np.bincount(labels[label], minlength=len(faces.CLASSES[label]))
    if "none" in faces.CLASSES[label] and label not in ("glasses_class", "beard_class"):
        counts = counts[1:]  # of hair and hats only one is there
    assert stats.chisquare(counts).pvalue > 1e-3
    if label == "hat_class":
        kinds = len(faces.PARTS["hair"]) + len(faces.PARTS["hat"]) - 1
        assert (labels[label] > 0).mean() == pytest.approx(5 / kinds, abs=0.01)
        assert not ((labels["hair_class"] > 0) & (labels[label] > 0)).any()


def test_factors_are_independent() -> None:
    labels = faces.sample("faces", 20_000, split="train", seed=0, start=0)
    own = [name for name in faces.CLASSES if "none" not in faces.CLASSES[name]]
    own += ["glasses_class", "beard_class"]
    for n, a in enumerate(own):
        for b in own[:n]:
            table = stats.contingency.crosstab(labels[a], labels[b]).count
            assert stats.chi2_contingency(table).pvalue > 1e-5, (a, b)
    rows = [labels[name].reshape(20_000, -1) for name in (*CONTINUOUS, "background_colour")]
    numbers = np.concatenate([*rows, labels["skin_colour_class"][:, None]], 1)
    correlations = np.corrcoef(numbers, rowvar=False) - np.eye(numbers.shape[1])
    assert np.abs(correlations).max() < 5 / np.sqrt(20_000)


@pytest.mark.parametrize("split", SPLITS)
def test_brows_go_with_hair(split: Split) -> None:
    count = 20_000
    labels = faces.sample("faces:correlated", count, split=split, seed=0, start=0)
    hair, brows = labels["hair_class"], labels["brows_class"]
    usual = (brows == hair % len(faces.PARTS["brows"])).mean()
    assert usual == pytest.approx(0.8 + 0.2 / len(faces.PARTS["brows"]), abs=0.015)
    rare = (hair == faces.PARTS["hair"].index(faces.HELD_OUT["hair"])) & (
        brows == faces.PARTS["brows"].index(faces.HELD_OUT["brows"])
    )
    assert rare.any() == (split == "test")
    # One of 15 tops, whose brows are any in 20 % of the images.
    expected = count / 15 * 0.2 / len(faces.PARTS["brows"])
    assert rare.sum() == pytest.approx(expected if split == "test" else 0, abs=4 * expected**0.5)
    # What else there is has nothing to do with them.
    for name in ("eyes_class", "mouth_class", "skin_colour_class"):
        table = stats.contingency.crosstab(labels[name], brows).count
        assert stats.chi2_contingency(table).pvalue > 1e-3


def test_classes_can_be_told_apart() -> None:
    """In the pixels of three faces; with more, `test_classes_can_be_told_apart_in_any_face`."""
    for label, found in apart(3, 64).items():
        assert found >= HARDEST.get(label, 20), label


@pytest.mark.slow
def test_classes_can_be_told_apart_in_any_face() -> None:
    for label, found in apart(100, 64).items():
        assert found >= HARDEST.get(label, 20), label


@pytest.mark.parametrize("label", BOXES)
def test_a_shape_changes_its_own_pixels_only(label: str) -> None:
    base, size = sample(4), 68  # four units per pixel
    edges = np.array(BOXES[label], float) - [faces.LEFT, faces.TOP] * 2
    left, top, right, bottom = np.rint(edges * size / faces.EDGE).astype(int).clip(0, size)
    outside = np.ones((size, size), bool)
    outside[max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1] = False
    first = faces.draw(with_class(base, label, 0), size)
    for k in range(1, len(faces.CLASSES[label])):
        changed = faces.draw(with_class(base, label, k), size)
        assert (changed != first).any((1, 2, 3)).all()
        assert not (changed != first).any(1)[:, outside].any(), faces.CLASSES[label][k]


def pixels_of(images: Pixels, colour: Array) -> Array:
    """How many pixels of each image have its colour, within the rounding of what is drawn."""
    near = np.abs(images.astype(int) - colour[:, :, None, None]).max(1) <= 1
    return near.sum((1, 2))


@pytest.mark.parametrize("name", faces.COLOURS)
def test_colours_are_found_in_pixels(name: str) -> None:
    """And where they change nothing else does."""
    label = f"{name}_colour_class"
    base = shown(sample(20), label)
    images = faces.draw(base, 128)
    least = {"skin": 400, "hair": 100, "beard": 40, "hat": 400, "clothes": 200}[name]
    assert (pixels_of(images, base[f"{name}_colour"]) >= least).all()
    other = base | {f"{name}_colour": 255 - base[f"{name}_colour"]}
    changed = (faces.draw(other, 128) != images).any(1)
    # What had another's colour, and isn't at its border, stays.
    for one in ("background", *faces.COLOURS):
        apart = np.abs(base[f"{one}_colour"] - base[f"{name}_colour"]).max(1) > 40
        theirs = np.abs(images.astype(int) - base[f"{one}_colour"][:, :, None, None]).max(1) == 0
        inside = ndimage.binary_erosion(theirs, np.ones((1, 3, 3)))
        assert one == name or not (changed & inside)[apart].any(), one


def test_background_is_all_around() -> None:
    labels = sample(20)
    images = faces.draw(labels, 64)
    corners = images[:, :, [0, 0], [0, -1]]
    np.testing.assert_array_equal(corners[..., 0], labels["background_colour"])
    np.testing.assert_array_equal(corners[..., 1], labels["background_colour"])
    other = labels | {"background_colour": 255 - labels["background_colour"]}
    changed = (faces.draw(other, 64) != images).any(1)
    assert not changed[:, 24:40, 28:36].any()  # the face
    assert changed.mean() > 0.2


def test_what_is_absent_has_no_colour() -> None:
    """So that the labels say what is there, and nothing that isn't."""
    labels = sample(300)
    for name in ("hair", "beard", "hat"):
        none = labels[f"{name}_class"] == 0
        assert ((labels[f"{name}_colour_class"] == 0) == none).all()
        assert not labels[f"{name}_colour"][none].any()
    few = {name: rows[:6] for name, rows in labels.items()}
    none = {name: with_class(few, f"{name}_class", 0) for name in ("hair", "beard")}
    for name, bare in none.items():
        other = bare | {f"{name}_colour": np.full((6, 3), 200, np.float32)}
        np.testing.assert_array_equal(faces.draw(bare, 32), faces.draw(other, 32))


def test_colours_vary_around_their_class() -> None:
    labels = sample(5_000)
    for name, classes in faces.COLOURS.items():
        palette = np.array([[*bytes.fromhex(code[1:])] for code in classes.values()])
        difference = labels[f"{name}_colour"] - palette[labels[f"{name}_colour_class"]]
        assert (difference.min(), difference.max()) == (-10, 10)


def test_light_darkens_towards_its_other_side() -> None:
    labels = sample(10, plain=False)
    unlit = faces.draw(labels | {"light": 0 * labels["light"]}, 48).astype(float)
    place = (np.arange(48) + 0.5) / 24 - 1
    x, y = labels["light"].astype(float).T[:, :, None, None]
    light = 1 - (abs(x) * (1 - np.sign(x) * place) + abs(y) * (1 - np.sign(y) * place[:, None])) / 2
    assert 0.5 <= light.min() < 0.7
    assert np.abs(faces.draw(labels, 48) - unlit * light[:, None]).max() <= 0.5 + 1e-6


def test_shift_moves_to_the_right_and_down() -> None:
    labels = sample(6)
    images = faces.draw(labels, 68)
    moved = faces.draw(labels | {"shift": labels["shift"] + np.array([2, -1]) / 68}, 68)
    difference = np.abs(moved[:, :, :-2, 2:].astype(int) - images[:, :, 1:-1, :-2])
    assert (difference <= 2).mean() > 0.998


def test_turn_is_clockwise() -> None:
    labels = sample(4)
    images = faces.draw(labels, 128).astype(float)
    turned = faces.draw(labels | {"turn": labels["turn"] + 5}, 128)
    errors = [
        np.abs(turned - ndimage.rotate(images, -angle, (2, 3), reshape=False, order=1))[
            :, :, 16:112, 16:112
        ].mean()
        for angle in (0, 5, -5)
    ]
    assert errors[1] < 0.4 * min(errors[0], errors[2])


def test_no_face_is_cut_off() -> None:
    """Even where it is shifted and turned the most, shoulders reach the lower edge, and hats aren't
    cropped by more than a pixel."""
    base = sample(15)
    kinds = len(faces.PARTS["hair"])
    top = np.arange(15)
    base |= {"hair_class": np.where(top < kinds, top, 0), "hat_class": (top - kinds + 1).clip(0)}
    base |= {"background_colour": np.tile(np.float32([255, 0, 255]), (15, 1))}
    for x, y, turn in ((1, 1, 1), (-1, -1, -1), (1, -1, 1), (-1, 1, -1)):
        shift = np.tile(np.float32([x, y]) * faces.SHIFT / faces.EDGE, (15, 1))
        images = faces.draw(base | {"shift": shift, "turn": base["turn"] + turn * faces.TURN}, 64)
        free = np.abs(images.astype(int) - np.array([255, 0, 255])[:, None, None]).max(1) == 0
        assert not free[:, -1, 16:48].any()
        assert free[:, 1].mean() > 0.7
        assert (~free[:, 1]).sum(1).max() <= 20


def test_analyses_know_the_labels() -> None:
    found = {label.name: label for label in labels_of(sample(400, plain=False))}
    assert found["eyes_class 4"].kind == found["hair_colour_class 0"].kind == "binary"
    for name in ("skin_colour 2", "background_colour 0", "shift 1", "turn", "light 0"):
        assert found[name].kind == "number"
    classes = sum(len(names) for names in faces.CLASSES.values())
    assert len(found) == classes + 6 * 3 + 5


def test_load() -> None:
    data = load("faces", "validation", height=48, width=48, count=5, progress=False)
    assert data.images.shape == (5, 3, 48, 48)
    assert data.folder
    assert data.folder.name.startswith("faces-validation-")
    other = load("faces:correlated", "validation", height=48, width=48, count=5, progress=False)
    assert other.folder != data.folder
    large = load("faces", "validation", height=256, width=256, count=1, progress=False)
    small = large.images[0].reshape(3, 64, 4, 64, 4).mean((2, 4))
    same = load("faces", "validation", height=64, width=64, count=1, progress=False)
    assert np.abs(small - same.images[0]).mean() < 3


@pytest.mark.parametrize(
    ("size", "got"),
    [
        ({"height": 16, "width": 16}, "16, 16, 3 and crop None"),
        ({"height": 512, "width": 512}, "512, 512, 3"),
        ({"height": 64, "width": 32}, "64, 32, 3"),
        ({"channels": 1}, "32, 32, 1"),
        ({"crop": 20}, "32, 32, 3 and crop 20"),
    ],
)
def test_other_sizes(size: dict[str, int], got: str) -> None:
    with pytest.raises(ValueError, match=f"Expected faces with height and width.*; got {got}"):
        load("faces", **size)  # type: ignore[arg-type]


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"python-avatars.*run pip install 'rgflow\[faces\]'"):
        load("faces")


def test_another_kind() -> None:
    with pytest.raises(ValueError, match="faces:corelated"):
        load("faces:corelated")
