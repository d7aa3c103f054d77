"""`rgflow fields`: which pixels the latents of a trained flow change, and how much."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rgflow.cli.parsing import parse, parser
from rgflow.files import expanded
from rgflow.text import Screen, bars, say

if TYPE_CHECKING:
    from rich.table import Table

    from rgflow.analysis.fields import ReceptiveFields
    from rgflow.flow import Flow
    from rgflow.latents import Address
    from rgflow.lattice import Mask

SHOWN, TOLD = 8, 3
"""Strongest latents of each level: how many are drawn, and how many are named on the screen."""


def run(arguments: Sequence[str]) -> None:
    """Parse, compute, write and draw."""
    options = parser(
        "fields",
        "Receptive fields of the latents of a trained flow: which pixels each changes, and how "
        "much (paper, eq. 14).",
        "rgflow fields runs/first --beside runs/realnvp",
    )
    options.add_argument("run", help="a run folder, or a model: its folder or name")
    options.add_argument("--level", type=int | None, default=None, help="only this level; all")
    options.add_argument(
        "--latents",
        type=list[list[int]] | None,
        default=None,
        help="only these, such as '[[1, 2, 0, 1]]': level, row, column, channel",
    )
    options.add_argument(
        "--space",
        type=str | None,
        default=None,
        help="flow (its own space, before the pixel map), or pixels; what suits --change",
    )
    options.add_argument(
        "--change",
        type=str | None,
        default=None,
        help="derivative; or what changes if a latent is drawn anew (redraw) or moved by 1 (step); "
        "what suits the flow",
    )
    options.add_argument("--draws", type=int, default=16, help="latents drawn, to average over")
    options.add_argument(
        "--temperature",
        type=float | list[float],
        default=1.0,
        help="of the draws: one number, or one per level, level 0 first",
    )
    options.add_argument("--seed", type=int, default=0, help="seed; draw k has seed + k")
    options.add_argument(
        "--threshold", type=float, default=1.0, help="strength above which a latent is visible"
    )
    options.add_argument(
        "--beside", type=str | None, default=None, help="another run to compare with"
    )
    options.add_argument("--out", type=str | None, default=None, help="folder; that of the run")
    settings = parse(options, arguments)

    from rgflow.config import check_at_least

    check_at_least("--threshold", settings.threshold, 0)
    for other in ("level", "beside"):
        if settings.latents is not None and settings[other] is not None:
            raise ValueError(f"Expected --latents without --{other}; got both: leave one out.")

    from rgflow import figures, trained
    from rgflow.analysis.fields import receptive_fields

    names = [settings.run] + ([settings.beside] if settings.beside else [])
    models = {name: trained.load(name) for name in names}
    results = {}
    with bars() as progress:
        for name, model in models.items():
            task = progress.add_task(name, total=settings.draws)
            results[name] = receptive_fields(
                model.flow,
                draws=settings.draws,
                temperature=settings.temperature,
                seed=settings.seed,
                space=settings.space,
                change=settings.change,
                sites=_sites(model.flow, settings.level, settings.latents),
                progress=partial(progress.advance, task),
            )
    found, threshold = results[settings.run], settings.threshold
    folder = expanded(settings.out) if settings.out else models[settings.run].folder
    pictures = folder if settings.out else folder / "pictures"
    part = "-latents" if settings.latents else ""
    if settings.level is not None:
        part = f"-level{settings.level}"
    if settings.latents:
        drawn = {"fields": figures.maps(found, [tuple(a) for a in settings.latents])}
    else:
        drawn = {
            "fields": figures.strongest(results, SHOWN, threshold),
            "strengths": figures.strengths(results, threshold),
        }
        for level in _levels(found):
            drawn[f"atlas-level{level}"] = figures.atlas(found, level, threshold)
    try:
        pictures.mkdir(parents=True, exist_ok=True)
        for name, picture in drawn.items():
            own = name if name.startswith("atlas") else name + part
            picture.save(pictures / f"{own}.png")
        for stem, (name, one) in zip(("fields", "beside"), results.items(), strict=False):
            _save(one, name, threshold, folder / f"{stem}{part}")
    except OSError as error:
        raise OSError(f"Expected to write into {folder}; {error.strerror or error}.") from error
    for name, one in results.items():
        Screen().print(_table(name, one, threshold))
    say(
        f"Fields, strengths and errors are in {folder / f'fields{part}.safetensors'}, the "
        f"strongest in fields{part}.json there, {len(drawn)} pictures in {pictures}."
        + f" Those of {settings.beside} are in beside{part}.safetensors and beside{part}.json."
        * (len(results) > 1)
    )


def _sites(flow: Flow, level: int | None, latents: list[list[int]] | None) -> Mask | None:
    """Where the latents are that were asked for; none: everywhere."""
    if level is not None:
        flow.lattice.check_level(level)
        return flow.lattice.site_levels == level
    if latents is None:
        return None
    z, sites = flow.draw_each([0]), flow.lattice.site_levels < 0
    for address in latents:
        if len(address) != 4:
            raise ValueError(
                f"Expected level, row, column and channel of every latent; got {address}."
            )
        h, i, j, c = address
        _ = z[h, i, j, c]  # a ValueError if there is no such latent
        sites |= flow.lattice.site(h, i, j)
    return sites


def _levels(found: ReceptiveFields) -> list[int]:
    """The levels of which there are fields, the highest first."""
    return [h for h in reversed(range(found.lattice.levels)) if len(found.fields[h])]


def _strongest(found: ReceptiveFields, level: int) -> list[tuple[Address, float, float | None]]:
    """The strongest latents of a level, with strengths and errors."""
    rows = []
    for address in found.strongest(SHOWN, level):
        _, i, j, c = address
        error = found.errors[c, i, j].item()
        strength = found.strengths[c, i, j].item()
        rows.append((address, strength, None if math.isnan(error) else error))
    return rows


def _save(found: ReceptiveFields, name: str, threshold: float, path: Path) -> None:
    """Write everything as safetensors, and what is told of it as JSON."""
    import json

    import torch
    from safetensors.torch import save_file

    from rgflow.files import replacing, write_json

    how: dict[str, Any] = {
        "run": name,
        "space": found.space,
        "change": found.change,
        "temperature": found.temperature,
        "draws": found.draws,
        "seed": found.seed,
    }
    tensors = {"strengths": found.strengths, "errors": found.errors}
    for level in _levels(found):
        windows = found.windows[level]
        tensors[f"fields{level}"] = found.fields[level]
        tensors[f"addresses{level}"] = torch.from_numpy(windows.addresses)
        tensors[f"rows{level}"] = windows.rows
        tensors[f"columns{level}"] = windows.columns
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with replacing(path.with_suffix(".safetensors")) as part:
        save_file(whole, part, metadata={"how": json.dumps(how)})
    levels = [
        {
            "level": level,
            "latents": len(found.fields[level]),
            "visible": int((found.of_level(level) > threshold).sum()),
            "strongest": [
                {"address": address, "strength": strength, "standard_error": error}
                for address, strength, error in _strongest(found, level)
            ],
        }
        for level in _levels(found)
    ]
    content = {**how, "threshold": threshold, "levels": levels}
    write_json(path.with_suffix(".json"), content)


def _table(name: str, found: ReceptiveFields, threshold: float) -> Table:
    """Visible latents of every level, and the strongest."""
    from rich.table import Table
    from rich.text import Text

    from rgflow.text import with_error

    table = Table("level", title=name, title_justify="left")
    table.add_column("latents", justify="right")
    table.add_column(f"strength > {threshold:g}", justify="right")
    table.add_column("strongest (row, column, channel): strength ± error")
    for level in _levels(found):
        values = found.of_level(level)
        first = []
        for (_, i, j, c), strength, error in _strongest(found, level)[:TOLD]:
            told = with_error(strength, math.nan if error is None else error)
            first.append(f"({i}, {j}, {c}): {told}")
        table.add_row(
            str(level),
            str(len(values)),
            str(int((values > threshold).sum())),
            Text("\n".join(first)),
        )
    return table
