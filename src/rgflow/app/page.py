"""What panels share: events that reach a workspace, and common components."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from importlib import resources
from typing import Any

import gradio as gr
from torch import Tensor

from rgflow.app import views
from rgflow.app.sessions import SessionStore
from rgflow.app.workspace import Workspace

STATIC = resources.files("rgflow.app") / "static"
Handler = Callable[..., Any]
MAX_SEED = (1 << 31) - 1
"""The largest seed, as NumPy takes those below 2^32 and fields of the page show all digits."""
CONNECTED = "async (...values) => { await window.rgflow.connected; return values; }"
"""Holds an event back until the page has a permanent stream: Gradio may lose an event that is sent
while no stream is open."""
slider = partial(gr.Slider, buttons=[])
"""A slider without a reset button, as undo does more."""
MAX_LEVELS = 12
"""Levels with a slider of their own, which images of up to 4096×4096 pixels have."""


def static(name: str) -> str:
    """A file of the page."""
    return (STATIC / name).read_text(encoding="utf-8")


def header(here: str, up: str) -> str:
    """What is above both pages, of which one is shown; `up` leads to the server's root."""
    now = f"{here}</a>"
    found = static("header.html").replace("{{up}}", up)
    return found.replace(f'">{now}', f'" aria-current="page">{now}')


