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

from rgflow.bijectors.cellwise import Cellwise
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
        latents: The log-density of every latent site, in the image layout [N, H, W]. Not in the
            sum: in cube coordinates it is 0 everywhere.
    """

    pixels: Tensor
    blocks: tuple[tuple[Tensor, ...], ...]
    latents: Tensor

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
    flow = with_blocks(flow)
    flow.refuse_labels("terms of cells")
    x = flow.to_reals(images, generator)
    n, channels, height, width = x.shape
    pixels = x.new_zeros(n, height, width)
    if flow.preprocess:  # its maps of pixels know nothing of one another
        apart = x.permute(0, 2, 3, 1).reshape(-1, channels, 1, 1)
        pixels = flow.preprocess(apart)[1].view(n, height, width)
        x = flow.preprocess(x)[0]
    if flow.domain == "real":
        pixels = pixels + flow.prior.log_prob(x).sum(1)
    levels, blocks = [], []
    for step in flow.steps:
        found = []
        for layer in step.cellwise:
            x, terms = _through(flow, layer, x)
            found.append(terms)
        x, stay = step.split(x)
        levels.append(stay)
        blocks.append(tuple(found))
    latents = flow.to_latents(levels)[0].image()
    return LocalTerms(pixels, tuple(blocks), flow.prior.log_prob(latents).sum(1))


def with_blocks(flow: Flow) -> RGFlow:
    """The flow, which must have blocks."""
    if not isinstance(flow, RGFlow):
        raise ValueError(
            f"Expected an RG-Flow, whose likelihood has a term for every block; got a "
            f"{type(flow).__name__}, which has no blocks."
        )
    return flow


def _through(flow: RGFlow, layer: Cellwise, x: Tensor) -> tuple[Tensor, Tensor]:
    """What comes out of a layer, and the term of each of its cells [N, p, q]."""
    cells, context = layer.read(x)
    y, terms = layer.bijector.forward(cells, context)
    if flow.domain == "real":  # what it is between uniform variables
        terms = terms + (flow.prior.log_prob(y) - flow.prior.log_prob(cells)).sum(1)
    return layer.write(x, y), terms.view(len(x), *layer.cells.shape)
