"""`rgflow measure`: what a flow that has learned an action says about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rgflow.cli.parsing import Parser, parse
from rgflow.files import write_json, write_picture, writing
from rgflow.text import Screen, bar, say, table

if TYPE_CHECKING:
    from rgflow.analysis.observables import Measurement


def run(arguments: Sequence[str]) -> None:
    """Parse, sample, measure, print and draw."""
    options = Parser(
        "measure",
        "ln Z, effective sample size and observables of lattice fields from samples of a flow that "
        "has learned an action, by reweighting and by an independence Metropolis sampler, beside "
        "a reference.",
        "rgflow measure runs/fields --samples 20000",
    )
    options.model()
    options.whole("samples", 10_000, "samples of the flow", least=100)
    options.whole(
        "reference",
        4000,
        "number of reference fields, from HMC or, for the Ising model, clusters; 0: none",
        least=0,
    )
    options.whole("seed", 0, "seed of all randomness", least=0)
    settings = parse(options, arguments)

    from rgflow import trained
    from rgflow.analysis.observables import as_json, cautions, examples, facts, measure, rows
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
    head = ("", f"{found.samples} samples")
    Screen().print(
        table(head, facts(found)), table(_head(found), rows(found), "observables, ± s.e.")
    )
    for caution in cautions(found):
        say(caution)
    say(f"All results are in {path}, and a picture in {picture}.")


def _head(found: Measurement) -> list[str]:
    """Of the table of observables."""
    head = ["", "by weights", "Metropolis"]
    if found.reference:
        head += ["HMC" if found.reference.method == "hmc" else "clusters", "difference, errors"]
    return head
