"""`rgflow reproduce`: run an experiment end to end, with the code in the repository."""

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path


def run(arguments: Sequence[str]) -> None:
    """Hand over to `experiments/reproducing` in the checkout of this module."""
    sources = Path(__file__).parents[2]
    experiments = sources.parent / "experiments"
    program = experiments / "reproducing" / "command.py"
    # The code of nobody else is run, so neither the current folder is searched nor one that happens
    # to lie beside an installed package.
    if sources.name != "src" or not program.is_file():
        raise FileNotFoundError(
            "Expected the experiments in a clone of the repository of rgflow; there are none "
            f"beside {sources}: clone the repository, and install it with `pip install -e`."
        )
    sys.path.insert(0, str(experiments))
    runpy.run_path(str(program))["run"](arguments)
