"""What single latents mean: which labels they go with, and without labels, what they show.

Letters in shapes: N images; K labels; C channels; H, W rows and columns; T targets of a label.
Whatever belongs to single latents is in the image layout, [C, H, W].
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from scipy.stats import false_discovery_control, rankdata
from sklearn.cluster import AgglomerativeClustering
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import train_test_split
from torch import Tensor

from rgflow.analysis.fields import VISIBLE, Change, ReceptiveFields
from rgflow.analysis.information import bins_for, mutual_information
from rgflow.analysis.jacobians import Space
from rgflow.analysis.labels import Box, Label
from rgflow.config import check_at_least, check_name, check_whole
from rgflow.latents import Address, Latents
from rgflow.lattice import Lattice, Sites

FEW = 8
"""Fewer images than that say nothing."""


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
    rate: float

    def latents_of(self, label: str, count: int = 5, level: int | None = None) -> list[Association]:
        """The latents that tell most about a label, of one level or of all.

        Raises:
            ValueError: If there is no such label or level.
        """
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
        """The labels that a latent tells most about.

        Raises:
            ValueError: If there is no such latent.
        """
        h, i, j, c = address
        self.lattice.check_site(h, i, j)
        check_whole("the channel", c, 0, self.information.shape[1] - 1)
        order = np.argsort(-self.information[:, c, i, j], kind="stable")[:count]
        return [self._at(k, c, i, j) for k in order.tolist()]

    def names(self) -> dict[Address, str]:
        """For every latent that significantly goes with a label, the one it tells most about."""
        found = self.significant.any(0)
        best = np.where(self.significant, self.information, -np.inf).argmax(0)
        return {
            (int(self.lattice.site_levels[i, j]), i, j, c): self.labels[best[c, i, j]]
            for c, i, j in np.argwhere(found).tolist()
        }

    def by_level(self) -> NDArray[np.float64]:
        """The most that a single latent of a level tells about a label, [K, levels]."""
        return np.stack(
            [
                self.information[:, :, self.lattice.site_levels == level].max((1, 2))
                for level in range(self.lattice.levels)
            ],
            1,
        )

    def save(self, path: str | Path) -> None:
        """Write `information`, `correlation`, `auc` and `significant` to one safetensors file, with
        the names of the labels and the settings in its metadata."""
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
        save_file(contiguous, path, metadata=metadata)

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


def associations(
    z: Latents, labels: Sequence[Label], *, bins: int = 8, rate: float = 0.05
) -> Associations:
    """Rank latents by labels, and labels by latents.

    Args:
        z: The latents of N images.
        labels: What is known about these images.
        bins: Bins of equally many images for the mutual information, at the most (`bins_for`).
        rate: The share of chance findings to be expected among the significant pairs.

    Raises:
        ValueError: If there are no labels, or not one value per image, or a number is out of range.

    Example:
        >>> from rgflow import Lattice
        >>> lattice = Lattice(height=8, width=8)
        >>> z = Latents.from_flat(torch.randn(500, 192), lattice, channels=3)
        >>> label = Label(name="size", values=z[1, 2, 0, 1].double().numpy() ** 3, group="size")
        >>> associations(z, [label]).latents_of("size", 1)[0].address
        (1, 2, 0, 1)
    """
    check_labels(z, labels)
    check_whole("bins", bins, 2, 255)
    if not 0 < rate < 1:
        raise ValueError(f"Expected a false-discovery rate between 0 and 1; got {rate}.")
    bins = bins_for(len(z), bins)
    shape = (len(labels), *z.image().shape[1:])
    x = columns(z)
    y = np.stack([label.values for label in labels], 1)
    found = mutual_information(x, y, bins)
    significant = false_discovery_control(found.p.ravel()).reshape(found.p.shape) <= rate
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
        rate=rate,
    )


def columns(z: Latents) -> NDArray[np.float32]:
    """Latents as columns in the order of the image layout, [N, C·H·W]."""
    x: NDArray[np.float32] = z.image().flatten(1).float().cpu().numpy()
    return x


def check_labels(z: Latents, labels: Sequence[Label]) -> None:
    """Raise a `ValueError` unless there are labels, and one value of each per image."""
    if not labels:
        raise ValueError("Expected at least one label that differs between images; got none.")
    if len(z) < FEW:
        raise ValueError(f"Expected at least {FEW} images; got {len(z)}.")
    for label in labels:
        if label.values.shape != (len(z),):
            raise ValueError(
                f"Expected {len(z)} values of label {label.name!r}, one per image; got shape "
                f"{list(label.values.shape)}."
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


# ---------------------------------------------------------------- directions


@dataclass(frozen=True, kw_only=True, eq=False)
class Direction:
    """Where latents go when a label rises.

    Attributes:
        label: Name of the label; of an angle θ with "cosine" or "sine" behind it, as it's cos 2θ or
            sin 2θ that rises.
        levels: Levels in which it was looked for.
        box: The part of the image that the label is about. Only latents move whose generation cone
            meets it.
        vector: A unit vector, as the latents of one image; 0 for latents that don't move.
        measure: How the score is measured: R² of a number, the area under the ROC curve of a
            binary label.
        score: On the images held out.
        penalty: Of the squared length of the weights, in a ridge or a logistic regression.
        images: Images that it was fitted to.
        held_out: Images that it was scored on.
        seed: Of the choice of the latter.
    """

    label: str
    levels: tuple[int, ...]
    box: Box | None
    vector: Latents
    measure: Literal["R²", "AUC"]
    score: float
    penalty: float
    images: int
    held_out: int
    seed: int


def directions(
    z: Latents,
    label: Label,
    levels: Sequence[int] | None = None,
    *,
    penalty: float = 100.0,
    seed: int = 0,
) -> tuple[Direction, ...]:
    """Fit the direction in which a label rises, within some levels: of an angle θ two, those of
    cos 2θ and of sin 2θ.

    A quarter of the images is held out for the score.

    Args:
        z: The latents of N images.
        label: A number or an angle (ridge regression), or a binary label (logistic regression).
        levels: The levels whose latents may move; none: all.
        penalty: Of the squared length of the weights.
        seed: Of the choice of images held out.

    Raises:
        ValueError: If there is no such level, or one class is rare.
    """
    check_labels(z, [label])
    check_at_least("penalty", penalty, 0.0)
    levels = tuple(range(z.lattice.levels)) if levels is None else tuple(levels)
    for level in levels:
        z.lattice.check_level(level)
    inside = np.isin(level_of(z), levels) & reaching(z, label.box)
    x, binary, ones = columns(z)[:, inside], label.kind == "binary", label.values.sum()
    if binary and not FEW <= ones <= len(x) - FEW:
        raise ValueError(
            f"Expected at least {FEW} images with and {FEW} without {label.name!r}; got "
            f"{ones:.0f} with it of {len(x)}: take more images."
        )
    train, test = train_test_split(
        np.arange(len(x)),
        test_size=0.25,
        random_state=seed,
        stratify=label.values if binary else None,
    )
    found = []
    for t, name in enumerate(("cosine", "sine") if label.kind == "angle" else ("",)):
        y = label.targets[:, t]
        if binary:
            fitted = LogisticRegression(C=1 / max(penalty, 1e-12), max_iter=1000)
            weights = fitted.fit(x[train], y[train]).coef_[0]
            score = roc_auc_score(y[test], fitted.decision_function(x[test]))
        else:
            fitted = Ridge(alpha=penalty)
            weights = fitted.fit(x[train], y[train]).coef_
            score = r2_score(y[test], fitted.predict(x[test]))
        vector = np.zeros(inside.shape)
        vector[inside] = weights / max(float(np.linalg.norm(weights)), 1e-12)
        image = torch.from_numpy(vector).view(1, *z.image().shape[1:]).to(z.levels[0])
        found.append(
            Direction(
                label=f"{label.name} {name}".strip(),
                levels=levels,
                box=label.box,
                vector=Latents.from_image(image, z.lattice),
                measure="AUC" if binary else "R²",
                score=float(score),
                penalty=penalty,
                images=len(train),
                held_out=len(test),
                seed=seed,
            )
        )
    return tuple(found)


def reaching(z: Latents, box: Box | None) -> NDArray[np.bool_]:
    """Which columns of `columns` are latents whose generation cone meets a box, [C·H·W]: those that
    the box reaches in inference, as blocks are crossed both ways. All, if there is no box, or the
    flow has no cones."""
    if box is None or not isinstance(z.lattice, Lattice):
        return np.ones(z.image()[0].numel(), dtype=bool)
    return np.tile(z.lattice.inference_cone(z.lattice.box(*box)).ravel(), z.channels)


def level_of(z: Latents) -> NDArray[np.int64]:
    """The level of every column of `columns`, [C·H·W]."""
    return np.tile(z.lattice.site_levels.ravel(), z.channels)


# ---------------------------------------------------------------- without labels


@dataclass(frozen=True, kw_only=True, eq=False)
class Visible:
    """The latents that change an image most.

    Attributes:
        addresses: The strongest first.
        strengths: Of their receptive fields.
        errors: Their standard errors over the draws; NaN with a single draw.
        shapes: For each the number of a group of latents whose fields have the same shape; the
            group of the strongest is 0.
        counts: Visible latents per level, level 0 first.
        effective: Per level, how many equally strong latents would be as unequal,
            (Σs)²/Σs² over the strengths s of all its latents.
        effective_visible: The same over its visible latents; 0 if there are none.
        distinct: Per level, how many different fields its strongest latents amount to,
            (tr G)²/|G|² with the products G of their fields. Fields have no sign, so it's an
            underestimate.
        threshold: Strength above which a latent counts as visible.
        similarity: What fields of one group have in common on average, from 0 to 1.
        most: Latents that are ranked, and that `distinct` looks at in each level, at the most.
        space: Where the fields look at images.
        change: How they change latents.
        temperature: Of the latents drawn for the fields.
        draws: Their number.
        seed: Of the draws.
    """

    addresses: tuple[Address, ...]
    strengths: tuple[float, ...]
    errors: tuple[float, ...]
    shapes: tuple[int, ...]
    counts: tuple[int, ...]
    effective: tuple[float, ...]
    effective_visible: tuple[float, ...]
    distinct: tuple[float, ...]
    threshold: float
    similarity: float
    most: int
    space: Space
    change: Change
    temperature: float | tuple[float, ...]
    draws: int
    seed: int


def visible_latents(
    fields: ReceptiveFields,
    *,
    threshold: float = VISIBLE,
    similarity: float = 0.8,
    most: int = 200,
) -> Visible:
    """Rank latents by effect, count the visible ones, and group them by the shape of their field.

    Two fields have the same shape if one, moved over the image, matches the other: what they have
    in common is their largest normalised cross-correlation over all shifts, around the edges.
    Groups are formed by average linkage.

    The effective number of visible latents of the high levels says whether a flow, which has to
    have as many latents as there are pixels, spreads few factors over many of them (section 5).
    Over all latents of a level it also counts those that nobody sees.

    Args:
        fields: The receptive fields.
        threshold: Strength above which a latent counts as visible.
        similarity: Least average similarity within a group.
        most: How many of the strongest latents are ranked and grouped.

    Raises:
        ValueError: If a number is out of range.
    """
    check_at_least("threshold", threshold, 0.0)
    check_whole("most", most, 1)
    if not 0 < similarity < 1:
        raise ValueError(f"Expected a similarity between 0 and 1; got {similarity}.")
    addresses = fields.strongest(most)
    per_level = [fields.of_level(level) for level in range(fields.lattice.levels)]
    return Visible(
        addresses=tuple(addresses),
        strengths=tuple(fields.strengths[c, i, j].item() for _, i, j, c in addresses),
        errors=tuple(fields.errors[c, i, j].item() for _, i, j, c in addresses),
        shapes=_shapes(_flat(fields, addresses), similarity, fields.lattice),
        counts=tuple(int((s > threshold).sum()) for s in per_level),
        effective=tuple(_effective(s) for s in per_level),
        effective_visible=tuple(_effective(s[s > threshold]) for s in per_level),
        distinct=tuple(
            _distinct(_flat(fields, fields.strongest(most, level)))
            for level in range(fields.lattice.levels)
        ),
        threshold=threshold,
        similarity=similarity,
        most=most,
        space=fields.space,
        change=fields.change,
        temperature=fields.temperature,
        draws=fields.draws,
        seed=fields.seed,
    )


def _effective(strengths: Tensor) -> float:
    """How many equally strong latents would be as unequal as some [n]."""
    return float(strengths.sum() ** 2 / (strengths**2).sum().clamp(min=1e-30))


def _flat(fields: ReceptiveFields, addresses: Sequence[Address]) -> Tensor:
    """The fields of n latents, [n, H·W]."""
    return torch.stack([fields.field(address) for address in addresses]).flatten(1).double()


def _shapes(fields: Tensor, similarity: float, lattice: Sites) -> tuple[int, ...]:
    """The group of each of some fields [n, H·W], numbered in the order in which they come."""
    if len(fields) < 2:
        return (0,)
    size = (lattice.height, lattice.width)
    unit = fields / fields.norm(dim=1, keepdim=True).clamp(min=1e-30)
    spectra = torch.fft.rfft2(unit.view(-1, *size))
    common = torch.stack(
        [torch.fft.irfft2(s.conj() * spectra, s=size).amax((1, 2)) for s in spectra]
    )
    grouping = AgglomerativeClustering(
        n_clusters=None,
        metric="precomputed",
        linkage="average",
        distance_threshold=1 - similarity,
    )
    found = grouping.fit_predict((1 - (common + common.T) / 2).clamp(min=0).numpy()).tolist()
    numbers = {group: n for n, group in enumerate(dict.fromkeys(found))}
    return tuple(numbers[group] for group in found)


def _distinct(fields: Tensor) -> float:
    """How many different fields some fields [n, H·W] amount to."""
    gram = fields @ fields.T
    return float(gram.trace() ** 2 / (gram**2).sum())
