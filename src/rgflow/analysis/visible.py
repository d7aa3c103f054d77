"""Latents that change an image most, known without labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sklearn.cluster import AgglomerativeClustering
from torch import Tensor

from rgflow.analysis.fields import VISIBLE, FieldSettings, ReceptiveFields
from rgflow.checks import check_at_least, check_whole
from rgflow.latents import Address
from rgflow.lattice import Sites

SIMILARITY = 0.8
"""Minimum average similarity of the fields of one group."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Visible(FieldSettings):
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
        most: Maximum number of latents that are ranked, and that `distinct` considers in each
            level.
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
    most: int
    similarity: float = SIMILARITY


def visible_latents(
    fields: ReceptiveFields, *, threshold: float = VISIBLE, most: int = 200
) -> Visible:
    """Rank latents by effect, count the visible ones, and group them by the shape of their field.

    Two fields have the same shape if one, moved over the image, matches the other: what they have
    in common is their largest normalised cross-correlation over all shifts, around the edges.
    Groups are formed by average linkage.

    The effective number of visible latents of the high levels says whether a flow, which has to
    have as many latents as there are pixels, spreads few factors over many of them (section 5).
    Over all latents of a level it also counts invisible ones.

    Args:
        fields: The receptive fields.
        threshold: Strength above which a latent counts as visible.
        most: Number of strongest latents to rank and group.

    Raises:
        ValueError: If a number is out of range.
    """
    check_at_least("threshold", threshold, 0.0)
    check_whole("most", most, 1)
    addresses = fields.strongest(most)
    strengths, errors = zip(*map(fields.strength, addresses), strict=True)
    per_level = [fields.of_level(level) for level in range(fields.lattice.levels)]
    return Visible(
        addresses=tuple(addresses),
        strengths=strengths,
        errors=errors,
        shapes=_shapes(_flat(fields, addresses), fields.lattice),
        counts=tuple(int((s > threshold).sum()) for s in per_level),
        effective=tuple(_effective(s) for s in per_level),
        effective_visible=tuple(_effective(s[s > threshold]) for s in per_level),
        distinct=tuple(
            _distinct(_flat(fields, fields.strongest(most, level)))
            for level in range(fields.lattice.levels)
        ),
        threshold=threshold,
        most=most,
        **fields.how(),
    )


def _effective(strengths: Tensor) -> float:
    """Effective number of latents (participation ratio of their strengths [n])."""
    return float(strengths.sum() ** 2 / (strengths**2).sum().clamp(min=1e-30))


def _flat(fields: ReceptiveFields, addresses: Sequence[Address]) -> Tensor:
    """The fields of n latents, [n, H·W]."""
    return torch.stack([fields.field(address) for address in addresses]).flatten(1).double()


def _shapes(fields: Tensor, lattice: Sites) -> tuple[int, ...]:
    """The group of fields of like shape that each field [n, H·W] belongs to, numbered by first
    occurrence."""
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
        distance_threshold=1 - SIMILARITY,
    )
    found = grouping.fit_predict((1 - (common + common.T) / 2).clamp(min=0).numpy()).tolist()
    numbers = {group: n for n, group in enumerate(dict.fromkeys(found))}
    return tuple(numbers[group] for group in found)


def _distinct(fields: Tensor) -> float:
    """Effective number of distinct fields [n, H·W]."""
    gram = fields @ fields.T
    return float(gram.trace() ** 2 / (gram**2).sum())
