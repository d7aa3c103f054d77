"""`rgflow report`: everything about a trained flow on one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

from rgflow.cli.parsing import Parser, parse, some
from rgflow.cli.subjects import load_model
from rgflow.files import expanded, writing
from rgflow.text import reporting, say


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
    options.word("out", None, "the HTML file; by default RUN/report.html")
    settings = parse(options, arguments)

    from datetime import UTC, datetime

    import rgflow
    from rgflow import trained
    from rgflow.analysis.labels import FEW
    from rgflow.objectives import ReverseKL
    from rgflow.report import lattice, page
    from rgflow.report.sections import SECTIONS
    from rgflow.report.subject import ReportedFlow

    model = load_model(settings)
    beside = trained.load(settings.beside) if settings.beside else None
    other = (beside.name, beside.flow) if beside else None
    path = expanded(settings.out) if settings.out else model.folder / "report.html"
    _check_writable(path)
    when = f"Made by rgflow {rgflow.__version__} on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    objective = model.config and model.config.objective
    if isinstance(objective, ReverseKL):
        with reporting() as report:
            of_action = lattice.ReportedAction(
                flow=model.flow,
                objective=objective,
                **some(settings, "draws", "seed"),
                beside=other,
                progress=report,
            )
            sections = [section(of_action) for section in lattice.SECTIONS.values()]
        page.write(path, model.name, sections, when)
        say(f"The report is {path}: open it in a browser.")
        return
    if model.flow.pixels is None:
        raise ValueError(
            "Expected a flow of images, or one that has learned an action, to report on; this one "
            "has learned real-valued fields from data."
        )
    test = model.images(settings.data, "test", settings.count)
    if len(test) < FEW:
        raise ValueError(
            f"Expected at least {FEW} test images to report on; {test.name} has {len(test)}: name "
            f"another data set with --data."
        )
    with reporting() as report:
        subject = ReportedFlow(
            flow=model.flow,
            test=test,
            run=model.run,
            **some(settings, "draws", "seed", "threshold", "places"),
            beside=other,
            progress=report,
        )
        sections = []
        for number, section in enumerate(SECTIONS.values()):
            report("report", number, len(SECTIONS))
            sections.append(section(subject))
    page.write(path, f"{test.name}, {model.name}", sections, when)
    say(f"The report is {path}: open it in a browser.")


def _check_writable(path: Path) -> None:
    """Raise an `OSError` now rather than after minutes if a file can't be written."""
    if path.is_dir():
        raise IsADirectoryError(f"Expected to write {path}; it is a folder.")
    if path.parent.exists() and not path.parent.is_dir():
        raise NotADirectoryError(f"Expected to write {path}; {path.parent} isn't a folder.")
    with writing(path), TemporaryFile(dir=path.parent):
        pass
