"""Flows as folders of weights and config."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from rgflow import checkpoint, kinds, pretrained, tensors
from rgflow.checkpoint import FORMAT, Storage
from rgflow.checks import check_name
from rgflow.config import FlowConfig
from rgflow.files import CONFIG, WEIGHTS, plain, write_json
from rgflow.hierarchy import Hierarchy
from rgflow.numerics import name_of

MAX_ROUNDING_ERROR = 0.01
"""Largest error of a tensor's rounded numbers, relative to the largest of them: that of normal
numbers of float16 is below 0.0005."""

AnyFlow = TypeVar("AnyFlow", bound=Hierarchy)


def save(flow: Hierarchy, folder: str | Path, storage: Storage | None = None) -> None:
    """Write weights (safetensors) and config (JSON) of a flow into a folder. Each file replaces the
    one before it only when it is complete.

    Args:
        flow: The flow.
        folder: The folder to write; it is created if it doesn't exist.
        storage: `"float16"` halves the file; a flow loaded from it computes in this flow's format,
            with the rounded weights. None: nothing is rounded.

    Raises:
        ValueError: If float16 can't hold the weights.
        OSError: If the folder can't be written.
    """
    state, dtype = flow.state_dict(), name_of(flow.dtype)
    if storage is not None:
        state = _rounded(state, storage)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    content = {"format": FORMAT, "dtype": dtype, "storage": storage or dtype, "config": flow.config}
    write_json(folder / CONFIG, content)
    kept, shared = _once(state)
    metadata = {"config": json.dumps(plain(content), sort_keys=True)}
    tensors.save(folder / WEIGHTS, kept, shared | metadata)


def _once(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors without those that have their numbers from another, and the names of these."""
    first, kept, shared = dict[Any, str](), dict[str, Tensor](), dict[str, str]()
    for name in sorted(state):
        tensor = state[name]
        place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() and place in first:
            shared[name] = first[place]
        else:
            first[place], kept[name] = name, tensor
    return kept, shared


def _rounded(state: dict[str, Tensor], storage: Storage) -> dict[str, Tensor]:
    """Weights rounded to a format, or a `ValueError` if that changes them much."""
    check_name("storage", storage, ("float16",))
    rounded = dict[Any, Tensor]()  # by where they were, so that what was shared stays so
    out = {}
    for name, was in state.items():
        out[name] = was
        if was.is_floating_point() and was.numel():
            place = was.data_ptr(), was.shape
            out[name] = now = rounded.setdefault(place, was.to(getattr(torch, storage)))
            largest = was.abs().max()
            if not (now.to(was.dtype) - was).abs().max() <= MAX_ROUNDING_ERROR * largest:
                raise ValueError(
                    f"Expected weights that {storage} holds, up to {torch.finfo(now.dtype).max:.0f}"
                    f" and not all below 3e-6; the largest of {name} is {largest:.3g}: store them "
                    f"in their own format."
                )
    return out


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
