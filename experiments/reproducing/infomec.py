"""InfoMEC: how modular, explicit and compact a code is (Hsu et al. 2023, arXiv:2305.18378).

Letters in shapes: N images; D latents; K factors.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr
from sklearn.feature_selection import mutual_info_classif
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from rgflow.analysis.information import Numbers

NEIGHBOURS, ACTIVE = 10, 1 / 20
"""Nearest neighbours by which information is estimated, and the range, beside the largest of all
latents, from which on a latent counts."""


class InfoMEC(NamedTuple):
    """The scores of `infomec`, each 1 at best."""

    modularity: float
    explicitness: float
    compactness: float


def infomec(x: Numbers, classes: NDArray[np.int64], *, seed: int = 0) -> InfoMEC:
    """Score a code by InfoMEC (Hsu et al. 2023, arXiv:2305.18378, section 4).

    With the information of latents about factors, divided by the entropy of the factor: modularity
    is the share of a latent's largest information in all it has, averaged over latents;
    compactness the same of a factor's, averaged over factors; both are 0 if all are equal.
    Explicitness is by what share the cross entropy of classes falls that a linear map of the code
    predicts; unlike in the paper it is measured on a quarter of the images that it isn't fitted to.

    Args:
        x: The code, [N, D].
        classes: The class of every factor, [N, K].
        seed: Of the choice of images, and of the noise that separates equal values.

    Raises:
        ValueError: If there are fewer than two factors, or latents that vary.

    Example:
        >>> classes = np.random.default_rng(0).integers(3, size=(1000, 2))
        >>> found = infomec(3.0 * classes, classes)
        >>> round(found.modularity, 1), round(found.explicitness, 1), round(found.compactness, 1)
        (1.0, 1.0, 1.0)
    """
    extent = np.ptp(x, axis=0)
    x = x[:, extent > ACTIVE * extent.max()]
    if min(x.shape[1], classes.shape[1]) < 2:
        raise ValueError(
            f"Expected at least 2 latents that vary and 2 factors; got {x.shape[1]} and "
            f"{classes.shape[1]}."
        )
    order = np.random.default_rng(seed).permutation(len(x))
    test, train = order[: len(x) // 4], order[len(x) // 4 :]
    code = StandardScaler().fit(x[train]).transform(x)
    shares, explained = [], []
    for y in classes.T:
        known = mutual_info_classif(x, y, n_neighbors=NEIGHBOURS, random_state=seed)
        frequencies = np.bincount(y) / len(y)
        shares.append(known / entr(frequencies).sum())
        there, inverse = np.unique(y[train], return_inverse=True)
        of_test = test[np.isin(y[test], there)]
        fitted = LogisticRegression(max_iter=1000).fit(code[train], inverse)
        alone = np.bincount(inverse) / len(inverse)
        named, labels = np.searchsorted(there, y[of_test]), np.arange(len(there))
        left, before = (
            log_loss(named, p, labels=labels)
            for p in (
                fitted.predict_proba(code[of_test]),
                np.broadcast_to(alone, (len(of_test), len(alone))),
            )
        )
        explained.append(1 - left / before)

    def largest(nmi: NDArray[np.float64]) -> float:
        """The mean share of a row's largest in its sum, 0 if all are equal."""
        rows = nmi[nmi.sum(1) > 0]
        share = float((rows.max(1) / rows.sum(1)).mean()) if len(rows) else 0.0
        return (share - 1 / nmi.shape[1]) / (1 - 1 / nmi.shape[1])

    nmi = np.stack(shares)
    return InfoMEC(largest(nmi.T), float(np.mean(explained)), largest(nmi))
