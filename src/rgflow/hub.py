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
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise FileNotFoundError(
            f"Expected the package huggingface_hub, to look for {repository} on the Hugging Face "
            f"hub; it isn't installed: run pip install 'rgflow[hub]'."
        ) from error
    try:
        found = snapshot_download(repository, allow_patterns=list(files), revision=revision)
    except Exception as error:  # of the network, of the hub, of the disk
        at = f" at revision {revision}" if revision else ""
        raise FileNotFoundError(
            f"Expected {repository}{at} on the Hugging Face hub; it couldn't be downloaded "
            f"({type(error).__name__})."
        ) from error
    return Path(found)


def push(
    files: Sequence[Path], repository: str, page: str, licence: str | None, **options: Any
) -> str:
    """Upload a model, with its card, by `huggingface_hub.ModelHubMixin.push_to_hub`.

    Args:
        files: What is uploaded beside the card.
        repository: `owner/name`; it is made if it isn't there.
        page: The card for people, in Markdown.
        licence: Of the weights, as the hub names it; none: not stated.
        options: As for the mixin's method: `private`, `token`, `branch`, `create_pr`,
            `commit_message`.

    Returns:
        Where the hub shows the upload.

    Raises:
        OSError: If huggingface_hub isn't installed, or the hub doesn't take it.
    """
    try:
        from huggingface_hub import ModelCard, ModelHubMixin
    except ImportError as error:
        raise OSError(
            "Expected the package huggingface_hub, which uploads; it isn't installed: run "
            "pip install 'rgflow[hub]'."
        ) from error

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
            for path in files:
                shutil.copyfile(path, save_directory / path.name)

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
