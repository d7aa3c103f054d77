"""Training: batches that are functions of the step, runs that can be repeated, and folders."""

import errno
import itertools
import json
import shutil
import signal
import subprocess
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from flows import config as flow_config
from flows import random_flow
from rgflow import RGFlow, TrainConfig, make_flow, tensors
from rgflow.bijectors.fused_spline import Kernels
from rgflow.data import Images, msds
from rgflow.evaluation import terms_of
from rgflow.objectives import Batch, Objective
from rgflow.training import loop, train, trainer
from rgflow.training import run as run_module
from rgflow.training.batches import Batches
from rgflow.training.log import read_log
from rgflow.training.loop import resolved
from rgflow.training.muon import Muon
from rgflow.training.optimisation import Optimisation
from rgflow.training.run import LOG, Run, git_state
from rgflow.training.trainer import Trainer
from runs import DRAW_CURVE, few_pictures, tiny


@pytest.fixture(autouse=True)
def _few_pictures(monkeypatch):
    few_pictures(monkeypatch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of 12 steps and what came of it."""
    run = Run.create(tmp_path_factory.mktemp("runs") / "whole")
    return run, train(tiny(), run, progress=False)


@pytest.fixture
def run(whole, tmp_path):
    """A copy of that run, to go on with."""
    return Run.unfinished(shutil.copytree(whole[0].folder, tmp_path / "run"))


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (10, 3, 4, 4), dtype=np.uint8)


def test_an_interruption_of_the_last_step_is_none(tmp_path, monkeypatch):
    step = Trainer.take_step

    def interrupted(self, fraction):
        signal.raise_signal(signal.SIGINT)
        return step(self, fraction)

    monkeypatch.setattr(Trainer, "take_step", interrupted)
    whole = train(tiny(steps=1), Run.create(tmp_path / "whole"), progress=False)
    part = train(tiny(steps=2), Run.create(tmp_path / "part"), progress=False)
    assert (whole.steps, whole.interrupted) == (1, False)
    assert (part.steps, part.interrupted) == (1, True)


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


def test_processes_share_the_global_batch_with_the_same_noise(images):
    whole = Batches(images, batch_size=6, seed=1, flip=True)[2]
    for world in (2, 3):
        parts = [
            Batches(images, batch_size=6, seed=1, flip=True, rank=r, world=world)[2]
            for r in range(world)
        ]
        assert torch.equal(torch.cat(parts), whole)
    with pytest.raises(ValueError, match="4 processes can share equally; got 6"):
        Batches(images, batch_size=6, world=4)


def test_noise_is_uniform_and_never_the_same():
    black = np.zeros((50, 3, 5, 7), dtype=np.uint8)  # 105 values an image, not a multiple of 4
    batches = Batches(black, batch_size=50, seed=0)
    noise = torch.cat([batches[step] for step in range(20)])
    assert noise.min() > 0
    assert noise.max() < 1
    assert noise.mean() == pytest.approx(0.5, abs=0.003)
    assert noise.var() == pytest.approx(1 / 12, abs=0.001)
    assert len({image.numpy().tobytes() for image in noise}) == 1000
    correlation = torch.corrcoef(torch.stack((noise[:-1].flatten(), noise[1:].flatten())))[0, 1]
    assert abs(correlation) < 0.015
    double = Batches(black, batch_size=50, seed=0, dtype=torch.float64)[3]
    assert torch.equal(double, batches[3].double())


def test_images_without_an_end(images):
    endless = msds.endless("msds2")
    batches = Batches(images, batch_size=4, seed=3, endless=endless)
    made = next(msds.stream("msds2", 12)).images
    x = torch.cat([batches[step] for step in range(3)])
    assert torch.equal(x.floor(), torch.from_numpy(made).float())
    parts = [Batches(images, batch_size=4, rank=r, world=2, endless=endless)[2] for r in (0, 1)]
    assert torch.equal(torch.cat(parts).floor(), x[8:].floor())
    with pytest.raises(
        ValueError, match="msds1 or msds2, of which any number can be drawn; got 'c"
    ):
        TrainConfig(data="cifar10", fresh=True)


def test_fields_come_as_they_are():
    fields = np.random.default_rng(0).normal(size=(10, 2, 4, 4)).astype(np.float32)
    batches = Batches(fields, batch_size=10, seed=0)
    assert torch.equal(batches[0], torch.from_numpy(fields[batches.indices(0)]))


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


def test_channels_in_a_random_order(images):
    batch = {"batch_size": 200, "seed": 0, "flip": True}
    plain = Batches(images, **batch)[0].floor().numpy()
    shuffled = Batches(images, **batch, shuffle_channels=True)[0].floor().numpy()
    orders = list(itertools.permutations(range(3)))
    same = np.stack([(shuffled == plain[:, order]).all((1, 2, 3)) for order in orders])
    assert same.any(0).all()
    assert (same.sum(1) > 15).all()  # of 33 that are expected
    parts = [Batches(images, **batch, shuffle_channels=True, rank=r, world=2)[0] for r in (0, 1)]
    assert torch.equal(torch.cat(parts).floor(), torch.from_numpy(shuffled))


# ---------------------------------------------------------------- runs


def test_a_run_learns_and_leaves_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAMPLES", 64)
    monkeypatch.setattr(Run, "draw_curve", DRAW_CURVE)
    result = train(tiny(steps=40), Run.create(tmp_path / "run"), progress=False)
    run = Run.open(tmp_path / "run")
    assert run.config() == resolved(tiny(steps=40)).changed({"model": {"levels": 4}})
    log = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    steps = [entry for entry in log if "gradient_norm" in entry]
    assert [entry["step"] for entry in steps] == list(range(1, 41))
    first = np.mean([entry["nll"] for entry in steps[:5]])
    last = np.mean([entry["nll"] for entry in steps[-5:]])
    assert last < first - 0.1
    assert log[-1]["validation_nll"] == result.validation == result.best
    assert result.steps == 40
    record = run.record()
    assert record["result"]["validation"] == result.validation
    assert record["machine"]["processor"]
    assert record["git"] is None or len(record["git"]["commit"]) == 40
    assert Image.open(run.pictures / "curve.png").size[0] > 400
    assert Image.open(run.pictures / "samples-0000040.png").size == (530, 530)
    assert isinstance(run.flow(), RGFlow)


def test_only_changes_of_sources_are_told(tmp_path, monkeypatch):
    """Of the package's own repository: the settings of another may name commands to run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_module, "__file__", str(tmp_path / "src/rgflow/training/run.py"))
    assert git_state() is None
    subprocess.run(["git", "init", "-q"], check=True)
    author = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    (tmp_path / "flow.py").write_text("")
    subprocess.run(["git", "add", "."], check=True)
    subprocess.run(["git", *author, "commit", "-qm", "Begin"], check=True)
    (tmp_path / "result.json").write_text("{}")
    assert git_state()["changes"] is False
    (tmp_path / "flow.py").write_text("1")
    assert git_state()["changes"] is True


def test_the_same_seed_gives_the_same_run(tmp_path):
    runs = [Run.create(tmp_path / str(k)) for k in range(3)]
    results = [
        train(tiny(seed=seed, steps=2), run, progress=False)
        for seed, run in zip((0, 0, 1), runs, strict=True)
    ]
    weights = [(run.model / "model.safetensors").read_bytes() for run in runs]
    assert weights[0] == weights[1] != weights[2]
    assert results[0].validation == results[1].validation


def test_the_learning_rate_warms_up_and_follows_a_cosine(tmp_path):
    train(tiny(steps=20, warmup=5, lr=1e-3), Run.create(tmp_path / "run"), progress=False)
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    rates = [json.loads(line)["lr"] for line in lines if '"lr"' in line]
    assert rates[0] == pytest.approx(2e-4)
    assert rates[10] == pytest.approx(0.5e-3, rel=0.01)
    assert rates[-1] < 1e-5


def test_a_budget_of_minutes_ends_a_run(tmp_path):
    result = train(tiny(steps=None, minutes=0.01), Run.create(tmp_path / "run"), progress=False)
    assert result.steps >= 1
    assert result.seconds < 30


def test_a_budget_counts_the_seconds_of_its_clock(tmp_path, monkeypatch):
    now = {"wall": 0.0, "processor": 0.0}
    clocks = SimpleNamespace(
        perf_counter=lambda: now["wall"], process_time=lambda: now["processor"]
    )
    monkeypatch.setattr(trainer, "time", clocks)
    step = Trainer.take_step

    def waiting_step(self, fraction):
        now["wall"] += 1
        now["processor"] += 0.25
        return step(self, fraction)

    monkeypatch.setattr(Trainer, "take_step", waiting_step)
    for clock, seconds in (("wall", 3), ("processor", 0.75)):
        config = tiny(steps=3, clock=clock)
        assert train(config, Run.create(tmp_path / clock), progress=False).seconds == seconds


def losses(run):
    return [entry["nll"] for entry in run.entries() if "nll" in entry]


def test_gradients_in_parts_are_those_of_the_whole(tmp_path):
    for k, accumulate in enumerate((1, 3)):
        config = tiny(accumulate=accumulate, dtype="float64", steps=2)
        train(config, Run.create(tmp_path / str(k)), progress=False)
    whole, parts = (losses(Run(tmp_path / str(k))) for k in range(2))
    assert parts == pytest.approx(whole, rel=1e-12)


@pytest.fixture
def poisoned(monkeypatch):
    """Steps whose gradient isn't finite, and whose loss isn't either if even; and all steps."""
    steps, taken = set(), []
    backward = Trainer._backward

    def spoilt(self, x):
        taken.append(self.step)
        total = backward(self, x)
        if self.step in steps:
            next(self.flow.parameters()).grad.view(-1)[3] = float("inf")
            return total * float("nan") if self.step % 2 == 0 else total
        return total

    monkeypatch.setattr(Trainer, "_backward", spoilt)
    return steps, taken


def test_a_step_that_is_not_finite_is_left_out(whole, tmp_path, poisoned):
    steps, _ = poisoned
    steps |= {3, 4, 7}
    result = train(tiny(), Run.create(tmp_path / "run"), progress=False)
    run = Run.open(tmp_path / "run")
    assert result.skipped_steps == 3
    assert [k for k, loss in enumerate(losses(run)) if loss is None] == [4]
    norms = [entry["gradient_norm"] for entry in run.entries() if "gradient_norm" in entry]
    assert [k for k, norm in enumerate(norms) if norm is None] == [3, 4, 7]
    assert sum("event" in entry for entry in run.entries()) == 3
    assert np.isfinite(result.validation)
    assert whole[1].validation != result.validation


def test_three_in_a_row_go_back_with_a_lower_rate(tmp_path, poisoned):
    steps, taken = poisoned
    steps |= {2, 3, 4}
    # Spoilt only the first time, as by a rate that is too high.
    config = tiny(schedule="constant", warmup=0, validate_every=0, steps=7)

    def heal(event):
        steps.clear()

    from rgflow.training.display import Display

    tell = Display.tell
    try:
        Display.tell = lambda self, event: heal(event) if "went back" in event else None
        result = train(config, Run.create(tmp_path / "run"), progress=False)
    finally:
        Display.tell = tell
    run = Run.open(tmp_path / "run")
    rates = [entry["lr"] for entry in run.entries() if "lr" in entry]
    assert rates[:5] == [config.lr] * 5
    assert set(rates[5:]) == {config.lr / 2}
    assert "went back from step 5 to 4" in str(run.entries())
    assert taken == [0, 1, 2, 3, 4, 4, 5, 6]
    assert result.steps == 7
    assert result.skipped_steps == 3


def test_a_loss_that_stays_without_a_value_ends_the_run(tmp_path, poisoned, monkeypatch):
    monkeypatch.setattr(loop, "MIN_LR_FACTOR", loop.LR_DECAY**3)
    poisoned[0].update(range(100))
    with pytest.raises(ValueError, match="losses and gradients to stay finite"):
        train(tiny(steps=50), Run.create(tmp_path / "run"), progress=False)
    assert Run.unfinished(tmp_path / "run").checkpoints(2).load()["step"] == 0


def test_one_process_per_folder(tmp_path):
    run = Run.create(tmp_path / "run")
    with run.locked(), pytest.raises(ValueError, match="another process trains in"):
        train(tiny(), Run(tmp_path / "run"), progress=False)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_full_disk_leaves_the_last_checkpoint(run, monkeypatch):
    before = {path.name: path.read_bytes() for path in run.checkpoints(2).paths()}

    def full(held, path, metadata):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(tensors, "save_file", full)
    with pytest.raises(
        OSError, match="No space left on device; the checkpoint of step 12 is intact"
    ):
        train(tiny(steps=20), run, resume=True, progress=False)
    assert {path.name: path.read_bytes() for path in run.checkpoints(2).paths()} == before
    assert not list(run.folder.rglob("*.part"))


def test_links_in_a_run_folder_are_refused(run, tmp_path):
    """Whatever one leads to would be written over."""
    (tmp_path / "mine").write_text("mine")
    (run.folder / "log.jsonl").unlink()
    (run.folder / "log.jsonl").symlink_to(tmp_path / "mine")
    with pytest.raises(ValueError, match=r"without links; .*log.jsonl is one"):
        train(tiny(steps=14), run, resume=True, progress=False)
    assert (tmp_path / "mine").read_text() == "mine"


def test_resuming_needs_the_same_settings_and_images_and_a_budget(run, monkeypatch):
    with pytest.raises(ValueError, match="has reached its end at step 12"):
        train(tiny(), run, resume=True, progress=False)
    with pytest.raises(ValueError, match="data, seed differ in its config"):
        train(tiny(steps=20, data="msds2", seed=3), run, resume=True, progress=False)
    smaller = tiny().changed({"model": {"map": {"hidden": 8}}}).model
    with pytest.raises(ValueError, match="model differ in its config"):
        train(tiny(steps=20, model=smaller), run, resume=True, progress=False)
    # A checkpoint of before there was a setting is of a run that went without.
    state = run.checkpoints(2).load()
    del state["config"]["fresh"], state["config"]["model"]["labels"]
    run.checkpoints(2).save(12, state)
    with pytest.raises(ValueError, match="began with; model differ"):
        train(tiny(steps=20, model=smaller), run, resume=True, progress=False)
    with pytest.raises(ValueError, match="has reached its end at step 12"):
        train(tiny(), run, resume=True, progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "_fingerprint", lambda images: "others")
        with pytest.raises(ValueError, match="have changed since"):
            train(tiny(steps=20), run, resume=True, progress=False)
    run.checkpoints(2).save(13, {"config": 1})
    with pytest.raises(ValueError, match="got something else"):
        train(tiny(steps=20), run, resume=True, progress=False)
    for path in run.checkpoints(2).paths():
        path.unlink()
    log = (run.folder / "log.jsonl").read_bytes()
    with pytest.raises(ValueError, match="there is none: begin a new run with --config"):
        train(tiny(steps=20), run, resume=True, progress=False)
    assert (run.folder / "log.jsonl").read_bytes() == log


def test_a_damaged_log_ends_no_run(run):
    path = run.folder / "log.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + "garbage" + "x" * (len(lines[1]) - 8) + "\n" + "".join(lines[2:]))
    assert train(tiny(steps=14), run, resume=True, progress=False).steps == 14
    assert len(losses(run)) == 13


def test_what_depends_on_place_and_machine_is_resolved(tmp_path, monkeypatch):
    (tmp_path / "my photos").mkdir()
    monkeypatch.chdir(tmp_path)
    config = tiny(data="folder:my photos", data_root="files", compile=True)
    monkeypatch.setattr(loop, "can_compile", lambda: False)
    found = resolved(config)
    assert found.data == f"folder:{tmp_path / 'my photos'}"
    assert found.data_root == str(tmp_path / "files")
    assert found.compile is False
    monkeypatch.setattr(loop, "can_compile", lambda: True)
    assert resolved(config).compile is True
    assert resolved(tiny()).compile is False
    assert resolved(tiny()).data == "msds1"
    (tmp_path / "flower").mkdir()
    assert resolved(tiny(data="patches:flower")).data == "patches:flower"


def test_refused_before_anything_is_written(tmp_path):
    fields = replace(tiny().model, pixels=None)
    with pytest.raises(ValueError, match="msds1 holds images: set it to logit or marginal"):
        train(tiny(model=fields), Run.create(tmp_path / "run"), progress=False)
    np.save(tmp_path / "fields.npy", np.zeros((50, 3, 32, 32)))
    config = tiny(data=f"fields:{tmp_path / 'fields.npy'}", train_count=None)
    with pytest.raises(ValueError, match="real-valued fields: set --model.pixels null"):
        train(config, Run.create(tmp_path / "run"), progress=False)
    assert not (tmp_path / "run").exists()


def test_real_valued_fields_are_learned_in_nats_per_site(tmp_path):
    fields = np.random.default_rng(0).normal(size=(200, 1, 8, 8)).astype(np.float32)
    np.save(tmp_path / "fields.npy", 3 * fields + 1)
    model = flow_config(
        height=8, width=8, channels=1, depth=1, hidden=16, blocks=1, pixels=None, prior="gaussian"
    )
    config = tiny(
        data=f"fields:{tmp_path / 'fields.npy'}",
        train_count=None,
        steps=120,
        batch_size=32,
        lr=0.02,
    )
    result = train(replace(config, model=model), Run.create(tmp_path / "run"), progress=False)
    exact = 0.5 * np.log(2 * np.pi * np.e * 9)  # of independent normal numbers
    assert result.unit == "nats/site"
    assert exact - 0.1 < result.validation < exact + 0.3


def test_the_average_of_the_weights_is_what_is_saved(whole, tmp_path):
    plain = train(tiny(ema_decay=0.0), Run.create(tmp_path / "run"), progress=False)
    assert whole[1].validation != plain.validation


def test_the_average_forgets_the_start_soon_and_then_has_its_decay():
    flow = RGFlow(replace(tiny().model, height=8, width=8))
    optimisation = Optimisation(flow, tiny(ema_decay=0.5), Accelerator(cpu=True))
    expected = None
    for n in range(30):
        x8 = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8)
        optimisation.backward(-flow.log_prob(x8).mean() / flow.dim)
        optimisation.update(0.01)
        weights = torch.cat([p.detach().flatten() for p in flow.parameters()])
        decay = min(0.5, (1 + n) / (10 + n))
        expected = weights.clone() if n == 0 else decay * expected + (1 - decay) * weights
    averaged = optimisation.averaged_flow()
    found = torch.cat([p.detach().flatten() for p in averaged.parameters()])
    torch.testing.assert_close(found, expected)
    assert not torch.equal(found, weights)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="before torch 2.9")
