"""The flow that a command is about, of a run or in the folder of a model, and its images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rgflow.config import TrainConfig
    from rgflow.data import Images
    from rgflow.data.source import Split
    from rgflow.flow import Flow
    from rgflow.training.run import Run


@dataclass(frozen=True, eq=False)
class Model:
    """A flow, on the GPU if there is one.

    Attributes:
        flow: The flow.
        folder: The folder of its run, or its own.
        run: Its run; none if only the folder of a model was named.
        config: The settings of the run.
    """

    flow: Flow
    folder: Path
    run: Run | None
    config: TrainConfig | None

    @property
    def name(self) -> str:
        """What the run is called; of the folder of a model also that around it."""
        return "/".join(self.folder.resolve().parts[-1 if self.run else -2 :])

    @property
    def pictures(self) -> Path:
        """The folder of its pictures."""
        return self.folder / "pictures"

    @property
    def files(self) -> Path:
        """The folder of its weights."""
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


def load(folder: str) -> Model:
    """The flow of a run, or in the folder of a model.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it can't be read.
    """
    import torch

    from rgflow.architectures import load_flow
    from rgflow.checkpoint import CONFIG
    from rgflow.training.run import Run

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    path = Path(folder).expanduser()
    if (path / CONFIG).is_file():
        return Model(load_flow(path).to(device), path, None, None)
    run = Run.open(path)
    return Model(run.flow().to(device), path, run, run.config())
