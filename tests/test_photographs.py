"""Pictures of any size and mode: scored, repaired, searched for damage, enlarged; by commands."""

import csv
import io
import json
import os
import re
import resource
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import binary_dilation

from flows import AVERAGES, LEVELS, OPEN, PHASES, by_day, random_flow
from pictures import written
from rgflow import load_flow, photographs
from rgflow.bijectors import cellwise
from rgflow.bijectors.base import Context
from rgflow.cli import main
from rgflow.data.patches import PHOTOGRAPHS, photograph
from rgflow.photographs import codecs, pictures, restoring, scoring
from rgflow.photographs.changing import coarse, draw_level, mix, vary
from rgflow.photographs.damage import find_damage
from rgflow.photographs.denoising import denoise
from rgflow.photographs.enlarging import enlarge, redraw
from rgflow.photographs.restoring import Around, completions, grained, restore
from rgflow.repair.biharmonic import biharmonic

every = pytest.mark.parametrize(
    "options", [OPEN, AVERAGES, LEVELS, PHASES], ids=["plain", "averages", "levels", "phases"]
)


def noise(*shape):
    return torch.randint(256, shape, dtype=torch.uint8)


@pytest.fixture(scope="module")
def photos():
    return load_flow("photos")


@pytest.fixture(scope="module")
def chelsea():
    """A part of a photograph that the model hasn't seen."""
    return torch.from_numpy(photograph("chelsea", 2)[:, 20:100, 30:150].copy())


# ---------------------------------------------------------------------------------------- scoring


@every
@pytest.mark.parametrize("size", [(37, 53), (16, 16), (5, 90)])
def test_bands_are_the_whole(size, options, monkeypatch):
    """Parts of a few rows give the bits that the whole flow gives at once."""
    flow = random_flow(**options)
    x8 = noise(2, 3, *size)
    whole = photographs.bits(flow, x8)
    monkeypatch.setattr(scoring, "BAND", 40)
    told = []
    found = photographs.bits(flow, x8, progress=lambda *part: told.append(part))
    torch.testing.assert_close(found.levels, whole.levels, rtol=1e-12, atol=0)
    assert len({name for name, *_ in told}) == len(told) > 10
    assert told[-1][2] == pytest.approx(1)
    assert [share for *_, share in told] == sorted(share for *_, share in told)
    terms = flow.resized(*size)
    grid = photographs.padded(terms, x8)
    beyond = grid[0].numel() - found.dim
    expected = -terms.log_prob(grid) / np.log(2) - 8 * beyond
    torch.testing.assert_close(found.total, expected, rtol=1e-9, atol=1e-6)
    map = photographs.bit_map(flow, x8)
    torch.testing.assert_close(map.sum((1, 2)).double(), found.total, rtol=1e-5, atol=0)


def test_what_is_done_is_not_done_again(monkeypatch):
    flow = random_flow(**OPEN)
    x8 = noise(1, 3, 40, 30)
    monkeypatch.setattr(scoring, "BAND", 40)
    done = {}

    def stop(name, bits, share):
        done[name] = bits
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        photographs.bits(flow, x8, progress=stop)
    called = []
    band_bits = scoring.band_bits
    monkeypatch.setattr(scoring, "band_bits", lambda *of: called.append(of) or band_bits(*of))
    again = photographs.bits(flow, x8, done=done)
    assert len(called) == len(list(scoring.bands(scoring.sized(flow, x8), x8))) - len(done)
    assert torch.equal(again.levels, photographs.bits(flow, x8).levels)


@pytest.mark.parametrize("forwards", [True, False])
def test_layers_in_bands_are_the_whole(forwards, monkeypatch):
    """Also where cells that are written are read by later ones, both ways, with any map."""
    options = {
        "geometry": {"kind": "windows", "reach": 2, "boundary": "open"},
        "map": "affine",
        "shared": True,
        "level_embedding": 2,
    }
    flow = random_flow(**options, channels=2, height=16, width=24)
    x = flow.preprocess(flow.to_reals(noise(3, 2, 16, 24)))[0]
    found = []
    for band in (cellwise.BAND, 10):
        monkeypatch.setattr(cellwise, "BAND", band)
        with torch.no_grad():
            layers = flow.steps[0].layers
            found.append(layers(x) if forwards else layers.inverse(x))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    assert not torch.equal(found[0][0], x)


@pytest.mark.parametrize("boundary", ["open", "periodic"])
def test_slices_are_what_the_table_says(boundary):
    geometry = {"kind": "windows", "boundary": boundary}
    flow = random_flow(geometry=geometry, channels=2, height=16, width=24)
    for layer in flow.steps[0].cellwise:
        x = torch.randn(2, 2, 16, 24, dtype=torch.float64)
        sliced = layer.read_all(x)
        by_table = layer.read_all(x.requires_grad_())
        assert torch.equal(sliced, by_table.detach())
        missing = layer.read(x.detach())[1].missing
        if missing is not None:
            table = layer.cells.table[:, layer.cells.written :] < 0
            assert torch.equal(missing, torch.from_numpy(table).repeat(2, 1))


# --------------------------------------------------------------------------------- single pixels


