"""The card of a trained model: how it was trained, what was measured, how to reproduce it.

`Card.write` writes it for programs (`card.json`) and for people (`README.md`).
"""

import json
import math
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, ValidatorFunctionWrapHandler, WrapValidator

from rgflow import hub
from rgflow.config import FlowConfig, TrainConfig
from rgflow.files import CARD, CONFIG, MODEL_FILES, PAGE, plain, replacing, to_yaml, write_json
from rgflow.kinds import sizes_in_words
from rgflow.presets import PRESETS
from rgflow.reading import DamagedError, instance, read_json, reason

OF_MACHINE = {"compute_dtype", "checkpointing", "compile"}
"""Settings that say how numbers are computed, and not what."""
OF_PATCHES = (
    "overlapping regions of the same seven photographs (219 don't overlap), so errors computed "
    "over all of them are far too small; they show other things than the training images, to which "
    "samples can be closer"
)
"""A warning about the test images of the data set `patches`."""


def _opening(title: str, address: str) -> str:
    """The beginning of a page about a model."""
    return (
        f"# {title}\n\n"
        f'```python\nfrom rgflow import load_flow\n\nflow = load_flow("{address}")\n```\n\n'
    )


def _if_known(values: Any, read: ValidatorFunctionWrapHandler) -> TrainConfig | None:
    """Settings; none if they are those of another version."""
    try:
        config: TrainConfig | None = read(values)
        return config
    except ValueError:
        return None


