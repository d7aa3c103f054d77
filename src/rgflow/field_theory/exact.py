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
COLDEST = 0.01
"""Temperature of the Ising model at the least: sinh(2/T) is a number of float64 there."""
FLOOR = 0.1
"""The smallest eigenvalue of the couplings of the Ising model's continuous dual."""


# ------------------------------------------------------------------------------- the Ising model


def ising_log_z(length: int, temperature: float) -> float:
    """ln Z of the Ising model on a periodic lattice of L×L sites, by Kaufman's formula.

    Kaufman (Physical Review 76, 1232, 1949), as Ferdinand and Fisher write it (Physical Review 185,
    832, 1969): Z is a sum of four products over momenta. They are summed in logarithms, as they
    overflow from L = 64 on. γ₀ = 2K + ln tanh K has its sign, so one of them is negative above the
    critical temperature.

    Args:
        length: L, at least 2; neighbours on a lattice of 2×2 are joined by two bonds.
        temperature: T, at least 0.01.

    Raises:
        ValueError: If one of them is out of range.

    Example:
        >>> round(ising_log_z(32, CRITICAL_TEMPERATURE), 6)
        952.64808
        >>> round(ising_log_z(128, CRITICAL_TEMPERATURE) / 128**2, 6)  # 0.929695 for infinite L
        0.929734
    """
    return _ising(length, temperature).log_z


def ising_energy(length: int, temperature: float) -> float:
    """The mean energy of the whole lattice, E = −Σ s s' over bonds: −∂ ln Z/∂K.

    Args:
        length: L, at least 2.
        temperature: T, at least 0.01.

    Raises:
        ValueError: If one of them is out of range.

    Example:
        >>> round(ising_energy(16, CRITICAL_TEMPERATURE) / 16**2, 6)  # −√2 for infinite L
        -1.453065
    """
    return -_ising(length, temperature).first


def ising_specific_heat(length: int, temperature: float) -> float:
    """The heat capacity of the whole lattice, dE/dT = K² ∂² ln Z/∂K².

    Args:
        length: L, at least 2.
        temperature: T, at least 0.01.

    Raises:
        ValueError: If one of them is out of range.

    Example:
        >>> round(ising_specific_heat(16, CRITICAL_TEMPERATURE) / 16**2, 6)
        1.498705
    """
    return _ising(length, temperature).second / temperature**2


class _Derivatives(NamedTuple):
    """ln Z and its derivatives by K."""

    log_z: float
    first: float
    second: float


def _ising(length: int, temperature: float) -> _Derivatives:
    check_whole("length", length, 2, MAX_SIZE)
    check_at_least("temperature", temperature, COLDEST)
    k, half = 1 / temperature, length / 2
    # With s = sinh 2K: cosh γ = s + 1/s − cos p, p = πl/L for l = 0 … 2L − 1. Half arguments keep
    # digits where γ is small, and give γ₀ its sign, for the same value as 2K + ln tanh K.
    s, c = math.sinh(2 * k), math.cosh(2 * k)
    root = (s - 1) / math.sqrt(2 * s)
    sines = np.sin(np.pi * np.arange(2 * length) / (2 * length))
    gamma = 2 * np.arcsinh(np.hypot(root, sines))
    gamma[0] = 2 * math.asinh(root)
    # Derivatives by K, of cosh γ and then of γ; of γ₀ they follow from its own formula.
    u1 = 2 * c * (1 - s**-2)
    u2 = 4 * (s - 1 / s) + 8 * (c / s) ** 2 / s
    sinh, cosh = np.sinh(gamma[1:]), np.cosh(gamma[1:])
    g1 = np.concatenate(([2 + 2 / s], u1 / sinh))
    g2 = np.concatenate(([-4 * c / s**2], (u2 - cosh * g1[1:] ** 2) / sinh))

    # Every product is exp(a) b, with the derivatives of both.
    x, x1, x2 = half * gamma, half * g1, half * g2
    log_cosh = np.abs(x) + np.log1p(np.exp(-2 * np.abs(x)))
    tanh = np.tanh(x)
    cosines = np.array([log_cosh, tanh * x1, (1 - tanh**2) * x1**2 + tanh * x2])
    odd, even = slice(1, None, 2), slice(2, None, 2)

    def sine_product(momenta: slice) -> Array:
        t, less = tanh[momenta], np.exp(-2 * x[momenta])
        inverse_square = 4 * less / (1 - less) ** 2  # of sinh x
        log_sinh = x[momenta] + np.log1p(-less)
        first, second = x1[momenta], x2[momenta]
        parts = np.array([log_sinh, first / t, second / t - inverse_square * first**2])
        return parts.sum(1)

    a = np.array(
        [
            cosines[:, odd].sum(1),
            sine_product(odd),
            cosines[:, 0] + cosines[:, even].sum(1),
            cosines[:, 0] + sine_product(even),
        ]
    )
    b = np.zeros((4, 3))
    b[:3, 0] = 1
    # The last has a factor sinh x₀, which passes through 0 at the critical temperature.
    t, less = tanh[0], 1 - tanh[0] ** 2
    b[3] = t, less * x1[0], less * (x2[0] - 2 * t * x1[0] ** 2)

    largest = a[:, 0].max()
    log_sum = largest + math.log(np.exp(a[:, 0] - largest) @ b[:, 0])
    share = np.exp(a[:, 0] - log_sum)
    # Derivatives of exp(a) b, without exp((K − K₀) m), which adds nothing to the second of ln Z:
    # without it, the difference below would be one of numbers of the order N².
    m = a[0, 1]
    a1 = a[:, 1] - m
    first = share @ (a1 * b[:, 0] + b[:, 1])
    second = share @ ((a[:, 2] + a1**2) * b[:, 0] + 2 * a1 * b[:, 1] + b[:, 2])
    # ½ (2 sinh 2K)^(N/2), and its derivatives.
    n = length**2
    log_factor = n / 2 * (2 * k + math.log1p(-math.exp(-4 * k))) - math.log(2)
    return _Derivatives(
        float(log_factor + log_sum),
        float(n * c / s + m + first),
        float(-2 * n / s**2 + second - first**2),
    )


