"""Mixtures of images as in the paper's Fig. 7, and paths from one image to another.

Letters in shapes: N images; C channels; H, W rows and columns.
"""

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from rgflow.analysis.mixing import Mixtures, Shares
from rgflow.figures.charts import INK, PALE, SOFT
from rgflow.figures.panels import GUTTER, arranged, beside, font, panel, pasted, text_width, titled

BAR = 8
"""Height of a bar that tells a share."""


def thresholds(one_way: Mixtures, other_way: Mixtures, *, scale: int = 2) -> Image.Image:
    """Hyperbolic mixtures of pairs for every Θ, both ways (paper, Figs. 7a and 7b).

    Args:
        one_way: Of A with B, for every Θ from 0 (A itself) to h_L + 1 (B itself).
        other_way: Of B with A.
        scale: Edge of a drawn pixel.
    """
    columns = [f"Θ = {threshold}" for threshold in range(len(one_way.shares))]
    groups = []
    for a, b in zip(one_way.images, other_way.images, strict=True):
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


def path_frames(
    paths: dict[str, Mixtures], *, scale: int = 4, ends: tuple[str, str] = ("A", "B")
) -> list[Image.Image]:
    """A picture for every step, for `animate`, of paths from one image to another side by side.

    Below each image bars tell how far each level has gone, the highest level first.

    Args:
        paths: By name, the mixtures of one pair of images, all in as many steps.
        ends: What the two images are called.
        scale: Edge of a drawn pixel.
    """
    first, *_ = paths.values()

    def drawn(path: Mixtures, k: int, name: str) -> Image.Image:
        return panel(path.images[:1, k, None], scale=scale, columns=[name])

    a, b = drawn(first, 0, ends[0]), drawn(first, -1, ends[1])
    frames = []
    for k in range(len(first.shares)):
        between = [_with_bars(drawn(path, k, name), path.shares[k]) for name, path in paths.items()]
        frames.append(arranged([beside([a, *between, b], 2 * GUTTER)]))
    return frames


def _with_bars(picture: Image.Image, shares: Shares) -> Image.Image:
    """A picture with a bar for every level below it, the highest level first."""
    line, left = BAR + 8, text_width("0") + GUTTER
    size = (picture.width, picture.height + line * len(shares))
    out = pasted(size, (picture, (0, 0)))
    draw = ImageDraw.Draw(out)
    for k, (level, share) in enumerate(reversed(list(enumerate(shares)))):
        y = picture.height + k * line + 6
        end = left + min(max(share, 0), 1) * (picture.width - left - 1)
        draw.text((0, y + BAR / 2), str(level), SOFT, font(), anchor="lm")
        draw.rectangle((left, y, picture.width - 1, y + BAR - 1), PALE)
        if share > 0:
            draw.rectangle((left, y, end, y + BAR - 1), INK)
    return out
