"""The panel Repair: paint a hole, and let the model fill it in."""

import threading
import time
from collections.abc import Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Any, ClassVar

import gradio as gr
import numpy as np
from torch import Tensor

from rgflow.app import repairing, views
from rgflow.app.page import CONNECTED, Page, seed_field, seed_from, slider
from rgflow.app.panel import Panel
from rgflow.app.sessions import Session
from rgflow.app.workspace import Workspace
from rgflow.metrics.images import psnr

MAX_REPAIRS = 16
"""Repairs at a time, each in a thread of the server."""


class Repair(Panel):
    """Paint a hole, and let the model fill it in."""

    title = "Repair"
    help = "Fill in what is missing or wrong."
    hints: ClassVar = {
        "brush": "Width of the brush, in pixels of the model.",
        "erase": "Brush strokes unmark instead of marking.",
        "clear-mask": "Unmark everything.",
        "find": "Mark what the model finds improbable: damage, or something it has never seen.",
        "damage": "Fill a square of the image with noise, to try out the repair.",
        "hole-seed": "Another seed gives other completions.",
        "repair": "Fill in what is marked.",
        "stop": "Stop, and keep the best so far.",
        "completions": "Possible completions. Choose one to use it.",
        "progress": "log p at each step: how likely the model finds the whole image. It may fall; "
        "the likeliest image found is kept.",
        "psnr": "Peak signal-to-noise ratio: how close the image is to the original. Above 40 dB a "
        "difference is hardly visible.",
    }
    tour = (
        "The image was just damaged. Press Find what is odd, or paint over the damage; then press "
        "Repair. The model offers several completions that fit the rest of the image. Undo brings "
        "the image back."
    )
    tour_click = "#damage"

    def build(self, page: Page) -> None:
        """Make the components."""
        gr.Markdown(
            "**Paint** over what is wrong, or let the model find it. Then press Repair: the model "
            "fills in what fits the rest."
        )
        with gr.Row():
            slider(1, 9, 3, step=2, label="Brush", min_width=100, elem_id="brush", interactive=True)
            gr.Checkbox(False, label="Erase", elem_id="erase", interactive=True)
            wipe = gr.Button("Clear mask", size="sm", min_width=60, elem_id="clear-mask")
            damage = gr.Button("Damage it", size="sm", min_width=60, elem_id="damage")
            find = gr.Button("Find what is odd", size="sm", min_width=90, elem_id="find")
        with gr.Row():
            seed = seed_field(0, "hole-seed")
            start = gr.Button("Repair", variant="primary", elem_id="repair")
            stop = gr.Button("Stop", elem_id="stop", interactive=False)
        message = gr.HTML(elem_id="progress")
        found = page.sheet("Completions", elem_id="completions")
        score = gr.HTML(elem_id="psnr")
        parts = {"message": message, "stop": stop, "start": start, "canvas": page.canvas}

        def run(request: gr.Request, seed: float) -> Iterator[dict[Any, Any]]:
            for one in running(page, str(request.session_hash), seed_from(seed)):
                rest = dict(zip(page.updated, one.pop("all", []), strict=False))
                yield {parts[name]: value for name, value in one.items()} | rest

        def halt(request: gr.Request) -> None:
            page.sessions.stop(str(request.session_hash))

        def look(work: Workspace) -> None:
            page.prepare_reference(work)
            self.find(work)

        page.on(wipe.click, lambda work: repairing.paint(work, np.zeros_like(work.state.mask)))
        page.on(
            damage.click,
            lambda work: repairing.damage(work, work.revision),
            words="Damaging the image",
        )
        page.on(find.click, look, words="Looking for odd regions; the first search takes longest")
        page.on(found.choose, self.choose, event=True)
        stop.click(halt, queue=False, api_visibility="private")
        page.when_built(
            lambda: start.click(
                run,
                [seed],
                page.updated,
                js=CONNECTED,
                show_progress="hidden",
                api_visibility="private",
                concurrency_limit=MAX_REPAIRS,
            )
        )
        page.show([found, score], lambda work: [self.listed(work), self.score(work)])
        page.show([message], lambda work: [outcome(work)])
        page.show(
            [stop, start],
            lambda work: [gr.update(interactive=on) for on in (work.repairing, not work.repairing)],
        )

    def drawn(self, work: Workspace) -> str:
        """The image with the mask, which is painted."""
        return views.canvas(work, paint=True)

    def find(self, work: Workspace) -> None:
        """Mark what is odd, if anything is."""
        proposal = repairing.odd(work)[1]
        if proposal.masks[0].any():
            repairing.paint(work, proposal.masks[0])
        repairing.show_message(work, proposal.sentence(0))

    def listed(self, work: Workspace) -> str:
        """The completions to choose from."""
        return views.images(work.state.completions, _captions(work), chosen=work.image)

    def choose(self, work: Workspace, event: gr.EventData) -> None:
        """Make a completion the current image."""
        found = work.state.completions
        repairing.accept(work, views.choice(event, found, _captions(work)))

    def score(self, work: Workspace) -> str:
        """How close the image is to the one before it was repaired, as HTML."""
        if work.state.original is None:
            return ""
        one, two = (x.pixels[None] for x in (work.image, work.state.original))
        decibels = psnr(one, two).values[0]
        text = "identical" if np.isinf(decibels) else f"PSNR {decibels:.1f} dB"
        return f"<p>Compared with the original image: {text}.</p>"


