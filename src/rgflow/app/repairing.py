"""Filling in holes of the current image."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from rgflow.app.latent_image import LatentImage, encoded
from rgflow.app.workspace import Workspace
from rgflow.figures import to_bytes
from rgflow.lattice import Mask
from rgflow.repair.climb import Climb
from rgflow.repair.comparison import fill
from rgflow.repair.particles import maps_once

PARTICLES, SWEEPS, STEPS, DRAWS = 64, 3, 300, 100
"""Settings for filling in holes: particles and sweeps, or steps and draws of a climb."""
CLIMBS = 3
"""Climbs from different starts; each gives one completion."""


def paint(work: Workspace, mask: Mask) -> None:
    """Mark what to repair, [H, W]; the completions of the mask before are dropped."""
    work.commit(replace(work.state, mask=mask, completions=()))


def repair(work: Workspace, seed: int, stopping: Callable[[], bool]) -> None:
    """Fill in the mask, take the best completion, and offer others.

    Args:
        work: The workspace.
        seed: Of everything that is drawn.
        stopping: Called after every step; true ends the repair with what there is.

    Raises:
        ValueError: If nothing is marked.
    """
    flow, image, mask = work.opened.flow, work.image.pixels, work.state.mask
    if not mask.any():
        raise ValueError("Expected a region to repair; nothing is marked: paint over it first.")
    how: dict[str, Any] = {"climb": Climb(steps=STEPS, draws=DRAWS)}
    if once := maps_once(flow):
        how = {"particles": PARTICLES, "sweeps": SWEEPS}
    found = list[Tensor]()
    for k in range(1 if once else CLIMBS):
        how |= {"seed": seed + k, "progress": lambda *_: stopping()}
        filled = next(fill(flow, image[None], mask, **how))
        found.append(to_bytes(filled.images)[0])
        if filled.completions:
            found += list(filled.completions[0].samples)
        if stopping():
            break
    accept(work, [encoded(work.opened, one, "repaired") for one in found])


def accept(work: Workspace, completions: Sequence[LatentImage], number: int = 0) -> None:
    """Make one of some completions the current image, and go on offering all."""
    offered, new = tuple(completions), completions[number]
    work.commit(replace(work.state, image=new, completions=offered, first=None, shares=()))
