"""Invertible maps with tractable log-determinants, and the layers of an image built from them."""

import importlib
import inspect
from collections.abc import Callable, Iterable

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
from rgflow.config import MAPS as MAP_KINDS
from rgflow.config import (
    AffineMap,
    CoarseToFineMap,
    CubeMap,
    Map,
    OwnMap,
    SiteMap,
    WindowMap,
)
from rgflow.kinds import own_class

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
    "make_map",
    "spec_of",
    "trust",
]


MAPS: dict[type[Map], Callable[..., Bijector]] = {
    AffineMap: AffineCoupling,
    CubeMap: CubeCoupling,
    CoarseToFineMap: CoarseToFine,
    WindowMap: WindowMixture,
    SiteMap: SiteSpline,
}
"""The class of every kind of map of cells."""
FIXED: dict[str, Callable[[MapSpec], Bijector]] = {"averages": Averages}
"""Maps that cells bring with them, which have no parameters and a log-determinant of 0."""


def make_map(map: Map, spec: MapSpec) -> Bijector:
    """A map of cells, as a config describes it.

    Args:
        map: Of the config, with one width of hidden layers.
        spec: Of the cells.

    Raises:
        ValueError: If an import path leads to no `Bijector` that has been imported (`trust` does).
    """
    return _own(map, spec) if isinstance(map, OwnMap) else MAPS[type(map)](spec, **map.options())


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


def _own(map: OwnMap, spec: MapSpec) -> Bijector:
    """A map whose class is at an import path such as `package.module.Class`."""
    make: Callable[..., Bijector] = own_class("map", map.path, MAP_KINDS, Bijector)
    known = inspect.signature(make).parameters
    if not any(one.kind is one.VAR_KEYWORD for one in known.values()):
        for name in map.own:
            check_name(f"an option of the map {map.path}", name, list(known)[1:])
    try:
        bijector = make(spec, **map.own)
    except Exception as error:  # whatever a user's class may raise
        raise ValueError(
            f"Expected {map.path}({spec}, **{map.own}) to make a bijector; it raised "
            f"{type(error).__name__}: {error}."
        ) from error
    if bijector.event_shape != (spec.dim,):
        raise ValueError(
            f"Expected {map.path} to map vectors of {spec.dim} variables; its event shape is "
            f"{bijector.event_shape}."
        )
    return bijector
