"""Images with a corrupted region.

Letters in shapes: N images; C channels; H, W rows and columns.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rgflow.checks import check_name, check_whole
from rgflow.lattice import Mask

Kind = Literal["noise", "constant", "other", "elsewhere"]
"""Uniform noise; one colour; the same place of another image; another place of the same image."""
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, kw_only=True, eq=False)
class Corrupted:
    """Images [N, C, H, W] with one square of each replaced, and the squares as masks [N, H, W]."""

    images: Tensor
    masks: Mask


def corrupt(images: Tensor, kind: Kind, *, size: int = 10, seed: int = 0) -> Corrupted:
    """Replace a square of every image, at a random place.

    Args:
        images: uint8 [N, C, H, W].
        kind: What to replace it with.
        size: Edge of the squares.
        seed: Seed; what becomes of an image also depends on its index.

    Raises:
        ValueError: If the images aren't uint8 or are too small, or a single image has no other to
            take a patch from.

    Example:
        >>> black = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
        >>> found = corrupt(black, "constant", size=5)
        >>> found.masks.sum((1, 2)).tolist(), len(found.images[0].flatten(1).unique(dim=1).T)
        ([25, 25], 2)
    """
    check_name("the kind of corruption", kind, KINDS)
    check_whole("size", size, 1)
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise ValueError(
            f"Expected uint8 images [N, C, H, W] to corrupt; got {images.dtype} of shape "
            f"{list(images.shape)}."
        )
    n, channels, *shape = images.shape
    corners = np.indices([max(edge - size + 1, 0) for edge in shape]).reshape(2, -1).T
    if kind == "elsewhere":  # there must be room for a second square beside the first
        corners = corners[((corners >= size) | (corners + 2 * size <= shape)).any(1)]
    if not len(corners):
        raise ValueError(
            f"Expected smaller squares than {size}×{size} for images of {shape[0]}×{shape[1]}."
        )
    if kind == "other" and n < 2:
        raise ValueError("Expected at least two images to take patches from; got one.")
    out, masks = images.clone(), np.zeros((n, *shape), dtype=bool)
    for k in range(n):
        random = np.random.default_rng((seed, k))
        corner = corners[random.integers(len(corners))]
        if kind == "noise":
            numbers = random.integers(256, size=(channels, size, size), dtype=np.uint8)
            patch = torch.from_numpy(numbers)
        elif kind == "constant":
            patch = torch.from_numpy(random.integers(256, size=(channels, 1, 1), dtype=np.uint8))
        elif kind == "other":
            patch = _patch(images[(k + random.integers(1, n)) % n], corner, size)
        else:
            apart = corners[(np.abs(corners - corner) >= size).any(1)]
            patch = _patch(images[k], apart[random.integers(len(apart))], size)
        _patch(out[k], corner, size)[...] = patch
        _patch(torch.from_numpy(masks[k]), corner, size)[...] = True
    return Corrupted(images=out, masks=masks)


def _patch(image: Tensor, corner: NDArray[np.int64], size: int) -> Tensor:
    """A square of an image […, H, W], as a view."""
    i, j = corner.tolist()
    return image[..., i : i + size, j : j + size]
