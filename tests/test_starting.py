"""Trainings that begin with the weights of a model, and those of which some levels stay."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from flows import config as flow_config
from rgflow import OwnMap, load_flow, pretrained
from rgflow.cards import Card, Commit, Machine, Training
from rgflow.cli import main
from rgflow.kinds import trust
from rgflow.training import shipping, train
from rgflow.training.loop import resolved
from rgflow.training.run import Run
from rgflow.training.trainer import Trainer
from runs import few_pictures, tiny

STILL = {"lr": 0.0, "muon_lr": 0.0, "weight_decay": 0.0, "muon_decay": 0.0}
"""Settings with which nothing is learned."""
STILL_OPTIONS = [word for name, rate in STILL.items() for word in (f"--{name}", str(rate))]


@pytest.fixture(autouse=True)
def _few_pictures(monkeypatch):
    few_pictures(monkeypatch)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The folder of a run of a few steps."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    train(tiny(), Run.create(folder), progress=False)
    return folder


def weights(folder):
    return Run.open(folder).flow().state_dict()


def changed(folder, other):
    """The names of the weights that differ."""
    mine, theirs = weights(folder), weights(other)
    return {name for name, value in mine.items() if not torch.equal(value, theirs[name])}


def test_a_training_begins_with_the_weights_and_the_pixel_map_of_a_model(first, tmp_path):
    again = tmp_path / "again"
    config = tiny(pretrained=str(first), steps=2, data="msds2", seed=5, **STILL)
    train(config, Run.create(again), progress=False)
    assert changed(again, first) == set()
    new = tmp_path / "new"
    train(replace(config, pretrained=None), Run.create(new), progress=False)
    there = changed(new, first)
    assert "pixels.counts" in there
    assert any("networks" in name or "conditioner" in name for name in there)


def test_it_learns_from_there(first, tmp_path):
    again = tmp_path / "again"
    result = train(tiny(pretrained=str(first), seed=5), Run.create(again), progress=False)
    assert result.best < Run.open(first).record()["result"]["best"]
    assert "pixels.counts" not in changed(again, first)


def test_what_it_began_with_is_kept_where_learning_makes_it_worse(first, tmp_path):
    again = tmp_path / "again"
    config = tiny(pretrained=str(first), lr=10.0, max_grad_norm=0.0, warmup=0, ema_decay=0.0)
    result = train(config, Run.create(again), progress=False)
    assert result.validation > result.best
    assert result.best == Run.open(first).record()["result"]["validation"]
    assert changed(again, first) == set()
    begun = next(entry for entry in Run.open(again).entries() if "validation_nll" in entry)
    assert (begun["step"], begun["validation_nll"]) == (0, result.best)
    assert begun["seconds"] < 60


def test_a_model_by_its_folder_and_in_float64(first, tmp_path):
    again = tmp_path / "again"
    config = tiny(pretrained=str(first / "model"), steps=1, dtype="float64", **STILL)
    train(config, Run.create(again), progress=False)
    flow, start = Run.open(again).flow(), Run.open(first).flow()
    assert flow.dtype == torch.float64
    for name, value in start.state_dict().items():
        assert torch.equal(flow.state_dict()[name].to(value.dtype), value)
    past = Run.open(again).past()
    assert past.start == Training(model="first/model")


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_only_some_levels_are_learned(first, tmp_path, optimizer):
    part = tmp_path / "part"
    config = tiny(pretrained=str(first), train_levels=[2, 1, 2], optimizer=optimizer, steps=3)
    train(config, Run.create(part), progress=False)
    assert Run.open(part).config().train_levels == (1, 2)
    mine = {name for name in weights(first) if name.startswith(("steps.1.", "steps.2."))}
    learned = {name for name, _ in Run.open(first).flow().named_parameters()} & mine
    assert changed(part, first) == learned


def test_gradients_of_the_levels_learned_are_those_of_the_whole(first, tmp_path, monkeypatch):
    """Levels below and above are there as ever; only their own weights aren't touched."""
    found, update = [], Trainer.take_step

    def watched(self, fraction):
        self.optimisation.zero_grad = lambda: None
        done = update(self, fraction)
        found.append({n: p.grad for n, p in self.flow.named_parameters() if p.grad is not None})
        return done

    monkeypatch.setattr(Trainer, "take_step", watched)
    for name, levels in (("part", (1,)), ("whole", None)):
        config = tiny(pretrained=str(first), steps=1, max_grad_norm=0.0, train_levels=levels)
        train(config, Run.create(tmp_path / name), progress=False)
    part, whole = found
    assert part
    assert set(part) == {name for name in whole if name.startswith("steps.1.")}
    assert all(torch.equal(grad, whole[name]) for name, grad in part.items())


