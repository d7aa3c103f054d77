"""Experiments: configs are read or refused, and nothing is trained or measured twice."""

import json
import math
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from reproducing import execute, manifest, results
from reproducing.execute import done, sessions, train_all
from reproducing.measures import check_options
from reproducing.measuring import measure_all, measured
from reproducing.plan import names, read_experiment
from rgflow import data, pretrained
from rgflow.architectures import load_flow, make_flow
from rgflow.cards import Card
from rgflow.checkpoint import sha256_of
from rgflow.cli import main, reproduce
from rgflow.config import GaussianPrior, TrainConfig
from rgflow.evaluation import evaluate
from rgflow.metrics.frechet import Features
from rgflow.training import TrainingResult, shipping
from rgflow.training.run import Run
from runs import program, small_run

ROOT = Path(__file__).parents[1]
COMMITTED = ROOT / "experiments"
TINY = {"train_count": 20, "validate_count": 5, "batch_size": 5, "compile": False}
needs_sources = pytest.mark.skipif(not COMMITTED.is_dir(), reason="installed without its sources")


def write(folder, **content):
    """An experiment's config."""
    folder.mkdir(parents=True, exist_ok=True)
    usual = {"title": "t", "about": "a", "budgets": {"10m": {}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(usual | content))


@pytest.fixture
def experiments(tmp_path):
    """A folder with two experiments, of which the second borrows a training."""
    folder = tmp_path / "experiments"
    write(
        folder / "one",
        trainings={
            "a": {"preset": "msds1-small"},
            "b": {"preset": "msds1-small", "settings": {"model": {"prior": "gaussian"}}},
        },
        measures={
            "bits": {"count": 30},
            "grid": {"measure": "sample_grid", "trainings": ["b"]},
            "pair": {"measure": "fields", "trainings": ["a"], "beside": "b"},
        },
        budgets={
            "10m": {"settings": {"minutes": 10, "clock": "processor"}, "seeds": [0, 4]},
            "2h": {"settings": {"minutes": 60}, "trainings": ["b"], "measures": {"bits": {}}},
            "full": {"settings": {"steps": 9}, "trainings": {"c": {"preset": "msds2"}}},
        },
    )
    write(
        folder / "two",
        trainings={"a": "one", "own": {"preset": "msds2-small"}},
        measures={"bits": {"count": 30}},
        budgets={"10m": {"seeds": [4]}},
    )
    return folder


def test_trainings_of_every_label_and_seed(experiments, tmp_path):
    plan = read_experiment(experiments, "one").plan("10m")
    assert [one.name for one in plan.trainings] == ["a-seed0", "b-seed0", "a-seed4", "b-seed4"]
    first, second = plan.trainings[:2]
    assert (first.config.minutes, first.config.clock, first.config.data) == (
        10,
        "processor",
        "msds1",
    )
    assert second.config == replace(
        first.config, model=replace(first.config.model, prior=GaussianPrior())
    )
    assert first.folder(tmp_path) == tmp_path / "one" / "10m" / "a-seed0"
    assert first.config.model.map.hidden == 128
    assert [one.name for one in plan.only(["b"]).trainings] == ["b-seed0", "b-seed4"]
    assert [one.name for one in plan.only(["a-seed4"]).measurements] == ["bits"]


def test_measurements_of_what_a_budget_trains(experiments):
    plan = read_experiment(experiments, "one").plan("10m")
    found = [(one.name, one.training.name) for one in plan.measurements]
    assert found.count(("bits", "a-seed0")) == 1
    assert ("grid", "b-seed4") in found
    assert ("grid", "a-seed4") not in found
    pair = next(one for one in plan.measurements if one.name == "pair")
    assert (pair.training.name, pair.beside.name) == ("a-seed0", "b-seed0")
    short = replace(pair, options={"draws": 1})
    assert short.path(Path()) != pair.path(Path())  # what is found with other options is another


def test_a_training_of_another_experiment_is_that_training(experiments):
    theirs = read_experiment(experiments, "one").plan("10m").trainings
    mine = read_experiment(experiments, "two").plan("10m").trainings
    assert mine[0] in theirs
    assert (mine[1].experiment, mine[1].config.seed) == ("two", 4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"titel": "t"}, "nearest: title"),
        ({"title": 3}, "Expected title in"),
        ({"budgets": {"10min": {}}}, "nearest: 10m"),
        ({"budgets": {"10m": {"seed": [0]}}}, "nearest: seeds"),
        ({"budgets": {"10m": {"trainings": ["aa"]}}}, "nearest: a"),
        ({"budgets": {"10m": {"seeds": [-1]}}}, "at least 0"),
        ({"trainings": {"a": {"preset": "msds1-smal"}}}, "nearest: msds1-small"),
        ({"trainings": {"a": {"presets": "msds1"}}}, "nearest: preset"),
        ({"trainings": {"a": {"preset": "msds1", "settings": {"minute": 1}}}}, "nearest: minutes"),
        (
            {"trainings": {"a": {"preset": "msds1", "settings": {"model": {"priors": "x"}}}}},
            "nearest: prior",
        ),
        ({"trainings": {"a": "onee"}}, "nearest: one"),
        ({"trainings": {"a": 3}}, "to have names and values; got 3"),
        ({"trainings": {"b": "two"}}, "there are none with 0"),
        ({"trainings": {"a": {"model": "msds1-bst"}}}, "nearest: msds1-best"),
        ({"trainings": {"a": {"model": "msds1-best", "preset": "msds1"}}}, "already; got preset"),
        ({"measures": {"bits": {"trainings": ["aaa"]}}}, "nearest: a"),
        ({"measures": {"bits": 5}}, "measure bits of mine to have names and values; got 5"),
        ({"measures": ["bits"]}, "to have names and values; got ['bits']"),
        ({"trainings": ["a"]}, "to have names and values; got ['a']"),
        ({"budgets": {"10m": {"seeds": 3}}}, "a list of seeds of mine, like [0]; got 3"),
        ({"budgets": {"10m": {"trainings": "x"}}}, "to have names and values; got 'x'"),
        ({"budgets": {"10m": {"measures": {"bit": {}}}}}, "key of measures of 10m of mine"),
        ({"trainings": {"a": {"preset": "msds1", "settings": {"steps": "x"}}}}, "got 'x'"),
    ],
)
def test_mistakes_in_a_config(experiments, content, message):
    write(experiments / "mine", **{"trainings": {"a": {"preset": "msds1"}}, **content})
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        read_experiment(experiments, "mine").plan("10m")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the name of an experiment; got none"),
        (["onne"], "nearest: one"),
        (["one", "--budget", "5m"], "a budget of one"),
        (["one", "--only", "aa"], "nearest: a"),
        (["one", "--jobs", "0"], "--jobs to be at least 1"),
        (["one", "--experiments", "nowhere"], "part of the repository of rgflow"),
    ],
)
def test_mistakes_on_the_command_line(experiments, arguments, message, capsys):
    folder = [] if "--experiments" in arguments else ["--experiments", str(experiments)]
    assert main(["reproduce", *arguments, *folder]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_only_a_checkout_has_experiments(tmp_path, monkeypatch, capsys):
    for place in ("lib/site-packages", "src"):  # installed, or beside another's folder
        module = tmp_path / place / "rgflow" / "cli" / "reproduce.py"
        monkeypatch.setattr(reproduce, "__file__", str(module))
        assert main(["reproduce", "--list"]) == 2
        error = capsys.readouterr().err
        assert f"there are none beside {tmp_path / place}: clone" in error
        assert error.count("\n") == 1


def test_the_code_of_a_stranger_is_not_run(tmp_path):
    stranger = tmp_path / "reproducing"
    stranger.mkdir()
    (stranger / "__init__.py").write_text("raise SystemExit('a stranger')")
    command = [sys.executable, "-m", "rgflow", "reproduce", "--help"]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (told.returncode, "--budget" in told.stdout) == (0, True), told.stderr


def test_options_of_measures_are_checked():
    check_options("bits", "bits", {"count": 3})
    with pytest.raises(ValueError, match="nearest: count"):
        check_options("bits", "bits", {"cuont": 3})
    with pytest.raises(ValueError, match="nearest: bits"):
        check_options("mine", "bit", {})


# ---------------------------------------------------------------- trainings that are done already


def finish(folder):
    """Make a run one that has come to its end."""
    run = Run.open(folder)
    values = {"steps": 20, "seconds": 6.0, "images_per_second": 9.0, "unit": "bits/dim"}
    run.write_result(TrainingResult(**values, validation=7.2, best=7.1, interrupted=False))


@pytest.fixture
def trained(tmp_path):
    """An experiment whose trainings are done, and the folder in which they are."""
    work, experiments = tmp_path / "work", tmp_path / "experiments"
    (work / "one" / "10m").mkdir(parents=True)
    folder = small_run(work / "one" / "10m" / "a-seed0")
    finish(folder)
    config = Run.open(folder).config()
    usual = asdict(config)
    settings = {name: usual[name] for name in ("data", "steps", "batch_size", "model")}
    write(
        experiments / "one",
        trainings={"a": {"preset": "msds1", "settings": json.loads(json.dumps(settings))}},
        measures={"bits": {"count": 5}, "grid": {"measure": "sample_grid", "count": 4}},
    )
    return experiments, work


def test_what_is_done_is_measured_once(trained, capsys):
    experiments, work = trained
    command = ["reproduce", "one", "--experiments", str(experiments), "--work", str(work)]
    assert main([*command, "--dry_run"]) == 0
    assert "2 of 2 measurements left" in capsys.readouterr().out
    assert main(command) == 0
    found = json.loads((experiments / "one" / "10m.json").read_text())
    (training,) = found["trainings"]
    assert (training["label"], training["seed"], training["steps"]) == ("a", 0, 20)
    assert training["settings"]["steps"] == 20
    assert (training["sessions"], training["seconds"] > 0) == (0, True)  # its own clock went on
    bits, grid = found["measures"]
    assert (bits["name"], bits["training"], bits["options"]) == ("bits", "a-seed0", {"count": 5})
    assert bits["numbers"]["images"] == 5
    assert grid["pictures"] == {
        "a-grid-samples.png": "Samples at temperature 1, seeds 0 to 3",
    }
    assert (experiments / "one" / "10m" / "a-grid-samples.png").is_file()
    told = json.loads((experiments / "manifest.json").read_text())["experiments"]
    assert [(one["experiment"], one["state"], one["measures"]) for one in told] == [
        ("one", "done", 2)
    ]
    files = {path: path.stat().st_mtime_ns for path in (work / "one/10m/measures").rglob("*")}
    assert len(files) == 4
    assert main(command) == 0
    assert files == {
        path: path.stat().st_mtime_ns for path in (work / "one/10m/measures").rglob("*")
    }
    assert main(["reproduce", "--list", "--experiments", str(experiments)]) == 0
    assert re.search(r"one\s+10m\s+done\s+1 of 1\s+2 of 2", capsys.readouterr().out)


def test_a_model_of_the_package_is_measured_and_not_trained(trained, monkeypatch, tmp_path):
    experiments, work = trained
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path / "models")
    run = Run.open(work / "one/10m/a-seed0")
    shipping.ship(run, tmp_path / "models" / "small", count=20)
    measures = {"bits": {"count": 5}, "grid": {"measure": "sample_grid", "count": 4}}
    write(experiments / "one", trainings={"it": {"model": "small"}}, measures=measures)
    plan = read_experiment(experiments, "one").plan("10m")
    assert [done(one, tmp_path) for one in plan.trainings] == [1]
    empty = tmp_path / "empty"
    command = ["reproduce", "one", "--experiments", str(experiments), "--work", str(empty)]
    assert main(command) == 0
    found = results.read(experiments, "one", "10m")
    (training,) = found["trainings"]
    assert (training["label"], training["model"], training["steps"]) == ("it", "small", 20)
    assert training["settings"] == results.differences(run.config())
    card = Card.read(tmp_path / "models" / "small")
    assert training["started"] == card.training.began
    measured = {one["name"]: one["numbers"] for one in found["measures"]}
    flow, x = load_flow(tmp_path / "models" / "small"), data.load_for(run.config(), "test").images
    again = evaluate(flow, torch.from_numpy(x[:5].copy()), seed=0)
    assert measured["bits"]["nll"] == again.nll
    assert (experiments / "one" / "10m" / "it-grid-samples.png").is_file()
    (entry,) = manifest.make(experiments)
    assert (entry.state, entry.trainings, entry.measures) == ("done", 1, 2)
    write(experiments / "again", trainings={"it": {"model": "small"}}, measures={})
    assert main([command[0], "again", *command[2:]]) == 0
    assert results.read(experiments, "again", "10m")["trainings"] == [training]
    shutil.rmtree(experiments / "again")
    # With the run folders gone, nothing is measured again.
    before = (experiments / "one" / "10m.json").read_text()
    assert main([*command[:-1], str(tmp_path / "gone")]) == 0
    assert (experiments / "one" / "10m.json").read_text() == before
    # What was found isn't of another model that takes its name and settings.
    other = load_flow(tmp_path / "models" / "small")
    with torch.no_grad():
        next(other.parameters()).add_(0.1)
    small = tmp_path / "models" / "small"
    other.save_pretrained(small, storage="float16")
    replace(Card.read(small), sha256=sha256_of(small)).write(small)
    assert manifest.make(experiments)[0].state == "not"
    assert not results.settled(plan, empty, experiments)
    results.write(plan, tmp_path / "gone", experiments)
    assert results.read(experiments, "one", "10m")["measures"] == []
    assert main(command) == 0
    assert manifest.make(experiments)[0].state == "done"
    now = {
        one["name"]: one["numbers"] for one in results.read(experiments, "one", "10m")["measures"]
    }
    assert now["bits"]["nll"] != again.nll


