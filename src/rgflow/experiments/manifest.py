"""What is done of all experiments: made from their results, never written by hand."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rgflow.experiments import results
from rgflow.experiments.plan import Experiment, names, read_experiment
from rgflow.files import write_json
from rgflow.pretrained import Card, shipped
from rgflow.reading import read_json

MANIFEST = "manifest.json"
LIMIT = 25
"""Machine-hours that all results together may take, so that anybody can repeat them."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is done of an experiment under a budget.

    Attributes:
        experiment: Its name.
        budget: The budget's.
        state: done, partly or not.
        trainings: How many are done.
        of_trainings: How many there are.
        measures: How many measurements are done.
        of_measures: How many there are.
        machine_hours: What it took by itself, as `results.machine_hours` counts.
        date: Of the last training, or none.
    """

    experiment: str
    budget: str
    state: str
    trainings: int
    of_trainings: int
    measures: int
    of_measures: int
    machine_hours: float
    date: str | None


def make(experiments: Path) -> list[Entry]:
    """What is done of every experiment, by its config and its results.

    Raises:
        FileNotFoundError: If there are no experiments.
        ValueError: If a config or a result isn't right.
    """
    read = [read_experiment(experiments, name) for name in names(experiments)]
    return [entry(one, budget) for one in read for budget in one.budgets]


def write(experiments: Path) -> Path:
    """Write the manifest anew."""
    entries = make(experiments)
    content = {
        "machine_hours": round(machine_hours(experiments), 3),
        "limit": LIMIT,
        "experiments": [asdict(entry) for entry in entries],
    }
    path = experiments / MANIFEST
    write_json(path, content, indent=1)
    return path


def machine_hours(experiments: Path) -> float:
    """Hours of a machine that everything took whose numbers stand somewhere: trainings of several
    experiments once, those of the models of the package, measurements, and flows of others."""
    found: dict[tuple[Any, ...], float] = {}

    def count(one: dict[str, Any], *what: Any) -> None:
        cores = one["machine"].get("cores") or 1
        seconds = one["processor_seconds"]
        if seconds is None:
            seconds = one["seconds"] * cores
        key = (one["started"], *what)
        found[key] = max(found.get(key, 0.0), seconds / cores)

    read = [read_experiment(experiments, name) for name in names(experiments)]
    for experiment, budget in ((one, budget) for one in read for budget in one.budgets):
        told = results.read(experiments, experiment.name, budget) or results.EMPTY
        for one in told["trainings"]:
            count(one, one["settings"].get("data"), one["parameters"])
        for one in told["measures"]:
            count(one, one["name"], one["training"])
    for folder in shipped().values():
        one = results.of_card(Card.read(folder))
        count(one, one["settings"].get("data"), one["parameters"])
    of_others = sum(hours_of_others(one) for one in read)
    return sum(found.values()) / 3600 + of_others


def hours_of_others(experiment: Experiment) -> float:
    """Hours of a machine that the flows of other libraries took whose results lie in an
    experiment's folder, with their trials of learning rates."""
    told = [
        read_json(path, "what a training cost")
        for path in experiment.folder.glob("results/*/*.json")
    ]
    done = [one for one in told if "started" in one]
    return sum(one["processor_seconds"] / one["machine"]["cores"] for one in done) / 3600


def entry(experiment: Experiment, budget: str) -> Entry:
    """What is done of one experiment under one of its budgets, with the settings of its config;
    what was done with others doesn't count."""
    plan = experiment.plan(budget)
    found = results.read(experiment.folder.parent, experiment.name, budget)
    found = found or {"experiment": experiment.name, "trainings": [], "measures": []}
    trained = [one for one in plan.trainings if results.training_of(one, found)]
    measured = [
        one
        for one in plan.measurements
        if results.measurements_of(one, found) and (one.training is None or one.training in trained)
    ]
    missing = len(plan.trainings) + len(plan.measurements) - len(trained) - len(measured)
    missing += sum(not any(experiment.folder.glob(one)) for one in _files(experiment, budget))
    dates = [one["started"] for one in (*found["trainings"], *found["measures"])]
    return Entry(
        experiment=experiment.name,
        budget=budget,
        state="not" if not (trained or measured) else "partly" if missing else "done",
        trainings=len(trained),
        of_trainings=len(plan.trainings),
        measures=len(measured),
        of_measures=len(plan.measurements),
        machine_hours=round(results.machine_hours(found), 5),
        date=max(dates)[:10] if dates else None,
    )


def _files(experiment: Experiment, budget: str) -> list[str]:
    """The results of other programs that the tables of an experiment show."""
    rows = [row for table in experiment.tables for row in table.get("rows", [])]
    named = [row.get("files", {}).get(budget, []) for row in rows]
    return [one for some in named for one in ([some] if isinstance(some, str) else some)]
