"""Priors: against SciPy, against quadrature, and at temperatures."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from flows import by_day
from rgflow.config import PriorKind
from rgflow.priors import Gaussian, Laplace

OURS = {
    "laplace": (Laplace(), stats.laplace(scale=math.sqrt(0.5))),
    "laplace-wide": (Laplace(2.0), stats.laplace(scale=2.0)),
    "gaussian": (Gaussian(), stats.norm()),
    "gaussian-narrow": (Gaussian(0.3), stats.norm(scale=0.3)),
}


@pytest.fixture(params=OURS)
def prior(request):
    return OURS[request.param]


def grid(reach: float = 40.0, n: int = 400_001) -> torch.Tensor:
    return torch.linspace(-reach, reach, n, dtype=torch.float64)


def test_density_and_distribution_function_equal_scipy(prior):
    ours, scipys = prior
    z = torch.linspace(-6, 6, 301, dtype=torch.float64)
    np.testing.assert_allclose(ours.log_prob(z), scipys.logpdf(z), rtol=1e-12, atol=1e-12)
    d = ours.to_cube(z)
    np.testing.assert_allclose(torch.where(d > 0, d, 1 + d), scipys.cdf(z), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours.from_cube(d), z, rtol=1e-9, atol=1e-12)


def test_tails_are_relatively_precise(prior):
    ours, scipys = prior
    for z in (torch.tensor([-1e30, -1e4, 1e4, 1e30]), torch.tensor([-1e200, 1e200]).double()):
        assert torch.equal(torch.sign(ours.to_cube(z)), -torch.sign(z))
        assert torch.isfinite(ours.from_cube(ours.to_cube(z))).all()
    d = torch.logspace(-30, -1, 50, dtype=torch.float64)
    for side in (d, -d):
        torch.testing.assert_close(ours.to_cube(ours.from_cube(side)), side, rtol=1e-10, atol=0)
    np.testing.assert_allclose(ours.from_cube(d), scipys.ppf(d), rtol=1e-9)
    single = ours.to_cube(ours.from_cube(d.float()))
    torch.testing.assert_close(single, d.float(), rtol=1e-4, atol=0)


def test_distribution_functions_have_the_density_as_derivative(prior):
    ours, _ = prior
    z = torch.linspace(-4, 4, 41, dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(ours.to_cube(z).sum(), z)
    torch.testing.assert_close(gradient, ours.log_prob(z).exp(), rtol=1e-9, atol=1e-12)
    d = torch.linspace(-0.49, 0.49, 40, dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(ours.from_cube(d).sum(), d)
    expected = (-ours.log_prob(ours.from_cube(d))).exp()
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["laplace", "gaussian"])
def test_unit_variance_by_default(name):
    prior = PriorKind.kinds[name]().make()
    z = grid(40, 4_000_001)
    density = prior.log_prob(z).exp()
    assert torch.trapezoid(density, z).item() == pytest.approx(1, abs=1e-6)
    assert torch.trapezoid(density * z**2, z).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("temperature", by_day([0.3, 0.9, 1.7], [0.3]))
def test_temperature_is_a_power_of_the_density(prior, temperature):
    ours, _ = prior
    z = grid(3000, 3_000_001)
    tempered = ours.tempered(temperature)
    difference = tempered.log_prob(z) - ours.log_prob(z) / temperature
    assert (difference - difference[0]).abs().max() < 1e-9 * z.abs().max()
    assert torch.trapezoid(tempered.log_prob(z).exp(), z).item() == pytest.approx(1, abs=1e-4)


def test_draws_have_the_distribution(prior):
    ours, scipys = prior
    z = ours.sample_like(torch.empty(20_000), torch.Generator().manual_seed(0))
    assert stats.kstest(z.numpy(), scipys.cdf).pvalue > 1e-3
    again = ours.sample_like(torch.empty(20_000), torch.Generator().manual_seed(0))
    assert torch.equal(z, again)


def test_impossible_priors_and_temperatures():
    with pytest.raises(ValueError, match="scale to be at least 0; got -1"):
        Laplace(-1.0)
    with pytest.raises(ValueError, match="temperature to be at least 0; got -0.5"):
        Gaussian().tempered(-0.5)
