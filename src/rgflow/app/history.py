"""All that undoing brings back, and the way there and forth."""

from dataclasses import dataclass, field

import numpy as np

from rgflow.app.recipe import Recipe
from rgflow.app.shelf import Opened
from rgflow.app.subject import Subject
from rgflow.latents import Address, Latents
from rgflow.lattice import Mask

MOST = 100
"""Moments that are kept."""


@dataclass(frozen=True, eq=False)
class Direction:
    """A move that was saved.

    Attributes:
        change: Of all latents.
        recipe: The Python that makes it.
    """

    change: Latents
    recipe: Recipe


@dataclass(frozen=True, eq=False)
class Moment:
    """All that undoing brings back.

    Attributes:
        opened: The model.
        subject: The current image.
        base: What resets lead to: the image before latents were moved.
        mask: What is to be repaired.
        samples: Images drawn together, to choose from.
        other: The image to mix with.
        first: The image that was mixed with it, if the current one is a mixture.
        shares: How much of the other there is in it, level by level.
        chosen: Latents that have sliders.
        original: The image before it was repaired.
        completions: What may be where the mask is, to choose from.
        start: The moment of which those are.
        curve: Log p, in nats, of the steps that led to the completions.
        said: What the repair panel says.
        forgotten: Saved moves that were deleted.
    """

    opened: Opened
    subject: Subject
    base: Subject
    mask: Mask
    samples: tuple[Subject, ...] = ()
    other: Subject | None = None
    first: Subject | None = None
    shares: tuple[float, ...] = ()
    chosen: tuple[Address, ...] = ()
    original: Subject | None = None
    completions: tuple[Subject, ...] = ()
    start: "Moment | None" = None
    curve: tuple[float, ...] = ()
    said: str = ""
    forgotten: frozenset[Direction] = frozenset()


def fresh(opened: Opened, subject: Subject) -> Moment:
    """The moment at which this is the image, and nothing has been done to it."""
    empty = np.zeros(opened.flow.image_shape[1:], dtype=bool)
    return Moment(opened=opened, subject=subject, base=subject, mask=empty)


@dataclass(eq=False)
class History:
    """A moment, those before it, and those that were undone.

    Attributes:
        moment: Now.
        revision: Counts the changes.
    """

    moment: Moment
    revision: int = 0
    _past: list[Moment] = field(default_factory=list)
    _future: list[Moment] = field(default_factory=list)

    def go(self, moment: Moment) -> None:
        """To another moment, from which one can come back."""
        self._past = [*self._past, self.moment][-MOST:]
        self._future = []
        self._to(moment)

    def amend(self, moment: Moment) -> None:
        """A moment that differs in nothing that could be undone."""
        self._to(moment)

    def undo(self) -> bool:
        """Back to the moment before; false if there is none."""
        return self._step(self._past, self._future)

    def redo(self) -> bool:
        """Forward again; false if nothing was undone."""
        return self._step(self._future, self._past)

    def _step(self, source: list[Moment], target: list[Moment]) -> bool:
        if not source:
            return False
        target.append(self.moment)
        self._to(source.pop())
        return True

    def _to(self, moment: Moment) -> None:
        self.moment = moment
        self.revision += 1

    @property
    def undoable(self) -> tuple[int, int]:
        """How many steps can be undone, and done again."""
        return len(self._past), len(self._future)
