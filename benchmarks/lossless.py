"""Is encoding lossless, also for images unlike the training set? Asks a trained flow.

    python benchmarks/lossless.py MODEL [--out benchmarks/results/lossless.json]

Encodes and decodes 8-bit images of several kinds and reports the number format that `encode` chose
by itself, the largest error in grey levels (below ½ means that every value comes back), and the
bits per dimension. Needs scikit-image for the photographs.
"""

import argparse
import json
import warnings
from datetime import date
from pathlib import Path

import numpy as np
import torch
from skimage import data as photographs
from skimage.transform import resize

from rgflow import LosslessWarning, data, load_flow
from rgflow.training.run import processor


def kinds(count: int = 200) -> dict[str, np.ndarray]:
    """8-bit images [n, 3, 32, 32] of every kind."""
    photo = photographs.astronaut()
    small = np.round(resize(photo, (32, 32), anti_aliasing=True) * 255).astype(np.uint8)
    patches = photo.reshape(16, 32, 16, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3)
    shape = (3, 32, 32)
    return {
        "MSDS1 test images": data.load("msds1", "test", count=count).images.copy(),
        "MSDS2 test images": data.load("msds2", "test", count=count).images.copy(),
        "uniform noise": np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8),
        "all black": np.zeros((1, *shape), np.uint8),
        "all white": np.full((1, *shape), 255, np.uint8),
        "all 256 values": (np.arange(4 * 3072).reshape(4, *shape) * 7 % 256).astype(np.uint8),
        "a photograph": small.transpose(2, 0, 1)[None].copy(),
        "patches of a photograph": patches.transpose(0, 3, 1, 2).copy(),
    }


@torch.no_grad()
def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a model of 32×32 RGB images, by its name or its folder")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/lossless.json"))
    arguments = parser.parse_args()
    flow = load_flow(arguments.model)
    rows = []
    for name, images in kinds().items():
        x8 = torch.from_numpy(images)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LosslessWarning)
            z = flow.encode(x8)
        error = (flow.decode(z) - x8.double() - 0.5).abs()
        rows.append(
            {
                "images": name,
                "count": len(x8),
                "dtype": str(z.levels[0].dtype).removeprefix("torch."),
                "lossless": bool((error < 0.5).all()),
                "largest_error": error.max().item(),
                "median_error": error.median().item(),
                "bits_per_dim": flow.unit(flow.log_prob(x8)).mean().item(),
            }
        )
        row = rows[-1]
        print(
            f"{name:<24} {row['count']:>4}  {row['dtype']}  "
            f"{'lossless' if row['lossless'] else 'LOSSY':<8}  error {row['largest_error']:.1e}  "
            f"{row['bits_per_dim']:.2f} bits/dim"
        )
    result = {
        "command": f"python benchmarks/lossless.py {arguments.model}",
        "date": date.today().isoformat(),
        "processor": processor(),
        "rows": rows,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
