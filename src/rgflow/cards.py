"""What is known of a model: how it was trained, what was measured, how to reproduce it.

`Card.write` writes it for programs (`card.json`) and for people (`README.md`).
"""

import json
import math
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, ValidatorFunctionWrapHandler, WrapValidator

from rgflow.config import TrainConfig
from rgflow.files import CARD, PAGE, replacing, write_json
from rgflow.kinds import flat, sizes_in_words
from rgflow.presets import PRESETS
from rgflow.reading import instance, read_json, reason
from rgflow.text import many, measured

OF_MACHINE = {"compute_dtype", "checkpointing", "compile"}
"""Settings that say how numbers are computed, and not what."""
OF_PATCHES = (
    "overlapping regions of the same seven photographs (219 don't overlap), so errors computed "
    "over all of them are far too small; they show other things than the training images, to which "
    "samples can be closer"
)
"""A warning about the test images of the data set `patches`."""


def _if_known(values: Any, read: ValidatorFunctionWrapHandler) -> TrainConfig | None:
    """Settings; none if they are those of another version."""
    try:
        config: TrainConfig | None = read(values)
        return config
    except ValueError:
        return None


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a training ran on.

    Attributes:
        processor: Its name and instructions.
        cores: Number of cores, and so on; none: unknown.
        threads: Of PyTorch.
        gpu: Its name; none: there was none.
        processes: How many trained together.
    """

    processor: str
    cores: int | None = None
    threads: int | None = None
    gpu: str | None = None
    processes: int = 1

    def __str__(self) -> str:
        counts = ((self.cores, "core"), (self.threads, "thread"))
        known = [many(count, word) for count, word in counts if count is not None]
        processes = f"processes: {self.processes}"
        return ", ".join(filter(None, [self.processor, *known, self.gpu, processes]))


@dataclass(frozen=True, kw_only=True)
class Commit:
    """The commit of the source, and whether the source had changes."""

    commit: str
    changes: bool

    def __str__(self) -> str:
        return f"commit {self.commit[:9]}{' with changes' * self.changes}"


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a model was trained, as far as it is known; none: unknown.

    Attributes:
        model: What the model is called; none on its own card.
        config: The settings; none on the model's own card, which has them.
        images: Number of training images.
        steps: Steps of the optimiser.
        seconds: Their time, validation included.
        began: When, in UTC.
        machine: What it ran on.
        versions: Of Python and packages.
        git: The commit of the source.
        start: How the model was trained whose weights it started from; none: new weights.
    """

    model: str | None = None
    config: Annotated[TrainConfig | None, WrapValidator(_if_known)] = None
    images: int | None = None
    steps: int | None = None
    seconds: float | None = None
    began: str | None = None
    machine: Machine | None = None
    versions: dict[str, str] | None = None
    git: Commit | None = None
    start: "Training | None" = None

    @property
    def starts(self) -> "list[Training]":
        """That of the model it started from, of the model that one started from, and so on."""
        return [self.start, *self.start.starts] if self.start else []

    @property
    def all_steps(self) -> int:
        """Steps, including those of the models it started from, as far as they are known."""
        return sum(one.steps or 0 for one in (self, *self.starts))

    @property
    def all_seconds(self) -> float:
        """The time of all these steps."""
        return sum(one.seconds or 0 for one in (self, *self.starts))

    def epochs(self, batch_size: int) -> float | None:
        """How often each image was used; none: unknown."""
        return (self.steps or 0) * batch_size / self.images if self.images else None

    def __str__(self) -> str:
        """A phrase.

        Example:
            >>> str(Training(model="first", steps=5000, seconds=300.0))
            'first (5,000 steps in 5.0 minutes)'
        """
        known = []
        if self.steps is not None and self.seconds is not None:
            known.append(f"{self.steps:,} steps in {self.seconds / 60:.1f} minutes")
        if self.start:
            known.append(f"from the weights of {self.start}")
        return f"{self.model} ({', '.join(known)})" if known else str(self.model)

    def facts(self, config: TrainConfig) -> Iterator[tuple[str, str]]:
        """What is known of it in words, by its settings: pairs of a name and a phrase."""
        known = f", {self.images:,} training images" if self.images else ""
        yield "data", config.data + known
        clock = {"wall": "wall-clock time", "processor": "processor time"}[config.clock]
        text = f"{self.steps or 0:,} steps of {config.batch_size} images"
        if epochs := self.epochs(config.batch_size):
            text += f" ({epochs:.2f} epochs)"
        text += f" in {(self.seconds or 0) / 60:.1f} minutes of {clock}"
        if self.began:
            text += f", started {self.began}"
        if levels := config.train_levels:
            text += f", weights of level{'s' * (len(levels) > 1)} {sizes_in_words(levels)} only"
        if self.start:
            text += f", from the weights of {self.start}"
        yield "training", text
        if self.machine:
            yield "machine", str(self.machine)
        if self.versions:
            yield "versions", ", ".join(f"{name} {one}" for name, one in self.versions.items())
        if self.git:
            yield "source", str(self.git)


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
        content = read_json(path, "the card of a model, as `rgflow ship` writes it")
        try:
            card = instance(cls, content)
            list(card.facts())  # whatever they say of distances is there
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
        model, found = self.config.model, self.likelihood
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
        for one in self.distances:
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
        yield from self.training.facts(self.config)
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

    def page(self) -> str:
        """The card for people, in Markdown, with what the Hugging Face hub shows of a model."""
        from jinja2 import Environment

        template = resources.files("rgflow").joinpath("page.md").read_text(encoding="utf-8")
        environment = Environment(trim_blocks=True, keep_trailing_newline=True)
        return environment.from_string(template).render(card=self)


def _as_words(config: TrainConfig) -> list[str]:
    """What to write after `rgflow train` for a config: the nearest preset, and what differs.
    Where a part is of another kind, these are all its options."""
    settings = flat(config.to_dict()).items()
    wanted = {name: x for name, x in settings if name.rpartition(".")[2] not in OF_MACHINE}

    def differing(preset: TrainConfig) -> list[str]:
        usual, words = flat(preset.to_dict()), []
        others = {name for name, value in wanted.items() if usual.get(name) != value}
        for name, value in wanted.items():
            if name in others or name.rpartition(".")[0] in others:
                words += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
        return words

    words = {name: differing(preset) for name, preset in PRESETS.items()}
    nearest = min(words, key=lambda name: len(words[name]))
    return [nearest, *words[nearest]]
