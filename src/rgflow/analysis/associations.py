"""Which latents go with which labels.

Letters in shapes: N images; K labels; C channels; H, W rows and columns; T targets of a label;
D = C·H·W latents. Arrays of single latents have the image layout, [C, H, W].
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from scipy.stats import false_discovery_control

from rgflow.analysis.columns import columns
from rgflow.analysis.information import bins_for, mutual_information
from rgflow.analysis.labels import Label, check_labels
from rgflow.checks import check_name, check_whole
from rgflow.files import replacing
from rgflow.latents import Address, Latents
from rgflow.lattice import Sites

MAX_BINS = 8
"""Most bins of equally many images for the mutual information (`bins_for`)."""
FALSE_DISCOVERY_RATE = 0.05
"""Expected share of false discoveries among the significant pairs."""


class Association(NamedTuple):
    """How a latent goes with a label."""

    address: Address
    label: str
    information: float
    """Mutual information, in nats."""
    correlation: float
    """Pearson's; with an angle the multiple correlation with (cos 2θ, sin 2θ), which has no sign
    (Mardia 1976)."""
    significant: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Associations:
    """Which latents go with which labels.

    Attributes:
        lattice: The geometry.
        labels: Names of the labels.
        information: Mutual information in nats, corrected for the number of images, [K, C, H, W].
        correlation: Correlation, [K, C, H, W].
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
    significant: NDArray[np.bool_]
    images: int
    bins: int
    rate: float = FALSE_DISCOVERY_RATE

    def latents_of(self, label: str, count: int = 5) -> list[Association]:
        """The `count` latents, or all there are, with most information about a label.

        Raises:
            ValueError: If there is no such label.
        """
        check_name("label", label, self.labels)
        k = self.labels.index(label)
        order = np.argsort(-self.information[k], axis=None, kind="stable")[:count]
        places = np.stack(np.unravel_index(order, self.information.shape[1:]), 1).tolist()
        return [self._at(k, *place) for place in places]

    def labels_of(self, address: Address, count: int = 5) -> list[Association]:
        """The `count` labels that a latent has most information about, if any significantly.

        Raises:
            ValueError: If there is no such latent.
        """
        h, i, j, c = address
        self.lattice.check_site(h, i, j)
        check_whole("the channel", c, 0, self.information.shape[1] - 1)
        order = np.argsort(-self.information[:, c, i, j], kind="stable").tolist()
        kept = [k for k in order if self.significant[k, c, i, j]]
        return [self._at(k, c, i, j) for k in kept[:count]]

    def save(self, path: str | Path) -> None:
        """Write all arrays to a safetensors file, with the labels and settings as metadata.

        Raises:
            OSError: If it can't be written.
        """
        arrays = ("information", "correlation", "significant")
        settings = {
            "labels": self.labels,
            "levels": self.lattice.levels,
            "images": self.images,
            "bins": self.bins,
            "rate": self.rate,
        }
        metadata = {name: json.dumps(value) for name, value in settings.items()}
        # safetensors would write the numbers of other arrays in another order.
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
            significant=bool(self.significant[place]),
        )


def associations(z: Latents, labels: Sequence[Label]) -> Associations:
    """Find which latents of N images go with which labels.

    Args:
        z: The latents of N images.
        labels: The labels of these images.

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
    bins = bins_for(len(z), MAX_BINS)
    shape = (len(labels), *z.image().shape[1:])
    x = columns(z)
    y = np.stack([label.values for label in labels], 1)
    found = mutual_information(x, y, bins)
    adjusted = false_discovery_control(found.p.ravel()).reshape(found.p.shape)
    standard = (x - x.mean(0)) / np.maximum(x.std(0), 1e-12)
    correlation = np.stack([_correlation(standard, label) for label in labels])
    return Associations(
        lattice=z.lattice,
        labels=tuple(label.name for label in labels),
        information=found.nats.T.reshape(shape),
        correlation=correlation.reshape(shape),
        significant=(adjusted <= FALSE_DISCOVERY_RATE).T.reshape(shape),
        images=len(z),
        bins=bins,
    )


def _correlation(standard: NDArray[np.float32], label: Label) -> NDArray[np.float64]:
    """The correlation of every latent [N, D] with a label, [D]; multiple if it has two targets."""
    t = label.targets - label.targets.mean(0)
    cross = standard.T.astype(np.float64) @ t / len(t)  # [D, T]
    if t.shape[1] == 1:
        single: NDArray[np.float64] = cross[:, 0] / max(float(t.std()), 1e-12)
        return single
    explained = (cross @ np.linalg.pinv(t.T @ t / len(t)) * cross).sum(1)
    return np.sqrt(np.clip(explained, 0, 1))
