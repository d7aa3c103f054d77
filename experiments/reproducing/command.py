"""`rgflow reproduce`: an experiment end to end, of the paper or our own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rgflow.cli.parsing import Parser, parse
from rgflow.files import expanded
from rgflow.text import bars, say, show_wide

if TYPE_CHECKING:
    from reproducing.execute import Progress
    from reproducing.measuring import Progress as Measuring
    from reproducing.plan import Measurement, Plan, Training


def run(arguments: Sequence[str]) -> None:
    """Parse, train, measure, and write down what was found."""
    options = Parser(
        "reproduce",
        "Do an experiment end to end: train what isn't trained yet, measure what isn't measured "
        "yet, and write the results to EXPERIMENTS/NAME/BUDGET.json.",
        "rgflow reproduce B1 --budget 10m --jobs 2",
    )
    options.add_argument("name", nargs="?", help="a folder in that of the experiments")
    options.word("budget", "10m", "10m, 2h, or full: the paper's setting")
    options.whole("jobs", 1, "trainings at a time")
    options.files("only", "only these trainings: labels, or labels with seeds")
    options.flag("train_only", "train, and measure nothing")
    options.flag("again", "also what is among the results, if its runs are gone")
    options.flag("dry_run", "list what would be done")
    options.flag("list", "list what is done of everything")
    options.word("data_root", None, "folder with official files of data")
    options.word("inception", None, "weights of Inception for FID, as for `rgflow distances`")
    options.word("work", "runs/reproduce", "folder for run folders")
    options.word("experiments", "experiments", "folder of the experiments")
    settings = parse(options, arguments)

    from reproducing.plan import read_experiment

    experiments, work = (expanded(settings[key]) for key in ("experiments", "work"))
    if settings.list:
        _list(experiments)
        return
    if settings.name is None:
        raise ValueError("Expected the name of an experiment; got none: --list shows all of them.")
    experiment = read_experiment(experiments, settings.name)
    whole = experiment.plan(settings.budget, settings.data_root)
    plan = whole.only(settings.only) if settings.only else whole

    from reproducing import manifest, results
    from reproducing.execute import train_all
    from reproducing.measuring import measure_all

    if settings.inception and settings.train_only:
        raise ValueError(
            "Expected --inception where something is measured; got it with --train_only."
        )
    network = None
    if settings.inception:
        import torch

        from rgflow.metrics.frechet import inception

        device = "cuda" if torch.cuda.is_available() else "cpu"
        network = inception(settings.inception, device)
    known = set() if settings.again else results.settled(plan, work, experiments)
    if network:  # the samples of models can be measured at any time
        known -= {
            one.training.name
            for one in plan.measurements
            if one.training and one.training.model and one.measure == "samples"
        }
    if known:
        say(f"{len(known)} of {len(plan.trainings)} trainings are among the results already.")
    trainings = [one for one in plan.trainings if one.name not in known]
    left = replace(
        plan,
        trainings=tuple(trainings),
        measurements=tuple(
            one for one in plan.measurements if not (one.training and one.training.name in known)
        ),
    )
    if settings.dry_run:
        _list_plan(left, work)
        return
    with _training_bar(trainings, work) as report:
        failed = train_all(trainings, work, jobs=settings.jobs, progress=report)
    if not settings.train_only:
        with _measuring(left, work) as begun:
            measure_all(left, work, inception=network, progress=begun)
        if path := results.write(whole, work, experiments):
            say(f"The results are in {path}, an overview in {manifest.write(experiments)}.")
    if failed:
        raise ValueError(f"Expected all trainings to end well; {len(failed)} failed. {failed[0]}")


def _list(experiments: Path) -> None:
    """List the state of all experiments."""
    from reproducing.manifest import make

    head = ("experiment", "budget", "", "trainings", "measures", "date")
    rows = [
        (
            one.experiment,
            one.budget,
            one.state,
            f"{one.trainings} of {one.of_trainings}",
            f"{one.measures} of {one.of_measures}",
            one.date or "",
        )
        for one in make(experiments)
    ]
    show_wide(head, rows)


def _list_plan(plan: Plan, work: Path) -> None:
    """List what would be done, and for how long."""
    from reproducing.execute import done

    minutes, rows = 0.0, []
    for one in plan.trainings:
        config, so_far = one.config, done(one, work)
        left = (1 - so_far) * (config.minutes or 0)
        minutes += left
        budget = f"{config.minutes:g} min" if config.minutes else f"{config.steps:,} steps"
        time = f"{left:.0f} min" if config.minutes else ""
        name = f"{one.experiment}/{one.name}"
        rows.append((name, config.data, budget, f"{100 * so_far:.0f} %", time))
    head = ("training", "data", "budget", "done", "left")
    show_wide(head, rows)
    say(
        f"{len(plan.trainings)} trainings, {minutes / 60:.1f} hours of them left to do; "
        f"{_waiting(plan, work)} of {len(plan.measurements)} measurements left."
    )


def _waiting(plan: Plan, work: Path) -> int:
    """How many measurements aren't done."""
    from reproducing.measuring import measured

    return sum(not measured(one, work) for one in plan.measurements)


@contextmanager
def _measuring(plan: Plan, work: Path) -> Iterator[Measuring]:
    """Print a line for every measurement, and show a bar with the time left."""
    with bars() as shown:
        bar = shown.add_task("measuring", total=_waiting(plan, work))

        def report(one: Measurement, ended: bool) -> None:
            name = f"{one.name} of {one.training.name}" if one.training else one.name
            if ended:
                shown.advance(bar)
            else:
                shown.update(bar, description=name)
                shown.console.print(f"{time.strftime('%H:%M:%S')}  {name}")

        yield report


@contextmanager
def _training_bar(trainings: Sequence[Training], work: Path) -> Iterator[Progress]:
    """Show a bar with the time left, and print a line when a training begins or ends."""
    from reproducing.execute import done

    shares = {one.name: done(one, work) for one in trainings}
    under_way: list[str] = []
    with bars(transient=False) as shown:
        bar = shown.add_task("", total=len(shares))
        shown.update(bar, completed=sum(shares.values()))

        def report(training: Training, fraction: float, word: str) -> None:
            name = training.name
            shares[name] = fraction
            if word == "began":
                under_way.append(name)
            elif word:
                under_way.remove(name)
            if word:
                clock = time.strftime("%H:%M:%S")
                shown.console.print(f"{clock}  {training.experiment}/{name} {word}")
            shown.update(
                bar,
                completed=sum(shares.values()),
                description=", ".join(f"{one} {100 * shares[one]:.0f} %" for one in under_way),
            )

        yield report