@dataclass(frozen=True, kw_only=True)
class Start:
    """A model whose weights a training started from, and how that model was trained.

    Attributes:
        model: What it is called.
        steps: Steps of its optimiser; none: unknown, as of a model without a card.
        seconds: Their time.
        start: What it started from itself.
        config: The settings of its training; none: unknown, here and below.
        began: When, in UTC.
        machine: What it ran on.
        versions: Of Python and packages.
        git: The commit of the source, and whether it had changes.
    """

    model: str
    steps: int | None = None
    seconds: float | None = None
    start: "Start | None" = None
    config: Annotated[TrainConfig | None, WrapValidator(_if_known)] = None
    began: str | None = None
    machine: dict[str, Any] | None = None
    versions: dict[str, str] | None = None
    git: dict[str, Any] | None = None

    def __str__(self) -> str:
        """A phrase.

        Example:
            >>> str(Start(model="first", steps=5000, seconds=300.0))
            'first (5,000 steps in 5.0 minutes)'
        """
        known = []
        if self.steps is not None and self.seconds is not None:
            known.append(f"{self.steps:,} steps in {self.seconds / 60:.1f} minutes")
        if self.start:
            known.append(f"from the weights of {self.start}")
        return f"{self.model} ({', '.join(known)})" if known else self.model


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a model was trained.

    Attributes:
        began: When, in UTC.
        images: Number of training images.
        steps: Steps of the optimiser.
        seconds: Their time, validation included.
        machine: What it ran on: processor, cores, threads, GPU, processes.
        versions: Of Python and packages.
        git: The commit of the source, and whether it had changes; none where that isn't known.
        start: The model whose weights it started from; none: new weights.
    """

    began: str
    images: int
    steps: int
    seconds: float
    machine: dict[str, Any]
    versions: dict[str, str]
    git: dict[str, Any] | None = None
    start: Start | None = None

    @property
    def starts(self) -> list[Start]:
        """The model it started from, the model that one started from, and so on."""
        found, start = [], self.start
        while start:
            found.append(start)
            start = start.start
        return found

    @property
    def all_steps(self) -> int:
        """Steps, including those of the models it started from, as far as they are known."""
        return self.steps + sum(one.steps or 0 for one in self.starts)

    @property
    def all_seconds(self) -> float:
        """The time of all these steps."""
        return self.seconds + sum(one.seconds or 0 for one in self.starts)


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """The negative log-likelihood of the first test images, each with one draw of noise.

    Attributes:
        unit: Bits/dim, or nats/site of real-valued fields.
        nll: Its mean.
        standard_error: Of the mean, over the images.
        images: Number of images.
        seed: Seed of the noise, as for `rgflow.evaluation.evaluate`.
        floor: The entropy of the distribution of images, a lower bound of the mean; none: unknown.
    """

    unit: str
    nll: float
    standard_error: Annotated[float, BeforeValidator(lambda x: math.nan if x is None else x)]
    images: int
    seed: int
    floor: float | None = None


@dataclass(frozen=True, kw_only=True)
class Lossless:
    """The first test images, all of which are recovered from their latents bit for bit.

    Attributes:
        images: Number of images.
        float32: For how many of them float32 is enough; `encode` uses float64 for the others.
    """

    images: int
    float32: int


@dataclass(frozen=True, kw_only=True)
class Card:
    """All that is known about a model. Everything in it was measured on the stored weights.

    Attributes:
        name: Of the model, and of its folder.
        date: When it was measured.
        rgflow: The version of this package that measured it.
        parameters: Number of weights.
        bytes: Size of the file with the weights.
        sha256: Of the config followed by the weights, as they are on the disk; none: unknown.
        storage: Their number format there.
        config: The settings of its training; those of the flow are among them.
        training: How it was trained.
        likelihood: How likely test images are.
        lossless: Whether they are recovered from their latents; none for real-valued fields.
        distances: Fréchet distances of samples, each a `rgflow.metrics.frechet.FrechetDistance`.
        licence: Of the weights.
        remarks: What else should be known, such as what settings don't show.
    """

    name: str
    date: str
    rgflow: str
    parameters: int
    bytes: int
    sha256: str | None = None
    storage: str
    config: TrainConfig
    training: Training
    likelihood: Likelihood
    lossless: Lossless | None
    distances: tuple[dict[str, Any], ...] = ()
    licence: str = "MIT"
    remarks: str = ""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The card in the folder of a model.

        Raises:
            FileNotFoundError: If there is none.
            PermissionError: If it may not be read.
            ValueError: If it is damaged.
        """
        path = folder / CARD
        try:
            content = read_json(path, "the card of a model, as `rgflow ship` writes it")
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"Expected {CARD} in {folder}; it isn't there: `rgflow ship` writes it."
            ) from error
        try:
            card = instance(cls, content)
            list(card.facts())  # whatever they say of dictionaries is there
            return card
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"Expected the card of a model, as `rgflow ship` writes it; {path} is damaged "
                f"({type(error).__name__}: {reason(error)})."
            ) from error

    def write(self, folder: Path) -> None:
        """Write it into the folder of a model, for programs and for people."""
        write_json(folder / CARD, self)
        with replacing(folder / PAGE) as part:
            part.write_text(self.page(), encoding="utf-8")

    def facts(self) -> Iterator[tuple[str, str]]:
        """What it says in words, except the settings: pairs of a name and a phrase."""
        from rgflow.text import measured  # which draws tables, too

        training, model, found = self.training, self.config.model, self.likelihood
        yield "flow", model.in_words()
        yield "images", f"{model.height} × {model.width}, {model.channels} channels"
        floor = "" if found.floor is None else f"; the entropy of images is about {found.floor:g}"
        yield (
            found.unit,
            f"{measured(found.nll, 4, found.standard_error)} on {found.images:,} test images (seed "
            f"of the noise: {found.seed}){floor}",
        )
        if self.config.data == "patches":
            yield "test images", OF_PATCHES
        if lossless := self.lossless:
            text = f"lossless for {lossless.images} test images, {lossless.float32} in float32"
            others = lossless.images - lossless.float32
            yield "encoding", text + f" and {others} in float64" * (others > 0)
        for one in map(_with_errors, self.distances):
            yield (
                str(one["name"]),
                f"{measured(one['distance'], 2, one['standard_error'])} for {one['samples']:,} "
                f"samples, {measured(one['floor'], 2, one['floor_error'])} for as many test images",
            )
        yield (
            "parameters",
            f"{self.parameters:,}, stored as {self.storage} in {self.bytes / 1e6:.1f} MB, used "
            f"in {self.config.dtype}",
        )
        yield "data", f"{self.config.data}, {training.images:,} training images"
        clock = {"wall": "wall-clock time", "processor": "processor time"}[self.config.clock]
        text = (
            f"{training.steps:,} steps of {self.config.batch_size} images in "
            f"{training.seconds / 60:.1f} minutes of {clock}, started {training.began}"
        )
        if levels := self.config.train_levels:
            text += f", weights of level{'s' * (len(levels) > 1)} {sizes_in_words(levels)} only"
        if training.start:
            text += f", from the weights of {training.start}"
        yield "training", text
        machine = training.machine
        counted = [f"{machine[name]} {name}" for name in ("cores", "threads") if name in machine]
        processes = f"processes: {machine['processes']}"
        known = [machine["processor"], *counted, machine.get("gpu"), processes]
        yield "machine", ", ".join(filter(None, known))
        yield (
            "versions",
            ", ".join(f"{name} {number}" for name, number in training.versions.items()),
        )
        if git := training.git:
            yield "source", commit_of(git)
        yield "measured", f"{self.date}, on the stored weights, with rgflow {self.rgflow}"
        if self.sha256:
            yield "SHA-256", f"{self.sha256} of config.json followed by model.safetensors"
        yield "licence", self.licence
        if self.remarks:
            yield "remarks", " ".join(self.remarks.split())  # one row of a table

    def commands(self) -> list[str]:
        """Shell commands that reproduce the model: its trainings, one after another, each
        as a preset and what differs from it, then `rgflow ship`. How numbers are computed is left
        to the machine."""
        parts = [self.config]
        for start in self.training.starts:
            if start.config is None:
                break
            parts.insert(0, start.config)
        lines, out = [], None
        for k, config in enumerate(parts, 1):
            config = replace(config, pretrained=out or config.pretrained)
            out = f"runs/{self.name}" + f"-{k}" * (len(parts) > 1)
            lines.append(shlex.join(["rgflow", "train", *_as_words(config), "--out", out]))
        return [*lines, shlex.join(["rgflow", "ship", str(out), f"models/{self.name}"])]

    def page(self, address: str | None = None) -> str:
        """The card for people, in Markdown.

        Args:
            address: Where `load_flow` finds the model; none: under its name.
        """
        rows = "\n".join(f"| {name} | {text} |" for name, text in self.facts())
        starts = self.training.starts
        how = f"Trained from the weights of {starts[0].model} " if starts else "Trained "
        before = "".join(
            f"\nThe weights of {start.model} were trained{_where(start)} with the same settings "
            f"except\n\n"
            f"```yaml\n{to_yaml(_others(plain(start.config), plain(self.config)))}```\n"
            for start in starts
            if start.config
        )
        commands = "\n".join(self.commands())
        return (
            f"{_opening(self.name, address or self.name)}"
            f"| | |\n|---|---|\n{rows}\n\n"
            f"These commands reproduce it:\n\n```sh\n{commands}\n```\n\n"
            f"{how}with `rgflow train --config settings.yaml` and these settings:\n\n"
            f"```yaml\n{to_yaml(self.config)}```\n{before}"
        )


