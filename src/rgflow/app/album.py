"""The pictures that are open on the page of photographs, and their changes.

Letters in shapes: C channels; H, W rows and columns.
"""

import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from fastapi import HTTPException
from numpy.typing import NDArray
from PIL import Image

from rgflow.app.saving import Lossy
from rgflow.cells import Mask
from rgflow.photographs.pictures import Picture, lossless_for

MAX_PIXELS_KEPT, MAX_PIXELS_EACH = 400_000_000, 200_000_000
"""Pixels of all open pictures and of those of one visitor, for memory."""
IDLE_HOURS = 24
"""After how long without use a picture is closed."""
MAX_UNDO_PICTURES = 4
"""Changes of whole pictures that can be undone, for memory; more of smaller regions."""

Pixels = NDArray[np.uint8]


class Drawn(NamedTuple):
    """Other pixels for a region.

    Attributes:
        top: First row.
        left: First column.
        pixels: [C, h, w].
        where: The pixels that change, [h, w].
    """

    top: int
    left: int
    pixels: Pixels
    where: Mask

    @property
    def part(self) -> tuple[slice, slice]:
        """Rows and columns of the region."""
        height, width = self.where.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


@dataclass(eq=False)
class Photo:
    """An open picture with its changes.

    Attributes:
        name: Of the file.
        picture: As it was opened.
        original: What a flow sees of it, [C, H, W] with as many channels as the flow has.
        now: The same after all changes.
        changed: The pixels that were changed, [H, W].
        lossy: How its file was compressed, if with loss.
        made: What a saved file is called besides the name.
        before: What `original` is, if not the picture as it was opened.
        visitor: Who opened it.
        used: When it was used last, by `time.monotonic`.
        second: The pixels of a picture to mix it with, of the same shape.
        drawn: The last draws, to choose from.
        version: Number of changes, undone ones included.
        ended: Set to end the computation under way.
        at_work: Held by the computation under way.
    """

    name: str
    picture: Picture
    original: Pixels
    now: Pixels
    changed: Mask
    lossy: Lossy | None = None
    made: str = "repaired"
    before: str = ""
    visitor: str = ""
    used: float = 0.0
    second: Pixels | None = None
    drawn: list[Drawn] = field(default_factory=list)
    version: int = 0
    ended: threading.Event = field(default_factory=threading.Event)
    at_work: threading.Lock = field(default_factory=threading.Lock)
    _steps: list[Drawn] = field(default_factory=list)
    _undone: list[Drawn] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, name: str, picture: Picture, seen: Pixels, **more: Any) -> "Photo":
        """A picture that has just been opened.

        Args:
            name: Of the file.
            picture: The picture, H×W pixels.
            seen: What a flow sees of it, [C, H, W].
            more: Other attributes.
        """
        return cls(name, picture, seen, seen.copy(), np.zeros(seen.shape[1:], dtype=bool), **more)

    def facts(self, key: str) -> dict[str, Any]:
        """What the page knows of it; `key` is its name in the album."""
        height, width = self.changed.shape
        return {
            "id": key,
            "name": self.name,
            "width": width,
            "height": height,
            "notes": "; ".join(self.picture.notes),
            "lossy": self.lossy.kind if self.lossy else None,
            "lossless": lossless_for(self.picture.image.mode),
            "before": self.before,
            "version": self.version,
        }

    def change(self, new: Drawn, *, same_step: bool = False) -> None:
        """Change pixels, as a step that can be undone.

        Args:
            new: The pixels.
            same_step: Whether this is part of the last step.
        """
        with self._lock:
            if not same_step:
                self._steps.append(self._as_is(new))
                self._undone.clear()
                most = MAX_UNDO_PICTURES * self.changed.size
                while len(self._steps) > 1 and sum(one.where.size for one in self._steps) > most:
                    del self._steps[0]
            self.now[:, *new.part] = np.where(new.where, new.pixels, self.now[:, *new.part])
            self.changed[new.part] |= new.where
            self.version += 1

    @property
    def size(self) -> int:
        """Number of pixels, those of the second picture included."""
        return self.changed.size * (1 if self.second is None else 2)

    def undo(self) -> bool:
        """Take the last step back; returns whether there was one."""
        return self._swap(self._steps, self._undone)

    def redo(self) -> bool:
        """Repeat the step that was undone last; returns whether there was one."""
        return self._swap(self._undone, self._steps)

    def _swap(self, from_: list[Drawn], to: list[Drawn]) -> bool:
        """Exchange the pixels of the last step with those that are there now."""
        with self._lock:
            if not from_:
                return False
            step = from_.pop()
            to.append(self._as_is(step))
            self.now[:, *step.part], self.changed[step.part] = step.pixels, step.where
            self.version += 1
            return True

    def _as_is(self, region: Drawn) -> Drawn:
        """The pixels of a region as they are now, and which of them are changed."""
        pixels, changed = self.now[:, *region.part].copy(), self.changed[region.part].copy()
        return Drawn(region.top, region.left, pixels, changed)

    def begin(self) -> threading.Event:
        """End the computation under way; returns what ends the next one when it is set."""
        with self._lock:
            self.ended.set()
            self.ended = threading.Event()
            return self.ended

    def exported(self) -> Image.Image:
        """The picture as it is now, in the mode of its file."""
        return self.picture.replaced(self.now, self.changed)


class Album:
    """The open pictures by their keys: random, as whoever knows one can see the picture.

    Visitors who open more pictures than fit close their own ones, never those of others.
    """

    def __init__(self) -> None:
        self._photos: OrderedDict[str, Photo] = OrderedDict()  # used last: in the end
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._photos)

    def add(self, photo: Photo) -> str:
        """Keep a picture; returns its key.

        Raises:
            ValueError: If others have opened too many.
        """
        key = secrets.token_urlsafe(18)
        with self._lock:
            self._make_room(photo, photo.size)
            self._photos[key], photo.used = photo, time.monotonic()
        return key

    def add_second(self, photo: Photo, pixels: Pixels) -> None:
        """Keep the pixels of a picture to mix another one with, [C, H, W].

        Raises:
            ValueError: If others have opened too many.
        """
        with self._lock:
            self._make_room(photo, 0 if photo.second is not None else photo.size)
            photo.second = pixels

    def _make_room(self, photo: Photo, pixels: int) -> None:
        """Close a visitor's pictures but this one, from that which wasn't used for longest on."""
        self._close_idle()
        own = {key: one for key, one in self._photos.items() if one.visitor == photo.visitor}
        over = pixels + sum(one.size for one in own.values()) - MAX_PIXELS_EACH
        total, closed = pixels + sum(one.size for one in self._photos.values()), []
        for key, one in own.items():
            if over > 0 and one is not photo:
                over, total = over - one.size, total - one.size
                closed.append(key)
        if total > MAX_PIXELS_KEPT:
            raise ValueError(
                "Expected room for another picture; others have opened as many as fit: try later."
            )
        for key in closed:
            del self._photos[key]

    def _close_idle(self) -> None:
        end = time.monotonic() - 3600 * IDLE_HOURS
        for key in [key for key, one in self._photos.items() if one.used < end]:
            del self._photos[key]

    def __getitem__(self, key: str) -> Photo:
        with self._lock:
            self._close_idle()
            found = self._photos.get(key)
            if found is None:
                raise HTTPException(404, "This picture is no longer open: open it again.")
            self._photos.move_to_end(key)
            found.used = time.monotonic()
            return found
