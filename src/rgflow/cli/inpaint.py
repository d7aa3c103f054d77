"""`rgflow inpaint`: fill in regions of images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rgflow.checks import check_whole
from rgflow.cli import regions, subjects
from rgflow.cli.parsing import Parser, parse, some
from rgflow.data.source import SPLITS
from rgflow.files import write_json, writing
from rgflow.repair.climb import Climb
from rgflow.text import Screen, bars, say, table, with_error

if TYPE_CHECKING:
    from jsonargparse import Namespace
    from torch import Tensor

    from rgflow.cli.subjects import Pictures
    from rgflow.flow import Flow
    from rgflow.lattice import Mask
    from rgflow.repair.comparison import Filled, Progress, RepairScores
    from rgflow.repair.inpainting import Inpainting

SHOWN = 32
"""Images in a picture."""
PARTICLES = 128
"""Particles, if a flow maps every pixel once."""
CLIMB: dict[str, Any] = asdict(Climb())
"""Options of a climb, with their defaults."""
PARTICLE: dict[str, Any] = {"sweeps": 4, "completions": 0}
"""Options of particles."""


def run(arguments: Sequence[str]) -> None:
    """Parse, fill in and draw; a `ValueError` says a user's mistake."""
    options = Parser(
        "inpaint",
        "Fill in regions of images with likely completions, and compare with other methods.",
        "rgflow inpaint runs/first --split test --pick '[0, 1, 2]' --box '[8, 8, 10, 10]'",
    )
    _add_options(options)
    settings = parse(options, arguments)
    _check(settings)

    from rgflow.photographs.scoring import is_of_photographs

    model = subjects.load_model(settings)
    flow = model.flow
    if settings.images and settings.size is None and is_of_photographs(flow):
        raise ValueError(
            f"Expected rgflow repair for pictures of any size, as {settings.run} is a model of "
            f"photographs; got rgflow inpaint: use that, or add --size."
        )
    if flow.pixels is None:
        raise ValueError("Expected a flow of images to repair; this one is of real-valued fields.")
    if settings.split is not None:
        images = subjects.picked(settings, model)
    else:
        images = subjects.read(settings.images, flow.config, settings)
    truth = None if settings.images else images
    pictures = subjects.Pictures(**subjects.place(settings, model))
    _repair(settings, flow, images, _masks(settings, images), truth, pictures)


def _add_options(options: Parser) -> None:
    options.model()
    options.add_argument("images", nargs="*", type=str, help="picture files: PNG, JPEG or WebP")
    options.word(
        "split",
        None,
        "take images of a data set instead of files: train, validation or test; they are also the "
        "ground truth",
        SPLITS,
    )
    options.word("data", None, "the data set for --split; by default that of the run")
    options.several("pick", int, None, "indices of images in the data set; by default [0]")
    regions.add_options(options)
    options.whole(
        "particles",
        None,
        "number of particles; by default 128 if the flow maps every pixel once, as presets -best "
        "and -m4 do, otherwise 0; 0: climb along gradients",
        least=0,
    )
    options.whole("sweeps", PARTICLE["sweeps"], "number of sweeps of particles over every region")
    options.add_class_arguments(Climb, as_group=False)
    options.whole(
        "completions",
        PARTICLE["completions"],
        "number of possible completions of each image, by particles, to draw as well",
        least=0,
    )
    options.whole("seed", 0, "seed of all randomness", least=0)
    options.whole("scale", None, "edge of a drawn pixel", 1, 64)
    options.limit()
    options.out(None, "output folder; by default RUN/pictures", "inpaint*", "completions-*")


def _check(settings: Namespace) -> None:
    """Raise a `ValueError` unless the options fit together; imports nothing heavy."""
    regions.check(settings, len(settings.mask or ()))  # how many images there are isn't known yet
    for either, other in (("images", "split"), ("mask", "box")):
        if bool(settings[either]) == (settings[other] is not None):
            names = ("picture files" if either == "images" else f"--{either}", f"--{other}")
            got = "both" if settings[either] else "neither"
            raise ValueError(f"Expected {' or '.join(names)}; got {got}: give one.")
    for name in ("pick", "data"):
        if settings[name] is not None and settings.split is None:
            raise ValueError(f"Expected --split with --{name}; got none: give --split test.")
    subjects.check_pick(settings, [0])
    if settings.particles:
        check_whole("--particles", settings.particles, 2)


def _masks(settings: Namespace, images: Tensor) -> Mask:
    """The regions [N, H, W] of images [N, C, H, W].

    Raises:
        ValueError: If masks don't fit.
    """
    import numpy as np

    n, _, height, width = images.shape
    regions.check(settings, n)
    files = (regions.mask_of(settings, k) for k in range(n))
    return np.stack([regions.given(settings, mask, (height, width)) for mask in files])


def _unused(settings: Namespace, particles: bool) -> set[str]:
    """The options without effect, with particles or without them.

    Raises:
        ValueError: If one of them was given.
    """
    options = CLIMB if particles else PARTICLE
    given = [name for name, usual in options.items() if settings[name] != usual]
    if given:
        how = "add --particles 0 for a climb, or " if particles else ""
        raise ValueError(
            f"Expected no --{given[0]} with{'' if particles else 'out'} particles: {how}leave it "
            f"out."
        )
    return set(options)


