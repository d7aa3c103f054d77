"""`rgflow ship`: package the model of a run to share it."""

from __future__ import annotations

from collections.abc import Sequence

from rgflow import hub
from rgflow.checks import check_installed, short
from rgflow.cli.parsing import Parser, parse, some
from rgflow.files import expanded
from rgflow.text import reporting, say


def run(arguments: Sequence[str]) -> None:
    """Parse, measure, and write the folder.

    Raises:
        ValueError: If an option is wrong, or options don't fit together.
    """
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
    options.word("push", None, "upload the model to OWNER/NAME on the Hugging Face hub")
    options.flag("private", "make that repository private")
    settings = parse(options, arguments)
    if settings.push and not hub.is_address(settings.push):
        raise ValueError(f"Expected --push to be OWNER/NAME; got {short(settings.push)}.")
    if settings.private and not settings.push:
        raise ValueError("Expected --push OWNER/NAME with --private; got none.")
    if settings.push:
        check_installed("huggingface_hub", "which uploads", "hub")  # before anything takes long

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
    if settings.push:
        private = settings.private or None  # none: as the hub has it for the owner
        say(f"It is at {hub.push(folder, settings.push, private=private)}.")