def test_a_model_has_results_of_its_own_under_every_label(trained, monkeypatch, tmp_path):
    experiments, work = trained
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path / "models")
    shipping.ship(Run.open(work / "one/10m/a-seed0"), tmp_path / "models" / "small", count=20)
    model, of = {"model": "small"}, {"trainings": ["it"]}
    grid = {"grid": {"measure": "sample_grid", "count": 4}}
    fields = {"fields": {"draws": 1, **of}}
    settings = {"settings": {"minutes": 1}, "seeds": [3, 5]}
    small = {"preset": "msds1-small"}
    write(
        experiments / "three",
        trainings={"it": model, "own": small},
        measures=grid | fields,
        budgets={"10m": settings},
    )
    write(
        experiments / "four",
        trainings={"it": "three", "also": model},
        measures=fields,
        budgets={"10m": {"seeds": [3, 5]}},
    )
    plans = [read_experiment(experiments, name).plan("10m") for name in ("three", "four")]
    assert [one.name for one in plans[0].trainings][:2] == ["it-seed0", "own-seed3"]
    it, also = sorted(plans[1].trainings, key=lambda one: one.label, reverse=True)
    assert (it.label, also.label, it.model) == ("it", "also", also.model)
    (one,) = plans[1].measurements
    assert one.path(work) != replace(one, training=also).path(work)


