"""Observables from samples of all levels of a flow: coarse fields, and what each level corrects.

Coarse fields x^(h) cost little, as the levels from h on draw them alone. Let O_h be a number of
x^(h), such as its squared mean, q the flow's density, and w = e^(−S)/q. For any numbers a_h,

⟨O⟩ = ⟨w O_0⟩/⟨w⟩ − a_0 ⟨O_1⟩ + a_0 (⟨O_1 − a_1 O_2⟩ + a_1 (⟨O_2 − a_2 O_3⟩ + …)),

where means are over samples of the flow, those of each bracket over samples of its own, which have
both fields. Only the first ones have weights, which keep the result right for any flow; the more a
field's O is like that of its coarse field, the fewer of them are needed (multilevel Monte Carlo,
Giles 2008; for lattice fields arXiv:2604.10209). The a_h are those of the least variance, found by
regression over the same samples, which shifts results by less than their errors over √T.

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
    """Samples of one level.

    Attributes:
        level: h.
        fields: Number of samples T.
        seconds: Processor time of one.
        variance: What one of them adds to the variance of the susceptibility; over `fields`, and
            over all levels, these are its squared error.
        fine: Moments of x^(h).
        coarse: Those of x^(h+1); none of the highest level.
        log_weights: ln w, [T]; none where all weights are 1.
    """

    level: int
    fields: int
    seconds: float
    variance: float = math.nan
    fine: Moments = field(repr=False)
    coarse: Moments | None = field(repr=False)
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
    random: torch.Generator | None = None,
) -> Level:
    """Draw samples of a level above 0 from the levels from there on.

    Args:
        flow: The flow.
        action: The action of the fields.
        level: h.
        count: Number of samples.
        generator: Source of the samples.
        random: Of what is random in `Action.observed`, on the CPU.
    """
    parts, start = [], time.process_time()
    at_once = FIELDS_AT_ONCE * 4**level
    for k in range(0, count, at_once):
        images, _ = flow.sample_levels(min(at_once, count - k), level, generator)
        parts.append([moments(action, x, random) for x in graded(images)[:2]])
    fine, *coarse = (Moments.cat(list(one)) for one in zip(*parts, strict=True))
    seconds = (time.process_time() - start) / count
    return Level(
        level=level,
        fields=count,
        seconds=seconds,
        fine=fine,
        coarse=coarse[0] if coarse else None,
    )


def graded(images: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
    """The images of levels, the lowest first, as far as they have two rows and columns."""
    return [x for x in images if min(x.shape[2:]) > 1]


def counts(levels: Sequence[Moments], log_weights: Array) -> list[int]:
    """How many samples of every level to draw, for the least error of the susceptibility in a given
    time, which is taken to be 4^−h of that of level 0.

    Args:
        levels: Moments of the fields of every level, of the same samples of level 0.
        log_weights: ln w of these samples, [T].
    """
    square = [one.magnetisation**2 for one in levels]
    factor, needed = 1.0, []
    for level, y in enumerate(square):
        weights = _weights(log_weights if level == 0 else None, len(y))
        c = square[level + 1] if level + 1 < len(square) else 0 * y
        slope = _slope(y, c, weights)
        rest = weights * (y - (weights * y).mean()) - slope * c
        needed.append(factor * rest.std() * 2**level)  # √(variance/time)
        factor *= abs(slope)
    total = len(log_weights)
    shares = [min(one / max(needed[0], 1e-300), 4**level) for level, one in enumerate(needed)]
    return [total, *(max(math.ceil(total * share), MIN_FIELDS) for share in shares[1:])]


def multilevel(levels: Sequence[Level], action: Action, shape: tuple[int, int]) -> Multilevel:
    """Estimates from samples of all levels.

    Args:
        levels: Samples of every level, level 0 first.
        action: The action of the fields.
        shape: Rows and columns H, W.
    """
    finest = levels[0]
    rules = formulas(action, shape, float(finest.fine.energy.mean()))
    del rules["correlation"]  # whose distances coarse fields don't have
    found = {name: _estimate(levels, *rule) for name, rule in rules.items()}
    function, (of,) = rules["susceptibility"]
    weights, own = finest.log_weights, of(finest.fine)
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
    parts, terms, factors = [], [], np.ones(len(of))
    for one in levels:
        weights = _weights(one.log_weights, one.fields)
        fine = [series(one.fine) for series in of]
        coarse = [series(one.coarse) if one.coarse else 0 * weights for series in of]
        slopes = np.array([_slope(*both, weights) for both in zip(fine, coarse, strict=True)])
        fine = [weights * y for y in fine]
        terms.append(_term(factors, slopes, [*fine, *coarse, weights]))
        parts.append((factors, slopes, [*fine, *coarse, weights]))
        factors = factors * slopes
    whole: Array = np.sum(terms, 0)
    errors = []
    for term, (before, slopes, series) in zip(terms, parts, strict=True):

        def changed(
            *means: Any,
            rest: Array = whole - term,
            before: Array = before,
            slopes: Array = slopes,
        ) -> Any:
            return function(*(rest + _term(before, slopes, means)))

        errors.append(jackknife(changed, *series, blocks=MAX_BLOCKS).error)
    return float(function(*whole)), errors


def _term(factors: Array, slopes: Array, series: Sequence[Any]) -> Array:
    """What a level adds to the mean of each of K numbers, from series of its samples or their
    means: K of its fields, times weights, K of its coarse fields, and the weights."""
    *both, weight = (np.mean(one) for one in series)
    fine, coarse = np.split(np.array(both), 2)
    found: Array = factors * (fine / weight - slopes * coarse)
    return found


def _weights(log_weights: Array | None, count: int) -> Array:
    """Weights with the mean 1, [T]."""
    if log_weights is None:
        return np.ones(count)
    found: Array = np.exp(log_weights - log_weights.max())
    return found / found.mean()


def _slope(y: Array, c: Array, weights: Array) -> float:
    """The a for which w (y − ⟨y⟩) − a c has the least variance, of values [T]."""
    spread = c - c.mean()
    variance = np.square(spread).mean()
    shared = (weights * (y - (weights * y).mean()) * spread).mean()
    return float(shared / variance) if variance else 0.0
