"""What storing weights in 16 bits changes about the likelihood of test images.

    python benchmarks/storage.py RUN … [--out benchmarks/results/storage.json]

Weights are rounded in several ways, and go back to float32. "Rows" are the weights of one output of
a layer: divided by the largest of them before they are rounded, and multiplied by it again.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from steps import write
from torch import Tensor

from rgflow import data
from rgflow.evaluation import terms_of
from rgflow.training.run import Run


def by_rows(weights: Tensor, rounded: Callable[[Tensor], Tensor]) -> Tensor:
    """Round the rows of weights relative to the largest of each; a vector is one row."""
    convolution = weights.ndim == 4  # [out, in, rows, columns]; other weights end with `in`
    rows = weights.flatten(1) if convolution else weights.reshape(-1, weights.shape[-1])
    largest = rows.abs().amax(1, keepdim=True).clamp_min(1e-30)
    return (rounded(rows / largest) * largest).view_as(weights)


FORMATS: dict[str, Callable[[Tensor], Tensor]] = {
    "float16": lambda w: w.half().float(),
    "bfloat16": lambda w: w.bfloat16().float(),
    "float16, by rows": lambda w: by_rows(w, lambda x: x.half().float()),
    "whole numbers, by rows": lambda w: by_rows(w, lambda x: (x * 32767).round() / 32767),
}


@torch.no_grad()
def measure(folder: str, count: int) -> dict[str, object]:
    """The change of the mean for every format, with its error, and that of the worst image."""
    run = Run.open(folder)
    config, flow = run.config(), run.flow()
    images = torch.from_numpy(data.load_for(config, "test", count=count).images.copy())
    before = {name: p.clone() for name, p in flow.named_parameters()}
    exact = flow.unit(terms_of(flow, images).total)
    rows = []
    for name, rounded in FORMATS.items():
        for key, parameter in flow.named_parameters():
            parameter.copy_(rounded(before[key]))
        change = flow.unit(terms_of(flow, images).total) - exact
        rows.append(
            {
                "format": name,
                "change": change.mean().item(),
                "standard_error": (change.std() / count**0.5).item(),
                "largest": change.abs().max().item(),
            }
        )
        print(f"{folder} {name:<24} {rows[-1]['change']:+.7f} {flow.unit.name}")
    return {
        "data": config.data,
        "flow": config.model.to_dict()["map"]["kind"],
        "parameters": sum(p.numel() for p in flow.parameters()),
        "unit": flow.unit.name,
        "nll": exact.mean().item(),
        "standard_error": (exact.std() / count**0.5).item(),
        "formats": rows,
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", help="run folders")
    parser.add_argument("--count", type=int, default=500, help="test images")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/storage.json"))
    arguments = parser.parse_args()
    flows = [measure(run, arguments.count) for run in arguments.runs]
    write(arguments.out, images=arguments.count, flows=flows)


if __name__ == "__main__":
    main()
