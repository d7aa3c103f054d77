"""Results about a flow as tables, for the screen and the page.

Every table names the settings behind its numbers.
"""

import math
from collections.abc import Iterator, Sequence
from typing import get_args

import numpy as np

from rgflow.analysis.associations import Association, Associations
from rgflow.analysis.factors import Factors
from rgflow.analysis.fields import ReceptiveFields, how_found
from rgflow.analysis.labels import Label, spread
from rgflow.analysis.probes import Inputs, Probe, ProbeTable
from rgflow.analysis.scales import Scale
from rgflow.evaluation import Evaluation
from rgflow.latents import Address
from rgflow.report.page import Table
from rgflow.text import many, measured, minus, with_error

INPUTS: dict[Inputs, str] = {
    "own": "",
    "random": "\u2003as many others",
    "shuffled": "\u2003shuffled labels",
}
"""Names of rows by the inputs of a probe; HTML keeps this space."""


def shown(value: float, digits: int = 2, error: float | None = None) -> str:
    """A number with `digits` decimals and its standard error; empty for NaN.

    Example:
        >>> shown(-0.125, 2, 0.02), shown(-0.001), shown(0.5, 1, math.nan), shown(math.nan)
        ('−0.12 ± 0.02', '0.00', '0.5', '')
    """
    return "" if math.isnan(value) else minus(measured(value, digits, error))


def at(address: Address) -> str:
    """The address of a latent.

    Example:
        >>> at((3, 0, 16, 1))
        '3, (0, 16), 1'
    """
    h, i, j, c = address
    return f"{h}, ({i}, {j}), {c}"


AT = "latent: h, (i, j), c"


def shares(found: Evaluation) -> Table:
    """What each level adds to the negative log-likelihood."""
    levels = enumerate(zip(found.prior, found.log_det, strict=True))
    rows = [(f"level {h}", *(shown(x, 3) for x in (*both, sum(both)))) for h, both in levels]
    return Table(
        title=f"Shares of {found.unit}",
        head=("", "prior", "log-det", "both"),
        rows=[*rows, ("pixels", "", "", shown(found.pixels, 3))],
        settings=f"Means over {found.images} test images, seed {found.seed}.",
    )


def scales(found: Sequence[Scale]) -> Table:
    """The levels of the renormalization group."""
    total = sum(one.entropy.value for one in found)
    spins = any(one.couplings for one in found)
    return Table(
        title="Levels",
        head=(
            *("level", "grid", "entropy, nats", "share", "⟨x²⟩", "⟨x⁴⟩/⟨x²⟩²"),
            *("neighbours", "dependence of |z|", "if independent"),
            *(("K of neighbours", "of diagonal ones", "of plaquettes") if spins else ()),
        ),
        rows=[
            (
                str(one.level),
                f"{one.grid[0]}×{one.grid[1]}",
                shown(one.entropy.value, 2, one.entropy.error),
                f"{one.entropy.value / total:.1%}",
                shown(one.second.value, 3, one.second.error),
                shown(one.kurtosis, 3),
                shown(one.neighbours, 3),
                *(shown(x, 3) for x in one.dependence or (math.nan, math.nan)),
                *(_couplings(one) if spins else ()),
            )
            for one in found
        ],
        settings="Entropy is −⟨ln q⟩ of what a level adds to the coarser one; dependence is the "
        "root mean square correlation of |z| of nearest latents."
        + " K are effective couplings, by pseudolikelihood."
        * spins,
    )


def _couplings(found: Scale) -> list[str]:
    if found.couplings is None:
        return [""] * 3
    return [shown(x, 4, error) for x, error in zip(*found.couplings, strict=True)]


def telling(one: Association) -> str:
    """The information that a latent has about a label."""
    return f"{shown(one.information)} nats, r {shown(one.correlation)}"


def name(found: Factors, address: Address) -> str:
    """A name for a latent: its most informative label, if there is one."""
    best = found.associations and found.associations.labels_of(address, 1)
    return f"{best[0].label} ({telling(best[0])})" if best else ""


def _strength(found: ReceptiveFields, address: Address) -> str:
    """How strong a field is, with its error."""
    return with_error(*found.strength(address))


def strengths(found: ReceptiveFields, threshold: float, flow: str = "") -> Table:
    """The strengths of the latents of each level, with the name of the flow among several."""
    rows = []
    for level in reversed(found.levels):
        values = found.of_level(level)
        best = found.strongest(1, level)[0]
        rows.append(
            (
                str(level),
                f"{int((values > threshold).sum())} of {len(values)}",
                f"{values.median():.3g}",
                _strength(found, best),
                at(best),
            )
        )
    return Table(
        title=f"Strengths of receptive fields{f': {flow}' if flow else ''}",
        head=("level", "visible", "median", "strongest", AT),
        rows=rows,
        settings=f"Mean of each field over all pixels, {how_found(found)}; visible above "
        f"{threshold:g}.",
    )


def ranked(found: Factors, among: Sequence[Address]) -> Table:
    """Latents that are shown, with their strengths and labels."""
    of = found.associations
    rows: list[Sequence[str]] = []
    for address in among:
        best = of.labels_of(address, 2) if of else []
        names_of = [f"{one.label} ({telling(one)})" for one in best] + ["", ""]
        rows.append((at(address), *(names_of[:2] if of else ()), _strength(found.fields, address)))
    more = f"; {associated(of)}" if of else ""
    return Table(
        title="The latents shown",
        head=(AT, *(("tells most about", "then about") if of else ()), "strength"),
        rows=rows,
        settings=f"Strengths {how_found(found.fields)}{more}.",
    )


