"""Markov chains of spins in two dimensions: clusters, and the heat bath.

Clusters of equal spins change as a whole (Swendsen and Wang, Physical Review Letters 58, 86, 1987),
so draws decorrelate fast even at the critical temperature, and take all colours in both phases.

Letters in shapes: K chains; L rows and columns; q states.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from rgflow.checks import MAX_SIZE, MAX_STATES, check_at_least, check_whole
from rgflow.field_theory.exact import MIN_TEMPERATURE, Array

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
    check_at_least("temperature", temperature, MIN_TEMPERATURE)
    found = potts(
        length, temperature / 2, 2, chains=chains, sweeps=sweeps, warm_up=warm_up, seed=seed
    )
    return (2 * spins - 1 for spins in found)


def potts(
    length: int,
    temperature: float,
    colours: int,
    *,
    chains: int = 16,
    sweeps: int = 1000,
    warm_up: int = 100,
    single: bool = False,
    seed: int = 0,
) -> Iterator[Spins]:
    """Draw configurations of the Potts model, E = −Σ δ(s, s'); the same for its spins 0 to q − 1.
    With T/2 and two colours it is the Ising model.

    Args:
        length: L, at least 2.
        temperature: T, at least 0.005.
        colours: q.
        chains: K; all others are as for `swendsen_wang`.
        sweeps: Number of draws.
        warm_up: Updates before the first.
        single: Give one cluster per update, that of a random site, another colour (Wolff, Physical
            Review Letters 62, 361, 1989), instead of a random colour to each.
        seed: Seed.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> spins = next(potts(8, 0.5, 3, chains=2))
        >>> spins.shape, bool((spins < 3).all())
        ((2, 8, 8), True)
    """
    check_at_least("temperature", temperature, MIN_TEMPERATURE / 2)
    check_whole("colours", colours, 2, MAX_STATES)

    def update(spins: Spins, random: np.random.Generator) -> Spins:
        """Bonds between equal neighbours with probability 1 − exp(−1/T); a colour per cluster."""
        sites = np.arange(spins.size).reshape(spins.shape)
        bonded = -np.expm1(-1 / temperature)
        bonds = []
        for axis in (1, 2):
            bond = spins == np.roll(spins, -1, axis)
            bond &= random.random(spins.shape) < bonded
            bonds.append((sites[bond], np.roll(sites, -1, axis)[bond]))
        ends = tuple(np.concatenate(one) for one in zip(*bonds, strict=True))
        graph = csr_array((np.ones(len(ends[0]), dtype=np.int8), ends), (spins.size, spins.size))
        clusters, cluster = connected_components(graph, directed=False)
        if single:
            at = cluster.reshape(chains, -1)
            own = at == at[np.arange(chains), random.integers(length**2, size=chains), None]
            by = random.integers(1, colours, (chains, 1, 1), dtype=np.int8)
            return np.where(own.reshape(spins.shape), (spins + by) % colours, spins)
        new = random.integers(0, colours, clusters, dtype=np.int8)
        return new[cluster].reshape(spins.shape)

    return _draws(update, colours, length, chains, sweeps, 1, warm_up, seed)


def heat_bath(
    length: int,
    temperature: float,
    alone: Array,
    pairs: Array,
    *,
    chains: int = 16,
    sweeps: int = 1000,
    thin: int = 1,
    warm_up: int = 100,
    seed: int = 0,
) -> Iterator[Spins]:
    """Draw configurations of any spins with E = Σ_x [A(s_x) + Σ_μ B(s_x, s_(x+μ))], by drawing one
    half of the checkerboard given the other in turn; slow near a transition.

    Args:
        length: L, even.
        temperature: T, at least 0.01.
        alone: A, [q].
        pairs: B, symmetric, [q, q].
        chains: K.
        sweeps: Number of draws.
        thin: Updates of the whole lattice per draw.
        warm_up: Updates before the first draw.
        seed: Seed of all randomness.

    Returns:
        An iterator over the draws, each of them numbers of states, int8 [K, L, L].

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> spins = np.array([-1, 0, 1])
        >>> next(heat_bath(4, 1.0, 0.5 * spins**2, -np.outer(spins, spins), chains=2)).shape
        (2, 4, 4)
    """
    check_at_least("temperature", temperature, MIN_TEMPERATURE)
    if length % 2:
        raise ValueError(f"Expected an even length for the halves of a checkerboard; got {length}.")
    halves = np.indices((length, length)).sum(0) % 2 == np.array([0, 1])[:, None, None]

    def update(spins: Spins, random: np.random.Generator) -> Spins:
        for half in halves:
            around = [np.roll(spins, d, axis)[:, half] for d in (1, -1) for axis in (1, 2)]
            energy = alone + sum(pairs[one] for one in around)
            weight = np.exp((energy.min(-1, keepdims=True) - energy) / temperature).cumsum(-1)
            u = random.random(weight.shape[:-1]) * weight[..., -1]
            spins = spins.copy()
            spins[:, half] = (u[..., None] > weight[..., :-1]).sum(-1)
        return spins

    return _draws(update, len(alone), length, chains, sweeps, thin, warm_up, seed)


def _draws(
    update: Callable[[Spins, np.random.Generator], Spins],
    states: int,
    length: int,
    chains: int,
    sweeps: int,
    thin: int,
    warm_up: int,
    seed: int,
) -> Iterator[Spins]:
    """Draws of chains that start from random spins."""
    check_whole("length", length, 2, MAX_SIZE)
    check_whole("chains", chains, 1)
    check_whole("sweeps", sweeps, 1)
    check_whole("thin", thin, 1)
    check_whole("warm_up", warm_up, 0)
    check_whole("seed", seed, 0)

    def draw() -> Iterator[Spins]:
        random = np.random.default_rng(seed)
        spins = random.integers(0, states, (chains, length, length), dtype=np.int8)
        for _ in range(warm_up):
            spins = update(spins, random)
        for _ in range(sweeps):
            for _ in range(thin):
                spins = update(spins, random)
            yield spins

    return draw()
