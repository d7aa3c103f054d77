"""How particles fill holes under a flow of windows, in many places at once.

A hole is cut into parts, of 8×8 sites on the grid of level 0, 3, 6, …: a part of level s holds the
missing sites of the levels s to s + 2, which cells read from at most 3·reach·2^(s+1) pixels away.
Parts that are far enough apart have no cell in common, and are drawn together, each with weights of
its own.

Cells are looked up from the missing sites, so nothing grows with the image.

Letters in shapes: M particles; k missing sites; G parts; B cells; C channels; S sites of a context.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import torch
from torch import Tensor

from rgflow.bijectors.base import Compose, Context
from rgflow.bijectors.cellwise import Cellwise
from rgflow.bijectors.window import WindowMixture
from rgflow.cells import Ids
from rgflow.config import UniformPixels
from rgflow.flow import Flow
from rgflow.geometries.windows import Windows
from rgflow.lattice import Mask
from rgflow.model import RGFlow

PART, LEVELS_OF_A_PART = 8, 3
"""Edge of a part in sites of its coarsest grid but two, and the levels whose sites it holds."""
ENOUGH = 0.5
"""Effective share of the particles below which they are resampled."""
MOST = 1 << 24
"""Maximum number of values that cells read at a time, over all particles."""


@dataclass(frozen=True, eq=False)
class Parts:
    """Parts of a hole that are drawn together.

    Attributes:
        sites: Row and column of every missing site, [k, 2], in order.
        owners: The part of each, [k].
        count: How many parts there are, G.
    """

    sites: Ids
    owners: Ids
    count: int


@dataclass(frozen=True, eq=False)
class Drawn:
    """A draw of parts.

    Attributes:
        chosen: The missing sites of a draw by the particles' weights, [k, C].
        gains: The rise of log p by each part of it, in nats [G]; from the previous image, if that
            was kept.
        best: Those of the likeliest particles.
        best_gains: Likewise.
        mean: The mean over particles, by their weights, [k, C].
    """

    chosen: Tensor
    gains: Tensor
    best: Tensor
    best_gains: Tensor
    mean: Tensor


def window_layers(flow: Flow) -> list[Cellwise]:
    """The layers of a flow of windows of bytes in the order of generation; none of another flow, or
    where coarse images are averages, as no layer then says what a pixel that is known is."""
    if not isinstance(flow, RGFlow) or flow.labels is not None:
        return []
    layers = [layer for step in reversed(flow.steps) for layer in reversed(step.cellwise)]
    return layers if are_windows(flow, layers) else []


def are_windows(flow: RGFlow, layers: Sequence[Cellwise]) -> bool:
    """Whether these layers predict every byte from bytes that are known before it."""
    geometry, pixels = flow.config.geometry, flow.config.pixels
    return (
        isinstance(geometry, Windows)
        and geometry.usual
        and isinstance(pixels, UniformPixels)
        and all(
            isinstance(layer.bijector, Compose)
            and [type(of) for of in layer.bijector.bijectors] == [WindowMixture]
            for layer in layers
        )
        and flow.writes_last
    )


class WindowFilling:
    """Draws parts of a hole of an image, given all else.

    Args:
        layers: Of the flow, as `window_layers` gives them.
        hole: What is missing, [H, W].
        particles: M.
        random: Source of randomness, on the CPU.
    """

    def __init__(
        self, layers: Sequence[Cellwise], hole: Mask, particles: int, random: torch.Generator
    ) -> None:
        self.layers, self.particles, self.random = layers, particles, random
        self.shape = hole.shape
        self.sites: Ids = np.argwhere(hole)
        cells = layers[0].cells
        self.periodic = cells.periodic
        self.reach = max(
            abs(offset) for layer in layers for of in layer.cells.reads for offset in of
        )
        self._looked_up: dict[int, list[_Touched]] = {}

    @cached_property
    def batches(self) -> list[Parts]:
        """The parts, those in one batch far from one another."""
        i, j = self.sites.T
        both = i | j
        level = np.full(len(both), 60)
        found = both > 0
        level[found] = np.log2(both[found] & -both[found]).astype(int)  # of the last grid with it
        highest = max(layer.cells.level for layer in self.layers)
        level = np.minimum(level, highest)
        batches = []
        for lowest in range(0, highest + 1, LEVELS_OF_A_PART):
            here = (level >= lowest) & (level < lowest + LEVELS_OF_A_PART)
            edge = PART << lowest
            rows, columns = i // edge, j // edge
            apart = 1 + -(-2 * self.reach * (1 << (lowest + LEVELS_OF_A_PART - 1)) // edge)
            colour = rows % apart * apart + columns % apart
            if self.periodic:  # where the first and the last are neighbours
                colour = rows * (1 + int(columns.max(initial=0))) + columns
            for one in np.unique(colour[here]):
                which = np.flatnonzero(here & (colour == one))
                place = rows[which] * (1 + int(columns.max())) + columns[which]
                names, owners = np.unique(place, return_inverse=True)
                batches.append(Parts(self.sites[which], owners, len(names)))
        return batches

    @property
    def whole(self) -> Parts:
        """All of them at once, though they have cells in common, for a first completion."""
        edge = PART
        rows, columns = (self.sites // edge).T
        place = rows * (1 + int(columns.max())) + columns
        names, owners = np.unique(place, return_inverse=True)
        return Parts(self.sites, owners, len(names))

    def places(self, parts: Parts) -> Ids:
        """Where the sites of parts stand among those of the hole, [k]."""
        columns = self.shape[1]
        ids, own = (of[:, 0] * columns + of[:, 1] for of in (self.sites, parts.sites))
        return np.searchsorted(ids, own)

    @property
    def count(self) -> int:
        """How many parts there are in all."""
        return sum(parts.count for parts in self.batches)

    def draw(self, x: Tensor, parts: Parts, *, keep: bool) -> Drawn:
        """Draw parts phase after phase: what a cell writes and is missing is drawn, and where it is
        known, it says how likely a particle is.

        Args:
            x: The image as it is, bytes [C, H, W].
            parts: What to redraw.
            keep: Whether the first particle keeps what is there now.
        """
        m, k, device = self.particles, len(parts.sites), x.device
        i, j = torch.as_tensor(parts.sites, device=device).T
        owners = torch.as_tensor(parts.owners, device=device)
        values = x[:, i, j].T[:, :, None].repeat(1, 1, m)  # [k, C, M]
        weight, log_p = (
            torch.zeros(parts.count, m, dtype=torch.float64, device=device) for _ in range(2)
        )
        for touched in self._touched(parts, device):
            own, free = touched.draw(x, values, self.random, keep=keep)
            values[touched.drawn] = own
            by_part, by_weight = (torch.zeros_like(weight) for _ in range(2))
            by_part.index_add_(0, touched.owners, free[0].double())
            by_weight.index_add_(0, touched.owners, free[1].double())
            log_p += by_part
            weight += by_weight
            if touched.last:
                values, log_p, weight = self._resample(values, log_p, weight, owners, keep)
        shares = weight.softmax(1)
        chosen = torch.multinomial(shares.cpu(), 1, generator=self.random).to(device)
        best = log_p.argmax(1, keepdim=True)
        gains = log_p - log_p[:, :1]
        every = torch.arange(k, device=device)
        mean = (values.to(shares.dtype) * shares[owners][:, None]).sum(2)
        return Drawn(
            values[every, :, chosen[owners, 0]],
            gains.gather(1, chosen)[:, 0],
            values[every, :, best[owners, 0]],
            gains.gather(1, best)[:, 0],
            mean,
        )

    def _resample(
        self, values: Tensor, log_p: Tensor, weight: Tensor, owners: Tensor, keep: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Resample the particles of parts in which too few of them count."""
        m = weight.shape[1]
        shares = weight.softmax(1)
        poor = 1 / shares.square().sum(1) < ENOUGH * m
        if not poor.any():
            return values, log_p, weight
        again = torch.arange(m, device=weight.device).repeat(len(weight), 1)
        again[poor] = resampled(shares[poor], self.random, keep)
        which = again[owners][:, None].expand_as(values)
        weight = torch.where(poor[:, None], 0.0, weight)
        return values.gather(2, which), log_p.gather(1, again), weight

    def _touched(self, parts: Parts, device: torch.device) -> list["_Touched"]:
        """The cells that read a missing site, layer after layer; kept, as every sweep asks."""
        if id(parts) not in self._looked_up:
            found = list(self._look_up(parts, device))
            if parts not in self.batches or len(self.sites) > MOST >> 8:
                return found
            self._looked_up[id(parts)] = found
        return self._looked_up[id(parts)]

    def _look_up(self, parts: Parts, device: torch.device) -> Iterator["_Touched"]:
        columns = self.shape[1]
        ids = parts.sites[:, 0] * columns + parts.sites[:, 1]  # in order
        for layer in self.layers:
            stride = 1 << layer.cells.level
            on_grid = ~(parts.sites % stride).any(1)
            numbers, first = layer.cells.readers(parts.sites[on_grid] // stride)
            if not len(numbers):
                continue
            owners = parts.owners[on_grid][first]
            step = max(MOST // (self.particles * 3 * len(layer.cells.reads)), 1)
            for start in range(0, len(numbers), step):
                some = numbers[start : start + step]
                table = layer.cells.sites(some)
                there = table >= 0
                i, j = np.divmod(np.where(there, table, 0), layer.cells.grid[1])
                pixels = stride * (i * columns + j)
                place = np.searchsorted(ids, pixels).clip(max=len(ids) - 1)
                place = np.where(there & (ids[place] == pixels), place, -1)
                yield _Touched(
                    layer,
                    *(
                        torch.as_tensor(one, device=device)
                        for one in (some, owners[start : start + step], pixels, place, ~there)
                    ),
                    last=start + step >= len(numbers),
                )


class _Touched:
    """Some cells of a layer that read missing sites.

    Args:
        layer: The layer.
        numbers: Of the cells, [B].
        owners: The part of each, [B].
        pixels: What they read, [B, 1 + S], as i·W + j.
        place: Its place among the missing sites; −1: it is known.
        missing: What lies outside the image.
        last: Whether these are the last of the layer.
    """

    def __init__(
        self,
        layer: Cellwise,
        numbers: Tensor,
        owners: Tensor,
        pixels: Tensor,
        place: Tensor,
        missing: Tensor,
        *,
        last: bool,
    ) -> None:
        self.layer, self.numbers, self.owners, self.last = layer, numbers, owners, last
        self.pixels, self.missing = pixels.T, missing.T
        self.free = place[:, 0] >= 0
        self.drawn = place[self.free, 0]
        self.sites, self.cells = (place.T >= 0).nonzero(as_tuple=True)
        self.place = place.T[self.sites, self.cells]

    def draw(
        self, x: Tensor, values: Tensor, random: torch.Generator, *, keep: bool
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """What missing sites are drawn as, [k', C, M]; and of all cells the log-probability, and
        the part of it that says how likely the particle is, each [B, M]."""
        c, m, cells = len(x), values.shape[2], len(self.numbers)
        bijector = cast(WindowMixture, cast(Compose, self.layer.bijector).bijectors[0])
        dtype = bijector.network.first.weight.dtype
        here = x.flatten(1)[:, self.pixels].transpose(0, 1).to(dtype)  # [1 + S, C, B]
        now = here[..., None].repeat(1, 1, 1, m)
        now[self.sites, :, self.cells] = values[self.place].to(dtype)
        if not self.layer.cells.periodic:
            now.masked_fill_(self.missing[:, None, :, None], 0)
        own = now[0].permute(1, 2, 0).reshape(-1, c)  # [B·M, C]
        around = now[1:].flatten(0, 1).flatten(1).T
        missing = None
        if not self.layer.cells.periodic:
            missing = self.missing[1:, :, None].expand(-1, -1, m).flatten(1).T
        context = Context(around, own[:, :0], missing)
        context = self.layer.of(self.numbers.repeat_interleave(m), context) or context
        if not len(self.drawn):
            log_probs = bijector.level_log_prob(own, context).view(cells, m)
            return values[:0], (log_probs, log_probs)
        free = self.free[:, None].repeat(1, m)
        if keep:
            free[:, 0] = False
        u = torch.rand(len(self.drawn), m, c, generator=random, dtype=dtype).to(x.device)
        uniform = u.new_zeros(cells, m, c)
        uniform[self.free] = u
        found, log_probs = bijector.draw_levels(own, free.flatten(), uniform.view(-1, c), context)
        log_probs = log_probs.view(cells, m)
        drawn = found.reshape(cells, m, c)[self.free].transpose(1, 2).to(values.dtype)
        return drawn, (log_probs, log_probs.masked_fill(self.free[:, None], 0))


def resampled(shares: Tensor, random: torch.Generator, keep: bool) -> Tensor:
    """Particles drawn by their shares [G, M]: with as little noise as there can be (systematically)
    or, where the first one is kept, independently, as only then the others are what they would be
    given that it was drawn (Andrieu et al. 2010). [G, M]."""
    groups, m = shares.shape
    if keep:
        again = torch.multinomial(shares.cpu(), m, replacement=True, generator=random)
        again[:, 0] = 0
        return again.to(shares.device)
    at = (torch.arange(m) + torch.rand(groups, 1, generator=random)) / m
    found = torch.searchsorted(shares.cumsum(1).cpu(), at.to(shares.dtype)).clamp(max=m - 1)
    return found.to(shares.device)
