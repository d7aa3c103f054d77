"""The four panels beside the current image: Sample, Latents, Mix and Repair."""

import base64
import math
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image
from torch import Tensor

from rgflow.analysis.mixing import every_threshold, level_by_level, mix, straight
from rgflow.analysis.traversals import traverse
from rgflow.app import views
from rgflow.app.page import (
    MOST_LEVELS,
    REACH,
    Page,
    drawn,
    level_sliders,
    level_updates,
    per_level,
    whole,
)
from rgflow.app.workspace import MOST_CHOSEN, Subject, Workspace
from rgflow.figures import picture, to_bytes
from rgflow.figures.animations import animate
from rgflow.figures.mixing import path_frames
from rgflow.latents import Address
from rgflow.metrics.images import psnr
from rgflow.repair.surprise import surprise

ATLAS = 48
"""Receptive fields that are shown at a time."""
FRAMES = 9
"""Pictures of a traversal, and steps of a path for each level."""


# ------------------------------------------------------------------------------- sample


def sample(page: Page) -> None:
    """Draw images, and take one of them."""
    gr.Markdown(
        "Draw new images, and choose one: it becomes the current image. The **temperature** of a "
        "level says how far it may stray: low gives typical images, high gives odd ones."
    )
    with gr.Row():
        seed = gr.Number(
            0, label="Seed", precision=0, minimum=0, min_width=90, elem_id="seed", scale=1
        )
        count = gr.Slider(1, 12, 8, step=1, label="How many", elem_id="count", scale=3)
        draw = gr.Button("Draw", variant="primary", elem_id="draw", min_width=90, scale=1)
    scale: dict[str, Any] = {"minimum": 0, "maximum": 1.5, "value": 0.8, "step": 0.05}
    alike = gr.Slider(label="Temperature of all levels", elem_id="temperature", **scale)
    with gr.Row():
        sliders = level_sliders("temperature", **scale)
    found = page.sheet("Samples", elem_id="samples")

    def draw_them(work: Workspace, seed: float, count: float, *values: float) -> str:
        first = whole(seed)
        temperature = per_level(work, values)
        same = temperature[0] if len(set(temperature)) == 1 else temperature
        work.samples = work.sample(range(first, first + int(count)), same)
        work.take(work.samples[0])
        return listed(work)

    def listed(work: Workspace) -> str:
        return views.subjects(
            work.samples, [one.what for one in work.samples], empty="Nothing drawn yet."
        )

    def take(work: Workspace, event: gr.EventData) -> None:
        work.take(work.samples[int(event.index)])

    page.on(draw.click, draw_them, [seed, count, *sliders], [found])
    alike.input(
        lambda value: [value] * MOST_LEVELS,
        [alike],
        sliders,
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )
    page.on(found.choose, take, event=True)
    page.shows(sliders, lambda work: level_updates(work))
    page.shows([found], lambda work: [listed(work)])


# ------------------------------------------------------------------------------- latents


