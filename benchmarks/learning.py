"""How a flow learns the picture in hand best: one setting of `rgflow.photographs.adapting` changed.

    OMP_NUM_THREADS=1 python benchmarks/learning.py

On the middles, 256 pixels wide, of the photographs of `wallpapers` for validation, with scratches
and with dead pixels: bits of the known pixels that are held out and decibels of the repair, both
as the mean gain over `photos`, after as many windows in all. Results go to
`benchmarks/results/learning.json`.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from statistics import fmean, stdev
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from steps import write
from torch import Tensor

from rgflow import load_flow
from rgflow.bijectors.base import Context
from rgflow.data import wallpapers
from rgflow.data.decoding import open_picture
from rgflow.data.images import Pixels
from rgflow.flow import Flow
from rgflow.photographs import adapting
from rgflow.photographs.restoring import restore
from rgflow.photographs.surroundings import Surroundings, reach
from rgflow.training.run import git_state

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
from reproducing.measures.pictures import DAMAGES, psnr

EDGE, STEPS = 256, 800
"""Edge of the crops, and steps of 128 windows."""
KINDS = ("scratches", "dead pixels, 5 %")
REPLAYED, RANK = 8, 8
"""Photographs that are learned beside the one in hand, and the rank of changes."""


class Only(adapting.Learner):
    """A learner that trains only those weights whose names hold `part`."""

    part = ""

    def __init__(self, *of: Any) -> None:
        super().__init__(*of)
        names = [name for name, _ in self.map.named_parameters()]
        chosen = [number for number, name in enumerate(names) if self.part in name]
        self._weights, self._averages = (
            [weights[number] for number in chosen] for weights in (self._weights, self._averages)
        )
        self._adam.param_groups[0]["params"] = self._weights


class LowRank(adapting.Learner):
    """A learner whose matrices differ from what they were by matrices of rank `RANK`."""

    def __init__(self, *of: Any) -> None:
        super().__init__(*of)
        self._begun = [weight.detach().clone() for weight in self._weights]

    def step(self, levels: Tensor, context: Context) -> None:
        super().step(levels, context)
        for weight, begun in zip(self._weights, self._begun, strict=True):
            if weight.ndim == 2:
                left, values, right = torch.svd_lowrank(weight.detach() - begun, RANK)
                weight.detach().copy_(begun + left * values @ right.T)


class Hard(adapting.Learner):
    """A learner that learns the half of every batch that it predicts worst."""

    def step(self, levels: Tensor, context: Context) -> None:
        with torch.no_grad():
            found = self.map.level_log_prob(levels, context)
        which = found.topk(len(levels) // 2, largest=False).indices
        super().step(levels[which], context.rows(which))


def replayed(of: Any, *rest: Any) -> Iterator[tuple[adapting.Source, bool]]:
    """As `adapting._damaged`, and as many windows again of photographs for training."""
    found = [*DAMAGED(of, *rest)]
    yield from found
    layer, share = of.steps[0].cellwise[0], sum(one.share for one, held in found if not held)
    margin = reach([layer])
    sites = torch.cartesian_prod(*[torch.arange(margin, EDGE - margin)] * 2)
    for pixels in crops("train")[:REPLAYED]:
        around = Surroundings(torch.from_numpy(pixels), margin)
        yield adapting.Source(layer, around, sites, share=share / REPLAYED), False


DAMAGED = adapting._damaged
CHANGES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "a third of the rate": {"RATE": 1e-4},
    "three times the rate": {"RATE": 1e-3},
    "batches of 32": {"BATCH": 32},
    "batches of 512": {"BATCH": 512},
    "the last layer alone": {"Learner": type("Last", (Only,), {"part": "last"})},
    "the first layer alone": {"Learner": type("First", (Only,), {"part": "first"})},
    "biases alone": {"Learner": type("Biases", (Only,), {"part": "bias"})},
    "changes of rank 8": {"Learner": LowRank},
    "the harder half of every batch": {"Learner": Hard},
    "half of the windows from photographs for training": {"_damaged": replayed},
    "no average of the weights": {"AVERAGE": 0.0},
}
"""What takes the place of what in `adapting`."""


@contextmanager
def changed(change: dict[str, Any], steps: int) -> Iterator[int]:
    """Settings as `CHANGES` has them; gives the number of steps for as many windows."""
    with patch.multiple(adapting, **{"BATCH": adapting.BATCH, **change}):
        yield steps * 128 // change.get("BATCH", 128)


@cache
def crops(split: str = "validation") -> list[Pixels]:
    """The middles of the photographs of a split, uint8 [3, EDGE, EDGE]."""
    paths = [wallpapers.ROOT / name for of in wallpapers.FILES.values() for name in of]
    found = []
    for number, path in enumerate(paths):
        if wallpapers.HELD_OUT.get(number % 8, "train") == split:
            image = open_picture(path).convert("RGB")
            small = np.asarray(image.reduce(-(-min(image.size) // wallpapers.MAX_SHORTER_SIDE)))
            i, j = ((size - EDGE) // 2 for size in small.shape[:2])
            found.append(small[i : i + EDGE, j : j + EDGE].transpose(2, 0, 1).copy())
    return found


def gains(flow: Flow, pictures: list[Pixels], kind: str, steps: int) -> dict[str, Any]:
    """What is gained by learning: means, standard errors, seconds of a core."""
    bits, decibels, start, random = [], [], time.process_time(), np.random.default_rng(0)
    for x in pictures:
        hole = DAMAGES[kind](x.shape[1:], random)
        image = torch.from_numpy(np.where(hole, 0, x).astype(np.uint8))
        usual = restore(flow, image, hole)
        found = adapting.adapt(flow, usual, hole, steps=steps)
        new = restore(found.flow, image, hole)
        both = (usual.int() + new + 1) // 2
        before, after = (psnr(of.numpy()[:, hole], x[:, hole]) for of in (usual, both))
        bits.append(found.after - found.before)
        decibels.append(after - before)
    return {
        "bits": fmean(bits),
        "psnr": fmean(decibels),
        "psnr_error": stdev(decibels) / len(decibels) ** 0.5,
        "seconds": (time.process_time() - start) / len(pictures),
    }


def main() -> None:
    """Measure and write, a row after another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/learning.json"))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--pictures", type=int, help="by default all")
    parser.add_argument("--changes", nargs="+", default=list(CHANGES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    flow, pictures = load_flow("photos"), crops()[: arguments.pictures]
    rows: dict[str, dict[str, Any]] = {}
    what = {"git": git_state(), "pictures": len(pictures), "steps": arguments.steps}
    for name in arguments.changes:
        with changed(CHANGES[name], arguments.steps) as steps:
            rows[name] = {kind: gains(flow, pictures, kind, steps) for kind in KINDS}
        write(arguments.out, **what, rows=rows)
        print(name, rows[name], flush=True)


if __name__ == "__main__":
    main()