class Page:
    """The components of the page, and how their events reach a workspace."""

    def __init__(self, sessions: SessionStore) -> None:
        self.sessions = sessions
        self.updated: list[Any] = []
        self.canvas: Any = None
        self._shown: list[tuple[Handler, int, Handler | None]] = []
        self._wires: list[Callable[[], Any]] = []

    # ---------------------------------------------------------------- components

    @staticmethod
    def html(template: str, script: str, **more: Any) -> Any:
        """A component of our own, which a script of the page fills."""
        return gr.HTML(
            html_template=template, js_on_load=static(script), apply_default_css=False, **more
        )

    def sheet(self, label: str, **more: Any) -> Any:
        """Small pictures to choose from."""
        template = f'<div class="sheet" role="group" aria-label="{label}"></div>'
        return self.html(template, "sheet.js", **more)

    # ---------------------------------------------------------------- events

    def show(self, components: Sequence[Any], function: Handler, by: Handler | None = None) -> None:
        """Update components after every change.

        Args:
            components: The components.
            function: Their values, one each, from the workspace.
            by: What the values depend on, by default themselves. Nothing is sent while it stays the
                same: for a slider that is being moved, the server's answer would be out of date.
        """
        self.updated += components
        self._shown.append((function, len(components), by))

    def updates(self, work: Workspace) -> list[Any]:
        """The values of all components that are kept up to date; those that the page already has
        are left out."""
        found: list[Any] = []
        for k, (function, count, by) in enumerate(self._shown):
            values = function(work)
            now = by(work) if by else hash(repr(values))
            found += [gr.skip()] * count if work.view.sent.get(k) == now else values
            work.view.sent[k] = now
        return found

    def on(
        self,
        trigger: Any,
        function: Handler,
        inputs: Sequence[Any] = (),
        outputs: Sequence[Any] = (),
        *,
        event: bool = False,
        apply_pending: bool = True,
        refresh: bool = True,
        words: str = "",
        **options: Any,
    ) -> None:
        """Call a function of the workspace at an event.

        A `ValueError` or `OSError` is shown in one sentence, and nothing changes.

        Args:
            trigger: The event, such as `button.click`.
            function: Takes the workspace, the event's data if `event`, and the values of inputs;
                returns the values of outputs, if there are any.
            inputs: Components.
            outputs: Components, besides those that are kept up to date.
            event: Whether the function takes the event's data.
            apply_pending: Whether to apply sliders that were moved first.
            refresh: Whether to update what is kept up to date.
            words: What is under way, for whoever waits longer than half a second.
            options: Options of Gradio.
        """
        busy = f"=> {{ window.rgflow.busy({json.dumps(words)});" if words else "=> {"

        def call(request: gr.Request, data: gr.EventData, *values: Any) -> Any:
            with self.sessions.using(str(request.session_hash)) as work:
                try:
                    if apply_pending:
                        work.apply_pending()
                    result = function(work, *([data] if event else []), *values)
                    result = [*result] if len(outputs) > 1 else [result][: len(outputs)]
                    if refresh and work.pending:  # it would put back a slider that is being moved
                        result += [gr.skip()] * len(self.updated)
                    elif refresh:
                        result += self.updates(work)
                except (ValueError, OSError) as error:
                    gr.Warning(" ".join(str(error).split()))
                    result = [gr.skip()] * (len(outputs) + len(self.updated) * refresh)
            return result[0] if len(result) == 1 else result

        def wire() -> None:
            dependency = trigger(
                call,
                inputs=list(inputs),
                outputs=[*outputs, *(self.updated if refresh else [])],
                # One queue for all, as Gradio takes from several in a random order.
                concurrency_id="page",
                concurrency_limit=None,
                **{
                    "show_progress": "hidden",
                    "api_visibility": "private",
                    "trigger_mode": "multiple",  # nothing that a person does is lost
                    "js": CONNECTED.replace("=> {", busy, 1),
                    **options,
                },
            )
            if words:
                dependency.then(None, js="() => window.rgflow.rest()")

        self._wires.append(wire)

    def live(
        self,
        sliders: Sequence[Any],
        revision: Any,
        preview: Callable[[Workspace, Sequence[float]], Tensor],
        apply: Callable[[Workspace, Sequence[float]], None],
    ) -> None:
        """Show the image while a slider is moved, and apply it when it is released.

        Args:
            sliders: The sliders that belong together.
            revision: Holds the revision that they show; events of another are out of date.
            preview: The image with their values, uint8 [C, H, W].
            apply: Applies their values.
        """

        def moved(work: Workspace, shown: float, *values: float) -> Any:
            if shown != work.slider_revision:
                return gr.skip()
            return views.canvas(work, image=preview(work, values))

        def released(work: Workspace, shown: float, *values: float) -> None:
            # Not what was previewed last: the last move may still be on its way.
            if shown == work.slider_revision:
                work.pending = partial(apply, work, values)
            work.apply_pending()

        how: dict[str, Any] = {"inputs": [revision, *sliders], "apply_pending": False}
        # Moves that another follows are dropped, so no words can say when they have ended.
        last: dict[str, Any] = {"refresh": False, "trigger_mode": "always_last", **how}
        for one in sliders:
            self.on(one.input, moved, outputs=[self.canvas], **last)
            self.on(one.release, released, words="Decoding", **how)

    def wire(self) -> None:
        """Connect all events, as all components are built now."""
        for wire in self._wires:
            wire()


def set_view(name: str, value: object = None) -> Handler:
    """A handler that sets an attribute of the view to a value, or to that of an input."""
    return lambda work, value=value: setattr(work.view, name, value)


def seed_from(seed: float | None) -> int:
    """A seed from a field of the page, whatever was typed there."""
    return min(int(abs(seed or 0)), MAX_SEED)


def seed_field(value: int, elem_id: str) -> Any:
    """A field for a seed."""
    limits: dict[str, Any] = {"precision": 0, "minimum": 0, "maximum": MAX_SEED}
    return gr.Number(value, label="Seed", min_width=90, elem_id=elem_id, scale=1, **limits)


def level_sliders(name: str, **options: Any) -> list[Any]:
    """One slider per level, as many as there may be."""
    return [slider(elem_id=f"{name}-{h}", min_width=120, **options) for h in range(MAX_LEVELS)]


def level_updates(work: Workspace) -> list[Any]:
    """Which level sliders are visible, and their names."""
    top = work.opened.flow.levels - 1
    ends = {top: ", coarsest", 0: ", finest"}
    return [
        gr.update(visible=h <= top, label=f"Level {h}{ends.get(h, '')}") for h in range(MAX_LEVELS)
    ]
