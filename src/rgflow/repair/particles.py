"""Completions of images that have holes, drawn group by group: particle Gibbs sampling.

Where a flow maps every pixel once, from coarse to fine (`CoarseToFine` without disentanglers), its
density is a product of the probabilities of single values given coarser ones. It has cliffs, as
most values nearly follow from others, so a climb along gradients gets stuck. But values can be
drawn in that order. Many copies of the image, the particles, draw what is missing of one group of
variables, each by itself; what is known of the next groups is likelier in some particles than in
others, which are replaced by copies of those. One particle keeps what the image holds now, so that
doing this for one part of the hole after the other samples what is missing given all that is known
(Andrieu, Doucet and Holenstein 2010, "Particle Markov chain Monte Carlo methods").

A part is what the hole has of one block of level 0. Only the blocks that hold it are evaluated, one
at every level: O(log L) of an image of edge L.

Letters in shapes: M particles; B blocks; G groups of e variables; C channels; H, W rows and
columns; K sweeps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rgflow.bijectors.base import Compose
from rgflow.bijectors.cellwise import Cellwise
from rgflow.bijectors.coarse_to_fine import CoarseToFine, Generation, Mixtures
from rgflow.bijectors.mixture import find_level, level_log_prob
from rgflow.checks import check_whole
from rgflow.config import MarginalPixels
from rgflow.flow import Flow
from rgflow.lattice import Mask
from rgflow.model import RGFlow

ENOUGH = 0.5
"""Share of the particles that must count, by the effective sample size; with less, they are drawn
anew from themselves."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Completion:
    """An image whose hole is filled in.

    Attributes:
        image: The likeliest completion that was met, uint8 [C, H, W].
        log_prob: Its log p, in nats.
        samples: The image after every sweep, uint8 [K, C, H, W]: draws from what may be there, each
            of which began with the one before it.
        curve: log p after every part, in nats.
    """

    image: Tensor
    log_prob: float
    samples: Tensor
    curve: tuple[float, ...]


def complete(
    flow: Flow,
    image: Tensor,
    hole: Mask,
    *,
    particles: int = 128,
    sweeps: int = 4,
    generator: torch.Generator | None = None,
    progress: Callable[[int, float], bool | None] | None = None,
    preview: Callable[[Tensor], None] | None = None,
) -> Completion:
    """Fill a hole with what may be there.

    What the image holds inside its hole has no influence.

    Args:
        flow: A flow of coarse-to-fine bijectors without disentanglers.
        image: uint8 [C, H, W].
        hole: Pixels to fill in, [H, W].
        particles: Copies that draw at a time, M.
        sweeps: How often every part of the hole is drawn anew, K.
        generator: Source of randomness, of the CPU.
        progress: Called after every part with their number so far and log p; to stop, return True.
        preview: Called before that with the image as it is now, uint8 [C, H, W].

    Raises:
        ValueError: If the flow is of another kind, sizes don't fit, or the hole is empty.

    Example:
        >>> from rgflow import Blocks, CoarseToFineMap, FlowConfig, MarginalPixels, make_flow
        >>> kinds = {"geometry": Blocks(disentanglers=False), "pixels": MarginalPixels()}
        >>> map = CoarseToFineMap(depth=1, hidden=8, splits=1)
        >>> flow = make_flow(FlowConfig(height=8, width=8, map=map, **kinds))
        >>> image = torch.randint(256, (3, 8, 8), dtype=torch.uint8)
        >>> found = complete(flow, image, flow.lattice.box(2, 2, 3, 3), particles=8, sweeps=2)
        >>> found.image.shape, found.samples.shape
        (torch.Size([3, 8, 8]), torch.Size([2, 3, 8, 8]))
    """
    check_whole("particles", particles, 2)
    check_whole("sweeps", sweeps, 1)
    levels = _levels(flow)
    if image.shape != flow.image_shape or image.dtype != torch.uint8:
        raise ValueError(
            f"Expected an image of shape {list(flow.image_shape)} and uint8; got "
            f"{list(image.shape)} of {image.dtype}."
        )
    hole = flow.lattice.masks(hole, 1)[0].copy()
    if not hole.any():
        raise ValueError("Expected a hole to fill; got an empty mask: mark at least one pixel.")
    random = torch.Generator().manual_seed(
        int(torch.randint(1 << 62, (), generator=generator, dtype=torch.int64))
    )
    parts = parts_of(flow, hole)
    with torch.no_grad():
        x = image.to(flow.device).long()
        x = _draw(levels, x, hole, particles, random, keep=False).chosen
        log_p = best_log_p = flow.log_prob(x[None].to(torch.uint8)).item()
        best = x
        samples: list[Tensor] = []
        curve: list[float] = []
        for _ in range(sweeps):
            for k in torch.randperm(len(parts), generator=random).tolist():
                drawn = _draw(levels, x, parts[k], particles, random, keep=True)
                if log_p + drawn.best_gain > best_log_p:
                    best, best_log_p = drawn.best, log_p + drawn.best_gain
                x, log_p = drawn.chosen, log_p + drawn.gain
                curve.append(log_p)
                if preview:
                    preview(x.to(torch.uint8))
                if progress and progress(len(curve), log_p):
                    return _completion(flow, best, [*samples, x], curve)
            samples.append(x)
    return _completion(flow, best, samples, curve)


