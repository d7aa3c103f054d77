"""The log of a run: one JSON object per line."""

import json
import math
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from rgflow.reading import DamagedError, json_in, read

LINE = re.compile(rb"(?<![^\n])[^\n]{2,65536}(?![^\n])")
"""Lines that may be entries: no entry has more than 64 KiB."""
MAX_LOG_BYTES = 1 << 30
"""Longest log that is read: ten million steps take as much."""


class Log:
    """Appends to a log.

    Args:
        path: The file of JSON lines.
        size: Bytes to keep; a killed run may have written more after its last checkpoint.
    """

    def __init__(self, path: Path, size: int = 0) -> None:
        self._file = path.open("a+b", buffering=0)
        if self._file.seek(0, os.SEEK_END) > size:
            self._file.truncate(size)
        self.close = self._file.close

    def write(self, step: int, seconds: float, **values: Any) -> None:
        """Append one entry, in which NaN and infinity become null."""
        entry = {"step": step, "seconds": round(seconds, 3), **values}
        plain = {k: None if _is_odd(v) else v for k, v in entry.items()}
        self._file.write(json.dumps(plain).encode() + b"\n")

    def size(self) -> int:
        """Flush the log to the disk, and return its size in bytes."""
        os.fsync(self._file.fileno())
        return self._file.seek(0, os.SEEK_END)


def _is_odd(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def read_log(path: Path, keep: Callable[[dict[str, Any]], bool] = bool) -> list[dict[str, Any]]:
    """Read a file of JSON lines, skipping damaged lines.

    Args:
        path: The file; if it doesn't exist, there are no entries.
        keep: Which objects to return.

    Raises:
        PermissionError: If it may not be read.
    """
    entries = []
    try:
        content = read(path, MAX_LOG_BYTES)
    except FileNotFoundError:
        return []
    for line in LINE.finditer(content):
        with suppress(DamagedError):
            entry = json_in(line[0])
            if isinstance(entry, dict) and keep(entry):
                entries.append(entry)
    return entries


def is_entry(entry: dict[str, Any]) -> bool:
    """Whether an object has a step and a time, and otherwise only what `Log` writes."""
    numbers = isinstance(entry.get("step"), int) and isinstance(entry.get("seconds"), int | float)
    return numbers and all(
        isinstance(value, str)
        if name == "event"
        else value is None or (isinstance(value, int | float) and not _is_odd(value))
        for name, value in entry.items()
    )
