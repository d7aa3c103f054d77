"""Scores of a flow that learns a photograph while it scores it, as a decoder could.

Levels come from the coarsest to the finest, and each in bands from top to bottom. In a band, the
layers come in the order of generation, each so many rows behind the one before it that all that it
reads has been scored. After a band, every map takes some steps (`rgflow.photographs.adapting`) on
windows of all places of the level that are known by then. A byte's probability is a mean of two:
that of the map as it was, which wins where there is little to learn, and that of its copy which
learns. The copy's share is the one that would have been best for the bands before. So every byte is
predicted by what came before it alone (Dawid 1984, "prequential"), and the bits are the length of a
code.

Maps learn apart from one another, so each is a part of the work of its own, in any order.

Letters in shapes: C channels; H, W rows and columns; k sites.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rgflow.bijectors.base import Context
from rgflow.bijectors.cellwise import BAND, Cellwise
from rgflow.bijectors.window import WindowMixture
from rgflow.cells import Sublattice
from rgflow.checks import check_whole
from rgflow.flow import Flow
from rgflow.model import RGFlow
from rgflow.photographs.adapting import BATCH, LEAST, Learner, one_thread, site_unit
from rgflow.photographs.scoring import Bits, Done, check_windows, in_colour, sized
from rgflow.photographs.surroundings import Grids, reach
from rgflow.repair.windows import window_of

ROWS = 32
"""Rows of a level's grid in a band; chosen on validation photographs of `wallpapers`."""
SHARES, FORGET = torch.arange(1, 16, dtype=torch.float64) / 16, 0.5
"""Shares that a copy which learns can have, and the factor by which earlier bands count less."""


