"""What a trained flow has learned: tensors in, dataclasses out."""

from rgflow.analysis.fields import ReceptiveFields, receptive_fields

__all__ = ["ReceptiveFields", "receptive_fields"]
