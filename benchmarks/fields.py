"""How fast receptive fields are, beside one Jacobian-vector product per latent.

    python benchmarks/fields.py [--sizes 32 64 128]

The architecture of msds1-small with every parameter random, one draw, all latents. At L = 32 the
plain way is measured for all latents, and both results are compared in float64; at larger sizes it
is extrapolated from a sample of latents. Every size runs in a process of its own, for its peak
memory. Writes benchmarks/results/fields.json and docs/images/fields-time.png.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from steps import last_line, peak_memory, write

from rgflow import RGFlow, preset
from rgflow.analysis.fields import _period, plain_push, receptive_fields
from rgflow.latents import Latents
from rgflow.lattice import Lattice
from rgflow.training.optimisation import prepare_machine

SAMPLE = 192
"""Latents that the plain way is measured on at the larger sizes."""


def column_count(lattice: Lattice, channels: int) -> int:
    """Number of columns that all latents of an RG-Flow share."""
    count = 0
    for level in range(lattice.levels):
        sites = np.argwhere(lattice.site_levels == level)
        period = [_period(lattice, level, axis) for axis in (0, 1)]
        count += channels * len({(i % period[0], j % period[1]) for i, j in sites.tolist()})
    return count


def randomised(size: int, dtype: torch.dtype) -> RGFlow:
    """The flow, with random parameters."""
    torch.manual_seed(0)
    model = replace(preset("msds1-small").model, height=size, width=size, compute_dtype="float32")
    flow = RGFlow(model).to(dtype).eval()
    with torch.no_grad():
        for parameter in flow.parameters():
            fan_in = parameter.shape[-1] if parameter.ndim > 1 else 1
            parameter += 0.3 / fan_in**0.5 * torch.randn_like(parameter)
    return flow


def plain(flow: RGFlow, places: list[int]) -> tuple[torch.Tensor, float]:
    """Fields of some latents, by their places in the flat vector, and the seconds they took."""
    push = plain_push(flow, flow.draw_each([0]), "flow")
    fields = []
    with torch.no_grad():
        start = time.perf_counter()
        for k in range(0, len(places), 64):
            part = places[k : k + 64]
            unit = torch.zeros(len(part), flow.dim, dtype=flow.dtype)
            unit[torch.arange(len(part)), part] = 1.0
            tangents = Latents.from_flat(unit, flow.lattice, flow.config.channels).image()
            fields.append(push(tangents).abs().sum(1))
        seconds = time.perf_counter() - start
    return torch.cat(fields), seconds


def measure(size: int) -> dict[str, Any]:
    """One size."""
    prepare_machine()
    flow = randomised(size, torch.float32)
    receptive_fields(flow, draws=1)  # warm
    start = time.perf_counter()
    receptive_fields(flow, draws=1)
    ours = time.perf_counter() - start
    peak = peak_memory()
    whole = size <= 32
    places = torch.linspace(0, flow.dim - 1, flow.dim if whole else SAMPLE).long().tolist()
    plain(flow, places[:64])
    seconds = plain(flow, places)[1] * flow.dim / len(places)
    result = {
        "size": size,
        "latents": flow.dim,
        "columns": column_count(flow.lattice, flow.config.channels),
        "seconds": ours,
        "peak_gib": peak,
        "plain_seconds": seconds,
        "plain_measured_on": len(places),
        "times_faster": seconds / ours,
    }
    if whole:
        flow = randomised(size, torch.float64)
        found = receptive_fields(flow, draws=1)
        expected, _ = plain(flow, list(range(flow.dim)))
        order = torch.arange(flow.dim, dtype=torch.float64)[None]
        at = Latents.from_flat(order, flow.lattice, flow.config.channels).image()[0].long()
        worst = 0.0
        for windows in found.windows:
            for h, i, j, c in windows.addresses.tolist():
                difference = found.field((h, i, j, c)) - expected[at[c, i, j]]
                worst = max(worst, difference.abs().max().item())
        result["largest_difference_in_float64"] = worst
        result["largest_field"] = expected.max().item()
    return result


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Time against L, both ways."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    sizes = [row["size"] for row in rows]
    for key, label, colour in (
        ("plain_seconds", "a product per latent", "#c8500a"),
        ("seconds", "from block Jacobians", "#1f6fb4"),
    ):
        values = [row[key] for row in rows]
        axes.loglog(sizes, values, "o-", color=colour)
        at = (sizes[0], values[0])
        axes.annotate(
            label, at, xytext=(10, -4), textcoords="offset points", color=colour, va="top"
        )
    axes.set_ylim(bottom=min(row["seconds"] for row in rows) / 3)
    axes.set_xticks(sizes, list(map(str, sizes)))
    axes.minorticks_off()
    axes.set(xlabel="L, edge of the image in pixels", ylabel="seconds per draw, all latents")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[32, 64, 128])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/fields.json"))
    parser.add_argument("--pictures", type=Path, default=Path("docs/images"))
    parser.add_argument("--job", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        print(json.dumps(measure(arguments.job)))
        return
    rows = []
    for size in arguments.sizes:
        command = [sys.executable, __file__, "--job", str(size)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(last_line(done.stdout))
        print(rows[-1], flush=True)
    flow = "msds1-small, every parameter random, float32, one draw"
    write(arguments.out, flow=flow, rows=rows)
    draw(rows, arguments.pictures / "fields-time.png")


if __name__ == "__main__":
    main()
