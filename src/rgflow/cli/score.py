"""`rgflow score`: how many bits pictures take, for any number of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rgflow.cli import adapting
from rgflow.cli.parsing import Parser, most, parse
from rgflow.files import expanded, writing
from rgflow.outputs import Made, Outputs, keeping, lines
from rgflow.text import Screen, bars, say, table

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from rgflow.flow import Flow
    from rgflow.photographs.collections import Given

MAX_SHOWN = 30
"""Maximum number of rows in the table on the screen."""


def run(arguments: Sequence[str]) -> None:
    """Parse, score and write.

    Raises:
        ValueError: If options aren't possible, or pictures couldn't be scored.
    """
    from rgflow.cli import collecting

    options = Parser(
        "score",
        "How many bits a model needs for pictures of any size, level by level, beside lossless "
        "codecs. Run it again to continue after an interruption.",
        "rgflow score ~/pictures --out bits.csv",
    )
    options.add_argument("paths", nargs="+", type=str, help=collecting.WHAT)
    options.word("model", "photos", "a model of photographs: its name or folder, or a run")
    options.out(None, "a .csv, .parquet or .jsonl file for the table")
    options.word("background", "white", "the colour behind transparent pixels")
    options.limit()
    collecting.add_options(options)
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
        "pixel is learned, on average; 4 takes about 40 times as long as scoring",
        least=0,
    )
    adapting.add_keep(options)
    settings = parse(options, arguments)
    out = expanded(settings.out) if settings.out else None

    from rgflow.photographs.codecs import CODECS, check_codecs
    from rgflow.photographs.tables import WRITERS, write

    if out and out.suffix not in WRITERS:
        raise ValueError(f"Expected --out to end in {', '.join(WRITERS)}; got {out.name}.")
    codecs = check_codecs(settings.codecs)
    if "all" in settings.codecs and len(codecs) < len(CODECS):
        say("JPEG XL is left out, as imagecodecs isn't installed: pip install 'rgflow[codecs]'.")

    from rgflow import trained
    from rgflow.outputs import hash_of
    from rgflow.photographs.collections import collection
    from rgflow.photographs.pictures import MAX_PIXELS
    from rgflow.photographs.scoring import check_windows
    from rgflow.training.optimisation import prepare_machine

    pictures = collection(settings.paths, download=settings.download)
    keep = adapting.check_keep(settings, len(pictures.groups))
    if keep and out:
        raise ValueError("Expected --keep without --out, whose rows are made once; got both.")
    prepare_machine()
    flow = trained.load(settings.model).flow
    check_windows(flow)
    matters = [codecs, settings.background, most(settings, MAX_PIXELS), settings.adapt]
    key = hash_of([trained.fingerprint(flow), matters])
    home = out.with_name(f"{out.name}.parts") if out else None
    files = [file for group in pictures.groups for file in group]
    what = [settings.model, settings.paths, matters]
    results = Outputs(
        out or Path(), files if out else [], what, overwrite=settings.overwrite, home=home
    )
    with results.guarded():
        if out:
            results.check(out)
        score = Score(flow, settings, codecs, keep)
        rows = collecting.each(settings, results, pictures, score, key=key)
        if out:
            write(out, rows)
    _show(rows, codecs, out)
    collecting.check_complete(rows)


@dataclass(frozen=True)
class Score:
    """What a flow and codecs need for a picture, by the settings of the command."""

    flow: Flow
    settings: Namespace
    codecs: Sequence[str]
    keep: Path | None = None
    """The folder for the flow that has learned the picture."""

    def __call__(self, given: Given) -> Made:
        """The row of a picture: `width`, `height` and `channels`; `bits` per dimension, and its
        share `level_0`, `level_1`, … of every level; bits per dimension of codecs; `note`.

        Raises:
            ValueError: If the picture can't be read, or doesn't fit the flow.
        """
        import torch

        from rgflow.photographs import codecs, scoring
        from rgflow.photographs.pictures import MAX_PIXELS, read
        from rgflow.photographs.prequential import score

        what = "what an earlier run found"
        passes, pixels = self.settings.adapt, most(self.settings, MAX_PIXELS)
        picture = read(given.file, self.settings.background, most=pixels)
        channels, height, width = picture.seen.shape
        if self.flow.config.channels < channels:
            raise ValueError("Expected a grey picture, as the model has one channel; got colours.")
        images = torch.from_numpy(picture.seen)[None]
        kept = given.kept
        done = {one["part"]: one["bits"] for one in (lines(kept, what) if kept else [])}
        with ExitStack() as stack:
            if kept:
                stack.enter_context(keeping(kept))
                stack.enter_context(writing(kept))
            file = stack.enter_context(kept.open("a")) if kept else None
            shown = stack.enter_context(bars())
            task = shown.add_task(Path(given.name).name, total=1.0)

            def progress(part: str, found: float, share: float) -> None:
                if file and part not in done:
                    file.write(json.dumps({"part": part, "bits": found}) + "\n")
                    file.flush()
                shown.update(task, completed=share)

            if passes:
                found, learned = score(self.flow, images[0], passes, done=done, progress=progress)
                if self.keep:
                    learned.save_pretrained(self.keep)
            else:
                found = scoring.bits(self.flow, images, done=done, progress=progress)
        dim = picture.seen.size
        row: dict[str, Any] = {"width": width, "height": height, "channels": channels}
        row["bits"] = found.total.item() / dim
        for level, share in enumerate((found.levels[0] / dim).tolist()):
            row[f"level_{level}"] = share
        row |= {name: 8 * codecs.size(name, picture.seen) / dim for name in self.codecs}
        return Made(row | ({"note": "; ".join(picture.notes)} if picture.notes else {}))


def _show(rows: Sequence[dict[str, Any]], codecs: Sequence[str], out: Path | None) -> None:
    """The first rows and the mean on the screen."""
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
