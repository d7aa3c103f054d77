"""Completions of holes, drawn group by group: particle Gibbs sampling.

Where a flow maps every pixel once, from coarse to fine (`WindowMixture`, or `CoarseToFine` without
disentanglers), its density is a product of the probabilities of single values given coarser ones,
or those of earlier phases. It has cliffs, as most values are nearly determined by others, so a
climb along gradients gets stuck. But values can be drawn in that order by particles
(`rgflow.repair.population`). One particle keeps the current image, so that doing this for one part
of the hole after another samples the missing pixels given all known ones (Andrieu, Doucet and
Holenstein 2010, "Particle Markov chain Monte Carlo methods").

A part is what a hole has in one block of level 0, or in 8×8 pixels. Only the cells that read it are
evaluated, a constant number at every level: O(log L) for an image of edge L.

Letters in shapes: k missing pixels; G parts; C channels; H, W rows and columns; K sweeps.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from rgflow.checks import check_whole
from rgflow.flow import Flow
from rgflow.lattice import Mask
from rgflow.repair.blocks import BlockFilling, block_layers
from rgflow.repair.population import Drawn, Parts, Population
from rgflow.repair.windows import WindowFilling, window_layers

WHOLE_PIXELS = 1 << 16
"""Pixels of the largest image whose log p is computed as a whole. A step evaluates only the
surroundings of the hole, so in a larger image log p would cost far more than the steps."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Completion:
    """An image whose hole is filled in.

    Attributes:
        image: The likeliest completion found, uint8 [C, H, W].
        log_prob: Its log p, in nats; of images above 65,536 pixels, how much larger it is than that
            of the first completion.
        expected: The mean of all completions, which is closest to the ground truth on average,
            uint8 [C, H, W]. It is smoother than any draw.
        samples: The image after every sweep, uint8 [K, C, H, W]: successive draws of a Markov
            chain.
        curve: log p after every batch of parts, once for each part, in nats likewise.
    """

    image: Tensor
    log_prob: float
    expected: Tensor
    samples: Tensor
    curve: tuple[float, ...]


def complete(
    flow: Flow,
    image: Tensor,
    hole: Mask,
    *,
    particles: int = 128,
    sweeps: int = 4,
    generator: torch.Generator | None = None,
    progress: Callable[[int, float], bool | None] | None = None,
    preview: Callable[[Tensor], None] | None = None,
) -> Completion:
    """Draw completions of a hole.

    What the image holds inside its hole has no influence.

    Args:
        flow: A flow of windows, or of coarse-to-fine bijectors without disentanglers.
        image: uint8 [C, H, W].
        hole: Pixels to fill in, [H, W].
        particles: Number of particles.
        sweeps: Number of times every part of the hole is redrawn, K.
        generator: Source of randomness, on the CPU.
        progress: Called after every part with their number so far and log p; to stop, return True.
        preview: Called before `progress` with the current image, uint8 [C, H, W].

    Returns:
        The likeliest completion, and all samples.

    Raises:
        ValueError: If the flow is of another kind, sizes don't fit, or the hole is empty.

    Example:
        >>> from rgflow import Blocks, CoarseToFineMap, FlowConfig, MarginalPixels, make_flow
        >>> kinds = {"geometry": Blocks(disentanglers=False), "pixels": MarginalPixels()}
        >>> map = CoarseToFineMap(depth=1, hidden=8, splits=1)
        >>> flow = make_flow(FlowConfig(height=8, width=8, map=map, **kinds))
        >>> image = torch.randint(256, (3, 8, 8), dtype=torch.uint8)
        >>> found = complete(flow, image, flow.lattice.box(2, 2, 3, 3), particles=8, sweeps=2)
        >>> found.image.shape, found.samples.shape
        (torch.Size([3, 8, 8]), torch.Size([2, 3, 8, 8]))
    """
    check_whole("particles", particles, 2)
    check_whole("sweeps", sweeps, 1)
    filling = filling_of(flow, hole)
    if image.shape != flow.image_shape or image.dtype != torch.uint8:
        raise ValueError(
            f"Expected an image of shape {list(flow.image_shape)} and uint8; got "
            f"{list(image.shape)} of {image.dtype}."
        )
    x = image.to(flow.device, copy=True)
    chain = Chain(filling, x, particles, generator)
    whole = x[0].numel() <= WHOLE_PIXELS
    with torch.no_grad():
        log_p = flow.log_prob(x[None]).item() if whole else 0.0
    best, best_log_p = x.clone(), log_p
    i, j = torch.as_tensor(filling.sites, device=x.device).T
    total, times = (torch.zeros(len(i), of, device=x.device) for of in (len(x), 1))
    samples: list[Tensor] = []
    curve: list[float] = []
    stopped = False
    while len(samples) < sweeps and not stopped:
        for parts, drawn in chain.sweep():
            places = torch.as_tensor(parts.places, device=x.device)
            if log_p + (gain := drawn.best_gains.sum().item()) > best_log_p:
                best, best_log_p = x.clone(), log_p + gain
                best[:, i[places], j[places]] = drawn.best.T
            log_p += drawn.gains.sum().item()
            curve += [log_p] * parts.count
            before = len(samples) > 1  # means of the first sweep don't count if others follow
            total[places] = before * total[places] + drawn.mean.float()
            times[places] = before * times[places] + 1
            if preview:
                preview(x.clone())
            stopped = bool(progress and progress(len(curve), log_p))
            if stopped:
                break
        samples.append(x.clone())
    mean = (total / times.clamp(min=1)).round().to(torch.uint8)
    expected = x.clone()
    expected[:, i, j] = torch.where(times > 0, mean, x[:, i, j].T).T
    with torch.no_grad():
        final = flow.log_prob(best[None]).item() if whole else best_log_p
    return Completion(
        image=best,
        log_prob=final,
        expected=expected,
        samples=torch.stack(samples),
        curve=tuple(curve),
    )


