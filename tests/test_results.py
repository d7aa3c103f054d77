"""Pages of results say what the JSON says, and nothing is typed by hand."""

import json
import math
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from reproducing.plan import read_experiment
from runs import program

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(
    not (ROOT / "docs").is_dir(), reason="installed without its sources"
)


@pytest.fixture(scope="module")
def pages():
    """The program that makes the pages."""
    return program("docs/results.py")


def content(**values):
    """Results with a number for every label and seed: {"a": [1.0, 2.0]}."""
    names = [(label, seed, x) for label, xs in values.items() for seed, x in enumerate(xs)]
    return {
        "experiment": "one",
        "trainings": [
            {"name": f"{label}-seed{seed}", "label": label, "seed": seed}
            for label, seed, _ in names
        ],
        "measures": [
            {
                "name": "bits",
                "training": f"{label}-seed{seed}",
                "numbers": {"nll": x, "standard_error": 0.01, "levels": [{"x": 5 * x}]},
            }
            for label, seed, x in names
        ],
    }


@pytest.fixture
def found(pages):
    """Results under two budgets."""
    return {
        "10m": pages.Results(None, "10m", content(a=[1.0, 1.2, 1.1], b=[2.0, 2.3, 2.1], c=[3.0])),
        "2h": pages.Results(None, "2h", content(a=[0.9], b=[0.95])),
    }


def test_the_committed_pages_are_what_the_results_make(pages):
    made = pages.make()
    there = {path.name: path.read_text() for path in (ROOT / "docs" / "results").glob("*.md")}
    assert set(there) == set(made)
    for name, text in made.items():
        assert there[name] == text, f"{name} is old: python docs/results.py"


def test_every_picture_on_a_page_is_there():
    for path in (ROOT / "docs" / "results").glob("*.md"):
        for file in re.findall(r"!\[.*\]\((.*)\)", path.read_text()):
            assert (path.parent / file).is_file(), (path.name, file)


def test_every_number_of_a_table_names_something_that_is_there(pages):
    """A path that leads nowhere would leave a cell empty for ever."""
    for name in pages.names(pages.EXPERIMENTS):
        experiment = read_experiment(pages.EXPERIMENTS, name)
        labels = {one.label for b in experiment.budgets for one in experiment.plan(b).trainings} | {
            None
        }
        for picture in experiment.pictures:
            for row in picture.get("curves", []):
                assert row.get("of") in labels, (name, row)
            titles = {said["title"] for said in experiment.tables}
            assert picture.get("chart") in titles | {None}, (name, picture)
        for said in experiment.tables:
            rows = [*said.get("rows", [])]
            for claim in said.get("claims", []):
                sides = (claim["smaller"], claim["larger"])
                rows += [
                    side if isinstance(side, dict) else {"of": side, "value": claim["value"]}
                    for side in sides
                ]
            paths = []
            for row in rows:
                of = row.get("of")
                assert labels.issuperset(of if isinstance(of, list) else [of]), (name, row)
                values = [value["value"] for value in said.get("values", [])]
                if "files" not in row:
                    values = values or [said.get("value", "")]
                    paths += [pages._path(value, row) for value in values]
            for path in filter(None, paths):
                if path.startswith(f"{pages.TRAINING}."):
                    assert path.split(".")[1] in ("steps", "parameters", "validation"), (name, path)
                assert path.split(".")[0] in {*experiment.measures, pages.TRAINING}, (name, path)


def test_means_over_seeds_and_their_errors(found):
    number = found["10m"].number("bits.nll", {"of": "a"})
    assert (round(number.mean, 6), number.count) == (1.1, 3)
    # Of the seeds, and of the images, which are the same for all.
    assert number.error == pytest.approx(math.hypot(0.1 / math.sqrt(3), 0.01))
    assert number.text(3) == "1.100 ± 0.059"
    assert found["10m"].number("bits.levels.0.x", {"of": "c"}).mean == 15.0
    assert found["2h"].number("bits.nll", {"of": "a"}).error == 0.01  # that of the measurement
    assert found["2h"].number("bits.nll", {"of": "c"}) is None
    assert found["2h"].number("bytes.nll", {"of": "a"}) is None


