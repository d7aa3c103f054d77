"""Flows as folders of weights and config."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch

from rgflow import checkpoint, kinds, pretrained
from rgflow.config import FlowConfig
from rgflow.hierarchy import Hierarchy
from rgflow.numerics import name_of

AnyFlow = TypeVar("AnyFlow", bound=Hierarchy)


def save(flow: Hierarchy, folder: str | Path, storage: checkpoint.Storage | None = None) -> None:
    """Write weights (safetensors) and config (JSON) of a flow into a folder.

    Args:
        flow: The flow.
        folder: The folder to write; it is created if it doesn't exist.
        storage: `"float16"` halves the file; a flow loaded from it computes in this flow's format,
            with the rounded weights. None: nothing is rounded.

    Raises:
        ValueError: If float16 can't hold the weights.
    """
    checkpoint.save(flow, flow.config.to_dict(), name_of(flow.dtype), folder, storage)


def load(
    cls: type[AnyFlow],
    name: str | Path,
    trust: str | Sequence[str] = (),
    revision: str | None = None,
) -> AnyFlow:
    """Load a flow of a class from a folder, by the name of a model, or from `owner/name` on the
    Hugging Face hub. They are tried in this order, so a local folder wins.

    Loading runs no code that comes with a model, and imports no module that its config names.

    Args:
        cls: The class of the flow.
        name: Name of the folder or the model.
        trust: Modules with bijectors of your own, or such bijectors (`module.Class`), which are
            imported first, as by `rgflow.kinds.trust`.
        revision: Branch, tag or commit of a model on the hub; none: the newest.

    Raises:
        FileNotFoundError: If there is no such model; the message says where to get one.
        PermissionError: If a file may not be read.
        ValueError: If the config or the weights are damaged or don't belong together, or the flow
            has a custom bijector that hasn't been imported.
    """
    kinds.trust(trust)
    folder = pretrained.folder_of(name, revision)
    values, dtype = checkpoint.load_config(folder)
    config = FlowConfig.from_dict(values)
    state = checkpoint.load_weights(folder)
    checkpoint.check_size(cls.least_parameters(config), state, folder)
    flow = cls(config).to(getattr(torch, dtype))
    checkpoint.fill(flow, state, folder)
    return flow.eval()