def latents(page: Page) -> None:
    """Which latents there are, what they change, and how to move them."""
    with gr.Row():
        level = gr.Radio([], label="Receptive fields of level", elem_id="level", scale=3)
        overlay = gr.Checkbox(True, label="Over the image", elem_id="overlay", scale=1)
        every = gr.Button("Strongest", size="sm", scale=0, min_width=90, elem_id="strongest")
    atlas = page.sheet("Receptive fields", elem_id="atlas")
    hint = gr.Markdown(elem_id="hint")
    sliders = [
        gr.Slider(-REACH, REACH, 0, step=0.05, visible=False, elem_id=f"latent-{k}")
        for k in range(MOST_CHOSEN)
    ]
    with gr.Row():
        reset = gr.Button("Reset all", size="sm", min_width=60, elem_id="reset")
        clear = gr.Button("Unchoose", size="sm", min_width=60, elem_id="unchoose")
        zero = gr.Button("Level to 0", size="sm", min_width=60, elem_id="zero")
        anew = gr.Button("Level anew", size="sm", min_width=60, elem_id="anew")
        back = gr.Button("Level as it was", size="sm", min_width=60, elem_id="back")
        play = gr.Button("Play", size="sm", min_width=60, elem_id="play")
    with gr.Row():
        name = gr.Textbox(
            label="Save the move as", placeholder="redder", min_width=120, elem_id="name"
        )
        save = gr.Button("Save", size="sm", scale=0, min_width=70, elem_id="save-direction")
        saved = gr.Dropdown([], label="Saved moves", min_width=120, elem_id="directions")
        amount = gr.Number(1, label="Times", min_width=70, elem_id="times")
        apply = gr.Button("Apply", size="sm", scale=0, min_width=70, elem_id="apply-direction")
    film = gr.HTML(elem_id="film")

    def at(work: Workspace) -> int:
        top = work.opened.flow.levels - 1
        return top if work.view.level is None else min(work.view.level, top)

    def show(work: Workspace) -> list[Any]:
        choices = list(reversed(range(work.opened.flow.levels)))
        radio = gr.update(choices=[(str(h), h) for h in choices], value=at(work))
        if work.view.panel != "Latents":
            return [radio, gr.skip(), gr.skip()]
        fields = work.opened.fields
        if work.view.pixel:
            row, column = work.view.pixel
            found = views.reaching(fields, row, column, at(work), ATLAS)
            said = f"Latents of level {at(work)} that change pixel ({row}, {column}) most."
        else:
            found = fields.strongest(ATLAS, at(work))
            said = (
                f"The strongest latents of level {at(work)}: bright where they change the image. "
                f"Choose one for a slider, or click a pixel to see what changes it."
            )
        work.view.listed = found
        return [radio, views.fields(fields, found, work.moment.chosen), said]

    def bars(work: Workspace) -> list[Any]:
        chosen, values = work.moment.chosen, work.values()
        return [
            gr.update(
                visible=True,
                label=views.name(chosen[k]),
                value=values[k],
                minimum=min(-REACH, math.floor(values[k])),  # it may be far from what is usual
                maximum=max(REACH, math.ceil(values[k])),
            )
            if k < len(chosen)
            else gr.update(visible=False, value=0)
            for k in range(MOST_CHOSEN)
        ]

    def moved(work: Workspace, *values: float) -> str:
        values = values[: len(work.moment.chosen)]
        return views.canvas(work, image=work.preview([float(v) for v in values]))

    def put(work: Workspace, *values: float) -> None:
        # Not what was previewed last: what the slider was moved to since may still be on its way.
        work.pending = [float(v) for v in values[: len(work.moment.chosen)]]
        work.settle()

    def pick(work: Workspace, event: gr.EventData) -> None:
        work.choose(work.view.listed[int(event.index)])

    def turn(work: Workspace, level: int | None) -> None:
        work.view.level = level

    def lay(work: Workspace, overlay: bool) -> None:
        work.view.overlay = overlay

    def all_over(work: Workspace) -> None:
        work.view.pixel = None

    def keep(work: Workspace, name: str) -> Any:
        if not (name or "").strip():
            raise ValueError("Expected a name for the direction: write one beside the button.")
        work.save_direction(name.strip())
        return gr.update(choices=list(work.directions), value=name.strip())

    def along(work: Workspace, name: str | None, amount: float | None) -> None:
        if name not in work.directions:
            raise ValueError("Expected a saved move: choose one, or save what was moved.")
        work.add_direction(name, float(amount or 0))

    def film_of(work: Workspace) -> str:
        address, images = played(work)
        scale = max(1, 160 // images[0].shape[2])
        return animated([enlarged(image, scale) for image in images], views.name(address))

    page.on(level.input, turn, [level])
    page.on(overlay.input, lay, [overlay])
    page.on(every.click, all_over)
    page.on(atlas.choose, pick, event=True)
    for slider in sliders:
        page.on(
            slider.input,
            moved,
            sliders,
            [page.canvas],
            settle=False,
            core=False,
            trigger_mode="always_last",
        )
        page.on(slider.release, put, sliders, settle=False)
    settled = gr.Button("Take sliders as they are", visible="hidden", elem_id="settle")
    page.on(settled.click, lambda work: None)
    page.on(reset.click, lambda work: work.reset())
    page.on(clear.click, lambda work: work.unchoose())
    page.on(zero.click, lambda work: work.zero(at(work)))
    page.on(anew.click, lambda work: work.redraw(at(work), work.revision + 1, 0.8))
    page.on(back.click, lambda work: work.restore(at(work)))
    page.on(save.click, keep, [name], [saved])
    page.on(apply.click, along, [saved, amount])
    page.on(play.click, film_of, outputs=[film], show_progress="minimal")
    page.shows([level, atlas, hint], show)
    page.shows(sliders, bars)


# ------------------------------------------------------------------------------- mix


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
        linear = gr.Slider(0, 1, 0, step=0.05, label="All levels alike (linear)", elem_id="linear")
        take = gr.Button("Keep mixture", size="sm", scale=0, elem_id="keep-mixture")
    film = gr.HTML(elem_id="mix-film")

    def draw(work: Workspace, seed: float) -> None:
        work.remember(work.sample([whole(seed)], 0.8)[0])

    def exchange(work: Workspace) -> None:
        if work.moment.other is None:
            raise ValueError("Expected a second image to swap with: draw one first.")
        work.swap()

    def show(work: Workspace) -> str:
        if work.moment.other is None or work.view.panel != "Mix":
            work.mixtures = []
            return views.sheet([], empty="No second image yet.")
        ways = every_threshold(work.opened.flow.levels)
        mixed = work.once(
            "mixtures", (work.subject, work.moment.other), lambda: work.mixed(list(ways))
        )
        work.mixtures = [work.moment.other, *mixed]
        captions = ["second", *(f"Θ = {k}" for k in range(len(ways)))]
        return views.subjects(work.mixtures, captions)

    def choose(work: Workspace, event: gr.EventData) -> None:
        if index := int(event.index):
            work.change(work.mixtures[index])

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
    for slider in sliders:
        page.on(slider.input, preview, sliders, [page.canvas], **live)
    page.on(linear.input, alike, [linear], [page.canvas, *sliders], **live)
    page.on(take.click, keep, sliders)
    page.on(play.click, film_of, outputs=[film], show_progress="minimal")
    page.shows([second], lambda work: [show(work)])
    page.shows(sliders, lambda work: level_updates(work))


# ------------------------------------------------------------------------------- repair


def repair(page: Page) -> None:
    """Paint a hole, and let the model fill it in."""
    gr.Markdown(
        "**Paint** over what is wrong, or let the model find it. Then it fills in what fits to "
        "all the rest."
    )
    with gr.Row():
        brush = gr.Slider(1, 9, 3, step=2, label="Brush", elem_id="brush")
        erase = gr.Checkbox(False, label="Erase", elem_id="erase")
        wipe = gr.Button("Clear mask", size="sm", elem_id="clear-mask")
        find = gr.Button("Find what is odd", size="sm", elem_id="find")
    with gr.Row():
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, min_width=80, elem_id="hole-seed")
        start = gr.Button("Repair", variant="primary", elem_id="repair")
        stop = gr.Button("Stop", elem_id="stop", interactive=False)
    said = gr.HTML(elem_id="progress")
    found = page.sheet("Completions", elem_id="completions")
    score = gr.HTML(elem_id="psnr")

    def width(work: Workspace, brush: float, erase: bool) -> str:
        work.view.brush, work.view.erase = int(brush), erase
        return drawn(work)

    def clear(work: Workspace) -> None:
        work.paint(np.zeros_like(work.moment.mask))

    def look(work: Workspace) -> str:
        reference = work.opened.model.reference()
        maps = surprise(work.opened.flow, work.subject.image[None], reference)
        proposal = maps.propose()
        if proposal.masks[0].any():
            work.paint(proposal.masks[0])
        return f"<p>{proposal.sentence(0)}</p>"

    def listed(work: Workspace) -> str:
        captions = ["first", *(f"or {k}" for k in range(1, len(work.completions)))]
        return views.subjects(work.completions, captions[: len(work.completions)])

    def scored(work: Workspace) -> str:
        if work.moment.original is None:
            return ""
        one, two = (x.image[None] for x in (work.subject, work.moment.original))
        decibels = psnr(one, two).values[0]
        text = "identical" if np.isinf(decibels) else f"PSNR {decibels:.1f} dB"
        return f"<p>Against the image before: {text}.</p>"

    def choose(work: Workspace, event: gr.EventData) -> None:
        work.accept(work.completions[int(event.index)])

    def run(request: gr.Request, seed: float) -> Iterator[list[Any]]:
        yield from repairing(page, request, whole(seed))

    def halt(request: gr.Request) -> None:
        page.desk.of(str(request.session_hash))[0].stopping = True

    for one in (brush, erase):
        page.on(one.input, width, [brush, erase], [page.canvas], core=False)
    page.on(wipe.click, clear)
    page.on(find.click, look, outputs=[said], show_progress="minimal")
    page.on(found.choose, choose, event=True)
    stop.click(halt, queue=False, api_visibility="private")
    page.later(
        lambda: start.click(
            run,
            [seed],
            [said, stop, *page.core],
            show_progress="hidden",
            api_visibility="private",
            concurrency_limit=4,
        )
    )
    page.shows([found, score], lambda work: [listed(work), scored(work)])


