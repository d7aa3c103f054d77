"""How much do sets of images that nobody has seen differ in bits per dimension?

    python benchmarks/unseen.py MODEL [--seeds 1 2 3] [--out benchmarks/results/unseen.json]

Draws test images of MSDS from several seeds, and compares each set with what the card of the model
says of the test images, in standard errors of the difference.
"""

import argparse
import json
import math
import shlex
import sys
from datetime import date
from pathlib import Path

import torch
from rich.progress import track

from rgflow import data, load_flow
from rgflow.evaluation import evaluate
from rgflow.files import write_json
from rgflow.pretrained import Card, shipped
from rgflow.training.run import processor

SEEDS = (1, 2, 3, 4, 5, 6, 7, 20261128, 20261201, 20261202, 20261203)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=[name for name in shipped() if name.startswith("msds")])
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/unseen.json"))
    arguments = parser.parse_args()
    flow, card = load_flow(arguments.model), Card.read(shipped()[arguments.model])
    told, rows = card.likelihood, []
    for seed in track(arguments.seeds, "sets of images"):
        images = data.load(card.config.data, "test", count=arguments.count, seed=seed).images
        found = evaluate(flow, torch.from_numpy(images.copy()), seed=1, subset=0)
        error = math.hypot(found.standard_error, told.standard_error)
        rows.append(
            {
                "seed": seed,
                "nll": found.nll,
                "standard_error": found.standard_error,
                "standard_errors_from_the_card": (found.nll - told.nll) / error,
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    result = {
        "command": shlex.join(["python", *sys.argv]),
        "date": date.today().isoformat(),
        "processor": processor(),
        "images": arguments.count,
        "card": {"nll": told.nll, "standard_error": told.standard_error},
        "rows": rows,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(arguments.out, result)


if __name__ == "__main__":
    main()
