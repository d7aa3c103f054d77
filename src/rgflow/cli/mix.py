"""`rgflow mix`: combine coarse levels of one image with fine levels of another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rgflow.cli import full_size, subjects
from rgflow.cli.parsing import Parser, parse
from rgflow.files import writing
from rgflow.text import bar, say

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from rgflow.analysis import mixing
    from rgflow.cli.subjects import Subjects
    from rgflow.latents import Latents

PICK = range(6)
"""Images unless --pick says which."""
STEPS = 8
"""Steps of the path level by level, for each level."""


def run(arguments: Sequence[str]) -> None:
    """Parse, mix and draw."""
    options = Parser(
        "mix",
        "Mix images by level: the first two for every threshold Θ, both ways, and along paths "
        "from one to the other; and all pairs of images at one Θ.",
        "rgflow mix runs/first --pick '[3, 8, 12]' --threshold 2",
    )
    subjects.add_options(options, PICK)
    options.whole(
        "threshold",
        None,
        "Θ of the grid of all images: levels from Θ up come from the image above, the others from "
        "the image on the left; by default the highest level, or 3 for photographs at full size, "
        "where the first is mixed with each of the others",
        least=0,
    )
    options.several(
        "share",
        float,
        None,
        "also mix the first two with this share λ of the second at each level, level 0 first",
    )
    subjects.add_video(options, "the paths")
    settings = parse(options, arguments)
    subjects.check(settings, PICK)
    subjects.check_video(settings.video)
    if pictures := full_size.opened(settings):
        full_size.mix(pictures, settings)
    else:
        _draw(subjects.load(settings), settings)


def _draw(found: Subjects, settings: Namespace) -> None:
    """Compute, draw and write everything."""
    from rgflow.analysis import mixing
    from rgflow.analysis.levels import decode
    from rgflow.figures.animations import animate
    from rgflow.figures.mixing import mixing_grid, path_frames, thresholds

    flow, z, scale = found.flow, found.latents, found.scale
    levels, n = flow.levels, len(z)
    if n < 2:
        raise ValueError("Expected at least two images to mix; got one.")
    threshold = levels - 1 if settings.threshold is None else settings.threshold
    every = mixing.every_threshold(levels)
    ways = {
        "all levels at once": mixing.straight(levels, STEPS * levels),
        "level by level": mixing.level_by_level(levels, STEPS),
    }
    moving = settings.video != "none"
    total = n + n * n + 2 * len(every) + moving * sum(map(len, ways.values()))
    first, second = (z.select(slice(k, k + 1)) for k in (0, 1))
    written = []
    with bar("mixing", total) as progress:

        def mixed(a: Latents, b: Latents, shares: Sequence[Sequence[float]]) -> mixing.Mixtures:
            return found.shaded(mixing.mix(flow, a, b, shares, progress=progress))

        if settings.share is not None:
            own = mixed(first, second, [every[0], settings.share, every[-1]])
            picture = path_frames({"mixture": own}, scale=scale)[1]
            written.append(found.save(picture, "mixed.png"))
        grid = found.drawn(mixing.mixing_grid(flow, z, z, threshold, progress=progress))
        images = found.drawn(decode(flow, z, progress=progress))
        picture = mixing_grid(grid, images, images, threshold, scale=scale)
        written.append(found.save(picture, "mixing-grid.png"))
        picture = thresholds(mixed(first, second, every), mixed(second, first, every), scale=scale)
        written.append(found.save(picture, "mixing.png"))
        if moving:
            paths = {name: mixed(first, second, shares) for name, shares in ways.items()}
            with writing(found.folder / f"mixing.{settings.video}") as path:
                animate(path_frames(paths, scale=scale), path)
            written.append(path)
    say(f"{n} images mixed: see {subjects.listed(written)}.")
