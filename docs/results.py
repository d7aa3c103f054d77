"""Write the pages of results into `results`, and the manifest: `python docs/results.py`.

No number is typed: published ones come from the configs of the experiments, ours from the JSON that
`rgflow reproduce` writes. What the numbers mean is in `notes.md` beside a config.

A config's `tables` are of several kinds, which differ by their keys:

value, rows                one number: published ones, and ours under every budget
values, rows, baseline     several numbers, a table for every budget; differences from the baseline,
                           or from that of a row, but of numbers with `compared: false`
claims                     sentences of the paper, each with two numbers that it says to differ;
                           with `near`, it is how far they are from that number that differs
verdicts                   what the probes of each level say about the paper's sentences
curves                     validations against time, a picture for every budget: rows as above

What differences are the mean `over`, if not seeds, a table says too, or `how` they are taken.

A number of ours is named by a path: the name of a measure, and keys within its numbers; or
training.steps, and what else a training is recorded with. It is the mean over the seeds; its error
is that of the mean, and of the measurement. Where a path leads to a list, it is the mean over that,
and differences are taken place by place. A row `of` several labels is the mean over them all.
"""

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, TypeAlias

from matplotlib import colormaps
from matplotlib.ticker import LogLocator, NullLocator
from PIL import Image
from scipy.stats import t

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
from reproducing import manifest, results
from reproducing.plan import BUDGETS, Experiment, names, read_experiment
from rgflow.figures.charts import SOFT, blank, literal, plain, rendered
from rgflow.pretrained import commit_of

ROOT = Path(__file__).parents[1]
EXPERIMENTS = ROOT / "experiments"
PAGES = Path(__file__).parent / "results"
PUBLISHED = {"paper": "paper", "reproduction": "independent reproduction", "aim": "our aim"}
"""Columns of numbers that are given, by the key of a row, which has them as they are printed."""
DONE = {"done": "done", "partly": "partly done", "not": "not run here"}
PREFACE = """
# Results

The tables and figures of the paper, done again, and questions of our own. The paper trained on a
GPU for days. What is committed here was trained on a CPU for minutes, so it says which of several
flows is better for the same time, and rarely reaches the paper's numbers. Where these were missed,
it says so.

`rgflow reproduce NAME --budget 10m` does an experiment again; [how](../guide/reproducing.md). With
the budget 10m every training has ten minutes of one core or less, with 2h, which is only a name,
an hour or less, and figures are of models that come with the package; full is the paper's setting,
for those with a GPU and the data. An experiment has those budgets under which it is worth doing:
what needs official files only the last. What different processors do in the same time differs much,
so compare numbers within a page, and there only of one processor.

At the end of every page stand machines, versions and commits. *With changes* beside a commit says
that there were code or settings that weren't committed yet when a training or a measurement began;
which these were isn't recorded."""
TRAINING = "training"
"""Stands for a measure where a number is of the training itself, such as its steps."""
CONFIDENCE = 0.95
"""Of the interval of a difference that must leave out 0 for a claim to be decided."""


Key: TypeAlias = tuple[int, int, int]
"""Which of a row's labels, which seed, and which place of a list."""


@dataclass(frozen=True)
class Number:
    """A mean over seeds, or over labels or places, and its standard error; of one the error of its
    measurement."""

    mean: float
    error: float
    count: int
    trainings: int = 1
    """How many trainings it is of."""

    def decided(self, others: Sequence["Number"] = ()) -> bool:
        """Whether its confidence interval leaves out 0.

        One seed says nothing of how much seeds differ: that is then taken from the same number of
        several seeds, of which there has to be one.

        Args:
            others: The same number under other budgets.
        """
        of, error = self, self.error
        if self.count == 1:
            of = max(others, key=lambda one: one.count, default=self)
            error = math.hypot(error, of.error * of.count**0.5)
        if of.count == 1 or math.isnan(error):
            return False
        return bool(abs(self.mean) > t(of.count - 1).ppf((1 + CONFIDENCE) / 2) * error)

    def text(self, digits: int, signed: bool = False) -> str:
        """With so many digits after the point; without an error if there is none, or it is 0, as
        of steps that were told beforehand."""
        sign = "+" if signed else ""
        said = f"{self.mean:{sign}.{digits}f}"
        if self.error and not math.isnan(self.error):
            said += f" ± {self.error:.{digits}f}"
        return said.replace("-", "−")


