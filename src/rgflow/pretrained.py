"""The models that the package brings along, and the card of each: all that is known of it.

rgflow/models/NAME/config.json        what the flow is made of
rgflow/models/NAME/model.safetensors  its weights
rgflow/models/NAME/quantiles.json     how the levels' shares of the log-likelihood spread
rgflow/models/NAME/factors.json       what its latents mean, of some
rgflow/models/NAME/card.json          where it comes from, and what was measured
rgflow/models/NAME/README.md          the same for people

What lies there is found by looking. `rgflow.training.shipping` makes such a folder from a run, and
wherever it lies, `load_flow` takes it.
"""

import difflib
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Self

from rgflow.config import CoarseToFineMap, ConvolutionalMap, FlowConfig, TrainConfig, listed
from rgflow.files import expanded, plain, replacing, to_yaml, write_json
from rgflow.geometries import Blocks, Windows
from rgflow.reading import DamagedError, instance, read_json, reason

FOLDER = Path(str(resources.files("rgflow"))) / "models"
"""Where they lie."""
CARD, PAGE, FACTORS, QUANTILES = "card.json", "README.md", "factors.json", "quantiles.json"
OF_PATCHES = (
    "overlapping regions of the same seven photographs, 219 of which don't overlap: errors that "
    "count every image are too small by far, and they show other things than the training images "
    "do, which samples can be nearer to"
)
"""What one has to know of the test images of the data set `patches`."""


def shipped() -> dict[str, Path]:
    """The folders of the package's models, by name.

    Example:
        >>> all((folder / "config.json").is_file() for folder in shipped().values())
        True
    """
    return {path.parent.name: path.parent for path in sorted(FOLDER.glob(f"*/{CARD}"))}


def folder_of(name: str) -> Path:
    """The folder of a run or a model, by its path, or of a model of the package; a local folder
    wins; a `FileNotFoundError` if there is neither."""
    folder = expanded(name)
    if not folder.is_dir() and name in (known := shipped()):
        return known[name]
    if not folder.exists() and folder.name == name:
        raise FileNotFoundError(unknown_model(name))
    return folder


def unknown_model(name: str | Path) -> str:
    """The sentence for a name at which there is no model: of a single word it says which is nearest
    in the package."""
    sentence = f"Expected a folder with a model; there is none at {name}"
    known = list(shipped())
    if not known or os.path.dirname(name):
        return f"{sentence}."
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.4)
    hint = f" (nearest: {close[0]})" if close else ""
    return f"{sentence}, nor is it one of the package's models, {', '.join(known)}{hint}."


