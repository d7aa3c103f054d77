"""The pictures that are open on the page of photographs, and what was changed of them.

Letters in shapes: C channels; H, W rows and columns.
"""

import io
import secrets
import threading
from base64 import b64decode, b64encode
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple

import numpy as np
from fastapi import HTTPException
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, Field

from rgflow.app.saving import Lossy
from rgflow.cells import Mask
from rgflow.photographs import damage
from rgflow.photographs.pictures import Picture

KEPT = 400_000_000
"""Pixels of all pictures that are kept; the ones that weren't used for longest are forgotten."""
MOST_STEPS = 4
"""How many changes of the whole picture can be undone; more of smaller regions."""

Pixels = NDArray[np.uint8]


class Drawn(NamedTuple):
    """Other pixels [C, h, w] for a region, and where they differ from the picture, [h, w]."""

    top: int
    left: int
    pixels: Pixels
    where: Mask


@dataclass(eq=False)
class Photo:
    """A picture, and what was changed of it.

    Attributes:
        name: Of the file.
        picture: As it was.
        original: What a flow sees of it, [C, H, W] with as many channels as the flow has.
        now: The same, changed.
        changed: Where, [H, W].
        lossy: How its file was compressed, if with loss.
        made: What its saved file is called besides its name.
        second: Another one to mix it with, as large.
        drawn: What was drawn of it last, to choose from.
        version: Rises with every change.
        turn: Rises with every computation, so that the one before it ends.
        at_work: Held by the computation under way.
    """

    name: str
    picture: Picture
    original: Pixels
    now: Pixels
    changed: Mask
    lossy: Lossy | None = None
    made: str = "repaired"
    second: Pixels | None = None
    drawn: list[Drawn] = field(default_factory=list)
    version: int = 0
    turn: int = 0
    at_work: threading.Lock = field(default_factory=threading.Lock)
    _steps: list[Drawn] = field(default_factory=list)
    _undone: list[Drawn] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def change(self, new: Drawn, *, again: bool = False) -> None:
        """Write pixels as a step that can be undone; `again`: as part of the step before."""
        with self._lock:
            if not again:
                self._steps.append(self._as_is(new))
                self._undone.clear()
                while len(self._steps) > 1 and self._remembered() > MOST_STEPS * self.changed.size:
                    del self._steps[0]
            part = _part(new)
            self.now[:, *part] = np.where(new.where, new.pixels, self.now[:, *part])
            self.changed[part] |= new.where
            self.version += 1

    @property
    def size(self) -> int:
        """Pixels, with those of the second picture."""
        return self.changed.size * (1 if self.second is None else 2)

    def undo(self) -> bool:
        """Take the last step back; false: there is none."""
        return self._swap(self._steps, self._undone)

    def redo(self) -> bool:
        """Do again what was undone last; false: there is nothing."""
        return self._swap(self._undone, self._steps)

    def _swap(self, from_: list[Drawn], to: list[Drawn]) -> bool:
        """Bring back the pixels of a step, and remember those that were there."""
        with self._lock:
            if not from_:
                return False
            step = from_.pop()
            to.append(self._as_is(step))
            part = _part(step)
            self.now[:, *part], self.changed[part] = step.pixels, step.where
            self.version += 1
            return True

    def _as_is(self, region: Drawn) -> Drawn:
        """The pixels of a region as they are now, and where they are changed."""
        part = _part(region)
        return Drawn(region.top, region.left, self.now[:, *part].copy(), self.changed[part].copy())

    def _remembered(self) -> int:
        """Pixels of all steps."""
        return sum(step.where.size for step in self._steps)

    def take_turn(self) -> int:
        """End the computation under way; the number of the next one."""
        with self._lock:
            self.turn += 1
            return self.turn

    def stop(self, turn: int | None = None) -> None:
        """End the computation under way; given a number, only if it has this one."""
        with self._lock:
            self.turn += turn is None or self.turn == turn

    def exported(self) -> Image.Image:
        """In the mode of the file."""
        return self.picture.replaced(self.now, self.changed)


def _part(region: Drawn) -> tuple[slice, slice]:
    height, width = region.where.shape
    return slice(region.top, region.top + height), slice(region.left, region.left + width)


class Album:
    """The pictures that are open, by their names."""

    def __init__(self) -> None:
        self._photos: OrderedDict[str, Photo] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._photos)

    def add(self, photo: Photo) -> str:
        """Keep a picture; returns its name."""
        name = secrets.token_urlsafe(18)
        with self._lock:
            self._photos[name] = photo
            while len(self) > 1 and sum(one.size for one in self._photos.values()) > KEPT:
                self._photos.popitem(last=False)
        return name

    def __getitem__(self, name: str) -> Photo:
        with self._lock:
            found = self._photos.get(name)
            if found is None:
                raise HTTPException(404, "This picture is no longer open: open it again.")
            self._photos.move_to_end(name)
            return found


class Region(BaseModel):
    """A rectangle, and what of it is marked, a picture as a data URL; none: all. `complete`: draw
    what is marked from its surroundings alone, rather than its detail."""

    top: Annotated[int, Field(ge=0)]
    left: Annotated[int, Field(ge=0)]
    height: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]
    mask: str | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    levels: Annotated[int, Field(ge=1, le=12)] = 2
    share: Annotated[float, Field(ge=0, le=1)] = 1.0
    zoom: Annotated[int, Field(ge=0, le=8)] = 0
    seed: Annotated[int, Field(ge=0)] = 0
    count: Annotated[int, Field(ge=1, le=6)] = 3
    complete: bool = False
    odd: Annotated[float, Field(ge=5, le=1000)] = damage.ODD

    def within(self, photo: Photo) -> tuple[slice, slice]:
        """Rows and columns.

        Raises:
            HTTPException: If it reaches outside the picture.
        """
        height, width = photo.changed.shape
        if self.top + self.height > height or self.left + self.width > width:
            raise HTTPException(422, f"Expected a region inside {width}×{height} pixels.")
        rows = slice(self.top, self.top + self.height)
        return rows, slice(self.left, self.left + self.width)

    def marked(self) -> Mask:
        """The mask [h, w].

        Raises:
            HTTPException: If it isn't one.
        """
        if self.mask is None:
            return np.ones((self.height, self.width), dtype=bool)
        try:
            content = b64decode(self.mask.partition(",")[2], validate=True)
            with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
                if image.size != (self.width, self.height):
                    raise ValueError
                found = np.asarray(image.convert("RGBA"))[..., 3] >= 128
        except Exception as error:
            raise HTTPException(422, "Expected a mask of the region, as a PNG picture.") from error
        if not found.any():
            raise HTTPException(
                422, "Expected some pixels to be marked; none are: paint over them first."
            )
        return found


def url(image: Image.Image) -> str:
    """A picture as a data URL."""
    content = io.BytesIO()
    image.save(content, "PNG", compress_level=1)
    return "data:image/png;base64," + b64encode(content.getvalue()).decode()


def mask_url(mask: Mask) -> str:
    """A mask as a picture that is transparent elsewhere."""
    values = np.zeros((*mask.shape, 4), dtype=np.uint8)
    values[mask] = (255, 60, 40, 255)
    return url(Image.fromarray(values))
