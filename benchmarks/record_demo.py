"""Keep what the demo came to: its numbers as JSON, its pictures for the README.

make demo
python benchmarks/record_demo.py demo/msds1-best-…
"""

import argparse
import json
import shutil
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def main() -> None:
    """Copy from a run folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="the run folder that `make demo` left")
    run = parser.parse_args().run
    record = json.loads((run / "run.json").read_text())
    del record["command"]  # paths of one machine
    result = {
        "command": "make demo",
        **record,
        "evaluation": json.loads((run / "evaluation.json").read_text()),
    }
    path = REPOSITORY / "benchmarks" / "results" / "demo.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    images = REPOSITORY / "docs" / "images"
    images.mkdir(exist_ok=True)
    for name in ("samples", "stages", "curve"):
        shutil.copy(run / "pictures" / f"{name}.png", images / f"demo-{name}.png")


if __name__ == "__main__":
    main()
