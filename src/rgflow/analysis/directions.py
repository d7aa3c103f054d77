"""Directions of latents in which a label rises."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    ShuffleSplit,
    StratifiedShuffleSplit,
    train_test_split,
)

from rgflow.analysis.columns import PENALTIES, columns, level_of, reaching
from rgflow.analysis.labels import MIN_IMAGES, Box, Label, check_labels
from rgflow.latents import Latents
from rgflow.lattice import Sites


@dataclass(frozen=True, kw_only=True, eq=False)
class Direction:
    """A direction of latents in which a label rises.

    Attributes:
        label: Name of the label; for an angle θ, followed by "cosine" or "sine", as it is cos 2θ or
            sin 2θ that rises.
        levels: Levels in which it was fitted.
        box: The part of the image that the label is about. Only latents move whose generation cone
            meets it.
        vector: A unit vector, as the latents of one image; 0 for latents that don't move.
        measure: How the score is measured: R² of a number, the area under the ROC curve of a
            binary label.
        score: The score on held-out images.
        penalty: Penalty on the squared weights of the ridge or logistic regression, as chosen.
        images: Number of images that it was fitted to.
        held_out: Number of images that it was scored on.
        seed: Seed of the choice of held-out images.
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
    """Check that there are levels, and that the lattice has them.

    Raises:
        ValueError: If not.
    """
    if not levels:
        raise ValueError("Expected at least one level to look for directions in; got none.")
    for level in levels:
        lattice.check_level(level)


def directions(
    z: Latents, labels: Sequence[Label], levels: Sequence[int] | None = None, *, seed: int = 0
) -> tuple[Direction, ...]:
    """Fit the directions of latents in which labels rise: of several in less time than one by one.

    An angle θ has two directions, of cos 2θ and sin 2θ. A quarter of the images is held out for the
    score, and a quarter of the others chooses the penalty.

    Args:
        z: The latents of N images.
        labels: Numbers and angles (ridge regression), and binary labels (logistic regression).
        levels: The levels whose latents may move; none: all.
        seed: Seed of the choice of held-out images.

    Raises:
        ValueError: If the lattice lacks a level, there is none, or fewer than 8 images have or lack
            a binary label.
    """
    check_labels(z, labels)
    levels = tuple(range(z.lattice.levels)) if levels is None else tuple(levels)
    check_levels(z.lattice, levels)
    inputs = lru_cache(maxsize=1)(_inputs)  # of labels about the same place
    return tuple(
        one
        for label in labels
        for one in _fitted(z, label, levels, seed, *inputs(z, levels, label.box))
    )


def _fitted(
    z: Latents,
    label: Label,
    levels: tuple[int, ...],
    seed: int,
    inside: NDArray[np.bool_],
    x: NDArray[np.float32],
    basis: NDArray[np.float32],
) -> tuple[Direction, ...]:
    """The directions of a label, from what `_inputs` gives."""
    binary, ones = label.kind == "binary", label.values.sum()
    if not label.common:
        raise ValueError(
            f"Expected at least {MIN_IMAGES} images with and {MIN_IMAGES} without {label.name!r}; "
            f"got {ones:.0f} with it of {len(x)}: take more images."
        )

    train, test = train_test_split(
        np.arange(len(x)),
        test_size=0.25,
        random_state=seed,
        stratify=label.values if binary else None,
    )
    search = GridSearchCV(
        LogisticRegression(max_iter=1000) if binary else Ridge(),
        {"C": [1 / p for p in PENALTIES]} if binary else {"alpha": list(PENALTIES)},
        scoring="roc_auc" if binary else "r2",
        cv=(StratifiedShuffleSplit if binary else ShuffleSplit)(
            1, test_size=0.25, random_state=seed
        ),
    )
    found = []
    for t, name in enumerate(("cosine", "sine") if label.kind == "angle" else ("",)):
        search.fit(x[train], label.targets[train, t])
        weights = basis @ search.best_estimator_.coef_.ravel().astype(np.float64)
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
                score=float(search.score(x[test], label.targets[test, t])),
                penalty=PENALTIES[search.best_index_],
                images=len(train),
                held_out=len(test),
                seed=seed,
            )
        )
    return tuple(found)


def _inputs(
    z: Latents, levels: tuple[int, ...], box: Box | None
) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.float32]]:
    """Which latents may move, [D]; the images in a basis of their span, [N, d]; and the basis,
    [those, d]: the weights of a regression with a penalty on their squares lie in that span."""
    inside = np.isin(level_of(z), levels) & reaching(z, box)
    x = columns(z)[:, inside]
    if x.shape[1] <= len(x):
        return inside, x, np.eye(x.shape[1], dtype=x.dtype)
    basis = np.linalg.qr(x.T)[0]
    return inside, x @ basis, basis
