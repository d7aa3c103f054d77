"""Measures of flows that have learned an action."""

import math
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np
import torch

from reproducing.couplings import coupling_flow, decimated, migdal_kadanoff, unlikeness
from reproducing.measures.subject import Found, MeasuredFlow, Picture
from rgflow.actions import Ising
from rgflow.analysis.couplings import couplings
from rgflow.analysis.measurement import measure
from rgflow.analysis.multilevel import FIELDS_AT_ONCE
from rgflow.field_theory import Estimate, accepted, effective_sample_size, ising, tau_int
from rgflow.figures.field_theory import overview
from rgflow.files import plain
from rgflow.model import RGFlow
from rgflow.objectives import Objective


def observables(subject: MeasuredFlow, *, samples: int = 20_000, reference: int = 20_000) -> Found:
    """ln Z, ESS, acceptance and observables by samples of the flow, beside HMC or clusters, both of
    the seed of its training, so that those of several seeds are independent.

    Raises:
        ValueError: If the flow hasn't learned an action.
    """
    objective, seed = _objective(subject), subject.config.seed
    found = measure(subject.flow, objective, samples=samples, reference=reference, seed=seed)
    numbers = plain(found)
    numbers |= derived(numbers)
    if isinstance(action := objective.density, Ising):
        numbers["kaufman"] = of_kaufman(action, subject.flow.image_shape[1], numbers["reweighted"])
    picture = overview(found, subject.flow)
    return Found(numbers=numbers, pictures={"overview": Picture(picture, CAPTION)})


