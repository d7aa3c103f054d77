"""The drawers: models, the user's own images, what latents mean, and export."""

import base64
import io
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
from PIL import Image

from rgflow.app import meaning, mixing, views
from rgflow.app.data_urls import png_url
from rgflow.app.latent_image import LatentImage
from rgflow.app.page import Page, drawer, slider, static
from rgflow.app.panels.latents import show_level
from rgflow.app.workspace import Workspace
from rgflow.config import FlowConfig
from rgflow.data.decoding import Target
from rgflow.figures import grid, picture
from rgflow.latents import Latents
from rgflow.photographs.pictures import image_of, read

NAMES = {
    "models": "Models",
    "own": "Own image",
    "meaning": "Meaning",
    "export": "Export",
}
"""The drawers by name, with the texts of their buttons."""
MAX_UPLOAD = 10_000_000
"""Bytes of a picture file."""
MAX_PIXELS = 16_000_000
"""Pixels of a picture, for memory."""
MAX_NAME = 40
"""Letters of a file's name that are shown."""
SHOWN = 800
"""Pixels of the longer edge of a picture whose crop is shown."""


def build(page: Page, tabs: Any) -> None:
    """Build all drawers."""
    with drawer("models", "Models"):
        _models(page)
    with drawer("own", "Your own image"):
        _own(page)
    with drawer("meaning", "What latents mean"):
        _meaning(page, tabs)
    with drawer("export", "Export"):
        _export(page)


def _models(page: Page) -> None:
    choice = gr.Dropdown(
        page.sessions.models.names, value=page.sessions.models.first, label="Model", elem_id="model"
    )
    folder = gr.Textbox(
        label="Or the folder of a run on the server", placeholder="runs/first", elem_id="folder"
    )
    load = gr.Button("Open", size="sm", elem_id="open-folder")
    card = gr.HTML(elem_id="card")

    def choose(work: Workspace, name: str) -> None:
        opened = page.sessions.models.open(name)
        if opened is not work.opened:
            opened.prepare()
            work.open(opened)

    def open_folder(work: Workspace, path: str) -> None:
        if not (path or "").strip():
            raise ValueError("Expected the folder of a run: enter its path.")
        choose(work, page.sessions.models.open_folder(path.strip()).name)

    page.on(choice.input, choose, [choice], words="Opening the model")
    page.on(load.click, open_folder, [folder], words="Opening the model")
    page.show(
        [choice],
        lambda work: [gr.update(choices=page.sessions.models.names, value=work.opened.name)],
    )
    page.show([card], lambda work: [work.opened.card])


def _own(page: Page) -> None:
    gr.Markdown(
        "PNG, JPEG or WebP, up to 10 MB. Below is what the model sees of it; transparent parts are "
        "seen over black. "
        "How unusual its levels are tells you whether the model was trained on such pictures."
    )
    file = gr.File(
        label="Picture", file_types=["image"], type="filepath", height=110, elem_id="upload"
    )
    gr.HTML('<p id="refused" role="alert"></p>')
    part = gr.HTML(elem_id="crop")
    zoom = slider(1, 8, 1, step=0.1, label="Zoom", elem_id="zoom")
    with gr.Row():
        across = slider(0, 1, 0.5, step=0.01, label="Across", elem_id="across", min_width=80)
        down = slider(0, 1, 0.5, step=0.01, label="Down", elem_id="down", min_width=80)
    with gr.Row():
        take = gr.Button("Make it the current image", size="sm", elem_id="take-own")
        second = gr.Button("Mix with it", size="sm", elem_id="mix-own")
    notes = gr.HTML(elem_id="unusual")
    inputs: list[Any] = [file, zoom, across, down]

    def given(work: Workspace, path: str | None, *place: float) -> tuple[str, torch.Tensor]:
        if not path:
            raise ValueError("Expected a picture; none is chosen: choose a file first.")
        name = Path(path).name[:MAX_NAME]
        return name, crop(opened_picture(Path(path)), work.opened.flow.config, *place)

    def look(work: Workspace, path: str | None, *place: float) -> str:
        if not path:
            return ""
        small = work.cached("upload", (path,), lambda: opened_picture(Path(path), SHOWN))
        seen = views.rgb(crop(small, work.opened.flow.config, *place))
        return f'<img alt="What the model sees" src="{png_url(seen)}">'

    def current(work: Workspace, *values: Any) -> None:
        name, pixels = given(work, *values)
        image = work.encode(pixels, name)
        work.take(replace(image, notes=unusual(work, image, pixels)))

    def other(work: Workspace, *values: Any) -> None:
        name, pixels = given(work, *values)
        mixing.set_second(work, work.encode(pixels, name))
        gr.Info(f"{name} is now the second image: see the panel Mix.")

    for one in inputs:
        page.on(one.change, look, inputs, [part], refresh=False, trigger_mode="always_last")
    page.on(take.click, current, inputs, words="Encoding")
    page.on(second.click, other, inputs, words="Encoding")
    page.show([notes], lambda work: [work.image.notes])


