"""What the report says about a trained flow, one function per section.

Every function takes a `Subject` and gives a `Section`; nothing is computed that isn't shown.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from PIL import Image

from rgflow import data, figures
from rgflow.analysis.factors import Factors, find_factors
from rgflow.analysis.fields import VISIBLE, ReceptiveFields, receptive_fields
from rgflow.analysis.labels import labels_of
from rgflow.analysis.levels import at_temperatures, decode, mixed_temperature, resample
from rgflow.analysis.mixing import every_threshold, level_by_level, mix, mixing_grid, straight
from rgflow.analysis.traversals import fig6_temperature, traverse
from rgflow.data import Images
from rgflow.evaluation import evaluate
from rgflow.figures.animations import animate
from rgflow.figures.factors import dependence_curves, probe_table, ranking
from rgflow.figures.fields import atlas, strengths, strongest
from rgflow.figures.levels import progressive, resampled, temperatures
from rgflow.figures.mixing import mixing_grid as grid_picture
from rgflow.figures.mixing import path_frames, thresholds
from rgflow.figures.network import generation_cones, inference_cone, network_views
from rgflow.figures.traversals import Shown, traversal_frames
from rgflow.flow import Flow
from rgflow.latents import Latents
from rgflow.lattice import Lattice
from rgflow.report.page import Figure, Section, Table, moving, still
from rgflow.training.run import Run

COLD = 0.8
"""Temperature of the samples that are varied and mixed."""
TRAVERSED = 8
"""Latents of which traversals are shown."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A trained flow, and what the sections have in common.

    Attributes:
        run: The run folder.
        flow: Its flow.
        count: Test images to encode for the factors and to evaluate on.
        draws: Latents drawn for receptive fields.
        seed: Of whatever is random.
        beside: Another flow, whose receptive fields stand beside; its name first.
    """

    run: Run
    flow: Flow
    count: int
    draws: int
    seed: int
    beside: tuple[str, Flow] | None = None

    @cached_property
    def test(self) -> Images:
        """Test images of the run's data set."""
        return data.load_for(self.run.config(), "test", count=self.count, progress=False)

    @cached_property
    def images(self) -> torch.Tensor:
        """The same as a tensor."""
        return torch.from_numpy(self.test.images.copy())

    @cached_property
    def real(self) -> Latents:
        """Latents of four test images."""
        return self.flow.encode(self.images[:4])

    @cached_property
    def fields(self) -> ReceptiveFields:
        """Receptive fields of all latents."""
        return receptive_fields(self.flow, draws=self.draws, seed=self.seed)

    def drawn(self, n: int, temperature: float | Sequence[float] = COLD) -> Latents:
        """Latents of n samples."""
        return self.flow.draw_each(range(self.seed, self.seed + n), temperature)


def summary(subject: Subject) -> Section:
    """What was trained, on what, and how likely test images are."""
    record, config, flow = subject.run.record(), subject.run.config(), subject.flow
    result = evaluate(flow, subject.images, seed=subject.seed)
    shares = [
        (f"level {h}", f"{prior:.3f}", f"{log_det:.3f}", f"{prior + log_det:.3f}")
        for h, (prior, log_det) in enumerate(zip(result.prior, result.log_det, strict=True))
    ]
    shares.append(("pixels", "", "", f"{result.pixels:.3f}"))
    sizes = [
        subject.flow.lattice.latent_shape(h, config.model.channels) for h in range(flow.levels)
    ]
    counts = ", ".join(str(torch.Size(size).numel()) for size in sizes)
    trained = record.get("result", {})
    text = [
        f"{result.nll:.4f} ± {result.standard_error:.4f} {result.unit} on {result.images} test "
        f"images of {config.data}.",
        f"{sum(p.numel() for p in flow.parameters()):,} parameters; {flow.levels} levels with "
        f"{counts} latents, level 0 (the finest) first; prior {config.model.prior}, bijector "
        f"{config.model.bijector}.",
    ]
    if trained:
        text.append(
            f"Trained for {trained['steps']} steps in {trained['seconds'] / 60:.1f} minutes, on "
            f"{record['machine']['processor']}, {record['machine']['cores']} cores."
        )
    head = ("", "prior", "log-determinant", "both")
    section = Section(title="Summary", text=text)
    section.parts.append(Table(head=head, rows=shares, caption=f"Shares of {result.unit}"))
    curve = subject.run.pictures / "curve.png"
    if curve.is_file():
        with Image.open(curve) as picture:
            section.parts.append(still(picture, "Learning curve of the training"))
    return section


