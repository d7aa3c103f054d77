"""Invertible maps with tractable log-determinants, and the layers of an image built from them."""

import importlib
import sys
from collections.abc import Callable, Iterable
from typing import Any

from rgflow.bijectors.autoregressive import AutoregressiveBijector
from rgflow.bijectors.base import Bijector, Compose, Context, Inverse, MapSpec, Quantile
from rgflow.bijectors.cellwise import Cellwise, cut, join, spec_of
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
from rgflow.checks import check_name, short
from rgflow.config import FlowConfig

__all__ = [
    "AffineCoupling",
    "AutoregressiveBijector",
    "Bijector",
    "Cellwise",
    "ChannelMixing",
    "CoarseToFine",
    "Compose",
    "Context",
    "Coupling",
    "CubeCoupling",
    "Dequantizer",
    "Inverse",
    "Logit",
    "MapSpec",
    "Marginal",
    "MixtureCoupling",
    "Quantile",
    "SplineCoupling",
    "cut",
    "dequantize",
    "join",
    "make_bijector",
    "spec_of",
    "trust",
]

BIJECTORS: dict[str, tuple[Callable[..., Bijector], tuple[str, ...]]] = {
    "affine": (AffineCoupling, ("conditioner", "blocks")),
    "spline": (SplineCoupling, ("conditioner", "blocks", "bins")),
    "mixture": (MixtureCoupling, ("conditioner", "blocks", "components")),
    "autoregressive": (AutoregressiveBijector, ("blocks", "bins")),
    "cube": (CubeCoupling, ("conditioner", "blocks", "bins")),
    "coarse_to_fine": (CoarseToFine, ("splits", "blocks", "stem", "components")),
}


def make_bijector(config: FlowConfig, spec: MapSpec) -> Bijector:
    """One bijector of cells, as a config names it.

    Args:
        config: Of the flow, with the same width of hidden layers at all levels.
        spec: Of the cells.

    Raises:
        ValueError: If the name is unknown, or an import path leads to no `Bijector` that has been
            imported (`trust` does).
    """
    if "." in config.bijector:
        made = _users_own(config.bijector, spec, config.bijector_options)
    else:
        check_name("bijector", config.bijector, BIJECTORS)
        cls, names = BIJECTORS[config.bijector]
        options = {name: getattr(config, name) for name in names} | {"hidden": config.widths(1)[0]}
        made = cls(spec, **options)
    if not config.channel_mixing:
        return made
    return Compose([ChannelMixing(spec), made])


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


def _users_own(path: str, spec: MapSpec, options: dict[str, Any]) -> Bijector:
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
        bijector = make(spec, **options)
    except Exception as error:  # whatever a user's class may raise
        raise ValueError(
            f"Expected {name}({spec}, **{options}) to make a bijector; it raised "
            f"{type(error).__name__}: {error}."
        ) from error
    if bijector.event_shape != (spec.dim,):
        raise ValueError(
            f"Expected {name} to map vectors of {spec.dim} variables; its event shape is "
            f"{bijector.event_shape}."
        )
    return bijector
