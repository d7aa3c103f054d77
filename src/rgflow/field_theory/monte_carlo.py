"""Fields of any action by Hamiltonian Monte Carlo, the reference where exact values are unknown.

Letters in shapes: T draws; K chains; C channels; H, W rows and columns.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rgflow.checks import check_whole, short
from rgflow.hmc import MAX_ENERGY_ERROR, Chains, acceptance


@dataclass(frozen=True, kw_only=True, eq=False)
class FieldChains:
    """Fields drawn by HMC, and their cost.

    Attributes:
        fields: The draws, float64 [T, K, C, H, W].
        action: The action of every draw, in nats, [T, K].
        acceptance: Mean acceptance of every chain, [K]; about 0.8.
        divergences: Number of divergent trajectories of every chain, [K].
        evaluations: Evaluations of the action and its gradient for these draws, for each chain. An
            independent draw costs 2 τ_int · `evaluations` / T of them.
    """

    fields: Tensor
    action: Tensor
    acceptance: Tensor
    divergences: Tensor
    evaluations: int


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
    """Draw fields of an action by Hamiltonian Monte Carlo, many chains at once (`rgflow.hmc`).

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

    def log_density(y: Tensor) -> Tensor:
        return -action(y.view(-1, *shape))

    found = Chains(log_density, start.flatten(1), sizes=[1], copies=chains, generators=[generator])
    steps = np.random.default_rng(seed).integers(1, 2 * leapfrog, warm_up + thin * draws)
    lengths = iter(steps.tolist())
    found.adapt(warm_up, lambda: found.move(next(lengths)))
    before = found.evaluations
    fields = torch.empty(draws, chains, *shape, dtype=torch.float64)
    actions = torch.empty(draws, chains, dtype=torch.float64)
    accepted, divergences = torch.zeros(2, chains, dtype=torch.float64)
    for draw in range(draws):
        for _ in range(thin):
            rise = found.move(next(lengths)).cpu()
            accepted += acceptance(rise)
            divergences += ~(rise < MAX_ENERGY_ERROR)
        fields[draw], actions[draw] = found.y.view(-1, *shape).cpu(), -found.log_p.cpu()
    return FieldChains(
        fields=fields,
        action=actions,
        acceptance=accepted / (draws * thin),
        divergences=divergences.long(),
        evaluations=found.evaluations - before,
    )


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
