"""Regions filled in by several methods side by side (paper, section 4.6, Fig. 8 and Table F1).

Letters in shapes: N images; C channels; H, W rows and columns.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from rgflow.flow import Flow
from rgflow.lattice import Mask
from rgflow.local import LocalFlow
from rgflow.metrics.images import Metric, psnr, ssim
from rgflow.model import RGFlow
from rgflow.repair.biharmonic import biharmonic
from rgflow.repair.climb import Climb
from rgflow.repair.inpainting import Inpainting, inpaint
from rgflow.repair.particles import Completion, complete
from rgflow.text import mean_and_error

Progress = Callable[[str, int, Tensor], bool | None]
"""Called after every step with the method, the number of the step, and log p [N, R]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Filled:
    """What one method makes of images with holes."""

    name: str
    """Of the method."""
    images: Tensor
    """[N, C, H, W]: reals in [0, 256), or uint8."""
    seconds: float
    flow: Flow | None = None
    """The flow that it used, if any."""
    inpainting: Inpainting | None = None
    """The result of the climb, if it climbed."""
    completions: tuple[Completion, ...] = ()
    """The completions that particles drew, one per image."""

    @property
    def log_prob(self) -> Tensor | None:
        """log p of each image, in nats [N]; none without a flow."""
        if self.completions:
            return torch.tensor([one.log_prob for one in self.completions])
        return self.inpainting.log_prob if self.inpainting else None


@dataclass(frozen=True, kw_only=True)
class RepairScores:
    """How close one method's images are to the ground truth."""

    name: str
    """Of the method."""
    images: int
    psnr: Metric
    psnr_region: Metric
    """Over the regions alone."""
    ssim: Metric
    log_prob: float | None
    """Mean log p of the images minus that of the ground truth, in nats; none without a flow."""
    log_prob_error: float
    """Its standard error; NaN for one image, and without a flow."""
    free: float | None
    """Variables per image, on average; none without a climb."""
    steps: int | None
    """Steps of the climb or the particles; none without a flow."""
    seconds: float
    """Per image."""


def blanked(images: Tensor, masks: Mask) -> Tensor:
    """Images [N, C, H, W] with zeros in their holes: masks [H, W] or [N, H, W]."""
    holes = torch.as_tensor(np.broadcast_to(masks, (len(images), *masks.shape[-2:])).copy())
    return images.masked_fill(holes[:, None].to(images.device), 0)


def fill(
    flow: Flow,
    images: Tensor,
    masks: Mask,
    climb: Climb = Climb(),
    *,
    particles: int = 0,
    sweeps: int = 4,
    seed: int = 0,
    progress: Progress | None = None,
    preview: Callable[[Tensor], None] | None = None,
) -> Iterator[Filled]:
    """Fill holes with a flow, and without a flow.

    Args:
        flow: An RG-Flow.
        images: uint8 [N, C, H, W]. What they hold inside the holes has no influence.
        masks: The holes, [H, W] or [N, H, W].
        climb: Settings of `inpaint`.
        particles: Number of particles, which replace the climb for a flow that maps every pixel
            once; 0: climb.
        sweeps: Sweeps of the particles.
        seed: Seed of the noise that dequantises the known pixels, and of the draws.
        progress: See `Progress`; if it returns True, the method ends with what it has.
        preview: Called before `progress` with the current images, [N, C, H, W]; by particles with
            one image at a time, [1, C, H, W].

    Yields:
        One result per method, the last from biharmonic inpainting, unless a hole covers its whole
        image.

    Raises:
        ValueError: If the flow is no RG-Flow, or as for `inpaint`, `complete` and `biharmonic`.
    """
    if not isinstance(flow, RGFlow):
        raise ValueError(
            f"Expected an RG-Flow, in which a hole has a cone of latents; got a "
            f"{type(flow).__name__}: choose another model."
        )
    masks = flow.lattice.masks(masks, len(images))
    known, start = blanked(images, masks), time.perf_counter()
    name = f"RG-Flow{', particles' if particles else ''}"
    report = progress and partial(progress, name)
    if particles:
        found, steps = list[Completion](), itertools.count(1)  # of all images
        for image, mask in zip(known, masks, strict=True):  # each as if there were no others
            found.append(
                complete(
                    flow,
                    image,
                    mask,
                    particles=particles,
                    sweeps=sweeps,
                    generator=torch.Generator().manual_seed(seed),
                    progress=report
                    and (lambda _, log_p: report(next(steps), torch.tensor([[log_p]]))),
                    preview=preview and (lambda image: preview(image[None])),
                )
            )
        filled = torch.stack([one.image for one in found])
        spent = time.perf_counter() - start
        yield Filled(name=name, images=filled, seconds=spent, flow=flow, completions=tuple(found))
    else:
        climbed = inpaint(
            LocalFlow(flow, known, generator=torch.Generator().manual_seed(seed)),
            masks,
            climb,
            generator=torch.Generator().manual_seed(seed + 1),
            progress=report,
            preview=preview,
        )
        spent = time.perf_counter() - start
        yield Filled(name=name, images=climbed.images, seconds=spent, flow=flow, inpainting=climbed)
    if not masks.all((-2, -1)).any():  # it needs something around a hole
        start = time.perf_counter()
        smooth = biharmonic(known, masks)
        yield Filled(name="biharmonic", images=smooth, seconds=time.perf_counter() - start)


@torch.no_grad()
def scores(filled: Filled, truth: Tensor, masks: Mask, seed: int = 0) -> RepairScores:
    """Compare a method's images with the ground truth.

    Args:
        filled: What a method made.
        truth: uint8 [N, C, H, W].
        masks: The holes, as for `fill`.
        seed: As for `fill`.
    """
    found, flow, n = filled.log_prob, filled.flow, len(truth)
    log_prob, error = None, math.nan
    climb, drawn = filled.inpainting, [len(one.curve) for one in filled.completions]
    if found is not None and flow is not None:
        noise = torch.Generator().manual_seed(seed)
        parts = [flow.log_prob(part, noise) for part in truth.split(64)]
        less = (found.to(truth.device) - torch.cat(parts)).double()
        log_prob, error = mean_and_error(less.cpu())
    return RepairScores(
        name=filled.name,
        images=n,
        psnr=psnr(filled.images, truth),
        psnr_region=psnr(filled.images, truth, masks),
        ssim=ssim(filled.images, truth),
        log_prob=log_prob,
        log_prob_error=error,
        free=climb.free.double().mean().item() if climb else None,
        steps=max(drawn, default=climb.steps if climb else None),
        seconds=filled.seconds / n,
    )
