"""The page of photographs: pictures of any size are opened, repaired, searched, drawn anew, saved.

The browser shows tiles; pixels stay on the server. Each picture has a random name, without which
nobody finds it.
"""

import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, HTTPException, Request, Response, UploadFile
from fastapi.responses import HTMLResponse, StreamingResponse

from rgflow.app.album import Album, Photo, Pixels
from rgflow.app.data_urls import mask_url, png
from rgflow.app.flows import Flows
from rgflow.app.jobs import Jobs
from rgflow.app.page import static
from rgflow.app.regions import Region
from rgflow.app.saving import lossy, saved
from rgflow.app.tasks import MAX_PIXELS, OF_AVERAGES, TASKS, Task
from rgflow.photographs import examples
from rgflow.photographs.changing import coarse, fitted
from rgflow.photographs.pictures import Picture, image_of, read
from rgflow.photographs.scoring import check_size

MAX_FILE = 100_000_000
"""Bytes of a picture file at the most."""
MAX_COMPUTATIONS, MAX_DECODED = 2, 2
"""Computations at a time, and files that are decoded at a time, for memory."""
TILE = 512
"""Edge of a tile in pixels, as in `marking.js`."""
MAX_ZOOM, MAX_LEVEL = 8, 9
"""The largest reduction of tiles, 2^8, and the coarsest level shown, of at least a pixel a tile."""
SCRIPTS = ("download.js", "asking.js", "marking.js", "photographs.js")


