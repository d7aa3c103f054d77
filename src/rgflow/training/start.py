"""What a training begins with, and what of it is learned: weights of a model, and some levels."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import cast

from torch import nn

from rgflow import trained
from rgflow.config import TrainConfig
from rgflow.flow import Flow
from rgflow.pretrained import Start

OF_COMPUTING = {"compute_dtype", "checkpointing"}
"""Settings of a flow that its weights don't depend on."""


def load_start(flow: Flow, config: TrainConfig) -> Start:
    """Give a flow the weights, and the pixel map, of the model that `config.pretrained` names.

    Returns:
        What the model is, and how long it had been trained.

    Raises:
        FileNotFoundError: If there is no such model.
        ValueError: If its flow is another one.
    """
    assert config.pretrained
    model = trained.load(config.pretrained)
    mine, theirs = asdict(config.model), asdict(model.flow.config)
    if different := [
        name for name in mine if name not in OF_COMPUTING and mine[name] != theirs[name]
    ]:
        wanted = ", ".join(f"{name} {theirs[name]}" for name in different)
        raise ValueError(
            f"Expected a flow like that of {config.pretrained}, whose weights it begins with: "
            f"{wanted}; got {', '.join(str(mine[name]) for name in different)}: leave these "
            f"settings to the model, or begin with new weights."
        )
    flow.load_state_dict(model.flow.state_dict())
    return trained.past(config.pretrained)


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
