"""What the commands share that work on any number of pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rgflow.cli.engines import Worker, by_processes, by_ray
from rgflow.files import expanded
from rgflow.outputs import LeftOutError, Made, Outputs, is_full
from rgflow.photographs.tables import write
from rgflow.text import bars, many, printable, say

if TYPE_CHECKING:
    from jsonargparse import Namespace
    from PIL import Image

    from rgflow.cli.parsing import Parser
    from rgflow.outputs import Source
    from rgflow.photographs.collections import Collection, Given

WHAT = (
    "pictures, folders of them, Parquet files, tar archives (WebDataset), also by a URL such as "
    "s3://BUCKET/FOLDER, or hf:NAME_OR_PATH (Hugging Face datasets)"
)
TABLE = "pictures.csv"
"""The table in a folder of results, with a row for each picture of a collection."""
MAX_SHOWN = 30
"""Maximum number of rows, or of errors, on the screen."""


def add_options(options: Parser) -> None:
    """Add the options for where pictures are worked on."""
    options.whole("processes", 1, "processes of this machine that share the work")
    what = "ray: on the processors or GPUs of a cluster; processes: on this machine"
    options.word("engine", "processes", what, ("processes", "ray"))
    options.word("address", None, "of the cluster; none: the one that Ray finds, or this machine")
    options.flag("download", "allow hf:NAME to be read from the hub")


def each(
    settings: Namespace,
    results: Outputs,
    pictures: Collection,
    work: Callable[[Given], Made],
    patterns: Callable[[int], list[str]] | None = None,
    key: str = "",
) -> list[dict[str, Any]]:
    """Work on each picture that isn't done, write what is made of it, and record that; of files
    that are made of a collection, write a table as well.

    Args:
        settings: Of the command.
        results: Where results go.
        pictures: The pictures.
        work: Makes the result of one.
        patterns: The names of the files that are made of each, as for `Outputs.sources`; None:
            only rows are made.
        key: Hash of all else that results depend on; by default that of `results`.

    Returns:
        The rows of all pictures, in order; one that was left out has an `error`.

    Raises:
        ValueError: Whatever was wrong, if there is only one picture.
        LeftOutError: If files are made, and some pictures were left out.
        OSError: If the disk is full.
    """
    sources = results.sources(pictures.groups, patterns) if patterns else ()
    rows, done = dict[tuple[int, int], dict[str, Any]](), 0
    ray, processes = settings.get("engine") == "ray", settings.get("processes", 1)
    worker = Worker(work, key or results.key, results.done(), None if ray else results.home)
    units = pictures.units(sources)
    found: Iterator[Made] = map(worker, chain.from_iterable(units))
    if ray:
        found = by_ray(worker, units, settings.address)
    elif processes > 1:
        found = by_processes(worker, chain.from_iterable(units), processes)
    with bars(progress=ray or processes > 1) as shown:
        task = shown.add_task("pictures", total=float(len(sources or pictures.groups)))
        for one in found:
            row, error = dict[str, Any](), one.error
            try:
                row = {} if error else results.keep(one)
            except (ValueError, OSError) as failed:
                if is_full(failed):
                    raise
                error = printable(str(failed))
            rows[one.place] = {"file": one.name} | ({"error": error} if error else row)
            done += one.done
            shown.advance(task)
    for path in results.home.glob(f".{'[0-9a-f]' * 16}.kept") if results.home else ():
        path.unlink(missing_ok=True)
    if done:
        say(f"{done} of {many(len(rows), 'picture')} {'was' if done == 1 else 'were'} done before.")
    if len(rows) == 1 and "error" in (row := next(iter(rows.values()))):
        raise ValueError(row["error"])
    every = [rows[place] for place in sorted(rows)]
    if patterns and results.home:
        if not pictures.named:
            write(results.home / TABLE, every)
        check_complete(every)
    return every


def save(made: Made, image: Image.Image, path: Path) -> str:
    """Add a picture's file without loss to what is made of it; its name."""
    from rgflow.photographs.pictures import encoded, named

    path = named(image, path)
    made.files.append((path, encoded(image, path)))
    return path.name


def within(settings: Namespace, source: Source, name: str) -> str:
    """The path of a picture's result in the folder of all results."""
    return (source.folder / name).relative_to(expanded(settings.out)).as_posix()


def check_complete(rows: Sequence[dict[str, Any]]) -> None:
    """Say which pictures were left out.

    Raises:
        LeftOutError: If some were.
    """
    left = [row for row in rows if "error" in row]
    for row in left[:MAX_SHOWN]:
        say(f"left out: {row['file']}: {row['error']}")
    if left:
        raise LeftOutError(
            f"Expected to work on {many(len(rows), 'picture')}; {len(left)} had to be left out, "
            f"as listed above: run the same "
            "command again to try these alone."
        )
