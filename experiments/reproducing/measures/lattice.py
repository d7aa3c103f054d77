"""Measures of flows that have learned an action."""

import time
from typing import Any

import torch

from reproducing.measures.subject import Found, MeasuredFlow, Picture
from rgflow.analysis.observables import as_json, examples, measure, reference_fields
from rgflow.figures.field_theory import overview
from rgflow.objectives import ReverseKL


def observables(
    subject: MeasuredFlow, *, samples: int = 20_000, reference: int = 20_000, timed: int = 512
) -> Found:
    """ln Z, ESS, acceptance and observables by samples of the flow, beside HMC or clusters, and how
    many independent fields a second of a core brings each way.

    Raises:
        ValueError: If the flow hasn't learned an action.
    """
    flow, objective = subject.flow, subject.config.objective
    if not isinstance(objective, ReverseKL):
        raise ValueError(f"Expected a flow that has learned an action; {subject.name} hasn't.")
    found = measure(flow, objective, samples=samples, reference=reference)
    assert found.reference
    numbers = as_json(found)
    picture = overview(found, examples(flow))
    with torch.no_grad():
        start = time.process_time()
        for _ in range(timed // 128):
            objective.draw(flow, 128)
        of_flow = (time.process_time() - start) / (timed // 128 * 128)
    start = time.process_time()
    fields, _, _ = reference_fields(objective.action, flow.image_shape, 32 * 100)
    of_chain = (time.process_time() - start) / (len(fields) * fields.shape[1])
    tau = max(found.reference.tau_magnetisation.value, 0.5)
    numbers["independent_fields_per_second"] = {
        "flow": found.ess / of_flow,
        "metropolis": 1 / (2 * found.metropolis.tau_magnetisation.value * of_flow),
        "reference": 1 / (2 * tau * of_chain),
    }
    numbers |= derived(numbers)
    return Found(numbers=numbers, pictures={"overview": Picture(picture, CAPTION)})


CAPTION = (
    "Fields of the flow from coarse to fine; the two-point function, the magnetisation and the "
    "weights."
)


def derived(numbers: dict[str, Any]) -> dict[str, Any]:
    """What tables show of a measurement beside its own numbers: the gap of the bound, and by how
    many errors ln Z is off, where it is known; the largest difference of an observable."""
    exact, bound, log_z = (numbers[name] for name in ("log_z_exact", "log_z_bound", "log_z"))
    largest = max(numbers["differences"].values(), key=abs)
    out: dict[str, Any] = {"largest_difference": largest}
    if exact is not None:
        out |= {
            "gap": exact - bound["value"],
            "log_z_off": (log_z["value"] - exact) / log_z["error"],
        }
    return out
