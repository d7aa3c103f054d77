"""Which latents go with which labels.

Letters in shapes: N images; K labels; C channels; H, W rows and columns; T targets of a label; D
columns. Whatever belongs to single latents is in the image layout, [C, H, W].
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from scipy.stats import false_discovery_control, rankdata

from rgflow.analysis.columns import columns
from rgflow.analysis.information import bins_for, mutual_information
from rgflow.analysis.labels import Label, check_labels
from rgflow.checks import check_name, check_whole
from rgflow.files import replacing
from rgflow.latents import Address, Latents
from rgflow.lattice import Sites

BINS = 8
"""Maximum number of bins of equally many images for the mutual information (`bins_for`)."""
RATE = 0.05
"""Expected share of false discoveries among the significant pairs."""


class Association(NamedTuple):
    """A latent and a label that go together."""

    address: Address
    label: str
    information: float
    """Mutual information, in nats."""
    correlation: float
    """Pearson's; with an angle the multiple correlation with (cos 2θ, sin 2θ), which has no sign
    (Mardia 1976)."""
    auc: float
    """Area under the ROC curve of a binary label; otherwise NaN."""
    significant: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Associations:
    """Which latents go with which labels.

    Attributes:
        lattice: The geometry.
        labels: Names of the labels.
        information: Mutual information in nats, corrected for the number of images, [K, C, H, W].
        correlation: Correlation, [K, C, H, W].
        auc: Area under the ROC curve, [K, C, H, W]; NaN unless the label is binary.
        significant: Pairs found dependent by the G-test, among which at most a share `rate` is
            expected to be by chance (Benjamini and Hochberg 1995), [K, C, H, W].
        images: N.
        bins: Bins for the information.
        rate: The false-discovery rate.
    """

    lattice: Sites
    labels: tuple[str, ...]
    information: NDArray[np.float64]
    correlation: NDArray[np.float64]
    auc: NDArray[np.float64]
    significant: NDArray[np.bool_]
    images: int
    bins: int
    rate: float = RATE

    def latents_of(self, label: str, count: int = 5, level: int | None = None) -> list[Association]:
        """The latents with most information about a label, of one level or of all; a `ValueError`
        if there is no such label or level."""
        check_name("label", label, self.labels)
        k = self.labels.index(label)
        found = self.information[k]
        if level is not None:
            self.lattice.check_level(level)
            found = np.where(self.lattice.site_levels == level, found, -np.inf)
        order = np.argsort(-found, axis=None, kind="stable")[:count]
        places = np.stack(np.unravel_index(order, found.shape), 1).tolist()
        return [self._at(k, c, i, j) for c, i, j in places if np.isfinite(found[c, i, j])]

    def labels_of(self, address: Address, count: int = 5) -> list[Association]:
        """The labels that a latent has most information about; a `ValueError` if there is no such
        latent."""
        h, i, j, c = address
        self.lattice.check_site(h, i, j)
        check_whole("the channel", c, 0, self.information.shape[1] - 1)
        order = np.argsort(-self.information[:, c, i, j], kind="stable")[:count]
        return [self._at(k, c, i, j) for k in order.tolist()]

    def names(self) -> dict[Address, str]:
        """For every latent that significantly goes with a label, the label it has most information
        about."""
        found = self.significant.any(0)
        best = np.where(self.significant, self.information, -np.inf).argmax(0)
        return {
            (int(self.lattice.site_levels[i, j]), i, j, c): self.labels[best[c, i, j]]
            for c, i, j in np.argwhere(found).tolist()
        }

    def by_level(self) -> NDArray[np.float64]:
        """The highest information of a single latent of a level about a label, [K, levels]."""
        return np.stack(
            [
                self.information[:, :, self.lattice.site_levels == level].max((1, 2))
                for level in range(self.lattice.levels)
            ],
            1,
        )

    def save(self, path: str | Path) -> None:
        """Write `information`, `correlation`, `auc` and `significant` to one safetensors file, with
        the names of the labels and the settings in its metadata; an `OSError` if it can't be
        written."""
        arrays = ("information", "correlation", "auc", "significant")
        settings = {
            "labels": self.labels,
            "levels": self.lattice.levels,
            "images": self.images,
            "bins": self.bins,
            "rate": self.rate,
        }
        metadata = {name: json.dumps(value) for name, value in settings.items()}
        # Of an array that isn't contiguous it would write other numbers.
        contiguous = {name: np.ascontiguousarray(getattr(self, name)) for name in arrays}
        with replacing(Path(path)) as part:
            save_file(contiguous, part, metadata=metadata)

    def _at(self, k: int, c: int, i: int, j: int) -> Association:
        place = (k, c, i, j)
        return Association(
            address=(int(self.lattice.site_levels[i, j]), i, j, c),
            label=self.labels[k],
            information=float(self.information[place]),
            correlation=float(self.correlation[place]),
            auc=float(self.auc[place]),
            significant=bool(self.significant[place]),
        )


def associations(z: Latents, labels: Sequence[Label]) -> Associations:
    """Find which latents of N images go with which labels.

    Raises:
        ValueError: If there are no labels, or not one finite value per image.

    Example:
        >>> import torch
        >>> from rgflow import Lattice
        >>> lattice = Lattice(height=8, width=8)
        >>> z = Latents.from_flat(torch.randn(500, 192), lattice, channels=3)
        >>> label = Label(name="size", values=z[1, 2, 0, 1].double().numpy() ** 3, group="size")
        >>> associations(z, [label]).latents_of("size", 1)[0].address
        (1, 2, 0, 1)
    """
    check_labels(z, labels)
    bins = bins_for(len(z), BINS)
    shape = (len(labels), *z.image().shape[1:])
    x = columns(z)
    y = np.stack([label.values for label in labels], 1)
    found = mutual_information(x, y, bins)
    significant = false_discovery_control(found.p.ravel()).reshape(found.p.shape) <= RATE
    standard = (x - x.mean(0)) / np.maximum(x.std(0), 1e-12)
    ranks = rankdata(x, axis=0)
    correlation = np.stack([_correlation(standard, label) for label in labels])
    auc = np.stack([_auc(ranks, label) for label in labels])
    return Associations(
        lattice=z.lattice,
        labels=tuple(label.name for label in labels),
        information=found.nats.T.reshape(shape),
        correlation=correlation.reshape(shape),
        auc=auc.reshape(shape),
        significant=significant.T.reshape(shape),
        images=len(z),
        bins=bins,
    )


def _correlation(standard: NDArray[np.float32], label: Label) -> NDArray[np.float64]:
    """Of every column with a label, [D]: multiple, where it has two targets."""
    t = label.targets - label.targets.mean(0)
    cross = standard.T.astype(np.float64) @ t / len(t)  # [D, T]
    if t.shape[1] == 1:
        single: NDArray[np.float64] = cross[:, 0] / max(float(t.std()), 1e-12)
        return single
    explained = (cross @ np.linalg.pinv(t.T @ t / len(t)) * cross).sum(1)
    return np.sqrt(np.clip(explained, 0, 1))


def _auc(ranks: NDArray[np.float64], label: Label) -> NDArray[np.float64]:
    """Of every column for a binary label, [D], from the sum of ranks (Mann and Whitney 1947)."""
    if label.kind != "binary":
        return np.full(ranks.shape[1], np.nan)
    ones = label.values.sum()
    area: NDArray[np.float64] = label.values @ ranks - ones * (ones + 1) / 2
    return area / (ones * (len(ranks) - ones))
