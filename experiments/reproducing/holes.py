"""Holes filled in by another flow, such as a Real NVP, to compare with (paper, Appendix F).

`rgflow.local.LocalFlow` holds holes of images in an RG-Flow, and evaluates only where cones reach.
`WholeFlow` evaluates whole images, in any flow: to compare with, and to test against.

Letters in shapes: N images; C channels; H, W rows and columns; K holes, each in one image; S
pixels and Z free latents of all holes together.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from rgflow.checks import check_whole
from rgflow.flow import Flow
from rgflow.latents import Latents
from rgflow.lattice import Mask, Sites
from rgflow.local import LocalFlow
from rgflow.model import RGFlow
from rgflow.repair.climb import Climb
from rgflow.repair.comparison import Filled, blanked
from rgflow.repair.inpainting import inpaint

IMAGES_AT_ONCE = 64
"""Whole images that are evaluated together, to limit memory."""


class WholeFlow:
    """Images in any flow, encoded once, whose holes are filled in by evaluating whole images.

    Args:
        flow: The flow. Its parameters are shared and taken as fixed.
        images: [N, C, H, W]. If some latents are fixed, they depend on what a hole holds: blank
            it first.
        free: Number of latents of each image that may vary, chosen at random (the paper's
            "constrained Real NVP", Appendix F): one number, or one per image. None: all of them.
        generator: Source of the noise that dequantises uint8; None: ½ everywhere.
        seed: Seed of the choice of latents.

    Raises:
        ValueError: If the images don't fit the flow, or the numbers the images.

    Example:
        >>> from rgflow import ConvolutionalMap, FlowConfig, Squeeze, make_flow
        >>> map = ConvolutionalMap(hidden=4)
        >>> flow = make_flow(FlowConfig(height=8, width=8, geometry=Squeeze(), map=map))
        >>> whole = WholeFlow(flow, torch.rand(2, 3, 8, 8) * 255, free=50)
        >>> region = whole.region(flow.lattice.box(2, 2, 3, 3))
        >>> region.decode(region.latents).shape, region.latents.shape
        (torch.Size([18, 3]), torch.Size([100]))
    """

    def __init__(
        self,
        flow: Flow,
        images: Tensor,
        *,
        free: int | Sequence[int] | None = None,
        generator: torch.Generator | None = None,
        seed: int = 0,
    ) -> None:
        self.flow, self.lattice = flow.frozen(flow.dtype), flow.lattice
        with torch.no_grad():
            self.images = self.flow.to_reals(images, generator)
            parts = self.images.split(IMAGES_AT_ONCE)
            encoded = [self.flow.encode(part, dtype=self.flow.dtype) for part in parts]
        self.latents = Latents.cat(encoded)
        self.free = self._choose(free, seed)

    def _choose(self, free: int | Sequence[int] | None, seed: int) -> Tensor:
        """Which latents of every image may vary, [N, D]."""
        n, dim = len(self), self.flow.dim
        free = dim if free is None else free
        counts = [free] * n if isinstance(free, int) else free
        if len(counts) != n or not all(0 < count <= dim for count in counts):
            raise ValueError(
                f"Expected a number of free latents from 1 to {dim}, one or one for each of the "
                f"{n} images; got {free}."
            )
        random = np.random.default_rng(seed)
        chosen = np.zeros((n, dim), dtype=bool)
        for row, count in zip(chosen, counts, strict=True):
            row[random.permutation(dim)[:count]] = True
        return torch.as_tensor(chosen, device=self.images.device)

    def __len__(self) -> int:
        return len(self.images)

    def region(self, masks: Mask, copies: int = 1) -> "WholeRegion":
        """Holes of the images, as `LocalFlow.region` gives them.

        Args:
            masks: [H, W] for all images alike, or [N, H, W].
            copies: Number of holes per image; those of an image follow one another.

        Raises:
            ValueError: If the masks are of another size.
        """
        check_whole("copies", copies, 1)
        return WholeRegion(self, self.lattice.masks(masks, len(self)), copies)


class WholeRegion:
    """Holes of images in any flow, with the methods of `rgflow.local.Region`; `WholeFlow.region`
    makes it."""

    def __init__(self, whole: WholeFlow, masks: Mask, copies: int) -> None:
        self.flow, self.masks = whole.flow, masks.repeat(copies, 0)
        self._images = whole.images.repeat_interleave(copies, 0)
        marked = torch.as_tensor(self.masks, device=self._images.device)
        self.owners, self._rows, self._columns = marked.nonzero(as_tuple=True)
        self.pixels = self._images[self.owners, :, self._rows, self._columns]
        self._known = whole.latents.flat().repeat_interleave(copies, 0)
        free = whole.free.repeat_interleave(copies, 0)
        self.latent_owners, self._places = free.nonzero(as_tuple=True)
        self.latents = self._known[self.latent_owners, self._places]

    def __len__(self) -> int:
        return len(self.masks)

    def decode(self, latents: Tensor) -> Tensor:
        """The pixels [S, C] that free latents [Z] generate, reals in [0, 256)."""
        flat = self._known.index_put((self.latent_owners, self._places), latents)
        flow, channels = self.flow, self.flow.config.channels
        images = [
            flow.decode(Latents.from_flat(part, flow.lattice, channels))
            for part in flat.split(IMAGES_AT_ONCE)
        ]
        return flow.bounded(torch.cat(images))[self.owners, :, self._rows, self._columns]

    def to_flow(self, pixels: Tensor) -> Tensor:
        """Pixels [S, C] in the flow's own space, that of the prior: any reals, [S, C]."""
        return self.flow.to_own_space(pixels[:, :, None, None]).flatten(1)

    def from_flow(self, y: Tensor) -> Tensor:
        """The inverse of `to_flow`, [S, C]."""
        return self.flow.from_own_space(y[:, :, None, None]).flatten(1)

    def log_prob(self, pixels: Tensor) -> Tensor:
        """log p of the whole images with these pixels [S, C], in nats [K]."""
        parts = self.paste(pixels).split(IMAGES_AT_ONCE)
        return torch.cat([self.flow.log_prob(part) for part in parts])

    def paste(self, pixels: Tensor) -> Tensor:
        """The images with these pixels [S, C], reals [K, C, H, W]."""
        by_site = self._images.permute(0, 2, 3, 1)
        place = (self.owners, self._rows, self._columns)
        return by_site.index_put(place, pixels).permute(0, 3, 1, 2)


