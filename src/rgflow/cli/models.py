"""`rgflow models`: the models that the package brings along."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rgflow.cli.parsing import Parser, parse
from rgflow.files import expanded, plain
from rgflow.pretrained import Card, in_words, shipped, unknown_model
from rgflow.text import measured, say, show_facts, show_wide


def run(arguments: Sequence[str]) -> None:
    """Print a table of all, or all that is known of one."""
    options = Parser(
        "models",
        "List the models that come with the package; of one of them, or of a folder that `rgflow "
        "ship` has written, print the card.",
        "rgflow models msds1-best",
    )
    options.add_argument("name", nargs="?", help="a model, or the folder of one")
    options.flag("json", "print JSON, with all settings")
    settings = parse(options, arguments)
    if settings.name is None:
        cards = [Card.read(folder) for folder in shipped().values()]
        if settings.json:
            print(json.dumps([plain(card) for card in cards], indent=2))
        else:
            _list(cards)
        return
    folder = expanded(settings.name)
    if not folder.is_dir():
        if settings.name not in shipped():
            raise FileNotFoundError(unknown_model(settings.name))
        folder = shipped()[settings.name]
    card = Card.read(folder)
    if settings.json:
        print(json.dumps(plain(card), indent=2))
    else:
        show(card)


def _list(cards: Sequence[Card]) -> None:
    units = " or ".join(sorted({card.likelihood.unit for card in cards}))
    rows = []
    for card in cards:
        found, model = card.likelihood, card.config.model
        rows.append(
            (
                card.name,
                card.config.data,
                in_words(model),
                f"{card.parameters:,}",
                f"{card.bytes / 1e6:.1f}",
                measured(found.nll, 4, found.standard_error),
                f"{card.training.all_seconds / 60:.0f}",
            )
        )
    head = ("model", "data", "flow", "parameters", "MB", units, "minutes")
    show_wide(head, rows, left=3)
    say("`rgflow models NAME` tells all about one; every command takes its name for a run.")


def show(card: Card) -> None:
    """Print a card."""
    show_facts([("model", card.name), *card.facts()])
