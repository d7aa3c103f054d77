"""Models on the Hugging Face hub: the one module that uses huggingface_hub.

Only the files that a model consists of are downloaded, and whoever reads them checks them. The
hub's own mixin uploads them. Its `from_pretrained` isn't used: it would parse a stranger's
config.json before any check.
"""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rgflow.checks import check_installed
from rgflow.files import CARD, MODEL_FILES, PAGE

WORD = r"\w[\w.-]*"
"""What names on the hub are made of: nothing that stands for other files."""


def is_address(name: str) -> bool:
    """Whether a name has the form `owner/name` of a repository on the hub.

    Example:
        >>> [is_address(name) for name in ("owner/name", "name", "./name", "a/b/c")]
        [True, False, False, False]
    """
    return re.fullmatch(rf"{WORD}/{WORD}", name, re.ASCII) is not None


def download(repository: str, files: Sequence[str], revision: str | None = None) -> Path:
    """Download files of a repository, and no others, into the cache of huggingface_hub.

    Args:
        repository: `owner/name`.
        files: Their paths in the repository; those that aren't there are left out.
        revision: A branch, a tag or a commit; none: the newest.

    Returns:
        The folder of this version of the repository.

    Raises:
        FileNotFoundError: If huggingface_hub isn't installed, or the hub doesn't give them.
    """
    why = f"to look for {repository} on the Hugging Face hub"
    check_installed("huggingface_hub", why, "hub", FileNotFoundError)
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(repository, allow_patterns=list(files), revision=revision)
    except Exception as error:  # of the network, of the hub, of the disk
        at = f" at revision {revision}" if revision else ""
        raise FileNotFoundError(
            f"Expected {repository}{at} on the Hugging Face hub; it couldn't be downloaded "
            f"({type(error).__name__})."
        ) from error
    return Path(found)


def push(folder: Path, repository: str, **options: Any) -> str:
    """Upload the model in a folder, with its card if it has one, by
    `huggingface_hub.ModelHubMixin.push_to_hub`.

    Args:
        folder: As `Flow.save_pretrained` or `rgflow ship` writes it.
        repository: `owner/name`; it is created if it doesn't exist.
        options: As for the mixin's method: `private`, `token`, `branch`, `create_pr`,
            `commit_message`.

    Returns:
        Where the hub shows the upload.

    Raises:
        OSError: If huggingface_hub isn't installed, or the hub rejects the upload.
        ValueError: If the card or the config is damaged.
    """
    check_installed("huggingface_hub", "which uploads", "hub", OSError)
    from huggingface_hub import ModelCard, ModelHubMixin

    from rgflow.cards import Card, page_of

    page = page_of(folder, repository)
    licence = Card.read(folder).licence.lower() if (folder / CARD).is_file() else None

    class Model(
        ModelHubMixin,
        library_name="rgflow",
        license=licence,
        pipeline_tag="unconditional-image-generation",
        tags=["normalizing-flow", "rg-flow"],
        paper_url="https://arxiv.org/abs/2010.00029",
    ):
        """Files as the mixin wants them."""

        def _save_pretrained(self, save_directory: Path) -> None:
            for name in MODEL_FILES:
                if name != PAGE and (folder / name).is_file():
                    shutil.copyfile(folder / name, save_directory / name)

        def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
            """Our page, beneath the metadata that the mixin collects."""
            card = super().generate_model_card(*args, **kwargs)
            card.text = page
            return card

    try:
        return str(Model().push_to_hub(repository, **options))
    except Exception as error:  # of the network, of the hub, of a name that isn't one
        reason = (str(error).strip().splitlines() or [""])[0]
        raise OSError(
            f"Expected the Hugging Face hub to take {repository}; {type(error).__name__}: "
            f"{reason.rstrip('.')}. `hf auth login` or the variable HF_TOKEN says who you are."
        ) from error
