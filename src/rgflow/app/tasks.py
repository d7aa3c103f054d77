"""What the page of photographs computes, each a function of a `Task`.

A function tells the page of every step by `Task.tell`, changes the picture, and returns what the
page is to know in the end. A `ValueError` is told to the user.

Letters in shapes: C channels; H, W rows and columns; h, w those of a part.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, Field
from skimage.measure import label, regionprops
from torch import Tensor

from rgflow.app.album import Album
from rgflow.app.data_urls import mask_from, mask_url, png_url
from rgflow.app.jobs import StoppedError, Tell
from rgflow.app.models import Flows
from rgflow.app.project import Drawn, Photo, smaller
from rgflow.app.saving import saved
from rgflow.cells import Mask
from rgflow.flow import Flow
from rgflow.photographs import changing, copying, damage, enlarging, restoring
from rgflow.photographs.adapting import adapt
from rgflow.photographs.pictures import Picture, as_seen
from rgflow.photographs.strips import Part, around, strips
from rgflow.processes import Helpers

MAX_PIXELS = 64_000_000
"""Pixels of the largest picture, for memory; cameras have up to 60 million."""
PARTICLES, COMPLETION_LEVELS = 16, 5
"""Number of particles that draw completions, and of the finest levels for which these see all that
they would see in the whole picture."""
REPAIR_RIM = 40
"""Pixels of the surroundings that a repair sees."""
SITE_UNIT = 64
"""Edge in pixels of squares in which all levels that are drawn anew have a site."""
MAX_SHOWN, MAX_PARTS = 2048, 1000
"""Longer edge in pixels of the pictures of what was drawn, and separate marks that are listed."""
LEAST_SHOWN = 2
"""Smallest probability of damage that the page gets, in 255ths."""
SURPRISE_STEPS = 4
"""Grey levels of the map of surprise for a nat."""


class Region(BaseModel):
    """A rectangle, by default the whole picture, and settings of what is computed of it.

    Attributes:
        top: First row.
        left: First column.
        height: Rows; all below by default.
        width: Columns; all to the right by default.
        mask: What is marked of the rectangle, a data URL; everything by default.
        temperature: Of detail that is drawn.
        levels: Number of the finest levels that are drawn anew.
        zoom: The page shows the picture reduced by 2^zoom.
        seed: Of the first draw.
        count: Number of draws.
        sensitivity: To damage, as for `rgflow.photographs.damage.find_damage`.
        grain: Of what is repaired, as for `rgflow.photographs.restoring.grained`.
        factor: By which the picture is enlarged.
        seconds: How long each flow learns.
        down, across: From what is marked to the place to copy from, in rows and columns.
    """

    top: Annotated[int, Field(ge=0)] = 0
    left: Annotated[int, Field(ge=0)] = 0
    height: Annotated[int, Field(ge=1)] | None = None
    width: Annotated[int, Field(ge=1)] | None = None
    mask: str | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    levels: Annotated[int, Field(ge=1, le=12)] = 2
    zoom: Annotated[int, Field(ge=0, le=8)] = 0
    seed: Annotated[int, Field(ge=0, le=2**53)] = 0
    count: Annotated[int, Field(ge=1, le=6)] = 3
    sensitivity: Annotated[float, Field(ge=0, le=1)] = damage.SENSITIVITY
    grain: Annotated[float, Field(ge=0, le=1)] = 0.0
    factor: Literal[2, 4] = 2
    seconds: Annotated[float, Field(gt=0, le=3600)] = 30
    down: Annotated[int, Field(ge=-100_000, le=100_000)] = 0
    across: Annotated[int, Field(ge=-100_000, le=100_000)] = 0


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
        flows: Both flows, as they were before they learned a picture.
        helpers: Processes for what takes long; None: this one.
        turn: Which of how many equal parts of the work it is.
    """

    flow: Flow
    album: Album
    photo: Photo
    region: Region
    tell: Tell
    flows: Flows
    helpers: Helpers | None = None
    turn: tuple[int, int] = (0, 1)

    def computed(
        self, function: Callable[..., Any], *arguments: Any, **callbacks: Callable[..., None]
    ) -> Any:
        """What a function of the flow returns, by a helper if there are some."""
        if self.helpers:
            return self.helpers.call(function, self.flow, *arguments, callbacks=callbacks)
        return function(self.flow, *arguments, **callbacks)

    @property
    def part(self) -> Part:
        """Rows and columns of the region.

        Raises:
            ValueError: If it reaches outside the picture.
        """
        (height, width), region = self.photo.shape, self.region
        bottom = height if region.height is None else region.top + region.height
        right = width if region.width is None else region.left + region.width
        if not (region.top < bottom <= height and region.left < right <= width):
            raise ValueError(
                f"Expected a region inside {width}×{height} pixels; got one of rows {region.top} "
                f"to {bottom} and columns {region.left} to {right}."
            )
        return slice(region.top, bottom), slice(region.left, right)

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
        hole = np.zeros(photo.now[0][part].shape, dtype=bool)
        hole[inside] = mask
        return Crop(part, inside, torch.from_numpy(photo.now[:, *part].copy()), hole)

    def progress(self, share: float) -> None:
        """Tell how much is done."""
        number, count = self.turn
        self.tell(progress=(number + share) / count)


