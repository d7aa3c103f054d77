"""`rgflow report`: everything about a trained flow on one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from rgflow.cli.parsing import Parser, parse, some
from rgflow.cli.subjects import load_model
from rgflow.files import expanded, writing
from rgflow.outputs import Outputs
from rgflow.text import reporting, say

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from rgflow.report.subject import Reported
    from rgflow.trained import Model


def run(arguments: Sequence[str]) -> None:
    """Parse, make the sections, and write the page."""
    options = Parser(
        "report",
        "Write everything about a trained flow to one HTML page that works offline.",
        "rgflow report runs/first",
    )
    options.model()
    options.data()
    options.word("beside", None, "another run or model folder, to compare receptive fields")
    options.whole("count", 2000, "test images to evaluate", least=100)
    options.whole("draws", 4, "draws of the latents over which receptive fields are averaged")
    options.whole("places", 8, "maximum number of places in the image to probe")
    options.number("threshold", 1.0, "strength above which a latent is visible", least=0)
    options.whole("seed", 0, "seed of all randomness", least=0)
    options.out(None, "the HTML file; by default RUN/report.html")
    settings = parse(options, arguments)

    from datetime import UTC, datetime

    import rgflow
    from rgflow import trained
    from rgflow.report import page, sections

    model = load_model(settings)
    beside = trained.load(settings.beside) if settings.beside else None
    path = expanded(settings.out) if settings.out else model.folder / "report.html"
    _check_writable(path)
    results = Outputs(path, [], None, overwrite=settings.overwrite or not settings.out)
    results.guard()
    results.check(path)
    when = f"Made by rgflow {rgflow.__version__} on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    with reporting() as report:
        subject = _subject(
            model,
            settings,
            **some(settings, "draws", "seed"),
            beside=(beside.name, beside.flow) if beside else None,
            progress=report,
        )
        made, all_of_them = [], sections.SECTIONS[type(subject)]
        for number, section in enumerate(all_of_them):
            report("report", number, len(all_of_them))
            made.append(section(subject))
    page.write(path, subject.title, made, when)
    say(f"The report is {path}: open it in a browser.")


def _subject(model: Model, settings: Namespace, **shared: Any) -> Reported:
    """The flow with its objective or, if it has learned from images, with test images."""
    from rgflow.analysis.labels import MIN_IMAGES
    from rgflow.report.subject import ReportedAction, ReportedFlow

    objective = model.config and model.config.objective
    if objective and not objective.needs_data:
        return ReportedAction(title=model.name, flow=model.flow, objective=objective, **shared)
    if model.flow.pixels is None:
        raise ValueError(
            "Expected a flow of images, or one that has learned an action, to report on; this one "
            "has learned real-valued fields from data."
        )
    test = model.images(settings.data, "test", settings.count)
    if len(test) < MIN_IMAGES:
        raise ValueError(
            f"Expected at least {MIN_IMAGES} test images to report on; {test.name} has "
            f"{len(test)}: name another data set with --data."
        )
    return ReportedFlow(
        title=f"{test.name}, {model.name}",
        flow=model.flow,
        test=test,
        run=model.run,
        **some(settings, "threshold", "places"),
        **shared,
    )


def _check_writable(path: Path) -> None:
    """Raise an `OSError` now rather than after minutes if a file can't be written."""
    if path.is_dir():
        raise IsADirectoryError(f"Expected to write {path}; it is a folder.")
    if path.parent.exists() and not path.parent.is_dir():
        raise NotADirectoryError(f"Expected to write {path}; {path.parent} isn't a folder.")
    with writing(path), TemporaryFile(dir=path.parent):
        pass
