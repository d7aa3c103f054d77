"""Labels from data sets and files, latents ranked by labels, and what needs no labels."""

import json
import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from flows import random_flow
from rgflow import Latents, Lattice
from rgflow.analysis import find_factors, receptive_fields
from rgflow.analysis.associations import associations
from rgflow.analysis.directions import directions
from rgflow.analysis.factors import Factors
from rgflow.analysis.labels import Label, labels_of, read_csv, spread
from rgflow.cli import main
from rgflow.data import load
from rgflow.geometries import Blocks
from runs import small_run

LATTICE = Lattice(height=16, width=16, geometry=Blocks(m=4))
N = 1000


@pytest.fixture(scope="module")
def z():
    flat = torch.randn(N, 768, generator=torch.Generator().manual_seed(0))
    return Latents.from_flat(flat, LATTICE, channels=3)


def label(name, values, kind="number"):
    return Label(name=name, values=np.asarray(values, dtype=float), kind=kind, group=name)


# ---------------------------------------------------------------- labels


def test_msds_labels_are_its_factors():
    images = load("msds1", "test", count=20)
    found = {one.name: one for one in labels_of(images.labels)}
    assert len(found) == 3 + 16 * 6
    ovals, base = images.labels["ovals"], images.labels["base_colour"]
    red = found["red of oval 2,1"]
    assert red.values == pytest.approx(ovals[:, 2, 1, 3] - base[:, 0])
    assert (red.group, red.box) == ("colour less base", (8, 16, 8, 8))
    assert np.abs(red.values).max() <= 32
    angle = found["angle of oval 2,1"]
    assert angle.targets[:, 0] == pytest.approx(np.cos(np.deg2rad(2 * ovals[:, 2, 1, 2])), abs=1e-6)
    assert set(found["x of oval 3,0"].values) <= {-1, 0, 1}
    assert found["base green"].box is None


def test_msds2_has_its_own_base():
    images = load("msds2", "test", count=20)
    found = {one.name: one for one in labels_of(images.labels)}
    assert found["base angle"].kind == "angle"
    assert found["angle of oval 0,3"].values.min() >= 0
    assert found["angle of oval 0,3"].values.max() <= 45
    assert found["blue of oval 0,3"].group == "colour"


def test_the_box_of_an_oval_is_where_it_is_drawn():
    images = load("msds1", "test", count=20)
    one = next(o for o in labels_of(images.labels) if o.name == "red of oval 3,0")
    y, x, height, width = one.box
    inside = images.images[:, 0, y : y + height, x : x + width].max((1, 2)).astype(float)
    colour = images.labels["ovals"][:, 3, 0, 3]
    assert np.corrcoef(inside, colour)[0, 1] > 0.95


def test_other_labels():
    found = labels_of(
        {
            "smiling": np.array([-1, 1, 1, -1], np.int8),
            "class": np.array([0, 2, 1, 2]),
            "fine_label": np.array([5, 7, 7, 5]),
            "age": np.array([20, 30, 40, 59]),
            "same": np.ones(4),
            "place": np.array([[0.1, 7], [0.2, 8], [0.3, 9], [0.1, 9]]),
        }
    )
    assert [(one.name, one.kind) for one in found] == [
        ("smiling", "binary"), ("class 0", "binary"), ("class 1", "binary"), ("class 2", "binary"),
        ("fine_label 7", "binary"), ("age", "number"), ("place 0", "number"), ("place 1", "number"),
    ]  # fmt: skip
    assert found[3].values.tolist() == [0, 1, 0, 1]


def test_names_of_single_things_are_no_labels():
    names = np.arange(60)
    assert labels_of({"class": names, "chair": names, "person_id": names}) == []
    assert [one.kind for one in labels_of({"age": names})] == ["number"]


def test_spread_keeps_the_labels_of_the_whole_image():
    labels = labels_of(load("msds1", "test", count=20).labels)
    some = spread(labels, 4)
    assert len({one.box for one in some}) == 5
    assert len(some) == 3 + 4 * 6


