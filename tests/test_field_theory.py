"""What is known of lattice fields without flows: brute force, closed forms, tables, coverage."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.signal import lfilter
from scipy.special import logsumexp

from flows import propagator
from rgflow.actions import Phi4
from rgflow.field_theory import (
    CRITICAL_TEMPERATURE,
    effective_sample_size,
    gaussian_log_z,
    hmc,
    ising,
    jackknife,
    log_mean_weight,
    phi4,
    swendsen_wang,
    tau_int,
    transfer,
)

TEMPERATURES = (2.0, CRITICAL_TEMPERATURE, 2.5, 3.0)
LOG_Z = {
    4: (17.105367, 15.521915, 14.561093, 13.281033),
    8: (66.344582, 60.141781, 56.599389, 52.261410),
    16: (263.296210, 238.642257, 225.228847, 208.867325),
    32: (1051.104988, 952.648080, 900.478308, 835.463918),
}


def energies(spins):
    """Of configurations [..., L, L], by the definition."""
    spins = spins.astype(float)
    return -(spins * (np.roll(spins, 1, -1) + np.roll(spins, 1, -2))).sum((-2, -1))


def configurations(length):
    """All of them, [2^N, L, L]."""
    bits = np.arange(2 ** (length**2))[:, None] >> np.arange(length**2) & 1
    return (2 * bits - 1).reshape(-1, length, length).astype(np.int8)


@pytest.fixture(scope="module")
def every():
    """All configurations at L = 4, with their energies."""
    spins = configurations(4)
    return spins, energies(spins)


# ---------------------------------------------------------------------------------- exact values


@pytest.mark.parametrize("length", LOG_Z)
def test_kaufman_gives_the_table(length):
    found = [ising(length, t).log_z for t in TEMPERATURES]
    np.testing.assert_allclose(found, LOG_Z[length], rtol=0, atol=5.1e-7)


@pytest.mark.parametrize("temperature", [0.05, 1.0, *TEMPERATURES, 10.0, 1000.0])
def test_kaufman_against_brute_force(every, temperature):
    _, energy = every
    logits = -energy / temperature
    p = np.exp(logits - logsumexp(logits))
    mean = p @ energy
    assert ising(4, temperature).log_z == pytest.approx(logsumexp(logits), abs=1e-11)
    assert ising(4, temperature).energy == pytest.approx(mean, abs=1e-9)
    heat = p @ (energy - mean) ** 2 / temperature**2
    assert ising(4, temperature).heat_capacity == pytest.approx(heat, abs=1e-9)


@pytest.mark.parametrize("length", [2, 3])
def test_kaufman_on_small_and_odd_lattices(length):
    logits = -energies(configurations(length)) / 2.2
    assert ising(length, 2.2).log_z == pytest.approx(logsumexp(logits), abs=1e-11)


@pytest.mark.parametrize("temperature", [1.5, 2.25, CRITICAL_TEMPERATURE, 2.29, 4.0])
def test_derivatives_of_large_lattices(temperature):
    """Gauss-Legendre integrals over K of each give differences of what it is the derivative of."""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    k, half = 1 / temperature, 1e-3
    at = 1 / (k + half * nodes)
    ends = 1 / (k + half), 1 / (k - half)
    energy = half * weights @ [ising(128, t).energy for t in at]
    assert energy == pytest.approx(-np.subtract(*(ising(128, t).log_z for t in ends)), rel=1e-9)
    heat = half * weights @ [t**2 * ising(128, t).heat_capacity for t in at]
    assert heat == pytest.approx(-np.subtract(*(ising(128, t).energy for t in ends)), rel=1e-8)


@pytest.mark.parametrize("length", [64, 128, 512])
def test_large_lattices_approach_the_infinite_one(length):
    assert ising(length, 2.0).log_z / length**2 == pytest.approx(1.025693, abs=1e-3)
    assert ising(length, 1e6).log_z / length**2 == pytest.approx(math.log(2), abs=1e-9)
    assert ising(length, 0.01).energy == pytest.approx(-2 * length**2)
    # Onsager's free energy, with Catalan's constant, and its correction at the critical point
    # (Ferdinand and Fisher).
    infinite = math.log(2) / 2 + 2 * 0.915965594177219 / math.pi
    correction = ising(length, CRITICAL_TEMPERATURE).log_z - length**2 * infinite
    assert correction == pytest.approx(math.log(2**0.25 + 2**-0.5), abs=1e-4)


def test_the_free_field_gives_the_table():
    assert -gaussian_log_z((8, 8), -1, 2.625) == pytest.approx(-8.608334, abs=5.1e-7)
    assert -gaussian_log_z((8, 8), -1, 2.5) == pytest.approx(-10.557825, abs=5.1e-7)
    assert -gaussian_log_z((16, 16), -1, 2.5) == pytest.approx(-42.226492, abs=5.1e-7)


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 2), (1, 3), (2, 3, 4)])
@pytest.mark.parametrize(("c1", "c2"), [(-1.0, 3.3), (0.7, 2.5), (0.0, 0.2)])
def test_gaussian_fields_against_matrices(shape, c1, c2):
    n = math.prod(shape)
    sites = np.arange(n).reshape(shape)
    precision = 2 * c2 * np.eye(n)
    for axis in range(len(shape)):
        for one, other in zip(sites.ravel(), np.roll(sites, -1, axis).ravel(), strict=True):
            precision[one, other] += c1
            precision[other, one] += c1
    log_z = n / 2 * math.log(2 * math.pi) - np.linalg.slogdet(precision)[1] / 2
    assert gaussian_log_z(shape, c1, c2) == pytest.approx(log_z)


def site_moments(c2, c4):
    """∫ exp(V_min − V), V_min, ⟨φ²⟩ and ⟨φ⁴⟩ of V = c₂ φ² + c₄ φ⁴, by adaptive quadrature."""

    def potential(phi):
        return c2 * phi**2 + c4 * phi**4

    well = math.sqrt(max(-c2, 0) / (2 * c4)) if c4 else 0.0
    low, options = potential(well), {"points": [well], "limit": 500, "epsabs": 0, "epsrel": 1e-12}
    zeroth, second, fourth = (
        2
        * quad(
            lambda phi, k=k: phi**k * math.exp(low - potential(phi)),
            max(0, well - 12),
            well + 40,
            **options,
        )[0]
        for k in (0, 2, 4)
    )
    return zeroth, low, second / zeroth, fourth / zeroth


@pytest.mark.parametrize("c1", [-2.0, 0.7])
def test_phi4_on_four_sites_by_quadrature(c1):
    """By a sum over all values of all sites, whose neighbours are joined twice."""
    grid = np.linspace(-2.7, 2.7, 51)
    a, b, c, d = np.meshgrid(*[grid] * 4, indexing="ij", sparse=True)
    action = 2 * c1 * (a + d) * (b + c) + sum(0.3 * x**2 + 5 * x**4 for x in (a, b, c, d))
    weights = np.exp(-action) * (grid[1] - grid[0]) ** 4
    log_z, mean = phi4((2, 2), c1, 0.3, 5.0)
    assert log_z == pytest.approx(math.log(weights.sum()), abs=1e-8)
    assert mean == pytest.approx((weights * action).sum() / weights.sum(), abs=1e-5)


def test_phi4_on_narrow_lattices():
    zeroth, low, second, fourth = site_moments(-1.0, 2.0)  # without neighbours
    log_z, mean = phi4((4, 8), 0.0, -1.0, 2.0)
    assert log_z == pytest.approx(32 * (math.log(zeroth) - low))
    assert mean == pytest.approx(32 * (2 * fourth - second), rel=1e-5)
    # All but free: on four columns it isn't exact, so there is no value.
    assert phi4((2, 4), -1.0, 2.5, 1e-6)[0] == pytest.approx(
        gaussian_log_z((2, 4), -1.0, 2.5), abs=2e-5
    )
    assert phi4((4, 4), -1.0, 2.5, 1e-6) is None
    # Deep wells: nearly a Gaussian around φ² = 26, of either sign.
    assert phi4((4, 4), -1.0, -50.0, 1.0)[0] == pytest.approx(
        16 * 52**2 / 4 + math.log(2) + gaussian_log_z((4, 4), -1.0, 106.0), abs=0.05
    )
    action = Phi4.albergo(mass2=-4, coupling=5.0)
    fields, _ = action.reference_fields((1, 4, 4), 8_000)
    found = action(fields.flatten(0, 1)).view(fields.shape[:2]).mean(0)  # of each chain
    error = found.std().item() / len(found) ** 0.5
    assert abs(found.mean().item() / 16 - action.mean_energy(1, 4, 4)) < 4 * error / 16 < 0.02
    assert action.log_z(1, 8, 8) is action.log_z(2, 4, 4) is action.log_z(1, 4, 5) is None


# ------------------------------------------------------------------------------------ statistics


def autoregressive(a, draws, replicas, seed=0):
    """Stationary series [T, R] with ρ(t) = aᵗ, mean 0 and variance 1."""
    noise = np.random.default_rng(seed).normal(size=(draws + 200, replicas))
    return math.sqrt(1 - a * a) * lfilter([1], [1, -a], noise, axis=0)[200:]


@pytest.mark.parametrize("a", [-0.6, -0.4, 0.0, 0.5, 0.9])
def test_tau_int_of_autoregressive_series(a):
    exact = (1 + a) / (1 - a) / 2
    series = autoregressive(a, 4000, 300)
    found = [tau_int(one) for one in series.T]
    values, errors = np.array([(one.value, one.error) for one in found]).T
    assert values.mean() == pytest.approx(exact, rel=0.03)
    assert errors.mean() == pytest.approx(values.std(), rel=0.25)
    together = tau_int(series)
    assert abs(together.value - exact) < 3 * together.error < 0.1 * exact


def mean_with_error(series):
    """The mean of a series, and the error that its τ_int gives it."""
    tau, n = tau_int(series), np.size(series)
    if tau.error == math.inf:
        return np.mean(series), math.inf
    variance = np.var(series) / (1 - 2 * tau.value / n)
    return np.mean(series), math.sqrt(2 * tau.value * variance / n)


@pytest.mark.parametrize("a", [-0.6, 0.0, 0.8])
@pytest.mark.parametrize("chains", [1, 4])
def test_errors_of_means_cover(a, chains):
    series = autoregressive(a, 2000, 400 * chains).reshape(2000, 400, chains)
    off = []
    for one in series.swapaxes(0, 1):
        mean, error = mean_with_error(one)
        off.append(mean / error)
    assert np.std(off) == pytest.approx(1, abs=0.12)
    assert np.mean(np.abs(off) < 1.96) == pytest.approx(0.95, abs=0.035)


def test_errors_of_short_series_are_unbiased():
    """Without the correction for their own mean, squared errors are low by 14 %."""
    series = autoregressive(0.8, 200, 2000)
    squares = np.array([mean_with_error(one)[1] for one in series.T]) ** 2
    assert np.isfinite(squares).mean() > 0.99
    variance = series.mean(0).var()
    assert squares[np.isfinite(squares)].mean() == pytest.approx(variance, rel=0.08)


def test_series_that_say_little():
    constant = tau_int(np.ones((100, 4)))
    assert math.isnan(constant.value)
    # Chains stuck in different places: no window ends.
    stuck = np.random.default_rng(0).normal(size=(500, 4)) * 1e-3 + [-1, 1, -1, 1]
    assert tau_int(stuck).error == math.inf
    assert tau_int(stuck).value > 100
    assert tau_int([-1.0, 1.0] * 20).error == math.inf


def binder(m2, m4):
    return 1 - m4 / (3 * m2**2)


@pytest.mark.parametrize("chains", [1, 5])
def test_errors_of_the_jackknife_cover(chains):
    """The Binder cumulant of normal variables is 0."""
    series = autoregressive(0.6, 4000 // chains, 300 * chains).reshape(-1, 300, chains)
    one_by_one = series.transpose(1, 2, 0).reshape(300, 4000)  # one chain after the other
    found = np.array([jackknife(binder, m**2, m**4, blocks=40) for m in one_by_one])
    off = found[:, 0] / found[:, 1]
    assert np.std(off) == pytest.approx(1, abs=0.15)
    assert abs(found[:, 0].mean()) < 0.3 * found[:, 1].mean()


def test_errors_of_weighted_means_cover():
    """w = exp(x/2) makes mean ½ of the standard normal distribution's 0, and of x² 1 + ¼."""
    x = np.random.default_rng(0).normal(size=(300, 1000))
    found = np.array(
        [jackknife(lambda m, m2: m2 - m**2, one, one**2, log_weights=one / 2 + 800) for one in x]
    )
    assert np.std((found[:, 0] - 1) / found[:, 1]) == pytest.approx(1, abs=0.15)
    assert found[:, 0].mean() == pytest.approx(1, abs=0.02)


