"""How long the package takes for what it does most, against another version of itself, in turns.

    python benchmarks/versions.py --other ../before --rounds 7

`--other` is a checkout of the other version. Every measurement is of a fresh process with one
thread; both versions take turns, and the ratio is that of the medians of processor time. Results go
to `benchmarks/results/versions.json`.
"""

import argparse
import json
import os
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


def work(task: str, name: str, repeats: int) -> list[float]:
    """Seconds of processor time of one task, with a new flow of a preset."""
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
    found = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        found.append(time.process_time() - start)
    return found


def main() -> None:
    """Compare, or, as a child, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--other", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--work", nargs=2, metavar=("TASK", "PRESET"))
    arguments = parser.parse_args()
    if arguments.work:
        print(json.dumps(work(*arguments.work, arguments.repeats)))
        return
    from rgflow.training.run import git_state, processor

    checkouts = {"now": ROOT, "other": arguments.other.resolve()}
    rows = []
    for name in PRESETS:
        for task in TASKS:
            times: dict[str, list[float]] = {key: [] for key in checkouts}
            for _ in range(arguments.rounds):
                for key, checkout in checkouts.items():
                    command = [sys.executable, __file__, "--work", task, name]
                    environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
                    environment["OMP_NUM_THREADS"] = "1"
                    said = subprocess.run(
                        [*command, "--repeats", str(arguments.repeats)],
                        env=environment,
                        check=True,
                        capture_output=True,
                        text=True,
                    ).stdout
                    times[key].append(min(json.loads(said.splitlines()[-1])))
            ratio = statistics.median(times["now"]) / statistics.median(times["other"])
            rows.append({"preset": name, "task": task, "ratio": round(ratio, 3), **times})
            print(f"{name:12} {task:7} {ratio:.3f}", flush=True)
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
