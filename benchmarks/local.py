"""What one step of an inpainting costs, in the causal cone and in the whole image.

    python benchmarks/local.py [--sizes 32 64 …] [--largest 512]

A step generates a 10×10 region from the latents of its inference cone, pastes it into the image,
encodes that, and finds the gradient of log p. Depth 2 and width 64 at every level, one level more
per doubling of L, every parameter random; the region stands where its cone has the most usual size.
Restricted and whole steps alternate in one process, one for every L; a restricted step is measured
for a single problem and for 64 restarts in one batch, as what a batch shares (starting thousands of
small operations) is most of what a single one costs. Whole steps are measured up to `--largest`,
which has to fit in memory, and extrapolated from there by the number of blocks.

Then the same for the depths and the width of the paper's MSDS models at L = 32, for one image and
for several. Writes benchmarks/results/local.json and docs/images/local-cost.png.
"""

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from PIL import Image
from steps import last_line, write
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
from reproducing.holes import WholeFlow, WholeRegion
from rgflow import AffineMap, FlowConfig, RGFlow, preset
from rgflow.figures.charts import INK, RED, blank, plain, rendered
from rgflow.figures.curves import BLUE
from rgflow.lattice import Lattice, Mask
from rgflow.local import LocalFlow, Region
from rgflow.training.optimisation import prepare_machine

EDGE = 10
"""Edge of the region in pixels."""
BATCH = 64
"""Restarts in one batch."""
SIZES = [32, 64, 128, 256, 512, 1024]


def randomised(config: FlowConfig) -> RGFlow:
    """A flow with random parameters."""
    torch.manual_seed(0)
    flow = RGFlow(config).eval()
    with torch.no_grad():
        for parameter in flow.parameters():
            fan_in = parameter.shape[-1] if parameter.ndim > 1 else 1
            parameter += 0.3 / fan_in**0.5 * torch.randn_like(parameter)
    return flow


def usual(lattice: Lattice, seed: int = 0) -> Mask:
    """Of 100 random regions, the one whose inference cone is nearest to their mean."""
    random = np.random.default_rng(seed)
    boxes = [
        lattice.box(*random.integers(0, lattice.height - EDGE + 1, 2).tolist(), EDGE, EDGE)
        for _ in range(100)
    ]
    sizes = np.array([lattice.inference_cone(box).sum() for box in boxes])
    return boxes[int(np.abs(sizes - sizes.mean()).argmin())]


def step(holes: Region | WholeRegion) -> Callable[[], None]:
    """One step: generate, paste, encode, backward."""
    latents = (holes.latents + 0.01).requires_grad_()

    def run() -> None:
        latents.grad = None
        holes.log_prob(holes.decode(latents)).sum().backward()

    return run


def timed(steps: list[Callable[[], None]], repeats: int) -> list[float]:
    """Median seconds of each, in turns."""
    for run in steps:
        run()
    seconds: list[list[float]] = [[] for _ in steps]
    for _ in range(repeats):
        for run, found in zip(steps, seconds, strict=True):
            start = time.perf_counter()
            run()
            found.append(time.perf_counter() - start)
    return [statistics.median(found) for found in seconds]


def peak(run: Callable[[], None]) -> int:
    """Bytes of tensors that a step holds at once, beyond what was there before."""
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        run()
    now = most = 0
    assert record.profiler
    assert record.profiler.kineto_results
    events = record.profiler.kineto_results.events()
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


def blocks_in_all(lattice: Lattice) -> int:
    """Blocks of an image at all levels."""
    return sum(len(layer) for level in range(lattice.levels) for layer in lattice.layers(level))


def measure(config: FlowConfig, images: int, whole: bool, repeats: int) -> dict[str, Any]:
    """Seconds and bytes of a step for several images at once, restricted and perhaps whole."""
    prepare_machine()
    flow = randomised(config)
    x = torch.rand(images, *flow.image_shape) * 255
    lattice = flow.lattice
    masks = np.stack([usual(lattice, seed) for seed in range(images)])
    local = LocalFlow(flow, x)
    region = local.region(masks)
    row: dict[str, Any] = {
        "size": config.height,
        "images": images,
        "levels": lattice.levels,
        "parameters": sum(p.numel() for p in flow.parameters()),
        "free_latents": len(region.latents) / images,
        "blocks": region.blocks / images,
        "blocks_in_all": blocks_in_all(lattice),
    }
    steps = {"restricted": step(region)}
    if images == 1:
        steps["batch"] = step(local.region(masks, copies=BATCH))
    if whole:
        steps["whole"] = step(WholeFlow(flow, x).region(masks))
    seconds = timed(list(steps.values()), repeats)
    for (name, run), found in zip(steps.items(), seconds, strict=True):
        row[f"{name}_seconds"] = found
        row[f"{name}_bytes"] = peak(run)
    row["ratio_of_blocks"] = row["blocks_in_all"] / row["blocks"]
    if whole:
        row["times_faster"] = row["whole_seconds"] / row["restricted_seconds"]
    if whole and images == 1:
        row["times_faster_in_batch"] = BATCH * row["whole_seconds"] / row["batch_seconds"]
    return row


def jobs(sizes: list[int], largest: int, paper: Sequence[int]) -> dict[str, dict[str, Any]]:
    """All measurements by name: edges of images, the largest for whole steps, and numbers of images
    for the flow of the paper."""
    small = {
        f"L{size}": {
            "config": FlowConfig(height=size, width=size, map=AffineMap(depth=2, hidden=64)),
            "images": 1,
            "whole": size <= largest,
            "repeats": 30 if size <= 128 else 5,
        }
        for size in sizes
    }
    msds1 = preset("msds1").model
    return small | {
        f"msds1 × {images}": {"config": msds1, "images": images, "whole": True, "repeats": 5}
        for images in paper
    }