def test_the_jackknife_by_a_loop():
    random = np.random.default_rng(0)
    x, logs = random.normal(size=(24, 3)), random.normal(size=24)
    value, error = jackknife(lambda m: m**2, x, log_weights=logs, blocks=4)
    w = np.exp(logs)
    np.testing.assert_allclose(value, np.average(x, 0, w) ** 2)
    without = []
    for block in np.array_split(np.arange(24), 4):
        rest = np.setdiff1d(np.arange(24), block)
        without.append(np.average(x[rest], 0, w[rest]) ** 2)
    np.testing.assert_allclose(error, np.sqrt(3 * np.var(without, 0)))
    # As the standard error of the mean, if every draw is its own block.
    series = random.normal(size=50)
    value, error = jackknife(lambda m: m, series)
    assert (value, error) == pytest.approx((series.mean(), series.std(ddof=1) / 50**0.5))


def test_weights_of_a_normal_distribution():
    """ln w normal with deviation σ: ESS = exp(−σ²), ln of the mean σ²/2."""
    logs = 0.8 * np.random.default_rng(0).normal(size=(400, 2000)) - 1e4
    sizes = [effective_sample_size(one) for one in logs]
    assert np.mean(sizes) == pytest.approx(math.exp(-0.64), rel=0.02)
    value, error = np.array([log_mean_weight(one) for one in logs]).T
    off = (value - 0.32 + 1e4) / error
    assert np.std(off) == pytest.approx(1, abs=0.12)
    assert np.mean(np.abs(off) < 1.96) == pytest.approx(0.95, abs=0.035)
    assert effective_sample_size(np.full(10, 5000.0)) == 1
    assert effective_sample_size([0.0, -math.inf, -math.inf, -math.inf]) == 0.25
    assert effective_sample_size([-math.inf]) == 0
    assert log_mean_weight([0.0, -math.inf]) == (pytest.approx(-math.log(2)), math.inf)


