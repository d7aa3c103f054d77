"""Runs measurements: each is stored as JSON beside the trainings, none is done twice."""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from reproducing.execute import done
from reproducing.measures import MEASURES, WITHOUT_TRAINING, MeasuredFlow, check_options
from reproducing.plan import Measurement, Plan, Training
from rgflow.files import plain, replacing, write_json
from rgflow.flow import Flow
from rgflow.metrics.frechet import Features
from rgflow.pretrained import shipped
from rgflow.reading import DamagedError, read_json
from rgflow.trained import load
from rgflow.training.optimisation import prepare_machine
from rgflow.training.run import Run, git_state, processor

Progress = Callable[[Measurement, bool], None]
"""Called with a measurement and whether it has ended: when it begins, and when it ends."""


def measured(measurement: Measurement, work: Path) -> dict[str, Any] | None:
    """The result of a measurement; none if it isn't done, or its flow was trained again."""
    try:
        content = read_json(measurement.path(work), "a measurement")
    except (OSError, DamagedError):
        return None
    return content if content.get("trained") == _trained(measurement, work) else None


def measure_all(
    plan: Plan, work: Path, *, inception: Features | None = None, progress: Progress | None = None
) -> None:
    """Measure what isn't measured yet of the finished trainings in the folder `work`. With
    `inception`, features for FID, samples that were measured without are measured again.

    Raises:
        ValueError: If there is no such measure, or it has no such options.
    """
    for one in plan.measurements:
        check_options(one.name, one.measure, one.options)
        if (one.training is None) != (one.measure in WITHOUT_TRAINING):
            raise ValueError(
                f"Expected trainings for the measures that need them, and for no others; "
                f"{one.name} of {plan.experiment} is {one.measure}."
            )
    prepare_machine()
    for one in plan.measurements:
        needed = [training for training in (one.training, one.beside) if training]
        there = measured(one, work)
        if there and inception and one.measure == "samples":
            known = there["numbers"]["distances"]
            there = there if inception.distance_name in known else None
        if there or any(done(training, work) < 1 for training in needed):
            continue
        if progress:
            progress(one, False)
        _measure(one, plan.experiment, work, inception)
        if progress:
            progress(one, True)


def _measure(
    measurement: Measurement, experiment: str, work: Path, inception: Features | None
) -> None:
    measure, options = MEASURES[measurement.measure], measurement.options
    now = datetime.now(UTC).isoformat(timespec="seconds")
    start, busy = time.perf_counter(), time.process_time()
    subject = [_subject(measurement, work, inception)] if measurement.training else []
    found = measure(*subject, **options)
    path = measurement.path(work)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "measure": measurement.measure,
        "options": options,
        "experiment": experiment,
        "trained": _trained(measurement, work),
        "started": now,
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(time.process_time() - busy, 1),
        "threads": torch.get_num_threads(),
        "machine": {"processor": processor(), "cores": os.cpu_count()},
        "versions": {name: version(name) for name in ("rgflow", "torch")},
        "git": git_state(),
        "numbers": plain(found.numbers),
        "pictures": {name: picture.caption for name, picture in found.pictures.items()},
    }
    for name, picture in found.pictures.items():
        with replacing(picture_path(path, name)) as part:
            picture.image.save(part, format="PNG", optimize=True)
    write_json(path, content, indent=1)  # last, as it says that all of it is there


def picture_path(path: Path, name: str) -> Path:
    """The path of a picture of a measurement, from that of its JSON."""
    return path.with_name(f"{path.stem}-{name}.png")


def _subject(measurement: Measurement, work: Path, inception: Features | None) -> MeasuredFlow:
    training, beside = measurement.training, measurement.beside
    assert training
    other = (beside.label, _flow(beside, work)) if beside else None
    return MeasuredFlow(_flow(training, work), training.config, training.label, other, inception)


def _flow(training: Training, work: Path) -> Flow:
    """The flow of a training, on the GPU if there is one."""
    folder = shipped()[training.model] if training.model else training.folder(work)
    return load(str(folder)).flow


def _trained(measurement: Measurement, work: Path) -> list[str]:
    """The start times of the measured trainings, or the digests of models: they identify these
    among others of the same name."""
    of = (measurement.training, measurement.beside)
    return [one.weights or Run(one.folder(work)).record().get("started", "") for one in of if one]
