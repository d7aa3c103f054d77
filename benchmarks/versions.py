"""How long the package takes for what it does most, against another version of itself, in turns.

    python benchmarks/versions.py --other ../before

`--other` is a checkout of the other version. Two processes with a thread each share a core and do
one run of a task in turns; the ratio is the median of those of neighbouring runs, so that what the
machine does meanwhile touches both. Results go to `benchmarks/results/versions.json`.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "versions.json"

PRESETS = ("msds1-small", "msds1-fast", "msds1-best")
TASKS = ("step", "sample", "repair", "fields")


def work(task: str, name: str) -> None:
    """Do one task with a new flow of a preset, once for every line of standard input, and print the
    seconds of processor time."""
    import numpy as np
    import torch

    from rgflow import make_flow, preset
    from rgflow.analysis.fields import receptive_fields
    from rgflow.local import LocalFlow
    from rgflow.training.loop import resolved
    from rgflow.training.optimisation import Optimisation, prepare_machine

    torch.set_num_threads(1)
    torch.manual_seed(0)
    prepare_machine()
    config = resolved(preset(name))
    flow = make_flow(config.model)
    x8 = torch.randint(256, (32, 3, 32, 32), dtype=torch.uint8)
    flow.fit_pixels(x8)
    x = (x8 + torch.rand(x8.shape)).clamp(max=255.99)
    if task == "step":
        optimisation = Optimisation(flow, config)

        def run() -> None:
            flow.train()
            if hasattr(flow, "fast"):
                with flow.fast():
                    loss = -flow(x).mean() / flow.dim
                    optimisation.backward(loss)
            else:
                optimisation.backward(-flow(x).mean() / flow.dim)
            optimisation.update(1e-4)

    elif task == "sample":
        flow.eval()

        def run() -> None:
            flow.sample(32, generator=torch.Generator().manual_seed(0))

    elif task == "repair":
        mask = np.zeros((32, 32), dtype=bool)
        mask[11:21, 11:21] = True
        region = LocalFlow(flow.eval(), x8[:2]).region(mask)

        def run() -> None:
            for _ in range(10):
                pixels = region.pixels.clone().requires_grad_()
                torch.autograd.grad(region.local_log_prob(pixels).sum(), pixels)

    else:

        def run() -> None:
            receptive_fields(flow.eval(), draws=1)

    run()
    for _ in sys.stdin:  # once for every line
        start = time.process_time()
        run()
        print(time.process_time() - start, flush=True)


class Worker:
    """A process that does one task of one version again and again, on one core."""

    def __init__(self, checkout: Path, task: str, name: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--work", task, name],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def seconds(self) -> float:
        """Of processor time, of one more run."""
        assert self.process.stdin
        assert self.process.stdout
        print(file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self.process.communicate()


def compared(checkouts: list[Path], task: str, name: str, pairs: int) -> dict[str, float]:
    """The median ratio of the times of two versions, which take turns, and its standard error."""
    workers = [Worker(checkout, task, name) for checkout in checkouts]
    ratios = []
    for pair in range(pairs + 1):
        order = workers if pair % 2 else workers[::-1]
        times = {worker: worker.seconds() for worker in order}
        ratios.append(times[workers[0]] / times[workers[1]])
    for worker in workers:
        worker.close()
    ratios = ratios[1:]  # the first warms up
    draws = (statistics.median(random.choices(ratios, k=pairs)) for _ in range(1000))
    return {"ratio": statistics.median(ratios), "standard_error": statistics.stdev(draws)}


def main() -> None:
    """Compare, or, as a child, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--other", type=Path)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--work", nargs=2, metavar=("TASK", "PRESET"))
    arguments = parser.parse_args()
    if arguments.work:
        work(*arguments.work)
        return
    from rgflow.training.run import git_state, processor

    random.seed(0)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # all of it on one core
    rows = []
    for name in PRESETS:
        for task in TASKS:
            found = compared([ROOT, arguments.other.resolve()], task, name, arguments.pairs)
            rows.append({"preset": name, "task": task, **found})
            ratio, error = found["ratio"], found["standard_error"]
            print(f"{name:12} {task:7} {ratio:.3f} ± {error:.3f}", flush=True)
    content = {
        "command": "python benchmarks/versions.py --other CHECKOUT",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": processor(),
        "now": git_state(),
        "other": subprocess.run(
            ["git", "-C", str(arguments.other), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip(),
        "rows": rows,
    }
    RESULTS.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
