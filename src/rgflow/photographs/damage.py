"""Finding damage in photographs: a network says how probable it is, pixel by pixel (`detector`).

It finds what `rgflow.photographs.simulation` makes: scratches, hairs, dust, cracks, folds, words,
dead pixels and missing blocks, soft or sharp, opaque or not, before and after compression with
loss. What is wide and translucent, such as stains, it leaves. Pixels of exactly one colour that
touch are damaged together or not at all, so they share what the network says of them; and single
pixels are compared with their neighbours, which finds dead ones. Such damage was done to the file.
Any other was done to a print or a film, and rarely comes alone: where some is certain, more is
found.

Much damage is no hole: the picture shines through, and the network says what it was like.

Letters in shapes: C channels; H, W rows and columns.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import permutations, product
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import (  # type: ignore[attr-defined]  # which are found when it runs
    binary_dilation,
    maximum_filter,
)
from skimage.measure import label
from torch import Tensor

from rgflow.cells import Mask
from rgflow.checks import check_at_least
from rgflow.photographs.detector import calibrated, examine

MIN_SHAPE_PIXELS, MAX_SHAPE_SHARE, MAX_THICKNESS = 6, 0.02, 3
"""Fewest pixels of a shape of one colour, and most: a share of the picture, or so many for every
pixel of its edge."""
EDGE_CONTRAST, MIN_SHARP_SHARE = 6, 0.65
"""Levels by which its edge differs from what is beside it, at this share of the edge at least."""
SHAPE_FACTOR, MAX_SHAPES = 100.0, 0.1
"""How much more often such shapes are damage than the network says, unless they cover a larger
share of the picture, as in those of few colours."""
LONELY, LONELY_POWER = 2.7, 6
"""How often a pixel differs more from its neighbours than these from theirs where it's as probably
dead as not, and the power of that with which the odds rise; chosen on validation photographs."""
FILLED_ERROR = 5.0
"""Standard error of what fills a hole, in levels; chosen on validation photographs."""
SHAPE_PIXELS, SURE, NEAR, EDGE, FAINT = 4, 0.8, 4, 1, 0.1
"""Damage of a print has soft edges that can hardly be seen, but show once the rest is repaired. So
what has this many pixels in a square of 3×3, and is this probable so near, is marked this many
pixels farther, and three times as far where damage is at least this probable; chosen on validation
photographs, where no more is marked if nothing is damaged."""
SENSITIVITY = 0.5
"""By default; leaves the smallest error of repaired validation photographs, damaged or not."""


ROWS = 256
"""Of a band that is searched at a time."""


T = TypeVar("T", np.uint8, np.int16, np.float32)


@dataclass(frozen=True, eq=False)
class Damage:
    """What is damaged in a photograph.

    Attributes:
        found: What to repair, [H, W].
        probability: How probable damage is, [H, W].
        marks: The same, or that of damage whose soft edge a pixel belongs to, if that is larger,
            [H, W]: `found` is where it is above 1 − sensitivity.
        levels: What shines through, float16 [3, H, W].
        weight: That of these levels beside what fills a hole, float16 [H, W].
    """

    found: Mask
    probability: NDArray[np.float32]
    marks: NDArray[np.float32]
    levels: Tensor
    weight: Tensor


def find_damage(
    image: Tensor,
    *,
    sensitivity: float = SENSITIVITY,
    progress: Callable[[float], None] | None = None,
) -> Damage:
    """Find damage.

    Args:
        image: uint8 [1 or 3, H, W].
        sensitivity: Between 0 and 1: a pixel is marked if its probability of damage is above 1 −
            sensitivity, or if it is at the soft edge of such pixels.
        progress: Called with the share of the work that is done.

    Raises:
        ValueError: If the sensitivity isn't between 0 and 1.

    Example:
        >>> image = torch.full((3, 40, 60), 99, dtype=torch.uint8)
        >>> image[:, 7, 20] = 255
        >>> np.argwhere(find_damage(image).found).tolist()
        [[7, 20]]
    """
    check_at_least("sensitivity", sensitivity, 0, 1)
    pixels = image.cpu().numpy()
    shapes, alone = _shapes(pixels), _by_bands(_alone, pixels, 2)
    apart = _beside(shapes, alone)
    odd = np.empty(image.shape[1:], dtype=np.float32)
    through = torch.empty(4, *image.shape[1:], dtype=torch.float16)
    for part, said, levels, error in examine(image, progress=progress):
        odd[part] = said.numpy()
        through[:, *part] = torch.cat((levels, _weight(said, error)[None]))
    probability = np.maximum(_shared(shapes, calibrated(odd, apart)), alone)
    edges = _by_bands(_edges, np.where(apart, 0, probability), NEAR + 3 * EDGE)
    marks = np.maximum(probability, edges)
    return Damage(marks > 1 - sensitivity, probability, marks, through[:3], through[3])


def _by_bands(
    of: Callable[[NDArray[T]], NDArray[np.float32]], x: NDArray[T], rim: int
) -> NDArray[np.float32]:
    """What a function of an array [..., H, W] gives, [H, W], where rows depend on those at most
    `rim` away: bands of rows side by side, which takes less memory and time."""

    def band(top: int) -> NDArray[np.float32]:
        rows = slice(max(top - rim, 0), top + ROWS + rim)
        return of(x[..., rows, :])[top - rows.start :][:ROWS]

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return np.concatenate(list(pool.map(band, range(0, x.shape[-2], ROWS))))


def damaged_file(image: NDArray[np.uint8]) -> Mask:
    """Shapes of exactly one colour and dead pixels of an image [C, H, W], and what is beside them,
    [H, W]: damage of a file, which says nothing of a print's.

    Example:
        >>> image = np.full((3, 20, 20), 99, dtype=np.uint8)
        >>> image[:, 7, 8] = 255
        >>> np.argwhere(damaged_file(image)).mean(0), damaged_file(image).sum()
        (array([7., 8.]), np.int64(25))
    """
    return _beside(_shapes(image), _alone(image))


def _beside(shapes: NDArray[np.int32], alone: NDArray[np.float32]) -> Mask:
    return np.asarray(binary_dilation((shapes > 0) | (alone > 0.5), np.ones((3, 3)), 2))


def _edges(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """The highest probability among the shapes whose edge a pixel [H, W] may be, rounded down to
    255ths to save time and memory."""
    levels = (255 * probability).astype(np.uint8)
    largest = np.zeros((SHAPE_PIXELS, *levels.shape), dtype=np.uint8)
    for beside in (levels, *_neighbours(levels)):
        for larger in largest:
            larger[:], beside = np.maximum(larger, beside), np.minimum(larger, beside)
    shapes = np.minimum(levels, largest[-1])
    shapes[maximum_filter(levels, 2 * NEAR + 1) <= 255 * SURE] = 0
    near, far = (maximum_filter(shapes, 2 * reach + 1) for reach in (EDGE, 3 * EDGE))
    return np.asarray(np.where(probability > FAINT, far, near) / np.float32(255), np.float32)


def seen_through(image: Tensor, hole: Mask, filled: Tensor, found: Damage | None = None) -> Tensor:
    """Improve what fills a hole by what shines through the damage there.

    Where damage is probable, the levels that the network says and those of the filling are averaged
    with weights by their errors.

    Args:
        image: The damaged photograph, uint8 [1 or 3, H, W].
        hole: What is repaired, [H, W].
        filled: The photograph with that filled, as by `rgflow.photographs.restoring.restore`.
        found: What `find_damage` found in the photograph; None: it is looked at here.

    Returns:
        The photograph, uint8 [1 or 3, H, W].

    Example:
        >>> image = torch.full((3, 40, 60), 99, dtype=torch.uint8)
        >>> hole = np.eye(40, 60, dtype=bool)
        >>> bool((seen_through(image, hole, image) == image).all())
        True
    """
    filled = filled.cpu().clone()
    parts: Iterable[tuple[tuple[slice, ...], Tensor, Tensor]] = (
        (part, levels, _weight(probability, error))
        for part, probability, levels, error in examine(image, where=hole)
    )
    if found:
        parts = [((slice(None), slice(None)), found.levels, found.weight)]
    for part, levels, weight in parts:
        where = torch.from_numpy(hole[part])
        through = levels[:, where].float()
        through = through if len(image) == 3 else through.mean(0, keepdim=True)
        own = filled[:, *part][:, where].float()
        mixed = own.lerp(through, weight[where].float()).round().clamp(0, 255)
        filled[:, *part].masked_scatter_(where, mixed.to(torch.uint8))
    return filled


def _weight(probability: Tensor, error: Tensor) -> Tensor:
    """That of what the network says the levels were, [H, W], beside what fills a hole."""
    return probability / (1 + (error / FILLED_ERROR) ** 2)


def _shapes(image: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Numbers [H, W] of the sharp shapes of one colour of an image [C, H, W]; 0 elsewhere."""
    colours = np.zeros(image.shape[1:], dtype=np.int32)
    for channel in image:
        colours <<= 8
        colours |= channel
    names = label(colours, background=-1, connectivity=2)
    large = np.bincount(names.ravel()) >= MIN_SHAPE_PIXELS
    names = (np.cumsum(large, dtype=np.int32) * large)[names]  # 0 for all that are small
    sizes = np.bincount(names.ravel())
    edges, sharp = np.zeros((2, len(sizes)), dtype=int)
    for axis, (own, other) in product((1, 2), permutations((slice(None, -1), slice(1, None)))):
        (inside, own_levels), (beside, other_levels) = (
            (np.moveaxis(names, axis - 1, 0)[of], np.moveaxis(image, axis, 1)[:, of])
            for of in (own, other)
        )
        end = inside != beside
        step = _apart(own_levels, other_levels) > EDGE_CONTRAST
        edges += np.bincount(inside[end], minlength=len(sizes))
        sharp += np.bincount(inside[end & step], minlength=len(sizes))
    fits = (np.arange(len(sizes)) > 0) & (sharp >= MIN_SHARP_SHARE * edges)
    fits &= (sizes <= MAX_SHAPE_SHARE * names.size) | (sizes <= MAX_THICKNESS * edges)
    found = names * fits[names]
    return found if (found > 0).mean() <= MAX_SHAPES else np.zeros_like(found)


