"""The workspace of one page of latents: the current image, its history, what the page shows of it.

Its changes are functions of a workspace, beside the panels that make them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rgflow.app.models import LatentImage, OpenModel
from rgflow.latents import Address, Latents
from rgflow.lattice import Mask

MAX_UNDO = 100
"""States that are kept, for memory."""
NOISE_DRAWS = 4
"""Draws of the noise with which bits per dimension are measured."""
SAMPLE_TEMPERATURE = 0.8
"""Temperature of samples, unless the user sets another."""


@dataclass(frozen=True, eq=False)
class State:
    """Everything that undo restores.

    Attributes:
        opened: The model.
        image: The current image.
        mask: What to repair.
        samples: Images drawn together, to choose from.
        second: The image to mix with.
        first: The image that was mixed with it, if the current one is a mixture.
        shares: The share of the second image in it, level by level.
        chosen: Latents that have sliders.
        completions: What may fill the mask, to choose from.
    """

    opened: OpenModel
    image: LatentImage
    mask: Mask
    samples: tuple[LatentImage, ...] = ()
    second: LatentImage | None = None
    first: LatentImage | None = None
    shares: tuple[float, ...] = ()
    chosen: tuple[Address, ...] = ()
    completions: tuple[LatentImage, ...] = ()

    @property
    def images(self) -> tuple[tuple[LatentImage, ...], ...]:
        """The current image, the second, the first, the samples and the completions."""
        one_each = ((one,) if one else () for one in (self.image, self.second, self.first))
        return (*one_each, self.samples, self.completions)


@dataclass(eq=False)
class View:
    """How the page looks. Undo doesn't restore this.

    Attributes:
        panel: The title of the open panel; empty: the first one.
        level: The level whose latents are shown; none: the highest.
        pixel: The row and column picked.
        sent: What groups of components show, or what that depends on, by their numbers.
    """

    panel: str = ""
    level: int | None = None
    pixel: tuple[int, int] | None = None
    sent: dict[int, object] = field(default_factory=dict)


class Workspace:
    """The workspace of one page.

    Args:
        opened: The model to begin with.
        state: The state to begin with; by default a new one.

    Attributes:
        state: The current state.
        revision: Counts the changes.
        view: How the page looks.
        pending: Applies the values of sliders that are still being moved; none: no slider is.
        slider_revision: The revision that the sliders show; it stays while only they move.
        stopping: Set to stop a running repair.
    """

    def __init__(self, opened: OpenModel, state: State | None = None) -> None:
        self.state = state or _initial(opened)
        self.revision = self.slider_revision = 0
        self.view = View()
        self.pending: Callable[[], None] | None = None
        self.stopping = False
        self._past, self._future = list[State](), list[State]()
        self._cache: dict[str, tuple[tuple[Any, ...], Any]] = {}

    @classmethod
    def of(cls, states: Sequence[State], now: int) -> "Workspace":
        """A workspace with a history: its states, the current one by its number."""
        found = cls(states[now].opened, states[now])
        found._past, found._future = [*states[:now]], [*reversed(states[now + 1 :])]
        return found

    @property
    def opened(self) -> OpenModel:
        """The model."""
        return self.state.opened

    @property
    def image(self) -> LatentImage:
        """The current image."""
        return self.state.image

    @property
    def level(self) -> int:
        """The level whose latents are shown."""
        top = self.opened.flow.levels - 1
        return top if self.view.level is None else min(self.view.level, top)

    def cached(self, name: str, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """The last value of this name, made again if the key has changed."""
        if name not in self._cache or self._cache[name][0] != key:
            self._cache[name] = key, make()
        return self._cache[name][1]

    def likelihood(self) -> str:
        """The likelihood of the current image, in words."""
        flow = self.opened.flow

        def found() -> float:
            return flow.bits_per_dim(self.image.pixels[None], draws=NOISE_DRAWS).item()

        return f"{self.cached('likelihood', (self.image,), found):.3f} {flow.unit.name}"

    # ---------------------------------------------------------------- history

    def commit(self, state: State) -> None:
        """Go to another state; undo leads back."""
        self._past, self._future = [*self._past, self.state][-MAX_UNDO:], []
        self.amend(state)

    def amend(self, state: State) -> None:
        """Replace the current state by one that needs no step of its own; values of sliders that
        aren't applied are dropped."""
        if state.opened is not self.opened:
            self.view.level = self.view.pixel = None
        self.state, self.pending = state, None
        self.revision += 1
        self.slider_revision = self.revision

    def undo(self) -> bool:
        """Go back to the state before; returns whether there was one."""
        return self._step(self._past, self._future)

    def redo(self) -> bool:
        """Go forward again; returns whether anything was undone."""
        return self._step(self._future, self._past)

    def _step(self, source: list[State], target: list[State]) -> bool:
        if not source:
            return False
        target.append(self.state)
        self.amend(source.pop())
        return True

    def history(self, most: int) -> tuple[list[State], int]:
        """The current state, at most so many before it and after it, and its number among them."""
        past, future = self._past[-most:], self._future[-most:]
        return [*past, self.state, *reversed(future)], len(past)

    @property
    def undoable(self) -> tuple[int, int]:
        """The number of steps to undo, and to redo."""
        return len(self._past), len(self._future)

    # ---------------------------------------------------------------- changes

    def apply_pending(self) -> None:
        """Apply the values of sliders that were moved."""
        revision, pending = self.slider_revision, self.pending
        self.pending = None
        if pending:
            pending()
        self.slider_revision = revision

    def open(self, opened: OpenModel) -> None:
        """Start again with another model."""
        self.commit(_initial(opened))

    def take(self, image: LatentImage, **more: Any) -> None:
        """Make this the current image; samples, the second image and sliders stay, unless `more`
        of the state is set."""
        now = self.state
        kept: Any = {"samples": now.samples, "second": now.second, "chosen": now.chosen, **more}
        self.commit(replace(_initial(self.opened, image), **kept))

    def change(self, image: LatentImage) -> None:
        """Replace the current image by a changed version, if it differs."""
        if not torch.equal(image.latents.flat(), self.image.latents.flat()):
            dropped: dict[str, Any] = {"first": None, "shares": (), "completions": ()}
            self.commit(replace(self.state, image=image, **dropped))

    def edit(self, z: Latents, how: str) -> None:
        """Change the latents of the current image; `how` says in a few words what was done."""
        self.change(replace(self.opened.decoded(z, self.image.caption), edited=how))

    def sample(self, seeds: Iterable[int], temperature: float | list[float]) -> None:
        """Draw images, one for every seed, and take the first."""
        found = self.opened.sampled(seeds, temperature)
        self.take(found[0], samples=tuple(found))

    def encode(self, pixels: Tensor, caption: str) -> LatentImage:
        """An image of the user's own, uint8 [C, H, W]."""
        return self.opened.encoded(pixels, caption)


def _initial(opened: OpenModel, image: LatentImage | None = None) -> State:
    """The state of an image that nothing has been done to; by default the first example of the
    model, beside the others, or a sample."""
    examples = () if image else opened.examples
    image = image or (examples or opened.sampled([0], SAMPLE_TEMPERATURE))[0]
    mask = np.zeros(opened.flow.image_shape[1:], dtype=bool)
    return State(opened, image, mask, samples=examples)
