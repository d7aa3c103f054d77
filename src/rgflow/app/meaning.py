"""The meaning of latents, as far as `rgflow factors` has found it."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from html import escape
from itertools import islice
from typing import Any

import gradio as gr

from rgflow.app import moving
from rgflow.app.views import colour
from rgflow.app.workspace import Workspace
from rgflow.files import FACTORS
from rgflow.pretrained import folder_of
from rgflow.reading import read_json

MAX_LISTED = 12
"""Latents that are listed."""


def meanings(work: Workspace) -> str:
    """What `rgflow factors` has found about the latents of the model, as HTML."""
    name, channels = work.opened.name, work.opened.flow.image_shape[0]
    # For a model of the package: what was found on this machine, or what comes with it.
    folders = (work.opened.model.folder, folder_of(name))
    path = next((one / FACTORS for one in folders if (one / FACTORS).is_file()), None)
    if path is None:
        return (
            f"<p>Nothing is known yet about the meaning of the latents of {escape(name)}. To find "
            f"out, run</p><pre>rgflow factors {escape(name)}</pre><p>and reload this page.</p>"
        )
    try:
        return "".join(_parts(read_json(path, "what latents mean"), channels))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return (
            f"<p>Expected <code>{escape(str(path))}</code> as <code>rgflow factors</code> writes "
            f"it; it is damaged: run the command again.</p>"
        )


def _parts(found: dict[str, Any], channels: int) -> Iterator[str]:
    """What was found, as HTML."""
    latent = partial(_latent, channels=channels)
    of = f"{found['images']:,} {escape(found['split'])} images"
    yield f"<p>From {of}. Click a latent to get a slider for it.</p>"
    if associations := found.get("associations"):
        rows = [
            (escape(label), latent(best[0]["address"]), f"{best[0]['information']:.2f} nats")
            for label, best in list(associations["labels"].items())
            if best
        ]
        yield "<h3>The most informative latent for each label</h3>"
        yield _table(("label", "latent", "information"), rows)
    visible = found["visible"]
    pairs = zip(visible["addresses"], visible["strengths"], strict=True)
    strongest = [(latent(address), f"{value:.2f}") for address, value in islice(pairs, MAX_LISTED)]
    yield "<h3>The strongest latents</h3>"
    yield "<p>How much they change images on average; the maps average over other samples.</p>"
    yield _table(("latent", "strength"), strongest)
    for one in found.get("tables", []):
        cells = [[escape(cell) for cell in row] for row in one["rows"]]
        yield f"<details><summary>{escape(one['title'])}</summary>"
        yield f"{_table([escape(name) for name in one['head']], cells)}"
        yield f"<p>{escape(one['settings'])}</p></details>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells of HTML as a table."""
    lines = ["".join(f"<th>{name}</th>" for name in head)]
    lines += ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _latent(address: list[int], channels: int) -> str:
    """A button to choose a latent."""
    h, i, j, c = map(int, address)
    words = f"level {h}, ({i}, {j}), {colour(c, channels)}"
    return f'<button type="button" data-address="{h},{i},{j},{c}">{words}</button>'


def choose_latent(work: Workspace, event: gr.EventData) -> int:
    """Add a slider for the latent that was clicked; returns its level.

    Raises:
        ValueError: If the model has no such latent.
    """
    h, i, j, c = (int(part) for part in str(event.address).split(","))
    levels = work.opened.flow.lattice.site_levels
    rows, columns = levels.shape
    inside = 0 <= i < rows and 0 <= j < columns and 0 <= c < work.opened.flow.config.channels
    if not (inside and levels[i, j] == h):
        raise ValueError(f"Expected a latent of this model; got ({h}, {i}, {j}, {c}).")
    if (h, i, j, c) not in work.state.chosen:
        moving.choose(work, (h, i, j, c))
    return h
