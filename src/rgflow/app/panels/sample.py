"""The panel Sample: draw images, and take one of them."""

from typing import Any

import gradio as gr

from rgflow.app import views
from rgflow.app.page import (
    MOST_LEVELS,
    Page,
    level_sliders,
    level_updates,
    per_level,
    seed_field,
    seed_from,
    slider,
)
from rgflow.app.workspace import Workspace


def sample(page: Page) -> None:
    """Draw images, and take one of them."""
    gr.Markdown(
        "Draw new images, and choose one: it becomes the current image. The lower the "
        "**temperature** of a level, the more typical it is; high temperatures give odd images."
    )
    with gr.Row():
        seed = seed_field(0, "seed")
        fresh = gr.Checkbox(True, label="New seeds", elem_id="fresh", min_width=90, scale=1)
        count = slider(1, 12, 8, step=1, label="How many", elem_id="count", scale=3)
        draw = gr.Button("Draw", variant="primary", elem_id="draw", min_width=90, scale=1)
    scale: dict[str, Any] = {"minimum": 0, "maximum": 1.5, "value": 0.8, "step": 0.05}
    alike = slider(label="Temperature of all levels", elem_id="temperature", **scale)
    with gr.Row():
        sliders = level_sliders("temperature", **scale)
    found = page.sheet("Samples", elem_id="samples")

    def draw_them(work: Workspace, seed: float, fresh: bool, count: float, *values: float) -> float:
        first = seed_from(seed)
        temperature = per_level(work, values)
        same = temperature[0] if len(set(temperature)) == 1 else temperature
        work.sample(range(first, first + int(count)), same)
        return seed_from(first + count) if fresh else first

    def listed(work: Workspace) -> str:
        samples = work.state.samples
        return views.images(
            samples, [one.caption for one in samples], work.image, empty="Nothing drawn yet."
        )

    def take(work: Workspace, event: gr.EventData) -> None:
        samples = work.state.samples
        work.take(views.choice(event, samples, [one.caption for one in samples]))

    page.on(draw.click, draw_them, [seed, fresh, count, *sliders], [seed], words="Drawing")
    alike.input(
        lambda value: [value] * MOST_LEVELS,
        [alike],
        sliders,
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )
    page.on(found.choose, take, event=True)
    page.show(sliders, level_updates)
    page.show([found], lambda work: [listed(work)])
