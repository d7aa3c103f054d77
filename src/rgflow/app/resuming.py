"""Workspaces on disk: a page of latents finds its own again after the server was killed.

The folder of a page has a file for every image and, written last, `states.json`.
"""

import math
from base64 import b64decode
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rgflow import tensors
from rgflow.app.models import LatentImage, ModelStore
from rgflow.app.views import packed
from rgflow.app.workspace import State, Workspace
from rgflow.files import write_json
from rgflow.latents import Address, Latents
from rgflow.reading import instance, read_json

MAX_KEPT = 10
"""States before the current one, and after it, that are kept."""
STATES, IMAGE = "states.json", ".safetensors"


@dataclass(frozen=True)
class KeptState:
    """A `State`: its model by name, images by their keys, and the mask as bits in base64.
    `images`: of the current image, the second and the first, the samples and the completions."""

    model: str
    images: list[list[str]]
    mask: str
    shares: tuple[float, ...]
    chosen: tuple[Address, ...]


@dataclass(frozen=True)
class Kept:
    """The states of a page, and which of them is the current one."""

    now: int
    states: list[KeptState]


def keep(work: Workspace, folder: Path) -> None:
    """Write a workspace: what isn't there yet. An `OSError` if it can't be written."""
    states, now = work.history(MAX_KEPT)
    images = {one.key: one for state in states for group in state.images for one in group}
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    there = {path.stem: path for path in folder.glob(f"*{IMAGE}")}
    for key in images.keys() - there.keys():
        one = images[key]
        values = {"pixels": one.pixels, "latents": one.latents.flat()}
        words = {"caption": one.caption, "edited": one.edited}
        tensors.save(folder / f"{key}{IMAGE}", values, words)
    kept = [
        KeptState(
            one.opened.name,
            [[image.key for image in group] for group in one.images],
            packed(np.packbits(one.mask)),
            one.shares,
            one.chosen,
        )
        for one in states
    ]
    write_json(folder / STATES, Kept(now, kept), indent=None)
    for key in there.keys() - images.keys():
        there[key].unlink(missing_ok=True)


def resumed(folder: Path, models: ModelStore) -> Workspace | None:
    """The workspace in a folder; none if there is none that can be read."""
    found = dict[str, LatentImage]()

    def state(kept: KeptState) -> State:
        opened = models.open(kept.model)
        channels, *size = opened.flow.image_shape
        for key in (key for group in kept.images for key in group if key not in found):
            values, words = tensors.load(folder / f"{key}{IMAGE}", sealed=True)
            z = Latents.from_flat(values["latents"], opened.flow.lattice, channels)
            found[key] = LatentImage(values["pixels"], z, words["caption"], words["edited"], key)
        images = (tuple(found[key] for key in group) for group in kept.images)
        (image,), second, first, samples, completions = images
        bits = np.frombuffer(b64decode(kept.mask), dtype=np.uint8)
        mask = np.unpackbits(bits, count=math.prod(size)).astype(bool).reshape(size)
        two, one = (group[0] if group else None for group in (second, first))
        return State(opened, image, mask, samples, two, one, kept.shares, kept.chosen, completions)

    states, now = list[State](), 0
    with suppress(OSError, ValueError):
        kept = instance(Kept, read_json(folder / STATES, "the states of a page"))
        for number, one in enumerate(kept.states):
            with suppress(OSError, ValueError, LookupError):  # as its model isn't there any more
                states.append(state(one))
                now += number < kept.now
    return Workspace.of(states, min(now, len(states) - 1)) if states else None
