"""The panel Latents: which there are, what they change, and how to move them."""

import math
from collections.abc import Sequence
from typing import Any

import gradio as gr
from torch import Tensor

from rgflow.app import views
from rgflow.app.films import animated, enlarged, latent_film, playing, toggle
from rgflow.app.page import REACH, Page, set_view, slider
from rgflow.app.workspace import FARTHEST, MOST_CHOSEN, USUAL, Workspace


def latents(page: Page) -> None:
    """Which latents there are, what they change, and how to move them."""
    with gr.Row():
        level = gr.Radio(
            [], label="Level of the receptive fields, from coarse to fine", elem_id="level", scale=3
        )
        overlay = gr.Checkbox(True, label="Over the image", elem_id="overlay", scale=1)
        every = gr.Button("Strongest", size="sm", scale=0, min_width=90, elem_id="strongest")
    film = gr.HTML(elem_id="film")
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
        play = gr.Button("Play", size="sm", min_width=60, elem_id="play")
    with gr.Row():
        name = gr.Textbox(
            label="Save the move as", placeholder="redder", min_width=120, elem_id="name"
        )
        save = gr.Button("Save", size="sm", scale=0, min_width=70, elem_id="save-direction")
        saved = gr.Dropdown([], label="Saved moves", min_width=120, elem_id="directions")
        amount = gr.Number(
            1, label="Times", minimum=-FARTHEST, maximum=FARTHEST, min_width=70, elem_id="times"
        )
        apply = gr.Button("Apply", size="sm", scale=0, min_width=70, elem_id="apply-direction")
        forget = gr.Button("Delete", size="sm", scale=0, min_width=70, elem_id="forget-direction")
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

    def keep(work: Workspace, name: str) -> None:
        if not (name or "").strip():
            raise ValueError("Expected a name for the move: enter one beside the button.")
        work.save_direction(name.strip())
        work.view.direction = name.strip()

    def known(work: Workspace, name: str | None) -> str:
        if name not in work.directions:
            raise ValueError("Expected a saved move: choose one, or save one first.")
        return str(name)

    def along(work: Workspace, name: str | None, amount: float | None) -> None:
        work.add_direction(known(work, name), float(amount or 0))

    def menu(work: Workspace) -> list[Any]:
        names = list(work.directions)
        chosen = work.view.direction
        return [gr.update(choices=names, value=chosen if chosen in names else None)]

    def film_of(work: Workspace) -> None:
        def make() -> str:
            address, images = latent_film(work)
            scale = max(1, 160 // images[0].shape[2])
            return animated(
                [enlarged(image, scale) for image in images], views.name(address, len(images[0]))
            )

        toggle(work, "latent", make)

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
    page.on(save.click, keep, [name])
    page.on(saved.input, set_view("direction"), [saved], refresh=False)
    page.on(apply.click, along, [saved, amount])
    page.on(forget.click, lambda work, name: work.delete_direction(known(work, name)), [saved])
    page.on(play.click, film_of, words="Drawing the frames")
    page.show([film], lambda work: [playing(work, "latent")])
    page.show([level, atlas, hint], show)
    page.show([saved], menu)
    page.show([*sliders, slider_revision], bars, lambda work: work.slider_revision)
