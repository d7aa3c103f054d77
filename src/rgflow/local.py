"""An RG-Flow of images of which only a part changes, evaluated only where causal cones reach.

Every layer maps its cells one by one. So if a few pixels change, only the cells that read a
changed variable have to be evaluated anew, at every level; all others keep what they had in a first
encoding of the whole images. These cells are O(log L) of the O(L²) that there are (paper,
section 3.5), and so is the work.

Letters in shapes: N images; C channels; H, W rows and columns; K problems, each one region of one
image; S pixels and Z latents of all problems together.
"""

import numpy as np
import torch
from torch import Tensor

from rgflow.checks import check_whole
from rgflow.cones import AffectedCells, Cone, EncodedImages, Ids, Permutation
from rgflow.lattice import Mask


class Region(Cone):
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

    def __init__(self, local: EncodedImages, masks: Mask, images: Ids) -> None:
        super().__init__(local, masks, images)
        flow = local.flow
        layers: list[list[AffectedCells]] = []
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
        levels, log_det = self._infer(x)
        log_prob = self._sum(self.owners, entry) + log_det
        if self.flow.domain == "cube":  # on which that of the prior cancels
            return log_prob
        z = torch.cat(levels)
        return log_prob + self._sum(self.latent_owners, self.flow.prior.log_prob(z))

    def to_flow(self, pixels: Tensor) -> Tensor:
        """Pixels [S, C] in the flow's own space, that of the prior: any reals, [S, C]."""
        return self.flow.to_own_space(pixels[:, :, None, None]).flatten(1)

    def from_flow(self, y: Tensor) -> Tensor:
        """The inverse of `to_flow`; what would lie outside [0, 256) becomes the nearest inside."""
        return self.flow.from_own_space(y[:, :, None, None]).flatten(1)

    def _enter(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels [S, C] to the space of the steps, with the log-determinant [S]."""
        x, log_det = self.flow.from_images(pixels[:, :, None, None])
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


class Edit(Cone):
    """Latents of some images that may change, and the pixels that change with them;
    `LocalFlow.edit` makes it.

    Attributes:
        masks: The latents of every problem, in the image layout [K, H, W].
        cones: The pixels that change with them, [K, H, W]: the generation cone.
        owners: The problem of each of these pixels, [S].
        latents: Their values as they are, [Z], level by level; at a level in the image layout.
        latent_owners: The problem of every latent, [Z].
    """

    def __init__(self, local: EncodedImages, masks: Mask, images: Ids) -> None:
        super().__init__(local, masks, images)
        flow = local.flow
        layers: list[list[AffectedCells]] = []
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


class LocalFlow(EncodedImages):
    """Images in an RG-Flow, encoded once, and ready to be changed in places.

    Args:
        flow: The flow. Its parameters are shared and taken as fixed.
        images: [N, C, H, W], as for `RGFlow.encode`.
        generator: Where the noise that dequantises uint8 comes from; none: ½ everywhere.

    Example:
        >>> from rgflow import AffineMap, FlowConfig, RGFlow
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

    def _problems(self, masks: Mask, copies: int) -> tuple[Mask, Ids]:
        """The mask [K, H, W] and the image [K] of every problem."""
        check_whole("copies", copies, 1)
        masks = self.lattice.masks(masks, len(self))
        return masks.repeat(copies, 0), np.arange(len(self)).repeat(copies)
