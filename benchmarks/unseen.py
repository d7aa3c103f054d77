"""How much do sets of images that nobody has seen differ in bits per dimension?

    python benchmarks/unseen.py [MODEL ...] [--seeds 1 2 3] [--out benchmarks/results/unseen.json]

Draws test images of MSDS from several seeds, and compares each set, and all together, with what the
card of each model says of the test images, in standard errors of the difference. How many of them
are among the training images, too, is counted. What was measured of other models stays in the file.

A set may be easier than another by chance. So each difference is also found of what is left of an
image's bits when the angles, colours and places of its ovals have told what they can, by linear
regression over all images of all sets: a control variate, whose smaller error shows a model's own.
"""

import argparse
import json
import math
import shlex
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from hashlib import sha256
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from rich.progress import track

from rgflow import data, load_flow
from rgflow.cards import Card
from rgflow.data.images import Array, Images, Pixels
from rgflow.evaluation import summary, terms_of
from rgflow.files import write_json
from rgflow.pretrained import shipped
from rgflow.training.run import processor

MODELS = [name for name in shipped() if name.startswith("msds")]
SEEDS = (20261128, 20261201, 20261202, 20261203)
"""Seeds of the images, none of them that of a training."""


def digests(images: Pixels) -> Iterator[bytes]:
    """What tells images from each other."""
    return (sha256(image.tobytes()).digest() for image in images)


def traits(images: Images) -> Array:
    """What the pixels and the ovals of an image come to, [N, 34], float64."""
    pixels, ovals = np.asarray(images.images), np.asarray(images.labels["ovals"], np.float64)
    lit = (pixels.max(1) > 0).mean((1, 2))
    grey = pixels / 255
    places, angles, colours = np.split(ovals.reshape(len(ovals), 16, 6), [2, 3], axis=2)
    places, angles, colours = places / 32, np.deg2rad(angles), colours / 255
    of_ovals = [wave(k * angles) for k in (2, 4, 6, 8, 12, 16) for wave in (np.cos, np.sin)]
    of_ovals += [places, places**2, colours, colours**2, colours * np.roll(colours, 1, 2)]
    of_ovals += [colours.max(2, keepdims=True), colours.min(2, keepdims=True)]
    of_ovals += [np.log(colours + 1 / 255)]
    of_images = [lit, lit**2, grey.mean((1, 2, 3)), (grey**2).mean((1, 2, 3))]
    return np.hstack([np.concatenate(of_ovals, 2).mean(1), np.stack(of_images, 1)])


def measure(model: str, seeds: Sequence[int], count: int) -> dict[str, Any]:
    """The sets of a model, and all of them together."""
    flow, card = load_flow(model), Card.read(shipped()[model])
    told, name = card.likelihood, card.config.data
    learned = set(digests(data.load(name, "train").images))
    tests = traits(data.load(name, "test", count=told.images)).mean(0)
    rows, bits, ovals = [], [], []
    for seed in track(seeds, f"Sets for {model}"):
        drawn = data.load(name, "test", count=count, seed=seed)
        images = drawn.images
        terms = terms_of(flow, torch.from_numpy(images.copy()), seed=1)
        found = summary(flow, terms, seed=1)
        bits.append(flow.unit(terms.total).numpy())
        ovals.append(traits(drawn))
        error = math.hypot(found.standard_error, told.standard_error)
        rows.append(
            {
                "seed": seed,
                "nll": found.nll,
                "standard_error": found.standard_error,
                "standard_errors_from_the_card": (found.nll - told.nll) / error,
                "learned": sum(digest in learned for digest in digests(images)),
            }
        )
    weights, left = regression(bits, ovals)

    def less_chance(nll: float, some: Array) -> dict[str, float]:
        """How far bits are from the card's beyond what the ovals of these images tell."""
        by_ovals = float((some.mean(0) - tests) @ weights)
        difference = nll - told.nll - by_ovals
        error = left * math.sqrt(1 / len(some) + 1 / told.images)
        return {
            "by_ovals": by_ovals,
            "left": difference,
            "standard_error_of_left": error,
            "standard_errors_left": difference / error,
        }

    for row, some in zip(rows, ovals, strict=True):
        row |= less_chance(row["nll"], some)
    nll = fmean(row["nll"] for row in rows)
    error = math.hypot(*(row["standard_error"] for row in rows)) / len(rows)
    away = (nll - told.nll) / math.hypot(error, told.standard_error)
    pooled = {"nll": nll, "standard_error": error, "standard_errors_from_the_card": away}
    return {
        "date": date.today().isoformat(),
        "processor": processor(),
        "images": count,
        "card": {"nll": told.nll, "standard_error": told.standard_error},
        "all": pooled | less_chance(nll, np.concatenate(ovals)),
        "explained": 1 - left**2 / float(np.mean([some.var() for some in bits])),
        "rows": rows,
    }


def regression(bits: Sequence[Array], ovals: Sequence[Array]) -> tuple[Array, float]:
    """Weights of what tells bits within each set, and the standard deviation that is left."""
    y = np.concatenate([some - some.mean() for some in bits])
    x = np.concatenate([some - some.mean(0) for some in ovals])
    weights = np.linalg.lstsq(x, y)[0]
    return weights, float((y - x @ weights).std())


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", default=MODELS)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/unseen.json"))
    arguments = parser.parse_args()
    if unknown := set(arguments.models) - set(MODELS):
        parser.error(f"expected models among {', '.join(MODELS)}; got {', '.join(unknown)}")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    for model in arguments.models:
        one = measure(model, arguments.seeds, arguments.count)
        print(json.dumps({model: one}), flush=True)
        found = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
        found[model] = {"command": shlex.join(["python", *sys.argv]), **one}
        write_json(arguments.out, dict(sorted(found.items())))


if __name__ == "__main__":
    main()
