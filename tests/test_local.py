"""Evaluation restricted to causal cones equals that of whole images."""

import numpy as np
import pytest
import torch

from flows import BIJECTORS, OPTIONS, REPRESENTATIVE, by_day, random_flow, random_images
from rgflow.local import LocalFlow

CASES = {
    **BIJECTORS,
    **OPTIONS,
    # Larger ones, whose cones are small beside them.
    **{
        name: {"height": 16, "width": 16, **BIJECTORS[name]}
        for name in ("affine-paper", "cube", "coarse-to-fine")
    },
    "large-open": {"height": 16, "width": 32, "boundary": "open", "order": "released"},
}


def flow_and_images(case, dtype=torch.float64, n=3):
    flow = random_flow(dtype=dtype, **CASES[case])
    return flow, random_images(flow, n, seed=2)


def masks_of(kind, lattice, n=3):
    """Masks for n images; "mixed" has a random one, a rectangle at the wrapped edge, one pixel."""
    shape = (n, lattice.height, lattice.width)
    if kind != "mixed":
        return np.full(shape[1:], kind == "everything")
    masks = np.random.default_rng(0).random(shape) < 0.06
    masks[1] = np.roll(lattice.box(0, 0, 3, 2), (-1, -1), (0, 1))
    masks[2] = lattice.box(lattice.height - 1, 3, 1, 1)
    return masks


BY_DAY = {(case, "mixed") for case in (*REPRESENTATIVE, "affine-paper", "large-open")}
MIXED = [(case, "mixed") for case in CASES]
ALIKE = {
    "gaussian", "wide-prior", "cube-gaussian", "checkpointing", "cube-checkpointing", "default",
    "cube-logit", "grey", "four-channels", "marginal", "shared", "depths", "one-level", "m2", "m8",
    "coarse-to-finest",
}  # fmt: skip
"""Cases that generate as others do: they differ in their density, or in numbers alone. Mixtures of
two splits are among those with edges."""
WITH_CONTEXT = tuple(case for case in CASES if case.startswith(("window", "site")))
"""Geometries whose cells read more than they write."""
GENERATED = [case for case in CASES if case not in (*ALIKE, *WITH_CONTEXT)]
EXTREMES = [
    (case, kind)
    for case in ("affine-paper", "cube-marginal", "released-order-open")
    for kind in ("nothing", "everything")
]
BY_DAY |= {(case, kind) for case, kind in EXTREMES if case in ("affine-paper", "cube-marginal")}


def changed(region):
    """Other pixels for a region."""
    new = region.pixels * 0.7 + (3 if region.flow.pixels else 0.3)
    return new.requires_grad_()


