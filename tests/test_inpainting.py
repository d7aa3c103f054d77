"""Holes are filled in with what is likeliest, and nothing that they hold matters."""

import numpy as np
import pytest
import torch

from flows import config, random_flow, random_images
from reproducing.holes import WholeFlow, filled_beside, random_boxes
from rgflow import make_flow
from rgflow.local import LocalFlow
from rgflow.repair.climb import Climb
from rgflow.repair.comparison import blanked, fill, scores
from rgflow.repair.inpainting import by_copy, inpaint

AFFINE = {"height": 16, "width": 16, "depth": 1}
CUBE = {**AFFINE, "map": "cube", "conditioner": "trunk", "pixels": "marginal"}
NVP = {"geometry": "squeeze", "levels": 2, "hidden": 4, "blocks": 1, "height": 16, "width": 16}


def flow_and_images(n=3, **options):
    flow = random_flow(**options)
    return flow, random_images(flow, n, seed=3)


def holes(lattice, n=3):
    """A square, one across the wrapped edge, and two."""
    masks = np.stack([lattice.box(3 + k, 5, 4, 3) for k in range(n)])
    masks[1] = np.roll(lattice.box(0, 0, 4, 3), (-2, -1), (0, 1))
    masks[2] |= lattice.box(12, 0, 2, 2)
    return masks


@pytest.mark.parametrize("options", [AFFINE, CUBE, {**AFFINE, "boundary": "open"}])
def test_a_whole_flow_has_the_same_holes(options, monkeypatch):
    monkeypatch.setattr("reproducing.holes.IMAGES_AT_ONCE", 4)
    flow, images = flow_and_images(**options)
    masks = holes(flow.lattice)
    local = LocalFlow(flow, images).region(masks, copies=2)
    whole = WholeFlow(flow, images).region(masks, copies=2)
    assert (local.masks == whole.masks).all()
    assert len(whole.latents) == 6 * flow.dim
    pixels = local.pixels * 0.6 + 20
    for name in ("pixels", "owners"):
        torch.testing.assert_close(getattr(local, name), getattr(whole, name))
    for call in ("log_prob", "paste", "to_flow"):
        ours, theirs = getattr(local, call)(pixels), getattr(whole, call)(pixels)
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    y = local.to_flow(pixels)
    torch.testing.assert_close(local.from_flow(y), whole.from_flow(y))
    torch.testing.assert_close(whole.decode(whole.latents), whole.pixels, rtol=1e-6, atol=1e-6)


def test_free_latents_are_as_many_as_asked_for():
    flow, images = flow_and_images(**NVP)
    whole = WholeFlow(flow, images, free=[1, 20, flow.dim], seed=4)
    region = whole.region(holes(flow.lattice))
    assert torch.bincount(region.latent_owners).tolist() == [1, 20, flow.dim]
    assert (WholeFlow(flow, images, free=20, seed=5).free != whole.free).any()
    changed = region.decode(region.latents + 0.1)
    assert (changed != region.pixels).any()
    for free in (0, flow.dim + 1, [3, 4]):
        with pytest.raises(ValueError, match="number of free latents from 1 to 768"):
            WholeFlow(flow, images, free=free)


@pytest.mark.parametrize("variables", ["latents", "pixels"])
@pytest.mark.parametrize("options", [AFFINE, CUBE, NVP])
def test_it_climbs(options, variables):
    flow, images = flow_and_images(**options)
    masks = holes(flow.lattice)
    encoded = (WholeFlow if options is NVP else LocalFlow)(flow, images)
    generator = torch.Generator().manual_seed(0)
    found = inpaint(
        encoded,
        masks,
        Climb(variables=variables, draws=9, restarts=2, steps=12),
        generator=generator,
    )
    assert found.curves.shape == (12, 3, 2)
    assert (found.log_prob > found.start).all()
    torch.testing.assert_close(found.log_prob, found.curves.amax((0, 2)))
    torch.testing.assert_close(found.log_prob, flow.log_prob(found.images), rtol=1e-9, atol=1e-8)
    known = ~torch.as_tensor(masks)[:, None].expand_as(images)
    assert torch.equal(found.images[known], images[known])
    cones = LocalFlow(flow, images).region(masks).cones.sum((1, 2)) if options is not NVP else 256
    size = masks.sum((1, 2)) if variables == "pixels" else cones
    assert (found.free.numpy() == 3 * size).all()
    assert not found.diverged.any()
    assert not found.converged.any()


@pytest.mark.parametrize("variables", ["latents", "pixels"])
def test_it_finds_the_mode(variables):
    """A new flow is the identity: the likeliest field is 0 wherever it isn't known."""
    flow = make_flow(config(hidden=4, prior="gaussian", pixels=None))
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    hole = flow.lattice.box(6, 2, 2, 3)
    found = inpaint(LocalFlow(flow, images), hole, Climb(variables=variables, draws=3, rate=0.1))
    assert found.converged.all()
    assert found.images[:, :, 6:, 2:5].abs().max() < 0.02
    assert found.steps < 1000


