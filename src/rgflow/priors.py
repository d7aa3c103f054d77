"""Priors: the factorised distribution of the latents, p(z) = ∏_l p(z_l) (paper, eq. 10).

**Cube coordinates.** The distribution function u = F(z) in (0, 1) turns a prior into the uniform
distribution. As a plain number u loses its precision near 1, so here it is always held as the
*signed distance to the nearer edge*, d = u for u ≤ ½ and d = u − 1 above: |d| in (0, ½] has full
relative precision at both ends. d is not a new variable, only a way to write u; dd/du = 1.
"""

import math
from typing import ClassVar, Protocol, Self

import torch
from torch import Tensor

from rgflow.checks import check_at_least
from rgflow.config import GaussianPrior, LaplacePrior
from rgflow.kinds import made_from

SQRT_HALF = math.sqrt(0.5)


class Prior(Protocol):
    """A symmetric distribution on the real line, the same for every latent.

    All methods work element by element on tensors of any shape. A new prior is a class with these.
    """

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-densities in nats, of the shape of z."""
        ...

    def to_cube(self, z: Tensor) -> Tensor:
        """The distribution function, in cube coordinates of the shape of z."""
        ...

    def from_cube(self, d: Tensor) -> Tensor:
        """The quantile function, the inverse of `to_cube`, of the shape of d."""
        ...

    def tempered(self, temperature: float) -> Self:
        """The same prior at a temperature T: p^(1/T), normalised (paper, eq. D.2)."""
        ...

    def sample_like(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Independent draws in the shape, dtype and device of `z`."""
        ...


class _Scaled(Prior):
    """What both priors share: a scale, at least 0, and p^(1/T), whose scale is that times a power
    of T."""

    power: ClassVar[float]

    def __init__(self, scale: float) -> None:
        check_at_least("the prior's scale", scale, 0)
        self.scale = scale
        self._log_scale = math.log(scale) if scale else -math.inf

    def tempered(self, temperature: float) -> Self:
        check_at_least("the temperature", temperature, 0)
        return type(self)(self.scale * temperature**self.power)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(scale={self.scale})"


def _two_sided(z: Tensor, tail: Tensor) -> Tensor:
    """Cube coordinates from P(Z > |z|); where that underflows, the smallest number stands for it,
    so that the side is never lost."""
    tail = tail.clamp(min=torch.finfo(tail.dtype).tiny)
    return torch.where(z > 0, -tail, tail)


@made_from(LaplacePrior)
class Laplace(_Scaled):
    """p(z) = exp(−|z|/b) / 2b, the paper's sparse prior (section 3.6).

    Args:
        scale: b; 1/√2 for unit variance.

    Example:
        >>> Laplace().log_prob(torch.zeros(1)).item()  # −ln √2
        -0.34657359...
        >>> Laplace().tempered(0.5).scale
        0.35355339...
    """

    power = 1.0

    def __init__(self, scale: float = SQRT_HALF) -> None:
        super().__init__(scale)

    def log_prob(self, z: Tensor) -> Tensor:
        return -z.abs() / self.scale - (math.log(2) + self._log_scale)

    def to_cube(self, z: Tensor) -> Tensor:
        return _two_sided(z, torch.exp(-z.abs() / self.scale) / 2)

    def from_cube(self, d: Tensor) -> Tensor:
        return torch.sign(d) * self.scale * torch.log(2 * d.abs())

    def sample_like(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        magnitude = torch.empty_like(z).exponential_(generator=generator)
        sign = torch.empty_like(z).random_(2, generator=generator) * 2 - 1
        return self.scale * sign * magnitude


@made_from(GaussianPrior)
class Gaussian(_Scaled):
    """The normal distribution with standard deviation σ.

    Args:
        scale: σ.

    Example:
        >>> Gaussian().tempered(0.25).scale
        0.5
    """

    power = 0.5

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__(scale)

    def log_prob(self, z: Tensor) -> Tensor:
        return -0.5 * (z / self.scale) ** 2 - (0.5 * math.log(2 * math.pi) + self._log_scale)

    def to_cube(self, z: Tensor) -> Tensor:
        return _two_sided(z, torch.erfc(z.abs() / self.scale * SQRT_HALF) / 2)

    def from_cube(self, d: Tensor) -> Tensor:
        return torch.sign(d) * self.scale * torch.special.ndtri(d.abs())

    def sample_like(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return self.scale * torch.empty_like(z).normal_(generator=generator)
