"""`rgflow info`: list models and presets, or describe one of them, or a run."""

import json
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from rgflow.cards import Card
from rgflow.cli.parsing import Parser, parse
from rgflow.files import expanded, plain, to_yaml
from rgflow.presets import PRESETS
from rgflow.pretrained import ELSEWHERE, cards, folder_of, shipped
from rgflow.text import Screen, measured, say, show_facts, show_wide, table


def run(arguments: Sequence[str]) -> None:
    """Parse, and print what is known."""
    options = Parser(
        "info",
        "Without a name, list models and presets. Otherwise describe a run, finished or not, or a "
        "model, with the commands that reproduce it; or print a preset's settings as YAML, which "
        "`rgflow train --config` reads.",
        "rgflow info msds1-best",
    )
    options.add_argument(
        "name", nargs="?", help="a run folder, or a model: its folder or name; or else a preset"
    )
    options.flag("json", "print JSON")
    settings = parse(options, arguments)
    name = settings.name
    if name is None:
        _list([Card.read(folder) for folder in cards().values()], settings.json)
    elif name in PRESETS and name not in cards() and not expanded(name).exists():
        content = plain(PRESETS[name])
        print(json.dumps(content, indent=2) if settings.json else to_yaml(content).rstrip())
    else:
        describe(_folder(name), as_json=settings.json)
        if name in PRESETS and not settings.json:
            say(f"The preset {name}: `rgflow train {name} --print_config` prints its settings.")


def _list(models: Sequence[Card], as_json: bool) -> None:
    """All models, then all presets."""
    if as_json:
        print(json.dumps({"models": plain(models), "presets": plain(PRESETS)}, indent=2))
        return
    here = shipped()
    units = " or ".join(sorted({card.likelihood.unit for card in models}))
    head = ("model", "data", "flow", "here", "parameters", "MB", units, "minutes")
    rows = (
        (
            card.name,
            card.config.data,
            card.config.model.in_words(),
            "yes" if card.name in here else "no",
            f"{card.parameters:,}",
            f"{card.bytes / 1e6:.1f}",
            measured(card.likelihood.nll, 4, card.likelihood.standard_error),
            f"{card.training.all_seconds / 60:.0f}",
        )
        for card in models
    )
    show_wide(head, rows, left=4)
    if any(card.name not in here for card in models):
        say(f"To use a model that isn't here, {ELSEWHERE}.")
    print()
    presets = [
        (name, config.data, config.model.in_words(), str(config.batch_size), f"{config.lr:g}")
        for name, config in PRESETS.items()
    ]
    show_wide(("preset", "data", "flow", "batch", "rate"), presets, left=3)
    say("`rgflow info NAME` describes one; commands take a model's name instead of a run.")


def _folder(name: str) -> Path:
    """The folder of a run or a model; the weights may be missing."""
    if not expanded(name).is_dir() and name in cards():
        return cards()[name]
    near = get_close_matches(name, [*cards(), *PRESETS], n=1)
    try:
        return folder_of(name)
    except FileNotFoundError as error:
        if near and near[0] not in cards():
            raise FileNotFoundError(
                f"Expected a run, a model or a preset; got {name} (nearest: {near[0]})."
            ) from error
        raise


def describe(folder: Path, *, as_json: bool = False) -> None:
    """Print what is known of a run or a model, with the commands that make a model again."""
    from rgflow.report.facts import described, facts

    about = described(folder)
    if as_json:
        print(json.dumps(about, indent=2))
        return
    show_facts(facts(folder))
    if "training" in about:
        print("\nThese commands reproduce it:\n", *Card.read(folder).commands(), "", sep="\n")
    rows = [
        [str(number), " × ".join(map(str, level["latents"]))]
        + [str(level[name] or "") for name in ("size", "m", "depth")]
        for number, level in enumerate(about["levels"])
    ]
    Screen().print(table(("level", "latents", "in all", "m", "depth"), rows))
