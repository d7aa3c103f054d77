"""The log-likelihood of images place by place.

It is a sum with a term for every pixel and one for every block of every layer. Here it is given in
cube coordinates, in which the prior is uniform: there, the term of a block says how much likelier
its input is than independent draws from the prior, whatever space the flow itself works in. On the
real line this is the log-determinant of the block, plus the prior's log-density at its output,
minus that at its input; in the sum, only the input of the first layer and the outputs of the last
ones remain.

Letters in shapes: N images; C channels; H, W rows and columns; p, q rows and columns of blocks.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from rgflow.flow import Flow
from rgflow.model import RGFlow


@dataclass(frozen=True, eq=False)
class LocalTerms:
    """The log-likelihood of N images, in nats, as the sum of its parts, place by place.

    Attributes:
        pixels: The log-density that every pixel would have if the input of the steps were draws
            from the prior, [N, H, W].
        blocks: For every level, level 0 first, and each of its layers: what every block adds to
            that, [N, p, q].
    """

    pixels: Tensor
    blocks: tuple[tuple[Tensor, ...], ...]

    @property
    def total(self) -> Tensor:
        """log p(x), [N]."""
        parts = [self.pixels, *(block for layers in self.blocks for block in layers)]
        return torch.stack([part.flatten(1).sum(1) for part in parts]).sum(0)


def local_terms(flow: Flow, images: Tensor, generator: torch.Generator | None = None) -> LocalTerms:
    """log p(x) of images [N, C, H, W] place by place, in an RG-Flow; `Flow.terms` gives it level by
    level.

    Raises:
        ValueError: If the flow has no blocks, or an image doesn't fit.

    Example:
        >>> from rgflow import AffineMap, FlowConfig
        >>> flow = RGFlow(FlowConfig(height=8, width=8, map=AffineMap(depth=1, hidden=16)))
        >>> x8 = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8)
        >>> terms = local_terms(flow, x8)
        >>> [[tuple(block.shape) for block in layers] for layers in terms.blocks]
        [[(2, 2, 2), (2, 2, 2)], [(2, 1, 1), (2, 1, 1)]]
        >>> torch.allclose(terms.total, flow.log_prob(x8))
        True
    """
    if not isinstance(flow, RGFlow):
        raise ValueError(
            f"Expected an RG-Flow, whose likelihood has a term for every block; got a "
            f"{type(flow).__name__}, which has no blocks."
        )
    flow.refuse_labels("terms of cells")
    x = flow.to_reals(images, generator)
    n, channels, height, width = x.shape
    # The maps of pixels know nothing of one another.
    apart = x.permute(0, 2, 3, 1).reshape(-1, channels, 1, 1)
    pixels = flow.from_images(apart)[1].view(n, height, width)
    x = flow.from_images(x)[0]
    real = flow.domain == "real"
    if real:
        pixels = pixels + flow.prior.log_prob(x).sum(1)
    blocks: list[list[Tensor]] = []
    for visit in flow.walk(x):
        y, terms = visit.mapped
        if real:  # what it is between uniform variables
            terms = terms + (flow.prior.log_prob(y) - flow.prior.log_prob(visit.read[0])).sum(1)
        if visit.first:
            blocks.append([])
        blocks[-1].append(terms.view(n, *visit.layer.cells.shape))
    return LocalTerms(pixels, tuple(map(tuple, blocks)))
