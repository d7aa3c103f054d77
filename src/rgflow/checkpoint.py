"""A model as a folder: its config as JSON, its weights as safetensors."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from rgflow.files import replacing

FORMAT = 1
DTYPES = ("float32", "float64")
CONFIG, WEIGHTS = "config.json", "model.safetensors"


def save(module: nn.Module, config: dict[str, Any], dtype: str, folder: str | Path) -> None:
    """Write a module's config, number format and weights into a folder, made if it isn't there.

    Each file replaces the one before it only when it is complete.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    content = {"format": FORMAT, "dtype": dtype, "config": config}
    with replacing(folder / CONFIG) as part:
        part.write_text(json.dumps(content, indent=2) + "\n")
    with replacing(folder / WEIGHTS) as part:
        try:
            save_model(module, str(part))
        except SafetensorError as error:  # such as a full disk
            raise OSError(f"{folder / WEIGHTS}: {error}") from error


def find(name: str | Path) -> Path:
    """The folder of a model: a local one, or `owner/name` downloaded from the Hugging Face hub.

    Raises:
        FileNotFoundError: If there is none.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    parts = str(name).split("/")
    if len(parts) == 2 and all(parts) and not str(name).startswith(("/", ".", "~")):
        try:
            from huggingface_hub import snapshot_download
        except ImportError as error:
            raise FileNotFoundError(
                f"Expected a folder with a model at {name}; there is none, and to look for it on "
                f"the Hugging Face hub the package huggingface_hub must be installed."
            ) from error
        print(f"No folder {name}: looking for it on the Hugging Face hub.")
        try:
            return Path(snapshot_download(str(name)))
        except Exception as error:
            raise FileNotFoundError(
                f"Expected a folder with a model at {name}, or one of that name on the Hugging "
                f"Face hub; found neither ({type(error).__name__})."
            ) from error
    raise FileNotFoundError(f"Expected a folder with a model; there is none at {name}.")


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
