"""Actions of spins with q states and neighbours, S = E/T.

Letters in shapes: N fields; C components, 1; H, W rows and columns; q states of a spin.
"""

import math
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from annotated_types import Ge, Le

from rgflow.actions.base import CHAINS, Action
from rgflow.checks import MAX_STATES
from rgflow.kinds import config

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    Array = NDArray[np.float64]

MIN_TEMPERATURE = 0.01
"""As `rgflow.field_theory.exact.MIN_TEMPERATURE`, which needs more imports than settings should."""


@config
class Spins(Action):
    """Spins with q states and an energy of sites and of pairs of neighbours, the base of the
    models below: S = E/T with E = Σ_x [A(s_x) + Σ_μ B(s_x, s_(x+μ))].

    Args:
        temperature: T.
    """

    near: ClassVar[bool] = True
    exchangeable: ClassVar[bool] = False
    """Whether E stays the same under every permutation of the states; otherwise it does where their
    order is reversed."""

    temperature: Annotated[float, Ge(MIN_TEMPERATURE)] = 1.0

    @property
    def alone(self) -> "Array":
        """A, the energy of a site in every state, [q]."""
        import numpy as np

        return np.zeros(len(self.states))

    @property
    def pairs(self) -> "Array":
        """B, the energy of two neighbours, symmetric, [q, q]."""
        raise NotImplementedError

    def numbers(self, fields: "Tensor") -> "Tensor":
        """The states of spins by number, from 0 to q − 1, of any shape; that nearest to a value."""
        import torch

        states = torch.tensor(self.states, dtype=fields.dtype, device=fields.device)
        return torch.bucketize(fields.contiguous(), (states[1:] + states[:-1]) / 2)

    def energies(self, fields: "Tensor") -> "Tensor":
        """E of spins [N, C, H, W], [N]."""
        import torch

        at = self.numbers(fields)
        alone, pairs = (
            torch.from_numpy(x).to(fields.device, fields.dtype) for x in (self.alone, self.pairs)
        )
        near = sum(pairs.flatten()[len(alone) * at + at.roll(1, axis)] for axis in (2, 3))
        return (alone[at] + near).sum((1, 2, 3))

    def __call__(self, fields: "Tensor") -> "Tensor":
        return self.energies(fields) / self.temperature

    def log_z(self, channels: int, height: int, width: int) -> float | None:
        found = self._exact(channels, height, width)
        return found and found[0]

    def mean_energy(self, channels: int, height: int, width: int) -> float | None:
        found = self._exact(channels, height, width)
        return found and found[1] / (height * width)

    def _exact(self, channels: int, height: int, width: int) -> "tuple[float, float] | None":
        """ln Z and ⟨E⟩, where lattices are narrow enough for a transfer matrix."""
        from rgflow.field_theory.exact import MAX_ROWS, transfer

        if channels != 1 or len(self.states) ** min(height, width) > MAX_ROWS:
            return None
        return transfer((height, width), self.temperature, self.alone, self.pairs)

    @property
    def heat_factor(self) -> float:
        return self.temperature**-2

    def observed(self, fields: "Tensor") -> "tuple[Tensor, Tensor]":
        """Spins, and their energies E [N]."""
        return fields.double(), self.energies(fields.double())

    def reference_fields(
        self, shape: tuple[int, int, int], count: int, seed: int = 0, thin: int = 4
    ) -> "tuple[Tensor, str]":
        """Spins of Markov chains. Arguments are as for `Action.reference_fields`.

        Raises:
            ValueError: If the lattice isn't square, has an odd edge, or several components.
        """
        import numpy as np
        import torch

        if shape[0] != 1 or shape[1] != shape[2] or shape[1] % 2:
            raise ValueError(
                f"Expected a square lattice with even edges and one component for Markov chains of "
                f"spins; got {shape[1]}×{shape[2]} and {shape[0]}: measure without a reference."
            )
        found, method = self._chains(shape[1], max(count // CHAINS, 4), seed, thin)
        spins = torch.from_numpy(np.stack(list(found))).long()
        return torch.tensor(self.states, dtype=torch.float64)[spins][:, :, None], method

    def _chains(self, length: int, draws: int, seed: int, thin: int) -> "tuple[Any, str]":
        """Draws of chains, numbers of states [K, L, L] each, and the name of the method."""
        from rgflow.field_theory.clusters import heat_bath

        found = heat_bath(
            length, self.temperature, self.alone, self.pairs,
            chains=CHAINS, sweeps=draws, thin=4 * thin, warm_up=1000, seed=seed,
        )  # fmt: skip
        return found, "heat bath"


@config
class Ising(Spins, kind="ising"):
    """The Ising model, E = −Σ s_x s_(x+μ), whose spins are −1 and 1. By default at the critical
    temperature of the infinite lattice.

    Args:
        temperature: T.

    Raises:
        ValueError: If T is below 0.01.

    Example:
        >>> import torch
        >>> action = Ising(temperature=2.0)
        >>> action(torch.ones(2, 1, 4, 4)).tolist()
        [-16.0, -16.0]
        >>> round(action.log_z(1, 16, 16), 4)
        263.2962
    """

    exchangeable: ClassVar[bool] = True

    temperature: Annotated[float, Ge(MIN_TEMPERATURE)] = 2 / math.log(1 + math.sqrt(2))

    @property
    def states(self) -> tuple[float, ...]:
        return -1.0, 1.0

    @property
    def pairs(self) -> "Array":
        import numpy as np

        return -np.outer(self.states, self.states)

    def _exact(self, channels: int, height: int, width: int) -> "tuple[float, float] | None":
        """By Kaufman's formula for a square."""
        from rgflow.field_theory.exact import ising

        if channels != 1 or height != width:
            return super()._exact(channels, height, width)
        return ising(height, self.temperature)[:2]

    def _chains(self, length: int, draws: int, seed: int, thin: int) -> "tuple[Any, str]":
        from rgflow.field_theory.clusters import swendsen_wang

        found = swendsen_wang(
            length, self.temperature, chains=CHAINS, sweeps=draws, warm_up=200, seed=seed
        )
        return ((spins + 1) // 2 for spins in found), "clusters"


@config
class Potts(Spins, kind="potts"):
    """The Potts model, E = −Σ δ(s_x, s_(x+μ)), whose spins are 0 to q − 1. Observables are those of
    the vectors from the middle of a simplex to its corners, of length 1.

    Args:
        colours: q.
        temperature: T; by default the critical one of q = 3, see `critical`.

    Raises:
        ValueError: If a value isn't possible.

    Example:
        >>> import torch
        >>> action = Potts.critical(4)
        >>> round(action.temperature, 6)
        0.910239
        >>> round(action(torch.zeros(1, 1, 4, 4)).item() * action.temperature, 4)
        -32.0
    """

    exchangeable: ClassVar[bool] = True

    colours: Annotated[int, Ge(2), Le(MAX_STATES)] = 3
    temperature: Annotated[float, Ge(MIN_TEMPERATURE)] = 1 / math.log(1 + math.sqrt(3))

    @classmethod
    def critical(cls, colours: int) -> Self:
        """At the critical temperature of the infinite lattice, 1/ln(1 + √q) (Potts 1952)."""
        return cls(colours=colours, temperature=1 / math.log(1 + math.sqrt(colours)))

    @property
    def states(self) -> tuple[float, ...]:
        return tuple(map(float, range(self.colours)))

    @property
    def pairs(self) -> "Array":
        import numpy as np

        return -np.eye(self.colours)

    def observed(self, fields: "Tensor") -> "tuple[Tensor, Tensor]":
        """Vectors [N, q, H, W] of spins, and their energies E [N]."""
        from torch.nn import functional

        q = self.colours
        one = functional.one_hot(self.numbers(fields)[:, 0], q).movedim(3, 1).double()
        return (one - 1 / q) * math.sqrt(q / (q - 1)), self.energies(fields.double())

    def _chains(self, length: int, draws: int, seed: int, thin: int) -> "tuple[Any, str]":
        from rgflow.field_theory.clusters import potts

        found = potts(
            length, self.temperature, self.colours,
            chains=CHAINS, sweeps=draws, warm_up=500, seed=seed,
        )  # fmt: skip
        return found, "clusters"


@config
class BlumeCapel(Spins, kind="blume_capel"):
    """The Blume–Capel model, E = −Σ s_x s_(x+μ) + Δ Σ s_x², whose spins are −1, 0 and 1.

    Args:
        temperature: T; by default the critical one of Δ = 0, about 1.6936 (Malakis et al. 2010).
        splitting: Δ.

    Example:
        >>> import torch
        >>> BlumeCapel(temperature=1.0, splitting=0.5)(torch.ones(1, 1, 4, 4)).item()
        -24.0
    """

    temperature: Annotated[float, Ge(MIN_TEMPERATURE)] = 1.6936
    splitting: float = 0.0

    @property
    def states(self) -> tuple[float, ...]:
        return -1.0, 0.0, 1.0

    @property
    def alone(self) -> "Array":
        import numpy as np

        return self.splitting * np.square(self.states)

    @property
    def pairs(self) -> "Array":
        import numpy as np

        return -np.outer(self.states, self.states)
