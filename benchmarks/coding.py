"""Files from a flow's own probabilities: how far the bits that it promises are real.

    python benchmarks/coding.py photos

Writes patches and the photographs of `patches` with a range coder (constriction), from what a flow
of windows says of every pixel given those before it, reads them back, and compares bytes and sizes.
A decoder on the same machine computes the same numbers, as it evaluates the same phases in the same
order. Results go to `benchmarks/results/coding.json`.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import constriction
import numpy as np
import torch
from numpy.typing import NDArray
from steps import write
from torch import Tensor

from rgflow import RGFlow, data, load_flow
from rgflow.bijectors.base import Context
from rgflow.data.patches import PHOTOGRAPHS, photograph
from rgflow.photographs import bits
from rgflow.training.run import git_state

ROWS = 2048
"""Pixels whose probabilities are found together."""
Code = Callable[[NDArray[np.float32], NDArray[np.int32] | None], NDArray[np.int32]]
"""From probabilities [R, 256], and levels [R] if there are some to be written, to levels."""


def walk(flow: RGFlow, image: Tensor, code: Code) -> Tensor:
    """Visit all pixels in the order of generation; levels [C, H, W] as `code` gives them.

    Args:
        flow: Of windows, for this size.
        image: Levels; all of them when writing, zeros when reading.
        code: Writes, or reads, the levels of one channel at some pixels.
    """
    x = image.clone()
    inside = getattr(flow.config.geometry, "inside", None) or image.shape[1:]
    known = torch.zeros(image.shape[1:], dtype=torch.bool)
    for layer in reversed(flow.layers):
        stride = 1 << layer.cells.level
        cells, grid = layer.cells, x[:, ::stride, ::stride]
        table = torch.from_numpy(cells.table)
        for rows in table.split(ROWS):
            flat = grid.flatten(1)
            missing = (rows < 0)[:, 1:]
            values = flat[:, rows[:, 1:].clamp(min=0)].permute(1, 2, 0)  # [R, S, C]
            values = cube(values).masked_fill(missing[:, :, None], 0)
            values = values.flatten(1)
            context = Context(values, layer.coded(values), None if cells.periodic else missing)
            bijector = layer.bijector.bijectors[0]
            own = flat[:, rows[:, 0]]  # [C, R]
            for channel in range(len(x)):
                before = own[:channel].T
                p = np.ascontiguousarray(bijector.probabilities(context, before).numpy())
                own[channel] = torch.from_numpy(code(p, own[channel].numpy().astype(np.int32)))
            i, j = rows[:, 0] // grid.shape[2], rows[:, 0] % grid.shape[2]
            grid[:, i, j] = own
            known[stride * i, stride * j] = True
    assert known[: inside[0], : inside[1]].all()
    return x


def cube(levels: Tensor) -> Tensor:
    """Cube coordinates of the middle of levels."""
    u = (levels + 0.5) / 256
    return torch.where(u <= 0.5, u, u - 1)


def encode(flow: RGFlow, image: Tensor) -> NDArray[np.uint32]:
    """The file of an image, levels [C, H, W] on the flow's grid."""
    encoder = constriction.stream.queue.RangeEncoder()
    family = constriction.stream.model.Categorical(perfect=False)

    def write(p: NDArray[np.float32], levels: NDArray[np.int32] | None) -> NDArray[np.int32]:
        encoder.encode(levels, family, p)
        return levels

    walk(flow, image, write)
    return encoder.get_compressed()


def decode(flow: RGFlow, file: NDArray[np.uint32]) -> Tensor:
    """The inverse of `encode`."""
    decoder = constriction.stream.queue.RangeDecoder(file)
    family = constriction.stream.model.Categorical(perfect=False)
    empty = torch.zeros(flow.image_shape, dtype=torch.long)
    return walk(flow, empty, lambda p, _: decoder.decode(family, p))


@torch.no_grad()
def measure(flow: RGFlow, x8: Tensor) -> dict[str, float]:
    """Bits of the file of an image uint8 [C, H, W], and those of the flow."""
    channels, height, width = x8.shape
    sized = flow.resized(height, width)
    padded = torch.zeros(sized.image_shape, dtype=torch.long)
    padded[:, :height, :width] = x8
    start = time.process_time()
    file = encode(sized, padded)
    middle = time.process_time()
    back = decode(sized, file)[:, :height, :width]
    if not torch.equal(back, x8.long()):
        raise SystemExit("The image that was read differs from the one that was written.")
    return {
        "file_bits": 32 * len(file),
        "flow_bits": bits(flow, x8[None]).total.item(),
        "dim": channels * height * width,
        "encode_seconds": middle - start,
        "decode_seconds": time.process_time() - middle,
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--patches", type=int, default=100)
    parser.add_argument("--photographs", nargs="*", default=PHOTOGRAPHS)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/coding.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    flow = load_flow(arguments.model)
    patches = data.load("patches", "test", count=arguments.patches).images
    rows = {"patches": [measure(flow, torch.from_numpy(x.copy())) for x in patches]}
    for name in arguments.photographs:
        rows[name] = [measure(flow, torch.from_numpy(photograph(name).copy()))]
    summary = {}
    for name, found in rows.items():
        file, promised, dim = (
            sum(row[key] for row in found) for key in ("file_bits", "flow_bits", "dim")
        )
        summary[name] = {
            "images": len(found),
            "file_bits_per_dim": file / dim,
            "flow_bits_per_dim": promised / dim,
            "excess_percent": 100 * (file / promised - 1),
            "encode_seconds": sum(row["encode_seconds"] for row in found),
            "decode_seconds": sum(row["decode_seconds"] for row in found),
        }
        print(
            f"{name:12} {file / dim:.4f} {promised / dim:.4f} {100 * (file / promised - 1):+.2f} %"
        )
    write(arguments.out, git=git_state(), rows=summary)


if __name__ == "__main__":
    main()
