"""What a trained flow has learned: tensors in, dataclasses out."""

from rgflow.analysis.factors import Factors, find_factors
from rgflow.analysis.fields import ReceptiveFields, receptive_fields
from rgflow.analysis.levels import at_temperatures, resample
from rgflow.analysis.mixing import mix, mixing_grid
from rgflow.analysis.traversals import field_along, traverse

__all__ = [
    "Factors",
    "ReceptiveFields",
    "at_temperatures",
    "field_along",
    "find_factors",
    "mix",
    "mixing_grid",
    "receptive_fields",
    "resample",
    "traverse",
]
