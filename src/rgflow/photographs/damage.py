"""Finding damage in photographs: pixels that the flow doesn't expect, and shapes of one colour.

A pixel is odd if it is far less likely, given all others, than the median of its distribution. So
little is odd in noise and texture, but a speck of dust in a smooth sky is. Pixels of a scratch, a
letter or a lost block expect each other instead, so shapes that look like these are candidates: of
one colour with sharp edges, or narrow and nearly white or black. Compression with loss changes
colours, so there it is the brightness that is the same, but for the errors of compression. Odd
pixels and candidates are restored, and judged again given what surrounds them then.

Letters in shapes: C channels; H, W rows and columns.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import (  # type: ignore[attr-defined]  # which are found when it runs
    binary_dilation,
    generate_binary_structure,
    grey_closing,
    grey_opening,
)
from skimage.measure import label
from torch import Tensor

from rgflow.cells import Mask
from rgflow.flow import Flow
from rgflow.photographs.pictures import as_seen, image_of
from rgflow.photographs.restoring import Around, restore

ODD_EXCESS, NEIGHBOUR_EXCESS = 25.0, 12.0
"""Excess in nats above which a pixel is odd, and above which a neighbour of an odd pixel is."""
MIN_STEP, MIN_STEP_RATIO = 4, 2
"""A pixel is judged by the flow if it is above all but one of its neighbours, or below, in a
channel: by more than `MIN_STEP` levels, and by more than 1/`MIN_STEP_RATIO` of their range. Few
pixels are, which saves most evaluations."""
MAX_ROUNDS = 4
"""Number of times that what was found is restored and judged again."""
MIN_SHAPE_PIXELS = 12
"""Smallest shape of one colour or brightness that counts as damage, in pixels."""
MAX_SHAPE_SHARE, MAX_THICKNESS = 0.05, 3
"""Largest such shape, as a share of the picture; larger ones count if they have at most
`MAX_THICKNESS` pixels per pixel of edge."""
NARROW_WIDTH = 11
"""Width in pixels from which a shape isn't narrow."""
NARROW_CONTRAST = 10
"""Levels by which a narrow shape differs at least from what surrounds it."""
EDGE_CONTRAST, MIN_SHARP_SHARE = 6, 0.65
"""Levels by which a shape of exactly one colour differs from what surrounds it, at this share of
its edge at least."""
BLACK, WHITE = 6, 243
"""The brightest black and the darkest white: JPEG gives white lines some of the colour beside them,
which makes them darker."""
MAX_SOFTNESS, MAX_EXTREME_SOFTNESS = 0.2, 0.4
"""Maximum contrast beside a shape of one brightness, in units of its own: what a lens has drawn is
softer. The latter if it is black or white, as few other things are."""
EIGHT_NEIGHBOURS = generate_binary_structure(2, 2)


@dataclass(frozen=True, eq=False)
class Damage:
    """What is damaged in a photograph.

    Attributes:
        found: Where there is damage, [H, W].
        excess: How much less likely than usual pixels are, in nats, [H, W]: given the restored
            photograph where that was judged, and NaN where nothing looks like damage.
    """

    found: Mask
    excess: NDArray[np.float32]


@torch.no_grad()
def find_damage(
    flow: Flow,
    image: Tensor,
    *,
    odd: float = ODD_EXCESS,
    loss: float = 0.0,
    progress: Callable[[float], None] | None = None,
) -> Damage:
    """Find dead pixels, dust, scratches, text and lost patches.

    Args:
        flow: A flow of windows, of any size.
        image: uint8 [C, H, W].
        odd: Excess in nats above which a pixel is odd; larger values find less.
        loss: Standard error of the brightness after compression, in levels, as
            `rgflow.photographs.pictures.read` finds it; 0: nothing was lost.
        progress: Called with the share of the work that is done.

    Raises:
        ValueError: If the flow is of another kind, or its coarse images are averages.

    Example:
        >>> from rgflow import load_flow
        >>> image = torch.full((3, 40, 60), 99, dtype=torch.uint8)
        >>> image[:, 7, 20] = 255
        >>> np.argwhere(find_damage(load_flow("photos"), image).found).tolist()
        [[7, 20]]
    """
    around, pixels = Around(flow, image), image.cpu().numpy()
    excess = np.full(pixels.shape[1:], np.nan, dtype=np.float32)

    def judge(by: Around, where: Mask, told: Callable[[float], None] | None) -> None:
        sites = np.argwhere(where)
        excess[where] = by.excess(torch.as_tensor(sites), image, told).numpy()

    stages = 1 + 2 * MAX_ROUNDS
    stage = iter([progress and partial(_tell, progress, k, stages) for k in range(stages)])
    judge(around, _conspicuous(pixels), next(stage))
    clipped = ((pixels == 0) | (pixels == 255)).all(0)  # which flows find less unlikely
    narrow = _narrow(pixels, loss)
    whole = narrow if loss else _flat(pixels)
    found = (excess > np.where(clipped, min(odd, NEIGHBOUR_EXCESS), odd)) | narrow | whole
    for _ in range(MAX_ROUNDS):
        if not found.any() or found.all():
            break
        restored = Around(flow, restore(flow, image, found, sweeps=2, progress=next(stage)))
        judged = binary_dilation(found, EIGHT_NEIGHBOURS)
        judge(restored, judged, next(stage))
        new, stays = judged & (excess > NEIGHBOUR_EXCESS), _unlikely(found, excess)
        if loss:
            new &= binary_dilation(stays, EIGHT_NEIGHBOURS)
        new |= stays & whole  # as some pixels of a shape make others likely
        if (new == found).all():
            break
        found = new
    if loss:  # which blurs the edges of damage
        found = binary_dilation(found, EIGHT_NEIGHBOURS)
    return Damage(found, excess)