@pytest.mark.parametrize(
    ("lengths", "called"),
    [
        ([{"minutes": 60}, {"minutes": 60}], "60 min"),
        ([{"steps": 1700}, {"steps": 1700}], "1,700 steps"),
        ([{"minutes": 60}, {"minutes": 30}], "2h"),
    ],
)
def test_a_budget_is_called_by_the_length_of_its_trainings(pages, lengths, called):
    trainings = [
        {"name": str(n), "label": str(n), "seed": 0, "settings": length}
        for n, length in enumerate(lengths)
    ]
    results = pages.Results(None, "2h", {"trainings": trainings, "measures": []})
    assert results.called == called


def test_differences_are_taken_seed_by_seed(found):
    more = found["10m"].difference("bits.nll", {"of": "b"}, {"of": "a"})
    assert more.mean == pytest.approx((1.0 + 1.1 + 1.0) / 3)
    assert more.text(2, signed=True) == "+1.03 ± 0.03"
    assert found["10m"].difference("bits.nll", {"of": "b"}, {"of": "c"}).count == 1


def test_means_over_labels(pages, found):
    number = found["2h"].number("bits.nll", {"of": ["a", "b"]})
    assert (round(number.mean, 6), number.count) == (0.925, 2)
    assert number.error == pytest.approx(math.hypot(0.025, 0.01))
    assert found["2h"].number("bits.nll", {"of": ["a", "c"]}) is None  # c isn't there
    claim = {"text": "One.", "value": "bits.nll"}
    claim |= {"smaller": {"of": ["a", "b"]}, "larger": {"of": ["b", "a"]}}
    told = next(pages.of_claims({"claims": [claim], "over": "photograph"}, {"2h": found["2h"]}))
    assert told == "- One. **undecided** (+0.000 ± 0.050, 2 photographs)."


def paired(pages):
    """Numbers of one training, with what they are the mean of."""
    there = content(a=[1.0])
    there["measures"][0]["numbers"] = {
        "mine": {"values": [1.0, 5.0, 3.0], "mean": 3.0, "standard_error": 1.2},
        "theirs": {"values": [0.9, 4.88, 2.9], "mean": 2.9, "standard_error": 1.1},
        "aim": 3.1,
    }
    return {"10m": pages.Results(None, "10m", there)}


def test_differences_are_taken_place_by_place(pages):
    sides = {"smaller": "theirs", "larger": "mine"}
    claim = {"text": "One.", "digits": 2}
    by_place = {side: {"of": "a", "value": f"bits.{x}.values"} for side, x in sides.items()}
    told = next(pages.of_claims({"claims": [claim | by_place], "over": "image"}, paired(pages)))
    assert told == "- One. **agrees** (+0.11 ± 0.01, 3 images, one training each)."
    by_mean = {side: {"of": "a", "value": f"bits.{x}.mean"} for side, x in sides.items()}
    told = next(pages.of_claims({"claims": [claim | by_mean]}, paired(pages)))
    assert told == "- One. **undecided** (+0.10 ± 1.63, 1 seed)."


def test_a_difference_without_an_error_is_undecided(pages):
    there = content(a=[1.0], b=[2.0])
    for one in there["measures"]:
        del one["numbers"]["standard_error"]
    claim = {"text": "One.", "value": "bits.nll", "smaller": "a", "larger": "b"}
    told = next(pages.of_claims({"claims": [claim]}, {"2h": pages.Results(None, "2h", there)}))
    assert told == "- One. **undecided** (+1.000, 1 seed)."


