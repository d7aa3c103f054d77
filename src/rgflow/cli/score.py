"""`rgflow score`: how many bits pictures take, for any number of them."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rgflow.cli.parsing import Parser, parse
from rgflow.files import expanded, write_json, writing
from rgflow.reading import read_json, read_lines
from rgflow.text import Screen, bars, many, say, table

if TYPE_CHECKING:
    from rgflow.flow import Flow
    from rgflow.photographs.collections import Shard
    from rgflow.photographs.pictures import Picture

CODECS = ("png", "webp", "jpegxl")
LEVELS = 16
"""Levels that have a column of their own; a picture of more has as many as it needs."""
SHOWN = 30
"""Rows in the table on the screen."""


def run(arguments: Sequence[str]) -> None:
    """Parse, score and write."""
    options = Parser(
        "score",
        "How many bits a model needs for pictures of any size, level by level, beside lossless "
        "codecs. Run it again to continue after an interruption; several processes (torchrun) "
        "share the work.",
        "rgflow score ~/pictures --out bits.csv",
    )
    what = (
        "pictures, folders of them, Parquet files, tar archives (WebDataset), or hf:NAME_OR_PATH "
        "(Hugging Face datasets), read as a stream"
    )
    options.add_argument("paths", nargs="+", type=str, help=what)
    options.word("model", "photos", "a model of photographs: its name or folder, or a run")
    options.word("out", None, "a .csv, .parquet or .jsonl file for the table")
    options.word("background", "white", "the colour behind transparent pixels")
    options.flag("download", "allow hf:NAME to be read from the hub")
    options.several(
        "codecs",
        str,
        [],
        f"also list the sizes of the same pixels in these codecs: {', '.join(CODECS)}; or all",
    )
    settings = parse(options, arguments)
    out = expanded(settings.out) if settings.out else None
    if out and out.suffix not in WRITERS:
        raise ValueError(f"Expected --out to end in {', '.join(WRITERS)}; got {out.name}.")
    for name in settings.codecs:
        if name not in (*CODECS, "all"):
            raise ValueError(f"Expected --codecs among {', '.join(CODECS)}, all; got {name}.")
    if "all" in settings.codecs:
        settings.codecs = list(CODECS)
        if find_spec("imagecodecs") is None:
            settings.codecs.remove("jpegxl")
            say(
                "JPEG XL is left out, as imagecodecs isn't installed: pip install 'rgflow[codecs]'."
            )

    from rgflow import trained
    from rgflow.photographs.collections import shards
    from rgflow.photographs.scoring import check_windows
    from rgflow.training.optimisation import prepare_machine

    prepare_machine()
    flow = trained.load(settings.model).flow
    check_windows(flow)
    every = _marked(flow, shards(settings.paths, settings.download), settings)
    rank, world = (
        int(os.environ.get(name, least)) for name, least in (("RANK", 0), ("WORLD_SIZE", 1))
    )
    if world > 1 and out is None:
        raise ValueError("Expected --out when several processes share the work; got none.")
    folder = out.with_name(f"{out.name}.parts") if out else None
    old: list[Path] = []
    if folder:
        _same_work(folder, settings, every)
        old = _changed(folder, every)
    rows: list[dict[str, Any]] = []
    for shard in every[rank::world]:
        rows += _shard(flow, shard, settings, folder)
    if out and folder:
        kept = [folder / f"{shard.name}.jsonl" for shard in every]
        if not all(path.is_file() for path in kept):
            say(
                f"{many(len(every[rank::world]), 'shard')} done; other processes are still at work."
            )
            return
        rows = [row for path in kept for row in _lines(path)]
        with writing(out) as path:
            WRITERS[out.suffix](path, rows)
        for path in old:
            path.unlink(missing_ok=True)
    _show(rows, settings.codecs, out)


def _marked(flow: Flow, every: Sequence[Shard], settings: Any) -> list[Shard]:
    """The shards, with a hash in their names of all that their results depend on: weights,
    settings, and sizes and times of change of their files. So no results of others are taken for
    theirs."""
    from rgflow.trained import fingerprint

    what = [fingerprint(flow), settings.background, settings.codecs]
    marked = []
    for shard in every:
        text = json.dumps([what, shard.places, shard.stamps()])
        mark = hashlib.sha256(text.encode()).hexdigest()[:16]
        marked.append(replace(shard, name=f"{shard.name}-{mark}"))
    return marked


def _changed(folder: Path, every: Sequence[Shard]) -> list[Path]:
    """Files in a folder of parts with results of pictures or a model that have changed since, which
    is said."""
    names = tuple(shard.name for shard in every)
    old = [
        path
        for path in folder.iterdir()
        if path.suffix in (".jsonl", ".part", ".state") and not path.name.startswith(names)
    ]
    if old:
        kept = sum((folder / f"{name}.jsonl").is_file() for name in names)
        say(
            f"Pictures or the model changed since the last run: the results of {kept} of "
            f"{many(len(every), 'shard')} are kept."
        )
    return old


def _same_work(folder: Path, settings: Any, every: Sequence[Shard]) -> None:
    """Raise a `ValueError` if a folder of parts is of other names or settings."""
    what = {
        "model": settings.model,
        "background": settings.background,
        "codecs": settings.codecs,
        "files": [list(shard.places) for shard in every],
    }
    kept = folder / "what.json"
    if kept.is_file() and read_json(kept, "a list of pictures, as rgflow score writes it") != what:
        raise ValueError(
            f"Expected the pictures and settings whose results are in {folder}; got others: delete "
            f"it, or name another --out."
        )
    if not kept.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(kept, what)


def _shard(
    flow: Flow, shard: Shard, settings: Any, folder: Path | None
) -> Iterator[dict[str, Any]]:
    """The rows of a shard; those that are there already aren't made again."""
    if not folder:
        for name, picture in shard.pictures(settings.background):
            yield _row(flow, name, picture, settings.codecs, None)
        return
    whole, part = folder / f"{shard.name}.jsonl", folder / f"{shard.name}.part"
    if not whole.is_file():
        done = _lines(part)
        with part.open("a") as file:
            for number, (name, picture) in enumerate(shard.pictures(settings.background)):
                if number < len(done):
                    continue
                state = folder / f"{shard.name}-{number}.state"
                row = _row(flow, name, picture, settings.codecs, state)
                file.write(json.dumps(row) + "\n")
                file.flush()
                state.unlink(missing_ok=True)
        part.rename(whole)
    yield from _lines(whole)


