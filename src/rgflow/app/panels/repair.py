"""The panel Repair: paint a hole, and let the model fill it in."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any, ClassVar

import gradio as gr
import numpy as np
from torch import Tensor

from rgflow.app import views
from rgflow.app.models import LatentImage
from rgflow.app.page import Page, seed_field, seed_from, slider
from rgflow.app.panel import Panel
from rgflow.app.workspace import Workspace
from rgflow.figures import to_bytes
from rgflow.lattice import Mask
from rgflow.repair.climb import Climb
from rgflow.repair.comparison import fill
from rgflow.repair.particles import maps_once

PARTICLES, STEPS, DRAWS = 32, 300, 100
"""Settings for filling in holes: particles, or steps and draws of a climb."""
CHAINS, CLIMBS = 6, 3
"""Chains of particles, or climbs, from different starts; each gives one completion, as successive
draws of a chain are too much alike."""


class Repair(Panel):
    """Paint a hole, and let the model fill it in."""

    title = "Repair"
    help = "Fill in what is missing or wrong."
    hints: ClassVar = {
        "brush": "Width of the brush, in pixels of the model.",
        "erase": "Brush strokes unmark instead of marking.",
        "clear-mask": "Unmark everything.",
        "hole-seed": "Another seed gives other completions.",
        "repair": "Fill in what is marked.",
        "stop": "Stop, and keep the best so far.",
        "completions": "Possible completions. Choose one to use it.",
    }

    def build(self, page: Page) -> None:
        """Make the components."""
        gr.Markdown(
            "**Paint** over what is wrong, then press Repair: the model fills in what fits the "
            "rest, and offers several completions."
        )
        with gr.Row():
            slider(1, 9, 3, step=2, label="Brush", min_width=100, elem_id="brush", interactive=True)
            gr.Checkbox(False, label="Erase", elem_id="erase", interactive=True)
            wipe = gr.Button("Clear mask", size="sm", min_width=60, elem_id="clear-mask")
        with gr.Row():
            seed = seed_field(0, "hole-seed")
            start = gr.Button("Repair", variant="primary", elem_id="repair")
            stop = gr.Button("Stop", elem_id="stop")
        found = page.sheet("Completions", elem_id="completions")

        def begin(work: Workspace, seed: float) -> None:
            work.stopping = False

            def stopping() -> bool:
                with page.sessions.computing.released():  # others go on meanwhile
                    return work.stopping

            repair(work, seed_from(seed), stopping)

        def halt(request: gr.Request) -> None:
            page.sessions.stop(str(request.session_hash))

        page.on(page.canvas.stroke, self.painted, event=True)
        page.on(wipe.click, lambda work: paint(work, np.zeros_like(work.state.mask)))
        page.on(found.choose, self.choose, event=True)
        page.on(start.click, begin, [seed], words="Repairing")
        stop.click(halt, queue=False, api_visibility="private")
        page.show([found], lambda work: [self.completions(work)])

    def drawn(self, work: Workspace) -> str:
        """The image with the mask, which is painted."""
        return views.canvas(work, paint=True)

    def painted(self, work: Workspace, event: gr.EventData) -> None:
        """Take the mask that was painted, by the numbers of its pixels."""
        mask = work.state.mask
        paint(work, np.isin(np.arange(mask.size), event.marked).reshape(mask.shape))

    def completions(self, work: Workspace) -> str:
        """The completions to choose from."""
        return views.images(work.state.completions, _captions(work), chosen=work.image)

    def choose(self, work: Workspace, event: gr.EventData) -> None:
        """Make a completion the current image."""
        found = work.state.completions
        accept(work, found, views.choice(event, range(len(found)), _captions(work)))


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
        raise ValueError("Expected something to repair; nothing is marked: paint over it first.")
    how: dict[str, Any] = {"climb": Climb(steps=STEPS, draws=DRAWS)}
    if once := maps_once(flow):
        how = {"particles": PARTICLES, "sweeps": 1}
    found = list[tuple[float, Tensor]]()
    for k in range(CHAINS if once else CLIMBS):
        how |= {"seed": seed + k, "progress": lambda *_: stopping()}
        filled = next(fill(flow, image[None], mask, **how))
        assert filled.log_prob is not None
        found.append((filled.log_prob[0].item(), to_bytes(filled.images)[0]))
        if stopping():
            break
    found.sort(key=itemgetter(0), reverse=True)
    accept(work, [work.encode(one, "repaired") for _, one in found])


def accept(work: Workspace, completions: Sequence[LatentImage], number: int = 0) -> None:
    """Make one of some completions the current image, and go on offering all."""
    offered, new = tuple(completions), completions[number]
    work.commit(replace(work.state, image=new, completions=offered, first=None, shares=()))


def _captions(work: Workspace) -> list[str]:
    count = len(work.state.completions)
    return ["likeliest", *(f"other {k}" for k in range(1, count))][:count]
