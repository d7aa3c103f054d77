"""Flows that RG-Flow is measured against, with the same methods, configs and latents."""

from rgflow.baselines.real_nvp import RealNVP

__all__ = ["RealNVP"]
