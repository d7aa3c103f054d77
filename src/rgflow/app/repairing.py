"""Finding odd places in an image, and filling in holes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rgflow.app.history import State
from rgflow.app.latent_image import LatentImage, encoded
from rgflow.app.workspace import Workspace
from rgflow.figures import to_bytes
from rgflow.flow import Flow
from rgflow.repair.climb import Climb
from rgflow.repair.comparison import Filled, fill
from rgflow.repair.particles import maps_once
from rgflow.repair.surprise import Proposal, Surprise, surprise

PARTICLES, SWEEPS, STEPS, DRAWS = 64, 3, 300, 100
"""Settings for filling in holes, by particles or by a climb."""
NOISES, NOISE = 4, 1.0
"""Draws of the noise by which likelihoods are compared, and nats that are none."""
CLIMBS = 3
"""Climbs from different starts, as one gives one answer."""


def odd(work: Workspace) -> tuple[Surprise, Proposal]:
    """A map of how surprising every place of the current image is, and the region proposed."""
    opened, pixels = work.opened, work.image.pixels[None]
    maps = work.cached(
        "odd", (work.image,), lambda: surprise(opened.flow, pixels, opened.reference)
    )
    return maps, maps.propose()


def settings_for(flow: Flow) -> dict[str, Any]:
    """The arguments of `fill` for a flow."""
    if maps_once(flow):
        return {"particles": PARTICLES, "sweeps": SWEEPS}
    return {"climb": Climb(steps=STEPS, draws=DRAWS)}


def most_steps(flow: Flow) -> int | None:
    """The largest number of steps; none: it depends on the hole."""
    return None if maps_once(flow) else CLIMBS * STEPS


def completions(
    state: State,
    seed: int,
    progress: Callable[[int, float, Tensor], None],
    stopping: Callable[[], bool],
) -> list[LatentImage]:
    """Fill in the mask.

    Args:
        progress: Called after every step with its number, log p in nats, and the image.
        stopping: Called after every step; true ends the repair.

    Returns:
        The best completion, then others.
    """
    flow, image = state.opened.flow, state.image.pixels
    settings = settings_for(flow)
    found, before = list[LatentImage](), 0
    for k in range(1 if maps_once(flow) else CLIMBS):
        steps, now = 0, image

        def see(images: Tensor) -> None:
            nonlocal now
            now = to_bytes(images)[0]

        def after(_: str, step: int, log_p: Tensor) -> bool:
            nonlocal steps
            steps = step
            progress(before + step, log_p.max().item(), now)  # noqa: B023
            return stopping()

        how = {"seed": seed + k, "progress": after, "preview": see, **settings}
        filled = next(fill(flow, image[None], state.mask, **how))
        found += _images(state, filled)
        before += steps
        if stopping():
            break
    return found


def less_likely(start: State, found: LatentImage) -> str:
    """A sentence, if a completion is less likely than what was there."""
    flow = start.opened.flow
    both = torch.stack([start.image.pixels, found.pixels])
    before, after = (-flow.unit.nats * flow.bits_per_dim(both, draws=NOISES)).tolist()
    if after >= before - NOISE:
        return ""
    return (
        f" It is {before - after:.0f} nats less likely than what was there, so the model saw no "
        f"damage there. Undo restores it."
    )


def _images(state: State, filled: Filled) -> list[LatentImage]:
    """The completions that were found, the best first."""
    images = [to_bytes(filled.images)[0]]
    if filled.completions:
        images += list(filled.completions[0].samples)
    return [encoded(state.opened, image, "repaired") for image in images]
