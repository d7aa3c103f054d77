"""The page of photographs: pictures of any size are opened, repaired, searched, drawn anew, saved.

The browser shows tiles; pixels stay on the server, one workspace for each picture, which nobody
finds without its name, a random one.

Letters in shapes: C channels; H, W rows and columns.
"""

import io
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import torch
from fastapi import APIRouter, HTTPException, Request, Response, UploadFile
from fastapi.responses import HTMLResponse, StreamingResponse
from PIL import Image
from torch import Tensor

from rgflow.app.album import Album, Photo, Pixels, Region, mask_url, url
from rgflow.app.page import static
from rgflow.cells import Mask
from rgflow.flow import Flow
from rgflow.photographs import damage, examples
from rgflow.photographs.changing import coarse, fitted, mix
from rgflow.photographs.enlarging import redraw
from rgflow.photographs.pictures import Picture, read
from rgflow.photographs.restoring import Around, completions, restore
from rgflow.photographs.scoring import bits, check_size

LARGEST_FILE, MOST_PIXELS = 100_000_000, 64_000_000
"""Bytes and pixels of a picture."""
MOST_SEARCHED, MOST_DRAWN, MOST_COMPLETED = 2_000_000, 524_288, 4096
"""Pixels of a region that is searched, of one that is drawn anew, and marked ones that are
completed."""
PARTICLES, LEVELS = 16, 5
"""Number of particles that draw completions, and of the finest levels for which these see all that
they would see in the whole picture."""
AT_WORK = 2
"""Computations at a time."""
TILE = 512
FIRST, NEXT = 96, 256
"""Edges of the squares in which a mixture appears, the coarsest at first, and then finer ones."""


class _SupersededError(Exception):
    """Somebody has asked for another mixture meanwhile."""


