"""`rgflow enlarge`: enlarge pictures of any size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from rgflow.checks import check_at_least
from rgflow.cli import adapting
from rgflow.cli.parsing import Parser, most, outputs, parse
from rgflow.outputs import Made, check_space, keeping
from rgflow.text import say, share_bar

if TYPE_CHECKING:
    from pathlib import Path

    from jsonargparse import Namespace

    from rgflow.flow import Flow
    from rgflow.photographs.collections import Given

MAX_RESULT = 250_000_000
"""Maximum number of pixels of a result, unless --limit is higher: 3 GB of memory."""


def run(arguments: Sequence[str]) -> None:
    """Parse, enlarge and write; a `ValueError` says a user's mistake."""
    from rgflow.cli import collecting

    options = Parser(
        "enlarge",
        "Enlarge pictures of any size. Their pixels are taken as averages of those of the results, "
        "as cameras and programs make small pictures. New pixels are the expected ones or, with "
        "--temperature, samples. After an interruption the same command continues; with --adapt, "
        "at the picture that it was at.",
        "rgflow enlarge small.png --factor 4 --temperature 0.6",
    )
    options.add_argument("pictures", nargs="+", type=str, help=collecting.WHAT)
    options.word(
        "reduced",
        None,
        "how the pictures were made: as averages, or of every second pixel (sites); none: as the "
        "coarse images of the model, and without one averages",
        ("averages", "sites"),
    )
    options.word(
        "model",
        None,
        "a model of photographs: its name or folder, or a run; none: photos-averages, or photos "
        "for sites",
    )
    options.number("factor", 2, "factor by which both edges grow: at most 8; for sites 2, 4 or 8")
    options.add_argument(
        "--noise",
        type=float | None,
        default=None,
        help="standard error of the pixels in grey levels, within which they may move before they "
        "are enlarged; none: 0, and for a JPEG what its compression explains",
    )
    options.add_argument(
        "--temperature", type=float | None, default=None, help="sample the finer levels at this T"
    )
    adapting.add_options(options)
    options.whole("seed", 0, "seed of the samples", least=0)
    options.word("background", "white", "the colour behind transparent pixels")
    options.limit()
    options.out("enlarged", "output folder")
    collecting.add_options(options)
    settings = parse(options, arguments)

    from rgflow import trained
    from rgflow.photographs.collections import collection
    from rgflow.photographs.enlarging import check_factor
    from rgflow.photographs.pictures import lossless_ending
    from rgflow.training.optimisation import prepare_machine

    if settings.noise is not None:
        check_at_least("--noise", settings.noise, 0)
    prepare_machine()
    usual = "photos" if settings.reduced == "sites" else "photos-averages"
    flow = trained.load(settings.model or usual).flow
    averages = flow.config.geometry.averages
    if settings.reduced not in (None, "averages" if averages else "sites"):
        raise ValueError(
            f"Expected a model whose coarse images are {settings.reduced}; those of "
            f"{settings.model} are {'averages' if averages else 'sites'}: leave out --reduced, or "
            f"use another --model."
        )
    check_factor(flow, settings.factor)
    pictures = collection(settings.pictures, download=settings.download)
    keep = adapting.check_keep(settings, len(pictures.groups))

    def names(number: int) -> list[str]:
        return [f"*{lossless_ending(pictures.groups[number][0])}"]

    results = outputs(settings, pictures.groups, trained.fingerprint(flow))
    with results.guarded():
        collecting.each(settings, results, pictures, Enlarge(flow, settings, keep), names)


@dataclass(frozen=True)
class Enlarge:
    """Enlarges pictures.

    Attributes:
        flow: A flow of photographs.
        settings: Of the command.
        keep: A folder for the model that has learned the picture.
    """

    flow: Flow
    settings: Namespace
    keep: Path | None = None

    @cached_property
    def _photos(self) -> Flow:
        from rgflow import trained

        return trained.load("photos").flow

    def __call__(self, given: Given) -> Made:
        """Enlarge one picture.

        Raises:
            ValueError: If it can't be read, or the result would be too large.
        """
        import torch

        from rgflow.cli.collecting import save, within
        from rgflow.photographs.denoising import denoise
        from rgflow.photographs.enlarging import enlarge
        from rgflow.photographs.pictures import MAX_PIXELS, read

        settings, source, kept = self.settings, given.source, given.kept
        assert source is not None
        path, pixels = source.path, most(settings, MAX_PIXELS)
        picture = read(given.file, settings.background, most=pixels)
        height, width = (round(settings.factor * size) for size in picture.size)
        largest = max(pixels, MAX_RESULT)
        if height * width > largest:
            raise ValueError(
                f"Expected a result of at most {largest / 1e6:.0f} megapixels; {path.name} would "
                f"have {height * width / 1e6:.0f}: use a smaller --factor, or raise --limit."
            )
        image = torch.from_numpy(picture.pixels(self.flow.config.channels))
        check_space(source.folder, 2 * math.ceil(settings.factor) ** 2 * image.nbytes)
        # Half of the rounding error of coefficients, as most of these are 0 anyway; chosen on
        # photographs of wallpapers.
        noise = picture.loss / 2 if settings.noise is None else settings.noise
        if noise:
            with share_bar(f"{path.name}, noise") as progress:
                three = image.expand(3, -1, -1)  # which photos has
                image = denoise(self._photos, three, noise, progress=progress)[: len(image)]
            say(f"{path.name}: its pixels moved within a standard error of {noise:.1f} levels.")
        flow = adapting.learned(self.flow, image, settings, path.name, self.keep)
        if settings.adapt:
            kept = None  # as what another flow has drawn can't be continued
        with share_bar(path.name) as progress, keeping(kept) if kept else nullcontext():
            large = enlarge(
                flow,
                image,
                settings.factor,
                temperature=settings.temperature,
                generator=given.generator(settings.seed),
                keep=kept,
                progress=progress,
            )
            averages = self.flow.config.geometry.averages
            out = picture.enlarged(large.cpu().numpy(), averages=averages)
            for note in out.notes:
                say(f"{path.name}: {note}.")
            made = Made({"width": width, "height": height})
            name = save(made, out.image, source.out(f"*{path.suffix}"))
        say(f"{path.name}: {width}×{height} pixels; see {name} in {source.folder}.")
        made.row["result"] = within(self.settings, source, name)
        return made
