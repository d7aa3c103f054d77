"""Steps of training as a run takes them, and the rate of the machine that they can be held against.

What the other benchmarks share; it measures nothing by itself.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from rgflow import TrainConfig, make_flow
from rgflow.data import Images
from rgflow.files import write_json
from rgflow.training.loop import resolved
from rgflow.training.optimisation import prepare_machine
from rgflow.training.run import processor
from rgflow.training.trainer import Trainer

ON_GPU = torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
PRODUCT = 8192, 512, 512
"""Rows, inner size and columns of the product whose rate is the machine's."""


def trainer(config: TrainConfig, images: Images | None = None) -> Trainer:
    """A new training, whose `take_step` does what a run does between two lines of its log.

    Args:
        config: Its settings; what depends on the machine is decided here, and maps are compiled
            where a run would do that.
        images: What it learns from; none: noise, as much as two batches.
    """
    prepare_machine()
    config = resolved(config)
    torch.manual_seed(config.seed)
    flow = make_flow(config.model)
    if images is None:
        shape = (2 * config.batch_size, *flow.image_shape)
        noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        images = Images(images=noise, name="noise")
    if flow.pixels:
        flow.fit_pixels(torch.from_numpy(images.images[:2000].copy()))
    config = replace(config, model=flow.config)
    made = Trainer(config, flow, images, Accelerator(cpu=not ON_GPU))
    if why := made.compile():
        print(f"without compiled maps: {why}", file=sys.stderr)
    return made


def seconds(function: Callable[[], Any], repeats: int) -> list[float]:
    """Times of some calls, after one that isn't counted."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        function()
        if ON_GPU:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return times[1:]


def machine_rate(dtype: str) -> float:
    """TFLOP/s of a matrix product (`PRODUCT`) in a number format: the best of 10."""
    rows, inner, columns = PRODUCT
    a = torch.randn(rows, inner, device=DEVICE).to(DTYPES[dtype])
    b = torch.randn(inner, columns, device=DEVICE).to(DTYPES[dtype])
    return 2 * rows * inner * columns / min(seconds(lambda: a @ b, 10)) / 1e12


def peak_memory() -> float:
    """Largest resident memory of this process, or memory of the GPU, in GiB."""
    if ON_GPU:
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def operations(step: Callable[[], Any]) -> dict[str, float]:
    """Milliseconds that the 15 costliest operations of one step take, all calls together."""
    with torch.profiler.profile() as profile:
        step()
    averages = sorted(profile.key_averages(), key=lambda e: -e.self_cpu_time_total)
    return {e.key[:60]: round(e.self_cpu_time_total / 1000, 1) for e in averages[:15]}


def write(path: Path, **content: Any) -> None:
    """Write a result, with the command, the day and the machine that it comes from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = {
        "command": " ".join(["python", *sys.argv]),
        "date": date.today().isoformat(),
        "processor": processor(),
        "gpu": torch.cuda.get_device_name() if ON_GPU else None,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    write_json(path, machine | content)


def last_line(text: str) -> Any:
    """The JSON on the last line that a program has printed."""
    return json.loads(text.splitlines()[-1])
