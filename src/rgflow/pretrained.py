"""Trained models by name.

NAME/config.json        the architecture of the flow
NAME/model.safetensors  its weights
NAME/quantiles.json     how the levels' shares of the log-likelihood spread
NAME/factors.json       what its latents mean; some models only
NAME/card.json          how it was trained, what was measured, and how to reproduce it
NAME/README.md          the same for people

Such folders lie in the package, in the folder that the variable RGFLOW_MODELS names, or in the
Hugging Face repository that RGFLOW_HUB names. In the package there are the cards of all models; a
checkout of the repository also has all weights, an installed package those of a few
(`pyproject.toml` lists them). `rgflow.training.shipping` makes such a folder from a run.
"""

import difflib
import os
import re
import sys
from importlib import resources
from pathlib import Path

from rgflow import hub
from rgflow.files import CARD, CONFIG, MODEL_FILES, WEIGHTS, expanded

FOLDER = Path(str(resources.files("rgflow"))) / "models"
"""Where the package's models lie."""
MODELS, HUB = "RGFLOW_MODELS", "RGFLOW_HUB"
"""Variables of the environment: a folder with more models, and a Hugging Face repository with such
a folder for each."""
ELSEWHERE = (
    f"name a folder that holds it in {MODELS}, or a Hugging Face repository that does in {HUB}, or "
    f"train it with the commands on its card (`rgflow info NAME`)"
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
    if hub.is_address(name) and not Path(name).parent.exists():
        print(f"No folder {name}: looking for it on the Hugging Face hub.", file=sys.stderr)
        return hub.download(name, MODEL_FILES, revision)
    repository = os.environ.get(HUB)
    if repository and re.fullmatch(hub.WORD, name, re.ASCII) and not folder.exists():
        print(f"Looking for {name} in {repository} on the Hugging Face hub.", file=sys.stderr)
        top = hub.download(repository, [f"{name}/{file}" for file in MODEL_FILES], revision)
        if (top / name / CONFIG).is_file():
            return top / name
    raise FileNotFoundError(missing(name))


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