def _repair(
    settings: Namespace,
    flow: Flow,
    images: Tensor,
    masks: Mask,
    truth: Tensor | None,
    pictures: Pictures,
) -> None:
    """Fill holes [N, H, W] of images [N, C, H, W], draw, and write everything."""
    from rgflow.figures.repair import completions, repairs
    from rgflow.repair.comparison import fill, scores
    from rgflow.repair.particles import maps_once, parts

    particles = settings.particles
    if particles is None:
        particles = PARTICLES if maps_once(flow) else 0
    sweeps = max(settings.sweeps, settings.completions) if particles else 0
    steps = settings.steps
    if particles:
        steps = sweeps * sum(parts(flow, mask) for mask in masks)
    unused = _unused(settings, bool(particles))
    with _steps(steps) as progress:
        filled = list(
            fill(
                flow,
                images.to(flow.device),
                masks,
                Climb(**some(settings, *CLIMB)),
                particles=particles,
                sweeps=sweeps,
                seed=settings.seed,
                progress=progress,
            )
        )
    rows = {one.name: one.images.cpu() for one in filled}
    picture = repairs(
        images[:SHOWN],
        masks[:SHOWN],
        {name: found[:SHOWN] for name, found in rows.items()},
        truth=truth[:SHOWN] if truth is not None else None,
        scale=pictures.scale,
    )
    ours = filled[0]
    assert ours.log_prob is not None
    written = [pictures.save(picture, "inpainting.png"), *_save_images(rows[ours.name], pictures)]
    result: dict[str, Any] = {
        "settings": {
            name: value
            for name, value in settings.as_dict().items()
            if name != "config" and name not in unused
        },
        "methods": [_record(one) for one in filled],
    }
    found = []
    if truth is not None:
        found = [scores(one, truth.to(flow.device), masks, settings.seed) for one in filled]
        result["scores"] = [asdict(score) for score in found]
    with writing(pictures.folder / "inpainting.json") as path:
        write_json(path, result)
        written.append(path)
    if found:
        _print_table(found)
    else:
        for number, log_prob in enumerate(ours.log_prob.tolist()):
            say(f"Image {number + 1}: log p {log_prob:.1f} nats.")
    if climb := ours.inpainting:
        for number, (rested, lost) in enumerate(
            zip(climb.converged.tolist(), climb.diverged.tolist(), strict=True)
        ):
            if lost:
                say(f"Image {number + 1}: the climb diverged; its best state is kept.")
            elif not rested:
                say(f"Image {number + 1}: log p hadn't converged after {climb.steps} steps.")
    for n, one in enumerate(ours.completions if settings.completions else ()):
        picture = completions(
            images[n],
            masks[n],
            one.samples[-settings.completions :].cpu(),
            truth=truth[n] if truth is not None else None,
            scale=pictures.scale,
        )
        written.append(pictures.save(picture, f"completions-{n + 1}.png"))
    more = f" Pictures show the first {SHOWN} of {len(images)} images." * (len(images) > SHOWN)
    say(f"See {subjects.file_names(written)}.{more}")


@contextmanager
def _steps(steps: int) -> Iterator[Progress]:
    """A progress bar of so many steps, with log p beside it."""
    with bars() as shown:
        task = shown.add_task("drawing starts", total=steps)

        def progress(method: str, step: int, log_prob: Tensor) -> None:
            what = f"{method}, {'under way' if step else 'drawing starts'}"
            mean = log_prob.max(1).values.mean().item()
            shown.update(task, description=f"{what}, log p {mean:.0f}", completed=step)

        yield progress


def _save_images(images: Tensor, pictures: Pictures) -> list[Path]:
    """Every repaired image in a file of its own."""
    from rgflow.figures import picture, to_bytes

    return [
        pictures.save(picture(image), f"inpainted-{number + 1}.png")
        for number, image in enumerate(to_bytes(images))
    ]


def _record(one: Filled) -> dict[str, Any]:
    """What is written about a method."""
    found: Inpainting | None = one.inpainting
    record: dict[str, Any] = {"name": one.name, "seconds": one.seconds}
    if one.completions:
        record["log_prob"] = [completion.log_prob for completion in one.completions]
    if found is not None:
        names = ("log_prob", "start", "converged", "diverged", "free")
        record |= {"steps": found.steps, **{name: getattr(found, name).tolist() for name in names}}
    return record


def _print_table(found: Sequence[RepairScores]) -> None:
    """RepairScores of all methods."""
    several = f"{found[0].images} images, mean ± standard error"
    head = ("method", "PSNR", "of region", "SSIM", "log p − truth", "free", "s/image")
    rows = [
        (
            one.name,
            *(
                with_error(m.mean, m.standard_error, 1 + 2 * (m is one.ssim))
                for m in (one.psnr, one.psnr_region, one.ssim)
            ),
            "" if one.log_prob is None else with_error(one.log_prob, one.log_prob_error, 0),
            f"{one.free:.0f}" if one.free else "",
            f"{one.seconds:.2f}",
        )
        for one in found
    ]
    Screen().print(table(head, rows, several if found[0].images > 1 else None))
