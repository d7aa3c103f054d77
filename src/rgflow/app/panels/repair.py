"""The panel Repair: paint a hole, and let the model fill it in."""

from typing import ClassVar

import gradio as gr
import numpy as np

from rgflow.app import repairing, views
from rgflow.app.page import Page, seed_field, seed_from, slider
from rgflow.app.panel import Panel
from rgflow.app.workspace import Workspace


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

            repairing.repair(work, seed_from(seed), stopping)

        def halt(request: gr.Request) -> None:
            page.sessions.stop(str(request.session_hash))

        page.on(wipe.click, lambda work: repairing.paint(work, np.zeros_like(work.state.mask)))
        page.on(found.choose, self.choose, event=True)
        page.on(start.click, begin, [seed], words="Repairing")
        stop.click(halt, queue=False, api_visibility="private")
        page.show([found], lambda work: [self.completions(work)])

    def drawn(self, work: Workspace) -> str:
        """The image with the mask, which is painted."""
        return views.canvas(work, paint=True)

    def completions(self, work: Workspace) -> str:
        """The completions to choose from."""
        return views.images(work.state.completions, _captions(work), chosen=work.image)

    def choose(self, work: Workspace, event: gr.EventData) -> None:
        """Make a completion the current image."""
        found = work.state.completions
        number = views.choice(event, range(len(found)), _captions(work))
        repairing.accept(work, found, number)


def _captions(work: Workspace) -> list[str]:
    count = len(work.state.completions)
    return ["likeliest", *(f"other {k}" for k in range(1, count))][:count]