def repair(task: Task) -> dict[str, Any]:
    """Repair what is marked: a first result soon, then refined. If it fails, nothing changes.

    Raises:
        ValueError: If nothing is marked, or all is.
    """
    photo, shown = task.photo, list[Drawn]()
    (rows, columns), _, image, hole = task.crop(REPAIR_RIM)
    if hole.all():
        raise ValueError("Expected some unmarked pixels around the marked ones; there are none.")

    def drawn(found: Tensor) -> Drawn:
        return Drawn(rows.start, columns.start, found.cpu().numpy(), hole)

    def show(found: Tensor) -> None:
        shown.append(drawn(found))
        photo.preview(shown[-1])
        task.tell(version=photo.version)

    try:
        found = task.computed(restoring.restore, image, hole, progress=task.progress, preview=show)
        found = damage.seen_through(image, hole, found)
        if grain := task.region.grain:
            found = task.computed(restoring.grained, found, hole, grain, task.region.seed)
        step = photo.do("the repair", clears=True, new=drawn(found))
    except Exception:
        if shown:
            photo.drop(shown[-1])
        raise
    deep = bool(restoring.deep_parts(hole).any())
    return {"pixels": int(hole.sum()), "deep": deep, "step": step}


def find(task: Task) -> dict[str, Any]:
    """Map how probably pixels are damaged, strip by strip."""
    for strip, inside, found in _found(task):
        grey = (255 * found.marks[inside]).round().astype(np.uint8)
        grey[grey < LEAST_SHOWN] = 0
        if grey.any():
            task.tell(map=png_url(grey), top=strip.start, left=task.part[1].start)
    return {}


def _found(task: Task) -> Iterator[tuple[slice, tuple[slice, ...], damage.Damage]]:
    """Rows of strips, what is the region of what was searched, and what was found in that."""
    for strip, image, inside, share in strips(task.photo.now, *task.part, task.progress):
        found = damage.find_damage(image, sensitivity=task.region.sensitivity, progress=share)
        yield strip, inside, found


def mend(task: Task) -> dict[str, Any]:
    """Find what is damaged in the whole picture, and repair it, as two steps."""
    found = np.zeros(task.photo.shape, dtype=bool)
    for strip, inside, part in _found(replace(task, turn=(0, 2))):
        found[strip] = part.found[inside]
    if not found.any():
        return {"pixels": 0}
    mask = mask_url(found)
    task.photo.do("the search", marks=[{"image": mask}])
    return repair(replace(task, region=Region(mask=mask, grain=task.region.grain), turn=(1, 2)))


def learn(task: Task) -> dict[str, Any]:
    """Let both flows learn the picture, until they are stopped."""
    photo, image, learned = task.photo, torch.from_numpy(task.photo.now.copy()), dict[bool, Any]()
    for number, averages in enumerate((False, True)):

        def progress(share: float, number: int = number) -> None:
            try:
                replace(task, turn=(number, 2)).progress(share)
            except StoppedError as stopped:
                raise KeyboardInterrupt from stopped  # which keeps what is learned so far

        flow = task.flows(averages=averages)
        learned[averages] = adapt(flow, image, seconds=task.region.seconds, progress=progress)
    gained = {averages: one for averages, one in learned.items() if one.after < one.before}
    photo.learned = {averages: one.flow.frozen() for averages, one in gained.items()}
    return {"shares": [1 - one.after / one.before for one in gained.values()]}


