"""The page of photographs: pictures of any size are opened, repaired, searched, drawn anew, saved.

The browser shows tiles; pixels stay on the server, one workspace for each picture, which nobody
finds without its name, a random one.

Letters in shapes: C channels; H, W rows and columns.
"""

import io
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import torch
from fastapi import APIRouter, HTTPException, Response, UploadFile
from fastapi.responses import HTMLResponse, StreamingResponse
from PIL import Image
from torch import Tensor

from rgflow.app.album import Album, Drawn, Photo, Pixels, Region, mask_url, url
from rgflow.app.jobs import Jobs, Tell
from rgflow.app.page import static
from rgflow.app.saving import lossy, saved
from rgflow.app.searching import around, searched, surprises
from rgflow.cells import Mask
from rgflow.flow import Flow
from rgflow.photographs import examples
from rgflow.photographs.changing import coarse, fitted, mix
from rgflow.photographs.enlarging import enlarge, redraw
from rgflow.photographs.pictures import Picture, as_seen, lossless_for, read
from rgflow.photographs.restoring import MOST_COMPLETED, completions, restore
from rgflow.photographs.scoring import bits, check_size, has_averages

LARGEST_FILE, MOST_PIXELS = 100_000_000, 64_000_000
"""Bytes and pixels of a picture."""
PARTICLES, LEVELS = 16, 5
"""Number of particles that draw completions, and of the finest levels for which these see all that
they would see in the whole picture."""
AT_WORK = 2
"""Computations at a time."""
RIM, UNIT = 40, 64
"""Width of the surroundings that a repair sees, and edge of squares in which all levels that are
drawn anew have a site."""
TILE, SMALL = 512, 384
"""Edges of tiles, and of small pictures of what was drawn."""
FIRST, NEXT = 96, 256
"""Edges of the squares in which a mixture appears: of the first, so that it is seen soon, and of
all others."""
FACTORS = (2, 4)
"""By which pictures are enlarged."""
SCRIPTS = ("asking.js", "marking.js", "photographs.js")


