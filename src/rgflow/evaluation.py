"""How likely images are under a flow: with errors, a tighter bound, and the share of each level.

An 8-bit image x8 has the probability P(x8) = ∫ p(x8 + u) du, u over [0, 1)^D. Every draw of the
noise u gives −log p(x8 + u), whose mean is at least −log P(x8) (Theis et al. 2016). The mean of p
itself over k draws gives the importance-weighted bound, −log (1/k) Σ_j p(x8 + u_j), whose mean is
still at least −log P(x8), never rises with k, and tends to it (Burda et al. 2016).

Letters in shapes: N images; K draws of noise.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from rgflow.bijectors.pixels import with_noise
from rgflow.checks import check_whole
from rgflow.flow import Flow, Terms
from rgflow.text import counter, mean_and_error


@dataclass(frozen=True)
class ImportanceBound:
    """The importance-weighted bound of some of the images, with its error over them."""

    draws: int
    """Of noise per image, k."""
    images: int
    nll: float
    standard_error: float
    gain: float
    """By how much `nll` is below the mean over the same draws of the same images."""
    gain_error: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Negative log-likelihood of a set of images, in bits/dim; of real-valued fields in nats/site.

    All standard errors are NaN where there is a single image.

    Attributes:
        unit: Of all these numbers.
        nll: Mean over the images, with one draw of noise for each.
        standard_error: Its standard error over the images.
        prior: Share of the prior at each level, level 0 first.
        log_det: Share of the log-determinant at each level.
        pixels: Share of the pixel map. All shares add up to `nll`.
        images: Number of images.
        seed: Seed of the noise that dequantised them.
        draw_error: Standard error of `nll` over draws of noise, the images given; none without the
            bound.
        bound: The importance-weighted bound; none of real-valued images.
    """

    unit: str
    nll: float
    standard_error: float
    prior: tuple[float, ...]
    log_det: tuple[float, ...]
    pixels: float
    images: int
    seed: int
    draw_error: float | None = None
    bound: ImportanceBound | None = None


def evaluate(
    flow: Flow,
    images: Tensor,
    *,
    seed: int = 0,
    importance: int = 8,
    subset: int = 100,
    batch_size: int = 128,
    labels: Tensor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Negative log-likelihood of images, with all that `Evaluation` holds.

    A single draw of noise for each of thousands of images is enough: what the noise adds to the
    error of the mean is far less than what the choice of images does. The bound takes several
    draws, so it is found on a subset, spread evenly over the images.

    Args:
        flow: The flow; its networks compute in the parameters' format.
        images: [N, C, H, W], uint8; real-valued ones get no noise.
        seed: Seed of the noise, which depends on it, the draw and the place of the image alone.
        importance: Draws of noise for the importance-weighted bound; 1: no bound.
        subset: Number of images for the bound; 0: no bound.
        batch_size: Images at a time; the result depends on it by rounding only.
        labels: Of the images, [N] or [N, K], if the flow has labels.
        progress: Called with the number of likelihoods found so far, and in all.

    Raises:
        ValueError: If there are no images, or a number is out of range.

    Example:
        >>> from rgflow import AffineMap, FlowConfig, MarginalPixels, RGFlow
        >>> map, pixels = AffineMap(depth=1, hidden=8), MarginalPixels()
        >>> flow = RGFlow(FlowConfig(height=8, width=8, map=map, pixels=pixels))
        >>> x8 = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8)
        >>> result = evaluate(flow, x8)  # an untrained flow, uniform pixels
        >>> round(result.nll, 3), result.unit
        (8.0, 'bits/dim')
    """
    check_whole("importance", importance, 1)
    check_whole("subset", subset, 0)
    if not _is_noisy(flow, images):
        importance = 1
    n, m = len(images), min(subset, len(images))
    some = torch.arange(m) * n // max(m, 1)
    total = n + (importance - 1) * m
    advance = counter(progress and (lambda _, done, total: progress(done, total)), "", total)

    find = partial(
        terms_of, flow, images, seed=seed, batch_size=batch_size, labels=labels, progress=advance
    )
    terms = find()
    result = summary(flow, terms, seed)
    if not m or importance == 1:
        return result
    more = [find(some, draw=draw).total for draw in range(1, importance)]
    log_p = torch.stack([terms.total[some], *more])
    return replace(
        result,
        draw_error=math.sqrt(flow.unit(log_p).var(0).mean().item() / n),
        bound=_bound(flow, log_p),
    )


@torch.no_grad()
def terms_of(
    flow: Flow,
    images: Tensor,
    which: Tensor | None = None,
    *,
    seed: int = 0,
    draw: int = 0,
    batch_size: int = 128,
    labels: Tensor | None = None,
    progress: Callable[[int], None] | None = None,
) -> Terms:
    """`Flow.terms` of many images, in float64 and on the CPU; the rest is as for `evaluate`.

    Args:
        which: The places of those that are meant; none: all.
        draw: Which draw of the noise.
        progress: Called with the number of images that were done since the last call.

    Raises:
        ValueError: If there are no images.
    """
    check_whole("batch_size", batch_size, 1)
    check_whole("seed", seed, 0)
    which = torch.arange(len(images)) if which is None else which
    if not len(which):
        raise ValueError("Expected at least one image to evaluate; got none.")
    parts = []
    for places in which.split(batch_size):
        x = images[places]
        if _is_noisy(flow, images):
            x = with_noise(x.cpu(), _noise(seed, draw, places, x.shape), flow.dtype)
        of_x = None if labels is None else labels[places].to(flow.device)
        parts.append(flow.terms(x.to(flow.device), labels=of_x))
        if progress:
            progress(len(places))
    names = ("prior", "log_det", "pixels")
    return Terms(
        *(torch.cat([getattr(part, name) for part in parts]).double().cpu() for name in names)
    )


def summary(flow: Flow, terms: Terms, seed: int) -> Evaluation:
    """What the terms of some images come to, in the flow's unit."""
    nll, standard_error = mean_and_error(flow.unit(terms.total))
    return Evaluation(
        unit=flow.unit.name,
        nll=nll,
        standard_error=standard_error,
        prior=tuple(flow.unit(terms.prior.mean(0)).tolist()),
        log_det=tuple(flow.unit(terms.log_det.mean(0)).tolist()),
        pixels=flow.unit(terms.pixels.mean()).item(),
        images=len(terms.pixels),
        seed=seed,
    )


def _is_noisy(flow: Flow, images: Tensor) -> bool:
    """Whether images are dequantised with noise; all others are taken, or refused, as they are."""
    return flow.pixels is not None and images.dtype == torch.uint8


def _noise(seed: int, draw: int, places: Tensor, shape: torch.Size) -> Tensor:
    """Random integers for `with_noise`; those of an image depend on its place, not on its batch."""
    noise = [
        np.random.default_rng((seed, draw, place)).integers(1 << 15, size=shape[1:])
        for place in places.tolist()
    ]
    return torch.from_numpy(np.stack(noise))


def _bound(flow: Flow, log_p: Tensor) -> ImportanceBound:
    """The importance-weighted bound from log-densities [K, N]."""
    k, n = log_p.shape
    bound = flow.unit(log_p.logsumexp(0) - math.log(k))
    nll, standard_error = mean_and_error(bound)
    gain, gain_error = mean_and_error(flow.unit(log_p).mean(0) - bound)
    return ImportanceBound(k, n, nll, standard_error, gain, gain_error)
