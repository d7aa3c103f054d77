"""The exact density of a site given its four neighbours, as a map without parameters."""

from rgflow.actions import Action, Spins
from rgflow.bijectors.base import Bijector, MapSpec
from rgflow.bijectors.states import HeatBath


def conditional(spec: MapSpec, action: Action) -> Bijector:
    """The map that draws sites exactly given their four neighbours.

    Args:
        spec: Of the cells, which read the neighbours.
        action: One that is `near`.
    """
    assert isinstance(action, Spins)
    return HeatBath(spec, action)
