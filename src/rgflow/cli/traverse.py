"""`rgflow traverse`: how images change while one of their latents is varied."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rgflow.cli import subjects
from rgflow.cli.full_size import Photograph, each, is_full_size
from rgflow.cli.parsing import Parser, parse
from rgflow.files import expanded
from rgflow.text import bar, say, share_bar, with_error

if TYPE_CHECKING:
    from jsonargparse import Namespace
    from torch import Tensor

    from rgflow.cli.subjects import Subjects
    from rgflow.latents import Address, Latents

PICK = range(2)
"""Images unless --pick says which."""


def run(arguments: Sequence[str]) -> None:
    """Parse, traverse and draw.

    Raises:
        ValueError: If an option is wrong, or pictures at full size have no --latent.
    """
    options = Parser(
        "traverse",
        "Vary one latent of some images, or the most visible latents of every level in turn. Show "
        "each receptive field beside the varied images.",
        "rgflow traverse runs/first --latent '[2, 0, 4, 1]' --range '[0, 6]'",
    )
    subjects.add_options(options, PICK, "traversal*")
    options.several(
        "latent",
        int,
        None,
        "[h, i, j, c]: level, position and channel; by default the most visible ones",
    )
    options.word(
        "direction",
        None,
        "vary a direction: the latents of one image, in a file written by Latents.save",
    )
    options.whole("strongest", 2, "number of most visible latents per level")
    options.several("range", float, [-3.0, 3.0], "the first and the last value")
    options.whole("values", 7, "values in the picture", 2, 100)
    options.word(
        "unit",
        "latent",
        "unit of these values: latent, or prior, the scale b or σ of the prior",
        ("latent", "prior"),
    )
    options.flag("add", "add the values to the latent instead of replacing it")
    options.whole("draws", 4, "draws of the latents over which receptive fields are averaged")
    settings = parse(options, arguments)
    _check(settings)

    import torch

    from rgflow.analysis.traversals import prior_scale

    model = subjects.load_model(settings)
    unit = prior_scale(model.flow) if settings.unit == "prior" else 1.0
    first, last = (unit * value for value in settings.range)
    values = torch.linspace(first, last, settings["values"], dtype=torch.float64).tolist()
    if is_full_size(settings, model):
        if settings.latent is None:
            raise ValueError(
                "Expected --latent '[h, i, j, c]', level, pixel position and channel, for pictures "
                "at full size; got none."
            )
        names = [f"{_which(settings)}-{number}" for number in range(1, len(values) + 1)]
        groups = [[expanded(name)] for name in settings.images]
        each(
            settings,
            model,
            groups,
            lambda _: names,
            lambda one: _at_full_size(one, names, values, settings),
        )
    else:
        _draw(subjects.load(settings, model), values, settings)


def _check(settings: Namespace) -> None:
    subjects.check(settings, PICK)
    if settings.latent is not None and len(settings.latent) != 4:
        raise ValueError(
            f"Expected --latent to be [h, i, j, c], level, position and channel; "
            f"got {settings.latent}."
        )
    if settings.latent is not None and settings.direction is not None:
        raise ValueError("Expected --latent or --direction; got both: leave one out.")
    if len(settings.range) != 2:
        raise ValueError(f"Expected --range to be [first, last]; got {settings.range}.")


def _draw(found: Subjects, values: Sequence[float], settings: Namespace) -> None:
    """Compute, draw and write everything."""
    from rgflow.analysis.traversals import traverse
    from rgflow.figures.traversals import Shown, traversals

    varied, how = _varied(found, settings)
    total = len(varied) * len(found.latents) * len(values)
    shown = list[Shown]()
    with bar("traversing", total) as progress:
        for along, field, title, note in varied:
            way = traverse(
                found.flow, found.latents, along, values, add=settings.add, progress=progress
            )
            shown.append(Shown(found.drawn(way), values, field, title, note))
    found.save(traversals(shown, scale=found.scale), f"{_stem(settings)}.png")
    for _, _, title, note in varied:
        say(f"{title}: {note}")
    say(f"Strengths are those of receptive fields: {how}.")
    say(f"See {subjects.file_names(found.written)}.")


def _varied(
    found: Subjects, settings: Namespace
) -> tuple[list[tuple[Address | Latents, Tensor, str, str]], str]:
    """What is varied: each with its receptive field, its title, and a note on the field; and how
    fields were found."""
    from rgflow.analysis.fields import how_found, receptive_fields, sites_of
    from rgflow.analysis.traversals import field_along
    from rgflow.figures.traversals import labels
    from rgflow.latents import Latents

    flow, draws = found.flow, settings.draws
    if settings.direction is not None:
        direction = Latents.load(settings.direction).to(flow.dtype, found.latents.levels[-1].device)
        along = field_along(flow, direction, draws=draws)
        note = f"strength {with_error(along.strength, along.error)}"
        title = Path(settings.direction).stem
        return [(direction, along.field, title, note)], how_found(along)
    wanted = [tuple(settings.latent)] if settings.latent else []
    with bar("receptive fields", draws) as progress:
        sites = sites_of(flow, wanted) if wanted else None
        fields = receptive_fields(flow, draws=draws, sites=sites, progress=progress)
    for level in () if wanted else fields.levels:
        wanted += fields.strongest(settings.strongest, level)
    return [
        (address, fields.field(address), *labels(fields, address)) for address in wanted
    ], how_found(fields)


def _stem(settings: Namespace) -> str:
    """How the names of the files begin."""
    if settings.direction is not None:
        return f"traversal-{Path(settings.direction).stem}"
    if settings.latent is not None:
        return f"traversal-{'-'.join(map(str, settings.latent))}"
    return "traversals"


def _which(settings: Namespace) -> str:
    """The latent that is varied, as part of a name."""
    return f"latent-{'-'.join(map(str, settings.latent))}"


def _at_full_size(
    one: Photograph, names: Sequence[str], values: Sequence[float], settings: Namespace
) -> None:
    """A photograph with one of its latents at several values."""
    from rgflow.photographs.changing import vary

    with share_bar(f"{one.name}, traversing") as progress:
        for number, (name, value) in enumerate(zip(names, values, strict=True), 1):
            new, _ = vary(one.flow, one.image, tuple(settings.latent), value, add=settings.add)
            one.save(new, name)
            progress(number / len(values))
    written = subjects.file_names(one.written)
    say(f"{one.name} with the latent at {values[0]:g} to {values[-1]:g}: see {written}.")
