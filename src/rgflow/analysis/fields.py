"""Receptive fields: which pixels a latent changes, and by how much (paper, eq. 14).

RF_l = E_{z~p} |∂G/∂z_l|, with the sum of absolute values over channels: one H×W picture per latent.
The paper doesn't say where ∂G is taken; a strength of 1 as the threshold of visibility makes sense
in the flow's own space y, before the pixel map, so this is the default.

A flow whose networks see pixels as whole levels (`CoarseToFine`) is a staircase: its derivative
says nothing about larger steps. There a latent is redrawn instead, or moved by one unit, and RF_l =
E |ΔG| is the change of pixels, in grey levels.

In an RG-Flow, latents whose generation cones don't meet share a column of ∂G/∂z: they are
distinguished by where the column is nonzero. In other flows, every latent takes a Jacobian-vector
product.

Letters in shapes: C channels; H, W rows and columns; n latents of one level; K columns; w, v rows
and columns of the window that holds a level's cones.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor
from torch.func import vmap

from rgflow.analysis.jacobians import Space, exit_to, factors
from rgflow.checks import as_python, check_name, check_whole
from rgflow.files import replacing
from rgflow.flow import Flow
from rgflow.latents import Address, Latents
from rgflow.lattice import Lattice, Mask, Sites
from rgflow.model import RGFlow
from rgflow.numerics import jvp

Change = Literal["derivative", "redraw", "step"]
"""How a latent is changed: infinitesimally, by redrawing it from the prior, or by adding 1."""
BATCH_BYTES = 1 << 28
"""Maximum bytes of the columns that are computed at a time."""
REPLACEMENT_SEED = 1 << 31
"""Offset between the seeds of latents and those of their replacements; seeds have 32 bits."""
MAX_BYTES = 7 << 29
"""Maximum bytes of all fields; with a copy, as when they are written, 7 GiB."""
VISIBLE = 1.0
"""Strength above which a latent counts as visible (paper, section 4.4)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FieldSettings:
    """How receptive fields were found: the arguments of `receptive_fields`."""

    space: Space
    change: Change
    temperature: float | tuple[float, ...]
    draws: int
    seed: int

    def how(self) -> dict[str, Any]:
        """These alone, by name."""
        return {name: getattr(self, name) for name in FieldSettings.__dataclass_fields__}


def plain_temperature(temperature: float | Sequence[float]) -> float | tuple[float, ...]:
    """One temperature as a number, or one for each level as a tuple."""
    plain = as_python(temperature)
    return plain if isinstance(plain, int | float) else tuple(as_python(list(plain)))


def how_found(one: FieldSettings) -> str:
    """How receptive fields were found, in words."""
    t = one.temperature
    temperature = f"{t:g}" if isinstance(t, int | float) else ", ".join(f"{x:g}" for x in t)
    where = "in the flow's own space" if one.space == "flow" else "in grey levels"
    changed = {"derivative": "", "redraw": "latents drawn anew, ", "step": "latents moved by 1, "}
    anew = changed[one.change]
    draws = f"{one.draws} draw{'s' * (one.draws > 1)}"
    return f"{anew}{where}, {draws}, temperature {temperature}, seed {one.seed}"


