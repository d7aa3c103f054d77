"""Any map of vectors as a layer of an image, applied to its cells.

Letters in shapes: N images; C channels; h, w rows and columns of a grid; n cells; R = N·n cells of
all images; W sites that a cell writes, D = C·W its variables; S sites of its context; E size of
embeddings.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rgflow.bijectors.base import Bijector, Compose, Context, Mapped, MapSpec
from rgflow.cells import SUBLATTICES, Cells, Offset, Sublattice
from rgflow.numerics import derivatives_wanted


def cut(x: Tensor, m: int) -> Tensor:
    """Cut images [N, C, p·m, q·m] into blocks [N·p·q, D], even half first.

    The variables of a block are ordered by sublattice (0, 0), (1, 1), (0, 1), (1, 0), then channel,
    row and column; so the first half are the even sites of the checkerboard, the second the odd.
    """
    n = m // 2
    images, channels, height, width = x.shape
    p, q = height // m, width // m
    x = x.reshape(images, channels, p, n, 2, q, n, 2).permute(0, 2, 5, 4, 7, 1, 3, 6)
    parts = [x[:, :, :, i, j] for i, j in SUBLATTICES]
    return torch.stack(parts, 3).reshape(images * p * q, channels * m * m)


def join(blocks: Tensor, m: int, channels: int, p: int, q: int) -> Tensor:
    """The inverse of `cut`: [N·p·q, D] → [N, C, p·m, q·m].

    Args:
        blocks: [N·p·q, D].
        m: Edge of a block.
        channels: Channels C.
        p: Rows of blocks.
        q: Columns of blocks.
    """
    n = m // 2
    even, even_, odd, odd_ = blocks.reshape(-1, p, q, 4, channels, n, n).unbind(3)
    x = torch.stack((even, odd, odd_, even_), 3).reshape(-1, p, q, 2, 2, channels, n, n)
    return x.permute(0, 5, 1, 6, 3, 2, 7, 4).reshape(-1, channels, p * m, q * m)


AnyMap = TypeVar("AnyMap", bound=Bijector)

BAND = 4096
"""Cells that are mapped at a time where no gradient is wanted: few enough for the processor's
caches, so that it is faster, and large images take little memory."""


def spec_of(cells: Cells, channels: int, top: bool = True, embedding: int = 0) -> MapSpec:
    """What a map of these cells has to know.

    Args:
        cells: The layer.
        channels: Channels C of the images.
        top: Whether all sites stay at its level.
        embedding: Size of the embeddings, E.
    """
    around = cells.reads[cells.written :]
    context = len(around)
    near = sorted(range(context), key=lambda place: math.hypot(*around[place]))
    return MapSpec(
        channels=channels,
        sites=cells.written,
        level=cells.level,
        top=top,
        context=channels * context,
        flags=context if cells.misses else 0,
        embedding=embedding,
        square=cells.square,
        near=tuple(near),
    )


class Cellwise(Bijector):
    """Apply one bijector to every cell of a layer (paper, eqs. 6 and 7, for blocks).

    Args:
        bijector: A map of vectors [R, D]; it may be shared with other layers.
        cells: The layer.
        channels: Channels C of the images.
        embedding: Size of a learned embedding of every cell's position; 0: the bijector doesn't
            know where a cell is.
        code: What all cells know besides, such as their level: any numbers.
    """

    code: Tensor

    def __init__(
        self,
        bijector: Bijector,
        cells: Cells,
        channels: int,
        embedding: int = 0,
        code: Sequence[float] = (),
    ) -> None:
        super().__init__((channels, *cells.grid))
        self.bijector, self.cells, self.channels = bijector, cells, channels
        self.domain, self.codomain = bijector.domain, bijector.codomain
        self.positions = nn.Embedding(len(cells), embedding) if embedding else None
        self.register_buffer("code", torch.tensor(code), persistent=False)
        self._tables: dict[torch.device, Tensor] = {}

    def only(self, cls: type[AnyMap]) -> AnyMap | None:
        """The map of the cells, if it is a single one and of a class; otherwise none."""
        maps = list(self.bijector.bijectors) if isinstance(self.bijector, Compose) else []
        return maps[0] if len(maps) == 1 and isinstance(maps[0], cls) else None

    def transform(self, x: Tensor, context: Context | None = None) -> Mapped:
        return self._map(self.bijector.forward, x, context)

    def invert(self, y: Tensor, context: Context | None = None) -> Mapped:
        return self._map(self.bijector.inverse, y, context)

    def _map(self, function: Callable[..., Mapped], x: Tensor, given: Context | None) -> Mapped:
        if not self._in_bands(x, given):
            y, log_det = function(*self.read(x, given))
            return self.write(x, y), log_det.reshape(len(x), -1).sum(1)
        out, total = x.clone(), x.new_zeros(len(x))
        for band in self.bands(BAND // len(x)):
            y, log_det = function(*band.read(out))
            total += log_det.reshape(len(x), -1).sum(1)
            band.write(out, y)
        return out, total

    def log_det(self, x: Tensor, context: Context | None = None) -> Tensor:
        if not self._in_bands(x, context):
            return self.bijector.log_det(*self.read(x, context)).reshape(len(x), -1).sum(1)
        found = [self.bijector.log_det(*band.read(x)) for band in self.bands(BAND // len(x))]
        return sum((one.reshape(len(x), -1).sum(1) for one in found), x.new_zeros(len(x)))

    def _in_bands(self, x: Tensor, given: Context | None) -> bool:
        known = self.positions is not None or given is not None
        if torch.is_grad_enabled() or known or not isinstance(self.cells, Sublattice):
            return False
        return not self.cells.periodic and len(x) * len(self.cells) > BAND

    def bands(self, most: int) -> Iterator["Band"]:
        """The cells in bands of rows, where the boundary is open and positions aren't known.

        Args:
            most: Cells of a band in each image, if a row has no more.
        """
        assert isinstance(self.cells, Sublattice)
        first = self.cells.start[0]
        for rows, cells in self.cells.bands(most):
            yield Band(self, rows, cells, first)
            first += cells.step * cells.shape[0]

    def read(self, x: Tensor, given: Context | None = None) -> tuple[Tensor, Context]:
        """What the cells of images [N, C, h, w] write, [N·n, D], image by image, and what they know
        beside it.

        Args:
            x: Images.
            given: What is known of every image, in its embedding [N, E].
        """
        if self.cells.tile:
            cells, values, missing = cut(self._inside(x), self.cells.tile), None, None
        else:
            cells, values = self._gathered(x)
            missing = _missing(self.cells, x)
        embedding = self.embedding(len(x), given, cells)
        return cells, Context(cells[:, :0] if values is None else values, embedding, missing)

    def coded(self, like: Tensor) -> Tensor:
        """The code, once for every row of a tensor, in its number format: [R, E]."""
        return self.code.to(like).expand(len(like), -1)

    def read_all(self, x: Tensor) -> Tensor:
        """All that the cells of images read, [N·n, C·(W + S)]: the variables that they write, and
        then the values of the context, site by site; what is missing is 0."""
        if self.cells.tile:
            return cut(self._inside(x), self.cells.tile)
        return torch.cat(self._gathered(x), 1)

    def _gathered(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The two parts of `read_all`."""
        if isinstance(self.cells, Sublattice) and not derivatives_wanted(x):
            return _sliced(x, self.cells)
        w, groups, table = self.cells.written, self.cells.groups, self._table(x.device)
        flat = x.flatten(2)
        written = flat[:, :, table[:, :w]].unflatten(3, (groups, -1)).permute(0, 2, 3, 1, 4)
        flat = flat.transpose(1, 2)
        if self.cells.misses:  # −1 is the last, which is 0
            flat = torch.cat((flat, flat.new_zeros(len(flat), 1, self.channels)), 1)
        rest = flat[:, table[:, w:]]  # [N, n, S, C]
        rows = len(x) * len(self.cells)
        return written.reshape(rows, w * self.channels), rest.reshape(rows, -1)

    def _table(self, device: torch.device) -> Tensor:
        """The sites that every cell reads, on a device; made at the first use, as few need it."""
        if device not in self._tables:
            self._tables[device] = torch.from_numpy(self.cells.table).to(device)
        return self._tables[device]

    def write(self, x: Tensor, cells: Tensor) -> Tensor:
        """Images [N, C, h, w] with other values of what cells write [N·n, D]."""
        if m := self.cells.tile:
            return self._outside(x, join(cells, m, self.channels, *self.cells.shape))
        n, w = len(self.cells), self.cells.written
        written = cells.view(len(x), n, self.cells.groups, self.channels, -1).permute(0, 3, 1, 2, 4)
        places = self._table(x.device)[:, :w].flatten()
        return x.flatten(2).index_copy(2, places, written.reshape(*x.shape[:2], -1)).view_as(x)

    def of(self, numbers: Tensor, context: Context | None = None) -> Context | None:
        """Context of the cells with these numbers [R], row by row.

        Args:
            numbers: Of the cells.
            context: What they read; none: nothing.
        """
        embedding = self.code.expand(len(numbers), -1)
        if self.positions:
            embedding = torch.cat((self.positions(numbers), embedding), 1)
        if not embedding.shape[1]:
            return context
        if not context:
            return Context(embedding[:, :0], embedding)
        return Context(
            context.values, torch.cat((embedding, context.embedding), 1), context.missing
        )

    def embedding(
        self, images: int, given: Context | None, like: Tensor, positions: Tensor | None = None
    ) -> Tensor:
        """The embeddings of all cells of images, [N·n, E].

        Args:
            images: Their number N.
            given: What is known of every image, in its embedding [N, E].
            like: A tensor of as many rows, in the number format of the layer.
            positions: Embeddings of the cells of one image [n, E]; none: those of the layer's.
        """
        if positions is None and self.positions:
            positions = self.positions.weight
        parts = [] if positions is None else [positions.repeat(images, 1)]
        parts.append(self.coded(like))
        if given is not None and given.embedding.shape[1]:
            parts.append(given.embedding.repeat_interleave(len(like) // images, 0))
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]

    def _inside(self, x: Tensor) -> Tensor:
        """The part of images that is cut into blocks."""
        s, m, (p, q) = self.cells.shift, self.cells.tile, self.cells.shape
        if not s:
            return x
        return (
            x.roll((-s, -s), (2, 3))
            if self.cells.periodic
            else x[:, :, s : s + p * m, s : s + q * m]
        )

    def _outside(self, x: Tensor, y: Tensor) -> Tensor:
        """The inverse of `_inside`; x supplies all that is outside."""
        s = self.cells.shift
        if not s:
            return y
        if self.cells.periodic:
            return y.roll((s, s), (2, 3))
        down, along = s + y.shape[2], s + y.shape[3]
        return x.slice_scatter(x[:, :, s:down].slice_scatter(y, 3, s, along), 2, s, down)


@dataclass(frozen=True, eq=False)
class Band:
    """Some rows of the cells of a layer. As cells don't read what others write, a band can be
    written before the next one is read.

    Attributes:
        layer: The layer.
        rows: The rows of the level's grid that the cells read.
        cells: The cells, as a layer of these rows.
        first: The row of the grid in which the first of them write.
    """

    layer: Cellwise
    rows: slice
    cells: Sublattice
    first: int

    @property
    def level(self) -> int:
        """The level of the layer."""
        return self.cells.level

    def read(self, x: Tensor) -> tuple[Tensor, Context]:
        """What the cells of images [N, C, h, w] write, [R, D], and their context, by slices, so
        that it takes no table; in the number format and on the device of the layer, whatever those
        of the images are."""
        x = x[:, :, self.rows].to(self.layer.code)
        written, values = _sliced(x, self.cells)
        return written, Context(values, self.layer.coded(written), _missing(self.cells, x))

    def write(self, x: Tensor, values: Tensor) -> None:
        """Change what the cells of images [N, C, h, w] write to other values [R, D], in place."""
        x, cells, values = x[:, :, self.rows], self.cells, values.to(x)
        (rows, columns), step, w = cells.shape, cells.step, cells.written
        written = values.view(len(x), rows, columns, cells.groups, x.shape[1], -1)
        written = written.permute(3, 5, 0, 4, 1, 2).reshape(w, len(x), x.shape[1], rows, columns)
        for (a, b), one in zip(cells.reads[:w], written, strict=True):
            i, j = cells.start[0] + a, cells.start[1] + b
            down, along = step * (rows - 1) + 1, step * (columns - 1) + 1
            x[:, :, i : i + down : step, j : j + along : step] = one


class Phases:
    """Layers of one map whose cells are the phases of one sublattice, read together: what any of
    them knows is sliced once, and what a cell's own phase doesn't know is missing.

    Args:
        layers: All phases of the sublattice, whose cells read sites at the same offsets.
    """

    def __init__(self, layers: Sequence[Cellwise]) -> None:
        self.layers, cells = tuple(layers), [_sublattice(layer.cells) for layer in layers]
        one, step = cells[0], cells[0].step // math.isqrt(len(cells))
        start = min(of.start for of in cells)
        rows, columns = (len(range(a, n, step)) for a, n in zip(start, one.extent, strict=True))
        self.cells = Sublattice(
            one.name, one.level, one.grid, start, step, (rows, columns), one.reads, 1,
            periodic=one.periodic, extent=one.extent,
        )  # fmt: skip
        # The phase of every cell, and its place among all cells, phase after phase.
        self._phase = np.empty(len(self.cells), dtype=np.int64)
        self._place = np.empty_like(self._phase)
        first = 0
        for k, of in enumerate(cells):
            found = self.cells._cells_at(of.origins)
            self._phase[found], self._place[found] = k, first + np.arange(len(of))
            first += len(of)
        self._known: dict[torch.device, tuple[Tensor, Tensor, Tensor]] = {}

    def read(self, x: Tensor, given: Context | None = None) -> tuple[Tensor, Context]:
        """What all these layers read, as `Cellwise.read`, in the order of the sublattice's cells;
        no gradients reach images.

        Args:
            x: Images [N, C, h, w].
            given: What is known of every image, in its embedding [N, E].
        """
        layer, images, n = self.layers[0], len(x), len(self.cells)
        written, rest = _sliced(x, self.cells)
        unknown, missing, place = self._tables(x.device)
        values = rest.T.view(len(unknown), self.layers[0].channels, images, n)
        values = values.masked_fill_(unknown[:, None, None], 0).view(-1, images * n).T
        weights = [of.positions.weight for of in self.layers if of.positions]
        positions = torch.cat(weights)[place] if weights else None
        embedding = layer.embedding(images, given, written, positions)
        return written, Context(values, embedding, missing.repeat(1, images).T)

    def _tables(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Which sites the cells' phases don't know, and which are missing, [S, n]; and the place of
        every cell among those of all phases, one after another [n]."""
        if device not in self._known:
            of_phases = np.array([layer.cells.unknown[1:] for layer in self.layers])
            unknown = torch.from_numpy(of_phases[self._phase].T.copy()).to(device)
            outside = _missing(self.cells, torch.empty(1, 0, device=device))
            missing = unknown if outside is None else unknown | outside.T
            self._known[device] = unknown, missing, torch.from_numpy(self._place).to(device)
        return self._known[device]


def _sublattice(cells: Cells) -> Sublattice:
    assert isinstance(cells, Sublattice)
    return cells


def phases_of(layers: Sequence[Cellwise]) -> dict[Cellwise, Phases | None]:
    """The layers of a level that can be read together: all phases of a sublattice by the first of
    these, and none by the others.

    Args:
        layers: All of the level.
    """
    sharing: dict[Bijector, list[Cellwise]] = {}
    for layer in layers:
        if isinstance(layer.cells, Sublattice) and layer.cells.unknown:
            sharing.setdefault(layer.bijector, []).append(layer)
    found: dict[Cellwise, Phases | None] = {}
    for alike in sharing.values():
        found |= dict.fromkeys(alike, None) | {alike[0]: Phases(alike)}
    return found


def _sliced(x: Tensor, cells: Sublattice) -> tuple[Tensor, Tensor]:
    """What cells of images [N, C, h, w] write and read, as `Cellwise._gathered`, by slices; the
    latter is a view of [S·C, N·n]."""
    w, channels, rows = cells.written, x.shape[1], len(x) * len(cells)
    x = x.transpose(0, 1)
    written = _slices(x, cells, cells.reads[:w]).view(cells.groups, -1, channels, rows)
    rest = _slices(x, cells, cells.reads[w:])
    if cells.unknown:
        rest[[place for place, one in enumerate(cells.unknown[w:]) if one]] = 0
    return written.permute(3, 0, 2, 1).reshape(rows, -1), rest.view(-1, rows).T


def _slices(x: Tensor, cells: Sublattice, offsets: Sequence[Offset]) -> Tensor:
    """Values of images […, h, w] at these offsets from every cell, or 0 where missing, [S, …, rows,
    columns]."""
    if not offsets:
        return x.new_empty(0, *x.shape[:-2], *cells.shape)
    shape = cells.grid if cells.periodic else cells.extent
    parts = [x[..., : shape[0], : shape[1]]]
    begins, ranges = [], []
    for axis, size in enumerate(shape):
        first = cells.start[axis] + min(offset[axis] for offset in offsets)
        last = cells.start[axis] + cells.step * (cells.shape[axis] - 1)
        last += max(offset[axis] for offset in offsets)
        before, after = max(-first, 0), max(last + 1 - size, 0)
        begins.append(cells.start[axis] + before)
        ranges.append((before, after))
    (above, below), (left, right) = ranges
    if not cells.periodic:
        padded = F.pad(parts[0], (left, right, above, below))
    else:
        padded = parts[0]
        for axis, (before, after) in zip((-2, -1), ranges, strict=True):
            if before or after:
                size = shape[axis]
                places = torch.arange(-before, size + after, device=x.device) % size
                padded = padded.index_select(axis, places)
    step, (rows, columns) = cells.step, cells.shape
    down, along = step * (rows - 1) + 1, step * (columns - 1) + 1
    return torch.stack(
        [
            padded[..., i : i + down : step, j : j + along : step]
            for i, j in ((begins[0] + a, begins[1] + b) for a, b in offsets)
        ]
    )


def _missing(cells: Cells, x: Tensor) -> Tensor | None:
    """Which sites of the cells' contexts are missing, [N·n, S]; None: never any."""
    if not cells.misses:
        return None
    if not isinstance(cells, Sublattice):
        table = torch.from_numpy(cells.table[:, cells.written :] < 0).to(x.device)
        return table.repeat(len(x), 1)
    where = (cells.grid, cells.extent, cells.start, cells.step, cells.shape, cells.periodic)
    offsets, unknown = cells.reads[cells.written :], cells.unknown[cells.written :]
    missing = _missing_around(*where, offsets, unknown, x.device)
    return missing.repeat(1, len(x)).T if len(x) > 1 else missing.T


@lru_cache(maxsize=512)
def _missing_around(
    grid: Offset,
    extent: Offset,
    start: Offset,
    step: int,
    shape: Offset,
    periodic: bool,
    offsets: tuple[Offset, ...],
    unknown: tuple[bool, ...],
    device: torch.device,
) -> Tensor:
    """The same of one image, [S, n], from what says where cells are; kept, as most bands are
    alike, and so are the images of all training steps."""
    cells = Sublattice(
        "", 0, grid, start, step, shape, offsets, 0, periodic=periodic, extent=extent
    )
    there = torch.ones(grid, dtype=torch.bool, device=device)
    missing = ~_slices(there, cells, offsets).flatten(1)
    missing[list(np.flatnonzero(unknown))] = True
    return missing
