"""How fast training and sampling are, beside what the machine can do.

    python benchmarks/throughput.py [--released PATH] [--out benchmarks/results/throughput.json]

Times a step of `Trainer`: the batch with its noise, forward, backward, clipping, the optimiser, the
moving average, with compiled maps where a run has them. Networks compute in what a run on this
machine would choose (`run`), or in the number format named; sampling is in float32, as everywhere.
A row with checkpointing and the paper's released code, if a checkout of it is named, stand beside
these. Every row runs in a process of its own, so that its peak memory is its own.

A row's TFLOP/s count only the multiply-adds that the matrix products of the forward pass need,
three times that for a training step. The rate of the machine is that of an 8192×512×512 product in
the format of the networks, measured before and after each row; the share is of their mean.
"""

import argparse
import importlib.util
import json
import math
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from steps import (
    DEVICE,
    DTYPES,
    last_line,
    machine_rate,
    operations,
    peak_memory,
    seconds,
    trainer,
    write,
)
from torch.utils.flop_counter import FlopCounterMode

from rgflow import Flow, preset

WARM_UP = 2
"""Steps that aren't timed, while the process still gets memory from the system."""


def forward_flops(flow: Flow) -> float:
    """FLOP per image of the products in the forward pass."""
    x8 = torch.randint(256, (1, *flow.image_shape), dtype=torch.uint8, device=DEVICE)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        flow.log_prob(x8)
    return counter.get_total_flops()


# ---------------------------------------------------------------- one row, in its own process


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Time one row."""
    config = preset(job["preset"])
    model = replace(config.model, checkpointing=job["checkpointing"])
    if job["networks"] != "run":
        model = replace(model, compute_dtype=job["networks"])
    made = trainer(replace(config, model=model, batch_size=job["batch"] or config.batch_size))
    flow, batch = made.flow, made.config.batch_size
    networks = made.config.model.compute_dtype
    before = machine_rate(networks)

    def step() -> None:
        if not made.take_step(0.0):
            raise SystemExit("Expected a finite loss and gradient.")

    for _ in range(WARM_UP):
        step()
    times = seconds(step, job["steps"])
    memory = peak_memory()
    profile = operations(step)
    flow.eval()
    sampling = seconds(lambda: flow.sample(batch), job["steps"])
    rate = (before + machine_rate(networks)) / 2
    tflops = 3 * forward_flops(flow) * batch / median(times) / 1e12
    return {
        **job,
        "networks": networks,
        "batch": batch,
        "step_seconds": [round(t, 4) for t in times],
        "images_per_second": batch / median(times),
        "tflops": tflops,
        "machine_tflops": rate,
        "share": tflops / rate,
        "peak_gib": memory,
        "compile_seconds": made.compile_seconds,
        "sampled_per_second": batch / median(sampling),
        "profile_ms": profile,
    }


def measure_released(job: dict[str, Any]) -> dict[str, Any]:
    """The released code's training step at the size of `celeba`, with its own layers and options.

    Its networks compute in float32.
    """
    mera, rnvp, resnet, laplace = _released_modules(Path(job["path"]))
    depths = job["depths"]
    widths = [48, job["width"], job["width"], 48]
    layers = []
    for depth in [d for d in depths for _ in range(2)]:
        nets = [
            [resnet.ResNetReshape(4, widths, True, final_tanh) for _ in range(depth)]
            for final_tanh in (True, False)
        ]
        layers.append(rnvp.RNVP(*nets, 3, 4))
    before = machine_rate("float32")
    prior = laplace.Laplace([3, 32, 32], scale=math.sqrt(0.5))
    flow = mera.MERA(layers, 32, 4, prior).to(DEVICE)
    parameters = list(flow.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=5e-5)
    x = torch.rand(job["batch"], 3, 32, 32, device=DEVICE)

    def step() -> None:
        optimizer.zero_grad()
        p = 0.05 + 0.9 * x
        (-flow.log_prob(torch.log(p) - torch.log(1 - p)).mean() / 3072).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    flow.train()
    times = seconds(step, job["steps"])
    return {
        **{key: value for key, value in job.items() if key != "path"},
        "step_seconds": [round(t, 4) for t in times],
        "images_per_second": job["batch"] / median(times),
        "machine_tflops": (before + machine_rate("float32")) / 2,
        "peak_gib": peak_memory(),
    }


def _released_modules(path: Path) -> list[types.ModuleType]:
    """The released code's layers, without its command line and data sets, which they import."""
    code = path / "code"
    spec = importlib.util.spec_from_file_location("utils", code / "utils" / "im2col.py")
    if spec is None or spec.loader is None or not (code / "layers" / "mera.py").is_file():
        raise SystemExit(f"Expected a checkout of the released code; {path} has no code/layers.")
    utils = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(utils)
    sys.modules["utils"] = utils
    sys.path.insert(0, str(code))
    names = ("layers.mera", "layers.rnvp", "layers.resnet", "sources.laplace")
    return [importlib.import_module(name) for name in names]


