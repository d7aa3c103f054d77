"""What data, logging and display cost: the training loop beside pure steps, in one process.

    python benchmarks/loop.py [--preset msds1-fast] [--steps 80]

Times pure steps (one batch again and again), then the same steps inside `train`, then pure steps
again, and writes the medians to benchmarks/results/loop.json.
"""

import argparse
import itertools
import json
import statistics
import tempfile
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch

from rgflow import TrainConfig, make_flow, preset
from rgflow.training import train
from rgflow.training.optimisation import Optimisation
from rgflow.training.run import Run, processor

SKIPPED = 10
"""Steps at the beginning that aren't timed."""


def pure(config: TrainConfig, steps: int) -> float:
    """Median seconds of a step on one batch."""
    flow = make_flow(config.model)
    flow.compile_maps()
    flow.train()
    optimisation = Optimisation(flow, config)
    x8 = torch.randint(256, (config.batch_size, *flow.image_shape), dtype=torch.uint8)
    generator, times = torch.Generator().manual_seed(0), []
    for _ in range(steps):
        start = time.perf_counter()
        optimisation.step(-flow.log_prob(x8, generator).mean() / flow.dim, 1e-4)
        times.append(time.perf_counter() - start)
    return statistics.median(times[SKIPPED:])


def looped(config: TrainConfig, steps: int) -> float:
    """Median seconds between two steps of the training loop."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run")
        train(replace(config, steps=steps, validate_every=1e9, validate_count=20), run)
        lines = (run.folder / "log.jsonl").read_text().splitlines()
    seconds = [json.loads(line)["seconds"] for line in lines if "gradient_norm" in line]
    gaps = [b - a for a, b in itertools.pairwise(seconds)]
    return statistics.median(gaps[SKIPPED:])


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="msds1-fast")
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/loop.json"))
    arguments = parser.parse_args()
    config = preset(arguments.preset)
    before = pure(config, arguments.steps)
    loop = looped(config, arguments.steps)
    after = pure(config, arguments.steps)
    result = {
        "command": f"python benchmarks/loop.py --preset {arguments.preset}",
        "date": date.today().isoformat(),
        "processor": processor(),
        "preset": arguments.preset,
        "pure_step_seconds": [before, after],
        "loop_step_seconds": loop,
        "share_of_pure_rate": (before + after) / 2 / loop,
    }
    print(json.dumps(result, indent=2))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
