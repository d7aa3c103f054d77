"""Write the results pages in `results` and the manifest: `python docs/results.py`.

A page is made from the `config.yaml`, `notes.md` and `method.md` of one or more experiments and
from the JSON that `rgflow reproduce` writes: the answer, its picture, the tables and the notes,
then one folded section on the method. An experiment whose config names a `page` has a section on
the page of that experiment.

A config's `tables` are of several kinds, which differ by their keys:

value, rows                one number: published ones, and ours for every budget
values, rows, baseline     several numbers, a table for every budget; differences from the baseline,
                           or from that of a row, except of numbers with `compared: false`
claims                     statements of the paper, each with two numbers that should differ;
                           with `near`, what differs is their distance from that number
verdicts                   what probes of each level find, and whether the paper's statement holds

`budgets` limits a table to some of the budgets, `unit` is the unit of its numbers, `over` what
differences are averaged over if not seeds, `how` replaces the sentence about that. With `once`,
claims that are averaged over the same have that below them. A column with
`error: false` leaves its errors out, and one with `largest: true` has the largest
absolute value in place of the mean; `factors` gives those of the probes other names.

`pictures` are files of the experiment, charts of a table, or learning curves; the first one opens
the page. A chart with `against` has sizes on its axis, by which the table's rows are named.
`numbers` names the numbers that the texts contain as {name}.

A number is found by a path: the name of a measure and keys within its numbers, or
training.steps and whatever else is recorded of a training. It is the mean over the seeds; its error
is that of the mean and of the measurement. Where a path leads to a list, it is the mean over the
list, and differences are taken element by element. A row `of` several labels is the mean over them.
"""

import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from reproducing.plan import Experiment, names, read_experiment
from rgflow.figures.charts import INK, SOFT, blank, literal, plain, rendered

ROOT = Path(__file__).parents[1]
EXPERIMENTS = ROOT / "experiments"
PAGES = Path(__file__).parent / "results"
PUBLISHED = {"paper": "paper", "reproduction": "independent reproduction", "aim": "our aim"}
"""Columns of numbers that are given, by the key of a row, which has them as they are printed."""
PREFACE = """
# Results

Every table and figure of the RG-Flow paper
([Hu et al. 2022](https://doi.org/10.1088/2632-2153/ac8393)), reproduced as far as a CPU allows, and
our own questions. Our flows were trained on one CPU core for minutes to hours, the paper's on a
GPU for days."""
READING = """
## How to read the numbers

- Bits per dimension (bits/dim) are those of 8-bit images; lower is better. PSNR is in decibels.
- Numbers are means over seeds ± the standard error; with one seed, that of the measurement alone.
- A claim is **decided** if the 95 % confidence interval of the paired difference excludes 0. With
  one seed, the spread over seeds is that of a budget that has several; without one, the claim
  stays undecided. Claims over images hold for those trainings only.
- Training time is processor time on one core. Compare numbers within a page.

`rgflow reproduce NAME --budget 10m` repeats an experiment ([budgets](../guide/reproducing.md));
`full`, the paper's setting, was never run. Settings, machines and commits are in
`experiments/NAME/BUDGET.json`."""
TRAINING = "training"
"""Stands for a measure where a number is of the training itself, such as its steps."""
PLACEHOLDER = re.compile(r"\{([a-z]\w*)\}")
"""A number in a text, by its name in the config."""
FAMILY = re.compile(r"cpu family \d+, model \d+, ")
"""What the JSON says of a processor and pages don't."""
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

    def text(self, digits: int, signed: bool = False, bare: bool = False) -> str:
        """With so many digits after the point; without the error if there is none, if it is 0, as
        of a planned number of steps, or if only the bare number is asked for."""
        sign = "+" if signed else ""
        said = f"{self.mean:{sign}.{digits}f}"
        if self.error and not math.isnan(self.error) and not bare:
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
        """How long its trainings are, if they are all equally long; otherwise the budget."""
        own = [one.get("settings", {}) for one in self.trainings if "model" not in one]
        for key, unit in (("minutes", "min"), ("steps", "steps")):
            lengths = {one.get(key) for one in own}
            if len(lengths) == 1 and (length := lengths.pop()) is not None:
                return f"{length:,g} {unit}"
        return self.budget

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
        if row.get("largest") and values:
            return Number(max(abs(one) for one, _ in values.values()), math.nan, 1)
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
        return
    better = said.get("better") if found else None
    given = [PUBLISHED[key] for key in columns]
    head = ["", *given, *(f"here, {one.called}" for one in found.values())]
    if len(found) == 1:
        head[-1] = "here" if columns else said.get("unit", "here")
    rows = []
    for row in said["rows"]:
        ours = [one.number(said["value"], row) for one in found.values()]
        cells = [row.get(key, "") for key in columns]
        cells += [number.text(digits) if number else "" for number in ours]
        if better:
            cells.append(_outcome(row.get("paper"), ours, better, digits))
        if any(cells):
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
    head, most = ["", *given, *(value["name"] for value in said["values"])], 1
    for one in found.values():
        rows = []
        for row in said["rows"]:
            cells = []
            base = by_label.get(row.get("baseline", said.get("baseline")))
            for value in said["values"]:
                largest, digits = value.get("largest", False), value.get("digits", 3)
                number = one.number(value["value"], {**row, "largest": largest})
                bare = not value.get("error", True)
                cells.append(number.text(digits, bare=bare) if number else "")
                if number and base and row is not base and value.get("compared", True):
                    less = one.difference(value["value"], row, base)
                    bases[base["name"]] = None
                    cells[-1] += f" ({less.text(digits, signed=True, bare=bare)})" if less else ""
                    most = max(most, less.count if less else 1)
            if any(cells):
                rows.append([row["name"], *(row.get(key, "") for key in columns), *cells])
        if rows:
            if len(found) > 1:
                yield from (f"{one.called}:", "")
            yield from table(head, rows)
    if bases:
        over = said.get("over", "seed")
        how = f"paired by {over}" if most > 1 else f"one {over}; errors are of the measurement"
        how = said.get("how", how)
        names = " or ".join(f"“{name}”" for name in bases)
        yield f"In brackets: difference from {names}, {how}."
        yield ""


