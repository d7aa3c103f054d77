"""An open picture of the page of photographs: a project on disk with its history.

The folder of a project holds the file as it was sent, what `project.json` says of it, and for every
step its marks (`1.json`) and the pixels that it changed (`1.png`). The picture as it is now is the
file with the pixels of all steps that aren't undone. So a project outlives the server, however that
ends, and pictures that nobody looks at take no memory.

Letters in shapes: C channels; H, W rows and columns.
"""

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fastapi import HTTPException
from numpy.typing import NDArray

from rgflow.app.data_urls import png
from rgflow.cells import Mask
from rgflow.data.opening import picture_file
from rgflow.files import replacing, write_json
from rgflow.flow import Flow
from rgflow.photographs.pictures import Picture, image_of, lossless_for, read
from rgflow.photographs.strips import Part
from rgflow.reading import read_json

MAX_STEPS = 10_000
"""Steps of one picture."""
SMALL = 160
"""Longer edge in pixels of the picture in the strip."""

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
    def part(self) -> Part:
        """Rows and columns of the region."""
        height, width = self.where.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


@dataclass(frozen=True)
class Lossy:
    """How a file is compressed with loss.

    Attributes:
        kind: The format, one of `rgflow.app.saving.ENDINGS`.
        options: For writing another one like it.
    """

    kind: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """Something that was done.

    Attributes:
        number: Of its files.
        words: What it was.
        box: First row, first column, rows and columns of the pixels that it changed, if any.
        clears: Whether earlier marks are gone.
    """

    number: int
    words: str
    box: tuple[int, int, int, int] | None = None
    clears: bool = False


@dataclass(frozen=True)
class About:
    """What `project.json` says of a picture.

    Attributes:
        name: Of the file that was sent.
        visitor: Who opened it.
        width, height: In pixels.
        mode: Of Pillow.
        notes: What a flow doesn't see of it.
        loss: As of `Picture`.
        lossy: How its file was compressed, if with loss.
        made: What a saved file is called besides the name.
        before: What it is compared with, if not the file: `before.png`.
        steps: All steps, those that are undone as well.
        done: How many aren't undone.
        used: When it was used last, in seconds since 1970.
    """

    name: str
    visitor: str
    width: int
    height: int
    mode: str
    notes: str = ""
    loss: float = 0.0
    lossy: Lossy | None = None
    made: str = "repaired"
    before: str = ""
    steps: list[Step] = field(default_factory=list)
    done: int = 0
    used: float = 0.0


class Loaded(NamedTuple):
    """The pixels of a picture, [C, H, W]: of the file, what they are compared with, and as they are
    now; and which of them were changed, [H, W]."""

    file: Pixels
    before: Pixels
    now: Pixels
    changed: Mask

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(one.nbytes for one in {id(one): one for one in self}.values())


