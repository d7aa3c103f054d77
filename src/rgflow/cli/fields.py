"""`rgflow fields`: which pixels the latents of a trained flow change, and how much."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rgflow.cli import subjects
from rgflow.cli.parsing import Parser, parse, some
from rgflow.files import write_json, write_picture, writing
from rgflow.text import Screen, bar, say, table

if TYPE_CHECKING:
    from rgflow.flow import Flow
    from rgflow.lattice import Mask

STRONGEST = 8
"""Strongest latents of each level in the picture, and in the table of results."""


def run(arguments: Sequence[str]) -> None:
    """Parse, compute, write and draw.

    Raises:
        ValueError: If an option is wrong, or options don't fit together.
    """
    options = Parser(
        "fields",
        "Receptive fields of the latents of a trained flow: which pixels each changes, and how "
        "much (paper, eq. 14).",
        "rgflow fields runs/first --draws 4",
    )
    options.model()
    options.whole("level", None, "only this level; by default all", least=0)
    options.several(
        "latents",
        list[int],
        None,
        "only these, such as '[[1, 2, 0, 1]]': level, row, column, channel",
    )
    options.word(
        "space",
        None,
        "flow (its own space, before the pixel map) or pixels; the default depends on --change",
    )
    options.word(
        "change",
        None,
        "derivative, or the change when a latent is resampled (redraw) or moved by 1 (step); the "
        "default depends on the flow",
    )
    options.whole("draws", 16, "draws of the latents to average over")
    options.temperature(help="of the draws: one number, or one per level, level 0 first")
    options.whole("seed", 0, "seed; draw k has seed + k", least=0)
    options.number("threshold", 1.0, "strength above which a latent is visible", least=0)
    options.word("out", None, "output folder; by default that of the run")
    settings = parse(options, arguments)
    if settings.latents is not None and settings.level is not None:
        raise ValueError("Expected --latents or --level; got both: leave one out.")

    from rgflow import figures
    from rgflow.analysis.fields import receptive_fields
    from rgflow.report.tables import strengths

    model = subjects.load_model(settings)
    with bar("receptive fields", settings.draws) as progress:
        found = receptive_fields(
            model.flow,
            **some(settings, "draws", "temperature", "seed", "space", "change"),
            sites=_sites(model.flow, settings.level, settings.latents),
            progress=progress,
        )
    results, threshold = {settings.run: found}, settings.threshold
    part = "-latents" if settings.latents else ""
    if settings.level is not None:
        part = f"-level{settings.level}"
    if settings.latents:
        drawn = {f"fields{part}": figures.maps(found, [tuple(a) for a in settings.latents])}
    else:
        drawn = {
            f"fields{part}": figures.strongest(results, STRONGEST, threshold),
            f"strengths{part}": figures.strengths(results, threshold),
        }
        for level in found.levels:
            drawn[f"atlas-level{level}"] = figures.atlas(found, level, threshold)
    folder, pictures = model.results, model.pictures
    with writing(folder, into=True):
        for name, picture in drawn.items():
            write_picture(pictures / f"{name}.png", picture)
        path = folder / f"fields{part}.safetensors"
        found.save(path, run=settings.run)
        about = {"run": settings.run, **found.how(), "threshold": threshold}
        levels = found.summary(STRONGEST, threshold)
        write_json(path.with_suffix(".json"), about | {"levels": levels})
    shown = strengths(found, threshold, settings.run)
    Screen().print(table(shown.head, shown.rows, shown.title))
    say(
        f"Fields, strengths and errors are in {path}, the strongest in fields{part}.json in the "
        f"same folder, {len(drawn)} pictures in {pictures}."
    )


def _sites(flow: Flow, level: int | None, latents: list[list[int]] | None) -> Mask | None:
    """The sites of the wanted latents; none: everywhere."""
    from rgflow.analysis.fields import sites_of

    if level is not None:
        flow.lattice.check_level(level)
        return flow.lattice.site_levels == level
    if latents is None:
        return None
    for address in latents:
        if len(address) != 4:
            raise ValueError(
                f"Expected level, row, column and channel of every latent; got {address}."
            )
    return sites_of(flow, [(h, i, j, c) for h, i, j, c in latents])
