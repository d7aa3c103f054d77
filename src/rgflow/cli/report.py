"""`rgflow report`: everything about a trained flow on one page."""

from collections.abc import Sequence

from rgflow.cli.parsing import parse, parser


def run(arguments: Sequence[str]) -> None:
    """Parse, make the sections, and write the page."""
    options = parser(
        "report",
        "Everything about a trained flow on one page, which needs no network.",
        "rgflow report runs/first",
    )
    options.add_argument("run", help="the run folder")
    options.add_argument(
        "--beside", type=str | None, default=None, help="another run, for its receptive fields"
    )
    options.add_argument("--count", type=int, default=2000, help="test images to evaluate")
    options.add_argument("--draws", type=int, default=4, help="draws for receptive fields")
    options.add_argument("--seed", type=int, default=0, help="seed of whatever is random")
    options.add_argument(
        "--out", type=str | None, default=None, help="the HTML file; RUN/report.html"
    )
    settings = parse(options, arguments)

    from rgflow.config import check_whole

    check_whole("--count", settings.count, 100)
    check_whole("--draws", settings.draws, 1)
    check_whole("--seed", settings.seed, 0)

    from datetime import UTC, datetime
    from pathlib import Path

    import torch
    from rich.console import Console
    from rich.progress import track

    import rgflow
    from rgflow.report import page
    from rgflow.report.sections import SECTIONS, Subject
    from rgflow.training.optimisation import prepare_machine
    from rgflow.training.run import Run

    prepare_machine()
    run = Run.open(settings.run)
    if run.config().model.pixels is None:
        raise ValueError("Expected a flow of images to report on; this one is of real fields.")
    path = Path(settings.out).expanduser() if settings.out else run.folder / "report.html"
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    beside = None
    if settings.beside:
        beside = Path(settings.beside).name, Run.open(settings.beside).flow().to(device)
    subject = Subject(
        run=run,
        flow=run.flow().to(device),
        count=settings.count,
        draws=settings.draws,
        seed=settings.seed,
        beside=beside,
    )
    terminal = Console(stderr=True)
    made = [
        SECTIONS[name](subject)
        for name in track(
            SECTIONS, "report", console=terminal, transient=True, disable=not terminal.is_terminal
        )
    ]
    when = f"Made by rgflow {rgflow.__version__} on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    page.write(path, f"{run.config().data}, {run.folder.name}", made, when)
    print(f"The report is {path}: open it in a browser.")
