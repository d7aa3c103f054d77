"""The checkpoints of a run: everything needed to resume it, at several steps."""

import json
import math
import os
from pathlib import Path
from typing import Any

from torch import Tensor

from rgflow import tensors
from rgflow.reading import DamagedError, json_in, reason

State = dict[str, Any]
"""Tensors and plain values, in dictionaries, lists and tuples."""
STATE = "state"
"""The metadata's name for all values, in which tensors are named."""
DAMAGED = ".damaged"
"""Suffix of damaged files that are set aside."""


class Checkpoints:
    """Files `STEP.safetensors` with digests, of which the newest are kept.

    `load` skips damaged files, and the next `save` renames them. An old checkpoint is deleted only
    when a newer one has been written and read back.

    Args:
        folder: Where they are; `save` makes it.
        keep: How many to keep.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep
        self.damaged = dict[Path, str]()
        """Files that `load` skipped, and what is wrong with each."""

    def paths(self) -> list[Path]:
        """The checkpoints in the folder, oldest first."""
        return sorted(p for p in self.folder.glob("*.safetensors") if p.stem.isdecimal())

    def save(self, step: int, state: State) -> None:
        """Write a checkpoint and read it back, then delete the oldest if there are too many.

        Raises:
            OSError: If it can't be written, or read back; earlier checkpoints are still there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path, pack = self.folder / f"{step:08d}.safetensors", _Pack()
        values = json.dumps(pack(state))
        tensors.save(path, pack.tensors, {STATE: values})
        try:
            _drop_from_cache(path)
            tensors.load(path, sealed=True)
        except (OSError, DamagedError) as error:
            path.unlink(missing_ok=True)
            raise OSError(
                f"what was written as {path.name} can't be read back ({error}), so the disk may be "
                f"failing"
            ) from error
        for spoilt in self.damaged.keys() - {path}:
            if spoilt.exists():
                spoilt.replace(spoilt.with_suffix(DAMAGED))
        self.damaged.clear()
        for old in self.paths()[: -self.keep]:
            old.unlink(missing_ok=True)

    def load(self) -> State | None:
        """Load the newest checkpoint that isn't damaged.

        Returns:
            The state; `None` if there are no checkpoints.

        Raises:
            PermissionError: If a file may not be read.
            ValueError: If all checkpoints are damaged, or an earlier version wrote them.
        """
        for path in reversed(self.paths()):
            try:
                held, metadata = tensors.load(path, sealed=True)
                state: State = _unpacked(json_in(metadata[STATE]), held)
                return state
            except PermissionError:
                raise
            except (OSError, DamagedError, KeyError, TypeError, ValueError) as error:
                self.damaged[path] = reason(error)
        if self.damaged:
            raise ValueError(
                f"Expected a checkpoint in {self.folder} that is as it was written; none is: "
                f"{self.damage()}: begin anew, or with --pretrained from the model of the run."
            )
        if any(self.folder.glob("*.pt")):
            raise ValueError(
                f"Expected checkpoints of this version of rgflow in {self.folder}; they are of an "
                f"earlier one: go on with that, or begin with --pretrained from the model of the "
                f"run."
            )
        return None

    def damage(self) -> str:
        """Which checkpoints are damaged, and how, in words."""
        return "; ".join(f"{path.name} is damaged, {how}" for path, how in self.damaged.items())


def _drop_from_cache(path: Path) -> None:
    """Make the next read of a file come from the disk, where the system can do that."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class _Pack:
    """Encodes nested values as JSON: tensors by name; tuples, dictionaries with any keys, and
    infinite numbers as objects with one key."""

    def __init__(self) -> None:
        self.tensors = dict[str, Tensor]()
        self._names = dict[Any, str]()

    def __call__(self, value: Any, name: str = "") -> Any:
        if isinstance(value, Tensor):
            place = (value.data_ptr(), value.dtype, value.shape, value.stride())
            if not value.numel() or place not in self._names:
                self._names[place], self.tensors[name] = name, value
            return {"tensor": self._names[place]}
        if isinstance(value, dict):
            return {"items": [[key, self(one, f"{name}/{key}")] for key, one in value.items()]}
        if isinstance(value, list | tuple):
            kind = "list" if isinstance(value, list) else "tuple"
            return {kind: [self(one, f"{name}/{k}") for k, one in enumerate(value)]}
        if isinstance(value, float) and not math.isfinite(value):
            return {"float": str(value)}
        return value


def _unpacked(value: Any, held: dict[str, Tensor]) -> Any:
    """The inverse of `_Pack`."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return held[content]
    if kind == "float":
        return float(content)
    if kind == "items":
        return {key: _unpacked(one, held) for key, one in content}
    parts = [_unpacked(one, held) for one in content]
    return parts if kind == "list" else tuple(parts)
