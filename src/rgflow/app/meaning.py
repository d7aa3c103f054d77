"""What is known of the meaning of latents: what `rgflow factors` has found out about a model."""

import json
from html import escape
from typing import Any

from rgflow.app.workspace import Workspace

MOST = 12
"""Latents that are listed."""


def told(work: Workspace) -> str:
    """The named latents of the model, and how well its latents tell factors, as HTML."""
    name, path = work.opened.name, work.opened.model.folder / "factors.json"
    if not path.is_file():
        return (
            f"<p>Nothing is known yet of what the latents of {escape(name)} mean. To find out, run"
            f"</p><pre>rgflow factors {escape(name)}</pre><p>and open this page anew.</p>"
        )
    try:
        return _tables(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return (
            f"<p>Expected <code>{escape(str(path))}</code> as <code>rgflow factors</code> writes "
            f"it; it is damaged: run that again.</p>"
        )


def _tables(found: dict[str, Any]) -> str:
    """What was found, as tables."""
    parts = [f"<p>From {found['images']:,} test images.</p>"]
    if of := found.get("associations"):
        rows = "".join(
            f"<tr><td>{escape(label)}</td><td>{_latent(best[0]['address'])}</td>"
            f"<td>{best[0]['information']:.2f} nats</td></tr>"
            for label, best in list(of["labels"].items())[:MOST]
            if best
        )
        parts.append(
            f"<h3>What tells most about each label</h3><table><tr><th>label</th><th>latent</th>"
            f"<th>tells</th></tr>{rows}</table>"
        )
    visible = found["visible"]
    rows = "".join(
        f"<tr><td>{_latent(address)}</td><td>{strength:.2f}</td></tr>"
        for address, strength in list(zip(visible["addresses"], visible["strengths"], strict=True))[
            :MOST
        ]
    )
    parts.append(
        f"<h3>The strongest latents</h3><table><tr><th>latent</th><th>strength</th></tr>"
        f"{rows}</table>"
    )
    return "".join(parts)


def _latent(address: list[int]) -> str:
    h, i, j, c = address
    return f"level {h}, ({i}, {j}), channel {c}"
