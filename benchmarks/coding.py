"""Files from a flow's own probabilities: how far the bits that it promises are real.

    python benchmarks/coding.py photos
    python benchmarks/coding.py photos --patches 0 --adapt 4 --out benchmarks/results/learned.json

Writes patches and the photographs of `patches` with a range coder (constriction), from what a flow
of windows says of every pixel given those before it, reads them back, and compares bytes and sizes.
With `--adapt`, both learn the photograph meanwhile, as `rgflow score --adapt` does. A decoder on
the same machine computes the same numbers, as it evaluates the same bands in the same order;
another processor may round otherwise, and then reads nothing sensible.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import constriction
import numpy as np
import torch
from numpy.typing import NDArray
from steps import write
from torch import Tensor

from rgflow import RGFlow, data, load_flow
from rgflow.data.patches import PHOTOGRAPHS, photograph
from rgflow.photographs.prequential import Prequential, bands, score
from rgflow.photographs.scoring import sized
from rgflow.photographs.surroundings import Grids
from rgflow.training.run import git_state

Code = Callable[[NDArray[np.float32], NDArray[np.int32]], NDArray[np.int32]]
"""From probabilities [R, 256], and levels [R] if there are some to be written, to levels."""


@torch.no_grad()
def walk(flow: RGFlow, image: Tensor, passes: int, code: Code) -> Tensor:
    """Visit all pixels in the order of generation; the image uint8 [C, H, W] as `code` gives it.

    Args:
        flow: Of windows.
        image: The image when writing, zeros when reading.
        passes: How often every pixel is learned.
        code: Writes, or reads, the levels of one channel at some pixels.
    """
    of = sized(flow, image[None])
    grids = Grids(of, image)
    state, above = Prequential(of, grids, passes), None
    for level, of_level in zip(reversed(range(of.levels)), bands(of), strict=True):
        pixels, known = grids.images[level].grid, grids.known[level].grid
        if above is not None:
            known[:, ::2, ::2] = above
        for band in of_level:
            for part in band:
                for map, sites, levels, whole in state.read(part):
                    context = replace(whole, values=cube(whole.values))
                    average = known[:, *sites.T].T.to(of.dtype) if map.averages else None
                    for channel in range(len(image)):
                        before = levels[:, :channel].to(of.dtype)
                        p = map.probabilities(context, before, average).float().numpy()
                        old = levels[:, channel].numpy().astype(np.int32)
                        levels[:, channel] = torch.from_numpy(code(np.ascontiguousarray(p), old))
                    pixels[:, *sites.T] = levels.T
                    if not map.averages:
                        known[:, *sites.T] = levels.T
            for part in band:
                state.learn(part)
        above = pixels
    return grids.images[0].grid


def cube(levels: Tensor) -> Tensor:
    """Cube coordinates of the middle of levels."""
    u = (levels + 0.5) / 256
    return torch.where(u <= 0.5, u, u - 1)


def encode(flow: RGFlow, image: Tensor, passes: int) -> NDArray[np.uint32]:
    """The file of an image, uint8 [C, H, W]."""
    encoder = constriction.stream.queue.RangeEncoder()
    family = constriction.stream.model.Categorical(perfect=False)

    def write(p: NDArray[np.float32], levels: NDArray[np.int32]) -> NDArray[np.int32]:
        encoder.encode(levels, family, p)
        return levels

    walk(flow, image, passes, write)
    return encoder.get_compressed()


def decode(flow: RGFlow, file: NDArray[np.uint32], shape: torch.Size, passes: int) -> Tensor:
    """The inverse of `encode`."""
    decoder = constriction.stream.queue.RangeDecoder(file)
    family = constriction.stream.model.Categorical(perfect=False)
    empty = torch.zeros(shape, dtype=torch.uint8)
    return walk(flow, empty, passes, lambda p, _: decoder.decode(family, p))


def measure(flow: RGFlow, x8: Tensor, passes: int) -> dict[str, float]:
    """Bits of the file of an image uint8 [C, H, W], and those of the flow."""
    start = time.process_time()
    file = encode(flow, x8, passes)
    middle = time.process_time()
    back = decode(flow, file, x8.shape, passes)
    if not torch.equal(back, x8):
        raise SystemExit("The image that was read differs from the one that was written.")
    decoded = time.process_time()
    return {
        "file_bits": 32 * len(file),
        "flow_bits": score(flow, x8, passes)[0].total.item(),
        "dim": x8.numel(),
        "encode_seconds": middle - start,
        "decode_seconds": decoded - middle,
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--patches", type=int, default=100)
    parser.add_argument("--photographs", nargs="*", default=PHOTOGRAPHS)
    parser.add_argument("--adapt", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/coding.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    flow = load_flow(arguments.model)
    images = {name: [photograph(name)] for name in arguments.photographs}
    if arguments.patches:
        images["patches"] = data.load("patches", "test", count=arguments.patches).images
    rows = {
        name: [measure(flow, torch.from_numpy(x.copy()), arguments.adapt) for x in of]
        for name, of in images.items()
    }
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
    write(arguments.out, git=git_state(), adapt=arguments.adapt, rows=summary)


if __name__ == "__main__":
    main()
