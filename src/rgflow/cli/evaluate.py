"""`rgflow evaluate`: how likely test images are under a trained flow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from rgflow.cli.parsing import Parser, parse, some
from rgflow.cli.subjects import load_model
from rgflow.files import as_name, write_json, writing
from rgflow.text import Screen, many, measured, reporting, say, table

if TYPE_CHECKING:
    from rich.table import Table

    from rgflow.evaluation import Evaluation


def run(arguments: Sequence[str]) -> None:
    """Parse and evaluate.

    Raises:
        ValueError: If an option is wrong, or options don't fit together.
    """
    options = Parser(
        "evaluate",
        "Bits per dimension of a trained flow on test images (nats per site of real-valued "
        "fields), with errors, the importance-weighted bound, and each level's share.",
        "rgflow evaluate runs/first --count 2000",
    )
    options.model()
    options.data()
    options.whole("count", 10_000, "maximum number of test images")
    options.whole("importance", 8, "draws of noise for the importance-weighted bound; 1: no bound")
    options.whole("subset", 100, "images for the bound; 0: no bound", 0)
    options.whole("batch_size", 128, "images at a time")
    options.whole("seed", 0, "seed of the dequantisation noise", least=0)
    settings = parse(options, arguments)

    import torch

    from rgflow.evaluation import evaluate
    from rgflow.numerics import check_finite
    from rgflow.report.tables import shares

    model = load_model(settings)
    images = model.images(settings.data, "test", settings.count)
    classes = images.classes(model.flow.config.labels)
    with reporting() as report:
        result = evaluate(
            model.flow,
            torch.from_numpy(images.images.copy()),
            labels=None if classes is None else torch.from_numpy(classes),
            progress=partial(report, "evaluating"),
            **some(settings, "seed", "importance", "subset", "batch_size"),
        )
    check_finite(torch.tensor(result.nll), f"{result.unit} of test images")
    is_training_data = model.config is not None and model.config.data == images.name
    path = model.folder / f"evaluation{'' if is_training_data else '-' + as_name(images.name)}.json"
    with writing(path):
        write_json(path, {"data": images.name, "split": "test", **asdict(result)})
    parts = shares(result)
    Screen().print(table(parts.head, parts.rows, parts.title), _results(result))
    say(
        f"{measured(result.nll, 4, result.standard_error)} {result.unit} on "
        f"{many(result.images, 'test image')} of {images.name}."
    )
    say(f"All results are in {path}.")


def _results(result: Evaluation) -> Table:
    """The totals with their errors."""
    rows: list[tuple[str, ...]] = []

    def row(what: str, value: float | str, error: float, images: int) -> None:
        number = value if isinstance(value, str) else f"{value:.5f}"
        rows.append((what, number, "" if math.isnan(error) else f"{error:.5f}", str(images)))

    row("mean; error over images", result.nll, result.standard_error, result.images)
    if result.draw_error is not None:
        row("the same; error over draws of noise", result.nll, result.draw_error, result.images)
    if (bound := result.bound) is not None:
        what = f"importance-weighted, {bound.draws} draws"
        row(what, bound.nll, bound.standard_error, bound.images)
        row("… minus the mean of these", f"{-bound.gain:+.5f}", bound.gain_error, bound.images)
    head = ("", result.unit, "error", "images")
    return table(head, rows, f"negative log-likelihood, {result.unit}")