def test_what_is_nearer_to_something(pages, found):
    """That far below it is as far as that far above."""
    for budget in found.values():
        for one in budget.measures:
            one["numbers"]["aim"] = 1.5
    claim = {"text": "One.", "value": "bits.nll", "near": "bits.aim"}
    claim |= {"smaller": "a", "larger": "b", "digits": 2}
    told = next(pages.of_claims({"claims": [claim]}, {"10m": found["10m"]}))
    assert told == "- One. **undecided** (+0.23 ± 0.15, 3 seeds)."


def test_what_claims_share_is_said_once(pages, found):
    del found["2h"]
    claims = [
        {"text": "One.", "value": "bits.nll", "smaller": "a", "larger": "b"},
        {"text": "Two.", "value": "bits.nll", "smaller": "b", "larger": "a"},
    ]
    said = {"claims": claims, "once": True}
    told = list(pages.of_claims(said, found))
    assert told[0] == "- One. **agrees** (+1.033 ± 0.033)."
    assert told[2:] == ["", "Differences are means over 3 seeds.", ""]
    claims.append({"text": "Three.", "value": "bits.nll", "smaller": "b", "larger": "c"})
    assert next(pages.of_claims(said, found)).endswith("(+1.033 ± 0.033, 3 seeds).")


def test_files_in_the_order_of_labels(pages, tmp_path):
    for name, nll in (("z", 2.0), ("a", 5.0)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"test": {"nll": nll, "error": 0.1}}))
    there = pages.Results(SimpleNamespace(folder=tmp_path), "2h", content(a=[1.0], b=[4.5]))
    row = {"files": {"2h": ["z.json", "a.json"]}, "value": "test.nll"}
    claim = {"text": "One.", "smaller": {"of": ["a", "b"], "value": "bits.nll"}, "larger": row}
    told = next(pages.of_claims({"claims": [claim], "over": "photograph"}, {"2h": there}))
    assert told == "- One. **undecided** (+0.750 ± 0.250, 2 photographs)."
    missing = {**row, "files": {"2h": ["z.json", "none.json"]}}
    assert there.number("", missing) is None


def test_that_processors_differ_is_said(pages):
    there = content(a=[1.0], b=[2.0])
    for one, name in zip(there["trainings"], ("one", "another"), strict=True):
        one["machine"] = {"processor": name}
    claim = {"text": "One.", "value": "bits.nll", "smaller": "a", "larger": "b"}
    told = next(pages.of_claims({"claims": [claim]}, {"2h": pages.Results(None, "2h", there)}))
    assert told.endswith("1 seed, trained on different processors).")


def test_misses_are_stated(pages, found):
    rows = [
        {"name": "A", "of": "a", "paper": "0.906", "reproduction": "1.856"},
        {"name": "B", "of": "b", "paper": "1.0"},
        {"name": "D", "of": "d", "paper": "1.0"},
    ]
    said = {"value": "bits.nll", "digits": 2, "better": "lower", "rows": rows}
    assert list(pages.of_one_number(said, found))[2:5] == [
        "| A | 0.906 | 1.856 | 1.10 ± 0.06 | 0.90 ± 0.01 | reached |",
        "| B | 1.0 |  | 2.13 ± 0.09 | 0.95 ± 0.01 | reached |",
        "| D | 1.0 |  |  |  |  |",
    ]
    del found["2h"]
    assert "| A | 0.906 | 1.856 | 1.10 ± 0.06 | missed by 0.19 |" in pages.of_one_number(
        said, found
    )


