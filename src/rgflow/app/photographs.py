"""The page of photographs: pictures of any size are opened, repaired, searched, drawn anew, saved.

The browser shows tiles; pixels stay on the server, one workspace for each picture, which nobody
finds without its name, a random one.

Letters in shapes: C channels; H, W rows and columns.
"""

import io
import json
import secrets
import threading
import time
from base64 import b64decode, b64encode
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import Annotated, Any

import numpy as np
import torch
from fastapi import APIRouter, HTTPException, Request, Response, UploadFile
from fastapi.responses import HTMLResponse, StreamingResponse
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, Field

from rgflow.app.page import static
from rgflow.cells import Mask
from rgflow.flow import Flow
from rgflow.photographs import damage, examples
from rgflow.photographs.enlarging import redraw
from rgflow.photographs.pictures import Picture, as_seen, read
from rgflow.photographs.restoring import Around, restore
from rgflow.photographs.scoring import bits

LARGEST_FILE, MOST_PIXELS = 100_000_000, 64_000_000
"""Bytes and pixels of a picture."""
KEPT = 400_000_000
"""Pixels of all pictures that are kept; the ones that weren't used for longest are forgotten."""
MOST_SEARCHED, MOST_DRAWN = 2_000_000, 262_144
"""Pixels of a region that is searched, and of one that is drawn anew."""
STEPS = 100
"""How many changes can be undone."""
AT_WORK = 2
"""Computations at a time."""
TILE = 512

Pixels = NDArray[np.uint8]


@dataclass(eq=False)
class Photo:
    """A picture, and what was changed of it.

    Attributes:
        name: Of the file.
        picture: As it was.
        original: What a flow sees of it, [C, H, W] with as many channels as the flow has.
        now: The same, changed.
        changed: Where, [H, W].
        version: Rises with every change.
    """

    name: str
    picture: Picture
    original: Pixels
    now: Pixels
    changed: Mask
    version: int = 0
    steps: list[tuple[int, int, Pixels, Mask]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def change(
        self, top: int, left: int, pixels: Pixels, where: Mask, *, again: bool = False
    ) -> None:
        """Write pixels [C, h, w] where a mask says, as a step that can be undone; `again`: as part
        of the step before."""
        part = slice(top, top + where.shape[0]), slice(left, left + where.shape[1])
        with self.lock:
            if not again:
                before = self.now[:, *part].copy()
                self.steps.append((top, left, before, self.changed[part].copy()))
                del self.steps[:-STEPS]
            self.now[:, *part] = np.where(where, pixels, self.now[:, *part])
            self.changed[part] |= where
            self.version += 1

    def undo(self) -> bool:
        """Take the last step back; false: there is none."""
        with self.lock:
            if not self.steps:
                return False
            top, left, before, changed = self.steps.pop()
            part = slice(top, top + changed.shape[0]), slice(left, left + changed.shape[1])
            self.now[:, *part], self.changed[part] = before, changed
            self.version += 1
            return True

    def exported(self) -> Image.Image:
        """In the mode of the file."""
        return self.picture.replaced(as_seen(self.now, len(self.picture.seen)), self.changed)


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
            while len(self) > 1 and sum(one.changed.size for one in self._photos.values()) > KEPT:
                self._photos.popitem(last=False)
        return name

    def __getitem__(self, name: str) -> Photo:
        with self._lock:
            found = self._photos.get(name)
            if found is None:
                raise HTTPException(404, "This picture isn't open any more: open it again.")
            self._photos.move_to_end(name)
            return found


class Region(BaseModel):
    """A rectangle, and what of it is marked, a picture as a data URL; none: all."""

    top: Annotated[int, Field(ge=0)]
    left: Annotated[int, Field(ge=0)]
    height: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]
    mask: str | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    levels: Annotated[int, Field(ge=1, le=12)] = 2
    seed: Annotated[int, Field(ge=0)] = 0
    count: Annotated[int, Field(ge=1, le=6)] = 3
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
                422, "Expected some pixels to be marked; none are: paint them first."
            )
        return found


