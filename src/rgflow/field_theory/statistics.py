"""Errors that hold up: autocorrelation times, the jackknife, and what weights are good for.

Series are draws of one number: [T] of a single chain, or [T, K] of K chains of the same
distribution, whose chains are independent of one another.
"""

import math
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from rgflow.checks import check_whole

Array = NDArray[np.float64]
Value = TypeVar("Value", float, Array)


_FEWEST = 8
"""Independent draws; from fewer, no autocorrelation can be told. Chains that are stuck in different
places give 4.3 of them, whatever their number and length."""


class Estimate(NamedTuple, Generic[Value]):
    """A value and its standard error: numbers, or arrays of one shape."""

    value: Value
    error: Value


class AutocorrelationTime(NamedTuple):
    """An integrated autocorrelation time.

    Attributes:
        value: τ_int = ½ + Σ ρ(t) in draws: ½ for independent ones. n draws are worth n/(2 τ_int)
            independent ones.
        error: Its standard error; infinite if the series is too short to tell.
        window: The largest t of the sum.
    """

    value: float
    error: float
    window: int


def tau_int(series: ArrayLike) -> AutocorrelationTime:
    """The integrated autocorrelation time of a series, by Wolff's Γ-method with automatic window.

    The window is where the statistical error of the sum of ρ(t) and the systematic one of cutting
    it off are smallest together, with S = 1.5 (Wolff 2004, hep-lat/0306017, equations 31 to 52).
    Chains have one common mean, so that chains that disagree show as long autocorrelations. The
    window, but not τ_int, is found with |ρ(t)| in place of ρ(t): his own ends at 1 if successive
    draws are anticorrelated, as they may be in Hamiltonian Monte Carlo.

    Args:
        series: [T], or [T, K] of K chains, T ≥ 2.

    Returns:
        τ_int, its error, and the window. NaN of a series that never changes, which says nothing
        about autocorrelation. The error is infinite, and τ_int likely too small, if no window up to
        T/2 is good enough or there are fewer than 8 independent draws: draw for longer.

    Raises:
        ValueError: If the series has another shape, or isn't finite.

    Example:
        Each draw keeps 80 % of the one before it: τ_int = ½ (1 + 0.8)/(1 − 0.8) = 4.5.

        >>> from scipy.signal import lfilter
        >>> x = lfilter([1], [1, -0.8], np.random.default_rng(0).normal(size=100_000))
        >>> tau = tau_int(x)
        >>> f"{tau.value:.2f} ± {tau.error:.2f}"
        '4.67 ± 0.18'
    """
    return _gamma_method(_series(series))[1]


def mean_with_error(series: ArrayLike) -> Estimate[float]:
    """The mean of a series whose draws are autocorrelated, with the error that τ_int gives it.

    Args:
        series: [T], or [T, K] of K chains, T ≥ 2.

    Returns:
        The mean and its standard error, √(2 τ_int/n) times the standard deviation: NaN of a series
        that never changes, infinite of one too short for its τ_int (`tau_int`).

    Raises:
        ValueError: If the series has another shape, or isn't finite.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(1000, 4))
        >>> "{:.3f} ± {:.3f}".format(*mean_with_error(x))
        '-0.015 ± 0.016'
    """
    values = _series(series)
    variance, tau = _gamma_method(values)
    error = math.inf if tau.error == math.inf else math.sqrt(2 * tau.value * variance / values.size)
    return Estimate(float(values.mean()), error)


def _series(series: ArrayLike) -> Array:
    values = np.asarray(series, dtype=np.float64)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or len(values) < 2 or not values.size:
        raise ValueError(
            f"Expected a series [T], or [T, chains], of at least 2 draws; got the shape "
            f"{list(np.shape(series))}."
        )
    if not np.isfinite(values).all():
        raise ValueError(
            f"Expected a finite series; {(~np.isfinite(values)).sum()} of {values.size} numbers "
            f"aren't."
        )
    return values


