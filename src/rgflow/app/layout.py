"""The whole page: the current image, the panels beside it, the bar above."""

import asyncio
import base64
import io
import json
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from PIL import Image
from torch import Tensor

from rgflow.app import views
from rgflow.app.data_urls import png_url
from rgflow.app.page import Page, set_view
from rgflow.app.panel import Panel
from rgflow.app.sessions import SessionStore
from rgflow.app.workspace import Workspace
from rgflow.data.decoding import Target
from rgflow.figures import picture, to_bytes
from rgflow.latents import Latents
from rgflow.photographs.pictures import image_of, read

MAX_PAGES = 512
"""Pages that may be open at a time; another waits until one is closed."""
HEARTBEAT = 5
"""Maximum number of seconds until a closed page is noticed."""

MAX_UPLOAD = 10_000_000
"""Bytes of a picture file."""
MAX_PIXELS = 16_000_000
"""Pixels of a picture, for memory."""
MAX_NAME = 40
"""Letters of a file's name that are shown."""
SAVED_SCALE = 8
"""Edge in pixels of the squares that stand for pixels in saved images."""

button = partial(gr.Button, size="sm", scale=0, min_width=76)


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
            bar(page)
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
                    '<p id="doing" role="status">Opening the page …</p>'
                    '<p id="help" role="status" aria-live="polite"></p>'
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
        page.on(settle.click, lambda work: None, words="Decoding")
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
        staying.failure(None, js="() => { window.rgflow.ended = true; }")
        here.change(None, js="() => window.rgflow.connect()")
        page.on(here.change, lambda work: work.view.sent.clear(), words="Opening the model")
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


def bar(page: Page) -> None:
    """The bar above the page: the model, pictures of one's own, saving and undo."""
    models = page.sessions.models
    model = gr.Dropdown(
        models.names, show_label=False, allow_custom_value=True, scale=0, elem_id="model"
    )
    own = gr.UploadButton(
        "Open a picture", file_types=["image"], size="sm", scale=0, min_width=110, elem_id="own"
    )
    image = button("Save image", elem_id="save-image")
    latents = button("Save latents", elem_id="save-latents")
    undo = button("Undo", elem_id="undo", interactive=False)
    redo = button("Redo", elem_id="redo", interactive=False)
    saved = page.html("", "file.js", elem_id="file")

    def choose(work: Workspace, name: str) -> None:
        opened = models.open(name)
        if opened is not work.opened:
            opened.prepare()
            work.open(opened)

    save: dict[str, Any] = {"outputs": [saved], "refresh": False, "words": "Making the file"}
    page.on(model.input, choose, [model], words="Opening the model")
    page.on(own.upload, take_picture, [own], words="Encoding")
    page.on(image.click, save_image, **save)
    page.on(latents.click, save_latents, **save)
    page.on(undo.click, lambda work: (work.undo(), None)[1])
    page.on(redo.click, lambda work: (work.redo(), None)[1])
    page.show([model], lambda work: [gr.update(choices=models.names, value=work.opened.name)])
    page.show([undo, redo], lambda work: [gr.update(interactive=bool(n)) for n in work.undoable])


def opened_picture(path: str | Path) -> Image.Image:
    """A picture file; a `ValueError` if it isn't one, or is too large."""
    content = io.BytesIO(Path(path).read_bytes())
    content.name = Path(path).name  # the folder is nobody's business
    return image_of(read(content, "black", most=MAX_PIXELS).seen)


def take_picture(work: Workspace, path: str) -> None:
    """Make the centre of a picture file, in the size of the model, the current image; its caption
    says so if anything is cut off.

    Raises:
        ValueError: As for `opened_picture`.
    """
    config = work.opened.flow.config
    target = Target(height=config.height, width=config.width, channels=config.channels)
    whole, name = opened_picture(path), Path(path).name[:MAX_NAME]
    if whole.width * config.height != whole.height * config.width:
        name += ", its centre"
    work.take(work.encode(torch.tensor(target.fit(whole)), name))


def save_image(work: Workspace) -> str:
    """The current image as a file, with a square for every pixel."""
    squares = work.image.pixels.repeat_interleave(SAVED_SCALE, 1).repeat_interleave(SAVED_SCALE, 2)
    return _file("image.png", picture(squares).convert("RGB"))


def save_latents(work: Workspace) -> str:
    """The latents of the current image as a file."""
    return _file("latents.safetensors", work.image.latents)


def _file(name: str, made: Image.Image | Latents) -> str:
    """A file as `file.js` saves it; nothing stays on the server."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        made.save(path)
        data = base64.b64encode(path.read_bytes()).decode()
    # The time, so that the same file can be saved twice.
    return json.dumps({"name": name, "data": data, "time": time.time()})