class Photo:
    """An open picture.

    Args:
        folder: Of the project.
        about: What is known of it.
        channels: How many a flow has.
        loading: Called with a picture that is loaded into memory.

    Attributes:
        drawn: The last draws, to choose from.
        learned: Flows that have learned the picture, by whether their coarse images are averages.
        version: Changes with every pixel.
        seen: When it was used last, by `time.monotonic`.
        ended: Set to end the computation under way.
        at_work: Held by the computation under way.
    """

    def __init__(
        self, folder: Path, about: About, channels: int, loading: Callable[["Photo"], None]
    ) -> None:
        self.folder, self.about, self._channels, self._loading = folder, about, channels, loading
        self.drawn: list[Drawn] = []
        self.learned: dict[bool, Flow] = {}
        # Beyond any of an earlier server, whose tiles a browser may have kept.
        self.version, self.seen = time.time_ns() // 100_000_000, time.monotonic()
        self.ended, self.at_work = threading.Event(), threading.Lock()
        self._lock = threading.RLock()
        self._loaded: Loaded | None = None

    # ---------------------------------------------------------------- pixels

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.about.height, self.about.width

    @property
    def now(self) -> Pixels:
        """The picture after all steps, [C, H, W]."""
        return self.load().now

    @property
    def size(self) -> int:
        """How much memory its pixels take."""
        return self._loaded.size if self._loaded else 0

    def picture(self) -> Picture:
        """The file, read again."""
        with (self.folder / "file").open("rb") as content:
            return read(content, most=self.about.width * self.about.height)

    def load(self) -> Loaded:
        """The pixels, read from the disk if need be."""
        with self._lock:
            self.seen = time.monotonic()
            if self._loaded is None:
                file = self.picture().pixels(self._channels)
                before = file
                if self.about.before:
                    with (self.folder / "before.png").open("rb") as content:
                        before = read(content, most=sys.maxsize).pixels(self._channels)
                self._loaded = Loaded(file, before, file, np.zeros(self.shape, dtype=bool))
                self._replay()
                self._loading(self)
            return self._loaded

    def unload(self) -> None:
        """Give the memory of the pixels back, unless something is computed."""
        if not self._lock.acquire(blocking=False):
            return  # somebody uses it
        try:
            if self._loaded and not self.at_work.locked():
                self._write_small()
                self._loaded = None
        finally:
            self._lock.release()

    def small(self) -> bytes:
        """The picture for the strip, a PNG file."""
        with self._lock:
            if self._loaded:
                self._write_small()
            return (self.folder / "small.png").read_bytes()

    def _write_small(self) -> None:
        with suppress(OSError), replacing(self.folder / "small.png") as part:
            part.write_bytes(png(smaller(self.load().now, SMALL)))

    def _apply(self, new: Drawn) -> None:
        """Change pixels in memory."""
        loaded = self._loaded
        assert loaded
        if loaded.now is loaded.file:
            loaded = self._loaded = loaded._replace(now=loaded.file.copy())
        np.copyto(loaded.now[:, *new.part], new.pixels, where=new.where)
        loaded.changed[new.part] |= new.where

    def _replay(self) -> None:
        """Change pixels in memory by all steps that aren't undone."""
        for step in self.about.steps[: self.about.done]:
            if step.box:
                self._apply(self._of(step))

    def _of(self, step: Step) -> Drawn:
        """The pixels that a step changed."""
        assert step.box
        with picture_file(self.folder / f"{step.number}.png", sys.maxsize, ["PNG"]) as image:
            values = np.asarray(image)
        return Drawn(*step.box[:2], values[..., :-1].transpose(2, 0, 1), values[..., -1] > 0)

    # ---------------------------------------------------------------- history

    def facts(self, *, steps: bool = True) -> dict[str, Any]:
        """What the page knows of it, its history if `steps`."""
        about = self.about
        same = ("name", "width", "height", "notes", "before", "done")
        found: dict[str, Any] = {name: getattr(about, name) for name in same}
        found |= {"id": self.folder.name, "version": self.version, "learned": bool(self.learned)}
        found["lossy"] = about.lossy.kind if about.lossy else None
        found["lossless"] = lossless_for(about.mode)
        if steps:
            with self._lock:
                now = self.about
                found |= {"done": now.done, "steps": [self.step(one) for one in now.steps]}
        return found

    def step(self, one: Step) -> dict[str, Any]:
        """A step as the page knows it."""
        marks = self.folder / f"{one.number}.json"
        return {
            "words": one.words,
            "clears": one.clears,
            "change": one.box is not None,
            "marks": json_of(marks)["marks"] if marks.is_file() else [],
        }

    def do(
        self,
        words: str,
        *,
        marks: list[Any] | None = None,
        clears: bool = False,
        new: Drawn | None = None,
        at: int | None = None,
    ) -> dict[str, Any]:
        """Do something, as a step that can be undone; those that were undone are gone.

        Args:
            words: What it is.
            marks: What it marks, as the page knows it.
            clears: Whether earlier marks are gone.
            new: Pixels that it changes.
            at: How many steps were done before, by the page.

        Returns:
            The step, as the page knows it.

        Raises:
            ValueError: If another page has changed the picture, or there are too many steps.
            OSError: If it can't be written.
        """
        with self._lock:
            about = self.about
            if at not in (None, about.done):
                raise HTTPException(409, "This picture was changed on another page: it is shown.")
            if about.done >= MAX_STEPS:
                raise ValueError(f"Expected at most {MAX_STEPS:,} steps: save it, and open that.")
            number = 1 + max((one.number for one in about.steps), default=0)
            if new:
                values = np.zeros((*new.where.shape, len(new.pixels) + 1), dtype=np.uint8)
                values[new.where, :-1] = new.pixels[:, new.where].T
                values[new.where, -1] = 255
                with replacing(self.folder / f"{number}.png") as part:
                    part.write_bytes(png(values))
            if marks:
                write_json(self.folder / f"{number}.json", {"marks": marks}, indent=None)
            step = Step(
                number, words, (new.top, new.left, *new.where.shape) if new else None, clears
            )
            self._note(steps=[*about.steps[: about.done], step], done=about.done + 1)
            for gone in about.steps[about.done :]:
                for kind in ("json", "png"):
                    (self.folder / f"{gone.number}.{kind}").unlink(missing_ok=True)
            if new:
                self.preview(new)
            return self.step(step)

    def preview(self, new: Drawn) -> None:
        """Show pixels that aren't a step yet; `drop` takes them back."""
        with self._lock:
            self.load()
            self._apply(new)
            self.version += 1

    def drop(self, new: Drawn) -> None:
        """Take back what was shown: make its region again of the file and the steps."""
        with self._lock:
            loaded = self.load()
            if loaded.now is not loaded.file:
                loaded.now[:, *new.part] = loaded.file[:, *new.part]
                loaded.changed[new.part] = False
                self._replay()
            self.version += 1

    def go(self, way: int) -> bool:
        """Undo a step, −1, or repeat one, 1; returns whether there was one."""
        with self._lock:
            about = self.about
            if not 0 <= about.done + way <= len(about.steps):
                return False
            step = about.steps[min(about.done, about.done + way)]
            self._note(done=about.done + way)
            if step.box:
                (self.preview if way > 0 else self.drop)(self._of(step))
            return True

    def use(self) -> None:
        """Note that somebody uses it."""
        self.seen = time.monotonic()
        if time.time() - self.about.used > 3600:
            with self._lock, suppress(OSError):
                self._note()

    def _note(self, **changes: Any) -> None:
        about = replace(self.about, used=time.time(), **changes)
        write_json(self.folder / "project.json", about)
        self.about = about

    def begin(self) -> threading.Event:
        """End the computation under way; returns what ends the next one when it is set."""
        with self._lock:
            self.ended.set()
            self.ended = threading.Event()
            return self.ended


def json_of(path: Path) -> dict[str, Any]:
    """An object in a file of a project."""
    return read_json(path, "a file of a project", 1 << 26)


def smaller(pixels: Pixels, edge: int) -> Pixels:
    """Pixels [C, H, W] reduced to a longer edge, [h, w, C]."""
    step = max(max(pixels.shape[1:]) // (2 * edge), 1)  # as most of them are not needed
    image = image_of(np.ascontiguousarray(pixels[:, ::step, ::step]))
    image.thumbnail((edge, edge))
    return np.asarray(image)