def filled_beside(
    flow: RGFlow, beside: Flow, images: Tensor, masks: Mask, climb: Climb, seed: int = 0
) -> Iterator[Filled]:
    """Fill holes with another flow: over as many latents, chosen at random, as the inference cones
    of an RG-Flow have ("constrained"), and over all.

    Args:
        flow: The RG-Flow.
        beside: The other flow, of images of the same size.
        images: uint8 [N, C, H, W]. What they hold inside the holes has no influence.
        masks: The holes, [N, H, W].
        climb: Settings of the climb; constrained, latents are varied.
        seed: As for `rgflow.repair.comparison.fill`.
    """
    name = "Real NVP" if not isinstance(beside, RGFlow) else "other RG-Flow"
    cones = [flow.lattice.inference_cone(mask) for mask in masks]
    sizes = [flow.config.channels * int(cone.sum()) for cone in cones]
    constrained = replace(climb, variables="latents")
    for words, free, how in ((", constrained", sizes, constrained), ("", None, climb)):
        start, noise = time.perf_counter(), torch.Generator().manual_seed(seed)
        whole = WholeFlow(beside, blanked(images, masks), free=free, generator=noise, seed=seed)
        found = inpaint(
            cast(LocalFlow, whole),
            masks,
            how,
            generator=torch.Generator().manual_seed(seed + 1),
        )
        spent = time.perf_counter() - start
        yield Filled(
            name=name + words, images=found.images, seconds=spent, flow=beside, inpainting=found
        )


def random_boxes(lattice: Sites, images: int, edge: int = 10, seed: int = 0) -> Mask:
    """A random square inside each of some images.

    Args:
        lattice: The sites of an image.
        images: Number of images, N.
        edge: Edge of the squares, in pixels.
        seed: Seed of their places.

    Returns:
        Masks, [N, H, W].

    Example:
        >>> from rgflow import Lattice
        >>> random_boxes(Lattice(height=32, width=32), 5).sum((1, 2)).tolist()
        [100, 100, 100, 100, 100]
    """
    random = np.random.default_rng(seed)
    rows = random.integers(0, lattice.height - edge + 1, images).tolist()
    columns = random.integers(0, lattice.width - edge + 1, images).tolist()
    return np.stack([lattice.box(i, j, edge, edge) for i, j in zip(rows, columns, strict=True)])
