"""Geometry: against the published numbers, a slow reference, and the support of Jacobians."""

import math
from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flows import by_day, random_flow, random_images
from rgflow import Latents, Lattice, RGFlow
from rgflow.geometries import Blocks, BlockSpins, Windows

ORDERS = ("paper", "released")
BOUNDARIES = ("periodic", "open")


# ---------------------------------------------------------------- numbers worked out by hand


@pytest.mark.parametrize(
    ("order", "shares", "mean", "per_level"),
    [
        (
            "paper",
            {1092: 64, 1200: 144, 1344: 177, 1488: 108, 1668: 36},
            1325.8,
            (653.6, 480.2, 144, 48),
        ),
        ("released", {1344: 324, 1488: 180, 1668: 25}, 1408.3, (640.3, 576, 144, 48)),
    ],
)
def test_inference_cones_of_all_10x10_regions(order, shares, mean, per_level):
    lattice = Lattice(height=32, width=32, geometry=Blocks(order=order))
    counts = np.array(
        [
            lattice.counts(lattice.inference_cone(lattice.box(y, x, 10, 10)))
            for y in range(23)
            for x in range(23)
        ]
    )
    latents = 3 * counts
    assert Counter(latents.sum(1).tolist()) == shares
    assert latents.sum(1).mean() == pytest.approx(mean, abs=0.05)
    assert latents.mean(0) == pytest.approx(per_level, abs=0.05)


@pytest.mark.parametrize(
    ("size", "mean"),
    [
        (32, 1326),
        (64, 1705),
        (128, 2060),
        (256, 2402),
        pytest.param(512, 2737, marks=pytest.mark.slow),
        pytest.param(1024, 3067, marks=pytest.mark.slow),
    ],
)
def test_inference_cones_grow_with_the_logarithm(size, mean):
    lattice = Lattice(height=size, width=size)
    # The cone of a rectangle is a rectangle on every grid, so all positions follow from those on
    # the diagonal: rows (all, even) times columns (all, even) give what stays.
    edges = np.array([_edges(lattice, y) for y in range(size - 9)])  # [position, level, all/even]
    every, even = edges.mean(0).T
    stays = [
        a * a - (b * b if level < lattice.top else 0)
        for level, (a, b) in enumerate(zip(every, even, strict=True))
    ]
    assert 3 * sum(stays) == pytest.approx(mean, abs=1)  # the table has whole numbers
    if size <= 64:
        each = [
            3 * lattice.inference_cone(lattice.box(y, x, 10, 10)).sum()
            for y in range(size - 9)
            for x in range(size - 9)
        ]
        assert np.mean(each) == pytest.approx(3 * sum(stays))