# ---------------------------------------------------------------------------------- Monte Carlo


def off_by(series, exact):
    """In standard errors."""
    value, error = mean_with_error(series)
    assert 0 < error < math.inf
    return (value - exact) / error


def test_swendsen_wang_visits_configurations_as_often_as_it_should():
    spins = np.stack(list(swendsen_wang(2, 3.0, chains=64, sweeps=400, warm_up=20)))
    number = ((spins.reshape(400, 64, 4) > 0) << np.arange(4)).sum(-1)
    logits = -energies(configurations(2)) / 3.0
    p = np.exp(logits - logsumexp(logits))
    off = [off_by(number == k, p[k]) for k in range(16)]
    assert np.abs(off).max() < 3.5
    assert np.sqrt(np.mean(np.square(off))) < 1.6


@pytest.mark.parametrize("temperature", [1.8, CRITICAL_TEMPERATURE, 4.0])
def test_swendsen_wang_against_brute_force(every, temperature):
    spins, energy = every
    p = np.exp(-energy / temperature - ising(4, temperature).log_z)
    magnetisation = np.abs(spins.mean((1, 2)))
    drawn = np.stack(list(swendsen_wang(4, temperature, chains=64, sweeps=300, warm_up=30)))
    assert drawn.shape == (300, 64, 4, 4)
    found = energies(drawn)
    m = drawn.mean((2, 3))
    assert abs(off_by(found, p @ energy)) < 3
    assert abs(off_by(np.abs(m), p @ magnetisation)) < 3
    assert abs(off_by(m, 0)) < 3  # both signs
    assert mean_with_error(found)[1] < 0.15


