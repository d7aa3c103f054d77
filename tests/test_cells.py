"""Geometries: what cells are, and that everything above holds for all of them and for a new one."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.func import jacrev

from flows import by_day, config, randomise
from rgflow import RGFlow
from rgflow.analysis.fields import plain_push, receptive_fields
from rgflow.analysis.jacobians import factors
from rgflow.bijectors import Cellwise, MapSpec, spec_of
from rgflow.cells import Cells, Geometry
from rgflow.geometries import Blocks, BlockSpins, Windows
from rgflow.lattice import Lattice
from rgflow.local import LocalFlow
from rgflow.repair.terms import local_terms


@dataclass(frozen=True, kw_only=True)
class Bricks(Geometry):
    """Pairs of sites, one above the other, in rows that are shifted as those of a wall are."""

    boundary: str = "periodic"
    reads: tuple[tuple[int, int], ...] = field(default=((0, 0), (1, 0), (0, 1), (-1, 0), (2, 0)))

    @property
    def periodic(self):
        return self.boundary == "periodic"

    def unit(self, level):
        return 4

    def layers(self, level, grid, top):
        made = []
        for shift in range(2):
            i, j = np.indices(grid)
            there = (i % 2 == 0) & ((j + i // 2 + shift) % 2 == 0)
            cells = Cells(
                f"layer {shift}", level, grid, np.argwhere(there), self.reads, 2,
                periodic=self.periodic, period=(4, 2),
            )  # fmt: skip
            made.append(cells)
        return made


OPEN = {"boundary": "open"}
GEOMETRIES: dict[str, Geometry] = {
    "blocks": Blocks(m=2),
    "blocks-open": Blocks(m=2, order="released", **OPEN),
    "windows": Windows(reach=1),
    "averages": BlockSpins(reach=1, coarse_reach=1),
    "averages-open": BlockSpins(reach=1, coarse_reach=2, inside=(8, 13), **OPEN),
    "windows-photos": Windows(period=4, reach=3, **OPEN),
    "windows-odd": Windows(period=3),
    "phases": Windows(period=4, reach=3, shared_phases=True),
    "phases-averages": BlockSpins(period=4, reach=2, inside=(8, 13), shared_phases=True, **OPEN),
    "bricks": Bricks(),
    "bricks-open": Bricks(**OPEN),
}
SIZES = {"windows-odd": (6, 12)}


def lattice_of(name: str) -> Lattice:
    height, width = SIZES.get(name, (8, 16))
    return Lattice(height=height, width=width, levels=2, geometry=GEOMETRIES[name])


@pytest.mark.parametrize("name", GEOMETRIES)
def test_cells_write_each_site_once_and_read_what_no_other_writes(name):
    lattice = lattice_of(name)
    for level in range(lattice.levels):
        for layer in lattice.layers(level):
            table = layer.table
            own, context = table[:, : layer.written], table[:, layer.written :]
            assert (own >= 0).all()
            assert len(np.unique(own)) == own.size
            assert not np.isin(context, own).any()
            assert (context >= 0).all() or layer.misses
            assert len(layer) == len(table) == len(layer.origins)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_touched_and_spread_equal_a_loop_over_cells(name):
    lattice = lattice_of(name)
    masks = np.random.default_rng(0).random((3, lattice.height, lattice.width)) < 0.05
    for layer in lattice.layers(0):
        touched, spread = layer.touched(masks), layer.spread(masks)
        assert touched.shape == (3, *layer.shape)
        for k, mask in enumerate(masks):
            expected, out = [], mask.copy()
            for i, j in layer.origins.tolist():
                sites = []
                for place, (a, b) in enumerate(layer.reads):
                    y, x = i + a, j + b
                    if layer.periodic:
                        y, x = y % layer.grid[0], x % layer.grid[1]
                    inside = 0 <= y < layer.extent[0] and 0 <= x < layer.extent[1]
                    known = not layer.unknown or not layer.unknown[place]
                    sites.append((y, x) if inside and known else None)
                expected.append(any(mask[at] for at in sites if at))
                if expected[-1]:
                    for at in sites[: layer.written]:
                        out[at] = True
            assert touched[k].ravel().tolist() == expected
            assert (spread[k] == out).all()


@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_layer_equals_its_cells_one_by_one(name):
    """Log-determinant against autograd, inverse, and the support of the Jacobian."""
    lattice = lattice_of(name)
    channels, total = 2, 0.0
    for layer in lattice.layers(0):
        spec = spec_of(layer, channels)
        inner = make_bijector_of("affine", spec).double()
        randomise(inner, 2.0)
        cellwise = Cellwise(inner, layer, channels)
        x = 2 * torch.randn(2, channels, *layer.grid, dtype=torch.float64)
        y, log_det = cellwise.forward(x)
        back, back_log_det = cellwise.inverse(y)
        torch.testing.assert_close(back, x, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(back_log_det, -log_det, rtol=1e-10, atol=1e-10)
        jacobian = jacrev(lambda v, of=cellwise: of.forward(v[None])[0][0])(x[0])
        size = x[0].numel()
        expected = torch.linalg.slogdet(jacobian.reshape(size, size))[1]
        total += abs(expected.item())
        torch.testing.assert_close(log_det[0], expected, rtol=1e-9, atol=1e-9)
        support = (jacobian != 0).any(3).any(0).numpy()  # of all channels: [h, w, h, w]
        for i, j in np.ndindex(*layer.grid):
            start = np.zeros(layer.grid, dtype=bool)
            start[i, j] = True
            reached = layer.spread(start)
            assert (support[:, :, i, j] <= reached).all()
            assert support[:, :, i, j].sum() >= 0.5 * reached.sum()
    assert total > 1


def make_bijector_of(kind: str, spec: MapSpec) -> Any:
    return config(map=kind, conditioner="trunk", hidden=8, blocks=1).map.make(spec)


def test_what_is_missing_is_flagged():
    lattice = Lattice(height=4, width=4, levels=1, geometry=Windows(reach=1, boundary="open"))
    layer = lattice.layers(0)[-1]  # of the sublattice (0, 0), whose context is all gone
    assert len(layer.reads) == layer.written == 1
    corner = lattice.layers(0)[0]
    cellwise = Cellwise(make_bijector_of("affine", spec_of(corner, 2)), corner, 2)
    x = torch.arange(1.0, 33).view(1, 2, 4, 4)
    cells, context = cellwise.read(x)
    assert context.missing.shape == (4, len(corner.reads) - 1)
    outside = (corner.table[:, 1:] < 0).tolist()
    assert context.missing.tolist() == outside
    values = context.values.view(4, -1, 2)
    assert (values[context.missing] == 0).all()
    assert (values[~context.missing] > 0).all()
    assert torch.equal(cellwise.write(x, cells), x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Cells("own", 0, (2, 2), np.array([(0, 0), (0, 1)]), [(0, 0), (0, 1)], 2).table,
            "each site at most once",
        ),
        (
            lambda: Cells("own", 0, (2, 2), np.array([(0, 0), (0, 1)]), [(0, 0), (0, 1)], 1).table,
            "nothing that their layer writes",
        ),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ---------------------------------------------------------------- everything above


def flow_of(name: str, **options: Any) -> RGFlow:
    """A random flow of a geometry, whose coupling has a context."""
    lattice = lattice_of(name)
    values = {"channels": 2, "map": {"kind": "affine", "conditioner": "trunk"}}
    size = {"height": lattice.height, "width": lattice.width, "levels": 2}
    if "averages" in name:  # which are of the levels of pixels
        values |= {"map": "window", "pixels": "uniform"}
        options = {key: value for key, value in options.items() if key not in ("pixels", "depth")}
    made = config(**{**size, **values, **options})
    flow = RGFlow(replace(made, geometry=lattice.geometry)).double()
    randomise(flow, 0.4 if "averages" in name else 1.0)
    return flow.eval()


@pytest.mark.parametrize("name", GEOMETRIES)
def test_cones_equal_the_support_of_jacobians(name):
    flow = flow_of(name, pixels=None, depth=2)  # one coupling leaves half of a cell apart
    lattice, size = flow.lattice, (flow.lattice.height, flow.lattice.width)
    x = torch.randn(1, 2, *size, dtype=torch.float64)
    x = 128 + 32 * x if flow.pixels else x
    jacobian = jacrev(lambda v: flow.encode(v, dtype=torch.float64).image()[0])(x)[:, :, :, 0]
    reached = (jacobian != 0).any(3).any(0).numpy()  # [h, w, h, w]
    sites = np.random.default_rng(0).permutation(list(np.ndindex(*size)))[:40]
    for i, j in sites:
        cone = lattice.inference_cone(lattice.box(i, j, 1, 1))
        assert (reached[:, :, i, j] == cone).all()
    images = flow.decode(flow.encode(x, dtype=torch.float64))
    torch.testing.assert_close(images, x, rtol=1e-7, atol=1e-7)
    expected = torch.linalg.slogdet(jacobian.reshape(x.numel(), x.numel()))[1]
    prior = flow.prior.log_prob(flow.encode(x, dtype=torch.float64).flat()).sum()
    torch.testing.assert_close(flow.log_prob(x)[0], prior + expected, rtol=1e-9, atol=1e-8)
    assert abs(expected) > 1


@pytest.mark.parametrize("name", GEOMETRIES)
def test_local_evaluation_equals_the_whole(name):
    flow = flow_of(name)
    x = torch.rand(2, *flow.image_shape, dtype=torch.float64) * 255
    masks = np.random.default_rng(1).random((2, *x.shape[2:])) < 0.04
    masks[1] = flow.lattice.box(0, 0, 2, 3)
    region = LocalFlow(flow, x).region(masks)
    new = (region.pixels * 0.7 + 3).requires_grad_()
    whole = region.paste(new)
    torch.testing.assert_close(region.log_prob(new), flow.log_prob(whole), rtol=1e-10, atol=1e-8)
    (gradient,) = torch.autograd.grad(region.log_prob(new).sum(), new)
    (expected,) = torch.autograd.grad(flow.log_prob(whole).sum(), new)
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-9)
    latents = flow.encode(whole.detach(), dtype=torch.float64)
    torch.testing.assert_close(region.encode(new), region.of_latents(latents), rtol=1e-9, atol=1e-9)
    if name.startswith("blocks"):
        back = region.decode(region.encode(new).detach())
        torch.testing.assert_close(back, new.detach(), rtol=1e-8, atol=1e-7)
    else:
        with pytest.raises(ValueError, match="with particles, where .* or use LocalFlow.edit"):
            region.decode(region.latents)
    for mask, cone in zip(region.masks, region.cones, strict=True):
        assert (cone == flow.lattice.inference_cone(mask)).all()

    edit = LocalFlow(flow, x).edit(masks)
    moved = edit.latents * 0.8 + 0.1
    torch.testing.assert_close(
        edit.paste(edit.decode(moved)),
        flow.bounded(flow.decode(edit.with_latents(moved))),
        rtol=1e-9,
        atol=1e-7,
    )


BY_DAY = {"windows", "bricks"}


@pytest.mark.parametrize("name", by_day(GEOMETRIES, BY_DAY))
def test_fields_and_terms(name):
    flow = flow_of(name)
    z = flow.draw_each([3])
    tangents = torch.randn(3, *flow.image_shape, dtype=torch.float64)
    found = factors(flow, z).push(tangents.clone(), flow.lattice.top)
    torch.testing.assert_close(found, plain_push(flow, z, "flow")(tangents), rtol=1e-8, atol=1e-8)
    fields = receptive_fields(flow, draws=1, seed=3, change="derivative")
    naive = plain_push(flow, z, "flow")(torch.eye(flow.dim).double().view(-1, *flow.image_shape))
    strengths = naive.abs().sum(1).mean((1, 2)).view(flow.image_shape)
    torch.testing.assert_close(fields.strengths, strengths, rtol=1e-7, atol=1e-10)

    x8 = torch.randint(256, (2, *flow.image_shape), dtype=torch.uint8)
    torch.testing.assert_close(local_terms(flow, x8).total, flow.log_prob(x8), rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("name", [*GEOMETRIES, "windows-inside"])
def test_single_sites_are_touched_as_the_table_says(name):
    """Few marked sites are looked up by where cells are."""
    if name == "windows-inside":
        geometry = Windows(period=4, reach=3, inside=(7, 13), boundary="open")
        lattice = Lattice(height=8, width=16, levels=2, geometry=geometry)
    else:
        lattice = lattice_of(name)
    for level in range(lattice.levels):
        for layer in lattice.layers(level):
            masks = np.eye(int(np.prod(layer.grid)), dtype=bool).reshape(-1, *layer.grid)
            every = np.stack([(layer.table == site).any(1) for site in range(len(masks))])
            assert (layer.touched(masks).reshape(every.shape) == every).all()
            for mask, expected in zip(masks, every, strict=True):
                assert (layer.touched(mask).ravel() == expected).all()
