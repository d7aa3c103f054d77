"""Fréchet distances: against closed forms and torchmetrics, and what they may be called."""

import json
import math
import pickle
import sys
from contextlib import suppress

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from flows import random_flow
from reproducing.ovals import oval_features
from rgflow.cli import main
from rgflow.data import msds
from rgflow.metrics.frechet import (
    FID_WEIGHTS,
    Features,
    compare,
    frechet_distance,
    inception,
    pixel_components,
)
from rgflow.metrics.scores import score
from runs import small_run


def white(n: int, dim: int, seed: int = 0):
    """Features whose mean is exactly 0, and whose covariance is exactly 1."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, dim, generator=generator, dtype=torch.float64)
    x = x - x.mean(0)
    return x @ torch.linalg.inv(torch.linalg.cholesky(x.T.cov())).T


def random_images(n: int, edge: int = 8, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (n, 3, edge, edge), generator=generator, dtype=torch.uint8)


# ---------------------------------------------------------------- the distance


def test_closed_form_of_independent_features():
    a, b = torch.tensor([1.0, 4.0, 0.0, 9.0]).double(), torch.tensor([4.0, 1.0, 2.0, 9.0]).double()
    x, y = white(50, 4) * a.sqrt() + 3, white(70, 4, seed=1) * b.sqrt()
    expected = 4 * 9 + (a.sqrt() - b.sqrt()).square().sum().item()
    assert frechet_distance(x, y) == pytest.approx(expected)
    assert frechet_distance(y, x) == pytest.approx(expected)


def test_closed_form_of_two_dependent_features():
    """Of 2×2 matrices, tr (S1 S2)^½ = √(tr S1 S2 + 2 √det S1 S2)."""
    r1, r2 = torch.tensor([[[2.0, 0.0], [1.5, 0.5]], [[1.0, 0.0], [-2.0, 3.0]]]).double()
    s1, s2 = r1 @ r1.T, r2 @ r2.T
    product = s1 @ s2
    root = (product.trace() + 2 * product.det().sqrt()).sqrt()
    expected = (s1.trace() + s2.trace() - 2 * root).item()
    x, y = white(50, 2) @ r1.T, white(60, 2, seed=1) @ r2.T
    assert frechet_distance(x, y) == pytest.approx(expected)


def test_equal_sets_are_at_no_distance():
    x = white(40, 6) @ torch.diag(torch.logspace(-8, 3, 6).double())
    assert frechet_distance(x, x.clone()) == 0
    assert 0 <= frechet_distance(x, x.flip(0)) < 1e-8
    few = white(20, 5).repeat(1, 10)  # of a covariance that has no inverse
    assert 0 <= frechet_distance(few, few.flip(0)) < 1e-10


def test_neither_shift_nor_rotation_matters():
    x, y = white(40, 5) * 3, white(30, 5, seed=1) * torch.arange(1, 6)
    rotation = torch.linalg.qr(white(9, 5, seed=2).T @ white(9, 5, seed=3)).Q
    turned = [z @ rotation + 7 for z in (x, y)]
    assert frechet_distance(*turned) == pytest.approx(frechet_distance(x, y))


def test_fewer_images_than_features():
    x, y = (torch.randn(8, 30, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    found = frechet_distance(x, y)
    # The Gaussians live in the 14 dimensions that the images span; there nothing is degenerate.
    basis = torch.linalg.svd(torch.cat([x - x.mean(0), y - y.mean(0)]).double())[2][:14]
    expected = frechet_distance(x @ basis.T.float(), y @ basis.T.float())
    off = ((x.double() - y.double()).mean(0) @ (torch.eye(30) - basis.T @ basis)).square().sum()
    assert found == pytest.approx(expected + off.item(), rel=1e-5)


def test_torchmetrics_agrees():
    fid = pytest.importorskip("torchmetrics.image.fid")

    class Means(nn.Module):
        num_features = 12

        def forward(self, x):
            return x.double().unflatten(2, (2, -1)).unflatten(4, (2, -1)).mean((3, 5)).flatten(1)

    x, y = random_images(60), random_images(50, seed=1) // 2
    theirs = fid.FrechetInceptionDistance(feature=Means())
    theirs.update(x, real=False)
    theirs.update(y, real=True)
    found = frechet_distance(Means()(x), Means()(y))
    assert found == pytest.approx(theirs.compute().item(), rel=1e-9)


def test_sets_that_cannot_be_compared():
    x = torch.zeros(5, 3)
    for other, message in (
        (torch.zeros(5, 2), r"features \[N, F\] of two sets"),
        (torch.zeros(5), "of two sets"),
        (torch.zeros(1, 3), "at least 2 images in either set; got 5 and 1"),
    ):
        with pytest.raises(ValueError, match=message):
            frechet_distance(x, other)


# ---------------------------------------------------------------- samples beside images

MEANS = Features(
    name="means", extract=lambda x8: x8.float().mean((2, 3)), resizing="none", weights="0"
)


def test_what_is_recorded():
    samples, train, test = random_images(30) // 2, random_images(40, seed=1), random_images(30)
    found = compare(samples, train, test, MEANS, temperature=[0.5, 1.0], seed=7, batch_size=11)
    x, y, z = (MEANS.extract(images) for images in (samples, train, test))
    assert found.distance == pytest.approx(frechet_distance(x, y))
    assert found.floor == pytest.approx(frechet_distance(z, y))
    assert (found.name, found.samples, found.references, found.dim) == ("FD-means", 30, 40, 3)
    assert (found.temperature, found.seed, found.resizing) == ([0.5, 1.0], 7, "none")
    assert 0 < found.standard_error < found.distance
    assert found.floor_error > 0
    with pytest.raises(ValueError, match="as many test images as samples.*got 29 and 30"):
        compare(samples, train, test[:29], MEANS)
    few = compare(samples[:9], train, test[:9], MEANS)
    assert math.isnan(few.standard_error)


def test_the_standard_error_is_the_spread_over_repetitions():
    identity = Features(name="x", extract=lambda x: x, resizing="none", weights="0")
    generator = torch.Generator().manual_seed(0)

    def drawn(scale: float):
        return torch.randn(200, 3, generator=generator) * scale

    found = [compare(drawn(1.5), drawn(1), drawn(1), identity) for _ in range(80)]
    spread = np.std([one.distance for one in found], ddof=1)
    assert np.mean([one.standard_error for one in found]) == pytest.approx(spread, rel=0.2)


def test_distances_fall_with_the_number_of_images():
    generator = torch.Generator().manual_seed(0)
    sets = [torch.randn(2000, 8, generator=generator) for _ in range(2)]
    few, many = (frechet_distance(*(x[:n] for x in sets)) for n in (100, 2000))
    assert 8 < few / many < 50  # about 20


# ---------------------------------------------------------------- pixels


def test_components_are_those_of_the_pixels():
    images = random_images(200, 4) // torch.arange(1, 5, dtype=torch.uint8)
    pixels = images.flatten(1).double() / 255
    features = pixel_components(images, 10)
    found = features.extract(images).double()
    variances = torch.linalg.eigvalsh(pixels.T.cov())[-10:].flip(0)
    torch.testing.assert_close(found.var(0), variances, rtol=1e-3, atol=0)
    torch.testing.assert_close(found.mean(0), torch.zeros(10).double(), rtol=0, atol=1e-5)
    assert (features.distance_name, features.resizing) == ("FD-PCA10", "none, 4×4")
    # All components together are the pixels, turned and shifted.
    every, others = pixel_components(images, 48), random_images(90, 4, seed=1)
    expected = frechet_distance(pixels, others.flatten(1) / 255)
    found = frechet_distance(every.extract(images), every.extract(others))
    assert found == pytest.approx(expected, rel=1e-4)
    assert every.weights != features.weights
    assert pixel_components(images, 10).weights == features.weights
    with pytest.raises(ValueError, match="components to be"):
        pixel_components(images, 49)


# ---------------------------------------------------------------- ovals


def test_oval_features_tell_the_sets_apart():
    one, same, other = (
        torch.from_numpy(next(msds.stream(kind, 150, split=split)).images)
        for kind, split in (("msds1", "train"), ("msds1", "test"), ("msds2", "train"))
    )
    features = oval_features()
    found = compare(other, one, same, features)
    assert (found.name, found.dim) == ("FD-MSDS", 128)
    assert found.distance > 2 * found.floor
    noisy = same + torch.randint(0, 40, same.shape, dtype=torch.uint8)
    assert compare(noisy, one, same, features).distance > 2 * found.floor
    with pytest.raises(ValueError, match=r"those of MSDS, \[N, 3, 32, 32\]; got \[2, 3, 8, 8\]"):
        features.extract(random_images(2))


# ---------------------------------------------------------------- Inception


@pytest.fixture(scope="module")
def state():
    """The weights of FID's Inception, but random: torch-fidelity's own class makes them."""
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")

    class Untrained(module.FeatureExtractorInceptionV3):
        def load_state_dict(self, state, strict=True):
            assert state == {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "load", lambda *_, **__: {})
        torch.manual_seed(0)
        return Untrained("inception-v3-compat", ["2048"], "nothing").state_dict()


@pytest.fixture(scope="module")
def file(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "random-inception.pth"
    torch.save(state, path)
    return path


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Nothing is downloaded, whatever happens."""

    def refuse(*_, **__):
        raise AssertionError("a download")

    with suppress(ImportError):
        import torch_fidelity.feature_extractor_inceptionv3 as module

        monkeypatch.setattr(module, "load_state_dict_from_url", refuse)
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)


