"""Plans of experiments: what to train and to measure, from a config that is checked.

The config is `experiments/NAME/config.yaml`, and its keys are:

title       what it is, in one line
about       what the paper shows, and what is done here
question    what it asks, in one line
answer      the answer, in one sentence
page        the experiment on whose page its results are, if not on one of its own
trainings   by label: a preset and settings that differ, and an earlier one whose weights it
            begins with; another experiment's name, or a model
measures    by name: which measure, of which trainings (all), with which options
budgets     by name: settings and seeds of all trainings; which trainings; options of measures
tables      what `docs/results.py` makes tables of
pictures    the pictures of its page, the one that shows the answer first
numbers     numbers in its texts, by name

The name of another experiment stands for its training of the same label, so that nothing is trained
twice. A budget may name some of the labels, or define other trainings.

A training has one label and one seed, and is stored with the experiment that defines it. A model of
the package is already trained, under every budget, with the settings and the seed on its card.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from rgflow.cards import Card
from rgflow.checks import check_name, check_whole
from rgflow.config import FlowConfig, TrainConfig
from rgflow.kinds import options_of, trust
from rgflow.presets import preset
from rgflow.pretrained import shipped
from rgflow.reading import read_yaml

OWN = ("reproducing.maps", "reproducing.rolled")
"""The modules of the maps and the data set that configs name by import path."""
trust(OWN)

CONFIG = "config.yaml"
BUDGETS = ("10m", "2h", "full")
"""Minutes on one core; an hour or two; the paper's setting, for those with a GPU and the data."""
KEYS = (
    *("title", "about", "question", "answer", "page", "trainings", "measures", "budgets"),
    *("tables", "pictures", "numbers"),
)
OF_BUDGET = ("settings", "seeds", "trainings", "measures")
OF_TRAINING = ("preset", "settings", "model", "begins")
MODELS, WEIGHTS = "models", "model.safetensors"
"""The name in place of an experiment for models of the package; the file of their weights."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training, as the experiment that defines and stores it labels it."""

    experiment: str
    budget: str
    label: str
    config: TrainConfig
    """Its settings, with its seed."""
    model: str | None = None
    """The model of the package that it made, if any; it isn't trained again."""
    begins: str | None = None
    """The label of the training, of the same budget, with whose weights it begins."""

    @property
    def weights(self) -> str | None:
        """A digest of the weights of a model, which may be replaced; none if it isn't one."""
        if self.model is None:
            return None
        return sha256((shipped()[self.model] / WEIGHTS).read_bytes()).hexdigest()[:16]

    @property
    def name(self) -> str:
        """Label and seed."""
        return f"{self.label}-seed{self.config.seed}"

    def folder(self, work: Path) -> Path:
        """Its run folder. A model has none, but its measurements are stored beside it."""
        name = f"{self.label}-{self.model}" if self.model else self.name
        return work / self.experiment / self.budget / name


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One measurement of one training, or of none if it needs none."""

    name: str
    """In the experiment."""
    measure: str
    """In `measures.MEASURES`."""
    options: dict[str, Any]
    training: Training | None = None
    beside: Training | None = None
    """To compare with."""

    def path(self, work: Path) -> Path:
        """The JSON file of what it finds, one for all experiments that measure the same."""
        key = json.dumps([self.options, self.beside and self.beside.name], sort_keys=True)
        name = f"{self.measure}-{sha256(key.encode()).hexdigest()[:8]}.json"
        if self.training is None:
            return work / "measures" / name
        folder = self.training.folder(work)
        return folder.parent / "measures" / folder.name / name


@dataclass(frozen=True)
class Plan:
    """An experiment under one budget."""

    experiment: str
    budget: str
    trainings: tuple[Training, ...]
    """Including those of other experiments."""
    measurements: tuple[Measurement, ...] = ()

    def only(self, names: Iterable[str]) -> "Plan":
        """The part with trainings of these labels, or labels with seeds.

        Raises:
            ValueError: If there is none of such a name.
        """
        names = set(names)
        labels = dict.fromkeys(one.label for one in self.trainings)
        for name in sorted(names - {one.name for one in self.trainings}):
            check_name(f"a training of {self.experiment}", name, labels)
        kept = tuple(one for one in self.trainings if {one.label, one.name} & names)
        return replace(
            self,
            trainings=kept,
            measurements=tuple(
                one
                for one in self.measurements
                if one.training in kept and (one.beside is None or one.beside in kept)
            ),
        )


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """An experiment, under any of its budgets: its config, in a folder of its name."""

    folder: Path
    title: str
    about: str
    budgets: dict[str, dict[str, Any]]
    question: str = ""
    answer: str = ""
    page: str = ""
    trainings: dict[str, Any] = field(default_factory=dict)
    measures: dict[str, dict[str, Any]] = field(default_factory=dict)
    tables: list[dict[str, Any]] = field(default_factory=list)
    pictures: list[dict[str, Any]] = field(default_factory=list)
    numbers: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name."""
        return self.folder.name

    def plan(self, budget: str, data_root: str | None = None) -> Plan:
        """The plan under a budget, with the official files of data sets in `data_root`, if that is
        given.

        Raises:
            ValueError: If it has no such budget, or the config isn't right.
        """
        check_name(f"a budget of {self.name}", budget, self.budgets)
        trainings = self._trainings(budget)
        if data_root:
            trainings = [
                replace(one, config=replace(one.config, data_root=data_root)) for one in trainings
            ]
        seeds: dict[str, dict[int, Training]] = {}
        for one in trainings:
            seeds.setdefault(one.label, {})[one.config.seed] = one
        other = self.budgets[budget].get("measures", {})
        _check_keys(f"measures of {budget} of {self.name}", other, self.measures)
        measurements = []
        for name, given in self.measures.items():
            changed = other.get(name, {})
            for options in (given, changed):
                _check_keys(f"measure {name} of {self.name}", options)
            options = {"measure": name, **given, **changed}
            measure, of = options.pop("measure"), options.pop("trainings", list(seeds))
            beside = options.pop("beside", None)
            plain = Measurement(name=name, measure=measure, options=options)
            if not seeds:
                measurements.append(plain)
            for label in of:
                for seed, one in self._of(seeds, label).items():
                    other_one = self._of(seeds, beside).get(seed) if beside else None
                    if beside and not other_one:
                        raise ValueError(
                            f"Expected {beside} with seed {seed} under {budget}, which {name} of "
                            f"{self.name} compares with; there is none."
                        )
                    measurements.append(replace(plain, training=one, beside=other_one))
        return Plan(self.name, budget, tuple(trainings), tuple(measurements))

    def _of(self, seeds: dict[str, dict[int, Training]], label: str) -> dict[int, Training]:
        """The trainings of a label, by seed; none if the budget leaves it out."""
        check_name(f"a training of {self.name}", label, [*self.trainings, *seeds])
        return seeds.get(label, {})

    def _trainings(self, budget: str) -> list[Training]:
        given = self.budgets[budget]
        chosen = given.get("trainings", self.trainings)
        if isinstance(chosen, list):
            for label in chosen:
                check_name(f"a training of {self.name}", label, self.trainings)
            chosen = {label: self.trainings[label] for label in chosen}
        _check_keys(f"trainings of {budget} of {self.name}", chosen)
        seeds = given.get("seeds", [0])
        if not isinstance(seeds, list):
            raise ValueError(f"Expected a list of seeds of {self.name}, like [0]; got {seeds!r}.")
        for seed in seeds:
            check_whole(f"a seed of {self.name}", seed, 0)
        found = []
        others: dict[str, Plan] = {}
        for label, one in chosen.items():
            if isinstance(one, str):
                if one not in others:
                    others[one] = read_experiment(self.folder.parent, one).plan(budget)
                found += self._of_another(others[one], label, seeds)
                continue
            where = f"{label} of {self.name}"
            _check_keys(where, one, OF_TRAINING)
            if "model" in one:
                found.append(_of_model(label, one, where, budget))
                continue
            config = preset(one.get("preset"))
            for settings in (given.get("settings", {}), one.get("settings", {})):
                config = _changed(config, settings, where)
            where_kept = {"experiment": self.name, "budget": budget, "label": label}
            if (begins := one.get("begins")) is not None:
                check_name(f"begins of {where}", begins, list(chosen)[: list(chosen).index(label)])
            found += [
                Training(**where_kept, config=replace(config, seed=seed), begins=begins)
                for seed in seeds
            ]
        # What is broken off has something of every label.
        place = {seed: k for k, seed in enumerate(seeds)}
        return sorted(found, key=lambda one: place.get(one.config.seed, -1))

    def _of_another(self, other: Plan, label: str, seeds: list[int]) -> list[Training]:
        """The trainings of a label and of some seeds, of another experiment."""
        there = [one for one in other.trainings if one.label == label]
        if there and there[0].model:
            return there
        found = {one.config.seed: one for one in there}
        if missing := [seed for seed in seeds if seed not in found]:
            raise ValueError(
                f"Expected trainings {label} of {other.experiment} under {other.budget} with the "
                f"seeds of {self.name}; there are none with {', '.join(map(str, missing))}."
            )
        return [found[seed] for seed in seeds]