def test_samples_are_measured_again_for_a_distance_that_isnt_there(trained):
    experiments, work = trained
    config = experiments / "one" / "config.yaml"
    said = yaml.safe_load(config.read_text()) | {"measures": {"samples": {"count": 12}}}
    config.write_text(yaml.safe_dump(said))
    (one,) = (plan := read_experiment(experiments, "one").plan("10m")).measurements
    of = {"extract": lambda x8: x8.float().mean((2, 3)), "resizing": "none", "weights": "0"}
    began = []
    for inception in (None, Features(name="means", **of)):
        began.clear()
        for _ in range(2):
            measure_all(plan, work, inception=inception, progress=lambda m, _: began.append(m))
        assert began == [one, one]  # begun and ended, once
        distances = measured(one, work)["numbers"]["distances"]
        assert ("FD-means" in distances) == (inception is not None)


def test_models_isnt_the_name_of_an_experiment(experiments):
    write(experiments / "models")
    with pytest.raises(ValueError, match="another name than models"):
        read_experiment(experiments, "models")


def test_a_flow_that_was_trained_anew_is_measured_anew(trained):
    experiments, work = trained
    command = ["reproduce", "one", "--experiments", str(experiments), "--work", str(work)]
    assert main(command) == 0
    run = Run.open(work / "one/10m/a-seed0")
    run.save_json("run.json", {**run.record(), "started": "2030-01-01T00:00:00+00:00"})
    before = {path: path.stat().st_mtime_ns for path in (work / "one/10m/measures").rglob("*.json")}
    assert main(command) == 0
    assert all(path.stat().st_mtime_ns > time_ for path, time_ in before.items())


