"""How fast data sets are made and decoded, and that memory stays flat.

    python benchmarks/data.py [--out benchmarks/results/data.json]

Images per second of drawing MSDS1 and MSDS2 into the cache, of decoding a folder of JPEG files of
CelebA's size (178x218, cropped to 148, resized to 32x32) and of CIFAR-10's binary format, each into
a new cache with all processors; the seconds to load each again; and the peak memory over all.
Images per processor second don't count the time when other work had the processors; the load of the
machine before is recorded too.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from steps import peak_memory, write

from rgflow.data import load, official
from rgflow.data.images import Images
from rgflow.data.source import processors


def write_pictures(folder: Path, count: int) -> None:
    """JPEG files that are about as large as CelebA's: smooth, with some noise."""
    random = np.random.default_rng(0)
    for split, number in (("train", count), ("validation", 1), ("test", 1)):
        (folder / split).mkdir(parents=True)
        for k in range(number):
            coarse = Image.fromarray(random.integers(0, 256, (14, 12, 3), np.uint8))
            smooth = np.asarray(coarse.resize((178, 218), Image.Resampling.BICUBIC), np.int16)
            pixels = (smooth + random.integers(-8, 9, smooth.shape)).clip(0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / split / f"{k:06}.jpg")


def write_cifar10(folder: Path) -> None:
    """Noise in the official format and number."""
    folder.mkdir()
    for name in official.CIFAR10_FILES:
        records = np.random.default_rng(0).integers(
            0, 256, (10_000, official.CIFAR10_RECORD), np.uint8
        )
        records[:, 0] %= 10
        records.tofile(folder / name)


def processor_seconds() -> float:
    """Of this process, with its threads, and of those it started."""
    return time.process_time() + sum(os.times()[2:4])


def rate(make: Callable[[], Images]) -> dict[str, float]:
    """Of the first load, which makes the set, and of a second one."""
    before = processor_seconds()
    made = make()
    start, used = time.perf_counter(), processor_seconds() - before
    make()
    return {
        "images": len(made),
        "images_per_second": len(made) / made.seconds,
        "images_per_processor_second": len(made) / used,
        "seconds_to_load_again": time.perf_counter() - start,
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20_000, help="images of each MSDS set")
    parser.add_argument("--pictures", type=int, default=5_000, help="JPEG files")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/data.json"))
    arguments = parser.parse_args()
    rows, busy = {}, os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["RGFLOW_CACHE"] = str(folder / "cache")
        write_pictures(folder / "pictures", arguments.pictures)
        write_cifar10(folder / "cifar10")
        for kind in ("msds1", "msds2"):
            rows[kind] = rate(lambda kind=kind: load(kind, count=arguments.count))  # type: ignore[misc]
        rows["JPEG 178x218"] = rate(lambda: load(f"folder:{folder}/pictures", crop=148))
        rows["cifar10"] = rate(lambda: load("cifar10", data_root=name))
    for label, row in rows.items():
        print(label, {key: f"{value:.4g}" for key, value in row.items()})
    write(
        arguments.out,
        processors=processors(),
        load_before=busy,
        peak_memory_mib=1024 * peak_memory(),
        rows=rows,
    )


if __name__ == "__main__":
    main()
