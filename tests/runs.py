"""Run folders for tests, without the training, settings of small trainings, and a full disk."""

import contextlib
import importlib.util
import json
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from flows import random_flow, random_images
from rgflow import TrainConfig, preset
from rgflow.data import Images
from rgflow.flow import Flow
from rgflow.training import loop
from rgflow.training.run import Run

LOG = [
    *({"step": k, "seconds": k / 4, "nll": 8 - k / 10, "lr": 1e-3} for k in range(1, 21)),
    {"step": 10, "seconds": 3.0, "validation_nll": 7.1, "standard_error": 0.1},
    {"step": 12, "seconds": 3.5, "event": "resumed"},
    {"step": 20, "seconds": 6.0, "validation_nll": 7.2, "standard_error": 0.1},
]


def program(path: str) -> ModuleType:
    """A program of the repository that is no part of the package, as a module."""
    whole = Path(__file__).parents[1] / path
    spec = importlib.util.spec_from_file_location(whole.stem, whole)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:  # as where it is run: its neighbours are found
        patch.syspath_prepend(whole.parent)
        spec.loader.exec_module(module)
    return module


def tiny(**changes: Any) -> TrainConfig:
    """The settings of a training of seconds."""
    base = preset("msds1-tiny")
    settings = {"train_count": 300, "validate_count": 20, "steps": 12, "batch_size": 8}
    settings |= {"compile": False, **changes}
    model = base.changed({"model": {"compute_dtype": "float32", "map": {"hidden": 16}}}).model
    return replace(base, **{"model": model, **settings})


DRAW_CURVE = Run.draw_curve


def few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings draw four samples and no curve, which take longer than a few steps."""
    monkeypatch.setattr(loop, "SAMPLES", 4)
    monkeypatch.setattr(Run, "draw_curve", lambda run, unit: None)


def small_run(folder: Path, **options: Any) -> Path:
    """A run of a random flow on noise."""
    flow = random_flow(torch.float32, **options)
    x = random_images(flow, 200)
    data = folder.with_suffix(".npz")
    if flow.config.pixels is None:
        data = folder.with_suffix(".npy")
        np.save(data, x.numpy())
    else:
        x = x.to(torch.uint8)
        np.savez(data, train=x[:20], test=x[20:])
    name = f"{'fields' if flow.config.pixels is None else 'npz'}:{data}"
    run = Run.create(folder)
    config = TrainConfig(model=flow.config, data=name, steps=20, batch_size=8)
    images = Images(name=name, images=x[:20].numpy(), skipped=("a.png: truncated",))
    with run.locked():
        run.write_start(config, flow, images, processes=1)
        flow.save_pretrained(run.model)
    (folder / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in LOG))
    return folder


def flow_of(folder: Path) -> Flow:
    """The flow of a run."""
    return Run.open(folder).flow()


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file can grow beyond some bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
