"""Animations to show or save."""

import base64
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from rgflow.analysis.mixing import level_by_level, mix, straight
from rgflow.analysis.traversals import traverse
from rgflow.app.page import REACH
from rgflow.app.workspace import Workspace
from rgflow.figures import picture, to_bytes
from rgflow.figures.animations import animate
from rgflow.figures.mixing import path_frames
from rgflow.latents import Address

FRAMES = 9
"""Pictures of a traversal, and steps of a path for each level."""


def latent_film(work: Workspace) -> tuple[Address, list[Tensor]]:
    """The latent chosen last, and the images while it moves; a `ValueError` if none is chosen."""
    if not work.state.chosen:
        raise ValueError("Expected a latent to play: choose one of the receptive fields.")
    address = work.state.chosen[-1]
    values = np.linspace(-REACH / 2, REACH / 2, FRAMES) * work.unit
    found = traverse(work.opened.exact, work.image.latents, address, values.tolist())
    return address, [to_bytes(image) for image in found.images[0]]


def path_film(work: Workspace, scale: int) -> list[Image.Image]:
    """The path from the first image to the second: level by level and, beside it, all at once; a
    `ValueError` if there is no second image."""
    if work.state.second is None:
        raise ValueError("Expected a second image to end the path: choose one under Mix.")
    flow, a, b = work.opened.exact, work.first.latents, work.state.second.latents
    steps = max(2, FRAMES // flow.levels)
    paths = {
        "level by level": mix(flow, a, b, level_by_level(flow.levels, steps)),
        "linear": mix(flow, a, b, straight(flow.levels, flow.levels * steps)),
    }
    return path_frames(paths, scale=scale, ends=("first", "second"))


def enlarged(image: Tensor, scale: int) -> Image.Image:
    """An image, with a square for every pixel."""
    small = picture(image).convert("RGB")
    return small.resize((small.width * scale, small.height * scale), Image.Resampling.NEAREST)


def animated(frames: Sequence[Image.Image], label: str) -> str:
    """An animation as HTML."""
    data = as_base64("film.gif", lambda path: animate(frames, path, milliseconds=120))
    return f'<img alt="{label}" src="data:image/gif;base64,{data}">'


def as_base64(name: str, write: Callable[[Path], Any]) -> str:
    """A file that is written, as text; nothing stays on the server."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / name)
        return base64.b64encode((Path(folder) / name).read_bytes()).decode()


def toggle(work: Workspace, kind: str, make: Callable[[], str]) -> None:
    """Show an animation of the current state, or hide the one of its kind that is shown."""
    work.view.film = None if playing(work, kind) else (kind, work.state, make())


def playing(work: Workspace, kind: str) -> str:
    """The animation of a kind of the current state, if there is one."""
    film = work.view.film
    return film[2] if film and film[0] == kind and film[1] is work.state else ""
