"""How soon does the explorer draw an image anew, and what do photographs take?

    python benchmarks/explorer.py [--sessions 1 4 20] [--out benchmarks/results/explorer.json]

Opens pages in Chromium, all on this machine, in front of one server with the model `msds1-best`. On
each a latent is chosen and its slider moved again and again, on all pages at once; reported is the
time from there until the canvas has been drawn anew.

Then photographs of 12 megapixels are opened: 25 of one visitor, and one each of ten who search and
repair at once. Reported are the memory of the server, and in Chromium the times of a frame, of a
slider from fine to coarse, of a draft and the first of completions, and of a whole walk: the start
of the server, opening a scan that the simulator damaged, searching, repairing and saving it. Needs
the extra `dev`, and Chromium.
"""

import argparse
import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from steps import write

from rgflow.data.patches import photograph
from rgflow.photographs.pictures import image_of
from rgflow.photographs.simulation import Dust, Hairs, Scratches, Simulator

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from visitors import Visitor, chromium, most_memory, process_of, program, serving


def measure(sessions: int, level: int, turns: int) -> dict[str, Any]:
    """The latencies on so many pages, for a latent of a level, which is moved so many times."""
    latencies: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), "msds1-best") as address,
        chromium() as browser,
    ):
        people = [Visitor(browser, address) for _ in range(sessions)]
        for me in people:
            me.change("#draw")
            me.panel("Latents")
            me.page.locator("#atlas button").first.wait_for()
            if level != 2:
                me.page.locator("#level label", has_text=str(level)).click()
                me.wait(
                    f"() => document.querySelector('#hint').innerText.includes('level {level}')"
                )
            me.click("#atlas button")
            me.page.locator("#latent-0 input[type=range]").wait_for()
        for turn in range(turns):
            for me in people:
                me.slide(round(-1.6 + 3.4 * turn / turns, 2))
            found = [me.latency() for me in people]
            latencies += found if turn else []  # the first one prepares the cone
        for me in people:
            me.close()
    return {
        "sessions": sessions,
        "level": level,
        "moves": len(latencies),
        "median_ms": round(float(np.median(latencies)), 1),
        "ninth_of_ten_ms": round(float(np.quantile(latencies, 0.9)), 1),
        "longest_ms": round(max(latencies), 1),
    }


FRAMES = """async () => { const times = []; let last = performance.now();
  for (let k = 0; k < 60; k++) { zoomBy(k % 2 ? 1.1 : 1 / 1.1); x0 += 5;
    await new Promise(requestAnimationFrame);
    times.push(performance.now() - last); last = performance.now(); }
  return times.sort((a, b) => a - b)[30]; }"""
SLIDER = """async () => { const times = [];
  for (const value of [3, 1, 4, 2, 5, 0]) { const start = performance.now(); see(value);
    await visible(); times.push(performance.now() - start); }
  return times.sort((a, b) => a - b)[3]; }"""
FIRST = """async () => { const start = performance.now(), times = []; $("complete").click();
  for (const there of ["button", "button:enabled"]) {   // a draft, and the first completion
    while (!$("drawn").querySelector(there)) await new Promise(requestAnimationFrame);
    times.push(performance.now() - start); }
  return times; }"""