class Windows(NamedTuple):
    """Where the latents of one level can change pixels."""

    addresses: NDArray[np.int64]
    """(h, i, j, c) of the n latents, [n, 4]."""
    rows: Tensor
    """Rows of pixels of each window, [n, w]; −1 where it is smaller."""
    columns: Tensor
    """Columns of pixels, [n, v]."""
    colours: NDArray[np.int64]
    """Cones of latents with the same number don't meet, [n]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ReceptiveFields(FieldSettings):
    """Receptive fields of latents of a flow.

    Attributes:
        lattice: The geometry.
        channels: C.
        windows: Where the latents of every level can change pixels, level 0 first.
        fields: The fields inside these windows, [n, w, v] per level.
        strengths: Mean of each field over all H·W pixels, in the image layout [C, H, W]; NaN for
            latents that weren't asked for.
        errors: Their standard errors over the draws; NaN with a single draw.
    """

    lattice: Sites
    channels: int
    windows: tuple[Windows, ...]
    fields: tuple[Tensor, ...]
    strengths: Tensor
    errors: Tensor

    def field(self, address: Address) -> Tensor:
        """The receptive field of one latent, [H, W]; a `ValueError` if there is no such latent, or
        it wasn't asked for."""
        h, i, j, _ = address
        self.lattice.check_site(h, i, j)
        found = np.flatnonzero((self.windows[h].addresses == address).all(1))
        if not len(found):
            raise ValueError(
                f"Expected a latent whose field was computed; got {address}, with {self.channels} "
                f"channels and {len(self.windows[h].addresses)} latents at level {h}."
            )
        n = int(found[0])
        rows, columns = self.windows[h].rows[n], self.windows[h].columns[n]
        out = self.fields[h].new_zeros(self.lattice.height, self.lattice.width)
        inside = self.fields[h][n][rows >= 0][:, columns >= 0]
        out[rows[rows >= 0][:, None], columns[columns >= 0]] = inside
        return out

    @property
    def levels(self) -> list[int]:
        """The levels of which fields were computed, the highest first."""
        return [h for h in reversed(range(self.lattice.levels)) if len(self.fields[h])]

    def strength(self, address: Address) -> tuple[float, float]:
        """The strength of one latent's field, and its standard error."""
        _, i, j, c = address
        return self.strengths[c, i, j].item(), self.errors[c, i, j].item()

    def of_level(self, level: int) -> Tensor:
        """Strengths of the latents of a level, [n], in the order of its windows."""
        self.lattice.check_level(level)
        _, i, j, c = torch.from_numpy(self.windows[level].addresses).unbind(1)
        return self.strengths[c, i, j]

    def strongest(self, count: int | None = None, level: int | None = None) -> list[Address]:
        """Latents by strength, the strongest first, of one level or of all.

        Args:
            count: How many; none: all that are visible.
            level: Only of this level.
        """
        levels = range(self.lattice.levels) if level is None else (level,)
        addresses = np.concatenate([self.windows[h].addresses for h in levels])
        strengths = torch.cat([self.of_level(h) for h in levels])
        order = strengths.argsort(descending=True, stable=True)
        if count is None:
            count = int((strengths > VISIBLE).sum())
        return [tuple(addresses[k].tolist()) for k in order[:count].tolist()]

    def summary(self, count: int, threshold: float = VISIBLE) -> list[dict[str, Any]]:
        """For each of `levels`, how many latents are visible, and so many of the strongest."""
        return [
            {
                "level": level,
                "latents": len(self.fields[level]),
                "visible": int((self.of_level(level) > threshold).sum()),
                "strongest": [
                    {"address": address, "strength": strength, "standard_error": error}
                    for address in self.strongest(count, level)
                    for strength, error in [self.strength(address)]
                ],
            }
            for level in self.levels
        ]

    def save(self, path: str | Path, **about: Any) -> None:
        """Write fields, strengths, errors and windows to a file, in safetensors.

        Args:
            path: The file; whatever was there is replaced, once the new one is complete.
            about: What else the file says about the fields, beside how they were found.
        """
        tensors = {"strengths": self.strengths, "errors": self.errors}
        for level in self.levels:
            windows = self.windows[level]
            tensors[f"fields{level}"] = self.fields[level]
            tensors[f"addresses{level}"] = torch.from_numpy(windows.addresses)
            tensors[f"rows{level}"] = windows.rows
            tensors[f"columns{level}"] = windows.columns
        whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
        with replacing(Path(path)) as part:
            save_file(whole, part, metadata={"how": json.dumps(about | self.how())})


