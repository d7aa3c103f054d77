"""Priors: the factorised distribution of the latents, p(z) = ∏_l p(z_l) (paper, eq. 10).

**Cube coordinates.** The distribution function u = F(z) in (0, 1) turns a prior into the uniform
distribution. As a plain number u loses its precision near 1, so here it is always held as the
*signed distance to the nearer edge*, d = u for u ≤ ½ and d = u − 1 above: |d| in (0, ½] has full
relative precision at both ends. d is not a new variable, only a way to write u; dd/du = 1.
"""

import math
from typing import Any, Literal, Protocol, Self

import torch
from scipy import special
from torch import Tensor

from rgflow.config import FlowConfig, check_at_least, check_name

Convention = Literal["density", "scale"]
Temperature = float | Tensor
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


class _Scaled:
    """What the three priors share: a scale, which is a number or a tensor (mixed temperatures)."""

    def __init__(self, scale: Temperature) -> None:
        if not isinstance(scale, Tensor):
            check_at_least("the prior's scale", scale, 0)
        self.scale = scale

    def _log_scale(self) -> Temperature:
        return self.scale.log() if isinstance(self.scale, Tensor) else math.log(self.scale)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(scale={self.scale})"


def _check_temperature(temperature: Temperature, convention: str) -> None:
    check_name("the temperature's convention", convention, ("density", "scale"))
    lowest = temperature.min().item() if isinstance(temperature, Tensor) else temperature
    check_at_least("the temperature", lowest, 0)


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
        tail = torch.exp(-z.abs() / self.scale) / 2
        return torch.where(z > 0, -tail, tail)

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
        tail = torch.erfc(z.abs() / self.scale * math.sqrt(0.5)) / 2
        return torch.where(z > 0, -tail, tail)

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

    Args:
        df: Degrees of freedom ν > 0.
        scale: s; none: unit variance, s = √((ν − 2)/ν), which needs ν > 2.

    Example:
        >>> StudentT(5.0).tempered(0.5).df  # (ν + 1)/T − 1
        11.0
    """

    def __init__(self, df: Temperature = 5.0, scale: Temperature | None = None) -> None:
        lowest = df.min().item() if isinstance(df, Tensor) else df
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
        df, standard = self._fixed_df(), StudentT(self.df, 1.0)
        tail = _Elementwise.apply(
            z / self.scale,
            lambda t: special.stdtr(df, -abs(t)),
            lambda t, _: -torch.sign(t) * standard.log_prob(t).exp(),
        )
        return torch.where(z > 0, -tail, tail)

    def from_cube(self, d: Tensor) -> Tensor:
        df, standard = self._fixed_df(), StudentT(self.df, 1.0)
        t = _Elementwise.apply(
            d.abs(),
            lambda p: special.stdtrit(df, p),
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
        highest = temperature.max().item() if isinstance(temperature, Tensor) else temperature
        lowest = temperature.min().item() if isinstance(temperature, Tensor) else temperature
        if not 0 < lowest <= highest < self._fixed_df() + 1:
            raise ValueError(
                f"Expected temperatures between 0 and ν + 1 = {self._fixed_df() + 1:g}, as p^(1/T) "
                f"can't be normalised outside; got {lowest:g} to {highest:g}."
            )
        df = (self.df + 1) / temperature - 1
        return StudentT(df, self.scale * (self.df / df) ** 0.5)

    def sample_like(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        # A Student-t variable is a normal one over the root of a mean of squares. Torch's gamma
        # sampler takes no generator, so the draw goes through the quantile of a uniform one.
        u = torch.rand(z.shape, dtype=torch.float64, generator=generator, device=z.device)
        df = torch.as_tensor(self.df, dtype=torch.float64).cpu().numpy()
        # Below ½ only, where the quantile is accurate; the other half by symmetry.
        t = special.stdtrit(df, (torch.minimum(u, 1 - u) + 2.0**-54).cpu().numpy())
        t = torch.as_tensor(t, device=z.device)
        return (torch.where(u < 0.5, t, -t) * self.scale).to(z.dtype)


def make_prior(config: FlowConfig) -> Prior:
    """The prior that a config names, with unit variance unless it says otherwise."""
    scale = config.prior_scale
    if config.prior == "student":
        return StudentT(config.prior_df, scale)
    if config.prior == "gaussian":
        return Gaussian() if scale is None else Gaussian(scale)
    return Laplace() if scale is None else Laplace(scale)
