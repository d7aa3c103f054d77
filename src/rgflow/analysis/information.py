"""Mutual information between numbers that are sorted into bins.

Each column is cut into bins of equally many values, a column of few values into these. The
information between bins is a lower bound of that between the numbers. Entropies are corrected
for the number of images after Miller (1955): half the number of nonempty bins minus one, divided by
the number of images. All in nats. Corrections hold only if each pair of bins has enough images, so
few images get few bins.

Letters in shapes: N images; D and K columns; P pairs of columns; B bins.
"""

from math import isqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, xlogy

Numbers = NDArray[np.float32] | NDArray[np.float64]
CHUNK = 1 << 24
"""Most counts held at a time, of 4 bytes."""


class Information(NamedTuple):
    """Mutual information, and the probability that independent numbers look as dependent."""

    nats: NDArray[np.float64]
    p: NDArray[np.float64]
    """Of the G-test, whose statistic is 2N times the uncorrected information, divided by the
    correction of Williams (1976) for few images."""


def bins_for(images: int, most: int) -> int:
    """The largest number of bins, 2 to `most`, with on average five images per pair of bins.

    Example:
        >>> [bins_for(images, 8) for images in (10, 100, 200, 2000)]
        [2, 4, 6, 8]
    """
    return min(most, max(2, isqrt(images // 5)))


def mutual_information(x: Numbers, y: Numbers, bins: int = 8) -> Information:
    """The information of every column of an array [N, D] about every column of another [N, K].

    Args:
        x: [N, D].
        y: [N, K].
        bins: Number of bins of every column, at most.

    Returns:
        Information and p, [D, K].

    Example:
        >>> x = np.random.default_rng(0).normal(size=(4000, 3))
        >>> found = mutual_information(x, (x[:, :1] > 0).astype(float))
        >>> found.nats.round(1).T.tolist(), np.log(2).round(1).item()
        ([[0.7, 0.0, 0.0]], 0.7)
    """
    a, b = binned(x, bins), binned(y, bins)
    codes = np.arange(bins, dtype=np.uint8)
    right = (b[:, :, None] == codes).reshape(len(b), -1).astype(np.float32)
    each = max(1, CHUNK // max(right.size, bins * right.shape[1]))
    parts = []
    for first in range(0, a.shape[1], each):
        left = (a[:, first : first + each, None] == codes).reshape(len(a), -1).astype(np.float32)
        joint = (left.T @ right).reshape(-1, bins, y.shape[1], bins)
        parts.append(_of_counts(joint.transpose(0, 2, 1, 3), len(a)))
    return Information(*map(np.concatenate, zip(*parts, strict=True)))


def pairwise_information(x: Numbers, y: Numbers, bins: int = 8) -> Information:
    """The information of columns of an array [N, P] about the same columns of another, [P]."""
    cell = binned(x, bins).astype(np.int64) * bins + binned(y, bins)
    pairs = x.shape[1]
    cell += np.arange(pairs) * bins**2
    joint = np.bincount(cell.ravel(), minlength=pairs * bins**2).reshape(pairs, bins, bins)
    return _of_counts(joint.astype(np.float32), len(x))


def binned(x: Numbers, bins: int) -> NDArray[np.uint8]:
    """The bin of every number of an array [N, D], [N, D].

    Example:
        >>> binned(np.array([[0.1, 5], [0.2, 5], [0.3, 5], [0.4, 7]]), 2).T.tolist()
        [[0, 0, 1, 1], [0, 0, 0, 1]]
    """
    n = len(x)
    ordered = np.sort(x, axis=0)
    codes = np.zeros(x.shape, dtype=np.uint8)
    for k in range(1, bins):
        at = n * k // bins
        codes += x > (ordered[at - 1] + ordered[at]) / 2
    few = np.flatnonzero((np.diff(ordered, axis=0) > 0).sum(0) < bins)
    for column in few:
        codes[:, column] = np.unique(x[:, column], return_inverse=True)[1]
    return codes


def _of_counts(joint: NDArray[np.float32], n: int) -> Information:
    """Of counts [..., B, B] of N images."""

    def entropy(
        counts: NDArray[np.float32], axes: tuple[int, ...]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        plain = np.log(n) - xlogy(counts, counts).sum(axes, dtype=np.float64) / n
        return plain, (counts > 0).sum(axes)

    def excess(counts: NDArray[np.float32]) -> NDArray[np.float64]:
        """Σ 1/p over the bins, less one."""
        return np.divide(n, counts, where=counts > 0, out=np.zeros_like(counts)).sum(-1) - 1.0

    rows, columns = joint.sum(-1), joint.sum(-2)
    one, many, both = entropy(rows, (-1,)), entropy(columns, (-1,)), entropy(joint, (-2, -1))
    plain = np.maximum(one[0] + many[0] - both[0], 0.0)
    corrected = plain + (one[1] + many[1] - both[1] - 1) / (2 * n)
    freedom = (one[1] - 1) * (many[1] - 1)
    some = np.maximum(freedom, 1)
    williams = 1 + excess(rows) * excess(columns) / (6 * n * some)
    p = np.where(freedom > 0, chdtrc(some, 2 * n * plain / williams), 1.0)
    return Information(corrected, p)