@pytest.mark.parametrize(
    ("geometry", "first", "more", "last"),
    [
        (Windows(period=4, reach=3, boundary="open"), [146, 74, 47], 40, [40, 16]),
        (BlockSpins(period=4, boundary="open"), [338, 277, 225], 222, [176, 48, 13]),
    ],
    ids=["sites", "averages"],
)
def test_cones_of_windows_grow_with_the_logarithm(geometry, first, more, last):
    """Every level that a larger image adds has as many sites in the cone as the one before."""
    for size in (128, 256, 512):
        lattice = Lattice(height=size, width=size, geometry=geometry)
        cone = lattice.inference_cone(lattice.box(size // 2, size // 2, 8, 8))
        counts = list(lattice.counts(cone))
        n = len(first)
        assert counts == [*first, *[more] * (lattice.levels - n - len(last)), *last]


def _edges(lattice: Lattice, y: int) -> list[tuple[int, int]]:
    """Rows of the cone of a square on the diagonal, on the grid of every level: all, and even."""
    cone, out = lattice.inference_cone(lattice.box(y, y, 10, 10)), []
    for level in range(lattice.levels):
        grid = cone[:: 1 << level, :: 1 << level]
        rows = (grid if level == lattice.top else grid[:, 1::2]).any(1)
        out.append((int(rows.sum()), int(rows[::2].sum())))
    return out


@pytest.mark.parametrize(
    ("order", "edges"), [("paper", [8, 20, 44, 92, 188]), ("released", [8, 24, 56, 120, 248])]
)
def test_generation_cone_edges(order, edges):
    lattice = Lattice(height=512, width=512, geometry=Blocks(order=order))
    for level, edge in enumerate(edges):
        site = 256 + (1 << level)
        assert lattice.generation_cone(lattice.site(level, site, 256)).sum() == edge**2


def test_latents_per_level():
    lattice = Lattice(height=32, width=32)
    sizes = [int(np.prod(lattice.latent_shape(h, 3))) for h in range(lattice.levels)]
    assert sizes == [2304, 576, 144, 48]
    assert lattice.counts(np.ones((32, 32), dtype=bool)) == (768, 192, 48, 16)


# ---------------------------------------------------------------- a slow reference


def slow_cone(lattice: Lattice, start: tuple[int, int], up: bool) -> set[tuple[int, int]]:
    """Follow blocks one by one, as eqs. 8 and 9 place them."""
    sites = {start}
    for level in range(lattice.levels) if up else reversed(range(lattice.levels)):
        m = lattice.geometry.unit(level)
        rows, columns = lattice.height >> level, lattice.width >> level
        shifts = (m // 2, 0) if lattice.geometry.order == "paper" else (0, m // 2)
        for shift in shifts if up else reversed(shifts):
            reached = set()
            for p in range(rows // m):
                for q in range(columns // m):
                    block = [
                        (m * p + shift + a, m * q + shift + b) for a in range(m) for b in range(m)
                    ]
                    wraps = any(i >= rows or j >= columns for i, j in block)
                    if wraps and lattice.geometry.boundary == "open":
                        continue
                    pixels = {(i % rows << level, j % columns << level) for i, j in block}
                    if pixels & sites:
                        reached |= pixels
            sites |= reached
    return sites


@settings(deadline=None, max_examples=60)
@given(
    m=st.sampled_from([2, 4, 6, (4, 2), (8, 4), (2, 6), (4, 2, 2), (2, 4, 2)]),
    levels=st.integers(1, 3),
    tall=st.integers(1, 2),
    wide=st.integers(1, 3),
    order=st.sampled_from(ORDERS),
    boundary=st.sampled_from(BOUNDARIES),
    up=st.booleans(),
    data=st.data(),
)
def test_cones_equal_a_slow_reference(m, levels, tall, wide, order, boundary, up, data):
    if isinstance(m, tuple):
        levels = len(m)
        unit = math.lcm(*(edge << level for level, edge in enumerate(m)))
    else:
        unit = m << (levels - 1)
    lattice = Lattice(
        height=tall * unit,
        width=wide * unit,
        levels=levels,
        geometry=Blocks(m=m, order=order, boundary=boundary),
    )
    i = data.draw(st.integers(0, lattice.height - 1))
    j = data.draw(st.integers(0, lattice.width - 1))
    start = lattice.site(int(lattice.site_levels[i, j]), i, j)
    cone = lattice.inference_cone(start) if up else lattice.generation_cone(start)
    assert set(zip(*map(np.ndarray.tolist, np.nonzero(cone)), strict=True)) == slow_cone(
        lattice, (i, j), up
    )


# ---------------------------------------------------------------- Jacobians


def support(function, x: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    """Which site of the input reaches which of the output: [H·W in, H·W out]."""
    jacobian = torch.func.jacrev(function, chunk_size=256)(x)  # [C, H, W, C, H, W]
    reached = (jacobian != 0).any(0).any(2)  # [H, W out, H, W in]
    sites = size[0] * size[1]
    return reached.reshape(sites, sites).numpy().T


def expected_support(lattice: Lattice, up: bool) -> np.ndarray:
    rows = []
    for i in range(lattice.height):
        for j in range(lattice.width):
            site = lattice.site(int(lattice.site_levels[i, j]), i, j)
            cone = lattice.inference_cone(site) if up else lattice.generation_cone(site)
            rows.append(cone.flatten())
    return np.stack(rows)


def check_support(flow: RGFlow) -> None:
    lattice, size = flow.lattice, (flow.config.height, flow.config.width)
    x = random_images(flow, 1)
    z = flow.encode(x, dtype=torch.float64).image().detach()

    def encode(x):
        return flow.encode(x[None], dtype=torch.float64).image()[0]

    def decode(z):
        return flow.decode(Latents.from_image(z[None], lattice))[0]

    assert np.array_equal(support(encode, x[0], size), expected_support(lattice, up=True))
    assert np.array_equal(support(decode, z[0], size), expected_support(lattice, up=False))


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", ["affine", {"kind": "cube", "bins": 3}])
def test_cones_equal_the_support_of_jacobians(kind, order, boundary):
    flow = random_flow(
        height=16, width=16, pixels=None, channels=1, depth=2,
        map=kind, conditioner="trunk", order=order, boundary=boundary,
    )  # fmt: skip
    check_support(flow)  # of two couplings, as one leaves half of a block apart


def test_without_disentanglers_cones_are_blocks_and_equal_the_support():
    flow = random_flow(
        height=16, width=16, pixels=None, channels=1, depth=2, conditioner="trunk",
        disentanglers=False,
    )  # fmt: skip
    check_support(flow)
    cone = flow.lattice.generation_cone(flow.lattice.site(0, 0, 1))
    assert cone[:4, :4].all()
    assert cone.sum() == 16


AT_32 = list(product(ORDERS, BOUNDARIES))


@pytest.mark.parametrize("case", by_day(AT_32, [AT_32[0], AT_32[-1]]), ids="-".join)
def test_cones_equal_the_support_of_jacobians_at_32(case):
    order, boundary = case
    flow = random_flow(
        height=32, width=32, pixels=None, channels=1, depth=2,
        conditioner="trunk", order=order, boundary=boundary,
    )  # fmt: skip
    check_support(flow)


# ---------------------------------------------------------------- structure and errors


def test_every_site_has_one_level_and_layers_without_blocks_are_left_out():
    lattice = Lattice(height=8, width=16, geometry=Blocks(m=4, boundary="open"))
    assert lattice.levels == 2
    assert [layer.name for layer in lattice.layers(0)] == ["disentangler", "decimator"]
    assert [layer.shape for layer in lattice.layers(0)] == [(1, 3), (2, 4)]
    assert [layer.name for layer in lattice.layers(1)] == ["decimator"]
    assert lattice.site_levels.max() == 1


def test_the_last_edge_holds_for_all_further_levels():
    lattice = Lattice(height=32, width=64, geometry=Blocks(m=(8, 4, 4)))
    assert (lattice.levels, lattice.geometry.m) == (4, (8, 4))
    assert lattice == Lattice(height=32, width=64, geometry=Blocks(m=(8, 4)))
    assert [layer.shape for level in range(4) for layer in lattice.layers(level)[:1]] == [
        (4, 8), (4, 8), (2, 4), (1, 2),
    ]  # fmt: skip
    assert Lattice(height=32, width=32, geometry=Blocks(m=(4, 4))) == Lattice(height=32, width=32)
    assert Lattice(height=32, width=32, geometry=Blocks(m=(8, 4, 2, 4))).levels == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"height": 30, "width": 32}, r"multiple of 4·2\^\(levels−1\) = 4; got 30 .*28 or 32"),
        ({"height": 32, "width": 40, "levels": 3}, r"= 16; got 40 \(nearest: 32 or 48\)"),
        ({"height": 2, "width": 4}, "got 2 .nearest: 4 or 4|got 2 .nearest: 4"),
        ({"height": 32, "width": 32, "m": 3}, "m to be a multiple of 2; got 3"),
        (
            {"height": 32, "width": 32, "m": ()},
            "Expected m to be a list of 1 or more; got",
        ),
        ({"height": 32, "width": 32, "m": (8, 4), "levels": 1}, "at least the 2 levels .* got 1"),
        ({"height": 8, "width": 6, "m": (4, 2)}, r"m·2\^h of every level h = 4; got 6 .*4 or 8"),
        ({"height": 32, "width": 32, "levels": -1}, "levels to be at least 0; got -1"),
        ({"height": "8", "width": 8}, "height to be a whole number; got '8'"),
        (
            {"height": 8, "width": 8, "order": "released", "disentanglers": False},
            "the order paper without disentanglers; got released",
        ),
        ({"height": 8, "width": 8, "order": "code"}, "order to be one of paper, released"),
        ({"height": 8, "width": 8, "boundary": "foo"}, "boundary to be one of periodic, open"),
    ],
)
def test_impossible_sizes(arguments, message):
    size = {k: x for k, x in arguments.items() if k in ("height", "width", "levels")}
    of_blocks = {k: x for k, x in arguments.items() if k not in size}
    with pytest.raises(ValueError, match=message):
        Lattice(**size, geometry=Blocks(**of_blocks))


def test_regions_and_addresses_outside():
    lattice = Lattice(height=16, width=16)
    with pytest.raises(ValueError, match="inside the 16×16 image; got rows 10 to 19"):
        lattice.box(10, 0, 10, 4)
    with pytest.raises(ValueError, match="corner of at least 0"):
        lattice.box(-1, 0, 10, 4)
    with pytest.raises(ValueError, match=r"boolean mask of shape \(16, 16\); got bool of shape"):
        lattice.inference_cone(np.zeros((8, 8), dtype=bool))
    with pytest.raises(ValueError, match="boolean mask"):
        lattice.generation_cone(np.zeros((16, 16)))
    with pytest.raises(ValueError, match="level of 0 to 2; got 3"):
        lattice.grid(3)
    with pytest.raises(
        ValueError,
        match=r"position of level 1; got \(4, 4\), which is of level 2 \(nearest: \(2, 4\)\)",
    ):
        lattice.site(1, 4, 4)
    with pytest.raises(ValueError, match="inside the 16×16 image"):
        lattice.site(0, 16, 1)
