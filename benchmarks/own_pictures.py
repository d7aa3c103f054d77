"""What learning from five pictures of one kind gives for five others of that kind.

    apt-get download stellarium-data ufoai-textures
    for file in *.deb; do dpkg-deb -x $file unpacked; done
    unzip -q unpacked/usr/share/games/ufoai/base/0textures.pk3 -d unpacked
    OMP_NUM_THREADS=1 python benchmarks/own_pictures.py unpacked

For every kind of `KINDS`: `rgflow train photos --data folder:…` on the pictures with even numbers,
then bits/dim of the others, whole, and the PSNR of a repaired crop of each, with `photos` and with
what it has become. No setting was chosen by these pictures, which come from no package of
`wallpapers`. Results go to `benchmarks/results/own_pictures.json`.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from steps import write

from rgflow import load_flow
from rgflow.data.images import Pixels
from rgflow.flow import Flow
from rgflow.metrics.images import psnr
from rgflow.photographs.pictures import image_of, read
from rgflow.photographs.restoring import restore
from rgflow.photographs.scoring import bits
from rgflow.training.run import Run

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
from reproducing.measures.pictures import DAMAGES

KINDS = {
    "night sky": (
        "usr/share/stellarium/nebulae/default/{}-vasey.png",
        "GammaCygni ic405 m24 m81 n2146 n246 n2841 n3344 n3938 n4631",
    ),
    "moons": (
        "usr/share/stellarium/textures/{}.png",
        "callisto dione enceladus europa ganymede hyperion iapetus io mimas rhea",
    ),
    "ground": (
        "textures/tex_nature/{}",
        "desert008.png dirt_se01.png dirt_se10.png dirt_se13.png grass_lush.png "
        "grass_mowed_dry_b.jpg grass_mowed_green_b.jpg grass_tall_dry_b.jpg grass_tall_green_b.jpg "
        "railway.png",
    ),
}
"""By what they show, where ten pictures of one kind are, and their names: of one photographer, maps
of the surfaces of Jupiter's and Saturn's moons, photographs of soil and grass. Of the 64 and 33
that there are, every sixth and every third by name; of the moons, the first ten."""
CROP = 256
"""Edge of the crops that are repaired."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("unpacked", type=Path, help="the folder with what was unpacked")
    parser.add_argument("--minutes", type=float, default=2, help="processor time of a training")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/own_pictures.json"))
    arguments = parser.parse_args()
    start = load_flow("photos")
    found = {}
    for kind, (pattern, names) in KINDS.items():
        files = [pattern.format(name) for name in names.split()]
        pictures = [read(arguments.unpacked / file).pixels(3) for file in files]
        with tempfile.TemporaryDirectory() as folder:
            run = learned(pictures[::2], Path(folder), arguments.minutes)
            flow = run.flow()
            record = run.record()["result"]
        rows = [
            {"file": file} | compared(start, flow, picture)
            for file, picture in list(zip(files, pictures, strict=True))[1::2]
        ]
        values = [name for name in rows[0] if name != "file"]
        found[kind] = {
            "steps": record["steps"],
            "seconds": record["seconds"],
            "validation": record["best"],
            "mean": {name: fmean(row[name] for row in rows) for name in values},
            "pictures": rows,
        }
        print(kind, found[kind]["mean"])
        write(arguments.out, minutes=arguments.minutes, kinds=found)


def learned(pictures: list[Pixels], folder: Path, minutes: float) -> Run:
    """The run of a training on some pictures [C, H, W]."""
    (folder / "pictures").mkdir()
    for number, picture in enumerate(pictures):
        image_of(picture).save(folder / "pictures" / f"{number}.png")
    command = [sys.executable, "-m", "rgflow", "train", "photos"]
    options = ["--data", f"folder:{folder / 'pictures'}", "--clock", "processor"]
    out = ["--minutes", str(minutes), "--out", str(folder / "run")]
    subprocess.run([*command, *options, *out], check=True, stdout=subprocess.DEVNULL)
    return Run.open(folder / "run")


def compared(start: Flow, flow: Flow, picture: Pixels) -> dict[str, Any]:
    """Bits/dim of a picture [C, H, W], and PSNR in dB of a crop's missing pixels, by both flows."""
    image = torch.from_numpy(picture.copy())
    top, left = ((size - min(size, CROP)) // 2 for size in image.shape[1:])
    crop = image[:, top : top + CROP, left : left + CROP]
    found = {}
    for name, one in (("photos", start), ("learned", flow)):
        found[f"bits, {name}"] = bits(one, image[None]).per_dim.item()
        for damage in ("scratches", "dead pixels, 5 %"):
            hole = DAMAGES[damage]((crop.shape[1], crop.shape[2]), np.random.default_rng(0))
            repaired = restore(one, crop, hole)
            found[f"{damage}, {name}"] = psnr(repaired[None], crop[None], hole).mean
    return found


if __name__ == "__main__":
    main()
