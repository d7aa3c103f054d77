"""Models on disk: strict loading, and one clear sentence for whatever is wrong."""

import json

import pytest
import torch

from flows import config, random_flow
from rgflow import RealNVP, RGFlow, load_flow


@pytest.fixture
def folder(tmp_path):
    random_flow(torch.float32).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def edit(folder, **changes):
    path = folder / "config.json"
    content = json.loads(path.read_text())
    content["config"].update(changes)
    path.write_text(json.dumps(content))


def test_a_checkpoint_is_a_config_and_weights(folder):
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]
    flow = RGFlow.from_pretrained(folder)
    assert not flow.training
    assert flow.config == config()


def test_tuples_come_back_as_tuples(tmp_path):
    RGFlow(config(depth=(2, 1))).save_pretrained(tmp_path)
    assert RGFlow.from_pretrained(tmp_path).config == config(depth=(2, 1))


def test_missing(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match="there is none at /no/such/place"):
        RGFlow.from_pretrained("/no/such/place")
    with pytest.raises(FileNotFoundError, match="no config.json there"):
        RGFlow.from_pretrained(tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="Expected model.safetensors in"):
        RGFlow.from_pretrained(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', "\x00"])
def test_damaged_configs(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(ValueError, match="is damaged"):
        RGFlow.from_pretrained(folder)


def test_other_formats_and_kinds(folder):
    (folder / "config.json").write_text(json.dumps({"format": 9, "config": {}}))
    with pytest.raises(ValueError, match="to be of format 1; got 9"):
        RGFlow.from_pretrained(folder)
    RealNVP(config(architecture="real_nvp")).save_pretrained(folder)
    with pytest.raises(ValueError, match="architecture rg; got real_nvp: make_flow picks"):
        RGFlow.from_pretrained(folder)
    assert isinstance(load_flow(folder), RealNVP)


@pytest.mark.parametrize("changes", [{"depth": 3}, {"hidden": 17}, {"bijector": "cube"}])
def test_weights_that_do_not_fit_the_config(folder, changes):
    edit(folder, **changes)
    with pytest.raises(ValueError, match="to fit the config beside them; they don't"):
        RGFlow.from_pretrained(folder)


def test_unknown_keys(folder):
    edit(folder, dephts=3)
    with pytest.raises(ValueError, match=r"got 'dephts' \(nearest: depth\)"):
        RGFlow.from_pretrained(folder)


@pytest.mark.parametrize("keep", [0, 7, 1000])
def test_damaged_weights(folder, keep):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="Expected weights as safetensors; .* is damaged"):
        RGFlow.from_pretrained(folder)


def test_shared_weights_are_stored_once(tmp_path):
    flow = random_flow(torch.float32, shared=True)
    flow.save_pretrained(tmp_path)
    size = (tmp_path / "model.safetensors").stat().st_size
    assert size < 1.3 * 4 * sum(p.numel() for p in flow.parameters()) + 20_000