def test_claims_are_decided_by_what_lies_outside_their_interval(pages, found):
    claims = [
        {"text": "One.", "value": "bits.nll", "smaller": "a", "larger": "b"},
        {"text": "Two.", "value": "bits.nll", "smaller": "b", "larger": "a"},
        {"text": "Three.", "value": "bits.nll", "smaller": "b", "larger": "d"},
    ]
    told = list(pages.of_claims({"claims": claims}, found))
    assert told[0] == (
        "- One. 10m: **agrees** (+1.033 ± 0.033, 3 seeds); "
        "2h: **undecided** (+0.050 ± 0.014, 1 seed)."
    )
    found["2h"] = pages.Results(None, "2h", content(a=[0.9], b=[1.2]))  # more than seeds differ
    assert "2h: **agrees** (+0.300 ± 0.014, 1 seed)" in next(
        pages.of_claims({"claims": claims}, found)
    )
    alone = {"2h": found["2h"]}
    assert "One. **undecided** (+0.300" in next(pages.of_claims({"claims": claims}, alone))
    assert "10m: **contradicts**" in told[1]
    assert told[2] == "- Three. Not measured."
    close = {"10m": pages.Results(None, "10m", content(a=[1.0, 1.2, 1.1], b=[1.1, 1.1, 1.2]))}
    assert "**undecided**" in next(pages.of_claims({"claims": claims[:1]}, close))


def test_places_of_several_seeds_are_no_trainings_of_their_own(pages):
    there = content(a=[0.0, 0.0, 0.0], b=[0.0, 0.0, 0.0])
    for one in there["measures"]:
        seed = int(one["training"][-1])
        shift = seed if one["training"].startswith("b") else 0
        one["numbers"]["values"] = [shift + place / 10 for place in range(30)]
    less = pages.Results(None, "10m", there).difference("bits.values", {"of": "b"}, {"of": "a"})
    assert (less.mean, less.count, less.trainings) == (pytest.approx(1), 3, 3)
    assert less.error == pytest.approx(3**-0.5)


def test_models_of_different_seeds_are_compared(pages):
    there = content(a=[1.0], b=[1.5])
    there["trainings"][1]["seed"] = 3
    less = pages.Results(None, "2h", there).difference("bits.nll", {"of": "b"}, {"of": "a"})
    assert (less.mean, less.count) == (pytest.approx(0.5), 1)


def test_what_is_measured_without_a_training_has_its_own(pages):
    there = content()
    numbers = {"differences": [0.1, 0.2, 0.3]}
    there["measures"] = [{"name": "pairs", "training": None, "numbers": numbers}]
    mean = pages.Results(None, "10m", there).number("pairs.differences", {})
    assert (mean.count, mean.trainings) == (3, 3)


def test_one_pattern_means_one_peer(pages, tmp_path):
    results = pages.Results(SimpleNamespace(folder=tmp_path), "10m", content())
    row = {"files": {"10m": "a-*.json"}}
    for seed, lr in ((0, 0.1), (1, 0.1), (1, 0.3)):
        settings = {"lr": lr, "seed": seed}
        path = tmp_path / f"a-{lr}-{seed}.json"
        path.write_text(json.dumps({"settings": settings, "nll": lr}))
        if lr == 0.1:
            assert results.number("nll", row).count == seed + 1
    with pytest.raises(ValueError, match="differ in their seeds alone; got a-"):
        results.number("nll", row)


def test_what_was_done_with_former_settings_is_not_shown(pages):
    experiment = read_experiment(pages.EXPERIMENTS, "B1")
    there = pages.results.read(pages.EXPERIMENTS, "B1", "10m")
    row = {"of": "msds1-laplace"}
    assert pages.Results.as_planned(experiment, "10m", there).number("bits.nll", row).count == 3
    for one in there["trainings"]:
        if one["label"] == "msds1-laplace":
            one["settings"]["lr"] = 0.5
    assert pages.Results.as_planned(experiment, "10m", there).number("bits.nll", row) is None