@pytest.mark.parametrize("options", [OPEN, LEVELS], ids=["plain", "levels"])
def test_a_pixel_given_all_others_is_as_the_flow_says(options):
    """The layer that generation applies last writes pixels that no cell reads."""
    flow = random_flow(**options)
    layer = flow.steps[0].cellwise[0]
    i, j = layer.cells.origins[len(layer.cells) // 2].tolist()
    image = noise(3, 16, 16)
    every = image.repeat(256, 1, 1, 1)
    every[:, 2, i, j] = torch.arange(256, dtype=torch.uint8)  # the last channel, given the others
    p = flow.log_prob(every).softmax(0)
    site = torch.tensor([[i, j]])
    around = Around(flow, image)
    of = around._map.probabilities
    context = layer.read(flow.preprocess(flow.to_reals(image[None]))[0])[1]
    row = len(layer.cells) // 2
    parts = (context.values, context.embedding, context.missing)
    one = Context(*(part[row : row + 1] for part in parts))
    torch.testing.assert_close(of(one, image[:2, i, j][None].double())[0], p, rtol=1e-8, atol=1e-12)
    terms = excess(around, site), around.excess_map()[i, j][None]
    torch.testing.assert_close(*terms)
    # The first channel's median.
    every = image.repeat(256, 1, 1, 1)
    first = of(one, torch.empty(1, 0, dtype=torch.float64))[0].cumsum(0)
    assert around.median(site)[0, 0] == int((first < 0.5).sum())


def excess(around, sites):
    return around._map.excess(around.image[:, *sites.T].T, around._context(sites))


def test_excess_of_every_pixel_is_that_of_single_ones(photos, chelsea, monkeypatch):
    monkeypatch.setattr(restoring, "BAND", 1000)
    around = Around(photos, chelsea)
    map = around.excess_map()
    sites = torch.tensor([[0, 0], [0, 119], [79, 60], [40, 61], [33, 5]])
    torch.testing.assert_close(
        map[sites.T[0], sites.T[1]], excess(around, sites), rtol=1e-3, atol=1e-3
    )


# -------------------------------------------------------------------------------- repair and damage


def test_what_is_missing_is_expected(photos, chelsea):
    random = np.random.default_rng(0)
    hole = random.random(chelsea.shape[1:]) < 0.1
    hole[30:50, 60:64] = True
    told, seen = [], []
    found = restore(photos, chelsea, hole, progress=told.append, preview=seen.append)
    assert torch.equal(seen[0], restore(photos, chelsea, hole, sweeps=1))
    assert told == sorted(told)
    assert torch.equal(found[:, ~hole], chelsea[:, ~hole])
    assert told[-1] == pytest.approx(1)
    other = chelsea.clone()
    other[:, hole] = 7
    assert torch.equal(restore(photos, other, hole), found)

    def error(x):
        return (x.float() - chelsea.float())[:, hole].square().mean().item()

    assert error(found) < 0.85 * error(biharmonic(chelsea[None], hole)[0])


def test_a_large_hole_and_one_at_the_edge(photos):
    image = noise(3, 90, 300)
    hole = np.zeros((90, 300), dtype=bool)
    hole[:80, 40:290] = True
    found = restore(photos, image, hole, sweeps=1)
    assert torch.equal(found[:, ~hole], image[:, ~hole])
    hole[:] = True
    hole[5, 5] = False
    assert restore(photos, image, hole, sweeps=1).shape == image.shape


def test_a_large_hole_has_no_edges_inside(photos):
    slope = torch.arange(128)[:, None] + 60 + torch.arange(140) // 4
    image = slope.to(torch.uint8).expand(3, -1, -1).contiguous()
    hole = np.zeros((128, 140), dtype=bool)
    hole[20:110, 25:120] = True
    told = []
    found = restore(photos, image, hole, progress=told.append).short()
    assert (found - image.short()).abs().max() <= 12
    assert max(found.diff(dim=axis).abs().max() for axis in (1, 2)) <= 5
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)


def test_repairs_get_the_grain_of_their_surroundings(photos):
    """As much of it, channels together, the same for a seed, and nowhere else."""
    random = np.random.default_rng(0)
    smooth = np.linspace(80, 160, 64)[None, :, None] + np.zeros((64, 1, 3))
    noise = 6 * random.normal(size=(64, 64, 1)) + 3 * random.normal(size=(64, 64, 3))
    image = torch.from_numpy((smooth + noise).clip(0, 255).astype(np.uint8)).permute(2, 0, 1)
    hole = np.zeros((64, 64), dtype=bool)
    hole[20:30, 10:54] = True
    filled = restore(photos, image.contiguous(), hole, sweeps=1)
    found, again = (grained(photos, filled, hole, seed=5) for _ in range(2))
    assert torch.equal(found, again)
    assert torch.equal(found[:, ~hole], filled[:, ~hole])
    assert torch.equal(grained(photos, filled, hole, 0.0), filled)

    def rough(x, part):
        return x.float().diff(dim=2)[:, part[:, 1:] & part[:, :-1]].std()

    assert rough(filled, hole) < 0.6 * rough(image, ~hole)
    assert 0.8 < rough(found, hole) / rough(image, ~hole) < 1.3
    change = (found.int() - filled.int())[:, hole].float()
    assert torch.corrcoef(change)[0, 1] > 0.5


def test_damage_is_found_and_nothing_else(chelsea):
    bad, hole = chelsea.clone(), np.zeros(chelsea.shape[1:], dtype=bool)
    hole[10, 20], hole[40, 100] = True, True
    hole[60:68, 40:48] = True
    bad[:, hole] = torch.tensor([255, 10, 240], dtype=torch.uint8)[:, None]
    found = find_damage(bad).found
    assert (found & hole).sum() >= 0.9 * hole.sum()
    assert (found & ~hole).sum() <= 3
    assert find_damage(chelsea).found.sum() <= 2