@torch.no_grad()
def receptive_fields(
    flow: Flow,
    *,
    draws: int = 16,
    temperature: float | Sequence[float] = 1.0,
    seed: int = 0,
    space: Space | None = None,
    change: Change | None = None,
    sites: Mask | None = None,
    progress: Callable[[int], None] | None = None,
) -> ReceptiveFields:
    """Receptive fields of any or all latents (paper, eq. 14).

    Args:
        flow: The flow.
        draws: Number of latents drawn, over which |∂G/∂z| is averaged; draw k has seed + k.
        temperature: Of the draws: one, or one per level.
        seed: Of the draws.
        space: The flow's own space, or pixels; none: its own for derivatives, pixels for all else.
        change: The derivative, or the change if a latent is redrawn (redraw) or moved by 1 (step);
            none: redraw for flows whose networks see pixels as whole levels.
        sites: The positions whose latents to compute, a mask [H, W]; none: all.
        progress: Called with the number of draws done.

    Raises:
        ValueError: If a number is out of range, nothing is asked for, or the fields wouldn't fit
            into memory.

    Example:
        >>> from rgflow import AffineMap, FlowConfig
        >>> flow = RGFlow(FlowConfig(height=16, width=16, map=AffineMap(depth=1, hidden=8)))
        >>> found = receptive_fields(flow, draws=2)  # an untrained flow is the identity
        >>> found.field((0, 0, 1, 2)).nonzero().tolist(), found.strengths.max().item() * 256
        ([[0, 1]], 1.0)
    """
    check_whole("draws", draws, 1)
    check_whole("seed", seed, 0)
    change, space = resolved(flow, change, space)
    if sites is None:
        sites = np.ones((flow.lattice.height, flow.lattice.width), dtype=bool)
    flow.lattice.counts(sites)  # checks the mask
    if not sites.any():
        raise ValueError("Expected at least one site whose fields are wanted; got none.")
    windows = tuple(_windows(flow, level, sites) for level in range(flow.levels))
    shapes = [(len(w.addresses), w.rows.shape[1], w.columns.shape[1]) for w in windows]
    needed = sum(map(math.prod, shapes)) * flow.dtype.itemsize
    if needed > MAX_BYTES:
        raise ValueError(
            f"Expected receptive fields of {MAX_BYTES / 2**30:.1f} GiB at the most; got "
            f"{sum(n for n, *_ in shapes):,} latents, whose fields take {needed / 2**30:.1f} GiB: "
            f"take those of a single level, or of some latents only."
        )
    # The only arrays of this size: all else is of the columns under way.
    fields = [torch.zeros(shape, dtype=flow.dtype) for shape in shapes]
    strengths = [torch.empty(draws, n, dtype=flow.dtype) for n, *_ in shapes]
    for k in range(draws):
        z = flow.draw_each([seed + k], temperature)
        if change == "derivative":
            push = _push(flow, z, space)
        else:
            push = redraw(flow, z, replacements(flow, z, seed + k, temperature, change), space)
        for level, w in enumerate(windows):
            strengths[level][k] = _add_fields(fields[level], flow, level, w, push)
        if progress:
            progress(1)
    for total in fields:
        total /= draws
    mean, error = (torch.full(flow.image_shape, math.nan, dtype=flow.dtype) for _ in range(2))
    for level, w in enumerate(windows):
        _, i, j, c = torch.from_numpy(w.addresses).unbind(1)
        mean[c, i, j] = strengths[level].mean(0)
        if draws > 1 and len(c):
            error[c, i, j] = strengths[level].std(0) / draws**0.5
    return ReceptiveFields(
        lattice=flow.lattice,
        channels=flow.config.channels,
        windows=windows,
        fields=tuple(fields),
        strengths=mean,
        errors=error,
        space=space,
        change=change,
        temperature=plain_temperature(temperature),
        draws=draws,
        seed=seed,
    )


def walks(flow: Flow, level: int) -> int:
    """How many walks through the flow the receptive fields of all latents of a level take."""
    everywhere = np.ones((flow.lattice.height, flow.lattice.width), dtype=bool)
    return len(np.unique(_windows(flow, level, everywhere).colours))


