"""Invertible maps with tractable log-determinants, and the layers of an image built from them."""

import inspect
from collections.abc import Callable
from typing import Any

from rgflow.bijectors.base import Bijector as Bijector
from rgflow.bijectors.base import Compose as Compose
from rgflow.bijectors.base import Context as Context
from rgflow.bijectors.base import Inverse as Inverse
from rgflow.bijectors.base import MapSpec as MapSpec
from rgflow.bijectors.base import Quantile as Quantile
from rgflow.bijectors.cellwise import Cellwise as Cellwise
from rgflow.bijectors.cellwise import cut as cut
from rgflow.bijectors.cellwise import join as join
from rgflow.bijectors.cellwise import spec_of as spec_of
from rgflow.bijectors.coarse_to_fine import CoarseToFine as CoarseToFine
from rgflow.bijectors.conditional import conditional as conditional
from rgflow.bijectors.coupling import AffineCoupling as AffineCoupling
from rgflow.bijectors.coupling import Coupling as Coupling
from rgflow.bijectors.coupling import CubeCoupling as CubeCoupling
from rgflow.bijectors.pixels import Logit as Logit
from rgflow.bijectors.pixels import Marginal as Marginal
from rgflow.bijectors.pixels import dequantize as dequantize
from rgflow.bijectors.site import SiteSpline as SiteSpline
from rgflow.bijectors.states import HeatBath as HeatBath
from rgflow.bijectors.states import SiteStates as SiteStates
from rgflow.bijectors.states import States as States
from rgflow.bijectors.window import WindowMixture as WindowMixture
from rgflow.checks import check_name
from rgflow.config import Map, OwnMap
from rgflow.kinds import imported_class, made_from


@made_from(OwnMap)
def make_own_map(spec: MapSpec, path: str, options: dict[str, Any]) -> Bijector:
    """A map whose class is at an import path such as `package.module.Class`.

    Args:
        spec: Of the cells.
        path: The import path.
        options: Further arguments of the class.

    Raises:
        ValueError: If it leads to no `Bijector` that has been imported (`rgflow.kinds.trust` does),
            or this one can't be made with these options.
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