def repairing(page: Page, request: gr.Request, seed: int) -> Iterator[list[Any]]:
    """Repair in a thread of its own, and tell of every step."""
    session = str(request.session_hash)
    work, lock = page.desk.of(session)
    skip = [gr.skip()] * len(page.core)
    if not work.moment.mask.any():
        gr.Warning("Expected something to repair: paint over it, or let the model find it.")
        yield [gr.skip(), gr.skip(), *skip]
        return
    work.stopping = False
    news: SimpleQueue[tuple[int, float, Tensor] | None] = SimpleQueue()
    results: list[Any] = []

    def all_of_it() -> None:
        try:
            with lock:
                work.settle()
                work.completions = work.repair(seed, lambda *one: news.put(one))
                work.accept(work.completions[0])
        except Exception as error:  # told of below, whatever it is
            results.append(error)
        news.put(None)

    threading.Thread(target=all_of_it, daemon=True).start()
    curve: list[float] = []
    yield ["<p>Looking at the hole …</p>", gr.update(interactive=True), *skip]
    while True:
        one = news.get()
        while one is not None:  # only the newest is shown
            step, log_p, image = one
            curve.append(log_p)
            try:
                one = news.get_nowait()
            except Empty:
                break
        if one is None:
            break
        text = f"<p>Step {step}, log p {log_p:.0f} nats</p>{plot(curve)}"
        seen = page.only(page.canvas, views.canvas(work, image=image, paint=True))
        yield [text, gr.skip(), *seen]
    idle = gr.update(interactive=False)
    if results:
        gr.Warning(" ".join(str(results[0]).split()))
        yield ["", idle, *skip]
        return
    words = "stopped" if work.stopping else "done"
    text = f"<p>Repaired ({words}): log p {curve[-1]:.0f} nats.</p>{plot(curve)}" if curve else ""
    with lock:
        everything = page.everything(page.desk.of(session)[0])
    yield [text, idle, *everything]