@pytest.mark.parametrize("length", [16, pytest.param(64, marks=pytest.mark.slow)])
def test_swendsen_wang_against_kaufman(length):
    t = CRITICAL_TEMPERATURE
    found = np.array([energies(s) for s in swendsen_wang(length, t, chains=16, sweeps=500)])
    assert abs(off_by(found, ising(length, t).energy)) < 3
    assert 1 < tau_int(found).value < 10
    heat, error = jackknife(lambda e, e2: (e2 - e**2) / t**2, found.T.ravel(), found.T.ravel() ** 2)
    assert abs(heat - ising(length, t).heat_capacity) < 3 * error
    assert error < 0.07 * heat


def free_action(mass2, c4=0.0, c1=-1.0):
    def action(x):
        neighbours = x.roll(1, 2) + x.roll(1, 3)
        return (c1 * x * neighbours + (4 + mass2) / 2 * x**2 + c4 * x**4).sum((1, 2, 3))

    return action


def test_hmc_of_the_free_field():
    found = hmc(
        free_action(1.0),
        (1, 6, 4),
        chains=32,
        draws=300,
        warm_up=200,
        leapfrog=5,
    )
    x = found.fields[:, :, 0]
    exact = propagator((6, 4), 1.0)
    off = []
    for i, j in itertools.product(range(4), range(3)):
        products = (x * x.roll((-i, -j), (2, 3))).mean((2, 3)).numpy()
        assert mean_with_error(products)[1] < 0.01
        off.append(off_by(products, exact[i, j]))
    off.append(off_by(found.action.numpy(), 24 / 2))
    off.append(off_by(x.mean((2, 3)).numpy(), 0))
    assert np.abs(off).max() < 3
    assert found.acceptance.mean() == pytest.approx(0.8, abs=0.08)


