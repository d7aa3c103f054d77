"""Directions of latents in which a label rises."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import train_test_split

from rgflow.analysis.columns import columns, level_of, reaching
from rgflow.analysis.labels import FEW, Box, Label, check_labels
from rgflow.config import check_at_least
from rgflow.latents import Latents


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
