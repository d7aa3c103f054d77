"""Which level of the latents holds which factor of the images: held-out probes of each level.

Letters in shapes: N images, of which n are held out; D latents; K factors.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge

from rgflow.analysis.columns import PENALTIES, columns, level_of, reaching
from rgflow.analysis.information import Numbers, bins_for, mutual_information
from rgflow.analysis.labels import Box, Label, check_labels, spread
from rgflow.checks import check_whole
from rgflow.latents import Latents
from rgflow.text import mean_and_error

Probe = Literal["linear", "boosted"]
Inputs = Literal["own", "random", "shuffled"]
"""The latents of a level that a probe gets. Own: those whose generation cone meets the place of the
factor (all, if it is of the whole image, or the flow has no cones). Random: as many of the others,
with own ones only if these are too few. Shuffled: its own, with the labels of other images."""
MAX_BINS = 8
"""Most bins for the mutual information, by which boosted probes choose their latents."""
MAX_FEATURES = 32
"""Most latents of a boosted probe: more take longer and tell little."""
PARTS = 5
"""Parts of the images: one is held out, one chooses penalties, four are fitted to in the end."""


class Score(NamedTuple):
    """How well a probe predicts a group of factors from latents of one level."""

    group: str
    level: int
    probe: Probe
    inputs: Inputs
    r2: float
    """Held-out R², the mean over the group's factors; of angles that of (cos 2θ, sin 2θ)."""
    error: float
    """Its standard error: over the places, or over the images held out if there is one place."""
    places: int
    """Number of places in the image that it averages over; 0: factors of the whole image."""
    latents: float
    """Mean number of latents of the probe, over places."""
    near: float
    """Share of these that are the place's own, the mean over places."""


@dataclass(frozen=True, kw_only=True)
class ProbeTable:
    """Held-out R² of factors from the latents of each level alone.

    Attributes:
        scores: In the order of groups and levels.
        levels: Number of levels.
        images: N.
        trees: Number of trees of a boosted probe.
        places: Places that were probed.
        seed: Seed of the parts, the random sets and the shuffled labels.
        penalties: Penalties from which each linear probe chooses its own, on a separate part.
        features: Number of latents of a boosted probe: the most informative ones among the images
            fitted to.
    """

    scores: tuple[Score, ...]
    levels: int
    images: int
    trees: int
    places: tuple[Box, ...]
    seed: int
    penalties: tuple[float, ...] = PENALTIES
    features: int = MAX_FEATURES

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups of factors."""
        return tuple(dict.fromkeys(score.group for score in self.scores))

    def score(self, group: str, level: int, probe: Probe, inputs: Inputs = "own") -> Score:
        """One of the scores.

        Args:
            group: Name of the group of factors.
            level: The level.
            probe: The probe.
            inputs: Which latents and labels it was given.

        Raises:
            ValueError: If there is no such score.
        """
        for score in self.scores:
            if score[:4] == (group, level, probe, inputs):
                return score
        raise ValueError(
            f"Expected a score that was found; got {group!r} at level {level}, {probe}, {inputs}."
        )


def probe_levels(
    z: Latents,
    labels: Sequence[Label],
    *,
    trees: int = 40,
    places: int = 8,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> ProbeTable:
    """Predict every factor from the latents of each level alone, by linear and by boosted probes.

    The linear probe is a ridge regression, the boosted one `HistGradientBoostingRegressor`. A
    binary label is predicted as the number 0 or 1.

    Labels have no score if fewer than 8 images have or lack a binary one, or if all images held out
    have the same value, before or after shuffling.

    Args:
        z: The latents of N images.
        labels: The factors.
        trees: Number of trees of a boosted probe.
        places: Maximum number of places, evenly spread over those that the labels are about.
        seed: Seed of all randomness.
        progress: Called with the number of steps done, and of all steps.

    Raises:
        ValueError: If there are no labels, or not one finite value per image, or a number is out
            of range.
    """
    check_labels(z, labels)
    check_whole("trees", trees, 1)
    check_whole("places", places, 1)
    random = np.random.default_rng(seed)
    x = columns(z)
    x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-6)
    labels = spread([label for label in labels if label.common], places)
    shuffled = [replace(label, values=random.permutation(label.values)) for label in labels]
    boxes = list(dict.fromkeys(label.box for label in labels))
    total, done = z.lattice.levels * len(boxes), 0
    test, choose, *fit = np.array_split(random.permutation(len(x)), PARTS)
    split = _Split(test, choose, np.concatenate(fit))
    informations = [_information(x, some, split) for some in (labels, shuffled)] if labels else []
    varied = [
        all(np.ptp(one.targets[test], 0).any() for one in pair)
        for pair in zip(labels, shuffled, strict=True)
    ]
    held_out: dict[_Key, list[_HeldOut]] = defaultdict(list)
    for box in boxes:
        here = [k for k, label in enumerate(labels) if label.box == box and varied[k]]
        groups = list(dict.fromkeys(labels[k].group for k in here))
        for level in range(z.lattice.levels):
            of_level, near = level_of(z) == level, reaching(z, box)
            own, others = np.flatnonzero(of_level & near), np.flatnonzero(of_level & ~near)
            sets: list[tuple[Inputs, NDArray[np.int64], list[Label], Numbers]] = [
                ("own", own, labels, informations[0]),
                ("shuffled", own, shuffled, informations[1]),
            ]
            if len(others):
                far = random.permutation(others)[: len(own)]
                rest = random.permutation(own)[: len(own) - len(far)]
                sets.append(("random", np.sort(np.append(far, rest)), labels, informations[0]))
            for inputs, among, some, information in sets if here else ():
                share = float(near[among].mean())
                wanted = [some[k] for k in here]
                residuals: dict[Probe, list[NDArray[np.float64]]] = {
                    "linear": _linear(x[:, among], wanted, split),
                    "boosted": [
                        _boosted(x, among, information[:, k], some[k], split, trees) for k in here
                    ],
                }
                for probe, wrong in residuals.items():
                    for group in groups:
                        pairs = zip(wanted, wrong, strict=True)
                        r2 = _r2([(label, w) for label, w in pairs if label.group == group], test)
                        of_box = _HeldOut(box, *r2, len(among), share)
                        held_out[group, level, probe, inputs].append(of_box)
            done += 1
            if progress:
                progress(done, total)
    return ProbeTable(
        scores=tuple(_scores(held_out)),
        levels=z.lattice.levels,
        images=len(z),
        trees=trees,
        places=tuple(box for box in boxes if box),
        seed=seed,
    )


_Key = tuple[str, int, Probe, Inputs]
"""Group, level, probe and inputs of a score."""


class _Split(NamedTuple):
    """Indices of images held out, of those that choose the penalty, and of those fitted to."""

    test: NDArray[np.int64]
    choose: NDArray[np.int64]
    fit: NDArray[np.int64]

    @property
    def known(self) -> NDArray[np.int64]:
        """All images but those held out."""
        return np.concatenate((self.fit, self.choose))


class _HeldOut(NamedTuple):
    """How well a probe predicts a group of factors at one place."""

    box: Box | None
    r2: float
    error: float
    """Standard error of the R² over the images held out."""
    latents: int
    near: float
    """Share of the latents that are the place's own."""


