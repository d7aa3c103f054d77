"""Priors: the factorised distribution of the latents, p(z) = ∏_l p(z_l) (paper, eq. 10).

**Cube coordinates.** The distribution function u = F(z) in (0, 1) turns a prior into the uniform
distribution. As a plain number u loses its precision near 1, so here it is always held as the
*signed distance to the nearer edge*, d = u for u ≤ ½ and d = u − 1 above: |d| in (0, ½] has full
relative precision at both ends. d is not a new variable, only a way to write u; dd/du = 1.
"""

import math
from typing import Any, Literal, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from rgflow.checks import check_at_least, check_name
from rgflow.config import GaussianPrior, LaplacePrior, PriorKind, StudentPrior
from rgflow.kinds import made_by

Convention = Literal["density", "scale"]
Temperature = float | Tensor
"""One for all, or one for each latent."""
SQRT_HALF = math.sqrt(0.5)


class Prior(Protocol):
    """A symmetric distribution on the real line, the same for every latent.

    All methods work element by element on tensors of any shape. A new prior is a class with these.
    """

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density in nats."""
        ...

    def to_cube(self, z: Tensor) -> Tensor:
        """The distribution function, in cube coordinates."""
        ...

    def from_cube(self, d: Tensor) -> Tensor:
        """The quantile function of cube coordinates, the inverse of `to_cube`."""
        ...

    def tempered(self, temperature: Temperature, convention: Convention = "density") -> Self:
        """The same prior at a temperature.

        `"density"` is p^(1/T), normalised (paper, eq. D.2); `"scale"` multiplies the scale by T,
        as the released code does.
        """
        ...

    def sample_like(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Independent draws with the shape, dtype and device of `z`."""
        ...


class _Scaled(Prior):
    """What the three priors share: a scale, which is a number or a tensor (mixed temperatures)."""

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


class _Elementwise(torch.autograd.Function):
    """A function of NumPy arrays applied element by element, with its derivative in torch."""

    @staticmethod
    def forward(x: Tensor, function: Any, slope: Any) -> Tensor:
        values = function(x.detach().cpu().double().numpy())
        return torch.as_tensor(values, dtype=x.dtype, device=x.device)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, _, ctx.slope = inputs
        ctx.save_for_backward(x, output)
        ctx.save_for_forward(x, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad * ctx.slope(*ctx.saved_tensors), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return tangent * ctx.slope(*ctx.saved_tensors)

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, function: Any, slope: Any) -> tuple[Tensor, int]:
        return _Elementwise.apply(x, function, slope), in_dims[0]


class StudentT(_Scaled):
    """The Student-t distribution, p(z) ∝ (1 + (z/s)²/ν)^(−(ν+1)/2), heavier-tailed than Laplace.

    Its distribution function and quantiles are SciPy's, on the CPU.

    Args:
        df: Degrees of freedom ν > 0.
        scale: s; none: unit variance, s = √((ν − 2)/ν), which needs ν > 2.

    Example:
        >>> StudentT(5.0).tempered(0.5).df  # (ν + 1)/T − 1
        11.0
    """

    def __init__(self, df: Temperature = 5.0, scale: Temperature | None = None) -> None:
        lowest, _ = _bounds(df)
        if not lowest > (2 if scale is None else 0):
            raise ValueError(
                f"Expected more than {2 if scale is None else 0} degrees of freedom; got {lowest}"
                f"{': unit variance needs more than 2, so give a scale' if scale is None else ''}."
            )
        self.df = df
        super().__init__(((df - 2) / df) ** 0.5 if scale is None else scale)

    def log_prob(self, z: Tensor) -> Tensor:
        df = torch.as_tensor(self.df, dtype=z.dtype, device=z.device)
        norm = torch.lgamma((df + 1) / 2) - torch.lgamma(df / 2) - 0.5 * torch.log(math.pi * df)
        tail = torch.log1p((z / self.scale) ** 2 / df)
        return norm - self._log_scale() - (df + 1) / 2 * tail

    def to_cube(self, z: Tensor) -> Tensor:
        from scipy import special

        df, standard = self._fixed_df(), StudentT(self.df, 1.0)
        tail = _Elementwise.apply(
            z / self.scale,
            lambda t: special.stdtr(df, -abs(t)),
            lambda t, _: -torch.sign(t) * standard.log_prob(t).exp(),
        )
        return _two_sided(z, tail)

    def from_cube(self, d: Tensor) -> Tensor:
        from scipy import special

        df, standard = self._fixed_df(), StudentT(self.df, 1.0)
        t = _Elementwise.apply(
            d.abs(),
            lambda p: special.stdtrit(df, np.maximum(p, 1e-200)),  # it fails below 1e-250
            lambda _, t: torch.exp(-standard.log_prob(t)),
        )
        return torch.sign(d) * self.scale * t

    def _fixed_df(self) -> float:
        assert not isinstance(self.df, Tensor), "the distribution function is for training priors"
        return self.df

    def tempered(self, temperature: Temperature, convention: Convention = "density") -> "StudentT":
        _check_temperature(temperature, convention)
        if convention == "scale":
            return StudentT(self.df, self.scale * temperature)
        lowest, highest = _bounds(temperature)
        limit = _bounds(self.df)[0] + 1
        if not 0 < lowest <= highest < limit:
            raise ValueError(
                f"Expected temperatures between 0 and ν + 1 = {limit:g}, as p^(1/T) can't be "
                f"normalised outside; got {lowest:g} to {highest:g}."
            )
        df = (self.df + 1) / temperature - 1
        return StudentT(df, self.scale * (self.df / df) ** 0.5)

    def sample_like(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        from scipy import special

        # A Student-t variable is a normal one over the root of a mean of squares. Torch's gamma
        # sampler takes no generator, so the draw goes through the quantile of a uniform one.
        u = torch.rand(z.shape, dtype=torch.float64, generator=generator, device=z.device)
        df = torch.as_tensor(self.df, dtype=torch.float64).cpu().numpy()
        # Below ½ only, where the quantile is accurate; the other half by symmetry.
        t = special.stdtrit(df, (torch.minimum(u, 1 - u) + 2.0**-54).cpu().numpy())
        t = torch.as_tensor(t, device=z.device)
        return (torch.where(u < 0.5, t, -t) * self.scale).to(z.dtype)


def make_prior(kind: PriorKind) -> Prior:
    """The prior of a kind, of those of the package with unit variance unless it says otherwise.

    Raises:
        ValueError: If it is a kind of somebody's own without a method `make`.
    """
    if isinstance(kind, StudentPrior):
        return StudentT(kind.df, kind.scale)
    if isinstance(kind, LaplacePrior):
        return Laplace() if kind.scale is None else Laplace(kind.scale)
    if isinstance(kind, GaussianPrior):
        return Gaussian() if kind.scale is None else Gaussian(kind.scale)
    prior: Prior = made_by(kind, "make()")
    return prior
