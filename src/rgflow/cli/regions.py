"""Images and regions of `rgflow inpaint` and `rgflow repair`: given, random, or found."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from rgflow.cli import subjects
from rgflow.files import expanded, remove
from rgflow.text import many, reporting, say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jsonargparse import Namespace
    from torch import Tensor

    from rgflow.cli.parsing import Parser
    from rgflow.cli.subjects import Pictures
    from rgflow.lattice import Mask
    from rgflow.trained import Model

SQUARE = 10
"""Edge of the regions of a benchmark, in pixels."""


def add_options(options: Parser) -> None:
    """Add the options by which regions are given."""
    options.files("mask", "picture files, white where to repair: one for all, or one for each")
    options.several("box", int, None, "[y, x, height, width] to repair")


def check(settings: Namespace, pictures: int) -> None:
    """Raise a `ValueError` unless a box has four numbers, and masks are one for all or one each."""
    if settings.box is not None and len(settings.box) != 4:
        raise ValueError(f"Expected --box to be [y, x, height, width]; got {settings.box}.")
    if settings.mask and len(settings.mask) not in (1, pictures):
        raise ValueError(
            f"Expected one mask, or one for each of {many(pictures, 'picture')}; got "
            f"{len(settings.mask)}."
        )


def mask_of(settings: Namespace, number: int) -> list[Path]:
    """The file of the mask of a picture, the `number`th, if there is one."""
    files = settings.mask or []
    return [expanded(files[number % len(files)])] if files else []


def given(settings: Namespace, masks: Sequence[Path], size: tuple[int, int]) -> Mask:
    """The region of a picture, [H, W], by a box or the file of a mask."""
    from rgflow.lattice import Sites
    from rgflow.photographs.pictures import read_mask

    if settings.box is not None:
        return Sites(height=size[0], width=size[1]).box(*settings.box)
    return read_mask(masks[0], size)


def images(settings: Namespace, model: Model) -> Tensor:
    """The images, uint8 [N, C, H, W]; those of a data set are as they should be.

    Raises:
        ValueError: If the test set has fewer images than the benchmark asks for.
    """
    import torch

    if settings.benchmark is not None:
        found = model.images(settings.data, "test", settings.benchmark)
        if len(found) < settings.benchmark:
            raise ValueError(
                f"Expected at most {len(found)} images for --benchmark, the size of the test set "
                f"of {found.name}; got {settings.benchmark}."
            )
        return torch.from_numpy(found.images[: settings.benchmark].copy())
    if settings.split is not None:
        return subjects.picked(settings, model)
    return subjects.read(settings.images, model.flow.config, settings)


def masks(settings: Namespace, model: Model, images: Tensor, pictures: Pictures) -> Mask | None:
    """The regions to fill in.

    Args:
        settings: Of the command.
        model: The model.
        images: uint8 [N, C, H, W].
        pictures: Where to write what was found.

    Returns:
        Masks, [N, H, W]; None: there is nothing to fill in.

    Raises:
        ValueError: If the images are too small for a benchmark, or masks don't fit.
    """
    import numpy as np

    from rgflow.repair.comparison import random_boxes

    n, flow = len(images), model.flow
    if settings.benchmark is not None:
        if min(flow.image_shape[1:]) < SQUARE:
            raise ValueError(
                f"Expected images of at least {SQUARE}×{SQUARE} pixels for --benchmark, which "
                f"takes squares of that size; got {flow.image_shape[1]}×{flow.image_shape[2]}."
            )
        return random_boxes(flow.lattice, n, SQUARE, settings.seed)
    if settings.find:
        return _found(settings, model, images, pictures)
    check(settings, n)
    height, width = flow.image_shape[1:]
    return np.stack([given(settings, mask_of(settings, k), (height, width)) for k in range(n)])


def _found(settings: Namespace, model: Model, images: Tensor, pictures: Pictures) -> Mask | None:
    """Regions that are odd, drawn and written; none: nothing is to be filled in."""
    import numpy as np
    from PIL import Image

    from rgflow.figures.surprise import surprises
    from rgflow.repair.surprise import surprise

    flow, trained_on = model.flow, model.config.data if model.config else None
    name = settings.data if settings.images and settings.data else trained_on or settings.data
    with reporting() as report:
        reference = model.reference(name, partial(report, "clean images"))
    maps = surprise(flow, images.to(flow.device), reference)
    proposal = maps.propose(settings.false_alarms)
    names = [str(k + 1) for k in range(len(images))]
    written = [
        pictures.save(
            surprises(images, maps, proposal, rows=names, scale=pictures.scale), "surprise.png"
        )
    ]
    for number, mask in enumerate(proposal.masks):
        say(f"Image {number + 1}: {proposal.sentence(number)}")
        name = f"mask-{number + 1}.png"
        if mask.any():
            grey = Image.fromarray(np.where(mask, 255, 0).astype(np.uint8))
            written.append(pictures.save(grey, name))
        else:
            remove(pictures.folder / name)  # of images looked at before
    say(f"See {subjects.file_names(written)}.")
    if not settings.accept:
        say("To fill them in, add --accept, or give masks of your own with --mask.")
        return None
    if not proposal.masks.any((1, 2)).all():
        odd = [name for name, mask in zip(names, proposal.masks, strict=True) if mask.any()]
        if odd:
            raise ValueError(
                f"Expected an odd region in every image to fill in; found one only in "
                f"{', '.join(odd)}: leave the others out."
            )
        return None
    return proposal.masks
