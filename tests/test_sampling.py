"""Sampling: an image belongs to its seed, whatever is drawn beside it; files and mistakes."""

import numpy as np
import pytest
import torch
from PIL import Image

from flows import random_flow
from pictures import shows
from rgflow.cli import main
from rgflow.figures import to_bytes
from runs import flow_of, largest_file, small_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small_run(tmp_path_factory.mktemp("runs") / "small", map="cube", hidden=8)


def sample(run, out, *options):
    assert main(["sample", str(run), "--out", str(out), *map(str, options)]) == 0
    return out


def files(folder):
    return {path.name: path.read_bytes() for path in (folder / "samples").iterdir()}


# ---------------------------------------------------------------- from Python


def test_each_seed_has_its_latents():
    flow = random_flow(torch.float32)
    z = flow.draw_each([5, 6, 7], 0.8)
    for k, seed in enumerate((5, 6, 7)):
        alone = flow.draw(1, 0.8, torch.Generator().manual_seed(seed))
        assert torch.equal(z.select(slice(k, k + 1)).flat(), alone.flat())
    with pytest.raises(ValueError, match="at least one"):
        flow.draw_each([])


def test_temperatures_of_levels():
    flow = random_flow()
    warm, mixed = flow.draw_each(range(3)), flow.draw_each(range(3), [0.5, 1.0])
    torch.testing.assert_close(mixed.levels[0], warm.levels[0] * 0.5)  # of a Laplace prior
    assert torch.equal(mixed.levels[1], warm.levels[1])


def test_numbers_of_numpy_and_tensors_of_one_number():
    flow = random_flow(torch.float32)
    expected = flow.sample(2, 0.5, torch.Generator().manual_seed(0))
    for n, temperature in (
        (np.int64(2), np.float32(0.5)),
        (torch.tensor(2), torch.tensor(0.5)),
        (np.array(2), np.full(flow.levels, 0.5, np.float32)),
        (2, [np.float32(0.5), torch.tensor(0.5)]),
    ):
        found = flow.sample(n, temperature, torch.Generator().manual_seed(0))
        assert torch.equal(found, expected)
    for n in (True, np.bool_(True), np.float64(2), "2", torch.zeros(2)):
        with pytest.raises(ValueError, match="number of images to be a whole number; got"):
            flow.sample(n)
    for temperature in ("0.5", ["0.5", "1"], None, []):
        with pytest.raises(ValueError, match="temperature to be a number, or one for each level"):
            flow.sample(1, temperature)


# ---------------------------------------------------------------- the command


def test_an_image_is_the_same_whatever_the_number_and_the_batch(run, tmp_path):
    many = files(sample(run, tmp_path / "a", "-n", 9, "--single"))
    assert sorted(many) == [f"{k:05d}.png" for k in range(9)]
    assert files(sample(run, tmp_path / "b", "-n", 9, "--single", "--batch_size", 2)) == many
    part = files(sample(run, tmp_path / "c", "-n", 3, "--seed", 4, "--single"))
    assert part == {name: many[name] for name in ("00004.png", "00005.png", "00006.png")}


def test_bytes_do_not_depend_on_the_batch_for_many_values():
    """Why samples are decoded in float64: in float32 a few of so many values do."""
    flow = random_flow(torch.float64, height=32, width=32, hidden=32, strength=0.3)
    z = flow.draw_each(range(64), 0.9)
    with torch.no_grad():
        together = to_bytes(flow.decode(z))
        apart = torch.cat(
            [to_bytes(flow.decode(z.select(slice(k, k + 3)))) for k in range(0, 64, 3)]
        )
    assert torch.equal(together, apart)


def test_files_hold_what_the_flow_decodes(run, tmp_path):
    sample(run, tmp_path, "-n", 2, "--seed", 7, "--single", "--temperature", "[0.5, 0.9]")
    flow = flow_of(run)
    z = flow.draw_each([7, 8], [0.5, 0.9]).to(torch.float64)
    for name, image in zip(("00007.png", "00008.png"), flow.decode(z), strict=True):
        written = np.asarray(Image.open(tmp_path / "samples" / name))
        assert (written == to_bytes(image).permute(1, 2, 0).numpy()).all()