def _tell(progress: Callable[[float], None], stage: int, count: int, share: float) -> None:
    """Report progress, given the share of one of several stages."""
    progress((stage + share) / count)


def _conspicuous(image: NDArray[np.uint8]) -> Mask:
    """Where some channel is well above, or below, all but one of the neighbours."""
    out = np.zeros(image.shape[1:], dtype=bool)
    for channel in image.astype(np.int16):
        (high, most), (low, least) = _largest_beside(channel), _largest_beside(-channel)
        for rise, second, end in ((channel - high, high, least), (-channel - low, low, most)):
            out |= (rise > MIN_STEP) & (
                MIN_STEP_RATIO * rise > second + end
            )  # which is their range
    return out


def _largest_beside(values: NDArray[np.int16]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """The second largest of the neighbours of every pixel, and the largest; outside, −999."""
    wide = np.pad(values, 1, constant_values=-999)
    second = most = np.full_like(values, -999)
    for i, j in product(range(3), range(3)):
        if (i, j) != (1, 1):
            beside = wide[i : i + len(values), j : j + values.shape[1]]
            second = np.maximum(second, np.minimum(most, beside))
            most = np.maximum(most, beside)
    return second, most


def _narrow(image: NDArray[np.uint8], loss: float) -> Mask:
    """Narrow shapes that look like damage: black, white or, after compression with loss, of any one
    brightness; loss is that of `find_damage`."""
    grey = np.asarray(image_of(as_seen(image, 3 if len(image) == 3 else 1)).convert("L"))
    white, black = grey >= WHITE - 2 * loss, grey <= BLACK + 2 * loss
    out = np.zeros(grey.shape, dtype=bool)
    for contrast, extreme in (
        (grey - grey_opening(grey, (NARROW_WIDTH, NARROW_WIDTH)), white),
        (grey_closing(grey, (NARROW_WIDTH, NARROW_WIDTH)) - grey, black),
    ):
        narrow = contrast > NARROW_CONTRAST + 4 * loss
        out |= _hard(narrow & extreme, contrast, MAX_EXTREME_SOFTNESS)
        for start in (0.0, 2.5 * loss) if loss else ():  # as a range may end amid a shape
            ranges = 1 + ((grey + start) // (5 * loss)).astype(int)
            out |= _hard(np.where(narrow & ~extreme, ranges, 0), contrast, MAX_SOFTNESS)
    return out


def _hard(colours: NDArray[Any], contrast: NDArray[np.uint8], soft: float) -> Mask:
    """The connected shapes of one colour, which isn't 0, beside which there is little contrast."""
    names = label(colours, connectivity=2)
    sizes = np.bincount(names.ravel())
    inside = np.bincount(names.ravel(), contrast.ravel()) / sizes
    beside, edges = np.zeros(len(sizes)), np.zeros(len(sizes))
    for own, other in _pairs():
        end = (names[own] != names[other]) & (names[other] > 0)
        beside += np.bincount(names[other][end], contrast[own][end], len(sizes))
        edges += np.bincount(names[other][end], minlength=len(sizes))
    fits = (sizes >= MIN_SHAPE_PIXELS) & (beside <= soft * edges * inside)
    return np.asarray((names > 0) & fits[names])


def _flat(image: NDArray[np.uint8]) -> Mask:
    """The connected shapes of exactly one colour whose edges are sharp."""
    colours = np.zeros(image.shape[1:], dtype=int)
    for channel in image:
        colours = colours << 8 | channel
    names = label(colours, background=-1, connectivity=2)
    sizes = np.bincount(names.ravel())
    edges, sharp = np.zeros((2, len(sizes)), dtype=int)
    for own, other in _pairs():
        end = names[own] != names[other]
        step = np.abs(image[:, *own].astype(np.int16) - image[:, *other]).max(0) > EDGE_CONTRAST
        edges += np.bincount(names[own][end], minlength=len(sizes))
        sharp += np.bincount(names[own][end & step], minlength=len(sizes))
    fits = (sizes <= MAX_SHAPE_SHARE * names.size) | (sizes <= MAX_THICKNESS * edges)
    return np.asarray(
        ((sizes >= MIN_SHAPE_PIXELS) & fits & (sharp >= MIN_SHARP_SHARE * edges))[names]
    )


def _pairs() -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Where all pixels [H, W] lie that have a neighbour, and where it lies: four times."""
    whole, first, last = slice(None), slice(None, -1), slice(1, None)
    for own, other in ((first, last), (last, first)):
        yield (own, whole), (other, whole)
        yield (whole, own), (whole, other)


def _unlikely(found: Mask, excess: NDArray[np.float32]) -> Mask:
    """The connected shapes that are unlikely as a whole."""
    names = label(found, connectivity=2)
    own = names[found]
    mean = np.bincount(own, excess[found]) / np.maximum(np.bincount(own), 1)
    return np.asarray((mean > NEIGHBOUR_EXCESS)[names])