def test_results_stay_when_run_folders_are_gone(trained, tmp_path):
    experiments, work = trained
    plan = read_experiment(experiments, "one").plan("10m")
    assert main(["reproduce", "one", "--experiments", str(experiments), "--work", str(work)]) == 0
    before = (experiments / "one" / "10m.json").read_text()
    results.write(plan, tmp_path / "elsewhere", experiments)
    assert (experiments / "one" / "10m.json").read_text() == before


def test_what_is_among_the_results_isnt_trained_again(trained, tmp_path, capsys):
    experiments, work = trained
    command = ["reproduce", "one", "--experiments", str(experiments), "--work"]
    assert main([*command, str(work)]) == 0
    before = (experiments / "one" / "10m.json").read_text()
    gone = str(tmp_path / "gone")
    assert main([*command, gone]) == 0
    assert "1 of 1 trainings are among the results already." in capsys.readouterr().out
    assert (experiments / "one" / "10m.json").read_text() == before
    assert main([*command, gone, "--dry_run"]) == 0
    assert "0 trainings, 0.0 hours of them left to do; 0 of 0" in capsys.readouterr().out
    assert main([*command, gone, "--dry_run", "--again"]) == 0
    assert "a-seed0" in re.sub(r"\s+", " ", capsys.readouterr().out)
    # What is wanted and isn't there has to be trained for.
    path = experiments / "one" / "config.yaml"
    content = yaml.safe_load(path.read_text())
    content["measures"]["bits"]["count"] = 6
    path.write_text(yaml.safe_dump(content))
    plan = read_experiment(experiments, "one").plan("10m")
    assert not results.settled(plan, Path(gone), experiments)