def _shared(shapes: NDArray[np.int32], probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities [H, W] where the pixels of a shape share theirs."""
    sizes = np.bincount(shapes.ravel())
    mean = np.bincount(shapes.ravel(), probability.ravel()) / np.maximum(sizes, 1)
    shared = (SHAPE_FACTOR * mean / (1 + (SHAPE_FACTOR - 1) * mean)).astype(np.float32)
    shared[0] = 0
    return np.maximum(probability, shared[shapes])


def _alone(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How probably pixels [H, W] are dead, by their mean difference from the four neighbours that
    are most like them (Garnett et al. 2005, doi 10.1109/TIP.2005.857261), beside the second largest
    that a neighbour has."""
    four = np.full((4, *image.shape[1:]), 255, dtype=np.uint8)
    for beside in _neighbours(image):
        difference = _apart(image, beside)
        for smaller in four:
            smaller[:], difference = (
                np.minimum(smaller, difference),
                np.maximum(smaller, difference),
            )
    own = four.sum(0, dtype=np.int16) // 4
    most, second = np.zeros((2, *own.shape), dtype=np.int16)
    for beside in _neighbours(own):
        most, second = np.maximum(most, beside), np.maximum(second, np.minimum(most, beside))
    odds = (own / (LONELY * (4 + second)).astype(np.float32)) ** LONELY_POWER
    return np.asarray(odds / (1 + odds), np.float32)


def _apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The largest difference of a channel between pixels [C, ...]."""
    return np.asarray((np.maximum(one, other) - np.minimum(one, other)).max(0))


def _neighbours(x: NDArray[T]) -> Iterator[NDArray[T]]:
    """The eight neighbours of all pixels [..., H, W]; beyond the edge are those before it."""
    wide = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(1, 1), (1, 1)], mode="symmetric")
    for i, j in product(range(3), range(3)):
        if (i, j) != (1, 1):
            yield wide[..., i : i + x.shape[-2], j : j + x.shape[-1]]
