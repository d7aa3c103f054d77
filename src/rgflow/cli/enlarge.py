"""`rgflow enlarge`: enlarge pictures of any size."""

from __future__ import annotations

from collections.abc import Sequence

from rgflow.checks import check_name
from rgflow.cli.parsing import Parser, most, outputs, parse
from rgflow.files import expanded
from rgflow.outputs import Source, check_space, keeping
from rgflow.text import say, share_bar

MAX_RESULT = 250_000_000
"""Maximum number of pixels of a result, unless --limit is higher: 3 GB of memory."""


def run(arguments: Sequence[str]) -> None:
    """Parse, enlarge and write; a `ValueError` says a user's mistake."""
    options = Parser(
        "enlarge",
        "Enlarge pictures of any size. Their pixels are kept, and the model adds finer levels: "
        "the expected ones or, with --temperature, samples. After an interruption the same command "
        "continues.",
        "rgflow enlarge small.png --factor 4 --temperature 0.6",
    )
    options.add_argument("pictures", nargs="+", type=str, help="picture files of any size and mode")
    options.word("model", "photos", "a model of photographs: its name or folder, or a run")
    options.whole("factor", 2, "factor by which both edges grow: 2, 4 or 8")
    options.add_argument(
        "--temperature", type=float | None, default=None, help="sample the finer levels at this T"
    )
    options.whole("seed", 0, "seed of the samples", least=0)
    options.word("background", "white", "the colour behind transparent pixels")
    options.limit()
    options.out("enlarged", "output folder")
    settings = parse(options, arguments)

    import torch

    from rgflow import trained
    from rgflow.photographs.enlarging import FACTORS, enlarge
    from rgflow.photographs.pictures import LOSSLESS, MAX_PIXELS, named, read, write
    from rgflow.training.optimisation import prepare_machine

    check_name("--factor", str(settings.factor), [str(factor) for factor in FACTORS])
    prepare_machine()
    flow = trained.load(settings.model).flow
    pixels = most(settings, MAX_PIXELS)

    def names(number: int) -> list[str]:
        ending = groups[number][0].suffix
        return [f"*{ending if ending.lower() in LOSSLESS else '.png'}"]

    def work(source: Source) -> None:
        path = source.path
        picture = read(path, settings.background, most=pixels)
        height, width = (settings.factor * size for size in picture.size)
        largest = max(pixels, MAX_RESULT)
        if height * width > largest:
            raise ValueError(
                f"Expected a result of at most {largest / 1e6:.0f} megapixels; {path.name} would "
                f"have {height * width / 1e6:.0f}: use a smaller --factor, or raise --limit."
            )
        results.check(named(picture.image, source.out(f"*{path.suffix}")))
        image = torch.from_numpy(picture.pixels(flow.config.channels))
        check_space(source.folder, 2 * settings.factor**2 * image.nbytes)
        source.folder.mkdir(parents=True, exist_ok=True)
        keep = source.out(f".*.{source.key[:16]}.kept")
        with share_bar(path.name) as progress, keeping(keep):
            large = enlarge(
                flow,
                image,
                settings.factor,
                temperature=settings.temperature,
                generator=torch.Generator().manual_seed(settings.seed),
                keep=keep,
                progress=progress,
            )
            out = picture.enlarged(large.cpu().numpy(), averages=flow.config.geometry.averages)
            for note in out.notes:
                say(f"{path.name}: {note}.")
            written = write(out.image, named(out.image, source.out(f"*{path.suffix}")))
        say(f"{path.name}: {width}×{height} pixels; see {written.name} in {written.parent}.")

    groups = [[expanded(name)] for name in settings.pictures]
    results = outputs(settings, groups, trained.fingerprint(flow))
    with results.guarded():
        results.each(results.sources(groups, names), work)
