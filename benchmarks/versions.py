"""How long the package takes for what it does most, against another version of itself, in turns.

    python benchmarks/versions.py --other ../before

`--other` is a checkout of the other version. Two processes with a thread each share a core and do
one run of a task in turns; the ratio is the median of those of neighbouring runs, so that what the
machine does meanwhile touches both. Results go to `benchmarks/results/versions.json`.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "versions.json"

PRESETS = {"celeba": 16, "photos": 16, "msds1-small": 32, "msds1-fast": 32, "msds1-best": 32}
"""What is compared, each with the number of images at a time."""
TASKS = ("step", "log_prob", "sample", "repair", "fields")


def work(task: str, name: str, batch: int) -> None:
    """Do one task with a new flow of a preset, once for every line of standard input, and print the
    seconds of processor time.

    What is imported here belongs to either version, so only names that both have can be used.
    """
    import torch

    from rgflow import make_flow, preset
    from rgflow.training.loop import resolved
    from rgflow.training.optimisation import prepare_machine

    torch.set_num_threads(1)
    torch.manual_seed(0)
    prepare_machine()
    config = replace(resolved(preset(name)), batch_size=batch)
    flow = make_flow(config.model)
    x8 = torch.randint(256, (batch, *flow.image_shape), dtype=torch.uint8)
    flow.fit_pixels(x8)
    if task == "step":
        run = stepping(flow, replace(config, model=flow.config), x8)
    elif task == "repair":
        run = repairing(flow.eval(), x8[:2])
    else:
        x = (x8 + torch.rand(x8.shape)).clamp(max=255.99)
        run = {"log_prob": scoring, "sample": sampling, "fields": fields}[task](flow.eval(), x)
    run()
    for _ in sys.stdin:  # once for every line
        start = time.process_time()
        run()
        print(time.process_time() - start, flush=True)


def stepping(flow: Any, config: Any, x8: Any) -> Callable[[], object]:
    """A step of a training."""
    from accelerate import Accelerator

    from rgflow.data import Images
    from rgflow.training.trainer import Trainer

    trainer = Trainer(config, flow, Images(name="noise", images=x8.numpy()), Accelerator(cpu=True))
    trainer.compile()
    return lambda: trainer.take_step(0.5)


def scoring(flow: Any, x: Any) -> Callable[[], object]:
    """Likelihoods without gradients."""
    import torch

    return torch.no_grad()(lambda: flow.log_prob(x))


def sampling(flow: Any, x: Any) -> Callable[[], object]:
    """Images from the flow."""
    import torch

    return lambda: flow.sample(len(x), generator=torch.Generator().manual_seed(0))


def fields(flow: Any, x: Any) -> Callable[[], object]:
    """Receptive fields of all latents, for one draw."""
    from rgflow.analysis.fields import receptive_fields

    return lambda: receptive_fields(flow, draws=1)


def repairing(flow: Any, x8: Any) -> Callable[[], object]:
    """Steps that change a region of 10×10 pixels, in its causal cone."""
    import numpy as np
    import torch

    from rgflow.local import LocalFlow

    mask = np.zeros(flow.image_shape[1:], dtype=bool)
    mask[11:21, 11:21] = True
    region = LocalFlow(flow, x8).region(mask)

    def run() -> None:
        for _ in range(10):
            pixels = region.pixels.clone().requires_grad_()
            torch.autograd.grad(region.local_log_prob(pixels).sum(), pixels)

    return run


class Worker:
    """A process that does one task of one version again and again, on one core."""

    def __init__(self, checkout: Path, task: str, name: str, batch: int) -> None:
        environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--work", task, name, str(batch)],
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


def compared(
    checkouts: list[Path], task: str, name: str, batch: int, pairs: int
) -> dict[str, float]:
    """The median ratio of the times of two versions, which take turns, and its standard error."""
    workers = [Worker(checkout, task, name, batch) for checkout in checkouts]
    seconds: list[list[float]] = [[], []]
    for pair in range(pairs + 1):
        for k in (0, 1) if pair % 2 else (1, 0):
            seconds[k].append(workers[k].seconds())
    for worker in workers:
        worker.close()
    now, other = (some[1:] for some in seconds)  # the first warms up
    ratios = [a / b for a, b in zip(now, other, strict=True)]
    draws = (statistics.median(random.choices(ratios, k=pairs)) for _ in range(1000))
    return {
        "ratio": statistics.median(ratios),
        "standard_error": statistics.stdev(draws),
        "seconds": statistics.median(now),
        "seconds_of_other": statistics.median(other),
    }


def main() -> None:
    """Compare, or, as a child, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--other", type=Path, help="a checkout of the other version")
    parser.add_argument("--presets", nargs="*", default=list(PRESETS), choices=PRESETS)
    parser.add_argument("--tasks", nargs="*", default=TASKS, choices=TASKS)
    parser.add_argument("--pairs", type=int, default=30, help="turns of both")
    parser.add_argument("--batch", type=int, help="images at a time; default: by preset")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        task, name, batch = arguments.work
        work(task, name, int(batch))
        return
    if not arguments.other or not (arguments.other / "src" / "rgflow").is_dir():
        parser.error("expected a checkout of another version: give one with --other")
    from steps import write

    from rgflow.training.run import git_state

    other = arguments.other.resolve()
    random.seed(0)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # all of it on one core
    git = ["git", "-C", str(other), "rev-parse", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    rows = []
    for name in arguments.presets:
        batch = arguments.batch or PRESETS[name]
        for task in arguments.tasks:
            found = compared([ROOT, other], task, name, batch, arguments.pairs)
            rows.append({"preset": name, "task": task, "batch": batch, **found})
            ratio, error = found["ratio"], found["standard_error"]
            print(f"{name:12} {task:9} {ratio:.3f} ± {error:.3f}", flush=True)
            write(arguments.out, now=git_state(), other=commit, rows=rows)


if __name__ == "__main__":
    main()