def test_it_goes_on_without_the_model_that_it_began_with(first, tmp_path):
    begun = tmp_path / "begun"
    shutil.copytree(first, begun)
    config = tiny(pretrained=str(begun), train_levels=(0,), steps=5, schedule="constant")
    train(config, Run.create(tmp_path / "whole"), progress=False)
    train(replace(config, steps=2), Run.create(tmp_path / "part"), progress=False)
    shutil.rmtree(begun)
    run = Run.unfinished(tmp_path / "part")
    train(replace(run.config(), steps=5), run, resume=True, progress=False)
    assert changed(tmp_path / "part", tmp_path / "whole") == set()
    assert changed(tmp_path / "part", first)
    assert Run.open(tmp_path / "part").record()["start"]["model"] == "begun"


def test_what_is_refused(first, tmp_path):
    run, there = Run.create(tmp_path / "run"), str(first)
    wider = tiny().changed({"model": {"map": {"hidden": 24}}}).model
    with pytest.raises(
        ValueError, match="whose weights it begins with: map.hidden 16; got 24: leave"
    ):
        train(tiny(pretrained=there, model=wider), run, progress=False)
    with pytest.raises(
        ValueError, match="train_levels from 0 to 3, which this flow has; got 4: leave it out"
    ):
        train(tiny(train_levels=(1, 4)), run, progress=False)
    shared = replace(tiny().model, shared=True)
    with pytest.raises(ValueError, match="they are shared"):
        train(tiny(model=shared, train_levels=(1,)), run, progress=False)
    told = replace(shared, level_embedding=5)
    with pytest.raises(ValueError, match="level_embedding tells apart, 5; got 4: tell fewer"):
        train(tiny(model=told), run, progress=False)
    with pytest.raises(FileNotFoundError, match="none at nowhere"):
        train(tiny(pretrained="nowhere"), run, progress=False)
    with pytest.raises(ValueError, match="pretrained to be a word; got ''"):
        tiny(pretrained="")
    for levels, message in (((), "1 or more; got"), ((-1,), "at least 0"), (3, "a list")):
        with pytest.raises(ValueError, match=message):
            tiny(train_levels=levels)
    assert not run.folder.exists()


def test_where_the_model_lies_doesnt_depend_on_the_working_directory(first, monkeypatch):
    monkeypatch.chdir(first.parent)
    assert resolved(tiny(pretrained="first")).pretrained == str(first)
    assert resolved(tiny(pretrained="msds1-best")).pretrained == "msds1-best"


def test_a_folder_of_the_models_name_changes_nothing_afterwards(first, tmp_path, monkeypatch):
    run = Run.create(tmp_path / "run")
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path / "models")
    shipping.ship(Run.open(first), tmp_path / "models" / "small", count=20)
    train(tiny(pretrained="small", steps=2), run, progress=False)
    (tmp_path / "here" / "small").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    config = replace(run.config(), steps=3)
    assert train(config, run, resume=True, progress=False).steps == 3


@pytest.mark.slow
def test_scales_of_a_real_nvp(tmp_path):
    model = flow_config(geometry="squeeze", height=32, width=32, levels=3, hidden=4, blocks=1)
    whole, part = tmp_path / "whole", tmp_path / "part"
    train(tiny(model=model, steps=2), Run.create(whole), progress=False)
    config = tiny(model=model, steps=2, pretrained=str(whole), train_levels=(1,))
    train(config, Run.create(part), progress=False)
    assert changed(part, whole)
    assert all(name.startswith("steps.1.") for name in changed(part, whole))


