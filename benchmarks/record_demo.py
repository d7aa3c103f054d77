"""Keep what the demo came to: its numbers as JSON, its pictures for the README and the gallery.

make demo
python benchmarks/record_demo.py demo/photos-…
"""

import argparse
import json
from pathlib import Path

from PIL import Image

REPOSITORY = Path(__file__).parents[1]


def main() -> None:
    """Copy from a run folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="the run folder that `make demo` left")
    run = parser.parse_args().run
    record = json.loads((run / "run.json").read_text())
    result = {**record, "command": "make demo"}  # without paths of one machine
    path = REPOSITORY / "benchmarks" / "results" / "demo.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    (pair,) = (run / "pictures").glob("*-before-after.png")
    for file, name in ((pair, "repair"), (run / "pictures" / "samples.png", "texture")):
        with Image.open(file, formats=["PNG"]) as picture:
            picture.convert("RGB").save(
                REPOSITORY / "docs" / "images" / f"demo-{name}.jpg", quality=90
            )


if __name__ == "__main__":
    main()
