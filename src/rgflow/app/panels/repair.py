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
from rgflow.app.desk import Seat
from rgflow.app.page import CONNECTED, Page, seed_field, slider, whole
from rgflow.app.repairing import completions, most_steps, odd
from rgflow.app.workspace import Workspace
from rgflow.metrics.images import psnr

MOST = 16
"""Repairs at a time, which take turns at each step: each keeps a thread of the server."""


def repair(page: Page) -> None:
    """Paint a hole, and let the model fill it in."""
    gr.Markdown(
        "**Paint** over what is wrong, or let the model find it. Then it fills in what fits to "
        "all the rest."
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
    said = gr.HTML(elem_id="progress")
    found = page.sheet("Completions", elem_id="completions")
    score = gr.HTML(elem_id="psnr")

    def clear(work: Workspace) -> None:
        work.paint(np.zeros_like(work.moment.mask))

    def harm(work: Workspace) -> None:
        work.damage(work.revision)

    def look(work: Workspace) -> None:
        with page.desk.hands.aside():  # it may have to look at many images first
            work.opened.reference  # noqa: B018
        proposal = odd(work)[1]
        if proposal.masks[0].any():
            work.paint(proposal.masks[0])
        work.say(proposal.sentence(0))

    def captions(work: Workspace) -> list[str]:
        count = len(work.moment.completions)
        return ["likeliest", *(f"other {k}" for k in range(1, count))][:count]

    def listed(work: Workspace) -> str:
        return views.subjects(work.moment.completions, captions(work), chosen=work.subject)

    def scored(work: Workspace) -> str:
        if work.moment.original is None:
            return ""
        one, two = (x.image[None] for x in (work.subject, work.moment.original))
        decibels = psnr(one, two).values[0]
        text = "identical" if np.isinf(decibels) else f"PSNR {decibels:.1f} dB"
        return f"<p>Against the image before: {text}.</p>"

    def choose(work: Workspace, event: gr.EventData) -> None:
        work.accept(views.choice(event, work.moment.completions, captions(work)))

    def run(request: gr.Request, seed: float) -> Iterator[dict[Any, Any]]:
        for one in repairing(page, str(request.session_hash), whole(seed)):
            rest = dict(zip(page.core, one.pop("all", []), strict=False))
            yield {parts[name]: value for name, value in one.items()} | rest

    def halt(request: gr.Request) -> None:
        page.desk.stop(str(request.session_hash))

    page.on(wipe.click, clear)
    page.on(damage.click, harm)
    page.on(find.click, look, show_progress="minimal")
    page.on(found.choose, choose, event=True)
    stop.click(halt, queue=False, api_visibility="private")
    page.later(
        lambda: start.click(
            run,
            [seed],
            page.core,
            js=CONNECTED,
            show_progress="hidden",
            api_visibility="private",
            concurrency_limit=MOST,
        )
    )
    parts = {"said": said, "stop": stop, "start": start, "canvas": page.canvas}
    page.shows([found, score], lambda work: [listed(work), scored(work)])
    page.shows([said], lambda work: [told(work)])
    page.shows(
        [stop, start],
        lambda work: [gr.update(interactive=on) for on in (work.repairing, not work.repairing)],
    )


def told(work: Workspace) -> str:
    """What is said of the last repair, with its curve."""
    now = work.moment
    if not now.said:
        return ""
    return f"<p>{now.said}</p>{plot(now.curve) if now.curve else ''}"


def repairing(page: Page, session: str, seed: int) -> Iterator[dict[str, Any]]:
    """Repair in a thread of its own, and tell of every step; all else goes on meanwhile.

    Yields:
        What is shown from now on: what is said, the button that stops, the canvas, or "all".
    """
    seat = page.desk.seat(session)
    with page.desk.at(seat) as work:
        work.settle()
        start, busy = work.moment, work.repairing
        wanted = bool(start.mask.any()) and not busy
        if wanted:
            work.repairing, work.stopping = True, False
    if not wanted:
        gr.Warning(
            "Expected the repair that is under way to end first: wait, or stop it."
            if busy
            else "Expected something to repair: paint over it, or let the model find it."
        )
        yield {"stop": gr.skip()}  # of nothing at all, Gradio would empty every component
        return
    news: SimpleQueue[tuple[int, float, Tensor] | None] = SimpleQueue()
    curve: list[float] = []
    errors: list[Exception] = []

    def stopping() -> bool:
        with page.desk.hands.aside():
            return work.stopping

    def step(number: int, log_p: float, image: Tensor) -> None:
        curve.append(log_p)
        news.put((number, log_p, image))

    def all_of_it() -> None:  # to its end, also if the page is gone, for one that takes its place
        try:
            with page.desk.hands:
                found = completions(start, seed, step, stopping)
            with page.desk.at(seat):
                words = f"Repaired ({'stopped' if work.stopping else 'done'})."
                work.offer(start, found, words, curve)
        except Exception as error:  # told of below, whatever it is
            errors.append(error)
        finally:
            work.repairing = False
            news.put(None)

    # No daemon, as Python aborts if it ends while one of those is inside PyTorch.
    threading.Thread(target=all_of_it).start()
    most = most_steps(start.opened.flow)
    yield {
        "said": "<p>Looking at the hole …</p>",
        "stop": gr.update(interactive=True),
        "start": gr.update(interactive=False),
    }
    while True:
        one = news.get()
        while one is not None:  # only the newest is shown
            number, log_p, image = one
            try:
                one = news.get_nowait()
            except Empty:
                break
        if one is None:
            break
        of = f" of {most}" if most else ""
        shown: dict[str, Any] = {
            "said": f"<p>Step {number}{of}, log p {log_p:.0f} nats</p>{plot(list(curve))}"
        }
        if work.view.panel == "Repair" and work.moment is start:
            shown["canvas"] = views.canvas(work, image=image, paint=True, filled=True)
        yield shown
    if errors:
        gr.Warning(" ".join(str(errors[0]).split()))
    yield from ({"all": values} for values in ended(page, session, seat))


def following(page: Page, session: str) -> Iterator[list[Any]]:
    """Tell a page that was loaded during a repair of its end.

    Yields:
        What all components that are kept up to date show then.
    """
    seat = page.desk.seat(session)
    yield [gr.skip()] * len(page.core)  # of nothing at all, Gradio would empty every component
    if seat.work and seat.work.repairing:
        while seat.work.repairing:
            time.sleep(0.2)
        yield from ended(page, session, seat)


def ended(page: Page, session: str, seat: Seat) -> Iterator[list[Any]]:
    """What the page shows after a repair, unless its seat is that of another page by now."""
    if page.desk.seat(session) is seat:
        with page.desk.at(seat) as work:
            work.view.sent.clear()  # as the page has been told other things meanwhile
            everything = page.everything(work)
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
