"""`rgflow reproduce`: run an experiment end to end, with the code in the repository."""

import sys
from collections.abc import Sequence
from pathlib import Path


def run(arguments: Sequence[str]) -> None:
    """Hand over to `experiments/reproducing` in the checkout of this module."""
    sources = Path(__file__).parents[2]
    experiments = sources.parent / "experiments"
    # The code of nobody else is run, so neither the current folder is searched nor one that happens
    # to lie beside an installed package.
    if sources.name != "src" or not (experiments / "reproducing" / "command.py").is_file():
        raise FileNotFoundError(
            "Expected the folder of experiments, which is part of the repository of rgflow; "
            f"{sources} has none beside it: clone the repository, and `pip install -e` it."
        )
    sys.path.insert(0, str(experiments))
    from reproducing import command

    command.run(arguments)