def sites_of(flow: Flow, addresses: Iterable[Address]) -> Mask:
    """The positions of some latents, a mask [H, W]; a `ValueError` if there is no such latent."""
    z, sites = flow.draw_each([0]), flow.lattice.site_levels < 0
    for h, i, j, c in addresses:
        _ = z[h, i, j, c]  # checks it
        sites |= flow.lattice.site(h, i, j)
    return sites


def resolved(flow: Flow, change: Change | None, space: Space | None) -> tuple[Change, Space]:
    """How latents are changed and in which space changes are measured, with defaults resolved; a
    `ValueError` if there is no such change."""
    if change is None:
        whole = any(bijector.staircase for bijector in flow.maps())
        change = "redraw" if whole else "derivative"
    check_name("change", change, get_args(Change))
    if space is None:  # fields without pixels have one space alone
        space = "flow" if change == "derivative" or flow.pixels is None else "pixels"
    return change, space


def replacements(
    flow: Flow, z: Latents, seed: int, temperature: float | Sequence[float], change: Change
) -> Latents:
    """The latents that take the place of others.

    Args:
        flow: The flow.
        z: The others.
        seed: With which they were drawn.
        temperature: At which they were drawn.
        change: Moved by 1 (step), or drawn with another seed.
    """
    if change == "step":
        return z.map(lambda part: part + 1)
    return flow.draw_each([seed + REPLACEMENT_SEED], temperature)


def redraw(flow: Flow, z: Latents, other: Latents, space: Space) -> Callable[[Tensor, int], Tensor]:
    """What an image changes by if some of its latents are replaced by others.

    Args:
        flow: The flow.
        z: The latents of the image.
        other: The others.
        space: Where changes are measured.

    Returns:
        A function of K choices of latents, those that aren't 0 in the image layout [K, C, H, W],
        and the highest level at which there are any, to changes of the image [K, C, H, W].
    """
    out = exit_to(flow, space)
    old, new = ([flow.to_domain(part) for part in x.levels] for x in (z, other))
    before = [stage.x for stage in flow.generate(old)][::-1]

    def changed(chosen: Tensor, level: int) -> Tensor:
        marks = Latents.from_image(chosen, z.lattice).levels
        levels = [torch.where(marks[h] != 0, new[h], old[h]) for h in range(level + 1)]
        coarse = None
        if level + 1 < len(before):
            coarse = before[level + 1].expand(len(chosen), -1, -1, -1)
        for stage in flow.generate(levels, coarse=coarse):
            x = stage.x
        return out(x) - out(before[0])

    return changed


def _push(flow: Flow, z: Latents, space: Space) -> Callable[[Tensor, int], Tensor]:
    """∂G/∂z at one point: tangents of latents of a level to tangents of images [K, C, H, W]."""
    if isinstance(flow, RGFlow):
        return factors(flow, z, space).push
    plain = plain_push(flow, z, space)
    return lambda tangents, level: plain(tangents)


