"""Flows that learn the picture in hand, from its own known pixels.

A photograph is like itself: its noise, its sharpness and its textures are the same all over. So the
maps of a flow of windows take some hundred steps of AdamW (arXiv:1711.05101), with averaged
weights, on windows at random places of the picture. Squares of it are held out, and each map ends
as it was when it predicted these best, so that none gets worse.

Letters in shapes: C channels; H, W rows and columns; k sites; S sites of a window.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from rgflow.bijectors.base import Context
from rgflow.bijectors.cellwise import Cellwise
from rgflow.bijectors.window import WindowMixture
from rgflow.cells import Mask, Sublattice
from rgflow.checks import check_at_least, check_whole
from rgflow.flow import Flow
from rgflow.model import RGFlow
from rgflow.photographs.restoring import SWEEPS, Repair, check_hole, restore
from rgflow.photographs.scoring import check_windows, sized
from rgflow.photographs.surroundings import Grids, Surroundings, reach
from rgflow.processes import TerminatedError
from rgflow.repair.windows import window_of

BATCH = 128
"""Windows of a step. This and what follows was chosen on validation photographs of `wallpapers`:
larger batches learn less in the same time."""
RATE, WARMUP = 3e-4, 10
"""Learning rate, and the number of steps in which it rises to that."""
AVERAGE = 0.99
"""Decay of the average of the weights."""
MAX_NORM = 5.0
"""Largest norm of a gradient; longer ones are shortened to it."""
SQUARE, HELD_OUT = 16, 0.12
"""Edge of the squares that are held out, in pixels, and their share."""
MOST_SITES = 1 << 18
"""Sites of a layer and a picture that are learned, at most."""
LEAST, MOST_HELD_OUT = 128, 4096
"""Windows that have to be held out, and at most."""
CHECK, PATIENCE = 50, 6
"""Steps after which a map is judged, and judgements without a gain after which it stops."""
TILES, TILE = 24, 128
"""Places to which the damage of a hole is moved, and their edge in pixels."""
NEAR = 256
"""How far damage is moved at most, in pixels: what is near is alike."""


class Learner:
    """A map that learns from windows.

    Args:
        map: The map; it is changed.
        seed: Of the generator.

    Attributes:
        average: The map with averaged weights.
        generator: Source of randomness for choosing windows.
    """

    def __init__(self, map: WindowMixture, seed: int) -> None:
        self.map, self.average = map, deepcopy(map).requires_grad_(False)
        self.generator, self.steps = torch.Generator().manual_seed(seed), 0
        self._weights: list[Tensor] = list(map.requires_grad_(True).parameters())
        self._averages: list[Tensor] = list(self.average.parameters())
        self._adam = torch.optim.AdamW(
            self._weights, betas=(0.9, 0.99), weight_decay=0.0, fused=True
        )

    @torch.enable_grad()
    def step(self, levels: Tensor, context: Context) -> None:
        """Take a step on levels [k, C] given their context."""
        self.steps += 1
        for group in self._adam.param_groups:
            group["lr"] = RATE * min(self.steps / WARMUP, 1.0)
        loss = -self.map.level_log_prob(levels, context).mean() / levels.shape[1]
        self._adam.zero_grad()
        loss.backward()
        if not nn.utils.clip_grad_norm_(self._weights, MAX_NORM).isfinite():
            return
        self._adam.step()
        decay = min(AVERAGE, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            torch._foreach_lerp_(self._averages, self._weights, 1 - decay)


@dataclass(frozen=True, eq=False)
class Source:
    """Windows of a grid that a layer's map can learn from.

    Attributes:
        layer: The layer.
        around: The grid that windows are read from.
        sites: Row and column of what is predicted, [k, 2].
        truth: The grid with the true values of these sites, if they are others.
        share: How often it is chosen, beside others.
    """

    layer: Cellwise
    around: Surroundings
    sites: Tensor
    truth: Surroundings | None = None
    share: float = 1.0

    def read(self, which: Tensor) -> tuple[Tensor, Context]:
        """The levels [k, C] and contexts of some of the sites, by their numbers [k]."""
        sites = self.sites[which].to(self.around.grid.device)
        levels, context = self.around.read(self.layer, sites)
        return self.truth.grid[:, *sites.T].T if self.truth else levels, context


def draw(sources: Sequence[Source], generator: torch.Generator) -> tuple[Tensor, Context]:
    """Levels [k, C] and contexts of a batch of random windows of several sources."""
    shares = torch.tensor([source.share for source in sources])
    counts = torch.multinomial(shares, BATCH, replacement=True, generator=generator).bincount()
    parts = [
        source.read(torch.randint(len(source.sites), (count,), generator=generator))
        for source, count in zip(sources, counts.tolist(), strict=False)
        if count
    ]
    return torch.cat([levels for levels, _ in parts]), Context.joined([of for _, of in parts])


def site_unit(flow: Flow) -> int:
    """How far a layer's sites have to be from others that its map can learn from: where coarse
    images are averages, one place of a square isn't like the others."""
    return 2 if flow.config.geometry.averages else 1