def test_nothing_is_written_of_what_isnt_there(experiments, tmp_path):
    plan = read_experiment(experiments, "one").plan("10m")
    assert results.write(plan, tmp_path / "work", experiments) is None
    assert not list(experiments.rglob("*.json"))


def test_what_the_config_has_no_more_goes(trained, tmp_path):
    experiments, work = trained
    assert main(["reproduce", "one", "--experiments", str(experiments), "--work", str(work)]) == 0
    path = experiments / "one" / "config.yaml"
    content = yaml.safe_load(path.read_text())
    del content["measures"]["grid"]
    path.write_text(yaml.safe_dump(content))
    results.write(read_experiment(experiments, "one").plan("10m"), tmp_path / "gone", experiments)
    told = json.loads((experiments / "one" / "10m.json").read_text())
    assert [one["name"] for one in told["measures"]] == ["bits"]
    assert not list((experiments / "one" / "10m").iterdir())


def test_a_run_of_other_settings_is_refused(trained, capsys):
    experiments, work = trained
    path = experiments / "one" / "config.yaml"
    content = yaml.safe_load(path.read_text())
    content["trainings"]["a"]["settings"]["lr"] = 0.5
    path.write_text(yaml.safe_dump(content))
    command = ["reproduce", "one", "--experiments", str(experiments), "--work", str(work)]
    assert main(command) == 2
    assert "lr differ" in capsys.readouterr().err


