"""Observables from samples of all levels of a flow: coarse fields, and what each level corrects.

Coarse fields x^(h) cost little, as the levels from h on draw them alone. So many coarse fields are
drawn, and only some of them refined: N_h fields have the levels from h on. Let O_h be a number of
x^(h), such as its squared mean, q the flow's density, and w = e^(−S)/q. For any numbers a_h,

⟨O⟩ = ⟨w O_0⟩/⟨w⟩ − a_0 ⟨O_1⟩ + a_0 (⟨O_1 − a_1 O_2⟩ + a_1 (⟨O_2 − a_2 O_3⟩ + …)),

where the means of O_h − a_h O_(h+1) are over the N_h fields that have both. Only those of level 0
have weights, which keep the result right for any flow; the more a field's O is like that of its
coarse field, the fewer of them are needed (multilevel Monte Carlo, Giles 2008, for lattice fields
arXiv:2604.10209; nested samples, Peherstorfer et al. 2016). The a_h are those of the least
variance, by regression over the same samples, which shifts results by about their errors over √N_0.

Letters in shapes: T samples.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from rgflow.actions import Action
from rgflow.analysis.observables import MAX_BLOCKS, Array, Moments, Series, formulas, moments
from rgflow.field_theory.statistics import Estimate, jackknife
from rgflow.flow import Flow

FIELDS_AT_ONCE = 256
"""Fields drawn at a time, to limit memory; 4^h times as many of level h."""
MIN_FIELDS = 100
"""Fewest samples of a level."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Level:
    """Samples whose lowest level is one and the same.

    Attributes:
        level: h.
        fields: Number of samples T.
        seconds: Processor time of one.
        variance: What one of them adds to the variance of the susceptibility; over `fields`, and
            over all levels, these are its squared error.
        moments: Of x^(h), x^(h+1), …
        log_weights: ln w, [T], at level 0; none where there are none.
    """

    level: int
    fields: int
    seconds: float
    variance: float = math.nan
    moments: Sequence[Moments] = field(repr=False)
    log_weights: Array | None = field(repr=False, default=None)

    def to_dict(self) -> dict[str, Any]:
        """As in a file: without the samples."""
        return {name: getattr(self, name) for name in ("level", "fields", "seconds", "variance")}


@dataclass(frozen=True, kw_only=True, eq=False)
class Multilevel:
    """Estimates from samples of all levels.

    Attributes:
        levels: The samples, level 0 first.
        observables: By the names of `rgflow.analysis.Observables`.
        gain: How many times longer samples of level 0 alone take to the same error of the
            susceptibility.
    """

    levels: Sequence[Level]
    observables: dict[str, Estimate[float]]
    gain: float


def sampled(
    flow: Flow,
    action: Action,
    level: int,
    count: int,
    generator: torch.Generator,
) -> Level:
    """Draw samples of a level above 0 from the levels from there on.

    Args:
        flow: The flow.
        action: The action of the fields.
        level: h.
        count: Number of samples.
        generator: Source of the samples.
    """
    parts, start = [], time.process_time()
    at_once = FIELDS_AT_ONCE * 4**level
    for k in range(0, count, at_once):
        images, _ = flow.sample_levels(min(at_once, count - k), level, generator)
        parts.append([moments(action, x) for x in graded(images)])
    found = [Moments.cat(list(one)) for one in zip(*parts, strict=True)]
    seconds = (time.process_time() - start) / count
    return Level(level=level, fields=count, seconds=seconds, moments=found)


