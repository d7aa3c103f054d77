"""Finding odd places in the current image, and filling in holes."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rgflow.app.history import State
from rgflow.app.latent_image import LatentImage, encoded
from rgflow.app.sessions import SessionStore
from rgflow.app.workspace import Step, Workspace
from rgflow.figures import to_bytes
from rgflow.flow import Flow
from rgflow.lattice import Mask
from rgflow.repair.climb import Climb
from rgflow.repair.comparison import fill
from rgflow.repair.particles import maps_once
from rgflow.repair.surprise import Proposal, Surprise, surprise

PARTICLES, SWEEPS, STEPS, DRAWS = 64, 3, 300, 100
"""Settings for filling in holes: particles and sweeps, or steps and draws of a climb."""
CLIMBS = 3
"""Climbs from different starts; each gives one completion."""
NOISE_DRAWS, NOISE_NATS = 4, 1.0
"""Draws of the noise with which likelihoods are compared, and the largest negligible difference in
nats."""
DAMAGED_SHARE = 5
"""The trial damage is a square with 1/5 of the image's edge."""


def odd(work: Workspace) -> tuple[Surprise, Proposal]:
    """A map of how surprising every place of the current image is, and the region proposed."""
    opened, pixels = work.opened, work.image.pixels[None]
    maps = work.cached(
        "odd", (work.image,), lambda: surprise(opened.flow, pixels, opened.reference)
    )
    return maps, maps.propose()


def settings_for(flow: Flow) -> dict[str, Any]:
    """The arguments of `rgflow.repair.comparison.fill` for a flow."""
    if maps_once(flow):
        return {"particles": PARTICLES, "sweeps": SWEEPS}
    return {"climb": Climb(steps=STEPS, draws=DRAWS)}


def most_steps(flow: Flow) -> int | None:
    """The maximum number of steps; none: it depends on the hole."""
    return None if maps_once(flow) else CLIMBS * STEPS


def completions(
    state: State,
    seed: int,
    progress: Callable[[int, float, Tensor], None],
    stopping: Callable[[], bool],
) -> list[LatentImage]:
    """Fill in the mask.

    Args:
        state: The image and the mask.
        seed: Of everything that is drawn.
        progress: Called after every step with its number, log p in nats, and the image, uint8
            [C, H, W].
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
        images = [to_bytes(filled.images)[0]]
        if filled.completions:
            images += list(filled.completions[0].samples)
        found += [encoded(state.opened, one, "repaired") for one in images]
        before += steps
        if stopping():
            break
    return found


def less_likely(start: State, found: LatentImage) -> str:
    """A sentence that says so if a completion is less likely than what was there; else empty."""
    flow = start.opened.flow
    both = torch.stack([start.image.pixels, found.pixels])
    before, after = (-flow.unit.nats * flow.bits_per_dim(both, draws=NOISE_DRAWS)).tolist()
    if after >= before - NOISE_NATS:
        return ""
    return (
        f" It is {before - after:.0f} nats less likely than what was there, so the model saw no "
        f"damage there. Undo restores it."
    )


def begin(sessions: SessionStore, work: Workspace, seed: int) -> None:
    """Begin to repair, in a thread of its own; the page stays usable meanwhile.

    The repair goes on if the page is closed, as another may take over its workspace.

    Args:
        sessions: Of all visitors.
        work: Of the visitor; it shows the steps and, in the end, the completions.
        seed: Of everything that is drawn.

    Raises:
        ValueError: If nothing is marked, or a repair is running.
    """
    start, session = work.state, sessions.holding(work)
    if work.repairing:
        raise ValueError("Expected the running repair to end first: wait, or stop it.")
    if not start.mask.any():
        raise ValueError("Expected a region to repair: paint one, or let the model find it.")
    work.repairing, work.stopping = True, False

    def progress(number: int, log_p: float, image: Tensor) -> None:
        work.step = Step(start, number, log_p, image)

    def stopping() -> bool:
        with sessions.computing.released():
            return work.stopping

    def run() -> None:
        try:
            with sessions.computing:
                found = completions(start, seed, progress, stopping)
            with sessions.opened(session):
                words = f"Repaired ({'stopped' if work.stopping else 'done'})."
                show_completions(work, start, found, words + less_likely(start, found[0]))
        except Exception as error:  # shown to whoever waits, whatever it is
            show_message(work, " ".join(str(error).split()))
        finally:
            work.repairing, work.step = False, None

    # No daemon, as Python aborts if it ends while one of those is inside PyTorch.
    threading.Thread(target=run).start()


def damage(work: Workspace, seed: int) -> None:
    """Put noise into a square of the image, to be found and repaired."""
    found, original = work.image.pixels.clone(), work.image
    channels, height, width = found.shape
    edge, random = max(2, min(height, width) // DAMAGED_SHARE), np.random.default_rng(seed)
    i, j = (int(random.integers(size - edge + 1)) for size in (height, width))
    noise = random.integers(256, size=(channels, edge, edge), dtype=np.uint8)
    found[:, i : i + edge, j : j + edge] = torch.from_numpy(noise)
    work.take(work.encode(found, f"{original.caption}, damaged"))
    work.amend(replace(work.state, original=original))


def paint(work: Workspace, mask: Mask) -> None:
    """Mark what to repair, [H, W]; the completions of the mask before are dropped."""
    work.commit(replace(work.state, mask=mask, completions=(), message=""))


def show_message(work: Workspace, message: str) -> None:
    """Set what the repair panel says."""
    work.amend(replace(work.state, message=message))


def show_completions(work: Workspace, start: State, found: list[LatentImage], message: str) -> bool:
    """Show completions, and take the first unless the image or the mask has changed meanwhile.

    Args:
        work: The workspace.
        start: The state that was repaired; if it is of another model, nothing is shown.
        found: The completions, the best first.
        message: What the repair panel says.

    Returns:
        Whether the first was taken.
    """
    now = work.state
    if now.opened is not start.opened:
        return False
    same = now.image is start.image and now.mask is start.mask
    if not same:
        message += " The image has changed meanwhile: choose a completion to use it anyway."
    # Without its own start, as every state would keep all before it.
    start = replace(start, start=None)
    offered = replace(now, completions=tuple(found), start=start, message=message)
    if same:
        work.commit(_repaired(offered, found[0]))
    else:
        work.amend(offered)
    return same


def accept(work: Workspace, image: LatentImage) -> None:
    """Make a completion the current image."""
    work.commit(_repaired(work.state, image))


def _repaired(state: State, image: LatentImage) -> State:
    """The state with a completion as the image, and the repaired image to compare with."""
    start = state.start
    assert start
    original = start.original or start.image
    new = replace(state, image=image, base=image, mask=start.mask, original=original)
    return replace(new, first=None, shares=())