# ---------------------------------------------------------------- trainings


def test_one_that_fails_is_told_when_all_else_is_done(trained, capsys):
    experiments, work = trained
    path = experiments / "one" / "config.yaml"
    content = yaml.safe_load(path.read_text())
    bad = {"preset": "msds1-tiny", "settings": {"data": "folder:nowhere", "steps": 1}}
    content["trainings"] = {"bad": bad, **content["trainings"]}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    command = ["reproduce", "one", "--experiments", str(experiments), "--work", str(work)]
    assert main(command) == 2
    assert re.search(r"1 failed. bad-seed0: Expected .*nowhere", capsys.readouterr().err)
    bad, good = read_experiment(experiments, "one").plan("10m").trainings
    assert (done(bad, work), done(good, work)) == (0, 1)
    (session,) = sessions(bad, work)
    assert session.processor_seconds > 0
    found = json.loads((experiments / "one" / "10m.json").read_text())
    assert {one["training"] for one in found["measures"]} == {"a-seed0"}
    (entry,) = manifest.make(experiments)
    assert (entry.state, entry.trainings, entry.of_trainings) == ("partly", 1, 2)


def test_what_lacks_results_of_other_programs_is_done_in_part(trained):
    experiments, work = trained
    path = experiments / "one" / "config.yaml"
    command = ["reproduce", "one", "--experiments", str(experiments), "--work", str(work)]
    assert main(command) == 0
    (before,) = manifest.make(experiments)
    content = yaml.safe_load(path.read_text())
    content["tables"] = [{"title": "t", "rows": [{"name": "b", "files": {"10m": "others/*.json"}}]}]
    path.write_text(yaml.safe_dump(content))
    (without,) = manifest.make(experiments)
    (experiments / "one" / "others").mkdir()
    (experiments / "one" / "others" / "b.json").write_text("{}")
    (after,) = manifest.make(experiments)
    assert (before.state, without.state, after.state) == ("done", "partly", "done")


@pytest.mark.slow
def test_an_interrupted_training_goes_on(tmp_path):
    settings = {**TINY, "minutes": 0.2, "clock": "processor"}
    write(
        tmp_path / "experiments" / "one",
        trainings={"a": {"preset": "msds1-tiny", "settings": settings}},
    )
    work = tmp_path / "work"
    command = [sys.executable, "-m", "rgflow", "reproduce", "one", "--train_only"]
    command += ["--experiments", str(tmp_path / "experiments"), "--work", str(work)]
    (training,) = read_experiment(tmp_path / "experiments", "one").plan("10m").trainings
    process = subprocess.Popen(command)
    while not 0.1 < done(training, work) < 0.9:
        assert process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130
    assert 0.1 < done(training, work) < 1
    assert subprocess.run(command, check=False).returncode == 0
    assert done(training, work) == 1
    assert len(sessions(training, work)) == 2
    assert len(Run.open(training.folder(work)).record()["resumed"]) == 1


# ---------------------------------------------------------------- what is committed


