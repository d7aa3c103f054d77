"""What latents hold: their receptive fields, factors, and priors."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reproducing.claims import verdict
from reproducing.measures.subject import Found, MeasuredFlow, Picture
from reproducing.pinwheel import POINTS, TURNS, Estimate, learn_pinwheels
from reproducing.pinwheel_figures import pinwheels
from rgflow.analysis.dependence import Stratum, dependence
from rgflow.analysis.directions import directions
from rgflow.analysis.disentanglement import CodeScores, disentanglement
from rgflow.analysis.fields import VISIBLE, ReceptiveFields, receptive_fields
from rgflow.analysis.labels import Label, spread
from rgflow.analysis.levels import encode
from rgflow.analysis.mixing import mix
from rgflow.analysis.probes import probe_levels
from rgflow.analysis.traversals import fig6_temperature, traverse
from rgflow.architectures import make_flow
from rgflow.bijectors.pixels import dequantize
from rgflow.config import PriorKind
from rgflow.evaluation import evaluate
from rgflow.figures import grid
from rgflow.figures.fields import atlas, strengths, strongest
from rgflow.figures.traversals import Shown, labels, traversals
from rgflow.latents import Address, Latents


def fields(
    subject: MeasuredFlow,
    *,
    draws: int = 4,
    all_of_them: bool = False,
    threshold: float = VISIBLE,
) -> Found:
    """Receptive fields: how strong they are, and the strongest of every level, or all of them;
    weaker ones than the threshold are invisible."""
    of = {subject.name: subject.flow}
    of |= dict([subject.beside]) if subject.beside else {}
    found = {name: receptive_fields(flow, draws=draws) for name, flow in of.items()}
    ours = found[subject.name]
    if all_of_them:
        pictures = {
            f"level-{level}": Picture(
                atlas(ours, level),
                f"All receptive fields of level {level}, each scaled to its largest value",
            )
            for level in reversed(range(ours.lattice.levels))
        }
    else:
        pictures = {
            "strongest": Picture(
                strongest(found, 8 // len(found), threshold),
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


def varied(
    subject: MeasuredFlow,
    *,
    each: int = 2,
    reach: float | Sequence[float] = 3.0,
    one_sided: bool = False,
    draws: int = 4,
) -> Found:
    """The strongest latents of every level varied in two samples (paper, Figs. 4 and 6), as far as
    `reach` says, for all levels alike or one by one (0: not at all), both ways or from 0 on."""
    flow = subject.flow
    far = list(reach) if isinstance(reach, Sequence) else [reach] * flow.levels
    if len(far) != flow.levels:
        raise ValueError(
            f"Expected one reach, or one for each of the {flow.levels} levels; got {len(far)}."
        )
    found = receptive_fields(flow, draws=draws)
    z = flow.draw_each([0, 1], fig6_temperature(flow.levels))
    shown, rows = [], []
    for level in reversed(range(flow.levels)):
        values = [far[level] * (k / 6 if one_sided else k / 3 - 1) for k in range(7)]
        if not far[level]:
            continue
        for address in found.strongest(each, level):
            _, i, j, c = address
            strength = found.strengths[c, i, j].item()
            way = traverse(flow, z, address, values)
            shown.append(Shown(way, values, found.field(address), *labels(found, address)))
            still = min(range(len(values)), key=lambda k: abs(values[k]))
            change = (way - way[:, still, None]).square().mean().sqrt().item()
            rows.append({"latent": list(address), "strength": strength, "change": change})
    ends = " or ".join(f"{x:g}" for x in sorted({x for x in far if x}))
    caption = (
        f"The strongest latents of every level: receptive field, and two samples while the latent "
        f"goes from {'0' if one_sided else f'−{ends}'} to {ends}"
    )
    picture = traversals(shown, scale=subject.scale(), across=2)
    return Found(numbers={"latents": rows}, pictures={"varied": Picture(picture, caption)})


def probes(subject: MeasuredFlow, *, count: int = 5000, places: int = 8) -> Found:
    """Which level holds which factor, and what that says about the paper's sentences (section
    4.1)."""
    images, labels = subject.images(count), subject.labels(count)
    table = probe_levels(encode(subject.flow, _dequantized(subject, images)), labels, places=places)
    return Found(
        numbers={
            "images": len(images),
            "places": len(table.places),
            "verdict": [claim._asdict() for claim in verdict(table)],
            "scores": [one._asdict() for one in table.scores],
        }
    )


def factors(
    subject: MeasuredFlow,
    *,
    count: int = 2000,
    strongest: int = 48,
    places: int = 4,
    draws: int = 2,
) -> Found:
    """Disentanglement and dependence of the latents of each level.

    Of every level, and of all together, as many latents are scored, those with the strongest
    receptive fields.
    """
    flow, images, labels = subject.flow, subject.images(count), subject.labels(count)
    x = _dequantized(subject, images)
    z = encode(flow, x)
    fields = receptive_fields(flow, draws=draws)
    some = spread(labels, places)

    def scored(level: int | None) -> dict[str, Any]:
        return _disentangled(z, fields.strongest(strongest, level), some)

    return Found(
        numbers={
            "images": len(images),
            "factors": [label.name for label in some],
            "disentanglement": {
                "all": scored(None),
                "levels": [scored(level) for level in range(flow.levels)],
            },
            "dependence": {
                name: _by_level(dependence(of).strata, flow.levels)
                for name, of in (("latents", z), ("pixels", Latents.from_image(x, flow.lattice)))
            },
        }
    )


def priors(
    subject: MeasuredFlow,
    *,
    count: int = 2000,
    pairs: int = 64,
    steps: int = 8,
    places: int = 4,
    draws: int = 2,
    repeats: int = 8,
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
            f"on the real line: measure one with a cube or coarse_to_fine map."
        )
    images, labels = subject.images(count), spread(subject.labels(count), places)
    x = _dequantized(subject, images)
    numbers, ways = {}, []
    for prior, kind in PriorKind.kinds.items():
        config = replace(subject.flow.config, prior=kind())
        flow = make_flow(config).to(subject.flow.device, subject.flow.dtype)
        flow.load_state_dict(subject.flow.state_dict())
        z = encode(flow.eval(), x)
        fields = [
            receptive_fields(flow, draws=draws, seed=draws * k, change="step")
            for k in range(repeats)
        ]
        found = directions(z, labels)
        a, b = z.select(slice(0, pairs)), z.select(slice(pairs, 2 * pairs))
        a, b = (one.to(device=flow.device) for one in (a, b))
        way = mix(flow, a, b, [(k / steps,) * flow.levels for k in range(steps + 1)]).float().cpu()
        moved = way.diff(dim=1).square().flatten(2).mean(2).sqrt()
        with torch.no_grad():
            halfway = flow.log_prob(way[:, steps // 2].to(flow.device, torch.uint8))
        ways += list(way[:2].to(torch.uint8))
        numbers[prior] = {
            "nll": evaluate(flow, images[:pairs], subset=0).nll,
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
        numbers=numbers,
        pictures={
            "ways": Picture(
                grid(torch.cat(ways), steps + 1, subject.scale()),
                f"Straight ways between two pairs of test images: {', '.join(numbers)}",
            ),
        },
    )


def pinwheel(*, seeds: Sequence[int] = range(5)) -> Found:
    """Pinwheels learned with both priors (paper, Fig. E1)."""
    learned = learn_pinwheels(seeds=seeds)
    numbers: dict[str, Any] = {"points": POINTS, "seeds": list(seeds)}
    for prior, flows in learned.items():
        numbers[prior] = {
            cross: asdict(Estimate.of(one.named[cross].share for one in flows)) for cross in TURNS
        }
        numbers[prior]["nll"] = asdict(Estimate.of(one.nll for one in flows))
    caption = "Latents in the colours of their sectors, and where the flow takes them"
    return Found(numbers=numbers, pictures={"pinwheel": Picture(pinwheels(learned), caption)})


def _dequantized(subject: MeasuredFlow, images: Tensor) -> Tensor:
    return dequantize(images, torch.Generator().manual_seed(0), subject.flow.dtype)


def _disentangled(z: Latents, of: Sequence[Address], labels: Sequence[Label]) -> dict[str, Any]:
    """CodeScores of some latents as codes of factors."""
    code = np.stack([z[address].numpy() for address in of], 1)
    found = disentanglement(code, labels)
    scores = {name: getattr(found, name) for name in (*CodeScores._fields, "latents")}
    # Factors differ more than measurements of them do, so this is no error of the mean over these.
    scores |= {"mig_over_factors": found.mig_error}
    return scores | {"shuffled": found.shuffled._asdict()}


def _strengths(found: ReceptiveFields, threshold: float) -> list[dict[str, float]]:
    """Of every level, level 0 first, how many fields are visible, and how strong they are."""
    rows = []
    for level in range(found.lattice.levels):
        values = found.of_level(level)
        rows.append(
            {
                "latents": len(values),
                "visible": int((values > threshold).sum()),
                "median": values.median().item(),
                "largest": values.max().item(),
            }
        )
    return rows


def _by_level(strata: Sequence[Stratum], levels: int) -> list[dict[str, float]]:
    """Dependence of two latents of one level, the mean over all pairs that were looked at."""
    rows = []
    for level in range(levels):
        same = [one for one in strata if one.levels == (level, level)]
        pairs = [one.pairs for one in same]
        row: dict[str, float] = {"pairs": sum(pairs)}
        for name in ("correlation", "magnitude", "information"):
            measured = [getattr(one, name) for one in same]
            row[name] = float(np.average([one.value for one in measured], weights=pairs))
            row[f"{name}_floor"] = float(np.average([one.floor for one in measured], weights=pairs))
        rows.append(row)
    return rows
