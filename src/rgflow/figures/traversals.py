"""Traversals as in the paper's Figs. 4 and 6: the receptive field beside the varied images.

Letters in shapes: N images; V values; C channels; H, W rows and columns.
"""

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from rgflow.analysis.fields import ReceptiveFields
from rgflow.figures.fields import heat
from rgflow.figures.panels import GUTTER, arranged, beside, number, panel, titled
from rgflow.latents import Address
from rgflow.text import with_error


class Shown(NamedTuple):
    """What is drawn of one latent or direction."""

    images: Tensor
    """While it is varied, [N, V, C, H, W]."""
    values: Sequence[float]
    """The V values."""
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
    return arranged([_group(one, scale) for one in shown], across)


def _group(one: Shown, scale: int) -> Image.Image:
    """One latent: its field, and its images at all values."""
    body = panel(one.images, scale=scale, columns=[number(value) for value in one.values])
    # As high as the first two rows.
    field = panel(
        heat(one.field)[None, None], scale=scale * min(len(one.images), 2), columns=[one.note]
    )
    return titled(one.title, beside([field, body], GUTTER))
