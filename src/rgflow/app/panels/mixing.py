"""The panel Mix: the coarse of one image with the fine of another."""

from collections.abc import Sequence
from typing import Any

import gradio as gr
from torch import Tensor

from rgflow.analysis.mixing import every_threshold
from rgflow.app import views
from rgflow.app.latent_image import sampled
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
from rgflow.app.workspace import USUAL, Workspace


def mixing(page: Page) -> None:
    """The coarse of one image with the fine of another."""
    gr.Markdown(
        "Combine the coarse levels of the **current image** with the fine levels of a **second**: "
        "levels below Θ come from the second. Draw a second image, or take the current one and "
        "then choose another."
    )
    with gr.Row():
        seed = seed_field(100, "mix-seed")
        other = gr.Button("Draw a second", size="sm", min_width=80, elem_id="draw-second")
        use = gr.Button("Take the current", size="sm", min_width=80, elem_id="use-second")
        swap = gr.Button("Swap", size="sm", min_width=60, elem_id="swap")
    second = page.sheet("Second image and mixtures", elem_id="mixtures")
    gr.Markdown("Share of the second image at each level:")
    with gr.Row():
        sliders = level_sliders("share", minimum=0, maximum=1, value=0, step=0.05)
    with gr.Row():
        linear = slider(0, 1, 0, step=0.05, label="All levels (linear)", elem_id="linear")
    slider_revision = gr.Number(0, precision=0, visible="hidden")

    def draw(work: Workspace, seed: float) -> None:
        work.set_second(sampled(work.opened, [seed_from(seed)], USUAL)[0])

    def take_current(work: Workspace) -> None:
        work.set_second(work.image)

    def captions(ways: int) -> list[str]:
        return ["second", "Θ = 0: first", *(f"Θ = {k}" for k in range(1, ways))]

    def show(work: Workspace) -> str:
        if work.state.second is None or work.view.panel != "Mix":
            work.view.mixtures = []
            return views.sheet([], empty="No second image yet.")
        if work.state.second is work.first:
            work.view.mixtures = []
            return views.sheet(
                [],
                empty="The current image is now the second: draw or choose another as the first to "
                "mix the two.",
            )
        ways = every_threshold(work.opened.flow.levels)
        mixed = work.cached(
            "mixtures", (work.first, work.state.second), lambda: work.mixed(list(ways))
        )
        work.view.mixtures = [work.state.second, *mixed]
        shares = work.state.shares or (0.0,) * work.opened.flow.levels
        chosen = next((m for m, way in zip(mixed, ways, strict=True) if tuple(way) == shares), None)
        return views.images(work.view.mixtures, captions(len(ways)), chosen=chosen)

    def choose(work: Workspace, event: gr.EventData) -> None:
        ways = every_threshold(work.opened.flow.levels)
        if shares := views.choice(event, [(), *ways], captions(len(ways))):
            work.mix([float(share) for share in shares])

    def preview(work: Workspace, values: Sequence[float]) -> Tensor:
        return work.preview_mixed(per_level(work, values))

    def put(work: Workspace, values: Sequence[float]) -> None:
        work.mixing = per_level(work, values)

    def bars(work: Workspace) -> list[Any]:
        now, able = work.state, work.state.second not in (None, work.first)
        shares = now.shares or (0.0,) * work.opened.flow.levels
        found = [
            gr.update(**update, value=round(share, 2), interactive=able)
            for update, share in zip(level_updates(work), pad(shares), strict=True)
        ]
        return [*found, work.slider_revision]

    def one_for_all(work: Workspace) -> list[Any]:
        shares = set(work.state.shares)
        same = shares.pop() if len(shares) == 1 else 0.0
        return [gr.update(value=same, interactive=work.state.second is not None)]

    page.on(other.click, draw, [seed], words="Drawing")
    page.on(use.click, take_current)
    page.on(swap.click, lambda work: work.swap())
    page.on(second.choose, choose, event=True, words="Mixing")
    page.live(sliders, slider_revision, preview, put)
    page.live([linear], slider_revision, preview, put, others=sliders)
    page.show([second], lambda work: [show(work)])
    page.show([*sliders, slider_revision], bars, lambda work: work.slider_revision)
    page.show(
        [linear], one_for_all, lambda work: (work.slider_revision, len(set(work.state.shares)) > 1)
    )
    page.show([swap], lambda work: [gr.update(interactive=work.state.second is not None)])


def pad(shares: Sequence[float]) -> list[float]:
    """Shares for as many sliders as there may be."""
    return [*shares, *[shares[-1]] * MOST_LEVELS][:MOST_LEVELS]