@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_muon_of_a_stack_is_torchs_of_each_matrix(decay):
    torch.manual_seed(0)
    stack = torch.nn.Parameter(torch.randn(3, 2, 8, 8))
    singles = [torch.nn.Parameter(x.clone()) for x in stack.detach().flatten(0, 1)]
    ours = Muon([stack], lr=0.1, decay=decay)
    theirs = torch.optim.Muon(singles, lr=0.1, weight_decay=decay)
    before = stack.detach().clone()
    for _ in range(3):
        stack.grad = torch.randn_like(stack)
        for p, grad in zip(singles, stack.grad.flatten(0, 1), strict=True):
            p.grad = grad.clone()
        ours.step()
        theirs.step()
    expected = torch.stack([p.detach() for p in singles]).view_as(stack)
    torch.testing.assert_close(stack.detach(), expected, rtol=0, atol=0.02)
    assert (stack.detach() - before).abs().max() > 0.1


def hidden_matrices_of(flow):
    return list(dict.fromkeys(p for one in flow.maps() for p in one.hidden_matrices()))


def test_muon_takes_the_hidden_matrices_and_adamw_the_rest():
    flow = RGFlow(replace(tiny().model, height=8, width=8))
    muon, adamw = (
        Optimisation(flow, tiny(optimizer=name), Accelerator(cpu=True))
        for name in ("muon", "adamw")
    )
    counts = [len(o.param_groups[0]["params"]) for o in muon.optimizers]
    assert counts[1] == len(hidden_matrices_of(flow)) > 0
    assert sum(counts) == len(adamw.optimizers[0].param_groups[0]["params"])
    before = [p.detach().clone() for p in flow.parameters()]
    x8 = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8)
    for _ in range(2):  # until the last layers aren't 0 there is no gradient further down
        muon.backward(-flow.log_prob(x8).mean() / flow.dim)
        muon.update(0.004)
    assert all(not torch.equal(p, q) for p, q in zip(flow.parameters(), before, strict=True))


