"""The Ising model in two dimensions by Swendsen and Wang, and its continuous dual.

Clusters of equal spins flip as a whole (Swendsen and Wang, Physical Review Letters 58, 86, 1987),
so draws decorrelate fast even at the critical temperature, and take both signs in both phases.

Letters in shapes: K chains; L rows and columns; N configurations.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from rgflow.checks import MAX_SIZE, check_at_least, check_whole
from rgflow.field_theory.exact import MIN_TEMPERATURE, dual_couplings

Spins = NDArray[np.int8]


def swendsen_wang(
    length: int,
    temperature: float,
    *,
    chains: int = 16,
    sweeps: int = 1000,
    warm_up: int = 100,
    seed: int = 0,
) -> Iterator[Spins]:
    """Draw configurations of the Ising model on a periodic lattice, J = 1.

    All chains are one graph, whose connected components are the clusters. Each chain starts from
    random spins.

    Args:
        length: L, at least 2.
        temperature: T, at least 0.01.
        chains: K.
        sweeps: Number of updates of all clusters that are returned.
        warm_up: Number of updates before the first of them.
        seed: Seed of all randomness.

    Returns:
        An iterator over the sweeps, each of them spins −1 and 1, int8 [K, L, L]. All of them at
        once, [sweeps, K, L, L], are `np.stack(list(...))`.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> spins = np.stack(list(swendsen_wang(8, 2.0, chains=2, sweeps=50, warm_up=10)))
        >>> spins.shape, spins.dtype
        ((50, 2, 8, 8), dtype('int8'))
    """
    check_whole("length", length, 2, MAX_SIZE)
    check_at_least("temperature", temperature, MIN_TEMPERATURE)
    check_whole("chains", chains, 1)
    check_whole("sweeps", sweeps, 1)
    check_whole("warm_up", warm_up, 0)
    check_whole("seed", seed, 0)

    def draw() -> Iterator[Spins]:
        random = np.random.default_rng(seed)
        spins = _signs(random, chains * length**2).reshape(chains, length, length)
        for sweep in range(warm_up + sweeps):
            spins = _update(spins, temperature, random)
            if sweep >= warm_up:
                yield spins

    return draw()


def _update(spins: Spins, temperature: float, random: np.random.Generator) -> Spins:
    """Bonds between equal neighbours with probability 1 − exp(−2/T); a new sign per cluster."""
    sites = np.arange(spins.size).reshape(spins.shape)
    bonded = -np.expm1(-2 / temperature)
    bonds = []
    for axis in (1, 2):
        bond = spins == np.roll(spins, -1, axis)
        bond &= random.random(spins.shape) < bonded
        bonds.append((sites[bond], np.roll(sites, -1, axis)[bond]))
    ends = tuple(np.concatenate(one) for one in zip(*bonds, strict=True))
    graph = csr_array((np.ones(len(ends[0]), dtype=np.int8), ends), (spins.size, spins.size))
    clusters, cluster = connected_components(graph, directed=False)
    return _signs(random, clusters)[cluster].reshape(spins.shape)


def _signs(random: np.random.Generator, n: int) -> Spins:
    return 2 * random.integers(0, 2, n, dtype=np.int8) - 1


def dual_fields(spins: ArrayLike, temperature: float, generator: torch.Generator) -> Tensor:
    """Draw fields of the Ising model's continuous dual, given its spins, exactly.

    p(x|s) = N(K s, K) with K of `exact.dual_couplings` (Li and Wang 2018, arXiv 1802.02840), by
    FFT. If the spins are from the Ising model, fields are from S(x) = ½ xᵀK⁻¹x − Σ ln cosh x.

    Args:
        spins: −1 and 1, [N, L, L].
        temperature: T of the spins.
        generator: Source of randomness, on the CPU.

    Returns:
        Fields, float64 [N, 1, L, L].

    Raises:
        ValueError: If spins have another shape, or the temperature is out of range.

    Example:
        >>> spins = next(swendsen_wang(8, 2.0, chains=3))
        >>> dual_fields(spins, 2.0, torch.Generator().manual_seed(0)).shape
        torch.Size([3, 1, 8, 8])
    """
    s = torch.as_tensor(np.array(spins, dtype=np.float64))
    if s.ndim != 3 or s.shape[1] != s.shape[2]:
        raise ValueError(f"Expected spins [N, L, L]; got the shape {list(s.shape)}.")
    couplings = torch.from_numpy(dual_couplings(s.shape[1:], temperature))
    noise = torch.randn(s.shape, generator=generator, dtype=torch.float64)
    momenta = couplings * torch.fft.fft2(s) + couplings.sqrt() * torch.fft.fft2(noise)
    return torch.fft.ifft2(momenta).real[:, None].contiguous()
