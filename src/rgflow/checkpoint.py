"""A model as a folder: its config as JSON, its weights as safetensors."""

import copy
import json
import sys
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from rgflow.config import check_name
from rgflow.files import expanded, replacing, write_json
from rgflow.pretrained import CARD, FACTORS, PAGE, QUANTILES, shipped, unknown_model

FORMAT = 1
DTYPES = ("float32", "float64")
CONFIG, WEIGHTS = "config.json", "model.safetensors"
FILES = [CONFIG, WEIGHTS, CARD, PAGE, FACTORS, QUANTILES]
"""All that the folder of a model holds."""
LARGEST_ERROR = 0.01
"""Of the numbers of a tensor that are rounded, relative to the largest of them; of those that
float16 holds as normal numbers it is below 0.0005."""

Storage = Literal["float16"]
"""Number formats that weights may be stored in, other than their own."""


def save(
    module: nn.Module,
    config: dict[str, Any],
    dtype: str,
    folder: str | Path,
    storage: Storage | None = None,
) -> None:
    """Write a module's config, number format and weights into a folder, made if it isn't there.

    Each file replaces the one before it only when it is complete.

    Args:
        module: What the weights are of.
        config: What it is made of; plain values.
        dtype: The number format that it computes in.
        folder: Where to.
        storage: The number format on the disk, which whole numbers don't take part in; none: their
            own.

    Raises:
        ValueError: If weights are out of that format's range.
        OSError: If the folder can't be written.
    """
    if storage is not None:
        module = _rounded(module, storage)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    content = {"format": FORMAT, "dtype": dtype, "storage": storage or dtype, "config": config}
    write_json(folder / CONFIG, content)
    with replacing(folder / WEIGHTS) as part:
        save_model(module, str(part))


def _rounded(module: nn.Module, storage: Storage) -> nn.Module:
    """A copy with its weights rounded to a format, or a `ValueError` if that changes them much."""
    check_name("storage", storage, ("float16",))
    rounded = copy.deepcopy(module).to(getattr(torch, storage))
    for (name, was), now in zip(
        module.state_dict().items(), rounded.state_dict().values(), strict=True
    ):
        largest = was.abs().max()
        if not (now.to(was.dtype) - was).abs().max() <= LARGEST_ERROR * largest:
            raise ValueError(
                f"Expected weights that {storage} holds, up to {torch.finfo(now.dtype).max:.0f} "
                f"and not all below 3e-6; the largest of {name} is {largest:.3g}: store them in "
                f"their own format."
            )
    return rounded


def find(name: str | Path) -> Path:
    """The folder of a model: a local one, that of a model in the package, or `owner/name`
    downloaded from the Hugging Face hub.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If one on the hub is damaged, or needs code that isn't the package's.
    """
    folder = expanded(name)
    if folder.is_dir():
        return folder
    if str(name) in (known := shipped()):
        return known[str(name)]
    parts = str(name).split("/")
    local = Path(parts[0]).exists()  # so it is more likely a slip of the keyboard
    if len(parts) == 2 and all(parts) and not str(name).startswith((".", "~")) and not local:
        try:
            from huggingface_hub import snapshot_download
        except ImportError as error:
            raise FileNotFoundError(
                f"Expected a folder with a model at {name}; there is none, and to look for it on "
                f"the Hugging Face hub the package huggingface_hub must be installed."
            ) from error
        print(f"No folder {name}: looking for it on the Hugging Face hub.", file=sys.stderr)
        try:
            folder = Path(snapshot_download(str(name), allow_patterns=FILES))
        except Exception as error:
            raise FileNotFoundError(
                f"Expected a folder with a model at {name}, or one of that name on the Hugging "
                f"Face hub; found neither ({type(error).__name__})."
            ) from error
        _check_no_code(folder, name)
        return folder
    raise FileNotFoundError(unknown_model(name))


def _check_no_code(folder: Path, name: str | Path) -> None:
    """Raise a `ValueError` if loading a model would import modules that its config names."""
    bijector = str(load_config(folder)[0].get("bijector"))
    if "." in bijector:
        raise ValueError(
            f"Expected a model from the hub to be of the package's own bijectors; {name} would "
            f"run code, {bijector}: download it, look at it, and load its folder."
        )


def load_config(folder: Path) -> tuple[dict[str, Any], str]:
    """The config of the model in a folder, and its number format.

    Raises:
        FileNotFoundError: If the folder holds no config.
        ValueError: If it is damaged.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"Expected {CONFIG} and {WEIGHTS} in {folder}; no {CONFIG} there.")
    try:
        content = json.loads(path.read_text())
        found = content["format"]
        if found != FORMAT:
            raise ValueError(f"Expected {path} to be of format {FORMAT}; got {found}.")
        config, dtype = content["config"], content["dtype"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"Expected the config of a model, as save_pretrained writes it; {path} is damaged "
            f"({error})."
        ) from error
    if not isinstance(config, dict) or dtype not in DTYPES:
        raise ValueError(
            f"Expected a config and one of the number formats {', '.join(DTYPES)} in {path}; got "
            f"{config!r} and {dtype!r}."
        )
    return config, dtype


def load_weights(module: nn.Module, folder: Path) -> None:
    """Load weights strictly: every tensor must be there with its shape, and no other.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: If they are damaged or don't fit the config.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise FileNotFoundError(f"Expected {WEIGHTS} in {folder}; it isn't there.")
    try:
        missing, unexpected = load_model(module, path, strict=False)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"Expected weights as safetensors; {path} is damaged ({error})."
        ) from error
    except RuntimeError as error:  # a tensor of another shape
        reason = " ".join(str(error).splitlines()[-1].split()).rstrip(".")
        raise ValueError(f"{_UNFIT.format(path)}: {reason}.") from error
    wrong = [f"{len(missing)} are missing, such as {min(missing)}"] if missing else []
    wrong += [f"{len(unexpected)} don't belong, such as {min(unexpected)}"] if unexpected else []
    if wrong:
        raise ValueError(f"{_UNFIT.format(path)}: {'; '.join(wrong)}.")


_UNFIT = "Expected the weights in {} to fit the config beside them; they don't"