def associated(of: Associations) -> str:
    """How associations were found, in words."""
    return (
        f"mutual information over {of.images} images, {of.bins} bins; {of.significant.sum():,} of "
        f"{of.significant.size:,} pairs are dependent (false-discovery rate {of.rate:g})"
    )


def meaning(found: Factors) -> Iterator[Table]:
    """All tables about labels, if there are any, and about the dependence of latents."""
    if found.probes and found.associations:
        yield from probes(found.probes)
        yield best_latents(found.associations, found.labels)
        if found.scores:
            yield scores(found)
        if found.directions:
            yield directions(found)
    yield dependence(found)


def probes(table: ProbeTable) -> Iterator[Table]:
    """Held-out R² of every factor by level, for each probe."""
    how: dict[Probe, str] = {
        "linear": f"Ridge, penalties {', '.join(f'{p:g}' for p in table.penalties)}",
        "boosted": f"{table.trees} boosted trees on the {table.features} latents that tell most",
    }
    for probe in get_args(Probe):
        rows: list[Sequence[str]] = []
        shades: list[Sequence[float]] = []
        for group in table.groups:
            for inputs, title in INPUTS.items():
                found = {
                    s.level: s
                    for s in table.scores
                    if (s.group, s.probe, s.inputs) == (group, probe, inputs)
                }
                if found:
                    scores = [found.get(h) for h in range(table.levels)]
                    cells = [shown(s.r2, 2, s.error) if s else "" for s in scores]
                    rows.append((title or group, *cells))
                    shades.append((math.nan, *(s.r2 if s else math.nan for s in scores)))
        yield Table(
            title=f"Held-out R² from the latents of one level: {probe} probes",
            head=("factor", *(f"level {h}" for h in range(table.levels))),
            rows=rows,
            settings=f"{how[probe]}; {table.images} images, a fifth held out, "
            f"{many(len(table.places), 'place')}, seed {table.seed}.",
            shades=shades,
        )


def best_latents(of: Associations, labels: Sequence[Label]) -> Table:
    """The most informative latents for each label."""
    words = ("tells most", "then")
    rows: list[Sequence[str]] = []
    for label in spread(labels, 1):
        best = [one for one in of.latents_of(label.name, len(words)) if one.significant]
        cells = [f"{at(one.address)} ({telling(one)})" for one in best]
        rows.append((label.name, *(cells + [""] * len(words))[: len(words)]))
    return Table(
        title="Labels, and the latents that tell about them",
        head=("label", *words),
        rows=rows,
        settings=f"Labels of the whole image and of one place. Latents by h, (i, j), c; "
        f"{associated(of)}.",
    )


def scores(found: Factors) -> Table:
    """MIG and DCI, beside their values by chance."""
    assert found.scores
    of = found.scores
    rows = [("mutual information gap", shown(of.mig, 3, of.mig_error), shown(of.shuffled.mig, 3))]
    for title in ("disentanglement", "completeness", "informativeness"):
        value, floor = (getattr(one, title) for one in (of, of.shuffled))
        rows.append((f"DCI {title}", shown(value, 3), shown(floor, 3)))
    return Table(
        title="Disentanglement",
        head=("score", "value", "shuffled labels"),
        rows=rows,
        settings=f"Of the {of.latents} latents with the strongest receptive fields "
        f"({many(found.fields.draws, 'draw')}); {len(of.factors)} factors, {of.images} images, "
        f"{of.bins} bins, forests of {of.trees} trees of depth {of.depth}, seed {of.seed}.",
    )


def directions(found: Factors) -> Table:
    """Directions in which labels rise: of the whole image, and of one place."""
    places = [one.box for one in found.directions if one.box]
    some = [one for one in found.directions if one.box in (None, *places[:1])]
    one = some[0]
    return Table(
        title="Directions in which labels rise",
        head=("label", "measure", "score"),
        rows=[(one.label, one.measure, shown(one.score, 3)) for one in some],
        settings=f"{len(some)} of {len(found.directions)}: labels of the whole image and of one "
        f"place, in levels {', '.join(map(str, one.levels))}. Held-out R² of numbers, of angles as "
        f"cos 2θ and sin 2θ, AUC of binary labels; chosen penalties, {one.images} images, "
        f"{one.held_out} held out, seed {one.seed}.",
    )


def dependence(found: Factors) -> Table:
    """The dependence of the latents of a level."""
    of = found.latents
    strata = [s for s in of.strata if s.levels[0] == s.levels[1]]
    pixels = {(s.levels, s.distance): s.information.value for s in found.pixels.strata}
    measured = [(s.correlation, s.magnitude, s.information) for s in strata]
    floors = np.mean([[one.floor for one in row] for row in measured], 0)
    return Table(
        title="Dependence of two latents of a level",
        head=("level", "steps", "correlation", "of |z|", "nats", "pixels"),
        rows=[
            (
                str(s.levels[0]),
                str(s.distance),
                *(shown(one.value, 3, one.error) for one in row),
                shown(pixels[s.levels, s.distance], 3),
            )
            for s, row in zip(strata, measured, strict=True)
        ],
        settings=f"By RG steps up to their lowest common ancestor: root mean square correlation of "
        f"z and of |z|, mutual information; that of pixels beside it. Independent ones would have "
        f"{', '.join(shown(x, 3) for x in floors)}. {of.images} images, at most {of.pairs} pairs, "
        f"{of.bins} bins, seed {of.seed}.",
    )