@pytest.mark.parametrize(("c2", "c4"), [(0.5, 0.3), (-1.0, 0.5)])
def test_hmc_of_decoupled_phi4(c2, c4):
    def action(x):
        return (c2 * x**2 + c4 * x**4).sum((1, 2, 3))

    found = hmc(action, (2, 2, 3), chains=32, draws=400, warm_up=200, leapfrog=4)
    *_, second, fourth = site_moments(c2, c4)
    assert abs(off_by((found.fields**2).mean((2, 3, 4)).numpy(), second)) < 3
    assert abs(off_by((found.fields**4).mean((2, 3, 4)).numpy(), fourth)) < 3
    assert found.acceptance.mean() == pytest.approx(0.8, abs=0.1)


def test_hmc_finds_the_scales_of_channels():
    scale = torch.tensor([0.01, 1.0, 100.0]).view(3, 1, 1).double()

    def action(x):
        return (x / scale).square().sum((1, 2, 3)) / 2

    found = hmc(action, (3, 2, 2), chains=16, draws=300, warm_up=300, leapfrog=4)
    off = [
        off_by((found.fields[:, :, c] / scale[c]).square().mean((2, 3)).numpy(), 1)
        for c in range(3)
    ]
    assert np.abs(off).max() < 3
    assert max(tau_int(found.fields[:, :, c, 0, 0].numpy()).value for c in range(3)) < 3


