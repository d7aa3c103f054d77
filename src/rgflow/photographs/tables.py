"""Tables with a row for each picture, in the formats of spreadsheets and of data sets."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rgflow.checks import check_installed
from rgflow.files import replacing, writing

Row = dict[str, Any]
"""Names and values."""


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write a table, in the format of the file's ending, whole or not at all. Text in CSV that a
    spreadsheet could take for a formula, or that begins with an apostrophe, has one before it.

    Args:
        path: A file with one of the endings `WRITERS`.
        rows: The rows.

    Raises:
        ValueError: If it is Parquet, and pyarrow isn't installed.
        OSError: If the file can't be written.
    """
    with writing(path), replacing(path) as part:
        WRITERS[path.suffix](part, rows)


def _columns(rows: Sequence[Row]) -> list[str]:
    """All columns: first others, then levels, then notes and errors."""

    def place(name: str) -> int:
        if name.startswith("level_"):
            return 1 + int(name.removeprefix("level_"))
        return {"note": 1000, "error": 1001}.get(name, 0)

    return sorted(dict.fromkeys(name for row in rows for name in row), key=place)


def _write_csv(part: Path, rows: Sequence[Row]) -> None:
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _columns(rows))
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)


def _cell(value: Any) -> Any:
    """A value that no spreadsheet takes for a formula."""
    risky = isinstance(value, str) and value.lstrip()[:1] in tuple("=+-@'")
    return f"'{value}" if risky else value


def _write_lines(part: Path, rows: Sequence[Row]) -> None:
    part.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _write_parquet(part: Path, rows: Sequence[Row]) -> None:
    check_installed("pyarrow", "to write Parquet", "hf", other=", or end --out in .csv")
    import pyarrow
    from pyarrow import parquet

    columns = {name: [row.get(name) for row in rows] for name in _columns(rows)}
    parquet.write_table(pyarrow.table(columns), part)


WRITERS: dict[str, Callable[[Path, Sequence[Row]], None]] = {
    ".csv": _write_csv,
    ".parquet": _write_parquet,
    ".jsonl": _write_lines,
}
"""How a table is written, by the ending of its file."""
