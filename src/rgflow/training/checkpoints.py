"""The checkpoints of a run: all that going on needs, at several steps."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from rgflow.files import replacing

State = dict[str, Any]
"""Tensors and plain values, as `torch.load` accepts them from anybody."""


class Checkpoints:
    """Files `STEP.pt` in a folder, written atomically; the last few are kept.

    Args:
        folder: Where they are; made when there is something to write.
        keep: How many.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep

    def paths(self) -> list[Path]:
        """Those that are there, oldest first."""
        return sorted(path for path in self.folder.glob("*.pt") if path.stem.isdecimal())

    def save(self, step: int, state: State) -> None:
        """Write one, then delete the oldest if there are too many.

        Raises:
            OSError: If it can't be written; those before it are still there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.folder / f"{step:08d}.pt") as part:
            try:
                torch.save(state, part)
            except RuntimeError as error:  # what torch makes of a full disk
                raise OSError("a checkpoint can't be written, the disk may be full") from error
        for path in self.paths()[: -self.keep]:
            path.unlink(missing_ok=True)

    def load(self) -> State | None:
        """The newest that can be read; none, if there is none.

        Raises:
            ValueError: If there are some, and none of them can be read.
        """
        damaged = []
        for path in reversed(self.paths()):
            try:
                return torch.load(path, map_location="cpu", weights_only=True)
            except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile):
                damaged.append(path.name)
        if damaged:
            raise ValueError(
                f"Expected a checkpoint that can be read in {self.folder}; "
                f"{', '.join(reversed(damaged))} can't: train anew."
            )
        return None