def test_a_seed_gives_the_same_fields_and_starts_are_kept_apart():
    options = {"chains": 2, "draws": 6, "warm_up": 20, "leapfrog": 2}
    first = hmc(free_action(1.0), (1, 4, 4), **options, seed=3)
    again = hmc(free_action(1.0), (1, 4, 4), **options, seed=3)
    other = hmc(free_action(1.0), (1, 4, 4), **options, seed=4)
    assert torch.equal(first.fields, again.fields)
    assert not torch.equal(first.fields, other.fields)
    thinned = hmc(free_action(1.0), (1, 4, 4), **options | {"draws": 3, "thin": 2}, seed=3)
    assert torch.equal(thinned.fields, first.fields[1::2])
    # Deep wells: chains stay on the side where they start.
    start = 5 * torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 4, 4)
    found = hmc(free_action(-50.0, c4=1.0), (1, 4, 4), **options, start=start)
    assert (found.fields.mean((2, 3, 4)).sign() == torch.tensor([-1, 1])).all()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: ising(1, 2.0).log_z, "length to be at least 2; got 1"),
        (lambda: ising(4, 0.0).energy, "temperature to be at least 0.01; got 0.0"),
        (lambda: transfer((4, 4), -1.0, np.zeros(2), np.eye(2)), "to be at least 0.01; got -1.0"),
        (lambda: phi4((6, 8), -2.0, 0.0, 5.0), "even sides, the shorter one at most 4; .* 6×8"),
        (lambda: swendsen_wang(4, math.nan), "temperature to be at least 0.01; got nan"),
        (lambda: swendsen_wang(4, 2.0, chains=0), "chains to be at least 1; got 0"),
        (lambda: gaussian_log_z((4, 4), -1, 2), "positive-definite.*smallest eigenvalue is 0"),
        (lambda: gaussian_log_z((4, 4), 1.0, 1.9), "positive-definite action, c2 above 2·.c1."),
        (lambda: gaussian_log_z((4, 0), -1.0, 3.0), "side of the lattice to be at least 1; got 0"),
        (lambda: tau_int([1.0]), r"at least 2 draws; got the shape \[1\]"),
        (lambda: tau_int([1.0, math.nan]), "finite series; 1 of 2 numbers aren't"),
        (lambda: jackknife(max), "at least one series"),
        (lambda: jackknife(max, [1.0, 2.0], [1.0]), r"of the same T.* shapes \[2\], \[1\]"),
        (lambda: jackknife(max, [1.0, 2.0], log_weights=[0.0]), "log-weight for each of 2 draws"),
        (lambda: effective_sample_size([0.0, math.nan]), "log-weights that are finite.*1 of 2"),
        (lambda: log_mean_weight([0.0]), "at least 2 log-weights; got 1"),
        (lambda: hmc(torch.sum, (1, 4, 4)), r"a number for each field, \[16\]; got \[\]"),
        (
            lambda: hmc(lambda x: x.sum((1, 2, 3)) * math.inf, (1, 4, 4)),
            "action to be finite; 16 of 16",
        ),
        (lambda: hmc(free_action(1.0), (4, 4)), r"to be \(C, H, W\); got \(4, 4\)"),
        (lambda: hmc(free_action(1.0), (1, 4, 4), warm_up=3), "warm_up to be at least 20; got 3"),
        (
            lambda: hmc(free_action(1.0), (1, 4, 4), start=torch.zeros(3, 1, 4, 4)),
            r"start to be \[16, 1, 4, 4\].*got \[3, 1, 4, 4\]",
        ),
    ],
)
def test_mistakes(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
