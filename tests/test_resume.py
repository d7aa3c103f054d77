"""Whatever ends a training, going on gives the same weights and losses, bit for bit."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rgflow.training.run import Run

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """A training so small that a process spends most of its time on starting."""
    folder = tmp_path_factory.mktemp("pictures")
    values = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    for k, image in enumerate(values):
        Image.fromarray(image).save(folder / f"{k:02}.png")
    flags = {
        "data": f"folder:{folder}", "model.height": 8, "model.width": 8, "model.hidden": 8,
        "model.prior": "gaussian", "model.compute_dtype": "float32", "batch_size": 4, "steps": 30,
        "validate_every": 0, "flip": "true", "compile": "false", "schedule": "cosine",
        "optimizer": "muon",
    }  # fmt: skip
    return ["msds1-tiny", *(word for key, value in flags.items() for word in (f"--{key}", value))]


def rgflow(*arguments, where=("never", 0), **options):
    """The command line in a process of its own."""
    command = [sys.executable, HERE / "killed.py", *where, "train", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [str(word) for word in command], env=environment, stderr=subprocess.PIPE, **options
    )


def finished(process):
    """Its exit code."""
    _, error = process.communicate(timeout=120)
    assert b"Traceback" not in error, error.decode()
    assert process.returncode in (0, -signal.SIGKILL), error.decode()
    return process.returncode


@pytest.fixture(scope="module")
def whole(settings, tmp_path_factory):
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert finished(rgflow(*settings, "--out", folder)) == 0
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
    assert states[0]["step"] == 30
    assert_same(*states)
    losses = [[e["nll"] for e in Run(f).entries() if "nll" in e] for f in (folder, whole)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 30
    assert not list(folder.rglob(".*.part"))


def test_killed_while_writing_checkpoints_and_amid_an_update(settings, whole, tmp_path):
    folder = tmp_path / "run"
    moments = [("opened", 1), ("rename", 3), ("step", 7)]
    arguments = [*settings, "--out", folder]
    for where in moments:
        newest = max((p.stem for p in Run(folder).checkpoints(2).paths()), default="")
        assert finished(rgflow(*arguments, where=where)) == -signal.SIGKILL
        assert max((p.stem for p in Run(folder).checkpoints(2).paths()), default="") >= newest
        arguments = ["--resume", folder]
    assert finished(rgflow(*arguments)) == 0
    assert_same_run(folder, whole)


@pytest.mark.slow
def test_killed_at_thirty_moments(settings, whole, tmp_path):
    """12 of them between opening a checkpoint and giving it its name, 3 right after, 3 amid an
    update of the weights, the others after a random time."""
    draw = random.Random(0)
    folder, arguments = tmp_path / "run", [*settings, "--out", tmp_path / "run"]
    places = ["opened", "fsync", "rename"] * 4 + ["renamed", "step"] * 3
    moments = [(place, draw.randint(1, 3)) for place in places]
    moments += [draw.uniform(2.0, 10.0) for _ in range(30 - len(moments))]
    draw.shuffle(moments)
    kills = 0
    while moments:
        moment = moments.pop()
        before = [p.name for p in Run(folder).checkpoints(2).paths()]
        if isinstance(moment, tuple):
            process = rgflow(*arguments, where=moment)
        else:
            process = rgflow(*arguments)
            time.sleep(moment)
            process.kill()
        kills += finished(process) == -signal.SIGKILL
        after = [p.name for p in Run(folder).checkpoints(2).paths()]
        assert max(after, default="") >= max(before, default="")
        if (folder / "config.yaml").exists():
            arguments = ["--resume", folder]
        if "result" in Run(folder).record():  # the budget was used up: begin again
            assert_same_run(folder, whole)
            shutil.rmtree(folder)
            arguments = [*settings, "--out", folder]
            moments += [moment] * (30 - kills - len(moments))
    assert kills == 30
    assert finished(rgflow(*arguments)) == 0
    assert_same_run(folder, whole)


def test_killed_before_anything_is_written(settings, whole, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for left in (".lock", ".config.yaml.1.part"):
        (folder / left).touch()
    assert finished(rgflow(*settings, "--out", folder, where=("opened", 1))) == -signal.SIGKILL
    (folder / "run.json").unlink()  # as if killed between the two files
    assert finished(rgflow("--resume", folder)) == 0
    assert_same_run(folder, whole)


def test_ctrl_c_ends_a_run_that_then_goes_on(settings, whole, tmp_path):
    folder = tmp_path / "run"
    process = rgflow(*settings, "--out", folder, stdout=subprocess.PIPE)
    while not Run(folder).entries():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0
    assert b"Stopped by hand" in out
    assert b"Traceback" not in error
    assert Run.open(folder).record()["result"]["interrupted"]
    assert finished(rgflow("--resume", folder)) == 0
    assert_same_run(folder, whole)
    assert len(Run(folder).record()["resumed"]) == 1


def test_a_signal_in_the_last_validation_loses_nothing(settings, tmp_path):
    folder = tmp_path / "run"
    arguments = [*settings, "--validate_every", "1000", "--out", folder]
    assert finished(rgflow(*arguments, where=("renamed", 2))) == -signal.SIGKILL
    assert [path.stem for path in Run(folder).checkpoints(2).paths()] == ["00000000", "00000030"]
    assert not Run(folder).model.exists()  # so it was saved before it was validated
    assert finished(rgflow("--resume", folder)) == 0
    assert Run.open(folder).record()["result"]["steps"] == 30


def test_a_damaged_checkpoint_is_passed_over(settings, whole, tmp_path):
    folder = tmp_path / "run"
    finished(rgflow(*settings, "--out", folder, where=("renamed", 9)))
    newest = Run(folder).checkpoints(2).paths()[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    assert finished(rgflow("--resume", folder)) == 0
    assert_same_run(folder, whole)


def test_two_processes_train_as_one(settings, tmp_path):
    """The losses of 50 steps in float64, with noise, mirroring, and each share cut in two."""
    flags = ["--dtype", "float64", "--steps", "50", "--validate_every", "1000"]
    one, two = tmp_path / "one", tmp_path / "two"
    start = tmp_path / "start"
    assert finished(rgflow(*settings, *flags, "--steps", "2", "--out", start)) == 0
    assert finished(rgflow(*settings, *flags, "--pretrained", start, "--out", one)) == 0
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command = [*launch, "-m", "rgflow", "train", *settings, *flags, "--out", two]
    command += ["--accumulate", "2", "--pretrained", start]
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert Run(two).record()["machine"]["processes"] == 2
    a, b = ([e["nll"] for e in Run(f).entries() if "nll" in e] for f in (one, two))
    assert len(a) == 50
    assert a == pytest.approx(b, rel=1e-12)
    assert json.loads((one / "run.json").read_text())["result"]["validation"] == pytest.approx(
        json.loads((two / "run.json").read_text())["result"]["validation"], rel=1e-12
    )
