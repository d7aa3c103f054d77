"""Results of experiments: one JSON file for each experiment and budget, and pictures.

EXPERIMENTS/NAME/BUDGET.json       trainings with their settings, time and machine; measurements
EXPERIMENTS/NAME/BUDGET/           pictures, of the first seed
"""

import shutil
from pathlib import Path
from typing import Any

from reproducing.execute import done, sessions
from reproducing.measuring import measured, picture_path
from reproducing.plan import Measurement, Plan, Training
from rgflow.cards import Card
from rgflow.config import TrainConfig
from rgflow.config.earlier import training_of_earlier
from rgflow.files import plain, write_json
from rgflow.pretrained import shipped
from rgflow.reading import read_json
from rgflow.training.log import read_log
from rgflow.training.run import LOG, Run

PLACES = ("data_root", "download")
"""Settings that locate data and don't affect results."""

EMPTY: dict[str, list[Any]] = {"trainings": [], "measures": []}


def path_of(experiments: Path, name: str, budget: str) -> Path:
    """The file of an experiment's results under a budget."""
    return experiments / name / f"{budget}.json"


def read(experiments: Path, name: str, budget: str) -> dict[str, Any]:
    """The results of an experiment under a budget; `EMPTY` if there are none yet.

    Raises:
        ValueError: If the file is damaged.
    """
    try:
        return read_json(path_of(experiments, name, budget), "results of an experiment")
    except FileNotFoundError:
        return EMPTY


def write(plan: Plan, work: Path, experiments: Path) -> Path | None:
    """Write the results of a plan, with pictures, from the run folders in `work`: the JSON file;
    none if there is nothing to write.

    Earlier results whose run folders are gone stay, unless the config has changed since.
    """
    path = path_of(experiments, plan.experiment, plan.budget)
    folder = path.with_suffix("")
    before = read(experiments, plan.experiment, plan.budget)
    trainings = {}
    for training in plan.trainings:
        if done(training, work) == 1:
            trainings[training.name] = _record(training, work)
        elif found := training_of(training, before):
            trainings[training.name] = found
    measures = []

    def same(training: Training) -> bool:
        """Whether there were results of this training before."""
        was, now = training_of(training, before), trainings.get(training.name)
        return bool(was and now and was["started"] == now["started"])

    for one in plan.measurements:
        of = one.training.name if one.training else None
        if content := measured(one, work):
            del content["trained"]
            pictures = _copy(one, content["pictures"], plan, work, folder)
            which = {"name": one.name, "training": of, "beside": one.beside and one.beside.name}
            measures.append({**which, **content, "pictures": pictures})
        elif all(same(of) for of in (one.training, one.beside) if of):
            measures += measurements_of(one, before)
    if not trainings and not measures:
        return None
    content = {
        "experiment": plan.experiment,
        "budget": plan.budget,
        "command": f"rgflow reproduce {plan.experiment} --budget {plan.budget}",
        "trainings": list(trainings.values()),
        "measures": measures,
    }
    write_json(path, content, indent=1)
    shown = {file for one in measures for file in one["pictures"]}
    for picture in folder.glob("*.png"):
        if picture.name not in shown:
            picture.unlink()
    return path


def settled(plan: Plan, work: Path, experiments: Path) -> set[str]:
    """The names of the trainings whose run folders are gone, and which are completely among the
    results."""
    before = read(experiments, plan.experiment, plan.budget)
    return {
        training.name
        for training in plan.trainings
        if not training.folder(work).exists()
        and training_of(training, before)
        and all(
            measurements_of(one, before)
            for one in plan.measurements
            if training in (one.training, one.beside)
        )
    }


def training_of(training: Training, results: dict[str, Any]) -> dict[str, Any] | None:
    """The results of a training with these settings; none if there are none."""
    # The weights of a model may be others by now.
    same = {"name": training.name, "weights": training.weights}
    wanted = differences(training.config)
    found = (t for t in results["trainings"] if {key: t.get(key) for key in same} == same)
    return next((t for t in found if _as_now(t.get("settings")) == wanted), None)


