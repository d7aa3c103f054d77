"""`rgflow models`: the models that can be loaded by name."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rgflow.cli.parsing import Parser, parse
from rgflow.files import expanded, plain
from rgflow.pretrained import ELSEWHERE, Card, cards, folder_of, in_words, shipped
from rgflow.text import measured, say, show_facts, show_wide


def run(arguments: Sequence[str]) -> None:
    """Print a table of all, or all that is known of one."""
    options = Parser(
        "models",
        "List the models that can be loaded by name. For one of them, or for a folder written by "
        "`rgflow ship`, print the card, with the commands that reproduce the model.",
        "rgflow models msds1-best",
    )
    options.add_argument("name", nargs="?", help="a model: its name or folder")
    options.flag("json", "print JSON, with all settings")
    settings = parse(options, arguments)
    if settings.name is None:
        known = [Card.read(folder) for folder in cards().values()]
        if settings.json:
            print(json.dumps([plain(card) for card in known], indent=2))
        else:
            _list(known)
        return
    folder = expanded(settings.name)
    if not folder.is_dir():  # a card is there without weights, too
        folder = cards().get(settings.name) or folder_of(settings.name)
    card = Card.read(folder)
    if settings.json:
        print(json.dumps(plain(card), indent=2))
    else:
        show(card)


def _list(known: Sequence[Card]) -> None:
    here, rows = shipped(), []
    units = " or ".join(sorted({card.likelihood.unit for card in known}))
    for card in known:
        found, model = card.likelihood, card.config.model
        rows.append(
            (
                card.name,
                card.config.data,
                in_words(model),
                "yes" if card.name in here else "no",
                f"{card.parameters:,}",
                f"{card.bytes / 1e6:.1f}",
                measured(found.nll, 4, found.standard_error),
                f"{card.training.all_seconds / 60:.0f}",
            )
        )
    head = ("model", "data", "flow", "here", "parameters", "MB", units, "minutes")
    show_wide(head, rows, left=4)
    say("`rgflow models NAME` prints a card; every command takes a model's name instead of a run.")
    if any(card.name not in here for card in known):
        say(f"To use a model that isn't here, {ELSEWHERE}.")


def show(card: Card) -> None:
    """Print a card, and the commands that make the model again."""
    show_facts([("model", card.name), *card.facts()])
    print("\nThese commands reproduce it:\n", *card.commands(), sep="\n")
