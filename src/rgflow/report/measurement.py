"""A measurement of lattice fields in words and tables, for the screen and the page."""

import math

from rgflow.analysis.measurement import Measurement
from rgflow.analysis.multilevel import Multilevel
from rgflow.field_theory.statistics import Estimate
from rgflow.report.page import Table
from rgflow.text import measured, minus, with_error

MIN_EFFECTIVE_SAMPLES = 100
"""Effective samples below which errors of weighted means are unreliable."""
MAX_GAP_RATIO = 10.0
"""How many times further from ln Z the upper bound may be than the lower one. Both distances are
Kullback–Leibler divergences, which are alike if the flow is close to the density."""
MAX_SIGMAS = 4.0
"""Standard errors by which an observable may differ from a reference by chance."""


def cautions(found: Measurement) -> list[str]:
    """Reasons to doubt a measurement, one sentence each."""
    said = []
    if found.modes and not found.modes.covered:
        said.append(
            f"Not to be trusted: the flow misses a mode, as {found.modes.positive.value:.3f} of "
            f"its weight has a positive magnetisation, and not a half; give its maps "
            f"--model.map.odd true."
        )
    if found.ess * found.samples < MIN_EFFECTIVE_SAMPLES:
        said.append(
            f"Not to be trusted yet: {found.samples} samples are effectively "
            f"{found.ess * found.samples:.0f}; train longer, or draw more with --samples."
        )
    if found.reference:
        above = found.reference.upper_bound.value - found.log_z.value
        below = found.log_z.value - found.log_z_bound.value
        if above > MAX_GAP_RATIO * max(below, 1):
            said.append(
                f"Not to be trusted: the flow misses fields that the reference has, as the upper "
                f"bound on ln Z is {above:.0f} nats above the weighted estimate, and the lower one "
                f"{below:.1f} below; train longer."
            )
    if not math.isfinite(found.metropolis.observables.energy.error):
        said.append(
            f"The Metropolis chain is too short for errors: its τ_int is about "
            f"{found.metropolis.tau_magnetisation.value:.0f} of {found.samples} steps; train "
            f"longer, or draw more with --samples."
        )
    if found.reference and not math.isfinite(found.reference.tau_magnetisation.error):
        said.append(
            f"The reference is too short for errors: its τ_int is about "
            f"{found.reference.tau_magnetisation.value:.0f} of {found.reference.fields} draws; "
            f"draw more with --reference."
        )
    for what, differences in (
        ("by weights", found.differences),
        ("of the chain", found.chain_differences),
    ):
        if far := {name: x for name, x in differences.items() if abs(x) > MAX_SIGMAS}:
            which = ", ".join(f"{name.replace('_', ' ')} by {x:+.1f}" for name, x in far.items())
            said.append(
                f"Not as the reference says: {which} errors {what}; one of the two hasn't seen "
                f"all modes, or its errors are too small."
            )
    return said


def quality(found: Measurement) -> Table:
    """How well a flow has learned an action."""
    chain, reference = found.metropolis, found.reference
    rows = [
        ("ln Z, at least", _with_digits(found.log_z_bound, 3)),
        ("ln Z by weights", _with_digits(found.log_z, 3)),
    ]
    if found.log_z_exact is not None:
        rows.append(("ln Z, exact", measured(found.log_z_exact, 3)))
    if reference:
        rows.append(("ln Z, at most", _with_digits(reference.upper_bound, 3)))
    tau = chain.tau_magnetisation
    rows += [
        ("effective sample size", f"{found.ess:.3f}"),
        ("acceptance", f"{chain.acceptance:.3f}"),
        ("τ_int of |m|", measured(tau.value, 2, tau.error)),
    ]
    if found.modes:
        rows += [
            ("weight of m > 0", _with_digits(found.modes.positive, 3)),
            ("⟨m²⟩, samples over weighted", _with_digits(found.modes.zero_mode, 3)),
        ]
    if found.energy_exact is not None:
        rows.append(("energy per site, exact", measured(found.energy_exact, 5)))
    return Table(
        title="How well the flow has learned the action",
        head=("", "value"),
        rows=[(name, minus(value)) for name, value in rows],
        settings=f"{found.samples} samples.",
    )


def observables(found: Measurement) -> Table:
    """Observables by weights, from the Metropolis chain, from samples of all levels, and from the
    reference if there is one.

    The last column is the difference of the first and the reference, in errors.
    """
    head, theirs = ["", "by weights", "Metropolis"], {}
    if found.reference:
        theirs = found.reference.observables.numbers()
        method = found.reference.method
        head += ["HMC" if method == "hmc" else method, "difference, errors"]
    several = found.multilevel.observables if found.multilevel else {}
    head[3:3] = ["all levels"] if several else []
    chain, rows = found.metropolis.observables.numbers(), []
    for name, one in found.reweighted.numbers().items():
        row = [name.replace("_", " "), with_error(*one, 3), with_error(*chain[name], 3)]
        row += [with_error(*several[name], 3)] if several else []
        if theirs:
            apart = found.differences[name]
            said = "–" if math.isnan(apart) else minus(f"{apart:+.1f}")
            row += [with_error(*theirs[name], 3), said]
        rows.append(row)
    return Table(
        title="Observables",
        head=head,
        rows=rows,
        settings=f"{found.samples} samples, ± standard errors of the jackknife.",
    )


def levels(found: Multilevel) -> Table:
    """Samples by their lowest level, and what they add to the error of the susceptibility."""
    spent = sum(one.fields * one.seconds for one in found.levels)
    error = sum(one.variance / one.fields for one in found.levels)
    return Table(
        title="Samples of all levels",
        head=("lowest level", "samples", "ms each", "time", "variance each", "squared error"),
        rows=[
            (
                str(one.level),
                f"{one.fields:,}",
                f"{1000 * one.seconds:.3g}",
                f"{one.fields * one.seconds / spent:.1%}",
                f"{one.variance:.3g}",
                f"{one.variance / one.fields / error:.1%}",
            )
            for one in found.levels
        ],
        settings=f"Of the susceptibility, for which level 0 alone takes {found.gain:.3g} times as "
        f"long to the same error.",
    )


def _with_digits(one: Estimate[float], digits: int) -> str:
    return measured(one.value, digits, one.error)
