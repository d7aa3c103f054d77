"""`rgflow score`: how near the samples of a trained flow come to images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rgflow.cli.parsing import parse, parser
from rgflow.text import Screen, bars, measured, say

if TYPE_CHECKING:
    from rich.table import Table

    from rgflow.metrics.scores import Scores


def run(arguments: Sequence[str]) -> None:
    """Parse, draw samples, compare them, and tell."""
    options = parser(
        "score",
        "How near samples of a trained flow come to images: Fréchet distances, each beside that of "
        "as many test images, and for MSDS how much the ovals of an image differ.",
        "rgflow score runs/first --count 2000 --temperature 0.9",
    )
    options.add_argument("run", help="a run folder, or a model: its folder or name")
    options.add_argument("--data", type=str | None, default=None, help="data set; that of the run")
    options.add_argument(
        "--count", type=int, default=10_000, help="samples, test and training images at the most"
    )
    options.add_argument(
        "--temperature",
        type=float | list[float],
        default=1.0,
        help="T of p^(1/T): one number, or one per level, level 0 first",
    )
    options.add_argument(
        "--inception",
        type=str | None,
        default=None,
        help="a file with the weights of FID's Inception, for FID; nothing is downloaded",
    )
    options.add_argument("--batch_size", type=int, default=64, help="images at a time")
    options.add_argument("--seed", type=int, default=0, help="seed; sample k has seed + k")
    settings = parse(options, arguments)

    from rgflow.checks import check_whole

    check_whole("--count", settings.count, 2)
    check_whole("--batch_size", settings.batch_size, 1)
    check_whole("--seed", settings.seed, 0)

    from dataclasses import asdict

    import torch

    from rgflow import trained
    from rgflow.data.msds import KINDS
    from rgflow.files import write_json
    from rgflow.metrics.frechet import inception
    from rgflow.metrics.scores import score

    model = trained.load(settings.run)
    device = model.flow.device
    network = inception(settings.inception, device) if settings.inception else None
    test, train = (model.images(settings.data, s, settings.count) for s in ("test", "train"))
    with bars() as progress:
        tasks: dict[str, int] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done)  # type: ignore[arg-type]

        found = score(
            model.flow,
            torch.from_numpy(train.images.copy()),
            torch.from_numpy(test.images.copy()),
            ovals=test.name in KINDS,
            inception=network,
            temperature=settings.temperature,
            seed=settings.seed,
            batch_size=settings.batch_size,
            progress=tell,
        )
    path = model.folder / _file(settings.data, settings.temperature)
    content = {"data": test.name, **asdict(found)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, content)
    except OSError as error:
        raise OSError(f"Expected to write {path}; {error.strerror or error}.") from error
    Screen().print(_distances(found), *([_spreads(found)] if found.samples else []))
    say(f"All of it is in {path}.")


def _file(data: str | None, temperature: float | list[float]) -> str:
    """The file of the results: others for another data set, and at another temperature."""
    import re

    parts = [re.sub(r"\W+", "-", data).strip("-")] if data else []
    if temperature != 1:
        each = temperature if isinstance(temperature, list) else [temperature]
        parts.append("T" + "-".join(f"{t:g}" for t in each))
    return "-".join(["scores", *parts]) + ".json"


def _distances(found: Scores) -> Table:
    """The distances beside their floors."""
    from rich.table import Table

    one = found.distances[0]
    title = f"Fréchet distances to {one.references} training images, ± s.e."
    table = Table("", title=title, title_justify="left")
    for column in (f"{one.samples} samples", f"{one.samples} test images: floor", "features"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in found.distances:
        distance = measured(one.distance, 2, one.standard_error)
        floor = measured(one.floor, 2, one.floor_error)
        table.add_row(one.name, distance, floor, str(one.dim))
    return table


def _spreads(found: Scores) -> Table:
    """The spreads of ovals."""
    from rich.table import Table

    title = "how much the ovals of an image differ, ± s.e."
    table = Table("", title=title, title_justify="left")
    for column in ("colour, grey levels", "angle, degrees"):
        table.add_column(column, justify="right")
    for name, one in (("samples", found.samples), ("test images", found.tests)):
        if one:
            colour = measured(one.colour, 2, one.colour_error)
            table.add_row(name, colour, measured(one.angle, 2, one.angle_error))
    return table
