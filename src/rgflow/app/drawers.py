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

from rgflow.app import meaning, mixing
from rgflow.app.latent_image import LatentImage
from rgflow.app.page import Page, drawer, slider, static
from rgflow.app.panels.latents import show_level, shown_latents
from rgflow.app.repairing import odd
from rgflow.app.workspace import Workspace
from rgflow.data.decoding import Target, open_picture
from rgflow.figures import grid, heat, picture, strongest
from rgflow.figures.surprise import surprises
from rgflow.latents import Latents

NAMES = {
    "models": "Models",
    "own": "Own image",
    "meaning": "Meaning",
    "export": "Export",
}
"""The drawers by name, with the texts of their buttons."""
LARGEST_UPLOAD = 10_000_000
"""Bytes of a picture file."""
SHOWN = 800
"""Pixels of the longer edge of a picture that is shown."""
MOST_PIXELS = 16_000_000
"""Pixels of a picture; each takes four bytes."""


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
        "PNG, JPEG or WebP, up to 10 MB. The part inside the frame is resized to the model's size. "
        "Transparent parts are seen over black. "
        "How unusual its levels are tells you whether the model was trained on such pictures."
    )
    file = gr.File(
        label="Picture", file_types=["image"], type="filepath", height=110, elem_id="upload"
    )
    gr.HTML('<p id="refused" role="alert"></p>')
    part = page.html(
        '<div class="crop" hidden><img alt="The picture">'
        '<div tabindex="0" role="application" aria-label="The part to use"></div></div>',
        "crop.js",
        elem_id="crop",
    )
    zoom = slider(1, 8, 1, step=0.1, label="Zoom", elem_id="zoom")
    with gr.Row():
        take = gr.Button("Make it the current image", size="sm", elem_id="take-own")
        second = gr.Button("Mix with it", size="sm", elem_id="mix-own")
    notes = gr.HTML(elem_id="unusual")

    def chosen(work: Workspace, path: str | None, zoom: float) -> torch.Tensor:
        if not path:
            raise ValueError("Expected a picture: choose a file first.")
        return read(Path(path), work, zoom)

    def look(work: Workspace, path: str | None) -> str:
        work.view.crop_centre = (0.5, 0.5)
        return preview(opened_picture(Path(path)), work) if path else ""

    def move(work: Workspace, event: gr.EventData) -> None:
        work.view.crop_centre = (float(event.x), float(event.y))

    def named(path: str | None) -> str:
        return Path(path or "").name[:40]

    def current(work: Workspace, path: str | None, zoom: float) -> None:
        given = chosen(work, path, zoom)
        image = work.encode(given, named(path))
        work.take(replace(image, notes=unusual(work, image, given)))

    def other(work: Workspace, path: str | None, zoom: float) -> None:
        mixing.set_second(work, work.encode(chosen(work, path, zoom), named(path)))
        gr.Info(f"{named(path)} is now the second image: see the panel Mix.")

    page.on(file.change, look, [file], [part], refresh=False)
    page.on(part.move, move, event=True, refresh=False)
    page.on(take.click, current, [file, zoom], words="Encoding")
    page.on(second.click, other, [file, zoom], words="Encoding")
    page.show([notes], lambda work: [work.image.notes])


def opened_picture(path: Path) -> Image.Image:
    """A picture file, in its own size; a `ValueError` if it is none, or too large."""
    wanted = f"Expected a picture, PNG, JPEG or WebP, of at most {MOST_PIXELS // 1_000_000} million"
    try:
        return open_picture(path, MOST_PIXELS)
    except Image.DecompressionBombError as error:
        raise ValueError(f"{wanted} pixels; got {error}: choose another.") from error
    except Exception as error:  # the only class Pillow's errors have in common
        raise ValueError(
            f"{wanted} pixels; this file isn't one, or is damaged: choose another."
        ) from error


def preview(image: Image.Image, work: Workspace) -> str:
    """A picture as `crop.js` shows it."""
    rows, columns = work.opened.flow.image_shape[1:]
    small, buffer = image.convert("RGB"), io.BytesIO()
    small.thumbnail((SHOWN, SHOWN))
    small.save(buffer, "JPEG", quality=90)
    data = base64.b64encode(buffer.getvalue()).decode()
    return json.dumps(
        {
            "picture": f"data:image/jpeg;base64,{data}",
            "width": image.width,
            "height": image.height,
            "columns": columns,
            "rows": rows,
        }
    )


def read(path: Path, work: Workspace, zoom: float) -> torch.Tensor:
    """The crop of a picture file, in the size and the colours of the flow, uint8 [C, H, W].

    Args:
        zoom: How many times smaller the crop is than the largest of the flow's proportions.

    Raises:
        ValueError: If it is none, or too large.
    """
    config, image = work.opened.flow.config, opened_picture(path)
    target = Target(height=config.height, width=config.width, channels=config.channels)
    scale = min(image.width / target.width, image.height / target.height) / zoom
    w, h = (max(1, round(scale * edge)) for edge in (target.width, target.height))
    across, down = work.view.crop_centre
    left = min(max(round(across * image.width - w / 2), 0), image.width - w)
    top = min(max(round(down * image.height - h / 2), 0), image.height - h)
    part = image.crop((left, top, left + w, top + h))
    return torch.from_numpy(np.array(target.fit(part)))


def unusual(work: Workspace, image: LatentImage, given: torch.Tensor) -> str:
    """Whether an uploaded picture comes back from its latents, and how it compares with validation
    images, level by level."""
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
    listed = gr.HTML(elem_id="meanings", js_on_load=static("meanings.js"))

    def choose(work: Workspace, event: gr.EventData) -> Any:
        return show_level(work, meaning.choose_latent(work, event))

    page.on(listed.choose, choose, outputs=[tabs], event=True)
    page.show([listed], lambda work: [meaning.meanings(work)])


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

    def fields(work: Workspace, _: int) -> Image.Image:
        found = work.opened.fields
        if work.view.pixel and (addresses := shown_latents(work)):  # those of a pixel
            return grid(torch.stack([heat(found.field(one)) for one in addresses]), scale=4)
        return strongest({work.opened.name: found})

    def surprising(work: Workspace, scale: int) -> Image.Image:
        page.prepare_reference(work)
        return surprises(work.image.pixels[None], *odd(work), scale=scale)

    makers: list[tuple[str, str, Callable[[Workspace, int], Image.Image | Latents]]] = [
        ("Image", "image", lambda work, scale: enlarged(work.image.pixels, scale)),
        ("All images shown", "shown", shown),
        ("Receptive fields", "fields", fields),
        ("What is odd", "odd", surprising),
        ("Latents", "latents", lambda work, _: work.image.latents),
    ]
    with row:
        as_shown = gr.Button("As shown", size="sm", elem_id="save-canvas")
        for label, stem, make in makers:
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
