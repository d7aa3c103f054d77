"""How good the samples of a flow are, in Fréchet distances.

Letters in shapes: N test images, and as many samples; M training images; C channels; H, W rows and
columns.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from rgflow.checks import check_whole
from rgflow.flow import Flow
from rgflow.metrics.frechet import (
    Features,
    FrechetDistance,
    compare,
    extract,
    pixel_components,
)
from rgflow.text import Report, counter

COMPONENTS = 64
"""Of the pixels, at the most."""


@torch.no_grad()
def score(
    flow: Flow,
    train: Tensor,
    test: Tensor,
    *,
    more: Sequence[Features] = (),
    temperature: float | Sequence[float] = 1.0,
    seed: int = 0,
    batch_size: int = 64,
    labels: Tensor | None = None,
    progress: Report | None = None,
) -> tuple[Tensor, tuple[FrechetDistance, ...]]:
    """Draw as many samples as there are test images, and compare them with the training images.

    Args:
        train: Training images, [M, C, H, W], uint8.
        test: Test images, [N, C, H, W], uint8.
        more: Features beside the principal components of pixels, such as those of
            `rgflow.metrics.frechet.inception`.
        temperature: T of p^(1/T), one or one per level.
        seed: Of the first sample; sample k has `seed` + k.
        batch_size: Images at a time; the result depends on it by rounding only.
        labels: Of the test images, which the samples get, if the flow has labels.
        progress: Told of every batch.

    Returns:
        The samples [N, C, H, W], uint8, and the distances, each with its floor.

    Raises:
        ValueError: If the flow is one of real-valued fields, or images don't fit.

    Example:
        >>> from rgflow import AffineMap, FlowConfig, RGFlow
        >>> flow = RGFlow(FlowConfig(height=16, width=16, map=AffineMap(depth=1, hidden=8)))
        >>> train, test = torch.randint(256, (2, 30, 3, 16, 16), dtype=torch.uint8)
        >>> samples, distances = score(flow, train, test)
        >>> [(one.name, one.samples, one.references) for one in distances]
        [('FD-PCA30', 30, 30)]
    """
    check_whole("batch_size", batch_size, 1)
    if flow.config.pixels is None:
        raise ValueError("Expected a flow of images; this one is of real-valued fields.")

    kinds = [pixel_components(train, min(COMPONENTS, len(train), flow.dim)), *more]
    for kind in kinds:  # refuse unsuitable images now, rather than after sampling
        list(extract(train[:1], kind, 1))
    seeds, drawn = range(seed, seed + len(test)), list[Tensor]()
    advance = counter(progress, "sampling", len(test))
    for k in range(0, len(test), batch_size):
        z = flow.draw_each(seeds[k : k + batch_size], temperature)
        x = flow.decode(z, labels=None if labels is None else labels[k : k + batch_size])
        drawn.append(x.floor().clamp(0, 255).to(torch.uint8).cpu())  # as they would be saved
        advance(len(x))
    samples = torch.cat(drawn)
    total = 2 * len(test) + len(train)
    return samples, tuple(
        compare(
            samples,
            train,
            test,
            kind,
            temperature=temperature,
            seed=seed,
            batch_size=batch_size,
            progress=counter(progress, kind.distance_name, total),
        )
        for kind in kinds
    )