class Chain:
    """A Markov chain of completions of one image.

    Args:
        filling: The hole, and how to draw it.
        x: The image, uint8 [C, H, W]; every step overwrites its hole.
        particles: Number of particles.
        generator: Source of randomness, on the CPU.
    """

    def __init__(
        self,
        filling: WindowFilling | BlockFilling,
        x: Tensor,
        particles: int,
        generator: torch.Generator | None,
    ) -> None:
        seed = torch.randint(1 << 62, (), generator=generator, dtype=torch.int64)
        self._random = torch.Generator().manual_seed(int(seed))
        self._filling, self._x, self._particles = filling, x, particles
        self._draw(filling.whole, keep=False)

    def sweep(self) -> Iterator[tuple[Parts, Drawn]]:
        """Redraw every part once, batch after batch in random order."""
        batches = self._filling.batches
        for k in torch.randperm(len(batches), generator=self._random).tolist():
            yield batches[k], self._draw(batches[k], keep=True)

    @torch.no_grad()
    def _draw(self, parts: Parts, *, keep: bool) -> Drawn:
        i, j = torch.as_tensor(self._filling.sites[parts.places], device=self._x.device).T
        owners = torch.as_tensor(parts.owners, device=self._x.device)
        now, count, random = self._x[:, i, j].T, self._particles, self._random
        particles = Population(now, owners, parts.count, count, random, keep=keep)
        self._filling.run(self._x, parts, particles)
        drawn = particles.drawn()
        self._x[:, i, j] = drawn.chosen.T
        return drawn


def maps_once(flow: Flow) -> bool:
    """Whether a flow maps every pixel once, from its 256 levels, so that `complete` can fill its
    holes."""
    return bool(window_layers(flow) or block_layers(flow))


def parts(flow: Flow, hole: Mask) -> int:
    """Number of parts of a hole, which a sweep draws one after another.

    Raises:
        ValueError: If the flow isn't one that maps every pixel once.
    """
    return sum(one.count for one in filling_of(flow, hole).batches)


def filling_of(flow: Flow, hole: Mask) -> WindowFilling | BlockFilling:
    """How a flow draws a hole [H, W].

    Raises:
        ValueError: If the flow doesn't map every pixel once, or the mask is empty or of another
            size.
    """
    windows, blocks = window_layers(flow), block_layers(flow)
    if not (windows or blocks):
        raise ValueError(
            "Expected a flow that maps every pixel once: of windows whose coarse images are sites, "
            "or of the map coarse_to_fine with depth 1, pixels marginal, no disentanglers, and "
            "weights of its own at every level; this one isn't: flows of blocks can use inpaint, "
            "and no particles."
        )
    hole = flow.lattice.masks(hole, 1)[0].copy()
    if not hole.any():
        raise ValueError("Expected a hole to fill; got an empty mask: mark at least one pixel.")
    return WindowFilling(windows, hole) if windows else BlockFilling(blocks, hole)