def test_what_a_hole_holds_has_no_influence():
    flow, images = flow_and_images(**AFFINE)
    masks = holes(flow.lattice)
    other = torch.where(torch.as_tensor(masks)[:, None], 255 - images, images)
    results = [
        inpaint(
            LocalFlow(flow, x),
            masks,
            Climb(draws=4, steps=5),
            generator=torch.Generator().manual_seed(1),
        ).images
        for x in (images, other)
    ]
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-9)
    x8 = images.to(torch.uint8)
    other = torch.where(torch.as_tensor(masks)[:, None], 255 - x8, x8)
    nvp, climb = random_flow(**NVP), Climb(draws=3, steps=2)
    for ours, theirs in zip(
        (*fill(flow, x8, masks, climb), *filled_beside(flow, nvp, x8, masks, climb)),
        (*fill(flow, other, masks, climb), *filled_beside(flow, nvp, other, masks, climb)),
        strict=True,
    ):
        assert torch.equal(ours.images, theirs.images)


def test_starts_are_the_best_draws():
    flow, images = flow_and_images(**AFFINE, hidden=16, blocks=2)
    masks = holes(flow.lattice)
    local = LocalFlow(flow, images)
    few = inpaint(local, masks, Climb(draws=1, steps=1), generator=torch.Generator().manual_seed(2))
    generator = torch.Generator().manual_seed(2)
    region = local.region(masks, copies=50)
    z = flow.prior.sample_like(region.latents, generator)
    scores = region.log_prob(region.decode(z)).view(3, 50)
    generator.manual_seed(2)
    many = inpaint(local, masks, Climb(draws=50, restarts=3, steps=1), generator=generator)
    expected = scores.topk(3, 1).values
    torch.testing.assert_close(many.curves[0], expected, rtol=1e-9, atol=1e-8)
    torch.testing.assert_close(many.start, expected[:, 0], rtol=1e-9, atol=1e-8)
    assert (many.start > few.start).all()


def test_draws_in_portions_are_the_same_kind(monkeypatch):
    flow, images = flow_and_images(**AFFINE)
    masks = holes(flow.lattice)
    monkeypatch.setattr("rgflow.repair.inpainting.PIXELS_AT_ONCE", 4 * int(masks.sum()))
    seen = []
    region = LocalFlow.region

    def spied(self, masks, copies=1):
        seen.append(copies)
        return region(self, masks, copies)

    monkeypatch.setattr(LocalFlow, "region", spied)
    found = inpaint(LocalFlow(flow, images), masks, Climb(draws=10, restarts=2, steps=1))
    assert 4 in seen
    assert found.curves.shape == (1, 3, 2)


def test_a_climb_that_diverges_keeps_its_best(monkeypatch):
    flow, images = flow_and_images(**AFFINE)
    masks = holes(flow.lattice)
    local = LocalFlow(flow, images)
    region_class = type(local.region(masks))
    honest, calls = region_class.log_prob, 0

    def spoilt(self, pixels):
        nonlocal calls
        log_prob = honest(self, pixels)
        if not torch.is_grad_enabled():  # while starts are drawn
            return log_prob
        calls += 1
        return log_prob * torch.tensor([1.0, torch.nan if calls > 4 else 1.0, 1.0])

    monkeypatch.setattr(region_class, "log_prob", spoilt)
    found = inpaint(local, masks, Climb(draws=3, steps=12))
    monkeypatch.undo()
    assert found.diverged.tolist() == [False, True, False]
    assert found.images.isfinite().all()
    torch.testing.assert_close(found.log_prob, flow.log_prob(found.images), rtol=1e-9, atol=1e-8)
    assert found.log_prob[1] == found.curves[:4, 1].max()


def test_a_climb_that_falls_has_diverged():
    flow, images = flow_and_images(**AFFINE)
    masks = holes(flow.lattice)
    found = inpaint(LocalFlow(flow, images), masks, Climb(draws=5, steps=60, rate=100.0))
    assert found.diverged.all()
    assert not found.converged.any()
    assert (found.log_prob >= found.start).all()
    torch.testing.assert_close(found.log_prob, flow.log_prob(found.images), rtol=1e-9, atol=1e-8)


def test_an_infinite_density_is_no_best(monkeypatch):
    flow, images = flow_and_images(**AFFINE)
    local, hole = LocalFlow(flow, images), holes(flow.lattice)
    honest = type(local.region(hole)).log_prob

    def infinite(self, pixels):
        return honest(self, pixels) + (torch.inf if torch.is_grad_enabled() else 0)

    monkeypatch.setattr(type(local.region(hole)), "log_prob", infinite)
    found = inpaint(local, hole, Climb(draws=3, steps=4))
    assert found.diverged.all()
    assert found.images.isfinite().all()
    assert ((found.images >= 0) & (found.images < 256)).all()