def test_several_numbers_beside_a_baseline(pages, found):
    values = [{"name": "bits", "value": "bits.nll", "digits": 2}]
    rows = [{"name": "A", "of": "a"}, {"name": "B", "of": "b"}, {"name": "C", "of": "c"}]
    told = list(pages.of_several_numbers({"values": values, "rows": rows, "baseline": "a"}, found))
    assert "| A | 1.10 ± 0.06 |" in told
    assert "| B | 2.13 ± 0.09 (+1.03 ± 0.03) |" in told
    assert "2h:" in told
    assert told[-2] == "In brackets: difference from “A”, paired by seed."
    said = {"values": values, "rows": rows, "baseline": "a"}
    alone = list(pages.of_several_numbers(said, {"2h": found["2h"]}))
    assert alone[-2].endswith("difference from “A”, one seed; errors are of the measurement.")


def test_rows_with_a_baseline_of_their_own_and_several_of_one_label(pages, found):
    values = [{"name": "bits", "value": "bits.nll", "digits": 2}]
    rows = [
        {"name": "A", "of": "a"},
        {"name": "B", "of": "b", "baseline": "b"},
        {"name": "C", "of": "c", "baseline": "b"},
        {"name": "A again", "of": "a"},
    ]
    said = {"values": values, "rows": rows, "baseline": "a"}
    told = list(pages.of_several_numbers(said, {"10m": found["10m"]}))
    assert "| A | 1.10 ± 0.06 |" in told  # the first of its label
    assert "| B | 2.13 ± 0.09 |" in told
    assert any(line.startswith("| C |") and "(" in line for line in told)
    assert any(line.startswith("| A again | 1.10 ± 0.06 (+0.00") for line in told)
    assert told[-2] == "In brackets: difference from “B” or “A”, paired by seed."


def test_numbers_of_trainings_that_arent_compared(pages, found):
    for one in found["10m"].trainings:
        one["steps"] = 1000 if one["label"] == "a" else 1500
    steps = {"name": "steps", "value": "training.steps", "digits": 0, "compared": False}
    rows = [{"name": "A", "of": "a"}, {"name": "B", "of": "b"}]
    said = {"values": [steps], "rows": rows, "baseline": "a"}
    assert "| B | 1500 |" in pages.of_several_numbers(said, {"10m": found["10m"]})


def test_numbers_of_other_commands(pages, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "10min.json").write_text('{"test": {"nll": 2.5, "error": 0.1}}')
    experiment = type("Somewhere", (), {"folder": tmp_path})()
    results = pages.Results(experiment, "10m", content())
    row = {"files": {"10m": "results/10min*.json"}, "value": "test.nll"}
    assert results.number("", row).text(1) == "2.5 ± 0.1"
    assert results.number("", {**row, "files": {"2h": "results/*.json"}}) is None


def test_curves_against_time(pages, tmp_path):
    file = '{"curve": [{"minutes": 1, "nll": 3.5, "error": 0.1}]}'
    (tmp_path / "glow.json").write_text(file)
    experiment = type("Somewhere", (), {"folder": tmp_path, "name": "one"})()
    results = content(a=[1.0, 2.0], b=[2.0])
    for one, nll in zip(results["trainings"], (1.5, 1.7, None), strict=True):
        one["curve"] = nll and [{"minutes": 2.5, "step": 9, "nll": nll, "error": 0.1}]
    found = {"10m": pages.Results(experiment, "10m", results)}
    rows = [
        {"name": "A", "of": "a"},
        {"name": "B, of before there were curves", "of": "b"},
        {"name": "Glow", "files": {"10m": "glow.json"}},
    ]
    assert found["10m"].curves(rows) == {
        "A": [[(2.5, 1.5)], [(2.5, 1.7)]],
        "Glow": [[(1, 3.5)]],
    }


