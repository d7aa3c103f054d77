"""Block spins: coarse images are averages, and pixels are what these leave open."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image

from flows import OPTIONS, random_flow
from rgflow.bijectors.base import Context
from rgflow.bijectors.mixture import Bounded, Units, level_log_prob, mean_levels
from rgflow.bijectors.pixels import Tables
from rgflow.photographs.scoring import band_bits, bands, bits, halved
from rgflow.repair.windows import window_of
from test_windows import strange

SPINS = {
    "map": "window",
    "pixels": "uniform",
    "geometry": {"kind": "block-spins", "reach": 2, "coarse_reach": 3, "boundary": "open"},
    "shared": True,
    "depth": 1,
}


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (2, 3), (1, 5), (6, 1)])
def test_averages_are_those_of_pillow(size):
    x8 = strange(16, 16)[:, :, : size[0], : size[1]]
    for found, image in zip(halved(x8), x8, strict=True):
        expected = Image.fromarray(image.permute(1, 2, 0).numpy()).reduce(2)
        assert np.array_equal(found.permute(1, 2, 0).numpy(), np.asarray(expected))


@pytest.mark.parametrize("period", [2, 4])
@pytest.mark.parametrize("size", [(16, 12), (13, 11), (8, 9)])
def test_every_level_of_a_walk_is_the_average_of_the_one_before(size, period):
    geometry = SPINS["geometry"] | {"period": period}
    flow = random_flow(**SPINS | {"geometry": geometry}).resized(*size)
    x8 = strange(*size)
    expected = [x8]
    while len(expected) < flow.levels:
        expected.append(halved(expected[-1]))
    for visit in flow.walk(x8, write=False):
        if visit.first:
            assert torch.equal(visit.x, expected[visit.level])
    grids = flow.config.height, flow.config.width
    images = torch.zeros(len(x8), 3, *grids, dtype=torch.uint8)
    images[:, :, : size[0], : size[1]] = x8
    for level, found in enumerate(flow.coarse(images)):
        rows, columns = expected[level].shape[2:]
        assert torch.equal(found[:, :, :rows, :columns].floor(), expected[level].double())


@pytest.mark.parametrize("size", [(6, 6), (5, 7)])
def test_probabilities_are_of_what_averages_leave_open(size):
    """They add up to 1, are those of the bits, and nothing else is possible, whatever the image."""
    flow, x8 = random_flow(**SPINS).resized(*size), strange(16, 16)[:, :, 3:, 3:]
    x8 = x8[:, :, : size[0], : size[1]]
    assert bits(flow, x8).total.min() > 1
    for _, band, grid in bands(flow, x8):
        level, context = band.read(grid)
        window = window_of(band.layer)
        average = window.averages_of(level, context) if window.averages else None
        total = torch.zeros(len(level), dtype=torch.float64)
        cube = (context.values + 0.5) / 256
        cube = Context(torch.where(cube < 0.5, cube, cube - 1), context.embedding, context.missing)
        for channel in range(3):
            p = window.probabilities(cube, level[:, :channel], average)
            torch.testing.assert_close(p.sum(1), torch.ones_like(total))
            if window.averages:
                assert (p > 0).sum(1).max() <= 4
            total += p.gather(1, level[:, channel : channel + 1].long())[:, 0].log()
        torch.testing.assert_close(
            -total / math.log(2), band_bits(band, grid).flatten(), rtol=1e-9, atol=1e-9
        )


def squares_of(average, n):
    """All squares of n pixels that have an average."""
    near = range(max(average - 8, 0), min(average + 8, 255) + 1)
    return [one for one in product(near, repeat=n) if (sum(one) + n // 2) // n == average]


@pytest.mark.parametrize(
    ("edge", "averages", "count"),
    [
        (4, (0, 0, 0, 0), 625),
        (4, (0, 255, 0, 255), 5625),
        (5, (0, 0, 1, 0, 0, 0, 0, 1, 77), 15625),
    ],
)
def test_all_images_of_some_averages_have_probability_1(edge, averages, count):
    """By enumeration: level 0 of images whose level 1 is given."""
    flow = random_flow(**SPINS | {"channels": 1, "height": 4, "width": 4}).resized(edge, edge)
    places = [
        [(i, j) for i in (y, y + 1) for j in (x, x + 1) if max(i, j) < edge]
        for y in range(0, edge, 2)
        for x in range(0, edge, 2)
    ]
    squares = [squares_of(*of) for of in zip(averages, map(len, places), strict=True)]
    assert math.prod(map(len, squares)) == count
    images = np.zeros((count, 1, edge, edge), dtype=np.uint8)
    for number, image in enumerate(product(*squares)):
        for at, square in zip(places, image, strict=True):
            for (i, j), pixel in zip(at, square, strict=True):
                images[number, 0, i, j] = pixel
    x8 = torch.from_numpy(images)
    assert (halved(x8) == torch.tensor(averages).view(1, 1, -(-edge // 2), -1)).all()
    log_p = -math.log(2) * torch.cat([bits(flow, part).levels[:, 0] for part in x8.split(4096)])
    assert log_p.abs().max() > 1
    torch.testing.assert_close(log_p.logsumexp(0).exp().item(), 1.0, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", ["window-averages", "window-averages-open"])
def test_samples_have_the_density_of_their_latents(name):
    flow = random_flow(**OPTIONS[name])
    z = flow.draw(4, generator=torch.Generator().manual_seed(0))
    x, log_p = flow.decode_and_log_prob(z)
    assert log_p.abs().min() > 1
    torch.testing.assert_close(log_p, flow.log_prob(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("bounded", [False, True])
def test_means_are_those_of_all_levels(bounded):
    random = torch.Generator().manual_seed(0)
    n = 400
    params = 2 * torch.randn(1, 9, n, generator=random, dtype=torch.float64)
    centre = 255 * torch.rand(1, n, generator=random, dtype=torch.float64)
    unit = 2 + 40 * torch.rand(1, n, generator=random, dtype=torch.float64)
    low = torch.randint(250, (1, n), generator=random).double()
    high = torch.minimum(low + torch.randint(1, 90, (1, n), generator=random), low * 0 + 255)
    units = Bounded(centre, unit, low, high) if bounded else Units(centre, unit)
    share = torch.full((1, 256), 1 / 256, dtype=torch.float64)
    tables = Tables(share, share, share)
    p = torch.stack(
        [
            level_log_prob(torch.full((1, n), k), params, units, tables).exp()
            * ((low <= k) & (k <= high) if bounded else 1)
            for k in range(256)
        ]
    )
    torch.testing.assert_close(p.sum(0), torch.ones_like(low))
    expected = (p * torch.arange(256.0).double()[:, None, None]).sum(0)
    assert (mean_levels(params, units) - expected).abs().max() < 0.5
