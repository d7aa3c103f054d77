"""Pictures of the demo for the README and the gallery: `make demo`, `python docs/demo.py RUN`."""

import sys
from pathlib import Path

from PIL import Image

OUT = Path(__file__).parent / "images"


def main(run: Path) -> None:
    """Copy them from a run folder."""
    (pair,) = (run / "pictures").glob("*-before-after.png")
    for file, name in ((pair, "repair"), (run / "pictures" / "samples.png", "texture")):
        with Image.open(file, formats=["PNG"]) as picture:
            picture.convert("RGB").save(OUT / f"demo-{name}.jpg", quality=90)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
