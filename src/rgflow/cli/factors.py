"""`rgflow factors`: what the latents of a trained flow mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rgflow.cli.parsing import parse, parser

if TYPE_CHECKING:
    from jsonargparse import Namespace
    from rich.table import Table

    from rgflow.analysis.factors import Factors
    from rgflow.analysis.labels import Label
    from rgflow.analysis.probes import ProbeTable
    from rgflow.config import FlowConfig, TrainConfig
    from rgflow.data import Images
    from rgflow.flow import Flow


def run(arguments: Sequence[str]) -> None:
    """Parse, analyse, tell and draw."""
    options = parser(
        "factors",
        "What the latents of a trained flow mean: which level holds which factor of the images, "
        "which latent goes with which label, and how dependent latents are.",
        "rgflow factors runs/first --count 3000",
    )
    options.add_argument("run", help="the run folder, or the folder of a model")
    options.add_argument(
        "--labels",
        type=str | None,
        default=None,
        help="a CSV file: a line with names, then a row of numbers per image, in the order of the "
        "images or with file names in the first column; the labels of the data set",
    )
    options.add_argument("--data", type=str | None, default=None, help="data set; that of the run")
    options.add_argument("--split", default="test", help="train, validation or test")
    options.add_argument("--count", type=int, default=2000, help="images at the most")
    options.add_argument(
        "--levels",
        type=list[int] | None,
        default=None,
        help="levels in which a direction is looked for for every label; all",
    )
    options.add_argument(
        "--folds", type=int, default=1, help="fifths of the images that are held out in turn"
    )
    options.add_argument(
        "--places", type=int, default=8, help="places in the image that are probed at the most"
    )
    options.add_argument(
        "--strongest", type=int, default=200, help="latents for the scores MIG and DCI"
    )
    options.add_argument(
        "--draws", type=int, default=2, help="latents over which receptive fields are averaged"
    )
    options.add_argument("--seed", type=int, default=0, help="seed of all that is random")
    options.add_argument("--batch_size", type=int, default=128, help="images encoded at a time")
    options.add_argument("--out", type=str | None, default=None, help="folder; that of the run")
    settings = parse(options, arguments)
    _check(settings)

    import torch
    from rich.console import Console
    from rich.progress import Progress

    from rgflow.analysis.factors import find_factors

    model = _load(settings)
    if torch.cuda.is_available():
        model.flow.cuda()
    images = _images(model, settings)
    labels = _labels(images, settings)
    terminal = Console(stderr=True)
    with Progress(console=terminal, transient=True, disable=not terminal.is_terminal) as progress:
        tasks: dict[str, int] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)  # type: ignore[arg-type]

        found = find_factors(
            model.flow,
            torch.from_numpy(images.images.copy()),
            labels,
            levels=settings.levels,
            folds=settings.folds,
            places=settings.places,
            strongest=settings.strongest,
            draws=settings.draws,
            seed=settings.seed,
            batch_size=settings.batch_size,
            progress=tell,
        )
    console = Console(highlight=False)
    for table in _tables(found):
        console.print(table)
    if found.probes:
        for claim in found.probes.verdict():
            print(f"{claim.outcome:<12}{claim.text}")
    print(_write(found, model, images, settings))


def _check(settings: Namespace) -> None:
    from rgflow.config import check_name, check_whole

    check_name("--split", settings.split, ("train", "validation", "test"))
    for name in ("count", "places", "draws", "batch_size", "folds"):
        check_whole(f"--{name}", settings[name], 1)
    check_whole("--strongest", settings.strongest, 2)
    check_whole("--seed", settings.seed, 0)


@dataclass(frozen=True, eq=False)
class _Model:
    """A flow, and the run that it's from, if it is."""

    flow: Flow
    config: TrainConfig | None
    folder: Path
    pictures: Path


def _load(settings: Namespace) -> _Model:
    """The flow that the options name, and where results go."""
    from rgflow.architectures import load_flow
    from rgflow.checkpoint import CONFIG
    from rgflow.training.run import Run

    run = Run(settings.run)
    out = Path(settings.out).expanduser() if settings.out else None
    if (run.folder / CONFIG).is_file():
        folder = out or run.folder
        return _Model(load_flow(run.folder), None, folder, out or run.pictures)
    run = Run.open(settings.run)
    return _Model(run.flow(), run.config(), out or run.folder, out or run.pictures)