def _gamma_method(values: Array) -> tuple[float, AutocorrelationTime]:
    """Variance of a series [T, K], corrected for the bias of its mean, and τ_int."""
    draws, chains = values.shape
    n = values.size
    if np.ptp(values) == 0:
        return 0.0, AutocorrelationTime(math.nan, math.nan, 0)
    # Equation 31: Γ(t), by FFT with zeros behind so that the end isn't joined to the beginning.
    spectrum = np.fft.rfft(values - values.mean(), 2 * draws, axis=0)
    products = np.fft.irfft((np.abs(spectrum) ** 2).sum(1), 2 * draws)[:draws]
    gamma = products / (n - chains * np.arange(draws))
    largest = draws // 2
    # Equations 51 and 52: the decay time of every window, from the sum of ρ(t) up to there.
    w = np.arange(1, largest + 1)
    total = np.maximum(np.cumsum(np.abs(gamma[1 : largest + 1])) / gamma[0], 1e-100)
    decay = 1.5 / np.log1p(1 / total)
    good = np.exp(-w / decay) < decay / np.sqrt(w * n)
    window = int(w[good.argmax()]) if good.any() else largest
    # Equations 49 and 35: the mean's own error has lowered all of Γ.
    gamma = gamma[: window + 1]
    gamma = gamma + (2 * gamma.sum() - gamma[0]) / n
    value = float(gamma.sum() / gamma[0] - 0.5)
    # Equation 42.
    error = 2 * value * math.sqrt(max(window + 0.5 - value, 0.0) / n)
    if not good.any() or value <= 0 or n < 2 * value * _FEWEST:
        error = math.inf
    return float(gamma[0]), AutocorrelationTime(value, error, window)


def jackknife(
    function: Callable[..., Value],
    *series: ArrayLike,
    log_weights: ArrayLike | None = None,
    blocks: int = 50,
) -> Estimate[Value]:
    """A function of means and its error, by the jackknife over blocks of successive draws.

    Susceptibilities, Binder cumulants and other functions of several means, of chains or of
    weighted samples. Left out are blocks, so errors include autocorrelation if a block is much
    longer than τ_int: too short by a share of about τ_int over the block's length.

    Args:
        function: From the mean of every series, in their order, to a number or an array.
        series: [T], or [T, K] of K chains, all alike; or [T, K, …] of arrays, whose means are
            arrays [...].
        log_weights: ln w of every draw, of any offset, [T] or [T, K]: the means are weighted by w,
            as with samples of a flow. None: all weigh the same.
        blocks: Their number, if there are as many draws. They go through one chain after the other.

    Returns:
        The function of the means of all draws, and its standard error.

    Raises:
        ValueError: If series have different numbers of draws, there are fewer than two draws or
            blocks, or log-weights are NaN or +∞ or all −∞.

    Example:
        The variance of a magnetisation, whose means are of m and m².

        >>> m = np.random.default_rng(0).normal(scale=2.0, size=(1000, 4))
        >>> variance = jackknife(lambda m, m2: m2 - m**2, m, m**2)
        >>> "{:.2f} ± {:.2f}".format(*variance)
        '3.99 ± 0.10'
    """
    check_whole("blocks", blocks, 2)
    values = [np.asarray(one, dtype=np.float64) for one in series]
    if not values or any(one.ndim == 0 for one in values):
        raise ValueError("Expected at least one series, each [T], [T, chains] or [T, chains, …].")
    values = [one[:, None] if one.ndim == 1 else one for one in values]
    draws = values[0].shape[:2]
    n = draws[0] * draws[1]
    if any(one.shape[:2] != draws for one in values) or n < 2:
        raise ValueError(
            f"Expected series of the same draws, at least 2; got the shapes "
            f"{', '.join(str(list(one.shape)) for one in values)}."
        )
    weights = np.ones(draws)
    if log_weights is not None:
        logs = _log_weights(log_weights)
        if logs.size != n or logs.shape[0] != draws[0] or logs.max() == -math.inf:
            raise ValueError(
                f"Expected a log-weight for each of {draws[0]}×{draws[1]} draws, not all −∞; got "
                f"the shape {list(logs.shape)}, the largest {logs.max()}."
            )
        weights = np.exp(logs - logs.max()).reshape(draws)
    starts = np.linspace(0, n, min(blocks, n), endpoint=False).astype(int)

    def sums(one: Array) -> Array:
        """Weighted sums of blocks [B, …]."""
        weighted = weights.reshape(draws + (1,) * (one.ndim - 2)) * one
        return np.add.reduceat(np.swapaxes(weighted, 0, 1).reshape(n, *one.shape[2:]), starts)

    def means(total: Array, weight: Any) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):  # where one block has all the weight
            return total / weight.reshape(weight.shape + (1,) * (total.ndim - weight.ndim))

    in_block, of_weight = [sums(one) for one in values], sums(np.ones(draws))
    whole: Any = function(*(means(one.sum(0), of_weight.sum(0)) for one in in_block))
    rest = _without_each(of_weight)
    without = [means(_without_each(one), rest) for one in in_block]
    found = np.stack([np.asarray(function(*one)) for one in zip(*without, strict=True)])
    with np.errstate(invalid="ignore"):
        error: Any = np.sqrt((len(starts) - 1) * found.var(0))
    if not np.ndim(whole):
        whole, error = float(whole), float(error)
    return Estimate(whole, error)


