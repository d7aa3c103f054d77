"""What is measured of flows of faces, with a reader that knows every image it is shown.

Faces have one square per factor, so that nothing has to be installed.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from flows import random_flow
from reproducing import face_reader
from reproducing.face_reader import FACTORS, FaceReader
from reproducing.measures import MeasuredFlow
from reproducing.measures import faces as measures
from reproducing.measures.likelihoods import bits, samples
from rgflow import TrainConfig
from rgflow.data import Images, faces
from rgflow.repair.particles import Completion

WINDOWS = {
    "map": "window",
    "pixels": "uniform",
    "geometry": {"kind": "windows", "reach": 1},
    "height": 64,
    "width": 64,
    "levels": 6,
}


PLACES = {"mouth": (36, 24), "eyes": (28, 24), "brows": (20, 24)}
"""Row and column of squares in holes; those of all others are in none."""


def painted(labels: faces.Labels, size: int) -> np.ndarray:
    """Faces whose factors are grey levels of a square each."""
    background = labels["background_colour"].astype(np.uint8)[:, :, None, None]
    images = background.repeat(size, 2).repeat(size, 3)
    for k, name in enumerate(FACTORS):
        i, j = PLACES.get(name, (4 + 4 * k, 0))  # not in a corner
        images[:, :, i : i + 4, j : j + 4] = 20 * labels[f"{name}_class"][:, None, None, None]
    return images


@pytest.fixture(autouse=True)
def draws_without_packages(monkeypatch):
    monkeypatch.setattr(faces, "draw", painted)


class Knows:
    """A reader that knows the labels of some images; of others it reads nothing right."""

    def __init__(self, *sets: Images) -> None:
        self.classes = {
            image.tobytes(): torch.from_numpy(row)
            for one in sets
            for image, row in zip(one.images, one.classes(FACTORS), strict=True)
        }

    def read(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        nothing = torch.full((len(FACTORS),), -1)
        rows = [self.classes.get(image.numpy().tobytes(), nothing) for image in images]
        return torch.stack(rows).clamp(min=0), torch.ones(len(rows), len(FACTORS))


def drawn(count: int, kind: str = "faces", **labels: int) -> Images:
    """Test images, with other classes where they are given."""
    known = faces.sample(kind, count, split="test", seed=0, start=0)
    known |= {f"{name}_class": np.full(count, k) for name, k in labels.items()}
    return Images(name=kind, images=faces.draw(known, 64), labels=known)


def subject_of(monkeypatch, images, reader, **options):
    flow = random_flow(torch.float64, **{**WINDOWS, **options})
    monkeypatch.setattr("rgflow.data.load_for", lambda *a, **k: images)
    monkeypatch.setattr(measures, "load_reader", lambda: reader)
    return MeasuredFlow(flow, TrainConfig(model=flow.config, data=images.name), "faces")


def test_mixtures_have_everything_from_the_only_image_they_are_of(monkeypatch):
    images = drawn(12)
    subject = subject_of(monkeypatch, images, Knows(images))
    numbers = measures.face_mixtures(subject, pairs=6).numbers
    for name in ("eyes", "mouth", "skin_colour", "background"):
        found = numbers["factors"][name]
        assert found["0"] == {"first": 1.0, "second": 0.0}
        assert found["6"] == {"first": 0.0, "second": 1.0}
        assert sum(found["levels"].values()) == pytest.approx(1)
    assert numbers["claims"]["colours"]["0"] == numbers["claims"]["shapes"]["6"] == 1
    assert numbers["colours"]["0"]["first"] == numbers["shapes"]["6"]["second"] == 1
    assert 0 <= numbers["best"]["threshold"] <= 6


def test_completions_are_compared_with_what_a_face_may_have(monkeypatch):
    """With completions that are the image itself, what is known is right, and what isn't is always
    the same class, so far from equally likely ones."""
    images = drawn(2)
    subject = subject_of(monkeypatch, images, Knows(images))
    monkeypatch.setattr(
        measures,
        "complete",
        lambda flow, image, hole, **options: Completion(
            image=image, log_prob=0.0, samples=image[None], curve=()
        ),
    )
    found = measures.completions(subject, count=2, each=4)
    numbers = found.numbers
    assert list(found.pictures) == ["mouth", "eyes", "half"]
    hidden = {"mouth": {"mouth"}, "eyes": {"eyes", "brows"}, "half": set()}
    assert {hole: set(numbers[hole]["open"]) for hole in hidden} == hidden
    for hole, factor in (("mouth", "mouth"), ("eyes", "eyes"), ("eyes", "brows")):
        of = numbers[hole]["open"][factor]
        assert of["images"] == 2
        shares = np.bincount(images.labels[f"{factor}_class"], minlength=FACTORS[factor]) / 2
        expected = np.abs(shares - 1 / FACTORS[factor]).sum() / 2
        assert of["distance"] == pytest.approx(expected)
        assert 0 < of["floor"] < of["distance"]
        assert factor not in numbers[hole]["known"]
    for hole in hidden:
        assert numbers[hole]["mean_known"] == 0
        assert {"skin_colour", "clothes_colour", "hat"} <= set(numbers[hole]["known"])
    assert "mouth" in numbers["half"]["known"]  # by its left half


def test_what_is_asked_for_is_counted(monkeypatch):
    labels = {"hair": 10, "brows": 6, "eyes": 7}
    images = drawn(5, "faces:correlated")
    pair = {name: faces.PARTS[name].index(word) for name, word in faces.HELD_OUT.items()}
    rare = drawn(5, "faces:correlated", **pair)
    told = Knows(images, rare)
    subject = subject_of(monkeypatch, images, told, labels=labels)
    names = list(subject.flow.config.labels)

    of_labels = {
        tuple(row): torch.from_numpy(image).double()
        for one in (images, rare)
        for image, row in zip(one.images, one.classes(dict.fromkeys(names, 1)), strict=True)
    }

    def decode(z, labels):
        return torch.stack([of_labels[tuple(row)] for row in labels.tolist()])

    found = bits(subject, count=5).numbers  # of these labels
    expected = subject.flow.bits_per_dim(subject.images(5), labels=subject.classes(5))
    assert found["nll"] == pytest.approx(expected.mean().item(), abs=0.5)
    monkeypatch.setattr(subject.flow, "decode", decode)
    numbers = measures.requests(subject, count=5).numbers
    assert numbers["all"] == 1
    assert numbers["factors"] == {"brows": 1.0, "eyes": 1.0, "hair": 1.0}
    assert numbers["held_out"] == 1


@pytest.mark.slow
def test_codes_are_compared(monkeypatch):
    """Noise tells nothing; directions that labels of these very images find do."""
    images = drawn(400)
    subject = subject_of(monkeypatch, images, None)
    site_levels = subject.flow.lattice.site_levels

    def strongest(count, level):
        at = np.argwhere(site_levels == (level or 0))[:1].tolist()
        return [(level or 0, *at[0], channel) for channel in range(count)]

    fields = SimpleNamespace(strongest=strongest)
    monkeypatch.setattr(measures, "receptive_fields", lambda flow, draws: fields)
    numbers = measures.meanings(subject, count=400, latents=3, minutes=0.02).numbers
    found = numbers["codes"]
    levels = [f"level {level}" for level in range(6)]
    assert set(found) == {"all levels", *levels, "PCA", "ICA", "β-VAE", "QLAE", "noise"}
    told = measures.labelled(subject, count=400).numbers
    assert told["levels"].keys() == FACTORS.keys()
    assert found["noise"]["explicitness"] < 0.05 < told["codes"]["pixels"]["explicitness"]


def test_the_reader_goes_on_where_it_was_stopped(monkeypatch, tmp_path):
    monkeypatch.setattr(face_reader, "load", lambda *a, **k: drawn(8))
    monkeypatch.setattr(face_reader, "BATCH", 4)
    monkeypatch.setattr(face_reader, "SAVE_EVERY", 2)
    monkeypatch.setattr(face_reader, "FOLDER", tmp_path)
    monkeypatch.setattr(face_reader, "WEIGHTS", tmp_path / "weights.safetensors")
    face_reader.load_reader.cache_clear()
    face_reader.learn(4, 8, str(tmp_path / "run"))
    whole = face_reader.load_reader().state_dict()
    (tmp_path / "run" / "00000004.safetensors").unlink()
    face_reader.learn(4, 8, str(tmp_path / "run"))
    again = face_reader.load_reader().state_dict()
    assert all(torch.equal(again[name], x) for name, x in whole.items())
    assert (tmp_path / "result.json").is_file()
    subject = subject_of(monkeypatch, drawn(6), face_reader.load_reader())
    numbers = samples(subject, count=6).numbers
    assert numbers["distances"]["FD-faces"]["dim"] == 128
    for of in ("samples", "tests"):
        assert numbers[of]["images"] == 6
        assert 0 <= numbers[of]["sure"] <= min(numbers[of]["sure_of"].values()) <= 1
        assert {name: len(row) for name, row in numbers[of]["classes"].items()} == FACTORS
    face_reader.load_reader.cache_clear()
    with pytest.raises(ValueError, match=r"Expected faces, \[N, 3, 64, 64\]; got \[1, 3, 32, 32\]"):
        FaceReader()(torch.zeros(1, 3, 32, 32))
