"""The likeliest completion of images that have holes (paper, section 4.6 and Appendix F).

Some variables generate the pixels of the hole; these are pasted into the known pixels, and Adam
climbs the log-likelihood of the result, from the best of many random draws.

Letters in shapes: N images; C channels; H, W rows and columns; R restarts; T steps; K = N·R holes;
S pixels of all holes together.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rgflow.lattice import Mask
from rgflow.local import LocalFlow, Region
from rgflow.repair.climb import Climb

PIXELS_AT_ONCE = 1 << 15
"""Missing pixels of the random draws that are evaluated together, to limit memory."""
SITES_AT_ONCE = 1 << 24
"""Pixels of the whole images of these draws, to limit memory."""
MAX_STALLED_STEPS = 60
"""Steps without progress after which the learning rate falls to a third."""
MAX_FALLS = 2
"""Falls of the learning rate before the climb ends."""
MIN_RISE = 0.1
"""Rise of log p, in nats, that counts as progress."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Inpainting:
    """Images whose holes are filled in.

    Attributes:
        images: The best completions, reals [N, C, H, W] in [0, 256); ⌊x⌋ is the 8-bit image.
        log_prob: log p of each, in nats [N].
        start: log p where the climb to it began, at one of the best draws, [N].
        curves: log p at every step, [T, N, R].
        best: Which restart was the best, [N].
        converged: Whether its climb had converged, [N].
        diverged: Whether log p was ever not finite, or ended below where it began, [N]; the best
            state was kept.
        free: Number of variables of each image, [N].
        climb: The settings.
    """

    images: Tensor
    log_prob: Tensor
    start: Tensor
    curves: Tensor
    best: Tensor
    converged: Tensor
    diverged: Tensor
    free: Tensor
    climb: Climb

    @property
    def steps(self) -> int:
        """Steps taken, T."""
        return len(self.curves)


def inpaint(
    encoded: LocalFlow,
    masks: Mask,
    climb: Climb = Climb(),
    *,
    generator: torch.Generator | None = None,
    progress: Callable[[int, Tensor], bool | None] | None = None,
    preview: Callable[[Tensor], None] | None = None,
) -> Inpainting:
    """Fill holes with what makes the whole images likeliest.

    All images and restarts are one batch, and each converges on its own. What the images hold
    inside their holes has no influence.

    Args:
        encoded: The images, in an RG-Flow.
        masks: The holes, [H, W] for all images alike, or [N, H, W].
        climb: What is varied, and how to search.
        generator: Source of randomness, on the CPU.
        progress: Called after every step with its number and log p [N, R], and with 0 while starts
            are drawn; to stop the climb, return True.
        preview: Called before `progress` with the best so far, reals [N·R, C, H, W].

    Raises:
        ValueError: If a mask is empty or of another size.

    Example:
        >>> from rgflow import AffineMap, FlowConfig, RGFlow
        >>> from rgflow.local import LocalFlow
        >>> flow = RGFlow(FlowConfig(height=16, width=16, map=AffineMap(depth=1, hidden=16)))
        >>> images = torch.rand(2, 3, 16, 16) * 255
        >>> hole = flow.lattice.box(4, 4, 3, 3)
        >>> found = inpaint(LocalFlow(flow, images), hole, Climb(draws=10, steps=20))
        >>> found.images.shape, found.curves.shape, bool((found.log_prob >= found.start).all())
        (torch.Size([2, 3, 16, 16]), torch.Size([20, 2, 1]), True)
    """
    masks = encoded.lattice.masks(masks, len(encoded))
    for number, mask in enumerate(masks):
        if not mask.any():
            raise ValueError(
                f"Expected holes to fill; got an empty mask for image {number}: mark at least one "
                f"pixel."
            )
    restarts = climb.restarts
    holes = encoded.region(masks, restarts)
    latents = _starts(encoded, masks, climb, generator, progress)
    to_pixels: Callable[[Tensor], Tensor] = holes.decode
    start, owners = latents, holes.latent_owners
    if climb.variables == "pixels":
        with torch.no_grad():
            start = holes.to_flow(holes.decode(latents))
        owners, to_pixels = holes.owners, holes.from_flow
    ascent = _Ascent(holes, start, owners, to_pixels)
    report = progress
    if preview:

        def report(step: int, log_prob: Tensor) -> bool | None:
            preview(holes.paste(ascent.pixels))
            return progress(step, log_prob) if progress else None

    curves, converged = ascent.run(climb, report)
    reached, best = ascent.best.view(-1, restarts).max(1)
    chosen = torch.arange(len(encoded), device=best.device) * restarts + best
    return Inpainting(
        images=holes.paste(ascent.pixels)[chosen],
        log_prob=reached,
        start=curves[0].gather(1, best[:, None])[:, 0],
        curves=curves,
        best=best,
        converged=converged[chosen],
        diverged=ascent.diverged[chosen],
        free=start[0].numel() * torch.bincount(owners, minlength=len(holes))[::restarts],
        climb=climb,
    )


def by_copy(owners: Tensor, copies: int) -> Tensor:
    """Positions of the entries of every copy in a batch of several holes per image.

    Args:
        owners: The hole that every entry belongs to, [entries].
        copies: Number of holes per image; those of an image follow one another.

    Returns:
        Positions [copies, entries of one copy of all images].
    """
    return torch.argsort(owners % copies, stable=True).view(copies, -1)