def test_shapes_are_found_whole_and_so_are_clipped_pixels(chelsea):
    """A black pixel beside a white scratch makes some of it likely, and flows expect white and
    black more than other colours that are as far away."""
    bad, hole = chelsea.clone(), np.zeros(chelsea.shape[1:], dtype=bool)
    hole[10:60, 30:33] = True
    rows, columns = np.mgrid[62:79:8, 40:100:12]
    hole[rows, columns] = True
    bad[:, hole] = 255
    for i in (20, 35, 50):
        hole[i, 33] = True
        bad[:, i, 33] = 0
    found = find_damage(bad).found
    assert found[10:60, 30:33].all()
    assert found[rows, columns].mean() > 0.8
    assert (found & ~hole).sum() <= 3


@pytest.mark.parametrize("quality", [75, 90])
def test_damage_is_found_after_compression_with_loss(quality):
    chelsea = torch.tensor(photograph("chelsea", scale=4))
    bad, hole = chelsea.clone(), np.zeros(chelsea.shape[1:], dtype=bool)
    hole[10:60, 30:32] = True
    hole[40, 50:110] = True
    bad[:, hole] = 255
    pictures_of = []
    for image in (bad, chelsea):
        file = io.BytesIO()
        Image.fromarray(image.numpy().transpose(1, 2, 0)).save(file, "JPEG", quality=quality)
        pictures_of.append(pictures.read(file))
    damaged, whole = (find_damage(torch.from_numpy(one.seen)).found for one in pictures_of)
    assert (damaged & hole).sum() >= 0.7 * hole.sum()
    assert (damaged & ~binary_dilation(hole, np.ones((3, 3)), 2)).sum() <= 30
    assert whole.sum() <= 5
    assert pictures_of[0].loss > 1


@pytest.mark.parametrize("temperature", [None, 0.7])
def test_enlarged_pictures_hold_what_was_there(photos, chelsea, temperature):
    generator = torch.Generator().manual_seed(0)
    found = enlarge(photos, chelsea[:, :31, :30], 4, temperature=temperature, generator=generator)
    assert found.shape == (3, 124, 120)
    assert torch.equal(found[:, ::4, ::4], chelsea[:, :31, :30])


