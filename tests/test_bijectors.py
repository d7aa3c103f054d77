"""The contract, over all bijectors, with every parameter random, in float64."""

import copy
import itertools
import math
import sys
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from zuko.transforms import MonotonicRQSTransform

from flows import (
    BIJECTORS,
    MIXTURES,
    OPTIONS,
    REPRESENTATIVE,
    by_day,
    config,
    randomise,
    spec_of_square,
)
from reproducing.maps import (
    Autoregressive,
    Dequantizer,
    FlowPlusPlus,
    MixedAffine,
    NoisyMarginal,
    logistic,
)
from rgflow import FlowConfig, RGFlow
from rgflow.actions import BlumeCapel
from rgflow.bijectors import (
    Bijector,
    Cellwise,
    Compose,
    Context,
    HeatBath,
    Inverse,
    Logit,
    MapSpec,
    Marginal,
    Quantile,
    SiteStates,
    cut,
    dequantize,
    fused_spline,
    join,
    mixture,
    spec_of,
)
from rgflow.bijectors import unit_spline as spline
from rgflow.bijectors.coarse_to_fine import MIN_RELATIVE_SPREAD, coarse_to_fine, relative
from rgflow.bijectors.pixels import find_place
from rgflow.bijectors.rational_quadratic import rational_quadratic
from rgflow.bijectors.site import SiteSpline
from rgflow.bijectors.window import WindowMixture
from rgflow.conditioners import PaperConditioner, ReleasedConditioner
from rgflow.geometries import Blocks, Windows
from rgflow.geometries.blocks import Tiles
from rgflow.lattice import Lattice
from rgflow.numerics import EXACT, Precision, can_compile
from rgflow.priors import Gaussian, Laplace


class Stretch(Bijector):
    """A bijector of a user's own."""

    def __init__(self, spec: MapSpec, start: float = 0.0) -> None:
        super().__init__((spec.dim,))
        self.log_scale = nn.Parameter(torch.full((spec.dim,), start))

    def transform(self, x, context=None):
        return x * self.log_scale.exp(), self.log_scale.sum().expand(len(x))

    def invert(self, y, context=None):
        return y * (-self.log_scale).exp(), -self.log_scale.sum().expand(len(y))


class Placed(Bijector):
    """Another, which moves a block by its position."""

    def __init__(self, spec: MapSpec) -> None:
        super().__init__((spec.dim,))

    def transform(self, x, context=None):
        return x + context.embedding, x.new_zeros(len(x))

    def invert(self, y, context=None):
        return y - context.embedding, y.new_zeros(len(y))


def block_bijector(**options) -> Bijector:
    """Three bijectors of blocks of 2×2 sites, or m×m, and 3 channels, one after another."""
    settings = config(**{"m": 2, "hidden": 16, "blocks": 2, **options})
    return Compose([settings.map.make(spec_of_square(settings.geometry.m)) for _ in range(3)])


def in_a_row(make: type[Bijector], **options) -> Bijector:
    """Three bijectors of blocks of 2×2 sites and 3 channels, one after another."""
    return Compose([make(spec_of_square(2), hidden=16, blocks=2, **options) for _ in range(3)])


def of_square(top: bool = True, **options) -> Any:
    """A random bijector of blocks of 4×4 sites and 3 channels."""
    bijector = config(**options).map.make(spec_of_square(4, top=top)).double()
    randomise(bijector)
    return bijector


def fitted_marginal(channels: int, kind: type[Marginal] = Marginal) -> Bijector:
    marginal = kind(channels)
    marginal.count(torch.randint(90, (50, channels, 4, 4), dtype=torch.uint8))
    return marginal


