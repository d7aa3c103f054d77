"""How long pictures of any size take, and how much memory.

    python benchmarks/photographs.py [PART ...] [--out benchmarks/results/photographs.json]

Scoring at several sizes; a scratch of 500 pixels in 12 megapixels, and the damage of a print that
has to be found first, from the command to the file; the page of photographs in a browser, with ten
people; log p and sampling of one megapixel; drawing 10×10 pixels in a small and in a large image.
The parts scoring, repair, search, page, one_megapixel and repair_step measure these alone; what was
measured of the others stays in the file. Needs the extra `dev`, and Chromium.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from steps import last_line, seconds, trainer, write

from rgflow import load_flow, preset
from rgflow.data.patches import photograph
from rgflow.photographs.simulation import Dust, Hairs, Scratches, Simulator
from rgflow.repair.particles import complete

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))


def pictured(megapixels: float, folder: Path, scratch: bool = False) -> Path:
    """A photograph of a size, made of another one by reflections, and noise; and the mask of a
    scratch."""
    small = photograph("china").transpose(1, 2, 0)
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(megapixels * 1e6 / height)
    rows, columns = (
        np.abs((np.arange(size) + edge) % (2 * edge) - edge).clip(0, edge - 1)
        for size, edge in zip((height, width), small.shape[:2], strict=True)
    )
    pixels = small[rows[:, None], columns].copy()
    if scratch:
        mask = np.zeros(pixels.shape[:2], dtype=np.uint8)
        top, left = height // 3, width // 3
        for k in range(min(250, left)):
            mask[top + k // 3 : top + 2 + k // 3, left + k] = 255
        Image.fromarray(mask).save(folder / "mask.png")
        pixels[mask > 0] = 255
    path = folder / f"{megapixels:g}.png"
    Image.fromarray(pixels).save(path, compress_level=1)
    return path


def timed(arguments: list[str], threads: int = 1) -> dict[str, float]:
    """Seconds and the most memory in GiB of a command."""
    started = time.perf_counter()
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_module('rgflow', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print(open('/proc/self/status').read())"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, "rgflow", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        check=True,
    ).stdout
    return {"seconds": time.perf_counter() - started, "GiB": peak(said)}


def peak(status: str) -> float:
    """The most memory that a process had, in GiB. That of `getrusage` is its parent's if larger."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 2**20


def scoring(folder: Path, sizes: Sequence[float]) -> dict[str, object]:
    """Seconds of a core and memory at several sizes in megapixels."""
    start = timed(["score", str(pictured(0.01, folder)), "--out", str(folder / "start.csv")])
    rows = []
    for megapixels in sizes:
        path = pictured(megapixels, folder)
        found = timed(["score", str(path), "--out", str(folder / f"{megapixels}.csv")])
        pace = megapixels / (found["seconds"] - start["seconds"])
        rows.append({"megapixels": megapixels, **found, "megapixels_per_second": pace})
    return {"start": start, "rows": rows}


def repairing(folder: Path, megapixels: float) -> dict[str, dict[str, float]]:
    """A scratch of 500 pixels in a large picture, which the model learns for 10 s, and without."""
    path = pictured(megapixels, folder, scratch=True)
    command = ["repair", str(path), "--mask", str(folder / "mask.png"), "--out"]
    return {
        "learned": timed([*command, str(folder / "out"), "--adapt", "10"]),
        "as_it_is": timed([*command, str(folder / "plain")]),
    }


def searching(folder: Path, megapixels: float, amount: float, threads: int = 2) -> dict[str, float]:
    """Scratches, hairs and dust of a print found in a large picture, and repaired."""
    path, few, many = pictured(megapixels, folder), (amount, amount), (5 * amount, 5 * amount)
    kinds = (Scratches(number=few), Hairs(number=few), Dust(number=many))
    simulator = Simulator(chances=[(kind, 1.0) for kind in kinds])
    whole = np.asarray(Image.open(path)).transpose(2, 0, 1)
    made = simulator(whole, np.random.default_rng(0))
    Image.fromarray(made.picture.transpose(1, 2, 0)).save(path, compress_level=1)
    out = folder / f"found-{amount}"
    took = timed(["repair", str(path), "--out", str(out)], threads)
    marked = np.asarray(Image.open(out / f"{path.stem}-mask.png")) > 0
    return {
        **took,
        "threads": threads,
        "damaged": float(made.mask.mean()),
        "marked": float(marked.mean()),
    }