class Cost(NamedTuple):
    """What a step costs for images of one size."""

    edge: int
    """L."""
    seconds: float
    """Of a step; NaN: not known."""
    bytes: float
    """Of memory at its peak; NaN: not known."""
    measured: bool = True
    """Rather than extrapolated."""


def scaling(
    restricted: Sequence[Cost], full: Sequence[Cost], latents: Mapping[int, int]
) -> Image.Image:
    """Time and memory of a step against the edge of the image, and the number of free latents.

    Args:
        restricted: What a step costs if only causal cones are evaluated, the smallest size first.
        full: The same if all is. Points that aren't measured are hollow.
        latents: For every size, the number of free latents.
    """
    figure = blank(10, 3.6)
    time, memory, free = figure.subplots(1, 3)
    for name, points, colour in (("restricted", restricted, BLUE), ("full", full, RED)):
        _line(time, name, colour, points, [point.seconds for point in points])
        _line(memory, name, colour, points, [point.bytes / 2**20 for point in points])
    free.plot(list(latents), list(latents.values()), "o-", color=INK, lw=1.8, ms=5)
    free.set_ylim(0, 1.15 * max(latents.values()))
    ends = list(latents.items())
    for end, shift, side in ((ends[0], (6, -13), "left"), (ends[-1], (-6, 6), "right")):
        note(free, f"{end[1]:,}", end, shift, side, INK)
    edges = sorted({point.edge for point in (*restricted, *full)} | set(latents))
    for axes, title in (
        (time, "time per step, s"),
        (memory, "peak memory, MiB"),
        (free, "free latents"),
    ):
        axes.set_xscale("log", base=2)
        axes.set_xticks(edges, [str(edge) for edge in edges])
        axes.set_title(title, loc="left", color=INK, fontsize=12, weight="bold")
        plain(axes, "edge of the image L")
    for axes in (time, memory):
        axes.set_yscale("log")
        axes.margins(y=0.15)
        axes.tick_params(which="minor", left=False)
    figure.tight_layout(w_pad=2)
    return rendered(figure)


def _line(
    axes: Axes, name: str, colour: str, points: Sequence[Cost], values: Sequence[float]
) -> None:
    """One evaluation: through what was measured, then dashed to what was extrapolated."""
    edges = [point.edge for point in points]
    count = sum(point.measured for point in points)
    axes.plot(edges[:count], values[:count], "o-", color=colour, lw=1.8, ms=5)
    axes.plot(edges[count - 1 :], values[count - 1 :], "--", color=colour, lw=1.2, zorder=1)
    axes.plot(edges[count:], values[count:], "o", color=colour, mfc="white", ms=5)
    note(axes, name, (edges[count - 1], values[count - 1]), (-6, 7), "right", colour)
    if count < len(points):
        note(axes, "extrapolated", (edges[-1], values[-1]), (-7, 3), "right", colour, "normal")


def note(
    axes: Axes,
    text: str,
    at: tuple[float, float],
    shift: tuple[int, int],
    side: str,
    colour: str,
    weight: str = "bold",
) -> None:
    """A text beside a point of a plot, shifted by some points (1/72 inch)."""
    axes.annotate(text, at, shift, textcoords="offset points", color=colour, ha=side, weight=weight)


def extrapolated(rows: list[dict[str, Any]]) -> list[Cost]:
    """Whole steps: measured ones, and from the largest of these on by the number of blocks."""
    costs = []
    for row in rows:
        if "whole_seconds" in row:
            last = row
            costs.append(Cost(row["size"], row["whole_seconds"], row["whole_bytes"]))
        else:
            times = row["blocks_in_all"] / last["blocks_in_all"]
            costs.append(
                Cost(row["size"], times * last["whole_seconds"], times * last["whole_bytes"], False)
            )
    return costs


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--largest", type=int, default=1024, help="L of the last whole step")
    parser.add_argument(
        "--paper", type=int, nargs="*", default=[1, 8, 32], help="numbers of images"
    )
    parser.add_argument("--pictures", type=Path, default=Path("docs/images"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/local.json"))
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    todo = jobs(arguments.sizes, arguments.largest, arguments.paper)
    if arguments.job:
        print(json.dumps(measure(**todo[arguments.job])))
        return
    rows = {}
    for name in todo:
        command = [sys.executable, __file__, "--job", name, "--largest", str(arguments.largest)]
        command += ["--sizes", *map(str, arguments.sizes)]
        command += ["--paper", *map(str, arguments.paper)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows[name] = last_line(done.stdout)
        print(name, rows[name], flush=True)
    small = [rows[name] for name in todo if name.startswith("L")]
    restricted = [Cost(r["size"], r["restricted_seconds"], r["restricted_bytes"]) for r in small]
    whole = extrapolated(small)
    write(
        arguments.out,
        flow="affine couplings, depth 2, width 64, every parameter random, float32",
        rows=small,
        paper_depths=[rows[name] for name in todo if not name.startswith("L")],
        restricted_growth=restricted[-1].seconds / restricted[0].seconds,
        whole_growth=whole[-1].seconds / whole[0].seconds,
        whole=[cost._asdict() for cost in whole],
    )
    picture = scaling(restricted, whole, {r["size"]: round(r["free_latents"]) for r in small})
    picture.save(arguments.pictures / "local-cost.png")


if __name__ == "__main__":
    main()