def of_claims(said: dict[str, Any], found: dict[str, Results]) -> Iterator[str]:
    """Sentences, and whether our numbers agree."""
    told_of: list[tuple[str, list[tuple[str, str, str]]]] = []
    for claim in said["claims"]:
        outcomes: list[tuple[str, str, str]] = []
        differences = {}
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
            over = f"{more.count} {said.get('over', 'seed')}{'s' * (more.count > 1)}"
            if more.count > 1 and more.trainings == 1:
                over += ", one training each"
            several = len(one.processors(larger, smaller)) > 1
            rest = ", trained on different processors" * several
            when = f"{one.called}: " if len(differences) > 1 else ""
            told = f"{when}**{verdict}** ({more.text(digits, signed=True)}"
            outcomes.append((told, over, rest))
        told_of.append((claim["text"], outcomes))
    alike = {over for _, outcomes in told_of for _, over, _ in outcomes}
    once = said.get("once", False) and len(alike) == 1
    for text, outcomes in told_of:
        each = (f"{told}{'' if once else f', {over}'}{rest})" for told, over, rest in outcomes)
        yield f"- {text} {'; '.join(each) or 'Not measured'}."
    yield from ("", f"Differences are means over {alike.pop()}.", "") if once else ("",)


def of_verdicts(said: dict[str, Any], found: dict[str, Results]) -> Iterator[str]:
    """How well latents of each level predict each factor, and what that says of the paper's
    statement."""
    for of in found.values():
        rows: list[list[str]] = []
        levels = 0
        for row in said["rows"]:
            measured = (m for m in of.measures if m["name"] == said["verdicts"])
            numbers = [m["numbers"] for m in measured if of.labels[m["training"]][0] == row["of"]]
            for one in numbers[:1]:
                best: dict[str, dict[int, float]] = {}
                for score in one["scores"]:
                    if score["inputs"] == "own":
                        by_level = best.setdefault(score["group"], {})
                        r2 = max(score["r2"], by_level.get(score["level"], 0.0))
                        by_level[score["level"]] = r2
                outcomes: dict[str, str] = {}
                for claim in one["verdict"]:
                    outcomes.setdefault(claim["text"].split(":")[0], claim["outcome"])
                for at, (factor, by_level) in enumerate(best.items()):
                    levels = max(levels, *(level + 1 for level in by_level))
                    cells = [f"{by_level[level]:.2f}" for level in sorted(by_level)]
                    name = said.get("factors", {}).get(factor, factor)
                    name = name if at else f"{row['name']}: {name}"
                    rows.append([name, *cells, outcomes[factor]])
        for cells in rows:
            cells[-1:] = [""] * (levels + 2 - len(cells)) + cells[-1:]
        if rows:
            head = ["", *(f"level {level}" for level in range(levels)), "the paper's statement"]
            yield from table(head, rows)


