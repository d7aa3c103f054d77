"""The panel Sample: draw images, and take one of them."""

from typing import Any, ClassVar

import gradio as gr

from rgflow.app import views
from rgflow.app.page import (
    MAX_LEVELS,
    Page,
    level_sliders,
    level_updates,
    seed_field,
    seed_from,
    slider,
)
from rgflow.app.panel import Panel
from rgflow.app.workspace import SAMPLE_TEMPERATURE, Workspace


class Sample(Panel):
    """Draw images, and take one of them."""

    title = "Sample"
    help = "Draw new images."
    hints: ClassVar = {
        "seed": "The first seed of the next images. The same seed and temperatures give the same "
        "image.",
        "count": "How many images to draw.",
        "draw": "Draw images with these settings.",
        "samples": "Choose an image to make it the current one.",
        "temperature": "Set all levels to the same temperature.",
        "temperature-0": "Temperature of the finest details: the lower, the more typical.",
        "temperature-#": "Temperature of this level: the lower, the more typical.",
    }

    def build(self, page: Page) -> None:
        """Make the components."""
        gr.Markdown(
            "Draw new images, and choose one: it becomes the current image. The lower the "
            "**temperature** of a level, the more typical it is; high temperatures give odd images."
        )
        with gr.Row():
            seed = seed_field(0, "seed")
            count = slider(1, 12, 8, step=1, label="How many", elem_id="count", scale=3)
            draw = gr.Button("Draw", variant="primary", elem_id="draw", min_width=90, scale=1)
        scale: dict[str, Any] = {
            "minimum": 0,
            "maximum": 1.5,
            "value": SAMPLE_TEMPERATURE,
            "step": 0.05,
        }
        alike = slider(label="Temperature of all levels", elem_id="temperature", **scale)
        with gr.Row():
            sliders = level_sliders("temperature", **scale)
        found = page.sheet("Samples", elem_id="samples")

        page.on(draw.click, self.draw, [seed, count, *sliders], [seed], words="Drawing")
        alike.input(None, [alike], sliders, js=f"value => Array({MAX_LEVELS}).fill(value)")
        page.on(found.choose, self.take, event=True)
        page.show(sliders, level_updates)
        page.show([found], lambda work: [self.found_samples(work)])

    def draw(self, work: Workspace, seed: float, count: float, *values: float) -> float:
        """Draw images; returns the seed of the next ones.

        Args:
            work: The workspace.
            seed: Of the first image.
            count: Number of images.
            values: Temperatures of the sliders.
        """
        first = seed_from(seed)
        temperature = list(map(float, values[: work.opened.flow.levels]))
        same = temperature[0] if len(set(temperature)) == 1 else temperature
        work.sample(range(first, first + int(count)), same)
        return seed_from(first + count)

    def found_samples(self, work: Workspace) -> str:
        """The samples to choose from."""
        samples = work.state.samples
        captions = [one.caption for one in samples]
        return views.images(samples, captions, work.image, empty="Nothing drawn yet.")

    def take(self, work: Workspace, event: gr.EventData) -> None:
        """Make a sample the current image."""
        samples = work.state.samples
        work.take(views.choice(event, samples, [one.caption for one in samples]))