class _Drawn(NamedTuple):
    """What one part may be: an image drawn, and the likeliest that was met, as levels [C, H, W];
    with what log p has gained, in nats, against the image before (if that was kept)."""

    chosen: Tensor
    gain: float
    best: Tensor
    best_gain: float


class _Level(NamedTuple):
    """Where blocks of one level are, and how they are mapped."""

    stride: int
    layer: Cellwise
    bijector: CoarseToFine

    def generation(self, numbers: NDArray[np.int64], particles: int, like: Tensor) -> Generation:
        """The way from coarse to fine for the blocks with these numbers, of every particle."""
        of_all = torch.as_tensor(numbers, device=like.device).repeat(particles)
        context = self.layer.of(of_all)
        return self.bijector.generation(like.new_empty(len(of_all), 0), context)


def maps_once(flow: Flow) -> bool:
    """Whether a flow maps every pixel once, from its 256 levels, so that `complete` can fill its
    holes."""
    config = flow.config
    levels = isinstance(config.pixels, MarginalPixels) and config.pixels.dequantization == "uniform"
    return levels and len(_once(flow)) == flow.levels and not config.shared


def _levels(flow: Flow) -> list[_Level]:
    """The levels of a flow, if it maps every pixel once, level 0 first."""
    if not maps_once(flow):
        raise ValueError(
            "Expected a flow that maps every pixel once: bijector coarse_to_fine, depth 1, pixels "
            "marginal, uniform dequantization, no disentanglers, and weights of its own at every "
            "level; this one isn't: use inpaint, and no particles."
        )
    return _once(flow)


def _once(flow: Flow) -> list[_Level]:
    """The levels of a flow that map every pixel once, level 0 first."""
    found = []
    for h, step in enumerate(flow.steps if isinstance(flow, RGFlow) else ()):
        (layer, *others) = step.cellwise
        if not others and isinstance(layer.bijector, Compose) and layer.cells.tile:
            bijectors = layer.bijector.bijectors
            if len(bijectors) == 1 and isinstance(bijectors[0], CoarseToFine):
                found.append(_Level(1 << h, layer, bijectors[0]))
    return found


def parts_of(flow: Flow, hole: Mask) -> list[Mask]:
    """The parts of a hole in each block of level 0, of a flow that maps every pixel once.

    Raises:
        ValueError: If the flow is of another kind.
    """
    cells, parts = _levels(flow)[0].layer.cells, []
    for number in np.flatnonzero(cells.touched(hole)):
        part = np.zeros_like(hole)
        inside = cells.table[number, : cells.written]
        part.flat[inside] = hole.flat[inside]
        parts.append(part)
    return parts


