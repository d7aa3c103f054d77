"""`rgflow reproduce`: a table or figure of the paper, or a question of our own, end to end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rgflow.cli.parsing import parse, parser

if TYPE_CHECKING:
    from rgflow.experiments.execute import Progress
    from rgflow.experiments.plan import Plan, Training


def run(arguments: Sequence[str]) -> None:
    """Parse, train, measure, and write down what was found."""
    options = parser(
        "reproduce",
        "Do an experiment end to end: train what isn't trained yet, measure what isn't measured "
        "yet, and write the results to EXPERIMENTS/NAME/BUDGET.json.",
        "rgflow reproduce B1 --budget 10m --jobs 2",
    )
    options.add_argument("name", nargs="?", help="a folder in that of the experiments")
    options.add_argument("--budget", default="10m", help="10m, 2h, or full: the paper's setting")
    options.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    options.add_argument(
        "--only", nargs="+", type=str, help="only these trainings: labels, or labels with seeds"
    )
    options.add_argument("--train_only", action="store_true", help="train, and measure nothing")
    options.add_argument("--dry_run", action="store_true", help="list what would be done")
    options.add_argument(
        "--data_root", type=str | None, default=None, help="folder with official files of data"
    )
    options.add_argument(
        "--work", type=str, default="runs/reproduce", help="folder for run folders"
    )
    options.add_argument(
        "--experiments", type=str, default="experiments", help="folder of the experiments"
    )
    settings = parse(options, arguments)

    from rgflow.config import check_whole
    from rgflow.experiments.plan import read_experiment

    check_whole("--jobs", settings.jobs, 1)
    experiments, work = (Path(settings[key]).expanduser() for key in ("experiments", "work"))
    if settings.name is None:
        raise ValueError("Expected the name of an experiment; got none.")
    plan = read_experiment(experiments, settings.name).plan(settings.budget)
    plan = plan.only(settings.only) if settings.only else plan
    plan = plan.with_data(settings.data_root) if settings.data_root else plan
    if settings.dry_run:
        _list(plan, work)
        return

    from rgflow.experiments.execute import train_all

    with _told(plan.trainings, work) as progress:
        train_all(plan.trainings, work, jobs=settings.jobs, progress=progress)


def _list(plan: Plan, work: Path) -> None:
    """What would be done, and for how long."""
    from rich.console import Console
    from rich.table import Table

    from rgflow.experiments.execute import done

    table = Table("training", "data", "budget", "done", "left", box=None)
    minutes = 0.0
    for one in plan.trainings:
        config, so_far = one.config, done(one, work)
        left = (1 - so_far) * (config.minutes or 0)
        minutes += left
        budget = f"{config.minutes:g} min" if config.minutes else f"{config.steps:,} steps"
        table.add_row(
            f"{one.experiment}/{one.name}",
            config.data,
            budget,
            f"{100 * so_far:.0f} %",
            f"{left:.0f} min" if config.minutes else "",
        )
    console = Console(highlight=False)
    console.print(table, width=None if console.is_terminal else 120)
    print(f"{len(plan.trainings)} trainings, {minutes / 60:.1f} hours of them left to do.")


@contextmanager
def _told(trainings: Sequence[Training], work: Path) -> Iterator[Progress]:
    """A bar over all trainings with the time that is left, and a line when one begins or ends."""
    import time

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    from rgflow.experiments.execute import done

    terminal = Console(stderr=True, highlight=False)
    columns = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}")]
    shares = {one.name: done(one, work) for one in trainings}
    before, start = sum(shares.values()), time.perf_counter()
    under_way: list[str] = []

    def left() -> str:
        now = sum(shares.values())
        if now <= before:
            return ""
        seconds = (time.perf_counter() - start) * (len(shares) - now) / (now - before)
        return f"about {seconds / 60:.0f} min left"

    with Progress(*columns, console=terminal, disable=not terminal.is_terminal) as shown:
        bar = shown.add_task("", total=len(shares), left="")

        def tell(training: Training, fraction: float, word: str) -> None:
            name = training.name
            shares[name] = fraction
            if word == "began":
                under_way.append(name)
            elif word:
                under_way.remove(name)
            if word:
                clock = time.strftime("%H:%M:%S")
                terminal.print(f"{clock}  {training.experiment}/{name} {word}  {left()}")
            shown.update(
                bar,
                completed=sum(shares.values()),
                left=left(),
                description=", ".join(f"{one} {100 * shares[one]:.0f} %" for one in under_way),
            )

        yield tell
