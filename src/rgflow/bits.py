"""Bits per dimension of 8-bit images under the density of a flow.

Letters in shapes: N images; C channels; H, W rows and columns; D = C·H·W.
"""

from typing import Protocol

import torch
from torch import Tensor

from rgflow.checks import check_whole
from rgflow.config import FlowConfig
from rgflow.numerics import Unit, name_of


class Density(Protocol):
    """What is asked of a flow."""

    config: FlowConfig

    @property
    def unit(self) -> Unit:
        """The unit of reported negative log-likelihoods."""
        ...

    def log_prob(
        self,
        images: Tensor,
        generator: torch.Generator | None = None,
        *,
        labels: Tensor | None = None,
    ) -> Tensor:
        """log p(x) of images [N, C, H, W], in nats [N]."""
        ...


@torch.no_grad()
def bits_per_dim(
    flow: Density,
    images: Tensor,
    draws: int = 1,
    seed: int = 0,
    labels: Tensor | None = None,
    batch_size: int = 500,
) -> Tensor:
    """Bits per dimension of 8-bit images: an upper bound, in expectation, on −log₂ P(x8)/D.

    The density is averaged over noise, E[log p(x8 + u)] ≤ log P(x8) by Jensen's inequality
    (Theis et al. 2016, section 3.1), so every draw is an unbiased estimate of the bound.

    Args:
        flow: The flow.
        images: uint8 [N, C, H, W].
        draws: Number of draws of the noise over which the log-densities are averaged.
        seed: Seed of the noise; the noise of an image also depends on its index.
        labels: Labels of the images, [N].
        batch_size: Images at a time.

    Returns:
        Bits per dimension [N].

    Raises:
        ValueError: If the images aren't uint8, or the flow is for real-valued fields, or for
            images smaller than its grid.

    Example:
        >>> from rgflow import AffineMap, FlowConfig, RGFlow
        >>> flow = RGFlow(FlowConfig(height=8, width=8, map=AffineMap(depth=1, hidden=16)))
        >>> x8 = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8)
        >>> bits_per_dim(flow, x8, draws=2).shape
        torch.Size([2])
    """
    check_whole("draws", draws, 1)
    check_whole("batch_size", batch_size, 1)
    if flow.config.pixels is None or images.dtype != torch.uint8:
        what = "fields" if flow.config.pixels is None else name_of(images.dtype)
        raise ValueError(f"Expected uint8 images, as bits are of bytes; got {what}: use log_prob.")
    if inside := flow.config.geometry.inside:
        raise ValueError(
            f"Expected a flow whose images fill its grid; got one of {inside[0]}×{inside[1]} "
            f"pixels: use rgflow.photographs.bits."
        )
    generator, total = torch.Generator().manual_seed(seed), torch.zeros(len(images))
    for _ in range(draws):
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            of_part = None if labels is None else labels[part]
            found = flow.log_prob(images[part], generator, labels=of_part)
            total[part] += found.to(total)
    return flow.unit(total / draws).to(images.device)
