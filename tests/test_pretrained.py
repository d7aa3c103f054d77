"""Models that can be given away: made from a run, found by name, and those in the package."""

import json
import math
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
import torch
import yaml

from flows import by_day
from rgflow import (
    CubeMap,
    FlowConfig,
    GaussianPrior,
    RGFlow,
    TrainConfig,
    data,
    files,
    load_flow,
    pretrained,
)
from rgflow.architectures import make_flow
from rgflow.cards import Card
from rgflow.checkpoint import WEIGHTS
from rgflow.cli import main
from rgflow.data import msds
from rgflow.evaluation import evaluate
from rgflow.geometries import Windows
from rgflow.presets import PRESETS
from rgflow.pretrained import cards, shipped
from rgflow.training import shipping
from rgflow.training.run import Run
from runs import small_run

FILES = ["README.md", "card.json", "config.json", "examples.png", "model.safetensors"]
FILES += ["names.json"]
NAMES = ["small-one", "small-two"]


RESULT = {"images_per_second": 9.0, "unit": "bits/dim", "validation": 7.2, "best": 7.1}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = small_run(tmp_path_factory.mktemp("run") / "run")
    path = folder / "run.json"
    result = RESULT | {"steps": 20, "seconds": 90.0, "interrupted": False}
    path.write_text(json.dumps({**json.loads(path.read_text()), "result": result}))
    (folder / "names.json").write_text("{}")  # by `rgflow factors`
    return folder


@pytest.fixture(scope="module")
def made(run, tmp_path_factory):
    """A folder with two models, as the package has one."""
    folder = tmp_path_factory.mktemp("models")
    for name in NAMES:
        (folder / name).mkdir()
        (folder / name / files.CARD).write_text("{}")  # of other weights
        shipping.ship(Run.open(run), folder / name, samples=20)
    return folder


@pytest.fixture
def models(made, monkeypatch, tmp_path):
    """The same in place of the package's, and an empty current folder."""
    monkeypatch.setattr(pretrained, "FOLDER", made)
    monkeypatch.chdir(tmp_path)
    return made


