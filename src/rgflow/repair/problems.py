"""What is repaired: a region of an image, all that is known around it, and what may vary.

`rgflow.local.Region` is such a problem in an RG-Flow, evaluated only where cones reach. The one
here works in any flow, and evaluates whole images: for comparison, and to test the other against.

Letters in shapes: N images; C channels; H, W rows and columns; K problems, each one region of one
image; S pixels and Z free latents of all problems together.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from rgflow.config import check_whole
from rgflow.flow import Flow
from rgflow.latents import Latents
from rgflow.lattice import Mask


class Problems(Protocol):
    """Regions of images to fill in, K of them; what repairing asks for.

    Attributes:
        flow: The flow.
        masks: The pixels of every region, [K, H, W].
        pixels: Their values in the images as they are, [S, C], reals in [0, 256).
        owners: The problem of every pixel, [S].
        latents: The free latents of the images as they are, [Z].
        latent_owners: The problem of every free latent, [Z].
    """

    flow: Flow
    masks: Mask
    pixels: Tensor
    owners: Tensor
    latents: Tensor
    latent_owners: Tensor

    def __len__(self) -> int: ...

    def decode(self, latents: Tensor) -> Tensor:
        """The pixels [S, C] that free latents [Z] generate, in [0, 256)."""
        ...

    def to_flow(self, pixels: Tensor) -> Tensor:
        """Pixels in the flow's own space, that of the prior: any reals, [S, C]."""
        ...

    def from_flow(self, y: Tensor) -> Tensor:
        """The inverse of `to_flow`."""
        ...

    def log_prob(self, pixels: Tensor) -> Tensor:
        """log p of the whole images with these pixels, in nats [K]."""
        ...

    def paste(self, pixels: Tensor) -> Tensor:
        """The images with these pixels, [K, C, H, W]."""
        ...


class WholeRegion:
    """Regions of images in any flow, by evaluating whole images.

    Args:
        flow: The flow.
        images: [N, C, H, W].
        masks: The pixels that may change, [H, W] or [N, H, W].
        copies: Problems per image; those of an image follow one another.
        free: How many latents of each image may vary, chosen at random (the paper's "constrained
            Real NVP", Appendix F); one number or one per image; none: all of them.
        generator: Where noise that dequantises uint8 comes from; none: ½ everywhere.
        seed: Of the choice of latents.
        dtype: The number format to compute in; none: the flow's own.
        at_once: Images evaluated together.

    Raises:
        ValueError: If masks or numbers don't fit the images.

    Example:
        >>> from rgflow import FlowConfig, make_flow
        >>> flow = make_flow(FlowConfig(architecture="real_nvp", height=8, width=8, hidden=4))
        >>> region = WholeRegion(flow, torch.rand(2, 3, 8, 8) * 255, flow.lattice.box(2, 2, 3, 3))
        >>> region.decode(region.latents).shape, region.latents.shape
        (torch.Size([18, 3]), torch.Size([384]))
    """

    def __init__(
        self,
        flow: Flow,
        images: Tensor,
        masks: Mask,
        *,
        copies: int = 1,
        free: int | Sequence[int] | None = None,
        generator: torch.Generator | None = None,
        seed: int = 0,
        dtype: torch.dtype | None = None,
        at_once: int = 64,
    ) -> None:
        check_whole("copies", copies, 1)
        check_whole("at_once", at_once, 1)
        self.flow, self.at_once = flow.frozen(dtype or flow.dtype), at_once
        self.lattice = flow.lattice
        with torch.no_grad():
            known = self.flow._reals(images, generator, self.flow.dtype)
            levels = [self.flow.encode(part, dtype=known.dtype) for part in known.split(at_once)]
        device = known.device
        self.masks = flow.lattice.masks(masks, len(images)).repeat(copies, 0)
        self.images = known.repeat_interleave(copies, 0)
        marked = torch.as_tensor(self.masks, device=device)
        self.owners, self._rows, self._columns = marked.nonzero(as_tuple=True)
        self.pixels = self.images[self.owners, :, self._rows, self._columns]
        self._known = Latents.cat(levels).flat().repeat_interleave(copies, 0)
        chosen = torch.as_tensor(self._choose(free, len(images), seed), device=device)
        self.latent_owners, self._places = chosen.repeat_interleave(copies, 0).nonzero(
            as_tuple=True
        )
        self.latents = self._known[self.latent_owners, self._places]

    def _choose(self, free: int | Sequence[int] | None, images: int, seed: int) -> Mask:
        """Which latents of every image may vary, [N, D]."""
        dim = self.flow.dim
        if free is None or isinstance(free, int):
            counts: Sequence[int] = [dim if free is None else free] * images
        else:
            counts = free
        if len(counts) != images or not all(0 < count <= dim for count in counts):
            raise ValueError(
                f"Expected a number of free latents from 1 to {dim}, one or one for each of the "
                f"{images} images; got {free}."
            )
        random = np.random.default_rng(seed)
        chosen = np.zeros((images, dim), dtype=bool)
        for row, count in zip(chosen, counts, strict=True):
            row[random.permutation(dim)[:count]] = True
        return chosen

    def __len__(self) -> int:
        return len(self.masks)

    def decode(self, latents: Tensor) -> Tensor:
        """The pixels [S, C] that free latents [Z] generate, in [0, 256)."""
        flat = self._known.index_put((self.latent_owners, self._places), latents)
        channels = self.flow.config.channels
        images = torch.cat(
            [
                self.flow.decode(Latents.from_flat(part, self.lattice, channels))
                for part in flat.split(self.at_once)
            ]
        )
        return self.flow.bounded(images)[self.owners, :, self._rows, self._columns]

    def to_flow(self, pixels: Tensor) -> Tensor:
        """Pixels in the flow's own space, that of the prior: any reals, [S, C]."""
        return self.flow.to_own_space(pixels[:, :, None, None]).flatten(1)

    def from_flow(self, y: Tensor) -> Tensor:
        """The inverse of `to_flow`."""
        return self.flow.from_own_space(y[:, :, None, None]).flatten(1)

    def log_prob(self, pixels: Tensor) -> Tensor:
        """log p of the whole images with these pixels, in nats [K]."""
        return torch.cat(
            [self.flow.log_prob(part) for part in self.paste(pixels).split(self.at_once)]
        )

    def paste(self, pixels: Tensor) -> Tensor:
        """The images with these pixels, [K, C, H, W]."""
        by_site = self.images.permute(0, 2, 3, 1).index_put(
            (self.owners, self._rows, self._columns), pixels
        )
        return by_site.permute(0, 3, 1, 2)
