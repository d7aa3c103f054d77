"""Completions of a region, drawn from p(region | rest), the conditional density of a flow.

The density of a region given all else is known up to a constant: `Region.log_density`, at the cost
of a causal cone. Hamiltonian Monte Carlo (`rgflow.hmc`) draws from it, in the region's own
variables and the flow's own space, where they may be any reals. It couldn't draw in the latents of
the cone: there are more of them than pixels in the region, so their density isn't integrable. All
chains of all images are one batch; in the warm-up, step sizes and scales are tuned for every image.

Letters in shapes: N images; K chains, those of an image follow one another; S pixels of all chains
together; T draws; C channels; H, W rows and columns.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from arviz_stats.base import array_stats
from torch import Tensor

from rgflow.checks import check_whole
from rgflow.hmc import MAX_ENERGY_ERROR, Chains, acceptance
from rgflow.local import Region

R_HAT = 1.01
"""Above it, chains haven't mixed (Vehtari et al. 2021)."""
ESS = 400
"""Below it, R-hat and all else are too uncertain (the same)."""
_CLIMB = 0.2
"""Share of the warm-up in which chains only climb to where the density is high."""
_RATE = 0.05
"""Adam's rate there, at first; it falls to 0."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Completions:
    """Draws from p(region | rest), and how far they can be trusted.

    Effective sample size (of the bulk) and R-hat (rank-normalised, split) are those of Vehtari et
    al. (2021), over all chains of an image and for each of its variables.

    Attributes:
        pixels: The draws, [T, S, C], reals in [0, 256); `Region.paste` makes images of each.
        mean: Mean of every pixel over all draws of all chains, [N, C, H, W]; outside the region,
            the image.
        spread: Standard deviation of the same, [N, C, H, W]; 0 outside the region.
        log_density: Log-density of every draw, up to a constant, in the flow's own space [T, K]. A
            chain that stays far below another has found only an unlikely mode.
        acceptance: Mean acceptance probability of every chain, [K].
        divergences: Number of divergent transitions of every chain, [K].
        ess: Effective sample size of an image's worst variable, [N].
        ess_median: That of its median variable, [N].
        r_hat: R-hat of its worst variable, [N].
        step_size: In units of the variables' scales, [N].
    """

    pixels: Tensor
    mean: Tensor
    spread: Tensor
    log_density: Tensor
    acceptance: Tensor
    divergences: Tensor
    ess: Tensor
    ess_median: Tensor
    r_hat: Tensor
    step_size: Tensor

    @property
    def cautions(self) -> tuple[str, ...]:
        """A warning about the draws of every image, in a sentence; empty if there is none."""
        return tuple(
            _caution(*numbers)
            for numbers in zip(
                self.r_hat.tolist(),
                self.ess.tolist(),
                self.divergences.view(len(self.ess), -1).sum(1).tolist(),
                strict=True,
            )
        )


def _caution(r_hat: float, ess: float, divergences: int) -> str:
    found = []
    if not r_hat <= R_HAT:  # nor NaN, of chains that never moved
        found.append(
            f"the chains disagree (R-hat {r_hat:.3g}, above {R_HAT}), as the warm-up was too short "
            f"or completions are of several kinds between which chains don't move"
        )
    if not ess >= ESS:
        found.append(f"there are too few independent draws (effectively {ess:.0f}, below {ESS})")
    if divergences:
        found.append(f"{divergences} trajectories diverged")
    if not found:
        return ""
    return f"Not to be trusted yet: {'; '.join(found)}."


def draw_completions(
    region: Region,
    *,
    draws: int = 500,
    warm_up: int = 500,
    leapfrog: int = 16,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Completions:
    """Draw completions of the regions of some images.

    Every problem of the region is a chain: `local.region(mask, copies=4)` makes four per image.
    They start far apart, from prior draws of the latents of the cones, and first climb to the
    nearest likely completions. So chains that agree in the end have forgotten their starts. If
    there are several modes with nothing likely between them, chains don't agree, and the number of
    chains in a mode says little.

    With the logit map the flow gives some probability to values outside [0, 256); draws there come
    back as the nearest pixels inside.

    Args:
        region: The region, with at least two problems per image. A chain whose start has no finite
            density begins at what the region holds: blank it first if that must stay unknown.
        draws: Draws of every chain, T, all kept in memory: T·S·C numbers. A larger number continues
            the same chains.
        warm_up: Transitions before the first of them.
        leapfrog: Leapfrog steps in a transition, each of which evaluates the density and its
            gradient once; their number is random, and this its mean. Adam's steps uphill are as
            many, for a fifth of the warm-up.
        seed: Seed of all randomness; that of an image also depends on its index.
        progress: Called with the number of transitions since the last call, of `warm_up + draws`.

    Raises:
        ValueError: If the region of an image is empty or has a single problem, or a number is out
            of range.

    Example:
        >>> from rgflow import AffineMap, FlowConfig, RGFlow
        >>> from rgflow.local import LocalFlow
        >>> flow = RGFlow(FlowConfig(height=8, width=8, map=AffineMap(depth=1, hidden=8)))
        >>> local = LocalFlow(flow, flow.sample(1))
        >>> region = local.region(flow.lattice.box(2, 3, 2, 2), copies=4)
        >>> found = draw_completions(region, draws=20, warm_up=20, leapfrog=4)
        >>> found.pixels.shape, region.paste(found.pixels[-1]).shape
        (torch.Size([20, 16, 3]), torch.Size([4, 3, 8, 8]))
        >>> found.cautions[0][:23]  # so few draws
        'Not to be trusted yet: '
    """
    check_whole("draws", draws, 4)
    check_whole("warm_up", warm_up, 20)
    check_whole("leapfrog", leapfrog, 1)
    check_whole("seed", seed, 0)
    chains, report = _Chains(region, seed), progress or (lambda _: None)
    steps = iter(np.random.default_rng(seed).integers(1, 2 * leapfrog, warm_up + draws).tolist())

    def move() -> Tensor:
        rise = chains.move(next(steps))
        report(1)
        return rise

    climb = round(warm_up * _CLIMB)
    chains.climb(list(itertools.islice(steps, climb)), report)
    chains.adapt(warm_up - climb, move)
    y = torch.empty(draws, *region.pixels.shape, dtype=region.pixels.dtype)
    log_density = y.new_empty(draws, len(region))
    accepted, divergences = torch.zeros(2, len(region), dtype=torch.float64)
    for draw in range(draws):
        lost = move()
        accepted += acceptance(lost).cpu()
        divergences += (~(lost < MAX_ENERGY_ERROR)).cpu()
        y[draw], log_density[draw] = chains.y.cpu(), chains.log_p.cpu()
    ess, ess_median, r_hat = torch.tensor([_diagnose(part) for part in chains.parts(y)]).T
    for draw in y:  # in place, as there may be many
        draw.copy_(region.from_flow(draw.to(chains.y)))
    means = [part.double().mean((0, 1)) for part in chains.parts(y)]
    spreads = [part.double().flatten(0, 1).std(0) for part in chains.parts(y)]
    return Completions(
        pixels=y,
        mean=chains.in_images(region.local.images, means),
        spread=chains.in_images(torch.zeros_like(region.local.images), spreads),
        log_density=log_density,
        acceptance=accepted / draws,
        divergences=divergences.long(),
        ess=ess,
        ess_median=ess_median,
        r_hat=r_hat,
        step_size=chains.step_size.cpu(),
    )


class _Chains(Chains):
    """The chains of a region: those of an image are a group, a pixel is a row."""

    def __init__(self, region: Region, seed: int) -> None:
        self.region, images = region, len(region.local)
        copies = len(region) // images
        sizes = torch.bincount(region.owners, minlength=len(region)).tolist()[::copies]
        if copies < 2 or not all(sizes):
            raise ValueError(
                f"Expected at least one pixel to draw in every image, and two chains; got regions "
                f"of {sizes} pixels, copies={copies}: change the masks, or pass copies=4."
            )
        states = [np.random.SeedSequence((seed, n)).generate_state(1)[0] for n in range(images)]
        generators = [torch.Generator().manual_seed(int(state)) for state in states]
        super().__init__(
            region.log_density,
            region.to_flow(region.pixels),
            sizes=sizes,
            copies=copies,
            generators=generators,
        )
        self.start_at(self._from_prior())

    def start_at(self, pixels: Tensor) -> None:
        """Go to some pixels, or stay with the image where the density there is no number."""
        region = self.region
        log_p, _ = self.evaluate(region.to_flow(pixels))
        usable = log_p.isfinite()[region.owners][:, None]
        self.start(region.to_flow(torch.where(usable, pixels, region.pixels)))

    def _from_prior(self) -> Tensor:
        """Pixels [S, C] of latents from the prior."""
        region, z = self.region, torch.empty_like(self.region.latents)
        for image, generator in enumerate(self.generators):
            mine = region.latent_owners // self.copies == image
            z[mine] = region.flow.prior.sample_like(z[mine].cpu(), generator).to(z)
        with torch.no_grad():
            return region.decode(z)

    def in_images(self, images: Tensor, values: list[Tensor]) -> Tensor:
        """Images [N, C, H, W] with values [pixels, C] of every one at its region."""
        images = images.cpu().clone()
        masks = self.region.masks[:: self.copies]
        for image, mask, value in zip(images, masks, values, strict=True):
            image[:, torch.as_tensor(mask)] = value.T.to(image)
        return images

    def climb(self, steps: Sequence[int], progress: Callable[[int], None]) -> None:
        """Go uphill by Adam, each chain for itself; falling there by `move` takes far longer. Each
        of `steps` is a number of Adam's, after which it is reported."""
        optimiser = torch.optim.Adam([self.y], lr=_RATE)
        for k, some in enumerate(steps):
            optimiser.param_groups[0]["lr"] = _RATE * (1 - k / len(steps))
            for _ in range(some):
                self.y.grad = -self.evaluate(self.y)[1]
                optimiser.step()
            progress(1)
        self.start_at(self.region.from_flow(self.y))


def _diagnose(draws: Tensor) -> tuple[float, float, float]:
    """Effective sample size, lowest and median, and highest R-hat of draws [T, chains, …]."""
    values = draws.flatten(2).double().numpy()
    with np.errstate(invalid="ignore"):  # of a variable that never moved
        r_hat = array_stats.rhat(values, chain_axis=1, draw_axis=0)
        ess = array_stats.ess(values, chain_axis=1, draw_axis=0)
    ess = np.where(np.isnan(r_hat), 0, ess)
    return float(ess.min()), float(np.median(ess)), float(r_hat.max())
