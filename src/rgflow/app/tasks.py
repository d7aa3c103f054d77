"""What the page of photographs computes, each a function of a `Task`.

A function tells the page of every step by `Task.tell`, changes the picture, and returns what the
page is to know in the end. A `ValueError` is told to the user.

Letters in shapes: C channels; H, W rows and columns; h, w those of a part.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rgflow.app.album import Album, Drawn, Photo, Pixels
from rgflow.app.data_urls import mask_from, mask_url, png_url
from rgflow.app.jobs import Tell
from rgflow.app.regions import Region
from rgflow.app.searching import Part, around, searched, surprises
from rgflow.cells import Mask
from rgflow.flow import Flow
from rgflow.photographs import changing, enlarging, restoring
from rgflow.photographs.damage import seen_through
from rgflow.photographs.pictures import Picture, as_seen, image_of

MAX_PIXELS = 64_000_000
"""Pixels of the largest picture, for memory; cameras have up to 60 million."""
PARTICLES, COMPLETION_LEVELS = 16, 5
"""Number of particles that draw completions, and of the finest levels for which these see all that
they would see in the whole picture."""
REPAIR_RIM = 40
"""Pixels of the surroundings that a repair sees."""
SITE_UNIT = 64
"""Edge in pixels of squares in which all levels that are drawn anew have a site."""
PREVIEW = 384
"""Longer edge in pixels of the small pictures of what was drawn."""
FIRST_SQUARE, NEXT_SQUARE = 96, 256
"""Edges in pixels of the squares in which a mixture appears: of the first, so that it is seen soon,
and of all others."""
SURPRISE_STEPS = 4
"""Grey levels of the map of surprise for a nat."""


class Crop(NamedTuple):
    """A region with its surroundings.

    Attributes:
        part: Its rows and columns in the picture.
        inside: Rows and columns of the region in it.
        image: Its pixels, uint8 [C, h, w].
        hole: What is marked of it, [h, w].
    """

    part: Part
    inside: Part
    image: Tensor
    hole: Mask


@dataclass(frozen=True)
class Task:
    """What is to be computed.

    Attributes:
        flow: A flow of photographs; of averages, for `OF_AVERAGES`.
        album: The open pictures.
        photo: The picture.
        region: Which part of it, and how.
        tell: Tells the page; raises `StoppedError` if nobody wants the rest.
    """

    flow: Flow
    album: Album
    photo: Photo
    region: Region
    tell: Tell

    @property
    def part(self) -> Part:
        """Rows and columns of the region.

        Raises:
            ValueError: If it reaches outside the picture.
        """
        return self.region.within(self.photo)

    @cached_property
    def marked(self) -> Mask:
        """What is marked of the region, [h, w].

        Raises:
            ValueError: If nothing is, or the mask isn't one of the region.
        """
        height, width = (of.stop - of.start for of in self.part)
        if self.region.mask is None:
            return np.ones((height, width), dtype=bool)
        found = mask_from(self.region.mask, height, width)
        if not found.any():
            raise ValueError("Expected some pixels to be marked; none are: paint over them first.")
        return found

    def crop(self, rim: int, step: int = 1) -> Crop:
        """The region with `rim` pixels around it, from a multiple of `step` on."""
        mask, photo = self.marked, self.photo
        part, inside = around(photo.now, *self.part, rim, step)
        hole = np.zeros_like(photo.changed[part])
        hole[inside] = mask
        return Crop(part, inside, torch.from_numpy(photo.now[:, *part].copy()), hole)

    def progress(self, share: float) -> None:
        """Tell how much is done."""
        self.tell(progress=share)

    def progress_of(self, number: int, count: int) -> Callable[[float], None]:
        """Tells how much is done of one of several equal parts."""
        return lambda share: self.progress((number + share) / count)


def repair(task: Task) -> dict[str, Any]:
    """Repair what is marked: a first result soon, then refined. If it fails, nothing changes.

    Raises:
        ValueError: If nothing is marked, or all is.
    """
    photo, shown = task.photo, False
    (rows, columns), _, image, hole = task.crop(REPAIR_RIM)
    if hole.all():
        raise ValueError("Expected some unmarked pixels around the marked ones; there are none.")

    def show(found: Tensor) -> None:
        nonlocal shown
        new = Drawn(rows.start, columns.start, found.cpu().numpy(), hole)
        photo.change(new, same_step=shown)
        shown = True
        task.tell(version=photo.version)

    try:
        filled = restoring.restore(task.flow, image, hole, progress=task.progress, preview=show)
        show(seen_through(image, hole, filled))
    except Exception:
        if shown:
            photo.undo()
        raise
    return {"pixels": int(hole.sum())}


def find(task: Task) -> dict[str, Any]:
    """Mark what is damaged, strip by strip."""
    photo, (rows, columns) = task.photo, task.part
    sensitivity = task.region.sensitivity
    for strip, found in searched(photo.now, rows, columns, sensitivity, task.progress):
        if found.any():
            place = {"top": strip.start, "left": columns.start}
            task.tell(mask=mask_url(found), pixels=int(found.sum()), **place)
    return {}


def surprise(task: Task) -> dict[str, Any]:
    """Map how much less likely than usual pixels are, strip by strip."""
    rows, columns = task.part
    zoom = task.region.zoom
    for strip, excess in surprises(task.flow, task.photo.now, rows, columns, zoom, task.progress):
        grey = (SURPRISE_STEPS * excess).clip(0, 255).astype(np.uint8)
        task.tell(map=png_url(grey), top=strip.start, left=columns.start)
    return {}


def complete(task: Task) -> dict[str, Any]:
    """Draw completions of what is marked from its surroundings.

    Raises:
        ValueError: If nothing is marked, or too much, or coarse images of the flow are averages.
    """
    region, count = task.region, int(task.marked.sum())
    if count > restoring.MAX_COMPLETED_PIXELS:
        raise ValueError(
            f"Expected at most {restoring.MAX_COMPLETED_PIXELS:,} marked pixels for completions; "
            f"got {count:,}: unmark some of them."
        )
    # A cell of level h reads what is up to reach·2^h away. So what a missing pixel of this level
    # depends on is up to twice as far: for a reach of 3, 3 << COMPLETION_LEVELS for the finest
    # levels. Of coarser ones it sees what the crop holds.
    crop = task.crop(3 << COMPLETION_LEVELS, SITE_UNIT)
    images = restoring.completions(
        task.flow,
        crop.image,
        crop.hole,
        region.count,
        particles=PARTICLES,
        generator=torch.Generator().manual_seed(region.seed),
        progress=task.progress,
    )
    return _offer(task, crop, images)


def redraw(task: Task) -> dict[str, Any]:
    """Draw the finest levels of what is marked again, in squares whose averages stay.

    Raises:
        ValueError: If nothing is marked.
    """
    region = task.region
    crop = task.crop(8 << region.levels, SITE_UNIT)
    images = (
        enlarging.redraw(
            task.flow,
            crop.image,
            crop.hole,
            levels=region.levels,
            temperature=region.temperature,
            generator=torch.Generator().manual_seed(region.seed + number),
            progress=task.progress_of(number, region.count),
        )
        for number in range(region.count)
    )
    return _offer(task, crop, images)


def _offer(task: Task, crop: Crop, images: Iterable[Tensor]) -> dict[str, Any]:
    """Show what was drawn, [C, h, w] of a crop, to choose from."""
    drawn = task.photo.drawn = []
    for found in images:
        pixels = found[:, *crop.inside].cpu().numpy()
        small = image_of(pixels)
        small.thumbnail((PREVIEW, PREVIEW))
        drawn.append(Drawn(task.region.top, task.region.left, pixels, crop.hole[crop.inside]))
        task.tell(drawn=png_url(np.asarray(small)), number=len(drawn) - 1)
    return {}


def enlarge(task: Task) -> dict[str, Any]:
    """Open the picture enlarged, as another one, to be compared with Lanczos.

    Raises:
        ValueError: If that would have too many pixels.
    """
    flow, photo, factor = task.flow, task.photo, task.region.factor
    pixels = photo.changed.size
    if pixels * factor**2 > MAX_PIXELS:
        instead = "choose ×2" if 4 * pixels <= MAX_PIXELS else "use rgflow enlarge"
        raise ValueError(
            f"Expected a result of at most {MAX_PIXELS / 1e6:.0f} megapixels; ×{factor} would "
            f"have {pixels * factor**2 / 1e6:.0f}: {instead}."
        )
    image, averages = torch.from_numpy(photo.now.copy()), flow.config.geometry.averages
    large = enlarging.enlarge(flow, image, factor, progress=task.progress).cpu().numpy()
    was, seen = photo.picture, as_seen(photo.now, len(photo.picture.seen))
    now = Picture(seen, photo.exported(), was.notes, was.behind)
    picture = now.enlarged(large, averages=averages)
    new = Photo.of(
        photo.name, picture, large, lossy=photo.lossy, made="enlarged", visitor=photo.visitor
    )
    if averages:  # otherwise the result lies half a pixel beside
        new.original, new.before = changing.fitted(photo.now, *large.shape[1:]), "Lanczos"
    return new.facts(task.album.add(new))


def mix(task: Task) -> dict[str, Any]:
    """Show a mixture of a region, from coarse to fine as far as the zoom shows it.

    Raises:
        ValueError: If there is no second picture.
    """
    region, second = task.region, _second(task.photo)
    pixels = task.photo.now  # of when it began
    zooms = range(max(region.levels - 1, region.zoom), region.zoom - 1, -1)
    parts = [(zooms[0], part) for part in _squares(task.part, FIRST_SQUARE << zooms[0])[:1]]
    for zoom in zooms:
        parts += [(zoom, part) for part in _squares(task.part, NEXT_SQUARE << zoom)]
    for number, (zoom, part) in enumerate(parts):
        task.progress(number / len(parts))
        mixed = png_url(_mixed(task, pixels, second, part, zoom).transpose(1, 2, 0))
        task.tell(mixed=mixed, top=part[0].start, left=part[1].start, step=1 << zoom)
    return {}


def keep(task: Task) -> dict[str, Any]:
    """Make the mixture with the second picture the picture itself, at full size.

    Raises:
        ValueError: If there is no second picture.
    """
    pixels = task.photo.now
    first, second = (torch.from_numpy(one.copy()) for one in (pixels, _second(task.photo)))
    shares = [task.region.share] * task.region.levels
    mixed = changing.mix(task.flow, first, second, shares, progress=task.progress).numpy()
    task.photo.change(Drawn(0, 0, mixed, (mixed != pixels).any(0)))
    return {}


def _second(photo: Photo) -> Pixels:
    """The pixels of the picture to mix with."""
    if photo.second is None:
        raise ValueError("Expected a picture to mix this one with; there is none: open one first.")
    return photo.second


def _squares(region: Part, edge: int) -> list[Part]:
    """Squares of a grid that cover a region, those in its middle first."""
    starts = product(*(range(of.start // edge * edge, of.stop, edge) for of in region))
    middle = [(of.start + of.stop - edge) / 2 for of in region]
    found = sorted(starts, key=lambda at: (at[0] - middle[0]) ** 2 + (at[1] - middle[1]) ** 2)
    return [(slice(i, i + edge), slice(j, j + edge)) for i, j in found]


def _mixed(task: Task, first: Pixels, second: Pixels, part: Part, zoom: int) -> Pixels:
    """A part of a mixture, of the coarse images at level `zoom`: these are photographs as well,
    with fewer levels."""
    step, levels = 1 << zoom, max(task.region.levels - zoom, 0)
    # So that all levels lie as in the whole.
    wide, inside = around(first, *part, 8 << levels + zoom, 4 << levels + zoom)
    image, other = (
        torch.from_numpy(changing.coarse(task.flow, of[:, *wide], zoom)[:, ::step, ::step].copy())
        for of in (first, second)
    )
    if levels and min(image.shape[1:]) >= task.flow.config.geometry.smallest:
        shares = [task.region.share] * levels
        image = changing.mix(task.flow, image, other, shares, progress=lambda _: task.tell())
    return image[:, *(slice(of.start >> zoom, of.stop >> zoom) for of in inside)].numpy()


TASKS: dict[str, Callable[[Task], dict[str, Any]]] = {
    one.__name__: one for one in (repair, find, surprise, complete, redraw, enlarge, mix, keep)
}
"""By the names that the page uses."""
OF_AVERAGES = redraw, enlarge, mix, keep
"""Those that work with coarse images that are averages."""