def _information(x: Numbers, labels: Sequence[Label], split: _Split) -> NDArray[np.float64]:
    """Information of every latent about every label over the images not held out, [D, K]."""
    y = np.stack([label.values[split.known] for label in labels], 1)
    return mutual_information(x[split.known], y, bins_for(len(y), MAX_BINS)).nats


def _linear(
    x: NDArray[np.float32], labels: Sequence[Label], split: _Split
) -> list[NDArray[np.float64]]:
    """Ridge regressions of all labels at once. Each chooses its penalty on separate images, and is
    then fitted to these as well, as boosted probes are."""
    targets = np.concatenate([label.targets for label in labels], 1)
    ends = np.cumsum([label.targets.shape[1] for label in labels])[:-1]
    scale = np.maximum(targets[split.known].std(0), 1e-12)
    y = ((targets - targets[split.known].mean(0)) / scale).astype(np.float32)

    def residuals(
        penalty: float, learn: NDArray[np.int64], at: NDArray[np.int64]
    ) -> list[NDArray[np.float64]]:
        """The errors of every label's targets, [images, T] each."""
        fitted = Ridge(alpha=penalty, solver="cholesky").fit(x[learn], y[learn])
        return np.split((fitted.predict(x[at]).reshape(len(at), -1) - y[at]) * scale, ends, 1)

    tried = {penalty: residuals(penalty, split.fit, split.choose) for penalty in PENALTIES}
    chosen = [
        min((float((errors[k] ** 2).sum()), penalty) for penalty, errors in tried.items())[1]
        for k in range(len(labels))
    ]
    tested = {penalty: residuals(penalty, split.known, split.test) for penalty in set(chosen)}
    return [tested[penalty][k] for k, penalty in enumerate(chosen)]


def _boosted(
    x: NDArray[np.float32],
    among: NDArray[np.int64],
    information: Numbers,
    label: Label,
    split: _Split,
    trees: int,
) -> NDArray[np.float64]:
    """Boosted trees for each target of a label, on the most informative of some latents."""
    x = x[:, among[np.argsort(-information[among], kind="stable")[:MAX_FEATURES]]]
    wrong = []
    for target in label.targets.T:
        probe = HistGradientBoostingRegressor(
            max_iter=trees,
            max_leaf_nodes=16,
            learning_rate=0.2,
            max_bins=32,
            early_stopping=False,
            random_state=0,
        )
        probe.fit(x[split.known], target[split.known])
        wrong.append(probe.predict(x[split.test]) - target[split.test])
    return np.stack(wrong, 1)


def _scores(held_out: dict[_Key, list[_HeldOut]]) -> Iterator[Score]:
    """Scores from those of places: means over the places."""
    groups = list(dict.fromkeys(group for group, *_ in held_out))
    for key, at in sorted(held_out.items(), key=lambda k: (groups.index(k[0][0]), k[0][1])):
        r2, error = mean_and_error([one.r2 for one in at])
        yield Score(
            *key,
            r2=r2,
            error=error if len(at) > 1 else at[0].error,
            places=0 if [one.box for one in at] == [None] else len(at),
            latents=float(np.mean([one.latents for one in at])),
            near=float(np.mean([one.near for one in at])),
        )


def _r2(
    residuals: Sequence[tuple[Label, NDArray[np.float64]]], test: NDArray[np.int64]
) -> tuple[float, float]:
    """The mean R² over some labels, each with the errors of its targets on the images held out,
    [n, T]; and its standard error over these images."""
    ratios, each = [], []
    for label, wrong in residuals:
        squared = (wrong.astype(np.float64) ** 2).sum(1)
        distance = label.targets[test] - label.targets[test].mean(0)
        spread = (distance**2).sum(1)
        ratios.append(squared.mean() / spread.mean())
        # To first order, what each image adds to Σ squared / Σ spread.
        each.append((squared - ratios[-1] * spread) / spread.mean())
    return 1 - float(np.mean(ratios)), float(np.mean(each, 0).std() / len(test) ** 0.5)