def dual_couplings(length: int, temperature: float) -> Array:
    """Eigenvalues [L, L] of the couplings K = A/T + off·I of the Ising model's continuous dual.

    A is the adjacency matrix and off = 0.1 − λ_min(A/T), so that K is positive definite. It is
    circulant: its eigenvectors are plane waves, and the eigenvalues stand where `numpy.fft.fft2`
    has theirs.

    Args:
        length: L, at least 2.
        temperature: T, at least 0.01.

    Raises:
        ValueError: If one of them is out of range.

    Example:
        >>> print(dual_couplings(4, 2.0).round(6)[0])
        [4.1 3.1 2.1 3.1]
    """
    check_whole("length", length, 2, MAX_SIZE)
    check_at_least("temperature", temperature, COLDEST)
    adjacency = 2 * _cosines((length, length)) / temperature
    return adjacency - adjacency.min() + FLOOR


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
    couplings = dual_couplings(length, temperature)
    n, off = couplings.size, couplings.mean()  # A has no diagonal
    constant = n * (off / 2 + math.log(2 * math.pi) / 2 - math.log(2))
    return float(ising_log_z(length, temperature) + constant + np.log(couplings).sum() / 2)


# ------------------------------------------------------------------------------- Gaussian fields


def gaussian_log_z(shape: Sequence[int], c1: float, c2: float) -> float:
    """ln Z of S = Σ_x [c₁ Σ_μ φ_x φ_(x+μ) + c₂ φ_x²], periodic in all directions μ.

    Args:
        shape: Of the lattice: (H, W), or another number of dimensions.
        c1: Of the products of neighbours; negative ones align.
        c2: Of the squares.

    Raises:
        ValueError: If S isn't positive definite, or the shape isn't one.

    Example:
        >>> round(gaussian_log_z((8, 8), -1, 2.5), 6)
        10.557825
    """
    hessian = _hessian(shape, c1, c2)
    return float((hessian.size * math.log(2 * math.pi) - np.log(hessian).sum()) / 2)


def gaussian_propagator(shape: Sequence[int], c1: float, c2: float) -> Array:
    """⟨φ_0 φ_x⟩ of the same action, an array of the lattice's shape.

    Args:
        shape: Of the lattice: (H, W), or another number of dimensions.
        c1: Of the products of neighbours.
        c2: Of the squares.

    Raises:
        ValueError: If S isn't positive definite, or the shape isn't one.

    Example:
        >>> gaussian_propagator((1, 4), -1, 2.5).round(4)  # rows are joined to themselves
        array([[0.4667, 0.2   , 0.1333, 0.2   ]])
    """
    return np.fft.ifftn(1 / _hessian(shape, c1, c2)).real


