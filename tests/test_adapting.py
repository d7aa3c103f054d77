"""Flows that learn a picture: repaired by them, scored meanwhile, and what is kept of them."""

import importlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flows import AVERAGES, LEVELS, OPEN, PHASES, random_flow
from rgflow import load_flow, photographs
from rgflow.cli import main
from rgflow.data.patches import photograph
from rgflow.photographs import adapting
from rgflow.photographs.adapting import adapt, restore_adapted
from rgflow.photographs.prequential import bands, score
from rgflow.photographs.restoring import restore
from rgflow.photographs.scoring import sized
from rgflow.photographs.surroundings import Grids, reach
from rgflow.processes import TerminatedError

APART = OPEN | {"shared": False, "levels": 2}
"""Every level has maps of its own."""
every = pytest.mark.parametrize(
    "options",
    [OPEN, AVERAGES, LEVELS, APART, PHASES],
    ids=["plain", "averages", "levels", "apart", "phases"],
)


def waves(height, width):
    """A picture that is easy to learn, uint8 [3, H, W]."""
    i, j = np.mgrid[:height, :width]
    x = 128 + 90 * np.sin(0.7 * i) * np.cos(0.4 * j) + [[[0]], [[9]], [[20]]]
    return torch.from_numpy(x.astype(np.uint8))


def noise(*shape):
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.manual_seed(0))


def weights(flow):
    return torch.cat([p.detach().flatten() for p in flow.parameters()])


def damaged(image):
    hole = np.zeros(image.shape[1:], dtype=bool)
    hole[10:12, 3:-3] = hole[20:-9, 30:33] = True
    return hole


@pytest.fixture(autouse=True)
def few_tiles(monkeypatch):
    monkeypatch.setattr(adapting, "TILES", 8)
    monkeypatch.setattr(adapting, "LEAST", 64)


@pytest.fixture(scope="module")
def photos():
    return load_flow("photos")


@pytest.fixture(scope="module")
def chelsea():
    return torch.from_numpy(photograph("chelsea", 2).copy())[:, 20:116, 40:136]


@every
def test_windows_at_the_sites_of_cells_are_those_that_the_cells_read(options):
    image = noise(3, 21, 26)
    of = sized(random_flow(**options), image[None])
    grids = Grids(of, image)
    for visit in of.walk(image[None], write=False):
        layer, around = visit.layer, grids.of(visit.layer)
        assert torch.equal(around.grid, visit.x[0])
        for band in layer.bands(4):
            own, context = band.read(visit.x)
            rows = torch.arange(band.cells.shape[0]) * layer.cells.step + band.first
            columns = torch.arange(band.cells.shape[1]) * layer.cells.step
            at = torch.cartesian_prod(rows, columns + layer.cells.start[1])
            found, around_it = around.read(layer, at)
            assert torch.equal(found.to(own), own)
            for name in ("values", "embedding", "missing"):
                assert torch.equal(getattr(around_it, name), getattr(context, name))


@every
@pytest.mark.parametrize("size", [(21, 26), (70, 9)])
def test_a_band_reads_only_what_was_scored_before_it(options, size):
    """All sites are written once, and what windows read has been written by then; so is all that is
    learned from after a band."""
    of = sized(random_flow(**options), noise(1, 3, *size))
    averages = of.config.geometry.averages
    for step, bands_of_level in zip(reversed(of.steps), bands(of), strict=True):
        layers = step.cellwise
        written = torch.zeros(layers[0].cells.extent, dtype=torch.bool)
        known = torch.zeros_like(written)
        known[::2, ::2] = not step.top
        written[::2, ::2] = not step.top and not averages
        for band in bands_of_level:
            for part in band:
                at = torch.cat(list(part.sites()))
                assert len(at) == part.count
                assert not written[*at.T].any()
                cells = part.layer.cells
                unknown = np.array(cells.unknown or [False] * len(cells.reads))
                for offset in np.array(cells.reads)[~unknown][1:]:
                    i, j = (at + torch.tensor(offset)).T
                    inside = (i >= 0) & (j >= 0) & (i < len(known)) & (j < known.shape[1])
                    assert known[i[inside], j[inside]].all()
                known[*at.T] = written[*at.T] = True
            for part in band:
                read = part.known + reach(layers) if part.known else 0
                assert written[:read].all()
        assert written.all()


@every
def test_without_passes_the_score_is_that_of_the_flow(options):
    flow, image = random_flow(**options), noise(3, 21, 26)
    found, learned = score(flow, image, 0)
    usual = photographs.bits(flow, image[None])
    torch.testing.assert_close(found.levels, usual.levels, rtol=1e-6, atol=1e-3)
    assert found.dim == usual.dim
    assert torch.equal(weights(learned), weights(flow))


