"""Invertible maps with tractable log-determinants, and the layers of an image built from them."""

import importlib
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from rgflow.bijectors.averages import Averages
from rgflow.bijectors.base import Bijector, Compose, Context, Inverse, MapSpec, Quantile
from rgflow.bijectors.cellwise import Cellwise, cut, join, spec_of
from rgflow.bijectors.coarse_to_fine import CoarseToFine
from rgflow.bijectors.coupling import (
    AffineCoupling,
    Coupling,
    CubeCoupling,
)
from rgflow.bijectors.pixels import Logit, Marginal, dequantize
from rgflow.bijectors.site import SiteSpline
from rgflow.bijectors.window import WindowMixture
from rgflow.checks import check_name
from rgflow.config import Map
from rgflow.kinds import imported_class

__all__ = [
    "AffineCoupling",
    "Averages",
    "Bijector",
    "Cellwise",
    "CoarseToFine",
    "Compose",
    "Context",
    "Coupling",
    "CubeCoupling",
    "Inverse",
    "Logit",
    "MapSpec",
    "Marginal",
    "Quantile",
    "SiteSpline",
    "WindowMixture",
    "cut",
    "dequantize",
    "join",
    "spec_of",
    "trust",
]


FIXED: dict[str, Callable[[MapSpec], Bijector]] = {"averages": Averages}
"""Maps that cells bring with them, which have no parameters and a log-determinant of 0."""


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


def make_own_map(spec: MapSpec, path: str, options: dict[str, Any]) -> Bijector:
    """A map whose class is at an import path such as `package.module.Class`.

    Args:
        spec: Of the cells.
        path: The import path.
        options: Further arguments of the class.

    Raises:
        ValueError: If it leads to no `Bijector` that has been imported (`trust` does), or this one
            can't be made with these options.
    """
    make: Callable[..., Bijector] = imported_class("map", path, Map.kinds, Bijector)
    known = inspect.signature(make).parameters
    if not any(one.kind is one.VAR_KEYWORD for one in known.values()):
        for name in options:
            check_name(f"an option of the map {path}", name, list(known)[1:])
    try:
        bijector = make(spec, **options)
    except Exception as error:  # whatever a user's class may raise
        raise ValueError(
            f"Expected {path}({spec}, **{options}) to make a bijector; it raised "
            f"{type(error).__name__}: {error}."
        ) from error
    if bijector.event_shape != (spec.dim,):
        raise ValueError(
            f"Expected {path} to map vectors of {spec.dim} variables; its event shape is "
            f"{bijector.event_shape}."
        )
    return bijector
