"""Windows as a model of pictures: mixtures of one site, any size, the bits of files."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from flows import OPTIONS, PHASES, random_flow
from rgflow import Blocks, BlockSpins, FlowConfig, RGFlow, UniformPixels, WindowMap, Windows
from rgflow.bijectors.base import Context
from rgflow.bijectors.window import MIN_SPREAD_LEVELS
from rgflow.data import load, wallpapers
from rgflow.data.patches import photograph
from rgflow.geometries.windows import phases
from rgflow.kinds import trust
from rgflow.photographs import bit_map, bits, padded
from rgflow.repair.windows import window_layers

OPEN = {
    "map": "window",
    "pixels": "uniform",
    "geometry": {"kind": "windows", "reach": 2, "boundary": "open"},
    "shared": True,
    "depth": 1,
}

AVERAGES = OPEN["geometry"] | {"kind": "block-spins"}
both = pytest.mark.parametrize(
    "geometry",
    [OPEN["geometry"], AVERAGES, PHASES["geometry"]],
    ids=["sites", "averages", "phases"],
)


def noise(*shape):
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def strange(height, width):
    """Noise, black, white, a picture of edges and a gradient, a checkerboard, a photograph."""
    picture = torch.zeros(3, height, width, dtype=torch.uint8)
    picture[0, height // 3 :] = 255
    picture[1] = torch.arange(width) * 3 % 256
    photo = torch.tensor(photograph("chelsea", scale=4))[:, 20 : 20 + height, 40 : 40 + width]
    flat = [torch.full((3, height, width), value, dtype=torch.uint8) for value in (0, 255)]
    odd = (torch.arange(height)[:, None] + torch.arange(width)) % 2
    board = (255 * odd).to(torch.uint8).expand(3, -1, -1)
    return torch.stack([*noise(2, 3, height, width), *flat, picture, board, photo])


@pytest.mark.filterwarnings("ignore::rgflow.LosslessWarning")
@pytest.mark.parametrize("name", [name for name in OPTIONS if name.startswith("window-")])
def test_every_picture_comes_back(name):
    flow = random_flow(torch.float32, **OPTIONS[name])
    x8 = strange(flow.config.height, flow.config.width)[:, : flow.config.channels]
    assert torch.equal(flow.decode(flow.encode(x8)).floor().to(torch.uint8), x8)


def test_bits_and_fillings_are_of_windows_that_predict_all_from_what_is_known():
    """Where cells read what others write, bits would be wrong."""
    flow = random_flow(**OPEN | {"geometry": OPEN["geometry"] | {"period": 3}, "shared": False})
    with pytest.raises(ValueError, match="Expected a flow of photographs"):
        bits(flow, noise(1, 3, 8, 8))
    assert not window_layers(flow)


@both
def test_likelihoods_skip_only_what_nobody_reads(geometry):
    """log p without what the layers write equals that with it."""
    flow = random_flow(**OPEN | {"geometry": geometry})
    x8 = noise(3, 3, 8, 8)
    assert flow.writes_last
    torch.testing.assert_close(flow.log_prob(x8), flow.terms(x8).total)
    # Two maps of a site, of which the second reads what the first writes; and blocks.
    assert not random_flow(**OPEN | {"depth": 2}).writes_last
    assert not random_flow(map="cube", pixels="marginal").writes_last
    odd = {"kind": "windows", "period": 3}
    assert not random_flow(
        **OPEN | {"geometry": odd, "shared": False, "height": 12, "width": 6}
    ).writes_last


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"geometry": AVERAGES, "shared_from": 1},
        {"geometry": "windows", "labels": 3, "label_embedding": 2, "level_embedding": 2},
        {"shared": False, "position_embedding": 2, "checkpointing": True},
        {
            "geometry": PHASES["geometry"],
            "shared": False,
            "position_embedding": 2,
            "labels": 3,
            "label_embedding": 2,
        },
        {"geometry": AVERAGES | {"period": 4, "shared_phases": True, "boundary": "periodic"}},
        {"geometry": PHASES["geometry"], "shared": False, "copies": 4},
    ],
    ids=["shared", "averages", "labels", "own", "phases", "phases-averages", "copies"],
)
def test_training_maps_all_levels_at_once(options):
    """Log-determinants and gradients are those of one layer after another, and of no gradients."""
    flow, labels = random_flow(**OPEN | {"height": 16} | options), None
    if flow.config.labels:
        labels = torch.tensor([0, 2, 1])
    x8 = noise(3, 3, 16, 8)
    x8[0, :, :8], x8[1, :, :8] = 0, 255  # the levels without an edge
    x, given = flow.from_images(flow.to_reals(x8))[0], flow.given(labels, 3)

    def one_after_another():
        visits = flow.walk(x, given, write=False)
        return sum(visit.layer.log_det(visit.x, given) for visit in visits)

    found = []
    for log_det in (lambda: flow.log_det(x, given), one_after_another):
        flow.zero_grad()
        total = log_det()
        total.sum().backward(retain_graph=True)
        found.append([total, *(p.grad.clone() for p in flow.parameters())])
    assert found[0][0].abs().min() > 1
    assert any(flow._phases.values()) == flow.config.geometry.shared_phases
    for one, expected in zip(*found, strict=True):
        torch.testing.assert_close(one, expected, rtol=1e-9, atol=1e-9)
    with torch.no_grad():
        whole = sum(stage.log_det for stage in flow.infer(x, given))
        torch.testing.assert_close(whole, found[0][0], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(flow.log_det(x, given), found[0][0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("copies", [0, 4])
def test_probabilities_of_levels_are_those_of_the_density(copies):
    flow = random_flow(**OPEN | {"copies": copies})
    layer = flow.steps[0].cellwise[0]
    bijector = layer.bijector.bijectors[0]
    x8 = noise(2, 3, 8, 8)
    x = flow.preprocess(flow.to_reals(x8))[0]
    cells, context = layer.read(x)
    levels = (
        x8.flatten(2)[:, :, torch.from_numpy(layer.cells.table[:, 0])]
        .permute(0, 2, 1)
        .reshape(-1, 3)
        .long()
    )
    log_p = torch.zeros(len(levels), dtype=torch.float64)
    for channel in range(3):
        p = bijector.probabilities(context, levels[:, :channel])
        torch.testing.assert_close(p.sum(1), torch.ones_like(log_p))
        log_p += p.gather(1, levels[:, channel : channel + 1])[:, 0].log()
    expected = bijector.forward(cells, context)[1] - 3 * math.log(256)
    torch.testing.assert_close(log_p, expected, rtol=1e-9, atol=1e-9)


def test_flat_colours_are_continued_before_anything_is_learned():
    """A site has the colour of one of the nearest known sites, which all channels choose
    together."""
    copies = FlowConfig.from_dict(
        {
            "height": 16,
            "width": 16,
            "geometry": OPEN["geometry"],
            "map": {"kind": "window", "hidden": 8, "components": 1, "copies": 4},
            "pixels": "uniform",
        }
    )
    without = replace(copies, map=replace(copies.map, components=5, copies=0))
    x8 = torch.empty(1, 3, 16, 16, dtype=torch.uint8)
    x8[0, :, :, :9], x8[0, :, :, 9:] = (
        torch.tensor(colour).view(3, 1, 1) for colour in ((250, 130, 9), (0, 128, 255))
    )
    found, more = (RGFlow(c).bits_per_dim(x8).item() for c in (copies, without))
    assert found < 1 < more / 3


def test_brightness_and_contrast_are_units():
    """Mixtures of a window that is twice as contrasted, and brighter, are the same in its units."""
    flow = random_flow(**OPEN | {"channels": 1, "geometry": "windows"})
    bijector = flow.steps[0].cellwise[0].bijector.bijectors[0]
    level = torch.randint(40, 80, (5, len(flow.steps[0].cellwise[0].cells.reads) - 1)).double()

    def seen(levels):
        u = (levels + 0.5) / 256
        values = torch.where(u <= 0.5, u, u - 1)
        context = Context(values, values[:, :0])
        return bijector._seen(context, values[:, :1], levels, None)

    (first, a), (second, b) = seen(level), seen(2 * level + 20)
    torch.testing.assert_close(second.centre, 2 * first.centre + 20)
    expected = ((2 * first.unit) ** 2 - 3 * MIN_SPREAD_LEVELS**2).sqrt()
    torch.testing.assert_close(second.unit, expected)
    count = level.shape[1]
    torch.testing.assert_close(a[:, :count] * first.unit.T * 2, b[:, :count] * second.unit.T)


@both
@pytest.mark.parametrize("size", [(8, 8), (9, 8), (21, 13), (16, 40), (5, 33)])
def test_any_size_is_scored_and_what_lies_beyond_doesnt_matter(size, geometry):
    flow = random_flow(**OPEN | {"geometry": geometry})
    x8 = noise(2, 3, *size)
    found = bits(flow, x8)
    assert found.dim == 3 * size[0] * size[1]
    resized = flow.resized(*size)
    whole = padded(resized, x8)
    other = whole.clone()
    other[:, :, size[0] :], other[:, :, :, size[1] :] = 255, 7
    torch.testing.assert_close(resized.log_prob(whole), resized.log_prob(other))
    # In the middle of levels, the density and the bits are of the same pixels.
    beyond = whole[0].numel() - found.dim
    at_middle = -(resized.log_prob(whole) / math.log(2)) - 8 * beyond
    torch.testing.assert_close(
        bit_map(flow, x8).sum((1, 2)).double(), found.total, rtol=1e-5, atol=0
    )
    torch.testing.assert_close(found.total, at_middle, rtol=1e-9, atol=1e-6)
    z = resized.encode(whole)
    assert torch.equal(resized.decode(z).floor()[:, :, : size[0], : size[1]], x8.double())
    if size == (8, 8):
        torch.testing.assert_close(found.per_dim, flow.bits_per_dim(x8, seed=3).double())


def test_a_small_photograph_is_a_part_of_no_larger_one():
    """A pixel at the edge is not told what was cut off, but pixels far from it are as before."""
    flow = random_flow(**OPEN)
    resized = flow.resized(24, 24)
    x8 = noise(1, 3, 24, 24)
    changed = x8.clone()
    changed[:, :, 20:] = 0
    layer = resized.steps[0].cellwise[-1]  # that which reads coarse sites alone
    terms = []
    for image in (x8, changed):
        cells, context = layer.read(resized.preprocess(resized.to_reals(image))[0])
        terms.append(layer.bijector.forward(cells, context)[1].view(layer.cells.shape))
    same = terms[0] == terms[1]
    assert same[:7].all()
    assert not same[-1].any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FlowConfig(map=WindowMap(), geometry=Windows()), "pixels uniform with the map"),
        (
            lambda: RGFlow(
                FlowConfig(
                    height=8,
                    width=8,
                    geometry=Blocks(m=2),
                    map=WindowMap(hidden=4),
                    pixels=UniformPixels(),
                )
            ),
            "cells that write one site for the map window; got 4",
        ),
        (
            lambda: FlowConfig(geometry=BlockSpins(), pixels=UniformPixels()),
            "map window, with depth 1, where coarse images are averages.* got affine",
        ),
        (lambda: BlockSpins(period=3), "even periods"),
        (lambda: Windows(inside=(3, 3)), "open boundary where inside is given"),
        (
            lambda: FlowConfig(geometry=Windows(reach=(1, 2, 3)), shared=True, shared_from=1),
            r"the same reach from level 1 on.*got \(1, 2, 3\)",
        ),
        (
            lambda: FlowConfig(geometry=Windows(period=(2, 4)), shared=True),
            "the same period from level 0 on",
        ),
        (lambda: padded(random_flow(**OPEN), noise(1, 3, 9, 8)), "at most 8×8 pixels; got 9×8"),
        (lambda: random_flow(**OPEN | {"height": 1, "width": 8}), "at least 2 rows"),
        (lambda: random_flow(**OPEN | {"geometry": "windows", "height": 9}), "to be a multiple of"),
        (lambda: random_flow(**OPEN | {"height": 9}), "even edges.*; got 9×8"),
        (lambda: random_flow(**OPTIONS["window-photos"] | {"height": 1}), "at least 4 rows"),
        (lambda: random_flow(**OPTIONS["window-averages"] | {"height": 1}), "to be a multiple of"),
        (lambda: random_flow(**OPEN).resized(1, 8), "at least 2 rows"),
        (lambda: random_flow(map="cube").resized(9, 9), "to be a multiple of"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("period", [2, 4, 6, 8])
def test_phases_are_all_that_is_not_coarse(period):
    coarse = {(i, j) for i in range(0, period, 2) for j in range(0, period, 2)}
    every = {(i, j) for i in range(period) for j in range(period)}
    assert set(phases(period)) == every - coarse
    assert len(phases(period)) == len(every - coarse)


def test_equal_geometries_are_equal():
    assert Windows(period=(4, 4)) == Windows(period=4)


def test_periods_differ_between_levels():
    """The top level is drawn site by site, from nothing to all others."""
    flow = random_flow(
        map={"kind": "site", "hidden": 4, "bins": 3},
        geometry={"kind": "windows", "period": (4, 2, 5), "reach": 3},
        height=20, width=20, channels=1, pixels=None,
    )  # fmt: skip
    assert [len(flow.lattice.layers(level)) for level in range(3)] == [12, 3, 25]
    assert [len(layer) for layer in flow.lattice.layers(2)] == [1] * 25
    reads = [len(set(layer.table[0].tolist())) for layer in flow.lattice.layers(2)]
    assert sorted(reads) == list(range(1, 26))
    x = torch.randn(2, 1, 20, 20, dtype=torch.float64)
    z = flow.encode(x)
    assert torch.allclose(flow.decode(z), x, atol=1e-9)
    with pytest.raises(ValueError, match="to be a multiple of"):
        random_flow(
            geometry={"kind": "windows", "period": (4, 2, 5)}, height=12, width=12, pixels=None
        )


def test_levels_share_weights_from_one_on():
    options = {
        "map": {"kind": "site", "hidden": 4, "bins": 3},
        "geometry": {"kind": "windows", "reach": 1},
        "channels": 1, "pixels": None, "shared": True,
    }  # fmt: skip
    flow = random_flow(height=16, width=16, shared_from=1, **options)
    layers = [step.cellwise for step in flow.steps]
    assert layers[1][0].bijector is layers[2][0].bijector
    assert layers[0][0].bijector is not layers[1][0].bijector
    larger = flow.resized(32, 32)
    for theirs, mine in ((0, 0), (1, 1), (1, 4)):
        old, new = (of.steps[h].cellwise[0] for of, h in ((flow, theirs), (larger, mine)))
        x = torch.randn(5, 1, dtype=torch.float64)
        context = Context(torch.randn(5, old.cells.table.shape[1] - 1).double(), x[:, :0])
        assert torch.equal(old.bijector(x, context)[0], new.bijector(x, context)[0])
    with pytest.raises(ValueError, match="shared_from only where levels share"):
        FlowConfig(shared_from=1)


def test_levels_are_told_apart_and_larger_images_have_the_same_kinds():
    options = OPEN | {"height": 16, "width": 16}
    flow = random_flow(**options, level_embedding=3)

    def kinds(flow):
        for step in flow.steps:
            for layer in step.cellwise:
                assert torch.equal(layer.code, step.cellwise[0].code)
                assert layer.code.sum() == 1
        return [step.cellwise[0].code.argmax().item() for step in flow.steps]

    assert kinds(flow) == [0, 1, 2, 2]
    larger = flow.resized(64, 40)
    assert kinds(larger) == [0, 1, 2, 2, 2]
    assert kinds(flow.resized(4, 4)) == [0, 2]  # the top as in training, where nothing is coarser
    assert kinds(random_flow(**options, level_embedding=2, shared_from=1)) == [0, 0, 1, 1]
    back, x8 = larger.resized(16, 16), noise(2, 3, 16, 16)
    assert torch.equal(back.log_prob(x8), flow.log_prob(x8))
    first = [step.cellwise[0] for step in larger.steps]
    cells, context = first[0].read(noise(1, 3, 64, 40).double() / 256 - 0.5)
    plain = Context(context.values, context.embedding[:, :0], context.missing)
    given = [layer.of(torch.arange(len(cells)), plain) for layer in first]
    found = [layer.bijector(cells, of)[1] for layer, of in zip(first, given, strict=True)]
    assert torch.equal(given[0].embedding, context.embedding)
    assert not torch.isclose(found[0], found[1]).any()
    assert not torch.isclose(found[1], found[2]).any()
    assert torch.equal(found[2], found[3])
    assert torch.equal(found[3], found[4])


def test_rolled_images_are_those_of_the_set():
    trust("reproducing.rolled")
    name = "reproducing.rolled.rolled:msds1"
    rolled, plain = load(name, "test", count=40), load("msds1", "test", count=40)
    moves = np.stack([rolled.labels["down"], rolled.labels["right"]], 1)
    for image, before, move in zip(rolled.images, plain.images, moves, strict=True):
        assert np.array_equal(image, np.roll(before, tuple(move), (1, 2)))
    assert (rolled.labels["ovals"] == plain.labels["ovals"]).all()
    assert len(np.unique(moves)) == 8
    assert (load(name, "test", count=5).images == rolled.images[:5]).all()


def test_wallpapers_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(wallpapers, "ROOT", tmp_path)
    with pytest.raises(FileNotFoundError, match="apt install budgie-backgrounds .*mate-backgr"):
        load("wallpapers", count=2)


def test_wallpapers_in_splits_share_no_photograph(tmp_path, monkeypatch):
    monkeypatch.setattr(wallpapers, "ROOT", tmp_path)
    rng = np.random.default_rng(0)
    for files in wallpapers.FILES.values():
        for file in files:
            path = tmp_path / file
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (150, 170, 3), dtype=np.uint8)).save(path)
    parts = {
        split: load("wallpapers", split, count=60) for split in ("train", "validation", "test")
    }
    seen = [set(part.labels["photograph"].tolist()) for part in parts.values()]
    assert len(seen[0] | seen[1] | seen[2]) == sum(map(len, seen))
    assert len(seen[1] | seen[2]) == 12
    assert (load("wallpapers", "test", count=9).images == parts["test"].images[:9]).all()
    with pytest.raises(ValueError, match="no crop of wallpapers"):
        load("wallpapers", crop=20)
