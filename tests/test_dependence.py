"""Mutual information, and dependence on the tree, against numbers that are known."""

import math

import numpy as np
import pytest
import torch
from scipy.special import entr
from scipy.stats import chi2, chi2_contingency, multivariate_normal, norm
from sklearn.metrics import mutual_info_score

from rgflow import Latents, Lattice
from rgflow.analysis.dependence import dependence, tree_distance
from rgflow.analysis.information import (
    binned,
    bins_for,
    mutual_information,
    pairwise_information,
)
from rgflow.geometries import Blocks
from rgflow.lattice import SqueezeSites

N = 4000


def copula(rho, n=N, pairs=1, seed=0):
    """Pairs of normal numbers with this correlation."""
    random = np.random.default_rng(seed)
    a, noise = random.normal(size=(2, n, pairs))
    return a, rho * a + math.sqrt(1 - rho**2) * noise


def test_information_is_that_of_scikit_learn_but_for_the_correction():
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 4))
    y = np.stack((x[:, 0] + random.normal(size=300), random.integers(3, size=300)), 1)
    found = mutual_information(x, y, bins=6)
    a, b = binned(x, 6), binned(y, 6)
    for d in range(4):
        for k in range(2):
            joint = np.histogram2d(a[:, d], b[:, k], (6, b[:, k].max() + 1))[0]
            used = (joint > 0).sum()
            correction = ((joint.sum(1) > 0).sum() + (joint.sum(0) > 0).sum() - used - 1) / 600
            plain = mutual_info_score(a[:, d], b[:, k])
            assert found.nats[d, k] == pytest.approx(plain + correction, abs=1e-6)
            test = chi2_contingency(joint, correction=False, lambda_="log-likelihood")
            rows, columns = ((300 / joint.sum(axis)).sum() - 1 for axis in (1, 0))
            williams = 1 + rows * columns / (6 * 300 * test.dof)
            assert found.p[d, k] == pytest.approx(
                chi2.sf(test.statistic / williams, test.dof), rel=1e-3
            )


@pytest.mark.parametrize("n", [60, 100, 200])
@pytest.mark.parametrize("binary", [False, True])
def test_independent_numbers_are_rarely_taken_for_dependent(n, binary):
    random = np.random.default_rng(n)
    y = random.normal(size=(n, 60))
    found = mutual_information(random.normal(size=(n, 300)), y > 1 if binary else y, bins_for(n, 8))
    assert (found.p < 0.05).mean() == pytest.approx(0.05, abs=0.012)
    assert (found.p < 0.001).mean() < 0.0025
    assert found.nats.mean() == pytest.approx(0, abs=0.005)


def test_pairs_are_the_diagonal_of_all():
    x, y = np.random.default_rng(0).normal(size=(2, 500, 5))
    every, pairs = mutual_information(x, x + y), pairwise_information(x, x + y)
    assert pairs.nats == pytest.approx(np.diag(every.nats), abs=1e-6)
    assert pairs.p == pytest.approx(np.diag(every.p))


def between_bins(rho, bins):
    """The information between equally likely bins of a Gaussian copula, exactly."""
    edges = norm.ppf(np.arange(bins + 1) / bins).clip(-9, 9)
    grid = np.stack(np.meshgrid(edges, edges, indexing="ij"), -1)
    joint = np.diff(
        np.diff(multivariate_normal.cdf(grid, cov=[[1, rho], [rho, 1]]), axis=0), axis=1
    )
    return np.log(bins**2) * joint.sum() - entr(joint).sum()


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.6, 0.8])
def test_the_information_of_a_gaussian_copula(rho):
    a, b = copula(rho, pairs=50)
    nats = pairwise_information(np.exp(a), b**3, bins=12).nats
    error, exact = 4 * nats.std() / 50**0.5, -math.log(1 - rho**2) / 2
    assert nats.mean() == pytest.approx(between_bins(rho, 12), abs=error)
    assert 0.91 * exact - error < nats.mean() < exact + error


def test_independent_numbers_pass_for_dependent_as_often_as_p_says():
    x, y = np.random.default_rng(1).normal(size=(2, 1000, 400))
    assert (pairwise_information(x, y).p < 0.05).mean() == pytest.approx(0.05, abs=0.035)


