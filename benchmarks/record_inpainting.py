"""Keep a comparison of methods that fill in regions as JSON, with differences image by image.

rgflow inpaint RG --benchmark 100 --beside NVP --steps 100 --out FOLDER
python benchmarks/record_inpainting.py RG FOLDER --beside NVP
"""

import argparse
import json
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

REPOSITORY = Path(__file__).parents[1]
KEPT = ("benchmark", "variables", "draws", "restarts", "temperature", "steps", "rate", "seed")


def trained(run: Path) -> dict[str, Any]:
    """How a flow was made."""
    record = json.loads((run / "run.json").read_text())
    return {name: record[name] for name in ("parameters", "started", "machine", "result")}


def main() -> None:
    """Copy from the folder into which `rgflow inpaint --benchmark` wrote."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("flow", type=Path, help="the run folder of the RG-Flow")
    parser.add_argument("folder", type=Path, help="where benchmark.json is")
    parser.add_argument("--beside", type=Path, help="the run folder of the other flow")
    arguments = parser.parse_args()
    found = json.loads((arguments.folder / "benchmark.json").read_text())
    regions = {score["name"]: score["psnr_region"]["values"] for score in found["scores"]}
    first, *others = regions
    differences = {}
    for name in others:
        more = [a - b for a, b in zip(regions[first], regions[name], strict=True)]
        differences[name] = {"mean": fmean(more), "standard_error": stdev(more) / len(more) ** 0.5}
    result = {
        "command": "rgflow inpaint RG --benchmark N" + " --beside NVP" * bool(arguments.beside),
        "settings": {name: found["settings"][name] for name in KEPT},
        "flow": trained(arguments.flow),
        "beside": trained(arguments.beside) if arguments.beside else None,
        "scores": found["scores"],
        "psnr_region_of_the_first_less": differences,
        "methods": found["methods"],
    }
    data = json.loads((arguments.flow / "run.json").read_text())["data"]["name"]
    name = f"inpainting-{data}" + "-pixels" * (found["settings"]["variables"] == "pixels")
    path = REPOSITORY / "benchmarks" / "results" / f"{name}.json"
    path.write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