def test_muon_leaves_tables_of_positions_to_adamw_whatever_their_shape():
    flow = random_flow(torch.float32, map="cube", position_embedding=4, m=4, levels=1)
    (table, _) = (layer.positions.weight for layer in flow.steps[0].cellwise)
    assert table.shape == (4, 4)
    assert not any(p is table for p in hidden_matrices_of(flow))


@pytest.mark.parametrize(
    "options",
    [
        {"m": 8, "height": 8, "width": 8, "splits": 2, "components": 8, "hidden": 96,
         "map": "coarse_to_fine", "pixels": "marginal"},
        {"m": 2, "height": 4, "width": 4, "channels": 1, "hidden": 2, "map": "affine"},
        {"m": 4, "height": 4, "width": 4, "hidden": 48, "conditioner": "trunk"},  # last: 48×48
    ],
)  # fmt: skip
def test_muon_takes_no_biases_and_last_layers_that_are_square_by_chance(options):
    flow = make_flow(flow_config(disentanglers=False, levels=1, **options))
    names = {p: name for name, p in flow.named_parameters()}
    taken = [names[p] for p in hidden_matrices_of(flow)]
    assert taken
    assert not any(x in name for name in taken for x in ("bias", "length", "scale", "last"))


def test_what_can_not_be_compiled_is_trained_all_the_same(tmp_path, monkeypatch):
    def broken():
        def kernel(*_):
            raise RuntimeError("CppCompileError:\nfatal error: Python.h: no such file")

        return Kernels(kernel, kernel)

    monkeypatch.setattr("rgflow.bijectors.coupling.compiled_kernels", broken)
    monkeypatch.setattr(loop, "can_compile", lambda: True)
    config = tiny(compile=True, steps=3)
    config = config.changed({"model": {"map": "cube", "pixels": "marginal"}})
    results = [
        train(one, Run.create(tmp_path / str(k)), progress=False)
        for k, one in enumerate((config, replace(config, compile=False)))
    ]
    assert results[0].compile_seconds is None
    assert results[0].validation == results[1].validation
    events = [entry["event"] for entry in read_log(tmp_path / "0" / LOG) if "event" in entry]
    assert events == [
        "trains without compiled maps, which is slower: fatal error: Python.h: no such file"
    ]


