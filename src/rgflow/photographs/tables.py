"""Tables of how many bits pictures take, a row for each, made by one process or several.

The rows are kept in a folder beside the table until all are there, so interrupted work continues:

    what.json             what is scored, and how
    SHARD.jsonl           the rows of a shard that is finished
    SHARD.part            the rows of one that is begun
    SHARD-NUMBER.state    bits of the parts of the picture that is being scored
    .rgflow.jsonl         the hash of the table that was written
"""

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from rgflow.checks import check_installed, out_of_memory
from rgflow.files import lock, replacing, settle, write_json, writing
from rgflow.flow import Flow
from rgflow.outputs import lines
from rgflow.photographs import codecs
from rgflow.photographs.collections import Shard
from rgflow.photographs.pictures import MAX_PIXELS, Picture
from rgflow.photographs.prequential import score
from rgflow.photographs.scoring import Done, bits
from rgflow.reading import read_json
from rgflow.text import bars, printable

Row = dict[str, Any]
"""Names and values: `file`, `width`, `height` and `channels`; `bits` per dimension, and its share
`level_0`, `level_1`, … of every level; bits per dimension of codecs; `note`. Or `file` and
`error`."""

OWN = re.compile(r"\d{6}-[0-9a-f]{16}(-\d+)?\.(jsonl|part|state)")
"""Names of the files of shards."""
WHAT = "what an earlier run found"
"""What is in these files."""


