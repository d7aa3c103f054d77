"""What a step of the trainings of the experiment `recipe` costs, as a multiple of the recipe's own.

    OMP_NUM_THREADS=1 python benchmarks/step_costs.py [LABEL ...] [--out benchmarks/results/step_costs.json]
    OMP_NUM_THREADS=1 python benchmarks/step_costs.py LABEL ... --base BASE --experiment NAME

For every training whose steps do other work (another flow, batch, optimiser or number format): both
take steps in turns, in a process of their own, and the median over turns of the ratio of their
processor times is what is written, with the quartiles. So whatever else runs slows both. What was
measured of other trainings stays in the file. With `--base`, costs are multiples of a step of that
training of an experiment. The steps of the experiment's config are these:
`test_experiments` checks that those of each training, times their cost, are those of the recipe.
"""  # noqa: E501

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
from reproducing.plan import read_experiment
from rgflow import TrainConfig, data
from rgflow.files import write_json
from rgflow.training.run import processor

RECIPE = "recipe"
SAME = {name: getattr(TrainConfig(), name) for name in (
    "lr", "muon_lr", "weight_decay", "muon_decay", "schedule", "steps", "seed",
)}  # fmt: skip
"""Settings that change what steps do, and not what they cost, with one value for all."""
SECONDS = 0.6
"""About what a turn of each takes."""


def configs(
    experiments: Path = Path("experiments"), experiment: str = RECIPE
) -> dict[str, TrainConfig]:
    """The settings of every training, by label."""
    plan = read_experiment(experiments, experiment).plan("10m")
    return {one.label: one.config for one in plan.trainings}


def labels(experiments: Path = Path("experiments")) -> list[str]:
    """The trainings whose steps do other work than the recipe's."""
    found = configs(experiments)
    bare = {label: replace(config, **SAME) for label, config in found.items()}
    return [label for label, config in bare.items() if config != bare[RECIPE]]


def steps(config: TrainConfig) -> Callable[[int], float]:
    """A function that takes so many steps and tells their processor time."""
    from steps import trainer  # which `labels` doesn't need

    made = trainer(config, data.load(config.data, "train", count=2000))

    def take(count: int) -> float:
        start = time.process_time()
        for _ in range(count):
            made.take_step(0.0)
        return (time.process_time() - start) / count

    take(3)
    return take


def measure(label: str, turns: int, base: str, experiment: str) -> dict[str, object]:
    """The cost of a training's step, in so many turns."""
    found = configs(experiment=experiment)
    ours, theirs = steps(found[base]), steps(found[label])
    counts = [max(1, round(SECONDS / one(2))) for one in (ours, theirs)]
    ratios, seconds = [], []
    for _ in range(turns):
        usual, one = ours(counts[0]), theirs(counts[1])
        ratios.append(one / usual)
        seconds.append(usual)
    low, middle, high = statistics.quantiles(ratios, n=4)
    of = "" if experiment == RECIPE else f" --base {base} --experiment {experiment}"
    return {
        "command": f"python benchmarks/step_costs.py {label}{of}",
        "cost": middle,
        "quartiles": [low, high],
        f"{RECIPE if base == RECIPE else 'base'}_seconds": statistics.median(seconds),
        "date": date.today().isoformat(),
        "processor": processor(),
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("labels", nargs="*", metavar="LABEL")
    parser.add_argument("--base", default=RECIPE, help="whose steps cost 1")
    parser.add_argument("--experiment", default=RECIPE, help="that has the trainings")
    parser.add_argument("--turns", type=int, default=25, help="of both trainings")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/step_costs.json"))
    parser.add_argument("--job", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        of = arguments.turns, arguments.base, arguments.experiment
        print(json.dumps(measure(arguments.labels[0], *of)))
        return
    for label in arguments.labels or labels():
        command = [sys.executable, __file__, label, "--job", "--turns", str(arguments.turns)]
        command += ["--base", arguments.base, "--experiment", arguments.experiment]
        one = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
        found[label] = json.loads(one.splitlines()[-1])
        print(f"{label}: {found[label]['cost']:.3f}", flush=True)
        write_json(arguments.out, dict(sorted(found.items())))


if __name__ == "__main__":
    main()