def samples(subject: Subject) -> Section:
    """Samples, and the same seeds at several temperatures."""
    flow, levels = subject.flow, subject.flow.levels
    images = decode(flow, subject.drawn(40, 1.0))
    ways: list[float | tuple[float, ...]] = [0.4, 0.7, 1.0]
    ways.append(mixed_temperature(levels, 1, 0.2, 1.0))
    tempered = at_temperatures(flow, range(subject.seed, subject.seed + 8), ways)
    return Section(
        title="Samples",
        text=[
            "Images that the flow draws. A temperature below 1 draws less unusual latents; it may "
            "differ from level to level."
        ],
        parts=[
            still(figures.grid(images, columns=10), "Samples at temperature 1"),
            still(temperatures(tempered), "The same seeds at several temperatures"),
        ],
    )


def levels(subject: Subject) -> Section:
    """From coarse to fine, and what each level carries."""
    flow = subject.flow
    new = flow.coarse(subject.drawn(6))
    old = flow.coarse(subject.real)
    anew = resample(flow, subject.real.select(slice(2)), draws=6, seed=subject.seed)
    return Section(
        title="From coarse to fine",
        text=[
            "The flow generates an image level by level: each level refines what the one above "
            "has made. The same steps in the other direction make an image coarser."
        ],
        parts=[
            still(progressive(new), "Samples from coarse to fine"),
            still(progressive(old, coarse_first=False), "Test images from fine to coarse"),
            still(resampled(anew), "What each level alone carries"),
        ],
    )


def fields(subject: Subject) -> Section:
    """Receptive fields: atlas, strengths, visible latents."""
    found = subject.fields
    results = {"this flow": found}
    if subject.beside:
        name, other = subject.beside
        results[name] = receptive_fields(other, draws=subject.draws, seed=subject.seed)
    rows = []
    for level in range(subject.flow.levels):
        values = found.of_level(level)
        rows.append(
            (
                f"level {level}",
                f"{int((values > VISIBLE).sum())} of {len(values)}",
                f"{values.median():.3g}",
                f"{values.max():.3g}",
            )
        )
    parts: list[Figure | Table] = [
        still(strongest(results), "The strongest receptive fields of every level"),
        still(strengths(results), "Strengths of all latents; the line marks visible ones"),
        Table(
            head=("", "visible", "median strength", "largest"),
            rows=rows,
            caption=f"Strengths in the flow's own space, {found.draws} draws, seed {found.seed}",
        ),
        still(
            atlas(found, subject.flow.levels - 1),
            "All receptive fields of the highest level, each at its place",
        ),
    ]
    return Section(
        title="What each latent sees",
        text=[
            "The receptive field of a latent shows which pixels it changes, and how much. A "
            "latent is called visible if its field has a mean above 1."
        ],
        parts=parts,
    )