def test_what_is_odd_in_a_record_is_passed_over(first, tmp_path):
    run = Run(shutil.copytree(first, tmp_path / "run"))
    record = run.record()
    del record["result"]
    run.save_json("run.json", {**record, "start": {"model": "x", "bogus": 1}})
    with (run.folder / "log.jsonl").open("a") as log:
        log.write("3\n")
    assert run.past() == Training(
        model="run",
        images=300,
        steps=12,
        seconds=run.past().seconds,
        start=Training(model="x"),
        config=replace(run.config(), pretrained="x"),
        began=record["started"],
        machine=Machine(**record["machine"]),
        versions=record["versions"],
        git=Commit(**record["git"]),
    )


def test_the_card_says_what_it_began_with(first, tmp_path):
    second, third = tmp_path / "second", tmp_path / "third"
    config = tiny(pretrained=str(first), train_levels=(1, 2), steps=3)
    train(config, Run.create(second), progress=False)
    shipping.ship(Run.open(second), tmp_path / "shipped", count=20)
    config = tiny(pretrained=str(tmp_path / "shipped"), steps=3)
    train(config, Run.create(third), progress=False)
    shipping.ship(Run.open(third), tmp_path / "again", count=20)
    card = Card.read(tmp_path / "again")
    assert card.training.start.model == "shipped"
    assert card.training.start.start.model == "first"
    assert card.training.start.start.steps == 12
    assert card.training.start.config == replace(Run.open(second).config(), pretrained="first")
    assert card.training.start.start.config == Run.open(first).config()
    assert card.training.all_steps == 18 > card.training.steps
    assert card.training.all_seconds > card.training.seconds
    page = (tmp_path / "again" / "README.md").read_text()
    weights = r"from the weights of shipped \(3 steps in \d\.\d minutes, from the weights of fi"
    assert re.search(weights, page)
    of_first, of_second, of_third = re.findall(r"^rgflow train .*$", page, re.MULTILINE)
    assert "--pretrained" not in of_first
    assert "--pretrained runs/again-1 --train_levels '[1, 2]'" in of_second
    assert "--pretrained runs/again-2" in of_third
    for start, run in ((card.training.start, second), (card.training.start.start, first)):
        record = Run.open(run).record()
        known = (start.began, vars(start.machine), start.versions, vars(start.git))
        assert known == tuple(record[name] for name in ("started", "machine", "versions", "git"))
    # A folder of this machine is nowhere else.
    assert Card.read(tmp_path / "again").config.pretrained == "shipped"
    assert str(tmp_path) not in page
    assert "weights of levels 1, 2 only" in (tmp_path / "shipped/README.md").read_text()
    assert load_flow(tmp_path / "again").config == Run.open(third).config().model


def printed(capsys, *arguments):
    capsys.readouterr()
    assert main(["train", *arguments, "--print_config"]) == 0
    return capsys.readouterr().out.splitlines()


def test_settings_come_along_with_the_model(first, capsys):
    run = Run.open(first)
    path = first.with_name("flipped")
    if not path.exists():
        config = tiny(
            pretrained=str(first), lr=0.003, flip=True, steps=1, train_levels=(0,), seed=7
        )
        train(config, Run.create(path), progress=False)
    same = printed(capsys, "--pretrained", str(path), "--steps", "9")
    for line in ("    hidden: 16", "lr: 0.003", "flip: true", "steps: 9", "train_levels: null"):
        assert line in same
    assert {"seed: 0", "batch_size: 8", "train_count: null", f"pretrained: {path}"} <= set(same)
    other = printed(capsys, "--data", "patches", "--pretrained", str(path), "--steps", "9")
    assert {"lr: 0.003", "flip: false", "data: patches"} <= set(other)
    named = printed(capsys, "msds2-best", "--pretrained", str(path), "--steps", "9")
    assert {"    hidden: 16", "lr: 0.004", "optimizer: muon", "data: msds2"} <= set(named)
    assert run.config().pretrained is None