def test_nothing_else_is_overwritten(run, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    for folder in (tmp_path, run, run / "model", run / "new"):
        with pytest.raises(ValueError, match="Expected a new or empty folder"):
            shipping.ship(Run.open(run), folder)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_a_run_becomes_a_model_with_a_card(run, made):
    folder = made / NAMES[0]
    assert sorted(path.name for path in folder.iterdir()) == FILES
    flow, card = load_flow(folder), Card.read(folder)
    images = torch.from_numpy(data.load_for(card.config, "test").images.copy())
    found = evaluate(flow, images, subset=0)
    measured = card.likelihood
    assert (measured.nll, measured.standard_error) == (found.nll, found.standard_error)
    assert found.nll != evaluate(Run.open(run).flow(), images, subset=0).nll  # before rounding
    assert (measured.images, measured.seed, measured.unit) == (180, 0, "bits/dim")
    assert (card.name, card.storage, card.licence) == (NAMES[0], "float16", "MIT")
    assert card.parameters == sum(p.numel() for p in flow.parameters())
    assert card.bytes == (folder / WEIGHTS).stat().st_size
    assert card.config == Run.open(run).config()
    assert (card.training.steps, card.training.seconds, card.training.images) == (20, 90.0, 20)
    assert {"processor", "cores", "threads", "gpu", "processes"} <= set(vars(card.training.machine))
    assert card.lossless.images == 180
    assert [one["samples"] for one in card.distances] == [20]


def test_the_page_says_what_the_card_says(made):
    card = Card.read(made / NAMES[0])
    page = (made / NAMES[0] / "README.md").read_text(encoding="utf-8")
    assert page == card.page()
    for text in (
        "RG-Flow, m = 4",
        "1.5 minutes of wall-clock time",
        f"{card.likelihood.nll:.4f} ± ",
    ):
        assert text in page
    assert 'load_flow("small-one")' in page
    assert f"| {card.distances[0]['name']} | " in page


def test_models_are_found_by_name(models):
    assert list(shipped()) == NAMES
    flow = RGFlow.from_pretrained("small-two")
    assert (flow.dtype, flow.training) == (torch.float32, False)
    there = load_flow(models / "small-two").state_dict()
    assert all(torch.equal(value, there[name]) for name, value in flow.state_dict().items())


def test_a_local_folder_wins(models):
    flow = make_flow(load_flow("small-one").config)
    flow.save_pretrained("small-one")
    assert torch.equal(next(load_flow("small-one").parameters()), next(flow.parameters()))


def test_an_unknown_name(models, capsys):
    sentence = "there is none at smal-one, nor is it one of the models small-one, small-two "
    with pytest.raises(FileNotFoundError, match=sentence + r"\(nearest: small-one\)") as found:
        load_flow("smal-one")
    for where in ("RGFLOW_MODELS", "its card"):
        assert where in str(found.value)
    for command in ("evaluate", "sample", "info", "fields", "traverse", "report"):
        assert main([command, "smal-one"]) == 2
        err = capsys.readouterr().err
        assert sentence in err
        assert err.count("\n") == 1


def test_nothing_is_near_if_the_package_has_no_models(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path / "models")
    with pytest.raises(FileNotFoundError, match=r"there is none at small-one; if it is a model"):
        load_flow("small-one")
    assert main(["info"]) == 0
    assert "small-one" not in capsys.readouterr().out


def test_a_model_whose_card_alone_is_there(models, made, tmp_path, monkeypatch, capsys):
    light = tmp_path / "light"
    for name in NAMES:
        (light / name).mkdir(parents=True)
        shutil.copyfile(made / name / "card.json", light / name / "card.json")
    shutil.copyfile(made / NAMES[0] / WEIGHTS, light / NAMES[0] / WEIGHTS)
    monkeypatch.setattr(pretrained, "FOLDER", light)
    assert (list(shipped()), list(cards())) == (NAMES[:1], NAMES)
    sentence = "Expected the weights of small-two, which aren't on this machine: name a folder that"
    for command in ("sample", "evaluate"):
        assert main([command, "small-two"]) == 2
        err = capsys.readouterr().err
        assert sentence in err
        assert all(where in err for where in ("RGFLOW_MODELS", "on its card"))
        assert err.count("\n") == 1
    assert main(["info"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "To use a model that isn't here, name a folder" in out
    assert main(["info", "small-two"]) == 0
    assert "rgflow ship runs/small-two models/small-two" in capsys.readouterr().out
    # And where a folder that is named has them.
    monkeypatch.setenv("RGFLOW_MODELS", str(made))
    assert shipped()["small-two"] == made / "small-two"
    assert main(["sample", "small-two", "-n", "1"]) == 0
    assert Path("results/small-two/pictures/samples.png").is_file()


def test_a_folder_of_models_that_a_variable_names(made, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made / "small-one", tmp_path / "more" / "photos")
    shutil.copytree(made / "small-one", tmp_path / "more" / "small-one")
    monkeypatch.setenv("RGFLOW_MODELS", str(tmp_path / "more"))
    assert {"small-one", "msds1-best"} <= shipped().keys()
    assert load_flow("photos").config == load_flow(made / "small-one").config  # before the package
    monkeypatch.setenv("RGFLOW_MODELS", "nowhere")
    assert main(["info"]) == 2
    err = capsys.readouterr().err
    assert "Expected a folder with models in the variable RGFLOW_MODELS; nowhere isn't one." in err


@pytest.mark.parametrize(
    ("arguments", "results"),
    [
        (["info"], []),
        (["evaluate", "--count", "20", "--importance", "1"], ["evaluation.json"]),
        (["sample", "-n", "2"], ["pictures/samples.png"]),
        (["levels", "--split", "test"], ["pictures/resampled.png"]),
        (["inpaint", "--split", "test", "--box", "[0, 0, 2, 2]"], ["pictures/inpainting.png"]),
    ],
    ids=lambda value: value[0] if value else "",
)
def test_commands_take_a_name(models, arguments, results):
    before = {path: path.stat().st_mtime_ns for path in models.rglob("*")}
    command, *options = arguments
    assert main([command, "small-one", *options]) == 0
    for name in results:
        assert (Path("results/small-one") / name).is_file()
    assert {path: path.stat().st_mtime_ns for path in models.rglob("*")} == before
    assert isinstance(load_flow("small-one"), RGFlow)  # results don't stand in the way


def test_models_are_listed(models, capsys):
    assert main(["info"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [words[0] for words in lines if words and words[0].startswith("small-")] == NAMES
    assert main(["info", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [card["name"] for card in listed["models"]] == NAMES
    assert list(listed["presets"]) == list(PRESETS)


def test_a_card_is_printed(models, capsys):
    assert main(["info", "small-one"]) == 0
    out = capsys.readouterr().out
    assert "RG-Flow, m = 4" in out
    assert "stored as float16" in out
    text = (models / "small-one/card.json").read_text(encoding="utf-8")
    for name in ("small-one", str(models / "small-one")):
        assert main(["info", name, "--json"]) == 0
        about = json.loads(capsys.readouterr().out)
        assert sum(level["size"] for level in about.pop("levels")) == 192
        assert about == json.loads(text)


def trainings(card):
    """The settings of a model's trainings, the first one first."""
    return [*(start.config for start in reversed(card.training.starts)), card.config]


@pytest.mark.parametrize("name", cards())
def test_the_commands_on_a_card_have_its_settings(name, tmp_path, monkeypatch, capsys):
    card = Card.read(cards()[name])
    *commands, last = card.commands()
    number = f"-{len(commands)}" if len(commands) > 1 else ""
    assert last == f"rgflow ship runs/{name}{number} models/{name}"
    monkeypatch.chdir(tmp_path)
    before = None
    for command, config in zip(commands, trainings(card), strict=True):
        rgflow, *words = shlex.split(command)
        assert rgflow == "rgflow"
        assert main([*words, "--print_config"]) == 0
        found = yaml.safe_load(capsys.readouterr().out)
        out = found.pop("out")
        assert out == f"runs/{name}" + f"-{commands.index(command) + 1}" * (len(commands) > 1)
        found = TrainConfig.from_dict(found)
        assert found.pretrained == before
        same = {"compute_dtype": "auto", "levels": None}
        assert replace(found, compile=None, model=replace(found.model, **same)) == replace(
            config, compile=None, pretrained=before, model=replace(config.model, **same)
        )
        # What the next one begins with.
        before = out
        if command != commands[-1]:
            Path("runs").mkdir(exist_ok=True)
            Path(out).symlink_to(cards()[name])


def test_commands_of_other_kinds_than_any_preset_has(tmp_path, monkeypatch, capsys):
    model = FlowConfig(
        height=16, width=8, channels=1, map=CubeMap(depth=(1, 2), bins=3),
        geometry=Windows(reach=1), prior=GaussianPrior(scale=3.5), pixels=None,
    )  # fmt: skip
    config = TrainConfig(model=model, data="folder:my pictures", steps=7, betas=(0.8, 1e-5))
    card = replace(Card.read(cards()["photos-small"]), name="own", config=config)
    (command, _) = card.commands()
    assert main([*shlex.split(command)[1:], "--print_config"]) == 0
    found = yaml.safe_load(capsys.readouterr().out)
    assert found.pop("out") == "runs/own"
    found = TrainConfig.from_dict(found)
    usual = replace(found.model, compute_dtype=model.compute_dtype)
    assert replace(found, model=usual, compile=config.compile) == config


def test_an_error_that_a_single_image_lacks_comes_back(made, tmp_path):
    card = Card.read(made / NAMES[0])
    nan = replace(card.likelihood, standard_error=math.nan)
    replace(card, likelihood=nan).write(tmp_path)
    assert "NaN" not in (tmp_path / "card.json").read_text()
    again = Card.read(tmp_path)
    assert math.isnan(again.likelihood.standard_error)
    assert "nan" not in again.page()


def test_damaged_cards(made, tmp_path):
    with pytest.raises(FileNotFoundError, match="`rgflow ship` writes it"):
        Card.read(tmp_path)
    content = json.loads((made / NAMES[0] / "card.json").read_text(encoding="utf-8"))
    for text in ("", "{}", "[]", json.dumps({**content, "training": 3, "more": 1})):
        (tmp_path / "card.json").write_text(text)
        with pytest.raises(ValueError, match="Expected the card of a model.* is damaged"):
            Card.read(tmp_path)


# ---------------------------------------------------------------- what isn't shipped


def refused(capsys, *arguments):
    assert main(["ship", *map(str, arguments)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


def test_a_run_that_was_interrupted(run, tmp_path, capsys):
    path = run / "run.json"
    whole = path.read_text()
    for result in (None, RESULT | {"steps": 15, "seconds": 9.0, "interrupted": True}):
        path.write_text(json.dumps({**json.loads(whole), "result": result}))
        err = refused(capsys, run, tmp_path / "model")
        assert "was interrupted: go on with rgflow train --resume" in err
        assert not (tmp_path / "model").exists()
        said = ["--unfinished", "--remarks", "Trained\non a whim."]
        assert main(["ship", str(run), str(tmp_path / "model"), *said]) == 0
        capsys.readouterr()
        assert Card.read(tmp_path / "model").training.steps == (15 if result else 20)
        page = (tmp_path / "model" / "README.md").read_text()
        assert "| remarks | Trained on a whim. |\n" in page
        for file in (tmp_path / "model").iterdir():
            file.unlink()
        (tmp_path / "model").rmdir()
    path.write_text(whole)


def test_a_model_that_is_too_large_or_lossy(run, tmp_path, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(shipping, "MAX_BYTES", 1000)
        err = refused(capsys, run, tmp_path / "model")
    assert "Expected a model of at most 0 MB" in err
    with monkeypatch.context() as patch:
        patch.setattr(RGFlow, "decode", lambda self, z: torch.zeros(()))
        err = refused(capsys, run, tmp_path / "model")
    assert "Expected all test images to come back from their latents" in err
    assert not (tmp_path / "model").exists()


def test_folders_that_cannot_be_written_or_read(run, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert "is a file" in refused(capsys, run, tmp_path / "file")
    err = refused(capsys, run, tmp_path / "file/model", "--count", 5)
    assert "Expected to write" in err
    assert "isn't there" in refused(capsys, tmp_path / "nothing", tmp_path / "model")
    log = run / "log.jsonl"
    text = log.read_text()
    log.write_text("")
    (run / "run.json").rename(run / "away")
    err = refused(capsys, run, tmp_path / "model", "--unfinished")
    assert "Expected what the run was in" in err
    (run / "away").rename(run / "run.json")
    log.write_text(text)


# ---------------------------------------------------------------- the models in the package

every_model = pytest.mark.parametrize("name", shipped())
BY_DAY = ("msds1-best", "msds2-realnvp", "patches-best")
"""One of each data set, and of each architecture."""
few_models = pytest.mark.parametrize("name", by_day(shipped(), BY_DAY))
every_generated = pytest.mark.parametrize(
    "name",
    [name for name, folder in shipped().items() if Card.read(folder).config.data in msds.KINDS],
)


def test_the_package_has_models():
    assert {"msds1-best", "msds1-paper-small", "photos"} <= shipped().keys()


@every_model
def test_a_model_of_the_package_is_whole_and_small(name):
    folder = shipped()[name]
    names = {path.name for path in folder.iterdir()}
    assert {*files.MODEL_FILES} - {files.NAMES, files.EXAMPLES} <= names <= {*files.MODEL_FILES}
    card = Card.read(folder)
    assert card.name == name
    assert card.bytes == (folder / WEIGHTS).stat().st_size
    assert sum(path.stat().st_size for path in folder.iterdir()) <= shipping.MAX_BYTES
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert all(f"| {name} | {text} |" in page for name, text in card.facts())
    flow = load_flow(name)
    assert flow.config == replace(card.config.model, levels=flow.levels)  # as earlier cards left it


@few_models
@pytest.mark.filterwarnings("ignore::rgflow.flow.LosslessWarning")
def test_a_model_of_the_package_does_what_its_card_says(name):
    check_likelihood(name, 150)
    flow, images = load_flow(name), images_of(name, 10)
    assert torch.equal(flow.decode(flow.encode(images)).floor().to(torch.uint8), images)


@few_models
@pytest.mark.filterwarnings("ignore::rgflow.flow.LosslessWarning")
def test_a_model_of_the_package_loses_nothing_of_images_unlike_its_own(name):
    flow = load_flow(name)
    torch.manual_seed(0)
    noise = torch.randint(256, (4, *flow.image_shape), dtype=torch.uint8)
    images = torch.cat((noise, torch.full_like(noise[:1], 255), torch.zeros_like(noise[:1])))
    assert torch.equal(flow.decode(flow.encode(images)).floor().to(torch.uint8), images)


@pytest.mark.slow
@every_model
def test_a_model_of_the_package_does_so_on_more_images(name):
    check_likelihood(name, 2000)


@pytest.mark.slow
@every_generated
def test_a_model_of_the_package_does_as_well_on_images_that_nobody_has_seen(name):
    card, flow = Card.read(shipped()[name]), load_flow(name)
    found = []
    # One of these sets has ovals that happen to need fewer bits (benchmarks/unseen.py).
    for seed in (20261128, 20261201, 20261202, 20261203):
        images = data.load(card.config.data, "test", seed=seed).images
        found.append(evaluate(flow, torch.from_numpy(images.copy()), seed=1, subset=0))
    nll = fmean(one.nll for one in found)
    error = math.hypot(*(one.standard_error for one in found)) / len(found)
    told = card.likelihood
    assert abs(nll - told.nll) < 2 * math.hypot(error, told.standard_error)


def images_of(name, count):
    """The first test images of a model's data set."""
    config = Card.read(shipped()[name]).config
    try:
        return torch.from_numpy(data.load_for(config, "test", count=count).images.copy())
    except FileNotFoundError as error:  # of other packages than Python's
        pytest.skip(str(error))


def check_likelihood(name, count):
    """The first test images are some of those on the card, so that the difference of the two means
    has the error that the choice of `count` among all of them makes."""
    told = Card.read(shipped()[name]).likelihood
    found = evaluate(load_flow(name), images_of(name, count), seed=told.seed, subset=0)
    error = found.standard_error * math.sqrt(max(1 - count / told.images, 0))
    assert abs(found.nll - told.nll) < 3 * error + 1e-4