def make_router(flow: Flow, about: str) -> APIRouter:
    """The page and what it asks for.

    Args:
        flow: Of photographs.
        about: Which model it is, and what it learned, in a sentence.
    """
    router, album, at_work = APIRouter(), Album(), threading.Semaphore(AT_WORK)

    def pixels_of(content: Any) -> tuple[Picture, Pixels]:
        """A picture file, and what the flow sees of it."""
        try:
            picture = read(content, most=MOST_PIXELS)
            check_size(flow, *picture.size)
            return picture, picture.pixels(flow.config.channels)
        except (ValueError, OSError) as error:
            raise HTTPException(422, str(error)) from error

    def opened(content: Any, name: str) -> dict[str, Any]:
        picture, seen = pixels_of(content)
        height, width = picture.size
        photo = Photo(name, picture, seen, seen.copy(), np.zeros((height, width), dtype=bool))
        return {
            "id": album.add(photo),
            "name": name,
            "width": width,
            "height": height,
            "notes": "; ".join(picture.notes),
        }

    def sent(file: UploadFile) -> tuple[io.BytesIO, str]:
        """A file that is sent, and its name."""
        if file.size is None or file.size > LARGEST_FILE:
            raise HTTPException(
                413, f"Expected a file of at most {LARGEST_FILE / 1e6:.0f} MB; this one is larger."
            )
        name = Path(file.filename or "picture").name[:80]
        content = io.BytesIO(file.file.read())
        content.name = name
        return content, name

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
            except _SupersededError:
                lines.put({"done": True, "superseded": True})
            except Exception:
                lines.put({"error": "This failed on the server; its log says why."})
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
            .replace("{{others}}", json.dumps({k: of[0] for k, of in examples.EXAMPLES.items()}))
            .replace("{{largest}}", str(LARGEST_FILE))
        )

    @router.post("/photographs")
    def upload(file: UploadFile) -> dict[str, Any]:
        return opened(*sent(file))

    @router.post("/photographs/examples/{name}")
    def example(name: str) -> dict[str, Any]:
        if name not in examples.EXAMPLES:
            raise HTTPException(404, "Expected one of the examples.")
        content, mask = examples.damaged(name)
        found = opened(content, content.name)
        return found | {"mask": mask_url(mask)}

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
        if level > zoom:
            part = coarse(flow, part, level)
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
                    422, "Expected some unmarked pixels around the marked ones; there are none."
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
                flow,
                image,
                odd=region.odd,
                loss=photo.picture.loss,
                progress=lambda share: tell(progress=share),
            ).found
            return {"mask": mask_url(found), "pixels": int(found.sum())}

        return working(work)

    @router.post("/photographs/{name}/surprise")
    def surprise(name: str, region: Region) -> StreamingResponse:
        photo = album[name]
        rows, columns = region.within(photo)
        _at_most(region, MOST_SEARCHED, "mapped")

        def work(tell: Callable[..., None]) -> dict[str, Any]:
            image = torch.from_numpy(photo.now[:, rows, columns].copy())
            excess = Around(flow, image).excess_map(lambda share: tell(progress=share)).numpy()
            grey = Image.fromarray((4 * excess).clip(0, 255).astype(np.uint8))
            return {"map": url(grey)}  # quarters of a nat

        return working(work)

    @router.post("/photographs/{name}/redraw")
    def draw(name: str, region: Region) -> StreamingResponse:
        photo, mask = album[name], region.marked()
        rows, columns = region.within(photo)
        _at_most(region, MOST_DRAWN, "redrawn")
        if region.complete and mask.sum() > MOST_COMPLETED:
            raise HTTPException(
                422,
                f"Expected at most {MOST_COMPLETED:,} marked pixels for completions; got "
                f"{int(mask.sum()):,}: mark less.",
            )

        def work(tell: Callable[..., None]) -> dict[str, Any]:
            # A cell of level h reads what is up to reach·2^h away. So what a missing pixel of this
            # level depends on is up to twice as far: for a reach of 3, 3 << LEVELS of the finest
            # levels. Of coarser ones it sees what the crop holds.
            rim = 3 << LEVELS if region.complete else 8 << region.levels
            wide = around(photo, rows, columns, rim)
            part = tuple(
                slice(of.start // 64 * 64, of.stop) for of in wide
            )  # where all levels have a site
            hole = np.zeros_like(photo.changed[part])
            inside = tuple(
                slice(of.start - w.start, of.stop - w.start)
                for of, w in zip((rows, columns), part, strict=True)
            )
            hole[inside] = mask
            image = torch.from_numpy(photo.now[:, *part].copy())
            try:
                found = _drawn(flow, image, hole, region, lambda share: tell(progress=share))
            except ValueError as error:
                raise HTTPException(422, str(error)) from error
            cut = [one.cpu().numpy()[:, *inside].transpose(1, 2, 0).copy() for one in found]
            return {"drawn": [url(Image.fromarray(pixels)) for pixels in cut]}

        return working(work)

    @router.post("/photographs/{name}/take")
    async def take(name: str, top: int, left: int, request: Request) -> dict[str, Any]:
        """Pixels of a region, one of those drawn, as a PNG picture."""
        photo = album[name]
        content, most = bytearray(), 8 * MOST_DRAWN
        async for chunk in request.stream():  # to its end: who still sends reads no answer
            content += chunk[: most + 1 - len(content)]
        if len(content) > most:
            raise HTTPException(413, "Expected a region as a PNG picture; this one is too large.")
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

    def take_second(name: str, content: Any) -> dict[str, Any]:
        """Keep a picture to mix another with."""
        photo, (picture, seen) = album[name], pixels_of(content)
        photo.second = fitted(seen, *photo.changed.shape)
        notes = [*picture.notes]
        if seen.shape != photo.second.shape:
            notes.append("it is cropped and resized to the size of the first")
        return {"name": content.name, "notes": "; ".join(notes)}

    @router.post("/photographs/{name}/second")
    def second(name: str, file: UploadFile) -> dict[str, Any]:
        return take_second(name, sent(file)[0])

    @router.post("/photographs/{name}/second/{example}")
    def second_example(name: str, example: str) -> dict[str, Any]:
        if example not in examples.EXAMPLES:
            raise HTTPException(404, "Expected one of the examples.")
        return take_second(name, examples.whole(example))

    @router.post("/photographs/{name}/mix")
    def mixture(name: str, region: Region) -> StreamingResponse:
        """A mixture of a region, from coarse to fine as far as the zoom shows it."""
        photo, (pixels, other) = _pair(album[name])
        rows, columns = region.within(photo)
        photo.turn += 1
        turn = photo.turn

        def work(tell: Callable[..., None]) -> dict[str, Any]:
            for zoom in range(max(region.levels - 1, region.zoom), region.zoom - 1, -1):
                edge = FIRST if zoom == region.levels - 1 else NEXT
                for part in _squares(rows, columns, edge << zoom):
                    if photo.turn != turn:
                        raise _SupersededError
                    mixed = _mixed(flow, pixels, other, part, zoom, region)
                    image = Image.fromarray(mixed.transpose(1, 2, 0).copy())
                    tell(mixed=url(image), top=part[0].start, left=part[1].start, step=1 << zoom)
            return {}

        return working(work)

    @router.post("/photographs/{name}/mix/all")
    def mix_all(name: str, region: Region) -> StreamingResponse:
        photo, (pixels, other) = _pair(album[name])
        photo.turn += 1

        def work(tell: Callable[..., None]) -> dict[str, Any]:
            first, second = (torch.from_numpy(one.copy()) for one in (pixels, other))
            mixed = mix(
                flow, first, second, [region.share] * region.levels,
                progress=lambda share: tell(progress=share),
            ).numpy()  # fmt: skip
            photo.change(0, 0, mixed, (mixed != pixels).any(0))
            return {"version": photo.version}

        return working(work)

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


def _drawn(
    flow: Flow, image: Tensor, hole: Mask, region: Region, progress: Callable[[float], None]
) -> Iterable[Tensor]:
    """Completions of a hole, or the same hole with other detail."""
    if region.complete:
        generator = torch.Generator().manual_seed(region.seed)
        return completions(
            flow, image, hole, region.count,
            particles=PARTICLES, generator=generator, progress=progress,
        )  # fmt: skip
    found = []
    for number in range(region.count):
        generator = torch.Generator().manual_seed(region.seed + number)
        found.append(
            redraw(
                flow, image, hole,
                levels=region.levels, temperature=region.temperature, generator=generator,
            )
        )  # fmt: skip
        progress((number + 1) / region.count)
    return found


def _pair(photo: Photo) -> tuple[Photo, tuple[Pixels, Pixels]]:
    """A picture, its pixels as they are now, and those of the one to mix it with."""
    if photo.second is None:
        raise HTTPException(422, "Expected a picture to mix this one with: open one first.")
    return photo, (photo.now, photo.second)


def _squares(rows: slice, columns: slice, edge: int) -> list[tuple[slice, slice]]:
    """Squares of a grid that cover a region, those in its middle first."""
    starts = (range(of.start // edge * edge, of.stop, edge) for of in (rows, columns))
    middle = [(of.start + of.stop - edge) / 2 for of in (rows, columns)]
    found = [(i, j) for i, j in product(*starts)]
    found.sort(key=lambda at: (at[0] - middle[0]) ** 2 + (at[1] - middle[1]) ** 2)
    return [(slice(i, i + edge), slice(j, j + edge)) for i, j in found]


def _mixed(
    flow: Flow, first: Pixels, second: Pixels, part: tuple[slice, slice], zoom: int, region: Region
) -> Pixels:
    """A part of a mixture, of every 2^zoom-th pixel both ways: these are a photograph as well, with
    fewer levels."""
    step, levels = 1 << zoom, max(region.levels - zoom, 0)
    rim, unit = 8 << levels, 4 << levels  # so that all levels lie as in the whole
    grids = [pixels[:, ::step, ::step] for pixels in (first, second)]
    inside = [slice(of.start >> zoom, of.stop >> zoom) for of in part]
    wide = [slice(max(of.start - rim, 0) // unit * unit, of.stop + rim) for of in inside]
    image, other = (torch.from_numpy(grid[:, *wide].copy()) for grid in grids)
    if levels and min(image.shape[1:]) >= flow.config.geometry.smallest:
        image = mix(flow, image, other, [region.share] * levels)
    cut = [slice(of.start - w.start, of.stop - w.start) for of, w in zip(inside, wide, strict=True)]
    return image[:, *cut].numpy()


def _at_most(region: Region, most: int, what: str) -> None:
    """Raise an error if a region is too large."""
    if region.height * region.width > most:
        raise HTTPException(
            422,
            f"Expected at most {most / 1e6:.1f} megapixels to be {what} at once: zoom in, or mark "
            f"less.",
        )