def free_log_z(shape: Sequence[int], mass2: float) -> float:
    """ln Z of the free field, S = ½ Σ_x [Σ_μ (φ_(x+μ) − φ_x)² + m² φ_x²].

    Args:
        shape: Of the lattice: (H, W), or another number of dimensions.
        mass2: m², above 0.

    Raises:
        ValueError: If m² isn't positive, or the shape isn't one.

    Example:
        >>> round(-free_log_z((16, 16), mass2=1.0), 6)
        -42.226492
    """
    return gaussian_log_z(shape, -1, (2 * len(shape) + mass2) / 2)


def free_propagator(shape: Sequence[int], mass2: float) -> Array:
    """⟨φ_0 φ_x⟩ of the free field, an array of the lattice's shape.

    Args:
        shape: Of the lattice: (H, W), or another number of dimensions.
        mass2: m², above 0.

    Raises:
        ValueError: If m² isn't positive, or the shape isn't one.

    Example:
        Its sum is 1/m², the susceptibility.

        >>> round(float(free_propagator((8, 8), mass2=0.5).sum()), 12)
        2.0
    """
    return gaussian_propagator(shape, -1, (2 * len(shape) + mass2) / 2)


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


# ------------------------------------------------------------------------------- φ⁴ without hopping


def phi4_decoupled_log_z(sites: int, c2: float, c4: float) -> float:
    """ln Z of S = Σ_x [c₂ φ_x² + c₄ φ_x⁴], φ⁴ with c₁ = 0, by quadrature.

    Args:
        sites: N.
        c2: Of either sign.
        c4: Above 0; or 0, with c₂ above 0.

    Raises:
        ValueError: If the potential is unbounded, or there are no sites.

    Example:
        >>> round(phi4_decoupled_log_z(36, c2=-1.0, c4=0.5), 6)
        51.368251
    """
    check_whole("sites", sites, 1)
    _, weights, lowest = _site(c2, c4)
    return float(sites * (np.log(weights.sum()) - lowest))


def phi4_decoupled_moments(c2: float, c4: float) -> tuple[float, float]:
    """⟨φ²⟩ and ⟨φ⁴⟩ of the same action, by quadrature.

    Args:
        c2: Of either sign.
        c4: Above 0; or 0, with c₂ above 0.

    Raises:
        ValueError: If the potential is unbounded.

    Example:
        >>> second, fourth = phi4_decoupled_moments(c2=0.5, c4=0.0)  # a normal distribution
        >>> round(second, 12), round(fourth, 12)
        (1.0, 3.0)
    """
    phi, weights, _ = _site(c2, c4)
    weights = weights / weights.sum()
    return float(weights @ phi**2), float(weights @ phi**4)


_NATS = 60.0
"""The quadrature goes to where the density is less by so much."""


def _site(c2: float, c4: float) -> tuple[Array, Array, float]:
    """Nodes φ ≥ 0, weights that sum to ∫ exp(V_min − V), and V_min, of V = c₂ φ² + c₄ φ⁴."""
    if not (math.isfinite(c2) and math.isfinite(c4) and (c4 > 0 or (c4 == 0 and c2 > 0))):
        raise ValueError(
            f"Expected a potential that is bounded below, c4 > 0, or c4 = 0 and c2 > 0; got "
            f"c2={short(as_python(c2))}, c4={short(as_python(c4))}."
        )
    if c2 >= 0:
        lowest, low = 0.0, 0.0
        high = math.sqrt(2 * _NATS / (c2 + math.sqrt(c2**2 + 4 * c4 * _NATS)))
    else:  # V − V_min = c₄ (φ² − centre)²
        centre, width = -c2 / (2 * c4), math.sqrt(_NATS / c4)
        lowest, low = -c4 * centre**2, math.sqrt(max(centre - width, 0.0))
        high = math.sqrt(centre + width)
    nodes, weights = np.polynomial.legendre.leggauss(200)
    phi = (low + high) / 2 + (high - low) / 2 * nodes
    density = np.exp(lowest - c2 * phi**2 - c4 * phi**4)
    return phi, (high - low) * weights * density, lowest  # twice the half with φ ≥ 0
