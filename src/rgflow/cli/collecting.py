"""What the commands share that work on any number of pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from rgflow.cli.engines import KEPT, Given, Worker, by_processes, by_ray
from rgflow.outputs import LeftOutError, Made, Outputs, is_full
from rgflow.photographs.tables import write
from rgflow.text import bars, many, printable, say

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from rgflow.cli.parsing import Parser
    from rgflow.photographs.collections import Collection, Unit

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
    key: str,
    patterns: Callable[[int], list[str]] | None = None,
) -> list[dict[str, Any]]:
    """Work on each picture that isn't done, write what is made of it, and record that.

    Args:
        settings: Of the command.
        results: Where results go.
        pictures: The pictures.
        work: Makes the result of one.
        key: Hash of all else that results depend on.
        patterns: The names of the files that are made of each, as for `Outputs.sources`; None:
            only rows are made.

    Returns:
        The rows of all pictures, in order; one that was left out has an `error`.

    Raises:
        ValueError: Whatever was wrong, if there is only one picture.
        OSError: If the disk is full.
    """
    sources = results.sources(pictures.groups, patterns) if patterns else ()
    units = pictures.units(sources)
    rows, done = dict[tuple[int, int], dict[str, Any]](), 0
    with bars(progress=_shared(settings)) as shown:
        task = shown.add_task("pictures", total=float(len(sources or pictures.groups)))
        for made in _made(settings, results, units, Worker(work, key, results.done())):
            row, error = dict[str, Any](), made.error
            try:
                row = {} if error else results.keep(made)
            except (ValueError, OSError) as failed:
                if is_full(failed):
                    raise
                error = printable(str(failed))
            rows[made.place] = {"file": made.name} | ({"error": error} if error else row)
            done += made.done
            shown.advance(task)
    for path in results.home.glob(".*.kept") if results.home else ():
        if KEPT.fullmatch(path.name):
            path.unlink(missing_ok=True)
    if done:
        say(f"{done} of {many(len(rows), 'picture')} {'was' if done == 1 else 'were'} done before.")
    found = [row for _, row in sorted(rows.items(), key=itemgetter(0))]
    if len(found) == 1 and "error" in found[0]:
        raise ValueError(found[0]["error"])
    return found


def _made(
    settings: Namespace, results: Outputs, units: Iterator[Unit], worker: Worker
) -> Iterator[Made]:
    """The results of all pictures, as they come; of one that is alone, the error itself."""
    if settings.get("engine") == "ray":
        yield from by_ray(worker, units, settings.address)
        return
    worker = replace(worker, folder=results.home)
    items = (item for unit in units for item in unit.items())
    if _shared(settings):
        yield from by_processes(worker, items, settings.processes)
        return
    first, second = next(items, None), next(items, None)
    if first and not second:
        yield replace(worker.result(first), name=printable(first.name), place=first.place)
        return
    yield from map(worker, chain([one for one in (first, second) if one], items))


def _shared(settings: Namespace) -> bool:
    """Whether other processes work."""
    return settings.get("engine") == "ray" or settings.get("processes", 1) > 1


def results(
    settings: Namespace,
    results: Outputs,
    pictures: Collection,
    work: Callable[[Given], Made],
    patterns: Callable[[int], list[str]],
) -> None:
    """Make and write the files of each picture, and of a collection a table; arguments are those of
    `each`.

    Raises:
        LeftOutError: If some pictures were left out; besides as `each` does.
    """
    rows = each(settings, results, pictures, work, results.key, patterns)
    if not pictures.named and results.home:
        write(results.home / TABLE, rows)
    check_complete(rows)


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
