"""`rgflow presets`: the named settings."""

from collections.abc import Sequence

from rgflow.cli.parsing import parse, parser
from rgflow.presets import PRESETS


def run(arguments: Sequence[str]) -> None:
    """Print one line per preset."""
    parse(parser("presets", "List the named settings.", "rgflow presets"), arguments)
    for name, config in PRESETS.items():
        model = config.model
        if model.architecture == "real_nvp":
            what = f"Real NVP, {model.levels} scales, {model.hidden} feature maps"
        else:
            what = (
                f"m {model.m}, depth {model.depth}, {model.bijector} couplings, "
                f"{model.conditioner} networks {model.hidden} wide"
            )
        print(f"{name:<13} data {config.data:<8} {what}")
