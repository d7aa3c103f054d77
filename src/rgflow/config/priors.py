"""Distributions of latents: which there are, and their options."""

from typing import Annotated, Any

from annotated_types import Gt

from rgflow.kinds import Kind, config


@config
class PriorKind(Kind, family="prior"):
    """Distribution of every latent. One of your own has a method `make()` that returns the prior
    (`rgflow.priors.Prior`)."""

    scale: Annotated[float | None, Gt(0)] = None
    """b or σ; none: unit variance."""

    def options(self) -> dict[str, Any]:
        return {name: value for name, value in self.values().items() if value is not None}


@config
class LaplacePrior(PriorKind, kind="laplace"):
    """p(z) = exp(−|z|/b) / 2b, the paper's sparse prior."""

    makes = "rgflow.priors.Laplace"


@config
class GaussianPrior(PriorKind, kind="gaussian"):
    """The normal distribution."""

    makes = "rgflow.priors.Gaussian"