def plot(values: Sequence[float]) -> str:
    """A curve, as SVG."""
    width, height = 420, 70
    low, high = min(values), max(values)
    x = np.linspace(2, width - 2, len(values)) if len(values) > 1 else [width / 2]
    y = [height - 4 - (v - low) / max(high - low, 1e-9) * (height - 8) for v in values]
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="log p by '
        f'step, from {values[0]:.0f} to {values[-1]:.0f} nats"><polyline points="{points}" '
        f'fill="none" stroke="currentColor" stroke-width="2"/></svg>'
    )


# ------------------------------------------------------------------------------- animations


def played(work: Workspace) -> tuple[Address, list[Tensor]]:
    """The latent that was chosen last, and the image while it moves.

    Raises:
        ValueError: If none is chosen.
    """
    if not work.moment.chosen:
        raise ValueError("Expected a latent to play: choose one of the receptive fields.")
    address = work.moment.chosen[-1]
    values = np.linspace(-REACH / 2, REACH / 2, FRAMES) * work.unit
    found = traverse(work.opened.exact, work.subject.latents, address, values.tolist())
    return address, [to_bytes(image) for image in found.images[0]]


def enlarged(image: Tensor, scale: int) -> Image.Image:
    """An image with every pixel a square."""
    small = picture(image).convert("RGB")
    return small.resize((small.width * scale, small.height * scale), Image.Resampling.NEAREST)


def animated(frames: Sequence[Image.Image], label: str) -> str:
    """An animation inside the page."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.gif"
        animate(frames, path, milliseconds=120)
        data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{label}" src="data:image/gif;base64,{data}">'


PANELS: dict[str, Callable[[Page], None]] = {
    "Sample": sample,
    "Latents": latents,
    "Mix": mixing,
    "Repair": repair,
}
