"""Exact values of lattice fields on finite periodic lattices, in float64 and in logarithms.

Letters: L rows and columns; N sites; K = 1/T. J = 1 throughout.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rgflow.checks import MAX_SIZE, as_python, check_at_least, check_whole, short

Array = NDArray[np.float64]

CRITICAL_TEMPERATURE = 2 / math.log(1 + math.sqrt(2))
"""Of the Ising model on the infinite square lattice (Onsager 1944): 2.269185…"""
MIN_TEMPERATURE = 0.01
"""Lowest temperature of the Ising model: below about 0.003, sinh(2/T) overflows in float64."""
MIN_EIGENVALUE = 0.1
"""Smallest eigenvalue of the couplings of the Ising model's continuous dual (Li and Wang 2018)."""


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


def dual_couplings(shape: Sequence[int], temperature: float) -> Array:
    """Eigenvalues [H, W] of the couplings K = A/T + off·I of the Ising model's continuous dual.

    A is the adjacency matrix and off = 0.1 − λ_min(A/T), so that K is positive definite. It is
    circulant: its eigenvectors are plane waves, in the order of `numpy.fft.fft2`.

    Args:
        shape: Rows and columns of the lattice, at least 2 each.
        temperature: T, at least 0.01.

    Raises:
        ValueError: If one of them is out of range.

    Example:
        >>> print(dual_couplings((4, 4), 2.0).round(6)[0])
        [4.1 3.1 2.1 3.1]
    """
    for size in shape:
        check_whole("a side of the lattice", size, 2, MAX_SIZE)
    check_at_least("temperature", temperature, MIN_TEMPERATURE)
    adjacency = 2 * _cosines(shape) / temperature
    return adjacency - adjacency.min() + MIN_EIGENVALUE


def ising_dual_log_z(length: int, temperature: float) -> float:
    """ln Z of the continuous dual of the Ising model, S(x) = ½ xᵀK⁻¹x − Σ ln cosh x.

    Li and Wang (2018, arXiv 1802.02840), with K of `dual_couplings`: ln Z_dual = ln Z + N off/2 +
    (N/2) ln 2π + ½ ln det K − N ln 2.

    Args:
        length: L, at least 2.
        temperature: T, at least 0.01.

    Raises:
        ValueError: If one of them is out of range.

    Example:
        >>> round(ising_dual_log_z(32, CRITICAL_TEMPERATURE), 6)
        2369.587091
    """
    couplings = dual_couplings((length, length), temperature)
    n, off = couplings.size, couplings.mean()  # A has no diagonal
    constant = n * (off / 2 + math.log(2 * math.pi) / 2 - math.log(2))
    return float(ising(length, temperature).log_z + constant + np.log(couplings).sum() / 2)


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
