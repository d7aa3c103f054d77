"""What samples of a flow say about the density it has learned: ln Z and observables, with errors.

Samples have weights w = e^(−S)/q. Means are taken with these weights, and over the chain of an
independence Metropolis sampler that uses the samples as proposals (Albergo et al. 2019,
arXiv:1904.12072). If both agree with a reference, the flow covers the density.

Letters in shapes: T samples; N fields; C components; H, W rows and columns.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch

from rgflow.actions import Action, is_even
from rgflow.analysis.multilevel import (
    FIELDS_AT_ONCE,
    Level,
    Multilevel,
    counts,
    graded,
    multilevel,
    sampled,
)
from rgflow.analysis.observables import (
    MAX_BLOCKS,
    Array,
    Moments,
    Observables,
    as_array,
    moments,
    observables,
)
from rgflow.analysis.symmetries import Symmetry, averaged, of_lattice, scattered
from rgflow.checks import check_whole
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
from rgflow.objectives import Objective

MODE_SIGMAS = 4.0
"""Standard errors by which the share of positive magnetisations may differ from ½ by chance."""


@dataclass(frozen=True, kw_only=True)
class Metropolis:
    """The chain of an independence Metropolis sampler.

    Attributes:
        acceptance: Share of proposals that are accepted.
        tau_magnetisation: τ_int of |m|, in steps.
        tau_energy: τ_int of the energy, in steps.
        observables: Estimates over the chain.
    """

    acceptance: float
    tau_magnetisation: AutocorrelationTime
    tau_energy: AutocorrelationTime
    observables: Observables


@dataclass(frozen=True, kw_only=True)
class Modes:
    """Whether a flow covers both signs of the magnetisation.

    Attributes:
        positive: Weighted share of fields with m > 0; ½ by the symmetry φ → −φ.
        drawn: The same share without weights.
        covered: Whether the weighted share is ½ within 4 errors, and both signs are drawn.
        zero_mode: ⟨m²⟩ of the samples over the weighted ⟨m²⟩: 1 if the flow has learned the zero
            mode, which takes longest.
    """

    positive: Estimate[float]
    drawn: float
    covered: bool
    zero_mode: Estimate[float]


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferenceFields:
    """Fields of Markov chains, and the flow's density at them.

    Attributes:
        method: `"hmc"`, `"clusters"` or `"heat bath"`.
        fields: Number of fields.
        observables: Estimates over the chains.
        tau_magnetisation: τ_int of |m|, in draws.
        upper_bound: E_p[ln w] ≥ ln Z: far above the lower bound if the flow misses modes (Nicoli et
            al. 2023, arXiv:2302.14082).
        forward_ess: Z/E_p[w]: the ESS if the flow covers p, less if it doesn't.
        magnetisations: Signed magnetisation of every field.
    """

    method: str
    fields: int
    observables: Observables
    tau_magnetisation: AutocorrelationTime
    upper_bound: Estimate[float]
    forward_ess: float
    magnetisations: Array = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """As in a file: without the samples."""
        return _without_samples(self)


def _without_samples(found: "ReferenceFields | Measurement") -> dict[str, Any]:
    return {one.name: getattr(found, one.name) for one in fields(found) if one.repr}


@dataclass(frozen=True, kw_only=True, eq=False)
class Measurement:
    """What samples of a flow say about the density it has learned.

    Attributes:
        samples: Number of samples T.
        symmetries: Those that the density of the samples is averaged over.
        log_z_bound: E_q[ln w] ≤ ln Z, in nats.
        log_z: ln E_q[w], in nats.
        log_z_exact: The exact ln Z, where it is known.
        energy_exact: The exact mean energy per site, where it is known.
        ess: (Σw)²/(T Σw²), 0 to 1.
        reweighted: Observables by reweighting.
        metropolis: Observables from the Metropolis chain.
        modes: Whether both signs are covered; none unless the action is even.
        multilevel: Estimates from samples of all levels; none of one level, or of an action that
            may not be defined for coarse fields (`Action.near`).
        reference: Results of the reference, if requested.
        log_weights: ln w of every sample, [T].
        magnetisations: Signed magnetisation of every sample, [T].
    """

    samples: int
    symmetries: str = "none"
    log_z_bound: Estimate[float]
    log_z: Estimate[float]
    log_z_exact: float | None
    energy_exact: float | None
    ess: float
    reweighted: Observables
    metropolis: Metropolis
    modes: Modes | None
    multilevel: Multilevel | None = None
    reference: ReferenceFields | None = None
    log_weights: Array = field(repr=False)
    magnetisations: Array = field(repr=False)

    @property
    def differences(self) -> dict[str, float]:
        """By how many errors each reweighted observable differs from the reference's; NaN where
        an error isn't known, as a chain is too short."""
        return self._differences(self.reweighted)

    @property
    def chain_differences(self) -> dict[str, float]:
        """The same of the Metropolis chain."""
        return self._differences(self.metropolis.observables)

    def _differences(self, found: Observables) -> dict[str, float]:
        theirs = self.reference.observables.numbers() if self.reference else {}
        ours, differences = found.numbers(), {}
        for name, one in theirs.items():
            error = max(math.hypot(ours[name].error, one.error), 1e-300)
            known = math.isfinite(error)
            differences[name] = (ours[name].value - one.value) / error if known else math.nan
        return differences

    def to_dict(self) -> dict[str, Any]:
        """As in a file: without the samples, and with the differences."""
        both = {"differences": self.differences, "chain_differences": self.chain_differences}
        return _without_samples(self) | both


