"""What is known of a run or a model: `described` for programs, `facts` in words."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from rgflow import checkpoint
from rgflow.cards import Card
from rgflow.config import FlowConfig
from rgflow.files import CARD, expanded, plain
from rgflow.reading import read_json
from rgflow.text import measured
from rgflow.training.run import Run

Described = dict[str, Any]
"""What is known, by name; plain values, as JSON holds them."""


def described(folder: str | Path) -> Described:
    """All that is known of a run, finished or not, or of a model: its card, if it has one.

    Raises:
        FileNotFoundError: If the folder is neither.
        ValueError: If a file in it is damaged.
    """
    folder = expanded(folder)
    if (folder / "config.yaml").is_file():
        about = {"run": str(folder)} | _described_run(Run(folder))
    elif (folder / CARD).is_file():
        card = Card.read(folder)
        return plain(card) | {"levels": _described_flow(card.config.model)["levels"]}
    elif (folder / checkpoint.CONFIG).is_file():
        config, dtype = checkpoint.load_config(folder)
        flow = _described_flow(FlowConfig.from_dict(config))
        about = {"model": str(folder), "number_format": dtype} | flow
    else:
        raise FileNotFoundError(
            f"Expected a run folder, with config.yaml, or the folder of a model, with "
            f"{checkpoint.CONFIG}; {folder} has neither."
        )
    return about | {"bytes": _size(folder)}


def _size(folder: Path) -> int:
    """Bytes of all files."""
    size = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # a run that goes on replaces its files
            size += path.stat().st_size if path.is_file() else 0
    return size


def _described_run(run: Run) -> Described:
    config, record, log, past = run.config(), run.record(), run.entries(), run.past()
    validations = [entry for entry in log if entry.get("validation_nll") is not None]
    return {
        "data": config.data,
        "training_images": past.images,
        "skipped": (record.get("data") or {}).get("skipped") or [],
        **_described_flow(config.model),
        "has_model": (run.model / "config.json").is_file(),
        "train_levels": config.train_levels,
        "budget": {"minutes": config.minutes, "steps": config.steps},
        "steps": past.steps or 0,
        "epochs": past.epochs(config.batch_size),
        "seconds": past.seconds or 0.0,
        "best_validation": min(validations, key=lambda v: v["validation_nll"], default=None),
        "last_validation": validations[-1] if validations else None,
        "events": [entry for entry in log if "event" in entry],
        "evaluation": _evaluation(run.folder / "evaluation.json"),
        "checkpoints": [path.name for path in run.checkpoints(config.keep).paths()],
        **{
            name: record.get(name)
            for name in ("started", "start", "resumed", "command", "versions", "git", "machine")
        },
    }


def _evaluation(path: Path) -> Described | None:
    """What `rgflow evaluate` found, if it did and the file is whole."""
    try:
        content = read_json(path, "what `rgflow evaluate` found")
    except (OSError, ValueError):
        return None
    return content if isinstance(content.get("nll"), float) else None


def _described_flow(config: FlowConfig) -> Described:
    import torch

    from rgflow.architectures import make_flow
    from rgflow.model import RGFlow

    with torch.device("meta"):  # shapes without the numbers
        flow = make_flow(config)
    depths = config.map.depths(flow.levels) if isinstance(flow, RGFlow) else ()
    return {
        "config": config.to_dict(),
        "unit": flow.unit.name,
        "parameters": sum(p.numel() for p in flow.parameters()),
        "levels": [
            {
                "latents": list(shape := flow.lattice.latent_shape(level, config.channels)),
                "size": torch.Size(shape).numel(),
                "m": flow.lattice.geometry.unit(level) if isinstance(flow, RGFlow) else None,
                "depth": depths[level] if depths else None,
            }
            for level in range(flow.levels)
        ],
    }


def facts(folder: str | Path) -> Iterator[tuple[str, str]]:
    """What is known of a run or a model in words: pairs of a name and a phrase.

    Raises:
        FileNotFoundError: If the folder is neither.
        ValueError: If a file in it is damaged.
    """
    about = described(folder)
    if "training" in about:
        yield "model", about["name"]
        yield from Card.read(expanded(folder)).facts()
        return
    config = FlowConfig.from_dict(about["config"])
    yield ("run", about["run"]) if "run" in about else ("model", about["model"])
    yield "flow", f"{config.in_words()}, {about['parameters']:,} parameters"
    yield "images", f"{config.height} × {config.width}, {config.channels} channels"
    if "run" in about:
        past = Run(folder).past()
        assert past.config
        yield from past.facts(past.config)
        yield from _facts_of_run(about)
    yield "on disk", f"{about['bytes'] / 1e6:,.1f} MB"


def _facts_of_run(about: Described) -> Iterator[tuple[str, str]]:
    """What is known of a run only."""
    if skipped := about["skipped"]:
        yield "left out", f"{skipped[0]}" + f", and {len(skipped) - 1} more" * (len(skipped) > 1)
    for name in ("best", "last"):
        if entry := about[f"{name}_validation"]:
            text = measured(entry["validation_nll"], 4, entry.get("standard_error"))
            yield f"{name} validation", f"{text} {about['unit']}, step {entry['step']:,}"
    for entry in about["events"]:
        yield "event", f"step {entry['step']:,}: {entry['event']}"
    if found := about["evaluation"]:
        text = f"{found['nll']:.4f} {found.get('unit', about['unit'])}"
        yield "evaluated", f"{text} on {found.get('images')} test images of {found.get('data')}"
    yield "model", "that of the best validation" if about["has_model"] else "none yet"
    yield "checkpoints", ", ".join(about["checkpoints"]) or "none"
    if about["resumed"]:
        yield "resumed", ", ".join(about["resumed"])
