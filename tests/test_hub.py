"""Models from the Hugging Face hub, of which a folder on this machine takes the place."""

import json
import shutil
import sys
from fnmatch import fnmatch

import pytest
import torch
from safetensors.torch import load_file, save_file

from flows import config, random_flow
from rgflow import load_flow, trained
from rgflow.cli import main
from rgflow.files import MODEL_FILES
from rgflow.training import shipping
from rgflow.training.run import Run
from runs import small_run

huggingface_hub = pytest.importorskip("huggingface_hub")
from huggingface_hub import ModelCard  # noqa: E402


class Hub:
    """What the hub holds, in a folder, and what it was asked."""

    def __init__(self, folder):
        self.folder, self.asked = folder, []

    def download(self, repo_id, *, allow_patterns, revision):
        """The files that are asked for, as `snapshot_download` does."""
        self.asked.append((repo_id, allow_patterns, revision))
        there = self.folder / repo_id
        if not there.is_dir():
            raise OSError("404")
        found = self.folder / "cache" / repo_id
        for path in there.rglob("*"):
            name = str(path.relative_to(there))
            if path.is_file() and any(fnmatch(name, pattern) for pattern in allow_patterns):
                (found / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, found / name)
        found.mkdir(parents=True, exist_ok=True)
        return str(found)


@pytest.fixture
def there(monkeypatch, tmp_path):
    """The hub; and an empty current folder."""
    made = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", made.download)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return made


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """A model with a card."""
    folder = tmp_path_factory.mktemp("shipped")
    run = small_run(folder / "run")
    shipping.ship(Run.open(run), folder / "small", count=20, unfinished=True)
    return folder / "small"


def equal(flow, other):
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in flow.state_dict().items())


def test_a_flow_comes_from_the_hub(there, capsys):
    flow = random_flow(torch.float32)
    flow.save_pretrained(there.folder / "owner/name")
    loaded = load_flow("owner/name")
    assert (loaded.config, loaded.training) == (config(levels=2), False)
    assert equal(loaded, flow)
    assert equal(type(flow).from_pretrained("owner/name", revision="v1"), flow)
    assert [revision for _, _, revision in there.asked] == [None, "v1"]
    said = capsys.readouterr()
    assert said.out == ""
    assert "No folder owner/name: looking for it on the Hugging Face hub." in said.err


def test_the_page_of_a_card_is_one_of_the_hub(shipped):
    about = ModelCard.load(shipped / "README.md").data.to_dict()
    assert about["library_name"] == "rgflow"
    assert about["pipeline_tag"] == "unconditional-image-generation"
    assert {"normalizing-flow", "rg-flow"} <= set(about["tags"])
    assert about["license"] == "mit"


def test_only_the_files_of_a_model_are_downloaded(there):
    random_flow(torch.float32).save_pretrained(there.folder / "owner/name")
    (there.folder / "owner/name/modeling.py").write_text("raise SystemExit")
    load_flow("owner/name")
    ((_, patterns, _),) = there.asked
    assert patterns == MODEL_FILES
    assert not any("*" in pattern for pattern in patterns)
    assert not (there.folder / "cache/owner/name/modeling.py").exists()
    with pytest.raises(FileNotFoundError, match="owner/other on the Hugging Face hub; it couldn't"):
        load_flow("owner/other")
    with pytest.raises(FileNotFoundError, match="at revision v9 on the Hugging Face hub"):
        load_flow("owner/other", revision="v9")


def test_code_that_a_model_names_is_not_run(there, tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text("from pathlib import Path; Path('sprung').touch()")
    monkeypatch.syspath_prepend(tmp_path)
    random_flow(torch.float32).save_pretrained(there.folder / "owner/name")
    path = there.folder / "owner/name/config.json"
    content = json.loads(path.read_text())
    content["config"]["map"] = {"kind": "trap.Bijector"}
    path.write_text(json.dumps(content))
    weights = path.with_name("model.safetensors")
    save_file(load_file(weights), weights)  # without the config that they were saved with
    with pytest.raises(ValueError, match="'trap.Bijector' would run code: if you know it"):
        load_flow("owner/name")
    path.write_text("[" * 100_000)  # which json would give up on
    with pytest.raises(ValueError, match="is damaged"):
        load_flow("owner/name")
    assert not (tmp_path / "here/sprung").exists()


def test_a_local_folder_comes_first(there):
    flow = random_flow(torch.float32)
    flow.save_pretrained("owner/name")
    assert equal(load_flow("owner/name"), flow)
    with pytest.raises(
        ValueError, match="Expected a revision only for a model on the Hugging Face"
    ):
        load_flow("owner/name", revision="v1")
    # Beside what is there, it is a slip of the keyboard.
    with pytest.raises(FileNotFoundError, match=r"there is none at owner/nam\.$"):
        load_flow("owner/nam")
    assert not there.asked


def test_commands_take_a_model_of_the_hub(there, shipped, capsys):
    shutil.copytree(shipped, there.folder / "owner/small")
    random_flow(torch.float32).save_pretrained(there.folder / "owner/plain")
    for name in ("owner/small", "owner/plain"):
        assert main(["sample", name, "-n", "2"]) == 0
        assert (there.folder.parent / f"here/results/{name}/pictures/samples.png").is_file()
    assert trained.load("owner/plain").name == "owner/plain"
    capsys.readouterr()
    assert main(["info", "owner/small", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "small"
    begun = ["train", "--pretrained", "owner/small", "--steps", "1", "--print_config"]
    assert main(begun) == 0
    assert "pretrained: owner/small" in capsys.readouterr().out


def test_without_the_package(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"run pip install 'rgflow\[hub\]'"):
        load_flow("owner/name")
