"""`rgflow ship`: the model of a run as one that can be given away."""

from __future__ import annotations

from collections.abc import Sequence

from rgflow.cli.parsing import parse, parser
from rgflow.files import expanded
from rgflow.text import bars, say


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
        "--samples",
        type=int,
        default=0,
        help="samples, for Fréchet distances to as many training images; 0: none",
    )
    options.add_argument(
        "--unfinished", action="store_true", help="also take a run that was interrupted"
    )
    options.add_argument("--remarks", default="", help="what else should stand on the card")
    settings = parse(options, arguments)

    from rgflow.checks import check_whole

    check_whole("--count", settings.count, 1)
    check_whole("--seed", settings.seed, 0)
    check_whole("--samples", settings.samples, 0)

    from rich.progress import TaskID

    from rgflow.cli.models import show
    from rgflow.training.optimisation import prepare_machine
    from rgflow.training.run import Run
    from rgflow.training.shipping import ship

    prepare_machine()
    folder = expanded(settings.folder)
    with bars() as progress:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done)

        card = ship(
            Run.open(settings.run),
            folder,
            count=settings.count,
            seed=settings.seed,
            samples=settings.samples,
            unfinished=settings.unfinished,
            remarks=settings.remarks,
            progress=tell,
        )
    show(card)
    say(f"The model is in {folder}.")
