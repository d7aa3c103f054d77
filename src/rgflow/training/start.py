"""What a training begins with, and what of it is learned: weights of a model, and some levels."""

from collections.abc import Sequence
from typing import Any, cast

from torch import nn

from rgflow.architectures import load_flow
from rgflow.cards import OF_MACHINE, Card, Start
from rgflow.checkpoint import CONFIG, load_config
from rgflow.config import FlowConfig, TrainConfig
from rgflow.files import CARD, expanded
from rgflow.flow import Flow
from rgflow.pretrained import folder_of
from rgflow.training.run import Run


def settings(name: str) -> tuple[FlowConfig, TrainConfig | None]:
    """What the flow of a run or a model is made of, and the settings of its training, which a model
    without a card doesn't tell.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If they can't be read.
    """
    folder = folder_of(name)
    if not (folder / CONFIG).is_file():
        config = Run.open(folder).config()
    elif (folder / CARD).is_file():
        config = Card.read(folder).config
    else:
        return FlowConfig.from_dict(load_config(folder)[0]), None
    return config.model, config


def past(name: str) -> Start:
    """How a run or a model was trained.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it can't be read.
    """
    folder = folder_of(name)
    if not (folder / CONFIG).is_file():
        return Run.open(folder).past()
    if (folder / CARD).is_file():
        card = Card.read(folder)
        made = card.training
        return Start(
            model=card.name,
            steps=made.steps,
            seconds=made.seconds,
            start=made.start,
            config=card.config,
            began=made.began,
            machine=made.machine,
            versions=made.versions,
            git=made.git,
        )
    # The name of a folder `model` alone says little.
    called = "/".join(folder.resolve().parts[-2:]) if folder == expanded(name) else name
    return Start(model=called, steps=None, seconds=None)


def load_start(flow: Flow, config: TrainConfig) -> Start:
    """Give a flow the weights, and the pixel map, of the model that `config.pretrained` names.

    Returns:
        What the model is, and how it had been trained.

    A model of windows, or one whose levels share their weights, may be smaller than the flow, whose
    further levels then begin with the weights of those below them.

    Raises:
        FileNotFoundError: If there is no such model.
        ValueError: If its flow is another one.
    """
    assert config.pretrained
    folder = folder_of(config.pretrained)
    model = load_flow(folder) if (folder / CONFIG).is_file() else Run.open(folder).flow()
    mine, theirs = _flat(flow.config), _flat(model.config)
    of_size = {"height", "width", "levels"} if _grows(flow, model) else set()
    if different := [
        name
        for name in dict.fromkeys((*mine, *theirs))
        if name not in OF_MACHINE | of_size and mine.get(name) != theirs.get(name)
    ]:
        wanted = ", ".join(f"{name} {theirs.get(name)}" for name in different)
        raise ValueError(
            f"Expected a flow like that of {config.pretrained}, whose weights it begins with: "
            f"{wanted}; got {', '.join(str(mine.get(name)) for name in different)}: leave these "
            f"settings to the model, or begin with new weights."
        )
    if of_size:
        flow.load_weights_from(model)
    else:
        flow.load_state_dict(model.state_dict())
    return past(config.pretrained)


def _grows(flow: Flow, model: Flow) -> bool:
    """Whether a flow may begin with the weights of a model of another size."""
    alike = flow.config.shared or flow.config.geometry.any_size
    return alike and flow.image_shape[1:] != model.image_shape[1:] and model.levels > 1


def _flat(config: FlowConfig) -> dict[str, Any]:
    """The settings of a flow by name, those of its parts as `map.hidden`."""
    return {
        name if key is None else f"{name}.{key}": value
        for name, part in config.to_dict().items()
        for key, value in (part.items() if isinstance(part, dict) else [(None, part)])
    }


def check_kinds(flow: Flow) -> None:
    """Raise a `ValueError` if a flow tells kinds of levels apart that it doesn't have, as larger
    images would have levels of a kind that wasn't trained."""
    kinds, alike = flow.config.level_embedding, max(flow.levels - flow.config.shared_from, 0)
    if kinds > alike:
        raise ValueError(
            f"Expected as many levels that share their weights as level_embedding tells apart, "
            f"{kinds}; got {alike}: tell fewer apart, or train on larger images."
        )


def learn_levels(flow: Flow, levels: Sequence[int]) -> None:
    """Let only the weights of some levels be learned; those of the others need no gradient.

    Raises:
        ValueError: If there is no such level, or weights are those of several.
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
