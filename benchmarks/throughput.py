"""How fast training and sampling are, beside what the machine can do.

    python benchmarks/throughput.py [--released PATH] [--out benchmarks/results/throughput.json]

Measures in one run: the machine's rate (an 8192×512×512 product in float32 and bfloat16); a
training step (batch, forward, backward, clipping, AdamW, moving average) and sampling of each
preset, in float32 and bfloat16, eager and with its residual blocks compiled; and the paper's
released code, if a checkout of it is named. Every row runs in a process of its own, so that its
peak memory is its own. Splines are measured by spline.py.

A row's TFLOP/s count only the multiply-adds that the linear layers of the forward pass need, three
times that for a training step. The machine's rate is measured before and after each row, and the
share is of their mean.
"""

import argparse
import importlib.util
import json
import math
import os
import resource
import subprocess
import sys
import time
import types
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from rgflow import Flow, TrainConfig, make_flow, preset
from rgflow.conditioners import _Residual
from rgflow.training.optimisation import Optimisation, prepare_machine
from rgflow.training.run import processor

WARM_UP = 2
"""Steps after the first that aren't timed, while the process still gets memory from the system."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def synchronise() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(function: Callable[[], Any], repeats: int) -> list[float]:
    """Times of some calls, after one that isn't counted."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        function()
        synchronise()
        times.append(time.perf_counter() - start)
    return times[1:]


def machine_rate(dtype: str, device: str) -> float:
    """TFLOP/s of an 8192×512×512 product: the best of 10."""
    a = torch.randn(8192, 512, device=device).to(DTYPES[dtype])
    b = torch.randn(512, 512, device=device).to(DTYPES[dtype])
    return 2 * 8192 * 512 * 512 / min(seconds(lambda: a @ b, 10)) / 1e12


def forward_flops(flow: torch.nn.Module, x: torch.Tensor) -> float:
    """FLOP per image of the products in the forward pass."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        flow.log_prob(x)
    return counter.get_total_flops() / len(x)


def peak_memory() -> float:
    """Largest resident memory of this process, or memory of the GPU, in GiB."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def operations(step: Callable[[], None]) -> dict[str, float]:
    """Milliseconds that the 15 costliest operations of one step take, all calls together."""
    with torch.profiler.profile() as profile:
        step()
    averages = sorted(profile.key_averages(), key=lambda e: -e.self_cpu_time_total)
    return {e.key[:60]: round(e.self_cpu_time_total / 1000, 1) for e in averages[:15]}


# ---------------------------------------------------------------- one row, in its own process


