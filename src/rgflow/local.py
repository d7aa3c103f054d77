"""An RG-Flow of images of which only a part changes, evaluated only where causal cones reach.

Every layer maps its cells one by one. So if a few pixels change, only the cells that read a
changed variable have to be evaluated anew, at every level; all others keep what they had in a first
encoding of the whole images. These cells are O(log L) of the O(L²) that there are (paper,
section 3.5), and so is the work.

All problems of a batch, which may differ in image and in region, are held as one vector of
variables, one after the other. Between two layers it is only reordered: what a cell writes comes
from variables that changed and from those that didn't, each of them once. Its context is read from
both, as often as cells ask for it.

Letters in shapes: N images; C channels; H, W rows and columns; K problems, each one region of one
image; S pixels and Z latents of all problems together; R cells; D variables that a cell writes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rgflow.bijectors.base import Context, Mapped
from rgflow.bijectors.cellwise import Cellwise
from rgflow.checks import check_whole
from rgflow.latents import Latents
from rgflow.lattice import Mask
from rgflow.model import RGFlow

Ids = NDArray[np.int64]
"""Variables of K problems: places in [K, C, H, W]. A site keeps its place at all levels."""


class LocalFlow:
    """Images in an RG-Flow, encoded once, and ready to be changed in places.

    Args:
        flow: The flow. Its parameters are shared and taken as fixed.
        images: [N, C, H, W], as for `RGFlow.encode`.
        generator: Where the noise that dequantises uint8 comes from; none: ½ everywhere.
        dtype: The number format to compute in; none: the flow's own.

    Example:
        >>> from rgflow import AffineMap, FlowConfig
        >>> flow = RGFlow(FlowConfig(height=16, width=16, map=AffineMap(depth=1, hidden=16)))
        >>> x8 = torch.randint(256, (2, 3, 16, 16), dtype=torch.uint8)
        >>> local = LocalFlow(flow, x8)
        >>> region = local.region(flow.lattice.box(4, 4, 3, 3))
        >>> region.pixels.shape, region.blocks  # of two images, which have 84 blocks
        (torch.Size([18, 3]), 46)
        >>> darker = region.pixels / 2
        >>> torch.allclose(region.log_prob(darker), flow.log_prob(region.paste(darker)))
        True
    """

    def __init__(
        self,
        flow: RGFlow,
        images: Tensor,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        flow.refuse_labels("evaluation in places")
        self.flow = flow.frozen(dtype or flow.dtype)
        self.lattice = flow.lattice
        self._tables: dict[Cellwise, Ids] = {}
        with torch.no_grad():
            self.images = self.flow.to_reals(images, generator)
            self._encode()

    def _encode(self) -> None:
        """Encode the images and keep the grids before, between and after the layers of a level."""
        flow = self.flow
        x, log_prob = self.images, self.images.new_zeros(len(self))
        if flow.preprocess:
            x, log_prob = flow.preprocess(x)
        self.grids: list[list[Tensor]] = []
        levels = []
        for step in flow.steps:
            grids = [x]
            for layer in step.cellwise:
                x, log_det = layer(x)
                log_prob = log_prob + log_det
                grids.append(x)
            self.grids.append(grids)
            x, stay = step.split(x)
            levels.append(stay)
        self.latents, log_det = flow.to_latents(levels)
        if flow.domain == "real":
            log_prob = log_prob + sum(
                flow.prior.log_prob(z).flatten(1).sum(1) for z in self.latents.levels
            )
        self.log_prob = log_prob

    def __len__(self) -> int:
        return len(self.images)

    def region(self, masks: Mask, copies: int = 1) -> "Region":
        """Pixels that may change.

        Args:
            masks: [H, W] for all images alike, or [N, H, W].
            copies: Problems per image; those of an image follow one another.

        Raises:
            ValueError: If the masks are of another size.
        """
        return Region(self, *self._problems(masks, copies))

    def edit(self, latents: Mask, copies: int = 1) -> "Edit":
        """Latents that may change.

        Args:
            latents: [H, W] in the image layout for all images alike, or [N, H, W].
            copies: Problems per image; those of an image follow one another.

        Raises:
            ValueError: If the masks are of another size.
        """
        return Edit(self, *self._problems(latents, copies))

    def table(self, layer: Cellwise) -> Ids:
        """The variables that every cell of a layer reads, as places in [C, H, W]: those that it
        writes, then its context; −1: missing. [cells, variables]."""
        if layer not in self._tables:
            shape, level = self.flow.image_shape, layer.cells.level
            places = torch.arange(1, 1 + int(np.prod(shape))).view(1, *shape)
            table = layer.read_all(places[:, :, :: 1 << level, :: 1 << level])
            self._tables[layer] = table.numpy() - 1
        return self._tables[layer]

    def _problems(self, masks: Mask, copies: int) -> tuple[Mask, Ids]:
        """The mask [K, H, W] and the image [K] of every problem."""
        check_whole("copies", copies, 1)
        masks = self.lattice.masks(masks, len(self))
        return masks.repeat(copies, 0), np.arange(len(self)).repeat(copies)


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
        """The inverse."""
        return _Permute.apply(x, self.inverse, self.order)


@dataclass(frozen=True, eq=False)
class _Touched:
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
        """Towards the pixels: all variables that change with those given."""
        x = self.gather(torch.cat((changed, self.fixed)))
        return self._map(self.layer.bijector.inverse, x)[0]

    def shrink(self, after: Tensor) -> Tensor:
        """Towards the pixels: of all variables before the layer, those that changed."""
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


class _Cone:
    """What regions and edits have in common: K problems, and the blocks that they touch."""

    def __init__(self, local: LocalFlow, masks: Mask, images: Ids) -> None:
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

    layers: Sequence[Sequence[_Touched]]
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
    ) -> tuple[_Touched, Ids]:
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
        table, own = self.local.table(layer)[numbers], self.shape[1] * layer.cells.written
        places = owners[:, None] * size + table
        written, read = places[:, :own].flatten(), places[:, own:]
        loose = changed[self._find(written, changed) < 0]
        out = np.concatenate((written, loose))
        fixed = out[self._find(changed, out) < 0]
        gather = self._find(np.concatenate((changed, fixed)), out)
        there = table[:, own:] >= 0
        known = np.setdiff1d(read[there], loose)
        context = np.full(read.shape, len(loose) + len(known))
        context[there] = self._find(np.concatenate((loose, known)), read[there])
        values = self._values(grid, known, level)

        def on_device(array: Ids | Mask) -> Tensor:
            return torch.as_tensor(array, device=self.device)

        touched = _Touched(
            layer,
            on_device(owners),
            on_device(numbers),
            self._values(grid, fixed, level),
            Permutation(gather, self.device),
            torch.cat((values, values.new_zeros(1))),
            on_device(context),
            None if layer.cells.periodic else on_device(~there[:, :: self.shape[1]]),
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


class Region(_Cone):
    """Pixels of some images that may change, and their causal cone; `LocalFlow.region` makes it.

    Attributes:
        masks: The pixels of every problem, [K, H, W].
        cones: Its latents, in the image layout [K, H, W]: the inference cone.
        pixels: The values in the images as they are, [S, C], reals in [0, 256).
        owners: The problem of every pixel, [S].
        latents: The latents of the cones as they are, [Z], level by level.
        latent_owners: The problem of every latent, [Z].
        rest: log p of all that doesn't depend on the region, in nats [K].
    """

    def __init__(self, local: LocalFlow, masks: Mask, images: Ids) -> None:
        super().__init__(local, masks, images)
        flow = local.flow
        layers: list[list[_Touched]] = []
        self._parts: list[tuple[Permutation, int]] = []
        places, ids = self._ids(masks), []
        channels = self.shape[1]
        self._places, changed = places, places
        self.owners = self._owners(places[::channels])
        self.pixels = self._values(local.images, places, 0).view(-1, channels)
        self.cones = np.zeros_like(masks)
        for level, step in enumerate(flow.steps):
            mask, made = masks, []
            for number, layer in enumerate(step.cellwise):
                grid = local.grids[level][number]
                touched, changed = self._touch(level, layer, mask, changed, grid)
                mask = layer.cells.spread(mask)
                made.append(touched)
            layers.append(made)
            # Those that stay come first, in the order of the image layout.
            ordered = np.sort(changed)
            _, _, i, j = np.unravel_index(ordered, self.shape)
            up = ((i | j) & (1 << level) == 0) & (not step.top)
            ids.append(ordered[~up])
            part = self._find(changed, np.concatenate((ids[-1], ordered[up])))
            self._parts.append((Permutation(part, self.device), len(ids[-1])))
            self.cones[:, :: 1 << level, :: 1 << level] |= mask
            changed, masks = ordered[up], mask[:, ::2, ::2]
        self.layers = layers
        del self._place
        self._latent_ids = np.concatenate(ids)
        self.latent_owners = self._owners(self._latent_ids)
        self.latents = self._values(local.latents.image(), self._latent_ids, 0)
        with torch.no_grad():
            which = torch.as_tensor(images, device=self.device)
            self.rest = local.log_prob[which] - self.local_log_prob(self.pixels)

    def encode(self, pixels: Tensor) -> Tensor:
        """The latents of the cones, [Z], from new pixels [S, C]."""
        return self.flow.from_domain(torch.cat(self._infer(self._enter(pixels)[0])[0]))

    def decode(self, latents: Tensor) -> Tensor:
        """New pixels [S, C], from new latents of the cones [Z]; reals in [0, 256).

        Raises:
            ValueError: If cells read more than they write: other latents of the cones then change
                what is read outside them. `LocalFlow.edit` follows that.
        """
        if any(touched.context.numel() for layers in self.layers for touched in layers):
            raise ValueError(
                "Expected a geometry whose cells write all that they read, such as blocks, to "
                "generate a region by itself, as a climb does; got one with contexts: fill holes "
                "with particles, where coarse images are sites, or use LocalFlow.edit."
            )
        levels = self.flow.to_domain(latents).split([stay for _, stay in self._parts])
        x = latents[:0]
        parts = zip(self._parts, self.layers, levels, strict=True)
        for (part, _), layers, stay in reversed(list(parts)):
            x = part.back(torch.cat((stay, x)))
            for touched in reversed(layers):
                x = touched.shrink(x)
        return self._to_pixels(x)

    def log_prob(self, pixels: Tensor) -> Tensor:
        """log p of the whole images with new pixels [S, C], in nats [K]."""
        return self.rest + self.local_log_prob(pixels)

    def local_log_prob(self, pixels: Tensor) -> Tensor:
        """The same less `rest`: what depends on the region, precise as it is small, [K]."""
        x, entry = self._enter(pixels)
        return self._sum(self.owners, entry) + self._log_density(x)

    def to_flow(self, pixels: Tensor) -> Tensor:
        """Pixels [S, C] in the flow's own space, that of the prior: any reals, [S, C]."""
        return self.flow.to_own_space(pixels[:, :, None, None]).flatten(1)

    def from_flow(self, y: Tensor) -> Tensor:
        """The inverse of `to_flow`; what would lie outside [0, 256) becomes the nearest inside."""
        return self.flow.from_own_space(y[:, :, None, None]).flatten(1)

    def log_density(self, y: Tensor) -> Tensor:
        """As `local_log_prob`, of values in the flow's own space [S, C] and per unit of these, [K].

        This is, but for a constant, the log-density of a region given all else.
        """
        log_density = self._log_density(self.flow.to_domain(y))
        if self.flow.domain == "real":
            return log_density
        return log_density + self._sum(self.owners, self.flow.prior.log_prob(y).sum(1))

    def _log_density(self, x: Tensor) -> Tensor:
        """The same in the domain of the steps; on the unit cube that of the prior cancels."""
        levels, log_det = self._infer(x)
        if self.flow.domain == "cube":
            return log_det
        z = torch.cat(levels)
        return log_det + self._sum(self.latent_owners, self.flow.prior.log_prob(z))

    def _enter(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels [S, C] to the space of the steps, with the log-determinant [S]."""
        if self.flow.preprocess is None:
            return pixels, pixels.new_zeros(len(pixels))
        if not len(pixels):
            return pixels, pixels.new_zeros(0)
        x, log_det = self.flow.preprocess(pixels[:, :, None, None])
        return x.flatten(1), log_det

    def _infer(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """What every level leaves behind, in the domain of the steps, and log-determinants [K]."""
        x, levels = x.flatten(), []
        total = x.new_zeros(len(self))
        for (part, stay), layers in zip(self._parts, self.layers, strict=True):
            for touched in layers:
                x, log_det = touched(x)
                total = total.index_add(0, touched.owners, log_det)
            x = part(x)
            levels.append(x[:stay])
            x = x[stay:]
        return levels, total


class Edit(_Cone):
    """Latents of some images that may change, and the pixels that change with them;
    `LocalFlow.edit` makes it.

    Attributes:
        masks: The latents of every problem, in the image layout [K, H, W].
        cones: The pixels that change with them, [K, H, W]: the generation cone.
        owners: The problem of each of these pixels, [S].
        latents: Their values as they are, [Z], level by level; at a level in the image layout.
        latent_owners: The problem of every latent, [Z].
    """

    def __init__(self, local: LocalFlow, masks: Mask, images: Ids) -> None:
        super().__init__(local, masks, images)
        flow = local.flow
        layers: list[list[_Touched]] = []
        levels = [masks & (self.lattice.site_levels == level) for level in range(flow.levels)]
        ids = [np.sort(self._ids(level)) for level in levels]
        self._sizes = [len(level) for level in ids]
        self._latent_ids = np.concatenate(ids)
        self.latent_owners = self._owners(self._latent_ids)
        self.latents = self._values(local.latents.image(), self._latent_ids, 0)
        changed, mask = ids[0][:0], np.zeros_like(masks)
        for level, step in reversed(list(enumerate(flow.steps))):
            mask |= levels[level]
            changed = np.concatenate((ids[level], changed))
            made = []
            for number, layer in reversed(list(enumerate(step.cellwise))):
                on_grid = mask[:, :: 1 << level, :: 1 << level]
                grid = local.grids[level][number + 1]
                touched, changed = self._touch(level, layer, on_grid, changed, grid)
                on_grid[...] = layer.cells.spread(on_grid)
                made.append(touched)
            layers.insert(0, made)
        self.layers, self.cones = layers, mask
        self._places = self._ids(mask)
        self._leaving = Permutation(self._find(changed, self._places), self.device)
        del self._place
        self.owners = self._owners(self._places[:: self.shape[1]])

    def decode(self, latents: Tensor) -> Tensor:
        """The pixels that change, [S, C], from new latents [Z]; reals in [0, 256)."""
        levels = self.flow.to_domain(latents).split(self._sizes)
        x = latents[:0]
        for layers, level in zip(reversed(self.layers), reversed(levels), strict=True):
            x = torch.cat((level, x))
            for touched in layers:
                x = touched.grow(x)
        return self._to_pixels(self._leaving(x))
