"""Fields of any action by Hamiltonian Monte Carlo, the reference where exact values are unknown.

Leapfrog trajectories with a Metropolis decision at their ends (Duane et al. 1987; Neal 2011, arXiv
1206.1901), of many chains in one batch. In the warm-up, the step size is found by dual averaging
(Hoffman & Gelman 2014, arXiv 1111.4246) and the scale of every variable from all chains; then both
are fixed, as a chain that keeps adapting draws from another distribution.

Letters in shapes: T draws; K chains; C channels; H, W rows and columns.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rgflow.checks import check_whole, short

ACCEPTANCE = 0.8
"""Mean acceptance that step sizes are adapted to (as in Stan)."""
WINDOWS = (0.1, 0.25, 0.5, 0.8, 1.0)
"""Ends of the windows of the adaptation, as shares of it; all but the last set new scales."""
MAX_GRADIENT = 1e6
"""Largest component of a gradient, where the density is nearly a step; 0 where it is NaN."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FieldChains:
    """Fields drawn by HMC.

    Attributes:
        fields: The draws, float64 [T, K, C, H, W].
        action: The action of every draw, in nats, [T, K].
        acceptance: Mean acceptance of every chain, [K]; about 0.8.
    """

    fields: Tensor
    action: Tensor
    acceptance: Tensor


def hmc(
    action: Callable[[Tensor], Tensor],
    shape: tuple[int, int, int],
    *,
    chains: int = 16,
    draws: int = 1000,
    warm_up: int = 500,
    leapfrog: int = 10,
    thin: int = 1,
    seed: int = 0,
    start: Tensor | None = None,
) -> FieldChains:
    """Draw fields of an action by Hamiltonian Monte Carlo, many chains at once.

    The warm-up adapts the step size to an acceptance of 0.8, and the scale of every variable; all
    chains share both. The number of leapfrog steps is random, so that no trajectory returns to its
    start.

    Chains rarely change between modes, such as the two signs of the magnetisation below the
    transition: `start` decides which modes they see.

    Args:
        action: From fields [K, C, H, W] to S in nats, [K]; differentiable.
        shape: Shape of a field, (C, H, W).
        chains: K.
        draws: Draws of every chain, T; memory holds all T·K·C·H·W numbers of 8 bytes.
        warm_up: Transitions before the first draw, at least 20.
        leapfrog: Mean number of leapfrog steps in a transition, each of which evaluates the action
            and its gradient once.
        thin: Transitions from one draw to the next.
        seed: Seed of all randomness.
        start: Fields at the start, [K, C, H, W], on the device of the computation. None: standard
            normal fields.

    Raises:
        ValueError: If a number is out of range, or the action doesn't give one finite number for
            each of the fields at the start.

    Example:
        >>> def action(x):  # of independent standard normal variables
        ...     return x.square().sum((1, 2, 3)) / 2
        >>> found = hmc(action, (1, 4, 4), chains=8, draws=100, warm_up=50, leapfrog=3)
        >>> found.fields.shape, found.action.shape
        (torch.Size([100, 8, 1, 4, 4]), torch.Size([100, 8]))
    """
    for what, value, least in (
        ("chains", chains, 1),
        ("draws", draws, 1),
        ("warm_up", warm_up, 20),
        ("leapfrog", leapfrog, 1),
        ("thin", thin, 1),
        ("seed", seed, 0),
    ):
        check_whole(what, value, least)
    if len(shape) != 3:
        raise ValueError(f"Expected the shape of a field to be (C, H, W); got {short(shape)}.")
    for size in shape:
        check_whole("a size of the field", size, 1)
    generator = torch.Generator().manual_seed(seed)
    if start is None:
        start = torch.randn(chains, *shape, generator=generator, dtype=torch.float64)
    elif start.shape != (chains, *shape):
        raise ValueError(
            f"Expected the start to be {[chains, *shape]}, a field for each chain; got "
            f"{list(start.shape)}."
        )
    start = start.detach().double()
    with torch.no_grad():
        _check(action(start), chains)
    found = _Chains(action, start, generator)
    steps = np.random.default_rng(seed).integers(1, 2 * leapfrog, warm_up + thin * draws)
    lengths = iter(steps.tolist())
    found.adapt(warm_up, lengths)
    fields = torch.empty(draws, chains, *shape, dtype=torch.float64)
    actions = torch.empty(draws, chains, dtype=torch.float64)
    accepted = torch.zeros(chains, dtype=torch.float64)
    for draw in range(draws):
        for _ in range(thin):
            accepted += found.move(next(lengths)).cpu()
        fields[draw], actions[draw] = found.fields.cpu(), found.action.cpu()
    return FieldChains(fields=fields, action=actions, acceptance=accepted / (draws * thin))


