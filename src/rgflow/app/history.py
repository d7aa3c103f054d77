"""The state of the page of latents, and its history."""

from dataclasses import dataclass, field

import numpy as np

from rgflow.app.latent_image import LatentImage
from rgflow.app.models import OpenModel
from rgflow.latents import Address
from rgflow.lattice import Mask

MAX_UNDO = 100
"""States that are kept, for memory."""


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


def initial(opened: OpenModel, image: LatentImage) -> State:
    """The state of an image that nothing has been done to."""
    empty = np.zeros(opened.flow.image_shape[1:], dtype=bool)
    return State(opened=opened, image=image, mask=empty)


@dataclass(eq=False)
class History:
    """The current state, those before it, and those that were undone.

    Attributes:
        state: The current state.
        revision: Counts the changes.
    """

    state: State
    revision: int = 0
    _past: list[State] = field(default_factory=list)
    _future: list[State] = field(default_factory=list)

    def commit(self, state: State) -> None:
        """Go to another state; undo leads back."""
        self._past = [*self._past, self.state][-MAX_UNDO:]
        self._future = []
        self.amend(state)

    def amend(self, state: State) -> None:
        """Replace the current state by one that needs no step of its own."""
        self.state = state
        self.revision += 1

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

    @property
    def undoable(self) -> tuple[int, int]:
        """The number of steps to undo, and to redo."""
        return len(self._past), len(self._future)
