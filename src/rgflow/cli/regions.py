"""Regions of `rgflow inpaint` and `rgflow repair`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rgflow.files import expanded
from rgflow.text import many

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jsonargparse import Namespace

    from rgflow.cli.parsing import Parser
    from rgflow.lattice import Mask


def add_options(options: Parser, more: str = "") -> None:
    """Add the options by which regions are given; `more` says what else a mask may be."""
    options.files(
        "mask", f"picture files, white where to repair: one for all, or one for each{more}"
    )
    options.several("box", int, None, "[y, x, height, width] to repair")


def check(settings: Namespace, pictures: int) -> None:
    """Raise a `ValueError` unless a box has four numbers, and masks are one for all or one each."""
    if settings.box is not None and len(settings.box) != 4:
        raise ValueError(f"Expected --box to be [y, x, height, width]; got {settings.box}.")
    if settings.mask and len(settings.mask) not in (1, pictures):
        raise ValueError(
            f"Expected one mask, or one for each of {many(pictures, 'picture')} that the command "
            f"names; got {len(settings.mask)}."
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
