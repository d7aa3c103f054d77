"""`rgflow ship`: package the model of a run to share it."""

from __future__ import annotations

from collections.abc import Sequence

from rgflow.cli.parsing import Parser, parse, some
from rgflow.files import expanded
from rgflow.text import reporting, say


def run(arguments: Sequence[str]) -> None:
    """Parse, measure, and write the folder."""
    options = Parser(
        "ship",
        "Write the model of a run to a folder to share: weights in float16, a card with "
        "measurements of the stored weights, and a README. load_flow and every command take such a "
        "folder.",
        "rgflow ship runs/first my-models/msds1-first",
    )
    options.add_argument("run", help="the run folder")
    options.add_argument("folder", help="the folder to write, which gives the model its name")
    options.whole("count", 10_000, "maximum number of test images")
    options.whole("seed", 0, "seed of the dequantisation noise", least=0)
    options.whole(
        "samples",
        0,
        "samples, for Fréchet distances to as many training images; 0: none",
        least=0,
    )
    options.flag("unfinished", "accept a run that was interrupted")
    options.word("remarks", "", "remarks to add to the card")
    settings = parse(options, arguments)

    from rgflow.cli.info import describe
    from rgflow.training.optimisation import prepare_machine
    from rgflow.training.run import Run
    from rgflow.training.shipping import ship

    prepare_machine()
    folder = expanded(settings.folder)
    with reporting() as report:
        ship(
            Run.open(settings.run),
            folder,
            progress=report,
            **some(settings, "count", "seed", "samples", "unfinished", "remarks"),
        )
    describe(folder)
    say(f"The model is in {folder}.")
