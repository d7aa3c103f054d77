"""Hamiltonian Monte Carlo: many chains in one batch, with step sizes and scales that they find.

Leapfrog trajectories with a Metropolis decision at their ends (Duane et al. 1987; Neal 2011, arXiv
1206.1901) draw from a density that is known but for a constant. In the warm-up, step sizes are
found by dual averaging (Hoffman & Gelman 2014, arXiv 1111.4246) and the scale of every variable
from the chains themselves; then both stay, as a chain that goes on adapting draws from another
distribution. `rgflow.field_theory` draws lattice fields by it.

Letters in shapes: N groups of chains that share step size and scales; K chains, those of a group
follow one another; S rows of variables of all chains together, a chain's follow one another; C
variables in a row.
"""

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

DIVERGED = 1000.0
"""Nats by which the energy of a trajectory may be wrong."""
_ACCEPTANCE = 0.8
_WINDOWS = (0.1, 0.25, 0.5, 0.8, 1.0)
"""Where windows of the adaptation end. Each but the last gives scales to the next."""
_STEEPEST = 1e6
"""Where the density is no number, or nearly a wall, chains get no push, or this one."""


class Chains:
    """Positions of all chains, and what their moves depend on.

    Args:
        log_density: Log-densities [K] of positions [S, C], but for a constant, in nats;
            differentiable. Where it isn't finite, no chain goes.
        start: Where chains start, [S, C], with a finite density.
        sizes: Rows of a chain, for each group, [N].
        copies: Chains in a group, K/N.
        generators: One per group, on the CPU. What a group draws depends on its own alone.

    Attributes:
        y: Where the chains are, [S, C].
        log_p: Log-density there, [K].
        push: Its gradient, [S, C].
        owners: Which chain a row belongs to, [S].
        scale: That of every variable, [S, C]; the same in all chains of a group.
        step_size: Of every group, in units of these scales, [N].
        evaluations: How often `log_density` and its gradient were computed, for all chains at once.

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
        # Right but for a factor if all variables were independent and of their scale.
        self.step_size = self.y.new_tensor(sizes).mul(self.y.shape[1]) ** -0.25

    def start(self, y: Tensor) -> None:
        """Go to these positions, [S, C]."""
        self.y = y.detach()
        self.log_p, self.push = self.evaluate(self.y)

    def parts(self, values: Tensor) -> list[Tensor]:
        """Values [..., S, C] of every group, [..., chains, rows, C]."""
        return [part.unflatten(-2, (self.copies, -1)) for part in values.split(self._rows, -2)]

    def evaluate(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Log-density [K] and its gradient [S, C], such that chains stay finite."""
        y = y.detach().requires_grad_()
        with torch.enable_grad():
            log_p = self.log_density(y)
            (push,) = torch.autograd.grad(log_p.sum(), y)
        self.evaluations += 1
        log_p = torch.where(log_p.isfinite(), log_p, -torch.inf).detach()
        return log_p, push.nan_to_num(0, 0, 0).clamp(-_STEEPEST, _STEEPEST)

    def move(self, steps: int) -> Tensor:
        """One transition of all chains, of so many leapfrog steps: by how much the energy rose, in
        nats [K]. A chain has moved with probability exp of minus that."""
        momentum = self._normal()
        uniform = torch.cat([torch.rand(self.copies, generator=g) for g in self.generators])
        energy = self._energy(self.log_p, momentum)
        y, push = self.y, self.push
        step = self.step_size[self._group_of][:, None] * self.scale
        for _ in range(steps):
            momentum = momentum + step / 2 * push
            y = y + step * momentum
            log_p, push = self.evaluate(y)
            momentum = momentum + step / 2 * push
        rise = self._energy(log_p, momentum) - energy
        accepted = uniform.to(rise).log() < -rise  # never if that's no number
        moved = accepted[self.owners][:, None]
        self.y = torch.where(moved, y, self.y)
        self.push = torch.where(moved, push, self.push)
        self.log_p = torch.where(accepted, log_p, self.log_p)
        return rise

    def _normal(self) -> Tensor:
        """Random numbers for every variable, [S, C]; a group's from its own generator."""
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

        A scale is the fourth root of a variable's variance over that of the gradient: right for a
        normal distribution, and it is so even before chains have seen all of it (nutpie's choice).

        Args:
            transitions: How many.
            move: Does one and returns what `move` of this class does.
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
                # Stan's constants but for 0.2, its 0.05, with which steps come out too short here.
                error = error + (_ACCEPTANCE - accepted - error) / (t + 10)
                log_step = centre - error * t**0.5 / 0.2
                average = average + (log_step - average) * t**-0.75
                both = torch.stack((self.y, self.push)).cpu().double()
                total, squares = total + both, squares + both.square()
            self.step_size = average.exp()
            if end < transitions:
                variance, steepness = self._alike(squares / n - (total / n) ** 2).to(self.y)
                scale = (variance / steepness) ** 0.25
                usable = scale.isfinite() & (scale > 0)  # not where nothing moved
                self.scale = torch.where(usable, scale, self.scale)

    def _alike(self, values: Tensor) -> Tensor:
        """The mean over the chains of a group, for each of them: [..., S, C]."""
        parts = [p.mean(-3, keepdim=True).expand_as(p) for p in self.parts(values)]
        return torch.cat([p.flatten(-3, -2) for p in parts], -2)


def acceptance(rise: Tensor) -> Tensor:
    """Probabilities of acceptance, from the rises of the energy [K].

    Example:
        >>> acceptance(torch.tensor([-1.0, 0.0, torch.inf, torch.nan]))
        tensor([1., 1., 0., 0.])
    """
    return (-rise).exp().clamp(max=1).nan_to_num(0)
