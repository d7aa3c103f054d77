"""`rgflow repair`: repair damage in pictures of any size."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rgflow.checks import check_name
from rgflow.cli import adapting, regions
from rgflow.cli.parsing import Parser, most, outputs, parse
from rgflow.files import expanded
from rgflow.outputs import check_space
from rgflow.text import bars, many, say, share_bar

if TYPE_CHECKING:
    from jsonargparse import Namespace
    from torch import Tensor

    from rgflow.cells import Mask
    from rgflow.flow import Flow
    from rgflow.outputs import Outputs, Source
    from rgflow.photographs.pictures import Picture


def run(arguments: Sequence[str]) -> None:
    """Parse, repair and write; a `ValueError` says a user's mistake."""
    options = Parser(
        "repair",
        "Repair pictures of any size: scratches, dust, dead pixels, text, missing patches. Without "
        "--mask or --box, it looks for damage. All other pixels stay as they are. The same command "
        "again skips pictures that are done.",
        "rgflow repair scan.png --mask scratches.png",
    )
    options.add_argument(
        "pictures",
        nargs="+",
        type=str,
        help="picture files of any size and mode; or example:scratches, example:text, example:dust",
    )
    options.word("model", "photos", "a model of photographs: its name or folder, or a run")
    regions.add_options(options)
    options.number(
        "sensitivity",
        0.3,
        "from 0 to 1: marks what is damaged with a probability above 1 − sensitivity",
        0,
        1,
    )
    adapting.add_options(options, None, "; by default some, at most 20")
    options.whole("sweeps", 4, "number of times every missing pixel is estimated")
    options.whole("completions", 0, "number of possible completions to sample as well", least=0)
    options.whole("particles", 32, "number of particles for --completions", least=2)
    options.whole("seed", 0, "seed of completions", least=0)
    options.word("background", "white", "the colour behind transparent pixels")
    options.limit()
    options.out("repaired", "output folder")
    settings = parse(options, arguments)
    if settings.mask and settings.box:
        raise ValueError("Expected --mask or --box; got both: leave one out.")
    regions.check(settings, len(settings.pictures))
    keep = adapting.check_keep(settings, len(settings.pictures))

    from rgflow import trained
    from rgflow.photographs.examples import EXAMPLES, damaged
    from rgflow.photographs.pictures import LOSSLESS, MAX_PIXELS, read, write
    from rgflow.photographs.scoring import check_windows
    from rgflow.training.optimisation import prepare_machine

    prepare_machine()
    flow = trained.load(settings.model).flow
    check_windows(flow)
    examples, groups = dict[int, str](), list[list[Path]]()
    for number, name in enumerate(settings.pictures):
        kind, _, which = name.partition("example:")
        path = expanded(name)
        if which and not kind:
            check_name("the example", which, EXAMPLES)
            path = Path(f"example-{which}", f"{EXAMPLES[which][0]}.png")
            examples[number] = which
        groups.append([path, *regions.mask_of(settings, number)])

    def names(number: int) -> list[str]:
        path = groups[number][0]
        ending = path.suffix if path.suffix.lower() in LOSSLESS else ".png"
        found = [f"*{ending}", "*-before-after.png", "*-mask.png"]
        found += [f"*-{k + 1}{ending}" for k in range(settings.completions)]
        return found + ["damaged-*.png"] * (number in examples)

    def repair(source: Source) -> None:
        if which := examples.get(source.number):
            picture = read(damaged(which)[0])
            write(picture.image, source.out("damaged-*.png"))
        else:
            picture = read(source.path, settings.background, most=most(settings, MAX_PIXELS))
        _repair(flow, results, source, picture, settings, keep)

    results = outputs(settings, groups, trained.fingerprint(flow))
    with results.guarded():
        results.each(results.sources(groups, names), repair)


def _repair(
    flow: Flow,
    results: Outputs,
    source: Source,
    picture: Picture,
    settings: Namespace,
    keep: Path | None,
) -> None:
    """Repair one picture, and write it; the model that has learned it goes to `keep`."""
    import torch
    from PIL import Image

    from rgflow.figures.repair import before_after
    from rgflow.photographs.damage import find_damage, seen_through
    from rgflow.photographs.pictures import named, write
    from rgflow.photographs.restoring import MAX_COMPLETED_PIXELS

    start, path = time.perf_counter(), source.path
    target = named(picture.image, source.out(f"*{path.suffix}"))
    image = torch.from_numpy(picture.pixels(flow.config.channels))
    results.check(target)
    check_space(source.folder, image.nbytes * (3 + settings.completions))
    for note in picture.notes:
        say(f"{path.name}: {note}.")
    with bars() as shown:
        task = shown.add_task(f"{path.name}, looking for damage", total=1.0)

        def progress(share: float) -> None:
            shown.update(task, completed=share)

        written, searched = [], not settings.mask and settings.box is None
        if searched:
            sensitivity = settings.sensitivity
            hole = find_damage(image, sensitivity=sensitivity, progress=progress).found
            if not hole.any():
                say(f"{path.name}: no damage was found; raise --sensitivity, or use --mask.")
                return
            found = Image.fromarray(hole.astype("uint8") * 255)
            # What took longest is kept, whatever happens next.
            written.append(write(found, source.out("*-mask.png")))
        else:
            hole = regions.given(settings, source.number, picture.size)
        if settings.completions and hole.sum() > MAX_COMPLETED_PIXELS:
            raise ValueError(
                f"Expected at most {MAX_COMPLETED_PIXELS:,} missing pixels for --completions; got "
                f"{int(hole.sum()):,}: mark less."
            )
    whole, learned = adapting.restored(flow, image, hole, settings, path.name)
    whole = seen_through(image, hole, whole)
    if keep:
        learned.save_pretrained(keep)
    written.insert(0, write(picture.replaced(whole.cpu().numpy(), hole), target))
    compared = source.out("*-before-after.png")
    written.append(write(before_after(image, whole.cpu(), hole), compared))
    if settings.completions:
        written += _draw(flow, image, hole, picture, source, settings)
    spent = time.perf_counter() - start
    names = ", ".join(one.name for one in written)
    say(
        f"{path.name}: {many(int(hole.sum()), 'pixel')} repaired in {spent:.1f} s; see {names} in "
        f"{source.folder}."
    )
    if picture.loss:
        say(
            f"{path.name} was compressed with loss, so it's written as {written[0].suffix[1:]}, "
            "which keeps all other pixels."
        )
        say("Such files have traces around damage: if some stay, make the mask a few pixels wider.")


def _draw(
    flow: Flow, image: Tensor, hole: Mask, picture: Picture, source: Source, settings: Namespace
) -> list[Path]:
    """Completions that are drawn, each in a file."""
    import torch

    from rgflow.photographs.pictures import named, write
    from rgflow.photographs.restoring import completions

    written = []
    with share_bar(f"{source.path.name}, drawing") as progress:
        found = completions(
            flow,
            image,
            hole,
            settings.completions,
            particles=settings.particles,
            generator=torch.Generator().manual_seed(settings.seed),
            progress=progress,
        )
        for number, sample in enumerate(found):
            drawn = picture.replaced(sample.cpu().numpy(), hole)
            out = source.out(f"*-{number + 1}{source.path.suffix}")
            written.append(write(drawn, named(drawn, out)))
    return written