def make_router(flow: Flow, about: str) -> APIRouter:
    """The page and what it asks for.

    Args:
        flow: Of photographs.
        about: Which model it is, and what it learned, in a sentence.
    """
    router, album, at_work = APIRouter(), Album(), threading.Semaphore(AT_WORK)

    def opened(content: Any, name: str) -> dict[str, Any]:
        try:
            picture = read(content)
            height, width = picture.size
            if height * width > MOST_PIXELS:
                raise ValueError(
                    f"Expected a picture of at most {MOST_PIXELS / 1e6:.0f} megapixels; {name} has "
                    f"{width}×{height} pixels: make it smaller first."
                )
            least = flow.config.geometry.smallest
            if min(height, width) < least:
                raise ValueError(
                    f"Expected a picture of at least {least}×{least} pixels; {name} has "
                    f"{width}×{height}."
                )
        except (ValueError, OSError) as error:
            raise HTTPException(422, str(error)) from error
        channels = flow.config.channels
        seen = np.broadcast_to(picture.seen, (channels, height, width)).copy()
        where = np.zeros((height, width), dtype=bool)
        photo = Photo(name, picture, seen, seen.copy(), where)
        return {
            "id": album.add(photo),
            "name": name,
            "width": width,
            "height": height,
            "notes": "; ".join(picture.notes),
        }

    def working(work: Callable[[Callable[..., None]], dict[str, Any]]) -> StreamingResponse:
        """Lines of JSON: how far it is, and in the end what came of it."""
        lines: Queue[dict[str, Any] | None] = Queue()

        def run() -> None:
            started = time.perf_counter()
            try:
                with at_work:
                    result = work(lambda **what: lines.put(what))
                lines.put({"done": True, "seconds": time.perf_counter() - started, **result})
            except HTTPException as error:
                lines.put({"error": error.detail})
            except Exception:
                lines.put({"error": "This failed on the server, whose log says why."})
                raise
            finally:
                lines.put(None)

        def told() -> Iterator[str]:
            threading.Thread(target=run, daemon=True).start()
            while (line := lines.get()) is not None:
                yield json.dumps(line) + "\n"

        return StreamingResponse(told(), media_type="application/x-ndjson")

    def around(photo: Photo, rows: slice, columns: slice, rim: int = 40) -> tuple[slice, slice]:
        """A region with its surroundings, on whose pixels it depends."""
        height, width = photo.changed.shape
        return (
            slice(max(rows.start - rim, 0), min(rows.stop + rim, height)),
            slice(max(columns.start - rim, 0), min(columns.stop + rim, width)),
        )

    @router.get("/photographs", response_class=HTMLResponse)
    @router.get("/", response_class=HTMLResponse)
    def page() -> str:
        return (
            static("photographs.html")
            .replace("/*style*/", static("photographs.css"))
            .replace("/*script*/", static("photographs.js"))
            .replace("{{about}}", about)
            .replace("{{examples}}", json.dumps(list(examples.EXAMPLES)))
            .replace("{{largest}}", str(LARGEST_FILE))
        )

    @router.post("/photographs")
    def upload(file: UploadFile) -> dict[str, Any]:
        if file.size is None or file.size > LARGEST_FILE:
            raise HTTPException(
                413, f"Expected a file of at most {LARGEST_FILE / 1e6:.0f} MB; this one is larger."
            )
        name = Path(file.filename or "picture").name[:80]
        content = io.BytesIO(file.file.read())
        content.name = name
        return opened(content, name)

    @router.post("/photographs/examples/{name}")
    def example(name: str) -> dict[str, Any]:
        if name not in examples.EXAMPLES:
            raise HTTPException(404, "Expected one of the examples.")
        content, mask = examples.damaged(name)
        found = opened(content, content.name)
        return found | {"mask": _mask_url(mask)}

    @router.get("/photographs/{name}/tile")
    def tile(
        name: str, row: int, column: int, zoom: int, original: bool = False, level: int = 0
    ) -> Response:
        """A tile of 512×512 pixels of the picture reduced by 2^zoom, of pixels that are left at a
        level."""
        if not (0 <= zoom <= 8 and 0 <= level <= 12 and row >= 0 and column >= 0):
            raise HTTPException(422, "Expected a tile of the picture.")
        photo = album[name]
        pixels = photo.original if original else photo.now
        edge = TILE << zoom
        top, left = row * edge, column * edge
        part = pixels[:, top : top + edge, left : left + edge]
        if not part.size:
            raise HTTPException(404, "Expected a tile inside the picture.")
        if level:
            step = 1 << level
            if step > 1 << zoom:
                part = part[:, ::step, ::step].repeat(step, 1).repeat(step, 2)
                part = part[
                    :, : min(edge, pixels.shape[1] - top), : min(edge, pixels.shape[2] - left)
                ]
        image = Image.fromarray(part.transpose(1, 2, 0).copy())
        if zoom:
            image = image.reduce(1 << zoom)
        content = io.BytesIO()
        image.save(content, "PNG", compress_level=1)
        return Response(
            content.getvalue(),
            media_type="image/png",
            headers={"Cache-Control": "private, max-age=3600, immutable"},
        )

    @router.post("/photographs/{name}/repair")
    def repair(name: str, region: Region) -> StreamingResponse:
        photo, mask = album[name], region.marked()
        rows, columns = region.within(photo)

        def work(tell: Callable[..., None]) -> dict[str, Any]:
            wide = around(photo, rows, columns)
            hole = np.zeros_like(photo.changed[wide])
            inside = tuple(
                slice(of.start - w.start, of.stop - w.start)
                for of, w in zip((rows, columns), wide, strict=True)
            )
            hole[inside] = mask
            if hole.all():
                raise HTTPException(
                    422, "Expected some pixels around what is marked; there are none."
                )
            image = torch.from_numpy(photo.now[:, *wide].copy())
            for sweeps in (1, 4):  # something to see soon
                found = restore(
                    flow, image, hole, sweeps=sweeps,
                    progress=lambda share: tell(progress=share),
                )  # fmt: skip
                photo.change(
                    wide[0].start, wide[1].start, found.cpu().numpy(), hole, again=sweeps > 1
                )
                tell(version=photo.version)
            return {"version": photo.version, "pixels": int(mask.sum())}

        return working(work)

    @router.post("/photographs/{name}/find")
    def find(name: str, region: Region) -> StreamingResponse:
        photo = album[name]
        rows, columns = region.within(photo)
        _at_most(region, MOST_SEARCHED, "searched")

        def work(tell: Callable[..., None]) -> dict[str, Any]:
            image = torch.from_numpy(photo.now[:, rows, columns].copy())
            found = damage.find_damage(
                flow, image, odd=region.odd, progress=lambda share: tell(progress=share)
            ).found
            return {"mask": _mask_url(found), "pixels": int(found.sum())}

        return working(work)

    @router.post("/photographs/{name}/surprise")
    def surprise(name: str, region: Region) -> StreamingResponse:
        photo = album[name]
        rows, columns = region.within(photo)
        _at_most(region, MOST_SEARCHED, "looked at")

        def work(tell: Callable[..., None]) -> dict[str, Any]:
            image = torch.from_numpy(photo.now[:, rows, columns].copy())
            excess = Around(flow, image).excess_map(lambda share: tell(progress=share)).numpy()
            grey = Image.fromarray((4 * excess).clip(0, 255).astype(np.uint8))
            return {"map": _url(grey)}  # quarters of a nat

        return working(work)

    @router.post("/photographs/{name}/redraw")
    def draw(name: str, region: Region) -> StreamingResponse:
        photo, mask = album[name], region.marked()
        rows, columns = region.within(photo)
        _at_most(region, MOST_DRAWN, "drawn anew")

        def work(tell: Callable[..., None]) -> dict[str, Any]:
            wide = around(photo, rows, columns, 8 << region.levels)
            part = tuple(
                slice(of.start // 64 * 64, of.stop) for of in wide
            )  # where all levels have a site
            hole = np.zeros_like(photo.changed[part])
            inside = tuple(
                slice(of.start - w.start, of.stop - w.start)
                for of, w in zip((rows, columns), part, strict=True)
            )
            hole[inside] = mask
            drawn = []
            for number in range(region.count):
                generator = torch.Generator().manual_seed(region.seed + number)
                found = redraw(
                    flow,
                    torch.from_numpy(photo.now[:, *part].copy()),
                    hole,
                    levels=region.levels,
                    temperature=region.temperature,
                    generator=generator,
                )
                pixels = found.numpy()[:, *inside]
                drawn.append(_url(Image.fromarray(pixels.transpose(1, 2, 0).copy())))
                tell(progress=(number + 1) / region.count)
            return {"drawn": drawn}

        return working(work)

    @router.post("/photographs/{name}/take")
    async def take(name: str, top: int, left: int, request: Request) -> dict[str, Any]:
        """Pixels of a region, one of those drawn, as a PNG picture."""
        photo = album[name]
        content = bytearray()
        async for chunk in request.stream():
            content += chunk
            if len(content) > 8 * MOST_DRAWN:
                raise HTTPException(413, "Expected a region as a PNG picture; this is larger.")
        try:
            with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
                if image.width * image.height > MOST_DRAWN:
                    raise ValueError
                pixels = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
        except Exception as error:
            raise HTTPException(422, "Expected a region as a PNG picture.") from error
        height, width = pixels.shape[1:]
        Region(top=top, left=left, height=height, width=width).within(photo)
        where = (photo.now[:, top : top + height, left : left + width] != pixels).any(0)
        photo.change(top, left, pixels, where)
        return {"version": photo.version}

    @router.post("/photographs/{name}/undo")
    def undo(name: str) -> dict[str, Any]:
        photo = album[name]
        if not photo.undo():
            raise HTTPException(422, "There is nothing to undo.")
        return {"version": photo.version}

    @router.post("/photographs/{name}/bits")
    def count(name: str) -> StreamingResponse:
        photo = album[name]

        def work(tell: Callable[..., None]) -> dict[str, Any]:
            images = torch.from_numpy(photo.now.copy())[None]
            found = bits(flow, images, progress=lambda _, __, share: tell(progress=share))
            png = io.BytesIO()
            photo.exported().convert("RGB").save(png, "PNG", optimize=True)
            return {
                "bits": found.per_dim.item(),
                "levels": (found.levels[0] / found.dim).tolist(),
                "png": 8 * png.tell() / found.dim,
            }

        return working(work)

    @router.get("/photographs/{name}/export")
    def export(name: str) -> Response:
        photo = album[name]
        content, image = io.BytesIO(), photo.exported()
        kind = "TIFF" if image.mode in ("CMYK", "YCbCr", "LAB") else "PNG"
        image.save(content, kind)
        stem = Path(photo.name).stem.encode("ascii", "replace").decode().replace('"', "")
        ending = {"PNG": "png", "TIFF": "tif"}[kind]
        return Response(
            content.getvalue(),
            media_type=f"image/{kind.lower()}",
            headers={"Content-Disposition": f'attachment; filename="{stem}-repaired.{ending}"'},
        )

    return router


def _at_most(region: Region, most: int, what: str) -> None:
    """Raise an error if a region is too large."""
    if region.height * region.width > most:
        raise HTTPException(
            422,
            f"Expected at most {most / 1e6:.1f} megapixels to be {what} at once: zoom in, or mark "
            f"less.",
        )


def _url(image: Image.Image) -> str:
    """A picture as a data URL."""
    content = io.BytesIO()
    image.save(content, "PNG", compress_level=1)
    return "data:image/png;base64," + b64encode(content.getvalue()).decode()


def _mask_url(mask: Mask) -> str:
    """A mask as a picture that is transparent elsewhere."""
    values = np.zeros((*mask.shape, 4), dtype=np.uint8)
    values[mask] = (255, 60, 40, 255)
    return _url(Image.fromarray(values))