def pace(subject: MeasuredFlow, *, samples: int = 8192, draws: int = 400) -> Found:
    """How many independent fields a second of a core brings: by weights, ESS over the time of all
    samples; by chains, 1/(2 τ_int) of |m| over the time of a step, without warm-up.

    Of HMC a draw is a single trajectory here, as it has to be thinned nowhere.
    """
    flow, objective = subject.flow, _objective(subject)
    log_w, series, spent = [], [], []
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(samples // FIELDS_AT_ONCE):
            start = time.process_time()
            fields, log_q = flow.sample_and_log_prob(FIELDS_AT_ONCE, generator)
            log_w.append(-objective.energy(fields.double()) - log_q.double())
            spent.append(time.process_time() - start)
            series.append(fields.double().mean((2, 3)).square().sum(1).sqrt())
    weights, size = torch.cat(log_w).numpy(), torch.cat(series).numpy()
    each = median(spent) / FIELDS_AT_ONCE
    times = []
    for count in (draws, 2 * draws):
        start = time.process_time()
        chains, _ = objective.density.reference_fields(flow.image_shape, 32 * count, thin=1)
        times.append(time.process_time() - start)
    tau = tau_int(chains.mean((3, 4)).square().sum(2).sqrt().numpy())
    per_draw = (times[1] - times[0]) / (draws * chains.shape[1])
    return Found(
        numbers={
            "flow": effective_sample_size(weights) / each,
            "metropolis": 1 / (2 * max(tau_int(size[accepted(weights)]).value, 0.5) * each),
            "reference": 1 / (2 * max(tau.value, 0.5) * per_draw),
            "tau_reference": tau._asdict(),
            "seconds_per_field": {"flow": each, "reference": per_draw},
        },
        pictures={},
    )


def renormalization(
    subject: MeasuredFlow,
    *,
    fields: int = 20_000,
    temperatures: Sequence[float] = (1.8, 2.2, 2.35, 3.0),
) -> Found:
    """Effective couplings of Ising spins from level to level, of a flow's samples and of clusters,
    beside Migdal and Kadanoff's recursion; by how much the maps of neighbouring levels differ.

    Args:
        subject: A flow that has learned the Ising model.
        fields: Number of samples and of fields of clusters.
        temperatures: Of other models, whose couplings the picture shows beside those of the flow's.
    """
    flow, action = subject.flow, _objective(subject).density
    if not isinstance(action, Ising) or not isinstance(flow, RGFlow):
        raise ValueError(f"Expected a flow of Ising spins; {subject.name} is another one.")

    def path(t: float) -> list[Estimate[Any]]:
        found, _ = Ising(temperature=t).reference_fields(flow.image_shape, fields)
        spins = found.flatten(0, 1)
        return [couplings(spins[:, :, :: 2**h, :: 2**h]) for h in range(len(ours))]

    generator = torch.Generator().manual_seed(0)
    parts = [flow.sample_levels(500, 0, generator)[0] for _ in range(-(-fields // 500))]
    images = [torch.cat(one) for one in zip(*parts, strict=True)]
    ours = [couplings(x) for x in images if min(x.shape[2:]) >= 4]
    theirs, recursion = path(action.temperature), [1 / action.temperature]
    for _ in ours[1:]:
        recursion.append(migdal_kadanoff(recursion[-1]))
    unlike = unlikeness(flow, images[0][:2000])
    paths = {f"T = {t:.4g}": path(t) for t in temperatures if t != action.temperature}
    paths = {f"T = {action.temperature:.4g}": theirs} | paths
    picture = coupling_flow(
        np.stack([one.value for one in ours]),
        {name: np.stack([one.value for one in found]) for name, found in paths.items()},
        recursion,
        [one.value for one in unlike],
    )
    names = ("neighbours", "diagonal", "plaquettes")
    return Found(
        numbers={
            "levels": [
                {
                    whose: {
                        name: {"value": found.value[k], "error": found.error[k]}
                        for k, name in enumerate(names)
                    }
                    for whose, found in (("flow", one), ("clusters", other))
                }
                | {"migdal_kadanoff": k1}
                for one, other, k1 in zip(ours, theirs, recursion, strict=True)
            ],
            "exact_of_8": dict(zip(names, decimated(action.temperature), strict=True)),
            "unlike": unlike,
        },
        pictures={"couplings": Picture(picture, COUPLINGS)},
    )


def _objective(subject: MeasuredFlow) -> Objective:
    if subject.config.objective.needs_data:
        raise ValueError(f"Expected a flow that has learned an action; {subject.name} hasn't.")
    return subject.config.objective


COUPLINGS = (
    "Effective couplings at every level: of clusters at several temperatures (arrows), of the flow "
    "(crosses), by Migdal and Kadanoff's recursion; how much maps of neighbouring levels differ."
)
CAPTION = (
    "Fields of the flow from coarse to fine; the two-point function, the magnetisation and the "
    "weights."
)


def of_kaufman(action: Ising, length: int, found: dict[str, Any]) -> dict[str, float]:
    """By how many errors estimates are off Kaufman's energy and specific heat."""
    exact = ising(length, action.temperature)
    values = {"energy": exact.energy, "specific_heat": exact.heat_capacity}
    return {
        name: (found[name]["value"] - value / length**2) / found[name]["error"]
        for name, value in values.items()
    }


def derived(numbers: dict[str, Any]) -> dict[str, Any]:
    """What tables show of a measurement beside its own numbers: the gap of the bound, and by how
    many errors ln Z is off, where it is known; the largest difference of an observable."""
    exact, bound, log_z = (numbers[name] for name in ("log_z_exact", "log_z_bound", "log_z"))
    # None where the chains of the reference are too short for errors of their own.
    known = numbers["reference"]["tau_magnetisation"]["error"] is not None
    out: dict[str, Any] = {}
    for name in ("difference", "chain_difference"):
        found = [abs(one) for one in numbers[f"{name}s"].values() if one is not None]
        out[f"largest_{name}"] = max(found, default=None) if known else None
    if exact is not None:
        out |= {
            "gap": exact - bound["value"],
            "log_z_off": (log_z["value"] - exact) / (log_z["error"] or math.inf),  # null: infinite
        }
    return out
