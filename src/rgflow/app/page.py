"""What the parts of the page share: how their events reach a workspace, and common components."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import resources
from typing import Any

import gradio as gr

from rgflow.app import views
from rgflow.app.desk import Desk
from rgflow.app.workspace import Workspace

STATIC = resources.files("rgflow.app") / "static"
Handler = Callable[..., Any]
REACH = 6.0
"""How far the sliders of latents go, in units of the prior's scale."""
MOST_SEED = (1 << 31) - 1
CONNECTED = "async (...values) => { await window.rgflow.connected; return values; }"
"""Holds an event back until the page has a stream that stays open: Gradio may lose one that is sent
while a stream is closed."""
slider = partial(gr.Slider, buttons=[])
"""A slider without a button of its own, as undoing does more."""
MOST_LEVELS = 8
"""Levels that have a slider of their own; the last one stands for all above, too."""


def static(name: str) -> str:
    """A file of the page."""
    return (STATIC / name).read_text(encoding="utf-8")


class Page:
    """What panels and drawers share: the current image, and how their events reach a workspace.

    Args:
        desk: The workspaces.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.core: list[Any] = []
        self.canvas: Any = None
        self._shown: list[tuple[Handler, int, Handler | None]] = []
        self._wires: list[Callable[[], Any]] = []

    # ---------------------------------------------------------------- components

    @staticmethod
    def sheet(label: str, **more: Any) -> Any:
        """Small pictures to choose from."""
        return gr.HTML(
            html_template=f'<div class="sheet" role="group" aria-label="{label}"></div>',
            js_on_load=static("sheet.js"),
            apply_default_css=False,
            **more,
        )

    @staticmethod
    def big() -> Any:
        """The current image."""
        return gr.HTML(
            html_template='<canvas tabindex="0" role="application"></canvas>',
            js_on_load=static("canvas.js"),
            apply_default_css=False,
            elem_id="canvas",
        )

    # ---------------------------------------------------------------- events

    def shows(
        self, components: Sequence[Any], function: Handler, by: Handler | None = None
    ) -> None:
        """Keep components up to date: after every change they get what a function says of the
        workspace, one value each.

        Args:
            components: Which.
            function: What they show.
            by: What that depends on, besides themselves. While it stays, nothing is sent: of a
                slider that is moved, the server's answer would tell where it was before.
        """
        self.core += components
        self._shown.append((function, len(components), by))

    def everything(self, work: Workspace) -> list[Any]:
        """What all components that are kept up to date show now; what can't have changed on the
        page isn't sent a second time."""
        found: list[Any] = []
        for function, count, by in self._shown:
            now = by and by(work)
            if by and work.view.sent.get(len(found)) == now:
                found += [gr.skip()] * count
                continue
            if by:
                work.view.sent[len(found)] = now
            found += function(work)
        for k, (component, value) in enumerate(zip(self.core, found, strict=True)):
            if isinstance(value, str) and component is not self.canvas:
                if work.view.sent.get(k) == hash(value):
                    found[k] = gr.skip()
                work.view.sent[k] = hash(value)
        return found

    def on(
        self,
        trigger: Any,
        function: Handler,
        inputs: Sequence[Any] = (),
        outputs: Sequence[Any] = (),
        *,
        event: bool = False,
        settle: bool = True,
        core: bool = True,
        **options: Any,
    ) -> None:
        """Let an event call a function of the workspace.

        A mistake that it tells of, a `ValueError` or `OSError`, is shown in one sentence, and
        nothing changes.

        Args:
            trigger: Such as `button.click`.
            function: Takes the workspace, what the event says (its own data) if that is wanted,
                and the values of inputs; returns the values of outputs, if there are any.
            inputs: Components.
            outputs: Components, besides those that are kept up to date.
            event: Whether it wants what the event says.
            settle: Whether sliders that were moved are taken as they are first.
            core: Whether what is kept up to date may change.
            options: For Gradio.
        """

        def call(request: gr.Request, data: tuple[Any, ...], values: tuple[Any, ...]) -> Any:
            with self.desk.using(str(request.session_hash)) as work:
                try:
                    if settle:
                        work.settle()
                    result = function(work, *data, *values)
                    result = list(result) if len(outputs) > 1 else [result][: len(outputs)]
                    found = [*result, *(self.everything(work) if core else [])]
                except (ValueError, OSError) as error:
                    gr.Warning(" ".join(str(error).split()))
                    found = [gr.skip()] * (len(outputs) + len(self.core) * core)
            return found[0] if len(found) == 1 else found

        def plain(request: gr.Request, *values: Any) -> Any:
            return call(request, (), values)

        def with_event(request: gr.Request, event: gr.EventData, *values: Any) -> Any:
            return call(request, (event,), values)

        self.later(
            lambda: trigger(
                with_event if event else plain,
                inputs=list(inputs),
                outputs=[*outputs, *(self.core if core else [])],
                # One queue for all, as Gradio takes from several in a random order.
                concurrency_id="page",
                concurrency_limit=None,
                **{
                    "show_progress": "hidden",
                    "api_visibility": "private",
                    "trigger_mode": "multiple",  # nothing that a person does is lost
                    "js": CONNECTED,
                    **options,
                },
            )
        )

    def later(self, wire: Callable[[], Any]) -> None:
        """Do something when all components are there."""
        self._wires.append(wire)

    def wire(self) -> None:
        """Now all components are there."""
        for wire in self._wires:
            wire()


