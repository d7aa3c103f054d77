"""Keep how well each level tells the factors of MSDS, and how a code scores, as JSON.

rgflow factors RUN
python benchmarks/record_factors.py RUN [FOLDER]
"""

import argparse
import json
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def main() -> None:
    """Copy from the folder into which `rgflow factors` wrote."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="the run folder")
    parser.add_argument(
        "folder", type=Path, nargs="?", help="where factors.json is; the run folder"
    )
    arguments = parser.parse_args()
    record = json.loads((arguments.run / "run.json").read_text())
    found = json.loads(((arguments.folder or arguments.run) / "factors.json").read_text())
    kept = ("data", "split", "images", "seed", "draws", "probes", "disentanglement", "directions")
    result = {
        "command": "rgflow factors RUN",
        "machine": record["machine"],
        "started": record["started"],
        "parameters": record["parameters"],
        "training": record["result"],
        **{name: found[name] for name in kept},
    }
    path = REPOSITORY / "benchmarks" / "results" / f"factors-{found['data']}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
