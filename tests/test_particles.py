"""Holes filled in by particles, against what can be counted."""

import pytest
import torch

from flows import config, random_flow, randomise
from rgflow import make_flow
from rgflow.bijectors import WindowMixture
from rgflow.repair import particles
from rgflow.repair.particles import complete, filling_of, maps_once, parts
from rgflow.repair.population import resampled

KIND = {
    "map": "coarse_to_fine",
    "disentanglers": False,
    "depth": 1,
    "pixels": "marginal",
    "splits": 1,
}


WINDOWS = {
    "map": "window",
    "depth": 1,
    "pixels": "uniform",
    "geometry": {"kind": "windows", "reach": 2, "boundary": "open"},
    "shared": True,
    "level_embedding": 2,
}
OWN = WINDOWS | {
    "geometry": {"kind": "windows", "period": 4, "shared_phases": True},
    "shared": False,
    "level_embedding": 0,
}
"""With weights of their own at every level, alike for several phases."""


def dark_flow(kind=KIND, channels=1, **options):
    """A random flow of images, by default 8×8 of one channel, which have few values."""
    sizes = {"height": 8, "width": 8, "channels": channels}
    flow = make_flow(config(**kind, **sizes | options)).double()
    randomise(flow)
    flow.fit_pixels(torch.randint(4, (40, *flow.image_shape), dtype=torch.uint8))
    return flow


def test_resampling_beside_a_kept_particle_leaves_its_distribution():
    """One of three states, four particles: what was drawn from p is so still after a sweep."""
    p, random = torch.tensor([0.05, 0.15, 0.80], dtype=torch.float64), torch.Generator()
    random.manual_seed(0)
    counts, n, m = torch.zeros(3, dtype=torch.float64), 20_000, 4
    before = torch.multinomial(p, n, replacement=True, generator=random)
    others = torch.randint(3, (n, m), generator=random)
    for state, states in zip(before, others, strict=True):
        states[0] = state
        again = resampled((p[states] / p[states].sum())[None], random, True)[0]
        assert again[0] == 0
        counts[states[again[torch.randint(m, (), generator=random)]]] += 1
    error = (p * (1 - p) / n).sqrt()
    assert ((counts / n - p).abs() < 4 * error).all()


@pytest.mark.parametrize(
    "options",
    [
        KIND | {"pixels": "logit"},
        WINDOWS | {"geometry": "block-spins"},
    ],
)
def test_only_levels_of_pixels_are_drawn(options):
    flow = make_flow(config(**options, height=8, width=8))
    assert not maps_once(flow)
    with pytest.raises(ValueError, match=r"images are sites, .* pixels marginal, no disent"):
        parts(flow, flow.lattice.box(2, 2, 1, 1))


class Own(WindowMixture):
    """A map of one's own."""


def test_maps_of_ones_own_may_be_windows():
    own = {"kind": f"{__name__}.Own", "hidden": 8}
    assert maps_once(make_flow(config(**WINDOWS | {"map": own}, height=8, width=8)))