def _add_fields(
    total: Tensor, flow: Flow, level: int, windows: Windows, push: Callable[[Tensor, int], Tensor]
) -> Tensor:
    """Add the fields of a level's latents, those of one colour in one column, to a total
    [n, w, v]; their strengths, [n]."""
    colours = windows.colours
    device = flow.device
    strengths = total.new_empty(len(colours))
    each = max(1, BATCH_BYTES // (flow.dim * 16))
    order = np.argsort(colours, kind="stable")
    names, starts = np.unique(colours[order], return_index=True)
    for first in range(0, len(names), each):
        last = min(first + each, len(names))
        members = order[starts[first] : starts[last] if last < len(names) else None]
        which = torch.from_numpy(np.searchsorted(names, colours[members]) - first).to(device)
        _, i, j, c = torch.from_numpy(windows.addresses[members]).to(device).unbind(1)
        tangents = torch.zeros(last - first, *flow.image_shape, dtype=flow.dtype, device=device)
        tangents[which, c, i, j] = 1.0
        columns = push(tangents, level).abs().sum(1)
        down, along = windows.rows[members].to(device), windows.columns[members].to(device)
        fields = columns[which[:, None, None], down[:, :, None], along[:, None, :]]
        fields *= (down >= 0)[:, :, None] & (along >= 0)[:, None, :]
        at, fields = torch.from_numpy(members), fields.cpu()
        total.index_add_(0, at, fields)
        strengths[at] = fields.sum((1, 2)) / columns[0].numel()
    return strengths


def plain_push(flow: Flow, z: Latents, space: Space) -> Callable[[Tensor], Tensor]:
    """Tangents of latents to tangents of images, each by a Jacobian-vector product of the whole
    flow: for flows without blocks, and to compare with.

    Returns:
        A function of tangents in the image layout, [K, C, H, W] → [K, C, H, W].
    """
    into, out = flow.to_domain, exit_to(flow, space)

    def generate(*levels: Tensor) -> Tensor:
        *_, finest = flow.generate([into(z) for z in levels])
        return out(finest.x)[0]

    def push(tangents: Tensor) -> Tensor:
        parts = Latents.from_image(tangents, z.lattice).levels

        def one(*directions: Tensor) -> Tensor:
            return jvp(generate, z.levels, tuple(d[None] for d in directions))[1]

        return vmap(one, chunk_size=16)(*parts)

    return push


# ---------------------------------------------------------------- where to look


def _windows(flow: Flow, level: int, sites: Mask) -> Windows:
    """The windows of the latents of one level at some sites: their cones, or everything."""
    lattice, channels = flow.lattice, flow.config.channels
    found = np.argwhere((lattice.site_levels == level) & sites)
    at = np.repeat(found, channels, 0)
    c = np.tile(np.arange(channels), len(found))[:, None]
    addresses = np.concatenate([np.full_like(c, level), at, c], 1)
    if not isinstance(lattice, Lattice):
        height, width = (torch.arange(size).expand(len(at), size) for size in sites.shape)
        return Windows(addresses, height, width, np.arange(len(at)))
    rows, columns = (
        torch.from_numpy(_ranges(lattice, level, axis)[at[:, axis]]) for axis in (0, 1)
    )
    py, px = (_period(lattice, level, axis) for axis in (0, 1))
    colours = (c[:, 0] * lattice.height + at[:, 0] % py) * lattice.width + at[:, 1] % px
    return Windows(addresses, rows, columns, colours)


@cache
def _ranges(lattice: Lattice, level: int, axis: int) -> NDArray[np.int64]:
    """For every coordinate along an axis, the pixels' coordinates in the cone of the latents there:
    [size, w], −1 behind their end. Cones are rectangles, but for those of sites that an open
    boundary leaves out of a layer, which are smaller."""
    size = (lattice.height, lattice.width)[axis]
    reached = []
    for k in range(size):
        start = (lattice.site_levels == level) & (
            np.indices((lattice.height, lattice.width))[axis] == k
        )
        cone = lattice.generation_cone(start) if start.any() else start
        reached.append(np.flatnonzero(cone.any(1 - axis)))
    out = np.full((size, max(map(len, reached))), -1)
    for k, pixels in enumerate(reached):
        out[k, : len(pixels)] = pixels
    return out


@cache
def _period(lattice: Lattice, level: int, axis: int) -> int:
    """The shortest distance along an axis at which the cones of no two latents of a level meet."""
    size = (lattice.height, lattice.width)[axis]
    ranges = [set(r[r >= 0].tolist()) for r in _ranges(lattice, level, axis)]
    unit = lattice.period(level)[axis]
    for period in range(unit, size, unit):
        if lattice.geometry.periodic and size % period:
            continue
        apart = all(
            ranges[a].isdisjoint(ranges[b])
            for a in range(size)
            for b in range(a + period, size, period)
        )
        if apart:
            return period
    return size