@every
def test_a_flow_that_learns_scores_less(options):
    flow, image = random_flow(**options), waves(80, 60)
    before = weights(flow)
    found, learned = score(flow, image, 4)
    assert found.total < photographs.bits(flow, image[None]).total
    assert photographs.bits(learned, image[None]).total < found.total
    assert torch.equal(weights(flow), before)
    assert learned.image_shape == flow.image_shape
    assert [p.requires_grad for p in learned.parameters()] == [
        p.requires_grad for p in flow.parameters()
    ]


def test_a_score_continues_and_adds_up():
    flow, image = random_flow(**OPEN), waves(80, 60)
    told: dict[str, float] = {}
    shares = []

    def progress(name, bits, share):
        told[name] = bits
        shares.append(share)

    whole, _ = score(flow, image, 2, progress=progress)
    assert sum(told.values()) == pytest.approx(whole.total.item(), rel=1e-12)
    assert shares[-1] == 1
    assert sorted(shares) == shares
    names = list(told)
    for kept in (0, 1, len(names) // 2, len(names)):
        again, _ = score(flow, image, 2, done={name: told[name] for name in names[:kept]})
        assert torch.equal(again.levels, whole.levels)


def test_the_number_of_threads_changes_no_score():
    flow, image, before = random_flow(**OPEN), waves(64, 60), torch.get_num_threads()
    first, _ = score(flow, image, 2)
    torch.set_num_threads(3)
    try:
        assert torch.equal(score(flow, image, 2)[0].levels, first.levels)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@every
@pytest.mark.parametrize("budget", [{}, {"steps": 0}, {"seconds": 0.0}])
def test_without_a_budget_nothing_changes(options, budget):
    flow = random_flow(**options)
    adapted = adapt(flow, waves(60, 60), **budget)
    assert torch.equal(weights(adapted.flow), weights(flow))
    assert adapted.flow is not flow
    assert adapted.steps == 0
    assert math.isnan(adapted.before)


@every
def test_a_flow_learns_a_picture_and_stays_as_it_was(options):
    flow, image = random_flow(**options), waves(80, 60)
    before = weights(flow)
    adapted = adapt(flow, image, steps=60)
    assert adapted.after < adapted.before
    usual, new = (photographs.bits(one, image[None]).total for one in (flow, adapted.flow))
    assert new < usual
    assert torch.equal(weights(flow), before)


@pytest.mark.parametrize("hole", [False, True])
def test_the_same_seed_and_steps_give_the_same_weights(chelsea, hole):
    mask, flow = damaged(chelsea) if hole else None, random_flow(**OPEN)
    first, again, other = (
        weights(adapt(flow, chelsea, mask, steps=4, seed=seed).flow) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_only_the_map_of_repairs_learns_a_hole(photos, chelsea):
    hole = damaged(chelsea)
    adapted = adapt(photos, chelsea, hole, steps=100)
    assert adapted.after < adapted.before
    moved = [
        not torch.equal(weights(one.bijector), weights(other.bijector))
        for one, other in zip(adapted.flow.steps[0].cellwise, photos.steps[0].cellwise, strict=True)
    ]
    assert moved == [True] + [False] * (len(moved) - 1)


def test_a_repair_by_a_flow_that_learns(photos, chelsea):
    hole = damaged(chelsea)
    marked, lost = torch.from_numpy(hole), chelsea.clone()
    lost[:, marked] = 0  # what is missing isn't looked at
    shares = []
    (found, adapted), (other, _) = (
        restore_adapted(photos, image, hole, steps=60, progress=shares.append)
        for image in (chelsea, lost)
    )
    assert torch.equal(found, other)
    assert sorted(shares[: len(shares) // 2]) == shares[: len(shares) // 2]
    assert torch.equal(found[:, ~marked], chelsea[:, ~marked])
    usual = restore(photos, chelsea, hole)
    mean = (usual.float() + restore(adapted.flow, chelsea, hole)) / 2
    assert (found - mean).abs().max() <= 0.5
    assert torch.equal(restore_adapted(photos, chelsea, hole)[0], usual)  # no budget


def test_what_predicts_worse_is_not_taken(photos, chelsea, monkeypatch):
    monkeypatch.setattr(adapting, "RATE", 1.0)
    adapted = adapt(photos, chelsea, damaged(chelsea), steps=60)
    assert torch.equal(weights(adapted.flow), weights(photos))
    assert adapted.after == adapted.before


def test_learning_stops_where_nothing_is_gained(photos, chelsea, monkeypatch):
    monkeypatch.setattr(adapting, "RATE", 0.0)
    monkeypatch.setattr(adapting, "CHECK", 2)
    adapted = adapt(photos, chelsea, damaged(chelsea), seconds=1e6)
    assert adapted.steps == 2 * adapting.PATIENCE


def test_an_interruption_ends_with_the_best_so_far(photos, chelsea):
    def interrupt(share):
        if share > 0.5:
            raise KeyboardInterrupt

    adapted = adapt(photos, chelsea, damaged(chelsea), steps=120, progress=interrupt)
    assert 60 <= adapted.steps < 70
    assert adapted.after < adapted.before

    def end(share):
        raise TerminatedError

    with pytest.raises(TerminatedError):  # the process has to end
        adapt(photos, chelsea, damaged(chelsea), steps=120, progress=end)


def test_a_repair_that_is_interrupted_late_is_the_one_before_learning(photos, chelsea):
    def interrupt(share):
        if share > 0.85:
            raise KeyboardInterrupt

    hole, options = damaged(chelsea), {"steps": 40, "sweeps": 1}
    found, _ = restore_adapted(photos, chelsea, hole, **options, progress=interrupt)
    assert torch.equal(found, restore(photos, chelsea, hole, sweeps=1))
    whole, adapted = restore_adapted(photos, chelsea, hole, **options)
    assert not torch.equal(whole, found)
    try:  # what is learned doesn't depend on the threads
        torch.set_num_threads(2)
        again, other = restore_adapted(photos, chelsea, hole, **options)
    finally:
        torch.set_num_threads(1)
    assert torch.equal(weights(other.flow), weights(adapted.flow))
    assert torch.equal(again, whole)


@pytest.mark.parametrize("image", [noise(3, 4, 4), noise(3, 9, 12)], ids=["4×4", "9×12"])
def test_pictures_with_too_little_to_learn_from_change_nothing(photos, image):
    hole = np.zeros(image.shape[1:], dtype=bool)
    hole[1, 2] = True
    for mask in (None, hole):
        adapted = adapt(photos, image, mask, steps=20)
        assert torch.equal(weights(adapted.flow), weights(photos))
        assert adapted.steps == 0
    found, _ = score(photos, image, 3)
    assert found.total.isfinite().all()


def test_pictures_of_one_colour(photos):
    image = torch.full((3, 60, 60), 99, dtype=torch.uint8)
    hole = damaged(image)
    adapted = adapt(photos, image, hole, steps=100)
    assert torch.equal(restore(adapted.flow, image, hole), image)
    assert score(photos, image, 1)[0].total < 0.2 * image.numel()


@pytest.mark.parametrize("missing", [False, True])
def test_a_hole_of_nothing_or_everything_is_a_sentence(photos, missing):
    image = noise(3, 20, 20)
    with pytest.raises(ValueError, match="Expected some pixels to be missing"):
        adapt(photos, image, np.full((20, 20), missing), steps=3)


def test_mistakes_are_sentences(photos):
    with pytest.raises(ValueError, match="Expected a flow of photographs"):
        adapt(random_flow(), waves(40, 40), steps=1)
    with pytest.raises(ValueError, match="Expected steps"):
        adapt(photos, waves(40, 40), steps=-1)
    with pytest.raises(ValueError, match="Expected passes"):
        score(photos, waves(40, 40), -1)
    with pytest.raises(ValueError, match=r"Expected photographs of at least 4×4"):
        score(photos, noise(3, 3, 9), 1)
    with pytest.raises(ValueError, match=r"Expected photographs of at least 4×4"):
        adapt(photos, noise(3, 3, 9), steps=1)


@pytest.fixture
def coding(monkeypatch):
    pytest.importorskip("constriction")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return importlib.import_module("coding")


@every
@pytest.mark.parametrize("passes", [0, 3])
def test_a_score_is_the_length_of_a_file_that_is_read_back(coding, options, passes):
    flow, image = random_flow(**options), waves(50, 37)
    file = coding.encode(flow, image, passes)
    assert torch.equal(coding.decode(flow, file, image.shape, passes), image)
    promised = score(flow, image, passes)[0].total.item()
    # A coder gives no level less than 2^-24, so a random flow's files may be shorter.
    assert 0.98 * promised < 32 * len(file) < 1.005 * promised + 64


@every
def test_of_a_grey_picture_one_channel_is_written(coding, options):
    flow, grey = random_flow(**options), waves(50, 37)[:1]
    file = coding.encode(flow, grey, 2)
    assert torch.equal(coding.decode(flow, file, grey.shape, 2), grey)
    promised = score(flow, grey, 2)[0].total.item()
    assert 0.98 * promised < 32 * len(file) < 1.005 * promised + 64
    whole = score(flow, grey.repeat(3, 1, 1), 2)[0].total.item()
    assert promised < whole / 2
    usual, found = photographs.bits(flow, grey[None]), score(flow, grey, 0)[0]
    torch.testing.assert_close(found.levels, usual.levels, rtol=1e-6, atol=0)


def test_repair_says_what_was_learned_and_keeps_it(tmp_path, chelsea, monkeypatch, capsys):
    learn = adapting.adapt

    def few(*of, steps, seconds, **more):
        assert (steps, seconds) == (None, 5)  # which another machine could do more in
        return learn(*of, steps=100, **more)

    monkeypatch.setattr(adapting, "adapt", few)
    hole = damaged(chelsea)
    Image.fromarray(chelsea.numpy().transpose(1, 2, 0)).save(tmp_path / "a.png")
    Image.fromarray(hole).save(tmp_path / "mask.png")
    usual = ["repair", str(tmp_path / "a.png"), "--mask", str(tmp_path / "mask.png")]
    kept, out = str(tmp_path / "kept"), str(tmp_path / "out")
    assert main([*usual, "--out", out, "--keep", kept, "--adapt", "5"]) == 0
    assert "the model has learned the picture" in capsys.readouterr().out
    again = str(tmp_path / "again")
    assert main([*usual, "--out", again, "--model", kept]) == 0
    plain = str(tmp_path / "plain")
    assert main([*usual, "--out", plain]) == 0
    assert "learned" not in capsys.readouterr().out
    learned, by_kept, by_photos = (
        np.asarray(Image.open(Path(folder) / "a.png")).astype(int) for folder in (out, again, plain)
    )
    assert (learned == (by_kept + by_photos + 1) // 2).all()
    assert (learned != by_photos).any()


def test_a_learned_picture_is_kept_and_used(tmp_path, monkeypatch, capsys):
    """What a flow that has learned gives is what the kept flow gives."""
    monkeypatch.chdir(tmp_path)

    def learn(*of, seconds, progress):
        return adapt(*of, steps=8, progress=progress)

    monkeypatch.setattr(adapting, "adapt", learn)
    monkeypatch.setattr(adapting, "BATCH", 16)
    Image.fromarray(waves(80, 60).numpy().transpose(1, 2, 0)).save("a.png")
    usual = ["enlarge", "a.png"]
    assert main([*usual, "--adapt", "1", "--keep", "kept", "--out", "one"]) == 0
    assert "learned" in capsys.readouterr().out
    assert main([*usual, "--model", "kept", "--out", "other"]) == 0
    assert Path("one/a.png").read_bytes() == Path("other/a.png").read_bytes()


def test_score_adapts_alike_in_one_run_or_several(tmp_path, capsys):
    Image.fromarray(waves(60, 50).numpy().transpose(1, 2, 0)).save(tmp_path / "a.png")
    usual = ["score", str(tmp_path / "a.png"), "--adapt", "2"]
    whole, table = [*usual, "--out", str(tmp_path / "a.csv")], tmp_path / "a.csv"
    assert main(whole) == 0
    first = table.read_text()
    kept = next((tmp_path / "a.csv.parts").glob("*.jsonl"))
    kept.unlink()
    table.unlink()
    assert main(whole) == 0
    assert table.read_text() == first
    assert main(["score", str(tmp_path / "a.png"), "--out", str(tmp_path / "b.csv")]) == 0
    assert (tmp_path / "b.csv").read_text() != first
    assert main([*usual[:-1], "3", "--out", str(table)]) == 2  # other settings
    assert main([*usual, "--keep", str(tmp_path / "kept")]) == 0
    capsys.readouterr()
    assert main(["score", str(tmp_path / "a.png"), "--model", str(tmp_path / "kept")]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["repair", "a.png", "--adapt", "-1"], "Expected --adapt"),
        (
            ["repair", "a.png", "b.png", "--adapt", "1", "--keep", "x"],
            "Expected one picture to learn for --keep",
        ),
        (["repair", "a.png", "--adapt", "0", "--keep", "x"], "got --adapt 0"),
        (["score", "a.png", "--keep", "x"], "got --adapt 0"),
        (["score", "a.png", "--adapt", "1", "--keep", "."], "Expected a new folder for --keep"),
        (["score", "a.png", "--adapt", "1", "--keep", "x", "--out", "t.csv"], "without --out"),
    ],
)
def test_options_that_do_not_fit_are_sentences(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png"):
        Image.fromarray(waves(30, 30).numpy().transpose(1, 2, 0)).save(name)
    assert main(options) == 2
    assert message in " ".join(capsys.readouterr().err.split())
