"""Settings of the climb that fills in holes, as plain data, without torch."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from rgflow.checks import check_at_least, check_name, check_whole

Variables = Literal["latents", "pixels"]
"""What is varied: the free latents, which in an RG-Flow are those of the inference cone (the
paper's way), or the hole's pixels themselves, in the flow's own space."""


@dataclass(frozen=True, kw_only=True)
class Climb:
    """How to search for the likeliest completion of a hole (paper, Appendix F).

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> Climb(draws=10, restarts=20)
        Traceback (most recent call last):
        ...
        ValueError: Expected restarts to be at most 10; got 20.
    """

    variables: Variables = "latents"
    """What is varied: the latents of the cone, or the pixels."""
    draws: int = 200
    """Random draws of the latents per image; the climb starts from the best ones."""
    temperature: float = 1.0
    """Temperature of these draws."""
    restarts: int = 1
    """Number of best draws to start from."""
    steps: int = 1000
    """Maximum number of steps; the climb ends earlier if it converges."""
    rate: float = 0.03
    """Initial learning rate of Adam, in units of the flow's own space."""

    def __post_init__(self) -> None:
        check_name("variables", self.variables, get_args(Variables))
        check_whole("draws", self.draws, 1)
        check_at_least("temperature", self.temperature, 0)
        check_whole("restarts", self.restarts, 1, self.draws)
        check_whole("steps", self.steps, 1)
        if not 0 < self.rate < math.inf:
            raise ValueError(f"Expected rate to be above 0; got {self.rate}.")