def _lines(path: Path) -> list[dict[str, Any]]:
    """The objects in a file of lines, of which the last may be cut off, and is then cut away."""
    if not path.is_file():
        return []
    found = read_lines(path, "what an earlier run found")
    content = path.read_bytes()
    os.truncate(path, content.rfind(b"\n") + 1)
    return found


def _row(
    flow: Flow,
    name: str,
    picture: Picture | ValueError,
    codecs: Sequence[str],
    state: Path | None,
) -> dict[str, Any]:
    """What is found of one picture."""
    import torch

    from rgflow.photographs.scoring import bits

    if isinstance(picture, ValueError):
        return {"file": name, "error": str(picture)}
    seen = picture.seen
    channels, height, width = seen.shape
    row: dict[str, Any] = {"file": name, "width": width, "height": height, "channels": channels}
    done = {one["part"]: one["bits"] for one in (_lines(state) if state else [])}
    try:
        images = torch.from_numpy(picture.pixels(flow.config.channels))[None]
        with _keeping(state) as keep, bars() as shown:
            task = shown.add_task(Path(name).name, total=1.0)

            def progress(part: str, found: float, share: float) -> None:
                if part not in done:
                    keep(part, found)
                shown.update(task, completed=share)

            found = bits(flow, images, done=done, progress=progress)
    except ValueError as error:
        return {"file": name, "error": str(error)}
    row["bits"] = found.total.item() / seen.size
    levels = (found.levels[0] / seen.size).tolist()
    row |= {f"level_{level}": value for level, value in enumerate(levels)}
    row |= {codec: 8 * _size(codec, picture) / seen.size for codec in codecs}
    notes = [*picture.notes]
    if channels == 1:
        notes.append("grey, scored as colour with three equal channels")
    return row | ({"note": "; ".join(notes)} if notes else {})