KINDS = {
    "claims": of_claims,
    "verdicts": of_verdicts,
    "values": of_several_numbers,
    "value": of_one_number,
}


# ---------------------------------------------------------------- pages


def read_results(experiment: Experiment) -> dict[str, Results]:
    """What an experiment has come to, by budget, of those that were run."""
    read = {
        budget: results.read(EXPERIMENTS, experiment.name, budget) for budget in experiment.budgets
    }
    return {
        budget: Results.as_planned(experiment, budget, content)
        for budget, content in read.items()
        if content is not results.EMPTY
    }


def filled(text: str, experiment: Experiment, found: Mapping[str, Results]) -> str:
    """A text with its numbers, each the mean of a row, or by how much it is above another row.

    Raises:
        ValueError: If the config doesn't name a number, or it was not measured.
    """

    def number(match: re.Match[str]) -> str:
        name = match[1]
        row = experiment.numbers.get(name)
        if row is None:
            raise ValueError(f"Expected {name} among the numbers of {experiment.name}.")
        of, there = found.get(row["budget"]), None
        if of and "minus" in row:
            there = of.difference(row["value"], row, {**row, **row["minus"]})
        elif of:
            there = of.number(row["value"], row)
        if there is None:
            raise ValueError(f"Expected {name} of {experiment.name} to be measured.")
        mean = there.mean * row.get("times", 1)
        return f"{mean:,.{row.get('digits', 2)}f}".replace("-", "−")

    return PLACEHOLDER.sub(number, text.strip())


def page(experiment: Experiment, *others: Experiment) -> str:
    """The page of an experiment, with a section for each of the others.

    Raises:
        ValueError: If a text has a number that isn't there.
    """
    lines = [f"# {experiment.title}", "", *_section(experiment, "##")]
    for other in others:
        lines += [f"## {other.title}", "", *_section(other, "###")]
    lines += ["<details>", "<summary>How it was done</summary>", ""]
    for one in (experiment, *others):
        method = one.folder / "method.md"
        if method.is_file():
            lines += [filled(method.read_text(), one, read_results(one)), ""]
    lines += [_done(one) for one in (experiment, *others)]
    lines += [*_made_with(experiment, *others), "", "</details>", ""]
    return "\n".join(lines)


def _section(experiment: Experiment, heading: str) -> Iterator[str]:
    """Answer, picture, tables, notes and further pictures of an experiment."""
    found = read_results(experiment)

    def fill(text: str) -> str:
        return filled(text, experiment, found)

    def shown(picture: dict[str, Any]) -> Iterator[str]:
        caption = fill(picture["caption"])
        alt = re.split("[,:;] ", caption)[0]
        yield from (f"![{alt}]({picture_file(experiment, picture)})", "", f"*{caption}.*", "")

    if experiment.answer:
        yield from (f"**{fill(experiment.answer)}**", "")
    for picture in experiment.pictures[:1]:
        yield from shown(picture)
    yield from (fill(experiment.about), "")
    for said in experiment.tables:
        kind = next(KINDS[key] for key in KINDS if key in said)
        budgets = said.get("budgets", experiment.budgets)
        if lines := list(kind(said, {b: one for b, one in found.items() if b in budgets})):
            yield from (f"{heading} {said['title']}", "")
            if "text" in said:
                yield from (fill(said["text"]), "")
            yield from lines
    notes = experiment.folder / "notes.md"
    if notes.is_file():
        yield from (fill(notes.read_text()), "")
    for picture in experiment.pictures[1:]:
        yield from shown(picture)


def _done(experiment: Experiment) -> str:
    """How much was trained and measured for every budget, and when."""
    told = []
    for budget in experiment.budgets:
        content = results.read(EXPERIMENTS, experiment.name, budget)
        if content is results.EMPTY:
            told.append(f"`{budget}` not run")
            continue
        trainings, measures = content["trainings"], content["measures"]
        now = manifest.entry(experiment, budget)
        counts = [_count("measurement", now.measures, now.of_measures, measures)]
        if now.of_trainings:
            counts.insert(0, _count("training", now.trainings, now.of_trainings, trainings))
        counts.append(_dates(one["started"] for one in (*trainings, *measures)))
        told.append(f"`{budget}` {', '.join(counts)}")
    return f"- `rgflow reproduce {experiment.name}`: {'; '.join(told)}."


