"""Where images are surprising: an image, what every level says of it, the region proposed.

Letters in shapes: N images; C channels; H, W rows and columns.
"""

from collections.abc import Sequence

import torch
from PIL import Image, ImageColor
from torch import Tensor
from torch.nn import functional as F

from rgflow.figures.charts import RED
from rgflow.figures.fields import heat
from rgflow.figures.images import to_bytes
from rgflow.figures.panels import arranged, panel, titled
from rgflow.lattice import Mask
from rgflow.repair.surprise import Proposal, Surprise

WHITE = "#ffffff"
"""Colour around the region that is really corrupted."""


def surprises(
    images: Tensor,
    found: Surprise,
    proposal: Proposal,
    *,
    truth: Mask | None = None,
    rows: Sequence[str] = (),
    scale: int = 4,
) -> Image.Image:
    """A row for every image: the image, its surprise by level and in all, and what is proposed.

    A column is drawn from 0 (dark) to its highest value, so its maps can be compared.

    Args:
        images: [N, C, H, W], uint8 or reals in [0, 256).
        found: Their maps.
        proposal: The regions proposed, outlined in red.
        truth: The regions that are corrupted, [N, H, W], outlined in white; None: unknown.
        rows: A name for each image; empty: no names.
    """
    pictures = images if images.dtype == torch.uint8 else to_bytes(images)
    if pictures.shape[1] == 1:
        pictures = pictures.expand(-1, 3, -1, -1)
    maps = torch.cat((found.levels, found.map[:, None]), 1)
    highest = maps.amax((0, 2, 3), keepdim=True)
    shares = maps / highest.clamp(min=torch.finfo(maps.dtype).tiny)
    n, columns = shares.shape[:2]
    heats = torch.stack([_up_to_1(share) for share in shares.flatten(0, 1)])
    cells = torch.cat((pictures[:, None].cpu(), heats.unflatten(0, (n, columns))), 1)
    cells = torch.cat((cells, pictures[:, None].cpu()), 1)
    large = cells.repeat_interleave(scale, 3).repeat_interleave(scale, 4)
    if truth is not None:
        for column in (-2, -1):
            _outline(large[:, column], truth, WHITE, scale)
    _outline(large[:, -1], proposal.masks, RED, scale)
    names = ["image", *(f"h = {h}" for h in range(columns - 1)), "all levels", "proposed"]
    body = panel(large, scale=1, rows=rows, columns=names)
    title = "Surprise by level; in red what is proposed"
    title += ", in white what is corrupted" if truth is not None else ""
    return arranged([titled(title, body)])


def _up_to_1(share: Tensor) -> Tensor:
    """A map [H, W] of values of up to 1 in colours, uint8 [3, H, W]."""
    # Colours go up to the largest value, so it is added and taken away again.
    return heat(F.pad(share, (0, 0, 0, 1), value=1.0))[:, :-1]


def _outline(pictures: Tensor, masks: Mask, colour: str, scale: int) -> None:
    """Draw the edges of masks [N, H, W] into pictures [N, 3, H·scale, W·scale]."""
    inside = torch.from_numpy(masks).float()[:, None]
    inside = inside.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    outside = F.max_pool2d(F.pad(1 - inside, (2, 2, 2, 2), value=1.0), 5, 1)
    edge = (inside * outside > 0)[:, 0]
    pictures.movedim(1, -1)[edge] = torch.tensor(ImageColor.getrgb(colour), dtype=torch.uint8)