def test_samples_of_a_class(tmp_path, capsys):
    mistakes = {
        "one": (["3"], [[], ["4"], ["-1"], ["x"], ["1", "2"], ["hair=1"]], "0..3"),
        "several": (
            ["hair=2", "glasses=0"],
            [[], ["hair=2"], ["2"], ["hair=2", "glasses=4"], ["hair=0", "hair=1", "glasses=0"]],
            "glasses=0..3 hair=0..2",
        ),
        "none": ([], [["0"]], "no --label for this flow"),
    }
    of = {"one": 4, "several": {"hair": 3, "glasses": 4}, "none": 0}
    expected = {"one": [3, 3], "several": [[0, 2], [0, 2]]}
    for name, (given, wrong, wanted) in mistakes.items():
        flow = random_flow(torch.float32, labels=of[name])
        flow.save_pretrained(tmp_path / name)
        label = ["--label", *given] if given else []
        out = sample(tmp_path / name, tmp_path / f"{name}-pictures", "-n", 2, "--single", *label)
        labels = torch.tensor(expected[name]) if given else None
        images = to_bytes(flow.double().decode(flow.draw_each(range(2)), labels=labels))
        for k, image in enumerate(images):
            written = np.asarray(Image.open(out / "samples" / f"{k:05d}.png"))
            assert (written == image.permute(1, 2, 0).numpy()).all()
        capsys.readouterr()
        for words in wrong:
            label = ["--label", *words] if words else []
            assert main(["sample", str(tmp_path / name), "--out", str(tmp_path), *label]) == 2
            assert f"{wanted}; got {' '.join(words or ['none'])}." in capsys.readouterr().err


def test_grid_and_stages_by_default(run, capsys):
    assert main(["sample", str(run), "-n", "7", "--columns", "7", "--scale", "1"]) == 0
    assert Image.open(run / "pictures/samples.png").size == (7 * 10 + 2, 12)
    flow, stages = flow_of(run).double(), Image.open(run / "pictures/stages.png")
    fine, coarse = flow.coarse(flow.draw_each(range(6)))
    assert all(shows(stages, image, 1) for image in fine)
    assert all(shows(stages, image, 2) for image in coarse)
    assert not (run / "pictures/samples").exists()
    assert "pictures/samples.png" in capsys.readouterr().out


def test_fields_are_numbers_and_shaded_pictures(tmp_path, capsys):
    for channels in (1, 2):
        folder = small_run(tmp_path / f"fields{channels}", pixels=None, channels=channels)
        assert main(["sample", str(folder), "-n", "5"]) == 0
        written = np.load(folder / "pictures/samples.npy")
        assert written.dtype == np.float32
        assert written.shape == (5, channels, 8, 8)
        flow = flow_of(folder)
        expected = flow.decode(flow.draw_each(range(5)).to(torch.float64))
        np.testing.assert_allclose(written, expected.detach().numpy(), rtol=1e-6)
        assert (folder / "pictures/samples.png").exists() == (channels == 1)
        assert "samples.npy" in capsys.readouterr().out
    assert main(["sample", str(folder), "--single"]) == 2
    assert "Expected a flow of images for --single" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-n", "0"], "--number to be at least 1"),
        (["-n", "2501"], "at most 2500 images for one grid; got 2501"),
        (["--seed", "-1"], "--seed to be at least 0"),
        (["--seed", str(2**63 - 9)], "--seed to be below 2^63"),
        (["--batch_size", "0"], "--batch_size to be at least 1"),
        (["--columns", "0"], "--columns to be at least 1"),
        (["--scale", "0"], "--scale to be at least 1"),
        (["--temperature", "-1"], "temperature to be at least 0"),
        (["--temperature", "nan"], "temperature"),
        (["--temperature", "[1, 1, 1]"], "one for each of the 2 levels; got 3"),
        (["--out", "/dev/null/pictures"], "Expected to write /dev/null/pictures/samples.png"),
    ],
)
def test_mistakes(run, capsys, options, message):
    assert main(["sample", str(run), *options]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_full_disk_is_told_in_one_sentence(run, tmp_path, capsys):
    with largest_file(100):
        status = main(["sample", str(run), "--out", str(tmp_path)])
    assert status == 2
    err = capsys.readouterr().err
    assert err.startswith(f"rgflow: Expected to write {tmp_path}/samples.png; ")
    assert err.count("\n") == 1