class Photographs:
    """The page, and what it asks for.

    Args:
        flows: Flows of photographs.
    """

    def __init__(self, flows: Flows) -> None:
        self.flows, self.album, self.jobs = flows, Album(), Jobs(MAX_COMPUTATIONS)
        self.decoding = threading.Semaphore(MAX_DECODED)

    def router(self) -> APIRouter:
        """The routes of the page."""
        found = APIRouter()
        for path, get in (
            ("", self.page),
            ("/{name}", self.facts),
            ("/{name}/tile", self.tile),
            ("/{name}/export", self.export),
        ):
            found.add_api_route(f"/photographs{path}", get, methods=["GET"])
        found.add_api_route("/", self.page, methods=["GET"])
        for path, post in (
            ("", self.upload),
            ("/examples/{name}", self.example),
            ("/{name}/stop", self.stop),
            ("/{name}/undo", self.undo),
            ("/{name}/redo", self.redo),
            ("/{name}/take/{number}", self.take),
            ("/{name}/second", self.second),
            ("/{name}/second/{example}", self.second_example),
            ("/{name}/{what}", self.compute),
        ):
            found.add_api_route(f"/photographs{path}", post, methods=["POST"])
        return found

    def page(self) -> HTMLResponse:
        """The page itself."""
        return HTMLResponse(
            static("photographs.html")
            .replace("/*style*/", static("photographs.css"))
            .replace("/*script*/", "\n".join(map(static, SCRIPTS)))
            .replace("{{about}}", self.flows.about)
            .replace("{{examples}}", json.dumps(list(examples.EXAMPLES)))
            .replace("{{others}}", json.dumps({k: of[0] for k, of in examples.EXAMPLES.items()}))
            .replace("{{max_bytes}}", str(MAX_FILE))
        )

    # ---------------------------------------------------------------- opening

    def upload(self, file: UploadFile, request: Request) -> dict[str, Any]:
        """Open a file that is sent."""
        with self.decoding:
            return self._opened(_content(file), request)

    def example(self, name: str, request: Request) -> dict[str, Any]:
        """Open a damaged example; the mask of its damage comes with it."""
        _check_example(name)
        content, mask = examples.damaged(name)
        return self._opened(content, request) | {"mask": mask_url(mask)}

    def second(self, name: str, file: UploadFile) -> dict[str, Any]:
        """Open a file to mix a picture with."""
        with self.decoding:
            return self._second(name, _content(file))

    def second_example(self, name: str, example: str) -> dict[str, Any]:
        """Open an example to mix a picture with."""
        _check_example(example)
        return self._second(name, examples.whole(example))

    def _read(self, content: Any) -> tuple[Picture, Pixels]:
        """A picture, and what a flow sees of it, [C, H, W]."""
        flow = self.flows(averages=False)
        with _refusing():
            picture = read(content, most=MAX_PIXELS)
            check_size(flow, *picture.size)
            return picture, picture.pixels(flow.config.channels)

    def _opened(self, content: Any, request: Request) -> dict[str, Any]:
        picture, seen = self._read(content)
        visitor = request.scope.get("visitor", "")
        with _refusing():
            photo = Photo.of(content.name, picture, seen, lossy=lossy(content), visitor=visitor)
            return photo.facts(self.album.add(photo))

    def _second(self, name: str, content: Any) -> dict[str, Any]:
        photo, (picture, seen) = self.album[name], self._read(content)
        second, notes = fitted(seen, *photo.changed.shape), [*picture.notes]
        with _refusing():
            self.album.add_second(photo, second)
        if seen.shape != second.shape:
            notes.append("it is cropped and resized to the size of the first")
        return {"name": content.name, "notes": "; ".join(notes)}

    # ---------------------------------------------------------------- a picture

    def facts(self, name: str) -> dict[str, Any]:
        """What the page knows of a picture, for when it is loaded again."""
        return self.album[name].facts(name)

    def tile(
        self,
        name: str,
        row: int,
        column: int,
        zoom: int,
        original: bool = False,
        level: int = 0,
    ) -> Response:
        """A tile of `TILE`×`TILE` pixels.

        Args:
            name: Of the picture.
            row, column: Of the tile, among all tiles of this zoom.
            zoom: The picture is reduced by 2^zoom.
            original: Whether to show the picture before its changes.
            level: Show the coarse image at this level.
        """
        if not (0 <= zoom <= MAX_ZOOM and 0 <= level <= MAX_LEVEL and row >= 0 and column >= 0):
            raise HTTPException(422, "Expected a tile of the picture; got another.")
        photo, edge = self.album[name], TILE << zoom
        pixels = photo.original if original else photo.now
        part = pixels[:, row * edge : (row + 1) * edge, column * edge : (column + 1) * edge]
        if not part.size:
            raise HTTPException(404, "Expected a tile inside the picture; got one outside.")
        shown = np.atleast_3d(np.array(image_of(part).reduce(1 << zoom)))
        if level > zoom:
            flow, levels = self.flows(averages=True), level - zoom
            shown = coarse(flow, shown.transpose(2, 0, 1), levels).transpose(1, 2, 0)
        content = png(shown)
        headers = {"Cache-Control": "private, max-age=3600, immutable"}
        return Response(content, media_type="image/png", headers=headers)

    def compute(self, name: str, what: str, region: Region) -> StreamingResponse:
        """Start one of `TASKS`; ends the one before of the same picture."""
        photo, task = self.album[name], TASKS.get(what)
        if task is None:
            raise HTTPException(404, f"Expected one of {', '.join(TASKS)}; got another.")
        flow = partial(self.flows, averages=task in OF_AVERAGES)
        return self.jobs.start(
            photo, lambda tell: task(Task(flow(), self.album, photo, region, tell))
        )

    def stop(self, name: str) -> None:
        """End the computation under way."""
        self.album[name].ended.set()

    def take(self, name: str, number: int) -> dict[str, Any]:
        """Use one of those drawn."""
        photo = self.album[name]
        if not 0 <= number < len(photo.drawn):
            raise HTTPException(404, "Expected one of the draws; this one is no longer kept.")
        photo.change(photo.drawn[number])
        return {"version": photo.version}

    def undo(self, name: str) -> dict[str, Any]:
        """Take the last change of the picture back."""
        return _stepped(self.album[name], "undo")

    def redo(self, name: str) -> dict[str, Any]:
        """Repeat the change that was undone last."""
        return _stepped(self.album[name], "redo")

    def export(self, name: str, like: bool = False) -> Response:
        """The picture as a file, without loss, or `like` the one that was opened."""
        photo = self.album[name]
        content, ending = saved(photo.exported(), photo.lossy if like else None)
        called = quote(f"{Path(photo.name).stem}-{photo.made}.{ending}")
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{called}"}
        return Response(content, media_type="application/octet-stream", headers=headers)


def _stepped(photo: Photo, way: Literal["undo", "redo"]) -> dict[str, Any]:
    """The version after a step back or forward."""
    if not (photo.undo() if way == "undo" else photo.redo()):
        raise HTTPException(422, f"Expected a step to {way}; none is kept.")
    return {"version": photo.version}


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn a mistake in what was sent into an answer that says so."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise HTTPException(422, str(error)) from error


def _content(file: UploadFile) -> io.BytesIO:
    """The content of a file that is sent, with its name."""
    content = io.BytesIO(file.file.read())
    content.name = Path(file.filename or "picture").name[:80]
    return content


def _check_example(name: str) -> None:
    if name not in examples.EXAMPLES:
        raise HTTPException(404, f"Expected one of {', '.join(examples.EXAMPLES)}; got another.")
