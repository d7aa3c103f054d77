"""What a trained flow has learned: tensors in, dataclasses out."""

from typing import TYPE_CHECKING

import lazy_loader

# Names are imported when first used, so that what needs no scikit-learn needn't wait for it.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "factors": ["Factors", "find_factors"],
        "fields": ["ReceptiveFields", "receptive_fields"],
        "levels": ["at_temperatures", "resample"],
        "mixing": ["mix", "mixing_grid"],
        "traversals": ["field_along", "traverse"],
    },
)

if TYPE_CHECKING:
    from rgflow.analysis.factors import Factors as Factors
    from rgflow.analysis.factors import find_factors as find_factors
    from rgflow.analysis.fields import ReceptiveFields as ReceptiveFields
    from rgflow.analysis.fields import receptive_fields as receptive_fields
    from rgflow.analysis.levels import at_temperatures as at_temperatures
    from rgflow.analysis.levels import resample as resample
    from rgflow.analysis.mixing import mix as mix
    from rgflow.analysis.mixing import mixing_grid as mixing_grid
    from rgflow.analysis.traversals import field_along as field_along
    from rgflow.analysis.traversals import traverse as traverse
