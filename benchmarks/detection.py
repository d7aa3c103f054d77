"""How well corrupted regions are found whose place isn't known, beside two simple detectors.

    python benchmarks/detection.py RUN [--images 100] [--clean 500]

RUN is the run folder of an RG-Flow. Its validation images say what is usual, its test images are
corrupted: 10×10 pixels of each, in four ways. Writes benchmarks/results/detection.json,
docs/images/detection.png and docs/images/surprise.png; the result doesn't depend on the machine.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rgflow import data
from rgflow.figures.surprise import detections, surprises
from rgflow.repair.corruptions import KINDS, corrupt, detection
from rgflow.repair.surprise import Reference, make_reference, surprise
from rgflow.training.optimisation import prepare_machine
from rgflow.training.run import Run, processor

ROOT = Path(__file__).parents[1]
SIZE, FALSE_ALARMS, SEED = 10, 0.05, 0


def picture(flow: Any, reference: Reference, images: torch.Tensor, path: Path) -> None:
    """An image with each kind of corruption, and one without."""
    made = [corrupt(images[k : k + 2], kind, size=SIZE, seed=k) for k, kind in enumerate(KINDS)]
    x8 = torch.cat([*(part.images[:1] for part in made), images[len(KINDS) : len(KINDS) + 1]])
    truth = np.concatenate([part.masks[:1] for part in made])
    truth = np.concatenate((truth, np.zeros_like(truth[:1])))
    found = surprise(flow, x8, reference)
    rows = [*KINDS, "clean"]
    surprises(x8, found, found.propose(FALSE_ALARMS), truth=truth, rows=rows).save(path)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="the run folder of an RG-Flow")
    parser.add_argument("--images", type=int, default=100, help="test images to corrupt")
    parser.add_argument("--clean", type=int, default=500, help="validation images")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/detection.json")
    parser.add_argument("--pictures", type=Path, default=ROOT / "docs/images")
    arguments = parser.parse_args()
    prepare_machine()
    run = Run.open(arguments.run)
    flow, n = run.flow(), arguments.images
    config = run.config()
    clean = torch.from_numpy(
        data.load_for(config, "validation", count=arguments.clean).images.copy()
    )
    test = torch.from_numpy(data.load_for(config, "test", count=2 * n).images.copy())
    start = time.perf_counter()
    reference = make_reference(flow, clean)
    seconds = {"reference": time.perf_counter() - start}
    start = time.perf_counter()
    untouched = surprise(flow, test[n:], reference)
    seconds["surprise, per image"] = (time.perf_counter() - start) / len(untouched.map)
    rows = detection(flow, reference, test[:n], size=SIZE, false_alarms=FALSE_ALARMS, seed=SEED)
    for row in rows:
        scores = "  ".join(
            f"{name} {row.auc[name].mean:.3f} ± {row.auc[name].standard_error:.3f}"
            for name in ("surprise", "variance", "biharmonic")
        )
        print(
            f"{row.kind:<10} {scores}  noticed {row.noticed:.2f}  covered {row.covered.mean:.2f}  "
            f"overlap {row.overlap.mean:.2f}  changed {row.changed:.2f}"
        )
    alarms = float(untouched.propose(FALSE_ALARMS).masks.any((1, 2)).mean())
    print(f"something is proposed in {100 * alarms:.3g} % of {len(untouched.map)} clean images")
    result = {
        "command": " ".join(["python", sys.argv[0], "RUN", *sys.argv[2:]]),
        "date": date.today().isoformat(),
        "processor": processor(),
        "torch": torch.__version__,
        "data": config.data,
        "training": run.record()["result"],
        "clean_images": reference.images,
        "size": SIZE,
        "seed": SEED,
        "false_alarms": {"asked": FALSE_ALARMS, "found": alarms, "images": len(untouched.map)},
        "seconds": seconds,
        "rows": [asdict(row) for row in rows],
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    detections(rows).save(arguments.pictures / "detection.png")
    picture(flow, reference, test[n:], arguments.pictures / "surprise.png")


if __name__ == "__main__":
    main()