@dataclass(frozen=True, eq=False)
class Adapted:
    """A flow that knows a picture.

    Attributes:
        flow: A copy of the flow.
        before: Bits per dimension of what was held out, before; NaN if too little is known.
        after: The same afterwards, never more.
        steps: Steps that a map took, at most.
    """

    flow: RGFlow
    before: float
    after: float
    steps: int


@dataclass(eq=False)
class _Lesson:
    """What a map learns, and how well it predicts what is held out."""

    learner: Learner
    learned: list[Source] = field(default_factory=list)
    held: list[Source] = field(default_factory=list)
    before: float = math.nan
    best: float = math.inf
    bad: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def begin(self) -> bool:
        """Choose what the map is judged by; whether there is enough of it."""
        counts = [len(source.sites) for source in self.held]
        if sum(counts) < LEAST or not self.learned:
            return False
        part = min(MOST_HELD_OUT / sum(counts), 1.0)
        self._windows = [
            source.read(torch.randperm(count, generator=self.learner.generator)[:some])
            for source, count in zip(self.held, counts, strict=True)
            if (some := round(part * count))
        ]
        self.judge()
        return True

    @torch.no_grad()
    def judge(self) -> None:
        """Keep the averaged weights if they are the best so far."""
        average, bits, values = self.learner.average, 0.0, 0
        for levels, context in self._windows:
            bits -= average.level_log_prob(levels, context).sum().item() / math.log(2)
            values += levels.numel()
        self.bad += 1
        if bits / values < self.best:
            self.best, self.bad = bits / values, 0
            self.before = self.best if math.isnan(self.before) else self.before
            self.weights = deepcopy(average.state_dict())


