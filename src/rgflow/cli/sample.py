"""`rgflow sample`: generate images with a trained flow."""

from collections.abc import Sequence

from rgflow.checks import check_whole
from rgflow.cli.parsing import Parser, parse
from rgflow.cli.subjects import load_model
from rgflow.config import FlowConfig
from rgflow.files import replacing, write_picture, writing
from rgflow.text import bars, say

STAGED = 6
"""Images whose stages are drawn."""
IN_A_GRID = 2500
"""Images at the most, so that a picture can be opened."""
MAX_PIXEL_EDGE = 64
"""Edge of a drawn pixel at the most, so that a picture can be opened."""


def run(arguments: Sequence[str]) -> None:
    """Parse and sample.

    Raises:
        ValueError: If an option is wrong, or options don't fit together.
    """
    options = Parser(
        "sample",
        "Generate images with a trained flow: a grid, and some of them from coarse to fine.",
        "rgflow sample runs/first -n 64 --temperature '[0.7, 0.9, 1.0]'",
    )
    options.model()
    options.add_argument("-n", "--number", type=int, default=64, help="number of images")
    options.whole("seed", 0, "seed; image k has seed + k", least=0)
    options.temperature()
    options.files("label", "number of the class, for a flow with labels; NAME=NUMBER of several")
    options.whole("batch_size", 64, "images at a time")
    options.flag("single", "also write each image to a file of its own, samples/SEED.png")
    options.whole("columns", None, "images per row of the grid; by default the grid is square")
    options.whole("scale", 2, "edge of a drawn pixel", 1, MAX_PIXEL_EDGE)
    names = "samples.*", "samples/*.png", "stages.png"
    options.out(None, "output folder; by default RUN/pictures", *names)
    settings = parse(options, arguments)
    check_whole("--number", settings.number, 1)
    seeds = range(settings.seed, settings.seed + settings.number)
    if seeds.stop >= 1 << 63:
        raise ValueError(f"Expected --seed to be below 2^63; got {settings.seed}.")
    if settings.number > IN_A_GRID and not settings.single:
        raise ValueError(
            f"Expected at most {IN_A_GRID} images for one grid; got {settings.number}: "
            f"use --single for a file each."
        )

    import numpy as np
    import torch

    from rgflow import figures
    from rgflow.numerics import check_finite

    model = load_model(settings)
    flow = model.flow
    fields = flow.config.pixels is None
    if fields and settings.single:
        raise ValueError(
            "Expected a flow of images for --single; this one is of real-valued fields, all of "
            "which are in samples.npy."
        )
    if not fields and flow.config.channels not in (1, 3):
        raise ValueError(
            f"Expected a flow of pictures with 1 or 3 channels; this one has "
            f"{flow.config.channels}: draw images from Python, with flow.sample."
        )
    folder = model.pictures
    # In float32 the last digits depend on how many images are decoded together, and now and then
    # they decide between two grey levels. In float64 they don't.
    where = torch.float64, flow.device
    height, width = flow.config.geometry.inside or flow.image_shape[1:]

    label = _label(settings.label, flow.config)

    def labels(images: int) -> torch.Tensor | None:
        return None if label is None else torch.tensor([label] * images)

    batches = [
        seeds[k : k + settings.batch_size] for k in range(0, len(seeds), settings.batch_size)
    ]
    samples = []
    with torch.no_grad(), bars() as progress:
        for batch in progress.track(batches, description="sampling"):
            z = flow.draw_each(batch, settings.temperature)
            x = flow.decode(z.to(*where), labels=labels(len(z))).cpu()
            check_finite(x, "samples")
            x = x[..., :height, :width]
            samples.append(x.float() if fields else figures.to_bytes(x))
            if settings.single:
                for seed, image in zip(batch, samples[-1], strict=True):
                    write_picture(folder / "samples" / f"{seed:05d}.png", figures.picture(image))
        z = flow.draw_each(seeds[:STAGED], settings.temperature)
        coarse = flow.coarse(z.to(*where), labels=labels(len(z)))
        coarse = [x[..., : -(-height // 2**h), : -(-width // 2**h)] for h, x in enumerate(coarse)]
    images = torch.cat(samples)

    messages = []
    if settings.single:
        messages.append(f"{len(images)} files are in {folder / 'samples'}")
    if fields:
        path = folder / "samples.npy"
        with writing(path), replacing(path) as part, part.open("wb") as file:
            np.save(file, images.numpy())
        messages.append(f"{len(images)} fields are in {folder / 'samples.npy'}")
        bounds = figures.bounds(images)
        coarse = [figures.shaded(x, *bounds) for x in coarse]
        drawn = figures.shaded(images[:IN_A_GRID], *bounds)
    else:
        drawn = images[:IN_A_GRID]
    if flow.config.channels in (1, 3):
        grid = figures.grid(drawn, settings.columns, settings.scale)
        stages = figures.progressive(coarse, scale=settings.scale)
        messages += [
            f"a grid of {len(drawn)} is {write_picture(folder / 'samples.png', grid)}",
            f"the first {len(coarse[0])} from coarse to fine are in "
            f"{write_picture(folder / 'stages.png', stages)}",
        ]
    say(f"{'; '.join(messages)}.")


def _label(words: Sequence[str] | None, config: FlowConfig) -> int | list[int] | None:
    """The class of the images, or those of several labels; none if the flow has no labels.

    Raises:
        ValueError: If it isn't one of a label, and of every one.
    """
    if not (words or config.classes):
        return None
    labels = config.labels if isinstance(config.labels, dict) else {"": config.labels}
    given = dict(word.rpartition("=")[::2] for word in words or ())
    if (
        len(given) == len(words or ())
        and given.keys() == labels.keys()
        and all(text.isdecimal() and int(text) < labels[name] for name, text in given.items())
    ):
        found = [int(given[name]) for name in labels]
        return found if isinstance(config.labels, dict) else found[0]
    options = (f"{name}{'=' if name else ''}0..{n - 1}" for name, n in labels.items())
    wanted = f"--label {' '.join(options)}" if config.classes else "no --label for this flow"
    raise ValueError(f"Expected {wanted}; got {' '.join(words or ['none'])}.")