# ---------------------------------------------------------------- all rows


def jobs(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Every row that was asked for."""
    common = {"batch": arguments.batch, "steps": arguments.steps}
    rows: list[dict[str, Any]] = [
        {"kind": "ours", "preset": name, "networks": networks, "checkpointing": False, **common}
        for name in arguments.presets
        for networks in arguments.networks
    ]
    if arguments.checkpointing and rows:
        rows.append({**rows[0], "checkpointing": True})
    if arguments.released:
        celeba = preset("celeba")
        size = {"depths": celeba.model.map.depth, "width": celeba.model.map.hidden}
        if arguments.quick:
            size = {"depths": [1, 1, 1, 1], "width": 8}
        path = str(arguments.released.resolve())
        batch = arguments.batch or celeba.batch_size
        # Right after the first row, so that the machine is the same.
        rows.insert(1, {**common, "kind": "released", "path": path, "batch": batch, **size})
    return rows


def main() -> None:
    """Run every row in a process of its own, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="*", default=["celeba", "photos", "msds1-best"])
    parser.add_argument(
        "--networks", nargs="*", default=["run", "float32"], choices=["run", *DTYPES]
    )
    parser.add_argument("--batch", type=int, help="images per step; default: those of the preset")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of a row")
    parser.add_argument("--checkpointing", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--released", type=Path, help="a checkout of hongyehu/RG-Flow")
    parser.add_argument("--quick", action="store_true", help="whether all works; no number counts")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/throughput.json"))
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.presets, arguments.batch, arguments.steps = ["msds1-small"], 2, 1
    if arguments.job:
        job = json.loads(arguments.job)
        print(json.dumps(measure_released(job) if job["kind"] == "released" else measure(job)))
        return
    machine = {dtype: machine_rate(dtype) for dtype in DTYPES}
    print(f"The machine: {machine} TFLOP/s")
    rows = []
    for job in jobs(arguments):
        command = [sys.executable, __file__, "--job", json.dumps(job)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(last_line(done.stdout))
        print(describe(rows[-1]), flush=True)
        write(arguments.out, machine_tflops=machine, rows=rows)
    if not arguments.released:
        print("The released code isn't beside these: name a checkout of it with --released.")


def describe(row: dict[str, Any]) -> str:
    """A row as a line of a table."""
    if row["kind"] == "released":
        return f"released code  {row['images_per_second']:.2f} images/s  {row['peak_gib']:.1f} GiB"
    how = ", checkpointing" if row["checkpointing"] else ""
    how += ", compiled" if row["compile_seconds"] else ""
    name = f"{row['preset']:<10} {row['networks'] + how:<23}"
    return (
        f"{name} {row['images_per_second']:7.2f} images/s  "
        f"{row['tflops']:.3f} TFLOP/s = {100 * row['share']:.0f} % of {row['machine_tflops']:.3f}  "
        f"{row['peak_gib']:.1f} GiB  sampling {row['sampled_per_second']:.1f}/s"
    )


if __name__ == "__main__":
    main()
