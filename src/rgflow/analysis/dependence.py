"""How dependent latents are: the paper's principle of minimal mutual information (section 3.3).

The tree is that of the decimators: four sites of a level's grid become one of the next, and above
the top all sites become one, the root. The distance of two latents is the number of RG steps from
the lower one up to their lowest common ancestor.

Letters in shapes: N images; P pairs of latents; C channels; H, W rows and columns.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rgflow.analysis.columns import columns
from rgflow.analysis.information import Numbers, bins_for, pairwise_information
from rgflow.analysis.labels import MIN_IMAGES
from rgflow.checks import check_whole
from rgflow.latents import Latents
from rgflow.lattice import Sites
from rgflow.text import mean_and_error

MAX_BINS = 12
"""Most bins of equally many images for the mutual information (`bins_for`)."""


class Measured(NamedTuple):
    """A mean over pairs."""

    value: float
    error: float
    """Its standard error over the pairs."""
    floor: float
    """The same for independent latents: the images of one latent of each pair are shuffled."""


class Stratum(NamedTuple):
    """Pairs of latents of two levels at one distance."""

    levels: tuple[int, int]
    distance: int
    pairs: int
    correlation: Measured
    """Root mean square of the correlation of z."""
    magnitude: Measured
    """The same of |z|."""
    information: Measured
    """Mean mutual information in nats."""


@dataclass(frozen=True, kw_only=True)
class Dependence:
    """Dependences between pairs of latents.

    Attributes:
        strata: By levels, the lower one first, and by distance on the tree, in order.
        images: N.
        bins: Bins for the mutual information.
        pairs: Maximum number of pairs in a stratum.
        seed: Seed of their choice.
    """

    strata: tuple[Stratum, ...]
    images: int
    bins: int
    pairs: int
    seed: int


def dependence(z: Latents, *, pairs: int = 200, seed: int = 0) -> Dependence:
    """Correlations of z and |z| and mutual information, by levels and distance on the tree.

    Args:
        z: The latents of N images; or, for comparison, `Latents.from_image` of the images.
        pairs: Number of random pairs for any two levels and any distance; at most as many as the
            lower level has latents.
        seed: Seed of the choice.

    Raises:
        ValueError: If there are fewer than 8 images, or a number is out of range.

    Example:
        >>> import torch
        >>> from rgflow import Lattice
        >>> z = Latents.from_flat(torch.randn(2000, 192), Lattice(height=8, width=8), channels=3)
        >>> near = dependence(z).strata[0]
        >>> near.levels, near.distance, abs(near.information.value) < 0.002
        ((0, 0), 0, True)
    """
    check_whole("pairs", pairs, 2)
    check_whole("seed", seed, 0)
    if len(z) < MIN_IMAGES:
        raise ValueError(f"Expected at least {MIN_IMAGES} images; got {len(z)}.")
    random = np.random.default_rng(seed)
    x, bins = columns(z), bins_for(len(z), MAX_BINS)
    # Any shift but 0 pairs every image with another one.
    shift = int(random.integers(1, len(x)))
    strata = []
    for levels, distance, one, other in _chosen(z.lattice, z.channels, pairs, random):
        a, b = x[:, one], x[:, other]
        shuffled = np.roll(b, shift, 0)
        strata.append(
            Stratum(
                levels=levels,
                distance=distance,
                pairs=len(one),
                correlation=_correlation(a, b, shuffled),
                magnitude=_correlation(np.abs(a), np.abs(b), np.abs(shuffled)),
                information=_information(a, b, shuffled, bins),
            )
        )
    return Dependence(strata=tuple(strata), images=len(x), bins=bins, pairs=pairs, seed=seed)


def tree_distance(a: NDArray[np.int64], b: NDArray[np.int64], levels: int) -> NDArray[np.int64]:
    """RG steps from the lower of two latents up to their lowest common ancestor.

    Args:
        a: (h, i, j) of latents, [..., 3].
        b: The same of other latents, of a shape that broadcasts with that of `a`.
        levels: Number of levels; the root is above the top one.

    Returns:
        The distances, of the broadcast shape without its last axis.

    Example:
        >>> at = np.array([0, 0, 1]), np.array([[0, 0, 1], [0, 1, 0], [1, 0, 2], [2, 12, 0]])
        >>> tree_distance(*at, levels=3).tolist()
        [0, 1, 2, 3]
    """
    (ha, ia, ja), (hb, ib, jb) = np.moveaxis(a, -1, 0), np.moveaxis(b, -1, 0)
    meet = np.full(np.broadcast(ha, hb).shape, levels)
    for level in reversed(range(levels)):
        same = (ia >> level == ib >> level) & (ja >> level == jb >> level)
        meet[same & (np.maximum(ha, hb) <= level)] = level
    return meet - np.minimum(ha, hb)


def _chosen(
    lattice: Sites, channels: int, pairs: int, random: np.random.Generator
) -> list[tuple[tuple[int, int], int, NDArray[np.int64], NDArray[np.int64]]]:
    """Random pairs of latents, as indices of `columns`, by levels and distance."""
    size = lattice.height * lattice.width
    sites = np.stack((lattice.site_levels, *np.indices(lattice.site_levels.shape)), -1)
    sites = sites.reshape(size, 3)
    of_level = [np.flatnonzero(sites[:, 0] == level) for level in range(lattice.levels)]
    found: dict[tuple[tuple[int, int], int], set[tuple[int, int]]] = {}
    for low, lower in enumerate(of_level):
        latents = (lower + size * np.arange(channels)[:, None]).ravel()
        for one in random.permutation(latents)[:pairs].tolist():
            for high in range(low, lattice.levels):
                others = of_level[high]
                distances = tree_distance(sites[one % size], sites[others], lattice.levels)
                for distance in np.unique(distances).tolist():
                    at = others[distances == distance]
                    partners = (at + size * np.arange(channels)[:, None]).ravel()
                    partners = partners[partners != one]
                    if len(partners):
                        pair = (one, int(random.choice(partners)))
                        if low == high:
                            pair = (min(pair), max(pair))
                        found.setdefault(((low, high), distance), set()).add(pair)
    return [
        (levels, distance, *np.array(sorted(found[levels, distance])).T)
        for levels, distance in sorted(found)
    ]


def _correlation(a: Numbers, b: Numbers, shuffled: Numbers) -> Measured:
    """Root mean square of the correlations, from arrays [N, P]."""

    def squares(b: Numbers) -> NDArray[np.float64]:
        spread = np.maximum(a.std(0) * b.std(0), 1e-12)
        r = ((a - a.mean(0)) * (b - b.mean(0))).mean(0, dtype=np.float64) / spread
        return r**2

    mean, error = mean_and_error(squares(b))
    value = mean**0.5
    return Measured(
        value=value,
        error=error / max(2 * value, 1e-12),
        floor=float(squares(shuffled).mean() ** 0.5),
    )


def _information(a: Numbers, b: Numbers, shuffled: Numbers, bins: int) -> Measured:
    value, error = mean_and_error(pairwise_information(a, b, bins).nats)
    floor = float(pairwise_information(a, shuffled, bins).nats.mean())
    return Measured(value=value, error=error, floor=floor)
