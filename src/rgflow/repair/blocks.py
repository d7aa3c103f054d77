"""How particles fill holes under a flow of blocks that maps every pixel once.

This needs the map `coarse_to_fine` without disentanglers: group after group of the variables of a
block has a distribution given the groups before. A part of a hole is what it has in one block of
level 0. Only the blocks that hold a missing pixel are evaluated, at every level.

Letters in shapes: M particles; G groups of e variables; B blocks; C channels; H, W rows and
columns.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from rgflow.bijectors.cellwise import Cellwise
from rgflow.bijectors.coarse_to_fine import CoarseToFine, Mixtures
from rgflow.bijectors.mixture import find_level, level_log_prob
from rgflow.cells import Ids
from rgflow.flow import Flow
from rgflow.lattice import Mask
from rgflow.model import RGFlow
from rgflow.repair.population import Parts, Population


def block_layers(flow: Flow) -> list[Cellwise]:
    """The layers of a flow of blocks that maps every pixel once, coarsest first; empty for any
    other flow."""
    pixels = flow.config.pixels
    if not isinstance(flow, RGFlow) or not pixels or not pixels.is_marginal:
        return []
    found = []
    for step in reversed(flow.steps):
        (layer, *others) = step.cellwise
        if not others and layer.cells.tile and layer.only(CoarseToFine):
            found.append(layer)
    return found if len(found) == flow.levels and not flow.config.shared else []


class BlockFilling:
    """Draws parts of a hole of an image, given all else.

    Args:
        layers: Of the flow, as `block_layers` gives them.
        hole: The missing pixels, [H, W].

    Attributes:
        sites: Row and column of every missing pixel, [k, 2].
        batches: The parts, each by itself.
        whole: The whole hole as one part, for the first completion.
    """

    def __init__(self, layers: Sequence[Cellwise], hole: Mask) -> None:
        self._layers, self.sites = layers, np.argwhere(hole)
        self.whole = _one_part(np.arange(len(self.sites)))
        cells, inside = layers[-1].cells, np.flatnonzero(hole)
        self.batches = [
            _one_part(np.flatnonzero(np.isin(inside, cells.table[number, : cells.written])))
            for number in np.flatnonzero(cells.touched(hole))
        ]

    def run(self, x: Tensor, parts: Parts, particles: Population) -> None:
        """Draw one part (exactly one is allowed) with particles, group by group.

        Args:
            x: The image, uint8 [C, H, W].
            parts: What to redraw.
            particles: What draws it.
        """
        channels, m = len(x), particles.count
        rows, columns = self.sites[parts.places].T
        marked = np.zeros(x.shape[1:], dtype=bool)
        marked[rows, columns] = True
        number = torch.full(x.shape, -1, device=x.device)  # of a variable in particles.values
        every = torch.arange(channels * len(rows), device=x.device)
        number[:, rows, columns] = every.view(-1, channels).T
        for layer in self._layers:
            stride = 1 << layer.cells.level
            touched = np.flatnonzero(layer.cells.touched(marked[::stride, ::stride]))
            if not len(touched):
                continue
            bijector = cast(CoarseToFine, layer.only(CoarseToFine))
            like, blocks = bijector.networks.first, torch.as_tensor(touched, device=x.device)
            fixed, places = (
                bijector.in_order(layer.read_all(of[None, :, ::stride, ::stride])[touched])
                for of in (x.long(), number)
            )  # [G, e, B]
            rest = layer.of(blocks.repeat(m))
            known = bijector.generation(like.new_empty(m * len(blocks), 0), rest)
            owners, differ = torch.zeros_like(blocks), False
            for group, (now, place) in enumerate(zip(fixed, places, strict=True)):
                free = place >= 0
                differ = differ or bool(free.any())  # between particles
                values = particles.values.view(-1, m)[place.clamp(min=0)].long()
                now = torch.where(free[..., None], values, now[..., None]).transpose(
                    1, 2
                )  # [e, M, B]
                if group >= bijector.kept and differ:
                    now = _drawn(known.mixtures(), now, free, place, owners, particles)
                known.add(now.flatten(1).to(like.dtype))
                if (survivors := particles.resample()) is not None:
                    every = torch.arange(len(blocks), device=x.device)
                    known.pick((survivors[0, :, None] * len(blocks) + every).flatten())


def _drawn(
    mixtures: Mixtures,
    now: Tensor,
    free: Tensor,
    place: Tensor,
    owners: Tensor,
    particles: Population,
) -> Tensor:
    """Draw the free variables [e, B] of a group with M particles; returns all its variables, [e, M,
    B]."""
    if free.any():
        dtype, values = mixtures.params.dtype, particles.values.view(-1, particles.count)
        u = torch.rand(now.shape, generator=particles.random, dtype=dtype).to(now.device)
        drawn = find_level(torch.where(u <= 0.5, u, u - 1).view(1, -1), *mixtures).view_as(now)
        if particles.keep:
            drawn[:, 0] = now[:, 0]
        now = torch.where(free[:, None], drawn, now)
        values[place[free]] = now.transpose(1, 2)[free].to(values.dtype)
    log_probs = level_log_prob(now.reshape(1, -1), *mixtures).view_as(now)
    likelihoods = log_probs.masked_fill(free[:, None], 0)
    particles.add(owners, log_probs.sum(0).T, likelihoods.sum(0).T)
    return now


def _one_part(places: Ids) -> Parts:
    return Parts(places, np.zeros_like(places), 1)