def page(folder: Path, megapixels: float, visitors: int) -> dict[str, object]:
    """Frames, a slider, the first result of a repair of 32×32 pixels, and several people."""
    from visitors import chromium, most_memory, serving

    path = pictured(megapixels, folder)
    with serving(folder, "photos") as address, chromium() as browser:
        before = most_memory(address)
        people = []
        for _ in range(visitors):
            one = browser.new_page(viewport={"width": 1280, "height": 800})
            one.set_default_timeout(120_000)
            one.goto(address)
            idle = "document.body.dataset.photo && document.body.dataset.busy === 'false'"
            one.wait_for_function(idle)
            one.evaluate("document.body.dataset.busy = 'true'")
            one.set_input_files("#file", path)
            one.wait_for_function(idle)
            people.append(one)
        me = people[0]
        me.bring_to_front()
        frames = me.evaluate(
            """async () => { const times = []; scale = 1; x0 = 800; y0 = 800;
            for (let k = 0; k < 60; k++) { const start = performance.now();
              k % 3 ? (x0 += 9, draw()) : zoomBy(k % 2 ? 1.05 : 1 / 1.05);
              await new Promise(done => requestAnimationFrame(() => done()));
              times.push(performance.now() - start); } return times; }"""
        )
        slider = me.evaluate(
            """async () => { const times = []; scale = 0.25; x0 = y0 = 0; draw();
            for (const value of [5, 4, 3, 2, 1, 0]) { const start = performance.now();
              $("level").value = value; $("level").dispatchEvent(new Event("input"));
              await visible();
              times.push(performance.now() - start); } return times; }"""
        )
        first = me.evaluate(
            """async () => { marks.clear(); scale = 4; x0 = 1000; y0 = 1000; draw();
            apply({ places: [[1100, 1100], [1101, 1101]], width: 32 });
            const start = performance.now(), region = await marked(), mine = new Job();
            let seen = 0;
            const end = await working("repair", region,
              line => { if (line.version && !seen) seen = performance.now() - start; });
            mine.end();
            return [seen, performance.now() - start]; }"""
        )
        return {
            "frames_ms": {"median": median(frames), "most": max(frames)},
            "slider_ms": {"median": median(slider), "most": max(slider)},
            "first_completion_ms": first[0],
            "refined_ms": first[1],
            "people": visitors,
            "people_GiB": most_memory(address) / 1024,
            "nobody_GiB": before / 1024,
        }


ONE_MEGAPIXEL = """
import json, sys, time, torch
from rgflow import load_flow
from rgflow.training.optimisation import prepare_machine
torch.set_num_threads(2)
prepare_machine()
edge = int(sys.argv[1])
flow = load_flow("photos").resized(edge, edge)
x8 = torch.randint(256, (1, 3, edge, edge), dtype=torch.uint8)
found = {"edge": edge}
with torch.no_grad():
    for name, run in (("log_prob", lambda: flow.log_prob(x8)), ("sample", lambda: flow.sample(1))):
        start = time.perf_counter()
        run()
        found[name + "_seconds"] = time.perf_counter() - start
found["status"] = open("/proc/self/status").read()
print(json.dumps(found))
"""


def one_megapixel(edge: int) -> dict[str, float]:
    """log p and sampling of a square picture on two cores, with the most memory, and a training
    step of the preset."""
    command = [sys.executable, "-c", ONE_MEGAPIXEL, str(edge)]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    made = trainer(preset("photos"))
    step = median(seconds(lambda: made.take_step(0.0), 5))
    found = last_line(said)
    found["GiB"] = peak(found.pop("status"))
    return {**found, "training_step_seconds": step, "batch": made.config.batch_size}


def repair_step(edge: int, turns: int) -> dict[str, float]:
    """Drawing 10×10 pixels by 16 particles under the trained `photos`: in a large square image and
    in one of 32×32, in turns, on one core."""
    torch.set_num_threads(1)
    times: dict[int, list[float]] = {32: [], edge: []}
    flow, whole = load_flow("photos"), torch.from_numpy(photograph("china"))
    hole, image = {}, {}
    for size in times:
        of = flow.resized(size, size)
        image[size] = of, whole.repeat(1, 3, 2)[:, :size, :size].contiguous()
        hole[size] = np.zeros((size, size), dtype=bool)
        hole[size][11:21, 11:21] = True
    for _ in range(turns + 1):
        for size, found in times.items():
            generator = torch.Generator().manual_seed(0)
            start = time.perf_counter()
            complete(*image[size], hole[size], particles=16, sweeps=1, generator=generator)
            found.append(time.perf_counter() - start)
    small, large = (median(found[1:]) for found in times.values())
    return {"edge": edge, "seconds_32": small, "seconds": large, "ratio": large / small}


PARTS = ("scoring", "repair", "search", "page", "one_megapixel", "repair_step")


def main() -> None:
    """Measure everything, or what is named, and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", default=PARTS)
    parser.add_argument("--quick", action="store_true", help="whether all works; no number counts")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/photographs.json"))
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"expected parts among {', '.join(PARTS)}; got {', '.join(unknown)}")
    sizes, edge, turns, visitors = ((1, 4, 12), 1024, 9, 10)
    if arguments.quick:
        sizes, edge, turns, visitors = ((0.01, 0.02), 64, 1, 2)
    found = {}
    if arguments.out.is_file() and set(arguments.parts) != set(PARTS):
        found = json.loads(arguments.out.read_text())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measures: dict[str, Callable[[], object]] = {
            "scoring": lambda: scoring(folder, sizes),
            "repair": lambda: repairing(folder, sizes[-1]),
            "search": lambda: {
                name: searching(folder, sizes[-1], amount)
                for name, amount in (("little", 0.02), ("much", 0.2))
            },
            "page": lambda: page(folder, max(sizes[-1], 3), visitors),
            "one_megapixel": lambda: one_megapixel(edge),
            "repair_step": lambda: repair_step(edge, turns),
        }
        found |= {part: measures[part]() for part in arguments.parts}
    write(arguments.out, **{part: found[part] for part in PARTS if part in found})
    print(arguments.out.read_text())


if __name__ == "__main__":
    main()
