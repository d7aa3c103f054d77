"""An overview of all experiments, made from their results."""

from dataclasses import asdict, dataclass
from pathlib import Path

from reproducing import results
from reproducing.plan import Experiment, names, read_experiment
from rgflow.files import write_json

MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The state of an experiment under a budget (done, partly or not): how many of all trainings
    and measurements are done, and the date of the last."""

    experiment: str
    budget: str
    state: str
    trainings: int
    of_trainings: int
    measures: int
    of_measures: int
    date: str | None


def make(experiments: Path) -> list[Entry]:
    """The states of all experiments, from their configs and results.

    Raises:
        FileNotFoundError: If there are no experiments.
        ValueError: If a config or a result isn't right.
    """
    read = [read_experiment(experiments, name) for name in names(experiments)]
    return [entry(one, budget) for one in read for budget in one.budgets]


def write(experiments: Path) -> Path:
    """Write the manifest."""
    path = experiments / MANIFEST
    write_json(path, {"experiments": [asdict(entry) for entry in make(experiments)]}, indent=1)
    return path


def entry(experiment: Experiment, budget: str) -> Entry:
    """The state of an experiment under a budget. Only results with the settings of its config
    count."""
    plan = experiment.plan(budget)
    found = results.read(experiment.folder.parent, experiment.name, budget)
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
        date=max(dates)[:10] if dates else None,
    )


def _files(experiment: Experiment, budget: str) -> list[str]:
    """Results of other programs in the tables of an experiment."""
    rows = [row for table in experiment.tables for row in table.get("rows", [])]
    named = [row.get("files", {}).get(budget, []) for row in rows]
    return [one for some in named for one in ([some] if isinstance(some, str) else some)]