def test_grey_pictures_stay_averages(chelsea, tmp_path, capsys):
    Image.fromarray(chelsea[0, :15, :21].numpy()).save(tmp_path / "x.png")
    arguments = ["enlarge", str(tmp_path / "x.png"), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--temperature", "1"]) == 0
    found = Image.open(tmp_path / "out" / "x.png")
    assert found.mode == "L"
    assert np.array_equal(found.reduce(2), chelsea[0, :15, :21])
    assert main([*arguments, "--noise", "-1"]) == 2
    assert "Expected --noise to be at least 0" in capsys.readouterr().err


def test_any_factor_is_one_reduced(chelsea):
    """The next of 2, 4 and 8, reduced as Pillow does it; sites have no such factors."""
    flow, small = random_flow(torch.float32, **AVERAGES), chelsea[:, :15, :20]
    found = enlarge(flow, small, 2.7)
    large = Image.fromarray(enlarge(flow, small, 4).permute(1, 2, 0).numpy())
    expected = large.resize((54, 40), Image.Resampling.LANCZOS)
    assert np.array_equal(found.permute(1, 2, 0).numpy(), np.asarray(expected))
    with pytest.raises(ValueError, match="above 1 and at most 8; got 8.5"):
        enlarge(flow, small, 8.5)
    with pytest.raises(ValueError, match="2, 4 or 8; got 3"):
        enlarge(random_flow(torch.float32, **OPEN), small, 3)


def test_noise_is_taken_off_by_means_of_all_levels(photos, chelsea):
    """As slowly, level by level, for the first pixels; and the whole is nearer the truth."""
    noisy = chelsea.float() + 4 * torch.randn(chelsea.shape, generator=torch.Generator())
    noisy = noisy.round().clamp(0, 255).to(torch.uint8)
    around = Around(photos, noisy.clone())
    sites = torch.tensor([(0, 0), (40, 60), (44, 20)])
    level = noisy[:, sites[:, 0], sites[:, 1]].T.float()
    context, window = around._context(sites), around._map
    expected, every = level.clone(), torch.arange(256.0)
    for channel in range(3):
        log_p = []
        for k in every:  # later channels add what doesn't depend on k, so they have to be left out
            x = expected.clone()
            x[:, channel] = k
            u = window.places(x, context)[:, channel]
            log_p.append(torch.where(u > 0, u, 1 + u))
        middles = torch.stack(log_p)  # F_k + P_k/2, from which the shares follow
        p, below = [], torch.zeros(len(sites), dtype=middles.dtype)
        for middle in middles:
            p.append(2 * (middle - below))
            below = below + p[-1]
        weights = torch.stack(p) * torch.exp(-((every[:, None] - level[:, channel]) ** 2) / 32)
        expected[:, channel] = ((weights * every[:, None]).sum(0) / weights.sum(0)).round()
    found = window.denoised(level, 4.0, context)
    assert (found - expected).abs().max() <= 1
    assert not torch.equal(found, level)
    clean = denoise(photos, noisy, 4.0)
    errors = [(x.float() - chelsea.float()).square().mean() for x in (clean, noisy)]
    assert errors[0] < 0.7 * errors[1]
    assert torch.equal(denoise(photos, noisy, 0.0), noisy)
    thin = noisy[:, :1, :30]  # in which some phases have no pixels
    assert denoise(photos, thin, 4.0).shape == thin.shape


def test_enlarging_continues_after_an_interruption(photos, chelsea, tmp_path):
    def enlarged(keep, progress=None):
        generator = torch.Generator().manual_seed(0)
        return enlarge(
            photos, chelsea[:, :40, :50], 4, temperature=0.7, generator=generator, keep=keep,
            progress=progress,
        )  # fmt: skip

    def interrupt(share):
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        enlarged(tmp_path / "kept", interrupt)
    drawn = []
    window = type(scoring.window_of(photos.steps[0].cellwise[0]))
    with pytest.MonkeyPatch.context() as patch:
        old = window.draw_levels
        patch.setattr(window, "draw_levels", lambda *a: drawn.append(len(a[1])) or old(*a))
        found = enlarged(tmp_path / "kept")
    assert torch.equal(found, enlarged(None))
    assert 0 < sum(drawn) < 0.5 * found[0].numel()


def test_enlarging_beats_doubled_pixels(photos, chelsea):
    small = chelsea[:, ::2, ::2]
    doubled = small.repeat_interleave(2, 1).repeat_interleave(2, 2)
    errors = [
        (x.float() - chelsea.float()).square().mean().item()
        for x in (enlarge(photos, small), doubled)
    ]
    assert errors[0] < 0.4 * errors[1]


def grid_of(x8, h):
    """The coarse image of level h by averages, as Pillow makes them."""
    image = Image.fromarray(x8.permute(1, 2, 0).numpy())
    for _ in range(h):
        image = image.reduce(2)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@pytest.mark.parametrize("temperature", [None, 0.7])
def test_averages_are_enlarged_and_kept_where_detail_is_drawn_anew(chelsea, temperature):
    flow = random_flow(torch.float32, **AVERAGES)
    small = chelsea[:, :15, :20]
    generator = torch.Generator().manual_seed(0)
    found = enlarge(flow, small, 4, temperature=temperature, generator=generator)
    assert torch.equal(grid_of(found, 2), small)
    hole = np.zeros(chelsea.shape[1:], dtype=bool)
    hole[11:40, 30:71] = True
    new = redraw(flow, chelsea, hole, levels=2, generator=generator)
    assert torch.equal(new[:, ~hole], chelsea[:, ~hole])
    assert (new != chelsea)[:, 12:40, 32:68].float().mean() > 0.5
    assert torch.equal(grid_of(new, 2), grid_of(chelsea, 2))
    assert torch.equal(
        torch.from_numpy(coarse(flow, chelsea.numpy(), 2)[:, ::4, ::4].copy()),
        grid_of(chelsea, 2),
    )


@pytest.mark.parametrize(
    "use",
    [
        Around,
        lambda flow, x: restore(flow, x, np.eye(16, dtype=bool)),
        lambda flow, x: completions(flow, x, np.eye(16, dtype=bool), 2),
    ],
)
def test_averages_have_no_distribution_of_single_pixels(use):
    with pytest.raises(ValueError, match=r"coarse images are sites .* use the model photos"):
        use(random_flow(**AVERAGES), noise(3, 16, 16))


# --------------------------------------------------------------------------------- other latents


by_sites = pytest.mark.parametrize("options", [OPEN, LEVELS], ids=["plain", "levels"])


@by_sites
def test_mixtures_are_those_of_the_latents(options):
    """What is found cell by cell, the whole flow finds by encoding, mixing and decoding."""
    flow = random_flow(**options).resized(16, 24)
    first, second = noise(2, 3, 16, 24)
    a, b = (flow.encode(x[None], dtype=torch.float64) for x in (first, second))
    for shares in (
        (1, 0, 0, 0),
        (1, 1, 0, 0),
        (1,) * 4,
        (0.3, 0.6, 0, 0),
        (0, 0.5, 0, 0),
        (0,) * 4,
    ):
        expected = flow.decode(a.mix(b, shares)).floor()[0]
        assert torch.equal(mix(flow, first, second, shares).double(), expected), shares
    z = a.replace(1, torch.zeros_like(a.levels[1]))
    expected = flow.decode(z).floor()[0]
    assert torch.equal(draw_level(flow, first, 1, temperature=0).double(), expected)
    assert torch.equal(mix(flow, first, second, (1, 1, 1, 1)), second)


def test_mixtures_of_averages_keep_the_coarse_image():
    """The average of the level that is mixed stays; without a change, so does everything."""
    flow = random_flow(**AVERAGES)
    first, second = noise(2, 3, 37, 24)
    for shares in ((1,), (1, 1), (0, 0.5), (0.3,)):
        mixed = mix(flow, first, second, shares)
        assert (mixed != first).float().mean() > 0.4
        assert torch.equal(grid_of(mixed, len(shares)), grid_of(first, len(shares)))
    assert torch.equal(mix(flow, first, second, (0, 0, 0)), first)
    assert torch.equal(mix(flow, first, second, (1,) * 5), second)
    new = draw_level(flow, first, 1)
    assert torch.equal(grid_of(new, 2), grid_of(first, 2))
    assert not torch.equal(grid_of(new, 1), grid_of(first, 1))
    found, (rows, columns) = vary(flow, first, (1, 10, 12, 1), 2.5)
    assert torch.equal(grid_of(found, 2), grid_of(first, 2))
    assert (found != first).any()
    outside = torch.ones(37, 24, dtype=torch.bool)
    outside[rows, columns] = False
    assert torch.equal(found[:, outside], first[:, outside])


@by_sites
@pytest.mark.parametrize("add", by_day([False, True], [True]))
def test_a_latent_is_varied_where_it_reaches(add, options):
    flow = random_flow(**options)
    x = noise(3, 91, 131)
    whole = flow.resized(91, 131)
    z = whole.encode(photographs.padded(whole, x[None]), dtype=torch.float64)
    for address in ((0, 41, 64, 1), (1, 42, 60, 0), (3, 0, 8, 2)):
        found, (rows, columns) = vary(flow, x, address, 1.7, add=add)
        moved = z.set(address, z[address] + 1.7 if add else 1.7)
        expected = whole.decode(moved).floor()[0, :, :91, :131]
        assert torch.equal(found.double(), expected)
        if address[0] == 0:
            assert (rows.stop - rows.start) * (columns.stop - columns.start) < 40 * 40
    with pytest.raises(ValueError, match=r"position of level 0; got \(0, 0\)"):
        vary(flow, x, (0, 0, 0, 0), 1.0)


# ----------------------------------------------------------------------------------------- pictures

MODES = ["RGB", "L", "RGBA", "LA", "P", "1", "CMYK", "I;16"]


@pytest.mark.parametrize("mode", MODES)
def test_pictures_come_back_in_their_mode(mode, tmp_path):
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    if mode == "I;16":
        image = Image.fromarray(random.integers(0, 65536, (20, 30)).astype(np.uint16))
    else:
        image = image.convert("L" if mode == "LA" else mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(random.integers(0, 256, (20, 30), dtype=np.uint8)))
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    image.save(path)
    picture = pictures.read(path)
    assert picture.image.mode == mode
    assert picture.seen.shape == (1 if mode in ("L", "1", "I;16") else 3, 20, 30)
    where = np.zeros((20, 30), dtype=bool)
    where[3:6, 4:9] = True
    seen = picture.seen.copy()
    seen[:, where] = 255
    out = picture.replaced(seen, where)
    file = written(out, tmp_path / f"y{path.suffix}")
    again = pictures.read(file)
    before, after = np.asarray(image), np.asarray(again.image)
    assert again.image.mode == mode
    assert np.array_equal(before[~where], after[~where])
    if mode != "P":  # which has the nearest colour
        assert (again.seen[:, where] == 255).all()


def test_black_and_white_is_repaired_without_dots(tmp_path):
    """The nearer of the two, pixel by pixel."""
    Image.new("1", (30, 20)).save(tmp_path / "x.png")
    picture = pictures.read(tmp_path / "x.png")
    grey = np.broadcast_to(np.arange(30, dtype=np.uint8) * 8, (3, 20, 30))
    out = picture.replaced(grey, np.ones((20, 30), dtype=bool))
    assert out.mode == "1"
    assert np.array_equal(np.asarray(out), grey[0] >= 128)


def test_pictures_are_upright_and_named(tmp_path):
    image = Image.effect_noise((30, 20), 60).convert("RGB")
    exif = Image.Exif()
    exif[0x0112], exif[0x0110] = 6, "a camera"
    image.save(tmp_path / "turned.jpg", exif=exif)
    turned = pictures.read(tmp_path / "turned.jpg")
    assert turned.size == (30, 20)
    part = turned.replaced(turned.seen, np.ones((30, 20), dtype=bool))
    for name in ("turned.png", "turned.tif", "turned.webp"):
        for one in (part, turned.enlarged(turned.seen.repeat(2, 1).repeat(2, 2)).image):
            found = Image.open(written(one, tmp_path / name)).getexif()
            assert found[0x0110] == "a camera"
            assert found.get(0x0112, 1) == 1  # it is upright already
    image.save(
        tmp_path / "moving.gif", save_all=True, append_images=[image.rotate(90), image.rotate(180)]
    )
    assert pictures.read(tmp_path / "moving.gif").notes == ("only its first frame is used",)
    image.putalpha(0)
    image.save(tmp_path / "clear.png")
    assert (pictures.read(tmp_path / "clear.png", "#0a141e").seen[:, 0, 0] == (10, 20, 30)).all()
    # What would lose something is written as PNG.
    assert pictures.named(image, tmp_path / "clear.jpg").name == "clear.png"


# ----------------------------------------------------------------------------------------- commands


@pytest.fixture
def few(tmp_path, chelsea):
    """A folder with pictures in files and a tar archive."""
    folder = tmp_path / "few"
    folder.mkdir()
    image = Image.fromarray(chelsea.numpy().transpose(1, 2, 0))
    for number in range(3):
        image.crop((0, 0, 30 + number, 25)).save(folder / f"{number}.png")
    with tarfile.open(folder / "some.tar", "w") as archive:
        for number in range(2):
            content = io.BytesIO()
            image.crop((number, 0, 33, 25)).save(content, "PNG")
            entry = tarfile.TarInfo(f"a{number}.png")
            entry.size = content.tell()
            content.seek(0)
            archive.addfile(entry, content)
    return folder


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_files_and_archives_are_scored_alike(few, tmp_path):
    arguments = ["score", str(few), "--codecs", "[png,webp]", "--out"]
    assert main([*arguments, str(tmp_path / "one.csv")]) == 0
    rows = rows_of(tmp_path / "one.csv")
    assert [os.path.basename(row["file"]) for row in rows] == [
        "0.png", "1.png", "2.png", "some.tar#a0", "some.tar#a1",
    ]  # fmt: skip
    assert float(rows[0]["bits"]) < float(rows[0]["png"])
    levels = [float(rows[0][f"level_{level}"]) for level in range(3)]
    assert sum(levels) == pytest.approx(float(rows[0]["bits"]))


def test_a_killed_command_goes_on_with_the_same_numbers(few, tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "BAND", 100)
    assert main(["score", str(few), "--out", str(tmp_path / "whole.jsonl")]) == 0
    band_bits, count = scoring.band_bits, []

    def dies(*arguments):
        count.append(1)
        if len(count) == 40:
            raise KeyboardInterrupt
        return band_bits(*arguments)

    monkeypatch.setattr(scoring, "band_bits", dies)
    arguments = ["score", str(few), "--out", str(tmp_path / "cut.jsonl")]
    assert main(arguments) == 130
    states = list((tmp_path / "cut.jsonl.parts").glob(".*.kept"))
    assert len(states) == 1
    with states[0].open("ab") as file:
        file.write(b'{"part": "0/')  # as a crash leaves it
    assert main(arguments) == 0
    assert (tmp_path / "cut.jsonl").read_text() == (tmp_path / "whole.jsonl").read_text()
    parts = tmp_path / "cut.jsonl.parts"
    assert not list(parts.glob("*.kept"))
    assert len(json.loads((tmp_path / "cut.jsonl").read_text().splitlines()[0])) > 5


def test_what_changed_is_scored_again(few, tmp_path, monkeypatch, capsys):
    """Pictures, archives or the model; not what is as it was, nor what was begun of the old."""
    monkeypatch.setattr(scoring, "BAND", 100)
    random_flow(**OPEN).float().save_pretrained(tmp_path / "model")
    arguments = ["score", str(few), "--model", str(tmp_path / "model"), "--out"]
    band_bits, sizes, last = scoring.band_bits, set(), 10**9

    def counted(band, grid, channels):
        if band.level == 0:
            sizes.add(tuple(grid.shape[2:]))
        nonlocal last
        last -= 1
        if not last:
            raise KeyboardInterrupt
        return band_bits(band, grid, channels)

    monkeypatch.setattr(scoring, "band_bits", counted)

    def scored(*expected):
        """Exactly these sizes are scored, and the table is that of a new file."""
        sizes.clear()
        capsys.readouterr()
        assert main([*arguments, str(tmp_path / "kept.csv")]) == 0
        assert sizes == set(expected)
        left = 5 - len(expected) - ((25, 33) in expected and (25, 32) not in expected)
        assert (f"{left} of 5 pictures" in capsys.readouterr().out) == (left > 0)
        new = tmp_path / f"new-{time.monotonic_ns()}.csv"
        assert main([*arguments, str(new)]) == 0
        assert (tmp_path / "kept.csv").read_bytes() == new.read_bytes()
        assert not list((tmp_path / "kept.csv.parts").glob(".*.kept"))

    every = [(25, 30), (25, 31), (25, 32), (25, 33)]
    assert main([*arguments, str(tmp_path / "kept.csv")]) == 0
    assert sizes == set(every)
    scored()
    image = Image.open(few / "2.png").copy()
    image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(few / "2.png")
    scored((25, 32))
    # Begun, and replaced by another of the same size before the end.
    image.rotate(180).save(few / "2.png")
    last = 3
    assert main([*arguments, str(tmp_path / "kept.csv")]) == 130
    assert len(list((tmp_path / "kept.csv.parts").glob(".*.kept"))) == 1
    image.save(few / "2.png")  # whose row is known, and so is that of another name
    for path in (tmp_path / "kept.csv.parts").glob(".*.kept"):
        path.unlink()
    (few / "1.png").rename(few / "0a.png")
    os.utime(few / "some.tar", (1, 1))
    scored()
    random_flow(seed=1, **OPEN).float().save_pretrained(tmp_path / "model")
    sizes.clear()
    assert main([*arguments, str(tmp_path / "kept.csv")]) == 0
    assert sizes == set(every)


@pytest.mark.parametrize("there", [True, False])
def test_all_codecs_are_those_that_are_installed(there, few, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(codecs, "find_spec", lambda name: there or None)
    monkeypatch.setattr(codecs, "size", lambda codec, seen: 100)
    out = tmp_path / "x.csv"
    assert main(["score", str(few / "0.png"), "--codecs", "[all]", "--out", str(out)]) == 0
    assert ("jpegxl" in rows_of(out)[0]) == there
    left_out = "JPEG XL is left out, as imagecodecs isn't installed: pip install 'rgflow[codecs"
    assert (left_out in capsys.readouterr().out) != there


def test_named_sets_are_scored_in_a_stream(few, tmp_path):
    """`hf:` before a folder."""
    pytest.importorskip("datasets")
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "set").mkdir()
    for number in range(2):
        rows = [{"bytes": (few / f"{number}.png").read_bytes(), "path": None}]
        parquet.write_table(
            pyarrow.table({"image": rows}), tmp_path / "set" / f"train-{number}.parquet"
        )
    name = f"hf:{tmp_path / 'set'}"
    assert main(["score", name, "--out", str(tmp_path / "named.csv")]) == 0
    rows = rows_of(tmp_path / "named.csv")
    assert [row["file"] for row in rows] == [f"{name}/train-0#0", f"{name}/train-1#0"]
    assert main(["score", str(few / "1.png"), "--out", str(tmp_path / "file.csv")]) == 0
    assert rows_of(tmp_path / "file.csv")[0]["bits"] == rows[1]["bits"]


@pytest.mark.slow
def test_24_megapixels_are_scored_after_a_kill_as_without(tmp_path):
    """With a small flow, as only the way there is of interest; within 4 GiB."""
    random_flow(**OPEN).float().save_pretrained(tmp_path / "model")
    row = np.concatenate([photograph(name)[:, :300] for name in PHOTOGRAPHS], 2)
    row = np.concatenate([row] * (6000 // row.shape[2] + 1), 2)[:, :, :6000]
    whole = np.concatenate([np.roll(row, 997 * k, 2) for k in range(14)], 1)[:, :4000]
    Image.fromarray(whole.transpose(1, 2, 0).copy()).save(tmp_path / "large.png", compress_level=1)
    command = [
        sys.executable, "-m", "rgflow", "score", str(tmp_path / "large.png"), "--model",
        str(tmp_path / "model"), "--out",
    ]  # fmt: skip
    subprocess.run([*command, str(tmp_path / "whole.csv")], check=True)
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20  # from KiB to GiB
    assert most < 4
    process = subprocess.Popen([*command, str(tmp_path / "cut.csv")])
    while not sum(path.stat().st_size for path in tmp_path.glob("cut.csv.parts/.*.kept")) > 100_000:
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    (state,) = tmp_path.glob("cut.csv.parts/.*.kept")
    done = state.read_bytes().count(b"\n")
    assert not (tmp_path / "cut.csv").exists()
    subprocess.run([*command, str(tmp_path / "cut.csv")], check=True)
    assert (tmp_path / "cut.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    print(f"killed after {done} parts; at most {most:.2f} GiB")


def test_repairs_of_files(chelsea, tmp_path, capsys):
    bad = chelsea.numpy().transpose(1, 2, 0).copy()
    bad[30:32, 10:60] = 255
    mask = np.zeros(bad.shape[:2], dtype=np.uint8)
    mask[30:32, 10:60] = 255
    Image.fromarray(bad).save(tmp_path / "bad.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    Image.fromarray(bad).convert("L").save(tmp_path / "grey.png")
    out = ["--out", str(tmp_path / "out")]
    how = ["--mask", str(tmp_path / "mask.png"), "--completions", "2", "--particles", "4"]
    assert main(["repair", str(tmp_path / "bad.png"), *how, *out]) == 0
    assert main(["repair", str(tmp_path / "grey.png"), "--box", "[30, 10, 2, 50]", *out]) == 0
    names = sorted(path.name for path in (tmp_path / "out").glob("[!.]*"))
    compared = ["bad-before-after.png", "grey-before-after.png"]
    assert names == sorted(["bad-1.png", "bad-2.png", "bad.png", "grey.png", *compared])
    seen = np.asarray(Image.open(tmp_path / "out" / compared[0]))
    assert np.array_equal(seen[:, : seen.shape[1] // 2 - 4], bad[:96])
    for name in ("bad-1.png", "bad-2.png", "bad.png"):
        found = np.asarray(Image.open(tmp_path / "out" / name))
        assert np.array_equal(found[mask == 0], bad[mask == 0])
        assert abs(found[mask > 0].mean() - chelsea.numpy()[:, mask > 0].mean()) < 12
    assert Image.open(tmp_path / "out" / "grey.png").mode == "L"
    # Found by itself.
    out[1] = str(tmp_path / "found")
    assert main(["repair", str(tmp_path / "bad.png"), *out]) == 0
    assert (tmp_path / "found" / "bad-mask.png").is_file()
    assert "100 pixels repaired" in capsys.readouterr().out
    assert main(["enlarge", str(tmp_path / "grey.png"), *out]) == 0
    assert Image.open(tmp_path / "found" / "grey.png").size == (240, 160)


@pytest.mark.parametrize("mode", MODES)
def test_enlarged_files_keep_their_mode(mode, chelsea, tmp_path, capsys):
    """If it holds the new colours, which is said otherwise; with all old pixels as they were, in
    their places or, by default, as averages."""
    image = Image.fromarray(chelsea.numpy().transpose(1, 2, 0)).crop((0, 0, 20, 15))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257 - 100)
    else:
        image = image.convert(mode)
    if "A" in mode:
        image.putalpha(Image.linear_gradient("L").resize((20, 15)))
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    image.save(path, icc_profile=b"of these colours")
    out = tmp_path / "out"
    arguments = ["enlarge", str(path), "--background", "#203040", "--out", str(out)]
    if mode in ("RGB", "L"):
        assert main(arguments) == 0
        assert np.array_equal(Image.open(out / path.name).reduce(2), np.asarray(image))
    assert main([*arguments, "--reduced", "sites", "--overwrite"]) == 0
    said = capsys.readouterr().out
    found = Image.open(out / path.name)
    result = {"P": "RGB", "CMYK": "RGB", "1": "L"}.get(mode, mode)
    assert (found.mode, found.size) == (result, (40, 30))
    assert said.count(f"x{path.suffix}: the result is {result}, as ") == (result != mode)
    assert ("icc_profile" in found.info) == (mode != "CMYK")
    if result == mode:
        assert np.array_equal(np.asarray(found)[::2, ::2], np.asarray(image))
    if mode == "I;16":
        assert (np.asarray(found)[1::2] % 257 == 0).all()
        assert "new pixels have 8 of 16 bits" in said


@pytest.mark.parametrize("averages", [False, True])
def test_transparent_pixels_look_as_the_flow_made_them(averages, tmp_path):
    """Over the background that it saw, and not mixed with it twice."""
    colour, shift = (200, 90, 30), 0.5 if averages else 0

    def alpha(rows, columns):
        return 128 + 100 * np.sin(rows / 4) * np.cos(columns / 5)

    image = Image.new("RGBA", (30, 20), colour)
    image.putalpha(Image.fromarray(alpha(*np.indices((20, 30))).astype(np.uint8)))
    image.save(tmp_path / "x.png")
    picture = pictures.read(tmp_path / "x.png", "black")
    smooth = alpha(*((np.indices((40, 60)) - shift) / 2))
    large = (smooth * np.reshape(colour, (3, 1, 1)) / 255).astype(np.uint8)
    out = np.asarray(picture.enlarged(large, averages=averages).image).astype(int)
    inside = np.s_[2:-2, 2:-2]
    assert np.abs(out[..., 3] - smooth)[inside].max() < 3
    seen = out[..., :3] * out[..., 3:] / 255
    assert np.abs(seen - large.transpose(1, 2, 0))[inside].max() < 3


def test_levels_of_files(chelsea, tmp_path):
    """Of any size and mode, which stay."""
    image = Image.fromarray(chelsea.numpy().transpose(1, 2, 0)).crop((0, 0, 45, 31))
    image.putalpha(Image.effect_noise((45, 31), 60))
    image.save(tmp_path / "clear.png")
    image.convert("RGB").rotate(90, expand=True).save(tmp_path / "other.jpg")
    out, clear = ["--out", str(tmp_path / "out")], str(tmp_path / "clear.png")
    assert main(["levels", "photos", "--images", clear, *out]) == 0
    assert main(["mix", "photos", "--images", clear, str(tmp_path / "other.jpg"), *out]) == 0
    latent = ["--latent", "[1, 6, 12, 0]", "--values", "2"]
    assert main(["traverse", "photos", "--images", clear, *latent, *out]) == 0
    found = {path.name: Image.open(path) for path in (tmp_path / "out").glob("[!.]*")}
    assert sorted(found) == [
        "clear-latent-1-6-12-0-1.png", "clear-latent-1-6-12-0-2.png",
        "clear-level-0-drawn-1.png", "clear-level-1-drawn-1.png", "clear-level-1.png",
        "clear-level-2-drawn-1.png", "clear-level-2.png", "clear-level-3-drawn-1.png",
        "clear-level-3.png", "clear-with-other.png",
    ]  # fmt: skip
    assert {(one.size, one.mode) for one in found.values()} == {((45, 31), "RGBA")}
    seen = pictures.read(tmp_path / "clear.png").seen
    mixed = pictures.read(tmp_path / "out" / "clear-with-other.png").seen
    assert np.array_equal(mixed[:, ::8, ::8], seen[:, ::8, ::8])
    assert (mixed != seen).mean() > 0.5
    near = pictures.read(tmp_path / "out" / "clear-latent-1-6-12-0-1.png").seen
    assert 0 < (near != seen).any(0).mean() < 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score", "NONE.png"], "Expected a picture file; there is none at .*NONE.png"),
        (["score", "words.png"], "Expected a picture file.*isn't one, or is damaged"),
        (["score", "small.png"], "at least 4×4 pixels; got 2×3"),
        (["score", "good.png", "--out", "x.txt"], "--out to end in .csv, .parquet, .jsonl"),
        (["score", "good.png", "--codecs", "[gif]"], "--codecs among png, .*, all; got gif"),
        (["score", "good.png", "--model", "msds1-best"], "Expected a flow of photographs"),
        (["score", "hf:nowhere"], "Expected a file or folder after hf:; nowhere isn't there"),
        (["score", "empty"], "folder with pictures, .parquet or .tar files; .*empty has none"),
        (["repair", "good.png", "--mask", "small.png"], "a mask of 40×30 pixels"),
        (["repair", "good.png", "--mask", "black.png"], "white somewhere; .*black.png is darker"),
        (["repair", "good.png", "--box", "[0, 0, 99, 2]"], "a rectangle inside the 30×40 image"),
        (["repair", "good.png", "--box", "[0, 0, 30, 40]"], "in which everything is"),
        (
            ["repair", "good.png", "--background", "wite"],
            "a colour by name or as #rrggbb; got wite",
        ),
        (
            ["enlarge", "good.png", "--factor", "9"],
            "Expected a factor above 1 and at most 8; got 9",
        ),
        (["mix", "photos", "--images", "good.png"], "at least two images to mix; got one"),
        (["traverse", "photos", "--images", "good.png"], "Expected --latent"),
        (
            ["traverse", "photos", "--images", "good.png", "--latent", "[0, 0, 0, 0]"],
            "a position of level 0",
        ),
        (["levels", "photos", "--images", "small.png"], "at least 4×4 pixels"),
        (["inpaint", "photos", "good.png", "--box", "[0, 0, 2, 2]"], "Expected rgflow repair"),
        (["enlarge", "words.png"], "Expected a picture file.*words.png isn't one, or is damaged"),
    ],
)
def test_mistakes_are_one_sentence(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.png").write_text("These are words.")
    (tmp_path / "empty").mkdir()
    Image.effect_noise((40, 30), 50).convert("RGB").save("good.png")
    Image.effect_noise((2, 3), 50).save("small.png")
    Image.new("L", (40, 30)).save("black.png")
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert re.search(message, said)
    assert said.count("\n") == 1