def _made_with(*experiments: Experiment) -> list[str]:
    """Machines and versions, and those of the flows of other libraries in the tables."""
    contents = [
        results.read(EXPERIMENTS, one.name, budget) for one in experiments for budget in one.budgets
    ]
    made = [one for content in contents for one in (*content["trainings"], *content["measures"])]
    lines = []
    if made:
        machines = (
            f"{FAMILY.sub('', m['processor'])}, {m['cores']} cores"
            for m in (one["machine"] for one in made)
        )
        versions = (f"torch {one['versions']['torch']}" for one in made)
        lines.append(
            f"- Machines and versions: {'; '.join(sorted({*machines}) + sorted({*versions}))}."
        )
    peers = [
        peer
        for one in experiments
        for found in read_results(one).values()
        for said in one.tables
        for row in said.get("rows", [])
        for peer in found.files(row)
        if "peer" in peer.get("settings", {})
    ]
    if peers:
        used = {
            f"{name} {version}"
            for one in peers
            for name, version in one["versions"].items()
            if name not in ("rgflow", "torch")
        }
        used |= {
            f"{one['settings']['peer']} at commit {one['revision'][:9]}"
            for one in peers
            if one["revision"]
        }
        processors = {FAMILY.sub("", one["machine"]["processor"]) for one in peers}
        told = sorted(used) + sorted(processors)
        when = _dates(one["started"] for one in peers if "started" in one)
        lines.append(f"- Flows of other libraries: {'; '.join(told)}; {when}.")
    return lines


def _dates(started: Iterable[str]) -> str:
    days = sorted(one[:10] for one in started)
    return " to ".join(dict.fromkeys((days[0], days[-1])))


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
        f"Uncommitted changes, which weren't recorded, were present when {trainings} trainings, "
        f"{measures} measurements and {others} flows of other libraries began."
    )


def _count(what: str, done: int, planned: int, there: Sequence[Any]) -> str:
    """How many are done, of how many if some are missing, and how many more there are, of a former
    plan."""
    former = len(there) - done
    number = f"{done:,}" if done == planned else f"{done} of {planned}"
    plural = "s" * (planned != 1)
    return f"{number} {what}{plural}" + f" ({former} more of former settings)" * (former > 0)


def overview(pages: Mapping[str, Sequence[Experiment]]) -> str:
    """The page that leads to all others: a question, its answer and a link for each."""
    rows = []
    for name, (experiment, *_) in pages.items():
        answer = filled(experiment.answer, experiment, read_results(experiment))
        rows.append([experiment.question, answer, f"[{experiment.title.split(':')[0]}]({name}.md)"])
    lines = [PREFACE.strip(), ""]
    head, bar, *body, _ = table(["question", "answer", "page"], rows)
    lines += [head, bar.replace("---:", "---"), *body, ""]
    lines += [f"{READING.strip()} {_with_changes()}", ""]
    lines += ["```{toctree}", ":hidden:", "", *pages, "```", ""]
    return "\n".join(lines)


# ---------------------------------------------------------------- pictures


def picture_file(experiment: Experiment, picture: dict[str, Any]) -> str:
    """The path of a picture from the page: of the experiment, or drawn by `draw`."""
    if "file" in picture:
        return f"../../experiments/{experiment.name}/{picture['file']}"
    return f"{experiment.name}-{'chart' if 'chart' in picture else 'curves'}.png"


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


Dots = Mapping[str, Mapping[str, tuple[float, float]]]


