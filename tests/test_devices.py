"""Flows and images on another device than the CPU: the same numbers, and nothing is mixed."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

import devices
from devices import CPU, DEVICE, DeviceTensor
from flows import BIJECTORS, CASES, by_day, random_flow, random_images
from reproducing.ovals import load_reader
from reproducing.pinwheel import draw_pinwheel, name_legs
from rgflow import Latents, TrainConfig, load_flow
from rgflow.analysis import (
    at_temperatures,
    field_along,
    find_factors,
    mix,
    mixing_grid,
    receptive_fields,
    resample,
    traverse,
)
from rgflow.analysis.associations import associations
from rgflow.analysis.dependence import dependence
from rgflow.analysis.directions import directions
from rgflow.analysis.labels import Label
from rgflow.analysis.probes import probe_levels
from rgflow.evaluation import evaluate
from rgflow.flow import Flow
from rgflow.lattice import Sites
from rgflow.local import LocalFlow
from rgflow.metrics.images import psnr, ssim
from rgflow.metrics.scores import score
from rgflow.repair.biharmonic import biharmonic
from rgflow.repair.climb import Climb
from rgflow.repair.comparison import fill, scores
from rgflow.repair.inpainting import inpaint
from rgflow.repair.particles import complete
from rgflow.repair.terms import local_terms
from rgflow.training.optimisation import Optimisation

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
"""As torch warns of itself."""


@pytest.fixture(scope="module", autouse=True)
def _registered():
    with devices.registered():
        yield


def there(x: Any) -> Any:
    """A flow, images or latents on the device."""
    return copy.deepcopy(x).to(DEVICE) if isinstance(x, nn.Module) else x.to(DEVICE)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def same(function: Callable[..., Any], *inputs: Any, on: torch.device = DEVICE) -> None:
    """A function of flows, images or latents has the same result on the CPU and on the device."""
    check(function(*map(there, inputs)), function(*inputs), on)


def check(found: Any, expected: Any, on: torch.device = DEVICE) -> None:
    """Results equal those of the CPU to rounding, and all tensors of them are on a device."""
    if isinstance(expected, Tensor):
        assert found.device == on
        assert found.requires_grad == expected.requires_grad
        rtol, atol = (1e-6, 1e-7) if expected.dtype == torch.float64 else (1e-4, 1e-4)
        torch.testing.assert_close(found.cpu(), expected, rtol=rtol, atol=atol, equal_nan=True)
    elif dataclasses.is_dataclass(expected):
        for field in dataclasses.fields(expected):
            check(getattr(found, field.name), getattr(expected, field.name), on)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        check([found[name] for name in expected], list(expected.values()), on)
    elif isinstance(expected, list | tuple):
        for a, b in zip(found, expected, strict=True):
            check(a, b, on)
    elif isinstance(expected, np.ndarray | float):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    elif not isinstance(expected, nn.Module):
        assert found == expected


# ---------------------------------------------------------------- the device itself


def test_tensors_of_two_devices_do_not_mix():
    here, away = torch.arange(3.0), torch.arange(3.0, device=DEVICE)
    mixed: list[Callable[[], Any]] = [
        lambda: here + away,
        lambda: away + here,
        lambda: away.add_(here),
        lambda: here[0].add_(away[0]),
        lambda: torch.cat((here, away)),
        lambda: torch.stack((here[0], away[0])),
        lambda: torch.where(here > 1, away, 0.0),
        lambda: away.index_select(0, torch.tensor([0])),
        lambda: here[away > 1],
        lambda: nn.Linear(3, 2)(away),
        lambda: nn.Linear(3, 2).to(DEVICE)(here),
        lambda: torch.rand(2, generator=torch.Generator(), device=DEVICE),
        lambda: away.numpy(),
        lambda: np.asarray(away),
    ]
    for operation in mixed:
        with pytest.raises(RuntimeError):
            operation()


def test_what_may_come_from_the_cpu():
    here, away = torch.arange(3.0), torch.arange(3.0, device=DEVICE)
    check(away * torch.tensor(2.0), here * 2)
    check(away[torch.tensor([2, 0])], here[[2, 0]])
    check(away[here > 1], here[2:])
    check(away.clone().copy_(here + 1), here + 1)
    check(here.clone().copy_(away + 1), here + 1, CPU)
    check(away.cpu(), here, CPU)
    assert away.tolist() == here.tolist()
    assert away[1].item() == 1


def test_the_device_computes():
    check(torch.tensor([1.0, 2.0], device=DEVICE), torch.tensor([1.0, 2.0]))
    check(torch.as_tensor(np.arange(3), device=DEVICE), torch.arange(3))
    for make in (torch.zeros, torch.ones, torch.eye, torch.arange):
        check(make(3, device=DEVICE), make(3))
    generators = devices.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    away, here = (torch.rand(2, generator=g, device=g.device) for g in generators)
    check(away, here)
    linear = nn.Linear(3, 2)
    moved = there(linear)
    assert isinstance(moved.weight, nn.Parameter)
    assert isinstance(moved.weight, DeviceTensor)
    weight = moved.double().weight
    assert moved.weight is weight
    x = torch.arange(3.0, dtype=torch.float64)
    moved(x.to(DEVICE)).sum().backward()
    linear.double()(x).sum().backward()
    check(weight.grad, linear.weight.grad)
    check(copy.deepcopy(moved).weight, linear.weight)


# ---------------------------------------------------------------- flows


NUMBERS = {
    "m2", "m6", "m8", "not-square", "one-level", "depths", "grey", "four-channels", "wide-prior",
    "released-order", "released-order-open", "edges-open", "cube-checkpointing", "cube-logit",
}  # fmt: skip
"""Cases that differ from others in numbers alone, or have no more tensors."""


@pytest.fixture(scope="module", params=by_day(case for case in CASES if case not in NUMBERS))
def pair(request):
    """A flow on the CPU, and the same on the device."""
    case = CASES[request.param]
    flow = random_flow(**case)
    return flow, there(flow)


def test_likelihoods_and_gradients(pair):
    flow, away = pair
    x = random_images(flow, 2)
    found, expected = away.train().log_prob(x.to(DEVICE)), flow.train().log_prob(x)
    check(found, expected)
    found.sum().backward()
    expected.sum().backward()
    for ours, theirs in zip(away.eval().parameters(), flow.eval().parameters(), strict=True):
        check(ours.grad, theirs.grad)


@torch.no_grad()
def test_latents_and_samples(pair):
    flow, away = pair
    x = random_images(flow, 2)
    check(away.encode(x.to(DEVICE)), flow.encode(x))
    check(away.sample(1, 0.5, seeded()), flow.sample(1, 0.5, seeded()))


SOME = "affine-paper", "cube-released", "coarse-to-fine", "marginal", "real-nvp"


@pytest.mark.parametrize("pair", SOME, indirect=True)
@torch.no_grad()
def test_frozen_flows(pair):
    flow, away = pair
    x = random_images(flow, 2)
    expected = flow.log_prob(x)
    check(away.frozen().log_prob(x.to(DEVICE)), expected)
    check(flow.frozen().to(DEVICE).log_prob(x.to(DEVICE)), expected)


@pytest.mark.parametrize("pair", SOME, indirect=True)
@torch.no_grad()
def test_levels(pair):
    flow, away = pair
    x = random_images(flow, 2)
    y, z = x.to(DEVICE), flow.encode(x)
    check(away.terms(y), flow.terms(x))
    check(away.coarse(y), flow.coarse(x))
    check(away.coarse(z.to(DEVICE), "flow"), flow.coarse(z, "flow"))
    check(away.decode(z.to(DEVICE)), x)
    check(z.to(DEVICE).image(), z.image())
    check(Latents.from_image(y, z.lattice), Latents.from_image(x, z.lattice))
    check(z.to(DEVICE).set((0, 0, 1, 0), 2.0), z.set((0, 0, 1, 0), 2.0))


@pytest.mark.parametrize("pair", [*SOME, "gaussian"], indirect=True)
@torch.no_grad()
def test_samples_with_and_without_generators(pair):
    flow, away = pair
    check(away.draw(2, 0.5, seeded()), flow.draw(2, 0.5, seeded()))
    check(away.draw_each([3, 4]), flow.draw_each([3, 4]))
    ours = devices.Generator().manual_seed(0)
    check(away.draw(2, 0.5, ours), flow.draw(2, 0.5, seeded()))
    x = away.sample(2)
    assert x.device == DEVICE
    assert x.isfinite().all()


@pytest.mark.parametrize("pair", ["affine-paper", "marginal", "cube-marginal"], indirect=True)
@torch.no_grad()
def test_images_of_8_bits(pair):
    flow, away = (copy.deepcopy(flow).float() for flow in pair)
    x8 = random_images(flow, 2).to(torch.uint8)
    y8 = x8.to(DEVICE)
    check(away.encode(y8, seeded()), flow.encode(x8, seeded()))
    assert torch.equal(away.decode(away.encode(y8)).floor(), y8)
    check(away.log_prob(y8, devices.Generator().manual_seed(0)), flow.log_prob(x8, seeded()))


# ---------------------------------------------------------------- all that is done with them


FLOWS: dict[str, dict[str, Any]] = {
    "rg-flow": {},
    "open": {"boundary": "open", "shared": True},
    "cube": {**BIJECTORS["cube"], "pixels": "marginal", "position_embedding": 2},
    "tree": {"disentanglers": False, "pixels": "marginal"},
    "levels": {**BIJECTORS["coarse-to-fine"], "disentanglers": False, "pixels": "marginal"},
    "real-nvp": {"geometry": "squeeze", "levels": 2},
}


def make(name: str, **options: Any) -> Flow:
    return random_flow(**FLOWS[name] | options)


@pytest.mark.parametrize("name", ["rg-flow", "open", "cube", "levels"])
def test_changes_in_places(name):
    def changed(flow: Flow, x: Tensor) -> list[Any]:
        local = LocalFlow(flow, x)
        region = local.region(flow.lattice.box(2, 3, 3, 2), copies=2)
        pixels = (region.pixels / 2).requires_grad_()
        log_p = region.log_prob(pixels)
        (gradient,) = torch.autograd.grad(log_p.sum(), pixels)
        z = region.encode(pixels.detach())
        edit = local.edit(flow.lattice.site_levels == 1)
        moved = edit.latents * 1.1
        return [
            log_p, gradient, z, region.decode(z), region.paste(pixels.detach()),
            region.with_latents(z), region.from_flow(region.to_flow(region.pixels)),
            edit.decode(moved), edit.of_latents(edit.with_latents(moved)),
        ]  # fmt: skip

    flow = make(name)
    same(changed, flow, random_images(flow, 2))


@pytest.mark.parametrize("name", ["rg-flow", "levels", "real-nvp"])
def test_receptive_fields(name):
    def fields(flow: Flow) -> list[Any]:
        found = receptive_fields(flow, draws=2)
        step = receptive_fields(flow, draws=1, change="step", sites=flow.lattice.box(0, 0, 2, 2))
        direction = flow.draw_each([7]).to("cpu")
        return [
            found, step, field_along(flow, direction, draws=2),
        ]  # fmt: skip

    blocks = {} if name == "real-nvp" else {"m": 2}
    same(fields, make(name, height=4, width=4, channels=1, **blocks), on=CPU)


def test_images_varied_and_mixed():
    def images(flow: Flow, z: Latents) -> list[Any]:
        one, other = z.select(slice(2)), z.select(slice(2, 4))
        return [
            resample(flow, z, draws=2),
            at_temperatures(flow, [0, 1], [0.5, (0.2, 0.8)]),
            traverse(flow, one, (1, 0, 0, 0), [-1.0, 1.0]),
            traverse(flow, one, flow.draw_each([7]), [-1.0, 1.0], add=True),
            mix(flow, one, other, [(0.0, 1.0), (0.5, 0.5)]),
            mixing_grid(flow, one, other, 1),
        ]

    flow = make("rg-flow")
    z = flow.draw_each(range(4))
    same(images, flow, z, on=CPU)
    same(lambda flow: images(flow, z), flow, on=CPU)


def test_what_latents_mean():
    random = np.random.default_rng(0)
    labels = [
        Label(name="size", values=random.uniform(size=32), group="size"),
        Label(name="kind", values=np.tile([0.0, 1.0], 16), group="kind", kind="binary"),
    ]

    def meaning(flow: Flow, x8: Tensor) -> list[Any]:
        z = flow.encode(x8)  # which has a gradient
        return [
            dependence(z, pairs=2),
            associations(z, labels),
            probe_levels(z, labels, trees=2),
            find_factors(flow, x8, draws=1),
        ]

    flow = make("rg-flow", channels=1, height=4, width=4, m=2)
    x8 = random_images(flow, 32).to(torch.uint8)
    same(meaning, flow, x8, on=CPU)
    same(lambda flow, x8: directions(flow.encode(x8), labels[:1])[0].vector, flow, x8)
    same(lambda flow: find_factors(flow, x8, draws=1), flow, on=CPU)


def test_legs_of_a_pinwheel():
    same(name_legs, *draw_pinwheel(50, 0.3, seeded()))


HOLE = Sites(height=8, width=8).box(2, 3, 3, 2)


@pytest.mark.parametrize("variables", ["latents", "pixels"])
def test_inpainting(variables):
    climb = Climb(variables=variables, draws=2, restarts=2, steps=3)
    flow = make("rg-flow")
    x = random_images(flow, 2)
    same(lambda flow, x: inpaint(LocalFlow(flow, x), HOLE, climb, generator=seeded()), flow, x)
    assert inpaint(LocalFlow(there(flow), there(x)), HOLE, climb).images.device == DEVICE


def test_particles():
    def drawn(flow: Flow, x8: Tensor) -> Any:
        return complete(flow, x8[0], HOLE, particles=4, sweeps=1, generator=seeded())

    flow = make("levels").float()
    x8 = random_images(flow, 1).to(torch.uint8)
    same(drawn, flow, x8)
    same(lambda flow: drawn(flow, x8), flow)


def test_terms():
    flow = make("cube").float()
    same(local_terms, flow, random_images(flow, 2).to(torch.uint8))


def test_biharmonic():
    x8 = torch.randint(256, (2, 3, 8, 8), generator=seeded(), dtype=torch.uint8)
    same(lambda x8: biharmonic(x8, HOLE), x8)


def test_methods_side_by_side():
    def compared(flow: Flow, x8: Tensor, **settings: Any) -> list[Any]:
        filled = list(fill(flow, x8, HOLE, Climb(draws=1, steps=1), **settings))
        found = [scores(one, x8, HOLE) for one in filled]
        return [(one.images, of.log_prob, of.psnr) for one, of in zip(filled, found, strict=True)]

    tree, levels = (make(name).float() for name in ("tree", "levels"))
    x8 = random_images(tree, 1).to(torch.uint8)
    same(compared, tree, x8)
    same(lambda levels, x8: compared(levels, x8, particles=2, sweeps=1), levels, x8)


def test_evaluation_and_metrics():
    def evaluated(flow: Flow, x8: Tensor) -> list[Any]:
        return [
            evaluate(flow, x8, importance=2, subset=4),
            psnr(x8, 255 - x8, HOLE),
            ssim(x8, 255 - x8),
        ]

    flow = make("cube").float()
    x8 = random_images(flow, 8).to(torch.uint8)
    same(evaluated, flow, x8)
    same(lambda flow: evaluate(flow, x8, subset=0), flow)
    same(lambda flow: score(flow, x8, x8)[1], flow)
    ovals = torch.randint(256, (2, 3, 32, 32), generator=seeded(), dtype=torch.uint8)
    same(lambda reader, x8: reader.read(x8), load_reader(), ovals)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_step_of_training(optimizer):
    def trained(flow: Flow, x: Tensor) -> list[Tensor]:
        alone = Accelerator(device_placement=False)
        optimisation = Optimisation(flow, TrainConfig(optimizer=optimizer), alone)
        optimisation.backward(-flow.train().log_prob(x).mean() / flow.dim)
        optimisation.update(lr=1e-2)
        return list(flow.parameters())

    flow = make("levels")
    same(trained, flow, random_images(flow, 2))


def test_files(tmp_path):
    flow = make("cube")
    there(flow).save_pretrained(tmp_path / "flow")
    check(load_flow(tmp_path / "flow").state_dict(), flow.state_dict(), CPU)
    z = flow.draw_each([0])
    there(z).save(tmp_path / "z.safetensors")
    check(Latents.load(tmp_path / "z.safetensors"), z, CPU)
