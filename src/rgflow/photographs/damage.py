"""Finding damage in photographs: pixels that the flow doesn't expect, and flat patches.

A pixel is odd if it is far less likely, given all others, than the median of its distribution: in
noise and texture little is odd, in a smooth sky a speck of dust is. What is odd makes its
neighbours look odd; so what was found is restored, and the neighbours are judged again.

Letters in shapes: H, W rows and columns.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import (  # type: ignore[attr-defined]  # which are found when it runs
    binary_dilation,
    generate_binary_structure,
    label,
    mean,
)
from torch import Tensor

from rgflow.cells import Mask
from rgflow.flow import Flow
from rgflow.photographs.restoring import Around, restore

ODD, BESIDE = 25.0, 12.0
"""From how many nats on a pixel is odd, and how many it takes beside one."""
ROUNDS = 4
FLAT, LARGEST = 20, 0.05
"""Pixels of one colour that lie together, at the least, to be taken for a patch that is lost; and
the share of the picture that they are at the most."""
EDGES = generate_binary_structure(2, 2)


@torch.no_grad()
def find_damage(
    flow: Flow,
    image: Tensor,
    *,
    odd: float = ODD,
    progress: Callable[[float], None] | None = None,
) -> Mask:
    """Find dead pixels, dust, scratches, text and lost patches.

    Args:
        flow: Of windows, of any size.
        image: uint8 [C, H, W].
        odd: From how many nats on a pixel counts; more find less.
        progress: Called with the share of the work that is done.

    Returns:
        What is damaged, [H, W].

    Raises:
        ValueError: If the flow is of another kind.

    Example:
        >>> from rgflow import load_flow
        >>> image = torch.full((3, 40, 60), 99, dtype=torch.uint8)
        >>> image[:, 7, 20] = 255
        >>> np.argwhere(find_damage(load_flow("photos"), image)).tolist()
        [[7, 20]]
    """
    names, count = _patches(image.cpu().numpy())
    found = (Around(flow, image).excess_map(progress).numpy() > odd) | (names > 0)
    for _ in range(ROUNDS):
        if not found.any() or found.all():
            break
        restored = Around(flow, restore(flow, image, found, sweeps=2))
        judged = np.argwhere(binary_dilation(found, EDGES))
        excess = restored.excess(torch.as_tensor(judged), image).numpy()
        new = np.zeros_like(found)
        new[tuple(judged.T)] = excess > BESIDE
        if count:  # patches as a whole
            lost = mean(new, names, np.arange(1, count + 1)) > 0.5
            new = np.where(names > 0, np.concatenate(([False], lost))[names], new)
        if (new == found).all():
            break
        found = new
    return found


def _patches(image: NDArray[np.uint8]) -> tuple[NDArray[np.int32], int]:
    """Patches of exactly one colour, [H, W] by their numbers from 1 on, and how many there are."""
    alike = np.zeros((2, *image.shape[1:]), dtype=bool)
    for axis in (0, 1):
        same = (np.diff(image.astype(np.int16), axis=axis + 1) == 0).all(0)
        before, after = [slice(None)] * 2, [slice(None)] * 2
        before[axis], after[axis] = slice(1, None), slice(None, -1)
        alike[axis][tuple(before)] |= same
        alike[axis][tuple(after)] |= same
    names, count = label(alike.all(0))
    sizes = np.bincount(names.ravel(), minlength=count + 1)
    fits = (sizes >= FLAT) & (sizes <= LARGEST * names.size)
    names, count = label(fits[names] & (names > 0))
    return names, count