def _images(model: _Model, settings: Namespace) -> Images:
    from rgflow import data

    if model.config is not None:
        return data.load_for(model.config, settings.split, name=settings.data, count=settings.count)
    if settings.data is None:
        raise ValueError(
            "Expected a data set, as the folder of a model names none; give one with --data."
        )
    config: FlowConfig = model.flow.config
    return data.load(
        settings.data,
        settings.split,
        height=config.height,
        width=config.width,
        channels=config.channels,
        count=settings.count,
    )


def _labels(images: Images, settings: Namespace) -> list[Label]:
    """The labels of a CSV file or, without one, of the data set."""
    from rgflow.analysis.labels import labels_of, read_csv
    from rgflow.data.folder import split_files
    from rgflow.data.source import SPLITS

    if settings.labels is None:
        return labels_of(images.labels)
    kind, _, place = images.name.partition(":")
    if kind != "folder":
        return read_csv(settings.labels, len(images))
    root = Path(place).expanduser()
    skipped = {line.partition(": ")[0] for line in images.skipped}
    files = [file for file in split_files(root, settings.split) if file not in skipped]
    others = {file for split in SPLITS for file in split_files(root, split)}
    return read_csv(settings.labels, len(images), files[: len(images)], others)


# ---------------------------------------------------------------- what is told


def _tables(found: Factors) -> Iterator[Table]:
    """The tables, each with its settings in the title."""
    if found.probes and found.associations:
        yield from _probes(found.probes)
        yield _information(found)
        if found.scores:
            yield _scores(found)
        if found.directions:
            yield _directions(found)
    yield _visible(found)
    yield _dependence(found)


def _table(title: str, first: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="italic")
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _probes(probes: ProbeTable) -> Iterator[Table]:
    """Held-out R² of every factor by level."""
    words = {"own": "", "random": "  as many random", "shuffled": "  shuffled"}
    how = {
        "linear": f"ridge, penalties {', '.join(f'{p:g}' for p in probes.penalties)}",
        "boosted": f"{probes.trees} boosted trees on the {probes.features} latents that tell most",
    }
    for probe, described in how.items():
        title = (
            f"held-out R² from the latents of one level: {described}; {probes.images} images, "
            f"{probes.folds} of 5 parts held out, seed {probes.seed}"
        )
        table = _table(title, "factor", *(f"level {h}" for h in range(probes.levels)))
        for group in probes.groups:
            for inputs, name in words.items():
                row = {
                    s.level: f"{s.r2:.2f} ± {s.error:.2f}"
                    for s in probes.scores
                    if (s.group, s.probe, s.inputs) == (group, probe, inputs)
                }
                if row:
                    cells = [row.get(h, "") for h in range(probes.levels)]
                    table.add_row(name or group, *cells)
            table.add_section()
        yield table


def _information(found: Factors) -> Table:
    """What the best latent of each level tells about the labels."""
    import numpy as np

    assert found.associations
    of_labels = found.associations
    title = (
        f"information of a level's best latent about a label, nats; means over labels; "
        f"{of_labels.images} images, {of_labels.bins} bins; {of_labels.significant.sum()} of "
        f"{of_labels.significant.size} pairs are dependent (false-discovery rate "
        f"{of_labels.rate:g})"
    )
    levels = range(of_labels.lattice.levels)
    table = _table(title, "labels", *(f"level {h}" for h in levels))
    table.add_column("best latent: h, i, j, c")
    by_level = of_labels.by_level()
    for group in dict.fromkeys(label.group for label in found.labels):
        members = [k for k, label in enumerate(found.labels) if label.group == group]
        best = max(members, key=lambda k: by_level[k].max())
        h, i, j, c = of_labels.latents_of(of_labels.labels[best], 1)[0].address
        means = np.mean(by_level[members], 0)
        table.add_row(
            group, *(f"{x:.3f}" for x in means), f"{of_labels.labels[best]}: {h}, {i}, {j}, {c}"
        )
    return table


def _scores(found: Factors) -> Table:
    """MIG and DCI."""
    assert found.scores
    scores = found.scores
    title = (
        f"disentanglement of the {scores.latents} latents with the strongest receptive fields, "
        f"{len(scores.factors)} factors, {scores.images} images, {scores.bins} bins, forests of "
        f"{scores.trees} trees of depth {scores.depth}, seed {scores.seed}"
    )
    table = _table(title, "score", "value")
    table.add_row("mutual information gap", f"{scores.mig:.3f} ± {scores.mig_error:.3f}")
    for name in ("disentanglement", "completeness", "informativeness"):
        table.add_row(f"DCI {name}", f"{getattr(scores, name):.3f}")
    return table