def _captions(work: Workspace) -> list[str]:
    count = len(work.state.completions)
    return ["likeliest", *(f"other {k}" for k in range(1, count))][:count]


def outcome(work: Workspace) -> str:
    """The message about the last repair, with its curve."""
    now = work.state
    if not now.message:
        return ""
    return f"<p>{now.message}</p>{plot(now.curve) if now.curve else ''}"


def running(page: Page, key: str, seed: int) -> Iterator[dict[str, Any]]:
    """Repair in a thread of its own, and show every step; the page stays usable meanwhile.

    Yields:
        New values by component: the message, the buttons, the canvas, or "all".
    """
    session = page.sessions.session(key)
    with page.sessions.opened(session) as work:
        work.apply_pending()
        start, busy = work.state, work.repairing
        wanted = bool(start.mask.any()) and not busy
        if wanted:
            work.repairing, work.stopping = True, False
    if not wanted:
        gr.Warning(
            "Expected the running repair to end first: wait, or stop it."
            if busy
            else "Expected a region to repair: paint one, or let the model find it."
        )
        yield {"stop": gr.skip()}  # of nothing at all, Gradio would empty every component
        return
    steps: SimpleQueue[tuple[int, float, Tensor] | None] = SimpleQueue()
    curve: list[float] = []
    errors: list[Exception] = []

    def stopping() -> bool:
        with page.sessions.computing.released():
            return work.stopping

    def step(number: int, log_p: float, image: Tensor) -> None:
        curve.append(log_p)
        steps.put((number, log_p, image))

    def run() -> None:  # to its end, even if the page is gone: another may take over the session
        try:
            with page.sessions.computing:
                found = repairing.completions(start, seed, step, stopping)
            with page.sessions.computing:
                worse = repairing.less_likely(start, found[0])
            with page.sessions.opened(session):
                words = f"Repaired ({'stopped' if work.stopping else 'done'}).{worse}"
                repairing.show_completions(work, start, found, words, curve)
        except Exception as error:  # shown below, whatever it is
            errors.append(error)
        finally:
            work.repairing = False
            steps.put(None)

    # No daemon, as Python aborts if it ends while one of those is inside PyTorch.
    threading.Thread(target=run).start()
    most = repairing.most_steps(start.opened.flow)
    yield {
        "message": "<p>Starting the repair …</p>",
        "stop": gr.update(interactive=True),
        "start": gr.update(interactive=False),
    }
    while True:
        one = steps.get()
        while one is not None:  # only the latest is shown
            number, log_p, image = one
            try:
                one = steps.get_nowait()
            except Empty:
                break
        if one is None:
            break
        of = f" of {most}" if most else ""
        shown: dict[str, Any] = {
            "message": f"<p>Step {number}{of}, log p {log_p:.0f} nats</p>{plot(list(curve))}"
        }
        if work.view.panel == Repair.title and work.state is start:
            shown["canvas"] = views.canvas(work, image=image, paint=True, filled=True)
        yield shown
    if errors:
        gr.Warning(" ".join(str(errors[0]).split()))
    yield from ({"all": values} for values in ended(page, key, session))


def following(page: Page, key: str) -> Iterator[list[Any]]:
    """Update a page that was loaded during a repair, at the end of the repair.

    Yields:
        The values of all components that are kept up to date.
    """
    session = page.sessions.session(key)
    yield [gr.skip()] * len(page.updated)  # of nothing at all, Gradio would empty every component
    if session.work and session.work.repairing:
        while session.work.repairing:
            time.sleep(0.2)
        yield from ended(page, key, session)


def ended(page: Page, key: str, session: Session) -> Iterator[list[Any]]:
    """The values after a repair, unless another page has taken over the session."""
    if page.sessions.session(key) is session:
        with page.sessions.opened(session) as work:
            work.view.sent.clear()  # as other values were sent meanwhile
            everything = page.updates(work)
        yield everything


def plot(values: Sequence[float]) -> str:
    """A curve, as SVG."""
    width, height = 420, 70
    low, high = min(values), max(values)
    x = np.linspace(70, width - 2, len(values)) if len(values) > 1 else [width / 2]
    y = [height - 4 - (v - low) / max(high - low, 1e-9) * (height - 8) for v in values]
    ends = (
        f'<text x="2" y="12" fill="currentColor" font-size="11">{high:.0f} nats</text>'
        f'<text x="2" y="{height - 6}" fill="currentColor" font-size="11">{low:.0f}</text>'
        if high > low
        else ""
    )
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="log p by '
        f'step, from {values[0]:.0f} to {values[-1]:.0f} nats"><polyline points="{points}" '
        f'fill="none" stroke="currentColor" stroke-width="2"/>{ends}</svg>'
    )
