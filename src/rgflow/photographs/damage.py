"""Finding damage in photographs: pixels that the flow doesn't expect, and shapes of one colour.

A pixel is odd if it is far less likely, given all others, than the median of its distribution. So
little is odd in noise and texture, but a speck of dust in a smooth sky is. Pixels of a scratch, a
letter or a lost block expect each other instead. What these look like is a candidate: a shape of
exactly one colour or, where compression with loss has blurred it, a narrow one that is nearly black
or white. Odd pixels and candidates are restored, and judged again by what then surrounds them.

Letters in shapes: C channels; H, W rows and columns.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import (  # type: ignore[attr-defined]  # which are found when it runs
    binary_dilation,
    distance_transform_cdt,
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

ODD, BESIDE = 25.0, 12.0
"""Excess in nats above which a pixel is odd, and above which a neighbour of an odd pixel is."""
APART = 4
"""Levels by which an odd pixel is above all but one of its neighbours, or below, in a channel; few
pixels are, and only these are judged by the flow."""
ROUNDS = 4
FLAT, LARGEST, THIN = 12, 0.05, 3
"""Limits for a lost patch of one colour: its minimum number of connected pixels; its maximum share
of the picture, unless it is a line; and the maximum distance of a line's pixels from its edge."""
CONTRAST, NARROW, BLACK, WHITE = 10, 11, 6, 243
"""Limits for a shape that compression has blurred, where little was lost: by how many levels its
brightness differs from what surrounds it; the width from which it isn't narrow; the brightness of
black and of white ones. Chosen on validation photographs of `wallpapers`."""
EDGES = generate_binary_structure(2, 2)


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
    odd: float = ODD,
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
        ValueError: If the flow is of another kind.

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

    stage = _stages(progress, 1 + 2 * ROUNDS)
    judge(around, _apart(pixels), next(stage))
    found = (excess > odd) | (_extreme(pixels, loss) if loss else _exact(pixels))
    for _ in range(ROUNDS):
        if not found.any() or found.all():
            break
        restored = Around(flow, restore(flow, image, found, sweeps=2, progress=next(stage)))
        judged = binary_dilation(found, EDGES)
        judge(restored, judged, next(stage))
        new = judged & (excess > BESIDE)
        if loss:  # which hides some pixels of a shape
            stays = _unlikely(found, excess)
            new = stays | (new & binary_dilation(stays, EDGES))
        if (new == found).all():
            break
        found = new
    if loss:  # which blurs the edges of damage
        found = binary_dilation(found, EDGES)
    return Damage(found, excess)


def _stages(
    progress: Callable[[float], None] | None, count: int
) -> Iterator[Callable[[float], None] | None]:
    """For each of so many stages, what to call with the share of it that is done."""
    for k in range(count):

        def told(share: float, k: int = k) -> None:
            if progress:
                progress((k + share) / count)

        yield told if progress else None


def _apart(image: NDArray[np.uint8]) -> Mask:
    """Where some channel is above, or below, all but one of the neighbours by more than `APART`."""
    out = np.zeros(image.shape[1:], dtype=bool)
    for channel in image.astype(np.int16):
        for values in (channel, -channel):
            wide = np.pad(values, 1, constant_values=np.iinfo(np.int16).min)
            most = second = np.full_like(values, np.iinfo(np.int16).min)
            for i, j in product(range(3), range(3)):
                if (i, j) != (1, 1):
                    beside = wide[i : i + len(values), j : j + values.shape[1]]
                    second = np.maximum(second, np.minimum(most, beside))
                    most = np.maximum(most, beside)
            out |= values > second + APART
    return out


def _exact(image: NDArray[np.uint8]) -> Mask:
    """Where neighbours have exactly one colour."""
    code = np.zeros(image.shape[1:], dtype=np.int64)
    for channel in image:
        code = code << 8 | channel
    names = label(code, background=-1, connectivity=2)
    sizes = np.bincount(names.ravel())
    flat = (sizes >= FLAT)[names]
    depth = np.zeros(len(sizes))
    np.maximum.at(depth, names[flat], distance_transform_cdt(flat, "chessboard")[flat])
    fits = (sizes <= LARGEST * names.size) | (depth <= THIN)
    return np.asarray(flat & fits[names])


def _extreme(image: NDArray[np.uint8], loss: float) -> Mask:
    """Narrow shapes that are nearly white or black."""
    grey = _grey(image)
    narrow = _narrow(grey, CONTRAST + 4 * loss)
    out = np.zeros(grey.shape, dtype=bool)
    for extreme in (grey <= BLACK + 2 * loss, grey >= WHITE - 2 * loss):
        names = label(narrow & extreme, connectivity=2)
        sizes = np.bincount(names.ravel())
        sizes[0] = 0
        out |= (sizes >= FLAT)[names]
    return out


def _grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Brightness, [H, W]."""
    return np.asarray(image_of(as_seen(image, 3 if len(image) == 3 else 1)).convert("L"))


def _narrow(grey: NDArray[np.uint8], contrast: float) -> Mask:
    """Where pixels are part of something narrow, brighter or darker than what surrounds it."""
    size = NARROW, NARROW
    return np.maximum(grey - grey_opening(grey, size), grey_closing(grey, size) - grey) > contrast


def _unlikely(found: Mask, excess: NDArray[np.float32]) -> Mask:
    """The connected shapes that are unlikely as a whole."""
    names = label(found, connectivity=2)
    own = names[found]
    mean = np.bincount(own, excess[found]) / np.maximum(np.bincount(own), 1)
    return np.asarray((mean > BESIDE)[names])
