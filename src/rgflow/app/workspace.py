"""The workspace of one page: the current image, and what the page shows of it.

Its changes are functions of a workspace, in `moving`, `mixing` and `repairing`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from rgflow.app.history import History, State, initial
from rgflow.app.latent_image import LatentImage, decoded, encoded, sampled
from rgflow.app.models import OpenModel
from rgflow.latents import Latents

NOISE_DRAWS = 4
"""Draws of the noise with which bits per dimension are measured."""
SAMPLE_TEMPERATURE = 0.8
"""Temperature of samples, unless the user sets another."""


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


class Workspace(History):
    """The workspace of one page.

    Args:
        opened: The model to begin with.

    Attributes:
        view: How the page looks.
        pending: Applies the values of sliders that are still being moved; none: no slider is.
        slider_revision: The revision that the sliders show; it stays while only they move.
        stopping: Set to stop a running repair.
    """

    def __init__(self, opened: OpenModel) -> None:
        super().__init__(initial(opened, sampled(opened, [0], SAMPLE_TEMPERATURE)[0]))
        self.view = View()
        self.pending: Callable[[], None] | None = None
        self.slider_revision = 0
        self.stopping = False
        self._cache: dict[str, tuple[tuple[Any, ...], Any]] = {}

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

    # ---------------------------------------------------------------- changes

    def amend(self, state: State) -> None:
        """As for `History`; values of sliders that aren't applied are dropped."""
        if state.opened is not self.opened:
            self.view.level = self.view.pixel = None
        self.pending = None
        super().amend(state)
        self.slider_revision = self.revision

    def apply_pending(self) -> None:
        """Apply the values of sliders that were moved."""
        revision, pending = self.slider_revision, self.pending
        self.pending = None
        if pending:
            pending()
        self.slider_revision = revision

    def open(self, opened: OpenModel) -> None:
        """Start again with another model."""
        self.commit(initial(opened, sampled(opened, [0], SAMPLE_TEMPERATURE)[0]))

    def take(self, image: LatentImage) -> None:
        """Make this the current image; samples, the second image and sliders stay."""
        self.commit(self.with_image(image))

    def with_image(self, image: LatentImage) -> State:
        """The state that `take` leads to."""
        now = self.state
        kept: Any = {"samples": now.samples, "second": now.second, "chosen": now.chosen}
        return replace(initial(self.opened, image), **kept)

    def change(self, image: LatentImage) -> None:
        """Replace the current image by a changed version, if it differs."""
        if not torch.equal(image.latents.flat(), self.image.latents.flat()):
            dropped: dict[str, Any] = {"first": None, "shares": (), "completions": ()}
            self.commit(replace(self.state, image=image, **dropped))

    def edit(self, z: Latents, how: str) -> None:
        """Change the latents of the current image; `how` says in a few words what was done."""
        self.change(replace(decoded(self.opened, z, self.image.caption), edited=how))

    def sample(self, seeds: Iterable[int], temperature: float | list[float]) -> None:
        """Draw images, one for every seed, and take the first."""
        found = sampled(self.opened, seeds, temperature)
        self.commit(replace(self.with_image(found[0]), samples=tuple(found)))

    def encode(self, pixels: Tensor, caption: str) -> LatentImage:
        """An image of the user's own, uint8 [C, H, W]."""
        return encoded(self.opened, pixels, caption)
