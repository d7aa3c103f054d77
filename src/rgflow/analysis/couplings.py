"""Effective couplings of spins −1 and 1, such as those of the coarse fields of a flow, and what is
known of them.

Letters in shapes: N fields; h, w rows and columns; B blocks of fields; V kinds of surroundings.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rgflow.field_theory.statistics import Estimate

Array = NDArray[np.float64]
BLOCKS = 20
"""Blocks of the jackknife."""
STEPS = 30
"""Steps of Newton's method, which needs about 8."""
AROUND = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"), -1).reshape(-1, 3)
"""All values that s times its neighbours, its diagonal ones and the triples of its four plaquettes
can have, [V, 3]."""


def couplings(spins: Tensor) -> Estimate[Array]:
    """K₁, K₂ and K₄ of −S = Σ [K₁ s s' + K₂ s s'' + K₄ s s' s'' s'''] over neighbours, diagonal
    neighbours and plaquettes, by the maximum of the pseudolikelihood (Besag 1975).

    Where spins have this action, estimates approach its couplings; where it has others, those of
    the nearest such action, which shows how the renormalization group changes it.

    Args:
        spins: −1 and 1, [N, 1, h, w], at least 40 of them on grids of at least 4×4; those of
            a Markov chain in any order.

    Returns:
        The three couplings, and their errors by the jackknife, [3].

    Raises:
        ValueError: If there are too few fields, or grids are too small.

    Example:
        >>> from rgflow.actions import Ising
        >>> spins = Ising(temperature=3.0).reference_fields((1, 8, 8), 6400)[0].flatten(0, 1)
        >>> found = couplings(spins)
        >>> bool((abs(found.value - [1 / 3, 0, 0]) < 5 * found.error).all())
        True
    """
    if len(spins) < 2 * BLOCKS or min(spins.shape[2:]) < 4:
        raise ValueError(
            f"Expected at least {2 * BLOCKS} fields on grids of at least 4×4 for couplings; got "
            f"{len(spins)} on {spins.shape[2]}×{spins.shape[3]}."
        )
    counts = np.stack([_counts(part) for part in spins.tensor_split(BLOCKS)])
    whole, start = counts.sum(0), np.zeros(3)
    value = _maximum(whole, start)
    without = np.stack([_maximum(whole - one, value) for one in counts])
    return Estimate(value, np.sqrt((BLOCKS - 1) * without.var(0)))


def decimated(temperature: float) -> Array:
    """The same three couplings of every second spin, both ways, of the Ising model on 8×8 sites:
    exact, by the probabilities of all 2^16 fields of these spins from transfer matrices.

    Args:
        temperature: T.

    Returns:
        K₁, K₂ and K₄, [3].

    Example:
        >>> decimated(2.269185).round(3).tolist()
        [0.289, 0.098, -0.036]
    """
    p = _of_every_second(temperature)
    bits = np.arange(2**16)[:, None] >> np.arange(15, -1, -1) & 1
    spins = torch.from_numpy(2 * bits - 1).view(-1, 1, 4, 4)
    return _maximum(_counts(spins, p.repeat(16)), np.zeros(3))


def _of_every_second(temperature: float) -> Array:
    """Weights of every second spin, both ways, of 8×8 sites of the Ising model: their sum is Z.
    Number k has the spins −1 and 1 of the binary digits of k, the highest first, [2^16]."""
    # Rows by the spins of their even columns, then those of the others.
    bits = np.arange(2**8)[:, None] >> np.arange(7, -1, -1) & 1
    rows = (2 * bits - 1)[:, [0, 4, 1, 5, 2, 6, 3, 7]]
    within = (rows * np.roll(rows, 1, 1)).sum(1) / 2
    row = np.exp((within[:, None] + within + rows @ rows.T) / temperature)
    two = (row @ row).reshape(16, 16, 16, 16)
    four = np.einsum("aobp,bpcq->acboq", two, two)
    found = np.einsum("acboq,cadqo->abcd", four, four, optimize=True)
    return found.ravel()


def migdal_kadanoff(coupling: float) -> float:
    """K of the Ising model with every second spin left, both ways, in the approximation of Migdal
    and Kadanoff (1976): bonds of every second row and column are moved to the others, K′ =
    ½ ln cosh 4K. Its fixed point is K = 0.3047, and the exact one's 0.4407.

    Example:
        >>> round(migdal_kadanoff(0.304689), 4)
        0.3047
    """
    return math.log(math.cosh(4 * coupling)) / 2


def _counts(spins: Tensor, weights: Array | None = None) -> Array:
    """How often each of `AROUND` occurs, [V]; with a weight for every site, [N·h·w]."""
    s = spins.to(torch.int64)
    up, down, left, right = (s.roll(d, axis) for axis in (2, 3) for d in (1, -1))
    corners = [[one.roll(d, 3) for d in (1, -1)] for one in (up, down)]
    diagonal = sum(corner for row in corners for corner in row)
    triples = up * (left * corners[0][0] + right * corners[0][1])
    triples = triples + down * (left * corners[1][0] + right * corners[1][1])
    number = torch.zeros_like(s)
    for around in (up + down + left + right, diagonal, triples):
        number = 9 * number + s * around + 4
    found = np.bincount(number.flatten().cpu().numpy(), weights, minlength=len(AROUND))
    return found.astype(np.float64)


def _maximum(counts: Array, start: Array) -> Array:
    """The couplings with the highest pseudolikelihood, Π 1/(1 + exp(−2 K·around))."""
    there = counts > 0
    y, weights = 2 * AROUND[there], counts[there] / counts.sum()
    k = start
    for _ in range(STEPS):
        wrong = 1 / (1 + np.exp(np.clip(y @ k, -700, 700)))
        slope = (weights * wrong) @ y
        bend = (y * (weights * wrong * (1 - wrong))[:, None]).T @ y + 1e-12 * np.eye(3)
        step = np.linalg.solve(bend, slope)
        k = k + step * min(1.0, 1 / np.abs(step).max()) if np.abs(step).max() else k
    return k
