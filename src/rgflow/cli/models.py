"""`rgflow models`: the models that the package brings along."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rgflow.cli.parsing import parse, parser
from rgflow.config import listed
from rgflow.files import expanded, plain
from rgflow.pretrained import Card, shipped, unknown_model
from rgflow.text import Screen, measured, say


def run(arguments: Sequence[str]) -> None:
    """Print a table of all, or all that is known of one."""
    options = parser(
        "models",
        "List the models that come with the package; of one of them, or of a folder that `rgflow "
        "ship` has written, print the card.",
        "rgflow models msds1-best",
    )
    options.add_argument("name", nargs="?", help="a model, or the folder of one")
    options.add_argument("--json", action="store_true", help="print JSON, with all settings")
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
    from rich.table import Table

    table = Table(box=None)
    table.add_column("model", no_wrap=True)
    for column in ("data", "flow"):
        table.add_column(column)
    units = " or ".join(sorted({card.likelihood.unit for card in cards}))
    for column in ("parameters", "MB", units, "minutes"):
        table.add_column(column, justify="right")
    for card in cards:
        found, model = card.likelihood, card.config.model
        kind = f"{model.bijector}, m = {listed(model.m)}"
        table.add_row(
            card.name,
            card.config.data,
            "Real NVP" if model.architecture == "real_nvp" else kind,
            f"{card.parameters:,}",
            f"{card.bytes / 1e6:.1f}",
            measured(found.nll, 4, found.standard_error),
            f"{card.training.all_seconds / 60:.0f}",
        )
    screen = Screen()
    if not screen.is_terminal:
        screen.width = 120  # piped into another program, a line stays a line
    screen.print(table)
    say("`rgflow models NAME` tells all about one; every command takes its name for a run.")


def show(card: Card) -> None:
    """Print a card."""
    from rich.table import Table

    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("model", card.name)
    for name, text in card.facts():
        facts.add_row(name, text)
    Screen().print(facts)
