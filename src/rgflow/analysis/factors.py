"""What the latents of a trained flow say about the factors of images: all analyses at once.

Letters in shapes: N images; C channels; H, W rows and columns.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rgflow.analysis.associations import Associations, associations
from rgflow.analysis.dependence import Dependence, dependence
from rgflow.analysis.directions import Direction, check_levels, directions
from rgflow.analysis.disentanglement import Disentanglement, disentanglement
from rgflow.analysis.fields import ReceptiveFields, receptive_fields
from rgflow.analysis.labels import Label, check_labels, spread
from rgflow.analysis.levels import encode
from rgflow.analysis.probes import ProbeTable, probe_levels
from rgflow.bijectors.pixels import dequantize
from rgflow.checks import check_whole
from rgflow.files import plain
from rgflow.flow import Flow
from rgflow.latents import Address, Latents
from rgflow.text import Report, counter


@dataclass(frozen=True, kw_only=True, eq=False)
class Factors:
    """What was found about the meaning of latents.

    Attributes:
        images: N.
        seed: Seed of the dequantisation noise and all other randomness.
        fields: The receptive fields of all latents.
        latents: How dependent latents are.
        pixels: How dependent the pixels of the same images are, at the same positions.
        labels: The labels; without any, what follows is none or empty.
        associations: Which latents go with which labels.
        probes: Which level holds which factor.
        scores: MIG and DCI of the strongest latents.
        directions: Directions in which labels rise: labels of the whole image, and of four places.
    """

    images: int
    seed: int
    fields: ReceptiveFields
    latents: Dependence
    pixels: Dependence
    labels: tuple[Label, ...] = ()
    associations: Associations | None = None
    probes: ProbeTable | None = None
    scores: Disentanglement | None = None
    directions: tuple[Direction, ...] = ()

    def plain(self) -> dict[str, Any]:
        """All results as plain values: of the associations the five best latents for each label, of
        the directions all but the vectors."""
        found: dict[str, Any] = {
            "images": self.images,
            "seed": self.seed,
            "dependence": {"latents": self.latents, "pixels": self.pixels},
        }
        if (of := self.associations) and self.probes:
            found |= {
                "associations": {
                    "bins": of.bins,
                    "rate": of.rate,
                    "significant": int(of.significant.sum()),
                    "pairs": of.significant.size,
                    "labels": {name: of.latents_of(name) for name in of.labels},
                },
                "probes": self.probes,
                "disentanglement": self.scores,
                "directions": [
                    {name: value for name, value in vars(one).items() if name != "vector"}
                    for one in self.directions
                ],
            }
        plain_values: dict[str, Any] = plain(found)
        return plain_values

    def names(self, each: int = 8) -> dict[str, list[Address]]:
        """What latents are about: at most so many with the most information about a label, by its
        group; a latent stands for the label that it has most information about."""
        known, found = dict[Address, tuple[float, str]](), dict[str, list[Address]]()
        for label in self.labels if self.associations else ():
            group = re.sub(r" \d+$", "", label.group)  # the number of a colour's component
            name = group.removesuffix("_class").replace("_", " ")
            for one in self.associations.latents_of(label.name, each):  # type: ignore[union-attr]
                if one.significant:
                    before = known.get(one.address, (0.0, ""))
                    known[one.address] = max(before, (one.information, name))
        for address, (_, name) in sorted(known.items(), key=lambda one: -one[1][0]):
            found.setdefault(name, []).append(address)
        return found


def find_factors(
    flow: Flow,
    images: Tensor,
    labels: Sequence[Label] = (),
    *,
    levels: Sequence[int] | None = None,
    places: int = 8,
    strongest: int = 200,
    fields: ReceptiveFields | None = None,
    draws: int = 2,
    seed: int = 0,
    batch_size: int = 128,
    progress: Report | None = None,
) -> Factors:
    """Find what latents mean.

    8-bit images are encoded with noise, as in training.

    Args:
        flow: The flow.
        images: [N, C, H, W].
        labels: Labels of the images; none: only what needs no labels. Binary labels that fewer than
            8 images have or lack are neither probed nor given directions.
        levels: Levels in which directions are fitted; none: all.
        places: As for `probe_levels`; for MIG, DCI and directions at most four.
        strongest: Number of latents with the strongest receptive fields, for MIG and DCI.
        fields: The receptive fields of all latents, if they have been computed.
        draws: Number of latents drawn for the receptive fields, if these aren't given.
        seed: Seed of all randomness.
        batch_size: Images encoded at a time.
        progress: Called with the name of each part, the steps done, and all its steps.

    Raises:
        ValueError: If images or fields don't fit the flow, the labels don't fit the images, or a
            number is out of range.
    """
    check_whole("strongest", strongest, 2)
    check_whole("batch_size", batch_size, 1)
    check_whole("places", places, 1)  # now, rather than after minutes
    if levels is not None:
        check_levels(flow.lattice, levels)
    if labels:
        check_labels(images, labels)
    if fields and (fields.lattice != flow.lattice or fields.strengths.isnan().any()):
        raise ValueError("Expected receptive fields of all latents of this flow; got others.")

    x = images.to(flow.dtype)
    if flow.pixels is not None and images.dtype == torch.uint8:
        x = dequantize(images, torch.Generator().manual_seed(seed), flow.dtype)
    advance = counter(progress, "encoding", len(x))
    z = encode(flow, x, batch_size=batch_size, progress=advance)
    if fields is None:
        advance = counter(progress, "receptive fields", draws)
        fields = receptive_fields(flow, draws=draws, seed=seed, progress=advance)
    others = Latents.from_image(x, flow.lattice)
    dependences, advance = [], counter(progress, "dependence", 2)
    for of in (z, others):
        dependences.append(dependence(of, seed=seed))
        advance(1)
    unlabelled = Factors(
        images=len(z),
        seed=seed,
        fields=fields,
        latents=dependences[0],
        pixels=dependences[1],
    )
    if not labels:
        return unlabelled
    advance = counter(progress, "labels", 3)
    advance(0)
    found = associations(z, labels)
    advance(1)
    some = spread(labels, min(places, 4))
    scores = None
    if len(some) > 1:
        code = np.stack([z[address].numpy() for address in fields.strongest(strongest)], 1)
        scores = disentanglement(code, some, seed=seed)
    advance(1)
    common = [label for label in some if label.common]
    found_directions = directions(z, common, levels, seed=seed) if common else ()
    advance(1)
    on_probes = progress and partial(progress, "probing levels")
    return replace(
        unlabelled,
        labels=tuple(labels),
        associations=found,
        probes=probe_levels(z, labels, places=places, seed=seed, progress=on_probes),
        scores=scores,
        directions=found_directions,
    )