def _as_now(settings: Any) -> dict[str, Any] | None:
    """Differences from the defaults that any version has written, as this one writes them; none if
    they aren't known any more."""
    try:
        return differences(TrainConfig().changed(training_of_earlier(settings)))
    except (AttributeError, TypeError, ValueError):
        return None


def measurements_of(one: Measurement, results: dict[str, Any]) -> list[dict[str, Any]]:
    """The result of a measurement with these options: one, or none."""
    same = {
        "name": one.name,
        "training": one.training and one.training.name,
        "beside": one.beside and one.beside.name,
        "options": one.options,
    }
    # The oldest don't say beside what.
    return [
        found
        for found in results["measures"]
        if {key: found.get(key, value) for key, value in same.items()} == same
    ]


def differences(config: TrainConfig) -> dict[str, Any]:
    """The settings of a training that differ from the defaults, as plain values."""
    mine, usual = plain(config), plain(TrainConfig())
    model = {}
    for name, x in mine.pop("model").items():
        if x != (before := usual["model"][name]):
            both = isinstance(x, dict) and isinstance(before, dict) and x["kind"] == before["kind"]
            model[name] = {k: v for k, v in x.items() if v != before[k]} if both else x
    found = {name: x for name, x in mine.items() if x != usual[name] and name not in PLACES}
    return {"model": model, **found}


def _record(training: Training, work: Path) -> dict[str, Any]:
    """What is written about a finished training."""
    head = {
        "name": training.name,
        "label": training.label,
        "seed": training.config.seed,
        "experiment": training.experiment,
    }
    settings = differences(training.config)
    on_processor = training.config.clock == "processor"
    if training.model:
        card = Card.read(shipped()[training.model])
        made = card.training
        seconds = round(made.all_seconds, 1)
        return head | {
            "model": training.model,
            "weights": training.weights,
            "settings": settings,
            "parameters": card.parameters,
            "steps": made.all_steps,
            "unit": card.likelihood.unit,
            "started": made.began,
            "seconds": seconds,
            "processor_seconds": seconds if on_processor else None,
            **{name: getattr(made, name) for name in ("machine", "versions", "git")},
        }
    run, parts = Run(training.folder(work)), sessions(training, work)
    record = run.record()
    result = record["result"]
    # A session isn't written down if the command that began it was killed; its own clock goes on.
    clock = result["seconds"]
    busy = clock if on_processor else 0.0
    return head | {
        "settings": settings,
        "compute_dtype": run.config().model.compute_dtype,
        "parameters": record["parameters"],
        **{name: result[name] for name in ("steps", "images_per_second", "validation", "unit")},
        "curve": _curve(training, work),
        "started": record["started"],
        "sessions": len(parts),
        "seconds": round(max(clock, sum(one.seconds for one in parts)), 1),
        "processor_seconds": round(max(busy, sum(one.processor_seconds for one in parts)), 1),
        "threads": max((one.threads for one in parts), default=None),
        "at_a_time": max((one.beside + 1 for one in parts), default=None),
        **{name: record[name] for name in ("machine", "versions", "git")},
    }


def _curve(training: Training, work: Path) -> list[dict[str, float]]:
    """Every validation of a training, with its minutes and steps."""
    return [
        {
            "minutes": round(entry["seconds"] / 60, 3),
            "step": entry["step"],
            "nll": entry["validation_nll"],
            "error": entry["standard_error"],
        }
        for entry in read_log(training.folder(work) / LOG)
        if entry.get("validation_nll") is not None
    ]


def _copy(
    one: Measurement, captions: dict[str, str], plan: Plan, work: Path, folder: Path
) -> dict[str, str]:
    """Copy the pictures of a measurement of the first seed; captions by the name of the file."""
    if one.training:
        alike = (other for other in plan.trainings if other.label == one.training.label)
        if one.training.config.seed != min(other.config.seed for other in alike):
            return {}
    folder.mkdir(exist_ok=True)
    found = {}
    for name, caption in captions.items():
        label = f"{one.training.label}-" if one.training else ""
        file = f"{label}{one.name}-{name}.png"
        shutil.copyfile(picture_path(one.path(work), name), folder / file)
        found[file] = caption
    return found