def row(
    flow: Flow,
    picture: Picture,
    with_codecs: Sequence[str] = (),
    *,
    passes: int = 0,
    keep: Path | None = None,
    done: Done | None = None,
    progress: Callable[[str, float, float], None] | None = None,
) -> Row:
    """What a flow and codecs need for a picture, without the name of a file.

    Args:
        flow: A flow of photographs.
        picture: The picture, of any size.
        with_codecs: Names of codecs.
        passes: How often every pixel is learned meanwhile (`rgflow.photographs.prequential`).
        keep: The folder for the flow that has learned the picture.
        done: As of `rgflow.photographs.bits`.
        progress: As of `rgflow.photographs.bits`.

    Raises:
        ValueError: If the picture doesn't fit the flow, or a codec isn't installed.
    """
    channels, height, width = picture.seen.shape
    images = torch.from_numpy(picture.pixels(flow.config.channels))[None]
    if passes:
        found, learned = score(flow, images[0], passes, done=done, progress=progress)
        if keep:
            learned.save_pretrained(keep)
    else:
        found = bits(flow, images, done=done, progress=progress)
    dim = picture.seen.size
    made: Row = {"width": width, "height": height, "channels": channels}
    made["bits"] = found.total.item() / dim
    made |= {
        f"level_{level}": share for level, share in enumerate((found.levels[0] / dim).tolist())
    }
    made |= {name: 8 * codecs.size(name, picture.seen) / dim for name in with_codecs}
    notes = [*picture.notes]
    if channels == 1:
        notes.append("grey, scored as colour with three equal channels")
    return made | ({"note": "; ".join(notes)} if notes else {})


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """Pictures, and how they are scored.

    Attributes:
        flow: A flow of photographs.
        model: The name of the flow.
        shards: The pictures.
        background: The colour behind transparent pixels.
        codecs: Names of codecs.
        most: Maximum number of pixels.
        passes: As of `row`.
        keep: As of `row`.
        folder: The folder of rows until all are there; None: nothing is kept.
    """

    flow: Flow
    model: str
    shards: Sequence[Shard]
    background: str = "white"
    codecs: Sequence[str] = ()
    most: int = MAX_PIXELS
    passes: int = 0
    keep: Path | None = None
    folder: Path | None = None

    def begin(self, fingerprint: str, *, overwrite: bool = False) -> tuple["Work", list[Path]]:
        """The work under names that no other one has: with a hash of all that the results depend
        on, that is, weights, settings, and sizes and times of change of the files.

        Args:
            fingerprint: Hash of the flow.
            overwrite: Whether the folder may be of other pictures or settings.

        Returns:
            The work, and the files of earlier work whose pictures or model have changed.

        Raises:
            ValueError: If the folder is of other pictures or settings.
        """
        shards, old = [], list[Path]()
        how: list[Any] = [fingerprint, self.background, self.codecs]
        how += [self.most] * (self.most != MAX_PIXELS) + [{"adapt": self.passes}] * bool(
            self.passes
        )
        for shard in self.shards:
            what = [how, shard.places, shard.stamps()]
            mark = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]
            shards.append(replace(shard, name=f"{shard.name}-{mark}"))
        if self.folder:
            self._check(self.folder, overwrite)
            names = tuple(shard.name for shard in shards)
            files = [path for path in self.folder.iterdir() if OWN.fullmatch(path.name)]
            old = [path for path in files if not path.name.startswith(names)]
        return replace(self, shards=shards), old

    def what(self) -> dict[str, Any]:
        """What is scored, and how."""
        return {
            "model": self.model,
            "background": self.background,
            "codecs": self.codecs,
            "files": [list(shard.places) for shard in self.shards],
        } | ({"adapt": self.passes} if self.passes else {})

    def _check(self, folder: Path, overwrite: bool) -> None:
        kept = folder / "what.json"
        if overwrite or not kept.is_file():
            with writing(kept):
                write_json(kept, self.what())
        elif read_json(kept, "a list of pictures, as rgflow score writes it") != self.what():
            raise ValueError(
                f"Expected the pictures and settings whose results are in {folder}; got others: "
                f"delete it, or name another --out."
            )

    def finished(self) -> list[Path]:
        """The files of rows of the shards that are finished."""
        files = [self.folder / f"{shard.name}.jsonl" for shard in self.shards if self.folder]
        return [file for file in files if file.is_file()]

    def rows(self, shard: Shard) -> Iterator[Row]:
        """The rows of a shard; those that are kept aren't made again. None, if another process
        is making them.

        Args:
            shard: One of the shards.

        Raises:
            ValueError: If the shard can't be read.
        """
        if not self.folder:
            for name, picture in shard.pictures(self.background, self.most):
                yield self._row(name, picture, None)
            return
        whole, part = (self.folder / f"{shard.name}.{ending}" for ending in ("jsonl", "part"))
        if not whole.is_file():
            with writing(part), part.open("a") as file:
                if not lock(file.fileno()):
                    return
                if whole.is_file():  # by now, by another process
                    part.unlink(missing_ok=True)
                    return
                first = len(lines(part, WHAT))
                for number, (name, picture) in enumerate(
                    shard.pictures(self.background, self.most, first), first
                ):
                    state = self.folder / f"{shard.name}-{number}.state"
                    file.write(json.dumps(self._row(name, picture, state)) + "\n")
                    file.flush()
                    state.unlink(missing_ok=True)
                settle(part, whole)
        yield from lines(whole, WHAT)

    def _row(self, name: str, picture: Picture | ValueError, state: Path | None) -> Row:
        """A row with its file; `state` keeps the bits of parts while they are scored."""
        name = printable(name)  # as not every name is text
        if isinstance(picture, ValueError):
            return {"file": name, "error": printable(str(picture))}
        done = {one["part"]: one["bits"] for one in (lines(state, WHAT) if state else [])}
        with ExitStack() as stack:
            kept = stack.enter_context(state.open("a")) if state else None
            shown = stack.enter_context(bars())
            task = shown.add_task(Path(name).name, total=1.0)

            def progress(part: str, found: float, share: float) -> None:
                if kept and part not in done:
                    kept.write(json.dumps({"part": part, "bits": found}) + "\n")
                    kept.flush()
                shown.update(task, completed=share)

            try:
                made = row(
                    self.flow,
                    picture,
                    self.codecs,
                    passes=self.passes,
                    keep=self.keep,
                    done=done,
                    progress=progress,
                )
            except ValueError as error:
                made = {"error": str(error)}
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                made = {"error": "Expected enough memory; there isn't."}
        return {"file": name} | made


def collect(work: Work) -> list[Row] | None:
    """The rows of all shards in order, from the folder; None while some aren't finished.

    Raises:
        ValueError: If rows are of other pictures than those of the shard.
    """
    files = work.finished()
    if len(files) < len(work.shards):
        return None
    rows = list[Row]()
    for shard, file in zip(work.shards, files, strict=True):
        found = lines(file, WHAT)
        names = [printable(place) for place in shard.files]
        if names and names != [one.get("file") for one in found]:
            raise ValueError(
                f"Expected {file} to have a row for each of {len(names)} pictures; it was changed: "
                "delete it."
            )
        rows += found
    return rows


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
