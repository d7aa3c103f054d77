"""Densities of flows of fields, averaged over symmetries of the lattice.

No action of neighbours changes where a field is turned, mirrored or moved. A flow's density q may,
as some sites are coarse and phases have an order. The average q̄(φ) = Σ_g q(g⁻¹φ)/|G| over a group
G has the symmetry, and is the density of gφ for φ drawn from q and g from G. It is closer to an
invariant p than q is: E_p[p/q̄] ≤ E_p[p/q] by Jensen's inequality, so the effective sample size
can only rise, but for chance. It takes |G| evaluations of q.

Letters in shapes: N fields; C components; H, W rows and columns.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from rgflow.checks import check_name
from rgflow.flow import Flow


@dataclass(frozen=True)
class Symmetry:
    """A map of fields [N, C, H, W]: rows and columns exchanged, mirrored along axes, and moved."""

    exchanged: bool
    mirrored: tuple[int, ...]
    moved: tuple[int, int]

    def __call__(self, fields: Tensor) -> Tensor:
        fields = fields.transpose(2, 3) if self.exchanged else fields
        return fields.flip(self.mirrored).roll(self.moved, (2, 3))


def of_lattice(name: str, height: int, width: int) -> list[Symmetry]:
    """A group of symmetries of a periodic lattice.

    Args:
        name: `"none"`; `"square"`: the eight turns and mirrors, or four if it isn't square;
            `"translations"`: by any rows and columns; `"all"`: both.
        height: H.
        width: W.

    Raises:
        ValueError: If there is no such group.

    Example:
        >>> [len(of_lattice(name, 4, 4)) for name in ("none", "square", "translations", "all")]
        [1, 8, 16, 128]
    """
    check_name("symmetries", name, ("none", "square", "translations", "all"))
    turns, moves = name in ("square", "all"), name in ("translations", "all")
    exchanged = (False, True) if turns and height == width else (False,)
    mirrored = ((), (2,), (3,), (2, 3)) if turns else ((),)
    moved = list(product(range(height), range(width))) if moves else [(0, 0)]
    return [Symmetry(*each) for each in product(exchanged, mirrored, moved)]


def averaged(flow: Flow, fields: Tensor, group: Sequence[Symmetry]) -> Tensor:
    """ln q̄ of fields [N, C, H, W] in nats, float64 [N].

    Example:
        >>> from rgflow import FlowConfig, GaussianPrior, RGFlow, SiteMap, Windows
        >>> shape = {"height": 4, "width": 4, "channels": 1, "prior": GaussianPrior()}
        >>> flow = RGFlow(FlowConfig(**shape, geometry=Windows(), map=SiteMap(), pixels=None))
        >>> fields, group = torch.randn(5, 1, 4, 4), of_lattice("square", 4, 4)
        >>> here, there = (averaged(flow, x, group) for x in (fields, fields.flip(2)))
        >>> torch.allclose(here, there)
        True
    """
    found = [flow.log_prob(each(fields)).double() for each in group]  # with g its inverse is in G
    return torch.stack(found).logsumexp(0) - math.log(len(group))


def scattered(fields: Tensor, group: Sequence[Symmetry], generator: torch.Generator) -> Tensor:
    """Fields [N, C, H, W], to each of which a random symmetry is applied; the generator is on the
    CPU."""
    which = torch.randint(len(group), (len(fields),), generator=generator).tolist()
    return torch.cat([group[g](one[None]) for g, one in zip(which, fields, strict=True)])
