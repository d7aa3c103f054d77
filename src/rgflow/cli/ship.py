"""`rgflow ship`: the model of a run as one to share."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from rgflow.checks import short
from rgflow.cli.parsing import Parser, parse, some
from rgflow.files import expanded
from rgflow.hub import is_address
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
    options.word("push", None, "OWNER/NAME on the Hugging Face hub, to upload the model to")
    options.flag("private", "make that a repository of the hub that only you can see")
    settings = parse(options, arguments)
    if settings.push and not is_address(settings.push):
        raise ValueError(f"Expected --push to be OWNER/NAME; got {short(settings.push)}.")
    if settings.private and not settings.push:
        raise ValueError("Expected --push OWNER/NAME beside --private; got none.")
    if settings.push and find_spec("huggingface_hub") is None:  # before anything takes long
        raise ValueError(
            "Expected the package huggingface_hub, which uploads; it isn't installed: run "
            "pip install 'rgflow[hub]'."
        )

    from rgflow.cli.models import show
    from rgflow.pretrained import push_to_hub
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
    if settings.push:
        private = settings.private or None  # none: as the hub has it for the owner
        say(f"It is at {push_to_hub(folder, settings.push, private=private)}.")
