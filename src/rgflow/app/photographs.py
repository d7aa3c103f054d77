"""The page of photographs: pictures of any size are opened, repaired, searched, drawn anew, saved.

The browser shows tiles; pixels stay on the server. Each picture has a random name, without which
nobody finds it.
"""

import io
import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import numpy as np
import torch
from fastapi import APIRouter, HTTPException, Request, Response, UploadFile
from fastapi.responses import HTMLResponse, StreamingResponse
from pydantic import BaseModel, Field

from rgflow.app.album import IDLE_DAYS, Album
from rgflow.app.data_urls import mask_url, png
from rgflow.app.jobs import Jobs
from rgflow.app.models import Flows
from rgflow.app.page import header, static
from rgflow.app.project import Photo
from rgflow.app.saving import archived, exported, lossy
from rgflow.app.tasks import MAX_PIXELS, OF_AVERAGES, TASKS, Region, Task
from rgflow.photographs import examples
from rgflow.photographs.damage import SENSITIVITY
from rgflow.photographs.infrared import damage_in, read_infrared
from rgflow.photographs.pictures import image_of, read
from rgflow.photographs.scoring import check_size
from rgflow.processes import Helpers

MAX_FILE = 100_000_000
"""Bytes of a picture file at the most."""
MAX_COMPUTATIONS, MAX_DECODED = 2, 2
"""Computations at a time, and files that are decoded at a time, for memory."""
TILE = 512
"""Edge of a tile in pixels, as in `marking.js`."""
MAX_ZOOM = 9
"""The largest reduction of tiles is 2^9."""
Sensitivity = Annotated[float, Field(ge=0, le=1)]
"""To damage, as for `rgflow.photographs.damage.find_damage`."""
SCRIPTS = ("download.js", "asking.js", "marking.js", "photographs.js", "tools.js")


class Mark(BaseModel):
    """What is painted or unmarked: a line, an area, or the opaque pixels of a picture.

    Attributes:
        erase: Whether it is unmarked.
        places: Columns and rows of a line or of the corners of an area.
        width: Of a line, in pixels; 0: an area.
        image: A data URL; none: a line or an area.
        left, top: The first column and row of the picture.
    """

    erase: bool = False
    places: Annotated[list[tuple[float, float]], Field(max_length=100_000)] = []
    width: Annotated[float, Field(ge=0, le=100_000)] = 0
    image: Annotated[str, Field(pattern=r"^data:image/png;base64,[A-Za-z0-9+/=]*$")] | None = None
    left: int = 0
    top: int = 0


class Marked(BaseModel):
    """A step that marks or unmarks something, as of `rgflow.app.album.Step`; `at`: how many steps
    were done before."""

    words: Annotated[str, Field(max_length=80)]
    marks: Annotated[list[Mark], Field(max_length=10_000)] = []
    clears: bool = False
    at: int