def scan(folder: Path, megapixels: float) -> Path:
    """A JPEG file of a photograph that is damaged as time and scans do."""
    small = Image.fromarray(photograph("china").transpose(1, 2, 0))
    factor = (megapixels * 1e6 / (small.width * small.height)) ** 0.5
    size = round(small.width * factor), round(small.height * factor)
    pixels = np.asarray(small.resize(size, Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    kinds = Scratches(), Dust(), Hairs()
    made = Simulator(chances=[(one, 1.0) for one in kinds])(pixels, np.random.default_rng(0))
    path = folder / f"scan-{megapixels:g}.jpg"
    image_of(made.picture).save(path, quality=92)
    return path


def memory(address: str) -> int:
    """The memory of the server, in MB."""
    process = process_of(address)
    assert process, "this needs Linux"
    lines = (process / "status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS"))


class Person:
    """Somebody who asks the server for photographs."""

    def __init__(self, address: str) -> None:
        self.address, self.opener = address, program(address)

    def post(self, path: str, body: bytes, kind: str = "application/json") -> bytes:
        """What is answered."""
        request = urllib.request.Request(f"{self.address}/photographs{path}", body)
        request.add_header("Content-Type", kind)
        return bytes(self.opener.open(request, timeout=900).read())

    def open(self, path: Path) -> str:
        """The name of a picture that is opened and seen."""
        head = 'Content-Disposition: form-data; name="file"; filename="x.jpg"'
        body = f"--x\r\n{head}\r\n\r\n".encode() + path.read_bytes() + b"\r\n--x--\r\n"
        name = json.loads(self.post("", body, "multipart/form-data; boundary=x"))["id"]
        tile = f"{self.address}/photographs/{name}/tile?row=0&column=0&zoom=2"
        self.opener.open(tile).read()
        return str(name)


def photographs() -> dict[str, Any]:
    """What photographs of 12 megapixels take."""
    found: dict[str, Any] = {}
    box = json.dumps({"top": 500, "left": 500, "height": 4, "width": 300}).encode()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        twelve, thirty = scan(folder, 12), scan(folder, 30)
        with serving(folder) as address:
            found["start_mb"] = memory(address)
            me, rows = Person(address), []
            for _ in range(25):
                me.post(f"/{me.open(twelve)}/repair", box)
                rows.append(memory(address))
            found["after_25_mb"], found["largest_mb"] = rows[-1], round(most_memory(address))
            time.sleep(60)
            found["a_minute_after_closing_mb"] = memory(address)
        with serving(folder) as address:
            people = [Person(address) for _ in range(10)]

            def work(one: Person) -> None:
                key = one.open(twelve)
                one.post(f"/{key}/repair", box)
                one.post(f"/{key}/find", json.dumps({"height": 1000, "width": 1000}).encode())

            with ThreadPoolExecutor(10) as pool:
                list(pool.map(work, people))
            found["ten_people_mb"] = round(most_memory(address))
        started = time.perf_counter()
        with serving(folder) as address, chromium() as browser:
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.set_default_timeout(900_000)

            def idle(act: Callable[[], Any]) -> float:
                page.evaluate("document.body.dataset.busy = 'true'")
                start = time.perf_counter()
                act()
                page.wait_for_function("document.body.dataset.busy === 'false'")
                return round(time.perf_counter() - start, 2)

            page.goto(address)
            page.wait_for_function("document.body.dataset.photo")
            found["server_and_page_s"] = round(time.perf_counter() - started, 1)
            found["open_s"] = idle(lambda: page.set_input_files("#file", twelve))
            found["frame_12_ms"] = round(page.evaluate(FRAMES), 1)
            found["slider_ms"] = round(page.evaluate(SLIDER), 1)
            found["search_s"] = idle(lambda: page.click("#find"))
            found["marked"] = page.inner_text("#said")
            found["repair_s"] = idle(lambda: page.click("#repair"))
            with page.expect_download():
                found["save_s"] = idle(lambda: page.click("#save"))
            found["walk_s"] = round(time.perf_counter() - started, 1)
            page.evaluate("mark('a stroke', [{ places: [[900, 900], [960, 910]], width: 5 }])")
            draft, first = page.evaluate(FIRST)
            found["first_draft_ms"], found["first_completion_ms"] = round(draft, 1), round(first, 1)
            page.keyboard.press("Escape")
            idle(lambda: page.set_input_files("#file", thirty))
            found["frame_30_ms"] = round(page.evaluate(FRAMES), 1)
    return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 4, 20])
    parser.add_argument(
        "--turns", type=int, default=20, help="moves of a slider, but for the first"
    )
    parser.add_argument("--photographs", action="store_true", help="measure only these again")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/explorer.json"))
    arguments = parser.parse_args()
    seen = photographs()
    print(json.dumps(seen), flush=True)
    if arguments.photographs:
        old = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {"rows": []}
        write(arguments.out, rows=old["rows"], photographs=seen)
        return
    first, *others = arguments.sessions
    rows = [measure(first, level, arguments.turns) for level in (2, 1, 0)]
    rows += [measure(count, 2, arguments.turns) for count in others]
    for row in rows:
        print(json.dumps(row))
    write(arguments.out, rows=rows, photographs=seen)


if __name__ == "__main__":
    main()