def make_router(flow: Flow, about: str) -> APIRouter:
    """The page and what it asks for.

    Args:
        flow: Of photographs.
        about: Which model it is, and what it learned, in a sentence.
    """
    router, album, jobs = APIRouter(), Album(), Jobs(AT_WORK)

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
        changed = np.zeros(picture.size, dtype=bool)
        return shown(album.add(Photo(name, picture, seen, seen.copy(), changed, lossy(content))))

    def shown(name: str) -> dict[str, Any]:
        """What the page is to know of a picture."""
        photo = album[name]
        height, width = photo.changed.shape
        return {
            "id": name,
            "name": photo.name,
            "width": width,
            "height": height,
            "notes": "; ".join(photo.picture.notes),
            "lossy": photo.lossy.kind if photo.lossy else None,
            "lossless": lossless_for(photo.picture.image.mode),
            "version": photo.version,
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

    @router.get("/photographs", response_class=HTMLResponse)
    @router.get("/", response_class=HTMLResponse)
    def page() -> str:
        return (
            static("photographs.html")
            .replace("/*style*/", static("photographs.css"))
            .replace("/*script*/", "\n".join(map(static, SCRIPTS)))
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

    @router.get("/photographs/{name}")
    def again(name: str) -> dict[str, Any]:
        return shown(name)

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

    @router.post("/photographs/{name}/stop")
    def stop(name: str) -> None:
        album[name].stop()

    @router.post("/photographs/{name}/repair")
    def repair(name: str, region: Region) -> StreamingResponse:
        photo, mask = album[name], region.marked()
        rows, columns = region.within(photo)

        def work(tell: Tell) -> dict[str, Any]:
            wide, inside = around(photo.now, rows, columns, RIM)
            hole = np.zeros_like(photo.changed[wide])
            hole[inside] = mask
            if hole.all():
                raise HTTPException(
                    422, "Expected some unmarked pixels around the marked ones; there are none."
                )
            seen = False

            def show(found: Tensor) -> None:
                nonlocal seen
                new = Drawn(wide[0].start, wide[1].start, found.cpu().numpy(), hole)
                photo.change(new, again=seen)
                seen = True
                tell(version=photo.version)

            try:
                show(
                    restore(
                        flow, torch.from_numpy(photo.now[:, *wide].copy()), hole,
                        progress=lambda share: tell(progress=share), preview=show,
                    )
                )  # fmt: skip
            except Exception:
                if seen:
                    photo.undo()
                raise
            return {"pixels": int(mask.sum())}

        return jobs.start(photo, work)

    @router.post("/photographs/{name}/find")
    def find(name: str, region: Region) -> StreamingResponse:
        photo = album[name]
        rows, columns = region.within(photo)

        def work(tell: Tell) -> dict[str, Any]:
            for own, found in searched(
                flow, photo.now, rows, columns, region.odd, photo.picture.loss,
                lambda share: tell(progress=share),
            ):  # fmt: skip
                if found.any():
                    tell(
                        mask=mask_url(found), top=own.start, left=columns.start,
                        pixels=int(found.sum()),
                    )  # fmt: skip
            return {}

        return jobs.start(photo, work)

    @router.post("/photographs/{name}/surprise")
    def surprise(name: str, region: Region) -> StreamingResponse:
        photo = album[name]
        rows, columns = region.within(photo)

        def work(tell: Tell) -> dict[str, Any]:
            for own, excess in surprises(
                flow, photo.now, rows, columns, region.zoom, lambda share: tell(progress=share)
            ):
                grey = Image.fromarray((4 * excess).clip(0, 255).astype(np.uint8))
                tell(map=url(grey), top=own.start, left=columns.start)  # quarters of a nat
            return {}

        return jobs.start(photo, work)

    @router.post("/photographs/{name}/redraw")
    def draw(name: str, region: Region) -> StreamingResponse:
        photo, mask = album[name], region.marked()
        rows, columns = region.within(photo)
        if region.complete and mask.sum() > MOST_COMPLETED:
            raise HTTPException(
                422,
                f"Expected at most {MOST_COMPLETED:,} marked pixels for completions; got "
                f"{int(mask.sum()):,}: unmark some of them.",
            )

        def work(tell: Tell) -> dict[str, Any]:
            # A cell of level h reads what is up to reach·2^h away. So what a missing pixel of this
            # level depends on is up to twice as far: for a reach of 3, 3 << LEVELS of the finest
            # levels. Of coarser ones it sees what the crop holds.
            rim = 3 << LEVELS if region.complete else 8 << region.levels
            wide, inside = around(photo.now, rows, columns, rim, UNIT)
            hole = np.zeros_like(photo.changed[wide])
            hole[inside] = mask
            image = torch.from_numpy(photo.now[:, *wide].copy())
            photo.drawn = []
            try:
                for found in _drawn(flow, image, hole, region, tell):
                    pixels = found[:, *inside].cpu().numpy()
                    small = Image.fromarray(pixels.transpose(1, 2, 0).copy())
                    small.thumbnail((SMALL, SMALL))
                    photo.drawn.append(Drawn(region.top, region.left, pixels, mask))
                    tell(drawn=url(small), number=len(photo.drawn) - 1)
            except ValueError as error:
                raise HTTPException(422, str(error)) from error
            return {}

        return jobs.start(photo, work)

    @router.post("/photographs/{name}/take/{number}")
    def take(name: str, number: int) -> dict[str, Any]:
        """Use one of those drawn."""
        photo = album[name]
        if not 0 <= number < len(photo.drawn):
            raise HTTPException(404, "Expected one of the draws; this one is no longer kept.")
        photo.change(photo.drawn[number])
        return {"version": photo.version}

    @router.post("/photographs/{name}/enlarge/{factor}")
    def enlarged(name: str, factor: int) -> StreamingResponse:
        photo = album[name]
        if factor not in FACTORS:
            raise HTTPException(422, f"Expected a factor of 2 or 4; got {factor}.")
        megapixels, most = photo.changed.size * factor**2 / 1e6, MOST_PIXELS / 1e6
        if megapixels > most:
            instead = "choose ×2" if 4 * photo.changed.size <= MOST_PIXELS else "use rgflow enlarge"
            raise HTTPException(
                422,
                f"Expected a result of at most {most:.0f} megapixels; ×{factor} would have "
                f"{megapixels:.0f}: {instead}.",
            )

        def work(tell: Tell) -> dict[str, Any]:
            try:
                large = enlarge(
                    flow, torch.from_numpy(photo.now.copy()), factor,
                    progress=lambda share: tell(progress=share),
                ).cpu().numpy()  # fmt: skip
            except ValueError as error:
                raise HTTPException(422, str(error)) from error
            was, seen = photo.picture, as_seen(photo.now, len(photo.picture.seen))
            now = Picture(seen, photo.exported(), was.notes, was.behind)
            picture = now.enlarged(large, averages=has_averages(flow))
            changed = np.zeros(picture.size, dtype=bool)
            new = Photo(photo.name, picture, large, large.copy(), changed, photo.lossy, "enlarged")
            return shown(album.add(new))

        return jobs.start(photo, work)

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
        zooms = range(max(region.levels - 1, region.zoom), region.zoom - 1, -1)

        def work(tell: Tell) -> dict[str, Any]:
            parts = [(zooms[0], part) for part in _squares(rows, columns, FIRST << zooms[0])[:1]]
            for zoom in zooms:
                parts += [(zoom, part) for part in _squares(rows, columns, NEXT << zoom)]
            for number, (zoom, part) in enumerate(parts):
                tell(progress=number / len(parts))
                mixed = _mixed(flow, pixels, other, part, zoom, region, tell)
                image = Image.fromarray(mixed.transpose(1, 2, 0).copy())
                tell(mixed=url(image), top=part[0].start, left=part[1].start, step=1 << zoom)
            return {}

        return jobs.start(photo, work)

    @router.post("/photographs/{name}/mix/all")
    def mix_all(name: str, region: Region) -> StreamingResponse:
        photo, (pixels, other) = _pair(album[name])

        def work(tell: Tell) -> dict[str, Any]:
            first, second = (torch.from_numpy(one.copy()) for one in (pixels, other))
            mixed = mix(
                flow, first, second, [region.share] * region.levels,
                progress=lambda share: tell(progress=share),
            ).numpy()  # fmt: skip
            photo.change(Drawn(0, 0, mixed, (mixed != pixels).any(0)))
            return {}

        return jobs.start(photo, work)

    @router.post("/photographs/{name}/undo")
    def undo(name: str) -> dict[str, Any]:
        photo = album[name]
        if not photo.undo():
            raise HTTPException(422, "Expected a step to undo; none is kept.")
        return {"version": photo.version}

    @router.post("/photographs/{name}/redo")
    def redo(name: str) -> dict[str, Any]:
        photo = album[name]
        if not photo.redo():
            raise HTTPException(422, "Expected a step to redo; none is kept.")
        return {"version": photo.version}

    @router.post("/photographs/{name}/bits")
    def count(name: str) -> StreamingResponse:
        photo = album[name]

        def work(tell: Tell) -> dict[str, Any]:
            png = io.BytesIO()
            photo.exported().convert("RGB").save(png, "PNG", optimize=True)
            images = torch.from_numpy(photo.now.copy())[None]
            found = bits(flow, images, progress=lambda _, __, share: tell(progress=share))
            return {
                "bits": found.per_dim.item(),
                "levels": (found.levels[0] / found.dim).tolist(),
                "png": 8 * png.tell() / found.dim,
            }

        return jobs.start(photo, work)

    @router.get("/photographs/{name}/export")
    def export(name: str, like: bool = False) -> Response:
        """The picture as a file, without loss, or `like` the one it came in."""
        photo = album[name]
        content, ending = saved(photo.exported(), photo.lossy if like else None)
        called = quote(f"{Path(photo.name).stem}-{photo.made}.{ending}")
        return Response(
            content,
            media_type="application/octet-stream",
            headers={"Content-Disposition": f"attachment; filename*=UTF-8''{called}"},
        )

    return router


def _drawn(flow: Flow, image: Tensor, hole: Mask, region: Region, tell: Tell) -> Iterator[Tensor]:
    """Completions of a hole, or the same hole with other detail."""
    if region.complete:
        generator = torch.Generator().manual_seed(region.seed)
        yield from completions(
            flow, image, hole, region.count, particles=PARTICLES, generator=generator,
            progress=lambda share: tell(progress=share),
        )  # fmt: skip
        return
    for number in range(region.count):
        generator = torch.Generator().manual_seed(region.seed + number)

        def progress(share: float, number: int = number) -> None:
            tell(progress=(number + share) / region.count)

        yield redraw(
            flow, image, hole, levels=region.levels, temperature=region.temperature,
            generator=generator, progress=progress,
        )  # fmt: skip


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
    flow: Flow,
    first: Pixels,
    second: Pixels,
    part: tuple[slice, slice],
    zoom: int,
    region: Region,
    tell: Tell,
) -> Pixels:
    """A part of a mixture, of every 2^zoom-th pixel both ways: these are a photograph as well, with
    fewer levels."""
    step, levels = 1 << zoom, max(region.levels - zoom, 0)
    grids = [pixels[:, ::step, ::step] for pixels in (first, second)]
    rows, columns = (slice(of.start >> zoom, of.stop >> zoom) for of in part)
    # So that all levels lie as in the whole.
    wide, inside = around(grids[0], rows, columns, 8 << levels, 4 << levels)
    image, other = (torch.from_numpy(grid[:, *wide].copy()) for grid in grids)
    if levels and min(image.shape[1:]) >= flow.config.geometry.smallest:
        shares = [region.share] * levels
        image = mix(flow, image, other, shares, progress=lambda _: tell())
    return image[:, *inside].numpy()
