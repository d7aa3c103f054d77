"""Models to and from the Hugging Face hub, of which a folder on this machine takes the place."""

import json
import shutil
import sys
from fnmatch import fnmatch
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from flows import config, random_flow
from rgflow import load_flow, trained
from rgflow.cards import Card
from rgflow.cli import main
from rgflow.files import MODEL_FILES
from rgflow.hub import push
from rgflow.training import shipping
from rgflow.training.run import Run
from runs import small_run

huggingface_hub = pytest.importorskip("huggingface_hub")
from huggingface_hub import ModelCard, hub_mixin  # noqa: E402


class Hub:
    """What the hub holds, in a folder, and what it was asked."""

    def __init__(self, folder):
        self.folder, self.asked, self.made = folder, [], []

    def create_repo(self, repo_id, **options):
        if repo_id.startswith("refused/"):
            raise OSError("403 Forbidden: you aren't refused.\nMore lines.")
        (self.folder / repo_id).mkdir(parents=True, exist_ok=True)
        self.made.append((repo_id, options["private"]))
        return SimpleNamespace(repo_id=repo_id)

    def upload_folder(self, repo_id, folder_path, **options):
        shutil.copytree(folder_path, self.folder / repo_id, dirs_exist_ok=True)
        return f"hub:{repo_id}"

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
    monkeypatch.setattr(hub_mixin, "HfApi", lambda token: made)
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


def test_a_flow_goes_to_the_hub_and_comes_back(there, capsys):
    flow = random_flow(torch.float32)
    assert flow.push_to_hub("owner/name", private=True) == "hub:owner/name"
    assert there.made == [("owner/name", True)]
    names = {path.name for path in (there.folder / "owner/name").iterdir()}
    assert names == {"README.md", "config.json", "model.safetensors"}
    loaded = load_flow("owner/name")
    assert (loaded.config, loaded.training) == (config(levels=2), False)
    assert equal(loaded, flow)
    assert equal(type(flow).from_pretrained("owner/name", revision="v1"), flow)
    assert [revision for _, _, revision in there.asked] == [None, "v1"]
    said = capsys.readouterr()
    assert said.out == ""
    assert "No folder owner/name: looking for it on the Hugging Face hub." in said.err


def test_the_card_of_a_flow_on_the_hub(there):
    random_flow(torch.float32).push_to_hub("owner/name")
    card = ModelCard.load(there.folder / "owner/name/README.md")
    about = card.data.to_dict()
    assert about["library_name"] == "rgflow"
    assert about["pipeline_tag"] == "unconditional-image-generation"
    assert {"normalizing-flow", "rg-flow"} <= set(about["tags"])
    assert "license" not in about  # whose weights they are, nobody knows
    assert 'load_flow("owner/name")' in card.text
    assert "RG-Flow, m = 4" in card.text


def test_a_model_goes_with_its_card(there, shipped):
    assert push(shipped, "owner/small", branch="new") == "hub:owner/small"
    on_hub = there.folder / "owner/small"
    for name in ("card.json", "config.json", "model.safetensors", "quantiles.json"):
        assert (on_hub / name).read_bytes() == (shipped / name).read_bytes()
    card = ModelCard.load(on_hub / "README.md")
    assert card.data.to_dict()["license"] == "mit"
    assert card.text.strip() == Card.read(shipped).page("owner/small").strip()
    assert equal(load_flow("owner/small"), load_flow(shipped))  # by the digest on its card


def test_only_the_files_of_a_model_are_downloaded(there):
    random_flow(torch.float32).push_to_hub("owner/name")
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
    random_flow(torch.float32).push_to_hub("owner/name")
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
    push(shipped, "owner/small")
    random_flow(torch.float32).push_to_hub("owner/plain")
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


def test_models_by_name_in_a_repository(there, shipped, monkeypatch, capsys):
    shutil.copytree(shipped, there.folder / "owner/models/small")
    shutil.copytree(shipped, there.folder / "owner/models/photos")
    monkeypatch.setenv("RGFLOW_HUB", "owner/models")
    assert equal(load_flow("small"), load_flow(shipped))
    assert there.asked == [("owner/models", [f"small/{name}" for name in MODEL_FILES], None)]
    assert "Looking for small in owner/models on the Hugging Face hub." in capsys.readouterr().err
    assert load_flow("photos").config != load_flow(shipped).config  # that of the package
    for name in ("smal", "s*"):
        with pytest.raises(FileNotFoundError, match=f"there is none at {name}".replace("*", ".")):
            load_flow(name)
    assert not any("*" in pattern for _, patterns, _ in there.asked for pattern in patterns)
    monkeypatch.setenv("RGFLOW_HUB", "owner/nothing")
    assert main(["sample", "small"]) == 2
    assert "Expected owner/nothing on the Hugging Face hub" in capsys.readouterr().err


def test_a_run_is_shipped_to_the_hub(there, tmp_path, capsys):
    run = small_run(tmp_path / "run")
    to = ["ship", str(run), "given", "--unfinished", "--count", "5"]
    assert main([*to, "--push", "owner/given", "--private"]) == 0
    assert "It is at hub:owner/given." in " ".join(capsys.readouterr().out.split())
    assert there.made == [("owner/given", True)]
    assert equal(load_flow("owner/given"), load_flow("./given"))
    for wrong, sentence in (
        (["--push", "given"], "Expected --push to be OWNER/NAME; got 'given'."),
        (["--private"], "Expected --push OWNER/NAME with --private; got none."),
    ):
        assert main([*to, *wrong]) == 2
        assert sentence in capsys.readouterr().err
    assert main([*to, "--push", "refused/given"]) == 2
    err = capsys.readouterr().err
    assert "take refused/given; OSError: 403 Forbidden: you aren't refused. `hf auth login`" in err
    assert err.count("\n") == 1


def test_without_the_package(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.chdir(tmp_path)
    flow = random_flow(torch.float32)
    with pytest.raises(FileNotFoundError, match=r"run pip install 'rgflow\[hub\]'"):
        load_flow("owner/name")
    with pytest.raises(OSError, match="Expected the package huggingface_hub, which uploads"):
        flow.push_to_hub("owner/name")
    assert main(["ship", "run", "model", "--push", "owner/name"]) == 2
    assert "Expected the package huggingface_hub, which uploads" in capsys.readouterr().err
