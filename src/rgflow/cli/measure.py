"""`rgflow measure`: ln Z and observables of lattice fields, from samples of a flow."""

from __future__ import annotations

from collections.abc import Sequence

from rgflow.cli.parsing import Parser, parse, some
from rgflow.files import write_json, write_picture, writing
from rgflow.text import Screen, bar, say, table


def run(arguments: Sequence[str]) -> None:
    """Parse, sample, measure, print and draw.

    Raises:
        ValueError: If an option isn't possible, or the model's objective is unknown or has no
            energy.
        FileNotFoundError: If there is no such model.
    """
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
        "number of reference fields, from HMC or, for spins, clusters or the heat bath; 0: none",
        least=0,
    )
    options.word(
        "symmetries",
        "none",
        "average the density of samples over these: none, square (turns and mirrors, in 8 times "
        "the time), translations, or all",
    )
    options.whole("seed", 0, "seed of all randomness", least=0)
    settings = parse(options, arguments)

    from rgflow import trained
    from rgflow.analysis.measurement import measure
    from rgflow.figures.field_theory import overview
    from rgflow.report.measurement import cautions, levels, observables, quality
    from rgflow.training.optimisation import prepare_machine

    prepare_machine()
    model = trained.load(settings.run, settings.size)
    if model.config is None:
        raise ValueError(
            f"Expected a model with a card, which names its objective; {settings.run} has none: "
            f"name the folder of its run."
        )
    with bar("samples", settings.samples) as progress:
        found = measure(
            model.flow,
            model.config.objective,
            progress=progress,
            **some(settings, "samples", "reference", "symmetries", "seed"),
        )
    path, picture = model.folder / "measurement.json", model.pictures / "measurement.png"
    with writing(path):
        write_json(path, found)
        write_picture(picture, overview(found, model.flow))
    tables = [quality(found), observables(found)]
    tables += [levels(found.multilevel)] if found.multilevel else []
    Screen().print(*(table(one.head, one.rows, f"{one.title}. {one.settings}") for one in tables))
    for caution in cautions(found):
        say(caution)
    say(f"All results are in {path}, and a picture in {picture}.")
