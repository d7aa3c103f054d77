"""The parts of a flow that are of a kind: priors and pixel maps, and the names of all."""

from typing import Annotated, Any, ClassVar

from annotated_types import Gt

from rgflow.cells import Geometry
from rgflow.config.maps import Map
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


@config
class GaussianPrior(PriorKind, kind="gaussian"):
    """The normal distribution."""


@config
class Pixels(Kind, family="pixels"):
    """Map from 8-bit pixels to the flow's own space. One of your own has a method `make(channels)`
    that returns the bijector, from [0, 256)."""

    keeps_levels: ClassVar[bool] = False
    """Whether the values of pixels, 0 to 255, stay equal parts of the space."""
    is_marginal: ClassVar[bool] = False
    """Whether it is the distribution function of the training images' pixels, nothing else."""


@config
class LogitPixels(Pixels, kind="logit"):
    """The logit of values, the paper's."""


@config
class MarginalPixels(Pixels, kind="marginal"):
    """The distribution function of each channel, then the prior's quantile."""

    is_marginal = True


@config
class UniformPixels(Pixels, kind="uniform"):
    """Values divided by 256, between 0 and 1."""

    keeps_levels = True


FAMILIES: dict[str, type[Kind]] = {
    "geometry": Geometry,
    "map": Map,
    "prior": PriorKind,
    "pixels": Pixels,
}
"""The parts of a flow that are of a kind."""
