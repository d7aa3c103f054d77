"""`rgflow score`: how many bits pictures take, for any number of them."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rgflow.cli import adapting
from rgflow.cli.parsing import Parser, most, parse
from rgflow.files import expanded
from rgflow.outputs import LeftOutError, Outputs
from rgflow.text import Screen, many, say, table

MAX_SHOWN = 30
"""Maximum number of rows in the table on the screen."""


def run(arguments: Sequence[str]) -> None:
    """Parse, score and write.

    Raises:
        ValueError: If options aren't possible, or pictures couldn't be scored.
    """
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
    options.out(None, "a .csv, .parquet or .jsonl file for the table")
    options.word("background", "white", "the colour behind transparent pixels")
    options.limit()
    options.flag("download", "allow hf:NAME to be read from the hub")
    options.several(
        "codecs",
        str,
        [],
        "also list the sizes of the same pixels in these codecs: png, webp, jpegxl; or all",
    )
    options.whole(
        "adapt",
        0,
        "let the model learn each picture while it is scored, as a decoder could: how often every "
        "pixel is learned, on average; 4 takes about ten times as long as scoring",
        least=0,
    )
    adapting.add_keep(options)
    settings = parse(options, arguments)
    out = expanded(settings.out) if settings.out else None

    from rgflow.photographs.codecs import CODECS, check_codecs
    from rgflow.photographs.tables import WRITERS, Work, collect, write

    if out and out.suffix not in WRITERS:
        raise ValueError(f"Expected --out to end in {', '.join(WRITERS)}; got {out.name}.")
    codecs = check_codecs(settings.codecs)
    if "all" in settings.codecs and len(codecs) < len(CODECS):
        say("JPEG XL is left out, as imagecodecs isn't installed: pip install 'rgflow[codecs]'.")

    from rgflow import trained
    from rgflow.photographs.collections import shards
    from rgflow.photographs.pictures import MAX_PIXELS
    from rgflow.photographs.scoring import check_windows
    from rgflow.training.optimisation import prepare_machine

    places = shards(settings.paths, settings.download)
    keep = adapting.check_keep(settings, sum(len(shard.files) for shard in places))
    if keep and out:
        raise ValueError("Expected --keep without --out, whose rows are made once; got both.")
    prepare_machine()
    flow = trained.load(settings.model).flow
    check_windows(flow)
    rank, world = (int(os.environ.get(k, least)) for k, least in (("RANK", 0), ("WORLD_SIZE", 1)))
    if world > 1 and out is None:
        raise ValueError("Expected --out when several processes share the work; got none.")
    work = Work(
        flow=flow,
        model=settings.model,
        shards=places,
        background=settings.background,
        codecs=codecs,
        most=most(settings, MAX_PIXELS),
        passes=settings.adapt,
        keep=keep,
        folder=out.with_name(f"{out.name}.parts") if out else None,
    )
    with ExitStack() as stack:
        if out and work.folder:
            inputs = [Path(place) for shard in work.shards for place in shard.places]
            overwrite = settings.overwrite
            result = Outputs(out, inputs, work.what(), overwrite=overwrite, home=work.folder)
            stack.enter_context(result.guarded(shared=world > 1))
            result.check(out)
        work, old = work.begin(trained.fingerprint(flow), overwrite=settings.overwrite)
        if old:
            say(
                f"Pictures or the model changed since the last run: the results of "
                f"{len(work.finished())} of {many(len(work.shards), 'shard')} are kept."
            )
        rows = [row for shard in work.shards[rank::world] for row in work.rows(shard)]
        if out:
            collected = collect(work)
            if collected is None:
                say(f"{many(len(work.shards[rank::world]), 'shard')} done; others still work.")
                return
            rows = collected
            write(out, rows)
            for path in old:
                path.unlink(missing_ok=True)
    _show(rows, codecs, out)


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
        for row in good[:MAX_SHOWN]
    ]
    if len(good) > 1:
        means = (sum(row[name] for row in good) / len(good) for name in ("bits", *codecs))
        shown.append((f"mean of {len(good)}", "", *(f"{mean:.3f}" for mean in means)))
    if shown:
        Screen().print(table(head, shown, None))
    if out:
        say(f"All results are in {out}.")
    bad = [row for row in rows if "error" in row]
    for row in bad[: MAX_SHOWN * (len(rows) > 1)]:
        say(f"left out: {row['file']}: {row['error']}")
    if bad and len(rows) == 1:
        raise ValueError(bad[0]["error"])
    if bad:
        raise LeftOutError(
            f"Expected to score {many(len(rows), 'picture')}; {len(bad)} couldn't be: the first "
            f"error: {bad[0]['error']}"
        )