def test_numbers_in_texts(pages, found):
    numbers = {
        "a": {"budget": "10m", "of": "a", "value": "bits.nll"},
        "more": {"budget": "10m", "of": "b", "minus": {"of": "a"}, "value": "bits.nll"},
        "percent": {"budget": "2h", "of": "a", "value": "bits.nll", "times": 100, "digits": 0},
        "none": {"budget": "2h", "of": "c", "value": "bits.nll"},
    }
    experiment = SimpleNamespace(name="one", numbers=numbers)
    text = "{a} and {more} more, {percent} %; {} and {10m} stay."
    assert pages.filled(text, experiment, found) == "1.10 and 1.03 more, 90 %; {} and {10m} stay."
    with pytest.raises(ValueError, match="none of one to be measured"):
        pages.filled("{none}", experiment, found)
    with pytest.raises(ValueError, match="typo among the numbers of one"):
        pages.filled("{typo}", experiment, found)


def test_probes_beside_the_statement_of_the_paper(pages):
    there = content(a=[1.0])
    scores = [("colour", 0, "own", 0.5), ("colour", 0, "own", 0.4), ("colour", 1, "own", -0.1)]
    scores += [("colour", 1, "shuffled", 0.9), ("place", 0, "own", 0.2), ("place", 1, "own", 0.3)]
    keys = ("group", "level", "inputs", "r2")
    verdict = [("colour: is low.", "agrees"), ("place: is high.", "contradicts")]
    numbers = {
        "scores": [dict(zip(keys, one, strict=True)) for one in scores],
        "verdict": [{"text": text, "outcome": outcome} for text, outcome in verdict],
    }
    there["measures"] = [{"name": "probes", "training": "a-seed0", "numbers": numbers}]
    said = {"verdicts": "probes", "rows": [{"name": "A", "of": "a"}], "factors": {"place": "site"}}
    told = list(pages.of_verdicts(said, {"2h": pages.Results(None, "2h", there)}))
    assert told[2:4] == [
        "| A: colour | 0.50 | 0.00 | agrees |",
        "| site | 0.20 | 0.30 | contradicts |",
    ]


def test_a_chart_shows_what_was_measured(pages, found, axes, monkeypatch):
    rows = [
        {"name": "`A`", "of": "a", "paper": "0.906"},
        {"name": "none", "of": "none", "paper": "2.0"},
        {"name": "B", "of": "b"},
    ]
    said = {"title": "Bits", "value": "bits.nll", "rows": rows}
    experiment = SimpleNamespace(tables=[said], budgets=("10m", "2h"))
    monkeypatch.setattr(pages, "read_results", lambda _: found)
    drawn = pages.dots(experiment, {"chart": "Bits", "budgets": ["2h"], "sorted": True})
    assert drawn == {
        "A": {"paper": (0.906, 0.0), "2h": (0.9, 0.01)},
        "B": {"2h": (0.95, 0.01)},
    }
    pages.chart(drawn, "bits/dim")
    (chart,) = axes
    assert [label.get_text() for label in chart.get_yticklabels()] == ["A", "B"]
    dots = {one.get_label(): one.lines[0].get_xdata().tolist() for one in chart.containers}
    assert dots == {"paper": [0.906], "2h": [0.9, 0.95]}
    with pytest.raises(ValueError, match="at least one number"):
        pages.chart({}, "bits/dim")


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "results").glob("*.md")), ids=str)
def test_a_page_is_short_and_opens_with_its_answer(path):
    text = path.read_text()
    assert len(text.split()) <= 1200
    if path.name != "index.md":
        title, _, answer, _, picture = text.splitlines()[:5]
        assert title.startswith("# ")
        assert answer.startswith("**")
        assert picture.startswith("![") or path.name == "G1.md"  # of which nothing was run
        assert text.count("<details>") == text.count("</details>") == 1
        assert text.endswith("</details>\n")


def test_every_number_that_a_config_names_is_in_a_text(pages):
    for name in pages.names(pages.EXPERIMENTS):
        experiment = read_experiment(pages.EXPERIMENTS, name)
        folder = experiment.folder
        texts = [folder / file for file in ("config.yaml", "notes.md", "method.md")]
        text = "".join(path.read_text() for path in texts if path.is_file())
        unused = [number for number in experiment.numbers if f"{{{number}}}" not in text]
        assert not unused, (name, unused)
