"""`rgflow levels`: images from coarse to fine, what each level holds, and temperatures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rgflow.checks import check_at_least, check_whole, per_level
from rgflow.cli import subjects
from rgflow.cli.full_size import Photograph, photographs
from rgflow.cli.parsing import Parser, parse
from rgflow.text import bar, say, share_bar

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from rgflow.cli.subjects import Subjects


PICK = range(4)
"""Images unless --pick says which."""
DRAWS = 6
"""Draws of each level's latents."""
FINEST = 5
"""Finest levels of a photograph that are shown: coarser ones change the whole picture."""


def run(arguments: Sequence[str]) -> None:
    """Parse, compute and draw.

    Raises:
        ValueError: If an option is wrong, or options don't fit together.
    """
    options = Parser(
        "levels",
        "Images level by level: from coarse to fine, with each level resampled while the others "
        "stay, and samples at a grid of temperatures.",
        "rgflow levels runs/first --pick '[0, 1, 2]' --draws 6",
    )
    subjects.add_options(options, PICK)
    options.whole("draws", None, "draws of each level's latents; 6, or 1 at full size")
    options.whole("seed", 1000, "seed of these draws", least=0)
    options.several(
        "temperatures",
        float,
        [0.2, 0.4, 0.6, 0.8, 1.0],
        "temperatures of a grid, low levels against high levels",
    )
    options.add_argument("--split_at", type=int, default=1, help="first high level of the grid")
    settings = parse(options, arguments)
    subjects.check(settings, PICK, drawn=True)
    if not settings.temperatures:
        raise ValueError("Expected at least one temperature; got --temperatures [].")
    for temperature in settings.temperatures:
        check_at_least("--temperatures", temperature, 0)
    model = subjects.load_model(settings)
    if pictures := photographs(settings, model):
        for one in pictures:
            _at_full_size(one, settings)
    else:
        settings.draws = settings.draws or DRAWS
        _draw(subjects.load(settings, model), settings)


def _draw(found: Subjects, settings: Namespace) -> None:
    """Compute, draw and write everything."""
    import torch

    from rgflow.analysis.levels import at_temperatures, decode, mixed_temperature, resample
    from rgflow.figures.levels import mixed_temperatures, progressive, resampled

    flow, z, scale = found.flow, found.latents, found.scale
    hot = settings.temperatures
    several = flow.levels > 1  # otherwise there is none to be hotter than another
    if several:
        check_whole("--split_at", settings.split_at, 1, flow.levels - 1)
    pairs = [mixed_temperature(flow.levels, settings.split_at, t, u) for t in hot for u in hot]
    seeds = settings.pick if found.sampled and several else []
    total = len(z) * (1 + settings.draws * flow.levels) + len(seeds) * len(pairs)
    with torch.no_grad():
        stages = [found.drawn(stage).cpu() for stage in flow.coarse(z)]
    picture = progressive(stages, scale=scale, coarse_first=found.sampled)
    found.save(picture, "progressive.png" if found.sampled else "coarse-grained.png")
    with bar("levels", total) as progress:
        redrawn = resample(
            flow,
            z,
            draws=settings.draws,
            temperature=found.temperature,
            seed=settings.seed,
            progress=progress,
        )
        images = found.drawn(decode(flow, z, progress=progress))
        found.save(resampled(images, found.drawn(redrawn), scale=scale), "resampled.png")
        if seeds:
            mixed = found.drawn(at_temperatures(flow, seeds, pairs, progress=progress))
            picture = mixed_temperatures(mixed, hot, hot, settings.split_at, scale=scale)
            found.save(picture, "temperatures.png")
    say(f"{len(z)} images level by level: see {subjects.file_names(found.written)}.")


def _at_full_size(one: Photograph, settings: Namespace) -> None:
    """A photograph from coarse to fine, and with each of its finest levels redrawn."""
    import torch

    from rgflow.analysis.traversals import fig6_temperature
    from rgflow.photographs.changing import coarse, draw_level

    count = one.flow.levels
    temperature = settings.temperature
    temperature = fig6_temperature(count) if temperature is None else temperature
    of_level = per_level("temperature", temperature, count)
    finest = range(min(FINEST, count))
    for level in finest[1:]:
        small = coarse(one.flow, one.image.numpy(), level)
        one.save(torch.from_numpy(small), f"level-{level}")
    for level in finest:
        for number in range(settings.draws or 1):
            generator = torch.Generator().manual_seed(settings.seed + number)
            with share_bar(f"{one.path.name}, level {level}") as progress:
                new = draw_level(
                    one.flow, one.image, level, temperature=of_level[level],
                    generator=generator, progress=progress,
                )  # fmt: skip
            one.save(new, f"level-{level}-drawn-{number + 1}")
    written = subjects.file_names(one.written)
    say(f"{one.path.name} level by level, the finest {len(finest)}: see {written}.")
