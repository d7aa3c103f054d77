"""Effective couplings of spins −1 and 1, such as those of the coarse fields of a flow.

Letters in shapes: N fields; h, w rows and columns; B blocks of fields; V kinds of surroundings.
"""

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
    counts = np.stack([occurrences(part) for part in spins.tensor_split(BLOCKS)])
    whole, start = counts.sum(0), np.zeros(3)
    value = likeliest(whole, start)
    without = np.stack([likeliest(whole - one, value) for one in counts])
    return Estimate(value, np.sqrt((BLOCKS - 1) * without.var(0)))


def occurrences(spins: Tensor, weights: Array | None = None) -> Array:
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


def likeliest(counts: Array, start: Array) -> Array:
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
