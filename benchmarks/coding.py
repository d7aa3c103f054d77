"""Files from a flow's own probabilities: how far the bits that it promises are real.

    python benchmarks/coding.py photos
    python benchmarks/coding.py photos --patches 0 --adapt 2 --out benchmarks/results/learned.json

Writes patches and pictures, by default the photographs of `patches`, with a range coder
(constriction), from what a flow of windows says of every pixel given those before it, reads them
back, and compares bytes and sizes. With `--adapt`, both learn the picture meanwhile, as
`rgflow score --adapt` does. A decoder on the same machine computes the same numbers, as it
evaluates the same bands in the same order; another processor may round otherwise, and then reads
nothing sensible.

Of a grey picture, three equal channels are seen, and the first is written, as a reader knows that
the others equal it; bits are per pixel. Interrupted work goes on where it was when it runs again.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import constriction
import numpy as np
import torch
from numpy.typing import NDArray
from steps import write
from torch import Tensor

from rgflow import RGFlow, data, load_flow
from rgflow.photographs.prequential import Prequential, bands, score
from rgflow.photographs.scoring import sized
from rgflow.photographs.surroundings import Grids
from rgflow.repair.windows import window_of
from rgflow.trained import fingerprint
from rgflow.training.run import git_state

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
from reproducing.others import pictures

Code = Callable[[NDArray[np.float32], NDArray[np.int32]], NDArray[np.int32]]
"""From probabilities [R, 256], and levels [R] if there are some to be written, to levels."""


@torch.no_grad()
def walk(flow: RGFlow, image: Tensor, passes: int, code: Code) -> Tensor:
    """Visit all pixels in the order of generation; the image uint8 [C, H, W] as `code` gives it.

    Args:
        flow: Of windows.
        image: The image when writing, zeros when reading; with one channel, if it is grey.
        passes: How often every pixel is learned.
        code: Writes, or reads, the levels of one channel at some pixels.
    """
    channels = len(image)
    seen = image.expand(flow.config.channels, -1, -1)
    of = sized(flow, seen[None])
    grids = Grids(of, seen)
    state, above = Prequential(of, grids, passes), None
    for level, of_level in zip(reversed(range(of.levels)), bands(of), strict=True):
        pixels, known = grids.images[level].grid, grids.known[level].grid
        if above is not None:
            known[:, ::2, ::2] = above
        for band in of_level:
            for part in band:
                expert, judged = state.experts[window_of(part.layer)], list[Tensor]()
                maps = expert.map, expert.learner.average
                for sites, levels, whole in state.read(part):
                    context = replace(whole, values=cube(whole.values))
                    average = known[:, *sites.T].T.to(of.dtype) if maps[0].averages else None
                    log_p = torch.zeros(2, len(sites), dtype=torch.float64)
                    for channel in range(channels):
                        before = levels[:, :channel].to(of.dtype)
                        p = torch.stack(
                            [map.probabilities(context, before, average) for map in maps]
                        )
                        shares = (log_p + expert.log_shares).softmax(0)[..., None]
                        old = levels[:, channel].numpy().astype(np.int32)
                        mean = (shares * p).sum(0).float().numpy()
                        levels[:, channel] = torch.from_numpy(code(np.ascontiguousarray(mean), old))
                        log_p += p[:, torch.arange(len(sites)), levels[:, channel].long()].log()
                    judged.append(log_p)
                    levels[:, channels:] = levels[:, :1]
                    pixels[:, *sites.T] = levels.T
                    if not maps[0].averages:
                        known[:, *sites.T] = levels.T
                expert.judge(torch.cat(judged, 1))
            for part in band:
                state.learn(part)
        above = pixels
    return grids.images[0].grid[:channels]


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


def measure(flow: RGFlow, image: Tensor, passes: int) -> dict[str, float]:
    """Bits of an image uint8 [C, H, W] by its flow, and of its file, and seconds of a core."""
    start = time.process_time()
    found = {"flow_bits": score(flow, image, passes)[0].total.item(), "dim": image.numel()}
    found["score_seconds"] = time.process_time() - start
    start = time.process_time()
    file = encode(flow, image, passes)
    middle = time.process_time()
    back = decode(flow, file, image.shape, passes)
    if not torch.equal(back, image):
        raise SystemExit("The image that was read differs from the one that was written.")
    decoded = time.process_time()
    return found | {
        "file_bits": 32 * len(file),
        "encode_seconds": middle - start,
        "decode_seconds": decoded - middle,
    }


def summary(rows: list[dict[str, float]]) -> dict[str, float]:
    """What `measure` found of some images, all together."""
    total = {key: sum(row[key] for row in rows) for key in rows[0]}
    flow, dim, file = total.pop("flow_bits"), total.pop("dim"), total.pop("file_bits")
    found = {"images": len(rows), "dim": dim, "flow_bits_per_dim": flow / dim} | total
    return found | {"file_bits_per_dim": file / dim, "excess_percent": 100 * (file / flow - 1)}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--patches", type=int, default=100)
    parser.add_argument("--pictures", nargs="*", default=["seven"])
    parser.add_argument("--adapt", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/coding.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    flow = load_flow(arguments.model)
    images = {name: [pixels] for name, pixels in pictures(arguments.pictures).items()}
    if arguments.patches:
        images["patches"] = data.load("patches", "test", count=arguments.patches).images
    what = {"weights": fingerprint(flow), "adapt": arguments.adapt}
    rows: dict[str, dict[str, float]] = {}
    if arguments.out.is_file():
        old = json.loads(arguments.out.read_text())
        rows = old["rows"] if all(old.get(key) == of for key, of in what.items()) else {}
    for name in [name for name in images if name not in rows]:
        found = [measure(flow, torch.from_numpy(x.copy()), arguments.adapt) for x in images[name]]
        rows[name] = summary(found)
        mean = fmean(row["flow_bits_per_dim"] for row in rows.values())
        write(arguments.out, git=git_state(), **what, mean=mean, rows=rows)
        print(name, *(f"{key} {value:.4f}" for key, value in rows[name].items()), flush=True)


if __name__ == "__main__":
    main()
