"""How likely images are under a flow: bits per dimension, with errors and the share of each level.

Letters in shapes: N images.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rgflow.flow import Flow, Terms
from rgflow.numerics import bits_per_dim


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Bits per dimension of a set of images.

    Attributes:
        bits_per_dim: Mean over the images.
        standard_error: Its standard error over the images; NaN for a single one.
        prior_bits: Share of the prior at each level, level 0 first, in bits per dimension.
        log_det_bits: Share of the log-determinant at each level.
        pixel_bits: Share of the pixel map. All shares add up to `bits_per_dim`.
        images: Number of images.
        seed: Seed of the noise that dequantised them.
    """

    bits_per_dim: float
    standard_error: float
    prior_bits: tuple[float, ...]
    log_det_bits: tuple[float, ...]
    pixel_bits: float
    images: int
    seed: int


@torch.no_grad()
def evaluate(
    flow: Flow,
    images: Tensor,
    *,
    seed: int = 0,
    batch_size: int = 250,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Bits per dimension of uint8 images, each with one draw of dequantisation noise.

    The flow is put into evaluation mode, so its networks compute in the parameters' format.

    Args:
        flow: The flow.
        images: [N, C, H, W], uint8.
        seed: Seed of the noise.
        batch_size: Images at a time; the result depends on it by rounding only.
        progress: Called with the number of images done.

    Raises:
        ValueError: If there are no images.

    Example:
        >>> from rgflow import FlowConfig, RGFlow
        >>> flow = RGFlow(FlowConfig(height=8, width=8, depth=1, hidden=8, pixels="marginal"))
        >>> x8 = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8)
        >>> round(evaluate(flow, x8).bits_per_dim, 3)  # an untrained flow, uniform pixels
        8.0
    """
    if not len(images):
        raise ValueError("Expected at least one image to evaluate; got none.")
    training = flow.training
    flow.eval()
    device = next(flow.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    parts = []
    for batch in images.split(batch_size):
        parts.append(flow.terms(batch.to(device), generator))
        if progress:
            progress(len(batch))
    flow.train(training)
    terms = Terms(
        torch.cat([t.prior for t in parts]).double(),
        torch.cat([t.log_det for t in parts]).double(),
        torch.cat([t.pixels for t in parts]).double(),
    )
    bits = bits_per_dim(terms.total, flow.dim)
    return Evaluation(
        bits_per_dim=bits.mean().item(),
        standard_error=(bits.std() / len(bits) ** 0.5).item() if len(bits) > 1 else float("nan"),
        prior_bits=tuple(bits_per_dim(terms.prior.mean(0), flow.dim).tolist()),
        log_det_bits=tuple(bits_per_dim(terms.log_det.mean(0), flow.dim).tolist()),
        pixel_bits=bits_per_dim(terms.pixels.mean(), flow.dim).item(),
        images=len(bits),
        seed=seed,
    )
