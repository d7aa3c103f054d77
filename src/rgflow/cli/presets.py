"""`rgflow presets`: the named settings."""

from collections.abc import Sequence

from rgflow.cli.parsing import Parser, parse
from rgflow.config import CoarseToFineMap, ConvolutionalMap, TrainConfig, listed
from rgflow.files import to_yaml
from rgflow.geometries import Blocks
from rgflow.presets import PRESETS, preset
from rgflow.text import show_wide


def run(arguments: Sequence[str]) -> None:
    """Print a table of all presets, or all settings of one."""
    options = Parser(
        "presets",
        "List the presets; for one of them, print all settings as YAML, which --config reads.",
        "rgflow presets msds1-best > mine.yaml",
    )
    options.add_argument("name", nargs="?", help="a preset")
    name = parse(options, arguments).name
    if name is None:
        _list()
    else:
        print(to_yaml(preset(name)), end="")


def _list() -> None:
    head = ("preset", "data", "flow", "m", "depth", "networks", "batch", "rate")
    rows = [
        (name, config.data, *_flow(config), str(config.batch_size), f"{config.lr:g}")
        for name, config in PRESETS.items()
    ]
    show_wide(head, rows)


def _flow(config: TrainConfig) -> tuple[str, str, str, str]:
    model, map = config.model, config.model.map
    if isinstance(map, ConvolutionalMap):
        return "Real NVP", "", "", f"{map.hidden} feature maps"
    networks = f"{map.conditioner}, " if hasattr(map, "conditioner") else ""
    if isinstance(map, CoarseToFineMap):
        networks = f"{model.channels * 4**map.splits} of "
    networks += f"{listed(getattr(map, 'hidden', 0))} wide"
    parts = model.to_dict()
    m = listed(model.geometry.m) if isinstance(model.geometry, Blocks) else "windows"
    return parts["map"]["kind"], m, listed(map.depth), networks
