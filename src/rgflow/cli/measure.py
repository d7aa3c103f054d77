"""`rgflow measure`: what a flow that has learned an action says of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rgflow.cli.parsing import Parser, parse
from rgflow.files import write_json, write_picture, writing
from rgflow.text import Screen, bar, measured, say, table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.table import Table

    from rgflow.field_theory import Measurement
    from rgflow.flow import Flow


def run(arguments: Sequence[str]) -> None:
    """Parse, sample, measure, print and draw."""
    options = Parser(
        "measure",
        "ln Z, effective sample size and observables of lattice fields by samples of a flow that "
        "has learned an action: by weights, by an independence Metropolis sampler, and beside a "
        "reference.",
        "rgflow measure runs/fields --samples 20000",
    )
    options.model()
    options.whole("samples", 10_000, "samples of the flow", least=100)
    options.whole(
        "reference",
        4000,
        "fields of HMC, or of clusters for the Ising model, to compare with; 0: none",
        least=0,
    )
    options.whole("seed", 0, "seed of all randomness", least=0)
    settings = parse(options, arguments)

    from rgflow import trained
    from rgflow.field_theory import as_json, measure
    from rgflow.figures.field_theory import overview
    from rgflow.objectives import ReverseKL
    from rgflow.training.optimisation import prepare_machine

    prepare_machine()
    model = trained.load(settings.run, settings.size)
    objective = model.config and model.config.objective
    if not isinstance(objective, ReverseKL):
        kind = type(objective).__name__ if objective else "no objective"
        raise ValueError(
            f"Expected a flow that has learned an action, by the objective reverse_kl or "
            f"path_gradient; {settings.run} has {kind}: train the preset free-8 or another one."
        )
    with bar("samples", settings.samples) as progress:
        found = measure(
            model.flow,
            objective,
            samples=settings.samples,
            reference=settings.reference,
            seed=settings.seed,
            progress=progress,
        )
    path, picture = model.folder / "measurement.json", model.pictures / "measurement.png"
    with writing(path):
        write_json(path, as_json(found))
        write_picture(picture, overview(found, examples(model.flow)))
    sites = model.flow.config.height * model.flow.config.width
    Screen().print(_trust(found), _numbers(found, sites))
    for caution in cautions(found):
        say(caution)
    say(f"All of it is in {path}, and a picture in {picture}.")


def examples(flow: Flow, count: int = 4) -> list[list[NDArray[np.float64]]]:
    """Some fields of a flow from coarse to fine, each a list of arrays [h, w], coarse first."""
    import torch

    with torch.no_grad():
        z = flow.draw(count, generator=torch.Generator(flow.device).manual_seed(0))
        stages = flow.coarse(z)
    return [
        [stage[k, 0].double().cpu().numpy() for stage in reversed(stages)] for k in range(count)
    ]


def cautions(found: Measurement) -> list[str]:
    """What speaks against a measurement, a sentence each."""
    said = []
    if not found.modes.covered:
        said.append(
            f"Not to be trusted: the flow misses a mode, as {found.modes.positive.value:.3f} of "
            f"its weight has a positive magnetisation, and not a half; give its maps "
            f"--model.map.odd true, or set --objective.symmetric true."
        )
    if found.ess * found.samples < FEW:
        said.append(
            f"Not to be trusted yet: {found.samples} samples are effectively "
            f"{found.ess * found.samples:.0f}; train longer, or draw more with --samples."
        )
    if far := {name: x for name, x in found.differences.items() if abs(x) > 4}:
        listed = ", ".join(f"{name.replace('_', ' ')} by {x:+.1f}" for name, x in far.items())
        said.append(
            f"Not as the reference says: {listed} errors; one of the two hasn't seen all modes, or "
            f"its errors are too small."
        )
    return said


FEW = 100
"""Effective samples below which errors mean little."""


def _trust(found: Measurement) -> Table:
    """How well the flow has learned the action."""
    chain, bound, log_z = found.metropolis, found.log_z_bound, found.log_z
    rows = [
        ("ln Z, at least", measured(bound.value, 3, bound.error)),
        ("ln Z by weights", measured(log_z.value, 3, log_z.error)),
    ]
    if found.log_z_exact is not None:
        rows.append(("ln Z, exact", measured(found.log_z_exact, 3)))
    if found.reference:
        upper = found.reference.upper_bound
        rows.append(("ln Z, at most", measured(upper.value, 3, upper.error)))
    rows += [
        ("effective sample size", f"{found.ess:.3f}"),
        ("acceptance", f"{chain.acceptance:.3f}"),
        ("τ_int of |m|", measured(chain.tau_magnetisation.value, 2, chain.tau_magnetisation.error)),
        ("weight of m > 0", measured(found.modes.positive.value, 3, found.modes.positive.error)),
    ]
    return table(("", f"{found.samples} samples"), rows)


def _numbers(found: Measurement, sites: int) -> Table:
    """Observables by weights, by the chain, and of the reference."""
    reference = found.reference
    rows = []
    theirs = reference.observables.numbers() if reference else {}
    chain = found.metropolis.observables.numbers()
    for name, one in found.reweighted.numbers().items():
        three = [one, chain[name], *([theirs[name]] if reference else [])]
        row = [_with_digits(each.value, each.error) for each in three]
        more = [f"{found.differences[name]:+.1f}"] if reference else []
        rows.append((name.replace("_", " "), *row, *more))
    head = ["", "by weights", "Metropolis"]
    if reference:
        head += ["HMC" if reference.method == "hmc" else "clusters", "difference, errors"]
    return table(head, rows, f"observables of {sites} sites, ± s.e.")


def _with_digits(value: float, error: float) -> str:
    """A number with as many decimals as its error has meaning."""
    import math

    digits = 3
    if error > 0 and math.isfinite(error):
        digits = max(0, min(6, 1 - math.floor(math.log10(error))))
    return measured(value, digits, error)
