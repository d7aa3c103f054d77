"""Completions of holes, drawn group by group: particle Gibbs sampling.

Where a flow maps every pixel once, from coarse to fine (`WindowMixture`, or `CoarseToFine` without
disentanglers), its density is a product of the probabilities of single values given coarser ones,
or those of earlier phases. It has cliffs, as most values are nearly determined by others, so a
climb along gradients gets stuck. But values can be drawn in that order. Many copies of the image,
the particles, each draw the missing values of one group of variables. The known values of the next
groups are likelier in some particles than in others, and unlikely particles are replaced by copies
of likely ones. One particle keeps the current image, so that doing this for one part of the hole
after another samples the missing pixels given all known ones (Andrieu, Doucet and Holenstein 2010,
"Particle Markov chain Monte Carlo methods").

A part is what a hole has in one block of level 0, or in 8×8 pixels. Only the cells that read it are
evaluated, a constant number at every level: O(log L) for an image of edge L.

Letters in shapes: M particles; B blocks; G groups of e variables; C channels; H, W rows and
columns; K sweeps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

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
from rgflow.repair.windows import ENOUGH, WindowFilling, resampled, window_layers

WHOLE = 1 << 16
"""Pixels of the largest image whose log p is computed as a whole. A step reads the surroundings of
the hole alone, so in a larger one log p would cost far more than the steps."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Completion:
    """An image whose hole is filled in.

    Attributes:
        image: The likeliest completion found, uint8 [C, H, W].
        log_prob: Its log p, in nats; of images above 65,536 pixels, how much larger it is than that
            of the first completion.
        expected: The mean of all completions, which is closest to the ground truth on average,
            uint8 [C, H, W]. It is smoother than any draw.
        samples: The image after every sweep, uint8 [K, C, H, W]: successive draws of a Markov
            chain.
        curve: log p after every part, in nats, likewise.
    """

    image: Tensor
    log_prob: float
    expected: Tensor
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
    """Draw completions of a hole.

    What the image holds inside its hole has no influence.

    Args:
        flow: A flow of windows, or of coarse-to-fine bijectors without disentanglers.
        image: uint8 [C, H, W].
        hole: Pixels to fill in, [H, W].
        particles: Number of particles, M.
        sweeps: Number of times every part of the hole is redrawn, K.
        generator: Source of randomness, on the CPU.
        progress: Called after every part with their number so far and log p; to stop, return True.
        preview: Called before `progress` with the current image, uint8 [C, H, W].

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
    layers = window_layers(flow)
    levels = [] if layers else _levels(flow)
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
    x = image.to(flow.device).clone()
    filling: _Filling
    if layers:
        filling = _OfWindows(WindowFilling(layers, hole, particles, random), x)
    else:
        filling = _OfBlocks(flow, levels, hole, particles, random, x)
    with torch.no_grad():
        filling.begin()
        whole = x[0].numel() <= WHOLE
        log_p = flow.log_prob(filling.x[None]).item() if whole else 0.0
        best, best_log_p = filling.x.clone(), log_p
        samples: list[Tensor] = []
        curve: list[float] = []
        stopped = False
        for sweep in range(sweeps):
            for k in torch.randperm(filling.batches, generator=random).tolist():
                gain, best_gain, likeliest, count = filling.step(k, first=sweep == 0)
                if log_p + best_gain > best_log_p:
                    best, best_log_p = likeliest(), log_p + best_gain
                log_p += gain
                curve += [log_p] * count
                if preview:
                    preview(filling.x.clone())
                stopped = bool(progress and progress(len(curve), log_p))
                if stopped:
                    break
            samples.append(filling.x.clone())
            if stopped:
                break
        final = flow.log_prob(best[None]).item() if whole else best_log_p
    return Completion(
        image=best,
        log_prob=final,
        expected=filling.expected(),
        samples=torch.stack(samples),
        curve=tuple(curve),
    )


class _Filling(Protocol):
    """How a hole is filled, batch by batch of its parts, in the image x."""

    x: Tensor

    @property
    def batches(self) -> int:
        """How many batches there are."""
        ...

    def begin(self) -> None:
        """Draw all of the hole, from scratch."""
        ...

    def step(self, k: int, *, first: bool) -> tuple[float, float, Callable[[], Tensor], int]:
        """Redraw a batch: by how much log p rises, by how much for the likeliest image, what makes
        that image, and how many parts there were."""
        ...

    def expected(self) -> Tensor:
        """The mean over all steps after the first sweep, or if there are none of that."""
        ...


class _Mean:
    """Means of some numbers, later ones instead of those of the first sweep."""

    def __init__(self, shape: torch.Size, device: torch.device) -> None:
        self._sum = torch.zeros(shape, device=device)
        self._count = torch.zeros(shape[:1], device=device)
        self._settled = torch.zeros(shape[:1], dtype=torch.bool, device=device)

    def add(self, which: Tensor, values: Tensor, *, first: bool) -> None:
        """Add values at some places."""
        if not first:
            fresh = which[~self._settled[which]]
            self._sum[fresh], self._count[fresh], self._settled[fresh] = 0, 0, True
        self._sum[which] += values
        self._count[which] += 1

    def means(self, others: Tensor) -> Tensor:
        """As bytes; of places without any, the others."""
        found = (self._sum / self._count.clamp(min=1)[:, None]).round().to(torch.uint8)
        return torch.where(self._count[:, None] > 0, found, others)


class _OfWindows:
    """Holes of flows of windows."""

    def __init__(self, filling: WindowFilling, x: Tensor) -> None:
        self._filling, self.x = filling, x
        sites = torch.as_tensor(filling.sites, device=x.device)
        self._sites = sites
        self._mean = _Mean(torch.Size((len(sites), len(x))), x.device)
        self._places = [
            torch.as_tensor(filling.places(parts), device=x.device) for parts in filling.batches
        ]

    @property
    def batches(self) -> int:
        return len(self._filling.batches)

    def begin(self) -> None:
        i, j = self._sites.T
        self.x[:, i, j] = self._filling.draw(self.x, self._filling.whole, keep=False).chosen.T

    def step(self, k: int, *, first: bool) -> tuple[float, float, Callable[[], Tensor], int]:
        parts, which = self._filling.batches[k], self._places[k]
        drawn = self._filling.draw(self.x, parts, keep=True)
        i, j = self._sites[which].T

        def likeliest() -> Tensor:
            out = self.x.clone()
            out[:, i, j] = drawn.best.T
            return out

        found = drawn.gains.sum().item(), drawn.best_gains.sum().item(), likeliest, parts.count
        self._mean.add(which, drawn.mean, first=first)
        self.x[:, i, j] = drawn.chosen.T
        return found

    def expected(self) -> Tensor:
        out = self.x.clone()
        i, j = self._sites.T
        out[:, i, j] = self._mean.means(out[:, i, j].T).T
        return out


class _OfBlocks:
    """Holes of flows of blocks, block after block."""

    def __init__(
        self,
        flow: Flow,
        levels: list["_Level"],
        hole: Mask,
        particles: int,
        random: torch.Generator,
        x: Tensor,
    ) -> None:
        self._levels, self._hole, self._particles, self._random = levels, hole, particles, random
        self._parts = _blocks_of(flow, hole)
        self.x = x
        self._mean = _Mean(torch.Size((hole.size, len(x))), x.device)

    @property
    def batches(self) -> int:
        return len(self._parts)

    def _draw(self, part: Mask, *, keep: bool) -> "_Drawn":
        of = _Particles(self.x.long(), part, self._particles, self._random, keep=keep)
        return _draw_blocks(self._levels, of)

    def begin(self) -> None:
        self.x = self._draw(self._hole, keep=False).chosen.to(torch.uint8)

    def step(self, k: int, *, first: bool) -> tuple[float, float, Callable[[], Tensor], int]:
        drawn = self._draw(self._parts[k], keep=True)
        which = torch.as_tensor(np.flatnonzero(self._parts[k]), device=self.x.device)
        self._mean.add(which, drawn.mean.T, first=first)
        self.x = drawn.chosen.to(torch.uint8)
        return drawn.gain, drawn.best_gain, lambda: drawn.best.to(torch.uint8), 1

    def expected(self) -> Tensor:
        out = self.x.clone()
        hole = torch.as_tensor(self._hole, device=out.device)
        means = self._mean.means(out.flatten(1).T).T.view_as(out)
        return torch.where(hole, means, out)


class _Drawn(NamedTuple):
    """What one part may be: an image drawn, and the likeliest that was met, as levels [C, H, W];
    with what log p has gained, in nats, against the image before (if that was kept); and the mean
    over particles of what was missing, [C, sites]."""

    chosen: Tensor
    gain: float
    best: Tensor
    best_gain: float
    mean: Tensor


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
    if window_layers(flow):
        return True
    config = flow.config
    levels = isinstance(config.pixels, MarginalPixels)
    return levels and len(_once(flow)) == flow.levels and not config.shared


def _levels(flow: Flow) -> list[_Level]:
    """The levels of a flow, if it maps every pixel once, level 0 first."""
    if not maps_once(flow):
        raise ValueError(
            "Expected a flow that maps every pixel once: of windows whose coarse images are sites, "
            "or of the map coarse_to_fine "
            "with depth 1, pixels marginal, no disentanglers, and weights "
            "of its own at every level; this one isn't: flows of blocks can use inpaint, and no "
            "particles."
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


def parts(flow: Flow, hole: Mask) -> int:
    """Number of parts of a hole, which a sweep draws one after another.

    Raises:
        ValueError: If the flow isn't one that maps every pixel once.
    """
    if layers := window_layers(flow):
        return WindowFilling(layers, hole, 1, torch.Generator()).count
    return len(_blocks_of(flow, hole))


def _blocks_of(flow: Flow, hole: Mask) -> list[Mask]:
    """The parts of a hole in each block of level 0."""
    cells, found = _levels(flow)[0].layer.cells, []
    for number in np.flatnonzero(cells.touched(hole)):
        part = np.zeros_like(hole)
        inside = cells.table[number, : cells.written]
        part.flat[inside] = hole.flat[inside]
        found.append(part)
    return found


class _Particles:
    """Copies of an image in which a part is redrawn, given the rest.

    Args:
        x: The image, as levels [C, H, W].
        part: What to redraw, [H, W].
        count: Copies M.
        random: Source of randomness, on the CPU.
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
        again = resampled(shares[None], self.random, self.keep)[0]
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
        weights = self.weight.softmax(0)[:, None]
        mean = (self.values.to(weights) * weights).sum(0).view(len(self.x), self.sites)
        return _Drawn(filled(chosen), gains[chosen], filled(best), gains[best], mean)


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
