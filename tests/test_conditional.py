"""The exact density of a site given its four neighbours, against quadrature and whole flows."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import log_ndtr

from flows import randomise
from rgflow import Batch, FlowConfig, GaussianPrior, LaplacePrior, RGFlow, SiteMap, Windows, preset
from rgflow.actions import FreeField, Phi4
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


@pytest.mark.parametrize("name", ["critical", "wells", "free"])
def test_the_last_half_of_a_flow(name):
    """Densities change with sites of the last half as the action says, and with no others."""
    action = ACTIONS[name]
    flow = flow_of(action)
    fields = torch.randn(4, 1, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        before = flow.log_prob(fields) + action(fields)
        for i, j in ((0, 1), (3, 4), (7, 0), (0, 0), (1, 1), (2, 4)):
            moved = fields.clone()
            moved[:, :, i, j] += 0.3
            after = flow.log_prob(moved) + action(moved)
            assert torch.allclose(after, before, atol=1e-10) == bool((i + j) % 2)
        drawn, log_q = flow.sample_and_log_prob(6)
        torch.testing.assert_close(flow.log_prob(drawn), log_q)
        torch.testing.assert_close(flow.decode(flow.encode(drawn)), drawn)


@pytest.mark.parametrize("objective", [ReverseKL, PathGradient])
@pytest.mark.parametrize("name", ["critical", "free"])
def test_training_needs_the_even_half_alone(name, objective):
    """Losses and gradients without the last half are those with it."""
    action = ACTIONS[name]
    flow, found = flow_of(action), []
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


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match="the prior gaussian of unit variance"):
        flow_of(ACTIONS["free"], prior=LaplacePrior())
    with pytest.raises(ValueError, match="one channel where the last half"):
        flow_of(ACTIONS["critical"], channels=2)
    changed = preset("phi4-12").changed(
        {"model": {"geometry": {"exact": "free"}}, "objective": {"action": {"c4": 7.0}}}
    )
    assert changed.model.geometry.exact == changed.objective.action == Phi4(c1=-2.0, c2=0.0, c4=7.0)
    assert not isinstance(changed.model.geometry.exact, FreeField)
