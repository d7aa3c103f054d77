"""Errors of lattice measurements: autocorrelation times, the jackknife, and importance weights.

Both methods are written here, as `pyerrors` and `arviz-stats` answer other questions: `pyerrors`
takes the mean of each chain by itself, so it doesn't see chains that are stuck in different modes,
and cuts τ_int off at ½; `arviz-stats` gives no error of τ_int. Neither says that a series is too
short.

Letters in shapes: T draws; K chains of the same distribution.
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

MIN_INDEPENDENT_DRAWS = 8
"""Number of independent draws below which τ_int has no error. K chains that are stuck in different
places look like 4.3 independent draws, for any K and length."""


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

    The window minimises the sum of the statistical and the truncation error of Σ ρ(t), with S = 1.5
    (Wolff 2004, hep-lat/0306017, equations 31 to 52). All chains have one common mean, so chains
    that disagree show as long autocorrelations. The window, but not τ_int, is found with |ρ(t)| in
    place of ρ(t): Wolff's own ends at 1 if successive draws are anticorrelated, as they may be in
    Hamiltonian Monte Carlo.

    Args:
        series: [T] of one chain or [T, K], T ≥ 2.

    Returns:
        τ_int, its error, and the window. NaN for a constant series. The error is infinite, and
        τ_int probably too small, if no window up to T/2 is long enough or there are fewer than 8
        independent draws.

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
    values = np.asarray(series, dtype=np.float64)
    if values.ndim not in (1, 2) or len(values) < 2 or not values.size:
        raise ValueError(
            f"Expected a series [T], or [T, chains], of at least 2 draws; got the shape "
            f"{list(values.shape)}."
        )
    if not np.isfinite(values).all():
        raise ValueError(
            f"Expected a finite series; {(~np.isfinite(values)).sum()} of {values.size} numbers "
            f"aren't."
        )
    if np.ptp(values) == 0:
        return AutocorrelationTime(math.nan, math.nan, 0)
    values = values.reshape(len(values), -1)
    (draws, chains), n = values.shape, values.size
    # Equation 31: Γ(t) by FFT, padded with zeros so that the end doesn't meet the beginning.
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
    # Equations 49 and 35: the error of the mean lowers all of Γ.
    gamma = gamma[: window + 1]
    gamma = gamma + (2 * gamma.sum() - gamma[0]) / n
    value = float(gamma.sum() / gamma[0] - 0.5)
    # Equation 42.
    error = 2 * value * math.sqrt(max(window + 0.5 - value, 0.0) / n)
    if not good.any() or value <= 0 or n < 2 * value * MIN_INDEPENDENT_DRAWS:
        error = math.inf
    return AutocorrelationTime(value, error, window)


def jackknife(
    function: Callable[..., Value],
    *series: ArrayLike,
    log_weights: ArrayLike | None = None,
    blocks: int = 50,
) -> Estimate[Value]:
    """A function of means and its error, by the jackknife over blocks of successive draws.

    For susceptibilities, Binder cumulants and other functions of several means, over chains or
    weighted samples. Blocks much longer than τ_int include autocorrelation: errors are too small by
    a share of about τ_int over the block's length.

    Args:
        function: From the mean of every series, in their order, to a number or an array.
        series: [T, …], one chain after the other; the mean of each has the shape [...].
        log_weights: ln w of every draw, up to a constant, [T]: the means are weighted by w, as with
            samples of a flow. None: all draws have the same weight.
        blocks: Number of blocks, at most T.

    Returns:
        The function of the means of all draws, and its standard error.

    Raises:
        ValueError: If there is no series, series have different numbers of draws or fewer than two,
            or log-weights are NaN or +∞ or all −∞.

    Example:
        The variance of a magnetisation, whose means are of m and m².

        >>> m = np.random.default_rng(0).normal(scale=2.0, size=4000)
        >>> variance = jackknife(lambda m, m2: m2 - m**2, m, m**2)
        >>> "{:.2f} ± {:.2f}".format(*variance)
        '3.99 ± 0.10'
    """
    check_whole("blocks", blocks, 2)
    values = [np.asarray(one, dtype=np.float64) for one in series]
    n = len(values[0]) if values and values[0].ndim else 0
    if n < 2 or any(not one.ndim or len(one) != n for one in values):
        raise ValueError(
            f"Expected at least one series [T, …], all of the same T of at least 2 draws; got the "
            f"shapes {', '.join(str(list(one.shape)) for one in values) or 'of none'}."
        )
    weights = np.ones(n)
    if log_weights is not None:
        logs = _log_weights(log_weights)
        if logs.shape != (n,) or logs.max() == -math.inf:
            raise ValueError(
                f"Expected a log-weight for each of {n} draws, not all −∞; got the shape "
                f"{list(logs.shape)}, the largest {logs.max()}."
            )
        weights = np.exp(logs - logs.max())
    starts = np.linspace(0, n, min(blocks, n), endpoint=False).astype(int)
    weight = np.add.reduceat(weights, starts)
    sums = [np.add.reduceat((weights * one.T).T, starts) for one in values]

    def means(sums: Array, weight: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):  # if one block has all the weight
            found: Array = (sums.T / weight).T
        return found

    whole: Any = function(*(one.sum(0) / weight.sum() for one in sums))
    rest = _without_each(weight)
    without = [means(_without_each(one), rest) for one in sums]
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
    """The effective sample size of weighted samples per sample, (Σw)²/(n Σw²).

    Args:
        log_weights: ln w of every sample, up to a constant, of any shape; −∞ is a weight of 0.

    Returns:
        A number from 1/n to 1: 1 if all weights are equal, 0 if all are 0. It doesn't see what the
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
        too low by about half the squared error. The error means little if `effective_sample_size`
        leaves only a few samples; it is infinite if only one weight isn't 0.

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
    rest = _without_each(np.exp(logs - logs.max()))
    error = math.sqrt((n - 1) * np.log(rest).var()) if rest.all() else math.inf
    return Estimate(float(logsumexp(logs)) - math.log(n), error)


def accepted(log_weights: Array, seed: int = 0) -> NDArray[np.int64]:
    """The chain of an independence Metropolis sampler (Albergo et al. 2019, arXiv:1904.12072).

    Args:
        log_weights: ln w of independent proposals, [T].
        seed: Seed of the decisions.

    Returns:
        The index of the proposal that the chain holds after each proposal, [T].

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
