"""Mixing: images whose latents are those of one image, of another, or between them, by level.

Shares describe a mixture: λ of the second image at every level, level 0 first. With λ = 1 for h < Θ
and 0 above it is the paper's hyperbolic mixing (eq. 15), with the same λ everywhere linear mixing.

Letters in shapes: N pairs of images; K shares; C channels; H, W rows and columns.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rgflow.analysis.levels import Progress, decode_each
from rgflow.checks import check_whole
from rgflow.flow import Flow
from rgflow.latents import Latents

Shares = tuple[float, ...]
"""λ of the second image at every level, level 0 first."""


def hyperbolic(levels: int, threshold: int) -> Shares:
    """The levels h ≥ Θ of one image with the levels h < Θ of another (paper, eq. 15).

    Args:
        levels: Number of levels.
        threshold: Θ, from 0 (all of the first image) to the number of levels (all of the second).

    Raises:
        ValueError: If it is another number.

    Example:
        >>> hyperbolic(4, 3)
        (1.0, 1.0, 1.0, 0.0)
    """
    check_whole("the threshold Θ", threshold, 0, levels)
    return (1.0,) * threshold + (0.0,) * (levels - threshold)


def every_threshold(levels: int) -> list[Shares]:
    """The hyperbolic mixtures for every Θ from 0 to h_L + 1."""
    return [hyperbolic(levels, threshold) for threshold in range(levels + 1)]


def mix(
    flow: Flow,
    first: Latents,
    second: Latents,
    shares: Sequence[Sequence[float]],
    *,
    progress: Progress | None = None,
) -> Tensor:
    """Mix pairs of images in several ways.

    Args:
        flow: The flow.
        first: Latents of N images.
        second: Latents of as many.
        shares: K ways to mix, each with λ of the second image at every level.
        progress: As for `decode`, N·K images in all.

    Returns:
        Images [N, K, C, H, W].

    Raises:
        ValueError: If the numbers of images or of levels don't fit, a share isn't finite, or there
            is nothing to mix.

    Example:
        >>> from rgflow import AffineMap, FlowConfig, RGFlow
        >>> flow = RGFlow(FlowConfig(height=16, width=16, map=AffineMap(depth=1, hidden=8)))
        >>> a, b = flow.draw_each([0, 1]), flow.draw_each([2, 3])
        >>> images = mix(flow, a, b, every_threshold(flow.levels))
        >>> images.shape
        torch.Size([2, 4, 3, 16, 16])
        >>> torch.equal(images[:, 0], flow.decode(a))  # Θ = 0
        True
    """
    if not all(math.isfinite(share) for way in shares for share in way):
        raise ValueError(f"Expected finite shares; got {[list(way) for way in shares]}.")
    return decode_each(flow, [first.mix(second, way) for way in shares], progress=progress)


def mixing_grid(
    flow: Flow,
    high: Latents,
    low: Latents,
    threshold: int,
    *,
    progress: Progress | None = None,
) -> Tensor:
    """Every image's high levels with every image's low levels, as in the paper's Fig. 7c.

    Args:
        flow: The flow.
        high: Of the images that the levels h ≥ Θ are taken from.
        low: Of those that the levels h < Θ are taken from.
        threshold: Θ.
        progress: As for `decode`, len(low)·len(high) images in all.

    Returns:
        Images [len(low), len(high), C, H, W].

    Raises:
        ValueError: If Θ is out of range, or the latents don't fit.
    """
    shares = hyperbolic(flow.levels, threshold)
    rows, columns = torch.meshgrid(torch.arange(len(low)), torch.arange(len(high)), indexing="ij")
    above, below = high.select(columns.flatten()), low.select(rows.flatten())
    images = mix(flow, above, below, [shares], progress=progress)
    return images[:, 0].unflatten(0, (len(low), len(high)))