@pytest.mark.parametrize("sweeps", [200, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("place", "options"),
    [
        ((2, 2), {}),
        ((3, 5), {}),
        ((2, 5), {"position_embedding": 4}),
        pytest.param((0, 4), {"kind": WINDOWS}, marks=pytest.mark.slow),
        ((3, 5), {"kind": OWN}),
    ],
    ids=["coarse", "fine", "positions", "windows-coarse", "windows-fine"],
)
def test_a_pixel_is_drawn_from_its_distribution_given_all_others(place, options, sweeps):
    flow = dark_flow(**options)
    image = torch.randint(4, (1, 8, 8), dtype=torch.uint8)
    every = image.repeat(256, 1, 1, 1)
    every[:, 0, *place] = torch.arange(256, dtype=torch.uint8)
    expected = flow.log_prob(every).softmax(0)
    assert (expected > 0.02).sum() > 1
    hole = flow.lattice.box(*place, 1, 1)
    found = complete(flow, image, hole, particles=4, sweeps=sweeps, generator=torch.Generator())
    values = found.samples[:, 0, *place].long()
    counts = torch.bincount(values, minlength=256) / len(values)
    # Successive draws depend on each other: as many independent ones as a quarter of them.
    error = (expected * (1 - expected) / (len(values) / 4)).sqrt()
    assert ((counts - expected).abs() < 4.5 * error + 2e-3).all()
    assert found.log_prob == pytest.approx(flow.log_prob(every).max().item(), abs=1e-6)


@pytest.mark.parametrize("sweeps", [250, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", [KIND, WINDOWS], ids=["blocks", "windows"])
def test_two_pixels_are_drawn_together(sweeps, kind):
    """The first is coarse and the second fine, and the third pixel beside them is known."""
    flow = dark_flow(kind)
    image = torch.randint(4, (1, 8, 8), dtype=torch.uint8)
    hole = flow.lattice.box(2, 2, 1, 2)
    some = torch.cartesian_prod(torch.arange(16), torch.arange(16)).to(torch.uint8)
    every = image.repeat(len(some), 1, 1, 1)
    every[:, 0, 2, 2:4] = some
    expected = flow.log_prob(every).softmax(0)
    found = complete(flow, image, hole, particles=8, sweeps=sweeps, generator=torch.Generator())
    values = found.samples[:, 0, 2, 2:4].long()
    values = values[(values < 16).all(1)]
    counts = torch.bincount(values[:, 0] * 16 + values[:, 1], minlength=256) / len(values)
    error = (expected * (1 - expected) / (len(values) / 8)).sqrt()
    assert ((counts - expected).abs() < 4.5 * error + 2e-3).all()


@pytest.mark.parametrize("kind", [KIND, WINDOWS], ids=["blocks", "windows"])
def test_what_is_told_is_so(kind, monkeypatch):
    flow = dark_flow(kind, channels=2)
    image = torch.randint(4, (2, 8, 8), dtype=torch.uint8)
    hole = torch.zeros(8, 8, dtype=torch.bool).numpy()
    hole[1:6, 3:6] = True
    told, seen = [], []
    found = complete(
        flow,
        image,
        hole,
        particles=6,
        sweeps=3,
        progress=lambda n, log_p: told.append((n, log_p)),
        preview=seen.append,
    )
    count = 4 if kind is KIND else 1  # blocks that hold parts of it
    assert parts(flow, hole) == count
    assert torch.equal(torch.stack(seen[count - 1 :: count]), found.samples)
    assert [n for n, _ in told] == list(range(1, 3 * count + 1))
    assert found.curve == tuple(log_p for _, log_p in told)
    assert found.curve[-1] == pytest.approx(flow.log_prob(found.samples[-1:]).item(), abs=1e-6)
    assert found.log_prob >= max(flow.log_prob(found.samples)) - 1e-6
    known = ~torch.from_numpy(hole)
    for filled in (found.image, *found.samples):
        assert torch.equal(filled[:, known], image[:, known])
    # What was in the hole doesn't matter.
    other = image.clone()
    other[:, ~known] = 255
    first, second = (
        complete(flow, x, hole, particles=6, sweeps=2, generator=torch.Generator().manual_seed(3))
        for x in (image, other)
    )
    assert torch.equal(first.samples, second.samples)
    # In large images log p is relative to the first completion's, and nothing is read as a whole.
    monkeypatch.setattr(particles, "WHOLE_PIXELS", 1)
    generator = torch.Generator().manual_seed(3)
    third = complete(flow, image, hole, particles=6, sweeps=2, generator=generator)
    assert torch.equal(third.samples, first.samples)
    assert torch.equal(third.image, first.image)
    rises = (torch.tensor(third.curve) - torch.tensor(first.curve)).unique(dim=0)
    assert torch.allclose(rises, rises[:1], atol=1e-4)
    assert third.log_prob == pytest.approx(first.log_prob + rises[0].item(), abs=1e-4)


def test_what_is_connected_begins_as_one():
    flow = dark_flow(WINDOWS, height=32, width=32)
    hole = flow.lattice.box(1, 2, 20, 3)  # across the edges of parts
    hole[21:23, 5:30] = True  # touches a corner
    hole[28, 3] = True
    filling = filling_of(flow, hole)
    assert sum(batch.count for batch in filling.batches) > 2
    pieces = filling.whole
    assert pieces.count == 2
    assert (filling.sites[pieces.places] == filling.sites).all()
    assert pieces.owners.tolist() == [0] * (len(filling.sites) - 1) + [1]


def test_it_can_be_stopped():
    flow = dark_flow()
    image = torch.zeros(1, 8, 8, dtype=torch.uint8)
    hole = flow.lattice.box(0, 0, 8, 8)
    found = complete(flow, image, hole, particles=4, sweeps=9, progress=lambda n, _: n == 2)
    assert len(found.curve) == 2
    assert len(found.samples) == 1


def test_bad_input_is_one_sentence():
    flow = dark_flow()
    image, hole = torch.zeros(1, 8, 8, dtype=torch.uint8), flow.lattice.box(1, 1, 2, 2)
    with pytest.raises(ValueError, match="Expected an image of shape"):
        complete(flow, image[:, :4], hole)
    with pytest.raises(ValueError, match="Expected a hole to fill; got an empty mask"):
        complete(flow, image, ~(hole | True))
    with pytest.raises(ValueError, match="Expected a boolean mask"):
        complete(flow, image, hole[:4])
    with pytest.raises(ValueError, match="Expected particles to be"):
        complete(flow, image, hole, particles=1)
    for options in (
        {"disentanglers": True},
        {"depth": 2},
        {"shared": True},
        {"map": "affine"},
    ):
        kind = {name: x for name, x in KIND.items() if name != "splits" or "map" not in options}
        other = random_flow(**{**kind, "height": 8, "width": 8, "channels": 1, **options})
        with pytest.raises(ValueError, match="Expected a flow that maps every pixel once"):
            complete(other, image, hole)
