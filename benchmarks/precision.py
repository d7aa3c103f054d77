"""What bfloat16 networks cost in accuracy: a trained flow in three number formats.

    python benchmarks/precision.py RUN [--out benchmarks/results/precision.json]

Bits per dimension of the same dequantised test images, and the error of a round trip
|decode(encode(x)) − x| in grey levels, with networks in bfloat16 (everything else in float32), all
in float32, and all in float64.
"""

import argparse
import contextlib
import json
from datetime import date
from pathlib import Path

import torch

from rgflow import Flow, data
from rgflow.bijectors import dequantize
from rgflow.training.run import Run, processor


@torch.no_grad()
def measure(flow: Flow, x: torch.Tensor) -> dict[str, float]:
    """Bits per dimension and round-trip errors of reals in [0, 256)."""
    log_prob = torch.cat([flow.log_prob(part) for part in x.split(100)])
    back = torch.cat([flow.decode(flow.encode(part)) for part in x.split(100)])
    error = (back - x).abs()
    return {
        "bits_per_dim": flow.unit(log_prob.double()).mean().item(),
        "median_error": error.median().item(),
        "largest_error": error.max().item(),
        "lost_values": (back.floor() != x.floor()).double().mean().item(),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="the run folder of a flow of images")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/precision.json"))
    arguments = parser.parse_args()
    run = Run.open(arguments.run)
    flow, name = run.flow(), run.config().data
    images = data.load(name, "test", count=arguments.count).images.copy()
    x = dequantize(torch.from_numpy(images), torch.Generator().manual_seed(0))
    rows = {}
    with flow.fast(torch.bfloat16):
        flow.exactly = contextlib.nullcontext  # type: ignore[method-assign]
        rows["bfloat16 networks"] = measure(flow, x)
        del flow.exactly
    rows["float32"] = measure(flow, x)
    rows["float64"] = measure(flow.double(), x.double())
    for label, row in rows.items():
        print(label, {key: f"{value:.4g}" for key, value in row.items()})
    result = {
        "command": f"python benchmarks/precision.py {arguments.run}",
        "date": date.today().isoformat(),
        "processor": processor(),
        "images": len(x),
        "data": name,
        "rows": rows,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
