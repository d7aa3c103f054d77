"""Trained flows by name: of a run, in the folder of a model, or of the package."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rgflow.files import expanded, plain

if TYPE_CHECKING:
    from rgflow.config import TrainConfig
    from rgflow.data import Images
    from rgflow.data.source import Split
    from rgflow.flow import Flow
    from rgflow.training.run import Run


RESULTS = Path("results")
"""The folder for results about models of the package."""


@dataclass(frozen=True, eq=False)
class Model:
    """A flow, on the GPU if there is one.

    Attributes:
        name: The name of the run or the model.
        flow: The flow.
        folder: The folder for results: that of the run or the model, or `results/NAME` for a model
            of the package.
        run: Its run; none for a model.
        config: The settings of its training; none for a model without a card.
        out: The folder that a user named for results instead.
    """

    name: str
    flow: Flow
    folder: Path
    run: Run | None
    config: TrainConfig | None
    out: Path | None = None

    @property
    def results(self) -> Path:
        """The folder for what a command writes."""
        return self.out or self.folder

    @property
    def pictures(self) -> Path:
        """The folder for its pictures."""
        return self.out or self.folder / "pictures"

    def images(self, name: str | None, split: Split, count: int) -> Images:
        """The first images of a data set, by default that of the run.

        Raises:
            ValueError: If they don't fit the flow, or there is neither a name nor a run.
        """
        from rgflow import data
        from rgflow.config import TrainConfig

        if name is None and self.config is None:
            raise ValueError(
                "Expected a data set, as the folder of a model without a card names none: give one "
                "with --data, or name the folder of its run."
            )
        config = self.config or TrainConfig(model=self.flow.config)
        return data.load_for(config, split, name=name, count=count)


def load(name: str, size: Sequence[int] | None = None, out: str | None = None) -> Model:
    """The flow of a run, in the folder of a model, or of the package.

    Args:
        name: Of the run or the model.
        size: Rows and columns of images, for which the flow is resized; results about it are then
            in `results/NAME-HxW`.
        out: The folder for results, if a user named one.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it can't be read, or can't take images of this size.
    """
    import torch

    from rgflow.training.start import find

    found = find(name)
    flow = found.flow().to("cuda" if torch.cuda.is_available() else "cpu")
    model = Model(
        found.name,
        flow,
        found.folder if found.run or found.folder == expanded(name) else RESULTS / name,
        found.run,
        found.past.config,
        expanded(out) if out else None,
    )
    if size is None:
        return model
    height, width = size
    flow = flow.resized(height, width)
    return replace(
        model,
        flow=flow,
        folder=RESULTS / f"{found.name.replace('/', '-')}-{height}x{width}",
        run=None,
        config=model.config and replace(model.config, model=flow.config),
    )


def fingerprint(flow: Flow) -> str:
    """A hash of a flow's weights and config: what it computes is the same where this is."""
    import torch

    found = hashlib.sha256(json.dumps(plain(flow.config)).encode())
    for name, value in flow.state_dict().items():
        found.update(name.encode())
        found.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()
