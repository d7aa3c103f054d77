"""Trained models by name.

NAME/config.json        the architecture of the flow
NAME/model.safetensors  its weights
NAME/card.json          how it was trained, what was measured, and how to reproduce it
NAME/README.md          the same for people
NAME/names.json         which latents go with which labels, if `rgflow factors` was run before
NAME/examples.png       small test images, side by side

Such folders lie in the package, in the folder that the variable RGFLOW_MODELS names, or each in a
repository of the Hugging Face hub. In the package there are the cards of all models; a checkout of
the repository also has all weights, an installed package those of a few (`pyproject.toml` lists
them). `rgflow.training.shipping` makes such a folder from a run.
"""

import difflib
import os
import re
import sys
from importlib import resources
from pathlib import Path

from rgflow.checks import check_installed
from rgflow.files import CARD, MODEL_FILES, WEIGHTS, expanded

FOLDER = Path(str(resources.files("rgflow"))) / "models"
"""Where the package's models lie."""
MODELS = "RGFLOW_MODELS"
"""Variable of the environment: a folder with more models."""
ADDRESS = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
"""`owner/name` of a repository on the Hugging Face hub: nothing that stands for other files."""
ELSEWHERE = (
    f"name a folder that holds it in {MODELS}, or train it with the commands on its card "
    f"(`rgflow info NAME`)"
)
"""What to do for a model whose weights aren't on this machine."""


def cards() -> dict[str, Path]:
    """The folders of all models with a card, by name; those of the package may lack the weights.

    A model in the folder that `RGFLOW_MODELS` names comes before one of the package.

    Raises:
        FileNotFoundError: If `RGFLOW_MODELS` names no folder.

    Example:
        >>> all((folder / "card.json").is_file() for folder in cards().values())
        True
    """
    folders = [FOLDER]
    if named := os.environ.get(MODELS):
        folders.append(expanded(named))
        if not folders[-1].is_dir():
            raise FileNotFoundError(
                f"Expected a folder with models in the variable {MODELS}; {named} isn't one."
            )
    found = {path.parent.name: path.parent for top in folders for path in top.glob(f"*/{CARD}")}
    return dict(sorted(found.items()))


def shipped() -> dict[str, Path]:
    """The folders of those models whose weights are on this machine, by name.

    Example:
        >>> all((folder / "model.safetensors").is_file() for folder in shipped().values())
        True
    """
    return {name: folder for name, folder in cards().items() if (folder / WEIGHTS).is_file()}


def folder_of(name: str | Path, revision: str | None = None) -> Path:
    """The folder of a run or a model: a local one; that of a model by its name; or that of a model
    on the Hugging Face hub, as `owner/name`, which is downloaded. In this order.

    Args:
        name: Of the folder or the model.
        revision: Of a model on the hub, a branch, a tag or a commit; none: the newest.

    Raises:
        FileNotFoundError: If there is none; it says where to get one.
        ValueError: If a revision is given of a model that isn't on the hub.
    """
    folder, name = expanded(name), str(name)
    found = folder if folder.is_dir() else shipped().get(name)
    if found is not None:
        if revision is not None:
            raise ValueError(
                f"Expected a revision only for a model on the Hugging Face hub; {name} is in "
                f"{found}: leave the revision out."
            )
        return found
    # In a folder that is there, it is rather a slip of the keyboard.
    if ADDRESS.fullmatch(name) and not Path(name).parent.exists():
        print(f"No folder {name}: looking for it on the Hugging Face hub.", file=sys.stderr)
        return _downloaded(name, revision)
    raise FileNotFoundError(missing(name))


def _downloaded(repository: str, revision: str | None) -> Path:
    """The folder of a model of the Hugging Face hub: of its files, and of no others, as whoever
    reads them checks them."""
    why = f"to look for {repository} on the Hugging Face hub"
    check_installed("huggingface_hub", why, "hub", FileNotFoundError)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, allow_patterns=MODEL_FILES, revision=revision))
    except Exception as error:  # of the network, of the hub, of the disk
        at = f" at revision {revision}" if revision else ""
        raise FileNotFoundError(
            f"Expected {repository}{at} on the Hugging Face hub; it couldn't be downloaded "
            f"({type(error).__name__})."
        ) from error


def missing(name: str) -> str:
    """The error message for a name at which there is no model."""
    sentence = f"Expected the folder of a run or a model; there is none at {name}"
    if os.path.dirname(name):
        return f"{sentence}."
    known = list(cards())
    if name in known:
        return f"Expected the weights of {name}, which aren't on this machine: {ELSEWHERE}."
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f" (nearest: {close[0]})" if close else ""
    if known:
        sentence += f", nor is it one of the models {', '.join(known)}{hint}"
    return f"{sentence}; if it is a model that isn't on this machine, {ELSEWHERE}."