@torch.no_grad()
def _starts(
    encoded: LocalFlow,
    masks: Mask,
    climb: Climb,
    generator: torch.Generator | None,
    progress: Callable[[int, Tensor], bool | None] | None,
) -> Tensor:
    """Latents of the best draws, for that many copies of the holes."""
    most = min(PIXELS_AT_ONCE // int(masks.sum()), SITES_AT_ONCE // masks.size)
    together = max(1, min(climb.draws, most))
    holes = encoded.region(masks, together)
    prior = holes.flow.prior.tempered(climb.temperature)
    places = by_copy(holes.latent_owners, together)
    image_of = holes.latent_owners[places[0]].div(together, rounding_mode="floor")
    kept = holes.latents.new_empty(0, len(image_of))
    scores = holes.pixels.new_empty(len(masks), 0)
    for first in range(0, climb.draws, together):
        # Drawn on the CPU, so that the same seed gives the same on all devices.
        like = torch.empty_like(holes.latents, device=generator.device if generator else None)
        z = prior.sample_like(like, generator).to(holes.latents.device)
        log_prob = holes.log_prob(holes.decode(z)).nan_to_num(-math.inf, posinf=-math.inf)
        new = slice(climb.draws - first)  # of the last ones, those that were asked for
        scores = torch.cat((scores, log_prob.view(len(masks), together)[:, new]), 1)
        kept = torch.cat((kept, z[places][new]))
        scores, top = scores.topk(min(climb.restarts, scores.shape[1]), 1)  # [N, R]
        kept = kept[top[image_of].T, torch.arange(len(image_of), device=top.device)]
        if progress:
            progress(0, scores)
    out = torch.empty_like(kept.flatten())
    out[by_copy(encoded.region(masks, climb.restarts).latent_owners, climb.restarts)] = kept
    return out


class _Ascent:
    """The climb of log p by Adam, and the best completions on the way.

    Attributes:
        best: The highest log p of every hole so far, [K].
        pixels: The pixels with this log p, [S, C].
        diverged: Whether log p, or its gradient, has ever not been finite, or log p ended below
            where it began, [K].
    """

    def __init__(
        self, holes: Region, start: Tensor, owners: Tensor, to_pixels: Callable[[Tensor], Tensor]
    ) -> None:
        self.holes, self.owners, self.to_pixels = holes, owners, to_pixels
        self.point = start.detach().clone().requires_grad_()
        self.safe = start.detach().clone()  # the variables of the best
        self.pixels = to_pixels(self.safe)
        self.best = holes.pixels.new_full((len(holes),), -math.inf)
        self.diverged = torch.zeros(len(holes), dtype=torch.bool, device=start.device)

    def run(
        self, climb: Climb, progress: Callable[[int, Tensor], bool | None] | None
    ) -> tuple[Tensor, Tensor]:
        """Climb. The curves [T, N, R], and which holes converged, [K]."""
        adam = torch.optim.Adam([self.point], lr=climb.rate)
        curves: list[Tensor] = []
        mark, since = self.best.clone(), torch.zeros_like(self.best, dtype=torch.long)
        falls = torch.zeros_like(since)
        for step in range(climb.steps):
            share = torch.where(falls > MAX_FALLS, 0, 3.0**-falls).to(self.best.dtype)
            log_prob = self._step(adam, share)
            curves.append(log_prob.view(-1, climb.restarts))
            risen = self.best > mark + MIN_RISE
            mark = torch.where(risen, self.best, mark)
            since = torch.where(risen, 0, since + 1)
            falls = falls + (since >= MAX_STALLED_STEPS)
            since = since % MAX_STALLED_STEPS
            if (progress and progress(step + 1, curves[-1])) or bool((falls > MAX_FALLS).all()):
                break
        self.diverged |= ~(curves[-1] >= curves[0]).flatten()
        return torch.stack(curves), (falls > MAX_FALLS) & ~self.diverged

    def _step(self, adam: torch.optim.Optimizer, share: Tensor) -> Tensor:
        """A share [K] of one step of Adam; log p before it, [K]."""
        adam.zero_grad()
        pixels = self.to_pixels(self.point)
        log_prob = self.holes.log_prob(pixels)
        log_prob.sum().neg().backward()
        gradient = self.point.grad
        assert gradient is not None
        with torch.no_grad():
            better = (log_prob > self.best) & log_prob.isfinite()
            self.best = torch.where(better, log_prob, self.best)
            self.pixels = torch.where(better[self.holes.owners, None], pixels, self.pixels)
            shape = (-1,) + (1,) * (self.point.ndim - 1)
            here = better[self.owners].view(shape)
            self.safe = torch.where(here, self.point, self.safe)
            bad = ~log_prob.isfinite()
            wrong = ~gradient.isfinite()
            bad[self.owners[wrong.view(len(wrong), -1).any(1)]] = True
            if bad.any():
                self.diverged |= bad
                lost = bad[self.owners].view(shape)
                self.point.copy_(torch.where(lost, self.safe, self.point))
                gradient.masked_fill_(lost, 0)
        before = self.point.detach().clone()
        adam.step()
        with torch.no_grad():
            self.point.copy_(torch.lerp(before, self.point, share[self.owners].view(shape)))
        return log_prob.detach()
