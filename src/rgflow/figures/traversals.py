"""Traversals as in the paper's Figs. 4 and 6: the receptive field beside the varied images.

Letters in shapes: N images; V values; C channels; H, W rows and columns.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from rgflow.analysis.fields import ReceptiveFields
from rgflow.analysis.traversals import Traversal
from rgflow.figures.fields import heat
from rgflow.figures.panels import GUTTER, arranged, beside, number, panel, titled
from rgflow.latents import Address
from rgflow.text import minus, with_error


class Shown(NamedTuple):
    """What is drawn of one latent or direction."""

    traversal: Traversal
    field: Tensor
    """The receptive field, [H, W]."""
    title: str
    note: str = ""
    """A few words above the field, such as its strength."""


def where(address: Address) -> str:
    """Where a latent is, as a title.

    Example:
        >>> where((2, 0, 4, 1))
        'h = 2, (0, 4), c = 1'
    """
    h, i, j, c = address
    return f"h = {h}, ({i}, {j}), c = {c}"


def labels(fields: ReceptiveFields, address: Address) -> tuple[str, str]:
    """A title for a latent, and a note on its strength."""
    return where(address), f"strength {with_error(*fields.strength(address))}"


def traversals(shown: Sequence[Shown], *, scale: int = 2, across: int = 1) -> Image.Image:
    """Fields, and beside each the images, a row for every one and a column for every value.

    Args:
        shown: The latents.
        scale: Edge of a drawn pixel.
        across: How many latents stand side by side.
    """
    return arranged([_group(one, one.traversal.images, scale) for one in shown], across)


def differences(shown: Sequence[Shown], *, scale: int = 2, across: int = 1) -> Image.Image:
    """The same of the differences from the image whose value is nearest to 0.

    Every channel is lighter or darker than mid-grey by its change; the titles say by how many grey
    levels where it is white or black.
    """
    groups = []
    for one in shown:
        changes = one.traversal.differences()
        limit = max(round(float(changes.abs().max())), 1)
        title = f"{one.title}: differences, black to white −{limit} to {limit}"
        groups.append(_group(one._replace(title=title), signed(changes, limit), scale))
    return arranged(groups, across)


def signed(changes: Tensor, limit: float) -> Tensor:
    """Changes as uint8: mid-grey where there is none, white at `limit`, black at −`limit`.

    Example:
        >>> signed(torch.tensor([-8.0, 0.0, 4.0, 9.0]), 8.0)
        tensor([  1, 128, 192, 255], dtype=torch.uint8)
    """
    return (128 + 127 * (changes / limit).clamp(-1, 1)).round().to(torch.uint8)


def traversal_frames(
    shown: Sequence[Shown], *, scale: int = 2, across: int = 4
) -> list[Image.Image]:
    """A picture for every value, for `animate`; all have as many values as the first.

    Args:
        shown: The latents.
        scale: Edge of a drawn pixel.
        across: How many latents stand side by side.
    """
    return [
        arranged([_group(one, one.traversal.images, scale, k) for one in shown], across)
        for k in range(len(shown[0].traversal.values))
    ]


def _group(one: Shown, images: Tensor, scale: int, at: int | None = None) -> Image.Image:
    """One latent: its field, and its images at all values or at one of them."""
    values = slice(at, None if at is None else at + 1)
    # While it moves, the value takes the same room all the time.
    labels = [
        number(value) if at is None else minus(f"{value:+.2f}")
        for value in one.traversal.values[values]
    ]
    body = panel(images[:, values], scale=scale, columns=labels)
    # As high as the first two rows.
    field = panel(
        heat(one.field)[None, None], scale=scale * min(len(images), 2), columns=[one.note]
    )
    return titled(one.title, beside([field, body], GUTTER))