def test_inception_from_a_file(file, state):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    features = inception(file)
    assert features.distance_name == "FD-random-inception"  # right shapes don't make it FID
    assert "299×299" in features.resizing
    images = random_images(1, 32)
    found = features.extract(images)
    assert found.shape == (1, 2048)
    theirs = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(file))
    torch.testing.assert_close(found, theirs(images)[0])
    copy = file.with_suffix(".safetensors")
    save_file(state, copy)
    other = inception(copy)
    torch.testing.assert_close(other.extract(images), found)
    assert other.distance_name == "FD-random-inception"
    assert other.weights != features.weights
    copy.unlink()
    with pytest.raises(ValueError, match="images of 3 channels for Inception; got 1"):
        features.extract(images[:, :1])


def test_only_the_hash_makes_it_fid(file):
    known = Features(name="any", extract=MEANS.extract, resizing="none", weights=FID_WEIGHTS)
    assert known.distance_name == "FID"
    assert (
        Features(name="FID", extract=MEANS.extract, resizing="", weights="0").distance_name != "FID"
    )
    named = file.with_name(f"pt_inception-2015-12-05-{FID_WEIGHTS[:8]}.pth")
    file.rename(named)
    try:
        with pytest.raises(
            ValueError, match="SHA-256 that its name says, 6726825d…; got .*damaged"
        ):
            inception(named)
    finally:
        named.rename(file)


