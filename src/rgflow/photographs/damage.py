"""Finding damage in photographs: pixels that the flow doesn't expect, and flat patches.

A pixel is odd if it is far less likely, given all others, than the median of its distribution. So
little is odd in noise and texture, but a speck of dust in a smooth sky is. An odd pixel makes its
neighbours look odd, so odd pixels are restored and their neighbours judged again.

Letters in shapes: H, W rows and columns.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import (  # type: ignore[attr-defined]  # which are found when it runs
    binary_dilation,
    distance_transform_cdt,
    generate_binary_structure,
)
from skimage.measure import label
from torch import Tensor

from rgflow.cells import Mask
from rgflow.flow import Flow
from rgflow.photographs.restoring import Around, restore

ODD, BESIDE = 25.0, 12.0
"""Excess in nats above which a pixel is odd, and above which a neighbour of an odd pixel is."""
ROUNDS = 4
FLAT, LARGEST, THIN = 12, 0.05, 3
"""Limits for a lost patch of one colour: its minimum number of connected pixels; its maximum share
of the picture, unless it is a line; and the maximum distance of a line's pixels from its edge."""
EDGES = generate_binary_structure(2, 2)


@dataclass(frozen=True, eq=False)
class Damage:
    """What is damaged in a photograph.

    Attributes:
        found: Where there is damage, [H, W].
        excess: How much less likely than usual each pixel is, in nats, [H, W]; found pixels and
            their neighbours are judged given the restored photograph.
    """

    found: Mask
    excess: NDArray[np.float32]


@torch.no_grad()
def find_damage(
    flow: Flow,
    image: Tensor,
    *,
    odd: float = ODD,
    progress: Callable[[float], None] | None = None,
) -> Damage:
    """Find dead pixels, dust, scratches, text and lost patches.

    Args:
        flow: A flow of windows, of any size.
        image: uint8 [C, H, W].
        odd: Excess in nats above which a pixel is odd; larger values find less.
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
    excess = Around(flow, image).excess_map(progress).numpy()
    found = (excess > odd) | _patches(image.cpu().numpy())
    for _ in range(ROUNDS):
        if not found.any() or found.all():
            break
        restored = Around(flow, restore(flow, image, found, sweeps=2))
        judged = np.argwhere(binary_dilation(found, EDGES))
        excess[tuple(judged.T)] = restored.excess(torch.as_tensor(judged), image).numpy()
        new = np.zeros_like(found)
        new[tuple(judged.T)] = excess[tuple(judged.T)] > BESIDE
        if (new == found).all():
            break
        found = new
    return Damage(found, excess)


def _patches(image: NDArray[np.uint8]) -> Mask:
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
