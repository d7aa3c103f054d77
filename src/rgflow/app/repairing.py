"""What is odd in an image, and holes filled in several ways."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rgflow.app.history import Moment
from rgflow.app.recipe import ARRAYS, Recipe, array
from rgflow.app.subject import Subject, decoded
from rgflow.app.workspace import Workspace
from rgflow.figures import to_bytes
from rgflow.flow import Flow
from rgflow.repair.climb import Climb
from rgflow.repair.comparison import Filled, fill
from rgflow.repair.particles import maps_once
from rgflow.repair.surprise import Proposal, Surprise, surprise

PARTICLES, SWEEPS, STEPS, DRAWS = 64, 3, 300, 100
"""How holes are filled in: by particles, or by a climb."""
FILL = "from rgflow.repair.comparison import fill"
CLIMB = "from rgflow.repair.climb import Climb"
"""What a script needs to do it again."""
CLIMBS = 3
"""Climbs from different starts, as one gives one answer."""


def odd(work: Workspace) -> tuple[Surprise, Proposal]:
    """How surprising every place of the current image is, and which are therefore proposed."""

    def found() -> tuple[Surprise, Proposal]:
        opened = work.opened
        maps = surprise(opened.flow, work.subject.image[None], opened.reference)
        return maps, maps.propose()

    result: tuple[Surprise, Proposal] = work.once("odd", (work.subject,), found)
    return result


def expected(flow: Flow) -> dict[str, Any]:
    """How holes are filled in, as `fill` takes it."""
    if maps_once(flow):
        return {"particles": PARTICLES, "sweeps": SWEEPS}
    return {"climb": Climb(steps=STEPS, draws=DRAWS)}


def most_steps(flow: Flow) -> int | None:
    """How many steps there are at the most; none: that depends on the hole."""
    return None if maps_once(flow) else CLIMBS * STEPS


def completions(
    moment: Moment,
    seed: int,
    progress: Callable[[int, float, Tensor], None],
    stopping: Callable[[], bool],
) -> list[Subject]:
    """Fill in what is marked.

    Args:
        moment: With the image and the mask.
        seed: Of whatever is random.
        progress: Told of every step: its number, log p in nats, and the image then.
        stopping: Asked after every step whether that is enough.

    Returns:
        The best, then other possible ones.
    """
    flow, image = moment.opened.flow, moment.subject.image
    settings = expected(flow)
    found, before = list[Subject](), 0
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

        filled = next(
            fill(
                flow,
                image[None],
                moment.mask,
                seed=seed + k,
                progress=after,
                preview=see,
                **settings,
            )
        )
        found += _subjects(moment, filled, steps, seed + k)
        before += steps
        if stopping():
            break
    return found


def _subjects(moment: Moment, filled: Filled, steps: int, seed: int) -> list[Subject]:
    """What was found in so many steps, as images."""
    opened = moment.opened
    settings = ", ".join(f"{name}={value}" for name, value in expected(opened.flow).items())
    code = (
        f"next(fill(flow, figures.to_bytes(flow.decode({{0}})), {array(moment.mask)}, "
        f"seed={seed}, progress=lambda name, step, log_p: step >= {steps}, {settings}))"
    )
    images = [to_bytes(filled.images)[0]]
    parts = [f"figures.to_bytes({code}.images)"]
    if filled.completions:
        samples = filled.completions[0].samples
        images += list(samples)
        parts += [f"{code}.completions[0].samples[{k}][None]" for k in range(len(samples))]
    imports = (*ARRAYS, FILL) if maps_once(opened.flow) else (*ARRAYS, CLIMB, FILL)
    subjects = []
    for image, part in zip(images, parts, strict=True):
        recipe = Recipe(
            f"flow.encode({part}, dtype=torch.float64)", (moment.subject.recipe,), imports
        )
        with torch.no_grad():
            z = opened.exact.encode(image[None])
        subjects.append(decoded(opened, z, recipe, "repaired"))
    return subjects