@dataclass(frozen=True, kw_only=True)
class Start:
    """A model whose weights a training began with, and how it had been trained itself.

    Attributes:
        model: What it is called.
        steps: Steps of its optimiser; none: unknown, as of a model without a card.
        seconds: Their time.
        start: What it began with itself.
        config: The settings of its training; none: unknown, as in what follows.
        began: When, in UTC.
        machine: What it ran on.
        versions: Of Python and packages.
        git: The commit of the source, and whether it had changes.
    """

    model: str
    steps: int | None
    seconds: float | None
    start: "Start | None" = None
    config: TrainConfig | None = None
    began: str | None = None
    machine: dict[str, Any] | None = None
    versions: dict[str, str] | None = None
    git: dict[str, Any] | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`; settings of another version aren't known; a
        `ValueError` if a value is missing or of another type."""
        if not isinstance(values, dict):
            raise DamagedError("what a training began with isn't an object")
        known: dict[str, Any] = {"steps": None, "seconds": None} | values
        made = instance(cls, known | {"start": None, "config": None})
        start, config = known.get("start"), None
        with suppress(KeyError, TypeError, ValueError):
            config = TrainConfig.from_dict(known["config"])
        return replace(made, start=start and cls.from_dict(start), config=config)

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
        start: What its weights were at the start; none: new.
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
        """What its weights began with, what those had begun with, and so on."""
        found, start = [], self.start
        while start:
            found.append(start)
            start = start.start
        return found

    @property
    def all_steps(self) -> int:
        """Steps with those that its first weights had taken, as far as they are known."""
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
        floor: The entropy of what makes the images, which no mean falls below; none: unknown.
    """

    unit: str
    nll: float
    standard_error: float
    images: int
    seed: int
    floor: float | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`, with NaN for an error that JSON lacks."""
        if not isinstance(values, dict) or values.get("standard_error") is not None:
            return instance(cls, values)
        return replace(instance(cls, values | {"standard_error": 0.0}), standard_error=math.nan)


@dataclass(frozen=True, kw_only=True)
class Lossless:
    """The first test images, all of which come back from their latents to the last bit.

    Attributes:
        images: Number of images.
        float32: How many of them float32 is enough for; `encode` takes float64 for the others.
    """

    images: int
    float32: int


@dataclass(frozen=True, kw_only=True)
class Card:
    """All that is known of a model. Everything in it was measured on the weights as stored.

    Attributes:
        name: Of the model, and of its folder.
        date: When it was measured.
        rgflow: The version of this package with which it was.
        parameters: Number of weights.
        bytes: Size of the file with the weights.
        sha256: Of the config followed by the weights, as they are on the disk; none: unknown.
        storage: Their number format there.
        config: The settings of its training; those of the flow are among them.
        training: How it was trained.
        likelihood: How likely test images are.
        lossless: Whether they come back from their latents; none of real-valued fields.
        distances: Fréchet distances of samples, each a `rgflow.metrics.frechet.FrechetDistance`.
        licence: Of the weights.
        remarks: What else should be known, such as what its settings don't tell of its training.
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
        """What it says, but for the settings, in words: what it is about, and a phrase."""
        from rgflow.text import measured  # which draws tables, too

        training, model, found = self.training, self.config.model, self.likelihood
        yield "flow", in_words(model)
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
            f"{self.parameters:,}, stored as {self.storage} in {self.bytes / 1e6:.1f} MB; they "
            f"compute in {self.config.dtype}",
        )
        yield "data", f"{self.config.data}, {training.images:,} training images"
        clock = {"wall": "on the clock", "processor": "of the processor"}[self.config.clock]
        text = (
            f"{training.steps:,} steps of {self.config.batch_size} images in "
            f"{training.seconds / 60:.1f} minutes {clock}, begun {training.began}"
        )
        if levels := self.config.train_levels:
            text += f", of the weights of level{'s' * (len(levels) > 1)} {listed(levels)} alone"
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
        yield "measured", f"{self.date}, on the weights as stored, with rgflow {self.rgflow}"
        if self.sha256:
            yield "SHA-256", f"{self.sha256} of config.json followed by model.safetensors"
        yield "licence", self.licence
        if self.remarks:
            yield "remarks", " ".join(self.remarks.split())  # one row of a table

    def page(self) -> str:
        """The card for people, in Markdown."""
        rows = "\n".join(f"| {name} | {text} |" for name, text in self.facts())
        starts = self.training.starts
        how = f"Trained on from the weights of {starts[0].model} " if starts else "Trained "
        before = "".join(
            f"\nThose of {start.model} were trained{_where(start)} with the same settings, but "
            f"for\n\n"
            f"```yaml\n{to_yaml(_others(plain(start.config), plain(self.config)))}```\n"
            for start in starts
            if start.config
        )
        return (
            f"# {self.name}\n\n"
            f'```python\nfrom rgflow import load_flow\n\nflow = load_flow("{self.name}")\n```\n\n'
            f"| | |\n|---|---|\n{rows}\n\n"
            f"{how}with `rgflow train --config settings.yaml`, and these settings:\n\n"
            f"```yaml\n{to_yaml(self.config)}```\n{before}"
        )


def _where(start: Start) -> str:
    """When and on what a training ran that others went on from, as far as it is known."""
    if not start.began or not start.machine:
        return ""
    text = f", begun {start.began} on {start.machine['processor']}"
    if git := start.git:
        text += f", {commit_of(git)}"
    return f"{text},"


def commit_of(git: dict[str, Any]) -> str:
    """By which code something was made, from a record of it."""
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


def in_words(config: FlowConfig) -> str:
    """What a flow is made of, in a phrase.

    Example:
        >>> in_words(FlowConfig())
        'RG-Flow, m = 4, affine maps, paper networks 512 wide, laplace prior, logit pixel map'
    """
    parts, map = config.to_dict(), config.map
    kinds = {name: one["kind"] for name, one in parts.items() if isinstance(one, dict)}
    if isinstance(map, ConvolutionalMap):
        return f"Real NVP, {map.hidden} feature maps"
    networks = getattr(map, "conditioner", "")
    if isinstance(map, CoarseToFineMap):
        networks = f"up to {config.channels * 4**map.splits}"
    networks = f"{networks} networks".strip()
    wide = f", {networks} {listed(map.hidden)} wide" if hasattr(map, "hidden") else ""
    stems = f" and stems {map.stem} wide" if isinstance(map, CoarseToFineMap) and map.stem else ""
    geometry, tree = kinds["geometry"], ""
    if isinstance(config.geometry, Blocks):
        geometry = f"m = {listed(config.geometry.m)}"
        tree = "" if config.geometry.disentanglers else " without disentanglers"
    elif isinstance(config.geometry, Windows) and config.geometry.size == 1:
        geometry = f"windows of {2 * config.geometry.reach + 1}² sites in "
        geometry += f"{config.geometry.least_layers} phases a level"
    shared = ", one set of weights for all levels" if config.shared else ""
    if config.shared_from:
        shared += f" from level {config.shared_from} on"
    return (
        f"RG-Flow{tree}, {geometry}{shared}, {kinds['map']} maps{wide}{stems}, "
        f"{kinds['prior']} prior, {kinds.get('pixels', 'no')} pixel map"
    )
