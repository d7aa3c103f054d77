"""`rgflow repair`: repair damage in pictures of any size."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rgflow.checks import check_name
from rgflow.cli import adapting, regions
from rgflow.cli.parsing import Parser, most, outputs, parse
from rgflow.files import expanded
from rgflow.outputs import Made, Source, check_space
from rgflow.text import bars, many, say, share_bar

if TYPE_CHECKING:
    from jsonargparse import Namespace
    from torch import Tensor

    from rgflow.cells import Mask
    from rgflow.flow import Flow
    from rgflow.photographs.collections import Given
    from rgflow.photographs.pictures import Picture

MUCH = 0.05
"""The share of a picture above which what is found may not be damage."""


def run(arguments: Sequence[str]) -> None:
    """Parse, repair and write; a `ValueError` says a user's mistake."""
    from rgflow.cli import collecting

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
        help=f"{collecting.WHAT}; or example:NAME, of scratches, text, dust, pixels, blocks, print",
    )
    options.word("model", "photos", "a model of photographs: its name or folder, or a run")
    regions.add_options(options, "; or a folder with what this command wrote as *-mask.png")
    options.add_argument(
        "--infrared",
        nargs="*",
        type=str,
        help="repair what is dark in infrared scans of films: in these grey files, one for each "
        "picture; without any, in a picture's own fourth channel or second page",
    )
    options.number(
        "sensitivity",
        0.5,
        "from 0 to 1: marks what is damaged with a probability above 1 − sensitivity",
        0,
        1,
    )
    adapting.add_options(options)
    options.whole("sweeps", 2, "number of times every missing pixel is estimated")
    options.number("grain", 0.0, "from 0 to 1: how grainy repaired areas are; 1: as around", 0, 1)
    options.whole("completions", 0, "number of possible completions to sample as well", least=0)
    options.whole("particles", 32, "number of particles for --completions", least=2)
    options.whole("seed", 0, "seed of completions and of grain", least=0)
    options.word("background", "white", "the colour behind transparent pixels")
    options.limit()
    options.out("repaired", "output folder")
    collecting.add_options(options)
    settings = parse(options, arguments)
    infrared = settings.infrared
    if sum(one is not None for one in (settings.mask, settings.box, infrared)) > 1:
        raise ValueError("Expected one of --mask, --box and --infrared; got more: leave them out.")
    regions.check(settings, len(settings.pictures))
    if infrared and len(infrared) != len(settings.pictures):
        raise ValueError(
            f"Expected an infrared scan for each of {many(len(settings.pictures), 'picture')}; got "
            f"{len(infrared)}."
        )

    from rgflow import trained
    from rgflow.photographs.collections import collection
    from rgflow.photographs.examples import EXAMPLES
    from rgflow.photographs.pictures import lossless_ending
    from rgflow.photographs.scoring import check_windows
    from rgflow.training.optimisation import prepare_machine

    masks = [regions.mask_of(settings, number) for number in range(len(settings.pictures))]
    if infrared:
        masks = [[expanded(path)] for path in infrared]
    paths, examples = list[str](), dict[str, str]()
    for name in settings.pictures:
        kind, _, which = name.partition("example:")
        if which and not kind:
            check_name("the example", which, EXAMPLES)
            name = str(Path(f"example-{which}", f"{EXAMPLES[which][0]}.png"))
            examples[name] = which
        paths.append(name)
    pictures = collection(paths, masks, settings.download)
    keep = adapting.check_keep(settings, len(pictures.groups))
    prepare_machine()
    flow = trained.load(settings.model).flow
    check_windows(flow)

    def names(number: int) -> list[str]:
        path = pictures.groups[number][0]
        ending = lossless_ending(path)
        found = [f"*{ending}", "*-before-after.png"]
        found += ["*-mask.png"] * (not settings.mask and settings.box is None)
        found += [f"*-{k + 1}{ending}" for k in range(settings.completions)]
        return found + ["damaged-*.png"] * (str(path) in examples)

    results = outputs(settings, pictures.groups, trained.fingerprint(flow))
    with results.guarded():
        if any(os.path.isdir(mask) for _, *more in pictures.groups for mask in more):
            sources = results.sources(pictures.groups, names)
            pictures = replace(pictures, groups=_masked(settings, pictures.groups, sources))
        work = Repair(flow, settings, examples, keep)
        collecting.each(settings, results, pictures, work, names)


def _masked(
    settings: Namespace, groups: Sequence[Sequence[Path]], sources: Sequence[Source]
) -> list[Sequence[Path]]:
    """Pictures with their masks in folders of them, as this command names them; some have none."""
    from rgflow.cli.collecting import within

    found = [*groups]
    for source in sources:
        file, *masks = found[source.number]
        if masks and os.path.isdir(masks[0]):
            name = source.out("*-mask.png").name
            own = masks[0] / within(settings, source, name)
            found[source.number] = [file, own] if own.is_file() else [file]
    return found


