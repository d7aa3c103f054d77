"""Whether two processes train as one: the losses of 50 steps with the same global batch.

    python benchmarks/distributed.py [--preset msds1-small] [--steps 50]

Trains in one process, and with `torchrun --nproc-per-node 2` over gloo, in float64 and float32;
writes the largest relative difference of the losses to benchmarks/results/distributed.json.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from steps import write

from rgflow.training.run import Run


def losses(preset: str, steps: int, dtype: str, processes: int, folder: Path) -> list[float]:
    """Losses of a training, step by step."""
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    flags = {
        "steps": steps, "dtype": dtype, "model.compute_dtype": "float32", "compile": "false",
        "train_count": 2000, "validate_count": 50, "validate_every": 1e9, "out": folder,
    }  # fmt: skip
    command = [sys.executable, *(launch if processes > 1 else []), "-m", "rgflow", "train", preset]
    command += [str(word) for key, value in flags.items() for word in (f"--{key}", value)]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    run = Run.open(folder)
    assert run.record()["machine"]["processes"] == processes
    return [entry["nll"] for entry in run.entries() if "nll" in entry]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="msds1-small")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/distributed.json"))
    arguments = parser.parse_args()
    differences = {}
    for dtype in ("float64", "float32"):
        with tempfile.TemporaryDirectory() as folder:
            one, two = (
                losses(arguments.preset, arguments.steps, dtype, n, Path(folder) / str(n))
                for n in (1, 2)
            )
        assert len(one) == len(two) == arguments.steps
        differences[dtype] = max(abs(a - b) / abs(a) for a, b in zip(one, two, strict=True))
        print(f"{dtype}: largest relative difference {differences[dtype]:.1e}")
    write(
        arguments.out,
        preset=arguments.preset,
        steps=arguments.steps,
        largest_relative_difference_of_losses=differences,
    )


if __name__ == "__main__":
    main()
