"""The panel Repair: paint a hole, and let the model fill it in."""

from typing import ClassVar

import gradio as gr
import numpy as np

from rgflow.app import repairing, views
from rgflow.app.page import Page, seed_field, seed_from, slider
from rgflow.app.panel import Panel
from rgflow.app.workspace import Workspace
from rgflow.metrics.images import psnr

STEP_SECONDS = 0.5
"""Seconds between two looks at a running repair."""


class Repair(Panel):
    """Paint a hole, and let the model fill it in."""

    title = "Repair"
    help = "Fill in what is missing or wrong."
    hints: ClassVar = {
        "brush": "Width of the brush, in pixels of the model.",
        "erase": "Brush strokes unmark instead of marking.",
        "clear-mask": "Unmark everything.",
        "find": "Mark what the model finds improbable: damage, or something it has never seen.",
        "damage": "Fill a square of the image with noise, to try out the repair.",
        "hole-seed": "Another seed gives other completions.",
        "repair": "Fill in what is marked.",
        "stop": "Stop, and keep the best so far.",
        "completions": "Possible completions. Choose one to use it.",
        "progress": "log p at each step: how likely the model finds the whole image. It may fall; "
        "the likeliest image found is kept.",
        "psnr": "Peak signal-to-noise ratio: how close the image is to the original. Above 40 dB a "
        "difference is hardly visible.",
    }
    tour = (
        "The image was just damaged. Press Find what is odd, or paint over the damage; then press "
        "Repair. The model offers several completions that fit the rest of the image. Undo brings "
        "the image back."
    )
    tour_click = "#damage"

    def build(self, page: Page) -> None:
        """Make the components."""
        gr.Markdown(
            "**Paint** over what is wrong, or let the model find it. Then press Repair: the model "
            "fills in what fits the rest."
        )
        with gr.Row():
            slider(1, 9, 3, step=2, label="Brush", min_width=100, elem_id="brush", interactive=True)
            gr.Checkbox(False, label="Erase", elem_id="erase", interactive=True)
            wipe = gr.Button("Clear mask", size="sm", min_width=60, elem_id="clear-mask")
            damage = gr.Button("Damage it", size="sm", min_width=60, elem_id="damage")
            find = gr.Button("Find what is odd", size="sm", min_width=90, elem_id="find")
        with gr.Row():
            seed = seed_field(0, "hole-seed")
            start = gr.Button("Repair", variant="primary", elem_id="repair")
            stop = gr.Button("Stop", elem_id="stop", interactive=False)
        message = gr.HTML(elem_id="progress")
        found = page.sheet("Completions", elem_id="completions")
        score = gr.HTML(elem_id="psnr")
        timer = gr.Timer(STEP_SECONDS, active=False)

        def begin(work: Workspace, seed: float) -> None:
            repairing.begin(page.sessions, work, seed_from(seed))

        def halt(request: gr.Request) -> None:
            page.sessions.stop(str(request.session_hash))

        def look(work: Workspace) -> None:
            with page.sessions.computing.released():  # it may have to look at many images first
                work.opened.reference  # noqa: B018
            self.find(work)

        page.on(wipe.click, lambda work: repairing.paint(work, np.zeros_like(work.state.mask)))
        page.on(
            damage.click,
            lambda work: repairing.damage(work, work.revision),
            words="Damaging the image",
        )
        page.on(find.click, look, words="Looking for odd regions; the first search takes longest")
        page.on(found.choose, self.choose, event=True)
        stop.click(halt, queue=False, api_visibility="private")
        page.on(start.click, begin, [seed])
        page.on(timer.tick, lambda work: None, apply_pending=False, trigger_mode="once")
        page.show([found, score], lambda work: [self.completions_sheet(work), self.score(work)])
        page.show([message], lambda work: [self.said(work)])
        page.show(
            [stop, start, timer],
            lambda work: [
                gr.update(interactive=work.repairing),
                gr.update(interactive=not work.repairing),
                gr.Timer(active=work.repairing),
            ],
        )

    def said(self, work: Workspace) -> str:
        """The last step of the running repair, or how the last one ended, as HTML."""
        if not work.repairing:
            return f"<p>{work.state.message}</p>" if work.state.message else ""
        if (step := work.step) is None:
            return "<p>Starting the repair …</p>"
        most = repairing.most_steps(step.start.opened.flow)
        of = f" of {most}" if most else ""
        return f"<p>Step {step.number}{of}, log p {step.log_p:.0f} nats</p>"

    def drawn(self, work: Workspace) -> str:
        """The image with the mask, which is painted, or as the running repair has filled it in."""
        if (step := work.step) and work.state is step.start:
            return views.canvas(work, image=step.image, paint=True, filled=True)
        return views.canvas(work, paint=True)

    def find(self, work: Workspace) -> None:
        """Mark what is odd, if anything is."""
        proposal = repairing.odd(work)[1]
        if proposal.masks[0].any():
            repairing.paint(work, proposal.masks[0])
        repairing.show_message(work, proposal.sentence(0))

    def completions_sheet(self, work: Workspace) -> str:
        """The completions to choose from."""
        return views.images(work.state.completions, _captions(work), chosen=work.image)

    def choose(self, work: Workspace, event: gr.EventData) -> None:
        """Make a completion the current image."""
        found = work.state.completions
        repairing.accept(work, views.choice(event, found, _captions(work)))

    def score(self, work: Workspace) -> str:
        """How close the image is to the one before it was repaired, as HTML."""
        if work.state.original is None:
            return ""
        one, two = (x.pixels[None] for x in (work.image, work.state.original))
        decibels = psnr(one, two).values[0]
        text = "identical" if np.isinf(decibels) else f"PSNR {decibels:.1f} dB"
        return f"<p>Compared with the original image: {text}.</p>"


def _captions(work: Workspace) -> list[str]:
    count = len(work.state.completions)
    return ["likeliest", *(f"other {k}" for k in range(1, count))][:count]
