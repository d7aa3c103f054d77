"""Completions of holes, drawn from a flow, for `rgflow inpaint`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rgflow.text import bar, say

if TYPE_CHECKING:
    from torch import Tensor

    from rgflow.cli.subjects import Pictures
    from rgflow.flow import Flow
    from rgflow.lattice import Mask
    from rgflow.repair.particles import Completion

CHAINS = 4
"""Markov chains for each image."""


class Holes(NamedTuple):
    """Images with holes, and where pictures of their completions go."""

    images: Tensor
    """On the CPU, [N, C, H, W]."""
    masks: Mask
    """Their holes, [N, H, W]."""
    truth: Tensor | None
    """The images as they should be, if that is known."""
    pictures: Pictures

    def draw(self, n: int, some: Tensor, mean: Tensor, spread: Tensor) -> Path:
        """Draw completions of one image, with the mean and the spread of all of them.

        Args:
            n: Number of the image.
            some: Completions [K, C, H, W].
            mean: Of all completions, [C, H, W].
            spread: Their standard deviation, [C, H, W].
        """
        from rgflow.figures.repair import completions

        picture = completions(
            self.images[n],
            self.masks[n],
            some,
            mean,
            spread,
            truth=self.truth[n] if self.truth is not None else None,
            scale=self.pictures.scale,
        )
        return self.pictures.save(picture, f"completions-{n + 1}.png")


def of_particles(holes: Holes, count: int, found: Sequence[Completion]) -> list[Path]:
    """Draw the samples of particles after the last sweeps."""
    written = []
    for n, one in enumerate(found):
        some = one.samples[-count:].cpu()
        values = some.float()
        written.append(holes.draw(n, some, values.mean(0), values.std(0, correction=0)))
    return written


def of_chains(
    holes: Holes, flow: Flow, count: int, draws: int, warm_up: int, seed: int
) -> tuple[list[Path], dict[str, Any]]:
    """Draw samples of Markov chains, and report how well they mix: files, and diagnostics.

    Args:
        holes: The images.
        flow: The flow.
        count: Number of completions to draw of each image.
        draws: Draws of each chain.
        warm_up: Transitions before them.
        seed: Of all randomness.
    """
    import torch

    from rgflow.local import LocalFlow
    from rgflow.model import RGFlow
    from rgflow.repair.comparison import blanked
    from rgflow.repair.sampling import draw_completions

    assert isinstance(flow, RGFlow)
    noise = torch.Generator().manual_seed(seed)
    images = holes.images.to(flow.device)
    blank = blanked(images, holes.masks)
    region = LocalFlow(flow, blank, generator=noise).region(holes.masks, copies=CHAINS)
    with bar("drawing completions", warm_up + draws) as progress:
        found = draw_completions(region, draws=draws, warm_up=warm_up, seed=seed, progress=progress)
    every = torch.linspace(0, draws - 1, -(-count // CHAINS)).round().long()
    some = torch.stack([region.paste(found.pixels[k].to(region.pixels)) for k in every.tolist()])
    some = some.unflatten(1, (len(images), CHAINS)).transpose(0, 1).flatten(1, 2).cpu()
    written = []
    for n, caution in enumerate(found.cautions):
        written.append(holes.draw(n, some[n, :count], found.mean[n], found.spread[n]))
        say(
            f"Image {n + 1}: {CHAINS} chains of {draws} draws; R-hat {found.r_hat[n]:.3f}, "
            f"effective sample size of the worst variable {found.ess[n]:.0f}."
        )
        if caution:
            say(f"Image {n + 1}: {caution}")
    names = ("acceptance", "divergences", "ess", "ess_median", "r_hat", "step_size")
    numbers = {name: getattr(found, name).tolist() for name in names}
    return written, {"chains": CHAINS, "draws": draws, "warm_up": warm_up, **numbers}
