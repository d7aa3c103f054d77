"""Models on disk: strict loading, and one clear sentence for whatever is wrong."""

import json
import os
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from flows import config, random_flow
from rgflow import RealNVP, RGFlow, data, load_flow, make_flow, preset, tensors
from rgflow.kinds import trust


@pytest.fixture
def folder(tmp_path):
    random_flow(torch.float32).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def edit(folder, **changes):
    """Change the config of a model that has no digests, as of an earlier version."""
    path, weights = folder / "config.json", folder / "model.safetensors"
    content = json.loads(path.read_text())
    content["config"] |= changes
    path.write_text(json.dumps(content))
    save_file(load_file(weights), weights)


def test_a_config_that_was_changed(folder):
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"laplace"', '"gaussian"'))
    with pytest.raises(ValueError, match="as it was saved with the weights beside it; it is anoth"):
        RGFlow.from_pretrained(folder)


def test_weights_without_digests_of_an_earlier_version(folder):
    expected = RGFlow.from_pretrained(folder).state_dict()
    edit(folder)
    for name, value in RGFlow.from_pretrained(folder).state_dict().items():
        assert torch.equal(value, expected[name])


def test_weights_have_the_rights_of_other_files(folder, monkeypatch):
    modes = {path.stat().st_mode & 0o777 for path in folder.iterdir()}
    before = os.umask(0o027)
    os.umask(before)
    assert modes == {0o666 & ~before}

    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)  # root may read everything
    with pytest.raises(PermissionError, match="config.json may not be: change its permissions"):
        RGFlow.from_pretrained(folder)


def test_a_checkpoint_is_a_config_and_weights(folder):
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]
    flow = RGFlow.from_pretrained(folder)
    assert not flow.training
    assert flow.config == config(levels=2)


def test_tuples_come_back_as_tuples(tmp_path):
    RGFlow(config(depth=(2, 1))).save_pretrained(tmp_path)
    assert RGFlow.from_pretrained(tmp_path).config == config(depth=(2, 1), levels=2)


def test_missing(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match="there is none at /no/such/place"):
        RGFlow.from_pretrained("/no/such/place")
    with pytest.raises(
        FileNotFoundError, match="the config of a model, .* there is none at .*config.json"
    ):
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
    RealNVP(config(geometry="squeeze")).save_pretrained(folder)
    with pytest.raises(ValueError, match="that RGFlow has; got Squeeze: make_flow picks"):
        RGFlow.from_pretrained(folder)
    assert isinstance(load_flow(folder), RealNVP)


@pytest.mark.parametrize(
    "changes",
    [
        {"map": {"kind": "affine", "depth": 3}},
        {"map": {"kind": "affine", "hidden": 17}},
        {"map": "cube"},
    ],
)
def test_weights_that_do_not_fit_the_config(folder, changes):
    edit(folder, **changes)
    with pytest.raises(ValueError, match="to fit the config beside them; they don't"):
        RGFlow.from_pretrained(folder)


def test_unknown_keys(folder):
    edit(folder, heigth=3)
    with pytest.raises(ValueError, match=r"got 'heigth' \(nearest: height\)"):
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


def test_names_of_shared_weights_are_few(tmp_path):
    """Modules that share all tensors are named, not each tensor."""
    windows = {"kind": "windows", "period": 4, "shared_phases": True}
    flow = random_flow(torch.float32, map="window", depth=1, pixels="uniform", geometry=windows)
    flow.save_pretrained(tmp_path)
    kept, words = tensors.load(tmp_path / "model.safetensors")
    state = flow.state_dict()
    assert len(kept) + 3 * (len(words) - 1) < len(state)
    loaded = load_flow(tmp_path).state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_a_file_that_names_too_many_tensors(folder):
    kept, words = tensors.load(folder / "model.safetensors")
    words |= {f"other{k}": "steps" for k in range(100_000)}
    tensors.save(folder / "model.safetensors", kept, words)
    with pytest.raises(ValueError, match="it names more than 131,072 tensors"):
        RGFlow.from_pretrained(folder)


# ---------------------------------------------------------------- code of others