def _directions(found: Factors) -> Table:
    """Where latents go when a label rises."""
    one = found.directions[0]
    title = (
        f"directions in levels {', '.join(map(str, one.levels))}: held-out R² of numbers, AUC of "
        f"binary labels; penalty {one.penalty:g}, {one.images} images, {one.held_out} held out, "
        f"seed {one.seed}"
    )
    table = _table(title, "label", "measure", "score")
    for one in found.directions:
        table.add_row(one.label, one.measure, f"{one.score:.3f}")
    return table


def _visible(found: Factors) -> Table:
    """How many latents are visible."""
    seen = found.visible
    title = (
        f"visible latents: receptive field of a strength above {seen.threshold:g}, "
        f"{found.draws} draws; fields of the {len(seen.addresses)} strongest have "
        f"{len(set(seen.shapes))} shapes (similarity {seen.similarity:g})"
    )
    table = _table(title, "level", "visible", "effective", "different fields")
    for level, row in enumerate(zip(seen.counts, seen.effective, seen.distinct, strict=True)):
        table.add_row(str(level), str(row[0]), *(f"{x:.1f}" for x in row[1:]))
    return table


def _dependence(found: Factors) -> Table:
    """How dependent the latents of a level are."""
    of = found.latents
    strata = [s for s in of.strata if s.levels[0] == s.levels[1]]
    floors = [
        sum(floor) / len(strata)
        for floor in zip(
            *((s.correlation.floor, s.magnitude.floor, s.information.floor) for s in strata),
            strict=True,
        )
    ]
    title = (
        f"dependence of two latents of a level, by RG steps up to their lowest common ancestor; "
        f"independent ones would have {', '.join(f'{floor:.3f}' for floor in floors)}; "
        f"{of.images} images, at most {of.pairs} pairs, {of.bins} bins, seed {of.seed}"
    )
    table = _table(title, "level", "steps", "correlation", "of |z|", "nats", "pixels")
    pixels = {(s.levels, s.distance): s.information.value for s in found.pixels.strata}
    for s in strata:
        measured = (s.correlation, s.magnitude, s.information)
        table.add_row(
            str(s.levels[0]),
            str(s.distance),
            *(f"{m.value:.3f} ± {m.error:.3f}" for m in measured),
            f"{pixels[s.levels, s.distance]:.3f}",
        )
    return table


def _write(found: Factors, model: _Model, images: Images, settings: Namespace) -> str:
    """Write numbers, directions and pictures; where they are, in words."""
    import json

    from rgflow.cli.subjects import listed
    from rgflow.figures.factors import dependence_curves, probe_table, ranking
    from rgflow.files import replacing

    pictures = {"dependence": dependence_curves(found.latents, found.pixels)}
    if found.probes and found.associations:
        pictures["factors"] = probe_table(found.probes)
        pictures["ranking"] = ranking(found.associations, found.labels)
    content = {"data": images.name, "split": settings.split, "labels": settings.labels}
    plain = json.dumps(content | found.plain())
    finite = json.loads(plain, parse_constant=lambda _: None)  # NaN isn't JSON
    try:
        for folder in (model.folder, model.pictures):
            folder.mkdir(parents=True, exist_ok=True)
        with replacing(model.folder / "factors.json") as part:
            part.write_text(json.dumps(finite, indent=2) + "\n")
        if found.directions:
            (model.folder / "directions").mkdir(exist_ok=True)
        for one in found.directions:
            with replacing(model.folder / "directions" / f"{_stem(one.label)}.safetensors") as part:
                one.vector.save(part)
        for name, picture in pictures.items():
            with replacing(model.pictures / f"{name}.png") as part:
                picture.save(part, format="PNG")
    except OSError as error:
        raise OSError(
            f"Expected to write into {model.folder}; {error.strerror or error}."
        ) from error
    said = f"All of it is in {model.folder / 'factors.json'}; see "
    said += listed([model.pictures / f"{name}.png" for name in pictures])
    if found.directions:
        said += (
            f"; directions for `rgflow traverse --direction` are in {model.folder / 'directions'}"
        )
    return f"{said}."


def _stem(name: str) -> str:
    """A name as that of a file."""
    import re

    return re.sub(r"\W+", "-", name).strip("-").lower() or "label"
