"""The sections of a report about a trained flow, a function for each.

Every function makes a `Section` from what the report is about, and computes only what is shown.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch

from rgflow import figures
from rgflow.analysis.levels import at_temperatures, decode, mixed_temperature, resample
from rgflow.analysis.mixing import every_threshold, mix, mixing_grid
from rgflow.analysis.traversals import fig6_temperature, traverse
from rgflow.data.decoding import open_picture
from rgflow.evaluation import evaluate
from rgflow.figures.cones import generation_cones, inference_cone
from rgflow.figures.field_theory import overview, renormalization
from rgflow.figures.fields import atlas, strengths, strongest
from rgflow.figures.levels import mixed_temperatures, progressive, resampled
from rgflow.figures.mixing import mixing_grid as grid_picture
from rgflow.figures.mixing import thresholds
from rgflow.figures.traversals import Shown, labels
from rgflow.figures.traversals import traversals as traversals_picture
from rgflow.latents import Latents
from rgflow.lattice import Lattice
from rgflow.report import tables
from rgflow.report.measurement import cautions, observables, quality
from rgflow.report.measurement import levels as of_levels
from rgflow.report.page import MIN_WIDTH, Figure, Section, still
from rgflow.report.subject import Reported, ReportedAction, ReportedFlow

TRAVERSED = 8
"""Number of latents whose traversals are shown."""
TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Temperatures of the low and of the high levels, in all pairs."""


def summary(subject: ReportedFlow) -> Section:
    """The training, and the likelihood of test images."""
    flow, run = subject.flow, subject.run
    config = flow.config
    result = evaluate(flow, subject.images, seed=subject.seed)
    sizes = [flow.lattice.latent_shape(h, config.channels) for h in range(flow.levels)]
    counts = ", ".join(str(torch.Size(size).numel()) for size in sizes)
    text = [
        f"{tables.shown(result.nll, 4, result.standard_error)} {result.unit} on {result.images} "
        f"test images of {subject.test.name}.",
        f"{sum(p.numel() for p in flow.parameters()):,} parameters; {flow.levels} levels with "
        f"{counts} latents, level 0 (the finest) first; {config.in_words()}.",
    ]
    section = Section(title="Summary", text=text, parts=[tables.shares(result)])
    if run is None:
        return section
    section.points = list(run.past().facts(run.config()))
    with suppress(Exception):  # it isn't there, or is damaged in any of Pillow's ways
        curve = open_picture(run.pictures / "curve.png")
        section.parts.append(still(curve, "Learning curve of the training"))
    return section


def samples(subject: ReportedFlow) -> Section:
    """Samples, and the same seeds at pairs of temperatures."""
    flow, levels, seed = subject.flow, subject.flow.levels, subject.seed
    scale = subject.scale()
    images = decode(flow, subject.drawn(40, 1.0))
    pairs = [
        mixed_temperature(levels, 1, low, high) for low in TEMPERATURES for high in TEMPERATURES
    ]
    mixed = at_temperatures(flow, range(seed, seed + 4), pairs)
    return Section(
        title="Samples",
        text=[
            "Images that the flow draws. A temperature below 1 draws less unusual latents; it may "
            "differ from level to level."
        ],
        parts=[
            still(figures.grid(images, 10, scale), "Samples at temperature 1", least=0),
            still(
                mixed_temperatures(mixed, TEMPERATURES, TEMPERATURES, 1, scale=scale),
                "Low against high levels: the same four seeds in every cell",
            ),
        ],
    )


def levels(subject: ReportedFlow) -> Section:
    """Images from coarse to fine, and the content of each level."""
    flow, scale = subject.flow, subject.scale()
    new, old = ([stage.cpu() for stage in flow.coarse(z)] for z in (subject.drawn(6), subject.real))
    real = subject.real.select(slice(2))
    anew = resample(flow, real, draws=6, seed=subject.seed)
    return Section(
        title="From coarse to fine",
        text=[
            "The flow generates an image level by level: each level refines what the one above "
            "has made. The same steps in the other direction make an image coarser."
        ],
        parts=[
            still(progressive(new, scale=scale), "Samples from coarse to fine"),
            still(
                progressive(old, scale=scale, coarse_first=False), "Test images from fine to coarse"
            ),
            still(
                resampled(decode(flow, real), anew, scale=scale), "What each level alone carries"
            ),
        ],
    )


