"""What other lossless coders make of pictures: bits per value and seconds of a core.

    python benchmarks/codecs.py --pictures seven others
    python benchmarks/codecs.py --programs 'NBLIC 0.3=nblic -ce3 {pgm} {out}'

Codecs are those of imagecodecs, at their best: PNG, WebP, and JPEG XL at efforts 9 and 10, each
under the version of its library; what another version of it finds is added.

A program is a name and version, and a command that makes the file {out} of {pnm}, {bmp} or {pgm};
with {pgm}, of grey pictures only. Seconds are those of the processor, with the program's start.

Bits are of whole files, headers included, over H·W·C values; of a grey picture C is 1. Interrupted
work goes on where it was when it runs again.
"""

import argparse
import json
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
from steps import write

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
from reproducing.others import pictures
from rgflow.data.images import Pixels
from rgflow.photographs.pictures import image_of

Coder = Callable[[Pixels], int]
"""From a picture uint8 [C, H, W] to the bytes of its file."""


def codecs() -> dict[str, Coder]:
    """Those of imagecodecs, by their names and versions."""
    jxl, webp, png = (
        one()
        for one in (imagecodecs.jpegxl_version, imagecodecs.webp_version, imagecodecs.png_version)
    )

    def of(encode: Callable[..., bytes], **options: int | bool) -> Coder:
        return lambda x: len(
            encode(np.ascontiguousarray(x.transpose(1, 2, 0).squeeze()), **options)
        )

    return {
        f"PNG, {png}": of(imagecodecs.png_encode, level=9),
        f"WebP, {webp}": of(webp_encode, lossless=True, level=9, method=6),
        f"JPEG XL, {jxl}, effort 9": of(imagecodecs.jpegxl_encode, effort=9, lossless=True),
        f"JPEG XL, {jxl}, effort 10": of(imagecodecs.jpegxl_encode, effort=10, lossless=True),
    }


def webp_encode(x: Pixels, **options: int | bool) -> bytes:
    """WebP, which has no grey: three equal channels, which it finds out."""
    return imagecodecs.webp_encode(x if x.ndim == 3 else np.stack([x] * 3, -1), **options)


def program(command: str) -> Coder:
    """A program, by its command with {pnm}, {bmp} or {pgm}, and {out}."""

    def run(x: Pixels) -> int:
        with tempfile.TemporaryDirectory() as name:
            made = {ending: Path(name) / f"in.{ending}" for ending in ("pnm", "bmp", "pgm")}
            out = Path(name) / "out"
            for path in made.values():
                if f"{{{path.suffix[1:]}}}" in command:
                    # Pillow's name of all PNM files is PPM.
                    image_of(x).save(path, "BMP" if path.suffix == ".bmp" else "PPM")
            words = shlex.split(command)
            filled = [word.format(**made, out=out) for word in words]
            subprocess.run(filled, check=True, cwd=name, stdout=subprocess.DEVNULL)
            return out.stat().st_size

    return run


def seconds() -> float:
    """Of the processor, by this process and the programs that it ran."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", nargs="*", default=["seven", "others"])
    parser.add_argument("--programs", nargs="*", metavar="NAME=COMMAND", help="instead of codecs")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/codecs.json"))
    arguments = parser.parse_args()
    coders, commands = codecs(), {}
    if arguments.programs:
        commands = dict(one.split("=", 1) for one in arguments.programs)
        coders = {name: program(command) for name, command in commands.items()}
    old = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
    rows, programs = old.get("rows", {}), old.get("programs", {}) | commands
    for coder, code in coders.items():
        for name, x in pictures(arguments.pictures).items():
            found = rows.setdefault(name, {"pixels": x[0].size, "channels": len(x), "coders": {}})
            only_grey = "{pgm}" in commands.get(coder, "")
            if coder in found["coders"] or (only_grey and len(x) > 1):
                continue
            start = seconds()
            bits = 8 * code(x) / x.size
            row = {"bits_per_dim": bits, "seconds": seconds() - start}
            found["coders"][coder] = row
            write(arguments.out, programs=programs, rows=rows)
            print(f"{coder:40} {name:16} {bits:.4f} {row['seconds']:8.2f} s", flush=True)


if __name__ == "__main__":
    main()
