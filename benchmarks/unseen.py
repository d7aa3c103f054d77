"""How much do sets of images that nobody has seen differ in bits per dimension?

    python benchmarks/unseen.py [MODEL ...] [--seeds 1 2 3] [--out benchmarks/results/unseen.json]

Draws test images of MSDS from several seeds, and compares each set, and all together, with what the
card of each model says of the test images, in standard errors of the difference. How many of them
are among the training images, too, is counted. What was measured of other models stays in the file.
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

import torch
from rich.progress import track

from rgflow import data, load_flow
from rgflow.data.images import Pixels
from rgflow.evaluation import evaluate
from rgflow.files import write_json
from rgflow.pretrained import Card, shipped
from rgflow.training.run import processor

MODELS = [name for name in shipped() if name.startswith("msds")]
SEEDS = (20261128, 20261201, 20261202, 20261203)


def digests(images: Pixels) -> Iterator[bytes]:
    """What tells images from each other."""
    return (sha256(image.tobytes()).digest() for image in images)


def measure(model: str, seeds: Sequence[int], count: int) -> dict[str, Any]:
    """The sets of a model, and all of them together."""
    flow, card = load_flow(model), Card.read(shipped()[model])
    told, name = card.likelihood, card.config.data
    learned = set(digests(data.load(name, "train").images))
    rows = []
    for seed in track(seeds, f"Sets for {model}"):
        images = data.load(name, "test", count=count, seed=seed).images
        found = evaluate(flow, torch.from_numpy(images.copy()), seed=1, subset=0)
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
    nll = fmean(row["nll"] for row in rows)
    error = math.hypot(*(row["standard_error"] for row in rows)) / len(rows)
    away = (nll - told.nll) / math.hypot(error, told.standard_error)
    return {
        "date": date.today().isoformat(),
        "processor": processor(),
        "images": count,
        "card": {"nll": told.nll, "standard_error": told.standard_error},
        "all": {"nll": nll, "standard_error": error, "standard_errors_from_the_card": away},
        "rows": rows,
    }


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
