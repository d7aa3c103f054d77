"""How soon does the explorer draw an image anew when a slider is moved?

    python benchmarks/explorer.py [--sessions 1 4 20] [--out benchmarks/results/explorer.json]

Opens pages in Chromium, all on this machine, in front of one server with the model `msds1-best`. On
each a latent is chosen and its slider moved again and again, on all pages at once; reported is the
time from there until the canvas has been drawn anew. Needs the extra `dev`, and Chromium.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from steps import write

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from visitors import Visitor, chromium, serving


def measure(sessions: int, level: int, turns: int) -> dict[str, Any]:
    """The latencies on so many pages, for a latent of a level, which is moved so many times."""
    latencies: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder)) as address,
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


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 4, 20])
    parser.add_argument(
        "--turns", type=int, default=20, help="moves of a slider, but for the first"
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/explorer.json"))
    arguments = parser.parse_args()
    first, *others = arguments.sessions
    rows = [measure(first, level, arguments.turns) for level in (2, 1, 0)]
    rows += [measure(count, 2, arguments.turns) for count in others]
    for row in rows:
        print(json.dumps(row))
    write(arguments.out, rows=rows)


if __name__ == "__main__":
    main()