def chart(rows: Dots, unit: str) -> Image.Image:
    """Numbers as dots with error bars, a line for every row and a colour for every series.

    Args:
        rows: By name of the row and of the series, the number and its error. Series of published
            numbers are drawn hollow.
        unit: What the numbers are.

    Raises:
        ValueError: If there is no number.

    Example:
        >>> chart({"A": {"paper": (0.9, 0.0), "10 min": (1.2, 0.1)}}, "bits/dim").width
        1440
    """
    series = list(dict.fromkeys(name for row in rows.values() for name in row))
    if not series:
        raise ValueError("Expected at least one number; got none.")
    figure = blank(9, 1.1 + 0.3 * len(rows))
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot(xlabel=unit)
    plain(axes)
    hollow, solid = iter("sD^"), iter("oPXv")
    colours = (colormaps["tab10"](k) for k in range(10))
    for name in series:
        places = [k for k, row in enumerate(rows.values()) if name in row]
        values, errors = zip(*(row[name] for row in rows.values() if name in row), strict=True)
        published = name in PUBLISHED.values()
        colour = INK if published else next(colours)
        axes.errorbar(
            values,
            places,
            xerr=errors,
            fmt=next(hollow if published else solid),
            color=colour,
            markerfacecolor="white" if published else colour,
            label=literal(name) if len(series) > 1 else None,
        )
    axes.set_yticks(range(len(rows)), [literal(name) for name in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="both", color=SOFT, alpha=0.3, linewidth=0.6)
    if len(series) > 1:
        figure.legend(loc="outside upper right", frameon=False, fontsize=9, ncols=len(series))
    return rendered(figure)


def against(rows: Dots, x: str, unit: str) -> Image.Image:
    """Numbers against a size, a line for everything that was measured at several sizes.

    Args:
        rows: As of `chart`, each named by a size and then by its line: "8×8, HMC".
        x: What the sizes are.
        unit: What the numbers are.

    Example:
        >>> rows = {"8×8, HMC": {"here": (0.9, 0.0)}, "16×16, HMC": {"here": (0.7, 0.1)}}
        >>> against(rows, "edge", "ESS").size
        (1120, 640)
    """
    lines: dict[str, list[tuple[float, float, float]]] = {}
    for name, row in rows.items():
        size, _, line = name.partition(", ")
        for value, error in row.values():
            lines.setdefault(line, []).append((float(size.partition("×")[0]), value, error))
    figure = blank(7, 4)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot(xlabel=literal(x), ylabel=literal(unit))
    plain(axes)
    for line, points in lines.items():
        sizes, values, errors = zip(*sorted(points), strict=True)
        axes.errorbar(sizes, values, yerr=errors, fmt="o-", label=literal(line))
    axes.set_xticks(sorted({size for points in lines.values() for size, *_ in points}))
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color=SOFT, alpha=0.3, linewidth=0.6)
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    return rendered(figure)


def dots(experiment: Experiment, picture: dict[str, Any]) -> Dots:
    """The numbers of the table that a picture is a chart of: its `columns`, or all of them, sorted
    if asked to."""
    said = next(said for said in experiment.tables if said["title"] == picture["chart"])
    found = read_results(experiment)
    budgets = picture.get("budgets", said.get("budgets", experiment.budgets))
    values = said.get("values", [{"name": None, "value": said.get("value")}])
    rows: dict[str, dict[str, tuple[float, float]]] = {}
    for row in said["rows"]:
        drawn = {text: (float(row[key]), 0.0) for key, text in PUBLISHED.items() if key in row}
        given = len(drawn)
        for value in values:
            if value["name"] not in picture.get("columns", [value["name"]]):
                continue
            for budget, one in found.items():
                number = one.number(value["value"], row) if budget in budgets else None
                if number:
                    error = 0.0 if math.isnan(number.error) else number.error
                    series = value["name"] or (one.called if len(found) > 1 else "here")
                    drawn[series.replace("`", "")] = (number.mean, error)
        if len(drawn) > given:
            rows[row["name"].replace("`", "")] = drawn
    if picture.get("sorted"):
        rows = dict(sorted(rows.items(), key=lambda item: next(iter(item[1].values()))))
    return rows


def make() -> dict[str, str]:
    """All pages by the name of the file."""
    experiments = {name: read_experiment(EXPERIMENTS, name) for name in names(EXPERIMENTS)}
    pages = {name: [one] for name, one in experiments.items() if not one.page}
    for one in experiments.values():
        if one.page:
            pages[one.page].append(one)
    made = {f"{name}.md": page(*some) for name, some in pages.items()}
    return {"index.md": overview(pages), **made}


def draw() -> None:
    """All charts and learning curves."""
    for name in names(EXPERIMENTS):
        experiment = read_experiment(EXPERIMENTS, name)
        for picture in experiment.pictures:
            if "file" in picture:
                continue
            if "chart" in picture:
                rows, unit = dots(experiment, picture), picture["unit"]
                of = picture.get("against")
                image = against(rows, of, unit) if of else chart(rows, unit)
            else:
                found = read_results(experiment)[picture["budget"]]
                image = learning_curves(found.curves(picture["curves"]), "bits/dim")
            image.save(PAGES / picture_file(experiment, picture), optimize=True)


if __name__ == "__main__":
    manifest.write(EXPERIMENTS)
    draw()
    for file, text in make().items():
        (PAGES / file).write_text(text)
