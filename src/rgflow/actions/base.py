"""Actions of lattice fields: p(φ) = e^(−S(φ))/Z on a periodic square lattice.

Sums are over sites x and the two directions μ. Letters in shapes: N fields; C components of a
field; H, W rows and columns.

Like the settings themselves, this module imports no torch.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from annotated_types import Gt

from rgflow.checks import short
from rgflow.kinds import Kind, Named, config, imported

if TYPE_CHECKING:
    from torch import Tensor

CHAINS = 32
"""Markov chains of reference fields, half of which start at each sign."""


@config
class Action(Kind, ABC, family="action"):
    """An action. One of your own is a function from fields [N, C, H, W] to [N], or a subclass,
    given by its import path."""

    @classmethod
    def of_path(cls, path: str, options: dict[str, Any]) -> Any:
        found = imported(path)
        if isinstance(found, type):
            return super().of_path(path, options)
        if options:  # a function, or it isn't known yet what
            raise ValueError(
                f"Expected no options of the action {short(path)}, which is a function or hasn't "
                f"been imported; got {short(next(iter(options)))}."
            )
        return OwnAction(path=path)

    near: ClassVar[bool] = False
    """Whether the density of a site depends on its four neighbours alone, in a form that
    `rgflow.bijectors.conditional` knows."""

    @property
    def states(self) -> tuple[float, ...]:
        """The values that a site may have, in order; none: all real numbers."""
        return ()

    @abstractmethod
    def __call__(self, fields: "Tensor") -> "Tensor":
        """S(φ) of fields [N, C, H, W], in nats [N]."""

    def log_z(self, channels: int, height: int, width: int) -> float | None:
        """ln Z in nats, or none where it isn't known exactly."""
        return None

    def mean_energy(self, channels: int, height: int, width: int) -> float | None:
        """The mean energy per site, as `rgflow measure` defines it, or none where it isn't known
        exactly."""
        return None

    @property
    def heat_factor(self) -> float:
        """The specific heat is this times the variance of the energy, per site."""
        return 1.0

    def observed(self, fields: "Tensor") -> "tuple[Tensor, Tensor]":
        """What observables are computed from, given fields [N, C, H, W]: values, float64 of the
        same shape, and energies [N]."""
        return fields.double(), self(fields.double())

    def reference_fields(
        self, shape: tuple[int, int, int], count: int, seed: int = 0, thin: int = 4
    ) -> "tuple[Tensor, str]":
        """Fields drawn without a flow, here by Markov chains of HMC.

        Args:
            shape: Shape of a field, (C, H, W).
            count: Approximate number of fields.
            seed: Seed of all randomness.
            thin: Trajectories of HMC per draw.

        Returns:
            Fields [draws, chains, C, H, W], and the name of the method.
        """
        import torch

        from rgflow.field_theory.monte_carlo import hmc

        draws, generator = max(count // CHAINS, 4), torch.Generator().manual_seed(seed)
        start = torch.randn(CHAINS, *shape, generator=generator, dtype=torch.float64).abs() / 2
        start[::2] *= -1
        with torch.enable_grad():
            found = hmc(
                self, shape, chains=CHAINS, draws=draws, warm_up=500, leapfrog=10, thin=thin,
                start=start, seed=seed,
            )  # fmt: skip
        return found.fields, "hmc"


@config
class Phi4(Action, kind="phi4"):
    """φ⁴ theory, S = Σ_x [c₁ Σ_μ φ_x·φ_(x+μ) + c₂ φ_x² + c₄ (φ_x²)²], with φ_x² = φ_x·φ_x, so
    with C components it is O(C) symmetric.

    Args:
        c1: Coefficient of the neighbour term; negative if neighbours tend to be alike.
        c2: Coefficient of the squares.
        c4: Coefficient of the fourth powers.

    Raises:
        ValueError: If the action isn't bounded from below.

    Example:
        >>> import torch
        >>> action = Phi4.albergo(mass2=-4, coupling=6.975)
        >>> action
        Phi4(c1=-2.0, c2=0.0, c4=6.975)
        >>> action(torch.ones(1, 1, 6, 6)).item()  # 36·(−4 + 6.975)
        107.1...
    """

    near: ClassVar[bool] = True

    c1: float = -1.0
    c2: float = 2.0
    c4: float = 1.0

    def __post_init__(self) -> None:
        if self.c4 < 0 or (self.c4 == 0 and self.c2 <= 2 * abs(self.c1)):
            raise ValueError(
                f"Expected an action that is bounded from below: c4 > 0, or c4 = 0 and "
                f"c2 > 2·|c1|; got c1 = {self.c1:g}, c2 = {self.c2:g}, c4 = {self.c4:g}."
            )

    @classmethod
    def albergo(cls, mass2: float, coupling: float) -> Self:
        """From m² and λ of Albergo et al. 2019 (arXiv:1904.12072)."""
        return cls(c1=-2.0, c2=float(4 + mass2), c4=float(coupling))

    @classmethod
    def nicoli(cls, kappa: float, coupling: float) -> Self:
        """From κ and λ of Nicoli et al. 2020 (arXiv:2007.07115)."""
        return cls(c1=-2.0 * kappa, c2=1 - 2.0 * coupling, c4=float(coupling))

    @classmethod
    def standard(cls, mass2: float, coupling: float) -> Self:
        """From m² and g of ½(∂φ)² + ½m²φ² + g/4! φ⁴."""
        return cls(c1=-1.0, c2=(4 + mass2) / 2, c4=coupling / 24)

    def __call__(self, fields: "Tensor") -> "Tensor":
        square = fields.square().sum(1)
        around = fields.roll(1, 2) + fields.roll(1, 3)
        near = (fields * around).sum(1)
        return (self.c1 * near + square * (self.c2 + self.c4 * square)).sum((1, 2))

    def log_z(self, channels: int, height: int, width: int) -> float | None:
        from rgflow.field_theory.exact import gaussian_log_z

        if self.c4 == 0:
            return channels * gaussian_log_z((height, width), self.c1, self.c2)
        found = self._exact(channels, height, width)
        return found and found[0]

    def mean_energy(self, channels: int, height: int, width: int) -> float | None:
        found = self._exact(channels, height, width)
        return found and found[1] / (height * width)

    def _exact(self, channels: int, height: int, width: int) -> tuple[float, float] | None:
        """ln Z and ⟨S⟩ of fields of one component on narrow lattices."""
        from rgflow.field_theory.exact import MAX_SIDE, phi4

        if (
            channels != 1
            or self.c4 == 0
            or min(height, width) > MAX_SIDE
            or height % 2
            or width % 2
        ):
            return None
        return phi4((height, width), self.c1, self.c2, self.c4)


@config
class FreeField(Action, kind="free"):
    """The Gaussian free field, S = ½ Σ_x [Σ_μ (φ_(x+μ) − φ_x)² + m² φ_x²].

    Args:
        mass2: m² in lattice units.

    Raises:
        ValueError: If m² isn't positive.

    Example:
        >>> round(FreeField(mass2=1.0).log_z(1, 8, 8), 6)
        10.557825
    """

    near: ClassVar[bool] = True

    mass2: Annotated[float, Gt(0)] = 1.0

    @property
    def normal(self) -> Phi4:
        """The same in the normal form."""
        return Phi4.standard(self.mass2, 0.0)

    def __call__(self, fields: "Tensor") -> "Tensor":
        return self.normal(fields)

    def log_z(self, channels: int, height: int, width: int) -> float:
        found = self.normal.log_z(channels, height, width)
        assert found is not None
        return found


@config
class OwnAction(Named, Action):
    """A custom action: a function from fields [N, C, H, W] to [N] given by its import path. Its
    module must have been imported or be trusted."""

    def __call__(self, fields: "Tensor") -> "Tensor":
        function = imported(self.path)
        if not callable(function):
            module = self.path.rpartition(".")[0]
            raise ValueError(
                f"Expected an action of a module that has been imported; {short(self.path)} would "
                f"run code: if you know it, add --trust {module:.300}, or import it in Python."
            )
        found: Tensor = function(fields)
        return found


def evaluated(action: Action, fields: "Tensor") -> "Tensor":
    """S of fields, after a check that it is a finite number for every field.

    Raises:
        ValueError: If it isn't.

    Example:
        >>> import torch
        >>> evaluated(FreeField(), torch.zeros(2, 1, 4, 4)).tolist()
        [0.0, 0.0]
    """
    import torch

    found = action(fields)
    if not isinstance(found, torch.Tensor) or found.shape != (len(fields),):
        got = list(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        raise ValueError(
            f"Expected an action to give one number for each of {len(fields)} fields; "
            f"{_name(action)} gave {got}: sum over all axes but the first."
        )
    if not torch.isfinite(found).all():
        bad = int((~torch.isfinite(found)).sum())
        raise ValueError(
            f"Expected an action that is finite; {_name(action)} is NaN or infinite for {bad} of "
            f"{len(fields)} fields, whose values reach {fields.abs().max().item():.3g}."
        )
    return found


def is_even(action: Action, fields: "Tensor") -> bool:
    """Whether S(−φ) = S(φ), up to rounding, for some fields [N, C, H, W].

    Example:
        >>> import torch
        >>> is_even(FreeField(), torch.randn(5, 1, 4, 4))
        True
    """
    if action.states and {-state for state in action.states} != set(action.states):
        return False
    here, there = evaluated(action, fields), evaluated(action, -fields)
    return bool((here - there).abs().max() <= 1e-5 * here.abs().max())


def _name(action: Action) -> str:
    return getattr(action, "path", type(action).__name__)
