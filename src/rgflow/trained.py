"""The flow that a command or the app is about: of a run, in a model's folder, or of the package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rgflow.config import FlowConfig, TrainConfig
from rgflow.pretrained import CARD, Card, Start, shipped, unknown_model

if TYPE_CHECKING:
    from torch import Tensor

    from rgflow.data import Images
    from rgflow.data.source import Split
    from rgflow.flow import Flow
    from rgflow.repair.surprise import Reference
    from rgflow.training.run import Run


RESULTS = Path("results")
"""Where what is found out about models of the package goes."""
REFERENCE = 1000
"""Clean images that say what is usual."""


@dataclass(frozen=True, eq=False)
class Model:
    """A flow, on the GPU if there is one.

    Attributes:
        name: What the run or the model is called.
        flow: The flow.
        folder: For what is found out about it: the folder of its run, or its own; `results/NAME` of
            a model of the package.
        run: Its run; none if a model was named.
        config: The settings of its training; none of a model without a card.
        past: How long it was trained.
    """

    name: str
    flow: Flow
    folder: Path
    run: Run | None
    config: TrainConfig | None
    past: Start

    @property
    def pictures(self) -> Path:
        """The folder of its pictures."""
        return self.folder / "pictures"

    @property
    def files(self) -> Path:
        """The folder for what is kept beside its weights."""
        return self.run.model if self.run else self.folder

    def images(self, name: str | None, split: Split, count: int) -> Images:
        """The first images of a data set; that of the run if none is named.

        Raises:
            ValueError: If it doesn't fit, or there is neither a name nor a run.
        """
        from rgflow import data

        if self.config is not None:
            return data.load_for(self.config, split, name=name, count=count)
        if name is None:
            raise ValueError(
                "Expected a data set, as the folder of a model names none; give one with --data."
            )
        like = self.flow.config
        return data.load(
            name, split, height=like.height, width=like.width, channels=like.channels, count=count
        )

    def reference(
        self, name: str | None = None, progress: Callable[[int, int], None] | None = None
    ) -> Reference:
        """What is usual for images of a data set, kept beside the weights (`kept_reference`).

        Args:
            name: The data set; none: that of its training.
            progress: As for `kept_reference`.
        """
        import torch

        from rgflow.repair.surprise import kept_reference

        name = name or (self.config.data if self.config else None)

        def clean() -> Tensor:
            found = self.images(name, "validation", REFERENCE)
            if len(found) < REFERENCE // 10:  # rather those that it has learned than too few
                found = self.images(name, "train", REFERENCE)
            device = next(self.flow.parameters()).device
            return torch.from_numpy(found.images[:REFERENCE].copy()).to(device)

        return kept_reference(self.files, self.flow, clean, data=name or "", progress=progress)


def locate(name: str) -> tuple[Path, Path]:
    """The folder of a run or a model, and that for what is found out about it: the same, or
    `results/NAME` of a model of the package. A local folder wins.

    Raises:
        FileNotFoundError: If there is neither.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir() and name in (known := shipped()):
        return known[name], RESULTS / name
    if not folder.exists() and folder.name == name:
        raise FileNotFoundError(unknown_model(name))
    return folder, folder


def settings(name: str) -> TrainConfig:
    """The settings with which a run or a model was trained; of a model without a card, those of its
    flow.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If they can't be read.
    """
    from rgflow.checkpoint import CONFIG, load_config
    from rgflow.training.run import Run

    folder, _ = locate(name)
    if not (folder / CONFIG).is_file():
        return Run.open(folder).config()
    if (folder / CARD).is_file():
        return Card.read(folder).config
    return TrainConfig(model=FlowConfig.from_dict(load_config(folder)[0]))


def load(name: str) -> Model:
    """The flow of a run, in the folder of a model, or of the package.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it can't be read.
    """
    import torch

    from rgflow.architectures import load_flow
    from rgflow.checkpoint import CONFIG
    from rgflow.training.run import Run

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    folder, results = locate(name)
    if not (folder / CONFIG).is_file():
        run = Run.open(folder)
        called = folder.resolve().name
        flow = run.flow().to(device)
        return Model(called, flow, folder, run, run.config(), run.past(called))
    flow = load_flow(folder).to(device)
    if (folder / CARD).is_file():
        card = Card.read(folder)
        made = card.training
        past = Start(model=card.name, steps=made.steps, seconds=made.seconds, start=made.start)
        return Model(card.name, flow, results, None, card.config, past)
    called = "/".join(folder.resolve().parts[-2:])  # `model` alone says little
    past = Start(model=called, steps=None, seconds=None)
    return Model(called, flow, results, None, None, past)