@contextmanager
def drawer(name: str, title: str) -> Iterator[Any]:
    """A drawer: it lies over the page, and opens and closes at a button."""
    with gr.Column(elem_id=f"drawer-{name}", elem_classes="drawer") as column:
        with gr.Row(elem_classes="drawer-head"):
            gr.Markdown(f"## {title}")
            closing = gr.Button("Close", size="sm", elem_classes="drawer-close", scale=0)
            closing.click(None, js=f"() => window.rgflow.close('{name}')")
        yield column


def drawn(work: Workspace) -> str:
    """The current image, with whatever the panel that is open lays over it."""
    view = work.view
    if view.panel == "Repair":
        return views.canvas(work, paint=True)
    if view.panel == "Latents" and view.overlay:
        chosen = work.moment.chosen
        outlines = views.cones(work)
        if view.pixel and not chosen:
            outlines = views.inference(work, *view.pixel)
        elif view.pixel:
            lattice = work.opened.flow.lattice
            outlines.append((lattice.box(*view.pixel, 1, 1), "#ffffff"))
        return views.canvas(work, outlines=outlines)
    return views.canvas(work)


def whole(seed: float | None) -> int:
    """A seed from a field of the page, whatever was written there."""
    return min(int(abs(seed or 0)), MOST_SEED)


def seed_field(value: int, elem_id: str) -> Any:
    """Where a seed is written."""
    return gr.Number(
        value,
        label="Seed",
        precision=0,
        minimum=0,
        maximum=MOST_SEED,
        min_width=90,
        elem_id=elem_id,
        scale=1,
    )


def level_sliders(name: str, **options: Any) -> list[Any]:
    """One slider per level, as many as there may be."""
    return [
        slider(label=f"Level {h}", elem_id=f"{name}-{h}", min_width=120, **options)
        for h in range(MOST_LEVELS)
    ]


def per_level(work: Workspace, values: Sequence[float]) -> list[float]:
    """The values of level sliders for all levels of the flow."""
    return [float(values[min(h, MOST_LEVELS - 1)]) for h in range(work.opened.flow.levels)]


def level_updates(work: Workspace) -> list[Any]:
    """Which of the level sliders there are, and what they are called."""
    levels = work.opened.flow.levels
    found = []
    for h in range(MOST_LEVELS):
        name = f"Level {h}"
        if h == 0:
            name += ", finest"
        elif h == min(levels, MOST_LEVELS) - 1:
            name += ", coarsest" if levels <= MOST_LEVELS else " and above"
        found.append(gr.update(visible=h < levels, label=name))
    return found
