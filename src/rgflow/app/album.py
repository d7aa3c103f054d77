"""The pictures that are open on the page of photographs."""

import ctypes
import secrets
import shutil
import sys
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastapi import HTTPException

from rgflow.app.data_urls import png
from rgflow.app.project import SMALL, About, Photo, Pixels, json_of, smaller
from rgflow.files import remove_parts, replacing, write_json
from rgflow.photographs.pictures import Picture
from rgflow.reading import instance
from rgflow.reading import read as bytes_of

MAX_BYTES_EACH, MAX_BYTES_KEPT = 10_000_000_000, 40_000_000_000
"""Bytes on disk of the projects of one visitor, and of all."""
MAX_BYTES_LOADED, IDLE_SECONDS = 500_000_000, 30
"""Bytes of pixels in memory at the most, unless more are at work, and after how long without use a
picture gives its memory back."""
IDLE_DAYS = 30
"""After how long without use a project is deleted."""


class Album:
    """The projects in a folder, by their keys: random, as whoever knows one can see the picture.

    Visitors who keep more than fits are told so; nothing of theirs or of others is deleted but what
    wasn't used for `IDLE_DAYS`.

    Args:
        folder: Which only this process uses.
        channels: How many a flow has.

    Attributes:
        key: A secret, kept in the folder, by which visitors are known again.
    """

    def __init__(self, folder: Path, channels: int = 3) -> None:
        self.folder, self.channels = folder, channels
        self._photos: OrderedDict[str, Photo] = OrderedDict()  # loaded last: in the end
        self._lock = threading.RLock()
        self._timer = threading.Timer(0, self._sweep)
        remove_parts(folder)
        secret = folder / "key"
        if not secret.is_file():
            with replacing(secret) as part:
                part.write_bytes(secrets.token_bytes())
        self.key = bytes_of(secret, 100)
        for one in sorted(folder.iterdir(), key=_opened):
            if not (one / "project.json").is_file():
                if one.is_dir() and one.name[0] != ".":  # a server ended as it was made
                    shutil.rmtree(one, ignore_errors=True)
                continue
            try:
                about = instance(About, json_of(one / "project.json"))
            except ValueError as error:
                print(f"A picture is left out, but kept: {error}", file=sys.stderr)
                continue
            self._photos[one.name] = Photo(one, about, channels, self._sweep)
        self._close_idle()

    def add(
        self, content: bytes, picture: Picture, name: str, beside: Pixels | None = None, **more: Any
    ) -> Photo:
        """Keep a picture.

        Args:
            content: The file.
            picture: What it holds.
            name: Of the file.
            beside: What it is compared with, [C, H, W], if not the file.
            more: Of `About`.

        Raises:
            ValueError: If there are too many.
            OSError: If it can't be written.
        """
        height, width = picture.size
        about = About(
            name=name,
            width=width,
            height=height,
            mode=picture.image.mode,
            notes="; ".join(picture.notes),
            loss=picture.loss,
            used=time.time(),
            **more,
        )
        with self._lock:
            self._close_idle()
            kept = {one: _size(one.folder) for one in self._photos.values()}
            own = sum(size for one, size in kept.items() if one.about.visitor == about.visitor)
            if max(own - MAX_BYTES_EACH, sum(kept.values()) - MAX_BYTES_KEPT) + len(content) > 0:
                raise ValueError(
                    "Expected room for another picture on the disk; the open ones take all: "
                    "close some."
                )
            folder = self.folder / secrets.token_urlsafe(18)
            folder.mkdir(mode=0o700)
            seen = picture.pixels(self.channels)
            files = {"file": content, "small.png": png(smaller(seen, SMALL))}
            if beside is not None:
                files["before.png"] = png(beside.transpose(1, 2, 0))
            for key, value in files.items():
                with replacing(folder / key) as part:
                    part.write_bytes(value)
            write_json(folder / "project.json", about)
            photo = self._photos[folder.name] = Photo(folder, about, self.channels, self._sweep)
        return photo

    def of(self, visitor: str) -> list[Photo]:
        """The pictures of a visitor, the newest last."""
        with self._lock:
            self._close_idle()
            return [one for one in self._photos.values() if one.about.visitor == visitor]

    def close(self, key: str) -> None:
        """Delete a project."""
        with self._lock:
            photo = self._photos.pop(key, None)
        if photo:
            photo.ended.set()
            shutil.rmtree(photo.folder, ignore_errors=True)

    def _close_idle(self) -> None:
        end = time.time() - 86400 * IDLE_DAYS
        for key in [key for key, one in self._photos.items() if one.about.used < end]:
            self.close(key)

    def __getitem__(self, key: str) -> Photo:
        with self._lock:
            found = self._photos.get(key)
        if found is None:
            raise HTTPException(404, "This picture is no longer open: open it again.")
        found.use()
        return found

    # ---------------------------------------------------------------- memory

    def _sweep(self, loaded: Photo | None = None) -> None:
        """Give memory back that nobody needs, as a picture is loaded and until none is left."""
        photos = sorted(self._photos.values(), key=lambda one: one.seen)
        size = sum(one.size for one in photos)
        for one in photos:
            idle = one.seen < time.monotonic() - IDLE_SECONDS
            if one.size and one is not loaded and (idle or size > MAX_BYTES_LOADED):
                size -= one.size
                one.unload()
        with suppress(OSError, AttributeError):  # of another system than Linux
            ctypes.CDLL(None).malloc_trim(0)
        self._timer.cancel()
        if any(one.size for one in photos):
            self._timer = threading.Timer(IDLE_SECONDS / 2, self._sweep)
            self._timer.daemon = True
            self._timer.start()


def _opened(folder: Path) -> float:
    """When a project was made, in seconds since 1970; of other files, 0."""
    file = folder / "file"
    return file.stat().st_mtime if file.is_file() else 0


def _size(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(one.stat().st_size for one in folder.iterdir() if one.name[0] != ".")
