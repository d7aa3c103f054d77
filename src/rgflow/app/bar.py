"""The bar above the page: the model, pictures of one's own, saving and undo."""

import base64
import io
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from PIL import Image

from rgflow.app.page import Page
from rgflow.app.workspace import Workspace
from rgflow.data.decoding import Target
from rgflow.figures import picture
from rgflow.latents import Latents
from rgflow.photographs.pictures import image_of, read

MAX_UPLOAD = 10_000_000
"""Bytes of a picture file."""
MAX_PIXELS = 16_000_000
"""Pixels of a picture, for memory."""
MAX_NAME = 40
"""Letters of a file's name that are shown."""
SAVED_SCALE = 8
"""Edge in pixels of the squares that stand for pixels in saved images."""

button = partial(gr.Button, size="sm", scale=0, min_width=76)


def build(page: Page) -> None:
    """Make the components."""
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
    """Make the centre of a picture file, in the size of the model, the current image.

    Raises:
        ValueError: As for `opened_picture`.
    """
    config = work.opened.flow.config
    target = Target(height=config.height, width=config.width, channels=config.channels)
    pixels = torch.tensor(target.fit(opened_picture(path)))
    work.take(work.encode(pixels, Path(path).name[:MAX_NAME]))


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