def test_constrained_means_latents_whatever_varies():
    flow, images = flow_and_images(**AFFINE)
    masks = holes(flow.lattice)
    climb = Climb(draws=2, steps=2, variables="pixels")
    made = filled_beside(flow, random_flow(**NVP), images.to(torch.uint8), masks, climb)
    constrained, free = made
    assert [one.name for one in (constrained, free)] == ["Real NVP, constrained", "Real NVP"]
    assert free.inpainting.climb.variables == "pixels"
    assert constrained.inpainting.climb.variables == "latents"
    cones = LocalFlow(flow, images).region(masks).cones.sum((1, 2))
    assert (constrained.inpainting.free.numpy() == 3 * cones).all()


def test_images_of_a_batch_come_to_rest_by_themselves():
    flow = random_flow(height=8, width=8, depth=1, prior="gaussian", pixels=None)
    images = random_images(flow, 3, seed=1)
    hole = flow.lattice.box(6, 2, 2, 3)
    first, second = (
        inpaint(
            LocalFlow(flow, images[pair]),
            hole,
            Climb(draws=1),
            generator=torch.Generator().manual_seed(3),
        )
        for pair in ([0, 1], [0, 2])
    )
    assert first.converged.all()
    assert second.converged.all()
    assert first.steps != second.steps
    steps = min(first.steps, second.steps)
    torch.testing.assert_close(first.curves[:steps, 0], second.curves[:steps, 0])
    ends = [int((found.curves[1:] != found.curves[:-1]).sum(0)[0, 0]) for found in (first, second)]
    assert ends[0] == ends[1] < max(first.steps, second.steps) - 1  # then it stays where it is


def test_it_stops_when_asked():
    flow, images = flow_and_images(**AFFINE)
    told, seen = [], []

    def progress(step, log_prob):
        told.append((step, tuple(log_prob.shape)))
        return step == 3

    found = inpaint(
        LocalFlow(flow, images),
        holes(flow.lattice),
        Climb(draws=2, restarts=2),
        progress=progress,
        preview=seen.append,
    )
    best = found.best + 2 * torch.arange(3)
    torch.testing.assert_close(seen[-1][best], found.images)
    assert len(seen) == 3
    assert told == [(0, (3, 2)), (1, (3, 2)), (2, (3, 2)), (3, (3, 2))]
    assert found.steps == 3


def test_by_copy():
    owners = torch.tensor([0, 0, 1, 1, 2, 3])  # 2 images, 2 copies; regions of 2 and of 1
    assert by_copy(owners, 2).tolist() == [[0, 1, 4], [2, 3, 5]]


def test_scores():
    flow, images = flow_and_images(**AFFINE)
    truth = images.to(torch.uint8)
    masks = random_boxes(flow.lattice, 3, edge=5, seed=1)
    assert (blanked(truth, masks)[torch.as_tensor(masks)[:, None].expand_as(truth)] == 0).all()
    ours, smooth = fill(flow, truth, masks, Climb(draws=3, steps=3), seed=7)
    assert (ours.name, smooth.name) == ("RG-Flow", "biharmonic")
    found = scores(ours, truth, masks, seed=7)
    noise = torch.Generator().manual_seed(7)
    less = ours.inpainting.log_prob - flow.log_prob(truth, noise)
    assert found.log_prob == pytest.approx(less.mean().item())
    assert found.log_prob_error == pytest.approx(less.std().item() / 3**0.5)
    assert found.psnr_region.mean + 10 * np.log10(256 / 25) == pytest.approx(found.psnr.mean)
    assert found.free == ours.inpainting.free.double().mean()
    assert scores(smooth, truth, masks).log_prob is None


def test_mistakes():
    flow, images = flow_and_images(**AFFINE)
    local, masks = LocalFlow(flow, images), holes(flow.lattice)
    masks[1] = False
    with pytest.raises(ValueError, match="empty mask for image 1: mark at least one pixel"):
        inpaint(local, masks)
    with pytest.raises(ValueError, match=r"boolean mask of shape \(16, 16\)"):
        inpaint(local, masks[:, :8])
    for options, message in (
        ({"variables": "z"}, "variables"),
        ({"draws": 0}, "draws to be at least 1"),
        ({"draws": 2, "restarts": 3}, "restarts"),
        ({"steps": 0}, "steps to be at least 1"),
        ({"rate": 0.0}, "rate to be above 0; got 0"),
        ({"temperature": -1.0}, "temperature"),
    ):
        with pytest.raises(ValueError, match=message):
            Climb(**options)
