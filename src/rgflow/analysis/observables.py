"""What a flow of lattice fields says about an action: ln Z and observables, with errors.

Samples of a flow have weights w = e^(−S)/q. Means are taken twice, once with these weights, and
once over the chain of an independence Metropolis sampler that uses the samples as proposals
(Albergo et al. 2019, arXiv:1904.12072). If both agree with a reference, the flow covers all of p.

Letters in shapes: T samples; N fields; C components; H, W rows and columns; V = H·W sites.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rgflow.actions import Action, IsingDual, is_even
from rgflow.checks import check_whole
from rgflow.field_theory.clusters import dual_fields, swendsen_wang
from rgflow.field_theory.monte_carlo import hmc
from rgflow.field_theory.statistics import (
    AutocorrelationTime,
    Estimate,
    accepted,
    effective_sample_size,
    jackknife,
    log_mean_weight,
    tau_int,
)
from rgflow.flow import Flow
from rgflow.objectives import ReverseKL
from rgflow.text import measured, minus

Array = NDArray[np.float64]
AT_ONCE = 256
"""Fields drawn at a time."""
BLOCKS = 50
"""Blocks of the jackknife, at the most."""
FEWEST = 8
"""Blocks that an error needs."""
CERTAIN = 4.0
"""Errors by which a share of positive magnetisations may differ from ½ by chance."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """What observables are computed from, of every field [T].

    Attributes:
        magnetisation: Mean of the field; of several components, the length of their mean.
        energy: The action, or the energy of Ising spins.
        longest: Square of the Fourier component with the smallest wave number, the mean of the
            directions that have it, divided by V.
        correlation: Two-point function at zero momentum, [T, L//2 + 1].
        signed: Mean of the first component, with its sign.
    """

    magnetisation: Array
    energy: Array
    longest: Array
    correlation: Array
    signed: Array

    def __len__(self) -> int:
        return len(self.energy)

    def take(self, which: NDArray[np.int64]) -> "Moments":
        """Those of some fields, or of some more than once."""
        return Moments(**{name: values[which] for name, values in vars(self).items()})


def moments(action: Action, fields: Tensor, generator: torch.Generator | None = None) -> Moments:
    """The moments of fields [N, C, H, W]; for the Ising model's dual, those of spins drawn given
    the fields, s_x = ±1 with mean tanh φ_x."""
    if isinstance(action, IsingDual):
        uniform = torch.rand(fields.shape, generator=generator, dtype=torch.float64)
        spins = torch.where(uniform.to(fields.device) < torch.sigmoid(2 * fields.double()), 1, -1)
        values = spins.double()
        energy = -(values * (values.roll(1, 2) + values.roll(1, 3))).sum((1, 2, 3))
    else:
        values, energy = fields.double(), action(fields.double())
    height, width = values.shape[2:]
    mean = values.mean((2, 3))
    rows, columns = values.mean(3), values.mean(2)
    sites = height * width
    edge = max(height, width)
    longest = torch.stack(
        [
            torch.fft.fft(line)[..., 1].abs().square().sum(1) * sites / edge**2
            for line in (rows, columns)
            if line.shape[2] == edge
        ]
    ).mean(0)
    distances = range(min(height, width) // 2 + 1)
    lines = (rows, width), (columns, height)
    correlation = torch.stack(
        [
            torch.stack([(x * x.roll(t, 2)).sum(1).mean(1) * across for x, across in lines]).mean(0)
            for t in distances
        ],
        1,
    )
    return Moments(
        magnetisation=_numpy(mean.square().sum(1).sqrt()),
        energy=_numpy(energy),
        longest=_numpy(longest),
        correlation=_numpy(correlation),
        signed=_numpy(mean[:, 0]),
    )


def _numpy(x: Any) -> Array:
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
        energy: ⟨S⟩/V in nats; for Ising spins ⟨E⟩/V.
        specific_heat: (⟨S²⟩ − ⟨S⟩²)/V; for Ising spins (⟨E²⟩ − ⟨E⟩²)/(T²V).
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
        """All but the correlation function, by name."""
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
        log_weights: ln w of every field [T]; none: all have the same weight.
        tau: τ_int of the chain, in draws. Blocks are at least 10 times as long; where fewer than 8
            such blocks fit, errors are infinite.
    """
    blocks = int(min(BLOCKS, len(found) / (10 * tau))) if math.isfinite(tau) else 0
    sites, heat = shape[0] * shape[1], 1.0
    if isinstance(action, IsingDual):
        heat = action.temperature**-2
    m, e, shortest = found.magnetisation, found.energy, math.sin(math.pi / max(shape))

    def estimate(function: Callable[..., Any], *series: Array) -> Any:
        found = jackknife(function, *series, log_weights=log_weights, blocks=max(blocks, 2))
        return found if blocks >= FEWEST else found._replace(error=found.error + math.inf)

    def length(m2: Array, longest: Array) -> Array:
        ratio = np.maximum(sites * m2 / longest - 1, 0)
        return np.sqrt(ratio) / (2 * shortest)

    return Observables(
        magnetisation=estimate(lambda m: m, m),
        susceptibility=estimate(lambda m2: sites * m2, m**2),
        connected=estimate(lambda m, m2: sites * (m2 - m**2), m, m**2),
        binder=estimate(lambda m2, m4: 1 - m4 / (3 * m2**2), m**2, m**4),
        correlation_length=estimate(length, m**2, found.longest),
        energy=estimate(lambda e: e / sites, e),
        # From the mean, as squares of large numbers lose digits.
        specific_heat=estimate(
            lambda e, e2: heat * (e2 - e**2) / sites, e - e.mean(), (e - e.mean()) ** 2
        ),
        correlation=estimate(lambda g: g, found.correlation[:, None]),
    )


@dataclass(frozen=True, kw_only=True)
class Metropolis:
    """The chain of an independence Metropolis sampler.

    Attributes:
        acceptance: Share of proposals that are accepted.
        tau_magnetisation: τ_int of |m|, in steps.
        tau_energy: τ_int of the energy.
        longest: Largest number of steps for which the chain stayed at one field.
        observables: Estimates over the chain.
    """

    acceptance: float
    tau_magnetisation: AutocorrelationTime
    tau_energy: AutocorrelationTime
    longest: int
    observables: Observables


@dataclass(frozen=True, kw_only=True)
class Modes:
    """Whether a flow covers both signs of the magnetisation.

    Attributes:
        positive: Weighted share of fields with m > 0; ½ by the symmetry φ → −φ.
        drawn: The same share without weights.
        covered: Whether the share is ½ within 4 errors, and both signs are drawn.
        zero_mode: ⟨m²⟩ of the samples over ⟨m²⟩ by weights: 1 where the flow's zero mode is right,
            which is the last to be learned.
    """

    positive: Estimate[float]
    drawn: float
    covered: bool
    zero_mode: Estimate[float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """Fields of a Markov chain, and what the flow says about them.

    Attributes:
        method: `"hmc"` or `"clusters"`.
        fields: Number of fields.
        observables: Estimates over the chains.
        tau_magnetisation: τ_int of |m|, in draws.
        cost: Evaluations of the action and its gradient per draw of a chain, or sweeps.
        upper_bound: E_p[ln w], which is at least ln Z: together with the lower bound, it reveals
            modes that the flow misses (Nicoli et al. 2023, arXiv:2302.14082).
        forward_ess: Z/E_p[w], which is the ESS if the flow covers p, and smaller if it doesn't.
        magnetisations: Signed magnetisation of every field.
    """

    method: str
    fields: int
    observables: Observables
    tau_magnetisation: AutocorrelationTime
    cost: float
    upper_bound: Estimate[float]
    forward_ess: float
    magnetisations: Array = field(repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Measurement:
    """What samples of a flow say about an action.

    Attributes:
        samples: Number of samples T.
        log_z_bound: E_q[ln w] ≤ ln Z, in nats.
        log_z: ln E_q[w], in nats.
        log_z_exact: The exact ln Z, where it is known.
        energy_exact: The exact mean energy per site, where it is known.
        ess: (Σw)²/(T Σw²), 0 to 1.
        reweighted: Observables by reweighting.
        metropolis: Observables from the Metropolis chain.
        modes: Whether both signs are covered; none where the action isn't even.
        reference: Results of HMC or clusters, if requested.
        log_weights: ln w of every sample, [T].
        magnetisations: Signed magnetisation of every sample, [T].
    """

    samples: int
    log_z_bound: Estimate[float]
    log_z: Estimate[float]
    log_z_exact: float | None
    energy_exact: float | None
    ess: float
    reweighted: Observables
    metropolis: Metropolis
    modes: Modes | None
    reference: Reference | None = None
    log_weights: Array = field(repr=False)
    magnetisations: Array = field(repr=False)

    @property
    def differences(self) -> dict[str, float]:
        """By how many errors each reweighted observable differs from the reference's."""
        return self._beside(self.reweighted)

    @property
    def chain_differences(self) -> dict[str, float]:
        """The same of the Metropolis chain; 0 where its errors are infinite."""
        return self._beside(self.metropolis.observables)

    def _beside(self, found: Observables) -> dict[str, float]:
        if self.reference is None:
            return {}
        theirs = self.reference.observables.numbers()
        return {
            name: (one.value - theirs[name].value)
            / max(math.hypot(one.error, theirs[name].error), 1e-300)
            for name, one in found.numbers().items()
        }


@torch.no_grad()
def measure(
    flow: Flow,
    objective: ReverseKL,
    *,
    samples: int = 10_000,
    seed: int = 0,
    reference: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Measurement:
    """Measure with samples of a flow.

    Args:
        flow: A flow of fields.
        objective: The objective it was trained with, which gives the action and the symmetry of
            the density.
        samples: Number of samples T, at least 100.
        seed: Seed of all randomness.
        reference: Approximate number of reference fields; 0: none. For the Ising model they come
            from clusters, for other actions from HMC, with half of the chains starting at each
            sign.
        progress: Called with the number of samples since the last call.

    Raises:
        ValueError: If there are too few samples, the action isn't finite, or it gives one number
            for all fields.

    Example:
        >>> from rgflow import FlowConfig, GaussianPrior, RGFlow, SiteMap, Windows
        >>> from rgflow.actions import FreeField
        >>> shape = {"height": 4, "width": 4, "channels": 1}
        >>> windows = {"geometry": Windows(period=4), "map": SiteMap(hidden=8, odd=True)}
        >>> flow = RGFlow(FlowConfig(**shape, **windows, prior=GaussianPrior(), pixels=None))
        >>> found = measure(flow, ReverseKL(action=FreeField(mass2=4.0)), samples=500)
        >>> found.log_z_bound.value < found.log_z_exact, found.modes.covered
        (True, True)
    """
    check_whole("samples", samples, 100)
    check_whole("reference", reference, 0)
    action, shape = objective.action, flow.image_shape[1:]
    generator = torch.Generator(flow.device).manual_seed(seed)
    spins = torch.Generator().manual_seed(seed + 1)
    parts, weights = [], []
    for start in range(0, samples, AT_ONCE):
        n = min(AT_ONCE, samples - start)
        fields, log_q = objective.draw(flow, n, generator)
        weights.append(_numpy(-objective.energy(fields.double()) - log_q.double()))
        parts.append(moments(action, fields, spins))
        even = is_even(action, fields.double())
        if progress:
            progress(n)
    log_w, found = np.concatenate(weights), _joined(parts)
    if np.ptp(found.energy) == 0:
        raise ValueError(
            f"Expected an action that differs between fields; it is {found.energy[0]:g} for all "
            f"{samples}: check its parameters, or what the function returns."
        )
    log_z = log_mean_weight(log_w)
    return Measurement(
        samples=samples,
        log_z_bound=Estimate(float(log_w.mean()), float(log_w.std(ddof=1) / samples**0.5)),
        log_z=log_z,
        log_z_exact=action.log_z(*flow.image_shape),
        energy_exact=action.mean_energy(*flow.image_shape),
        ess=effective_sample_size(log_w),
        reweighted=observables(found, action, shape, log_w),
        metropolis=_metropolis(found, log_w, action, shape, seed),
        modes=_modes(found, log_w) if even else None,
        reference=_reference(flow, objective, reference, seed, log_z.value) if reference else None,
        log_weights=log_w,
        magnetisations=found.signed,
    )


def _joined(parts: list[Moments]) -> Moments:
    return Moments(
        **{name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])}
    )


def _metropolis(
    found: Moments, log_w: Array, action: Action, shape: tuple[int, int], seed: int
) -> Metropolis:
    held = accepted(log_w, seed)
    moved = np.flatnonzero(np.diff(held, prepend=-1))
    chain = found.take(held)
    of_m, of_energy = tau_int(chain.magnetisation), tau_int(chain.energy)
    return Metropolis(
        acceptance=(len(moved) - 1) / (len(held) - 1),
        tau_magnetisation=of_m,
        tau_energy=of_energy,
        longest=int(np.diff(np.append(moved, len(held))).max()),
        observables=observables(chain, action, shape, tau=_longest(of_m, of_energy)),
    )


def _longest(*times: AutocorrelationTime) -> float:
    """The longest of several τ_int; infinite where a series was too short to tell."""
    return max(math.inf if one.error == math.inf else max(one.value, 0.5) for one in times)


def _modes(found: Moments, log_w: Array) -> Modes:
    above = (found.signed > 0).astype(np.float64)
    positive = jackknife(lambda share: share, above, log_weights=log_w, blocks=BLOCKS)
    drawn = float(above.mean())
    off = abs(positive.value - 0.5)
    square = found.signed**2
    here, there = (
        jackknife(lambda m2: m2, square, log_weights=weights, blocks=BLOCKS)
        for weights in (None, log_w)
    )
    ratio = here.value / there.value
    return Modes(
        positive=positive,
        drawn=drawn,
        covered=0 < drawn < 1 and off <= CERTAIN * max(positive.error, len(above) ** -0.5 / 2),
        zero_mode=Estimate(
            ratio, ratio * math.hypot(here.error / here.value, there.error / there.value)
        ),
    )


def reference_fields(
    action: Action, shape: tuple[int, int, int], count: int, seed: int = 0, thin: int = 4
) -> tuple[Tensor, str, float]:
    """Fields of an action by a Markov chain, the method, and its cost per draw of a chain.

    For the Ising model's dual they come from Swendsen–Wang clusters, for other actions from HMC
    with 32 chains, half of which start at each sign.

    Args:
        action: The action.
        shape: Shape of a field, (C, H, W).
        count: Approximate number of fields.
        seed: Seed of all randomness.
        thin: Trajectories of HMC per draw.

    Raises:
        ValueError: If the Ising model's lattice isn't square, or has several components.

    Returns:
        Fields [draws, chains, C, H, W], `"clusters"` or `"hmc"`, and sweeps, or evaluations of the
        action and its gradient, per draw.
    """
    chains = 32
    draws = max(count // chains, 4)
    if isinstance(action, IsingDual):
        if shape[0] != 1 or shape[1] != shape[2]:
            raise ValueError(
                f"Expected a square lattice and one component for the clusters of the Ising model; "
                f"got {shape[1]}×{shape[2]} and {shape[0]}: measure without a reference."
            )
        length, generator = shape[1], torch.Generator().manual_seed(seed)
        sweeps = swendsen_wang(
            length, action.temperature, chains=chains, sweeps=draws, warm_up=200, seed=seed
        )
        fields = [dual_fields(spins, action.temperature, generator) for spins in sweeps]
        return torch.stack(fields), "clusters", 1.0
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(chains, *shape, generator=generator, dtype=torch.float64).abs() / 2
    start[::2] *= -1
    with torch.enable_grad():
        found = hmc(
            action, shape, chains=chains, draws=draws, warm_up=500, leapfrog=10, thin=thin,
            start=start, seed=seed,
        )  # fmt: skip
    return found.fields, "hmc", found.evaluations / draws


def _reference(flow: Flow, objective: ReverseKL, count: int, seed: int, log_z: float) -> Reference:
    action, shape = objective.action, flow.image_shape
    fields, method, cost = reference_fields(action, shape, count, seed)
    draws, chains = fields.shape[:2]
    # One chain after the other, as the jackknife wants them.
    flat = fields.transpose(0, 1).reshape(-1, *shape)
    log_w = np.concatenate(
        [
            _numpy(-objective.energy(part) - objective.log_q(flow, part.to(flow.dtype)).double())
            for part in flat.split(AT_ONCE)
        ]
    )
    found = moments(action, flat, torch.Generator().manual_seed(seed + 2))
    series = found.magnetisation.reshape(chains, draws).T
    tau = tau_int(series)
    return Reference(
        method=method,
        fields=len(flat),
        observables=observables(found, action, shape[1:], tau=_longest(tau)),
        tau_magnetisation=tau,
        cost=cost,
        upper_bound=jackknife(lambda w: w, log_w, blocks=BLOCKS),
        forward_ess=float(1 / np.exp(np.minimum(log_w - log_z, 700)).mean()),
        magnetisations=found.signed,
    )


def as_json(found: Measurement) -> dict[str, Any]:
    """A measurement as plain values, without the samples."""

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return value.tolist()
        if hasattr(value, "_asdict"):
            return plain(value._asdict())
        if isinstance(value, Mapping):
            return {name: plain(one) for name, one in value.items()}
        if hasattr(value, "__dataclass_fields__"):
            return plain({k: x for k, x in vars(value).items() if k not in LEFT_OUT})
        return value

    return {
        **plain(found),
        "differences": found.differences,
        "chain_differences": found.chain_differences,
    }


LEFT_OUT = ("log_weights", "magnetisations")
"""Arrays that a measurement file leaves out."""


# ---------------------------------------------------------------- in words


@torch.no_grad()
def examples(flow: Flow, count: int = 4) -> list[list[Array]]:
    """Some fields of a flow from coarse to fine, each a list of arrays [h, w], coarse first."""
    z = flow.draw(count, generator=torch.Generator(flow.device).manual_seed(0))
    stages = flow.coarse(z)
    return [[_numpy(stage[k, 0]) for stage in reversed(stages)] for k in range(count)]


FEW = 100
"""Effective samples below which errors mean little."""
BEYOND = 10.0
"""How much further from ln Z the upper bound may be than the lower one: both are Kullback–Leibler
divergences, alike where the flow is close."""
FAR = 4.0
"""Errors by which an observable may differ from a reference by chance."""


def cautions(found: Measurement) -> list[str]:
    """Reasons to doubt a measurement, one sentence each."""
    said = []
    if found.modes and not found.modes.covered:
        said.append(
            f"Not to be trusted: the flow misses a mode, as {found.modes.positive.value:.3f} of "
            f"its weight has a positive magnetisation, and not a half; give its maps "
            f"--model.map.odd true, or set --objective.symmetric true."
        )
    if found.ess * found.samples < FEW:
        said.append(
            f"Not to be trusted yet: {found.samples} samples are effectively "
            f"{found.ess * found.samples:.0f}; train longer, or draw more with --samples."
        )
    if found.reference:
        above = found.reference.upper_bound.value - found.log_z.value
        below = found.log_z.value - found.log_z_bound.value
        if above > BEYOND * max(below, 1):
            said.append(
                f"Not to be trusted: the flow misses fields that the reference has, as the upper "
                f"bound on ln Z is {above:.0f} nats above the weighted estimate, and the lower one "
                f"{below:.1f} below; train longer, or anneal the action."
            )
    if not math.isfinite(found.metropolis.observables.energy.error):
        said.append(
            f"The Metropolis chain is too short for errors: its τ_int is about "
            f"{found.metropolis.tau_magnetisation.value:.0f} of {found.samples} steps; train "
            f"longer, or draw more with --samples."
        )
    for what, differences in (
        ("by weights", found.differences),
        ("of the chain", found.chain_differences),
    ):
        if far := {name: x for name, x in differences.items() if abs(x) > FAR}:
            listed = ", ".join(f"{name.replace('_', ' ')} by {x:+.1f}" for name, x in far.items())
            said.append(
                f"Not as the reference says: {listed} errors {what}; one of the two hasn't seen "
                f"all modes, or its errors are too small."
            )
    return said


def facts(found: Measurement) -> list[tuple[str, str]]:
    """How well a flow has learned an action: names, each with a number in words."""
    chain, bound, log_z = found.metropolis, found.log_z_bound, found.log_z
    out = [
        ("ln Z, at least", measured(bound.value, 3, bound.error)),
        ("ln Z by weights", measured(log_z.value, 3, log_z.error)),
    ]
    if found.log_z_exact is not None:
        out.append(("ln Z, exact", measured(found.log_z_exact, 3)))
    if found.reference:
        upper = found.reference.upper_bound
        out.append(("ln Z, at most", measured(upper.value, 3, upper.error)))
    tau = chain.tau_magnetisation
    out += [
        ("effective sample size", f"{found.ess:.3f}"),
        ("acceptance", f"{chain.acceptance:.3f}"),
        ("τ_int of |m|", measured(tau.value, 2, tau.error)),
    ]
    if found.modes:
        positive, zero = found.modes.positive, found.modes.zero_mode
        out += [
            ("weight of m > 0", measured(positive.value, 3, positive.error)),
            ("⟨m²⟩, samples over weighted", measured(zero.value, 3, zero.error)),
        ]
    if found.energy_exact is not None:
        out.append(("energy per site, exact", measured(found.energy_exact, 5)))
    return out


def rows(found: Measurement) -> list[tuple[str, ...]]:
    """Observables in words: by reweighting, from the chain and, if there is a reference, from that,
    with the difference from reweighting in errors."""
    theirs = found.reference.observables.numbers() if found.reference else {}
    chain, out = found.metropolis.observables.numbers(), []
    for name, one in found.reweighted.numbers().items():
        several = [one, chain[name], *([theirs[name]] if theirs else [])]
        difference = [minus(f"{found.differences[name]:+.1f}")] if theirs else []
        out.append((name.replace("_", " "), *map(_in_words, several), *difference))
    return out


def _in_words(one: Estimate[float]) -> str:
    """A number rounded to two digits of its error."""
    digits = 3
    if one.error > 0 and math.isfinite(one.error):
        digits = max(0, min(6, 1 - math.floor(math.log10(one.error))))
    return minus(measured(one.value, digits, one.error))
