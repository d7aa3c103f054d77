"""`rgflow ship`: the model of a run as one to share."""

from __future__ import annotations

from collections.abc import Sequence

from rgflow.cli.parsing import Parser, parse, some
from rgflow.files import expanded
from rgflow.text import reporting, say


def run(arguments: Sequence[str]) -> None:
    """Parse, measure, and write the folder."""
    options = Parser(
        "ship",
        "Write the model of a run into a folder of its name, for others: weights in float16, a "
        "card with what was measured on them as stored, a README. load_flow and every command take "
        "such a folder.",
        "rgflow ship runs/first my-models/msds1-first",
    )
    options.add_argument("run", help="the run folder")
    options.add_argument("folder", help="the folder to write; its name is that of the model")
    options.whole("count", 10_000, "test images at the most")
    options.whole("seed", 0, "seed of the dequantisation noise", least=0)
    options.whole(
        "samples",
        0,
        "samples, for Fréchet distances to as many training images; 0: none",
        least=0,
    )
    options.flag("unfinished", "also take a run that was interrupted")
    options.word("remarks", "", "what else should stand on the card")
    settings = parse(options, arguments)

    from rgflow.cli.models import show
    from rgflow.training.optimisation import prepare_machine
    from rgflow.training.run import Run
    from rgflow.training.shipping import ship

    prepare_machine()
    folder = expanded(settings.folder)
    with reporting() as report:
        card = ship(
            Run.open(settings.run),
            folder,
            progress=report,
            **some(settings, "count", "seed", "samples", "unfinished", "remarks"),
        )
    show(card)
    say(f"The model is in {folder}.")
