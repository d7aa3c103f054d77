"""The cells of an RG-Flow that a change of some images reaches; all others keep what they had.

All problems of a batch, which may differ in image and in region, are held as one vector of
variables, one after the other. Between two layers it is only reordered: what a cell writes comes
from variables that changed and from those that didn't, each of them once. Its context is read from
both, as often as cells ask for it.

Letters in shapes: N images; C channels; H, W rows and columns; h, w those of a level's grid; K
problems, each one region of one image; S pixels and Z latents of all problems together; R cells;
D variables that a cell writes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rgflow.bijectors.base import Context, Mapped, sum_event
from rgflow.bijectors.cellwise import Cellwise
from rgflow.latents import Latents
from rgflow.lattice import Mask
from rgflow.model import RGFlow

Ids = NDArray[np.int64]
"""Variables of K problems: places in [K, C, H, W]. A site keeps its place at all levels."""


class EncodedImages:
    """Images with all that an RG-Flow makes of them on the way to the latents.

    Args:
        flow: The flow. Its parameters are shared and taken as fixed.
        images: [N, C, H, W], as for `RGFlow.encode`.
        generator: Source of the noise that dequantises uint8; none: ½ everywhere.

    Attributes:
        images: Dequantised, [N, C, H, W].
        grids: For every level, the grid that comes to its first layer, and that after each layer,
            [N, C, h, w].
        latents: Of the images.
        log_prob: log p of the images in nats, [N].
    """

    def __init__(
        self,
        flow: RGFlow,
        images: Tensor,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        flow.refuse_labels("evaluation in places")
        self.flow = flow = flow.frozen()
        self.lattice = flow.lattice
        self._tables: dict[Cellwise, Ids] = {}
        with torch.no_grad():
            self.images = flow.to_reals(images, generator)
            x, self.log_prob = flow.from_images(self.images)
            self.grids: list[list[Tensor]] = []
            levels = []
            for visit in flow.walk(x):
                if visit.first:
                    self.grids.append([visit.x])
                self.grids[-1].append(visit.after)
                self.log_prob = self.log_prob + visit.log_det
                if visit.last:
                    levels.append(flow.from_domain(visit.factored_out))
            self.latents = Latents(tuple(levels), flow.lattice)
            if flow.domain == "real":
                for z in levels:
                    self.log_prob = self.log_prob + sum_event(flow.prior.log_prob(z))

    def __len__(self) -> int:
        return len(self.images)

    def table(self, layer: Cellwise) -> Ids:
        """The variables that every cell of a layer reads, as places in [C, H, W]: those that it
        writes, then its context; −1: missing. [cells, variables]."""
        if layer not in self._tables:
            shape, level = self.flow.image_shape, layer.cells.level
            places = torch.arange(1, 1 + int(np.prod(shape))).view(1, *shape)
            table = layer.read_all(places[:, :, :: 1 << level, :: 1 << level])
            self._tables[layer] = table.numpy() - 1
        return self._tables[layer]


class _Permute(torch.autograd.Function):
    """x[order] for a permutation; its gradient is read, with the inverse, not added up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(order, inverse)
        return x.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        order, inverse = ctx.saved_tensors
        return _Permute.apply(grad, inverse, order), None, None


class Permutation:
    """An order of the entries of a vector, and the way back.

    Args:
        order: Entry k of the result is entry `order[k]` of what was given.
    """

    def __init__(self, order: Ids, device: torch.device) -> None:
        inverse = np.empty_like(order)
        inverse[order] = np.arange(len(order))
        self.order = torch.as_tensor(order, device=device)
        self.inverse = torch.as_tensor(inverse, device=device)

    def __call__(self, x: Tensor) -> Tensor:
        return _Permute.apply(x, self.order, self.inverse)

    def back(self, x: Tensor) -> Tensor:
        """The inverse of `__call__`."""
        return _Permute.apply(x, self.inverse, self.order)


@dataclass(frozen=True, eq=False)
class AffectedCells:
    """The cells of one layer that read a changed variable.

    Attributes:
        layer: The layer.
        owners: The problem of each cell, [R].
        numbers: Which cell of the layer it is, [R].
        fixed: The values of the variables that didn't change before it and are written, [F].
        gather: From (changed, fixed) to (what the cells write, what no cell writes).
        known: The values of variables that don't change and are only read; the last is 0.
        context: Of every cell, places in (what no cell writes, known), [R, K].
        missing: Which sites of the context lie outside, [R, sites]; none: they can't.
    """

    layer: Cellwise
    owners: Tensor
    numbers: Tensor
    fixed: Tensor
    gather: Permutation
    known: Tensor
    context: Tensor
    missing: Tensor | None

    def __call__(self, changed: Tensor) -> Mapped:
        """Towards the latents: all variables after the layer, and the log-determinant [R]."""
        x = self.gather(torch.cat((changed, self.fixed)))
        return self._map(self.layer.bijector.forward, x)

    def grow(self, changed: Tensor) -> Tensor:
        """Towards the pixels: all variables that change, [V], with those given, [U]."""
        x = self.gather(torch.cat((changed, self.fixed)))
        return self._map(self.layer.bijector.inverse, x)[0]

    def shrink(self, after: Tensor) -> Tensor:
        """Towards the pixels: of all variables before the layer [V], those that changed, [U]."""
        x = self.gather.back(self._map(self.layer.bijector.inverse, after)[0])
        return x[: len(x) - len(self.fixed)]

    def _map(self, function: Any, x: Tensor) -> Mapped:
        rows = len(self.owners)
        if not rows:
            return x, x.new_zeros(0)
        (dim,) = self.layer.bijector.event_shape
        assert dim
        size, read = rows * dim, x.new_empty(rows, 0)
        if self.context.numel():
            read = torch.cat((x[size:], self.known))[self.context].view(rows, -1)
        context = Context(read, read[:, :0], self.missing)
        y, log_det = function(x[:size].view(rows, -1), self.layer.of(self.numbers, context))
        return torch.cat((y.flatten(), x[size:])), log_det