def test_no_more_images_at_a_time_than_training_has_room_for(tmp_path, monkeypatch):
    sizes = []
    seen = RGFlow.log_prob

    def noted(self, images, generator=None, *, labels=None):
        sizes.append(len(images))
        return seen(self, images, generator, labels=labels)

    monkeypatch.setattr(RGFlow, "log_prob", noted)
    told = []
    monkeypatch.setattr(
        loop, "terms_of", lambda *a, batch_size, **k: told.append(batch_size) or terms_of(*a, **k)
    )
    run = Run.create(tmp_path / "run")
    train(tiny(batch_size=8, accumulate=4, steps=2), run, progress=False)
    assert set(sizes) == {2}
    assert set(told) == {8}


def test_a_folder_of_photographs_is_learned(tmp_path):
    from skimage import data

    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("astronaut", "chelsea", "coffee"):
        photo = getattr(data, name)()
        for k in range(40):
            y, x = 32 * (k // 8), 32 * (k % 8)
            Image.fromarray(photo[y : y + 32, x : x + 32]).save(folder / f"{name}-{k}.png")
    config = tiny(data=f"folder:{folder}", train_count=None, steps=40, batch_size=8)
    result = train(config, Run.create(tmp_path / "run"), progress=False)
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert result.validation < log[0]["nll"] - 0.3  # of the untrained flow
    assert Run.open(tmp_path / "run").flow().sample(4).std() > 10
    assert "folder" in json.loads((tmp_path / "run/run.json").read_text())["data"]["name"]


def test_a_run_ends_where_validation_images_get_worse(tmp_path):
    worse = {"lr": 1.0, "max_grad_norm": 0.0, "warmup": 0, "ema_decay": 0.0, "weight_decay": 0.0}
    config = tiny(validate_every=0, patience=2, steps=12, pretrained=None, **worse)
    run = Run.create(tmp_path / "run")
    result = train(config, run, progress=False)
    found = [entry["validation_nll"] for entry in run.entries() if "validation_nll" in entry]
    best = found.index(min(found))
    assert result.steps < 12
    assert len(found) == best + 3
    assert (result.best, result.interrupted) == (found[best], False)
    assert any("have been getting worse" in entry.get("event", "") for entry in run.entries())
    again = train(config, Run.unfinished(run.folder), resume=True, progress=False)
    assert (again.steps, again.best) == (result.steps, result.best)


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="a training budget"):
        train(tiny(steps=None), Run.create(tmp_path / "a"), progress=False)
    assert not (tmp_path / "a").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ValueError, match="a new folder for the run"):
        Run.create(tmp_path / "full")
    with pytest.raises(FileNotFoundError, match="has no config.yaml"):
        Run.open(tmp_path / "full")
    (tmp_path / "full" / "config.yaml").write_text("model: [")
    (tmp_path / "full" / "model").mkdir()
    (tmp_path / "full" / "run.json").write_text('{"versions": {"rgflow": "0.1.0"}}')
    with pytest.raises(ValueError, match=r"written by rgflow 0\.1\.0 in format None"):
        Run.open(tmp_path / "full")
    (tmp_path / "full" / "run.json").write_text("{")
    with pytest.raises(ValueError, match="it is damaged: delete it"):
        Run.open(tmp_path / "full")
    (tmp_path / "full" / "run.json").write_text('{"format": 2}')
    with pytest.raises(ValueError, match=r"config.yaml is damaged"):
        Run.open(tmp_path / "full").config()


