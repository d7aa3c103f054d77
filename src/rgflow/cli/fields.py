"""`rgflow fields`: which pixels the latents of a trained flow change, and how much."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rgflow.cli.parsing import Parser, parse, some
from rgflow.files import expanded, replacing, write_json, write_picture, writing
from rgflow.text import Screen, bar, say, table, with_error

if TYPE_CHECKING:
    from rich.table import Table

    from rgflow.analysis.fields import ReceptiveFields
    from rgflow.flow import Flow
    from rgflow.latents import Address
    from rgflow.lattice import Mask

SHOWN, TOLD = 8, 3
"""Strongest latents of each level in the picture, and on the screen."""


def run(arguments: Sequence[str]) -> None:
    """Parse, compute, write and draw."""
    options = Parser(
        "fields",
        "Receptive fields of the latents of a trained flow: which pixels each changes, and how "
        "much (paper, eq. 14).",
        "rgflow fields runs/first --beside runs/realnvp",
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
    options.word("beside", None, "another run to compare with")
    options.word("out", None, "output folder; by default that of the run")
    settings = parse(options, arguments)
    for other in ("level", "beside"):
        if settings.latents is not None and settings[other] is not None:
            raise ValueError(f"Expected --latents without --{other}; got both: leave one out.")

    from rgflow import figures, trained
    from rgflow.analysis.fields import receptive_fields

    names = [settings.run] + ([settings.beside] if settings.beside else [])
    models = {name: trained.load(name, settings.size) for name in names}
    results = {}
    for name, model in models.items():
        with bar(name, settings.draws) as progress:
            results[name] = receptive_fields(
                model.flow,
                **some(settings, "draws", "temperature", "seed", "space", "change"),
                sites=_sites(model.flow, settings.level, settings.latents),
                progress=progress,
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
    with writing(folder, into=True):
        for name, picture in drawn.items():
            own = name if name.startswith("atlas") else name + part
            write_picture(pictures / f"{own}.png", picture)
        for stem, (name, one) in zip(("fields", "beside"), results.items(), strict=False):
            _save(one, name, threshold, folder / f"{stem}{part}")
    for name, one in results.items():
        Screen().print(_table(name, one, threshold))
    say(
        f"Fields, strengths and errors are in {folder / f'fields{part}.safetensors'}, the "
        f"strongest in fields{part}.json in the same folder, {len(drawn)} pictures in {pictures}."
        + f" Those of {settings.beside} are in beside{part}.safetensors and beside{part}.json."
        * (len(results) > 1)
    )


def _sites(flow: Flow, level: int | None, latents: list[list[int]] | None) -> Mask | None:
    """The sites of the wanted latents; none: everywhere."""
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
    """The levels that have fields, the highest first."""
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
    """Write everything as safetensors, and a summary as JSON."""
    import json

    import torch
    from safetensors.torch import save_file

    names = ("space", "change", "temperature", "draws", "seed")
    how: dict[str, Any] = {"run": name, **{name: getattr(found, name) for name in names}}
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
    rows = []
    for level in _levels(found):
        values = found.of_level(level)
        visible = str(int((values > threshold).sum()))
        for k, ((_, i, j, c), strength, error) in enumerate(_strongest(found, level)[:TOLD]):
            start = ("", "", "") if k else (str(level), str(len(values)), visible)
            named = with_error(strength, math.nan if error is None else error)
            rows.append((*start, f"({i}, {j}, {c}): {named}"))
    column = "strongest (row, column, channel): strength ± error"
    return table(("level", "latents", f"strength > {threshold:g}", column), rows, name)