def test_code_that_a_model_names_is_not_run(folder, tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text("from pathlib import Path; Path('sprung').touch()")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    edit(folder, map={"kind": "trap.Bijector"})
    for load in (load_flow, RGFlow.from_pretrained):
        with pytest.raises(ValueError, match="'trap.Bijector' would run code: if you know it"):
            load(folder)
    assert not (tmp_path / "sprung").exists()
    with pytest.raises(ValueError, match="'trap.Bijector' can't be imported"):
        load_flow(folder, trust="trap.Bijector")  # there is no such class in it
    assert (tmp_path / "sprung").exists()


def test_a_bijector_of_your_own_that_is_trusted(tmp_path, monkeypatch):
    (tmp_path / "own_maps.py").write_text(
        "from rgflow.bijectors import AffineCoupling\n"
        "class Own(AffineCoupling):\n"
        "    def __init__(self, spec):\n"
        "        super().__init__(spec, conditioner='trunk', hidden=4, blocks=1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="'own_maps.Own' would run code"):
        RGFlow(config(map="own_maps.Own"))
    trust("own_maps")
    flow = RGFlow(config(map="own_maps.Own"))
    flow.save_pretrained(tmp_path / "model")
    del sys.modules["own_maps"]
    with pytest.raises(ValueError, match="add --trust own_maps.Own, or trust='own_maps.Own' in Py"):
        load_flow(tmp_path / "model")
    loaded = load_flow(tmp_path / "model", trust="own_maps.Own")
    assert "own_maps.Own" in str({type(m) for m in loaded.modules()})


# ---------------------------------------------------------------- 16 bits


@pytest.mark.parametrize(
    "options",
    [{}, {"map": "cube", "pixels": "marginal"}, {"map": "coarse_to_fine"}],
)
def test_weights_in_float16(tmp_path, options):
    flow = random_flow(torch.float32, hidden=64, **options)
    flow.save_pretrained(tmp_path / "whole")
    flow.save_pretrained(tmp_path / "half", storage="float16")
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half")]
    assert 0.5 < sizes[1] / sizes[0] < 0.65
    assert json.loads((tmp_path / "half/config.json").read_text())["storage"] == "float16"
    assert json.loads((tmp_path / "whole/config.json").read_text())["storage"] == "float32"
    loaded = RGFlow.from_pretrained(tmp_path / "half")
    assert loaded.dtype == torch.float32
    for name, now in loaded.state_dict().items():
        was = flow.state_dict()[name]
        assert now.dtype == was.dtype
        assert torch.equal(now, was.half().float() if was.is_floating_point() else was), name
    loaded.save_pretrained(tmp_path / "again", storage="float16")
    weights = [tmp_path / name / "model.safetensors" for name in ("half", "again")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_shared_weights_in_float16_are_shared(tmp_path):
    flow = random_flow(torch.float32, shared=True)
    flow.save_pretrained(tmp_path / "whole")
    flow.save_pretrained(tmp_path / "half", storage="float16")
    whole, half = (
        (tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half")
    )
    saved = 2 * sum(p.numel() for p in flow.parameters())
    assert whole - half == pytest.approx(saved, rel=0.01)
    assert isinstance(load_flow(tmp_path / "half"), RGFlow)


@pytest.mark.parametrize("factor", [1e6, 1e-9, float("nan")])
def test_weights_that_float16_does_not_hold(tmp_path, factor):
    flow = random_flow(torch.float32)
    with torch.no_grad():
        next(flow.parameters()).mul_(factor)
    with pytest.raises(ValueError, match="Expected weights that float16 holds, up to 65504 and"):
        flow.save_pretrained(tmp_path / "model", storage="float16")
    assert not (tmp_path / "model").exists()
    with pytest.raises(ValueError, match="storage to be one of float16; got 'float8'"):
        flow.save_pretrained(tmp_path / "model", storage="float8")


def test_a_trained_flow_from_float16_encodes_without_loss(tmp_path):
    images = torch.from_numpy(data.load("msds1", "test", count=20).images.copy())
    whole = make_flow(preset("msds1-tiny").model)
    whole.fit_pixels(images)
    optimizer = torch.optim.Adam(whole.parameters(), 4e-3)
    for _ in range(8):
        optimizer.zero_grad()
        whole.unit(whole.log_prob(images[10:])).mean().backward()
        optimizer.step()
    images = images[:10]
    whole.save_pretrained(tmp_path / "half", storage="float16")
    half = load_flow(tmp_path / "half")
    with torch.no_grad():
        change = half.unit(half.log_prob(images)) - whole.unit(whole.log_prob(images))
    assert 0 < change.abs().max() < 0.01
    z = half.encode(images)  # which is an error in tests where it takes float64
    assert torch.equal(half.decode(z).floor().to(torch.uint8), images)
