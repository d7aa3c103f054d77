"""Mixtures of images as in the paper's Fig. 7.

Letters in shapes: N images; K mixtures of each; C channels; H, W rows and columns.
"""

import torch
from PIL import Image
from torch import Tensor

from rgflow.figures.panels import GUTTER, arranged, beside, panel, pasted, titled


def thresholds(one_way: Tensor, other_way: Tensor, *, scale: int = 2) -> Image.Image:
    """Hyperbolic mixtures of pairs for every Θ, both ways (paper, Figs. 7a and 7b).

    Args:
        one_way: Of A with B, for every Θ from 0 (A itself) to h_L + 1 (B itself),
            [N, K, C, H, W].
        other_way: Of B with A, likewise.
        scale: Edge of a drawn pixel.
    """
    columns = [f"Θ = {threshold}" for threshold in range(one_way.shape[1])]
    groups = []
    for a, b in zip(one_way, other_way, strict=True):
        sources = torch.stack((a[[0, -1]], b[[0, -1]]))
        parts = (sources, ["high", "low"]), (torch.stack((a, b)), columns)
        panels = [panel(images, scale=scale, columns=names) for images, names in parts]
        groups.append(beside(panels, 2 * GUTTER))
    groups[0] = titled("Levels h ≥ Θ of one image, h < Θ of the other", groups[0])
    return arranged(groups)


def mixing_grid(
    images: Tensor, high: Tensor, low: Tensor, threshold: int, *, scale: int = 2
) -> Image.Image:
    """Every image's high levels with every image's low levels (paper, Fig. 7c).

    Args:
        images: [len(low), len(high), C, H, W].
        high: The images that the levels h ≥ Θ are from, which stand above.
        low: Those that the levels h < Θ are from, which stand on the left.
        threshold: Θ.
        scale: Edge of a drawn pixel.
    """
    body, above, left = (panel(x, scale=scale) for x in (images, high[None], low[:, None]))
    x, y = left.width + GUTTER, above.height + GUTTER
    size = (x + body.width, y + body.height)
    out = pasted(size, (above, (x, 0)), (left, (0, y)), (body, (x, y)))
    title = f"Levels h ≥ {threshold} from above, h < {threshold} from the left"
    return arranged([titled(title, out)])


def between(images: Tensor, *, scale: int = 2) -> Image.Image:
    """A mixture between the two images it is of: A, the mixture and B, [3, C, H, W]."""
    columns = ["A", "mixture", "B"]
    return arranged([panel(images[None], scale=scale, columns=columns)])