@dataclass(frozen=True, eq=False)
class Part:
    """The rows of one layer in a band.

    Attributes:
        layer: The layer.
        rows: Which rows of its cells.
        known: Rows of the level's grid in which all sites, and all that windows around them read,
            are known after the band.
        name: A name.
    """

    layer: Cellwise
    rows: range
    known: int
    name: str

    @property
    def level(self) -> int:
        """The level of the layer."""
        return self.layer.cells.level

    @property
    def count(self) -> int:
        """Number of cells."""
        return len(self.rows) * self.layer.cells.shape[1]

    def sites(self) -> Iterator[Tensor]:
        """Row and column of the cells, [k, 2], some at a time."""
        cells = self.layer.cells
        assert isinstance(cells, Sublattice)
        number = max(BAND // cells.shape[1], 1)
        for first in range(self.rows.start, self.rows.stop, number):
            rows = torch.arange(first, min(first + number, self.rows.stop))
            at = torch.cartesian_prod(rows, torch.arange(cells.shape[1]))
            yield (at * cells.step + at.new_tensor(cells.start)).to(self.layer.code.device)


def parts(layers: Sequence[Cellwise]) -> Iterator[list[Part]]:
    """The bands of a level: the parts of each, in the order of generation.

    Args:
        layers: Of the level, in the order of inference.
    """
    margin, begun, height = reach(layers), dict[Cellwise, int](), layers[0].cells.extent[0]
    for number in range(-(-(height + margin * (len(layers) - 1)) // ROWS)):
        band = list[Part]()
        known = ROWS * (number + 1) - margin * len(layers)
        for behind, layer in enumerate(reversed(layers)):
            cells = layer.cells
            assert isinstance(cells, Sublattice)
            end = ROWS * (number + 1) - margin * behind - cells.start[0]
            rows = range(begun.get(layer, 0), min(max(-(-end // cells.step), 0), cells.shape[0]))
            if rows:
                begun[layer] = rows.stop
                name = f"{cells.level}/{len(layers) - 1 - behind}/{number}"
                whole = known + margin >= height
                band.append(Part(layer, rows, height if whole else max(known, 0), name))
        yield band


@dataclass(eq=False)
class Expert:
    """A map as it was, its copy that learns, and how well both have predicted so far.

    Attributes:
        map: The map as it was.
        learner: Its copy.
        due: Part of a step that is still to be taken.
        gains: Log-probabilities of earlier bands with each of `SHARES`.
    """

    map: WindowMixture
    learner: Learner
    due: float = 0.0
    gains: Tensor = field(default_factory=lambda: torch.zeros_like(SHARES))

    @property
    def log_shares(self) -> Tensor:
        """Logarithms of the shares of the map and of its copy, [2, 1]."""
        middle = len(SHARES) // 2
        best = self.gains.argmax() if self.gains.any() else middle
        return torch.stack((1 - SHARES[best], SHARES[best])).log()[:, None]

    def level_log_probs(self, levels: Tensor, context: Context, channels: int) -> Tensor:
        """Log-probabilities of the first channels of bytes [k, C] by the map and by its copy,
        [2, k]."""
        maps = [self.map, self.learner.average][: 2 if self.learner.steps else 1]
        found = [map.level_log_prob(levels, context, channels).double() for map in maps]
        return torch.stack((found[0], found[-1]))

    def judge(self, log_p: Tensor) -> None:
        """Remember what both say, [2, k], of bytes that are known now."""
        old, new = (1 - SHARES).log()[:, None] + log_p[0], SHARES.log()[:, None] + log_p[1]
        self.gains = FORGET * self.gains + torch.logaddexp(old, new).sum(1)


class Prequential:
    """The maps of a flow, and what they have learned of a photograph so far.

    Args:
        flow: Of the photograph's size.
        grids: The grids of the photograph, as far as a decoder knows them.
        passes: How often every site is learned, on average.
    """

    def __init__(self, flow: RGFlow, grids: Grids, passes: int) -> None:
        self.passes, self.unit = check_whole("passes", passes, 0), site_unit(flow)
        self._grids, maps = grids, dict.fromkeys(map(window_of, flow.layers))
        self.experts = {
            map: Expert(map, Learner(deepcopy(map), seed)) for seed, map in enumerate(maps)
        }

    def read(self, part: Part) -> Iterator[tuple[Tensor, Tensor, Context]]:
        """The sites [k, 2], levels [k, C] and context of the cells of a part, some at a time."""
        around = self._grids.of(part.layer)
        for sites in part.sites():
            yield sites, *around.read(part.layer, sites)

    def learn(self, part: Part) -> None:
        """Learn from all that is known after the band of a part."""
        around, expert = self._grids.of(part.layer), self.experts[window_of(part.layer)]
        size = (part.known, around.grid.shape[2])
        if math.prod(size) < LEAST:
            return
        expert.due += self.passes * part.count / BATCH
        assert isinstance(part.layer.cells, Sublattice)
        starts = [start % self.unit for start in part.layer.cells.start]
        while expert.due >= 1:
            expert.due -= 1
            at = [
                torch.randint(
                    -(-(edge - start) // self.unit), (BATCH,), generator=expert.learner.generator
                )
                * self.unit
                + start
                for edge, start in zip(size, starts, strict=True)
            ]
            sites = torch.stack(at, 1).to(around.grid.device)
            expert.learner.step(*around.read(part.layer, sites))

    def finish(self) -> None:
        """Give the flow the weights that were learned."""
        for map, expert in self.experts.items():
            map.load_state_dict(expert.learner.average.state_dict())


@torch.no_grad()
def score(
    flow: Flow,
    image: Tensor,
    passes: int,
    *,
    done: Done | None = None,
    progress: Callable[[str, float, float], None] | None = None,
) -> tuple[Bits, RGFlow]:
    """How many bits a photograph takes by a flow that learns it meanwhile, and this flow.

    The same on one machine for any number of threads and processes.

    Args:
        flow: A flow of windows, of any size.
        image: uint8 [C, H, W]; a grey one may have a single channel, as for `bits`.
        passes: How often every site is learned, on average; 0 gives `rgflow.photographs.bits`.
        done: What an earlier, interrupted call reported to `progress`. Maps whose parts are all
            there don't learn again, so the flow lacks what they had learned.
        progress: Called after every part with its name, its bits, and the share of cells so far.

    Raises:
        ValueError: If the flow can't take such an image, or `passes` is negative.

    Example:
        >>> from rgflow import load_flow
        >>> flow = load_flow("photos")
        >>> image = torch.arange(48 * 64).view(1, 48, 64).remainder(251).byte().repeat(3, 1, 1)
        >>> found, learned = score(flow, image, 1)
        >>> found.levels.shape
        torch.Size([1, 4])
    """
    seen = in_colour(flow, image[None])
    of = sized(flow, seen)
    state = Prequential(of, Grids(of, seen[0]), passes)
    plan: dict[WindowMixture, list[Part]] = {}
    for part in (part for level in bands(of) for band in level for part in band):
        plan.setdefault(window_of(part.layer), []).append(part)
    cells = sum(len(layer.cells) for layer in of.layers)
    by_level, so_far, done = torch.zeros(1, of.levels, dtype=torch.float64), 0, done or {}
    with one_thread():
        for mine in plan.values():
            kept = all(part.name in done for part in mine)
            for part in mine:
                if kept:
                    found = done[part.name]
                else:
                    expert = state.experts[window_of(part.layer)]
                    log_p = torch.cat(
                        [
                            expert.level_log_probs(levels, context, len(image))
                            for _, levels, context in state.read(part)
                        ],
                        1,
                    )
                    found = -(log_p + expert.log_shares).logsumexp(0).sum().item() / math.log(2)
                    expert.judge(log_p)
                    state.learn(part)
                by_level[:, part.level] += found
                so_far += part.count
                if progress:
                    progress(part.name, found, so_far / cells)
    state.finish()
    learned = deepcopy(check_windows(flow))
    learned.load_weights_from(of)
    return Bits(by_level, image.numel()), learned


def bands(flow: RGFlow) -> Iterator[list[list[Part]]]:
    """The bands (`parts`) of every level of a flow of the photograph's size, the highest first: the
    order in which they can be decoded."""
    for step in reversed(flow.steps):
        yield list(parts(step.cellwise))
