"""How particles fill holes under a flow of windows, in many places at once.

A hole is cut into parts, of 8×8 sites on the grid of level 0, 3, 6, …: a part of level s holds the
missing sites of the levels s to s + 2, which cells read from at most 3·reach·2^(s+1) pixels away.
Parts that are so far apart that no cell reads both are drawn together, each with its own weights.
The first completion draws every connected piece of the hole as one part.

Cells are looked up from the missing sites, so time and memory don't grow with the image.

Letters in shapes: M particles; k missing sites; G parts; B cells; C channels; S sites of a context.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import cast

import numpy as np
import torch
from scipy.ndimage import label  # type: ignore[attr-defined]  # found when it runs
from torch import Tensor

from rgflow.bijectors.base import Context
from rgflow.bijectors.cellwise import Cellwise
from rgflow.bijectors.window import WindowMixture
from rgflow.cells import Ids
from rgflow.flow import Flow
from rgflow.lattice import Mask
from rgflow.model import RGFlow
from rgflow.repair.population import Parts, Population

PART_EDGE, LEVELS_OF_A_PART = 8, 3
"""Edge of a part, in sites of its finest grid; and number of levels whose sites it holds."""
VALUES_AT_ONCE = 1 << 24
"""Maximum number of values that cells read at a time, over all particles, to limit memory."""


def window_layers(flow: Flow) -> list[Cellwise]:
    """The layers of a flow of windows of bytes, in the order of generation. Empty for any other
    flow, and where coarse images are averages, as no layer then predicts single pixels."""
    if not isinstance(flow, RGFlow) or flow.labels is not None or flow.config.geometry.averages:
        return []
    layers = list(reversed(flow.layers))
    return layers if are_windows(flow, layers) else []


def are_windows(flow: RGFlow, layers: Sequence[Cellwise]) -> bool:
    """Whether these layers of a flow predict every byte from bytes generated before it."""
    geometry, pixels = flow.config.geometry, flow.config.pixels
    return (
        geometry.usual
        and pixels is not None
        and pixels.keeps_levels
        and all(layer.only(WindowMixture) for layer in layers)
        and flow.writes_last
    )


def window_of(layer: Cellwise) -> WindowMixture:
    """The map of a layer of windows."""
    return cast(WindowMixture, layer.only(WindowMixture))


class WindowFilling:
    """Draws parts of a hole of an image, given all else.

    Args:
        layers: Of the flow, as `window_layers` gives them.
        hole: The missing pixels, [H, W].

    Attributes:
        sites: Row and column of every missing pixel, [k, 2].
    """

    def __init__(self, layers: Sequence[Cellwise], hole: Mask) -> None:
        self._layers, self._columns = layers, hole.shape[1]
        self._hole, self.sites = hole, np.argwhere(hole)
        self._affected: dict[Parts, list[WindowCells]] = {}

    @cached_property
    def batches(self) -> list[Parts]:
        """The parts; those in one batch are far from one another."""
        i, j = self.sites.T
        both = i | j
        level = np.full(len(both), 60)
        found = both > 0
        level[found] = np.log2(both[found] & -both[found]).astype(int)  # of the coarsest grid
        highest = max(layer.cells.level for layer in self._layers)
        level = np.minimum(level, highest)
        reach = max(abs(at) for layer in self._layers for of in layer.cells.reads for at in of)
        batches = []
        for lowest in range(0, highest + 1, LEVELS_OF_A_PART):
            here = (level >= lowest) & (level < lowest + LEVELS_OF_A_PART)
            edge = PART_EDGE << lowest
            rows, columns = i // edge, j // edge
            distance = 1 + -(-2 * reach * (1 << (lowest + LEVELS_OF_A_PART - 1)) // edge)
            colour = rows % distance * distance + columns % distance
            if self._layers[0].cells.periodic:  # where the first and the last are neighbours
                colour = rows * (1 + int(columns.max(initial=0))) + columns
            batches += [
                self._parts(np.flatnonzero(here & (colour == one)), edge)
                for one in np.unique(colour[here])
            ]
        return batches

    @property
    def whole(self) -> Parts:
        """Connected pieces of the hole, each drawn as one, for the first completion: parts of a
        piece that chose their particles alone would not fit one another."""
        connected = np.ones((3, 3))  # diagonal neighbours too
        numbers, count = label(self._hole, connected)
        return Parts(np.arange(len(self.sites)), numbers[self._hole] - 1, count)

    def _parts(self, places: Ids, edge: int) -> Parts:
        rows, columns = (self.sites[places] // edge).T
        names, owners = np.unique(rows * (1 + int(columns.max())) + columns, return_inverse=True)
        return Parts(places, owners, len(names))

    def run(self, x: Tensor, parts: Parts, particles: Population) -> None:
        """Let particles draw parts, layer after layer. What a cell writes is drawn if it is
        missing; if it is known, its probability is the likelihood of a particle.

        Args:
            x: The image, uint8 [C, H, W].
            parts: What to redraw.
            particles: What draws it.
        """
        found = self._affected.get(parts)
        if found is None:
            found = list(self._look_up(parts, particles.count, x.device))
            if parts in self.batches and len(self.sites) <= VALUES_AT_ONCE >> 8:
                self._affected[parts] = found  # as every sweep needs them
        for cells in found:
            cells.draw(x, particles)
            if cells.last:
                particles.resample()

    def _look_up(
        self, parts: Parts, particles: int, device: torch.device
    ) -> Iterator["WindowCells"]:
        """The cells that read a missing site, layer after layer."""
        sites = self.sites[parts.places]
        ids = sites[:, 0] * self._columns + sites[:, 1]  # ascending
        for layer in self._layers:
            stride = 1 << layer.cells.level
            on_grid = ~(sites % stride).any(1)
            numbers, first = layer.cells.readers(sites[on_grid] // stride)
            owners = parts.owners[on_grid][first]
            step = max(VALUES_AT_ONCE // (particles * 3 * len(layer.cells.reads)), 1)
            for start in range(0, len(numbers), step):
                some = numbers[start : start + step]
                table = layer.cells.sites(some)
                there = table >= 0
                i, j = np.divmod(np.where(there, table, 0), layer.cells.grid[1])
                pixels = stride * (i * self._columns + j)
                place = np.searchsorted(ids, pixels).clip(max=len(ids) - 1)
                place = np.where(there & (ids[place] == pixels), place, -1)
                arrays = (some, owners[start : start + step], pixels, place, ~there)
                tensors = (torch.as_tensor(one, device=device) for one in arrays)
                yield WindowCells(layer, *tensors, last=start + step >= len(numbers))


class WindowCells:
    """Cells of a layer that read missing sites.

    Args:
        layer: The layer.
        numbers: Of the cells, [B].
        owners: The part of each, [B].
        pixels: What they read, [B, 1 + S], as i·W + j.
        place: Its index among the missing sites, [B, 1 + S]; −1: it is known.
        outside: Whether it lies outside the image, [B, 1 + S].
        last: Whether these are the last cells of the layer.
    """

    def __init__(
        self,
        layer: Cellwise,
        numbers: Tensor,
        owners: Tensor,
        pixels: Tensor,
        place: Tensor,
        outside: Tensor,
        *,
        last: bool,
    ) -> None:
        self.last = last
        self._layer, self._numbers, self._owners = layer, numbers, owners
        self._pixels, self._outside = pixels.T, outside.T
        self._free = place[:, 0] >= 0
        self._drawn = place[self._free, 0]
        self._sites, self._cells = (place.T >= 0).nonzero(as_tuple=True)
        self._place = place.T[self._sites, self._cells]

    def draw(self, x: Tensor, particles: Population) -> None:
        """Draw what these cells write and is missing, in the image x, uint8 [C, H, W]."""
        c, m, cells = len(x), particles.count, len(self._numbers)
        bijector = window_of(self._layer)
        dtype = bijector.network.first.weight.dtype
        here = x.flatten(1)[:, self._pixels].transpose(0, 1).to(dtype)  # [1 + S, C, B]
        now = here[..., None].repeat(1, 1, 1, m)
        now[self._sites, :, self._cells] = particles.values[self._place].to(dtype)
        outside = None
        if self._layer.cells.misses:
            now.masked_fill_(self._outside[:, None, :, None], 0)
            outside = self._outside[1:, :, None].expand(-1, -1, m).flatten(1).T
        values = now[0].permute(1, 2, 0).reshape(-1, c)  # [B·M, C]
        context = Context(now[1:].flatten(0, 1).flatten(1).T, values[:, :0], outside)
        context = self._layer.of(self._numbers.repeat_interleave(m), context) or context
        if not len(self._drawn):
            log_probs = bijector.level_log_prob(values, context).view(cells, m)
            return particles.add(self._owners, log_probs, log_probs)
        free = self._free[:, None].repeat(1, m)
        if particles.keep:
            free[:, 0] = False
        u = torch.rand(len(self._drawn), m, c, generator=particles.random, dtype=dtype)
        uniform = u.new_zeros(cells, m, c, device=x.device)
        uniform[self._free] = u.to(x.device)
        found, log_probs = bijector.draw_levels(
            values, free.flatten(), uniform.view(-1, c), context
        )
        log_probs = log_probs.view(cells, m)
        drawn = found.reshape(cells, m, c)[self._free].transpose(1, 2)
        particles.values[self._drawn] = drawn.to(particles.values.dtype)
        particles.add(self._owners, log_probs, log_probs.masked_fill(self._free[:, None], 0))
        return None