@contextmanager
def _keeping(path: Path | None) -> Iterator[Callable[[str, float], None]]:
    """Keeps what the parts of a large picture take, in a file, while they are scored."""
    if path is None:
        yield lambda part, found: None
        return
    with path.open("a") as file:

        def keep(part: str, found: float) -> None:
            file.write(json.dumps({"part": part, "bits": found}) + "\n")
            file.flush()

        yield keep


def _size(codec: str, picture: Picture) -> int:
    """Bytes of the file that a codec makes of what the flow sees, at its best effort."""
    import io

    from PIL import Image

    seen = picture.seen
    values = seen[0] if len(seen) == 1 else seen.transpose(1, 2, 0).copy()
    if codec == "jpegxl":
        try:
            import imagecodecs
        except ImportError as error:
            raise ValueError(
                "Expected imagecodecs for --codecs jpegxl; it isn't installed: pip install "
                "'rgflow[codecs]'."
            ) from error
        return len(imagecodecs.jpegxl_encode(values, effort=9, lossless=True))
    file = io.BytesIO()
    if codec == "png":
        Image.fromarray(values).save(file, "PNG", optimize=True)
    else:
        # Quality 100 takes eight times as long, for files that are 0 to 2 % smaller.
        Image.fromarray(values).save(file, "WEBP", lossless=True, quality=90, method=6)
    return file.tell()


def _show(rows: Sequence[dict[str, Any]], codecs: Sequence[str], out: Path | None) -> None:
    """The first rows and the mean on the screen; raises if pictures couldn't be read."""
    good = [row for row in rows if "bits" in row]
    head = ("file", "size", "bits/dim", *codecs)
    shown = [
        (
            Path(row["file"]).name,
            f"{row['width']}×{row['height']}",
            *(f"{row[name]:.3f}" for name in ("bits", *codecs)),
        )
        for row in good[:SHOWN]
    ]
    if len(good) > 1:
        means = (sum(row[name] for row in good) / len(good) for name in ("bits", *codecs))
        shown.append((f"mean of {len(good)}", "", *(f"{mean:.3f}" for mean in means)))
    if shown:
        Screen().print(table(head, shown, None))
    if out:
        say(f"All results are in {out}.")
    bad = [row for row in rows if "error" in row]
    if bad:
        raise ValueError(
            f"{many(len(bad), 'picture')} of {len(rows)} couldn't be scored; the first error: "
            f"{bad[0]['error']}"
        )


def _columns(rows: Sequence[dict[str, Any]]) -> list[str]:
    """All columns, levels in order."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    levels = sorted((n for n in names if n.startswith("level_")), key=lambda n: int(n[6:]))
    first = [
        name for name in names if not name.startswith("level_") and name not in ("note", "error")
    ]
    return first + levels + [name for name in ("note", "error") if name in names]


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, _columns(rows))
        writer.writeheader()
        writer.writerows(rows)


def _write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _write_parquet(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError(
            "Expected pyarrow to write Parquet; it isn't installed: pip install 'rgflow[hf]', or "
            "end --out in .csv."
        ) from error
    columns = {name: [row.get(name) for row in rows] for name in _columns(rows)}
    parquet.write_table(pyarrow.table(columns), path)


WRITERS: dict[str, Callable[[Path, Sequence[dict[str, Any]]], None]] = {
    ".csv": _write_csv,
    ".parquet": _write_parquet,
    ".jsonl": _write_lines,
}
"""How the table is written, by the ending of the file."""
