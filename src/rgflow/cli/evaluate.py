"""`rgflow evaluate`: how likely test images are under a trained flow."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rgflow.cli.parsing import parse, parser
from rgflow.text import Screen, bars, measured, say

if TYPE_CHECKING:
    from rich.table import Table

    from rgflow.evaluation import Evaluation


def run(arguments: Sequence[str]) -> None:
    """Parse and evaluate."""
    options = parser(
        "evaluate",
        "Bits per dimension of a trained flow on test images (nats per site of real-valued "
        "fields), with errors, the importance-weighted bound, each level's share, and what "
        "bfloat16 changes.",
        "rgflow evaluate runs/first --count 2000",
    )
    options.add_argument("run", help="a run folder, or a model: its folder or name")
    options.add_argument("--data", type=str | None, default=None, help="data set; that of the run")
    options.add_argument("--count", type=int, default=10_000, help="test images at the most")
    options.add_argument("--draws", type=int, default=1, help="draws of noise for every image")
    options.add_argument(
        "--importance",
        type=int,
        default=8,
        help="draws of noise for the importance-weighted bound; 1: no bound",
    )
    options.add_argument(
        "--subset",
        type=int,
        default=100,
        help="images for that bound, for the error over draws and for bfloat16; 0: none of these",
    )
    options.add_argument("--batch_size", type=int, default=128, help="images at a time")
    options.add_argument("--seed", type=int, default=0, help="seed of the dequantisation noise")
    settings = parse(options, arguments)

    from rgflow.checks import check_whole

    for name, least in (("count", 1), ("draws", 1), ("importance", 1), ("subset", 0)):
        check_whole(f"--{name}", settings[name], least)
    check_whole("--batch_size", settings.batch_size, 1)
    check_whole("--seed", settings.seed, 0)

    import torch

    from rgflow import trained
    from rgflow.evaluation import evaluate
    from rgflow.numerics import check_finite
    from rgflow.training.optimisation import prepare_machine
    from rgflow.training.run import Run

    prepare_machine()
    model = trained.load(settings.run)
    images = model.images(settings.data, "test", settings.count)
    with bars() as progress:
        task = progress.add_task("evaluating", total=None)
        result = evaluate(
            model.flow,
            torch.from_numpy(images.images.copy()),
            seed=settings.seed,
            draws=settings.draws,
            importance=settings.importance,
            subset=settings.subset,
            batch_size=settings.batch_size,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    check_finite(torch.tensor(result.nll), f"{result.unit} of test images")
    own = model.config is not None and model.config.data == images.name
    other = "" if own else "-" + re.sub(r"\W+", "-", images.name).strip("-")
    path = model.folder / f"evaluation{other}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Run(model.folder).save_json(
            path.name, {"data": images.name, "split": "test", **asdict(result)}
        )
    except OSError as error:
        raise OSError(f"Expected to write {path}; {error.strerror}.") from error
    Screen().print(_shares(result), _results(result))
    say(
        f"{measured(result.nll, 4, result.standard_error)} {result.unit} on {result.images} test "
        f"image{'s' * (result.images > 1)} of {images.name}."
    )
    say(f"All of it is in {path}.")


def _shares(result: Evaluation) -> Table:
    """The share of each level."""
    from rich.table import Table

    table = Table("level", title=f"shares, {result.unit}", title_justify="left")
    for column in ("prior", "log-det", "both"):
        table.add_column(column, justify="right")
    for level, (prior, log_det) in enumerate(zip(result.prior, result.log_det, strict=True)):
        table.add_row(str(level), *(f"{x:.3f}" for x in (prior, log_det, prior + log_det)))
    table.add_row("pixels", "", "", f"{result.pixels:.3f}")
    return table


def _results(result: Evaluation) -> Table:
    """The totals with their errors."""
    from rich.table import Table

    table = Table("", title=f"negative log-likelihood, {result.unit}", title_justify="left")
    for column in (result.unit, "error", "images"):
        table.add_column(column, justify="right")

    def row(what: str, value: float | str, error: float, images: int) -> None:
        number = value if isinstance(value, str) else f"{value:.5f}"
        table.add_row(what, number, "" if math.isnan(error) else f"{error:.5f}", str(images))

    row("mean; error over images", result.nll, result.standard_error, result.images)
    if result.draw_error is not None:
        what = f"the same; error over {result.draws} draw{'s' * (result.draws > 1)} of noise"
        row(what, result.nll, result.draw_error, result.images)
    if (bound := result.bound) is not None:
        row(
            f"importance-weighted, {bound.draws} draws",
            bound.nll,
            bound.standard_error,
            bound.images,
        )
        row("… less the mean of these", f"{-bound.gain:+.5f}", bound.gain_error, bound.images)
    if (rough := result.bfloat16) is not None:
        what = "bfloat16 networks, change"
        row(what, f"{rough.difference:+.5f}", rough.standard_error, rough.images)
    return table
