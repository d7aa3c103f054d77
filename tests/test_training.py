"""Training: batches that are functions of the step, runs that can be repeated, and folders."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from rgflow import RGFlow, TrainConfig, preset
from rgflow.evaluation import evaluate
from rgflow.training import train
from rgflow.training.batches import Batches
from rgflow.training.run import Run


def tiny(**changes) -> TrainConfig:
    base = preset("msds1-tiny")
    settings = {"train_count": 300, "validate_count": 20, "steps": 12, "batch_size": 8}
    settings |= {"compile": False, **changes}
    model = replace(base.model, compute_dtype="float32", hidden=16)
    return replace(base, **{"model": model, **settings})


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (10, 3, 4, 4), dtype=np.uint8)


# ---------------------------------------------------------------- batches


def test_every_epoch_visits_every_image_once(images):
    batches = Batches(images, batch_size=4, seed=3)
    visited = np.concatenate([batches.indices(step) for step in range(5)])
    assert sorted(visited[:10]) == sorted(visited[10:]) == list(range(10))
    assert list(visited[:10]) != list(visited[10:])
    assert list(visited[:10]) != list(range(10))


def test_batches_depend_on_seed_and_step_alone(images):
    batches = Batches(images, batch_size=4, seed=3, flip=True)
    late = batches[7]
    again = Batches(images, batch_size=4, seed=3, flip=True)
    assert torch.equal(again[7], late)
    assert not torch.equal(again[8], late)
    assert not torch.equal(Batches(images, batch_size=4, seed=4, flip=True)[7], late)


def test_processes_share_the_global_batch(images):
    whole = Batches(images, batch_size=6, seed=1)[2].floor()
    parts = [Batches(images, batch_size=6, seed=1, rank=r, world=2)[2].floor() for r in range(2)]
    assert torch.equal(torch.stack(parts, 1).flatten(0, 1), whole)


def test_batches_are_the_images_dequantised_and_half_of_them_mirrored(images):
    plain = Batches(images, batch_size=200, seed=0)
    indices = torch.from_numpy(plain.indices(0))
    expected = torch.from_numpy(images)[indices]
    assert torch.equal(plain[0].floor(), expected.float())
    flipped = Batches(images, batch_size=200, seed=0, flip=True)[0].floor()
    mirrored = (flipped == expected.flip(3)).flatten(1).all(1)
    straight = (flipped == expected).flatten(1).all(1)
    assert (mirrored | straight).all()
    assert 60 < mirrored.sum() < 140


# ---------------------------------------------------------------- runs


def test_a_run_learns_and_leaves_a_folder(tmp_path):
    result = train(tiny(steps=60), Run.create(tmp_path / "run"), progress=False)
    run = Run.open(tmp_path / "run")
    assert run.config() == tiny(steps=60)
    log = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    steps = [entry for entry in log if "gradient_norm" in entry]
    assert [entry["step"] for entry in steps] == list(range(1, 61))
    first = np.mean([entry["bits_per_dim"] for entry in steps[:5]])
    last = np.mean([entry["bits_per_dim"] for entry in steps[-5:]])
    assert last < first - 0.2
    assert log[-1]["validation_bits_per_dim"] == result.bits_per_dim
    assert result.steps == 60
    record = json.loads((run.folder / "run.json").read_text())
    assert record["result"]["bits_per_dim"] == result.bits_per_dim
    assert record["machine"]["processor"]
    assert Image.open(run.pictures / "samples-0000060.png").size == (530, 530)
    assert isinstance(run.flow(), RGFlow)


def test_the_same_seed_gives_the_same_run(tmp_path):
    results = [
        train(tiny(seed=seed), Run.create(tmp_path / str(k)), progress=False)
        for k, seed in enumerate((0, 0, 1))
    ]
    weights = [(tmp_path / str(k) / "model/model.safetensors").read_bytes() for k in range(3)]
    assert weights[0] == weights[1] != weights[2]
    assert results[0].bits_per_dim == results[1].bits_per_dim


def test_the_learning_rate_warms_up_and_follows_a_cosine(tmp_path):
    train(tiny(steps=40, warmup=10, lr=1e-3), Run.create(tmp_path / "run"), progress=False)
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    rates = [json.loads(line)["lr"] for line in lines if '"lr"' in line]
    assert rates[0] == pytest.approx(1e-4)
    assert rates[20] == pytest.approx(0.5e-3, rel=0.01)
    assert rates[-1] < 1e-5


def test_a_budget_of_minutes_ends_a_run(tmp_path):
    result = train(tiny(steps=None, minutes=0.03), Run.create(tmp_path / "run"), progress=False)
    assert result.steps >= 1
    assert result.seconds < 30


def test_an_interrupt_saves_what_was_learned(tmp_path, monkeypatch):
    from rgflow.training import trainer

    take = trainer._Trainer._take_step

    def interrupted(self, fraction):
        if self.step == 5:
            raise KeyboardInterrupt
        take(self, fraction)

    monkeypatch.setattr(trainer._Trainer, "_take_step", interrupted)
    result = train(tiny(), Run.create(tmp_path / "run"), progress=False)
    assert result.interrupted
    assert result.steps == 5
    assert isinstance(Run.open(tmp_path / "run").flow(), RGFlow)


def test_the_average_of_the_weights_is_what_is_saved(tmp_path):
    averaged = train(tiny(), Run.create(tmp_path / "a"), progress=False)
    plain = train(tiny(average=0.0), Run.create(tmp_path / "b"), progress=False)
    assert averaged.bits_per_dim != plain.bits_per_dim


def test_a_folder_of_photographs_is_learned(tmp_path):
    from skimage import data

    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("astronaut", "chelsea", "coffee"):
        photo = getattr(data, name)()
        for k in range(40):
            y, x = 32 * (k // 8), 32 * (k % 8)
            Image.fromarray(photo[y : y + 32, x : x + 32]).save(folder / f"{name}-{k}.png")
    config = tiny(data=f"folder:{folder}", train_count=None, steps=120, batch_size=16)
    result = train(config, Run.create(tmp_path / "run"), progress=False)
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert result.bits_per_dim < log[0]["bits_per_dim"] - 0.3  # of the untrained flow
    assert Run.open(tmp_path / "run").flow().sample(4).std() > 10
    assert "folder" in json.loads((tmp_path / "run/run.json").read_text())["data"]["name"]


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="a budget of training"):
        train(tiny(steps=None), Run.create(tmp_path / "a"), progress=False)
    assert not (tmp_path / "a").exists()
    fields = tiny(model=replace(tiny().model, pixels=None))
    with pytest.raises(ValueError, match="pixels=None"):
        train(fields, Run.create(tmp_path / "a"), progress=False)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ValueError, match="a new folder for the run"):
        Run.create(tmp_path / "full")
    with pytest.raises(FileNotFoundError, match="has no config.yaml"):
        Run.open(tmp_path / "full")
    (tmp_path / "full" / "config.yaml").write_text("model: [")
    (tmp_path / "full" / "model").mkdir()
    with pytest.raises(ValueError, match=r"config.yaml is damaged"):
        Run.open(tmp_path / "full").config()


# ---------------------------------------------------------------- evaluation


def test_evaluation_adds_up_and_does_not_depend_on_the_batches():
    flow = RGFlow(tiny().model)
    x8 = torch.randint(256, (20, 3, 32, 32), dtype=torch.uint8)
    result = evaluate(flow, x8)
    shares = sum(result.prior_bits) + sum(result.log_det_bits) + result.pixel_bits
    assert result.bits_per_dim == pytest.approx(shares, abs=1e-5)
    assert evaluate(flow, x8, batch_size=7).bits_per_dim == pytest.approx(
        result.bits_per_dim, abs=1e-4
    )
    with pytest.raises(ValueError, match="at least one image"):
        evaluate(flow, x8[:0])