def _as_words(config: TrainConfig) -> list[str]:
    """What to write after `rgflow train` for a config: the nearest preset, and what differs."""
    wanted = dict(_flat(config.to_dict()))
    kinds = {name: part for name, part in config.model.to_dict().items() if isinstance(part, dict)}

    def differing(preset: TrainConfig) -> list[str]:
        usual = preset.to_dict()
        before = dict(_flat(usual))
        # Another kind keeps those options that it has, too.
        parts = {}
        for name, wanted_part in kinds.items():
            if part := getattr(preset.model, name):
                kept = ["kind", *part.kept_by(wanted_part["kind"])]
                parts[name] = {key: x for key, x in part.to_dict().items() if key in kept}
        after = dict(_flat(usual | {"model": usual["model"] | parts}))
        words = []
        for option, value in wanted.items():
            there = before if option.removeprefix("--model.") in kinds else after
            if option not in there or there[option] != value:
                words += [option, value if isinstance(value, str) else json.dumps(value)]
        return words

    words = {name: differing(preset) for name, preset in PRESETS.items()}
    nearest = min(words, key=lambda name: len(words[name]))
    return [nearest, *words[nearest]]


def _flat(values: dict[str, Any], before: str = "--") -> Iterator[tuple[str, Any]]:
    """Settings as options of `rgflow train`, except those of the machine."""
    for name, value in plain(values).items():
        if isinstance(value, dict):
            if "kind" in value:
                yield before + name, value.pop("kind")
            yield from _flat(value, f"{before}{name}.")
        elif name not in OF_MACHINE:
            yield before + name, value


def _where(start: Start) -> str:
    """When and on what an earlier training ran, as far as it is known."""
    if not start.began or not start.machine:
        return ""
    text = f", started {start.began} on {start.machine['processor']}"
    if git := start.git:
        text += f", {commit_of(git)}"
    return f"{text},"


def commit_of(git: dict[str, Any]) -> str:
    """The commit that something was made with, from its record."""
    return f"commit {git['commit'][:9]}{' with changes' if git['changes'] else ''}"


def _others(values: dict[str, Any], than: dict[str, Any]) -> dict[str, Any]:
    """The values that differ from those of another dictionary with the same keys."""
    return {
        name: _others(value, than[name]) if isinstance(value, dict) else value
        for name, value in values.items()
        if value != than[name]
    }


def _with_errors(values: dict[str, Any]) -> dict[str, Any]:
    """Values with NaN for errors that JSON lacks, as those of a single image."""
    if not isinstance(values, dict):
        raise DamagedError("it has no likelihood or distance")
    lost = (name for name, value in values.items() if value is None and name.endswith("error"))
    return values | dict.fromkeys(lost, math.nan)


def push_to_hub(folder: Path, repository: str, **options: Any) -> str:
    """Upload the model in a folder to the Hugging Face hub, with its card if it has one.

    Args:
        folder: As `Flow.save_pretrained` or `rgflow ship` writes it.
        repository: `owner/name`; it is created if it doesn't exist.
        options: As for `rgflow.hub.push`.

    Returns:
        Where the hub shows it.

    Raises:
        OSError: If the hub rejects the upload.
        ValueError: If the card or the config is damaged.
    """
    licence = None
    if (folder / CARD).is_file():
        card = Card.read(folder)
        page, licence = card.page(repository), card.licence.lower()
    else:
        config = read_json(folder / CONFIG, "the config of a model")["config"]
        page = f"{_opening(repository, repository)}{FlowConfig.from_dict(config).in_words()}.\n"
    files = [folder / name for name in MODEL_FILES if name != PAGE and (folder / name).is_file()]
    return hub.push(files, repository, page, licence, **options)
