"""What may be measured of trained flows, by name: each measure calls what does it elsewhere.

A measure is a function of a `Subject`, with options that are plain values, and gives numbers and
pictures. The numbers are plain values too, as JSON has them.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from inspect import signature
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rgflow import data
from rgflow.analysis.dependence import Stratum, dependence
from rgflow.analysis.directions import directions
from rgflow.analysis.disentanglement import Scores, disentanglement
from rgflow.analysis.fields import VISIBLE, ReceptiveFields, receptive_fields
from rgflow.analysis.labels import Label, labels_of, spread
from rgflow.analysis.levels import decode
from rgflow.analysis.mixing import every_threshold, hyperbolic, mix, mixing_grid, straight
from rgflow.analysis.pinwheel import POINTS, Estimate, learn_pinwheels
from rgflow.analysis.probes import probe_levels
from rgflow.analysis.traversals import fig6_temperature, traverse
from rgflow.architectures import make_flow
from rgflow.bijectors.pixels import dequantize
from rgflow.config import PriorName, TrainConfig, check_name
from rgflow.evaluation import evaluate
from rgflow.figures import grid, pinwheels
from rgflow.figures.fields import atlas, strengths, strongest
from rgflow.figures.levels import progressive
from rgflow.figures.mixing import mixing_grid as grid_picture
from rgflow.figures.mixing import thresholds
from rgflow.figures.repair import repairs
from rgflow.figures.traversals import Shown, traversals
from rgflow.flow import Flow
from rgflow.latents import Address, Latents
from rgflow.metrics.frechet import Features
from rgflow.metrics.ovals import inherited
from rgflow.metrics.reader import load_reader
from rgflow.metrics.scores import score
from rgflow.repair.comparison import fill, random_boxes, scores
from rgflow.repair.particles import maps_once
from rgflow.repair.terms import local_terms


class Picture(NamedTuple):
    """A picture, and what it shows."""

    image: Image.Image
    caption: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What a measure has found.

    Attributes:
        numbers: Plain values by name.
        pictures: By name.
    """

    numbers: dict[str, Any]
    pictures: dict[str, Picture] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A trained flow, on any device.

    Attributes:
        flow: The flow.
        config: The settings of its training.
        name: What it is called.
        beside: Another to compare with, with its name.
        inception: Features for FID.
    """

    flow: Flow
    config: TrainConfig
    name: str
    beside: tuple[str, Flow] | None = None
    inception: Features | None = None

    def images(self, count: int, split: data.Split = "test") -> Tensor:
        """The first images of its data set, uint8."""
        images = data.load_for(self.config, split, count=count, progress=False).images
        return torch.from_numpy(images.copy())

    def labels(self, count: int) -> list[Label]:
        """The labels of the first test images."""
        return labels_of(data.load_for(self.config, "test", count=count, progress=False).labels)

    @cached_property
    def device(self) -> torch.device:
        """Where the flow is."""
        return next(self.flow.parameters()).device


Measure = Callable[..., Found]


def bits(
    subject: Subject, *, count: int = 10_000, split: data.Split = "test", seed: int = 0
) -> Found:
    """Bits per dimension of images, with their error and the importance-weighted bound."""
    return Found(numbers=asdict(evaluate(subject.flow, subject.images(count, split), seed=seed)))


def overfitting(subject: Subject, *, count: int = 10_000, seed: int = 20261125) -> Found:
    """Are images that were learned known better than others? Bits per dimension of the first
    training images and of as many that nobody has seen, which the generator of MSDS draws from a
    seed that nothing else uses. Where every value is mapped once, also bits per image of the values
    that end at each level.

    Raises:
        ValueError: If images can't be drawn without an end.
    """
    flow, name = subject.flow, subject.config.data
    if name not in ("msds1", "msds2"):
        raise ValueError(
            f"Expected a flow of msds1 or msds2, of which any number of images can be drawn; "
            f"{subject.name} is of {name}."
        )

    def told(split: data.Split, of: int) -> dict[str, Any]:
        images = torch.tensor(data.load(name, split, count=count, seed=of, progress=False).images)
        found = evaluate(flow, images, seed=1, subset=0)
        numbers = {"nll": found.nll, "standard_error": found.standard_error}
        return numbers | ({"levels": _level_bits(flow, images)} if maps_once(flow) else {})

    seen, unseen = told("train", 0), told("test", seed)
    gap = {
        "nll": unseen["nll"] - seen["nll"],
        "standard_error": math.hypot(seen["standard_error"], unseen["standard_error"]),
    }
    return Found(numbers={"images": count, "training": seen, "unseen": unseen, "gap": gap})


def samples(
    subject: Subject, *, count: int = 10_000, temperature: float = 1.0, seed: int = 0
) -> Found:
    """Fréchet distances of samples to training images, FID if its features are there; of MSDS also
    how ovals spread."""
    found = score(
        subject.flow,
        subject.images(count, "train"),
        subject.images(count),
        ovals=subject.config.data.startswith("msds"),
        inception=subject.inception,
        temperature=temperature,
        seed=seed,
    )
    numbers = asdict(found)
    # By the name of the distance, so that a table can ask for one.
    numbers["distances"] = {one.pop("name"): one for one in numbers["distances"]}
    return Found(numbers=numbers)


def speed(subject: Subject, *, count: int = 64, seed: int = 0) -> Found:
    """How many images are drawn in a second of a processor, all at once."""
    generator = torch.Generator().manual_seed(seed)
    subject.flow.sample(2, generator=generator)  # what is done once only
    start = time.process_time()
    subject.flow.sample(count, generator=generator)
    seconds = time.process_time() - start
    return Found(numbers={"count": count, "sampling_images_per_second": count / seconds})


def sample_grid(
    subject: Subject, *, count: int = 40, temperature: float = 1.0, seed: int = 0
) -> Found:
    """Samples, as a picture."""
    z = subject.flow.draw_each(range(seed, seed + count), temperature)
    picture = grid(decode(subject.flow, z), 10, _scale(subject.flow))
    caption = f"Samples at temperature {temperature:g}, seeds {seed} to {seed + count - 1}"
    return Found(numbers={"count": count}, pictures={"samples": Picture(picture, caption)})


def data_grid(subject: Subject, *, count: int = 40) -> Found:
    """Test images, as a picture."""
    picture = grid(subject.images(count), 10, _scale(subject.flow))
    return Found(numbers={"count": count}, pictures={"data": Picture(picture, "Test images")})


def probes(subject: Subject, *, count: int = 5000, places: int = 8, seed: int = 0) -> Found:
    """Which level holds which factor, and what that says about the paper's sentences (section
    4.1)."""
    images, labels = subject.images(count), subject.labels(count)
    x = dequantize(images, torch.Generator().manual_seed(seed), subject.flow.dtype)
    table = probe_levels(_encoded(subject, x), labels, places=places, seed=seed)
    return Found(
        numbers={
            "images": len(images),
            "places": len(table.places),
            "verdict": [claim._asdict() for claim in table.verdict()],
            "scores": [one._asdict() for one in table.scores],
        }
    )


def factors(
    subject: Subject,
    *,
    count: int = 2000,
    strongest: int = 48,
    places: int = 4,
    draws: int = 2,
    seed: int = 0,
) -> Found:
    """Disentanglement and dependence of the latents of each level.

    Of every level, and of all together, as many latents are scored, those with the strongest
    receptive fields.
    """
    flow, images, labels = subject.flow, subject.images(count), subject.labels(count)
    x = dequantize(images, torch.Generator().manual_seed(seed), flow.dtype)
    z = _encoded(subject, x)
    fields = receptive_fields(flow, draws=draws, seed=seed)
    some = spread(labels, places)

    def scored(level: int | None) -> dict[str, Any]:
        return _disentangled(z, fields.strongest(strongest, level), some, seed)

    return Found(
        numbers={
            "images": len(images),
            "factors": [label.name for label in some],
            "disentanglement": {
                "all": scored(None),
                "levels": [scored(level) for level in range(flow.levels)],
            },
            "dependence": {
                name: _by_level(dependence(of, seed=seed).strata, flow.levels)
                for name, of in (("latents", z), ("pixels", Latents.from_image(x, flow.lattice)))
            },
        }
    )


def fields(
    subject: Subject,
    *,
    draws: int = 4,
    threshold: float = VISIBLE,
    each: int = 8,
    all_of_them: bool = False,
    seed: int = 0,
) -> Found:
    """Receptive fields: how strong they are, and the strongest of every level, or all of them."""
    of = {subject.name: subject.flow}
    of |= dict([subject.beside]) if subject.beside else {}
    found = {name: receptive_fields(flow, draws=draws, seed=seed) for name, flow in of.items()}
    ours = found[subject.name]
    if all_of_them:
        pictures = {
            f"level-{level}": Picture(
                atlas(ours, level, threshold),
                f"All receptive fields of level {level}, each scaled to its largest value",
            )
            for level in reversed(range(ours.lattice.levels))
        }
    else:
        pictures = {
            "strongest": Picture(
                strongest(found, each // len(found), threshold),
                "The strongest receptive fields of every level, each scaled to its largest value; "
                "below: row, column and channel of the latent, and its strength",
            ),
            "strengths": Picture(
                strengths(found, threshold), "Strengths of the receptive fields of all latents"
            ),
        }
    return Found(
        numbers={
            "draws": draws,
            "threshold": threshold,
            "flows": {name: _strengths(one, threshold) for name, one in found.items()},
        },
        pictures=pictures,
    )


def levels(subject: Subject, *, count: int = 3, temperature: float = 0.8, seed: int = 0) -> Found:
    """Samples from coarse to fine (paper, Fig. 5a)."""
    z = subject.flow.draw_each(range(seed, seed + count), temperature)
    with torch.no_grad():
        stages = [stage.cpu() for stage in subject.flow.coarse(z)]
    caption = f"Samples from coarse to fine, at temperature {temperature:g}"
    picture = progressive(stages, scale=_scale(subject.flow, 96))
    return Found(numbers={"count": count}, pictures={"levels": Picture(picture, caption)})


def varied(
    subject: Subject,
    *,
    each: int = 2,
    reach: float | Sequence[float] = 3.0,
    one_sided: bool = False,
    draws: int = 4,
    seed: int = 0,
) -> Found:
    """The strongest latents of every level varied in two samples (paper, Figs. 4 and 6), as far as
    `reach` says, for all levels alike or one by one (0: not at all), both ways or from 0 on."""
    flow = subject.flow
    far = list(reach) if isinstance(reach, Sequence) else [reach] * flow.levels
    if len(far) != flow.levels:
        raise ValueError(
            f"Expected one reach, or one for each of the {flow.levels} levels; got {len(far)}."
        )
    found = receptive_fields(flow, draws=draws, seed=seed)
    z = flow.draw_each([seed, seed + 1], fig6_temperature(flow.levels))
    shown, told = [], []
    for level in reversed(range(flow.levels)):
        values = [far[level] * (k / 6 if one_sided else k / 3 - 1) for k in range(7)]
        if not far[level]:
            continue
        for address in found.strongest(each, level):
            h, i, j, c = address
            strength = found.strengths[c, i, j].item()
            way = traverse(flow, z, address, values)
            note = f"strength {strength:.2g}"
            shown.append(Shown(way, found.field(address), f"h = {h}, ({i}, {j}), c = {c}", note))
            change = way.differences().square().mean().sqrt().item()
            told.append({"latent": list(address), "strength": strength, "change": change})
    ends = " or ".join(f"{x:g}" for x in sorted({x for x in far if x}))
    caption = (
        f"The strongest latents of every level: receptive field, and two samples while the latent "
        f"goes from {'0' if one_sided else f'−{ends}'} to {ends}"
    )
    picture = traversals(shown, scale=_scale(flow), across=2)
    return Found(numbers={"latents": told}, pictures={"varied": Picture(picture, caption)})


def mixing(subject: Subject, *, high: int = 7, low: int = 4, threshold: int = 2) -> Found:
    """Mixtures of test images by level, for every threshold and all with all (paper, Fig. 7)."""
    flow = subject.flow
    images = subject.images(high + low)
    z = flow.encode(images.to(subject.device))
    ways = every_threshold(flow.levels)
    a, b = z.select(slice(0, 2)), z.select(slice(2, 4))
    one_way, other_way = mix(flow, a, b, ways), mix(flow, b, a, ways)
    first, second = z.select(slice(0, high)), z.select(slice(high, high + low))
    cells = mixing_grid(flow, first, second, threshold)
    scale = _scale(flow)
    return Found(
        numbers={"threshold": threshold},
        pictures={
            "thresholds": Picture(
                thresholds(one_way, other_way, scale=scale),
                "Two pairs of test images, mixed both ways for every Θ",
            ),
            "grid": Picture(
                grid_picture(cells, images[:high], images[high:], threshold, scale=scale),
                f"Test images mixed at Θ = {threshold}: coarse content from above, details from "
                "the left",
            ),
        },
    )


def inheritance(subject: Subject, *, pairs: int = 500) -> Found:
    """From which of two test images of MSDS their mixtures have what, for every threshold Θ: levels
    below it are those of the second image (paper, section 4.5). A network reads the ovals."""
    flow = subject.flow
    images = subject.images(2 * pairs)
    z = _encoded(subject, dequantize(images, dtype=flow.dtype))
    a, b = (z.select(slice(k * pairs, (k + 1) * pairs)).to(device=subject.device) for k in (0, 1))
    reader = load_reader()
    first, second = (reader.read(part) for part in images.split(pairs))
    told: dict[str, Any] = {}
    for threshold in range(1, flow.levels):
        x = mix(flow, a, b, [hyperbolic(flow.levels, threshold)]).images[:, 0]
        x8 = flow.bounded(x).to(torch.uint8).cpu()
        for name, one in inherited(reader.read(x8), first, second).items():
            told.setdefault(name, {})[str(threshold)] = one._asdict()
    return Found(numbers={"pairs": pairs} | told)


def inpainting(
    subject: Subject,
    *,
    count: int = 15,
    edge: int = 10,
    steps: int = 1000,
    particles: int = 0,
    seed: int = 0,
) -> Found:
    """Squares of test images filled in, beside another flow, constrained and free (Appendix F)."""
    truth = subject.images(count).to(subject.device)
    masks = random_boxes(subject.flow.lattice, count, edge, seed)
    beside = subject.beside[1] if subject.beside else None
    filled = list(
        fill(
            subject.flow,
            truth,
            masks,
            beside=beside,
            particles=particles,
            seed=seed,
            steps=steps,
        )
    )
    told = {}
    for one in filled:
        told[one.name] = asdict(scores(one, truth, masks, seed))
        del told[one.name]["name"]
    shown = {one.name: one.images[:15].cpu() for one in filled}
    picture = repairs(truth[:15].cpu(), masks[:15], shown, truth=truth[:15].cpu())
    caption = f"Squares of {edge}×{edge} pixels filled in; below each image the PSNR of its region"
    return Found(numbers=told, pictures={"inpainting": Picture(picture, caption)})


def priors(
    subject: Subject,
    *,
    count: int = 2000,
    pairs: int = 64,
    steps: int = 8,
    places: int = 4,
    draws: int = 2,
    repeats: int = 8,
    seed: int = 0,
) -> Found:
    """The same weights under every prior: likelihood, by how much a step of one latent changes an
    image, directions in which factors rise, and the straight ways between test images.

    On the unit cube the prior is a fixed map behind the flow. It can't change a likelihood, only
    the geometry of the latents. It is a monotonic map of every latent by itself, so what is
    measured by ranks can't change either: mutual information, or what trees find.

    Raises:
        ValueError: If the flow doesn't end on the unit cube.
    """
    if subject.flow.domain != "cube":
        raise ValueError(
            f"Expected a flow on the unit cube, whose prior can be exchanged; {subject.name} works "
            f"on the real line: measure one with bijector cube or coarse_to_fine."
        )
    images, labels = subject.images(count), spread(subject.labels(count), places)
    x = dequantize(images, torch.Generator().manual_seed(seed), subject.flow.dtype)
    told, ways = {}, []
    for prior in get_args(PriorName):
        config = replace(subject.flow.config, prior=prior, prior_scale=None)
        flow = make_flow(config).to(subject.device, subject.flow.dtype)
        flow.load_state_dict(subject.flow.state_dict())
        one = replace(subject, flow=flow.eval())
        z = _encoded(one, x)
        fields = [
            receptive_fields(flow, draws=draws, seed=seed + draws * k, change="step")
            for k in range(repeats)
        ]
        found = [direction for label in labels for direction in directions(z, label, seed=seed)]
        a, b = z.select(slice(0, pairs)), z.select(slice(pairs, 2 * pairs))
        a, b = (one.to(device=subject.device) for one in (a, b))
        way = mix(flow, a, b, straight(flow.levels, steps)).images.float().cpu()
        moved = way.diff(dim=1).square().flatten(2).mean(2).sqrt()
        with torch.no_grad():
            halfway = flow.log_prob(way[:, steps // 2].to(subject.device, torch.uint8))
        ways += list(way[:2].to(torch.uint8))
        told[prior] = {
            "nll": evaluate(flow, images[:pairs], seed=seed, subset=0).nll,
            "fields": [
                {"step": [one.of_level(level).mean().item() for one in fields]}
                for level in range(flow.levels)
            ],
            "directions": {one.label: one.score for one in found},
            "r2": [one.score for one in found],
            "halfway_nll": flow.unit(halfway).tolist(),
            "largest_step": (moved.amax(1) / moved.mean(1)).tolist(),
        }
    return Found(
        numbers=told,
        pictures={
            "ways": Picture(
                grid(torch.cat(ways), steps + 1, _scale(subject.flow)),
                f"Straight ways between two pairs of test images: {', '.join(told)}",
            ),
        },
    )


def pinwheel(*, seeds: Sequence[int] = range(5), points: int = 100) -> Found:
    """Pinwheels learned with both priors (paper, Fig. E1)."""
    learned = learn_pinwheels(seeds=seeds)
    numbers: dict[str, Any] = {"points": POINTS, "seeds": list(seeds)}
    for prior, flows in learned.items():
        numbers[prior] = {
            "quadrants": asdict(Estimate.of(one.named["quadrants"].share for one in flows)),
            "half_axes": asdict(Estimate.of(one.named["half_axes"].share for one in flows)),
            "nll": asdict(Estimate.of(one.nll for one in flows)),
        }
    caption = "Latents in the colours of their sectors, and where the flow takes them"
    return Found(
        numbers=numbers, pictures={"pinwheel": Picture(pinwheels(learned, points), caption)}
    )


WITHOUT_TRAINING: dict[str, Measure] = {"pinwheel": pinwheel}
"""Measures that learn what they need by themselves, in seconds."""
MEASURES: dict[str, Measure] = WITHOUT_TRAINING | {
    "bits": bits,
    "overfitting": overfitting,
    "samples": samples,
    "speed": speed,
    "sample_grid": sample_grid,
    "data_grid": data_grid,
    "probes": probes,
    "factors": factors,
    "fields": fields,
    "levels": levels,
    "varied": varied,
    "mixing": mixing,
    "inheritance": inheritance,
    "inpainting": inpainting,
    "priors": priors,
}
"""Every measure by name."""


def check_options(what: str, measure: str, options: dict[str, Any]) -> None:
    """Raise a `ValueError` unless there is such a measure with such options."""
    check_name(f"the measure {what}", measure, MEASURES)
    known = [name for name in signature(MEASURES[measure]).parameters if name != "subject"]
    for name in options:
        check_name(f"an option of the measure {what}", name, known)


@torch.no_grad()
def _level_bits(flow: Flow, images: Tensor) -> list[dict[str, float]]:
    """Bits per image of the values that end at each level, level 0 first."""
    device, parts = next(flow.parameters()).device, []
    ends = torch.as_tensor(flow.lattice.site_levels, device=device)
    for some in images.split(500):
        terms = local_terms(flow, some.to(device), torch.Generator().manual_seed(1))
        of_blocks = [
            torch.stack([x.flatten(1).sum(1) for x in layers]).sum(0) for layers in terms.blocks
        ]
        of_pixels = [(terms.pixels * (ends == h)).sum((1, 2)) for h in range(flow.levels)]
        parts.append(torch.stack(of_blocks, 1) + torch.stack(of_pixels, 1))
    bits = -torch.cat(parts).double().cpu() / math.log(2)
    means, errors = bits.mean(0).tolist(), (bits.std(0) / len(bits) ** 0.5).tolist()
    return [{"bits": m, "standard_error": e} for m, e in zip(means, errors, strict=True)]


def _scale(flow: Flow, edge: int = 64) -> int:
    """How large to draw a pixel, for images to be about so many pixels wide."""
    return max(1, round(edge / flow.config.width))


def _encoded(subject: Subject, x: Tensor) -> Latents:
    """Latents of dequantised images, on the CPU."""
    flow = subject.flow
    with torch.no_grad():
        parts = [flow.encode(part.to(subject.device), dtype=flow.dtype) for part in x.split(128)]
    return Latents.cat(parts).to(device=torch.device("cpu"))


def _disentangled(
    z: Latents, of: Sequence[Address], labels: Sequence[Label], seed: int
) -> dict[str, Any]:
    """Scores of some latents as codes of factors."""
    code = np.stack([z[address].numpy() for address in of], 1)
    found = disentanglement(code, labels, seed=seed)
    names = (*Scores._fields, "mig_error", "latents")
    return {name: getattr(found, name) for name in names} | {"shuffled": found.shuffled._asdict()}


def _strengths(found: ReceptiveFields, threshold: float) -> list[dict[str, float]]:
    """Of every level, level 0 first, how many fields are visible, and how strong they are."""
    told = []
    for level in range(found.lattice.levels):
        values = found.of_level(level)
        told.append(
            {
                "latents": len(values),
                "visible": int((values > threshold).sum()),
                "median": values.median().item(),
                "largest": values.max().item(),
            }
        )
    return told


def _by_level(strata: Sequence[Stratum], levels: int) -> list[dict[str, float]]:
    """Dependence of two latents of one level, the mean over all pairs that were looked at."""
    told = []
    for level in range(levels):
        same = [one for one in strata if one.levels == (level, level)]
        pairs = [one.pairs for one in same]
        row: dict[str, float] = {"pairs": sum(pairs)}
        for name in ("correlation", "magnitude", "information"):
            measured = [getattr(one, name) for one in same]
            row[name] = float(np.average([one.value for one in measured], weights=pairs))
            row[f"{name}_floor"] = float(np.average([one.floor for one in measured], weights=pairs))
        told.append(row)
    return told
