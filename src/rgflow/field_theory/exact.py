"""Exact values of lattice fields on finite periodic lattices, in float64 and in logarithms.

Letters: L rows and columns; N sites; K = 1/T. J = 1 throughout.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rgflow.checks import MAX_SIZE, as_python, check_at_least, check_whole, short

Array = NDArray[np.float64]

CRITICAL_TEMPERATURE = 2 / math.log(1 + math.sqrt(2))
"""Of the Ising model on the infinite square lattice (Onsager 1944): 2.269185…"""
MIN_TEMPERATURE = 0.01
"""Lowest temperature of the Ising model: below about 0.003, sinh(2/T) overflows in float64."""


# ------------------------------------------------------------------------------- the Ising model


class Ising(NamedTuple):
    """Exact values of the Ising model, for the whole lattice.

    Attributes:
        log_z: ln Z.
        energy: The mean energy E = −Σ s s' over bonds: −∂ ln Z/∂K.
        heat_capacity: dE/dT = K² ∂² ln Z/∂K².
    """

    log_z: float
    energy: float
    heat_capacity: float


def ising(length: int, temperature: float) -> Ising:
    """Exact values of the Ising model on a periodic lattice of L×L sites, by Kaufman's formula.

    Kaufman (Physical Review 76, 1232, 1949), in the form of Ferdinand and Fisher (Physical Review
    185, 832, 1969): Z is a sum of four products over momenta, added in logarithms, as they overflow
    from L = 64 on. One of them has the sign of γ₀ = 2K + ln tanh K, which is negative above the
    critical temperature. Derivatives are by automatic differentiation.

    Args:
        length: L, at least 2; neighbours on a lattice of 2×2 are joined by two bonds.
        temperature: T, at least 0.01.

    Raises:
        ValueError: If one of them is out of range.

    Example:
        >>> found = ising(16, CRITICAL_TEMPERATURE)
        >>> [round(value / 16**2, 6) for value in found]  # ln Z and E: 0.929695, −√2 for infinite L
        [0.932196, -1.453065, 1.498705]
    """
    import torch

    check_whole("length", length, 2, MAX_SIZE)
    check_at_least("temperature", temperature, MIN_TEMPERATURE)
    k = torch.tensor(1 / temperature, dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        # With s = sinh 2K: cosh γ = s + 1/s − cos p, p = πl/L for l = 0 … 2L − 1. Half arguments
        # keep digits where γ is small, and give γ₀ its sign, as 2K + ln tanh K has.
        s = (2 * k).sinh()
        root = (s - 1) / (2 * s).sqrt()
        p = math.pi * torch.arange(1, 2 * length, dtype=torch.float64) / length
        gamma = 2 * torch.hypot(root, (p / 2).sin()).asinh()
        x0, x = length * root.asinh(), length / 2 * gamma
        odd, even = x[::2], x[1::2]
        zeroth = torch.logaddexp(x0, -x0)  # ln(2 cosh x₀)

        def log_sinh(x: torch.Tensor) -> torch.Tensor:
            """Σ ln(2 sinh x)."""
            return (x + torch.log1p(-torch.exp(-2 * x))).sum()

        products = torch.stack(
            [
                torch.logaddexp(odd, -odd).sum(),
                log_sinh(odd),
                zeroth + torch.logaddexp(even, -even).sum(),
                zeroth + log_sinh(even),  # times tanh x₀, which is 0 at the critical temperature
            ]
        )
        one = torch.ones_like(k)
        signs = torch.stack([one, one, one, x0.tanh()])
        # Beside the first product, as otherwise derivatives are differences of the order N².
        beside = products - products[0]
        largest = beside.detach().max()
        total = products[0] + largest + (signs * (beside - largest).exp()).sum().log()
        # ½ (2 sinh 2K)^(N/2)
        log_factor = length**2 / 2 * (2 * k + (-torch.expm1(-4 * k)).log()) - math.log(2)
        log_z = log_factor + total
        (first,) = torch.autograd.grad(log_z, k, create_graph=True)
        (second,) = torch.autograd.grad(first, k)
    return Ising(log_z.item(), -first.item(), second.item() / temperature**2)


# ------------------------------------------------------------------------------- any spins


MAX_ROWS = 1024
"""Most states of a row of spins for a transfer matrix, whose eigenvalues then take a second."""


def transfer(
    shape: tuple[int, int], temperature: float, alone: Array, pairs: Array
) -> tuple[float, float]:
    """ln Z and the mean energy of spins on a small periodic lattice, by its transfer matrix.

    E = Σ_x [A(s_x) + Σ_μ B(s_x, s_(x+μ))]. The matrix is that between rows of the shorter edge W,
    so q^W must be small; Z is the sum of powers of its eigenvalues (Kramers and Wannier 1941).

    Args:
        shape: Rows and columns, at least 2 each; two neighbours on an edge of 2 are joined twice.
        temperature: T, at least 0.01.
        alone: A, [q].
        pairs: B, symmetric, [q, q].

    Raises:
        ValueError: If rows have more than 1,024 states, or a number is out of range.

    Example:
        >>> spins = np.array([-1.0, 1.0])
        >>> log_z, energy = transfer((4, 4), 2.0, 0 * spins, -np.outer(spins, spins))
        >>> round(log_z, 6), round(ising(4, 2.0).log_z, 6)
        (17.105367, 17.105367)
    """
    import torch

    check_at_least("temperature", temperature, MIN_TEMPERATURE)
    for size in shape:
        check_whole("a side of the lattice", size, 2, MAX_SIZE)
    length, width = max(shape), min(shape)
    if (states := len(alone)) ** width > MAX_ROWS:
        raise ValueError(
            f"Expected at most {MAX_ROWS} states of a row for a transfer matrix; got {states}"
            f"^{width}: take a smaller lattice."
        )
    rows = np.stack(np.unravel_index(np.arange(states**width), (states,) * width))  # [W, rows]
    within = (alone[rows] + pairs[rows, np.roll(rows, 1, 0)]).sum(0)
    between = sum(pairs[one[:, None], one] for one in rows)
    energy = torch.from_numpy((within[:, None] + within) / 2 + between)
    lowest = energy.min()
    k = torch.tensor(1 / temperature, dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        values = torch.linalg.eigvalsh(torch.exp(-k * (energy - lowest)))
        largest = values.abs().max()
        total = ((values / largest) ** length).sum().log() + length * (largest.log() - k * lowest)
        (slope,) = torch.autograd.grad(total, k)
    return total.item(), -slope.item()


MAX_SIDE = 4
"""The shorter side of a lattice of φ⁴ is at most this long for exact values."""
RANKS = {2: 14, 4: 6}
"""Functions kept of each bond, by the shorter side."""
MAX_DROPPED = 5e-4
"""The largest eigenvalue of a bond that may be left out, over that of the first. The error of ln Z
on 4×4 was at most half of this ratio wherever it was compared with higher ranks."""


@lru_cache(maxsize=8)
def phi4(shape: tuple[int, int], c1: float, c2: float, c4: float) -> tuple[float, float] | None:
    """ln Z and ⟨S⟩ of S = Σ_x [c₁ Σ_μ φ_x φ_(x+μ) + c₂ φ_x² + c₄ φ_x⁴] on narrow lattices.

    By the transfer matrix. A bond between neighbours, exp(−c₁ φ φ'), is a sum over products of its
    eigenfunctions, which are found by quadrature; the strongest are kept. ln Z is exact to 3·10⁻⁴,
    and near criticality to 5·10⁻⁵. ⟨S⟩ is −∂ ln Z/∂k of kS, a difference quotient.

    Args:
        shape: Rows and columns, even, at least one of them 2 or 4; two neighbours on an edge of 2
            are joined twice.
        c1: Coefficient of the products of neighbours.
        c2: Coefficient of the squares.
        c4: Coefficient of the fourth powers, positive.

    Returns:
        Both, or none where more functions would be needed, as for fields that are nearly free.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> log_z, action = phi4((4, 2), -2.0, 0.0, 5.0)
        >>> round(log_z, 5), round(action, 4)
        (3.30474, -0.8087)
    """
    length, width = max(shape), min(shape)
    if any(size % 2 or size < 2 for size in shape) or width > MAX_SIDE or not c4 > 0:
        raise ValueError(
            f"Expected c4 > 0 and even sides, the shorter one at most {MAX_SIDE}; got c4 = {c4:g} "
            f"and {shape[0]}×{shape[1]}."
        )
    step = 1e-3
    low, middle, high = (
        _phi4_log_z(length, width, k * abs(c1), k * c2, k * c4) for k in (1 - step, 1, 1 + step)
    )
    if low is None or middle is None or high is None:
        return None
    return middle, (low - high) / (2 * step)


def _phi4_log_z(length: int, width: int, c1: float, c2: float, c4: float) -> float | None:
    """ln Z for bonds exp(c₁ φ φ'); signs on half of the sites make that of any sign of c₁."""
    import torch

    # Beyond `end`, where c₄ φ⁴ + (c₂ − 2 c₁) φ² = 60, fields are less likely than e⁻⁶⁰.
    square, root = c2 - 2 * c1, math.sqrt((c2 - 2 * c1) ** 2 + 240 * c4)
    end = math.sqrt(120 / (square + root) if square > 0 else (root - square) / (2 * c4))
    grid = torch.linspace(-end, end, 400, dtype=torch.float64)
    alone = (c2 * grid**2 + c4 * grid**4) / 4  # of each of a site's four bonds
    logs = c1 * torch.outer(grid, grid) - alone[:, None] - alone
    highest = logs.max()
    values, functions = torch.linalg.eigh((logs - highest).exp())
    rank = RANKS[width]
    if values[-rank - 1].abs() > MAX_DROPPED * values[-1]:
        return None
    kept = functions[:, -rank:] * (values[-rank:] / values[-1]).clamp(min=0).sqrt()
    site = torch.einsum("pu,pd,pl,pr->udlr", kept, kept, kept, kept)
    row = site
    for _ in range(width - 1):
        row = torch.einsum("udlm,vemr->uvdelr", row, site).flatten(2, 3).flatten(0, 1)
    rows = torch.einsum("udll->ud", row)
    largest = rows.abs().max()
    power = torch.linalg.matrix_power(rows / largest, length)
    bond = highest + values[-1].log()  # two for each site, which has a step of the grid
    sites = length * width * (2 * bond + (grid[1] - grid[0]).log())
    return float(power.trace().log() + length * largest.log() + sites)


# ------------------------------------------------------------------------------- Gaussian fields


def gaussian_log_z(shape: Sequence[int], c1: float, c2: float) -> float:
    """ln Z of S = Σ_x [c₁ Σ_μ φ_x φ_(x+μ) + c₂ φ_x²], periodic in all directions μ.

    Args:
        shape: Shape of the lattice: (H, W), or another number of dimensions.
        c1: Coefficient of the products of neighbours; negative if neighbours tend to be alike.
        c2: Coefficient of the squares.

    Raises:
        ValueError: If S isn't positive definite, or the shape isn't one.

    Example:
        >>> round(gaussian_log_z((8, 8), -1, 2.5), 6)
        10.557825
    """
    hessian = _hessian(shape, c1, c2)
    return float((hessian.size * math.log(2 * math.pi) - np.log(hessian).sum()) / 2)


def _hessian(shape: Sequence[int], c1: float, c2: float) -> Array:
    """Eigenvalues of S = ½ φᵀQφ, by momentum."""
    for size in shape:
        check_whole("a side of the lattice", size, 1, MAX_SIZE)
    hessian = 2 * c1 * _cosines(shape) + 2 * c2
    if not hessian.min() > 1e-14 * np.abs(hessian).max():  # nor NaN
        raise ValueError(
            f"Expected a positive-definite action, c2 above {len(shape)}·|c1| or a mass² above 0; "
            f"got c1={short(as_python(c1))}, c2={short(as_python(c2))}, whose smallest eigenvalue "
            f"is {hessian.min():.3g}."
        )
    return hessian


def _cosines(shape: Sequence[int]) -> Array:
    """Σ_μ cos k_μ for every momentum of the lattice, where `numpy.fft.fftn` has it."""
    total = np.zeros(tuple(shape))
    for axis, size in enumerate(shape):
        cosines = np.cos(2 * np.pi * np.arange(size) / size)
        total += np.expand_dims(cosines, tuple(a for a in range(len(shape)) if a != axis))
    return total
