"""Hamiltonian Monte Carlo: many chains in one batch, with adapted step sizes and scales.

Leapfrog trajectories with a Metropolis decision at their ends (Duane et al. 1987; Neal 2011, arXiv
1206.1901) draw from a density that is known up to a constant. In the warm-up, step sizes are found
by dual averaging (Hoffman & Gelman 2014, arXiv 1111.4246) and the scale of every variable from the
chains themselves; then both are fixed, as a chain that keeps adapting draws from another
distribution. `rgflow.field_theory` draws lattice fields by it.

Letters in shapes: N groups of chains that share step size and scales; K chains, in the order of
their groups; S rows of variables, in the order of their chains; C variables in a row.
"""

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

MAX_ENERGY_ERROR = 1000.0
"""Error of the energy, in nats, above which a trajectory has diverged (as in Stan)."""
_ACCEPTANCE = 0.8
"""Mean acceptance that step sizes are adapted to (as in Stan)."""
_WINDOWS = (0.1, 0.25, 0.5, 0.8, 1.0)
"""Ends of the windows of the adaptation, as shares of it; all but the last set new scales."""
_MAX_GRADIENT = 1e6
"""Largest component of a gradient, where the density is nearly a step; 0 where it is NaN."""


class Chains:
    """Positions of all chains, with their scales and step sizes.

    Args:
        log_density: Log-densities [K] of positions [S, C] in nats, up to a constant;
            differentiable. Chains never move where it isn't finite.
        start: Positions at the start, [S, C], with a finite density.
        sizes: Rows of a chain, for each group, [N].
        copies: Chains in a group, K/N.
        generators: One per group, on the CPU. The draws of a group depend on its own alone.

    Attributes:
        y: Positions, [S, C].
        log_p: Log-densities there, [K].
        gradient: Their gradient, [S, C].
        owners: The chain of every row, [S].
        scale: Scale of every variable, [S, C]; the same in all chains of a group.
        step_size: Step size of every group in units of the scales, [N].
        evaluations: Number of evaluations of `log_density` and its gradient, each of all chains.

    Example:
        Four chains with five standard normal variables each.

        >>> chains = Chains(
        ...     lambda y: -y.square().sum(1) / 2,
        ...     torch.zeros(4, 5),
        ...     sizes=[1],
        ...     copies=4,
        ...     generators=[torch.Generator().manual_seed(0)],
        ... )
        >>> chains.adapt(50, lambda: chains.move(4))
        >>> acceptance(chains.move(4)).shape, chains.evaluations
        (torch.Size([4]), 205)
    """

    def __init__(
        self,
        log_density: Callable[[Tensor], Tensor],
        start: Tensor,
        *,
        sizes: Sequence[int],
        copies: int,
        generators: Sequence[torch.Generator],
    ) -> None:
        self.log_density, self.copies, self.generators = log_density, copies, generators
        self._rows = [size * copies for size in sizes]
        rows = torch.tensor(sizes).repeat_interleave(copies)
        self.owners = torch.arange(len(rows)).repeat_interleave(rows).to(start.device)
        self._group_of = self.owners // copies  # of every row
        self.evaluations = 0
        self.start(start)
        self.scale = torch.ones_like(self.y)
        # Right up to a factor if all variables are independent and have these scales.
        self.step_size = self.y.new_tensor(sizes).mul(self.y.shape[1]) ** -0.25

    def start(self, y: Tensor) -> None:
        """Set the positions of all chains, [S, C]."""
        self.y = y.detach()
        self.log_p, self.gradient = self.evaluate(self.y)

    def parts(self, values: Tensor) -> list[Tensor]:
        """Values [..., S, C] by group, [..., chains, rows, C] each."""
        return [part.unflatten(-2, (self.copies, -1)) for part in values.split(self._rows, -2)]

    def evaluate(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Log-densities [K] at positions [S, C], and their gradient [S, C], bounded."""
        y = y.detach().requires_grad_()
        with torch.enable_grad():
            log_p = self.log_density(y)
            (gradient,) = torch.autograd.grad(log_p.sum(), y)
        self.evaluations += 1
        log_p = torch.where(log_p.isfinite(), log_p, -torch.inf).detach()
        return log_p, gradient.nan_to_num(0, 0, 0).clamp(-_MAX_GRADIENT, _MAX_GRADIENT)

    def move(self, steps: int) -> Tensor:
        """One transition of all chains, of a number of leapfrog steps.

        Returns:
            The rise of the energy over the trajectory in nats, [K]: the chain has moved with
            probability min(1, exp(−rise)).
        """
        momentum = self._normal()
        uniform = torch.cat([torch.rand(self.copies, generator=g) for g in self.generators])
        energy = self._energy(self.log_p, momentum)
        y, gradient = self.y, self.gradient
        step = self.step_size[self._group_of][:, None] * self.scale
        for _ in range(steps):
            momentum = momentum + step / 2 * gradient
            y = y + step * momentum
            log_p, gradient = self.evaluate(y)
            momentum = momentum + step / 2 * gradient
        rise = self._energy(log_p, momentum) - energy
        accepted = uniform.to(rise).log() < -rise  # false for NaN
        moved = accepted[self.owners][:, None]
        self.y = torch.where(moved, y, self.y)
        self.gradient = torch.where(moved, gradient, self.gradient)
        self.log_p = torch.where(accepted, log_p, self.log_p)
        return rise

    def _normal(self) -> Tensor:
        """Normal random numbers for every variable, [S, C], each group's by its own generator."""
        parts = self.y.split(self._rows)
        drawn = [
            torch.empty(part.shape, dtype=part.dtype).normal_(generator=generator)
            for part, generator in zip(parts, self.generators, strict=True)
        ]
        return torch.cat(drawn).to(self.y.device)

    def _energy(self, log_p: Tensor, momentum: Tensor) -> Tensor:
        kinetic = momentum.square().sum(1) / 2
        return torch.zeros_like(log_p).index_add(0, self.owners, kinetic) - log_p

    def adapt(self, transitions: int, move: Callable[[], Tensor]) -> None:
        """Find step sizes and scales from all chains of a group at once.

        A scale is the fourth root of a variable's variance over its gradient's variance (as in
        nutpie): right for normal distributions, even before chains have explored them.

        Args:
            transitions: Number of transitions.
            move: Does one transition and returns rises of the energy, [K], as `Chains.move`.
        """
        ends = [round(transitions * end) for end in (0, *_WINDOWS)]
        for begin, end in itertools.pairwise(ends):
            total, squares = torch.zeros(2, 2, *self.y.shape, dtype=torch.float64)
            centre = average = log_step = self.step_size.log()
            error = torch.zeros_like(log_step)
            n = end - begin
            for t in range(1, n + 1):
                self.step_size = log_step.exp()
                accepted = acceptance(move()).view(-1, self.copies).mean(1)
                # Stan's constants, except 0.2 in place of 0.05, which gives too short steps here.
                error = error + (_ACCEPTANCE - accepted - error) / (t + 10)
                log_step = centre - error * t**0.5 / 0.2
                average = average + (log_step - average) * t**-0.75
                both = torch.stack((self.y, self.gradient)).cpu().double()
                total, squares = total + both, squares + both.square()
            self.step_size = average.exp()
            if end < transitions:
                variance, steepness = self._group_means(squares / n - (total / n) ** 2).to(self.y)
                scale = (variance / steepness) ** 0.25
                usable = scale.isfinite() & (scale > 0)  # not where nothing moved
                self.scale = torch.where(usable, scale, self.scale)

    def _group_means(self, values: Tensor) -> Tensor:
        """Values [..., S, C] averaged over the chains of each group, [..., S, C]."""
        parts = [p.mean(-3, keepdim=True).expand_as(p) for p in self.parts(values)]
        return torch.cat([p.flatten(-3, -2) for p in parts], -2)


def acceptance(rise: Tensor) -> Tensor:
    """Probabilities of acceptance from rises of the energy in nats, [K] → [K].

    Example:
        >>> acceptance(torch.tensor([-1.0, 0.0, torch.inf, torch.nan]))
        tensor([1., 1., 0., 0.])
    """
    return (-rise).exp().clamp(max=1).nan_to_num(0)
