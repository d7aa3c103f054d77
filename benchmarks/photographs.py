"""How long pictures of any size take, and how much memory: `python benchmarks/photographs.py`.

Scoring at several sizes, by one process and two; a scratch of 500 pixels in 12 megapixels, from the
command to the file; the page of photographs in a browser, with ten people; log p and sampling of
one megapixel; drawing 10×10 pixels in a small and in a large image. The names
scoring, repair, page, one_megapixel and repair_step measure these alone. Results go to
`benchmarks/results/photographs.json`. Needs the extra `dev`, and Chromium.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from rgflow import load_flow
from rgflow.data.patches import photograph
from rgflow.repair.particles import complete

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "photographs.json"
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
        for k in range(250):
            mask[1000 + k // 3 : 1002 + k // 3, 1400 + k] = 255
        Image.fromarray(mask).save(folder / "mask.png")
        pixels[mask > 0] = 255
    path = folder / f"{megapixels:g}.png"
    Image.fromarray(pixels).save(path, compress_level=1)
    return path


def timed(arguments: list[str], processes: int = 1) -> dict[str, float]:
    """Seconds and the most memory in GiB of a command, with one thread in every process."""
    run = ["-m", "rgflow", *arguments]
    started = time.perf_counter()
    running = []
    for rank in range(processes):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "RANK": str(rank)}
        environment["WORLD_SIZE"] = str(processes)
        code = (
            "import resource, runpy, sys; sys.argv = sys.argv[1:]\n"
            "try: runpy.run_module('rgflow', run_name='__main__')\n"
            "except SystemExit as end: assert not end.code, end.code\n"
            "print('MEMORY', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        running.append(
            subprocess.Popen(
                [sys.executable, "-c", code, *run[1:]],
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
        )
    said = [one.communicate()[0] for one in running]
    assert not any(one.returncode for one in running), said
    memory = max(int(re.search(r"MEMORY (\d+)", text)[1]) for text in said)
    return {"seconds": time.perf_counter() - started, "GiB": memory / 2**20}


def scoring(folder: Path) -> dict[str, object]:
    """Seconds of a core and memory at several sizes, and what a second process adds."""
    start = timed(["score", str(pictured(0.01, folder)), "--out", str(folder / "start.csv")])
    rows = []
    for megapixels in (1, 4, 12):
        path = pictured(megapixels, folder)
        found = timed(["score", str(path), "--out", str(folder / f"{megapixels}.csv")])
        pace = megapixels / (found["seconds"] - start["seconds"])
        rows.append({"megapixels": megapixels, **found, "megapixels_per_second": pace})
    many = folder / "many"
    many.mkdir()
    for number in range(8):
        for part in range(32):  # a shard each
            with Image.open(folder / "1.png") as image:
                image.crop((40 * part, 60 * number, 40 * part + 180, 60 * number + 180)).save(
                    many / f"{number}-{part:02d}.png"
                )
    one = timed(["score", str(many), "--out", str(folder / "one.csv")])
    two = timed(["score", str(many), "--out", str(folder / "two.csv")], processes=2)
    assert (folder / "one.csv").read_bytes() == (folder / "two.csv").read_bytes()
    gain = (one["seconds"] - start["seconds"]) / (two["seconds"] - start["seconds"])
    return {"start": start, "rows": rows, "one": one, "two": two, "two_over_one": gain}


def repairing(folder: Path) -> dict[str, float]:
    """A scratch of 500 pixels in 12 megapixels."""
    path = pictured(12, folder, scratch=True)
    mask = ["--mask", str(folder / "mask.png")]
    return timed(["repair", str(path), *mask, "--out", str(folder / "out")])


def page(folder: Path) -> dict[str, object]:
    """Frames, a slider, the first completion of a region of 32×32, and ten people at once."""
    from visitors import chromium, most_memory, serving

    path = folder / "12.png"
    with serving(folder, "photos") as address, chromium() as browser:
        before = most_memory(address)
        people = []
        for _ in range(10):
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
            stroke([1100, 1100], [1101, 1101], false, 32);
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
            "ten_people_GiB": most_memory(address) / 1024,
            "nobody_GiB": before / 1024,
        }


ONE_MEGAPIXEL = """
import json, resource, time, torch
from rgflow import load_flow, preset, RGFlow
from rgflow.training.optimisation import Optimisation, prepare_machine
torch.set_num_threads(2)
prepare_machine()
flow = load_flow("photos").resized(1024, 1024)
x8 = torch.randint(256, (1, 3, 1024, 1024), dtype=torch.uint8)
found = {}
with torch.no_grad():
    for name, run in (("log_prob", lambda: flow.log_prob(x8)), ("sample", lambda: flow.sample(1))):
        start = time.perf_counter()
        run()
        found[name + "_seconds"] = time.perf_counter() - start
found["GiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
config = preset("photos")
flow = RGFlow(config.model).train()
optimisation = Optimisation(flow, config)
x = torch.rand(32, 3, 32, 32) * 255
times = []
for _ in range(6):
    start = time.perf_counter()
    with flow.fast():
        optimisation.backward(-flow(x).mean() / flow.dim)
    optimisation.update(1e-4)
    times.append(time.perf_counter() - start)
found["training_step_seconds"] = sorted(times)[2]
print(json.dumps(found))
"""


def one_megapixel() -> dict[str, float]:
    """log p and sampling of one megapixel on two cores, with the most memory, and a training step
    of the preset at batch 32."""
    said = subprocess.run(
        [sys.executable, "-c", ONE_MEGAPIXEL], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    return dict(json.loads(said.splitlines()[-1]))


def repair_step() -> dict[str, float]:
    """Drawing 10×10 pixels by 16 particles under the trained `photos`: in an image of 1024×1024
    pixels and in one of 32×32, in turns, on one core."""
    torch.set_num_threads(1)
    seconds: dict[int, list[float]] = {32: [], 1024: []}
    flow, whole = load_flow("photos"), torch.from_numpy(photograph("china"))
    hole, image = {}, {}
    for size in seconds:
        of = flow.resized(size, size)
        image[size] = of, whole.repeat(1, 3, 2)[:, :size, :size].contiguous()
        hole[size] = np.zeros((size, size), dtype=bool)
        hole[size][11:21, 11:21] = True
    for _ in range(10):
        for size, found in seconds.items():
            generator = torch.Generator().manual_seed(0)
            start = time.perf_counter()
            complete(*image[size], hole[size], particles=16, sweeps=1, generator=generator)
            found.append(time.perf_counter() - start)
    small, large = (median(found[1:]) for found in seconds.values())
    return {"seconds_32": small, "seconds_1024": large, "ratio": large / small}


def main() -> None:
    """Measure everything, or what is named, and write it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts = {
            "scoring": lambda: scoring(folder),
            "repair": lambda: repairing(folder),
            "page": lambda: page(folder),
            "one_megapixel": one_megapixel,
            "repair_step": repair_step,
        }
        wanted = sys.argv[1:] or list(parts)
        found = json.loads(RESULTS.read_text()) if sys.argv[1:] else {}
        found |= {part: parts[part]() for part in wanted}
    model = next(
        (x for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x), ""
    )
    flags = Path("/proc/cpuinfo").read_text()
    found |= {
        "processor": model.partition(":")[2].strip(),
        "amx": "amx_bf16" in flags,
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
    }
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
