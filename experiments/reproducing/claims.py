"""The paper's claims about levels (section 4.1), compared with probes of the levels."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from scipy import special

from rgflow.analysis.probes import Probe, ProbeTable, Score
from rgflow.text import measured, minus

MIN_DIFFERENCE = 0.05
"""Smallest difference of two R² that counts, however small their errors."""
MIN_R2 = 0.25
"""Smallest R² at which a level counts as holding a factor."""
Outcome = Literal["agrees", "contradicts", "undecided"]


class Claim(NamedTuple):
    """A claim of the paper's section 4.1, compared with the scores."""

    text: str
    outcome: Outcome


def verdict(table: ProbeTable) -> tuple[Claim, ...]:
    """The paper's claims about each group of factors, compared with the scores.

    They are: features of the whole image are held at high levels, those of a part of it at low
    levels at its own position. The upper half of the levels is high; of an odd number of levels
    the middle one is low. The best level and probe counts. A difference counts if it is at
    least 0.05 and its 95 % interval leaves out 0. Below an R² of 0.25 at all levels, nothing is
    decided.
    """
    if not any(score.places for score in table.scores):
        return ()
    return tuple(claim for group in table.groups for claim in _claims(table, group))


def _claims(table: ProbeTable, group: str) -> Iterator[Claim]:
    low = range((table.levels + 1) // 2)
    high = range(len(low), table.levels)
    if not high:
        return
    lowest, highest = _best(table, group, low), _best(table, group, high)
    local = highest.places > 0
    right, wrong = (lowest, highest) if local else (highest, lowest)
    where, other = ("low", "high") if local else ("high", "low")
    there = [score for score in (right, wrong) if _found(table, score)]
    if max((score.r2 for score in there), default=0.0) < MIN_R2:
        words = "is hardly told by any level" if there else "is found at no level"
        numbers = f"R² {_said(right)} and {_said(wrong)} at best"
        yield Claim(f"{group}: {words} ({numbers}).", "undecided")
        return
    if right not in there:
        numbers = f"R² {_said(wrong)} at level {wrong.level}, at {where} levels {_said(right)}"
        text = f"{group}: is held at {other} levels only ({numbers} at best)."
        yield Claim(text, "contradicts")
        return
    outcome = compared(right, wrong)
    words = {
        "agrees": f"is held at {where} levels",
        "contradicts": f"is held at {other} levels rather than {where}",
        "undecided": "is held at low and at high levels alike",
    }[outcome]
    numbers = f"R² {_said(right)} at level {right.level}, against {_said(wrong)} at level"
    yield Claim(f"{group}: {words} ({numbers} {wrong.level}).", outcome)
    if not local or not (found := _with_random(table, group, low)) or found[0].r2 < MIN_R2:
        return
    own, random = found
    outcome = compared(own, random)
    words = {
        "agrees": "its own position holds it",
        "contradicts": "its own position holds less of it than others",
        "undecided": "its own position holds about as much of it as others",
    }[outcome]
    where = f"others, {random.near:.0%} of them from there too" if random.near else "others"
    numbers = f"R² {_said(own)} from the {own.latents:.0f} latents there, {_said(random)} from"
    text = f"{group}: at level {own.level} {words} ({numbers} as many {where})."
    yield Claim(text, outcome)


def _best(table: ProbeTable, group: str, levels: Sequence[int]) -> Score:
    """The best score of a group from own latents, among some levels and all probes."""
    found = [table.score(group, h, probe) for h in levels for probe in get_args(Probe)]
    return max(found, key=lambda score: score.r2)


def _found(table: ProbeTable, score: Score) -> bool:
    """Whether a score is above 0 and above the score of shuffled labels."""
    floor = table.score(score.group, score.level, score.probe, "shuffled")
    return score.r2 > MIN_DIFFERENCE and compared(score, floor) == "agrees"


def _with_random(
    table: ProbeTable, group: str, levels: Sequence[int]
) -> tuple[Score, Score] | None:
    """The best score of own latents that has one of random latents beside it, and that."""
    pairs = [
        (table.score(group, random.level, random.probe), random)
        for random in table.scores
        if random.group == group and random.inputs == "random" and random.level in levels
    ]
    return max(pairs, key=lambda pair: pair[0].r2, default=None)


def compared(a: Score, b: Score) -> Outcome:
    """Whether a is above b (`agrees`) or below (`contradicts`)."""
    difference, error = a.r2 - b.r2, float(np.hypot(a.error, b.error))
    freedom = a.places - 1 if a.places > 1 else np.inf
    if abs(difference) <= max(special.stdtrit(freedom, 0.975) * error, MIN_DIFFERENCE):
        return "undecided"
    return "agrees" if difference > 0 else "contradicts"


def _said(score: Score) -> str:
    return minus(f"{measured(score.r2, 2)} ± {score.error:.2f}")
