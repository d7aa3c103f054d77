"""What a training step costs with splines, beside affine couplings on the same trunk.

    python benchmarks/spline.py [--rounds 6]

Unit cube, 8 bins, m = 8, trunks 256 wide, 2 couplings per bijector, batch 32, bfloat16 networks.
The three flows take turns in one process, so that whatever else the machine does meets all of them.
Writes benchmarks/results/spline.json.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch
from throughput import machine_rate, operations, seconds

from rgflow import make_flow, preset
from rgflow.training.optimisation import Optimisation, prepare_machine
from rgflow.training.run import processor

STEPS = 8
"""Timed steps of a flow before it is the next one's turn."""


def make_step(bijector: str, compiled: bool) -> Callable[[], Any]:
    """One step of training, all costs included."""
    base = preset("msds1-fast")
    changes = {"compute_dtype": "bfloat16", "map": {"kind": bijector}}
    model = base.changed({"model": changes}).model
    torch.manual_seed(0)
    flow = make_flow(model)
    if compiled:
        flow.compile_maps()
    optimisation = Optimisation(flow, base)
    x8 = torch.randint(256, (32, *flow.image_shape), dtype=torch.uint8)
    generator = torch.Generator().manual_seed(0)
    flow.train()
    return lambda: optimisation.step(-flow.log_prob(x8, generator).mean() / flow.dim, 1e-4)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/spline.json"))
    arguments = parser.parse_args()
    prepare_machine()
    steps = {
        "affine": make_step("affine", False),
        "spline": make_step("cube", False),
        "spline, compiled": make_step("cube", True),
    }
    for step in steps.values():
        seconds(step, 4)
    rounds = [
        {name: statistics.median(seconds(step, STEPS)) for name, step in steps.items()}
        for _ in range(arguments.rounds)
    ]
    ratios = {
        name: [times[name] / times["affine"] for times in rounds]
        for name in steps
        if name != "affine"
    }
    result = {
        "command": " ".join(["python", *sys.argv]),
        "date": date.today().isoformat(),
        "processor": processor(),
        "torch": torch.__version__,
        "machine_tflops": machine_rate("bfloat16", "cpu"),
        "batch": 32,
        "step_seconds": {name: statistics.median(t[name] for t in rounds) for name in steps},
        "times_affine": {name: statistics.median(r) for name, r in ratios.items()},
        "times_affine_of_rounds": ratios,
        "profile_ms": {name: operations(step) for name, step in steps.items()},
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    for name, step in result["step_seconds"].items():
        print(f"{name:<20} {1000 * step:.0f} ms", ratios.get(name, ""))


if __name__ == "__main__":
    main()