def test_binned_takes_few_values_as_they_are():
    x = np.array([[0.0, 7.0]] * 97 + [[1.0, 7.0]] * 3)
    assert np.unique(binned(x, 8), axis=0).tolist() == [[0, 0], [1, 0]]
    assert mutual_information(x, x).nats[1, 1] == 0
    assert (
        np.bincount(binned(np.random.default_rng(0).normal(size=(80, 1)), 8)[:, 0]).tolist()
        == [10] * 8
    )


# ---------------------------------------------------------------- on the tree


LATTICE = Lattice(height=16, width=16, geometry=Blocks(m=4))


def latents(lattice=LATTICE, n=N):
    z = torch.randn(
        n, 2 * lattice.height * lattice.width, generator=torch.Generator().manual_seed(0)
    )
    return Latents.from_flat(z, lattice, channels=2)


def test_independent_latents():
    found = dependence(latents(), pairs=100)
    assert {s.levels for s in found.strata} == {(a, b) for b in range(3) for a in range(b + 1)}
    for s in found.strata:
        assert abs(s.information.value) < 4 * s.information.error + 1e-4
        assert abs(s.information.floor) < 4 * s.information.error + 1e-4
        for measured in (s.correlation, s.magnitude):
            for value in (measured.value, measured.floor):
                assert value == pytest.approx(N**-0.5, rel=3 * s.pairs**-0.5)


def test_channels_of_one_site_that_depend_are_found_at_distance_0():
    rho = 0.6
    image = latents().image()
    image[:, 1] = rho * image[:, 0] + math.sqrt(1 - rho**2) * image[:, 1]
    found = dependence(Latents.from_image(image, LATTICE), pairs=100)
    for s in found.strata:
        if s.levels[0] == s.levels[1] and s.distance == 0:
            assert s.information.value == pytest.approx(between_bins(rho, 12), rel=0.02)
            assert s.correlation.value == pytest.approx(rho, abs=0.02)
        else:
            assert abs(s.information.value) < 0.01
    assert [s.distance for s in found.strata if s.levels == (0, 0)] == [0, 1, 2, 3]


def test_dependence_without_correlation():
    image = latents().image()
    signs = torch.randn(image[:, 0].shape, generator=torch.Generator().manual_seed(5)).sign()
    image[:, 1] = image[:, 0].abs() * signs
    near = dependence(Latents.from_image(image, LATTICE), pairs=100).strata[0]
    assert near.correlation.value < 0.05
    assert near.magnitude.value == pytest.approx(1, abs=1e-3)
    assert near.information.value > 1


@pytest.mark.parametrize("lattice", [LATTICE, SqueezeSites(height=8, width=16, levels=3)])
def test_distances_count_steps_up(lattice):
    """Against climbing up cell by cell."""

    def climb(a, b):
        steps = 0
        low, high = min(a[0], b[0]), max(a[0], b[0])
        for level in range(low, lattice.levels):
            cells = [(i >> level, j >> level) for _, i, j in (a, b)]
            if level >= high and cells[0] == cells[1]:
                return steps
            steps += 1
        return steps

    random = np.random.default_rng(0)
    for _ in range(300):
        pair = [
            tuple(int(random.integers(n)) for n in (lattice.height, lattice.width)) for _ in "ab"
        ]
        a, b = ((int(lattice.site_levels[i, j]), i, j) for i, j in pair)
        found = tree_distance(np.array(a), np.array(b), lattice.levels)
        assert found == climb(a, b) == tree_distance(np.array(b), np.array(a), lattice.levels)


def test_the_same_seed_gives_the_same_numbers():
    z = latents(n=100)
    assert dependence(z, pairs=10, seed=3).strata == dependence(z, pairs=10, seed=3).strata
    assert dependence(z, pairs=10, seed=3).strata != dependence(z, pairs=10, seed=4).strata


def test_latents_with_a_gradient():
    z = latents(n=100)
    x = z.image().requires_grad_()
    assert dependence(Latents.from_image(x, z.lattice), pairs=10) == dependence(z, pairs=10)


def test_too_few_images():
    with pytest.raises(ValueError, match="Expected at least 8 images; got 3"):
        dependence(latents(n=3))