def variant(name: str, dtype: str, checkpointing: bool) -> TrainConfig:
    """A preset by name."""
    base = preset(name)
    model = replace(base.model, compute_dtype=dtype, checkpointing=checkpointing)
    return replace(base, model=model)


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Time one row."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    prepare_machine()
    before = machine_rate(job["dtype"], device)
    torch.manual_seed(0)
    config = variant(job["preset"], job["dtype"], job["checkpointing"])
    flow: Flow = make_flow(config.model).to(device)
    x8 = torch.randint(256, (job["batch"], *flow.image_shape), dtype=torch.uint8)
    flops = forward_flops(flow, x8[:1].to(device))
    start = time.perf_counter()
    if job["compiled"]:
        torch._dynamo.config.recompile_limit = 64  # one per size of the blocks' batches
        for module in flow.modules():
            if isinstance(module, _Residual):
                module.compile()
    optimisation = Optimisation(flow, config)
    generator = torch.Generator(device).manual_seed(0)
    flow.train()

    def step() -> None:
        optimisation.step(-flow.log_prob(x8.to(device), generator).mean() / flow.dim, 1e-4)

    step()
    setup = time.perf_counter() - start
    for _ in range(WARM_UP):
        step()
    times = seconds(step, job["steps"])
    memory = peak_memory()
    profile = operations(step)
    flow.eval()
    sampling = seconds(lambda: flow.sample(job["batch"]), 1)
    after = machine_rate(job["dtype"], device)
    best, rate = sorted(times)[len(times) // 2], (before + after) / 2
    tflops = 3 * flops * job["batch"] / best / 1e12
    return {
        **job,
        "step_seconds": [round(t, 4) for t in times],
        "images_per_second": job["batch"] / best,
        "tflops": tflops,
        "machine_tflops": rate,
        "share": tflops / rate,
        "peak_gib": memory,
        "first_step_seconds": setup,
        "sampled_per_second": job["batch"] / min(sampling),
        "profile_ms": profile,
    }


def measure_released(job: dict[str, Any]) -> dict[str, Any]:
    """The released code's training step at the same size, with its own layers and options."""
    mera, rnvp, resnet, laplace = _released_modules(Path(job["path"]))
    depths = preset("celeba").model.depths(4)
    widths = [48, 512, 512, 48]
    layers = []
    for depth in [d for d in depths for _ in range(2)]:
        nets = [
            [resnet.ResNetReshape(4, widths, True, final_tanh) for _ in range(depth)]
            for final_tanh in (True, False)
        ]
        layers.append(rnvp.RNVP(*nets, 3, 4))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    before = machine_rate("float32", device)
    flow = mera.MERA(layers, 32, 4, laplace.Laplace([3, 32, 32], scale=math.sqrt(0.5))).to(device)
    parameters = list(flow.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=5e-5)
    x = torch.rand(job["batch"], 3, 32, 32, device=device)

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
        "images_per_second": job["batch"] / min(times),
        "machine_tflops": before,
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
    rows = [
        {
            "kind": "ours", "preset": name, "dtype": dtype, "compiled": compiled,
            "checkpointing": False, **common,
        }
        for name in arguments.presets
        for dtype in arguments.dtypes
        for compiled in arguments.compiled
    ]  # fmt: skip
    if arguments.checkpointing and rows:
        rows.append({**rows[0], "checkpointing": True})
    if arguments.released:
        path = {"path": str(arguments.released), "steps": 1}
        rows.insert(1, {"kind": "released", **common, **path})
    return rows


def main() -> None:
    """Run every row in a process of its own, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="*", default=["celeba", "msds1"])
    parser.add_argument("--dtypes", nargs="*", default=["bfloat16", "float32"], choices=DTYPES)
    parser.add_argument("--compiled", nargs="*", type=int, default=[0, 1], choices=[0, 1])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3, help="timed steps of a row")
    parser.add_argument("--checkpointing", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--released", type=Path, help="a checkout of hongyehu/RG-Flow")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/throughput.json"))
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        job = json.loads(arguments.job)
        row = measure_released(job) if job["kind"] == "released" else measure(job)
        print(json.dumps(row))
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    result: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "date": date.today().isoformat(),
        "processor": processor(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "machine_tflops": {dtype: machine_rate(dtype, device) for dtype in DTYPES},
        "rows": [],
    }
    print(f"{result['processor']}: {result['machine_tflops']} TFLOP/s")
    for job in jobs(arguments):
        command = [sys.executable, __file__, "--job", json.dumps(job)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            print(f"failed: {job}")
            continue
        row = json.loads(done.stdout.splitlines()[-1])
        result["rows"].append(row)
        print(describe(row), flush=True)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    if not arguments.released:
        print("The released code isn't beside these: name a checkout of it with --released.")


def describe(row: dict[str, Any]) -> str:
    """A row as a line of a table."""
    if row["kind"] == "released":
        return f"released code  {row['images_per_second']:.2f} images/s  {row['peak_gib']:.1f} GiB"
    how = "compiled" if row["compiled"] else "eager"
    how += ", checkpointing" if row["checkpointing"] else ""
    return (
        f"{row['preset']:<8} {row['dtype']:<8} {how:<20} {row['images_per_second']:7.2f} images/s  "
        f"{row['tflops']:.3f} TFLOP/s = {100 * row['share']:.0f} % of {row['machine_tflops']:.3f}  "
        f"{row['peak_gib']:.1f} GiB  sampling {row['sampled_per_second']:.1f}/s  first step "
        f"{row['first_step_seconds']:.0f} s"
    )


if __name__ == "__main__":
    main()
