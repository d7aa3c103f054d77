"""The panel Repair: paint a hole, and let the model fill it in."""

import threading
import time
from collections.abc import Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Any

import gradio as gr
import numpy as np
from torch import Tensor

from rgflow.app import views
from rgflow.app.page import CONNECTED, Page, seed_field, seed_from, slider
from rgflow.app.repairing import completions, less_likely, most_steps, odd
from rgflow.app.sessions import Session
from rgflow.app.workspace import Workspace
from rgflow.metrics.images import psnr

MAX_REPAIRS = 16
"""Repairs at a time, each in a thread of the server."""


def repair(page: Page) -> None:
    """Paint a hole, and let the model fill it in."""
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

    def look(work: Workspace) -> None:
        with page.sessions.computing.released():  # it may have to look at many images first
            work.opened.reference  # noqa: B018
        proposal = odd(work)[1]
        if proposal.masks[0].any():
            work.paint(proposal.masks[0])
        work.show_message(proposal.sentence(0))

    def captions(work: Workspace) -> list[str]:
        count = len(work.state.completions)
        return ["likeliest", *(f"other {k}" for k in range(1, count))][:count]

    def listed(work: Workspace) -> str:
        return views.images(work.state.completions, captions(work), chosen=work.image)

    def scored(work: Workspace) -> str:
        if work.state.original is None:
            return ""
        one, two = (x.pixels[None] for x in (work.image, work.state.original))
        decibels = psnr(one, two).values[0]
        text = "identical" if np.isinf(decibels) else f"PSNR {decibels:.1f} dB"
        return f"<p>Compared with the original image: {text}.</p>"

    def choose(work: Workspace, event: gr.EventData) -> None:
        work.accept(views.choice(event, work.state.completions, captions(work)))

    def run(request: gr.Request, seed: float) -> Iterator[dict[Any, Any]]:
        for one in repairing(page, str(request.session_hash), seed_from(seed)):
            rest = dict(zip(page.updated, one.pop("all", []), strict=False))
            yield {parts[name]: value for name, value in one.items()} | rest

    def halt(request: gr.Request) -> None:
        page.sessions.stop(str(request.session_hash))

    page.on(wipe.click, lambda work: work.paint(np.zeros_like(work.state.mask)))
    page.on(damage.click, lambda work: work.damage(work.revision), words="Damaging the image")
    page.on(find.click, look, words="Looking for odd regions; the first search takes longest")
    page.on(found.choose, choose, event=True)
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
    parts = {"message": message, "stop": stop, "start": start, "canvas": page.canvas}
    page.show([found, score], lambda work: [listed(work), scored(work)])
    page.show([message], lambda work: [outcome(work)])
    page.show(
        [stop, start],
        lambda work: [gr.update(interactive=on) for on in (work.repairing, not work.repairing)],
    )


def outcome(work: Workspace) -> str:
    """The message about the last repair, with its curve."""
    now = work.state
    if not now.message:
        return ""
    return f"<p>{now.message}</p>{plot(now.curve) if now.curve else ''}"


def repairing(page: Page, key: str, seed: int) -> Iterator[dict[str, Any]]:
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
                found = completions(start, seed, step, stopping)
            with page.sessions.computing:
                worse = less_likely(start, found[0])
            with page.sessions.opened(session):
                words = f"Repaired ({'stopped' if work.stopping else 'done'}).{worse}"
                work.show_completions(start, found, words, curve)
        except Exception as error:  # shown below, whatever it is
            errors.append(error)
        finally:
            work.repairing = False
            steps.put(None)

    # No daemon, as Python aborts if it ends while one of those is inside PyTorch.
    threading.Thread(target=run).start()
    most = most_steps(start.opened.flow)
    yield {
        "message": "<p>Starting the repair …</p>",
        "stop": gr.update(interactive=True),
        "start": gr.update(interactive=False),
    }
    while True:
        one = steps.get()
        while one is not None:  # only the newest is shown
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
        if work.view.panel == "Repair" and work.state is start:
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
