"""Numbers: bits per dimension, and which number format to train in."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from threading import RLock, local
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad


@dataclass(frozen=True)
class Unit:
    """What negative log-likelihoods are reported in.

    Densities are those of pixels in [0, 256), one unit per quantisation level, so bits per
    dimension need no correction; this is the only place that knows.

    Attributes:
        name: bits/dim for images, nats/site for real-valued fields.
        nats: Nats per image that make one such unit.

    Example:
        >>> unit = Unit.of_images(3072)
        >>> unit.name, unit(torch.tensor(-3072 * math.log(256)))
        ('bits/dim', tensor(8.))
    """

    name: str
    nats: float

    def __call__(self, log_prob: Tensor) -> Tensor:
        """−log p in this unit, of log-densities in nats."""
        return -log_prob / self.nats

    @classmethod
    def of_images(cls, dim: int) -> "Unit":
        """Bits per dimension, D = C·H·W of them."""
        return cls("bits/dim", dim * math.log(2))

    @classmethod
    def of_fields(cls, sites: int) -> "Unit":
        """Nats per site, H·W of them."""
        return cls("nats/site", float(sites))


class Precision(local):
    """How the networks of a flow compute; they all hold the same one, which `Flow.fast` changes for
    the thread that it is in. Copies of a flow begin with the usual one.

    Attributes:
        networks: Their number format; none: that of their input.
        fast: Whether maps may use what is fast in training, such as compiled kernels, whose
            results differ from the plain ones by rounding.
        half: Whether maps draw a last half that has an exact density (`bijectors.conditional`);
            otherwise they leave it at 0.
    """

    def __init__(self, networks: torch.dtype | None = None, fast: bool = False) -> None:
        self.networks, self.fast, self.half = networks, fast, True

    @contextmanager
    def changed(self, **values: Any) -> Iterator[None]:
        """Have other values inside."""
        before = {name: getattr(self, name) for name in values}
        vars(self).update(values)
        try:
            yield
        finally:
            vars(self).update(before)

    def __reduce__(self) -> tuple[type["Precision"], tuple[()]]:
        return Precision, ()


EXACT = Precision()
"""That of networks outside a flow."""


_ONE_AT_A_TIME = RLock()


def jvp(function: Callable[..., Any], at: tuple[Tensor, ...], along: tuple[Tensor, ...]) -> Any:
    """`torch.func.jvp`, of tensors of any shape, in one thread at a time, as torch counts nested
    levels for all threads together."""
    with _ONE_AT_A_TIME:
        return torch.func.jvp(function, at, along)


def derivatives_wanted(by: Tensor | None = None) -> bool:
    """Whether derivatives of what is computed now may be asked for, in either direction.

    Args:
        by: Derivatives by this tensor, of any shape; none: by any.

    Example:
        >>> derivatives_wanted()
        True
        >>> with torch.no_grad():
        ...     derivatives_wanted()
        False
    """
    # Not by `unpack_dual`, which fails within a vmap.
    if forward_ad._current_level >= 0:
        return True
    return torch.is_grad_enabled() and (by is None or by.requires_grad)


def can_compile() -> bool:
    """Whether torch.compile finds what it needs on this machine's CPU: a C++ compiler."""
    try:
        from torch._inductor.cpp_builder import get_cpp_compiler

        return bool(get_cpp_compiler())
    except Exception:  # of several kinds, none of them public
        return False


@cache
def bfloat16_pays() -> bool:
    """Whether a bfloat16 matrix product takes at most 3/4 of the time of a float32 one, here.

    It is timed on the default device: flags of a processor don't tell. Both take turns, and on a
    CPU only its own time counts, so that other programs can't decide.
    """
    on_gpu = torch.cuda.is_available()
    now = time.perf_counter if on_gpu else time.process_time
    a, b = (torch.randn(n, 512, device="cuda" if on_gpu else "cpu") for n in (2048, 512))
    times: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    for _ in range(10):
        for dtype, taken in times.items():
            x, y = a.to(dtype), b.to(dtype)
            start = now()
            (x @ y).sum().item()
            taken.append(now() - start)
    return min(times[torch.bfloat16]) < 0.75 * min(times[torch.float32])


def check_finite(values: Tensor, what: str) -> None:
    """Check that numbers that a flow gives are finite.

    Args:
        values: The numbers, of any shape.
        what: What they are.

    Raises:
        ValueError: If some are NaN or infinite.

    Example:
        >>> check_finite(torch.tensor([1.0, torch.inf]), "log-likelihoods")
        Traceback (most recent call last):
        ...
        ValueError: Expected finite log-likelihoods; 1 of 2 aren't: the flow's training may have \
diverged.
    """
    if lost := int((~torch.isfinite(values)).sum()):
        raise ValueError(
            f"Expected finite {what}; {lost:,} of {values.numel():,} aren't: the flow's training "
            f"may have diverged."
        )


def name_of(dtype: torch.dtype) -> str:
    """The name of a number format.

    Example:
        >>> name_of(torch.float32)
        'float32'
    """
    return str(dtype).removeprefix("torch.")