def reals(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def pixels(*shape: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64) * 256


def cube(*shape: int) -> Tensor:
    """Cube coordinates, some very near the edges."""
    u = torch.rand(*shape, dtype=torch.float64) / 2
    tiny = torch.rand(*shape) < 0.2
    u = torch.where(tiny, u * 10 ** (-12 * torch.rand(*shape, dtype=torch.float64)), u)
    return torch.where(torch.rand(*shape) < 0.5, u, -u)


LAYERS = {
    "blockwise": Tiles("decimator", 0, (4, 8), 2, 0, True),
    "blockwise-shifted": Tiles("disentangler", 0, (4, 8), 2, 1, True),
    "blockwise-open": Tiles("disentangler", 0, (4, 8), 2, 1, False),
}

WINDOWS = Windows(reach=2, boundary="open").layers(0, (4, 8), top=False)[0]
ROUND = Windows(reach=2).layers(0, (4, 8), top=False)[0]
CASES = {
    **{
        name: (
            partial(block_bijector, **options),
            cube if name.startswith(("cube", "coarse")) else reals,
            (3 * options.get("m", 2) ** 2,),
        )
        for name, options in BIJECTORS.items()
    },
    **{
        name: (
            partial(lambda layer: Cellwise(block_bijector(conditioner="trunk"), layer, 3), layer),
            reals,
            (3, 4, 8),
        )
        for name, layer in LAYERS.items()
    },
    **{
        f"{name}s": (
            lambda kind=kind: Cellwise(Compose([kind(spec_of(WINDOWS, 3), hidden=8)]), WINDOWS, 3),
            sample,
            (3, 4, 8),
        )
        for name, kind, sample in (("window", WindowMixture, cube), ("site", SiteSpline, reals))
    },
    "states": (
        lambda: Cellwise(Compose([SiteStates(spec_of(ROUND, 1), spins=(0, 1, 3))]), ROUND, 1),
        cube,
        (1, 4, 8),
    ),
    "heat-bath": (
        lambda: HeatBath(MapSpec(channels=1, sites=1), BlumeCapel(splitting=9.0)),
        cube,
        (1,),
    ),
    "inverse": (lambda: Inverse(block_bijector(conditioner="trunk")), reals, (12,)),
    "user": (lambda: Stretch(MapSpec(channels=6, sites=1), 0.6), reals, (6,)),
    "logit": (lambda: Logit(2), pixels, (2, 3, 2)),
    "marginal": (lambda: fitted_marginal(2), pixels, (2, 3, 2)),
    "dequantizer": (lambda: Dequantizer(2), pixels, (2, 3, 2)),
    "noisy-marginal": (lambda: fitted_marginal(2, NoisyMarginal), pixels, (2, 3, 2)),
    "flow++": (partial(in_a_row, FlowPlusPlus, conditioner="trunk"), reals, (12,)),
    "mixed": (partial(in_a_row, MixedAffine, conditioner="trunk"), reals, (12,)),
    "autoregressive": (partial(in_a_row, Autoregressive, bins=4), reals, (12,)),
    "autoregressive-affine": (partial(in_a_row, Autoregressive, bins=0), reals, (12,)),
    "quantile-laplace": (lambda: Quantile(Laplace(), (6,)), cube, (6,)),
    "quantile-gaussian": (lambda: Quantile(Gaussian(), (6,)), cube, (6,)),
}


STRENGTHS = {"affine-paper": 1.0, "affine-released": 1.5, "cube-released": 1.0}
"""Where smaller parameters would leave the log-determinants near 0."""


@pytest.fixture(params=by_day(CASES, REPRESENTATIVE | (CASES.keys() - BIJECTORS.keys())))
def case(request):
    """A bijector with random parameters, and 5 samples for it."""
    make, sample, shape = CASES[request.param]
    torch.manual_seed(1)
    bijector = make().double()
    randomise(bijector, strength=STRENGTHS.get(request.param, 0.5))
    return bijector.eval(), sample(5, *shape)


def test_round_trip_and_log_determinants_cancel(case):
    bijector, x = case
    y, log_det = bijector.forward(x)
    back, inverse_log_det = bijector.inverse(y)
    torch.testing.assert_close(back, x, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(log_det, -inverse_log_det, rtol=1e-9, atol=1e-8)
    assert log_det.shape == (5,)
    assert log_det.abs().mean() > 1


def test_log_determinant_equals_autograd(case):
    bijector, x = case
    for function, argument in ((bijector.forward, x), (bijector.inverse, bijector.forward(x)[0])):
        _, log_det = function(argument)
        for k in range(2):
            # As many copies as variables: the i-th tells the i-th row.
            copies = torch.stack([argument[k]] * argument[k].numel()).requires_grad_()
            image = function(copies)[0].flatten(1)
            (jacobian,) = torch.autograd.grad(image.diagonal().sum(), copies)
            slogdet = torch.linalg.slogdet(jacobian.flatten(1))[1]
            # The determinant of a steep Jacobian is as exact as that on some processors.
            torch.testing.assert_close(log_det[k], slogdet, rtol=1e-8, atol=1e-9)


def test_gradients_reach_every_parameter(case):
    bijector, x = case
    for function in (bijector.forward, bijector.inverse) if list(bijector.parameters()) else ():
        bijector.zero_grad()
        y, log_det = function(
            x if function == bijector.forward else bijector.forward(x)[0].detach()
        )
        (y.square().sum() + log_det.sum()).backward()
        for name, parameter in bijector.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name


def test_any_batch_split_gives_the_same(case):
    bijector, x = case
    y, log_det = bijector.forward(x)
    parts = [bijector.forward(part) for part in x.split((1, 3, 1))]
    torch.testing.assert_close(torch.cat([p[0] for p in parts]), y, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.cat([p[1] for p in parts]), log_det, rtol=1e-12, atol=1e-12)


def test_weights_saved_and_loaded_give_the_same(case, tmp_path):
    bijector, x = case
    torch.save(bijector.state_dict(), tmp_path / "weights")
    other = copy.deepcopy(bijector)
    randomise(other, seed=9)
    other.load_state_dict(torch.load(tmp_path / "weights", weights_only=True), strict=True)
    assert torch.equal(other.forward(x)[0], bijector.forward(x)[0])


def test_a_wrong_shape_is_one_sentence(case):
    bijector, x = case
    for function in (bijector.forward, bijector.inverse):
        with pytest.raises(ValueError, match=r"Expected a tensor of shape \[N, .*; got \["):
            function(x[..., None])


@pytest.mark.parametrize("name", [name for name in BIJECTORS if name not in MIXTURES])
def test_a_new_bijector_is_the_identity(name):
    """But for mixtures, which start with the same for all variables, wide and in the middle."""
    make, sample, shape = CASES[name]
    x = sample(5, *shape)
    y, log_det = make().double().forward(x)
    torch.testing.assert_close(y, x, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(log_det, torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-10)


# ---------------------------------------------------------------- densities


SAME_IN_2_DIMENSIONS = {
    "coarse-to-fine", "coarse-to-finest",
}  # fmt: skip
"""As others here, which makes couplings of two variables, or but for their networks."""


BY_DAY = {"affine-trunk", "cube"}


@pytest.mark.parametrize(
    "name", by_day([n for n in BIJECTORS if n not in SAME_IN_2_DIMENSIONS], BY_DAY)
)
def test_the_density_of_a_flow_in_2_dimensions_integrates_to_1(name):
    # Where levels are steps, a second map has steps that no grid follows.
    maps = 1 if name.startswith("coarse") else 2
    # Smaller networks would leave these near the identity, or make them steeper than a grid.
    size = {"hidden": 16, "blocks": 2} if name == "cube-released" else {}
    settings = config(**{**size, **BIJECTORS[name]})
    bijector = Compose([_of_dim_2(settings) for _ in range(maps)]).double()
    randomise(bijector)
    if bijector.domain == "cube":
        # The density of u on the unit square; that of y = Q(u) follows by a change of variables.
        n = 256 if name.startswith("coarse") else 200  # the levels of pixels
        axis = (torch.arange(n, dtype=torch.float64) + 0.5) / n
        x = torch.cartesian_prod(axis, axis)
        log_density = _log_density(bijector, torch.where(x <= 0.5, x, x - 1))
        cell = 1 / n**2
    else:
        n, reach = 600, 26.0
        axis = ((torch.arange(n, dtype=torch.float64) + 0.5) / n * 2 - 1) * reach
        log_density = _log_density(bijector, torch.cartesian_prod(axis, axis), Laplace())
        cell = (2 * reach / n) ** 2
    assert log_density.std() > 0.3
    assert log_density.exp().sum().item() * cell == pytest.approx(1, abs=1e-3)


@torch.no_grad()
def _log_density(bijector: Bijector, x: Tensor, prior: Laplace | None = None) -> Tensor:
    parts = []
    for part in x.split(100_000):
        z, log_det = bijector.forward(part)
        parts.append(log_det + (prior.log_prob(z).sum(1) if prior else 0))
    return torch.cat(parts)


def _of_dim_2(settings: FlowConfig) -> Bijector:
    return replace(settings, channels=2).map.make(MapSpec(channels=2, sites=1))


# ---------------------------------------------------------------- mixtures on the real line


def random_logistics(components: int, variables: int, strength: float) -> logistic.Logistics:
    return logistic.make_logistics(strength * reals(1, 3 * components, variables))


@pytest.mark.parametrize("components", [1, 3, 8])
def test_mixture_equals_a_slow_reference(components):
    made = random_logistics(components, 100, 1.0)
    x = 3 * reals(1, 100)
    y, log_slope = logistic.logistic_forward(x, made)
    for k in range(100):
        below = above = density = 0.0
        for log_share, mean, log_scale in torch.stack(made)[:, 0, :, k].T.tolist():
            component = stats.logistic(mean, math.exp(log_scale))
            below += math.exp(log_share) * component.cdf(x[0, k].item())
            above += math.exp(log_share) * component.sf(x[0, k].item())
            density += math.exp(log_share) * component.pdf(x[0, k].item())
        by_hand = 0.98 * math.log(below / above) + 0.02 * x[0, k].item()
        assert y[0, k].item() == pytest.approx(by_hand, rel=1e-9, abs=1e-9)
        slope = 0.98 * density / (below * above) + 0.02
        assert log_slope[0, k].item() == pytest.approx(math.log(slope), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("strength", [1.0, 20.0])
def test_mixture_is_inverted_wherever_it_is(dtype, strength):
    made = logistic.Logistics(*(p.to(dtype) for p in random_logistics(4, 3000, strength)))
    x = torch.cat((5 * reals(1, 1000), 1000 * reals(1, 1000), 0.01 * reals(1, 1000)), 1).to(dtype)
    y, log_slope = logistic.logistic_forward(x, made)
    back, inverse_slope = logistic.logistic_inverse(y, made)
    steps = torch.finfo(dtype).eps * (
        x.abs() + y.abs() * (-log_slope).exp() + made.mean.abs().amax(1)
    )
    assert ((back - x).abs() / steps).max() < 200
    close = (back - x).abs() < 1e-9
    torch.testing.assert_close(inverse_slope[close], -log_slope[close], rtol=1e-5, atol=1e-5)


def test_slopes_of_a_mixture_are_bounded_below_whatever_the_network_says():
    made = random_logistics(5, 5000, 30.0)
    _, log_slope = logistic.logistic_forward(20 * reals(1, 5000), made)
    assert log_slope.min() >= math.log(logistic.MIN_SLOPE)
    _, far = logistic.logistic_forward(1e6 * reals(1, 5000).sign(), made)
    assert far.max() < 0.01  # outliers don't run away
    assert log_slope.max() > 3


# ---------------------------------------------------------------- splines of the unit interval


def slow_spline(u: float, widths: list[float], knots: list[float]) -> float:
    """The integral of a piecewise linear density up to u, summed bin by bin."""
    areas = [w * (a + b) / 2 for w, (a, b) in zip(widths, itertools.pairwise(knots), strict=True)]
    x, area = 0.0, 0.0
    for k, w in enumerate(widths):
        if u <= x + w or k == len(widths) - 1:
            here = u - x
            area += knots[k] * here + (knots[k + 1] - knots[k]) * here**2 / (2 * w)
            break
        x, area = x + w, area + areas[k]
    return (1 - spline.UNIFORM_SHARE) * area / sum(areas) + spline.UNIFORM_SHARE * u


def random_spline(bins: int, variables: int) -> spline.Spline:
    return spline.make_spline(2 * reals(1, 2 * bins + 1, variables), bins)


def plain(d: Tensor) -> Tensor:
    """Cube coordinates as plain numbers."""
    return torch.where(d > 0, d, 1 + d)


@pytest.mark.parametrize("bins", [2, 5, 8])
def test_spline_equals_a_slow_reference(bins):
    d = cube(1, 200)
    made = random_spline(bins, 200)
    y, log_slope = spline.spline_forward(d, made)
    for k in range(200):
        parameters = [p[0, :, k].tolist() for p in made]
        u = plain(d)[0, k].item()
        assert plain(y)[0, k].item() == pytest.approx(slow_spline(u, *parameters), abs=1e-13)
        step = min(u, 1 - u) * 1e-4
        rise = slow_spline(u + step, *parameters) - slow_spline(u - step, *parameters)
        if step > 1e-8:
            assert log_slope[0, k].item() == pytest.approx(math.log(rise / (2 * step)), abs=1e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_spline_is_relatively_precise_at_both_edges(dtype):
    magnitude = torch.logspace(-30, -3, 60, dtype=dtype)
    d = torch.cat((magnitude, -magnitude))[None]
    made = spline.Spline(*(p.to(dtype) for p in random_spline(8, 120)))
    y, _ = spline.spline_forward(d, made)
    back, _ = spline.spline_inverse(y, made)
    assert (torch.sign(y) == torch.sign(d)).all()
    torch.testing.assert_close(back, d, rtol=200 * torch.finfo(dtype).eps, atol=0)


def test_spline_slopes_are_bounded_below_whatever_the_network_says():
    params = torch.randn(4, 17, 300, dtype=torch.float64).sign() * 1e4
    made = spline.make_spline(params, 8)
    d = cube(4, 300)
    y, log_slope = spline.spline_forward(d, made)
    back, _ = spline.spline_inverse(y, made)
    assert (log_slope > math.log(spline.UNIFORM_SHARE) - 1e-9).all()
    assert log_slope.max() > math.log(50)
    torch.testing.assert_close(back, d, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(("bins", "how"), [(2, "plain"), (8, "plain"), (8, "compiled")])
def test_fused_spline_equals_the_plain_one_gradients_included(bins, how):
    if how == "compiled" and not can_compile():
        pytest.skip("no C++ compiler")
    kernels = fused_spline.compiled_kernels() if how == "compiled" else fused_spline.PLAIN_KERNELS
    for rows in (40, 7):
        results = []
        for fused in (False, True):
            torch.manual_seed(3)
            d = cube(rows, 50).requires_grad_()
            params = (2 * reals(rows, 2 * bins + 1, 50)).requires_grad_()
            weights = reals(2, rows, 50)
            if fused:
                y, log_slope = fused_spline.FusedSpline.apply(d, params, kernels)
            else:
                y, log_slope = spline.spline_forward(d, spline.make_spline(params, bins))
            (weights[0] * y + weights[1] * log_slope).sum().backward()
            results.append((y.detach(), log_slope.detach(), d.grad, params.grad))
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12 * float(b.abs().max()))


def test_fused_spline_is_for_training_only():
    bijector = config(map="cube", conditioner="trunk").map.make(spec_of_square(4)).double()
    randomise(bijector)
    bijector.kernels = fused_spline.PLAIN_KERNELS
    x = cube(5, 48)
    exact, bijector.conditioner.precision = bijector(x), Precision(fast=True)
    for a, b in zip(bijector(x), exact, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    bijector.conditioner.precision = EXACT
    assert torch.func.jvp(lambda x: bijector(x)[0], (x,), (x,))[1].shape == x.shape


# ---------------------------------------------------------------- coarse to fine


@pytest.mark.parametrize("splits", [1, 2])
def test_coarse_variables_come_first(splits):
    order = coarse_to_fine(3, 8, splits)
    assert sorted(order.flatten()) == list(range(192))
    # Where each variable of a block is in an image of one block.
    places = cut(torch.arange(192.0).view(1, 3, 8, 8), 8)[0].long()[order].numpy()
    channels, rows, columns = np.unravel_index(places, (3, 8, 8))
    assert (channels == np.arange(len(order))[:, None] % 3).all()
    coarse = len(order) // 4
    assert (rows[:coarse] % 2 == 0).all()
    assert (columns[:coarse] % 2 == 0).all()
    if splits == 2:
        assert (rows[:3] % 4 == 0).all()
        assert (columns[:3] % 4 == 0).all()


def test_coarse_to_fine_sees_coarser_groups_only_and_all_of_them():
    bijector = of_square(**BIJECTORS["coarse-to-fine"])
    jacobian = torch.func.jacrev(lambda x: bijector(x[None])[0][0])(cube(1, 48)[0])
    group = torch.empty(48, dtype=torch.int64)
    group[torch.from_numpy(coarse_to_fine(3, 4, 1))] = torch.arange(12)[:, None].expand(12, 4)
    expected = (group[:, None] > group) | torch.eye(48, dtype=torch.bool)
    assert torch.equal(jacobian != 0, expected)


def test_sites_that_go_up_are_left_as_they_are_but_at_the_top():
    x = cube(5, 48)
    for top in (True, False):
        bijector = (
            config(**BIJECTORS["coarse-to-fine"]).map.make(spec_of_square(4, top=top)).double()
        )
        randomise(bijector)
        same = (bijector(x)[0] == x).all(0)
        # The first quarter of a block's vector is the sublattice (0, 0).
        assert torch.equal(same, (torch.arange(48) < 12) & (not top))


@pytest.mark.skipif(not can_compile(), reason="no C++ compiler")
def test_coarse_to_fine_is_the_same_while_training_gradients_included():
    bijector = of_square(**BIJECTORS["coarse-to-fine"])
    bijector.compile_kernels()
    x, results = cube(5, 48), []
    for fast in (False, True):
        bijector.networks.precision = Precision(fast=fast)
        bijector.zero_grad()
        y, log_det = bijector(x)
        (y.sum() + log_det.sum()).backward()
        results.append([y.detach(), log_det.detach(), *(p.grad for p in bijector.parameters())])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_coarse_to_fine_takes_its_levels_from_pixels():
    pixels = Marginal(3)
    dark = torch.randint(1, 256, (50, 3, 4, 4), dtype=torch.uint8)
    pixels.count(torch.where(torch.rand(50, 3, 4, 4) < 0.6, 0, dark))
    bijector = of_square(**BIJECTORS["coarse-to-fine"])
    x = cube(5, 48)
    before = bijector(x)[0]
    bijector.fit(pixels.counts)
    assert not torch.equal(bijector(x)[0], before)
    torch.testing.assert_close(bijector.inverse(bijector(x)[0])[0], x, rtol=1e-9, atol=1e-9)


def test_networks_see_levels_and_nothing_else():
    """Moving a variable within its level changes no other."""
    pixels = fitted_marginal(3)
    bijector = of_square(**BIJECTORS["coarse-to-fine"])
    bijector.fit(pixels.counts)
    x8 = torch.randint(90, (1, 3, 4, 4))
    low, high = (cut(pixels(x8.double() + place)[0], 4) for place in (0.2, 0.9))
    at_low, at_high = (bijector(torch.where(torch.arange(48) == 2, high, x))[0] for x in (low, low))
    moved = bijector(torch.where(torch.arange(48) == 2, high, low))[0]
    assert torch.equal(at_low, at_high)
    assert ((moved != bijector(low)[0])[0] == (torch.arange(48) == 2)).all()


# ---------------------------------------------------------------- mixtures


def mixed(components=3, groups=2, n=40):
    """Variables, parameters, units and tables of two channels."""
    pixels = Marginal(groups)
    pixels.count(torch.randint(90, (50, groups, 4, 4), dtype=torch.uint8))
    units = mixture.Units(*(u[:, None] for u in pixels.units()))
    params = torch.randn(groups, 3 * components, n, dtype=torch.float64)
    return cube(groups, n), params, units, pixels.tables(torch.float64)


@pytest.mark.parametrize("components", [1, 3])
def test_a_mixture_has_the_probabilities_of_a_discretised_one(components):
    """All of a level's slope is its probability over its share of the marginal distribution."""
    _, params, units, tables = mixed(components)
    level = torch.arange(256).expand(2, -1)
    before, share = tables.below, tables.share
    middle = before + share / 2
    d = torch.where(middle <= 0.5, middle, middle - 1)
    same = params[:, :, :1].expand(-1, -1, 256)
    _, log_slope = mixture.mixture_forward(find_place(d, tables), same, units)
    weights, means, scales = same.unflatten(1, (3, components)).unbind(1)
    starts = torch.linspace(-1, 1, components).double() if components > 1 else torch.zeros(1)
    means = means + starts[:, None]
    scales = mixture.MIN_SCALE / units.unit[:, None] + mixture.SCALE * scales.exp()
    edges = ((torch.arange(257) - units.centre) / units.unit)[:, None]
    edges[..., 0], edges[..., 256] = -math.inf, math.inf
    cdf = [torch.sigmoid((edge - means) / scales) for edge in (edges[..., :-1], edges[..., 1:])]
    expected = (weights.softmax(1) * (cdf[1] - cdf[0])).sum(1)
    expected = (1 - mixture.MARGINAL_SHARE) * expected + mixture.MARGINAL_SHARE * share
    torch.testing.assert_close(log_slope.exp() * share, expected, rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(expected.sum(1), torch.ones(2).double(), rtol=1e-9, atol=0)
    assert (level == find_place(d, tables).level).all()


def test_the_gradient_of_a_likelihood_leads_to_the_likelier_level():
    """log P_k of one logistic distribution is concave in k: its derivative lies between the steps
    to both neighbours."""
    _, params, units, tables = mixed(1)
    middle = tables.below + tables.share / 2
    d = torch.where(middle <= 0.5, middle, middle - 1).requires_grad_()
    same = params[:, :, :1].expand(-1, -1, 256)
    _, log_slope = mixture.mixture_forward(find_place(d, tables), same, units)
    (gradient,) = torch.autograd.grad(log_slope.sum(), d)
    slope = log_slope.detach().exp()
    p_k = (slope - mixture.MARGINAL_SHARE) * tables.share / (1 - mixture.MARGINAL_SHARE)
    likely = (p_k > 1e-9)[:, 1:-1]
    likely[:, [0, -1]] = False  # beside those that hold the tails
    derivative = (gradient * tables.share * slope / (slope - mixture.MARGINAL_SHARE))[:, 1:-1]
    steps = p_k.log().diff(dim=1)
    assert likely.sum() > 50
    assert (derivative < steps[:, :-1] + 1e-6)[likely].all()
    assert (derivative > steps[:, 1:] - 1e-6)[likely].all()


def test_a_mixture_is_undone_at_both_ends_too():
    d, params, units, tables = mixed()
    ends = torch.tensor([[1e-200, 1e-9, -1e-9, -1e-200]], dtype=torch.float64).expand(2, -1)
    d = torch.cat((d[:, 4:], ends), 1)
    y, log_slope = mixture.mixture_forward(find_place(d, tables), params, units)
    level = mixture.find_level(y, params, units, tables)
    x, log_slope_back, low = mixture.mixture_inverse(y, level, params, units, tables)
    torch.testing.assert_close(x, d, rtol=1e-8, atol=0)
    torch.testing.assert_close(log_slope_back, -log_slope, rtol=1e-9, atol=1e-9)
    assert torch.equal(level, find_place(d, tables).level)
    torch.testing.assert_close(low, find_place(d, tables).low, rtol=1e-8, atol=1e-8)


def test_levels_are_found_bit_by_bit_as_in_larger_digits(monkeypatch):
    _, params, units, tables = mixed(n=400)
    u = torch.rand(2, 400, dtype=torch.float64)
    d = torch.where(u <= 0.5, u, u - 1)
    found = mixture.find_level(d, params, units, tables)
    for digits in ((), ((8, 10**9),)):
        monkeypatch.setattr(mixture, "SEARCH_BITS", digits)
        assert torch.equal(mixture.find_level(d, params, units, tables), found)
    assert len(found.unique()) > 50


@pytest.mark.parametrize("top", [False, True])
def test_generation_goes_on_with_some_of_the_blocks(top):
    """Groups 3 to 11 have stems, whose features are picked too."""
    bijector = of_square(top, **OPTIONS["stems"])
    levels = torch.randint(256, (bijector.groups, bijector.size, 5))
    rows = torch.tensor([3, 3, 0])
    some, all_of_them = (bijector.generation(reals(n, 0)) for n in (3, 5))
    for group, level in enumerate(levels):
        if group == 5:
            all_of_them.pick(rows)
        if group >= bijector.kept:
            found, expected = all_of_them.mixtures(), some.mixtures()
            for one, other in zip(
                (found.params, *found.units), (expected.params, *expected.units), strict=True
            ):
                if group < 5 and one.shape[-1] > 1:
                    one = one.unflatten(-1, (-1, 5))[..., rows].flatten(-2)
                torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
            assert all(map(torch.equal, found.tables, expected.tables))
        all_of_them.add(level if group < 5 else level[:, rows])
        some.add(level[:, rows])


def test_levels_are_measured_by_what_goes_up_of_the_block():
    """Brighter, and of another contrast: the networks see the same, and are told the difference."""
    torch.manual_seed(0)
    base = torch.rand(12, 4, 5, dtype=torch.float64)  # groups of 3 channels, in turn
    one, other = (20 + 100 * base), (50 + 80 * base)
    centre, unit = torch.tensor([100.0, 90.0, 80.0]).double(), torch.tensor([64.0, 32, 64]).double()
    units = mixture.Units(*(u.repeat(4)[:, None] for u in (centre, unit)))
    seen, told = [], []
    for levels in (one, other):
        of_blocks, context = relative(levels[:3], units, channels=3)
        assert of_blocks.unit.shape == (12, 4 * 5)
        seen.append((levels.flatten(1) - of_blocks.centre) / of_blocks.unit)
        told.append(context)
        assert seen[-1][:3].mean(1).abs().max() < 1e-9
    torch.testing.assert_close(*seen, rtol=0.05, atol=0.02)  # but for the least spread
    mean, deviation = told[0].chunk(2)
    expected = (one[:3].mean(1) - centre[:, None]) / unit[:, None]
    torch.testing.assert_close(mean, expected)
    assert ((told[1].chunk(2)[1] - deviation).exp() - 0.8).abs().max() < 0.05


def test_a_block_of_which_all_that_goes_up_is_the_same():
    """Has finite units, in which the rest may differ."""
    units = mixture.Units(torch.zeros(4, 1), torch.full((4, 1), 64.0))
    of_blocks, context = relative(torch.full((1, 4, 2), 7.0), units, channels=1)
    assert of_blocks.centre.eq(7).all()
    torch.testing.assert_close(of_blocks.unit, torch.full((4, 8), 64 * MIN_RELATIVE_SPREAD))
    assert context.isfinite().all()


def test_coarse_to_fine_divides_a_block_as_often_as_it_can_be():
    for m, groups in ((4, 48), (2, 12), (6, 12)):
        bijector = config(map="coarse_to_fine", splits=3).map.make(spec_of_square(m))
        assert sorted(bijector.order.tolist()) == list(range(3 * m * m))
        assert bijector.groups == groups


# ---------------------------------------------------------------- conditioners


@pytest.mark.parametrize(
    ("name", "conditioner", "count"),
    [
        ("msds1", "paper", 147_876_864),
        ("msds1", "released", 80_518_144),
        # More maps of the same.
        pytest.param("celeba", "paper", 184_846_080, marks=pytest.mark.slow),
        pytest.param("celeba", "released", 100_647_680, marks=pytest.mark.slow),
        pytest.param("chairs", "paper", 295_753_728, marks=pytest.mark.slow),
    ],
)
def test_parameter_counts_of_the_paper_and_the_released_code(name, conditioner, count):
    from rgflow import preset

    with torch.device("meta"):
        model = {"map": {"conditioner": conditioner}}
        flow = RGFlow(preset(name).changed({"model": model}).model)
    assert sum(p.numel() for p in flow.parameters()) == count


def test_paper_conditioner_equals_networks_one_by_one():
    net = PaperConditioner(8, 2, hidden=5, blocks=3).double()
    randomise(net)
    x = reals(6, 4)
    for half, module in enumerate(net.halves):
        out = net(x, half)
        for k in range(2):
            h = x
            for block in module.blocks:
                inner = h
                for place, linear in enumerate(block.linears):
                    v, g = linear.direction[k], linear.length[k]
                    weight = torch.stack([g[o] * v[o] / v[o].norm() for o in range(len(v))])
                    inner = inner @ weight.T + linear.bias[k]
                    inner = inner * torch.sigmoid(inner) if place < 2 else inner
                h = (h + inner) / math.sqrt(2)
            torch.testing.assert_close(out[:, k], h * module.scale[k], rtol=1e-12, atol=1e-12)


def test_released_conditioner_equals_networks_one_by_one():
    net = ReleasedConditioner(8, 2, hidden=5, blocks=3).double()
    randomise(net)
    x = reals(6, 4)
    for half in range(2):
        masked = torch.cat((x, 0 * x) if half == 0 else (0 * x, x), 1)
        for k in range(2):
            h = masked
            for block in net.blocks:
                inner = h
                for swish, linear in zip(block.layers[::2], block.layers[1::2], strict=True):
                    v, g = linear.direction[k], linear.length[k]
                    weight = v * (g / v.norm(dim=1))[:, None]
                    inner = (inner * torch.sigmoid(swish.beta[k] * inner)) @ weight.T
                    inner = inner + linear.bias[k]
                h = (h + inner) / math.sqrt(2)
            other = (h * net.scale[k])[:, 4:] if half == 0 else (h * net.scale[k])[:, :4]
            torch.testing.assert_close(net(x, half)[:, k], other, rtol=1e-12, atol=1e-12)


def test_networks_start_with_variance_of_order_one():
    for cls in (PaperConditioner, ReleasedConditioner):
        net = cls(48, 2, hidden=128, blocks=4)
        for name, parameter in net.named_parameters():
            if name.endswith("scale"):
                nn.init.ones_(parameter)
        assert 0.2 < net(torch.randn(500, 24), 0).std().item() < 5


def test_networks_compute_in_the_format_that_they_are_asked_for_in_training_mode_or_not():
    net = PaperConditioner(8, 2, hidden=64, blocks=2)
    randomise(net)
    x = torch.randn(50, 4)
    exact = net.eval()(x, 0)
    assert torch.equal(net.train()(x, 0), exact)
    net.precision = Precision(networks=torch.bfloat16)
    rough = net(x, 0)
    assert rough.dtype == torch.bfloat16
    error = (rough - exact).norm() / exact.norm()
    assert 1e-4 < error < 5e-2


# ---------------------------------------------------------------- blocks of images


@pytest.mark.parametrize("m", [2, 4, 6])
def test_blocks_are_cut_even_half_first_and_joined_again(m):
    x = torch.arange(2 * 3 * 2 * m * 3 * m).reshape(2, 3, 2 * m, 3 * m)
    blocks = cut(x, m)
    assert blocks.shape == (2 * 2 * 3, 3 * m * m)
    assert torch.equal(join(blocks, m, 3, 2, 3), x)
    parity = (torch.arange(2 * m)[:, None] + torch.arange(3 * m)) % 2
    halves = cut(parity.expand(2, 3, -1, -1), m).chunk(2, 1)
    assert (halves[0] == 0).all()
    assert (halves[1] == 1).all()
    corner = x[0, :, m : 2 * m, 2 * m :]  # block (1, 2) of the first image
    assert set(blocks[5].tolist()) == set(corner.flatten().tolist())


@pytest.mark.parametrize("order", ["paper", "released"])
@pytest.mark.parametrize("boundary", ["periodic", "open"])
def test_blockwise_equals_a_loop_over_blocks(order, boundary):
    lattice = Lattice(
        height=12, width=8, levels=1, geometry=Blocks(m=4, order=order, boundary=boundary)
    )
    inner = config(conditioner="trunk").map.make(spec_of_square(4)).double()
    randomise(inner)
    x = reals(2, 3, 12, 8)
    for layer in lattice.layers(0):
        y, log_det = Cellwise(inner, layer, 3).forward(x)
        expected, expected_log_det = x.clone(), torch.zeros(2, dtype=torch.float64)
        for p in range(3):
            for q in range(2):
                # r = (mp + shift + a, mq + shift + b) of eqs. 8 and 9, at level 0
                rows = [4 * p + layer.shift + a for a in range(4)]
                columns = [4 * q + layer.shift + b for b in range(4)]
                if boundary == "open" and (rows[-1] >= 12 or columns[-1] >= 8):
                    continue
                index = np.ix_([r % 12 for r in rows], [c % 8 for c in columns])
                block = torch.stack([x[n][:, index[0], index[1]] for n in range(2)])
                mapped, part = inner.forward(cut(block, 4))
                expected_log_det += part
                for n in range(2):
                    expected[n][:, index[0], index[1]] = join(mapped, 4, 3, 1, 1)[n]
        torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(log_det, expected_log_det, rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------- pixels


def test_dequantisation_is_exact_and_never_an_integer():
    x8 = torch.arange(256, dtype=torch.uint8).repeat(2000)
    generator = torch.Generator().manual_seed(0)
    x = dequantize(x8, generator)
    assert torch.equal(x.floor(), x8.float())
    assert (x > x8).all()
    noise = x.double() - x8.double()
    assert noise.mean().item() == pytest.approx(0.5, abs=2e-3)
    assert noise.var().item() == pytest.approx(1 / 12, abs=1e-3)
    assert torch.equal(dequantize(x8, torch.Generator().manual_seed(0), torch.float64).float(), x)
    assert (dequantize(x8) - x8 == 0.5).all()


def test_logit_is_the_papers_transform():
    x = torch.tensor([[[[0.0, 64.0, 255.5]]]], dtype=torch.float64)
    y, log_det = Logit(1).forward(x)
    p = 0.05 + 0.9 * x / 256
    torch.testing.assert_close(y, torch.log(p / (1 - p)))
    expected = (torch.log1p(y.exp()) + torch.log1p((-y).exp()) + math.log(0.9 / 256)).sum()
    torch.testing.assert_close(log_det, expected[None])


def test_marginal_is_the_distribution_function():
    x8 = torch.cat((torch.zeros(60), torch.full((30,), 7), torch.full((10,), 200)))
    marginal = Marginal(1)
    marginal.count(x8.to(torch.uint8).reshape(1, 1, 10, 10))
    share = marginal.UNIFORM_SHARE
    x = torch.tensor([0.5, 3.0, 7.5, 200.0, 255.9999], dtype=torch.float64).reshape(1, 1, 1, 5)
    d, log_det = marginal.forward(x)
    expected = [0.3, 0.6, 0.75, 0.9, 1.0]
    assert plain(d).flatten().tolist() == pytest.approx(expected, abs=2 * share)
    p = torch.tensor([0.6, 0, 0.3, 0.1, 0], dtype=torch.float64) * (1 - share) + share / 256
    torch.testing.assert_close(log_det, p.log().sum()[None])


def test_marginal_takes_both_ends_of_the_range():
    marginal = fitted_marginal(1)
    for dtype, below in ((torch.float32, 256 - 1.6e-5), (torch.float64, 256 - 2.9e-14)):
        x = torch.tensor([0.0, below], dtype=dtype).reshape(1, 1, 1, 2)
        d, log_det = marginal.forward(x)
        assert (d.abs() > 0).all()
        assert torch.isfinite(log_det).all()
        torch.testing.assert_close(marginal.inverse(d)[0], x, rtol=0, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_learned_dequantisation_stays_within_the_value_of_a_pixel(dtype):
    torch.manual_seed(0)
    dequantizer = Dequantizer(2).to(dtype)
    x = torch.rand(50, 2, 4, 4, dtype=dtype) * 256
    x[0] = x[0].floor()
    x[1] = torch.nextafter(x[1].floor() + 1, torch.zeros((), dtype=dtype))
    x[2] = 0
    y, log_det = dequantizer.forward(x)
    torch.testing.assert_close(y, x)  # at the start
    assert log_det.abs().max() <= 1e-4
    randomise(dequantizer, 4.0)
    y, log_det = dequantizer.forward(x)
    assert log_det.isfinite().all()
    assert log_det.abs().min() > 1
    assert (y - x).abs().max() > 0.3
    assert torch.equal(y.floor(), x.floor())
    back, _ = dequantizer.inverse(y)
    assert torch.equal(back.floor(), x.floor())
    # What is squeezed by at most 50, and rounded to as many digits as there are.
    torch.testing.assert_close(back, x, rtol=0, atol=500 * 256 * torch.finfo(dtype).eps)


def test_learned_dequantisation_leaves_what_is_no_pixel():
    dequantizer = Dequantizer(1).double()
    randomise(dequantizer, 4.0)
    x = torch.tensor([-7.5, -1e-9, 256.0, 300.25], dtype=torch.float64).view(1, 1, 2, 2)
    for result, log_det in (dequantizer.forward(x), dequantizer.inverse(x)):
        assert torch.equal(result, x)
        assert log_det.item() == 0


def test_learned_dequantisation_is_told_by_the_site_alone_and_by_all_its_channels():
    dequantizer = Dequantizer(2).double()
    randomise(dequantizer, 4.0)
    x = torch.full((1, 2, 2, 2), 100.3, dtype=torch.float64)
    before = dequantizer.forward(x)[0]
    x[0, 0, 1, 1] += 1
    changed = dequantizer.forward(x)[0] != before
    assert changed.nonzero().tolist() == [[0, 0, 1, 1], [0, 1, 1, 1]]


# ---------------------------------------------------------------- names and errors


def test_a_users_bijector_is_named_by_its_import_path():
    path = f"{Stretch.__module__}.{Stretch.__qualname__}"
    sys.modules.setdefault(Stretch.__module__, sys.modules[__name__])
    settings = config(map={"kind": path, "start": 0.5})
    bijector = settings.map.make(spec_of_square(settings.geometry.m))
    assert bijector.log_scale.mean().item() == pytest.approx(0.5)
    assert isinstance(RGFlow(settings).steps[0].layers.bijectors[0], Cellwise)


def test_a_users_bijector_may_see_where_blocks_are():
    path = f"{Placed.__module__}.Placed"
    sys.modules.setdefault(Placed.__module__, sys.modules[__name__])
    spec = spec_of_square(4, embedding=1)
    bijector = config(map=path, position_embedding=1).map.make(spec)
    x, where = torch.zeros(3, 48), torch.tensor([[1.0], [2.0], [3.0]])
    context = Context(x[:, :0], where)
    assert bijector.forward(x, context)[0].mean(1).tolist() == [1, 2, 3]
    assert Inverse(bijector).forward(x, context)[0].mean(1).tolist() == [-1, -2, -3]
    assert Compose([bijector, bijector]).forward(x, context)[0].mean(1).tolist() == [2, 4, 6]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"map": "afine"}, r"one of affine, .*; got 'afine' \(nearest: affine\)"),
        (
            {"map": "no.such.Thing"},
            "'no.such.Thing' would run code: if you know it, add --trust",
        ),
        ({"map": "math.pi"}, "to be a subclass of Bijector"),
        ({"conditioner": "papr"}, r"got 'papr' \(nearest: paper\)"),
    ],
)
def test_unknown_names(options, message):
    with pytest.raises(ValueError, match=message):
        config(**options).map.make(spec_of_square(4))


def test_compositions_that_make_no_sense():
    with pytest.raises(ValueError, match="at least one bijector"):
        Compose([])
    with pytest.raises(ValueError, match="same domain; got Marginal into the cube, Logit from the"):
        Compose([Marginal(1), Logit(1)])
    with pytest.raises(ValueError, match="even number of variables"):
        config(channels=3).map.make(spec_of_square(1))


@pytest.mark.parametrize("inverse", [False, True])
def test_rational_quadratic_splines_are_zukos(inverse):
    generator = torch.Generator().manual_seed(0)
    params = 3 * torch.randn(14, 500, generator=generator, dtype=torch.float64)
    x = (4 * torch.randn(500, generator=generator, dtype=torch.float64)).requires_grad_()
    params.requires_grad_()
    widths, heights, slopes = params.split((5, 5, 4))
    slow = MonotonicRQSTransform(widths.T, heights.T, slopes.T)
    y = slow.inv(x) if inverse else slow(x)
    log_slope = slow.log_abs_det_jacobian(y, x) * -1 if inverse else slow.call_and_ladj(x)[1]
    found = rational_quadratic(x, params, inverse=inverse)
    torch.testing.assert_close(found, (y, log_slope), rtol=1e-8, atol=1e-9)
    weights = torch.randn(2, 500, generator=generator, dtype=torch.float64)
    gradients = [
        torch.autograd.grad((torch.stack(both) * weights).sum(), (x, params), retain_graph=True)
        for both in ((y, log_slope), found)
    ]
    for theirs, ours in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)
    assert (found[0] - x).abs().max() > 1
