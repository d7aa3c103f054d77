"""Levels: what the latents of each level carry, and temperatures.

Letters in shapes: N images; K draws; T temperatures; C channels; H, W rows and columns.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from rgflow.checks import check_whole
from rgflow.flow import Flow
from rgflow.latents import Latents

Progress = Callable[[int], None]
"""Called with the number of images decoded since the last call."""
DECODED_AT_ONCE = 64
"""Images decoded at a time, to limit memory."""


@torch.no_grad()
def decode(
    flow: Flow,
    latents: Latents,
    *,
    batch_size: int = DECODED_AT_ONCE,
    progress: Progress | None = None,
) -> Tensor:
    """The images of any number of latents, on the CPU: `Flow.decode` in batches.

    Args:
        flow: The flow.
        latents: In the number format to compute in, on any device.
        batch_size: Images at a time; the result depends on it by rounding only.
        progress: Called after every batch.

    Returns:
        Reals [N, C, H, W] in the number format of the latents.

    Raises:
        ValueError: If the latents belong to a flow of another geometry.

    Example:
        >>> from rgflow import AffineMap, FlowConfig, RGFlow
        >>> flow = RGFlow(FlowConfig(height=16, width=16, map=AffineMap(depth=1, hidden=8)))
        >>> decode(flow, flow.draw_each(range(5)), batch_size=2).shape
        torch.Size([5, 3, 16, 16])
    """
    check_whole("batch_size", batch_size, 1)
    parts = []
    for k in range(0, len(latents), batch_size):
        part = latents.select(slice(k, k + batch_size))
        parts.append(flow.decode(part.to(device=flow.device)).cpu())
        if progress:
            progress(len(part))
    return torch.cat(parts)


@torch.no_grad()
def encode(
    flow: Flow, x: Tensor, *, batch_size: int = 128, progress: Progress | None = None
) -> Latents:
    """The latents of any number of images, on the CPU: `Flow.encode` in batches.

    Args:
        flow: The flow, whose number format the latents have.
        x: Images, reals [N, C, H, W].
        batch_size: Images at a time.
        progress: As for `decode`.
    """
    parts = []
    for part in x.split(batch_size):
        parts.append(flow.encode(part.to(flow.device), dtype=flow.dtype))
        if progress:
            progress(len(part))
    return Latents.cat(parts).to("cpu")


def decode_each(flow: Flow, ways: Iterable[Latents], *, progress: Progress | None = None) -> Tensor:
    """N images with their latents changed in K ways, [N, K, C, H, W].

    Args:
        flow: The flow.
        ways: For each of the K ways the latents of the N images.
        progress: As for `decode`.
    """
    latents = list(ways)
    images = decode(flow, Latents.cat(latents), progress=progress)
    return images.unflatten(0, (len(latents), -1)).transpose(0, 1)


def resample(
    flow: Flow,
    latents: Latents,
    *,
    draws: int = 4,
    temperature: float | Sequence[float] = 1.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Tensor:
    """Redraw the latents of each level in turn, and keep all others.

    Args:
        flow: The flow.
        latents: Of N images.
        draws: Draws K for every image and level.
        temperature: Of the draws: one, or one per level.
        seed: Of the first draw; draw k has seed + k, and is the same for every image.
        progress: As for `decode`, N·K·levels images in all.

    Returns:
        Images [N, levels, K, C, H, W].

    Raises:
        ValueError: If a number is out of range, or the latents are of another flow.

    Example:
        >>> from rgflow import AffineMap, FlowConfig, RGFlow
        >>> flow = RGFlow(FlowConfig(height=16, width=16, map=AffineMap(depth=1, hidden=8)))
        >>> resample(flow, flow.draw_each([0, 1]), draws=3).shape
        torch.Size([2, 3, 3, 3, 16, 16])
    """
    check_whole("draws", draws, 1)
    check_whole("seed", seed, 0)
    every = torch.zeros(len(latents), dtype=torch.int64)
    fresh = flow.draw_each(range(seed, seed + draws), temperature).to(latents.levels[-1])
    drawn = [fresh.select(every + k) for k in range(draws)]
    changed = [latents.replace(h, z.levels[h]) for h in range(flow.levels) for z in drawn]
    return decode_each(flow, changed, progress=progress).unflatten(1, (flow.levels, draws))


def changes(originals: Tensor, images: Tensor) -> Tensor:
    """How much each level carries of each image: the root mean square of the change of a pixel over
    draws, channels and pixels, [N, levels].

    Args:
        originals: The images themselves, [N, C, H, W].
        images: What `resample` makes of them, [N, levels, K, C, H, W].
    """
    return (images - originals[:, None, None]).square().mean((2, 3, 4, 5)).sqrt()


def at_temperatures(
    flow: Flow,
    seeds: Sequence[int],
    temperatures: Sequence[float | Sequence[float]],
    *,
    progress: Progress | None = None,
) -> Tensor:
    """Samples of the same seeds at several temperatures (paper, Appendix D).

    Args:
        flow: The flow.
        seeds: One for each of N images.
        temperatures: Each is one number (an effective temperature) or one per level (mixed).
        progress: As for `decode`, T·N images in all.

    Returns:
        Images [T, N, C, H, W].

    Raises:
        ValueError: If there are no seeds or temperatures, or these are out of range.

    Example:
        >>> from rgflow import AffineMap, FlowConfig, RGFlow
        >>> flow = RGFlow(FlowConfig(height=16, width=16, map=AffineMap(depth=1, hidden=8)))
        >>> at_temperatures(flow, [0, 1], [0.5, mixed_temperature(3, 1, 0.2, 0.6)]).shape
        torch.Size([2, 2, 3, 16, 16])
    """
    drawn = [flow.draw_each(seeds, temperature) for temperature in temperatures]
    return decode_each(flow, drawn, progress=progress).transpose(0, 1)


def mixed_temperature(levels: int, split: int, low: float, high: float) -> tuple[float, ...]:
    """One temperature for the levels below a split, another from it on.

    Args:
        levels: Number of levels.
        split: The first level with the high levels' temperature.
        low: Temperature of the levels below.
        high: Temperature of the others.

    Raises:
        ValueError: If the split isn't from 0 to the number of levels.

    Example:
        >>> mixed_temperature(4, 1, 0.2, 0.6)  # as in Fig. 6 of the paper
        (0.2, 0.6, 0.6, 0.6)
    """
    check_whole("the level from which on the temperature is the high levels'", split, 0, levels)
    return (low,) * split + (high,) * (levels - split)
