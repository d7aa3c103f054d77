"""Whatever ends a training, going on gives the same weights and losses, bit for bit."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import killed
from flows import by_day
from rgflow import tensors
from rgflow.training.run import Run

STEPS = 12
"""Of a run, with a validation and a checkpoint after each."""


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """A training so small that a process spends most of its time on starting."""
    folder = tmp_path_factory.mktemp("pictures")
    values = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    for k, image in enumerate(values):
        Image.fromarray(image).save(folder / f"{k:02}.png")
    flags = {
        "data": f"folder:{folder}", "model.height": 8, "model.width": 8, "model.map.hidden": 8,
        "model.prior": "gaussian", "model.compute_dtype": "float32", "batch_size": 4,
        "steps": STEPS, "validate_every": 0, "flip": "true", "compile": "false",
        "schedule": "cosine", "optimizer": "muon",
    }  # fmt: skip
    return ["msds1-tiny", *(word for key, value in flags.items() for word in (f"--{key}", value))]


class Training:
    """`rgflow train` in a process of its own."""

    def __init__(self, *arguments, where=("never", 0)):
        folder = Path(tempfile.mkdtemp())
        self.files = folder / "out", folder / "error"
        self.process = killed.start(*where, ["train", *arguments], *self.files)

    def finished(self):
        """Its exit code, and what it said, when it has ended."""
        self.process.join(120)
        out, error = (path.read_text() for path in self.files)
        assert "Traceback" not in error, error
        assert self.process.exitcode in (0, -signal.SIGKILL), error
        return self.process.exitcode, out


def trained(*arguments, where=("never", 0)):
    """The exit code of a training that has ended."""
    return Training(*arguments, where=where).finished()[0]


@pytest.fixture(scope="module")
def whole(settings, tmp_path_factory):
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert trained(*settings, "--out", folder) == 0
    return folder


def assert_same(a, b):
    """Two states hold the same numbers, bit for bit; clocks and sizes of logs may differ."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a.keys() - {"seconds", "log_size"}:
            assert_same(a[key], b[key])
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, list | tuple):
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


