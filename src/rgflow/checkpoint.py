"""A model as a folder: its config as JSON, its weights as safetensors."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from rgflow import tensors
from rgflow.checks import check_name, short
from rgflow.files import CARD, CONFIG, WEIGHTS, plain, write_json
from rgflow.reading import DamagedError, json_in, opened, read_json

FORMAT = 1
"""Version of the file of a model."""
DTYPES = ("float32", "float64")
Storage = Literal["float16"]
"""Number formats that weights may be stored in, other than their own."""
MAX_NAMES = 1 << 17
"""Most tensors of a model, with those that are shared, by their names."""
MAX_ROUNDING_ERROR = 0.01
"""Largest error of a tensor's rounded numbers, relative to the largest of them: that of normal
numbers of float16 is below 0.0005."""


def save(
    folder: Path, config: Any, state: dict[str, Tensor], dtype: str, storage: Storage | None
) -> None:
    """Write the config and the state dict, of tensors of any shapes, of a flow of a number format.
    The other arguments are those of `Flow.save_pretrained`, as are the errors."""
    if storage is not None:
        state = _rounded(state, storage)
    folder.mkdir(parents=True, exist_ok=True)
    content = {"format": FORMAT, "dtype": dtype, "storage": storage or dtype, "config": config}
    write_json(folder / CONFIG, content)
    kept, shared = _once(state)
    metadata = {"config": json.dumps(plain(content), sort_keys=True)}
    tensors.save(folder / WEIGHTS, kept, shared | metadata)


def _once(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors without those that have their numbers from another; and which have, by the name of a
    tensor, or of a module all of whose tensors have them from the module that is named."""
    first, kept, shared = dict[Any, str](), dict[str, Tensor](), dict[str, str]()
    for name in sorted(state):
        tensor = state[name]
        place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() and place in first:
            shared[name] = first[place]
        else:
            first[place], kept[name] = name, tensor
    modules = dict(map(_without_common_end, shared.items()))
    whole = _all_of(kept, modules)
    same = whole.keys() == state.keys() and all(
        whole[name] is kept[before] for name, before in shared.items()
    )
    return kept, modules if same else shared


def _without_common_end(names: tuple[str, str]) -> tuple[str, str]:
    """Two names without the parts in which they end alike."""
    one, other = (name.split(".") for name in names)
    while min(len(one), len(other)) > 1 and one[-1] == other[-1]:
        del one[-1], other[-1]
    return ".".join(one), ".".join(other)


def _all_of(kept: dict[str, Tensor], shared: dict[str, str]) -> dict[str, Tensor]:
    """All tensors by name, from those that are kept and the names that share them."""
    ends = dict[str, list[str]]()  # of the names of tensors, by their beginnings
    for name in kept:
        parts = name.split(".")
        for length in range(1, len(parts) + 1):
            start = ".".join(parts[:length])
            ends.setdefault(start, []).append(name[len(start) :])
    found = dict(kept)
    for one, first in shared.items():
        for end in ends.get(first, ()):
            found.setdefault(one + end, kept[first + end])
        if len(found) > MAX_NAMES:
            raise DamagedError(f"it names more than {MAX_NAMES:,} tensors")
    return found


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


def load_config(folder: Path) -> tuple[dict[str, Any], str]:
    """The config of the model in a folder, and its number format.

    Raises:
        FileNotFoundError: If the folder holds no config.
        ValueError: If it is damaged.
    """
    path = folder / CONFIG
    content = read_json(path, "the config of a model, as save_pretrained writes it")
    found, config, dtype = (content.get(name) for name in ("format", "config", "dtype"))
    if found is not None and found != FORMAT:
        raise ValueError(f"Expected {path} to be of format {FORMAT}; got {short(found)}.")
    if found is None or not isinstance(config, dict) or dtype not in DTYPES:
        raise ValueError(
            f"Expected the config of a model, as save_pretrained writes it; {path} is damaged "
            f"(without a format, a config, or one of the number formats {', '.join(DTYPES)})."
        )
    return config, dtype


def load_weights(folder: Path) -> dict[str, Tensor]:
    """The weights in the folder of a model, of any shapes, by name.

    Raises:
        FileNotFoundError: If there are none.
        PermissionError: If they may not be read.
        ValueError: If they are damaged, or the config beside them isn't that which they were saved
            with, or the card of a shipped model has another digest.
    """
    path = folder / WEIGHTS
    try:
        kept, shared = tensors.load(path)
        config = shared.pop("config", None)
        state = _all_of(kept, shared)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"Expected {WEIGHTS} in {folder}; it isn't there.") from error
    except DamagedError as error:
        raise ValueError(f"Expected weights as safetensors; {path} is damaged: {error}.") from error
    shipped_as = (
        read_json(folder / CARD, "a card").get("sha256") if (folder / CARD).is_file() else ""
    )
    if shipped_as and shipped_as != sha256_of(folder):
        raise ValueError(
            f"Expected {path} and {CONFIG} beside it as they were shipped, with the SHA-256 on the "
            f"card; they are others or were changed: get them again, or delete the card, {CARD}."
        )
    beside = read_json(folder / CONFIG, "the config of a model")
    if config is not None and json_in(config) != beside:
        raise ValueError(
            f"Expected {folder / CONFIG} as it was saved with the weights beside it; it is another "
            f"or was changed: restore it."
        )
    return state


def sha256_of(folder: Path) -> str:
    """The SHA-256 of a model: of its config, followed by its weights, as they are on the disk."""
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        with opened(folder / name) as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


def fill(module: nn.Module, state: dict[str, Tensor], folder: Path) -> None:
    """Give a module its weights: every tensor must be there in the same shape, and no other.

    Raises:
        ValueError: If they don't fit.
    """
    try:
        missing, unexpected = module.load_state_dict(state, strict=False)
    except RuntimeError as error:  # a tensor of another shape
        reason = " ".join(str(error).splitlines()[-1].split()).rstrip(".")
        raise ValueError(f"{_UNFIT.format(folder / WEIGHTS)}: {reason}.") from error
    for name, tensor in module.state_dict().items():
        if name in state and not tensor.isfinite().all():  # in the type in which it is loaded
            raise ValueError(
                f"Expected finite weights in {folder / WEIGHTS}; some of {name} aren't: the "
                f"training has diverged, or the file is damaged."
            )
    wrong = [f"{len(missing)} are missing, such as {min(missing)}"] if missing else []
    wrong += [f"{len(unexpected)} don't belong, such as {min(unexpected)}"] if unexpected else []
    if wrong:
        raise ValueError(f"{_UNFIT.format(folder / WEIGHTS)}: {'; '.join(wrong)}.")


def check_size(least: int, state: dict[str, Tensor], folder: Path) -> None:
    """Check that the weights, of any shape, hold at least as many numbers as the flow needs, before
    it is made: a config could ask for more memory than its weights justify.

    Raises:
        ValueError: If they hold fewer.
    """
    if (held := sum(tensor.numel() for tensor in state.values())) < least:
        raise ValueError(
            f"{_UNFIT.format(folder / WEIGHTS)}: it describes at least {least:,} numbers, they are "
            f"{held:,}."
        )


_UNFIT = "Expected the weights in {} to fit the config beside them; they don't"
