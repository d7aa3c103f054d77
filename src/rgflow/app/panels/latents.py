"""The panel Latents: which there are, what they change, and how to move them."""

import math
from collections.abc import Sequence
from typing import Any

import gradio as gr
from torch import Tensor

from rgflow.app import views
from rgflow.app.page import REACH, Page, set_view, slider
from rgflow.app.workspace import MOST_CHOSEN, USUAL, Workspace


def latents(page: Page) -> None:
    """Which latents there are, what they change, and how to move them."""
    with gr.Row():
        level = gr.Radio(
            [], label="Level of the receptive fields, from coarse to fine", elem_id="level", scale=3
        )
        overlay = gr.Checkbox(True, label="Over the image", elem_id="overlay", scale=1)
        every = gr.Button("Strongest", size="sm", scale=0, min_width=90, elem_id="strongest")
    atlas = page.sheet("Receptive fields", elem_id="atlas")
    hint = gr.Markdown(elem_id="hint")
    sliders = [
        slider(-REACH, REACH, 0, step=0.05, visible=False, elem_id=f"latent-{k}")
        for k in range(MOST_CHOSEN)
    ]
    with gr.Row():
        reset = gr.Button("Reset all", size="sm", min_width=60, elem_id="reset")
        clear = gr.Button("Clear sliders", size="sm", min_width=60, elem_id="unchoose")
        zero = gr.Button("Zero level", size="sm", min_width=60, elem_id="zero")
        anew = gr.Button("Redraw level", size="sm", min_width=60, elem_id="anew")
        back = gr.Button("Restore level", size="sm", min_width=60, elem_id="back")
    slider_revision = gr.Number(0, precision=0, visible="hidden")

    def show(work: Workspace) -> list[Any]:
        choices = list(reversed(range(work.opened.flow.levels)))
        radio = gr.update(choices=[(str(h), h) for h in choices], value=work.level)
        if work.view.panel != "Latents":
            return [radio, gr.skip(), gr.skip()]
        with page.sessions.computing.released():  # they may not be found yet
            fields = work.opened.fields
        found = views.listed(work)
        if work.view.pixel:
            text = (
                f"Latents of level {work.level} that change pixel {work.view.pixel} most. Choose "
                f"one for a slider."
            )
        else:
            text = (
                f"The strongest latents of level {work.level} (row, column, colour): bright where "
                f"they change the image. Choose one for a slider, or click a pixel to see what "
                f"changes it."
            )
        work.view.listed = found
        return [radio, views.fields(fields, found, work.state.chosen), text]

    def bars(work: Workspace) -> list[Any]:
        chosen, values = work.state.chosen, work.values()
        channels = work.opened.flow.image_shape[0]
        found = [
            gr.update(
                visible=True,
                label=views.name(chosen[k], channels),
                value=round(values[k], 2),
                minimum=min(-REACH, math.floor(values[k])),  # it may be far from what is usual
                maximum=max(REACH, math.ceil(values[k])),
            )
            if k < len(chosen)
            else gr.update(visible=False, value=0)
            for k in range(MOST_CHOSEN)
        ]
        return [*found, work.slider_revision]

    def now(work: Workspace, values: Sequence[float]) -> list[float]:
        return [float(value) for value in values[: len(work.state.chosen)]]

    def preview(work: Workspace, values: Sequence[float]) -> Tensor:
        return work.preview(now(work, values))

    def put(work: Workspace, values: Sequence[float]) -> None:
        work.pending = now(work, values)

    def pick(work: Workspace, event: gr.EventData) -> None:
        listed, channels = work.view.listed, work.opened.flow.image_shape[0]
        work.choose(views.choice(event, listed, [views.short(one, channels) for one in listed]))

    page.on(level.input, set_view("level"), [level])
    page.on(overlay.input, set_view("overlay"), [overlay])
    page.on(every.click, set_view("pixel"))
    page.on(atlas.choose, pick, event=True)
    page.live(sliders, slider_revision, preview, put)
    page.on(reset.click, lambda work: work.reset())
    page.on(clear.click, lambda work: work.clear_chosen())
    page.on(zero.click, lambda work: work.zero(work.level))
    page.on(anew.click, lambda work: work.redraw(work.level, work.revision + 1, USUAL))
    page.on(back.click, lambda work: work.restore(work.level))
    page.show([level, atlas, hint], show)
    page.show([*sliders, slider_revision], bars, lambda work: work.slider_revision)
