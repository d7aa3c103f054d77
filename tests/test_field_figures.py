"""Pictures of receptive fields, and the command that makes them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from flows import random_flow
from rgflow import figures
from rgflow.analysis import receptive_fields
from rgflow.cli import main
from rgflow.figures.fields import FRAME, _order
from rgflow.figures.images import GAP
from rgflow.training.run import Run
from runs import small_run


@pytest.fixture(scope="module")
def results():
    """Fields of flows with and without a generation cone."""
    flows = {
        "RG-Flow": random_flow(height=16, width=16),
        "open": random_flow(height=16, width=16, boundary="open", channels=1),
        "Real NVP": random_flow(geometry="squeeze", levels=2, hidden=6),
    }
    return {name: receptive_fields(flow, draws=2) for name, flow in flows.items()}


def test_strengths_without_a_threshold_and_without_any(results, axes):
    one = {"RG-Flow": results["RG-Flow"]}
    figures.strengths(one, threshold=0.0)
    assert len(axes) == 3
    assert not any(ax.lines for ax in axes)
    found = results["RG-Flow"]
    still = replace(found, strengths=found.strengths * 0)
    with pytest.raises(ValueError, match="none does"):
        figures.strengths({"still": still})


def test_heat_goes_from_dark_to_bright():
    field = torch.tensor([[0.0, 1.0], [2.0, 4.0]])
    colours = figures.heat(field).int()
    assert colours.shape == (3, 2, 2)
    brightness = colours.sum(0).flatten().tolist()
    assert brightness == sorted(brightness)
    assert brightness[0] < 20
    assert torch.equal(figures.heat(field * 1e-6).int(), colours)
    assert torch.equal(figures.heat(field * 0), figures.heat(torch.zeros(2, 2)))


def test_maps_stand_row_by_row(results):
    found = results["RG-Flow"]
    addresses = found.strongest(5)
    picture = np.asarray(figures.maps(found, addresses, columns=3))
    edge = 96
    for k, address in enumerate(addresses):
        colours = figures.heat(found.field(address)).permute(1, 2, 0).numpy()
        step = (np.array(picture.shape[:2]) + figures.fields.SPACE) // (2, 3)
        y, x = k // 3 * step[0], k % 3 * step[1]
        assert np.array_equal(picture[y : y + edge : 6, x : x + edge : 6], colours)
    with pytest.raises(ValueError, match="at least one latent"):
        figures.maps(found, [])


@pytest.mark.parametrize("name", ["RG-Flow", "open", "Real NVP"])
def test_an_atlas_holds_every_field_of_a_level(name, results):
    found = results[name]
    for level in range(found.lattice.levels):
        threshold = found.of_level(level).median().item()
        picture = np.asarray(figures.atlas(found, level, threshold))
        framed = (picture == FRAME).all(2)
        assert framed.sum() > 100
        assert (np.asarray(figures.atlas(found, level, 1e9)) == FRAME).all(2).sum() == 0
    with pytest.raises(ValueError, match="level of 0 to"):
        figures.atlas(found, 9)


def test_an_atlas_puts_maps_where_latents_are():
    flow = random_flow(height=16, width=16, channels=1)
    sites = flow.lattice.box(0, 0, 4, 4)
    found = receptive_fields(flow, draws=1, sites=sites)
    picture = figures.atlas(found, 0)
    assert picture.width > 600
    rows, columns = found.fields[0].shape[1:]
    data = np.asarray(picture)
    dark = (data == 40).all(2)
    # Of 4 × 4 places of level 0 a quarter belongs to higher levels, and stays empty.
    scale = round((640 / 4 - GAP) / rows)
    assert dark.sum() >= 4 * (rows * scale) * (columns * scale)
    with pytest.raises(ValueError, match="whose fields were computed"):
        figures.atlas(receptive_fields(flow, draws=1, sites=flow.lattice.site(2, 0, 0)), 0)


def test_windows_are_shown_as_they_lie_in_space():
    rows = torch.tensor([[0, 1, 14, 15], [3, 4, 5, 6], [0, 13, 14, 15], [2, 3, -1, -1]])
    order = _order(rows)
    sorted_rows = rows.gather(1, order)
    assert sorted_rows.tolist() == [[14, 15, 0, 1], [3, 4, 5, 6], [13, 14, 15, 0], [2, 3, -1, -1]]
    assert _order(torch.tensor([[5], [6]])).tolist() == [[0], [0]]


def test_large_atlases_are_pooled(results, monkeypatch):
    found = results["Real NVP"]
    monkeypatch.setattr(figures.fields, "PANEL", 1)
    whole = figures.atlas(found, 0)
    monkeypatch.setattr(figures.fields, "MAX_PANEL", 40)
    assert figures.atlas(found, 0).height < whole.height - 30


def test_histograms_count_every_latent(results, axes):
    one = {"RG-Flow": results["RG-Flow"]}
    figures.strengths(one, threshold=0.01)
    found = results["RG-Flow"]
    assert len(axes) == 3
    for level, ax in zip((2, 1, 0), axes, strict=True):
        heights = [patch.get_height() for patch in ax.patches]
        values = found.of_level(level)
        assert sum(heights) == len(values)
        visible = int((values > 0.01).sum())
        told = f"level {level}: {visible} of {len(values)} visible"
        assert told in [text.get_text() for text in ax.texts]
        assert ax.lines[0].get_xdata() == [0.01, 0.01]
    assert "2 draws, temperature 1" in axes[-1].get_xlabel()


def test_a_name_with_dollars_is_no_formula(results, axes):
    figures.strengths({"a$^$b": results["RG-Flow"], "b": results["open"]})
    assert axes[0].get_title(loc="left") == r"a\$^\$b"


def test_several_flows_stand_side_by_side(results, axes):
    both = {name: results[name] for name in ("RG-Flow", "Real NVP")}
    figures.strengths(both)
    titles = [ax.get_title(loc="left") for ax in axes]
    assert titles.count("RG-Flow") == titles.count("Real NVP") == 1
    assert sum(len(ax.patches) > 0 for ax in axes) == 5
    columns = [[ax for ax in axes if ax.get_subplotspec().colspan.start == k] for k in (0, 1)]
    assert columns[0][-1].get_xlim() == columns[1][-1].get_xlim()
    single = figures.strongest({"RG-Flow": both["RG-Flow"]}, 4)
    pair = figures.strongest(both, 4)
    assert pair.width > 1.8 * single.width


def test_different_units_have_axes_of_their_own(results, axes):
    found = results["RG-Flow"]
    other = replace(found, change="redraw", space="pixels", strengths=1000 * found.strengths)
    figures.strengths({"one": found, "other": other})
    left, right = (ax for ax in axes if ax.get_xlabel())
    assert left.get_xlim()[1] < right.get_xlim()[1]
    assert "in grey levels" in right.get_xlabel()


# ---------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small_run(tmp_path_factory.mktemp("runs") / "run", height=16, width=16)


@pytest.fixture(scope="module")
def real_nvp(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "nvp"
    return small_run(folder, geometry="squeeze", levels=2, hidden=6)


def test_command(run, capsys):
    assert main(["fields", str(run), "--draws", "2", "--threshold", "0.05"]) == 0
    said = capsys.readouterr().out
    flow = Run.open(run).flow()
    found = receptive_fields(flow, draws=2)
    tensors = load_file(run / "fields.safetensors")
    assert torch.equal(tensors["strengths"], found.strengths)
    assert torch.equal(tensors["errors"], found.errors)
    for level in range(3):
        assert torch.equal(tensors[f"fields{level}"], found.fields[level])
    about = json.loads((run / "fields.json").read_text())
    how = {"space": "flow", "temperature": 1.0, "draws": 2, "seed": 0, "threshold": 0.05}
    assert {key: about[key] for key in how} == how
    for part in about["levels"]:
        visible = int((found.of_level(part["level"]) > 0.05).sum())
        assert (part["visible"], part["latents"]) == (visible, len(found.of_level(part["level"])))
        _, i, j, c = part["strongest"][0]["address"]
        assert part["strongest"][0]["strength"] == found.strengths[c, i, j].item()
        assert part["strongest"][0]["standard_error"] == found.errors[c, i, j].item()
        assert f"{part['level']}, ({i}, {j}), {c}" in said
    for name in ("fields", "strengths", "atlas-level0", "atlas-level1", "atlas-level2"):
        Image.open(run / "pictures" / f"{name}.png").verify()


def test_command_of_a_model_of_another_kind(real_nvp, tmp_path):
    arguments = ["fields", str(real_nvp / "model"), "--draws", "1", "--out", str(tmp_path)]
    arguments += ["--space", "pixels", "--temperature", "0.5"]
    assert main(arguments) == 0
    about = json.loads((tmp_path / "fields.json").read_text())
    assert about["levels"][0]["strongest"][0]["standard_error"] is None
    assert (about["space"], about["temperature"]) == ("pixels", 0.5)
    assert sum(part["latents"] for part in about["levels"]) == 192
    strengths = load_file(tmp_path / "fields.safetensors")["strengths"]
    other = receptive_fields(
        Run.open(real_nvp).flow(), draws=1, space="pixels", temperature=0.5
    ).strengths
    torch.testing.assert_close(strengths, other)


def test_command_of_some_latents(run, tmp_path):
    address = "[[1, 2, 0, 1], [0, 5, 5, 2]]"
    arguments = ["fields", str(run), "--latents", address, "--draws", "1", "--out", str(tmp_path)]
    assert main(arguments) == 0
    some = ["fields-latents.json", "fields-latents.png", "fields-latents.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == some
    assert main(["fields", str(run), "--level", "2", "--draws", "1", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "atlas-level2.png").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "atlas-level2.png",
        *some,
        "fields-level2.json",
        "fields-level2.png",
        "fields-level2.safetensors",
        "strengths-level2.png",
    ]
    levels = json.loads((tmp_path / "fields-level2.json").read_text())["levels"]
    assert [part["level"] for part in levels] == [2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--latents", "[[1, 1, 1, 0]]"], "Expected a position of level 1"),
        (["--latents", "[[1, 2, 0, 7]]"], "Expected a channel of 0 to 2; got 7"),
        (["--latents", "[[1, 2, 0]]"], "level, row, column and channel of every latent"),
        (["--latents", "[]"], "at least one site"),
        (["--latents", "[[1, 2, 0, 1]]", "--level", "1"], "Expected --latents or --level"),
        (["--level", "7"], "Expected a level of 0 to 2; got 7"),
        (["--space", "pixel"], "nearest: pixels"),
        (["--draws", "0"], "draws to be at least 1"),
        (["--threshold", "-1"], "Expected --threshold to be at least 0"),
        (["--temperature", "[1.0, 2.0]"], "one for each of the 3 levels"),
        (["--out", "/proc/none/there", "--draws", "1"], "Expected to write into"),
    ],
)
def test_mistakes(run, arguments, message, capsys):
    assert main(["fields", str(run), *arguments]) == 2
    assert message in capsys.readouterr().err
