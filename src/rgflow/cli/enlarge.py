"""`rgflow enlarge`: enlarge pictures of any size."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence

from rgflow.checks import check_name
from rgflow.cli.parsing import Parser, parse
from rgflow.files import expanded
from rgflow.text import say, share_bar


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
    options.word("out", "enlarged", "output folder")
    settings = parse(options, arguments)

    import torch

    from rgflow import trained
    from rgflow.photographs.enlarging import FACTORS, enlarge
    from rgflow.photographs.pictures import MAX_PIXELS, named, read, write
    from rgflow.photographs.scoring import has_averages
    from rgflow.training.optimisation import prepare_machine

    check_name("--factor", str(settings.factor), [str(factor) for factor in FACTORS])
    prepare_machine()
    flow = trained.load(settings.model).flow
    for name in settings.pictures:
        path = expanded(name)
        picture = read(path, settings.background)
        height, width = (settings.factor * size for size in picture.size)
        if height * width > MAX_PIXELS:
            raise ValueError(
                f"Expected a result of at most {MAX_PIXELS / 1e6:.0f} megapixels; {path.name} "
                f"would have {height * width / 1e6:.0f}: use a smaller --factor."
            )
        image = torch.from_numpy(picture.pixels(flow.config.channels))
        folder = expanded(settings.out)
        same = [trained.fingerprint(flow), settings.factor, settings.temperature, settings.seed]
        mark = hashlib.sha256(repr(same).encode() + picture.seen.tobytes()).hexdigest()[:16]
        keep = folder / f".{path.stem}-{mark}"
        with share_bar(path.name) as progress:
            large = enlarge(
                flow,
                image,
                settings.factor,
                temperature=settings.temperature,
                generator=torch.Generator().manual_seed(settings.seed),
                keep=keep,
                progress=progress,
            )
        out = picture.enlarged(large.cpu().numpy(), averages=has_averages(flow))
        for note in out.notes:
            say(f"{path.name}: {note}.")
        written = write(out.image, named(out.image, folder / path.name))
        shutil.rmtree(keep)
        say(f"{path.name}: {width}×{height} pixels; see {written.name} in {written.parent}.")