def _draw(
    levels: Sequence[_Level],
    x: Tensor,
    part: Mask,
    particles: int,
    random: torch.Generator,
    *,
    keep: bool,
) -> _Drawn:
    """Draw a part [H, W] of an image, given as levels [C, H, W], anew, given the rest. If asked to,
    the first particle keeps what is there now."""
    moving = torch.as_tensor(part, device=x.device)
    sites = int(moving.sum())
    number = torch.full(part.shape, -1, device=x.device)
    number[moving] = torch.arange(sites, device=x.device)
    # Of every channel and moving site, the number of its value among those of a particle.
    numbers = torch.stack([torch.where(moving, number + c * sites, -1) for c in range(len(x))])
    values = x[:, moving].flatten().expand(particles, -1).clone()
    weight, log_p = (torch.zeros(particles, device=x.device) for _ in range(2))
    like = levels[0].bijector.networks.first
    for level in reversed(levels):
        s = level.stride
        touched = np.flatnonzero(level.layer.cells.touched(part[::s, ::s]))
        if not len(touched):
            continue
        fixed, places = (
            level.bijector.in_order(level.layer.read_all(of[None, :, ::s, ::s])[touched])
            for of in (x, numbers)
        )  # [G, e, B]
        known = level.generation(touched, particles, like)
        matters = False  # whether anything so far differs between particles
        for group, (here, place) in enumerate(zip(fixed, places, strict=True)):
            free = place >= 0
            now = torch.where(free, values[:, place.clamp(min=0)], here).transpose(0, 1)
            if group >= level.bijector.kept and (matters or free.any()):
                now, log_probs = _group(known.mixtures(), now, free, random, keep)
                values[:, place[free]] = now.transpose(0, 1)[:, free]
                log_p = log_p + log_probs.sum((0, 2))
                weight = weight + torch.where(free[:, None], 0, log_probs).sum((0, 2))
            known.add(now.flatten(1).to(like.dtype))
            matters = matters or bool(free.any())
            shares = weight.softmax(0)
            if 1 / shares.square().sum() < ENOUGH * particles:
                again = _resampled(shares, random, keep)
                values, log_p = values[again], log_p[again]
                blocks = torch.arange(len(touched), device=x.device)
                known.pick((again[:, None] * len(touched) + blocks).flatten())
                weight = torch.zeros_like(weight)
    chosen = int(torch.multinomial(weight.softmax(0).cpu(), 1, generator=random))
    best = int(log_p.argmax())

    def filled(particle: int) -> Tensor:
        out = x.clone()
        out[:, moving] = values[particle].view(len(x), sites)
        return out

    gains = (log_p - log_p[0]).tolist()
    return _Drawn(filled(chosen), gains[chosen], filled(best), gains[best])


def _group(
    mixtures: Mixtures, now: Tensor, free: Tensor, random: torch.Generator, keep: bool
) -> tuple[Tensor, Tensor]:
    """Draw the free variables of one group; levels and their log-probabilities, [e, M, B]."""
    if free.any():
        dtype = mixtures.params.dtype
        u = torch.rand(now.shape, generator=random, dtype=dtype).to(now.device)
        d = torch.where(u <= 0.5, u, u - 1).view(1, -1)
        drawn = find_level(d, *mixtures).view_as(now)
        if keep:
            drawn[:, 0] = now[:, 0]
        now = torch.where(free[:, None], drawn, now)
    return now, level_log_prob(now.reshape(1, -1), *mixtures).view_as(now)


def _resampled(shares: Tensor, random: torch.Generator, keep: bool) -> Tensor:
    """Particles drawn by their shares: with as little noise as there can be (systematically) or,
    where the first one is kept, independently, as only then the others are what they would be
    given that it was drawn (Andrieu et al. 2010)."""
    m = len(shares)
    if keep:
        again = torch.multinomial(shares.cpu(), m, replacement=True, generator=random)
        again[0] = 0
        return again.to(shares.device)
    at = (torch.arange(m) + torch.rand((), generator=random)) / m
    found = torch.searchsorted(shares.cumsum(0).cpu(), at.to(shares.dtype)).clamp(max=m - 1)
    return found.to(shares.device)


def _completion(flow: Flow, best: Tensor, samples: list[Tensor], curve: list[float]) -> Completion:
    image = best.to(torch.uint8)
    return Completion(
        image=image,
        log_prob=flow.log_prob(image[None]).item(),
        samples=torch.stack(samples).to(torch.uint8),
        curve=tuple(curve),
    )
