"""`rgflow ship`: the model of a run as one that can be given away."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from rgflow.cli.parsing import parse, parser


def run(arguments: Sequence[str]) -> None:
    """Parse, measure, and write the folder."""
    options = parser(
        "ship",
        "Write the model of a run into a folder of its name, for others: weights in float16, a "
        "card with what was measured on them as stored, a README. load_flow and every command take "
        "such a folder.",
        "rgflow ship runs/first my-models/msds1-first",
    )
    options.add_argument("run", help="the run folder")
    options.add_argument("folder", help="the folder to write; its name is that of the model")
    options.add_argument("--count", type=int, default=10_000, help="test images at the most")
    options.add_argument("--seed", type=int, default=0, help="seed of the dequantisation noise")
    options.add_argument(
        "--numbers",
        type=str | None,
        default=None,
        help="a JSON file with other numbers for the card, by what they are",
    )
    options.add_argument(
        "--unfinished", action="store_true", help="also take a run that was interrupted"
    )
    settings = parse(options, arguments)

    from rgflow.config import check_whole

    check_whole("--count", settings.count, 1)
    check_whole("--seed", settings.seed, 0)
    numbers = _numbers(Path(settings.numbers).expanduser()) if settings.numbers else {}

    from rich.console import Console
    from rich.progress import Progress

    from rgflow.cli.models import show
    from rgflow.training.optimisation import prepare_machine
    from rgflow.training.run import Run
    from rgflow.training.shipping import ship

    prepare_machine()
    folder = Path(settings.folder).expanduser()
    terminal = Console(stderr=True)
    with Progress(console=terminal, transient=True, disable=not terminal.is_terminal) as progress:
        task = progress.add_task("measuring", total=None)
        card = ship(
            Run.open(settings.run),
            folder,
            count=settings.count,
            seed=settings.seed,
            numbers=numbers,
            unfinished=settings.unfinished,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    show(card)
    print(f"The model is in {folder}.")


def _numbers(path: Path) -> dict[str, float]:
    """Numbers by name, from a JSON file."""
    if not path.is_file():
        raise FileNotFoundError(f"Expected a JSON file for --numbers; there is none at {path}.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: _finite(value) for name, value in content.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f'Expected numbers by name in {path}, such as {{"Fréchet distance": 1.5}}; got '
            f"something else ({error})."
        ) from error


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value} isn't finite")
    return value
