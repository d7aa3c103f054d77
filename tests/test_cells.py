"""Geometries: what cells are, and that everything above holds for all of them and for a new one."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch.func import jacrev

from flows import randomise
from rgflow.bijectors import Cellwise, MapSpec, make_map, spec_of
from rgflow.cells import Cells, Geometry
from rgflow.geometries import Blocks, CentredBlocks, Windows
from rgflow.lattice import Lattice


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
    "centred": CentredBlocks(),
    "centred-open": CentredBlocks(m=6, n=2, shifts=((0, 0), (3, 1), (1, 4)), **OPEN),
    "windows": Windows(reach=1),
    "windows-open": Windows(size=2, period=4, shifts=((1, 1), (0, 2)), reach=1, **OPEN),
    "windows-offsets": Windows(
        period=3, offsets=((0, 1), (-1, 0), (2, 2)), shifts=((0, 1), (2, 1))
    ),
    "bricks": Bricks(),
    "bricks-open": Bricks(**OPEN),
}
SIZES = {"centred-open": (12, 24), "windows-offsets": (6, 12)}


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
            assert (context >= 0).all() or not layer.periodic
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
                for a, b in layer.reads:
                    y, x = i + a, j + b
                    if layer.periodic:
                        y, x = y % layer.grid[0], x % layer.grid[1]
                    inside = 0 <= y < layer.grid[0] and 0 <= x < layer.grid[1]
                    sites.append((y, x) if inside else None)
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
        x = torch.randn(2, channels, *layer.grid, dtype=torch.float64)
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
    from flows import config

    return make_map(config(bijector=kind, conditioner="trunk", hidden=8, blocks=1).map, spec)


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
        (lambda: Windows(offsets=((0, 2),)), "that the layer doesn't write; got .0, 2."),
        (lambda: Windows(size=3, period=4), "size to be 1 or even; got 3"),
        (lambda: Windows(shifts=((0,),)), "pairs of row and column; got .0,."),
        (lambda: CentredBlocks(m=4, n=6), "n to be at most 4; got 6"),
        (lambda: CentredBlocks(boundary="none"), "boundary to be one of periodic, open"),
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