@torch.no_grad()
def measure(
    flow: Flow,
    objective: Objective,
    *,
    samples: int = 10_000,
    seed: int = 0,
    reference: int = 0,
    symmetries: str = "none",
    progress: Callable[[int], None] | None = None,
) -> Measurement:
    """Measure with samples of a flow.

    Args:
        flow: A flow of fields.
        objective: The objective it was trained with, whose `energy` is that of the density, and
            which draws samples.
        samples: Number of samples T, at least 100.
        seed: Seed of all randomness.
        reference: Approximate number of reference fields; 0: none (`Action.reference_fields`).
        symmetries: That the density of samples is averaged over (`rgflow.analysis.symmetries`):
            `"none"`, `"square"`, `"translations"` or `"all"`, which have to be those of the energy.
        progress: Called with the number of samples since the last call.

    Raises:
        ValueError: If there are too few samples, there are no such symmetries, the objective has no
            energy, or the energy isn't finite or is the same for all fields.

    Example:
        >>> from rgflow import FlowConfig, GaussianPrior, RGFlow, SiteMap, Windows
        >>> from rgflow.actions import FreeField
        >>> from rgflow.objectives import ReverseKL
        >>> shape = {"height": 4, "width": 4, "channels": 1}
        >>> windows = {"geometry": Windows(period=4), "map": SiteMap(hidden=8, odd=True)}
        >>> flow = RGFlow(FlowConfig(**shape, **windows, prior=GaussianPrior(), pixels=None))
        >>> found = measure(flow, ReverseKL(action=FreeField(mass2=4.0)), samples=500)
        >>> found.log_z_bound.value < found.log_z_exact, found.modes.covered
        (True, True)
    """
    check_whole("samples", samples, 100)
    check_whole("reference", reference, 0)
    action, shape = objective.density, flow.image_shape[1:]
    group = of_lattice(symmetries, *shape)
    generator = torch.Generator(flow.device).manual_seed(seed)
    turns = torch.Generator().manual_seed(seed + 1)
    objective.energy(torch.zeros(1, *flow.image_shape, device=flow.device))  # now, if it has none
    parts, weights, spent = [], [], 0.0
    for start in range(0, samples, FIELDS_AT_ONCE):
        n = min(FIELDS_AT_ONCE, samples - start)
        begun = time.process_time()
        images, log_q = flow.sample_levels(n, 0, generator)
        if len(group) > 1:
            images[0] = scattered(images[0], group, turns)
            log_q = averaged(flow, images[0], group)
        fields = images[0]
        weights.append(as_array(-objective.energy(fields.double()) - log_q.double()))
        spent += time.process_time() - begun
        observed = graded(images) if action.near else images[:1]
        parts.append([moments(action, x) for x in observed])
        even = is_even(action, fields.double())
        if progress:
            progress(n)
    log_w = np.concatenate(weights)
    found, *coarse = (Moments.cat(list(one)) for one in zip(*parts, strict=True))
    if np.ptp(found.energy) == 0:
        raise ValueError(
            f"Expected an action that differs between fields; it is {found.energy[0]:g} for all "
            f"{samples}: check its parameters, or what the function returns."
        )
    log_z = log_mean_weight(log_w)
    levels = None
    if coarse:
        finest = Level(
            level=0, fields=samples, seconds=spent / samples, moments=[found, *coarse],
            log_weights=log_w,
        )  # fmt: skip
        planned = enumerate(counts([found, *coarse], log_w))
        coarser = [sampled(flow, action, h, n, generator) for h, n in planned if h]
        levels = multilevel([finest, *coarser], action, shape)
    return Measurement(
        samples=samples,
        symmetries=symmetries,
        log_z_bound=Estimate(float(log_w.mean()), float(log_w.std(ddof=1) / samples**0.5)),
        log_z=log_z,
        log_z_exact=action.log_z(*flow.image_shape),
        energy_exact=action.mean_energy(*flow.image_shape),
        ess=effective_sample_size(log_w),
        reweighted=observables(found, action, shape, log_w),
        metropolis=_metropolis(found, log_w, action, shape, seed),
        modes=_modes(found, log_w) if even else None,
        multilevel=levels,
        reference=(
            _reference(flow, objective, group, reference, seed, log_z.value) if reference else None
        ),
        log_weights=log_w,
        magnetisations=found.signed,
    )


