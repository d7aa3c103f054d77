"""What a training step costs with splines, beside affine couplings on the same trunk.

    python benchmarks/spline.py [--rounds 6]

Unit cube, 8 bins, m = 8, trunks 256 wide, 2 couplings per bijector, batch 32, bfloat16 networks.
The three flows take turns in one process, so that whatever else the machine does meets all of them.
Writes benchmarks/results/spline.json.
"""

import argparse
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from steps import machine_rate, operations, seconds, trainer, write

from rgflow import preset

STEPS = 8
"""Timed steps of a flow before it is the next one's turn."""


def make_step(bijector: str, compiled: bool, batch: int) -> Callable[[], object]:
    """One step of training, all costs included."""
    base = preset("msds1-fast")
    changes = {"compute_dtype": "bfloat16", "map": {"kind": bijector}}
    model = base.changed({"model": changes}).model
    made = trainer(replace(base, model=model, compile=compiled, batch_size=batch))
    return lambda: made.take_step(0.0)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/spline.json"))
    arguments = parser.parse_args()
    steps = {
        "affine": make_step("affine", False, arguments.batch),
        "spline": make_step("cube", False, arguments.batch),
        "spline, compiled": make_step("cube", True, arguments.batch),
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
    usual = {name: statistics.median(t[name] for t in rounds) for name in steps}
    write(
        arguments.out,
        machine_tflops=machine_rate("bfloat16"),
        batch=arguments.batch,
        step_seconds=usual,
        times_affine={name: statistics.median(r) for name, r in ratios.items()},
        times_affine_of_rounds=ratios,
        profile_ms={name: operations(step) for name, step in steps.items()},
    )
    for name, found in usual.items():
        print(f"{name:<20} {1000 * found:.0f} ms", ratios.get(name, ""))


if __name__ == "__main__":
    main()