def test_a_training_that_diverges_fails_and_leaves_no_model(tmp_path):
    run = Run.create(tmp_path / "run")
    with pytest.raises(ValueError, match=r"Expected a finite likelihood .* lower --lr, or raise"):
        train(tiny(lr=1e30, warmup=0, steps=2), run, progress=False)
    assert not run.model.exists()
    assert run.checkpoints(2).load()["step"] == 2


def test_pictures_that_somebody_has_cleared_away_are_drawn_anew(tmp_path, monkeypatch):
    run = Run.create(tmp_path / "run")

    def cleared(self, unit):
        shutil.rmtree(self.pictures, ignore_errors=True)
        DRAW_CURVE(self, unit)

    monkeypatch.setattr(Run, "draw_curve", cleared)
    train(tiny(validate_every=0, steps=2), run, progress=False)
    assert (run.pictures / "curve.png").is_file()


def test_optimisers_take_no_settings_from_a_checkpoint(run):
    state = run.checkpoints(2).load()
    assert state["optimizers"][0].keys() == {"state"}
    state["optimizers"][0]["param_groups"] = [{"betas": ("x", None)}]  # as earlier versions had
    run.checkpoints(2).save(12, state)
    assert train(tiny(steps=14), run, resume=True, progress=False).steps == 14
    state["optimizers"][0]["state"][0]["exp_avg"] = torch.zeros(3)
    run.checkpoints(2).save(20, state)
    with pytest.raises(ValueError, match=r"something else \(an optimiser's state is of other wei"):
        train(tiny(steps=30), run, resume=True, progress=False)