class Evil:
    """Runs code when it's unpickled."""

    def __reduce__(self):
        return exec, ("raise SystemExit('code was run')",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (nn.Linear(2, 2), "it needs pickle for .*Linear"),
        ({"weight": Evil()}, "it needs pickle"),
        ([torch.zeros(2)], "tensors by name; .* holds something else"),
        ({"a": 3}, "tensors by name"),
        ({"conv.weight": torch.zeros(2)}, "weights of FID's Inception; those in .* don't fit"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    if "Inception" in message:
        pytest.importorskip("torch_fidelity")
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(ValueError, match=message) as raised:
        inception(path)
    assert "\n" not in str(raised.value)


@pytest.mark.filterwarnings("ignore:.*TorchScript archive", "ignore:.*torch.jit.script")
def test_damaged_files_are_refused(tmp_path, file):
    whole = file.read_bytes()
    script = tmp_path / "script.pt"
    torch.jit.script(nn.Linear(2, 2)).save(script)
    for name, content in (
        ("empty.pth", b""),
        ("noise.pth", bytes(range(256))),
        ("cut.pth", whole[: len(whole) // 2]),
        ("cut.safetensors", whole[:1000]),
        ("pickle.pth", pickle.dumps(Evil(), protocol=2)),
        ("script.pth", script.read_bytes()),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ValueError, match="Expected a state dict"):
            inception(path)
    with pytest.raises(
        FileNotFoundError, match=r"the weights of Inception; there is none at .*none.pth"
    ):
        inception(tmp_path / "none.pth")


def test_without_torchmetrics(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics.image.fid", None)
    with pytest.raises(ValueError, match=r"pip install 'rgflow\[fid\]'"):
        inception(file)


# ---------------------------------------------------------------- samples of a flow


def test_scores_of_ovals():
    flow = random_flow(torch.float32, height=32, width=32, hidden=8, depth=1)
    train, test = (
        torch.from_numpy(next(msds.stream("msds1", 24, split=split)).images)
        for split in ("train", "test")
    )
    told = []
    drawn, found = score(
        flow,
        train,
        test,
        more=[oval_features()],
        temperature=0.5,
        progress=lambda *a: told.append(a),
    )
    assert (drawn.shape, drawn.dtype) == (test.shape, torch.uint8)
    assert [one.name for one in found] == ["FD-PCA24", "FD-MSDS"]
    for one in found:
        assert one.distance > one.floor
        assert (one.samples, one.references, one.temperature) == (24, 24, 0.5)
    assert told[0] == ("sampling", 24, 24)
    assert told[-1] == ("FD-MSDS", 72, 72)
    _, again = score(flow, train, test, more=[oval_features()], temperature=0.5, batch_size=7)
    assert again[1].distance == pytest.approx(found[1].distance, rel=1e-3)
    _, other = score(flow, train, test, temperature=0.5, seed=100)
    assert other[0].distance != found[0].distance


def test_what_features_cannot_take_is_told_before_anything_is_drawn(file):
    flow, told = random_flow(torch.float32, channels=1, hidden=8), []
    train, test = torch.randint(256, (2, 10, *flow.image_shape), dtype=torch.uint8)
    for features, message in (
        (inception(file), "of 3 channels for Inception; got 1"),
        (oval_features(), "images as those of MSDS"),
    ):
        with pytest.raises(ValueError, match=message):
            score(flow, train, test, more=[features], progress=lambda *a: told.append(a))
    assert not told


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small_run(tmp_path_factory.mktemp("runs") / "small", hidden=8)


def test_command(run, file, capsys):
    assert main(["distances", str(run), "--count", "20", "--temperature", "0.9"]) == 0
    said = capsys.readouterr().out
    found = json.loads((run / "scores-T0.9.json").read_text())
    one = found["distances"][0]
    assert (one["name"], one["samples"], one["temperature"]) == ("FD-PCA19", 20, 0.9)
    assert f"{one['distance']:.2f} ±" in said
    assert f"{one['floor']:.2f} ±" in said
    assert main(["distances", str(run), "--count", "3", "--inception", str(file)]) == 0
    found = json.loads((run / "scores.json").read_text())["distances"]
    assert [one["name"] for one in found] == ["FD-PCA3", "FD-random-inception"]
    assert found[1]["standard_error"] is None
    assert "FID" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--count", "1"], "--count to be at least 2"),
        (["--inception", "/no/such"], "none at /no/such"),
        (["--temperature", "[1, 1, 1]"], "for each of the 2 levels"),
        (["--temperature", "-1"], "temperature to be at least 0"),
        (["--data", "nothing"], "got 'nothing'"),
    ],
)
def test_command_mistakes(run, capsys, option, message):
    assert main(["distances", str(run), *option]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_fields_have_no_scores(tmp_path, capsys):
    folder = small_run(tmp_path / "fields", pixels=None, channels=1, hidden=8)
    assert main(["distances", str(folder), "--count", "10"]) == 2
    assert "Expected a flow of images" in capsys.readouterr().err
