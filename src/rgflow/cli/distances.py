"""`rgflow distances`: how close the samples of a trained flow come to images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rgflow.cli.parsing import Parser, parse, some
from rgflow.cli.subjects import load_model
from rgflow.files import as_name, write_json, writing
from rgflow.text import Screen, measured, reporting, say, table

if TYPE_CHECKING:
    from rich.table import Table

    from rgflow.metrics.frechet import FrechetDistance


def run(arguments: Sequence[str]) -> None:
    """Parse, draw samples, compare them, and print."""
    options = Parser(
        "distances",
        "How close samples of a trained flow are to images: Fréchet distances, each beside that "
        "of as many test images.",
        "rgflow distances runs/first --count 2000 --temperature 0.9",
    )
    options.model()
    options.data()
    options.whole("count", 10_000, "maximum number of samples, test and training images", least=2)
    options.temperature()
    options.word(
        "inception",
        None,
        "file with the weights of the Inception network, for FID; nothing is downloaded",
    )
    options.whole("batch_size", 64, "images at a time")
    options.whole("seed", 0, "seed; sample k has seed + k", least=0)
    settings = parse(options, arguments)

    import torch

    from rgflow.metrics.frechet import inception
    from rgflow.metrics.scores import score

    model = load_model(settings)
    device = model.flow.device
    network = inception(settings.inception, device) if settings.inception else None
    test, train = (model.images(settings.data, s, settings.count) for s in ("test", "train"))
    classes = test.classes(model.flow.config.labels)
    with reporting() as report:
        _, found = score(
            model.flow,
            torch.from_numpy(train.images.copy()),
            torch.from_numpy(test.images.copy()),
            more=[network] if network else [],
            labels=None if classes is None else torch.from_numpy(classes),
            **some(settings, "temperature", "seed", "batch_size"),
            progress=report,
        )
    path = model.folder / _file(settings.data, settings.temperature)
    with writing(path):
        write_json(path, {"data": test.name, "distances": found})
    Screen().print(_distances(found))
    say(f"All results are in {path}.")


def _file(data: str | None, temperature: float | list[float]) -> str:
    """Path of the results, which depends on the data set and the temperature."""
    parts = [as_name(data)] if data else []
    if temperature != 1:
        each = temperature if isinstance(temperature, list) else [temperature]
        parts.append("T" + "-".join(f"{t:g}" for t in each))
    return "-".join(["scores", *parts]) + ".json"


def _distances(found: Sequence[FrechetDistance]) -> Table:
    """The distances beside their floors."""
    first = found[0]
    head = ("", f"{first.samples} samples", f"{first.samples} test images: floor", "features")
    rows = [
        (
            one.name,
            measured(one.distance, 2, one.standard_error),
            measured(one.floor, 2, one.floor_error),
            str(one.dim),
        )
        for one in found
    ]
    return table(head, rows, f"Fréchet distances to {first.references} training images, ± s.e.")
