"""From a config, or a folder, to the flow that it describes, whatever its architecture."""

from collections.abc import Sequence
from pathlib import Path

from rgflow import checkpoint
from rgflow.baselines import RealNVP
from rgflow.config import Architecture, FlowConfig
from rgflow.flow import Flow
from rgflow.model import RGFlow

FLOWS: dict[Architecture, type[Flow]] = {"rg": RGFlow, "real_nvp": RealNVP}


def make_flow(config: FlowConfig) -> Flow:
    """An untrained flow.

    Example:
        >>> type(make_flow(FlowConfig(architecture="real_nvp", hidden=8, blocks=1))).__name__
        'RealNVP'
    """
    return FLOWS[config.architecture](config)


def load_flow(name: str | Path, *, trust: str | Sequence[str] = ()) -> Flow:
    """The flow in a folder, of a model that the package brings along, or on the Hugging Face hub.

    Args:
        name: As for `Flow.from_pretrained`.
        trust: As for `Flow.from_pretrained`.

    Raises:
        FileNotFoundError: If there is none.
        PermissionError: If a file may not be read.
        ValueError: If it is damaged, or needs a bijector that isn't trusted.
    """
    folder = checkpoint.find(name)
    config = FlowConfig.from_dict(checkpoint.load_config(folder)[0])
    return FLOWS[config.architecture].from_pretrained(folder, trust=trust)
