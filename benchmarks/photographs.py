"""Whole photographs under flows of windows, against codecs of the same bytes.

    python benchmarks/photographs.py photos
    python benchmarks/photographs.py runs/windows-{}  # a run for each photograph left out

At scale 1 as they are, and reduced by averaging 2×2 and 4×4 pixels. Bits of files count all bytes,
headers too. Results go to `benchmarks/results/photographs-NAME.json`.
"""

import argparse
import io
import json
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path

import imagecodecs
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rgflow import load_flow
from rgflow.data.patches import PHOTOGRAPHS, file_of
from rgflow.photographs import bits
from rgflow.training.run import Run, git_state, processor

RESULTS = Path(__file__).parent / "results"
SCALES = (1, 2, 4)
CODECS = {
    "JPEG XL": lambda x: imagecodecs.jpegxl_encode(x, effort=9, lossless=True),
    "WebP": lambda x: imagecodecs.webp_encode(x, lossless=True, level=9, method=6),
    "PNG": lambda x: imagecodecs.png_encode(x, level=9),
}


def photograph(name: str, scale: int) -> Tensor:
    """A photograph of `patches`, uint8 [3, H, W]; squares of an edge are averaged."""
    image = np.asarray(Image.open(io.BytesIO(file_of(name))).convert("RGB"))
    height, width = (edge // scale for edge in image.shape[:2])
    squares = image[: height * scale, : width * scale].reshape(height, scale, width, scale, 3)
    return torch.from_numpy(np.round(squares.mean((1, 3))).astype(np.uint8)).permute(2, 0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a model or a run; {} stands for the photograph left out")
    parser.add_argument("--name", help="of the file of results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = {}
    for name in PHOTOGRAPHS:
        found = arguments.model.format(name)
        flow = Run.open(found).flow() if (Path(found) / "run.json").exists() else load_flow(found)
        for scale in SCALES:
            x8 = photograph(name, scale)
            start = time.process_time()
            result = bits(flow, x8[None])
            pixels = np.ascontiguousarray(x8.permute(1, 2, 0).numpy())
            rows[f"{name} {scale}"] = {
                "bits_per_dim": result.per_dim.item(),
                "levels": result.levels[0].tolist(),
                "seconds": time.process_time() - start,
                "pixels": x8.shape[1] * x8.shape[2],
                **{codec: 8 * len(of(pixels)) / pixels.size for codec, of in CODECS.items()},
            }
            row = rows[f"{name} {scale}"]
            print(name, scale, *(f"{row[k]:.3f}" for k in ("bits_per_dim", *CODECS)), flush=True)

    def mean(key: str, scales: tuple[int, ...]) -> float:
        return statistics.fmean(
            rows[f"{name} {scale}"][key] for name in PHOTOGRAPHS for scale in scales
        )

    keys = ("bits_per_dim", *CODECS)
    summary = {
        "scale 1": {key: mean(key, (1,)) for key in keys},
        "scales 1, 2, 4": {key: mean(key, SCALES) for key in keys},
        "below JPEG XL at scale 1": sum(
            rows[f"{name} 1"]["bits_per_dim"] < rows[f"{name} 1"]["JPEG XL"] for name in PHOTOGRAPHS
        ),
    }
    print(json.dumps(summary, indent=2))
    label = arguments.name or Path(arguments.model).name.replace("{}", "left-out")
    content = {
        "command": f"python benchmarks/photographs.py {arguments.model}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": processor(),
        "git": git_state(),
        "summary": summary,
        "rows": rows,
    }
    (RESULTS / f"photographs-{label}.json").write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