class Photographs:
    """The page, and what it asks for.

    Args:
        flows: Flows of photographs.
        folder: For the pictures that are open; by default a temporary one.
        workers: Processes that compute what takes long; 0: this one does.
    """

    def __init__(self, flows: Flows, folder: Path | None = None, workers: int = 0) -> None:
        self._temporary = None if folder else tempfile.TemporaryDirectory()
        where = folder or Path(str(self._temporary and self._temporary.name))
        self.album = Album(where, flows.channels)
        self.flows, self.jobs = flows, Jobs(max(workers, MAX_COMPUTATIONS))
        self.helpers = Helpers(workers, torch.get_num_threads()) if workers else None
        self.decoding = threading.Semaphore(MAX_DECODED)

    def router(self) -> APIRouter:
        """The routes of the page."""
        album = self.album
        gets: dict[str, Callable[..., Any]] = {
            "/": self.page,
            "/photographs": self.page,
            "/photographs/open": self.open,
            "/photographs/archive": self.archive,
            "/photographs/{name}": lambda name: album[name].facts(),
            "/photographs/{name}/tile": self.tile,
            "/photographs/{name}/small": self.small,
            "/photographs/{name}/export": self.export,
        }
        posts: dict[str, Callable[..., Any]] = {
            "": self.upload,
            "/examples/{name}": self.example,
            "/{name}/stop": lambda name: album[name].ended.set(),
            "/{name}/close": lambda name: album.close(name),
            "/{name}/forget": lambda name: album[name].learned.clear(),
            "/{name}/steps": self.mark,
            "/{name}/infrared": self.infrared,
            "/{name}/undo": lambda name: _gone(album[name], -1),
            "/{name}/redo": lambda name: _gone(album[name], 1),
            "/{name}/take/{number}": self.take,
            "/{name}/{what}": self.compute,
        }
        found = APIRouter()
        for path, get in gets.items():
            found.add_api_route(path, get, methods=["GET"])
        for path, post in posts.items():
            found.add_api_route(f"/photographs{path}", post, methods=["POST"])
        return found

    def page(self) -> HTMLResponse:
        """The page itself."""
        return HTMLResponse(
            static("photographs.html")
            .replace("/*style*/", static("shared.css") + static("photographs.css"))
            .replace("<!--header-->", header("Photographs", ""))
            .replace("/*script*/", "\n".join(map(static, SCRIPTS)))
            .replace("{{about}}", self.flows.about)
            .replace("{{examples}}", json.dumps(list(examples.EXAMPLES)))
            .replace("{{sensitivity}}", str(SENSITIVITY))
            .replace("{{days}}", str(IDLE_DAYS))
            .replace("{{max_bytes}}", str(MAX_FILE))
        )

    # ---------------------------------------------------------------- opening

    def upload(self, file: UploadFile, request: Request) -> dict[str, Any]:
        """Open a file that is sent."""
        return self._opened(_sent(file), request)

    def example(self, name: str, request: Request) -> dict[str, Any]:
        """Open a damaged example, with its damage marked."""
        if name not in examples.EXAMPLES:
            raise HTTPException(
                404, f"Expected one of {', '.join(examples.EXAMPLES)}; got another."
            )
        content, mask = examples.damaged(name)
        marks = [Mark(image=mask_url(mask)).model_dump()]
        return self._opened(content, request, words="the marks of the example", marks=marks)

    def _opened(self, content: io.BytesIO, request: Request, **step: Any) -> dict[str, Any]:
        with self.decoding, _refusing():
            picture = read(content, most=MAX_PIXELS)
            check_size(self.flows(averages=False), *picture.size)
            photo = self.album.add(
                content.getvalue(),
                picture,
                content.name,
                lossy=lossy(content),
                visitor=request.scope.get("visitor", ""),
            )
            if step:
                photo.do(**step)
            return photo.facts()

    # ---------------------------------------------------------------- pictures

    def open(self, request: Request) -> list[dict[str, Any]]:
        """The pictures of this visitor."""
        photos = self.album.of(request.scope.get("visitor", ""))
        return [photo.facts(steps=False) for photo in photos]

    def small(self, name: str) -> Response:
        """The picture for the strip."""
        return Response(self.album[name].small(), media_type="image/png")

    def tile(self, name: str, row: int, column: int, zoom: int, original: bool = False) -> Response:
        """A tile of `TILE`×`TILE` pixels.

        Args:
            name: Of the picture.
            row, column: Of the tile, among all tiles of this zoom.
            zoom: The picture is reduced by 2^zoom.
            original: Whether to show the picture before its changes.
        """
        if not (0 <= zoom <= MAX_ZOOM and row >= 0 and column >= 0):
            raise HTTPException(422, "Expected a tile of the picture; got another.")
        photo, edge = self.album[name], TILE << zoom
        pixels = photo.load().before if original else photo.now
        part = pixels[:, row * edge : (row + 1) * edge, column * edge : (column + 1) * edge]
        if not part.size:
            raise HTTPException(404, "Expected a tile inside the picture; got one outside.")
        content = png(np.asarray(image_of(part).reduce(1 << zoom)))
        headers = {"Cache-Control": "private, max-age=3600, immutable"}
        return Response(content, media_type="image/png", headers=headers)

    def compute(self, name: str, what: str, region: Region) -> StreamingResponse:
        """Start one of `TASKS`; ends the one before of the same picture."""
        photo, task = self.album[name], TASKS.get(what)
        if task is None:
            raise HTTPException(404, f"Expected one of {', '.join(TASKS)}; got another.")
        averages = task in OF_AVERAGES

        def work(tell: Any) -> dict[str, Any]:
            flow = photo.learned.get(averages) or self.flows(averages=averages)
            return task(Task(flow, self.album, photo, region, tell, self.flows, self.helpers))

        return self.jobs.start(photo, work)

    # ---------------------------------------------------------------- history

    def mark(self, name: str, step: Marked) -> dict[str, Any]:
        """Mark or unmark something."""
        with _refusing():
            return self.album[name].do(**step.model_dump(exclude_defaults=True))

    def infrared(
        self, name: str, file: UploadFile, sensitivity: Sensitivity = SENSITIVITY
    ) -> dict[str, Any]:
        """What the infrared scan of a picture shows to be damaged, as a mask to be marked."""
        photo = self.album[name]
        with self.decoding, _refusing():
            found = damage_in(read_infrared(_sent(file), photo.shape), sensitivity=sensitivity)
        return {"mask": mask_url(found), "pixels": int(found.sum())}

    def take(self, name: str, number: int) -> dict[str, Any]:
        """Use one of those drawn."""
        photo = self.album[name]
        if not 0 <= number < len(photo.drawn):
            raise HTTPException(404, "Expected one of the draws; this one is no longer kept.")
        with _refusing():
            step = photo.do("using a draw", clears=True, new=photo.drawn[number])
        return {"step": step, "version": photo.version}

    def export(self, name: str, like: bool = False) -> Response:
        """The picture as a file, without loss, or `like` the one that was opened."""
        photo = self.album[name]
        called, content = exported(photo, like=like)
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(called)}"}
        return Response(content, media_type="application/octet-stream", headers=headers)

    def archive(self, request: Request, like: bool = False) -> Response:
        """All pictures of this visitor in a ZIP file, and a contact sheet."""
        photos = self.album.of(request.scope.get("visitor", ""))
        headers = {"Content-Disposition": "attachment; filename=photographs.zip"}
        return StreamingResponse(
            archived(photos, like=like), headers=headers, media_type="application/zip"
        )


def _sent(file: UploadFile) -> io.BytesIO:
    """A file that is sent, with its name."""
    content = io.BytesIO(file.file.read())
    content.name = Path(file.filename or "picture").name[:80]
    return content


def _gone(photo: Photo, way: int) -> dict[str, Any]:
    """The picture after a step back or forward."""
    if not photo.go(way):
        raise HTTPException(422, f"Expected a step to {'re' if way > 0 else 'un'}do; none is kept.")
    return {"version": photo.version, "done": photo.about.done}


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn a mistake in what was sent into an answer that says so."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise HTTPException(422, str(error)) from error
