"""Levels and temperatures: coarse to fine, one level drawn anew, the same seeds hot and cold.

Letters in shapes: N images; K draws; T temperatures; C channels; H, W rows and columns.
"""

import math
from collections.abc import Sequence

from PIL import Image
from torch import Tensor

from rgflow.analysis.levels import changes
from rgflow.figures.images import enlarged
from rgflow.figures.panels import arranged, beside, number, panel, titled


def progressive(
    stages: Sequence[Tensor], *, scale: int = 2, coarse_first: bool = True
) -> Image.Image:
    """Images at every level, a row for each (paper, Fig. 5a).

    Args:
        stages: x^(h) of every level, x^(0) first: [N, C, H/2^h, W/2^h], as `Flow.coarse` gives.
        coarse_first: From coarse to fine, as they are generated; otherwise from fine to coarse.
        scale: Edge of a drawn pixel.
    """
    large, columns = enlarged(stages), [f"h = {h}" for h in range(len(stages))]
    if coarse_first:
        large, columns = large.flip(1), columns[::-1]
    return arranged([panel(large, scale=scale, columns=columns)])


def resampled(originals: Tensor, images: Tensor, *, scale: int = 2) -> Image.Image:
    """Every image, and beside it what becomes of it as one level is drawn anew, a row per level.

    On the left is written by how many grey levels a pixel changes (root mean square).

    Args:
        originals: [N, C, H, W].
        images: With every level drawn anew in K ways, [N, levels, K, C, H, W].
        scale: Edge of a drawn pixel.
    """
    columns = [f"draw {k + 1}" for k in range(images.shape[2])]
    groups = []
    changed = changes(originals, images).tolist()
    for image, drawn, of_levels in zip(originals, images, changed, strict=True):
        rows = [f"level {h}: ±{number(change)}" for h, change in enumerate(of_levels)]
        whole = panel(image[None, None], scale=scale, columns=["image"])
        anew = panel(drawn.flip(0), scale=scale, rows=rows[::-1], columns=columns)
        groups.append(beside([whole, anew]))
    groups[0] = titled("The latents of one level drawn anew, all others kept", groups[0])
    return arranged(groups)


def mixed_temperatures(
    images: Tensor, low: Sequence[float], high: Sequence[float], split: int, *, scale: int = 1
) -> Image.Image:
    """The same seeds in every cell: temperatures of the low levels downwards, of the high ones
    across.

    Args:
        images: At all pairs of these temperatures, row by row, [T, N, C, H, W].
        low: Temperatures of the levels h < `split`.
        high: Temperatures of the others.
        split: Where the levels are split.
        scale: Edge of a drawn pixel.
    """
    n = images.shape[1]
    down = next(k for k in range(math.isqrt(n), 0, -1) if n % k == 0)
    parts = images.unflatten(1, (down, n // down))  # [T, down, across, C, H, W]
    cells = parts.permute(0, 3, 1, 4, 2, 5).flatten(2, 3).flatten(3, 4)
    body = panel(
        cells.unflatten(0, (len(low), len(high))),
        scale=scale,
        rows=[number(t) for t in low],
        columns=[number(t) for t in high],
    )
    below = "level 0" if split == 1 else f"levels 0 to {split - 1}"
    title = f"Temperature of {below}, downwards; of the levels above, across"
    return arranged([titled(title, body)])
