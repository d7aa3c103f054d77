"""Completions of images that have holes, drawn group by group: particle Gibbs sampling.

Where a flow maps every pixel once, from coarse to fine (`WindowMixture`, or `CoarseToFine` without
disentanglers), its density is a product of the probabilities of single values given coarser ones,
or those of earlier phases. It has cliffs, as
most values nearly follow from others, so a climb along gradients gets stuck. But values can be
drawn in that order. Many copies of the image, the particles, draw what is missing of one group of
variables, each by itself; what is known of the next groups is likelier in some particles than in
others, which are replaced by copies of those. One particle keeps what the image holds now, so that
doing this for one part of the hole after the other samples what is missing given all that is known
(Andrieu, Doucet and Holenstein 2010, "Particle Markov chain Monte Carlo methods").

A part is what the hole has of one block of level 0, or of 8×8 pixels. Only the cells that read it
are evaluated, a number at every level that doesn't grow: O(log L) of an image of edge L.

Letters in shapes: M particles; B blocks; G groups of e variables; C channels; H, W rows and
columns; K sweeps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rgflow.bijectors.base import Compose, Context
from rgflow.bijectors.cellwise import Cellwise
from rgflow.bijectors.coarse_to_fine import CoarseToFine, Generation, Mixtures
from rgflow.bijectors.mixture import find_level, level_log_prob
from rgflow.bijectors.pixels import LEVELS
from rgflow.bijectors.window import WindowMixture
from rgflow.checks import check_whole
from rgflow.config import MarginalPixels
from rgflow.flow import Flow
from rgflow.lattice import Mask
from rgflow.model import RGFlow

ENOUGH = 0.5
"""Share of the particles that must count, by the effective sample size; with less, they are drawn
anew from themselves."""

PART = 8
"""Edge of the squares in which a hole is drawn, of windows."""


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
        flow: A flow of windows, or of coarse-to-fine bijectors without disentanglers.
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
    draw = _drawing(flow)
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
        x = draw(_Particles(x, hole, particles, random, keep=False)).chosen
        log_p = best_log_p = flow.log_prob(x[None].to(torch.uint8)).item()
        best = x
        samples: list[Tensor] = []
        curve: list[float] = []
        for _ in range(sweeps):
            for k in torch.randperm(len(parts), generator=random).tolist():
                drawn = draw(_Particles(x, parts[k], particles, random, keep=True))
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
    if _windows(flow):
        return True
    config = flow.config
    levels = isinstance(config.pixels, MarginalPixels) and config.pixels.dequantization == "uniform"
    return levels and len(_once(flow)) == flow.levels and not config.shared


def _levels(flow: Flow) -> list[_Level]:
    """The levels of a flow, if it maps every pixel once, level 0 first."""
    if not maps_once(flow):
        raise ValueError(
            "Expected a flow that maps every pixel once: of windows, or of the map coarse_to_fine "
            "with depth 1, pixels marginal, uniform dequantization, no disentanglers, and weights "
            "of its own at every level; this one isn't: use inpaint, and no particles."
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


def _windows(flow: Flow) -> list[tuple[int, Cellwise]]:
    """The layers of a flow of windows in the order of generation, each with the stride of its
    level; none of another flow."""
    layers = [
        (1 << h, layer)
        for h, step in reversed(list(enumerate(flow.steps if isinstance(flow, RGFlow) else ())))
        for layer in reversed(step.cellwise)
    ]
    for _, layer in layers:
        inner = layer.bijector.bijectors if isinstance(layer.bijector, Compose) else ()
        if len(inner) != 1 or not isinstance(inner[0], WindowMixture):
            return []
    uniform = flow.config.pixels is not None and flow.config.pixels.dequantization == "uniform"
    return layers if uniform else []


def parts_of(flow: Flow, hole: Mask) -> list[Mask]:
    """The parts of a hole in each block of level 0, or of 8×8 pixels, of a flow that maps every
    pixel once.

    Raises:
        ValueError: If the flow is of another kind.
    """
    if _windows(flow):
        corners = np.argwhere(np.ones([-(-edge // PART) for edge in hole.shape])) * PART
        squares = [np.zeros_like(hole) for _ in corners]
        for square, (i, j) in zip(squares, corners, strict=True):
            square[i : i + PART, j : j + PART] = hole[i : i + PART, j : j + PART]
        return [square for square in squares if square.any()]
    cells, parts = _levels(flow)[0].layer.cells, []
    for number in np.flatnonzero(cells.touched(hole)):
        part = np.zeros_like(hole)
        inside = cells.table[number, : cells.written]
        part.flat[inside] = hole.flat[inside]
        parts.append(part)
    return parts


class _Particles:
    """Copies of an image in which a part of it is drawn anew, given the rest.

    Args:
        x: The image, as levels [C, H, W].
        part: What is drawn anew, [H, W].
        count: Copies M.
        random: Source of randomness, of the CPU.
        keep: Whether the first one keeps what is there now.
    """

    def __init__(
        self, x: Tensor, part: Mask, count: int, random: torch.Generator, *, keep: bool
    ) -> None:
        self.x, self.part, self.count, self.random, self.keep = x, part, count, random, keep
        self.moving = torch.as_tensor(part, device=x.device)
        self.sites = int(self.moving.sum())
        number = torch.full(part.shape, -1, device=x.device)
        number[self.moving] = torch.arange(self.sites, device=x.device)
        self.number = number
        self.values = x[:, self.moving].flatten().expand(count, -1).clone()
        self.weight, self.log_p = (torch.zeros(count, device=x.device) for _ in range(2))

    def numbers(self, number: Tensor) -> Tensor:
        """Of moving sites by their number […] (−1: of others), the numbers of their values among
        those of a particle, […, C]."""
        of_channel = torch.arange(len(self.x), device=number.device) * self.sites
        return torch.where(number[..., None] >= 0, number[..., None] + of_channel, -1)

    def now(self, here: Tensor, place: Tensor) -> Tensor:
        """The levels of all particles [M, …] at places among their values (−1: those given)."""
        return torch.where(place >= 0, self.values[:, place.clamp(min=0)], here)

    def resample(self) -> Tensor | None:
        """Which particles go on, some of them several times, if too few count; none: all do."""
        shares = self.weight.softmax(0)
        if 1 / shares.square().sum() >= ENOUGH * self.count:
            return None
        again = _resampled(shares, self.random, self.keep)
        self.values, self.log_p = self.values[again], self.log_p[again]
        self.weight = torch.zeros_like(self.weight)
        return again

    def drawn(self) -> _Drawn:
        """One of them by its weight, and the likeliest."""
        shares = self.weight.softmax(0).cpu()
        chosen = int(torch.multinomial(shares, 1, generator=self.random))
        best = int(self.log_p.argmax())

        def filled(particle: int) -> Tensor:
            out = self.x.clone()
            out[:, self.moving] = self.values[particle].view(len(self.x), self.sites)
            return out

        gains = (self.log_p - self.log_p[0]).tolist()
        return _Drawn(filled(chosen), gains[chosen], filled(best), gains[best])


def _drawing(flow: Flow) -> Callable[[_Particles], _Drawn]:
    """How particles draw their part under a flow, which has to map every pixel once."""
    if windows := _windows(flow):
        return partial(_draw_windows, windows)
    return partial(_draw_blocks, _levels(flow))


def _draw_windows(layers: Sequence[tuple[int, Cellwise]], of: _Particles) -> _Drawn:
    """Draw phase after phase: what a cell writes and is missing is drawn, and where it is known, it
    says how likely the particle is."""
    for stride, layer in layers:
        part = of.part[::stride, ::stride]
        touched = np.flatnonzero(layer.cells.touched(part))
        if not len(touched):
            continue
        table = torch.as_tensor(layer.cells.table[touched], device=of.x.device)  # [B, 1 + S]
        sites, columns = table.clamp(min=0), layer.cells.grid[1]
        i, j = stride * (sites // columns), stride * (sites % columns)
        here, place = of.x[:, i, j].permute(1, 2, 0), of.numbers(of.number[i, j])  # [B, 1 + S, C]
        missing = (table < 0)[:, 1:]
        now = of.now(here, place)  # [M, B, 1 + S, C]
        dtype = next(layer.bijector.parameters()).dtype
        rows = of.count * len(touched)
        values = _cube(now[:, :, 1:].to(dtype)).masked_fill(missing[:, :, None], 0)
        context = layer.of(
            torch.as_tensor(touched, device=of.x.device).repeat(of.count),
            Context(
                values.reshape(rows, -1),
                values.new_empty(rows, 0),
                None if layer.cells.periodic else missing.repeat(of.count, 1),
            ),
        )
        own, free = now[:, :, 0], place[:, 0, 0] >= 0  # [M, B, C] and [B]
        if free.any():
            u = torch.rand(own.shape, generator=of.random, dtype=dtype).to(own.device)
            d = torch.where(u <= 0.5, u, u - 1).view(rows, -1)
            found = (LEVELS * layer.bijector.inverse(d, context)[0]).floor().long() % LEVELS
            found = found.view_as(own)
            if of.keep:
                found[0] = own[0]
            own = torch.where(free[:, None], found, own)
            of.values[:, place[free, 0].flatten()] = own[:, free].flatten(1)
        log_probs = layer.bijector.forward(_cube(own.to(dtype)).reshape(rows, -1), context)[1]
        log_probs = log_probs.view(of.count, -1)
        of.log_p = of.log_p + log_probs.sum(1)
        of.weight = of.weight + log_probs[:, ~free].sum(1)
        of.resample()
    return of.drawn()


def _cube(levels: Tensor) -> Tensor:
    """Cube coordinates of the middle of levels."""
    u = (levels + 0.5) / LEVELS
    return torch.where(u <= 0.5, u, u - 1)


def _draw_blocks(levels: Sequence[_Level], of: _Particles) -> _Drawn:
    """Draw group after group of the variables of blocks."""
    like = levels[0].bijector.networks.first
    for level in reversed(levels):
        s = level.stride
        touched = np.flatnonzero(level.layer.cells.touched(of.part[::s, ::s]))
        if not len(touched):
            continue
        fixed, places = (
            level.bijector.in_order(level.layer.read_all(whole[None, :, ::s, ::s])[touched])
            for whole in (of.x, of.numbers(of.number).permute(2, 0, 1))
        )  # [G, e, B]
        known = level.generation(touched, of.count, like)
        matters = False  # whether anything so far differs between particles
        for group, (here, place) in enumerate(zip(fixed, places, strict=True)):
            free = place >= 0
            now = of.now(here, place).transpose(0, 1)
            if group >= level.bijector.kept and (matters or free.any()):
                now, log_probs = _group(known.mixtures(), now, free, of.random, of.keep)
                of.values[:, place[free]] = now.transpose(0, 1)[:, free]
                of.log_p = of.log_p + log_probs.sum((0, 2))
                of.weight = of.weight + torch.where(free[:, None], 0, log_probs).sum((0, 2))
            known.add(now.flatten(1).to(like.dtype))
            matters = matters or bool(free.any())
            if (again := of.resample()) is not None:
                blocks = torch.arange(len(touched), device=again.device)
                known.pick((again[:, None] * len(touched) + blocks).flatten())
    return of.drawn()


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
