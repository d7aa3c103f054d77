"""Disentanglement in few numbers: the mutual information gap and DCI.

Letters in shapes: N images; D latents; K factors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr
from sklearn.ensemble import RandomForestRegressor
from sklearn.metrics import r2_score

from rgflow.analysis.information import Numbers, bins_for, mutual_information
from rgflow.analysis.labels import Label
from rgflow.text import mean_and_error

MAX_BINS = 20
"""Most bins of equally many images for the mutual information (`bins_for`)."""
TREE_DEPTH = 8
"""Depth of the trees of the random forests."""


class CodeScores(NamedTuple):
    """The scores of a code, explained in `Disentanglement`."""

    mig: float
    disentanglement: float
    completeness: float
    informativeness: float


@dataclass(frozen=True, kw_only=True)
class Disentanglement:
    """The scores of a code, each 1 at best.

    With few images even a meaningless code scores above 0: compare each score with `shuffled`.

    Attributes:
        mig: Mutual information gap (Chen et al. 2018): the mean over factors of the information of
            the most informative latent minus that of the second, divided by the entropy of the
            factor.
        mig_error: Its standard error over the factors.
        disentanglement: 1 if every latent matters for one factor only (Eastwood and Williams 2018).
        completeness: 1 if one latent alone matters for every factor.
        informativeness: Held-out R² of the factors from all latents.
        shuffled: The same scores with the labels of other images.
        factors: Names of the factors.
        images: N.
        latents: D.
        bins: Number of bins for the mutual information.
        trees: Number of trees of each random forest whose importances DCI takes.
        depth: Depth of these trees.
        seed: Seed of the forests and of the order of the images.
    """

    mig: float
    mig_error: float
    disentanglement: float
    completeness: float
    informativeness: float
    shuffled: CodeScores
    factors: tuple[str, ...]
    images: int
    latents: int
    bins: int
    trees: int
    seed: int
    depth: int = TREE_DEPTH


def disentanglement(
    x: Numbers,
    factors: Sequence[Label],
    *,
    trees: int = 10,
    seed: int = 0,
) -> Disentanglement:
    """Score a code by the mutual information gap and by DCI.

    Args:
        x: The code, [N, D].
        factors: The factors; an angle is one factor.
        trees: Number of trees of the random forest for each factor, which is fitted to three
            quarters of the images.
        seed: Seed of the forests, of the choice of images, and of the shuffled labels.

    Raises:
        ValueError: If there are fewer than two latents or factors.

    Example:
        >>> factors = np.random.default_rng(0).uniform(size=(1000, 2))
        >>> labels = [Label(name=name, values=v, group=name) for name, v in zip("ab", factors.T)]
        >>> found = disentanglement(factors, labels)
        >>> round(found.mig, 1), round(found.disentanglement, 1), round(found.completeness, 1)
        (1.0, 1.0, 1.0)
    """
    if min(x.shape[1], len(factors)) < 2:
        raise ValueError(
            f"Expected at least 2 latents and 2 factors to tell apart; got {x.shape[1]} and "
            f"{len(factors)}."
        )
    bins = bins_for(len(x), MAX_BINS)
    random = np.random.default_rng(seed)
    order = random.permutation(len(x))
    test, train = order[: len(x) // 4], order[len(x) // 4 :]
    forest = RandomForestRegressor(trees, max_depth=TREE_DEPTH, random_state=seed, n_jobs=-1)

    def score(rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], CodeScores]:
        """The gaps, and all scores, if image n had the labels of image rows[n]."""
        gaps = _gaps(x, np.stack([factor.values[rows] for factor in factors], 1), bins)
        importances, explained = [], []
        for factor in factors:
            y = factor.targets[rows].squeeze()
            forest.fit(x[train], y[train])
            importances.append(forest.feature_importances_)
            explained.append(r2_score(y[test], forest.predict(x[test])))
        mig, informativeness = float(gaps.mean()), float(np.mean(explained))
        return gaps, CodeScores(mig, *dci(np.stack(importances, 1)), informativeness)

    gaps, found = score(np.arange(len(x)))
    return Disentanglement(
        **found._asdict(),
        mig_error=mean_and_error(gaps)[1],
        # One order for all factors keeps their dependence on each other.
        shuffled=score(random.permutation(len(x)))[1],
        factors=tuple(factor.name for factor in factors),
        images=len(x),
        latents=x.shape[1],
        bins=bins,
        trees=trees,
        seed=seed,
    )


def _gaps(x: Numbers, y: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """The gap of every factor, [K] (Chen et al. 2018, eq. 6)."""
    information = np.sort(mutual_information(x, y, bins).nats, axis=0)
    entropy = np.diag(mutual_information(y, y, bins).nats)  # what a factor tells about itself
    gaps: NDArray[np.float64] = (information[-1] - information[-2]) / entropy
    return gaps


def dci(importance: NDArray[np.float64]) -> tuple[float, float]:
    """Disentanglement and completeness (Eastwood and Williams 2018, section 2).

    With importances R_dk of latents for factors, disentanglement is 1 minus the entropy of
    R_dk / Σ_k R_dk with logarithms of base K, averaged over latents with weights Σ_k R_dk;
    completeness is 1 minus the entropy of R_dk / Σ_d R_dk with logarithms of base D, averaged over
    factors. Latents and factors whose importances are all 0 don't count.

    Args:
        importance: R_dk ≥ 0, [D, K].

    Example:
        >>> dci(np.eye(3)), dci(np.ones((2, 2)))
        ((1.0, 1.0), (0.0, 0.0))
    """
    d, k = importance.shape
    rows, of_columns = importance.sum(1), importance.sum(0)
    by_latent = 1 - entr(importance / np.maximum(rows, 1e-30)[:, None]).sum(1) / np.log(k)
    by_factor = 1 - entr(importance / np.maximum(of_columns, 1e-30)).sum(0) / np.log(d)
    completeness = by_factor[of_columns > 0].mean() if of_columns.any() else 0.0
    return float(by_latent @ rows / max(rows.sum(), 1e-30)), float(completeness)
