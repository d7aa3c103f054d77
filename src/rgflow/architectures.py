"""From a config, or a folder, to the flow that it describes, whatever its architecture."""

from collections.abc import Sequence
from pathlib import Path

from rgflow import checkpoint
from rgflow.baselines import RealNVP
from rgflow.config import FlowConfig
from rgflow.flow import Flow
from rgflow.model import RGFlow
from rgflow.pretrained import folder_of


def flow_class(config: FlowConfig) -> type[Flow]:
    """That of the flow that a config describes."""
    return RealNVP if config.geometry.squeezes else RGFlow


def make_flow(config: FlowConfig) -> Flow:
    """An untrained flow.

    Example:
        >>> from rgflow import ConvolutionalMap, Squeeze
        >>> map = ConvolutionalMap(hidden=8, blocks=1)
        >>> type(make_flow(FlowConfig(geometry=Squeeze(), map=map))).__name__
        'RealNVP'
    """
    return flow_class(config)(config)


def load_flow(
    name: str | Path, *, trust: str | Sequence[str] = (), revision: str | None = None
) -> Flow:
    """The flow in a folder, of a model by its name, or on the Hugging Face hub.

    Args:
        name: As for `Flow.from_pretrained`.
        trust: As for `Flow.from_pretrained`.
        revision: As for `Flow.from_pretrained`.

    Raises:
        FileNotFoundError: If there is none.
        PermissionError: If a file may not be read.
        ValueError: If it is damaged, or needs a bijector that isn't trusted.
    """
    folder = folder_of(name, revision)
    config = FlowConfig.from_dict(checkpoint.load_config(folder)[0])
    return flow_class(config).from_pretrained(folder, trust=trust)