class _Chains:
    """The fields of all chains [K, C, H, W], their action [K] and its gradient; the scale of every
    variable [C, H, W] and the step size, in units of the scales, which all chains share."""

    def __init__(
        self, action: Callable[[Tensor], Tensor], start: Tensor, generator: torch.Generator
    ) -> None:
        self._action, self._generator, self.fields = action, generator, start
        self.action, self.gradient = self._evaluate(start)
        self.scale = torch.ones_like(start[0])
        # Right up to a factor if all variables are independent and have these scales.
        self.step_size = start.new_tensor(start[0].numel()) ** -0.25

    def _evaluate(self, fields: Tensor) -> tuple[Tensor, Tensor]:
        """The action of fields, infinite where it isn't finite, and its gradient, bounded."""
        fields = fields.detach().requires_grad_()
        with torch.enable_grad():
            found = self._action(fields)
            (gradient,) = torch.autograd.grad(found.sum(), fields)
        found = torch.where(found.isfinite(), found, torch.inf).detach()
        return found, gradient.nan_to_num(0, 0, 0).clamp(-MAX_GRADIENT, MAX_GRADIENT)

    def move(self, steps: int) -> Tensor:
        """One transition of so many leapfrog steps; how probably each chain accepted it, [K]."""
        fields, gradient, generator = self.fields, self.gradient, self._generator
        momentum = torch.empty(fields.shape, dtype=fields.dtype).normal_(generator=generator)
        momentum = momentum.to(fields.device)
        uniform = torch.rand(len(fields), generator=generator)
        before = self.action + _kinetic(momentum)
        step = self.step_size * self.scale
        for _ in range(steps):
            momentum = momentum - step / 2 * gradient
            fields = fields + step * momentum
            action, gradient = self._evaluate(fields)
            momentum = momentum - step / 2 * gradient
        rise = action + _kinetic(momentum) - before
        accepted = uniform.to(rise).log() < -rise  # false for NaN
        moved = accepted[:, None, None, None]
        self.fields = torch.where(moved, fields, self.fields)
        self.gradient = torch.where(moved, gradient, self.gradient)
        self.action = torch.where(accepted, action, self.action)
        return (-rise).exp().clamp(max=1).nan_to_num(0)

    def adapt(self, transitions: int, lengths: Iterator[int]) -> None:
        """Find the step size and the scales from all chains, by transitions of these lengths.

        A scale is the fourth root of a variable's variance over its gradient's variance (as in
        nutpie): right for normal distributions, even before chains have explored them.
        """
        ends = [round(transitions * end) for end in (0, *WINDOWS)]
        for begin, end in itertools.pairwise(ends):
            total, squares = torch.zeros(2, 2, *self.fields.shape, dtype=torch.float64)
            centre = average = log_step = self.step_size.log()
            error, n = torch.zeros_like(log_step), end - begin
            for t in range(1, n + 1):
                self.step_size = log_step.exp()
                accepted = self.move(next(lengths)).mean()
                # Stan's constants, except 0.2 in place of 0.05, which gives too short steps here.
                error = error + (ACCEPTANCE - accepted - error) / (t + 10)
                log_step = centre - error * t**0.5 / 0.2
                average = average + (log_step - average) * t**-0.75
                both = torch.stack((self.fields, self.gradient)).cpu()
                total, squares = total + both, squares + both.square()
            self.step_size = average.exp()
            if end < transitions:
                variance, steepness = (squares / n - (total / n) ** 2).mean(1).to(self.fields)
                scale = (variance / steepness) ** 0.25
                usable = scale.isfinite() & (scale > 0)  # not where nothing moved
                self.scale = torch.where(usable, scale, self.scale)


def _kinetic(momentum: Tensor) -> Tensor:
    return momentum.square().flatten(1).sum(1) / 2


def _check(action: Tensor, chains: int) -> None:
    """Refuse an action that isn't one finite number for each chain."""
    if not isinstance(action, Tensor) or action.shape != (chains,):
        got = list(action.shape) if isinstance(action, Tensor) else short(action)
        raise ValueError(
            f"Expected the action to give a number for each field, [{chains}]; got {got}: sum over "
            f"channels and sites alone."
        )
    if lost := int((~action.isfinite()).sum()):
        raise ValueError(
            f"Expected the action to be finite; {lost} of {chains} aren't at the start: check its "
            f"parameters, or pass a start where it is."
        )
