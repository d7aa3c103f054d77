"""Observables of lattice fields with errors, of weighted samples or of Markov chains.

Letters in shapes: T draws; N fields; C components; H, W rows and columns; L the longer edge;
V = H·W sites.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rgflow.actions import Action
from rgflow.field_theory.statistics import Estimate, jackknife

Array = NDArray[np.float64]
MAX_BLOCKS = 50
"""Most blocks of the jackknife: more would be shorter, and their error hardly more exact."""
MIN_BLOCKS = 8
"""Fewest blocks that give an error: from 8, it is known to about a quarter."""
BLOCK_LENGTH = 10
"""Shortest block of the jackknife, in units of τ_int: errors are at most about 10 % too small."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """What observables are computed from: numbers of every field, [T] unless stated otherwise.

    Attributes:
        magnetisation: Absolute value of the field's mean; of several components, its length.
        energy: The action, or the energy of spins.
        longest: |φ̂(k)|²/V at the smallest wave number k = 2π/L, averaged over the directions that
            have it.
        correlation: Two-point function at zero momentum, [T, min(H, W)//2 + 1].
        signed: Mean of the first component, with its sign.
    """

    magnetisation: Array
    energy: Array
    longest: Array
    correlation: Array
    signed: Array

    def __len__(self) -> int:
        return len(self.energy)

    def take(self, indices: NDArray[np.int64]) -> "Moments":
        """The moments of the fields at some indices [M], which may repeat."""
        return Moments(**{name: values[indices] for name, values in vars(self).items()})

    @classmethod
    def cat(cls, parts: "list[Moments]") -> "Moments":
        """The moments of several sets of fields, one after another."""
        return cls(**{n: np.concatenate([vars(one)[n] for one in parts]) for n in vars(parts[0])})


Series: TypeAlias = Callable[[Moments], Array]
"""A number of every field, [T], from their moments."""


def moments(action: Action, fields: Tensor) -> Moments:
    """The moments of what an action observes of fields (`Action.observed`).

    Args:
        action: The action of the fields.
        fields: [N, C, H, W].
    """
    values, energy = action.observed(fields)
    height, width = values.shape[2:]
    mean, edge = values.mean((2, 3)), max(height, width)
    lines = ((values.mean(3), width), (values.mean(2), height))  # means, and sites of each
    longest = [
        torch.fft.fft(line)[..., 1].abs().square().sum(1) * height * width / edge**2
        for line, _ in lines
        if line.shape[2] == edge
    ]
    (rows, across), (columns, down) = lines
    correlation = [
        (
            (rows * rows.roll(t, 2)).sum(1).mean(1) * across
            + (columns * columns.roll(t, 2)).sum(1).mean(1) * down
        )
        / 2
        for t in range(min(height, width) // 2 + 1)
    ]
    return Moments(
        magnetisation=as_array(mean.square().sum(1).sqrt()),
        energy=as_array(energy),
        longest=as_array(torch.stack(longest).mean(0)),
        correlation=as_array(torch.stack(correlation, 1)),
        signed=as_array(mean[:, 0]),
    )


def as_array(x: Any) -> Array:
    """A tensor [...] as an array of float64, [...]."""
    return np.asarray(x.cpu(), dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class Observables:
    """Estimates with errors.

    Attributes:
        magnetisation: ⟨|m|⟩ with m the mean of the field.
        susceptibility: V·⟨m²⟩.
        connected: V·(⟨m²⟩ − ⟨|m|⟩²).
        binder: 1 − ⟨m⁴⟩/(3⟨m²⟩²).
        correlation_length: Second-moment, √(χ/F − 1)/(2 sin(π/L)), in sites; F is χ at the smallest
            wave number 2π/L.
        energy: ⟨S⟩/V in nats; for spins ⟨E⟩/V.
        specific_heat: (⟨S²⟩ − ⟨S⟩²)/V; for spins (⟨E²⟩ − ⟨E⟩²)/(T²V).
        correlation: L·⟨φ̄_0 φ̄_t⟩ for t = 0 … L/2, with φ̄ the mean of a line, for both directions.
    """

    magnetisation: Estimate[float]
    susceptibility: Estimate[float]
    connected: Estimate[float]
    binder: Estimate[float]
    correlation_length: Estimate[float]
    energy: Estimate[float]
    specific_heat: Estimate[float]
    correlation: Estimate[Array]

    def numbers(self) -> dict[str, Estimate[float]]:
        """All estimates but the correlation function, by name."""
        return {name: one for name, one in vars(self).items() if name != "correlation"}


def observables(
    found: Moments,
    action: Action,
    shape: tuple[int, int],
    log_weights: Array | None = None,
    tau: float = 0.5,
) -> Observables:
    """Observables from moments, with jackknife errors.

    Args:
        found: Moments of fields, in the order of the chain; several chains one after another.
        action: The action of the fields.
        shape: Rows and columns H, W.
        log_weights: ln w of every field, [T]; none: all have the same weight.
        tau: τ_int of the chain, in draws. Errors are infinite where fewer than 8 blocks of 10 τ_int
            fit.
    """
    blocks = int(min(MAX_BLOCKS, len(found) / (BLOCK_LENGTH * tau))) if math.isfinite(tau) else 0

    def estimate(function: Callable[..., Any], of: Sequence[Series]) -> Any:
        series = [one(found) for one in of]
        value = jackknife(function, *series, log_weights=log_weights, blocks=max(blocks, 2))
        return value if blocks >= MIN_BLOCKS else value._replace(error=value.error + math.inf)

    rules = formulas(action, shape, float(found.energy.mean()))
    return Observables(**{name: estimate(*rule) for name, rule in rules.items()})


def formulas(
    action: Action, shape: tuple[int, int], centre: float
) -> dict[str, tuple[Callable[..., Any], tuple[Series, ...]]]:
    """Every observable by name, as a function of means, and of what these are.

    Args:
        action: The action of the fields.
        shape: Rows and columns H, W.
        centre: About the mean energy, as squares of large numbers lose digits.
    """
    sites, heat = shape[0] * shape[1], action.heat_factor
    shortest = math.sin(math.pi / max(shape))

    def power(n: int) -> Series:
        return lambda found: found.magnetisation**n

    def centred(n: int) -> Series:
        return lambda found: (found.energy - centre) ** n

    def length(m2: Array, longest: Array) -> Array:
        ratio = np.maximum(sites * m2 / longest - 1, 0)
        return np.sqrt(ratio) / (2 * shortest)

    return {
        "magnetisation": (lambda m: m, (power(1),)),
        "susceptibility": (lambda m2: sites * m2, (power(2),)),
        "connected": (lambda m, m2: sites * (m2 - m**2), (power(1), power(2))),
        "binder": (lambda m2, m4: 1 - m4 / (3 * m2**2), (power(2), power(4))),
        "correlation_length": (length, (power(2), lambda found: found.longest)),
        "energy": (lambda e: (e + centre) / sites, (centred(1),)),
        "specific_heat": (lambda e, e2: heat * (e2 - e**2) / sites, (centred(1), centred(2))),
        "correlation": (lambda g: g, (lambda found: found.correlation,)),
    }