def read_experiment(experiments: Path, name: str) -> Experiment:
    """Read the config of one of the experiments in a folder.

    Raises:
        ValueError: If there is none of this name, or its config isn't right.
        FileNotFoundError: If there is no such folder.
    """
    check_name("an experiment", name, names(experiments))
    if name == MODELS:
        raise ValueError(
            f"Expected another name than {MODELS} for an experiment, which stands for models of "
            f"the package: rename its folder."
        )
    path = experiments / name / CONFIG
    content = read_yaml(path, "the config of an experiment")
    _check_keys(str(path), content, KEYS)
    for key, kind in (("title", str), ("about", str), ("budgets", dict)):
        if not isinstance(content.get(key), kind):
            raise ValueError(f"Expected {key} in {path}; got {content.get(key)!r}.")
    for key in ("trainings", "measures"):
        _check_keys(f"{key} in {path}", content.setdefault(key, {}))
    for budget, given in content["budgets"].items():
        check_name(f"a budget in {path}", budget, BUDGETS)
        _check_keys(f"{budget} in {path}", given, OF_BUDGET)
    return Experiment(folder=path.parent, **content)


def names(experiments: Path) -> list[str]:
    """The names of all experiments in a folder.

    Raises:
        FileNotFoundError: If there is no such folder, or no experiment in it.
    """
    found = sorted(path.parent.name for path in experiments.glob(f"*/{CONFIG}"))
    if not found:
        raise FileNotFoundError(
            f"Expected the folder of experiments, which is part of the repository of rgflow; "
            f"{experiments} has none: start there, or name it with --experiments."
        )
    return found


def _check_keys(what: str, content: object, known: Iterable[str] | None = None) -> None:
    if not isinstance(content, Mapping):
        raise ValueError(f"Expected {what} to have names and values; got {content!r}.")
    if known is not None:
        for key in content:
            check_name(f"a key of {what}", key, known)


def _of_model(label: str, given: dict[str, Any], where: str, budget: str) -> Training:
    """The training of a model of the package."""
    if len(given) > 1:
        raise ValueError(
            f"Expected nothing beside the model of {where}, which is trained already; got "
            f"{', '.join(key for key in given if key != 'model')}."
        )
    check_name(f"the model of {where}", given["model"], known := shipped())
    config = Card.read(known[given["model"]]).config
    return Training(
        experiment=MODELS, budget=budget, label=label, config=config, model=given["model"]
    )


def _changed(config: TrainConfig, settings: dict[str, Any], what: str) -> TrainConfig:
    """Settings with some others, those of the flow under `model`."""
    _check_keys(f"the settings of {what}", settings, options_of(TrainConfig))
    _check_keys(f"the model of {what}", settings.get("model", {}), options_of(FlowConfig))
    return config.changed(settings)
