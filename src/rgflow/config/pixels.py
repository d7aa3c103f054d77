"""From 8-bit pixels to the flow's own space: which maps there are."""

from typing import ClassVar

from rgflow.kinds import Kind, config


@config
class Pixels(Kind, family="pixels"):
    """Map from 8-bit pixels to the flow's own space. One of your own has a method `make(channels)`
    that returns the bijector, from [0, 256)."""

    keeps_levels: ClassVar[bool] = False
    """Whether the values of pixels, 0 to 255, stay equal parts of the space."""


@config
class LogitPixels(Pixels, kind="logit"):
    """The logit of values, the paper's."""

    makes = "rgflow.bijectors.pixels.Logit"


@config
class MarginalPixels(Pixels, kind="marginal"):
    """The distribution function of each channel, then the prior's quantile."""

    makes = "rgflow.bijectors.pixels.Marginal"


@config
class UniformPixels(Pixels, kind="uniform"):
    """Values divided by 256, between 0 and 1."""

    makes = "rgflow.bijectors.pixels.Uniform"
    keeps_levels = True
