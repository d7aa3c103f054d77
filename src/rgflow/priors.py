"""Priors: the factorised distribution of the latents, p(z) = ∏_l p(z_l) (paper, eq. 10).

**Cube coordinates.** The distribution function u = F(z) in (0, 1) turns a prior into the uniform
distribution. As a plain number u loses its precision near 1, so here it is always held as the
*signed distance to the nearer edge*, d = u for u ≤ ½ and d = u − 1 above: |d| in (0, ½] has full
relative precision at both ends. d is not a new variable, only a way to write u; dd/du = 1.
"""

import math
from typing import Literal, Protocol, Self

import torch
from torch import Tensor

from rgflow.checks import check_at_least, check_name
from rgflow.config import GaussianPrior, LaplacePrior
from rgflow.kinds import made_from

Convention = Literal["density", "scale"]
Temperature = float | Tensor
"""One for all, or one for each latent."""
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

    def tempered(self, temperature: Temperature, convention: Convention = "density") -> Self:
        """The same prior at a temperature.

        `"density"` is p^(1/T), normalised (paper, eq. D.2); `"scale"` multiplies the scale by T,
        as the released code does.
        """
        ...

    def sample_like(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Independent draws in the shape, dtype and device of `z`."""
        ...


class _Scaled(Prior):
    """What both priors share: a scale, which is a number or a tensor (mixed temperatures)."""

    def __init__(self, scale: Temperature) -> None:
        _check_range("the prior's scale", scale)
        self.scale = scale

    def _log_scale(self) -> Temperature:
        if isinstance(self.scale, Tensor):
            return self.scale.log()
        return math.log(self.scale) if self.scale else -math.inf

    def __repr__(self) -> str:
        return f"{type(self).__name__}(scale={self.scale})"


def _bounds(values: Temperature) -> tuple[float, float]:
    """The lowest and the highest."""
    if isinstance(values, Tensor):
        return values.min().item(), values.max().item()
    return values, values


def _check_range(what: str, values: Temperature) -> None:
    """Raise a `ValueError` unless all are finite and at least 0."""
    for bound in _bounds(values):
        check_at_least(what, bound, 0)


def _check_temperature(temperature: Temperature, convention: str) -> None:
    check_name("the temperature's convention", convention, ("density", "scale"))
    _check_range("the temperature", temperature)


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

    def __init__(self, scale: Temperature = SQRT_HALF) -> None:
        super().__init__(scale)

    def log_prob(self, z: Tensor) -> Tensor:
        return -z.abs() / self.scale - (math.log(2) + self._log_scale())

    def to_cube(self, z: Tensor) -> Tensor:
        return _two_sided(z, torch.exp(-z.abs() / self.scale) / 2)

    def from_cube(self, d: Tensor) -> Tensor:
        return torch.sign(d) * self.scale * torch.log(2 * d.abs())

    def tempered(self, temperature: Temperature, convention: Convention = "density") -> "Laplace":
        _check_temperature(temperature, convention)
        return Laplace(self.scale * temperature)  # the same in both conventions

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
        >>> Gaussian().tempered(0.25).scale, Gaussian().tempered(0.25, "scale").scale
        (0.5, 0.25)
    """

    def __init__(self, scale: Temperature = 1.0) -> None:
        super().__init__(scale)

    def log_prob(self, z: Tensor) -> Tensor:
        return -0.5 * (z / self.scale) ** 2 - (0.5 * math.log(2 * math.pi) + self._log_scale())

    def to_cube(self, z: Tensor) -> Tensor:
        return _two_sided(z, torch.erfc(z.abs() / self.scale * SQRT_HALF) / 2)

    def from_cube(self, d: Tensor) -> Tensor:
        return torch.sign(d) * self.scale * torch.special.ndtri(d.abs())

    def tempered(self, temperature: Temperature, convention: Convention = "density") -> "Gaussian":
        _check_temperature(temperature, convention)
        factor = temperature if convention == "scale" else temperature**0.5
        return Gaussian(self.scale * factor)

    def sample_like(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return self.scale * torch.empty_like(z).normal_(generator=generator)