@pytest.mark.parametrize("case", by_day(MIXED + EXTREMES, BY_DAY), ids="-".join)
def test_region_equals_the_whole(case):
    case, kind = case
    flow, images = flow_and_images(case)
    lattice = flow.lattice
    region = LocalFlow(flow, images).region(masks_of(kind, lattice), copies=2)
    for mask, cone in zip(region.masks, region.cones, strict=True):
        assert (cone == lattice.inference_cone(mask)).all()

    pixels = changed(region)
    whole = region.paste(pixels)
    log_prob, expected = region.log_prob(pixels), flow.log_prob(whole)
    assert flow.log_prob(images).std() > 1  # nothing trivial
    torch.testing.assert_close(log_prob, expected, rtol=1e-10, atol=1e-9)
    z, full = region.encode(pixels), flow.encode(whole, dtype=torch.float64)
    torch.testing.assert_close(region.with_latents(z).flat(), full.flat(), rtol=1e-10, atol=1e-10)
    # As precise as the flow's own round trip, which some bijectors make worse.
    lost = (flow.decode(full) - whole).abs().max().item()
    if case not in WITH_CONTEXT:
        assert (region.decode(z) - pixels).abs().sum() <= 1e-10 + 1e4 * lost
    if kind != "nothing":
        weights = torch.linspace(-1, 1, len(region), dtype=torch.float64)
        (gradient,) = torch.autograd.grad(log_prob @ weights, pixels, retain_graph=True)
        (reference,) = torch.autograd.grad(expected @ weights, pixels)
        torch.testing.assert_close(gradient, reference, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    "case",
    by_day([(case, "mixed") for case in (*GENERATED, *WITH_CONTEXT)] + EXTREMES, BY_DAY),
    ids="-".join,
)
def test_edit_equals_the_whole(case):
    case, kind = case
    flow, images = flow_and_images(case)
    lattice = flow.lattice
    edit = LocalFlow(flow, images).edit(masks_of(kind, lattice))
    for mask, cone in zip(edit.masks, edit.cones, strict=True):
        assert (cone == lattice.generation_cone(mask)).all()
    z = (edit.latents + 0.1).requires_grad_()
    latents = edit.with_latents(z)
    assert int((latents.image() != edit.local.latents.image()).sum()) == len(z)
    assert torch.equal(edit.of_latents(latents), z)
    pixels = edit.decode(z)
    whole = flow.decode(latents)
    whole = whole.clamp(0, 256) if flow.pixels else whole
    # As precise as the flow's own round trip, which some bijectors make worse.
    lost = (flow.decode(flow.encode(images, dtype=torch.float64)) - images).abs().max().item()
    assert (edit.paste(pixels) - whole).abs().max() <= 1e-10 * 256 + 1e3 * lost
    if kind != "nothing":
        weights = torch.cos(torch.arange(whole.numel(), dtype=torch.float64)).view_as(whole)
        (gradient,) = torch.autograd.grad((edit.paste(pixels) * weights).sum(), z)
        leaf = z.detach().requires_grad_()
        whole = flow.decode(edit.with_latents(leaf))
        whole = whole.clamp(0, 256) if flow.pixels else whole
        (reference,) = torch.autograd.grad((whole * weights).sum(), leaf)
        torch.testing.assert_close(gradient, reference, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", by_day(GENERATED))
def test_other_latents_of_a_cone_generate_what_the_whole_flow_does(case):
    flow, images = flow_and_images(case)
    region = LocalFlow(flow, images).region(masks_of("mixed", flow.lattice))
    noise = torch.randn(region.latents.shape, generator=torch.Generator().manual_seed(5)).double()
    z = (region.latents + 0.3 * noise).requires_grad_()
    leaf = z.detach().clone().requires_grad_()
    whole = flow.decode(region.with_latents(leaf))
    whole = whole.clamp(0, 256) if flow.pixels else whole
    inside = torch.as_tensor(region.masks)
    expected = whole.permute(0, 2, 3, 1)[inside]
    pixels = region.decode(z)
    scale = max(1.0, expected.abs().max().item())
    assert (pixels - expected).abs().max() <= 1e-10 * scale
    weights = torch.cos(torch.arange(pixels.numel()).double()).view_as(pixels)
    (gradient,) = torch.autograd.grad((pixels * weights).sum(), z)
    (reference,) = torch.autograd.grad((expected * weights).sum(), leaf)
    assert (gradient - reference).abs().max() <= 1e-10 * max(1.0, reference.abs().max().item())


@pytest.mark.parametrize("case", ["affine-paper", "affine-released", "cube", "cube-marginal"])
def test_float32(case):
    flow, images = flow_and_images(case, torch.float32)
    region = LocalFlow(flow, images).region(masks_of("mixed", flow.lattice))
    pixels = changed(region)
    whole = region.paste(pixels)
    torch.testing.assert_close(region.log_prob(pixels), flow.log_prob(whole), rtol=1e-4, atol=0)
    z, full = region.encode(pixels), flow.encode(whole, dtype=torch.float32)
    torch.testing.assert_close(region.with_latents(z).flat(), full.flat(), rtol=1e-4, atol=1e-4)
    weights = torch.linspace(-1, 1, len(region))
    (gradient,) = torch.autograd.grad(region.log_prob(pixels) @ weights, pixels)
    (reference,) = torch.autograd.grad(flow.log_prob(region.paste(pixels)) @ weights, pixels)
    assert (gradient - reference).norm() <= 1e-4 * reference.norm()
    edit = region.local.edit(masks_of("mixed", flow.lattice))
    changed_latents = edit.latents + 0.1
    image = edit.paste(edit.decode(changed_latents))
    reference = flow.decode(edit.with_latents(changed_latents)).clamp(0, 256)
    again = flow.decode(flow.encode(images, dtype=torch.float32))  # what rounding alone does
    allowed = 1e-4 * 256 + 10 * (again - images).abs().max()
    assert (image - reference).abs().max() <= allowed


def test_pixels_in_the_flows_own_space():
    for case in ("affine-paper", "cube-marginal", "cube-fields"):
        flow, images = flow_and_images(case)
        region = LocalFlow(flow, images).region(masks_of("mixed", flow.lattice))
        pixels = changed(region).detach()
        back = region.from_flow(region.to_flow(pixels))
        torch.testing.assert_close(back, pixels, rtol=1e-9, atol=1e-9)


def test_blocks_are_those_that_the_cone_touches():
    flow = random_flow(height=32, width=32, depth=1, hidden=4)
    local = LocalFlow(flow, random_images(flow, 1))
    everything = local.region(np.ones((32, 32), dtype=bool))
    assert everything.blocks == 2 * (64 + 16 + 4 + 1)
    one = local.region(flow.lattice.box(2, 2, 1, 1))
    assert [[len(layer.owners) for layer in layers] for layers in one.layers] == [
        [1, 4], [4, 9], [4, 4], [1, 1],
    ]  # fmt: skip


def test_problems_of_one_batch_are_independent():
    flow, images = flow_and_images("affine-paper")
    local, masks = LocalFlow(flow, images), masks_of("mixed", flow.lattice)
    together = local.region(masks)
    log_prob = together.log_prob(together.pixels + 1)
    for k in range(len(images)):
        alone = LocalFlow(flow, images[k : k + 1]).region(masks[k])
        torch.testing.assert_close(alone.log_prob(alone.pixels + 1)[0], log_prob[k])


def test_parameters_are_shared_and_left_alone():
    flow, images = flow_and_images("affine-paper")
    region = LocalFlow(flow, images).region(masks_of("mixed", flow.lattice))
    region.log_prob(changed(region)).sum().backward()
    assert all(p.grad is None and p.requires_grad for p in flow.parameters())
    ours = {p.data_ptr() for p in region.flow.parameters()}
    assert ours == {p.data_ptr() for p in flow.parameters()}


def test_mistakes():
    flow, images = flow_and_images("affine-paper")
    local = LocalFlow(flow, images)
    with pytest.raises(ValueError, match=r"boolean mask of shape \(16, 16\).*got bool.*\(8, 8\)"):
        local.region(np.ones((8, 8), dtype=bool))
    with pytest.raises(ValueError, match="boolean mask .* got int64"):
        local.edit(np.ones((16, 16), dtype=np.int64))
    with pytest.raises(ValueError, match="copies to be at least 1; got 0"):
        local.region(np.ones((16, 16), dtype=bool), copies=0)
    with pytest.raises(ValueError, match="finite"):
        LocalFlow(flow, torch.full_like(images, torch.nan))
    with pytest.raises(ValueError, match="images of shape"):
        LocalFlow(flow, images[:, :, :8])
