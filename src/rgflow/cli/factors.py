"""`rgflow factors`: what the latents of a trained flow mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rgflow.cli.parsing import Parser, parse, some
from rgflow.cli.subjects import load_model
from rgflow.data.source import SPLITS
from rgflow.files import NAMES, as_name, expanded, write_json, writing
from rgflow.text import Screen, reporting, say, table

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from rgflow.analysis.factors import Factors
    from rgflow.analysis.labels import Label
    from rgflow.data import Images

MAX_NAMED = 5
"""Most labels named in a message about those left out."""
MAX_LETTERS = 40
"""Most letters of a label in the name of a file."""


def run(arguments: Sequence[str]) -> None:
    """Parse, analyse, print and write.

    Raises:
        ValueError: If an option or the labels aren't possible.
        FileNotFoundError: If there is no such model, or file of labels.
    """
    options = Parser(
        "factors",
        "Find what the latents of a trained flow mean: which level holds which factor of the "
        "images, which latent goes with which label, and how much latents depend on each other.",
        "rgflow factors runs/first --count 3000",
    )
    options.model()
    options.word(
        "labels",
        None,
        "a CSV file: a line with names, then a row of numbers per image, in the order of the "
        "images or with file names in the first column; by default the labels of the data set",
    )
    options.data()
    options.word("split", "test", "train, validation or test", SPLITS)
    options.whole("count", 2000, "maximum number of images")
    options.several(
        "levels", int, None, "levels in which to fit a direction for every label; by default all"
    )
    options.whole("places", 8, "maximum number of places in the image to probe")
    options.whole("strongest", 200, "number of strongest latents for MIG and DCI", least=2)
    options.whole("draws", 2, "draws of the latents over which receptive fields are averaged")
    options.number("threshold", 1.0, "strength above which a latent is visible", least=0)
    options.whole("seed", 0, "seed of all randomness", least=0)
    options.whole("batch_size", 128, "images encoded at a time")
    names = ("factors.*", NAMES, "associations.*", "dependence.png", "ranking.png", "directions/*")
    options.out(None, "output folder; by default the run folder", *names)
    settings = parse(options, arguments)
    if settings.levels == []:
        raise ValueError("Expected --levels to have at least one level; got none.")

    import torch

    from rgflow.analysis.factors import find_factors
    from rgflow.analysis.labels import MIN_IMAGES
    from rgflow.report import tables

    model = load_model(settings)
    images = model.images(settings.data, settings.split, settings.count)
    labels = _labels(images, settings)
    out = model.results
    with writing(out, into=True):  # now, rather than after minutes
        pass
    with reporting() as report:
        found = find_factors(
            model.flow,
            torch.from_numpy(images.images.copy()),
            labels,
            progress=report,
            **some(settings, "levels", "places", "strongest", "draws", "seed", "batch_size"),
        )
    shown = [tables.strengths(found.fields, settings.threshold), *tables.meaning(found)]
    Screen().print(*(table(one.head, one.rows, f"{one.title}. {one.settings}") for one in shown))
    if rare := [label.name for label in found.labels if not label.common]:
        more = f" and {len(rare) - MAX_NAMED} more" if len(rare) > MAX_NAMED else ""
        say(
            f"Neither probed nor given a direction, as fewer than {MIN_IMAGES} images have or lack "
            f"it: {', '.join(rare[:MAX_NAMED])}{more}."
        )
    content = {"data": images.name, **some(settings, "split", "labels")}
    with writing(out, into=True):
        write_json(out / "factors.json", content | found.plain())
        write_json(out / NAMES, found.names(), indent=None)
        say(_write(found, out))


def _labels(images: Images, settings: Namespace) -> list[Label]:
    """The labels of a CSV file or, without one, of the data set."""
    from rgflow.analysis.labels import labels_of, read_csv
    from rgflow.data.folder import split_files

    if settings.labels is None:
        return labels_of(images.labels)
    kind, _, place = images.name.partition(":")
    if kind != "folder":
        return read_csv(settings.labels, len(images), images.files, numbers=images.numbers)
    others = {file for split in SPLITS for file in split_files(expanded(place), split)}
    return read_csv(settings.labels, len(images), images.files, others)


def _write(found: Factors, out: Path) -> str:
    """Write associations and directions, and say where all results are."""
    text = f"All results are in {out / 'factors.json'}"
    if found.associations:
        found.associations.save(out / "associations.safetensors")
        text += ", every latent with every label in associations.safetensors"
    if found.directions:
        text += f"; directions for `rgflow traverse --direction` are in {out / 'directions'}"
    stems = list[str]()
    for one in found.directions:
        stem = as_name(one.label).lower()[:MAX_LETTERS] or "label"
        while stem in stems:  # of labels that differ in signs alone
            stem += "-"
        stems.append(stem)
        (out / "directions").mkdir(exist_ok=True)
        one.vector.save(out / "directions" / f"{stem}.safetensors")
    return f"{text}."
