"""The panel Mix: the coarse of one image with the fine of another."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from rgflow.analysis.mixing import every_threshold, level_by_level, mix, straight
from rgflow.app import views
from rgflow.app.films import FRAMES, animated
from rgflow.app.page import (
    MOST_LEVELS,
    Page,
    level_sliders,
    level_updates,
    per_level,
    slider,
    whole,
)
from rgflow.app.subject import Subject, sampled
from rgflow.app.workspace import Workspace
from rgflow.figures.mixing import path_frames


def mixing(page: Page) -> None:
    """The coarse of one image with the fine of another."""
    gr.Markdown(
        "The coarse levels of the **current image** with the fine ones of a **second**: levels "
        "below Θ are of the second. Draw a second image, or take the current one and then choose "
        "another."
    )
    with gr.Row():
        seed = gr.Number(
            100, label="Seed", precision=0, minimum=0, min_width=80, elem_id="mix-seed"
        )
        other = gr.Button("Draw a second", size="sm", min_width=80, elem_id="draw-second")
        use = gr.Button("Take the current", size="sm", min_width=80, elem_id="use-second")
        swap = gr.Button("Swap", size="sm", min_width=60, elem_id="swap")
        play = gr.Button("Animate", size="sm", min_width=60, elem_id="animate-mix")
    second = page.sheet("Second image and mixtures", elem_id="mixtures")
    gr.Markdown("How much of the second image, level by level:")
    with gr.Row():
        sliders = level_sliders("share", minimum=0, maximum=1, value=0, step=0.05)
    with gr.Row():
        linear = slider(0, 1, 0, step=0.05, label="All levels alike (linear)", elem_id="linear")
        take = gr.Button("Keep mixture", size="sm", scale=0, elem_id="keep-mixture")
    film = gr.HTML(elem_id="mix-film")

    def draw(work: Workspace, seed: float) -> None:
        work.remember(sampled(work.opened, [whole(seed)], 0.8)[0])

    def exchange(work: Workspace) -> None:
        if work.moment.other is None:
            raise ValueError("Expected a second image to swap with: draw one first.")
        work.swap()

    def show(work: Workspace) -> str:
        if work.moment.other is None or work.view.panel != "Mix":
            work.view.mixtures = []
            return views.sheet([], empty="No second image yet.")
        ways = every_threshold(work.opened.flow.levels)
        mixed = work.once(
            "mixtures", (work.subject, work.moment.other), lambda: work.mixed(list(ways))
        )
        work.view.mixtures = [work.moment.other, *mixed]
        captions = ["second", *(f"Θ = {k}" for k in range(len(ways)))]
        return views.subjects(work.view.mixtures, captions)

    def choose(work: Workspace, event: gr.EventData) -> None:
        if index := int(event.index):
            work.change(work.view.mixtures[index])

    def shares(work: Workspace, values: Sequence[float]) -> Subject:
        return work.mixed([tuple(per_level(work, values))])[0]

    def preview(work: Workspace, *values: float) -> str:
        return views.canvas(work, image=shares(work, values).image)

    def keep(work: Workspace, *values: float) -> None:
        work.change(shares(work, values))

    def alike(work: Workspace, share: float) -> list[Any]:
        found = shares(work, [share] * MOST_LEVELS)
        return [views.canvas(work, image=found.image), *([share] * MOST_LEVELS)]

    def film_of(work: Workspace) -> str:
        if work.moment.other is None:
            raise ValueError("Expected a second image for a path to: draw one first.")
        levels = work.opened.flow.levels
        flow, a, b = work.opened.exact, work.subject.latents, work.moment.other.latents
        steps = max(2, FRAMES // levels)
        paths = {
            "level by level": mix(flow, a, b, level_by_level(levels, steps)),
            "linear": mix(flow, a, b, straight(levels, levels * steps)),
        }
        scale = max(1, 96 // flow.image_shape[1])
        return animated(path_frames(paths, scale=scale), "The path from one image to the other")

    page.on(other.click, draw, [seed])
    page.on(use.click, lambda work: work.remember(work.subject))
    page.on(swap.click, exchange)
    page.on(second.choose, choose, event=True)
    live: dict[str, Any] = {"core": False, "trigger_mode": "always_last"}
    for one in sliders:
        page.on(one.input, preview, sliders, [page.canvas], **live)
    page.on(linear.input, alike, [linear], [page.canvas, *sliders], **live)
    page.on(take.click, keep, sliders)
    page.on(play.click, film_of, outputs=[film], show_progress="minimal")
    page.shows([second], lambda work: [show(work)])
    page.shows(sliders, level_updates)