def graded(images: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
    """The images of levels, each [N, C, rows, columns], the lowest first, as far as they have two
    rows and columns."""
    return [x for x in images if min(x.shape[2:]) > 1]


def counts(levels: Sequence[Moments], log_weights: Array) -> list[int]:
    """How many samples to draw of every level alone and those above, for the least error of the
    susceptibility in a given time; a field of level h is taken to need 4^−h of it.

    Args:
        levels: Moments of the fields of every level, of the same samples of level 0.
        log_weights: ln w of these samples, [T].
    """
    square = [one.magnetisation**2 for one in levels]
    factor, needed, weights = 1.0, [], _weights(log_weights)
    for level, y in enumerate(square):
        c = square[level + 1] if level + 1 < len(square) else 0 * y
        slope = _slope(y, c, weights)
        rest = weights * (y - (weights * y).mean()) - slope * c
        needed.append(factor * rest.std() * 2**level)  # √(variance/time)
        factor, weights = factor * abs(slope), np.ones_like(weights)
    total = len(log_weights)
    shares = [min(one / max(needed[0], 1e-300), 4**level) for level, one in enumerate(needed)]
    having = np.maximum.accumulate(np.ceil(total * np.array(shares)).astype(int))
    return [total, *np.maximum(np.diff(having), MIN_FIELDS).tolist()]


def multilevel(levels: Sequence[Level], action: Action, shape: tuple[int, int]) -> Multilevel:
    """Estimates from samples of all levels.

    Args:
        levels: Samples of every level, level 0 first.
        action: The action of the fields.
        shape: Rows and columns H, W.
    """
    finest = levels[0]
    rules = formulas(action, shape, float(finest.moments[0].energy.mean()))
    del rules["correlation"]  # whose distances coarse fields don't have
    found = {name: _estimate(levels, *rule) for name, rule in rules.items()}
    function, (of,) = rules["susceptibility"]
    weights, own = finest.log_weights, of(finest.moments[0])
    alone = jackknife(function, own, log_weights=weights, blocks=MAX_BLOCKS).error
    square = np.square(found["susceptibility"][1])
    spent = sum(one.fields * one.seconds for one in levels)
    return Multilevel(
        levels=[
            replace(one, variance=float(of_level * one.fields))
            for one, of_level in zip(levels, square, strict=True)
        ],
        observables={
            name: Estimate(value, float(np.hypot.reduce(errors)))
            for name, (value, errors) in found.items()
        },
        gain=alone**2 * finest.fields * finest.seconds / max(square.sum() * spent, 1e-300),
    )


def _estimate(
    levels: Sequence[Level], function: Callable[..., Any], of: Sequence[Series]
) -> tuple[float, list[float]]:
    """A function of means, and its error due to the samples of every level."""
    assert levels[0].log_weights is not None
    weights, having = _weights(levels[0].log_weights), np.cumsum([one.fields for one in levels])
    fine, adds = [], []
    for series in of:
        values = [[series(x) for x in one.moments] for one in levels]
        # What the coarse fields of every sample add, by its lowest level, as ⟨O_h⟩ is over more
        # samples than its control variate ⟨O_(h+1)⟩.
        added, factor = [0 * one[0] for one in values], 1.0
        for h in range(len(levels) - 1):
            y, c = (np.concatenate([values[g][k - g] for g in range(h + 1)]) for k in (h, h + 1))
            factor *= _slope(y, c, np.ones(having[h]) if h else weights)
            for g in range(h + 2):
                share = 1 / having[h + 1] - (1 / having[h] if g <= h else 0)
                added[g] = added[g] + factor * levels[g].fields * share * values[g][h + 1 - g]
        fine.append(weights * values[0][0])
        adds.append(added)
    total = np.mean(fine, 1) + np.array([sum(one.mean() for one in added) for added in adds])
    errors = []
    for g, one in enumerate(levels):
        mine = [added[g] for added in adds]
        own = [*fine, *mine, weights] if g == 0 else [0 * x for x in mine] + mine
        own += [np.ones(one.fields)] * (g > 0)
        rest = total - _sum(own)

        def changed(*means: Any, rest: Array = rest) -> Any:
            return function(*(rest + _sum(means)))

        errors.append(jackknife(changed, *own, blocks=MAX_BLOCKS).error)
    return float(function(*total)), errors


def _sum(series: Sequence[Any]) -> Array:
    """What samples add to the means of K numbers, from series or their means: K of fields, times
    weights, K of their coarse fields, and the weights."""
    *both, weight = (np.mean(one) for one in series)
    fine, added = np.split(np.array(both), 2)
    found: Array = fine / weight + added
    return found


def _weights(log_weights: Array) -> Array:
    """Weights with the mean 1, [T]."""
    found: Array = np.exp(log_weights - log_weights.max())
    return found / found.mean()


def _slope(y: Array, c: Array, weights: Array) -> float:
    """The a for which w (y − ⟨y⟩) − a c has the least variance, of values [T]."""
    spread = c - c.mean()
    variance = np.square(spread).mean()
    shared = (weights * (y - (weights * y).mean()) * spread).mean()
    return float(shared / variance) if variance else 0.0