@dataclass(frozen=True)
class Repair:
    """Repairs pictures.

    Attributes:
        flow: A flow of photographs.
        settings: Of the command.
        examples: The examples among the pictures, by their names there.
        keep: A folder for the model that has learned the picture.
    """

    flow: Flow
    settings: Namespace
    examples: dict[str, str] = field(default_factory=dict)
    keep: Path | None = None

    def __call__(self, given: Given) -> Made:
        """Repair one picture.

        Raises:
            ValueError: If it can't be read, or the damage can't be repaired.
        """
        from rgflow.cli.collecting import save
        from rgflow.photographs.examples import damaged
        from rgflow.photographs.pictures import MAX_PIXELS, read

        made = Made()
        assert given.source is not None
        if which := self.examples.get(given.name):
            picture = read(damaged(which)[0])
            save(made, picture.image, given.source.out("damaged-*.png"))
        else:
            most_pixels = most(self.settings, MAX_PIXELS)
            picture = read(given.file, self.settings.background, most=most_pixels)
        self._repair(made, given, given.source, picture)
        return made

    def _repair(self, made: Made, given: Given, source: Source, picture: Picture) -> None:
        """Repair a picture; the model that has learned it goes to `keep`."""
        import torch
        from PIL import Image

        from rgflow.cli.collecting import save, within
        from rgflow.figures.repair import before_after
        from rgflow.photographs.damage import Damage, find_damage, seen_through
        from rgflow.photographs.infrared import damage_in, read_infrared
        from rgflow.photographs.restoring import MAX_COMPLETED_PIXELS, grained

        settings, flow = self.settings, self.flow
        start, path = time.perf_counter(), source.path
        image = torch.from_numpy(picture.pixels(flow.config.channels))
        if given.kept:
            check_space(source.folder, image.nbytes * (3 + settings.completions))
        for note in picture.notes:
            say(f"{path.name}: {note}.")
        made.row |= {"width": picture.size[1], "height": picture.size[0], "pixels": 0}
        with bars() as shown:
            task = shown.add_task(f"{path.name}, looking for damage", total=1.0)

            def progress(share: float) -> None:
                shown.update(task, completed=share)

            mask, searched = "", not settings.mask and settings.box is None
            damage: Damage | None = None
            if searched:
                sensitivity = settings.sensitivity
                if settings.infrared is not None:
                    file = given.more[0] if given.more else given.file
                    infrared = read_infrared(file, picture.size)
                    hole = damage_in(infrared, sensitivity=sensitivity)
                else:
                    damage = find_damage(image, sensitivity=sensitivity, progress=progress)
                    hole = damage.found
                if not hole.any():
                    say(f"{path.name}: no damage was found; raise --sensitivity, or use --mask.")
                    return
                if hole.all():
                    raise ValueError(
                        f"Expected damage in a part of {path.name}; with --sensitivity "
                        f"{sensitivity:g} everything is marked: lower it, or use --mask."
                    )
                if hole.mean() > MUCH:
                    say(
                        f"{path.name}: {hole.mean():.0%} of it looks damaged; so do letters and "
                        "lace: if they aren't, lower --sensitivity, or use --mask."
                    )
                found = Image.fromarray(hole.astype("uint8") * 255)
                mask = save(made, found, source.out("*-mask.png"))
            elif settings.mask and not given.more:
                say(f"{path.name}: it has no mask there, so nothing is repaired.")
                return
            else:
                hole = regions.given(settings, given.more, picture.size)
            if settings.completions and hole.sum() > MAX_COMPLETED_PIXELS:
                raise ValueError(
                    f"Expected at most {MAX_COMPLETED_PIXELS:,} missing pixels for --completions; "
                    f"got {int(hole.sum()):,}: mark less."
                )
        whole, learned = adapting.restored(flow, image, hole, settings, path.name)
        whole = seen_through(image, hole, whole, damage)
        if settings.grain:
            whole = grained(flow, whole, hole, settings.grain, settings.seed)
        if self.keep:
            learned.save_pretrained(self.keep)
        repaired = picture.replaced(whole.cpu().numpy(), hole)
        written = [save(made, repaired, source.out(f"*{path.suffix}")), *[mask] * searched]
        compared = before_after(image, whole.cpu(), hole)
        written.append(save(made, compared, source.out("*-before-after.png")))
        if settings.completions:
            written += self._draw(made, given, source, picture, image, hole)
        made.row |= {"pixels": int(hole.sum()), "result": within(settings, source, written[0])}
        spent = time.perf_counter() - start
        say(
            f"{path.name}: {many(int(hole.sum()), 'pixel')} repaired in {spent:.1f} s; see "
            f"{', '.join(written)} in {source.folder}."
        )
        if picture.loss:
            ending = Path(written[0]).suffix[1:]
            say(
                f"{path.name} was compressed with loss, so it's written as {ending}, which keeps "
                "all other pixels."
            )
            say("Traces may stay around damage in such files: if so, make the mask a bit wider.")

    def _draw(
        self,
        made: Made,
        given: Given,
        source: Source,
        picture: Picture,
        image: Tensor,
        hole: Mask,
    ) -> list[str]:
        """Completions that are drawn, each in a file."""
        from rgflow.cli.collecting import save
        from rgflow.photographs.restoring import completions

        settings, written = self.settings, []
        with share_bar(f"{source.path.name}, drawing") as progress:
            found = completions(
                self.flow,
                image,
                hole,
                settings.completions,
                particles=settings.particles,
                generator=given.generator(settings.seed),
                progress=progress,
            )
            for number, sample in enumerate(found):
                drawn = picture.replaced(sample.cpu().numpy(), hole)
                name = f"*-{number + 1}{source.path.suffix}"
                written.append(save(made, drawn, source.out(name)))
        return written