def _receptive(subject: Reported) -> list[Figure | tables.Table]:
    """Receptive fields of this flow and, if there is one, of another flow."""
    results, threshold = subject.compared, subject.threshold
    return [
        still(
            strongest(results, 8 // len(results), threshold),
            "The strongest receptive fields of every level, each with row, column and channel "
            "of the latent and its strength",
        ),
        still(
            strengths(results, threshold),
            "Strengths of all latents; the line marks visible ones",
            least=max(MIN_WIDTH, 450 * len(results)),
        ),
        *(
            tables.strengths(one, threshold, name if len(results) > 1 else "")
            for name, one in results.items()
        ),
    ]


def fields(subject: ReportedFlow) -> Section:
    """Receptive fields: the strongest, all strengths, and the atlas of the highest level."""
    return Section(
        title="What each latent sees",
        text=[
            "The receptive field of a latent shows which pixels it changes, and how much. A "
            f"latent is called visible if its field has a mean above {subject.threshold:g}."
        ],
        parts=[
            *_receptive(subject),
            still(
                atlas(subject.fields, subject.flow.levels - 1, subject.threshold),
                "All receptive fields of the highest level, each at its place",
            ),
        ],
    )


def traversals(subject: ReportedFlow) -> Section:
    """The most visible latents, varied, and named after their effect."""
    flow, fields, found = subject.flow, subject.fields, subject.factors
    each = max(1, TRAVERSED // flow.levels)
    levels = reversed(range(flow.levels))
    chosen = [address for level in levels for address in fields.strongest(each, level)]
    latents = subject.drawn(2, fig6_temperature(flow.levels))
    values = [-2.0, -1.0, 0.0, 1.0, 2.0]
    shown = []
    for address in chosen:
        title, note = labels(fields, address)
        title = f"{title}: {tables.name(found, address)}".removesuffix(": ")
        images = traverse(flow, latents, address, values)
        shown.append(Shown(images, values, fields.field(address), title, note))
    return Section(
        title="Latents at work",
        text=[
            "Two samples with a single one of their latents varied, all others fixed. Latents are "
            "named after the label that they tell most about."
        ],
        parts=[
            still(
                traversals_picture(shown, scale=subject.scale(), across=2),
                "The strongest latents of each level, from −2 to 2, beside their receptive fields",
            ),
            tables.ranked(found, chosen),
        ],
    )


def mixing(subject: ReportedFlow) -> Section:
    """Mixtures of images level by level."""
    flow, scale = subject.flow, subject.scale()
    a, b = subject.real.select(slice(0, 2)), subject.real.select(slice(2, 4))
    ways = every_threshold(flow.levels)
    middle = max(1, flow.levels // 2)
    high, low = subject.drawn(6), subject.drawn(12).select(slice(6, 12))
    originals = decode(flow, Latents.cat([high, low]))
    cells = mixing_grid(flow, high, low, middle)
    return Section(
        title="Mixing",
        text=[
            "Coarse content of one image with the details of another: the levels from Θ up come "
            "from the one, those below from the other."
        ],
        parts=[
            still(
                thresholds(mix(flow, a, b, ways), mix(flow, b, a, ways), scale=scale),
                "Two pairs, every Θ",
            ),
            still(
                grid_picture(cells, originals[:6], originals[6:], middle, scale=scale),
                "Samples: coarse content from above, details from the left",
            ),
        ],
    )


def cones(subject: Reported) -> Section:
    """The cones of latents and pixels."""
    lattice, image = subject.flow.lattice, subject.example
    if not isinstance(lattice, Lattice):
        return Section(title="Cones", text=["In this flow every latent may reach every pixel."])
    size = min(max(2, lattice.height // 3), lattice.height, lattice.width)
    box = lattice.box((lattice.height - size) // 2, (lattice.width - size) // 2, size, size)
    return Section(
        title="Cones",
        text=[
            "The network decides which pixels a latent can change (its generation cone), and "
            "which latents a region of pixels can change (its inference cone)."
        ],
        parts=[
            still(inference_cone(lattice, box, image), "Latents that a region reaches"),
            still(generation_cones(lattice, image=image), "Pixels that single latents reach"),
        ],
    )


def factors(subject: ReportedFlow) -> Section:
    """The measured meaning of latents."""
    found = subject.factors
    text = "The data set has no labels, so this only tells how dependent latents are."
    if found.probes:
        text = "Which level tells which factor of the images, and which latents tell most about it."
    return Section(title="Meaning", text=[text], parts=list(tables.meaning(found)))


# ---------------------------------------------------------------- lattice fields


def action_summary(subject: ReportedAction) -> Section:
    """ln Z, ESS and observables."""
    found, flow = subject.measurement, subject.flow
    action = getattr(subject.objective, "action", subject.objective)
    return Section(
        title="Summary",
        text=[
            f"ESS {found.ess:.3f}, acceptance {found.metropolis.acceptance:.3f}; "
            f"{sum(p.numel() for p in flow.parameters()):,} parameters; {flow.config.in_words()}.",
            f"The action is {action}.",
            *cautions(found),
        ],
        parts=[
            still(
                overview(found, flow),
                "Fields from coarse to fine; the two-point function, the magnetisation, and the "
                "weights of samples",
            ),
            quality(found),
            observables(found),
            *([of_levels(found.multilevel)] if found.multilevel else []),
        ],
    )


def action_levels(subject: ReportedAction) -> Section:
    """What the renormalization group makes of fields."""
    return Section(
        title="What the renormalization group sees",
        text=[
            "Fields of the reference, encoded level by level. At a fixed point all levels would "
            "look alike; latents of a flow that is right are independent."
        ],
        parts=[
            still(renormalization(subject.scales), "Levels of the flow, the darker the coarser"),
            tables.scales(subject.scales),
        ],
    )


def action_fields(subject: ReportedAction) -> Section:
    """Receptive fields, of this flow and another one."""
    return Section(
        title="What each latent sees",
        text=["The receptive field of a latent shows which sites it changes, and how much."],
        parts=_receptive(subject),
    )


SECTIONS: Mapping[type[Reported], Sequence[Callable[[Any], Section]]] = {
    ReportedFlow: (summary, samples, levels, fields, traversals, mixing, cones, factors),
    ReportedAction: (action_summary, action_levels, action_fields, cones),
}
"""The sections of a report by what it is about, in the order of the page."""