def test_spread_takes_every_row_and_column():
    labels = labels_of(load("msds1", "test", count=20).labels)
    for places, each in ((4, 1), (8, 2)):
        boxes = {one.box for one in spread(labels, places) if one.box}
        for edge in (0, 1):
            assert Counter(box[edge] for box in boxes) == dict.fromkeys((0, 8, 16, 24), each)


def test_spread_takes_what_is_there_of_one_row():
    row = [
        Label(name=f"{j}", values=np.arange(9.0), group="row", box=(0, 4 * j, 4, 4))
        for j in range(6)
    ]
    assert [one.name for one in spread(row, 3)] == ["0", "2", "3"]
    assert spread(row, 6) == spread(row, 9) == row


# ---------------------------------------------------------------- CSV files


def csv(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    return path


def test_csv_in_the_order_of_images(tmp_path):
    path = csv(tmp_path, "age, glasses\n30,0\n40,1\n50,0\n60,1\n")
    age, glasses = read_csv(path, 3)
    assert (age.name, age.kind, age.values.tolist()) == ("age", "number", [30, 40, 50])
    assert (glasses.name, glasses.kind, glasses.values.tolist()) == ("glasses", "binary", [0, 1, 0])


def test_csv_by_number(tmp_path):
    path = csv(tmp_path, "age\n30\n40\n50\n60\n")
    (age,) = read_csv(path, 3, numbers=(3, 1, 0, 2))
    assert age.values.tolist() == [60, 40, 30]
    with pytest.raises(ValueError, match="Expected at least 5 rows"):
        read_csv(path, 2, numbers=(4, 1))


def test_csv_of_a_split_that_is_chosen_by_a_hash(tmp_path):
    pixels = np.arange(200, dtype=np.uint8)[:, None, None, None]
    np.savez(tmp_path / "a.npz", images=np.broadcast_to(pixels, (200, 8, 8, 1)))
    path = csv(tmp_path, "grey\n" + "\n".join(map(str, range(200))))
    images = load(f"npz:{tmp_path}/a.npz", "test", height=8, width=8, channels=1)
    (grey,) = read_csv(path, len(images), numbers=images.numbers)
    assert grey.values.tolist() == images.images[:, 0, 0, 0].tolist()


def test_csv_by_file_name(tmp_path):
    path = csv(tmp_path, "file,age\nb.png,40\nc.png,50\na.png,30\nd.png,60\n")
    (age,) = read_csv(path, 3, ["a.png", "b.png", "d.png"], {"c.png"})
    assert age.values.tolist() == [30, 40, 60]


def test_csv_says_what_values_are(tmp_path):
    path = csv(
        tmp_path,
        "hair:class,tilt:angle,class,rank:number\nred,0,4,1\nfair,90,4,1\nred,45,5,2\nblack,9,6,3\n",
    )
    found = {one.name: one for one in read_csv(path, 4)}
    assert list(found) == [
        "hair black", "hair fair", "hair red", "tilt", "class 4", "class 5", "class 6", "rank",
    ]  # fmt: skip
    assert found["hair red"].values.tolist() == [1, 0, 1, 0]
    assert (found["hair red"].kind, found["hair red"].group) == ("binary", "hair")
    assert found["tilt"].kind == "angle"
    assert found["tilt"].targets[1] == pytest.approx([-1, 0])
    assert found["rank"].kind == "number"


def test_csv_with_a_class_of_two(tmp_path):
    (one,) = read_csv(
        csv(tmp_path, "id,hair:class\na.png,red\nb.png,fair\n"), 2, ["a.png", "b.png"]
    )
    assert (one.name, one.values.tolist()) == ("hair red", [1, 0])


FILES = ["a.png", "b.png", "c.png"]
MISTAKES = {
    "empty": ("", "Expected a line with different names, and a row .*; got 0 lines"),
    "no header": ("1,2\n3,4\n5,6\n7,8\n", "Expected a line with different .*got 1, 2 as names"),
    "same name": ("a,a\n1,2\n", "Expected a line with different names.*got the name 'a' again"),
    "no name": ("a,\n1,2\n", "Expected a line with different names.*got the name '' again or"),
    "ragged": ("a,b\n1,2\n3\n", "Expected a line with .*; got 1 values instead of 2 in row 2"),
    "few rows": ("a\n1\n2\n", "Expected at least 3 rows, one per image, of .*; got 2: add"),
    "text": ("a,b\n1,2\n3,old\n5,6\n", "Expected a number in every row of .* 'b'.*got 'old' for"),
    "not finite": ("a\n1\nnan\n3\n", "Expected a number in every row of .* 'a'.*got 'nan' for"),
    "missing value": ("a,b\n1,2\n3,\n5,6\n", "Expected a number in every row of .* 'b'.*got ''"),
    "constant": ("a\n1\n1\n1\n", "Expected labels that.*column 'a' of .*got 1 for each of 3"),
    "unknown file": ("f,a\na.png,1\nd.png,2\n", "Expected the names of images.*got 'd.png', which"),
    "twice": ("f,a\na.png,1\na.png,2\n", "Expected one row per image of .*; got two of 'a.png'"),
    "missing": ("f,a\na.png,1\n", "Expected a row for .*none for 'b.png' and 1 more of 3"),
    "unknown kind": ("a:angel\n1\n2\n3\n", "Expected what follows.*got 'angel' .nearest: angle"),
    "no class": ("a:class\nx\n\"\"\ny\n", "Expected a class in .* 'a' .*got '' for image 2"),
    "many": (
        "id\n" + "\n".join(map(str, range(60))),
        "Expected at most 50 classes in column 'id' of .*; got 60: leave it out, or name it",
    ),
    "files without names": ("file\n1\n2\n3\n", "Expected the names of the files in the first"),
    "names only": ("f\na.png\n", "Expected labels beside the file names of"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_csv_mistakes(name, tmp_path):
    text, message = MISTAKES[name]
    files = FILES if text.startswith("f") else None
    with pytest.raises(ValueError, match=message) as raised:
        read_csv(csv(tmp_path, text), 60 if name == "many" else 3, files)
    assert "\n" not in str(raised.value)


def test_csv_mistakes_with_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="Expected a CSV file with labels; there is none"):
        read_csv(tmp_path / "none.csv", 3)
    path = tmp_path / "binary.csv"
    path.write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(ValueError, match="Expected a CSV file in UTF-8"):
        read_csv(path, 3)
    with pytest.raises(ValueError, match="Expected rows in the order of the images.*no file names"):
        read_csv(csv(tmp_path, "f,a\na.png,1\n"), 3)


# ---------------------------------------------------------------- latents and labels


def test_latents_are_ranked_by_labels_and_labels_by_latents(z, tmp_path):
    random = np.random.default_rng(1)
    low, high = (0, 4, 5, 1), (2, 8, 4, 2)
    labels = [
        label("bright", z[high].numpy() + random.normal(size=N)),
        label("smile", z[low].numpy() > 1, "binary"),
        label("chance", random.normal(size=N)),
    ]
    found = associations(z, labels)
    best = found.latents_of("bright")[0]
    assert best.address == high
    assert best.significant
    assert best.correlation == pytest.approx(2**-0.5, abs=0.05)
    smile = found.latents_of("smile", 1)[0]
    assert smile.address == low
    assert found.labels_of(high, 1)[0].label == "bright"
    found.save(tmp_path / "associations.safetensors")
    with safe_open(tmp_path / "associations.safetensors", "np") as file:
        for name in ("information", "correlation", "significant"):
            assert np.array_equal(file.get_tensor(name), getattr(found, name), equal_nan=True)
        settings = {name: json.loads(value) for name, value in file.metadata().items()}
    assert settings == {
        "labels": ["bright", "smile", "chance"], "levels": 3, "images": N, "bins": 8, "rate": 0.05,
    }  # fmt: skip


def test_correlations_are_those_of_numpy(z):
    ones = np.random.default_rng(0).integers(2, size=N)
    values = np.random.default_rng(1).normal(size=N)
    found = associations(z, [label("b", ones, "binary"), label("n", values)])
    for h, i, j, c in ((0, 1, 2, 0), (1, 2, 0, 1), (2, 12, 8, 2)):
        latent = z[h, i, j, c].numpy()
        for k, label_values in enumerate((ones, values)):
            expected = np.corrcoef(label_values, latent)[0, 1]
            assert found.correlation[k, c, i, j] == pytest.approx(expected, abs=1e-5)


def test_an_angle_correlates_across_180_degrees(z):
    angle = np.rad2deg(np.arctan2(z[1, 2, 0, 0].numpy(), z[1, 0, 2, 0].numpy())) / 2 % 180
    found = associations(z, [label("angle", angle, "angle")])
    assert {one.address for one in found.latents_of("angle", 2)} == {(1, 2, 0, 0), (1, 0, 2, 0)}
    assert found.correlation[0, 0, 2, 0] == pytest.approx((np.pi / 4) ** 0.5, abs=0.05)


def test_few_findings_are_by_chance(z):
    random = np.random.default_rng(2)
    labels = [label(str(k), random.normal(size=N)) for k in range(5)]
    labels += [label(f"real {k}", z[0, 1, 2 * k, 0].numpy()) for k in range(5)]
    found = associations(z, labels)
    assert found.significant[5:].sum() >= 5
    assert found.significant.sum() <= 8


def test_latents_are_named_after_the_labels_that_they_know_most_about(z):
    hair, glasses = z[1, 2, 0, 1].numpy(), z[0, 1, 2, 0].numpy()
    labels = [
        Label(name="hair_class 3", values=hair > 1, kind="binary", group="hair_class"),
        Label(name="hair_class 5", values=hair < -1, kind="binary", group="hair_class"),
        Label(name="glasses 0", values=glasses + hair / 10, group="glasses 0"),
    ]
    known = associations(z, labels)
    named = Factors(
        images=N, seed=0, fields=None, latents=None, pixels=None, labels=labels, associations=known
    ).names(1)
    assert named == {"glasses": [(0, 1, 2, 0)], "hair": [(1, 2, 0, 1)]}


def test_mistakes(z):
    with pytest.raises(ValueError, match="Expected at least one label"):
        associations(z, [])
    with pytest.raises(ValueError, match=r"Expected 1000 values of label 'a'.*got shape \[3\]"):
        associations(z, [label("a", [1, 2, 3])])
    with pytest.raises(ValueError, match="Expected finite values of label 'a'; got NaN"):
        associations(z, [label("a", np.where(np.arange(N) == 3, np.nan, 1))])
    found = associations(z, [label("smile", np.arange(N))])
    with pytest.raises(ValueError, match="nearest: smile"):
        found.latents_of("smle")
    with pytest.raises(ValueError, match="Expected a position of level 1"):
        found.labels_of((1, 0, 0, 0))


def test_a_direction_is_found_within_its_levels(z):
    number = z[2, 8, 4, 2].numpy() + z[0, 1, 2, 0].numpy()
    (found,) = directions(z, [label("size", number)], [2])
    assert found.vector[2, 8, 4, 2].item() > 0.97
    assert found.vector.levels[0].abs().max() == found.vector.levels[1].abs().max() == 0
    assert found.vector.flat().norm().item() == pytest.approx(1, abs=1e-5)
    assert (found.label, found.measure) == ("size", "R²")
    assert found.score == pytest.approx(0.4, abs=0.15)
    assert (found.images, found.held_out) == (750, 250)
    (smile,) = directions(z, [label("smile", z[2, 8, 4, 2].numpy() > 1, "binary")], [1, 2])
    assert smile.measure == "AUC"
    assert smile.score > 0.85
    assert smile.vector[2, 8, 4, 2].item() > 0.5


def test_directions_of_few_images_are_fitted_in_their_span(z, monkeypatch):
    few = z.select(slice(0, 200))
    number = few[2, 8, 4, 2].numpy() + few[0, 1, 2, 0].numpy()
    every = [label("size", number), label("large", number > 0, "binary")]
    fast = [directions(few, [one])[0] for one in every]
    monkeypatch.setattr(np.linalg, "qr", lambda x: (np.eye(len(x), dtype=x.dtype),))
    for one, found in zip(every, fast, strict=True):
        (slow,) = directions(few.map(torch.clone), [one])  # of all 768 latents
        assert torch.allclose(found.vector.flat(), slow.vector.flat(), atol=2e-3)
        assert found.penalty == slow.penalty
        assert found.score == pytest.approx(slow.score, abs=5e-3)  # the solver stops early


def test_an_angle_has_two_directions(z):
    x, y = z[2, 8, 4, 2].numpy(), z[2, 0, 12, 1].numpy()
    angle = np.rad2deg(np.arctan2(y, x)) / 2 % 180
    cosine, sine = directions(z, [label("tilt", angle, "angle")], [2])
    assert (cosine.label, sine.label) == ("tilt cosine", "tilt sine")
    assert cosine.vector[2, 8, 4, 2].item() > 0.95
    assert sine.vector[2, 0, 12, 1].item() > 0.95
    assert min(cosine.score, sine.score) > 0.6


def test_a_direction_of_a_part_is_made_of_latents_that_reach_it(z):
    box = (8, 4, 4, 4)
    part = Label(name="part", values=z[0, 9, 6, 0].numpy().astype(float), group="part", box=box)
    (found,) = directions(z, [part])
    moves = (found.vector.image()[0] != 0).any(0).numpy()
    assert (moves == LATTICE.inference_cone(LATTICE.box(*box))).all()
    assert found.box == box
    assert found.vector[0, 9, 6, 0].item() > 0.8


def test_directions_that_are_none(z):
    with pytest.raises(ValueError, match="Expected at least 8 images with and 8 without 'rare'"):
        directions(z, [label("rare", np.arange(N) == 3, "binary")])
    with pytest.raises(ValueError, match="Expected a level of 0 to 2; got 3"):
        directions(z, [label("a", np.arange(N))], [3])
    with pytest.raises(ValueError, match="Expected at least one level to look for directions in"):
        directions(z, [label("a", np.arange(N))], [])
    (nowhere,) = directions(z, [label("noise", np.random.default_rng(1).normal(size=N))])
    assert nowhere.penalty >= 10_000
    assert -0.02 < nowhere.score < 0.05


# ---------------------------------------------------------------- without labels


def test_ready_fields_are_taken_as_they_are():
    flow = random_flow()
    images = torch.randint(256, (30, *flow.image_shape), dtype=torch.uint8)
    fields = receptive_fields(flow, draws=3, seed=7, space="pixels", temperature=0.5)
    assert find_factors(flow, images, fields=fields).fields is fields
    some = receptive_fields(flow, draws=1, sites=flow.lattice.site(0, 0, 1))
    for others in (some, receptive_fields(random_flow(boundary="open"), draws=1)):
        with pytest.raises(ValueError, match="Expected receptive fields of all latents of this"):
            find_factors(flow, images, fields=others)


def test_mistakes_are_told_before_anything_is_done():
    flow = random_flow(torch.float32, hidden=4)
    images = torch.randint(256, (20, *flow.image_shape), dtype=torch.uint8)
    values, told = np.arange(20.0), []
    for options, message in (
        ({"levels": [9]}, "Expected a level of 0 to 1; got 9"),
        ({"levels": []}, "Expected at least one level to look for directions in; got none"),
        ({"places": 0}, "Expected places to be at least 1; got 0"),
        ({"labels": [label("a", values * np.nan)]}, "Expected finite values of label 'a'; got NaN"),
        ({"labels": [label("a", values[1:])]}, "Expected 20 values of label 'a'"),
    ):
        with pytest.raises(ValueError, match=message):
            find_factors(
                flow,
                images,
                **{"labels": [label("a", values)], **options},
                progress=lambda *a: told.append(a),
            )
    assert not told


# ---------------------------------------------------------------- the command

QUICK = ["--count", "60", "--places", "1", "--draws", "1", "--strongest", "8"]


@pytest.fixture(scope="module")
def msds_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("factors")
    return small_run(folder / "run", height=32, width=32, depth=1, hidden=4)


@pytest.mark.slow
def test_factors_of_msds(msds_run, capsys):
    assert main(["factors", str(msds_run), "--data", "msds1", *QUICK]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Held-out R² from the latents of one level: linear probes. Ridge, penalties" in said
    assert "60 images, a fifth held out, 1 place, seed 0" in said
    found = json.loads((msds_run / "factors.json").read_text())
    assert found["data"] == "msds1"
    assert found["probes"]["images"] == 60
    assert {s["group"] for s in found["probes"]["scores"]} >= {"base colour", "angle"}
    assert len(found["associations"]["labels"]["angle of oval 1,2"]) == 5
    assert {s["distance"] for s in found["dependence"]["latents"]["strata"]} >= {0, 1, 2}
    vector = Latents.load(msds_run / "directions" / "base-red.safetensors")
    assert vector.flat().norm().item() == pytest.approx(1, abs=1e-5)


def test_factors_with_a_csv_file(tmp_path, capsys):
    run = small_run(tmp_path / "run", channels=1)
    path = tmp_path / "labels.csv"
    rows = np.random.default_rng(0).normal(size=(60, 2))
    rows[:, 1] = rows[:, 1] > 0
    np.savetxt(path, rows, delimiter=",", header="size,smile", comments="")
    assert main(["factors", str(run), "--labels", str(path), *QUICK, "--levels", "[1]"]) == 0
    assert "size" in capsys.readouterr().out
    found = json.loads((run / "factors.json").read_text())
    assert isinstance(json.loads((run / "names.json").read_text()), dict)
    assert found["labels"] == str(path)
    assert [one["measure"] for one in found["directions"]] == ["R²", "AUC"]
    assert found["directions"][0]["levels"] == [1]


@pytest.mark.slow
def test_factors_of_rare_labels_with_strange_names(tmp_path, capsys):
    run = small_run(tmp_path / "run", channels=1)
    path = tmp_path / "labels.csv"
    rows = [f"{k % 2},{int(k == 3)}" for k in range(60)]
    for names, kept in (("a$^$b,one", ["a$^$b"]), ("one:class,a$^$b", ["one"])):
        path.write_text("\n".join([names, *rows]))
        assert main(["factors", str(run), "--labels", str(path), *QUICK]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert "as fewer than 8 images have or lack it: " in said
        found = json.loads((run / "factors.json").read_text())
        assert {one["group"] for one in found["probes"]["scores"]} == set(kept)
        assert all(one["r2"] > -9 for one in found["probes"]["scores"])
    path.write_text("\n".join(["one", *(row[2:] for row in rows)]))
    assert main(["factors", str(run), "--labels", str(path), *QUICK]) == 0
    assert "have or lack it: one." in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_factors_of_labels_of_any_name_and_size(tmp_path, capsys, monkeypatch):
    """Markup, formulas and commands of terminals in names; large and small numbers."""
    monkeypatch.setenv("COLUMNS", "100")
    run = small_run(tmp_path / "run", channels=1)
    path = tmp_path / "labels.csv"
    names = [
        "[/s]",
        "[kg]",
        r"$\\frac$",
        "\x1b[31mred",
        "_" * 300,
        "tilt:angle",
        "[b]:class",
        "日本",
    ]
    values = np.random.default_rng(0).uniform(-1, 1, 60).tolist()
    rows = [
        f"{1e30 * v},{1e-9 * v},{1e30 * abs(v)},{v},{1e30 * (-1) ** k},{1e30 * v},"
        f"{'[red]' if v > 0 else '[/red]'},{k}"
        for k, v in enumerate(values)
    ]
    path.write_text("\n".join([",".join(names), *rows]), encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        assert main(["factors", str(run), "--labels", str(path), *QUICK]) == 0
    said = capsys.readouterr().out
    for name in ("[/s]", "[kg]", r"$\\frac$", r"\x1b[31mred", "[b] [red]", "日本"):
        assert f"│ {name} " in said
    assert "\x1b" not in said
    assert "nan" not in said
    found = json.loads((run / "factors.json").read_text(), parse_constant=pytest.fail)
    assert [one["label"] for one in found["directions"][:4]] == names[:4]
    assert len(list((run / "directions").iterdir())) == len(names) + 1  # an angle has two


def test_factors_of_a_folder_by_file_name(tmp_path):
    random = np.random.default_rng(0)
    for part in ("train", "test"):
        (tmp_path / "photos" / part).mkdir(parents=True)
        for k in range(40):
            pixels = random.integers(256, size=(8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / part / f"{k}.png")
    (tmp_path / "photos" / "test" / "5.png").write_bytes(b"damaged")
    names = [f"{part}/{k}.png" for part in ("train", "test") for k in range(40)]
    lines = [f"{name},{k}" for k, name in enumerate(names)]
    path = tmp_path / "labels.csv"
    path.write_text("file,number\n" + "\n".join(lines[::-1]))
    run = small_run(tmp_path / "run")
    data = f"folder:{tmp_path / 'photos'}"
    assert main(["factors", str(run), "--data", data, "--labels", str(path), *QUICK]) == 0
    found = json.loads((run / "factors.json").read_text())
    assert found["images"] == 39
    assert found["disentanglement"] is None  # a single label


def test_factors_without_labels_of_real_nvp(tmp_path, capsys):
    run = small_run(tmp_path / "run", geometry="squeeze", levels=2, hidden=4)
    out = tmp_path / "out"
    assert main(["factors", str(run), *QUICK, "--threshold", "0.01", "--out", str(out)]) == 0
    assert "visible above 0.01" in " ".join(capsys.readouterr().out.split())
    found = json.loads((out / "factors.json").read_text())
    assert "probes" not in found
    assert not (run / "factors.json").exists()


def test_factors_of_a_model_and_fields(tmp_path):
    run = small_run(tmp_path / "run", pixels=None)
    data = ["--data", f"fields:{run.with_suffix('.npy')}"]
    assert main(["factors", str(run / "model"), "--split", "train", *QUICK, *data]) == 0
    found = json.loads((run / "model" / "factors.json").read_text())
    assert {stratum["levels"][0] for stratum in found["dependence"]["latents"]["strata"]} == {0, 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--count", "0"], "Expected --count to be at least 1; got 0."),
        (["--threshold", "-1"], "Expected --threshold to be at least 0"),
        (["--split", "tset"], "(nearest: test)"),
        (["--levels", "[9]"], "Expected a level of 0 to 1; got 9."),
        (["--levels", "[]"], "Expected --levels to have at least one level; got none."),
        (["--labels", "none.csv"], "Expected a CSV file with labels; there is none at none.csv."),
        (["--out", "/dev/null/x"], "Expected to write into /dev/null/x"),
    ],
)
def test_mistakes_are_one_sentence(options, message, tmp_path, capsys):
    run = small_run(tmp_path / "run")
    path = tmp_path / "labels.csv"
    path.write_text("a\n" + "\n".join(map(str, range(60))))
    labels = [] if "--labels" in options else ["--labels", str(path)]
    assert main(["factors", str(run), *labels, *QUICK, *options]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_a_model_needs_a_data_set(tmp_path, capsys):
    run = small_run(tmp_path / "run")
    assert main(["factors", str(run / "model")]) == 2
    assert (
        "Expected a data set, as the folder of a model without a card names none"
        in capsys.readouterr().err
    )