def opened_picture(path: Path, edge: int | None = None) -> Image.Image:
    """A picture file, in its own size, or with edges of at most so many pixels.

    Raises:
        ValueError: If it isn't one, or is too large.
    """
    content = io.BytesIO(path.read_bytes())
    content.name = path.name
    image = image_of(read(content, "black", most=MAX_PIXELS).seen)
    if edge:
        image.thumbnail((edge, edge))
    return image


def crop(
    image: Image.Image, config: FlowConfig, zoom: float, across: float, down: float
) -> torch.Tensor:
    """A part of a picture in the size and the colours of a flow, uint8 [C, H, W].

    Args:
        image: The picture.
        config: Of the flow.
        zoom: How many times smaller the part is than the largest of the flow's proportions.
        across: Where it lies, from 0 at the left to 1 at the right.
        down: Where it lies, from 0 at the top to 1 at the bottom.
    """
    target = Target(height=config.height, width=config.width, channels=config.channels)
    scale = min(image.width / target.width, image.height / target.height) / zoom
    w, h = (max(1, round(scale * edge)) for edge in (target.width, target.height))
    left, top = round(across * (image.width - w)), round(down * (image.height - h))
    return torch.from_numpy(np.array(target.fit(image.crop((left, top, left + w, top + h)))))


def unusual(work: Workspace, image: LatentImage, given: torch.Tensor) -> str:
    """Whether an uploaded picture comes back from its latents, and how it compares with validation
    images, level by level, as HTML.

    Args:
        work: The workspace.
        image: The picture encoded and decoded again.
        given: The picture, uint8 [C, H, W].
    """
    flow = work.opened.flow
    with torch.no_grad():
        terms = flow.terms(given[None])
    error = (given.int() - image.pixels.int()).abs().max().item()
    name = escape(image.caption)
    rows = [f"<p>{name}, encoded and decoded again: largest difference {error} grey levels.</p>"]
    if known := work.opened.quantiles:
        shares = (terms.prior + terms.log_det)[0].tolist()
        rows.append("<table><tr><th>level</th><th>less likely than</th></tr>")
        for h, share in reversed(list(enumerate(shares))):
            below = np.interp(share, known.levels[h], known.probabilities)
            meter = f"<meter min=0 max=1 low=.9 high=.99 optimum=0 value={1 - below:.3f}></meter>"
            words = f"{100 * (1 - below):.1f} % of validation images"
            rows.append(f"<tr><td>{h}</td><td>{meter} {words}</td></tr>")
        rows.append("</table>")
    return "".join(rows)


def _meaning(page: Page, tabs: Any) -> None:
    table = gr.HTML(elem_id="meanings", js_on_load=static("meanings.js"))

    def choose(work: Workspace, event: gr.EventData) -> Any:
        return show_level(work, meaning.choose_latent(work, event))

    page.on(table.choose, choose, outputs=[tabs], event=True)
    page.show([table], lambda work: [meaning.meanings(work)])


def _export(page: Page) -> None:
    scale = slider(1, 32, 8, step=1, label="Enlarge by", elem_id="export-scale")
    row = gr.Row()
    saved = page.html("", "file.js", elem_id="file")
    gr.Markdown(
        "Pictures are saved as PNG, latents as a file for Python: "
        "`flow.decode(Latents.load(file))` is the current image."
    )

    def shown(work: Workspace, scale: int) -> Image.Image:
        now = work.state
        parts = [work.image, *now.samples, *work.view.mixtures, *now.completions]
        return grid(torch.stack([one.pixels for one in parts]), scale=scale)

    with row:
        as_shown = gr.Button("As shown", size="sm", elem_id="save-canvas")
        for label, stem, make in (
            ("Image", "image", lambda work, scale: enlarged(work.image.pixels, scale)),
            ("All images shown", "shown", shown),
            ("Latents", "latents", lambda work, _: work.image.latents),
        ):
            button = gr.Button(label, size="sm", elem_id=f"save-{stem}")
            save = partial(_saved, make=make, stem=stem)
            how: dict[str, Any] = {"refresh": False, "words": "Making the file"}
            page.on(button.click, save, [scale], [saved], **how)
    # Only the page knows what is drawn over the image.
    as_shown.click(None, js="() => window.rgflow.save()")


def enlarged(image: torch.Tensor, scale: int) -> Image.Image:
    """An image [C, H, W], with a square of `scale`×`scale` pixels for every pixel."""
    small = picture(image).convert("RGB")
    return small.resize((small.width * scale, small.height * scale), Image.Resampling.NEAREST)


def _saved(
    work: Workspace,
    scale: float,
    *,
    make: Callable[[Workspace, int], Image.Image | Latents],
    stem: str,
) -> str:
    """A file as `file.js` saves it; nothing stays on the server."""
    made = make(work, int(scale))
    name = f"{stem}{'.safetensors' if isinstance(made, Latents) else '.png'}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        made.save(path)
        data = base64.b64encode(path.read_bytes()).decode()
    # The time, so that the same file can be saved twice.
    return json.dumps({"name": name, "data": data, "time": time.time()})
