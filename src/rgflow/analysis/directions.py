"""Directions of latents in which a label rises."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import train_test_split

from rgflow.analysis.columns import PENALTIES, columns, level_of, reaching
from rgflow.analysis.information import Numbers
from rgflow.analysis.labels import FEW, Box, Label, check_labels
from rgflow.latents import Latents
from rgflow.lattice import Sites


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
        penalty: Of the squared length of the weights, in a ridge or logistic regression; chosen.
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


def check_levels(lattice: Sites, levels: Sequence[int]) -> None:
    """Raise a `ValueError` unless there are levels, and the lattice has them."""
    if not levels:
        raise ValueError("Expected at least one level to look for directions in; got none.")
    for level in levels:
        lattice.check_level(level)


def directions(
    z: Latents, label: Label, levels: Sequence[int] | None = None, *, seed: int = 0
) -> tuple[Direction, ...]:
    """Fit the direction in which a label rises, within some levels: of an angle θ two, those of
    cos 2θ and of sin 2θ.

    A quarter of the images is held out for the score, and a quarter of the others chooses the
    penalty.

    Args:
        z: The latents of N images.
        label: A number or an angle (ridge regression), or a binary label (logistic regression).
        levels: The levels whose latents may move; none: all.
        seed: Of the choice of images held out.

    Raises:
        ValueError: If there is no such level or none at all, or one class is rare.
    """
    check_labels(z, [label])
    levels = tuple(range(z.lattice.levels)) if levels is None else tuple(levels)
    check_levels(z.lattice, levels)
    inside = np.isin(level_of(z), levels) & reaching(z, label.box)
    x, binary, ones = columns(z)[:, inside], label.kind == "binary", label.values.sum()
    if not label.common:
        raise ValueError(
            f"Expected at least {FEW} images with and {FEW} without {label.name!r}; got "
            f"{ones:.0f} with it of {len(x)}: take more images."
        )

    def parted(images: NDArray[np.int64]) -> Sequence[NDArray[np.int64]]:
        """Three quarters of some images, and one."""
        strata = label.values[images] if binary else None
        parts: Sequence[NDArray[np.int64]] = train_test_split(
            images, test_size=0.25, random_state=seed, stratify=strata
        )
        return parts

    train, test = parted(np.arange(len(x)))
    fit, choose = parted(train)
    found = []
    for t, name in enumerate(("cosine", "sine") if label.kind == "angle" else ("",)):
        y = label.targets[:, t]

        def fitted(
            penalty: float, learn: NDArray[np.int64], at: NDArray[np.int64], y: Numbers = y
        ) -> tuple[Numbers, float]:
            """The weights, and the score elsewhere."""
            if binary:
                logistic = LogisticRegression(C=1 / penalty, max_iter=1000).fit(x[learn], y[learn])
                return logistic.coef_[0], roc_auc_score(y[at], logistic.decision_function(x[at]))
            ridge = Ridge(alpha=penalty).fit(x[learn], y[learn])
            return ridge.coef_, r2_score(y[at], ridge.predict(x[at]))

        chosen = max(PENALTIES, key=lambda penalty: fitted(penalty, fit, choose)[1])
        weights, score = fitted(chosen, train, test)
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
                penalty=chosen,
                images=len(train),
                held_out=len(test),
                seed=seed,
            )
        )
    return tuple(found)