def surprise(task: Task) -> dict[str, Any]:
    """Map how much less likely than usual pixels are: of squares of the zoom, the maximum."""
    edge = 1 << task.region.zoom
    for strip, image, inside, share in strips(task.photo.now, *task.part, task.progress):
        excess = restoring.Around(task.flow, image).excess_map(share).float().numpy()[inside]
        rest = [(0, -size % edge) for size in excess.shape]
        excess = np.pad(excess, rest, constant_values=-np.inf)
        excess = excess.reshape(excess.shape[0] // edge, edge, -1, edge).max((1, 3))
        grey = (SURPRISE_STEPS * excess).clip(0, 255).astype(np.uint8)
        task.tell(map=png_url(grey), top=strip.start, left=task.part[1].start)
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
    show = _offering(task, crop)
    task.computed(
        _completed, crop.image, crop.hole, region.count, region.seed,
        progress=task.progress, found=show, preview=partial(show, draft=True),
    )  # fmt: skip
    return {}


def _completed(
    flow: Flow,
    image: Tensor,
    hole: Mask,
    count: int,
    seed: int,
    *,
    found: Callable[[Tensor], None],
    **callbacks: Callable[..., None],
) -> None:
    """Draw completions [C, h, w], and tell each as it is found."""
    how: dict[str, Any] = {"generator": torch.Generator().manual_seed(seed), **callbacks}
    for one in restoring.completions(flow, image, hole, count, particles=PARTICLES, **how):
        found(one)


def redraw(task: Task) -> dict[str, Any]:
    """Draw the finest levels of what is marked again, in squares whose averages stay.

    Raises:
        ValueError: If nothing is marked.
    """
    region = task.region
    crop = task.crop(8 << region.levels, SITE_UNIT)
    show = _offering(task, crop)
    how: dict[str, Any] = {"levels": region.levels, "temperature": region.temperature}
    for number in range(region.count):
        generator = torch.Generator().manual_seed(region.seed + number)
        draw = partial(enlarging.redraw, **how, generator=generator)
        progress = replace(task, turn=(number, region.count)).progress
        show(task.computed(draw, crop.image, crop.hole, progress=progress))
    return {}


def copied(task: Task) -> dict[str, Any]:
    """Fill what is marked with another place of the picture.

    Raises:
        ValueError: If nothing is marked, or too much, or the place doesn't fit.
    """
    region = task.region
    crop = task.crop(max(abs(region.down), abs(region.across)) + 2 * copying.SHIFT)
    found = copying.copied(task.flow, crop.image, crop.hole, region.down, region.across)
    show = _offering(task, crop)
    for one in found:
        show(one.image, how=one.how, nats=one.nats)
    return {}


def _offering(task: Task, crop: Crop) -> Callable[..., None]:
    """A function that shows what was drawn, [C, h, w] of a crop, to choose from unless it is a
    draft."""
    drawn = task.photo.drawn = []

    def show(found: Tensor, *, draft: bool = False, **more: Any) -> None:
        pixels, number = found[:, *crop.inside].cpu().numpy(), len(drawn)
        if not draft:
            drawn.append(Drawn(task.region.top, task.region.left, pixels, crop.hole[crop.inside]))
        task.tell(drawn=png_url(smaller(pixels, MAX_SHOWN)), number=number, draft=draft, **more)

    return show


def parts(task: Task) -> dict[str, Any]:
    """The separate marks of a region, the largest first."""
    found = sorted(regionprops(label(task.marked, connectivity=2)), key=lambda one: -one.area)
    return {
        "parts": [
            {
                "pixels": int(one.area),
                "top": task.region.top + one.bbox[0],
                "left": task.region.left + one.bbox[1],
                "height": len(one.image),
                "width": len(one.image[0]),
                "mask": mask_url(one.image),
            }
            for one in found[:MAX_PARTS]
        ]
    }


def enlarge(task: Task) -> dict[str, Any]:
    """Open the picture enlarged, as another one, to be compared with Lanczos.

    Raises:
        ValueError: If that would have too many pixels, or there is no room for it.
    """
    flow, photo, factor = task.flow, task.photo, task.region.factor
    pixels = photo.about.width * photo.about.height
    if pixels * factor**2 > MAX_PIXELS:
        instead = "choose ×2" if 4 * pixels <= MAX_PIXELS else "use rgflow enlarge"
        raise ValueError(
            f"Expected a result of at most {MAX_PIXELS / 1e6:.0f} megapixels; ×{factor} would "
            f"have {pixels * factor**2 / 1e6:.0f}: {instead}."
        )
    image, averages = torch.from_numpy(photo.now.copy()), flow.config.geometry.averages
    large = task.computed(enlarging.enlarge, image, factor, progress=task.progress).cpu().numpy()
    was = photo.picture()
    seen = as_seen(photo.now, len(was.seen))
    now = Picture(seen, was.replaced(photo.now, photo.load().changed), was.notes, was.behind)
    picture = now.enlarged(large, averages=averages)
    before = changing.fitted(photo.now, *large.shape[1:]) if averages else None
    new = task.album.add(
        saved(picture.image, None)[0],
        picture,
        photo.about.name,
        before,  # without averages, the result lies half a pixel beside
        before="Lanczos" if averages else "",
        lossy=photo.about.lossy,
        made="enlarged",
        visitor=photo.about.visitor,
    )
    return {"opened": new.facts()}


_ALL = repair, find, mend, learn, surprise, complete, redraw, copied, parts, enlarge
TASKS: dict[str, Callable[[Task], dict[str, Any]]] = {one.__name__: one for one in _ALL}
"""By the names that the page uses."""
OF_AVERAGES = redraw, enlarge
"""Those that work with coarse images that are averages."""
