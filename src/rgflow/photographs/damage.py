"""Finding damage in photographs: a network says how probable it is, pixel by pixel (`detector`).

It finds what `rgflow.photographs.simulation` makes: scratches, hairs, dust, cracks, folds, words,
dead pixels and missing blocks, soft or sharp, opaque or not, before and after compression with
loss. What is wide and translucent, such as stains, it leaves.

Letters in shapes: C channels; H, W rows and columns.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.filters import apply_hysteresis_threshold
from torch import Tensor

from rgflow.cells import Mask
from rgflow.checks import check_at_least
from rgflow.photographs.detector import probabilities

SENSITIVITY = 0.3
"""Marks fewer than a thousandth of the pixels of undamaged photographs."""


@dataclass(frozen=True, eq=False)
class Damage:
    """What is damaged in a photograph.

    Attributes:
        found: Where there is damage, [H, W].
        probability: How probable it is there, [H, W].
    """

    found: Mask
    probability: NDArray[np.float32]


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
            sensitivity, and so are pixels beside it of half that probability, and beside those.
        progress: Called with the share of the work that is done.

    Raises:
        ValueError: If the sensitivity isn't between 0 and 1.

    Example:
        >>> import torch
        >>> image = torch.full((3, 40, 60), 99, dtype=torch.uint8)
        >>> image[:, 7, 20] = 255
        >>> np.argwhere(find_damage(image).found).tolist()
        [[7, 20]]
    """
    check_at_least("sensitivity", sensitivity, 0, 1)
    probability = probabilities(image, progress=progress)
    return Damage(marked_of(probability, sensitivity), probability)


def marked_of(probability: NDArray[np.float32], sensitivity: float) -> Mask:
    """What `find_damage` marks where damage has this probability, [H, W].

    Example:
        >>> marked_of(np.array([[0.9, 0.5, 0.1, 0.5]], dtype=np.float32), 0.3)
        array([[ True,  True, False, False]])
    """
    least = 1 - sensitivity
    return np.asarray(apply_hysteresis_threshold(probability, least / 2, least))