class Cone:
    """What regions and edits have in common: K problems, and the blocks that they touch."""

    def __init__(self, local: EncodedImages, masks: Mask, images: Ids) -> None:
        self.local, self.masks, self.which = local, masks, images
        self.flow, self.lattice = local.flow, local.lattice
        self.device = local.images.device
        self._place: Ids = np.full(int(np.prod(self.shape)), -1)  # scratch of `_find`

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """[K, C, H, W]."""
        return len(self), *self.flow.image_shape

    @cached_property
    def blocks(self) -> int:
        """How many cells are evaluated on the way to the latents, or to the pixels."""
        return sum(len(touched.owners) for layers in self.layers for touched in layers)

    layers: Sequence[Sequence[AffectedCells]]
    _places: Ids
    _latent_ids: Ids

    def paste(self, pixels: Tensor) -> Tensor:
        """The images with new pixels [S, C], reals [K, C, H, W]."""
        return self._put(self.local.images, self._places, pixels)

    def with_latents(self, latents: Tensor) -> Latents:
        """All latents of the images with new ones [Z]."""
        image = self._put(self.local.latents.image(), self._latent_ids, latents)
        return Latents.from_image(image, self.lattice)

    def of_latents(self, latents: Latents) -> Tensor:
        """From all latents of the images those that may change, [Z]: undoes `with_latents`."""
        return self._values(latents.image(), self._latent_ids, 0)

    def _touch(
        self, level: int, layer: Cellwise, mask: Mask, changed: Ids, grid: Tensor
    ) -> tuple[AffectedCells, Ids]:
        """The cells of a layer that read what a mask [K, h, w] of its grid marks.

        Args:
            level: The level.
            layer: The layer.
            mask: The sites that changed, on the level's grid.
            changed: The variables that changed, in the order in which they come.
            grid: What comes to the layer in the images as they are, [N, C, h, w].

        Returns:
            The cells, and the variables that come out.
        """
        rows = layer.cells.touched(mask).reshape(len(self), -1)
        owners, numbers = np.nonzero(rows)
        size = int(np.prod(self.shape[1:]))
        table, written_count = self.local.table(layer)[numbers], self.shape[1] * layer.cells.written
        places = owners[:, None] * size + table
        written, read = places[:, :written_count].flatten(), places[:, written_count:]
        loose = changed[self._find(written, changed) < 0]
        out = np.concatenate((written, loose))
        fixed = out[self._find(changed, out) < 0]
        gather = self._find(np.concatenate((changed, fixed)), out)
        there = table[:, written_count:] >= 0
        known = np.setdiff1d(read[there], loose)
        context = np.full(read.shape, len(loose) + len(known))
        context[there] = self._find(np.concatenate((loose, known)), read[there])
        values = self._values(grid, known, level)

        def on_device(array: Ids | Mask) -> Tensor:
            return torch.as_tensor(array, device=self.device)

        touched = AffectedCells(
            layer,
            on_device(owners),
            on_device(numbers),
            self._values(grid, fixed, level),
            Permutation(gather, self.device),
            torch.cat((values, values.new_zeros(1))),
            on_device(context),
            on_device(~there[:, :: self.shape[1]]) if layer.cells.misses else None,
        )
        return touched, out

    def _find(self, ids: Ids, wanted: Ids) -> Ids:
        """Where each wanted variable stands among others; −1: nowhere."""
        self._place[ids] = np.arange(len(ids))
        found = self._place[wanted]
        self._place[ids] = -1
        return found

    def _values(self, grid: Tensor, ids: Ids, level: int) -> Tensor:
        """Variables of the images as they are, from the grid of a level [N, C, h, w]."""
        k, c, i, j = np.unravel_index(ids, self.shape)
        places = np.ravel_multi_index((self.which[k], c, i >> level, j >> level), grid.shape)
        return grid.reshape(-1)[torch.as_tensor(places, device=grid.device)]

    def _to_pixels(self, x: Tensor) -> Tensor:
        """From the domain of the steps, site by site [S·C], to pixels [S, C]."""
        x = x.view(-1, self.shape[1], 1, 1)
        return self.flow.bounded(self.flow.to_images(x)[0]).flatten(1)

    def _ids(self, masks: Mask) -> Ids:
        """All channels at the marked sites, site by site: [S·C]."""
        k, i, j = np.nonzero(masks)
        c = np.arange(self.shape[1])[:, None]
        return np.ravel_multi_index((k, c, i, j), self.shape).T.flatten()

    def _owners(self, ids: Ids) -> Tensor:
        """The problems to which variables belong."""
        return torch.as_tensor(ids // int(np.prod(self.shape[1:])), device=self.device)

    def _sum(self, owners: Tensor, values: Tensor) -> Tensor:
        """The sum over every problem, [K]."""
        return values.new_zeros(len(self)).index_add(0, owners, values)

    def _put(self, base: Tensor, ids: Ids, values: Tensor) -> Tensor:
        """[K, C, H, W], from one of every image [N, C, H, W] and some new values."""
        out = base[torch.as_tensor(self.which, device=self.device)].flatten()
        places = torch.as_tensor(ids, device=self.device)
        return out.index_put((places,), values.flatten()).view(self.shape)
