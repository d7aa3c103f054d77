"""Invertible maps with tractable log-determinants, and the layers of an image built from them."""

import importlib
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from rgflow.bijectors.autoregressive import AutoregressiveBijector
from rgflow.bijectors.base import Bijector, Compose, Inverse, Quantile
from rgflow.bijectors.blockwise import Blockwise, cut, join
from rgflow.bijectors.channels import ChannelMixing
from rgflow.bijectors.coarse_to_fine import CoarseToFine
from rgflow.bijectors.coupling import (
    AffineCoupling,
    Coupling,
    CubeCoupling,
    MixtureCoupling,
    SplineCoupling,
)
from rgflow.bijectors.dequantizer import Dequantizer
from rgflow.bijectors.pixels import Logit, Marginal, dequantize
from rgflow.conditioners import CONDITIONERS, MakeConditioner
from rgflow.config import FlowConfig, check_name, short

__all__ = [
    "AffineCoupling",
    "AutoregressiveBijector",
    "Bijector",
    "Blockwise",
    "ChannelMixing",
    "CoarseToFine",
    "Compose",
    "Coupling",
    "CubeCoupling",
    "Dequantizer",
    "Inverse",
    "Logit",
    "Marginal",
    "MixtureCoupling",
    "Quantile",
    "SplineCoupling",
    "cut",
    "dequantize",
    "join",
    "make_bijector",
    "trust",
]

BIJECTORS = ("affine", "spline", "mixture", "autoregressive", "cube", "coarse_to_fine")


def make_bijector(config: FlowConfig, m: int, *, top: bool = True) -> Bijector:
    """One bijector of m×m blocks, as a config names it.

    Args:
        config: Of the flow, with the same width of hidden layers at all levels.
        m: Edge of the blocks.
        top: Whether all sites stay: otherwise coarse_to_fine leaves those that go up as they are.

    Raises:
        ValueError: If the name is unknown, or an import path leads to no `Bijector` that has been
            imported (`trust` does).
    """
    dim = config.channels * m**2
    made = _unmixed(config, m, top)
    if not config.channel_mixing:
        return made
    return Compose([ChannelMixing(dim, channels=config.channels), made])


def _unmixed(config: FlowConfig, m: int, top: bool) -> Bijector:
    """The same by itself."""
    dim = config.channels * m**2
    if "." in config.bijector:
        own = _users_own(config.bijector, dim, config.bijector_options)
        if config.position_embedding and type(own).at is Bijector.at:
            raise ValueError(
                f"Expected {config.bijector} to have a method `at`, by which it is told the "
                f"position of blocks; it has none: write one, or leave out position_embedding."
            )
        return own
    check_name("bijector", config.bijector, BIJECTORS)
    (hidden,) = config.widths(1)
    if config.bijector == "autoregressive":
        return AutoregressiveBijector(dim, hidden=hidden, blocks=config.blocks, bins=config.bins)
    if config.bijector == "coarse_to_fine":
        return CoarseToFine(
            dim,
            channels=config.channels,
            m=m,
            splits=config.splits,
            hidden=hidden,
            blocks=config.blocks,
            stem=config.stem,
            components=config.components,
            top=top,
            embedding=config.position_embedding,
        )
    check_name("conditioner", config.conditioner, CONDITIONERS)
    conditioner: MakeConditioner = partial(
        CONDITIONERS[config.conditioner], hidden=hidden, blocks=config.blocks
    )
    if config.bijector == "affine":
        return AffineCoupling(dim, conditioner, embedding=config.position_embedding)
    if config.bijector == "mixture":
        return MixtureCoupling(
            dim,
            conditioner,
            components=config.components,
            embedding=config.position_embedding,
        )
    kind = SplineCoupling if config.bijector == "spline" else CubeCoupling
    return kind(dim, conditioner, bins=config.bins, embedding=config.position_embedding)


def trust(names: str | Iterable[str]) -> None:
    """Import modules with bijectors of your own, or bijectors in them, so that configs may name
    them: a config never imports anything itself, as it may come from a stranger.

    Args:
        names: `module`, or `module.Class`.

    Raises:
        ValueError: If one can't be imported.

    Example:
        >>> trust("no.such.Thing")
        Traceback (most recent call last):
        ...
        ValueError: Expected a module to trust, or a class in one; 'no.such.Thing' can't be \
imported (ModuleNotFoundError: No module named 'no').
    """
    for name in [names] if isinstance(names, str) else names:
        try:
            try:
                importlib.import_module(name)
            except ModuleNotFoundError:
                module, dot, last = name.rpartition(".")
                if not dot or not hasattr(importlib.import_module(module), last):
                    raise
        except Exception as error:  # whatever a user's module may raise
            raise ValueError(
                f"Expected a module to trust, or a class in one; {name!r} can't be imported "
                f"({type(error).__name__}: {error})."
            ) from error


def _users_own(path: str, dim: int, options: dict[str, Any]) -> Bijector:
    """A bijector of blocks whose class is at an import path such as `package.module.Class`."""
    module, _, name = path.rpartition(".")
    if module.partition(".")[0] == "rgflow":  # with options that nothing bounds
        raise ValueError(
            f"Expected bijector to be one of {', '.join(BIJECTORS)}, or a class of your own; got "
            f"{short(path)}, which is the package's."
        )
    found = vars(sys.modules[module]).get(name) if module in sys.modules else None
    if found is None:
        raise ValueError(
            f"Expected bijector to be one of {', '.join(BIJECTORS)}, or a class that has been "
            f"imported; {short(path)} would run code: if you know it, add --trust {path:.300}, or "
            f"trust={short(path)} in Python."
        )
    if not (isinstance(found, type) and issubclass(found, Bijector)):
        raise ValueError(f"Expected {path!r} to be a subclass of Bijector; got {short(found)}.")
    try:
        make: Callable[..., Bijector] = found
        bijector = make(dim, **options)
    except Exception as error:  # whatever a user's class may raise
        raise ValueError(
            f"Expected {name}({dim}, **{options}) to make a bijector; it raised "
            f"{type(error).__name__}: {error}."
        ) from error
    if bijector.event_shape != (dim,):
        raise ValueError(
            f"Expected {name}({dim}) to map vectors of {dim} variables; its event shape is "
            f"{bijector.event_shape}."
        )
    return bijector
