"""`rgflow report`: everything about a trained flow on one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

from rgflow.cli.parsing import parse, parser
from rgflow.files import expanded
from rgflow.text import bars, say


def run(arguments: Sequence[str]) -> None:
    """Parse, make the sections, and write the page."""
    options = parser(
        "report",
        "Everything about a trained flow on one page, which needs no network.",
        "rgflow report runs/first",
    )
    options.add_argument("run", help="a run folder, or a model: its folder or name")
    options.add_argument("--data", type=str | None, default=None, help="data set; that of the run")
    options.add_argument(
        "--beside",
        type=str | None,
        default=None,
        help="another run, or folder of a model, for its receptive fields",
    )
    options.add_argument("--count", type=int, default=2000, help="test images to evaluate")
    options.add_argument("--draws", type=int, default=4, help="draws for receptive fields")
    options.add_argument(
        "--places", type=int, default=8, help="places in the image that are probed at the most"
    )
    options.add_argument(
        "--threshold", type=float, default=1.0, help="strength above which a latent is visible"
    )
    options.add_argument("--seed", type=int, default=0, help="seed of whatever is random")
    options.add_argument(
        "--out", type=str | None, default=None, help="the HTML file; RUN/report.html"
    )
    settings = parse(options, arguments)

    from rgflow.checks import check_at_least, check_whole

    check_whole("--count", settings.count, 100)
    check_whole("--draws", settings.draws, 1)
    check_whole("--places", settings.places, 1)
    check_at_least("--threshold", settings.threshold, 0)
    check_whole("--seed", settings.seed, 0)

    from datetime import UTC, datetime

    import rgflow
    from rgflow import trained
    from rgflow.analysis.labels import FEW
    from rgflow.report import page
    from rgflow.report.sections import SECTIONS
    from rgflow.report.subject import Subject
    from rgflow.training.optimisation import prepare_machine

    prepare_machine()
    model = trained.load(settings.run)
    if model.flow.pixels is None:
        raise ValueError("Expected a flow of images to report on; this one is of real fields.")
    beside = trained.load(settings.beside) if settings.beside else None
    path = expanded(settings.out) if settings.out else model.folder / "report.html"
    _check_writable(path)
    test = model.images(settings.data, "test", settings.count)
    if len(test) < FEW:
        raise ValueError(
            f"Expected at least {FEW} test images to report on; {test.name} has {len(test)}: name "
            f"another data set with --data."
        )
    with bars() as progress:
        whole = progress.add_task("report", total=len(SECTIONS))
        part = progress.add_task("", visible=False)

        def tell(what: str, done: int, total: int) -> None:
            progress.update(
                part, description=what, completed=done, total=total, visible=done < total
            )

        subject = Subject(
            flow=model.flow,
            test=test,
            run=model.run,
            draws=settings.draws,
            seed=settings.seed,
            threshold=settings.threshold,
            places=settings.places,
            beside=(beside.name, beside.flow) if beside else None,
            progress=tell,
        )
        sections = []
        for section in SECTIONS.values():
            sections.append(section(subject))
            progress.advance(whole)
    when = f"Made by rgflow {rgflow.__version__} on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    page.write(path, f"{test.name}, {model.name}", sections, when)
    say(f"The report is {path}: open it in a browser.")


def _check_writable(path: Path) -> None:
    """Raise an `OSError` now rather than after minutes if a file can't be written."""
    try:
        if path.is_dir():
            raise IsADirectoryError("it is a folder")
        if path.parent.exists() and not path.parent.is_dir():
            raise NotADirectoryError(f"{path.parent} is no folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OSError(f"Expected to write {path}; {error.strerror or error}.") from error