def assert_same_run(folder, whole):
    states = [Run(f).checkpoints(2).load() for f in (folder, whole)]
    assert states[0]["step"] == STEPS
    assert_same(*states)
    losses = [[e["nll"] for e in Run(f).entries() if "nll" in e] for f in (folder, whole)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == STEPS
    assert not list(folder.rglob(".*.part"))


def test_killed_while_writing_checkpoints_and_amid_an_update(settings, whole, tmp_path):
    folder = tmp_path / "run"
    moments = [("opened", 1), ("rename", 3), ("read", 2), ("step", 7)]
    arguments = [*settings, "--out", folder]
    for where in moments:
        newest = max((p.stem for p in Run(folder).checkpoints(2).paths()), default="")
        assert trained(*arguments, where=where) == -signal.SIGKILL
        assert max((p.stem for p in Run(folder).checkpoints(2).paths()), default="") >= newest
        arguments = ["--resume", folder]
    assert trained(*arguments) == 0
    assert_same_run(folder, whole)


@pytest.mark.slow
def test_killed_at_thirty_moments(settings, whole, tmp_path):
    """16 of them while a checkpoint is written (opened, brought to the disk, named, read back), 3
    right after it has its name, 3 amid an update of the weights, the others after a random time."""
    draw = random.Random(0)
    folder, arguments = tmp_path / "run", [*settings, "--out", tmp_path / "run"]
    places = ["opened", "fsync", "rename", "read"] * 4 + ["renamed", "step"] * 3
    moments = [(place, draw.randint(1, 3)) for place in places]
    start = time.monotonic()
    assert trained(*settings, "--out", tmp_path / "undisturbed") == 0
    seconds = time.monotonic() - start
    moments += [draw.uniform(0, seconds) for _ in range(30 - len(moments))]
    draw.shuffle(moments)
    kills = 0
    while moments:
        moment = moments.pop()
        before = [p.name for p in Run(folder).checkpoints(2).paths()]
        if isinstance(moment, tuple):
            training = Training(*arguments, where=moment)
        else:
            training = Training(*arguments)
            time.sleep(moment)
            training.process.kill()
        kills += training.finished()[0] == -signal.SIGKILL
        after = [p.name for p in Run(folder).checkpoints(2).paths()]
        assert max(after, default="") >= max(before, default="")
        if (folder / "config.yaml").exists():
            arguments = ["--resume", folder]
        if "result" in Run(folder).record():  # the budget was used up: begin again
            assert_same_run(folder, whole)
            shutil.rmtree(folder)
            arguments = [*settings, "--out", folder]
            moments += [draw.uniform(0, seconds) for _ in range(30 - kills - len(moments))]
    assert kills == 30
    assert trained(*arguments) == 0
    assert_same_run(folder, whole)


def test_killed_before_anything_is_written(settings, whole, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for left in (".lock", f".config.yaml.{'0' * 32}.part"):
        (folder / left).touch()
    assert trained(*settings, "--out", folder, where=("opened", 1)) == -signal.SIGKILL
    (folder / "run.json").unlink()  # as if killed between the two files
    assert trained("--resume", folder) == 0
    assert_same_run(folder, whole)


@pytest.mark.parametrize("number", by_day([signal.SIGINT, signal.SIGHUP], [signal.SIGINT]))
def test_ctrl_c_and_closed_terminals_end_a_run_that_then_goes_on(number, settings, whole, tmp_path):
    folder = tmp_path / "run"
    training = Training(*settings, "--out", folder)
    while not Run(folder).entries():
        time.sleep(0.05)
    os.kill(training.process.pid, number)
    code, out = training.finished()
    assert code == 0
    assert "Interrupted" in out
    assert Run.open(folder).record()["result"]["interrupted"]
    assert trained("--resume", folder) == 0
    assert_same_run(folder, whole)
    assert len(Run(folder).record()["resumed"]) == 1


def test_a_signal_in_the_last_validation_loses_nothing(settings, tmp_path):
    folder = tmp_path / "run"
    arguments = [*settings, "--validate_every", "1000", "--out", folder]
    assert trained(*arguments, where=("renamed", 2)) == -signal.SIGKILL
    assert [path.stem for path in Run(folder).checkpoints(2).paths()] == ["00000000", f"{STEPS:08}"]
    assert not Run(folder).model.exists()  # so it was saved before it was validated
    assert trained("--resume", folder) == 0
    assert Run.open(folder).record()["result"]["steps"] == STEPS


def test_a_damaged_checkpoint_is_passed_over(settings, whole, tmp_path):
    """One flipped bit of a weight's exponent, which would train on with other numbers."""
    folder = tmp_path / "run"
    trained(*settings, "--out", folder, where=("renamed", 9))
    intact, newest = Run(folder).checkpoints(2).paths()[-2:]
    content = bytearray(newest.read_bytes())
    content[-1] ^= 0x40
    newest.write_bytes(content)
    code, _ = Training("--resume", folder).finished()
    assert code == 0
    (event,) = [entry["event"] for entry in Run(folder).entries() if "event" in entry]
    assert event.startswith(f"{newest.name} is damaged, the numbers of ")
    assert event.endswith(f" aren't those that were written: goes on from step {int(intact.stem)}")
    assert_same_run(folder, whole)


def test_the_last_checkpoint_stays_until_a_newer_one_is_read_back(tmp_path, monkeypatch):
    """The disk takes what is written, and gives back something else."""
    checkpoints = Run(tmp_path).checkpoints(1)
    checkpoints.save(1, {"step": 1, "x": torch.zeros(3)})
    write = tensors.save_file

    def spoil(held, path, metadata):
        write(held, path, metadata)
        content = bytearray(Path(path).read_bytes())
        content[-1] ^= 1
        Path(path).write_bytes(content)

    monkeypatch.setattr(tensors, "save_file", spoil)
    with pytest.raises(
        OSError, match=r"00000002.safetensors can't be read back \(the numbers of /x"
    ):
        checkpoints.save(2, {"step": 2, "x": torch.zeros(3)})
    monkeypatch.undo()
    assert checkpoints.load()["step"] == 1
    checkpoints.save(3, {"step": 3, "x": torch.zeros(3)})
    assert [path.stem for path in checkpoints.paths()] == ["00000003"]


@pytest.mark.slow
def test_two_processes_train_as_one(settings, tmp_path):
    """The losses of 20 steps in float64, with noise, mirroring, and each share cut in two."""
    flags = ["--dtype", "float64", "--steps", "20", "--validate_every", "1000"]
    one, two = tmp_path / "one", tmp_path / "two"
    start = tmp_path / "start"
    assert trained(*settings, *flags, "--steps", "2", "--out", start) == 0
    assert trained(*settings, *flags, "--pretrained", start, "--out", one) == 0
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command = [*launch, "-m", "rgflow", "train", *settings, *flags, "--out", two]
    command += ["--accumulate", "2", "--pretrained", start]
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert Run(two).record()["machine"]["processes"] == 2
    a, b = ([e["nll"] for e in Run(f).entries() if "nll" in e] for f in (one, two))
    assert len(a) == 20
    assert a == pytest.approx(b, rel=1e-12)
    assert json.loads((one / "run.json").read_text())["result"]["validation"] == pytest.approx(
        json.loads((two / "run.json").read_text())["result"]["validation"], rel=1e-12
    )
