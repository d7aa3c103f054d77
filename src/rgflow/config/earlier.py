"""Configs that earlier versions wrote into folders of runs and models."""

from typing import Any

from rgflow.checks import short
from rgflow.geometries.windows import MAX_PERIOD, phases

FORMER_NAMES = {"clip": "max_grad_norm", "average": "ema_decay"}
"""Settings of a training that had another name."""
GONE = {
    "channel_mixing": False, "dequantization": "uniform",
    "size": 1, "shifts": None, "offsets": None, "coarse": "sites",
    "symmetric": False, "start": None, "anneal": 0.5,
}  # fmt: skip
"""Options of kinds that are gone, with the value that means what is done now."""


def training_of_earlier(values: Any) -> Any:
    """The settings of a training as this version has them."""
    if not isinstance(values, dict):
        return values
    found: dict[Any, Any] = {FORMER_NAMES.get(n, n): value for n, value in values.items()}
    found |= _changed(found, "objective")
    found.pop("tensorboard", None)
    return found | {"model": flow_of_earlier(found["model"])} if "model" in found else found


def flow_of_earlier(values: Any) -> Any:
    """A flow's config as this version has it.

    Raises:
        ValueError: If an option that is gone had another value than that of what is done now.
    """
    parts = ("geometry", "map", "pixels")
    return values | _changed(values, *parts) if isinstance(values, dict) else values


def _changed(values: dict[str, Any], *parts: str) -> dict[str, Any]:
    """Those of some parts that are of the package's own kinds, without what is gone."""
    return {
        name: _without_gone(part)
        for name in parts
        if isinstance(part := values.get(name), dict) and "." not in str(part.get("kind"))
    }


def _without_gone(options: dict[str, Any]) -> dict[str, Any]:
    shifts, period = options.get("shifts"), options.get("period")
    if shifts and isinstance(period, int) and 0 < period <= MAX_PERIOD:
        written_out = [list(at) for at in phases(period)]
        options = options | {"shifts": None if shifts == written_out else shifts}
    for name, now in GONE.items():
        if options.get(name, now) != now:
            raise ValueError(
                f"Expected {name} to be {now}, as it isn't an option any more; got "
                f"{short(options[name])}: leave it out, or use the version that made this config."
            )
    return {name: value for name, value in options.items() if name not in GONE}
