"""How large is the data set `patches`, and does it look alike at all scales?

    python benchmarks/patches.py [--out benchmarks/results/patches.json]

Counts the pixels of the regions for training, and finds for every scale how the power of its
patches falls with the frequency f: as 1/f to the power that is written, by a line through the
logarithms of power and frequency between 2 and 12 periods in a patch. Power is that of the
brightness less its mean, under a Hann window, averaged over patches and directions.
"""

import argparse
import json
from datetime import date
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from rgflow import data
from rgflow.data.images import Pixels
from rgflow.data.patches import PHOTOGRAPHS, SCALES, file_of, layout
from rgflow.files import write_json

SIZE, LOWEST, HIGHEST = 32, 2, 12


def exponent(patches: Pixels) -> float:
    """The power of 1/f by which the power of patches [N, C, H, W] falls."""
    bright = patches.astype(float).mean(1)
    bright -= bright.mean((1, 2), keepdims=True)
    window = np.hanning(SIZE + 1)[:-1]
    power = (abs(np.fft.fft2(bright * window * window[:, None])) ** 2).mean(0)
    along = np.fft.fftfreq(SIZE, 1 / SIZE)
    radius = np.hypot(along, along[:, None]).round()
    frequencies = np.arange(LOWEST, HIGHEST + 1)
    rings = [power[radius == f].mean() for f in frequencies]
    return float(-np.polyfit(np.log(frequencies), np.log(rings), 1)[0])


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20_000, help="patches for the spectra")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/patches.json"))
    arguments = parser.parse_args()
    pixels = beside = 0
    for name in PHOTOGRAPHS:
        with Image.open(BytesIO(file_of(name))) as photograph:
            regions = layout(photograph.height, photograph.width, name)["train"]
        pixels += sum(region.height * region.width for region in regions)
        beside += sum((region.height // SIZE) * (region.width // SIZE) for region in regions)
    found = data.load("patches", "train", count=arguments.count)
    scale = found.labels["scale"]
    result = {
        "command": "python benchmarks/patches.py",
        "date": date.today().isoformat(),
        "pixels": pixels,
        "patches_side_by_side": beside,
        "patches": arguments.count,
        "exponents": {str(one): exponent(found.images[scale == one]) for one in SCALES},
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(arguments.out, result)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
