"""The whole page: the current image, the panels beside it, the bar above."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from html import escape
from typing import Any

import gradio as gr
import torch
from torch import Tensor

from rgflow.app import bar, views
from rgflow.app.data_urls import png_url
from rgflow.app.page import Page, set_view
from rgflow.app.panel import Panel
from rgflow.app.sessions import SessionStore
from rgflow.app.workspace import Workspace
from rgflow.figures import to_bytes

MAX_PAGES = 512
"""Pages that may be open at a time; another waits until one is closed."""
HEARTBEAT = 5
"""Maximum number of seconds until a closed page is noticed."""


def build(sessions: SessionStore, panels: Sequence[Panel]) -> gr.Blocks:
    """The whole page.

    Args:
        sessions: Of its visitors.
        panels: In the order of the page.
    """
    page = Page(sessions)

    with gr.Blocks(
        title="rgflow explorer",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(600, 3600),  # seconds; of uploads
    ) as blocks:
        with gr.Row(elem_id="bar"):
            purpose = gr.HTML(elem_id="purpose")
            bar.build(page)
            settle = gr.Button("Settle", visible="hidden", elem_id="settle")  # what sliders show
        with gr.Row(elem_id="bench"):
            with gr.Column(elem_id="left", scale=0, min_width=500):
                page.canvas = page.html(
                    '<canvas tabindex="0" role="application"></canvas>',
                    "canvas.js",
                    elem_id="canvas",
                )
                with gr.Row(elem_id="facts"):
                    strip = gr.HTML(elem_id="strip")
                    status = gr.HTML(elem_id="status")
                gr.HTML(
                    '<p id="doing" role="status"></p><p id="help" role="status" '
                    'aria-live="polite"></p>'
                )
            with gr.Column(elem_id="right"), gr.Tabs(elem_id="tabs"):
                for panel in panels:
                    with gr.Tab(panel.title, elem_id=panel.elem_id) as tab:
                        panel.build(page)
                    page.on(tab.select, set_view("panel", panel.title), words=panel.opening)

        def seen(work: Workspace) -> list[str]:
            panel = next((one for one in panels if one.title == work.view.panel), panels[0])
            return [panel.drawn(work), status_line(work, panel)]

        page.show([page.canvas, status], seen)
        page.show([strip, purpose], lambda work: [coarse_to_fine(work), about(work)])
        page.on(settle.click, lambda work: None)
        names = [gr.Textbox(visible="hidden"), gr.Textbox(visible="hidden")]
        here = gr.Textbox(visible="hidden")

        async def stay(request: gr.Request, name: str, before: str) -> AsyncIterator[Any]:
            # Gradio closes its stream when no event is pending, and loses one that is sent
            # meanwhile. So this one is pending for as long as the page is open.
            session = str(request.session_hash)
            sessions.connect(session, name, before)
            try:
                yield name
                while True:
                    await asyncio.sleep(HEARTBEAT)
                    yield gr.skip()  # here Gradio ends it if the page is gone
            finally:
                sessions.disconnect(session)

        js = "() => [window.rgflow.name, window.rgflow.before]"
        hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        staying = blocks.load(stay, names, [here], js=js, concurrency_limit=MAX_PAGES, **hidden)
        staying.failure(None, js="() => window.rgflow.lost()")
        here.change(None, js="() => window.rgflow.connect()")
        page.on(here.change, lambda work: work.view.sent.clear())
        page.wire()
    return blocks


def about(work: Workspace) -> str:
    """Model, data and purpose, in a sentence, as HTML."""
    opened = work.opened
    learned = (
        f"was trained on {escape(opened.data)}" if opened.data else "is a flow of small images"
    )
    return (
        f"<b>{escape(opened.name)}</b> {learned}: draw such images, take them apart level by "
        f"level, mix and repair them."
    )


def coarse_to_fine(work: Workspace) -> str:
    """What every level sees of the current image, the coarsest first, as HTML."""

    def made() -> list[Tensor]:
        with torch.no_grad():
            stages = work.opened.flow.coarse(work.image.pixels[None])
        return [to_bytes(stage)[0] for stage in stages]

    stages = work.cached("coarse", (work.image,), made)
    top = len(stages) - 1
    ends = {0: "level 0, fine", top: f"level {top}, coarse"}
    return "".join(
        f'<figure><img src="{png_url(views.rgb(stage))}" alt="">'
        f"<figcaption>{ends.get(level, f'level {level}')}</figcaption></figure>"
        for level, stage in reversed(list(enumerate(stages)))
    )


def status_line(work: Workspace, panel: Panel) -> str:
    """What is known about the current image and, in a second line, what its marks mean."""
    edited = f", {work.image.edited}" if work.image.edited else ""
    line = f"<b>{escape(work.image.caption)}{edited}</b> · {work.likelihood()}"
    marks = panel.legend(work)
    return f"{line}<br><small>{marks}</small>" if marks else line