def _without_each(sums: Array) -> Array:
    """The sum over all blocks but one, for each of them, [B, …]; by additions alone, as differences
    would lose what is left beside a large weight."""
    before = np.concatenate((np.zeros_like(sums[:1]), np.cumsum(sums[:-1], 0)))
    after = np.concatenate((np.cumsum(sums[:0:-1], 0)[::-1], np.zeros_like(sums[:1])))
    return before + after


def _log_weights(log_weights: ArrayLike) -> Array:
    logs = np.asarray(log_weights, dtype=np.float64)
    wrong = np.isnan(logs) | (logs == math.inf)
    if not logs.size or wrong.any():
        raise ValueError(
            f"Expected log-weights that are finite, or −∞; {wrong.sum()} of {logs.size} aren't."
        )
    return logs


def effective_sample_size(log_weights: ArrayLike) -> float:
    """The share of weighted samples that as many independent ones would be, (Σw)²/(n Σw²).

    Args:
        log_weights: ln w of every sample, of any offset and shape; −∞ is a weight of 0.

    Returns:
        A number from 1/n to 1: 1 if all weigh the same, 0 if all weights are 0. It may miss what
        samples never reach.

    Raises:
        ValueError: If log-weights are NaN or +∞, or there are none.

    Example:
        >>> effective_sample_size([1000.0, 1000.0, -math.inf, -math.inf])
        0.5
    """
    logs = _log_weights(log_weights)
    if logs.max() == -math.inf:
        return 0.0
    weights = np.exp(logs - logs.max())
    return float(weights.sum() ** 2 / (weights.size * np.square(weights).sum()))


def log_mean_weight(log_weights: ArrayLike) -> Estimate[float]:
    """ln of the mean weight: the estimate of ln Z from samples of a flow, w = exp(−S)/q.

    Args:
        log_weights: ln w of independent samples, of any shape; −∞ is a weight of 0.

    Returns:
        The estimate and its standard error, by the jackknife over single samples. The estimate is
        low by about half the error's square, and the error means little where
        `effective_sample_size` leaves only a few.

    Raises:
        ValueError: If log-weights are NaN or +∞, or there are fewer than two.

    Example:
        >>> "{:.3f} ± {:.3f}".format(*log_mean_weight([-1.0, 0.0, 1.0, 0.5]))
        '0.360 ± 0.372'
    """
    logs = _log_weights(log_weights).ravel()
    n = logs.size
    if n < 2:
        raise ValueError(f"Expected at least 2 log-weights; got {n}.")
    if logs.max() == -math.inf:
        return Estimate(-math.inf, math.nan)
    weights = np.exp(logs - logs.max())
    rest = _without_each(weights)
    error = math.inf  # if a single weight isn't 0
    if rest.all():
        error = math.sqrt((n - 1) * np.log(rest / (n - 1)).var())
    return Estimate(float(logsumexp(logs)) - math.log(n), error)


def accepted(log_weights: Array, seed: int = 0) -> NDArray[np.int64]:
    """Which proposal an independence Metropolis sampler holds after each of them, from the first on
    (Albergo et al. 2019, arXiv:1904.12072).

    Args:
        log_weights: ln w of independent proposals, [T].
        seed: Of the decisions.

    Returns:
        Numbers of proposals [T].

    Example:
        >>> accepted(np.array([0.0, 50.0, 0.0, 60.0])).tolist()
        [0, 1, 1, 3]
    """
    thresholds = np.log(np.random.default_rng(seed).random(len(log_weights)))
    held, out = 0, np.zeros(len(log_weights), dtype=np.int64)
    for k in range(1, len(log_weights)):
        if thresholds[k] < log_weights[k] - log_weights[held]:
            held = k
        out[k] = held
    return out