@dataclass(frozen=True, kw_only=True)
class Springs(Objective):
    """A free field, whose ln Z is known."""

    mass: float = 1.0
    needs_data: ClassVar[bool] = False

    def losses(self, flow, batch):
        x, log_q = flow.sample_and_log_prob(batch.size, batch.generator)
        tension = sum((x - x.roll(1, axis)).square() for axis in (2, 3))
        return log_q + (tension + self.mass**2 * x.square()).sum((1, 2, 3)) / 2


def free_field(**changes):
    model = flow_config(
        height=4, width=4, channels=1, m=2, depth=2, hidden=16, blocks=1, prior="gaussian",
        pixels=None,
    )  # fmt: skip
    settings = {"steps": 120, "batch_size": 64, "lr": 1e-2, "validate_count": 2000}
    return TrainConfig(model=model, objective=Springs(), data="none", **(settings | changes))


def test_an_objective_learns_without_data(tmp_path):
    run = Run.create(tmp_path / "run")
    result = train(free_field(), run, progress=False)
    k = 2 * np.pi * np.arange(4) / 4
    eigenvalues = 1 + 4 - 2 * np.cos(k)[:, None] - 2 * np.cos(k) + 0.0
    ln_z = 0.5 * np.log(2 * np.pi / eigenvalues).sum()
    error = 3 * run.entries()[-1]["standard_error"]
    assert -ln_z - 16 * error < 16 * result.validation < -ln_z + 0.2
    assert run.config().objective == Springs()
    assert run.record()["data"] is None
    # Resumed is uninterrupted.
    half = Run.create(tmp_path / "half")
    few = {"validate_count": 50}
    train(free_field(steps=5, **few), half, progress=False)
    train(free_field(steps=10, **few), half, resume=True, progress=False)
    straight = Run.create(tmp_path / "straight")
    train(free_field(steps=10, **few), straight, progress=False)
    mine, theirs = half.flow().state_dict(), straight.flow().state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_accumulated_parts_of_samples_are_one_batch():
    batch = Batch(size=7, images=torch.arange(7.0), labels=torch.arange(7))
    parts = batch.split(3)
    assert [part.size for part in parts] == [3, 2, 2]
    assert torch.equal(torch.cat([part.images for part in parts]), batch.images)
    assert torch.equal(parts[1].labels, torch.tensor([3, 4]))
    assert len(batch.split(9)) == 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": "msds1"}, "Expected data none for the objective .*Springs; got data 'msds1'"),
        ({"objective": "likelihood"}, "Expected a data set for the objective likelihood; got"),
        ({"objective": {"kind": "likelihod"}}, "nearest: likelihood"),
        ({"objective": {"kind": "likelihood", "beta": 2}}, "as it has none; got 'beta'"),
    ],
)
def test_an_objective_and_data_fit(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig.from_dict(free_field().to_dict() | settings)


@pytest.mark.parametrize("names", [None, {"noise": 3, "grey": 2}])
def test_a_flow_with_labels_learns_them(tmp_path, names):
    """From a data set whose class is the grey level, which the label then tells."""
    grey = np.random.default_rng(0).integers(0, 2, 600)
    images = np.repeat(100 * grey.astype(np.uint8) + 50, 3 * 16).reshape(-1, 3, 4, 4)
    images += np.random.default_rng(1).integers(0, 8, images.shape, dtype=np.uint8)
    noise = np.random.default_rng(2).integers(0, 3, 600)
    known = {"grey_class": grey, "noise_class": noise, "mean": images.mean((1, 2, 3))}
    data = Images(name="grey", images=images, labels=known if names else {"class": grey})
    config = tiny(steps=60, lr=1e-2)
    model = flow_config(height=4, width=4, m=2, depth=1, hidden=16, blocks=1)
    config = replace(config, model=replace(model, labels=names or 2), data="cifar10")
    run = Run.create(tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.data, "load_for", lambda *a, **k: data)
        train(config, run, progress=False)
    flow = run.flow()
    x8 = torch.from_numpy(images)
    told = [np.stack([one, noise], 1) if names else one for one in (grey, 1 - grey)]
    right, wrong = (flow(x8, torch.from_numpy(labels)).mean() for labels in told)
    assert right > wrong + 10
    with pytest.raises(ValueError, match="one class label per image.*grey has 0"):
        Images(name="grey", images=images).classes(2)
    with pytest.raises(ValueError, match="Expected a label of grey to be one of .*; got 'hair'"):
        data.classes({"hair": 2})


@dataclass(frozen=True, kw_only=True)
class OneNumber(Springs):
    def losses(self, flow, batch):
        return super().losses(flow, batch).mean()


def test_an_objective_gives_a_loss_each(tmp_path):
    config = replace(free_field(steps=2), objective=OneNumber())
    with pytest.raises(ValueError, match=r"a loss for each of 64 .*; OneNumber gave \[\]"):
        train(config, Run.create(tmp_path / "run"), progress=False)


def test_a_run_of_a_strange_objective_can_be_used_but_not_gone_on_with(tmp_path):
    run = Run.create(tmp_path / "run")
    train(free_field(steps=2, validate_count=5), run, progress=False)
    path = run.folder / "config.yaml"
    path.write_text(path.read_text().replace(f"{__name__}.Springs", "elsewhere.Springs"))
    assert run.config().to_dict()["objective"] == {"kind": "elsewhere.Springs", "mass": 1.0}
    assert run.flow().sample(1).shape == (1, 1, 4, 4)
    with pytest.raises(ValueError, match="--trust elsewhere.Springs"):
        train(run.config(), run, resume=True, progress=False)


def test_labels_need_a_data_set():
    with pytest.raises(ValueError, match="without labels if there is no data set"):
        TrainConfig.from_dict(free_field().to_dict() | {"model": {"labels": 3}})