def adapt(
    flow: Flow,
    image: Tensor,
    hole: Mask | None = None,
    *,
    steps: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Adapted:
    """A copy of a flow that has learned a picture.

    Without a hole, all maps learn all levels of the picture. With one, only the map that
    `restore` uses learns, for this hole: it predicts known pixels around it, half of them where the
    same damage, moved there, was restored, as then their windows hold estimates too.

    Learning ends when the budget is spent, when nothing is gained any more, or by an interruption
    (`KeyboardInterrupt`, but not `TerminatedError`); the best weights so far are taken. With a
    number of steps and without a number of seconds, the same seed gives the same weights on the
    same machine, for any number of threads.

    Args:
        flow: A flow of windows, of any size.
        image: The picture, uint8 [C, H, W].
        hole: What is missing in the picture, [H, W], and holds estimates, as of `restore`.
        steps: Number of steps of every map, of `BATCH` windows.
        seconds: Time; without either, nothing is learned.
        seed: Of the choice of windows, and of what is held out.
        progress: Called with the share of the budget that is used.

    Raises:
        ValueError: If the flow is of another kind, or a picture or the hole doesn't fit.

    Example:
        >>> from rgflow import load_flow
        >>> image = torch.arange(48 * 64).view(1, 48, 64).remainder(251).byte().repeat(3, 1, 1)
        >>> adapted = adapt(load_flow("photos"), image, steps=20)
        >>> adapted.after < adapted.before
        True
    """
    most, longest = check_whole("steps", steps or 0, 0), seconds or 0.0
    check_at_least("seconds", longest, 0)
    copy, start, taken = deepcopy(check_windows(flow)), time.perf_counter(), 0
    if not most and not longest:
        return Adapted(copy, math.nan, math.nan, 0)
    of, random = copy, np.random.default_rng(seed)
    if hole is None:
        of = sized(copy, image[None])
    else:
        hole = check_hole(image, hole)
    lessons: dict[WindowMixture, _Lesson] = {}
    learned = list[_Lesson]()

    def used() -> float:
        of_time = (time.perf_counter() - start) / longest if longest else 0.0
        return min(max(of_time, taken / most if most else 0.0), 1.0)

    with one_thread(), _enough():
        found = _whole(of, image, random) if hole is None else _damaged(of, image, hole, random)
        for source, held in found:
            map = window_of(source.layer)
            if map not in lessons:
                lessons[map] = _Lesson(Learner(deepcopy(map), seed + len(lessons)))
            (lessons[map].held if held else lessons[map].learned).append(source)
        learned = [lesson for lesson in lessons.values() if lesson.begin()]
        active = learned
        while active and used() < 1:
            taken += 1
            for lesson in active:
                lesson.learner.step(*draw(lesson.learned, lesson.learner.generator))
                if taken % CHECK == 0:
                    lesson.judge()
            active = [lesson for lesson in active if lesson.bad < PATIENCE]
            if progress:
                progress(used())
        for lesson in active:
            lesson.judge()
    for map, lesson in lessons.items():
        if lesson.weights:
            map.load_state_dict(lesson.weights)
    if of is not copy:
        copy.load_weights_from(of)
    before, after = (
        float(np.mean([getattr(lesson, name) for lesson in learned] or [math.nan]))
        for name in ("before", "best")
    )
    return Adapted(copy, before, after, taken)


def restore_adapted(
    flow: Flow,
    image: Tensor,
    hole: Mask,
    *,
    steps: int | None = None,
    seconds: float | None = None,
    sweeps: int = SWEEPS,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> tuple[Tensor, Adapted]:
    """Fill a hole as `restore` does, by a flow that has learned the picture as `adapt` does.

    The result is the mean of what the flow gives and what its copy gives, which errs less than
    either where there is little to learn; what the flow gives, if interrupted after that.

    Args:
        flow: As of `restore`, like all others but `steps`, `seconds` and `seed`, as of `adapt`.

    Returns:
        The photograph, uint8 [C, H, W], and the copy.

    Example:
        >>> from rgflow import load_flow
        >>> image = torch.full((3, 40, 60), 99, dtype=torch.uint8)
        >>> hole = np.zeros((40, 60), dtype=bool)
        >>> hole[10:12, 5:50] = True
        >>> restored, adapted = restore_adapted(load_flow("photos"), image, hole, steps=2)
        >>> torch.equal(restored, image), adapted.steps
        (True, 2)
    """

    def stage(first: float, part: float) -> Callable[[float], None]:
        return lambda share: progress(first + part * share) if progress else None

    repair = Repair(image, hole)
    usual = repair.by(flow, sweeps=sweeps, progress=stage(0, 0.2))
    learning = stage(0.2, 0.6)
    adapted = adapt(flow, usual, hole, steps=steps, seconds=seconds, seed=seed, progress=learning)
    if not adapted.after < adapted.before:
        return usual, adapted
    whole = usual
    with _enough():
        other = repair.by(adapted.flow, sweeps=sweeps, progress=stage(0.8, 0.2))
        whole = ((usual.int() + other + 1) // 2).to(torch.uint8)
    return whole, adapted


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread, as the number of threads changes rounding, and so what is learned."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _enough() -> Iterator[None]:
    """A part of the work that ends if somebody interrupts it, but not if the process has to end."""
    try:
        yield
    except KeyboardInterrupt as interruption:
        if isinstance(interruption, TerminatedError):
            raise


def _whole(of: RGFlow, image: Tensor, random: np.random.Generator) -> Iterator[tuple[Source, bool]]:
    """Windows of all levels of a picture, and whether they are held out."""
    grids, squares, unit = Grids(of, image), _squares(image.shape[1:], random), site_unit(of)
    for layer in of.layers:
        assert isinstance(layer.cells, Sublattice)
        scale = 1 << layer.cells.level
        (i, j), own = layer.cells.start, np.zeros_like(held := squares[::scale, ::scale])
        own[i % unit :: unit, j % unit :: unit] = True
        for kept in (False, True):
            if (mask := own & (held == kept)).any():
                sites, share = _some(mask, random), float(mask.sum())
                yield Source(layer, grids.of(layer), sites, share=share), kept


def _damaged(
    of: RGFlow, image: Tensor, hole: Mask, random: np.random.Generator
) -> Iterator[tuple[Source, bool]]:
    """Windows around a hole, and where the same damage is moved to, and whether they are held
    out."""
    held, layer = _squares(hole.shape, random), of.steps[0].cellwise[0]
    margin, shape = reach([layer]), hole.shape
    edges = [min(TILE, size) for size in shape]
    padded, missing = np.pad(hole, TILE), np.argwhere(hole)
    for _ in range(TILES):
        begin = missing[random.integers(len(missing))] - random.integers(edges)  # of the damage
        corner = np.clip(begin + random.integers(-NEAR, NEAR + 1, 2), 0, np.subtract(shape, edges))
        rows, columns = (slice(at, at + edge) for at, edge in zip(corner, edges, strict=True))
        i, j = begin + TILE
        damage = padded[i : i + edges[0], j : j + edges[1]] & ~hole[rows, columns]
        tile, inner = image[:, rows, columns], np.zeros_like(damage)
        inner[margin:-margin, margin:-margin] = True  # where no window is cut
        if not damage.any() or damage.all():
            continue
        truth = Surroundings(tile, margin)
        restored = Surroundings(restore(of, tile, damage, sweeps=2), margin)
        kept = held[rows, columns]
        weight = float((learned := damage & inner & ~kept).sum())
        if (held_out := damage & inner & kept).any():
            yield Source(layer, restored, _some(held_out, random), truth), True
        if learned.any():
            yield Source(layer, restored, _some(learned, random), truth, weight), False
        if weight and (known := inner & ~hole[rows, columns] & ~kept).any():
            yield Source(layer, truth, _some(known, random), share=weight), False


def _squares(shape: Sequence[int], random: np.random.Generator) -> Mask:
    """Random squares of a picture, [H, W]."""
    chosen = random.random([-(-size // SQUARE) for size in shape]) < HELD_OUT
    return chosen.repeat(SQUARE, 0).repeat(SQUARE, 1)[: shape[0], : shape[1]]


def _some(mask: Mask, random: np.random.Generator) -> Tensor:
    """Marked sites [k, 2]: all, or many of them."""
    numbers = np.flatnonzero(mask)
    if len(numbers) > MOST_SITES:
        numbers = random.choice(numbers, MOST_SITES)
    return torch.from_numpy(np.stack(np.divmod(numbers, mask.shape[1]), 1))
