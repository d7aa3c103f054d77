"""Measures of flows that have learned an action."""

import math
import time
from statistics import median
from typing import Any

import torch

from reproducing.measures.subject import Found, MeasuredFlow, Picture
from rgflow.analysis.measurement import FIELDS_AT_ONCE, measure
from rgflow.field_theory import accepted, effective_sample_size, tau_int
from rgflow.figures.field_theory import overview
from rgflow.files import plain
from rgflow.objectives import Objective


def observables(subject: MeasuredFlow, *, samples: int = 20_000, reference: int = 20_000) -> Found:
    """ln Z, ESS, acceptance and observables by samples of the flow, beside HMC or clusters.

    Raises:
        ValueError: If the flow hasn't learned an action.
    """
    found = measure(subject.flow, _objective(subject), samples=samples, reference=reference)
    numbers = plain(found)
    numbers |= derived(numbers)
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


def _objective(subject: MeasuredFlow) -> Objective:
    if subject.config.objective.needs_data:
        raise ValueError(f"Expected a flow that has learned an action; {subject.name} hasn't.")
    return subject.config.objective


CAPTION = (
    "Fields of the flow from coarse to fine; the two-point function, the magnetisation and the "
    "weights."
)


def derived(numbers: dict[str, Any]) -> dict[str, Any]:
    """What tables show of a measurement beside its own numbers: the gap of the bound, and by how
    many errors ln Z is off, where it is known; the largest difference of an observable."""
    exact, bound, log_z = (numbers[name] for name in ("log_z_exact", "log_z_bound", "log_z"))
    out: dict[str, Any] = {
        "largest_difference": max(map(abs, numbers["differences"].values())),
        "largest_chain_difference": max(map(abs, numbers["chain_differences"].values())),
    }
    if exact is not None:
        out |= {
            "gap": exact - bound["value"],
            "log_z_off": (log_z["value"] - exact) / (log_z["error"] or math.inf),  # null: infinite
        }
    return out
