"""The flow that a training begins with: weights of a trained one, and the levels to learn."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from torch import nn

from rgflow.architectures import load_flow
from rgflow.cards import OF_MACHINE, Card, Training
from rgflow.checkpoint import CONFIG, load_config
from rgflow.config import FlowConfig, TrainConfig
from rgflow.files import CARD, expanded
from rgflow.flow import Flow
from rgflow.kinds import flat
from rgflow.pretrained import folder_of
from rgflow.training.run import Run


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained flow on this machine, whose weights haven't been read yet.

    Attributes:
        folder: That of the run or of the model.
        past: How it was trained; a model without a card has a name only.
        run: The run, if the flow is that of one.
    """

    folder: Path
    past: Training
    run: Run | None = None

    @property
    def name(self) -> str:
        """What to call it."""
        return str(self.past.model)

    @property
    def flow_config(self) -> FlowConfig:
        """The architecture."""
        config = self.past.config
        return config.model if config else FlowConfig.from_dict(load_config(self.folder)[0])

    def flow(self) -> Flow:
        """The flow, of the size that it was trained on."""
        return self.run.flow() if self.run else load_flow(self.folder)


def find(name: str) -> Trained:
    """The run or the model of a name, or in a folder.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it can't be read.
    """
    folder = folder_of(name)
    if not (folder / CONFIG).is_file():
        run = Run.open(folder)
        return Trained(folder=folder, past=run.past(), run=run)
    if (folder / CARD).is_file():
        card = Card.read(folder)
        past = replace(card.training, model=card.name, config=card.config)
    else:
        # The name of a folder `model` alone says little.
        called = "/".join(folder.resolve().parts[-2:]) if folder == expanded(name) else name
        past = Training(model=called)
    return Trained(folder=folder, past=past)


def load_start(flow: Flow, config: TrainConfig) -> Training:
    """Give a flow the weights, and the pixel map, of the model that `config.pretrained` names.

    A model of windows, or one whose levels share their weights, may be smaller than the flow, whose
    further levels then start with the weights of those below them. A model of lattice fields may
    have learned them at another temperature or coupling.

    Returns:
        The model, and how it had been trained.

    Raises:
        FileNotFoundError: If there is no such model.
        ValueError: If its architecture differs from the flow's.
    """
    assert config.pretrained
    found = find(config.pretrained)
    model = found.flow()
    mine, theirs = flat(flow.config.to_dict()), flat(model.config.to_dict())
    of_size = {"height", "width", "levels"} if _grows(flow, model) else set()
    if different := [
        name
        for name in dict.fromkeys((*mine, *theirs))
        if name not in OF_MACHINE | of_size and mine.get(name) != theirs.get(name)
        if not name.startswith("geometry.exact.")  # such as a temperature, without weights
    ]:
        wanted = ", ".join(f"{name} {theirs.get(name)}" for name in different)
        raise ValueError(
            f"Expected a flow like that of {config.pretrained}, whose weights it begins with: "
            f"{wanted}; got {', '.join(str(mine.get(name)) for name in different)}: leave these "
            f"settings to the model, or begin with new weights (--pretrained null)."
        )
    if of_size:
        flow.load_weights_from(model)
    else:
        flow.load_state_dict(model.state_dict())
    return found.past


def _grows(flow: Flow, model: Flow) -> bool:
    """Whether a flow may start with the weights of a model of another size."""
    alike = flow.config.shared or flow.config.geometry.any_size
    return alike and flow.image_shape[1:] != model.image_shape[1:] and model.levels > 1


def check_kinds(flow: Flow) -> None:
    """Check that all embeddings of levels are trained, as larger images would use them.

    Raises:
        ValueError: If the flow has fewer levels than embeddings.
    """
    kinds, alike = flow.config.level_embedding, max(flow.levels - flow.config.shared_from, 0)
    if kinds > alike:
        raise ValueError(
            f"Expected as many levels that share their weights as level_embedding tells apart, "
            f"{kinds}; got {alike}: tell fewer apart, or train on larger images."
        )


def learn_levels(flow: Flow, levels: Sequence[int]) -> None:
    """Train only the weights of some levels.

    Raises:
        ValueError: If the flow doesn't have a level, or weights are shared with other levels.
    """
    if beyond := [level for level in levels if level >= flow.levels]:
        raise ValueError(
            f"Expected levels of train_levels from 0 to {flow.levels - 1}, which this flow has; "
            f"got {beyond[0]}: leave it out."
        )
    of_level = [set(cast(nn.Module, step).parameters()) for step in flow.steps]
    learned = set().union(*(of_level[level] for level in levels))
    kept = set().union(*(of for level, of in enumerate(of_level) if level not in levels))
    if learned & kept:
        raise ValueError(
            "Expected train_levels only where every level has weights of its own; they are shared: "
            "leave it out."
        )
    for parameter in flow.parameters():
        parameter.requires_grad_(parameter in learned)
