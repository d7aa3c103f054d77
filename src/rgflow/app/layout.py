"""The whole page: the current image, the panels beside it, the drawers above."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from html import escape
from typing import Any

import gradio as gr
import torch
from torch import Tensor

from rgflow.app import drawers, repairing, views
from rgflow.app.page import Page
from rgflow.app.panel import Panel
from rgflow.app.panels.latents import show_level
from rgflow.app.sessions import SessionStore
from rgflow.app.workspace import Workspace
from rgflow.figures import to_bytes

TOUCHED = """async () => {
  const touched = window.rgflow.touched;
  await window.rgflow.connected;
  return touched;
}"""
"""Whether the user has opened a panel: a page that loads opens its first panel by itself, which
must not close the one that it is about to restore."""
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
    page, titles = Page(sessions), [panel.title for panel in panels]

    def open_panel(work: Workspace) -> Panel:
        return panels[titles.index(work.view.panel) if work.view.panel in titles else 0]

    with gr.Blocks(
        title="rgflow explorer",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(600, 3600),  # seconds; of uploads
    ) as blocks:
        with gr.Row(elem_id="bar"):
            gr.HTML("<h1>rgflow <span>explorer</span></h1>", elem_id="title")
            purpose = gr.HTML(elem_id="purpose")
            for name, label in drawers.NAMES.items():
                button = gr.Button(label, size="sm", elem_id=f"open-{name}", scale=0, min_width=76)
                button.click(None, js=f"() => window.rgflow.open('{name}')")
            undo = gr.Button("Undo", size="sm", elem_id="undo", scale=0, interactive=False)
            redo = gr.Button("Redo", size="sm", elem_id="redo", scale=0, interactive=False)
            tour = gr.Button("Tour", size="sm", elem_id="open-tour", scale=0)
            settle = gr.Button("Settle", visible="hidden", elem_id="settle")  # what sliders show
        with gr.Row(elem_id="bench"):
            with gr.Column(elem_id="left", scale=0, min_width=500):
                page.canvas = page.html(
                    '<canvas tabindex="0" role="application"></canvas>',
                    "canvas.js",
                    elem_id="canvas",
                )
                with gr.Row(elem_id="facts"):
                    strip = page.sheet("The image from coarse to fine", elem_id="strip")
                    status = gr.HTML(elem_id="status")
                gr.HTML(
                    '<p id="doing" role="status"></p><p id="help" role="status" '
                    'aria-live="polite"></p>'
                )
            touched = gr.Checkbox(visible="hidden")
            with gr.Column(elem_id="right"), gr.Tabs(elem_id="tabs") as tabs:
                for panel in panels:
                    with gr.Tab(panel.title, id=panel.title, elem_id=panel.elem_id) as tab:
                        panel.build(page)
                    page.on(
                        tab.select,
                        lambda work, touched, title=panel.title: (
                            work.view.show(title) if touched else None
                        ),
                        [touched],
                        js=TOUCHED,
                        words=panel.opening,
                    )

            def look(work: Workspace, event: gr.EventData) -> Any:
                return show_level(work, work.opened.flow.levels - 1 - int(event.index))

        def seen(work: Workspace) -> list[str]:
            panel = open_panel(work)
            return [panel.drawn(work), status_line(work, panel)]

        drawers.build(page, tabs)
        page.show([page.canvas, status], seen)
        page.show([strip, purpose], lambda work: [coarse_to_fine(work), about(work)])
        page.on(strip.choose, look, outputs=[tabs], event=True)
        page.show(
            [undo, redo], lambda work: [gr.update(interactive=bool(n)) for n in work.undoable]
        )
        page.on(settle.click, lambda work: None)
        page.on(undo.click, lambda work: (work.undo(), None)[1])
        page.on(redo.click, lambda work: (work.redo(), None)[1])
        page.on(page.canvas.pick, picked, event=True)
        page.on(page.canvas.stroke, painted, event=True)
        names = [gr.Textbox(visible="hidden"), gr.Textbox(visible="hidden")]
        here, opened = gr.Textbox(visible="hidden"), gr.Textbox(visible="hidden")
        opened.change(None, [opened], js="(panel) => window.rgflow.resume(panel)")

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

        def arrived(work: Workspace, panel: str) -> str:
            if panel in titles:  # opened while the page was loaded
                work.view.show(panel)
            work.view.sent.clear()
            return open_panel(work).title

        js = "() => [window.rgflow.name, window.rgflow.before]"
        hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        staying = blocks.load(stay, names, [here], js=js, concurrency_limit=MAX_PAGES, **hidden)
        staying.failure(None, js="() => window.rgflow.lost()")
        here.change(None, js="() => window.rgflow.connect()")
        page.on(here.change, arrived, [opened], [opened], js="() => window.rgflow.opened()")
        tour.click(None, js="() => window.rgflow.tour()")
        page.wire()
    return blocks


def picked(work: Workspace, event: gr.EventData) -> None:
    """Pick a pixel of the image."""
    row, column = int(event.row), int(event.column)
    height, width = work.opened.flow.image_shape[1:]
    if 0 <= row < height and 0 <= column < width:
        work.view.pixel = (row, column)


def painted(work: Workspace, event: gr.EventData) -> None:
    """Take the mask that was painted."""
    repairing.paint(work, views.unpacked(str(event.mask), work.opened.flow.image_shape[1:]))


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
    """What every level sees of the current image, the coarsest first."""

    def made() -> list[Tensor]:
        with torch.no_grad():
            stages = work.opened.flow.coarse(work.image.pixels[None])
        return [to_bytes(stage)[0] for stage in stages]

    stages = work.cached("coarse", (work.image,), made)
    top = len(stages) - 1
    ends = {0: "level 0, fine", top: f"level {top}, coarse"}
    items = [
        views.item(views.rgb(stage), ends.get(level, f"level {level}"))
        for level, stage in reversed(list(enumerate(stages)))
    ]
    return views.sheet(items, size=48)


def status_line(work: Workspace, panel: Panel) -> str:
    """What is known about the current image and, in a second line, what its marks mean."""
    parts = [f"<b>{escape(work.image.caption)}</b>", work.likelihood(), panel.notes(work)]
    line = " · ".join(filter(None, parts))
    marks = panel.legend(work)
    return f"{line}<br><small>{marks}</small>" if marks else line