class Results:
    """What an experiment has come to under one budget."""

    def __init__(self, experiment: Experiment, budget: str, content: dict[str, Any]) -> None:
        self.experiment, self.budget = experiment, budget
        self.trainings, self.measures = content["trainings"], content["measures"]
        self.labels = {one["name"]: (one["label"], one["seed"]) for one in self.trainings}

    @property
    def called(self) -> str:
        """The budget, and how long its trainings are, where its name doesn't say so."""
        own = [one for one in self.trainings if "model" not in one]
        minutes = {one.get("settings", {}).get("minutes") for one in own}
        length = minutes.pop() if len(minutes) == 1 else None
        if length is None or self.budget == f"{length:g}m":
            return self.budget
        return f"{self.budget} ({length:g} min)"

    @classmethod
    def as_planned(cls, experiment: Experiment, budget: str, content: dict[str, Any]) -> "Results":
        """What was done with the settings of its config, without what was with former ones."""
        plan = experiment.plan(budget)
        planned = (results.training_of(one, content) for one in plan.trainings)
        trainings = [one for one in planned if one]
        names = {one["name"] for one in trainings}
        measures = [
            {"beside": one.beside and one.beside.name, **found}  # the oldest don't say
            for one in plan.measurements
            if one.training is None or one.training.name in names
            for found in results.measurements_of(one, content)
        ]
        return cls(experiment, budget, {"trainings": trainings, "measures": measures})

    def values(self, path: str, row: dict[str, Any]) -> dict[Key, tuple[float, float]]:
        """All values of a row and the errors beside them; none of several labels before they are
        all there, as they needn't be alike."""
        measure, *keys = _path(path, row).split(".")
        of = row.get("of")
        asked = of if isinstance(of, list) else [of]
        found: dict[Key, tuple[float, float]] = {}
        numbers = [
            (one["training"], one["numbers"]) for one in self.measures if one["name"] == measure
        ]
        if measure == TRAINING:
            numbers = [(one["name"], one) for one in self.trainings]
        for training, told in numbers:
            label, seed = self.labels.get(training, (None, 0))
            if label in asked:
                n = asked.index(label)
                for k, value in enumerate(_at(told, keys)):
                    # What is measured without a training has trainings of its own.
                    found[(n, seed, k) if training else (n, k, 0)] = value
        return found if len({label for label, _, _ in found}) == len(asked) else {}

    def number(self, path: str, row: dict[str, Any]) -> Number | None:
        """The number of a row; none if it isn't there yet."""
        values = self._of_files(path, row) if "files" in row else self.values(path, row)
        number = _mean(values)
        if number is None or number.count == 1:
            return number
        # All seeds are measured on the same images, so what is due to these doesn't average out.
        of_measuring = [error for _, error in values.values() if not math.isnan(error)]
        shared = fmean(of_measuring) if of_measuring else 0.0
        return replace(number, error=math.hypot(number.error, shared))

    def difference(
        self, path: str, row: dict[str, Any], other: dict[str, Any], near: str | None = None
    ) -> Number | None:
        """By how much it is more in one row than in another, seed by seed.

        Args:
            path: Where the number is.
            row: Of what.
            other: Of what else.
            near: Where the number is that both are meant to be near; not they then, but how far
                they are from it.
        """
        mine, theirs = (self._far(path, one, near) for one in (row, other))
        if not mine.keys() & theirs.keys():  # such as two models of the package
            mine, theirs = (_without_seed(values) for values in (mine, theirs))
        return _mean(
            {
                key: (mine[key][0] - theirs[key][0], math.hypot(mine[key][1], theirs[key][1]))
                for key in sorted(mine.keys() & theirs.keys())
            }
        )

    def _far(
        self, path: str, row: dict[str, Any], near: str | None
    ) -> dict[Key, tuple[float, float]]:
        """The values of a row, or how far they are from others."""
        values = self._of_files(path, row) if "files" in row else self.values(path, row)
        if near is None:
            return values
        aims = self.values(near, {"of": row["of"]})
        return {
            key: (abs(value - aims[key][0]), math.hypot(error, aims[key][1]))
            for key, (value, error) in values.items()
            if key in aims
        }

    def processors(self, *rows: dict[str, Any]) -> set[str]:
        """What the trainings of some rows were done on."""
        of = [row.get("of") for row in rows]
        labels = {name for one in of for name in (one if isinstance(one, list) else [one])}
        return {
            one["machine"]["processor"]
            for one in self.trainings
            if one["label"] in labels and "machine" in one
        }

    def curves(self, rows: Sequence[dict[str, Any]]) -> dict[str, list[list[tuple[float, float]]]]:
        """By the name of a row, of every seed its validations: minutes, and what was found."""
        found = {}
        for row in rows:
            trainings = [one for one in self.trainings if one["label"] == row.get("of")]
            several = [one.get("curve") for one in (*trainings, *self.files(row))]
            found[row["name"]] = [
                [(point["minutes"], point["nll"]) for point in curve] for curve in several if curve
            ]
        return {name: several for name, several in found.items() if several}

    def _of_files(self, path: str, row: dict[str, Any]) -> dict[Key, tuple[float, float]]:
        """Values that a command of another kind has written, in files beside the config; of a list
        of files as of a row of several labels, none before they are all there."""
        keys, listed = _path(path, row).split("."), isinstance(self._patterns(row), list)
        values = [_at(content, keys) for content in self.files(row)]
        if listed and len(values) < len(self._patterns(row)):
            return {}
        return {
            (n, 0, 0) if listed else (0, n, 0): value
            for n, found in enumerate(values)
            for value in found
        }

    def _patterns(self, row: dict[str, Any]) -> Any:
        return row.get("files", {}).get(self.budget, [])

    def files(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        """What is in the files that a row names under this budget, if it names any: by one pattern,
        or a list of them.

        Raises:
            ValueError: If those of one pattern differ in more than their seeds.
        """
        patterns, found = self._patterns(row), []
        for pattern in patterns if isinstance(patterns, list) else [patterns]:
            paths = sorted(self.experiment.folder.glob(pattern))
            contents = [json.loads(path.read_text()) for path in paths]
            settings = [{**one.get("settings", {}), "seed": None} for one in contents]
            if any(one != settings[0] for one in settings):
                raise ValueError(
                    f"Expected results that differ in their seeds alone; got {pattern}, which "
                    f"others match, too: {', '.join(path.name for path in paths)}."
                )
            found += contents
        return found


def _path(path: str, row: dict[str, Any]) -> str:
    """Where the number of a row is: a path of its own, or the table's, under its own beginning."""
    return row.get("value") or ".".join(filter(None, (row.get("under"), path)))


def _at(numbers: Any, keys: Sequence[str]) -> list[tuple[float, float]]:
    """The value at some keys, and the error beside it; or the values, if there are several."""
    for key in keys[:-1]:
        if isinstance(numbers, list):  # some flows have fewer levels
            numbers = numbers[int(key)] if int(key) < len(numbers) else {}
        else:
            numbers = numbers.get(key, {})
    value = numbers.get(keys[-1])
    if value is None:
        return []
    if isinstance(value, list):
        return [(one, math.nan) for one in value]
    beside = (f"{keys[-1]}_error", "standard_error", "error")
    error = next((numbers[name] for name in beside if numbers.get(name) is not None), math.nan)
    return [(value, error)]


def _mean(values: dict[Key, tuple[float, float]]) -> Number | None:
    if not values:
        return None
    if len(values) == 1:
        return Number(*next(iter(values.values())), 1)
    of_trainings: dict[tuple[int, int], list[float]] = {}
    for (label, seed, _), (value, _) in values.items():
        of_trainings.setdefault((label, seed), []).append(value)
    trainings = len(of_trainings)
    # Places of one training aren't independent of each other, beside those of others.
    means = [fmean(each) for each in of_trainings.values()]
    means = means if trainings > 1 else next(iter(of_trainings.values()))
    return Number(fmean(means), stdev(means) / len(means) ** 0.5, len(means), trainings)


def _without_seed(values: dict[Key, tuple[float, float]]) -> dict[Key, tuple[float, float]]:
    """Values by label and place, if there is one seed of each; otherwise none."""
    found = {(label, 0, place): value for (label, _, place), value in values.items()}
    return found if len(found) == len(values) else {}


# ---------------------------------------------------------------- tables


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown; numbers on the right."""
    bar = ["---"] + ["---:"] * (len(head) - 1)
    return ["| " + " | ".join(row) + " |" for row in (head, bar, *rows)] + [""]


def of_one_number(said: dict[str, Any], found: dict[str, Results]) -> Iterator[str]:
    """Published numbers, and ours under every budget."""
    digits = said.get("digits", 3)
    columns = [key for key in PUBLISHED if any(key in row for row in said["rows"])]
    if not (columns or found):
        yield from ("Not measured yet.", "")
        return
    better = said.get("better") if found else None
    given = [PUBLISHED[key] for key in columns]
    head = ["", *given, *(f"here, {one.called}" for one in found.values())]
    rows = []
    for row in said["rows"]:
        ours = [one.number(said["value"], row) for one in found.values()]
        cells = [row.get(key, "") for key in columns]
        cells += [number.text(digits) if number else "" for number in ours]
        if better:
            cells.append(_outcome(row.get("paper"), ours, better, digits))
        rows.append([row["name"], *cells])
    yield from table(head + ["against the paper"] * bool(better), rows)


def _outcome(paper: str | None, ours: Sequence[Number | None], better: str, digits: int) -> str:
    """Whether the best of ours is as good as the paper's."""
    there = [number for number in ours if number]
    if paper is None or not there:
        return ""
    sign = 1 if better == "lower" else -1
    worse = min(sign * (number.mean - float(paper)) for number in there)
    return "reached" if worse <= 0 else f"missed by {worse:.{digits}f}"


def of_several_numbers(said: dict[str, Any], found: dict[str, Results]) -> Iterator[str]:
    """Several numbers of every row, and what differs from the baseline."""
    rows_of = reversed(said["rows"])  # of several of one label the first is the baseline
    by_label = {row["of"]: row for row in rows_of if isinstance(row.get("of"), str)}
    bases: dict[str, None] = {}
    columns = [key for key in PUBLISHED if any(key in row for row in said["rows"])]
    given = [PUBLISHED[key] for key in columns]
    head, told, most = ["", *given, *(value["name"] for value in said["values"])], False, 1
    for one in found.values():
        rows = []
        for row in said["rows"]:
            cells = []
            base = by_label.get(row.get("baseline", said.get("baseline")))
            for value in said["values"]:
                number, digits = one.number(value["value"], row), value.get("digits", 3)
                cells.append(number.text(digits) if number else "")
                if number and base and row is not base and value.get("compared", True):
                    less = one.difference(value["value"], row, base)
                    bases[base["name"]] = None
                    cells[-1] += f" ({less.text(digits, signed=True)})" if less else ""
                    most = max(most, less.count if less else 1)
            if any(cells):
                rows.append([row["name"], *(row.get(key, "") for key in columns), *cells])
        if rows:
            told = True
            yield from (f"Budget {one.called}:", "", *table(head, rows))
    if not told:
        yield "Not measured yet."
        yield ""
    elif bases:
        over = said.get("over", "seed")
        how = f"{over} by {over}" if most > 1 else f"of one {over}; errors are of measuring alone"
        how = said.get("how", how)
        names = " or ".join(f"“{name}”" for name in bases)
        yield f"In brackets: the difference from {names}, {how}."
        yield ""


def of_claims(said: dict[str, Any], found: dict[str, Results]) -> Iterator[str]:
    """Sentences, and whether our numbers agree."""
    for claim in said["claims"]:
        outcomes, differences = [], {}
        smaller, larger = (
            side if isinstance(side, dict) else {"of": side}
            for side in (claim["smaller"], claim["larger"])
        )
        for budget, one in found.items():
            more = one.difference(claim.get("value", ""), larger, smaller, claim.get("near"))
            if more:
                differences[budget] = more
        for budget, more in differences.items():
            one = found[budget]
            digits = claim.get("digits", 3)
            verdict = "agrees" if more.mean > 0 else "contradicts"
            if not more.decided(list(differences.values())):
                verdict = "undecided"
            told = more.text(digits, signed=True)
            told += f", {more.count} {said.get('over', 'seed')}{'s' * (more.count > 1)}"
            if more.count > 1 and more.trainings == 1:
                told += ", of one training each"
            if len(one.processors(larger, smaller)) > 1:
                told += ", trained on different processors"
            outcomes.append(f"{one.called}: **{verdict}** ({told})")
        yield f"- {claim['text']} {'; '.join(outcomes) or 'Not measured yet'}."
    yield ""


def of_verdicts(said: dict[str, Any], found: dict[str, Results]) -> Iterator[str]:
    """What the probes of each level say about the paper's sentences."""
    any_there = False
    for of in found.values():
        told: dict[str, list[str]] = {}
        for one in of.measures:
            label, _ = of.labels[one["training"]] if one["training"] else ("", 0)
            if one["name"] == said["verdicts"] and label not in told:
                told[label] = [
                    f"- {label}: {claim['text']} **{claim['outcome'].capitalize()}.**"
                    for claim in one["numbers"]["verdict"]
                ]
        if told:
            any_there = True
            lines = [line for lines in told.values() for line in lines]
            yield from (f"Budget {of.called}, first seed:", "", *lines, "")
    if not any_there:
        yield "Not measured yet."
        yield ""


def of_curves(said: dict[str, Any], found: dict[str, Results]) -> Iterator[str]:
    """Pictures of validations against time, which `draw` draws."""
    shown = [one for one in found.values() if one.curves(said["curves"])]
    if not shown:
        yield "Not measured yet."
        yield ""
    for one in shown:
        file = curves_file(one, said)
        yield from (f"Budget {one.called}:", "", f"![{said['title']}]({file})", "")


def curves_file(of: Results, said: dict[str, Any]) -> str:
    """The picture of the curves of an experiment under a budget; what several are of stands in
    front of a comma in their titles."""
    of_what, comma, _ = said["title"].partition(",")
    return f"{of.experiment.name}-{of.budget}-curves{f'-{of_what.lower()}' * bool(comma)}.png"


KINDS = {
    "claims": of_claims,
    "curves": of_curves,
    "verdicts": of_verdicts,
    "values": of_several_numbers,
    "value": of_one_number,
}


# ---------------------------------------------------------------- pages


def page(experiment: Experiment) -> str:
    """The page of one experiment."""
    lines = [f"# {experiment.title}", "", experiment.about.strip(), ""]
    read = {
        budget: results.read(EXPERIMENTS, experiment.name, budget) for budget in experiment.budgets
    }
    found = {
        budget: Results.as_planned(experiment, budget, content)
        for budget, content in read.items()
        if content is not results.EMPTY
    }
    for said in experiment.tables:
        lines += [f"## {said['title']}", ""]
        if "text" in said:
            lines += [said["text"].strip(), ""]
        kind = next(KINDS[key] for key in KINDS if key in said)
        lines += kind(said, found)
    notes = experiment.folder / "notes.md"
    if notes.is_file():
        lines += [notes.read_text().strip(), ""]
    lines += _pictures(found)
    lines += ["## How it was done", ""]
    if found:
        lines += [
            "Numbers are means over seeds, with standard errors of these and of the measurement; a "
            "claim is decided if the 95 % interval of the difference, seed by seed, leaves out 0. "
            "Of one seed, the error is that of the measurement alone; how much seeds differ is "
            "then taken from the budget that has several, and without one nothing is decided. "
            "A claim over images of one training each is about these trainings, not about others.",
            "",
        ]
    for budget in experiment.budgets:
        lines += _done(experiment, budget, read[budget])
    lines += [
        f"This page is made by `python docs/results.py` from `experiments/{experiment.name}`.",
        "",
    ]
    return "\n".join(lines)


def _pictures(found: dict[str, Results]) -> Iterator[str]:
    """The pictures of the longest training that has any."""
    for budget, one in reversed(found.items()):
        shown = [
            (of["training"], of.get("beside"), file, caption)
            for of in one.measures
            for file, caption in of["pictures"].items()
        ]
        if not shown:
            continue
        yield from ("## Pictures", "", f"Budget {one.called}.", "")
        for training, beside, file, caption in shown:
            label = f"{one.labels[training][0]}: " if training else ""
            if beside:
                label = label.replace(":", f" and {one.labels[beside][0]}:")
            path = f"../../experiments/{one.experiment.name}/{budget}/{file}"
            yield from (f"{label}{caption}.", "", f"![{label}{caption}]({path})", "")
        return


def _done(experiment: Experiment, budget: str, content: dict[str, Any]) -> Iterator[str]:
    """What was trained and measured under a budget, on what, and for how long."""
    plan = experiment.plan(budget)
    command = f"rgflow reproduce {experiment.name} --budget {budget}"
    if content is results.EMPTY:
        count = f"{len(plan.trainings)} training{'s' * (len(plan.trainings) != 1)}"
        yield f"- **{budget}**: not run here; {count}. `{command}`"
        yield ""
        return
    trainings, measures = content["trainings"], content["measures"]
    all_of = (*trainings, *measures)
    machines = (f"{m['processor']}, {m['cores']} cores" for m in (o["machine"] for o in all_of))
    versions = (
        f"rgflow {v['rgflow']}, torch {v['torch']}" for v in (o["versions"] for o in all_of)
    )
    commits = (commit_of(one["git"]) for one in all_of if one["git"])
    dates = sorted(one["started"][:10] for one in all_of)
    now = manifest.entry(experiment, budget)
    told = (
        *[_count("training", now.trainings, now.of_trainings, trainings)] * bool(plan.trainings),
        _count("measurement", now.measures, now.of_measures, measures),
        f"{_hours(content):.2g} machine-hours",
        *("; ".join(sorted(set(some))) for some in (machines, versions, commits)),
        " to ".join(dict.fromkeys((dates[0], dates[-1]))),
    )
    yield f"- **{budget}**: `{command}`. {'; '.join(told)}."
    yield ""
    labels = dict.fromkeys(one["label"] for one in trainings)
    rows = []
    for label in labels:
        of = [one for one in trainings if one["label"] == label]
        settings = of[0]["settings"]
        minutes = settings.get("minutes")
        length = f"{minutes:g} min" if minutes else f"{settings['steps']:,} steps"
        if settings.get("clock") == "processor":
            length += " of a core"
        if settings.get("pretrained"):
            length = f"the last {length}"
        rows.append(
            [
                label,
                f"{of[0]['parameters'] / 1e6:.2f} M",
                length,
                ", ".join(str(one["seed"]) for one in of),
                f"{fmean(one['steps'] for one in of):,.0f}",
                ""
                if any(one["processor_seconds"] is None for one in of)
                else f"{sum(one['processor_seconds'] for one in of) / 60:.0f} min",
                f"{sum(one['seconds'] for one in of) / 60:.0f} min",
            ]
        )
    if rows:
        head = ["training", "parameters", "budget", "seeds", "steps", "processor time", "time"]
        yield from table(head, rows)
    if former := list(dict.fromkeys(_former(experiment, budget, trainings))):
        yield f"Trained before what stands there now, with the same settings: {'; '.join(former)}."
        yield ""
    if others := _of_others(Results(experiment, budget, content)):
        head = ["flow of another library", "minutes of a core", "seed", "learning rate", "steps"]
        yield from table([*head, "versions", "commit", "processor", "on"], others)


def _former(
    experiment: Experiment, budget: str, trainings: Sequence[dict[str, Any]]
) -> Iterator[str]:
    """Trainings of other experiments that aren't those whose numbers are there now."""
    for one in trainings:
        if "model" in one or one["experiment"] == experiment.name:
            continue
        there = results.read(EXPERIMENTS, one["experiment"], budget)
        now = [other["started"] for other in there["trainings"] if other["name"] == one["name"]]
        if now != [one["started"]]:
            yield f"{one['label']} of [{one['experiment']}]({one['experiment']}.md)"


def _of_others(found: Results) -> list[list[str]]:
    """How flows of other libraries were trained whose numbers are in the tables."""
    told = {}
    for row in (row for said in found.experiment.tables for row in said.get("rows", [])):
        for one in (one for one in found.files(row) if "peer" in one.get("settings", {})):
            settings, versions = one["settings"], one["versions"]
            if one["revision"]:
                versions = {**versions, "its code at": one["revision"][:9]}
            told[json.dumps(settings)] = [
                f"{settings['peer']}, {settings['data']}",
                f"{settings['minutes']:g}",
                str(settings["seed"]),
                f"{settings['lr']:g}",
                f"{one['steps']:,}",
                ", ".join(f"{name} {version}" for name, version in versions.items()),
                commit_of(one["git"]).removeprefix("commit "),
                one["machine"]["processor"],
                one.get("started", "")[:10],
            ]
    return list(told.values())


def _with_changes() -> str:
    """How much of all that is on the pages was made by code that wasn't committed."""
    made: dict[str, dict[tuple[str, ...], bool]] = {}
    for path in sorted(EXPERIMENTS.glob("*/*.json")):
        content = json.loads(path.read_text())
        for kind in ("trainings", "measures"):
            for one in content.get(kind, []):
                # A training of several experiments stands in the results of each.
                name = one.get("model") or one["name"]
                which = (one["experiment"], one.get("training") or "", name, one["started"])
                made.setdefault(kind, {})[which] = bool(one["git"] and one["git"]["changes"])
    for path in EXPERIMENTS.glob("peers/results/*/*.json"):
        git = json.loads(path.read_text())["git"]
        made.setdefault("others", {})[(str(path),)] = bool(git and git["changes"])
    trainings, measures, others = (
        f"{sum(made[kind].values())} of {len(made[kind])}"
        for kind in ("trainings", "measures", "others")
    )
    return (
        "A miss: there were such changes when they began for "
        f"{trainings} trainings, {measures} measurements, and {others} flows of other libraries."
    )


def _hours(content: dict[str, Any]) -> float:
    """Hours of a machine that an experiment took by itself: processor time by number of cores.

    What another experiment has trained or measured counts there.
    """
    own = [
        one
        for one in (*content["trainings"], *content["measures"])
        if one["experiment"] == content["experiment"]
    ]
    return sum(one["processor_seconds"] / one["machine"]["cores"] for one in own) / 3600


def _count(what: str, done: int, planned: int, there: Sequence[Any]) -> str:
    """How many of those planned are done, and how many more there are, of a former plan."""
    former = len(there) - done
    return f"{done} of {planned} {what}s" + f" ({former} more of former settings)" * (former > 0)


def overview(pages: dict[str, Experiment]) -> str:
    """The page that leads to all others."""
    entries = manifest.make(EXPERIMENTS)
    lines = [f"{PREFACE.strip()} {_with_changes()}"]
    rows = []
    for name, experiment in pages.items():
        states = {one.budget: one for one in entries if one.experiment == name}
        cells = [DONE[states[b].state] if b in states else "" for b in BUDGETS]
        rows.append([f"[{experiment.title}]({name}.md)", *cells])
    lines += ["", *table(["", *BUDGETS], rows)]
    lines += [
        "A machine-hour, on the pages, is an hour of all cores of a machine, which had two: two "
        "hours on the clock for a training of one core that was alone.",
        "",
    ]
    lines += ["```{toctree}", ":hidden:", "", *pages, "```", ""]
    return "\n".join(lines)


Points = Sequence[tuple[float, float]]


def learning_curves(curves: Mapping[str, Sequence[Points]], unit: str) -> Image.Image:
    """Validations of several trainings against time, which is drawn by its logarithm.

    Args:
        curves: By name, of every seed the minutes and what was found then.
        unit: What the negative log-likelihoods are in.

    Returns:
        The picture. Names stand in the order of what was reached; what is higher than what was
        found after a tenth of the time is cut off.

    Raises:
        ValueError: If there is no curve.

    Example:
        >>> curves = {"A": [[(1, 3.0), (10, 1.2)]], "B": [[(1, 2.0), (10, 1.4)]]}
        >>> learning_curves(curves, "bits/dim").size
        (1440, 720)
    """
    ends = {name: fmean(one[-1][1] for one in seeds) for name, seeds in curves.items()}
    if not ends:
        raise ValueError("Expected at least one curve; got none.")
    figure = blank(9, 4.5)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot(xscale="log", xlabel="minutes", ylabel=unit)
    plain(axes)
    for number, name in enumerate(sorted(ends, key=lambda name: -ends[name])):
        colour = colormaps["tab10"](number % 10)
        for seed, one in enumerate(curves[name]):
            label = literal(f"{name}: {ends[name]:.3f}") if seed == 0 else None
            x, y = zip(*one, strict=True)
            style = "-" if number < 10 else "--"
            axes.plot(x, y, style, color=colour, linewidth=1.6, marker=".", label=label)
    drawn = [one for seeds in curves.values() for one in seeds]
    early = max(one[-1][0] for one in drawn) / 10
    high = max(next((y for x, y in one if x >= early), one[-1][1]) for one in drawn)
    low = min(value for one in drawn for _, value in one)
    axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(axis="y", color=SOFT, alpha=0.3, linewidth=0.6)
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    return rendered(figure)


def make() -> dict[str, str]:
    """All pages by the name of the file."""
    experiments = {name: read_experiment(EXPERIMENTS, name) for name in names(EXPERIMENTS)}
    made = {f"{name}.md": page(experiment) for name, experiment in experiments.items()}
    return {"index.md": overview(experiments), **made}


def draw() -> None:
    """The pictures of all curves."""
    for name in names(EXPERIMENTS):
        experiment = read_experiment(EXPERIMENTS, name)
        for said in experiment.tables:
            for budget in experiment.budgets if "curves" in said else ():
                content = results.read(EXPERIMENTS, name, budget)
                one = Results.as_planned(experiment, budget, content)
                if curves := one.curves(said["curves"]):
                    picture = learning_curves(curves, "bits/dim")
                    picture.save(PAGES / curves_file(one, said), optimize=True)


if __name__ == "__main__":
    manifest.write(EXPERIMENTS)
    draw()
    for file, text in make().items():
        (PAGES / file).write_text(text)