def test_the_same_data_set_by_another_name(first, tmp_path, capsys, monkeypatch):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for k in range(30):
        Image.new("RGB", (32, 32), (k, 0, 0)).save(pictures / f"{k}.png")
    config = tiny(data=f"folder:{pictures}", flip=True, train_count=None, validate_count=1, steps=1)
    train(config, Run.create(tmp_path / "run"), progress=False)
    monkeypatch.chdir(tmp_path)
    begin = ["--pretrained", str(tmp_path / "run"), "--steps", "1"]
    for name in (f"folder:{pictures}/", "folder:pictures"):
        assert "flip: true" in printed(capsys, *begin, "--data", name)


def test_a_model_without_a_card_names_no_data(first, capsys):
    assert main(["train", "--pretrained", str(first / "model"), "--steps", "1"]) == 2
    assert "names none: give one with --data, or a preset" in capsys.readouterr().err
    named = printed(capsys, "--pretrained", str(first / "model"), "--steps", "1", "--data", "msds2")
    assert {"data: msds2", "    hidden: 16", "batch_size: 64"} <= set(named)


def test_options_of_a_bijector_come_along(tmp_path, capsys):
    trust("test_bijectors")
    model = replace(tiny().model, map=OwnMap(path="test_bijectors.Stretch", own={"start": 0.25}))
    run = tmp_path / "run"
    train(tiny(model=model, steps=1), Run.create(run), progress=False)
    same = printed(capsys, "--pretrained", str(run), "--steps", "1")
    assert "    start: 0.25" in same


def test_a_description_says_what_it_began_with(first, tmp_path, capsys):
    run = tmp_path / "run"
    config = tiny(pretrained=str(first), train_levels=(0, 2), steps=1)
    train(config, Run.create(run), progress=False)
    capsys.readouterr()
    assert main(["info", str(run)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "levels 0, 2 only" in told
    assert re.search(r"from the weights of first \(12 steps in \d\.\d minutes\)", told)


def test_from_the_command_line(first, tmp_path, capsys):
    out = tmp_path / "out"
    options = ["--train_count", "100", "--validate_count", "10", "--compile", "false"]
    options += ["--model.compute_dtype", "float32", "--train_levels", "[0]", "--steps", "2"]
    assert main(["train", "--pretrained", str(first), *options, "--out", str(out)]) == 0
    assert all(name.startswith("steps.0.") for name in changed(out, first))
    capsys.readouterr()
    wrong = ["train", "--pretrained", str(first), *options, "--model.map.hidden", "8"]
    assert main([*wrong, "--out", str(tmp_path / "no")]) == 2
    error = capsys.readouterr().err
    assert "hidden 16; got 8: leave these settings to the model" in error
    assert error.count("\n") == 1


def test_photographs_of_a_folder_are_learned_from_where_photos_ends(capsys):
    folder = ["--data", "folder:pictures", "--steps", "1"]
    mine = {"pretrained: photos", "lr: 0.0015", "patience: 3", "flip: true", "  height: 32"}
    assert mine <= set(printed(capsys, "photos", *folder))
    named = printed(capsys, "--pretrained", "photos", *folder)
    assert mine - {"flip: true"} <= set(named)
    told = printed(capsys, "photos", *folder, "--lr", "0.1")
    assert {"pretrained: photos", "lr: 0.1"} <= set(told)
    for other in (
        ("photos", *folder, "--pretrained", "null"),
        ("photos", "--steps", "1"),
        ("msds1-tiny", *folder),
    ):
        settings = printed(capsys, *other)
        assert {"pretrained: null", "lr: 0.004", "patience: null"} <= set(settings)


def test_what_photos_has_learned_is_kept_where_pictures_teach_nothing(tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for k in range(2):
        pixels = random.integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{k}.png")
    out = tmp_path / "run"
    options = ["--steps", "2", "--validate_count", "4", "--train_count", "20", *STILL_OPTIONS]
    options += ["--compile", "false", "--model.compute_dtype", "float32", "--out", str(out)]
    data = f"folder:{tmp_path / 'pictures'}"
    assert main(["train", "photos", "--data", data, "--batch_size", "2", *options]) == 0
    mine, theirs = weights(out), load_flow("photos").state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    assert Run.open(out).past().start.model == "photos"
