"""`rgflow mix`: combine coarse levels of one image with fine levels of another."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING

from rgflow.checks import check_whole
from rgflow.cli import subjects
from rgflow.cli.full_size import Photograph, each, is_full_size
from rgflow.cli.parsing import Parser, most, parse
from rgflow.files import expanded
from rgflow.text import bar, say, share_bar

if TYPE_CHECKING:
    from jsonargparse import Namespace
    from torch import Tensor

    from rgflow.cli.subjects import Subjects
    from rgflow.latents import Latents

PICK = range(6)
"""Images unless --pick says which."""
THRESHOLD = 3
"""Levels that mixtures of photographs take from the other one, unless an option says."""


def run(arguments: Sequence[str]) -> None:
    """Parse, mix and draw."""
    options = Parser(
        "mix",
        "Mix images by level: the first two for every threshold Θ, both ways, and all pairs of "
        "images at one Θ.",
        "rgflow mix runs/first --pick '[3, 8, 12]' --threshold 2",
    )
    subjects.add_options(options, PICK, "mixed.png", "mixing*")
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
    settings = parse(options, arguments)
    subjects.check(settings, PICK)
    model = subjects.load_model(settings)
    if is_full_size(settings, model):
        _check_several(settings.images)
        first, *others = map(expanded, settings.images)
        each(
            settings,
            model,
            [[first, other] for other in others],
            lambda number: [f"with-{others[number].stem}"],
            lambda one: _at_full_size(one, others[one.source.number], settings),
        )
    else:
        _draw(subjects.load(settings, model), settings)


def _check_several(images: Sized) -> None:
    if len(images) < 2:
        raise ValueError("Expected at least two images to mix; got one.")


def _draw(found: Subjects, settings: Namespace) -> None:
    """Compute, draw and write everything."""
    from rgflow.analysis import mixing
    from rgflow.analysis.levels import decode
    from rgflow.figures.mixing import between, mixing_grid, thresholds

    flow, z, scale = found.flow, found.latents, found.scale
    levels, n = flow.levels, len(z)
    _check_several(z)
    threshold = levels - 1 if settings.threshold is None else settings.threshold
    every = mixing.every_threshold(levels)
    total = n + n * n + 2 * len(every)
    first, second = (z.select(slice(k, k + 1)) for k in (0, 1))
    with bar("mixing", total) as progress:

        def mixed(a: Latents, b: Latents, shares: Sequence[Sequence[float]]) -> Tensor:
            return found.drawn(mixing.mix(flow, a, b, shares, progress=progress))

        if settings.share is not None:
            mixture = mixed(first, second, [every[0], settings.share, every[-1]])
            found.save(between(mixture[0], scale=scale), "mixed.png")
        grid = found.drawn(mixing.mixing_grid(flow, z, z, threshold, progress=progress))
        images = found.drawn(decode(flow, z, progress=progress))
        found.save(mixing_grid(grid, images, images, threshold, scale=scale), "mixing-grid.png")
        picture = thresholds(mixed(first, second, every), mixed(second, first, every), scale=scale)
        found.save(picture, "mixing.png")
    say(f"{n} images mixed: see {subjects.file_names(found.written)}.")


def _at_full_size(first: Photograph, path: Path, settings: Namespace) -> None:
    """The first photograph with the fine levels of another one."""
    import torch

    from rgflow.photographs.changing import fitted, mix
    from rgflow.photographs.pictures import MAX_PIXELS, read

    count, name = first.flow.levels, path.name
    threshold = THRESHOLD if settings.threshold is None else settings.threshold
    check_whole("--threshold", threshold, 0, count)
    shares = [1.0] * threshold if settings.share is None else settings.share
    if len(shares) > count:
        raise ValueError(
            f"Expected at most {count} values of --share, one for each level of {first.name}; got "
            f"{len(shares)}."
        )
    other = read(path, most=most(settings, MAX_PIXELS)).pixels(len(first.image))
    pixels = fitted(other, *first.picture.size)
    with share_bar(f"{first.name}, mixed with {name}") as progress:
        mixed = mix(first.flow, first.image, torch.from_numpy(pixels), shares, progress=progress)
    first.save(mixed, f"with-{path.stem}")
    if pixels.shape != other.shape:
        say(f"{name}: cropped and resized to the size of {first.name}.")
    say(f"{first.name} mixed with {name}: see {subjects.file_names(first.written)}.")
