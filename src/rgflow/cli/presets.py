"""`rgflow presets`: the named settings."""

from collections.abc import Sequence

from rgflow.cli.parsing import parse, parser
from rgflow.presets import PRESETS


def run(arguments: Sequence[str]) -> None:
    """Print one line per preset."""
    parse(parser("presets", "List the named settings.", "rgflow presets"), arguments)
    for name, config in PRESETS.items():
        model = config.model
        print(
            f"{name:<12} data {config.data:<8} m {model.m}, depth {model.depth}, "
            f"{model.bijector} couplings, {model.conditioner} networks {model.hidden} wide"
        )
