"""The exact density of a site given its four neighbours, against quadrature and whole flows."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import gammainc, gammaincc, ive, log_ndtr

from flows import randomise
from rgflow import Batch, FlowConfig, GaussianPrior, LaplacePrior, RGFlow, SiteMap, Windows, preset
from rgflow.actions import FreeField, Phi4
from rgflow.analysis import measure
from rgflow.bijectors import Context, MapSpec, conditional
from rgflow.objectives import PathGradient, ReverseKL

ACTIONS = {
    "critical": Phi4.albergo(-4, 4.572),
    "weak": Phi4.nicoli(0.3, 0.022),
    "wells": Phi4(c1=-1.0, c2=-8.0, c4=1.0),
    "almost-free": Phi4(c1=1.0, c2=2.0, c4=1e-3),
    "free": Phi4.standard(0.5, 0.0),
}
SPEC = MapSpec(channels=1, sites=1, context=4)


def around(total, rows):
    """A context whose sum is given."""
    values = torch.zeros(rows, 4, dtype=torch.float64)
    values[:, 1] = total
    return Context(values, values[:, :0])


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("total", [0.0, 0.3, -2.0, 6.0, -20.0])
def test_distribution_functions_by_quadrature(name, total):
    action = ACTIONS[name]
    site, b = conditional(SPEC, action), -action.c1 * total
    z = torch.tensor([[-6.0], [-2.5], [-0.4], [0.0], [1e-3], [2.0], [5.5]], dtype=torch.float64)
    x, log_det = site.inverse(z, around(total, len(z)))
    grid = np.linspace(-60, 60, 2_000_001)
    top = (b * grid - action.c2 * grid**2 - action.c4 * grid**4).max()

    def density(y):
        return math.exp(b * y - action.c2 * y**2 - action.c4 * y**4 - top)

    where = grid[np.argmax(b * grid - action.c2 * grid**2 - action.c4 * grid**4)]
    edges = np.sort([where, -where, *x.flatten().tolist()])

    def mass(low, high):
        inner = [edge for edge in edges if low < edge < high]
        ends = [low, *inner, high]
        found = [
            quad(density, *ends[k : k + 2], epsabs=0, epsrel=1e-12, limit=200)[0]
            for k in range(len(ends) - 1)
        ]
        return sum(found)

    reach = 12.0 if action.c4 > 0.01 else 25.0
    low, high = where - reach, where + reach
    total_mass = mass(low, high)
    for one, at, change in zip(z.flatten().tolist(), x.flatten().tolist(), log_det, strict=True):
        share = mass(low, at) if one < 0 else mass(at, high)
        assert math.log(share / total_mass) == pytest.approx(log_ndtr(-abs(one)), abs=1e-9)
        log_p = math.log(density(at) / total_mass)
        normal = -(one**2) / 2 - math.log(2 * math.pi) / 2
        assert change.item() == pytest.approx(normal - log_p, abs=1e-9)
    back, log_det_back = site.forward(x, around(total, len(z)))
    torch.testing.assert_close(back, z, rtol=0, atol=1e-12)
    torch.testing.assert_close(log_det_back, -log_det, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", ACTIONS)
def test_derivatives_in_both_directions(name):
    site = conditional(SPEC, ACTIONS[name])
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(6, 1, generator=generator, dtype=torch.float64)
    values = torch.randn(6, 4, generator=generator, dtype=torch.float64)

    def inverse(z, values):
        return site.inverse(z, Context(values, values[:, :0]))

    def forward(x, values):
        return site.forward(x, Context(values, values[:, :0]))

    x = inverse(z, values)[0]
    for function, at in ((inverse, z), (forward, x)):
        inputs = (at.clone().requires_grad_(), values.clone().requires_grad_())
        assert torch.autograd.gradcheck(function, inputs, eps=1e-6, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("action", [*ACTIONS.values(), Phi4(c1=-1.0, c2=-60.0, c4=1.0)])
def test_integrals_are_those_of_fine_sums(action):
    """Of all pulls, those beyond the polynomials too, and where wells are far apart; and so are
    their derivatives, mean values."""
    site = conditional(SPEC, action)
    most = 520 * site.width if action.c4 else 50.0
    generator = torch.Generator().manual_seed(0)
    b = (2 * torch.rand(50, 1, generator=generator, dtype=torch.float64) - 1) * most
    b[:20] /= 100
    wide = 5 if action.c4 < 1 or most > 300 else 1  # or pulled far out
    x = wide * torch.linspace(-20, 20, 100_001, dtype=torch.float64)
    b.requires_grad_()
    found = site._log_z(b)
    (mean,) = torch.autograd.grad(found.sum(), b)
    log_f = site._log_f(x, b.detach())
    torch.testing.assert_close(
        found.detach(),
        log_f.logsumexp(1, keepdim=True) + math.log(wide * 40 / 100_000),
        rtol=1e-12,
        atol=1e-12,
    )
    torch.testing.assert_close(mean, log_f.softmax(1) @ x[:, None], rtol=1e-10, atol=1e-10)


def test_values_far_outside_have_their_density():
    action = ACTIONS["critical"]
    site, far = conditional(SPEC, action), torch.tensor([[-40.0], [15.0]], dtype=torch.float64)
    z, log_det = site.forward(far, around(1.0, 2))
    assert torch.isfinite(z).all()
    middle = site.forward(torch.zeros(1, 1).double(), around(1.0, 1))
    log_p = log_det - z[:, 0].square() / 2
    expected = middle[1] - middle[0][:, 0].square() / 2 + site._log_f(far, torch.tensor(2.0))[:, 0]
    torch.testing.assert_close(log_p, expected, rtol=1e-12, atol=0)


# ---------------------------------------------------------------- several components

SIZES = pytest.mark.parametrize("n", [2, 3, 4])


def vectors(n, action, rows=12):
    """The map of n components, and latents and contexts, some of them large or almost 0."""
    generator = torch.Generator().manual_seed(n)
    z, values = (
        torch.randn(rows, size, generator=generator, dtype=torch.float64) for size in (n, 4 * n)
    )
    values[: rows // 4] *= 40
    values[rows // 4 : rows // 2] *= 1e-3
    site = conditional(MapSpec(channels=n, sites=1, context=4 * n), action)
    return site, 2 * z, values


@SIZES
@pytest.mark.parametrize("name", ["critical", "weak", "free"])
def test_normalisers_of_vectors_by_sums_on_a_grid(name, n):
    action = ACTIONS[name]
    site, b = vectors(n, action)[0], torch.tensor([[0.9, -1.2, 0.4, 1.1][:n]]).double()
    reach, points = (2.9, 49) if name == "critical" else (7.5, 59)
    line = torch.linspace(-reach, reach, points, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(*[line] * n, indexing="ij"), -1).view(-1, n)
    square = grid.square().sum(1)
    log_f = grid @ b[0] - square * (action.c2 + action.c4 * square)
    expected = log_f.logsumexp(0) + n * math.log(2 * reach / (points - 1))
    torch.testing.assert_close(site._log_z(b)[0, 0], expected, rtol=0, atol=1e-11)


@SIZES
@pytest.mark.parametrize("name", [name for name in ACTIONS if name != "free"])
def test_distribution_functions_of_lengths_and_angles_by_quadrature(name, n):
    action = ACTIONS[name]
    site, z, values = vectors(n, action)
    x = site.inverse(z, Context(values, values[:, :0]))[0]
    b = -action.c1 * values.view(-1, 4, n).sum(1)

    def log_f(r, pull):
        k = max(pull * r, 1e-8)
        bessel = math.lgamma(n / 2) + (n / 2 - 1) * math.log(2 / k) + math.log(ive(n / 2 - 1, k))
        return k + bessel + (n - 1) * math.log(r) - action.c2 * r**2 - action.c4 * r**4

    def lengths(pull, top):
        return lambda r: math.exp(log_f(r, pull) - top)

    def angles(k):
        return lambda angle: math.exp(k * math.cos(angle) - k) * math.sin(angle) ** (n - 2)

    def mass(function, low, peak, high):
        ends = [low, peak, high] if low < peak < high else [low, high]
        parts = itertools.pairwise(ends)
        return sum(quad(function, *two, epsabs=0, epsrel=1e-12, limit=400)[0] for two in parts)

    for k in range(1, len(z), 2):
        pull, r, rho = float(b[k].norm()), float(x[k].norm()), float(z[k].norm())
        grid = np.linspace(1e-9, 60, 3001)
        peak = grid[np.argmax([log_f(y, pull) for y in grid])]
        top = log_f(peak, pull)
        low, high = max(peak - 12, 0), peak + 12 + 13 * (action.c4 < 0.01)
        shares = [mass(lengths(pull, top), *ends) for ends in ((low, peak, r), (r, peak, high))]
        total = sum(shares)
        area = math.log(2) + n / 2 * math.log(math.pi) - math.lgamma(n / 2)
        assert site._log_z(b[k : k + 1]).item() == pytest.approx(
            math.log(total) + top + area, rel=1e-12, abs=1e-11
        )
        assert shares[0] / total == pytest.approx(gammainc(n / 2, rho**2 / 2), rel=1e-8, abs=1e-13)
        assert shares[1] / total == pytest.approx(gammaincc(n / 2, rho**2 / 2), rel=1e-8, abs=1e-13)
        turned, omega = (
            math.acos(max(-1.0, min(1.0, float(v[k] @ b[k] / v[k].norm() / pull)))) for v in (x, z)
        )
        found = []
        for kappa, angle in ((pull * r, turned), (0.0, omega)):
            ends = [mass(angles(kappa), *two) for two in ((0, 0, angle), (angle, 0, math.pi))]
            found.append(ends[0] / sum(ends))
        assert found[0] == pytest.approx(found[1], rel=1e-7, abs=1e-12)


@SIZES
@pytest.mark.parametrize("name", ACTIONS)
def test_log_determinants_of_vectors_are_those_of_jacobians(name, n):
    """Both directions, and each takes back what the other does."""
    site, z, values = vectors(n, ACTIONS[name])
    context = Context(values, values[:, :0])
    with torch.no_grad():
        x, log_det = site.inverse(z, context)
        back, log_det_back = site.forward(x, context)
    torch.testing.assert_close(back, z, rtol=0, atol=1e-11)
    torch.testing.assert_close(log_det_back, -log_det, rtol=0, atol=1e-10)
    for function, at, expected in ((site.inverse, z, log_det), (site.forward, x, log_det_back)):

        def each(at, around, function=function):
            return function(at[None], Context(around[None], around[None, :0]))[0][0]

        for k in range(len(z)):
            jacobian = torch.autograd.functional.jacobian(lambda y, k=k: each(y, values[k]), at[k])
            found = torch.linalg.slogdet(jacobian)
            assert found.sign == 1
            assert found.logabsdet.item() == pytest.approx(expected[k].item(), abs=1e-9)


@SIZES
@pytest.mark.parametrize("name", ["critical", "wells", "free"])
def test_derivatives_of_vectors_in_both_directions(name, n):
    site, z, values = vectors(n, ACTIONS[name])
    z, values = z[-2:] / 2, values[-2:]

    def inverse(z, values):
        return site.inverse(z, Context(values, values[:, :0]))

    def forward(x, values):
        return site.forward(x, Context(values, values[:, :0]))

    x = inverse(z, values)[0]
    for function, at in ((inverse, z), (forward, x)):
        inputs = (at.clone().requires_grad_(), values.clone().requires_grad_())
        assert torch.autograd.gradcheck(function, inputs, eps=1e-6, atol=1e-6, rtol=1e-5)


@SIZES
def test_vectors_are_turned_with_their_neighbours(n):
    """And where something is 0, values and derivatives are finite."""
    site, z, values = vectors(n, ACTIONS["critical"])
    x, log_det = site.inverse(z, Context(values, values[:, :0]))
    turn = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64)).Q
    turned = (values.view(-1, 4, n) @ turn).flatten(1)
    there, same = site.inverse(z @ turn, Context(turned, turned[:, :0]))
    torch.testing.assert_close(there, x @ turn)
    torch.testing.assert_close(same, log_det)
    for latent, around in ((0 * z, values), (z, 0 * values), (0 * z, 0 * values)):
        for function in (site.inverse, site.forward):
            latent, around = (y.detach().clone().requires_grad_() for y in (latent, around))
            found, change = function(latent, Context(around, around[:, :0]))
            slopes = torch.autograd.grad(found.sum() + change.sum(), (latent, around))
            assert all(y.isfinite().all() for y in (found, change, *slopes))
    # Without neighbours directions stay.
    found = site.inverse(z, Context(0 * values, values[:, :0]))[0]
    torch.testing.assert_close(
        found / found.norm(dim=1, keepdim=True), z / z.norm(dim=1, keepdim=True)
    )


# ---------------------------------------------------------------- flows


def flow_of(action, exact=True, prior=None, channels=1):
    """A flow of fields with random weights, in float64."""
    torch.manual_seed(0)
    flow = RGFlow(
        FlowConfig(
            height=8,
            width=8,
            channels=channels,
            geometry=Windows(period=4, reach=2, exact=action if exact else None),
            map=SiteMap(hidden=8, bins=4),
            prior=prior or GaussianPrior(),
            pixels=None,
        )
    ).double()
    randomise(flow, 0.3)
    return flow


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("name", ["critical", "wells", "free"])
def test_the_last_half_of_a_flow(name, channels):
    """Densities change with sites of the last half as the action says, and with no others."""
    action = ACTIONS[name]
    flow = flow_of(action, channels=channels)
    fields = torch.randn(4, channels, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        before = flow.log_prob(fields) + action(fields)
        for i, j in ((0, 1), (3, 4), (7, 0), (0, 0), (1, 1), (2, 4)):
            moved = fields.clone()
            moved[:, -1, i, j] += 0.3
            after = flow.log_prob(moved) + action(moved)
            assert torch.allclose(after, before, atol=1e-10) == bool((i + j) % 2)
        drawn, log_q = flow.sample_and_log_prob(6)
        torch.testing.assert_close(flow.log_prob(drawn), log_q)
        torch.testing.assert_close(flow.decode(flow.encode(drawn)), drawn)


@pytest.mark.parametrize("objective", [ReverseKL, PathGradient])
@pytest.mark.parametrize(("name", "channels"), [("critical", 1), ("free", 1), ("critical", 2)])
def test_training_needs_the_even_half_alone(name, channels, objective):
    """Losses and gradients without the last half are those with it."""
    action = ACTIONS[name]
    flow, found = flow_of(action, channels=channels), []
    for half in (True, False):
        learned = objective(action=action)
        if half:
            vars(learned)["without_half"] = lambda flow: flow.precision.changed(half=True)
        losses = learned.losses(flow, Batch(size=5, generator=torch.Generator().manual_seed(1)))
        gradients = torch.autograd.grad(losses.sum(), list(flow.parameters()), allow_unused=True)
        found.append((losses.detach(), [g for g in gradients if g is not None]))
    (with_it, theirs), (without, mine) = found
    torch.testing.assert_close(without, with_it)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)


def test_a_measurement_of_two_components():
    """Observables and the reference take any number of components."""
    action = ACTIONS["critical"]
    flow = flow_of(action, channels=2)
    exact = sum(layer.cells.exact is not None for step in flow.steps for layer in step.cellwise)
    assert exact == 2
    found = measure(flow, PathGradient(action=action), samples=200, reference=200)
    assert np.isfinite([one.value for one in found.reweighted.numbers().values()]).all()
    assert found.reference.method == "hmc"


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match="the prior gaussian of unit variance"):
        flow_of(ACTIONS["free"], prior=LaplacePrior())
    with pytest.raises(ValueError, match="at most 4 channels where the last half"):
        flow_of(ACTIONS["critical"], channels=5)
    changed = preset("phi4-12").changed(
        {"model": {"geometry": {"exact": "free"}}, "objective": {"action": {"c4": 7.0}}}
    )
    assert changed.model.geometry.exact == changed.objective.action == Phi4(c1=-2.0, c2=0.0, c4=7.0)
    assert not isinstance(changed.model.geometry.exact, FreeField)