def _metropolis(
    found: Moments, log_w: Array, action: Action, shape: tuple[int, int], seed: int
) -> Metropolis:
    held = accepted(log_w, seed)
    chain = found.take(held)
    of_m, of_energy = tau_int(chain.magnetisation), tau_int(chain.energy)
    return Metropolis(
        acceptance=float((held[1:] != held[:-1]).mean()),
        tau_magnetisation=of_m,
        tau_energy=of_energy,
        observables=observables(chain, action, shape, tau=_longest(of_m, of_energy)),
    )


def _longest(*times: AutocorrelationTime) -> float:
    """The longest of several τ_int, at least ½; infinite if a series was too short."""
    return max(math.inf if one.error == math.inf else max(one.value, 0.5) for one in times)


def _modes(found: Moments, log_w: Array) -> Modes:
    def mean(values: Array, log_weights: Array | None = None) -> Estimate[float]:
        return jackknife(lambda m: m, values, log_weights=log_weights, blocks=MAX_BLOCKS)

    above, square = (found.signed > 0).astype(np.float64), found.signed**2
    positive, drawn = mean(above, log_w), float(above.mean())
    allowed = MODE_SIGMAS * max(positive.error, len(above) ** -0.5 / 2)
    here, there = mean(square), mean(square, log_w)
    ratio = here.value / there.value
    return Modes(
        positive=positive,
        drawn=drawn,
        covered=0 < drawn < 1 and abs(positive.value - 0.5) <= allowed,
        zero_mode=Estimate(
            ratio, ratio * math.hypot(here.error / here.value, there.error / there.value)
        ),
    )


def _reference(
    flow: Flow,
    objective: Objective,
    group: Sequence[Symmetry],
    count: int,
    seed: int,
    log_z: float,
) -> ReferenceFields:
    action, shape = objective.density, flow.image_shape
    fields, method = action.reference_fields(shape, count, seed)
    flat = fields.transpose(0, 1).reshape(-1, *shape)  # one chain after the other
    log_w = np.concatenate(
        [
            as_array(-objective.energy(part) - averaged(flow, part.to(flow.dtype), group))
            for part in flat.split(FIELDS_AT_ONCE)
        ]
    )
    found = moments(action, flat)
    tau = tau_int(found.magnetisation.reshape(fields.shape[1], -1).T)
    return ReferenceFields(
        method=method,
        fields=len(flat),
        observables=observables(found, action, shape[1:], tau=_longest(tau)),
        tau_magnetisation=tau,
        upper_bound=jackknife(lambda w: w, log_w, blocks=MAX_BLOCKS),
        forward_ess=float(1 / np.exp(np.minimum(log_w - log_z, 700)).mean()),
        magnetisations=found.signed,
    )
