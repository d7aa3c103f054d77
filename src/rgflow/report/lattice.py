"""The sections of a report about a flow that has learned an action."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from rgflow.analysis.fields import ReceptiveFields, receptive_fields
from rgflow.analysis.observables import (
    Measurement,
    cautions,
    examples,
    facts,
    measure,
    reference_fields,
    rows,
)
from rgflow.analysis.scales import Scale, scales
from rgflow.figures.field_theory import overview, renormalization
from rgflow.figures.fields import strengths, strongest
from rgflow.figures.network import generation_cones, network_views
from rgflow.flow import Flow
from rgflow.lattice import Lattice
from rgflow.objectives import ReverseKL
from rgflow.report import tables
from rgflow.report.page import LEAST, Section, Table, still
from rgflow.text import Report, counter

SAMPLES = 5000
"""Samples of the flow, and fields of the reference."""
VISIBLE = 0.01
"""Strength above which a latent is visible, in units of the field, where pixels have 256."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportedAction:
    """The flow of a report and its action, and what sections share.

    Its options are those of `rgflow report`.
    """

    flow: Flow
    objective: ReverseKL
    draws: int = 4
    seed: int = 0
    beside: tuple[str, Flow] | None = None
    """The name of another flow, such as one off criticality, and the flow."""
    progress: Report | None = None

    @cached_property
    def measurement(self) -> Measurement:
        """ln Z and observables, beside a reference."""
        advance = counter(self.progress, "samples", SAMPLES)
        return measure(
            self.flow,
            self.objective,
            samples=SAMPLES,
            reference=SAMPLES,
            seed=self.seed,
            progress=advance,
        )

    @cached_property
    def scales(self) -> list[Scale]:
        """The levels, as fields of the reference show them."""
        shape = self.flow.image_shape
        fields = reference_fields(self.objective.action, shape, SAMPLES, self.seed + 1)[0]
        return scales(self.flow, fields.flatten(0, 1))

    def fields_of(self, flow: Flow) -> ReceptiveFields:
        """Receptive fields of all latents of this flow or another one."""
        advance = counter(self.progress, "receptive fields", self.draws)
        return receptive_fields(flow, draws=self.draws, seed=self.seed, progress=advance)


def summary(subject: ReportedAction) -> Section:
    """ln Z, ESS and observables."""
    found, flow = subject.measurement, subject.flow
    head = ("", "by weights", "Metropolis", "reference", "difference, errors")
    text = [
        f"ESS {found.ess:.3f}, acceptance {found.metropolis.acceptance:.3f}; "
        f"{sum(p.numel() for p in flow.parameters()):,} parameters; {flow.config.in_words()}.",
        f"The action is {subject.objective.action}.",
        *cautions(found),
    ]
    return Section(
        title="Summary",
        text=text,
        parts=[
            still(
                overview(found, examples(flow)),
                "Fields from coarse to fine; the two-point function, the magnetisation, and the "
                "weights of samples",
            ),
            Table(
                title="How well the flow has learned the action", head=("", ""), rows=facts(found)
            ),
            Table(
                title="Observables",
                head=head,
                rows=rows(found),
                settings=f"{found.samples} samples, ± standard errors of the jackknife.",
            ),
        ],
    )


def levels(subject: ReportedAction) -> Section:
    """What the renormalization group makes of fields."""
    found = subject.scales
    shown = tables.shown
    total = sum(one.entropy.value for one in found)
    return Section(
        title="What the renormalization group sees",
        text=[
            "Fields of the reference, encoded level by level. At a fixed point all levels would "
            "look alike; latents of a flow that is right are independent."
        ],
        parts=[
            still(renormalization(found), "Levels of the flow, the darker the coarser"),
            Table(
                title="Levels",
                head=(
                    *("level", "grid", "entropy, nats", "share", "⟨x²⟩", "⟨x⁴⟩/⟨x²⟩²"),
                    *("neighbours", "dependence of |z|", "if independent"),
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
                        *([shown(x, 3) for x in one.dependence] if one.dependence else ["", ""]),
                    )
                    for one in found
                ],
                settings="Entropy is −⟨ln q⟩ of what a level adds to the coarser one; dependence "
                "the root mean square of correlations of |z| of nearest latents.",
            ),
        ],
    )


def fields(subject: ReportedAction) -> Section:
    """Receptive fields, of this flow and another one."""
    results = {"this flow": subject.fields_of(subject.flow)}
    if subject.beside:
        name, other = subject.beside
        results[name] = subject.fields_of(other)
    return Section(
        title="What each latent sees",
        text=["The receptive field of a latent shows which sites it changes, and how much."],
        parts=[
            still(
                strongest(results, 8 // len(results), VISIBLE),
                "The strongest receptive fields of every level, each with row, column and channel "
                "of the latent and its strength",
            ),
            still(
                strengths(results, VISIBLE),
                "Strengths of all latents",
                least=max(LEAST, 450 * len(results)),
            ),
            *(
                tables.strengths(one, VISIBLE, name if len(results) > 1 else "")
                for name, one in results.items()
            ),
        ],
    )


def cones(subject: ReportedAction) -> Section:
    """The network, and the cones of latents."""
    lattice = subject.flow.lattice
    if not isinstance(lattice, Lattice):
        return Section(title="Cones", text=["In this flow every latent may reach every site."])
    return Section(
        title="Cones",
        text=["Which sites a latent can change."],
        parts=[
            still(network_views(lattice), "The network from the side, and from above"),
            still(generation_cones(lattice), "Sites that single latents reach"),
        ],
    )


SECTIONS: dict[str, Callable[[ReportedAction], Section]] = {
    section.__name__: section for section in (summary, levels, fields, cones)
}
"""All sections by name, in the order of the page."""