def traversals(subject: Subject) -> Section:
    """The most visible latents, varied."""
    flow, found = subject.flow, subject.fields
    each = max(1, TRAVERSED // flow.levels)
    chosen = [a for h in reversed(range(flow.levels)) for a in found.strongest(each, level=h)]
    latents = subject.drawn(2, fig6_temperature(flow.levels))
    values = [k / 4 for k in range(-8, 9)]
    shown = []
    for h, i, j, c in chosen:
        shown.append(
            Shown(
                traverse(flow, latents, (h, i, j, c), values),
                found.field((h, i, j, c)),
                f"level {h}, at ({i}, {j}), channel {c}",
                f"strength {found.strengths[c, i, j]:.2g}",
            )
        )
    frames = traversal_frames(shown, scale=3, across=2)
    caption = "The strongest latents of each level, from −2 to 2, beside their receptive fields"
    return Section(
        title="Latents at work",
        text=["Two samples while a single one of their latents moves, all others fixed."],
        parts=[_animation(frames, caption)],
    )


def mixing(subject: Subject) -> Section:
    """Mixtures of images level by level."""
    flow = subject.flow
    a, b = subject.real.select(slice(0, 2)), subject.real.select(slice(2, 4))
    ways = every_threshold(flow.levels)
    middle = max(1, flow.levels // 2)
    high, low = subject.drawn(6), subject.drawn(12).select(slice(6, 12))
    originals = decode(flow, Latents.cat([high, low]))
    cells = mixing_grid(flow, high, low, middle)
    paths = {
        "all levels at once": mix(flow, a, b, straight(flow.levels, 4 * flow.levels)),
        "one level after the other": mix(flow, a, b, level_by_level(flow.levels, 4)),
    }
    return Section(
        title="Mixing",
        text=[
            "Coarse content of one image with the details of another: the levels from Θ up come "
            "from the one, those below from the other."
        ],
        parts=[
            still(thresholds(mix(flow, a, b, ways), mix(flow, b, a, ways)), "Two pairs, every Θ"),
            still(
                grid_picture(cells, originals[:6], originals[6:], middle, scale=2),
                "Samples: coarse content from above, details from the left",
            ),
            _animation(path_frames(paths), "From one image to another, in two ways"),
        ],
    )


def cones(subject: Subject) -> Section:
    """The network, and which latents belong to which pixels."""
    lattice = subject.flow.lattice
    if not isinstance(lattice, Lattice):
        return Section(title="Cones", text=["In this flow every latent may reach every pixel."])
    size = max(2, lattice.height // 3)
    box = lattice.box((lattice.height - size) // 2, (lattice.width - size) // 2, size, size)
    image = subject.images[0]
    return Section(
        title="Cones",
        text=[
            "The network decides which pixels a latent can change (its generation cone), and "
            "which latents a region of pixels can change (its inference cone)."
        ],
        parts=[
            still(network_views(lattice), "The network from the side, and from above"),
            still(inference_cone(lattice, box, image), "Latents that a region reaches"),
            still(generation_cones(lattice, image=image), "Pixels that single latents reach"),
        ],
    )


def factors(subject: Subject) -> Section:
    """What latents mean, measured."""
    labels = labels_of(subject.test.labels) if subject.test.labels else []
    found = find_factors(
        subject.flow, subject.images, labels, draws=subject.draws, seed=subject.seed
    )
    section = Section(title="Meaning", text=_verdict(found))
    if found.probes and found.associations:
        section.parts.append(
            still(
                probe_table(found.probes),
                f"Held-out R² of every factor from the latents of one level alone; "
                f"{found.images} test images",
            )
        )
        section.parts.append(
            still(ranking(found.associations, found.labels), "Which latents tell about what")
        )
    if found.scores:
        scores = found.scores
        rows = [("mutual information gap", f"{scores.mig:.3f} ± {scores.mig_error:.3f}")]
        rows += [
            (f"DCI {name}", f"{getattr(scores, name):.3f}")
            for name in ("disentanglement", "completeness", "informativeness")
        ]
        section.parts.append(
            Table(
                head=("score", "value"),
                rows=rows,
                caption=f"Of the {scores.latents} latents with the strongest fields",
            )
        )
    section.parts.append(
        still(
            dependence_curves(found.latents, found.pixels),
            "How dependent two latents are, by their distance on the tree; pixels for comparison",
        )
    )
    return section


def _verdict(found: Factors) -> list[str]:
    """What the numbers say about the paper's claims, in words."""
    if not found.probes:
        return ["The data set has no labels, so this only tells how dependent latents are."]
    return [f"{claim.outcome}: {claim.text}" for claim in found.probes.verdict()]


def _animation(frames: Sequence[Image.Image], caption: str) -> Figure:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frames.gif"
        animate(frames, path)
        return moving(path, caption)


SECTIONS: dict[str, Callable[[Subject], Section]] = {
    "summary": summary,
    "samples": samples,
    "levels": levels,
    "fields": fields,
    "traversals": traversals,
    "mixing": mixing,
    "cones": cones,
    "factors": factors,
}
"""Every section by name, in the order in which they are read."""