@needs_sources
def test_every_committed_config_is_right():
    for name in names(COMMITTED):
        experiment = read_experiment(COMMITTED, name)
        for budget in experiment.budgets:
            plan = experiment.plan(budget)
            assert plan.trainings or plan.measurements
            for one in plan.measurements:
                check_options(one.name, one.measure, one.options)
            for one in plan.trainings:
                assert one.config.minutes or one.config.steps


@needs_sources
def test_real_nvp_is_matched_within_5_percent():
    sizes = {}
    for one in read_experiment(COMMITTED, "B1").plan("10m").trainings:
        if one.config.seed == 0 and one.label in ("msds1-laplace", "msds1-realnvp"):
            with torch.device("meta"):
                sizes[one.label] = sum(p.numel() for p in make_flow(one.config.model).parameters())
    assert sizes["msds1-realnvp"] == pytest.approx(sizes["msds1-laplace"], rel=0.05)


def labels_of_other_costs():
    """The trainings whose steps do other work than the recipe's, by the benchmark."""
    return program("benchmarks/step_costs.py").labels(COMMITTED)


@needs_sources
def test_steps_of_the_recipe_cost_the_same():
    costs = json.loads((COMMITTED.parent / "benchmarks/results/step_costs.json").read_text())
    assert set(costs) == set(labels_of_other_costs())
    for one in read_experiment(COMMITTED, "recipe").plan("10m").trainings:
        cost = costs[one.label]["cost"] if one.label in costs else 1
        assert one.config.steps == round(1000 / cost), one.label


@needs_sources
def test_the_manifest_is_made_from_the_results():
    told = json.loads((COMMITTED / "manifest.json").read_text())
    assert told["experiments"] == [asdict(entry) for entry in manifest.make(COMMITTED)]


@needs_sources
@pytest.mark.slow
def test_the_smallest_experiment_comes_to_the_same_again(tmp_path):
    write(tmp_path / "E1")
    (tmp_path / "E1" / "config.yaml").write_text((COMMITTED / "E1" / "config.yaml").read_text())
    folders = ["--experiments", str(tmp_path), "--work", str(tmp_path / "work")]
    assert main(["reproduce", "E1", *folders]) == 0
    before, now = (
        results.read(folder, "E1", "10m")["measures"][0]["numbers"]
        for folder in (COMMITTED, tmp_path)
    )
    for prior in ("laplace", "gaussian"):
        for name, told in before[prior].items():
            again = now[prior][name]
            # Twice that of a difference: processors round differently, and training amplifies it.
            error = max(2 * math.hypot(told["standard_error"], again["standard_error"]), 1e-3)
            assert again["mean"] == pytest.approx(told["mean"], abs=error), (prior, name)


def test_of_patches_the_name_says_what_they_are(tmp_path):
    def run_of(data):
        config = TrainConfig(data=data, steps=1)
        return SimpleNamespace(config=lambda: config, folder=tmp_path)

    coffee = TrainConfig(data="patches:coffee", steps=1)
    execute._check_settings(coffee, run_of("patches:coffee"))
    with pytest.raises(ValueError, match="data differ"):
        execute._check_settings(coffee, run_of("patches:rocket"))
    there = TrainConfig(data="folder:/mine", steps=1)  # which may be anywhere
    execute._check_settings(there, run_of("folder:/theirs"))


def test_when_one_cannot_begin_the_others_end_in_order(experiments, tmp_path, monkeypatch):
    class Child:
        def __init__(self, training, work, jobs, others):
            if others:
                raise OSError("No space left on device")
            self.interrupted = False
            children.append(self)

        def interrupt(self):
            self.interrupted = True

        def ended(self):
            return self.interrupted

    children = []
    monkeypatch.setattr(execute, "_Process", Child)
    trainings = read_experiment(experiments, "one").plan("10m").trainings
    with pytest.raises(OSError, match="No space left"):
        train_all(trainings, tmp_path / "work", jobs=2)
    assert [child.interrupted for child in children] == [True]
