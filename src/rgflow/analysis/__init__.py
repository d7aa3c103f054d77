"""What a trained flow has learned: tensors in, dataclasses out."""

from rgflow.analysis.fields import ReceptiveFields, receptive_fields
from rgflow.analysis.levels import at_temperatures, resample
from rgflow.analysis.mixing import mix, mixing_grid
from rgflow.analysis.traversals import field_along, traverse

__all__ = [
    "ReceptiveFields",
    "at_temperatures",
    "field_along",
    "mix",
    "mixing_grid",
    "receptive_fields",
    "resample",
    "traverse",
]
