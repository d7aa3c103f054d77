"""Import of the released code's files, against numbers that the released code gave.

The fixtures were made with it, at a width of 6, with random parameters and in float64: weights
(`.state`), 8-bit images, their latents and log-densities, and random latents with their images
before the logit is undone.
"""

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from reproducing.released import load_released
from rgflow import Latents

FOLDER = Path(__file__).parent / "fixtures" / "released"


@pytest.fixture(params=["colour", "grey"])
def case(request):
    flow = load_released(FOLDER / f"{request.param}.state").double()
    numbers = np.load(FOLDER / f"{request.param}.npz")
    return flow, {name: torch.from_numpy(numbers[name]) for name in numbers}


def test_the_architecture_is_read_off_the_file(case):
    flow, numbers = case
    config = flow.config
    assert numbers["x8"].shape[1:] == (config.channels, config.height, config.width)
    assert (config.map.hidden, config.map.blocks, config.geometry.m) == (6, 2, 4)
    assert config.to_dict()["prior"]["kind"] == ("laplace" if config.channels == 3 else "gaussian")


def test_log_densities_and_latents_are_equal(case):
    flow, numbers = case
    z = flow.encode(numbers["x8"])
    torch.testing.assert_close(z.image(), numbers["z"], rtol=1e-5, atol=1e-6)
    per_unit = flow.log_prob(numbers["x8"]) + flow.dim * math.log(256)
    torch.testing.assert_close(per_unit, numbers["log_prob"], rtol=1e-5, atol=0)


def test_inverse_maps_are_equal(case):
    flow, numbers = case
    z = Latents.from_image(numbers["sample_z"], flow.lattice)
    y = flow.coarse(z, space="flow")[0]
    torch.testing.assert_close(y, numbers["sample_y"], rtol=1e-5, atol=1e-6)


def test_an_imported_flow_is_saved_and_loaded_like_any_other(tmp_path):
    from rgflow import load_flow

    flow = load_released(FOLDER / "colour.state")
    flow.save_pretrained(tmp_path)
    x8 = torch.randint(256, (2, 3, 16, 16), dtype=torch.uint8)
    assert torch.equal(load_flow(tmp_path).log_prob(x8), flow.log_prob(x8))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("layers.3.t_layers.0.res_blocks.0.1.bias", lambda v: v[:1], r"shape \[6\]; got \[1\]"),
        ("layers.3.t_layers.0.res_blocks.0.1.bias", lambda v: v.new_ones(7), r"got \[7\]"),
        ("layers.3.t_layers.0.res_blocks.0.1.bias", lambda v: v[0], r"got \[\]"),
        ("layers.3.t_layers.0.res_blocks.0.1.weight_v", lambda v: v[:, :5], r"got \[6, 5\]"),
        ("layers.3.t_layers.0.res_blocks.0.1.weight_g", lambda v: v[:, 0], r"1\]; got \[6\]"),
        ("layers.3.t_layers.0.scale.scale", lambda v: v[:3], r"shape \[48\]; got \[3\]"),
        ("layers.3.t_layers.0.scale.scale", lambda v: v / 0, "finite numbers.*got some that are"),
        ("layers.3.t_layers.0.scale.scale", lambda v: v * math.nan, "finite numbers"),
        ("layers.3.t_layers.0.scale.scale", lambda v: 3, "or is damaged"),
        ("layers.3.t_layers.0.res_blocks.0.1.other", lambda v: v, "such as layers.3.*other"),
        ("layers.3.t_layers.0.res_blocks.9.1.bias", lambda v: v, "such as layers.3.*9.1.bias"),
        ("layers.3.t_layers.9.scale.scale", lambda v: v, "or is damaged|such as|no others"),
        ("layers.0.mask_left", lambda v: v[0, 0], "or is damaged"),
        ("prior.scale", lambda v: v.int(), "or is damaged|scale"),
        ("prior.scale", lambda v: v * math.nan, "Expected scale to be a finite number; got nan"),
    ],
)
def test_damaged_weights(tmp_path, name, change, message):
    weights = torch.load(FOLDER / "colour.state", weights_only=True)["flow"]
    weights[name] = change(weights.get(name, torch.ones(6)))
    torch.save({"flow": weights}, tmp_path / "damaged.state")
    with pytest.raises(ValueError, match=message):
        load_released(tmp_path / "damaged.state")


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("evil"),))


def test_bad_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="none at /no/such"):
        load_released("/no/such")
    (tmp_path / "a.state").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="isn't one, or is damaged"):
        load_released(tmp_path / "a.state")
    with (tmp_path / "b.state").open("wb") as file:
        pickle.dump({"flow": Evil()}, file)
    with pytest.raises(ValueError, match="read as weights only"):
        load_released(tmp_path / "b.state")
    assert not (tmp_path / "evil").exists()
    for content in (torch.zeros(3), {"flow": {"a": 1}}, {"flow": [1, 2]}):
        torch.save(content, tmp_path / "c.state")
        with pytest.raises(ValueError, match="isn't one, or is damaged"):
            load_released(tmp_path / "c.state")
    weights = torch.load(FOLDER / "colour.state", weights_only=True)["flow"]
    for name, change in (("missing", 1), ("extra", 2)):
        changed = dict(weights)
        if change == 1:
            del changed["layers.3.t_layers.0.scale.scale"]
        else:
            changed["layers.3.t_layers.0.other"] = torch.zeros(1)
        torch.save({"flow": changed}, tmp_path / f"{name}.state")
        with pytest.raises(ValueError, match="weights of all couplings and no others"):
            load_released(tmp_path / f"{name}.state")
    with pytest.raises(ValueError, match="prior to be one of laplace, gaussian"):
        load_released(FOLDER / "colour.state", prior="student")
