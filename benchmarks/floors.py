"""How few bits per dimension any model of MSDS can need: the entropy of what the generator draws.

    python benchmarks/floors.py [--out benchmarks/results/floors.json]

Places and colours are whole numbers, so their entropies are sums. Angles are real numbers, of which
only so much counts as shows in the pixels of an oval: all angles of a fine grid are drawn, and the
entropy is that of the different pictures, which depends on the colour. Colours of MSDS1 have a base
in common, and angles of MSDS2, which is taken off: 16 ovals together are less random than each is by
itself. That ovals can hide a pixel of each other isn't counted, so the true floor is a little lower.
"""  # noqa: E501

import argparse
import json
import math
from collections import Counter
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
from rich.progress import track
from steps import write

from rgflow.data import msds

OVALS, NUMBERS = 16, 32 * 32 * 3
"""Ovals and numbers of an image."""
PLACES = math.log2(3 * 3)
"""Bits of where an oval is in its tile."""


def angles(kind: msds.Kind, colours: int, grid: int) -> list[float]:
    """Bits of the angle of an oval alone in the middle of a tile, for some colours of the set, the
    angle being uniform over 180 degrees."""
    labels = msds.sample(kind, colours, split="validation", seed=1, start=0)["ovals"][:, 0, 0, 3:]
    ovals = np.zeros((grid // OVALS, 4, 4, 6), np.float32)
    ovals[..., 0], ovals[..., 1] = 8 * np.arange(4)[:, None], 8 * np.arange(4)
    ovals[..., 2] = (180 * (np.arange(grid) + 0.5) / grid).reshape(-1, 4, 4)
    found = []
    for colour in track(labels, f"Angles of {kind}"):
        ovals[..., 3:] = colour
        tiles = msds.draw(ovals).reshape(-1, 3, 4, 8, 4, 8).transpose(0, 2, 4, 1, 3, 5)
        counts = Counter(tile.tobytes() for tile in tiles.reshape(grid, -1)).values()
        found.append(math.log2(grid) - sum(n * math.log2(n) for n in counts) / grid)
    return found


def colours_of_msds1() -> float:
    """Bits of one channel of the colours of all ovals: those given the base, and what they tell of
    the base, which is then no longer free."""
    bases, offsets = 192, 65
    given = OVALS * math.log2(offsets)
    # Of the base all values are as likely that are within 32 of all 16, but for the set's edges:
    # their number is 65 less the range of the offsets.
    ranges = np.arange(offsets)
    inside = (ranges + 1) / offsets
    at_most = [  # the probability that the range of 16 offsets is at most r
        (offsets - r) * inside[r] ** OVALS
        - (offsets - r - 1) * (inside[r - 1] if r else 0) ** OVALS
        for r in ranges
    ]
    of_range = np.diff([0.0, *at_most])
    left = float((of_range * np.log2(offsets - ranges)).sum())
    return given + math.log2(bases) - left


def base_of_msds2() -> float:
    """Bits that 16 angles, each uniform within 45 degrees from the base, tell of the base, which is
    uniform over 180: of what is left of it after a range r of these the width is 45 (1 - r)."""
    # The range of 16 uniform numbers has a beta distribution, and so has what it leaves.
    width = np.random.default_rng(0).beta(2, OVALS - 1, 1_000_000)
    return math.log2(180 / 45) - float(np.log2(width).mean())


def main() -> None:
    """Count and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--colours", type=int, default=24)
    parser.add_argument("--grid", type=int, default=160_000, help="angles, a multiple of 16")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/floors.json"))
    arguments = parser.parse_args()
    rows = {}
    for kind in msds.KINDS:
        angle = angles(kind, arguments.colours, arguments.grid)
        if kind == "msds1":
            bits = {
                "places": OVALS * PLACES,
                "colours": 3 * colours_of_msds1(),
                "angles": OVALS * fmean(angle),
            }
        else:
            within = fmean(angle) - math.log2(180 / 45)
            bits = {
                "places": OVALS * PLACES,
                "colours": OVALS * 3 * math.log2(256),
                "angles": OVALS * within + base_of_msds2(),
            }
        rows[kind] = {
            "bits": bits,
            "floor": sum(bits.values()) / NUMBERS,
            "standard_error": OVALS * stdev(angle) / len(angle) ** 0.5 / NUMBERS,
        }
        print(json.dumps({kind: rows[kind]}), flush=True)
    write(arguments.out, colours=arguments.colours, grid=arguments.grid, unit="bits/dim", rows=rows)


if __name__ == "__main__":
    main()
