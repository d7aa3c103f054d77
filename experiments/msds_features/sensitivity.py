"""What the Fréchet distances of MSDS notice: `python experiments/msds_features/sensitivity.py`.

2,000 test images of either set are changed in one way at a time, and their distance to as many
training images is put beside that of the unchanged ones, the floor. Writes `sensitivity.json`.
"""

import argparse
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from reproducing.ovals import oval_features
from rgflow.data import msds
from rgflow.data.images import Array
from rgflow.files import write_json
from rgflow.metrics.frechet import compare, pixel_components
from rgflow.training.run import processor

FILE = Path(__file__).with_name("sensitivity.json")
COUNT, SEED = 2000, 0
"""Images of each set, and the seed of what is exchanged."""
X, Y, ANGLE, COLOUR = 0, 1, 2, slice(3, 6)
"""Places of an oval's parameters in the last axis of `ovals`."""
RANDOM = np.random.default_rng(SEED)


def drawn(kind: msds.Kind, split: str) -> tuple[Tensor, Array]:
    """Images and their ovals."""
    images, labels, _ = next(msds.stream(kind, COUNT, split=split, workers=0, chunk=COUNT))
    return torch.from_numpy(images), labels["ovals"]


def exchanged(ovals: Array, what: int | slice) -> Tensor:
    """Every oval has something from an oval of another image, at the same place."""
    ovals = ovals.copy()
    for i in range(4):
        for j in range(4):
            ovals[:, i, j, what] = RANDOM.permutation(ovals[:, i, j, what])
    return torch.from_numpy(msds.draw(ovals))


def centred(ovals: Array) -> Tensor:
    """All ovals are in the middle of their tiles."""
    ovals = ovals.copy()
    ovals[..., X], ovals[..., Y] = 8 * np.arange(4)[:, None], 8 * np.arange(4)
    return torch.from_numpy(msds.draw(ovals))


def one_missing(ovals: Array) -> Tensor:
    """One oval of every image is black."""
    ovals = ovals.copy()
    i, j = RANDOM.integers(4, size=(2, len(ovals)))
    ovals[np.arange(len(ovals)), i, j, COLOUR] = 0
    return torch.from_numpy(msds.draw(ovals))


def changed(images: Tensor, ovals: Array, other: Tensor) -> dict[str, Tensor]:
    """The images in all their changes, by what was done."""

    def pixels(change: Callable[[Tensor], Tensor]) -> Tensor:
        return change(images.float()).round().clamp(0, 255).to(torch.uint8)

    noise = torch.from_numpy(RANDOM.normal(size=images.shape)).float()
    return {
        "nothing: the floor": images,
        "ovals in the middle of their tiles": centred(ovals),
        "one of 16 ovals missing": one_missing(ovals),
        "colours from other images": exchanged(ovals, COLOUR),
        "angles from other images": exchanged(ovals, ANGLE),
        "noise, 10 grey levels": pixels(lambda x: x + 10 * noise),
        "blur, mean of 3×3 pixels": pixels(lambda x: F.avg_pool2d(x, 3, 1, 1)),
        "images of the other set": other,
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FILE, help="file of the results")
    out = parser.parse_args().out
    found: dict[str, dict[str, dict[str, float]]] = {}
    start = time.process_time()
    for kind, other in zip(msds.KINDS, msds.KINDS[::-1], strict=True):
        train, (test, ovals) = drawn(kind, "train")[0], drawn(kind, "test")
        kinds = [oval_features(), pixel_components(train)]
        for what, images in changed(test, ovals, drawn(other, "test")[0]).items():
            for features in kinds:
                one = compare(images, train, test, features)
                numbers = {"distance": one.distance, "standard_error": one.standard_error}
                found.setdefault(what, {})[f"{one.name}, {kind}"] = numbers
            print(what, {name: round(x["distance"], 1) for name, x in found[what].items()})
    result = {
        "command": "python experiments/msds_features/sensitivity.py",
        "date": date.today().isoformat(),
        "processor": processor(),
        "processor_seconds": time.process_time() - start,
        "images": COUNT,
        "seed": SEED,
        "distances": found,
    }
    write_json(out, result)


if __name__ == "__main__":
    main()
