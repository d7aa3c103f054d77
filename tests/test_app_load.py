"""Many people at the explorer at once: nobody gets what is another's."""

import json
import time

import numpy as np
import pytest

from rgflow.app.models import ModelStore
from rgflow.app.views import packed, rgb
from visitors import BROWSER, Visitor, album, chromium, health, serving

pytest.importorskip("gradio")
pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(not BROWSER, reason="needs Chromium, which isn't installed")

CHANGED = "before => document.querySelector('#canvas canvas').dataset.pixels !== before"


def together(people, act, condition):
    """Let all do something at once, then wait until it is done for all of them."""
    before = [me.pixels for me in people]
    for k, me in enumerate(people):
        act(k, me)
    for me, old in zip(people, before, strict=True):
        me.wait(condition, old)


def work(sliding, repairing, end):
    """Let some move sliders, and others repair holes, until an end and until everybody has; how
    long sliders took, in milliseconds."""
    for k, me in enumerate(sliding):  # everybody another latent
        me.panel("Latents")
        me.page.locator("#atlas button").first.wait_for()
        me.change("#atlas button", k % 8)
        me.page.locator("#latent-0 input[type=range]").wait_for()
    for me in repairing:
        me.panel("Repair")
        me.wait("() => document.querySelector('#canvas canvas').style.cursor === 'crosshair'")
    latencies, repairs, busy = [], [0] * len(repairing), [False] * len(repairing)
    turn = 0
    while time.monotonic() < end or turn < 3 or not all(repairs):
        for k, me in enumerate(sliding):
            me.slide(round(0.7 * (turn % 5) - 1.6 + 0.05 * k, 2))
        for k, me in enumerate(repairing):
            if not busy[k]:
                row = 4 + (k + 3 * repairs[k]) % 20
                me.changing(lambda me=me, row=row: me.stroke((row, 12), (row, 14)))
                me.click("#repair")
                busy[k] = True
            elif me.items("#completions"):
                repairs[k], busy[k] = repairs[k] + 1, False
        latencies += [me.latency() for me in sliding]
        turn += 1
    for me, still in zip(repairing, busy, strict=True):
        if still:
            me.page.locator("#completions button").first.wait_for()
    for me in sliding:  # let go
        me.changing(lambda me=me: me.drag("#latent-0", 0.7))
    return latencies


@pytest.mark.slow
def test_sessions_at_once(tmp_path):
    count, seconds = 20, 120
    folder = album(tmp_path)
    own = ModelStore("msds1-best").open("msds1-best")
    seeds = [100 + 7 * k for k in range(count)]
    latencies = []
    with serving(tmp_path, "msds1-best") as address, chromium() as browser:
        people = [Visitor(browser, address) for _ in range(count)]
        assert health(address)["sessions"] == count

        def draw(k, me):
            me.page.fill("#seed input", str(seeds[k]))
            me.page.fill("#count input[type=number]", "1")
            me.click("#draw")

        together(people, draw, CHANGED)
        for seed, me in zip(seeds, people, strict=True):
            assert me.pixels == packed(rgb(own.sampled([seed], 0.8)[0].pixels))
            me.reads("#status", f"sample {seed}")
        halves = people[: count // 2], people[count // 2 :]
        for sliding, repairing in (halves, halves[::-1]):
            latencies += work(sliding, repairing, time.monotonic() + seconds / 2)

        for seed, me in zip(seeds, people, strict=True):
            me.reads("#status", "repaired")
            me.panel("Sample")
            assert me.text("#samples").strip().endswith(f"sample {seed}")  # after the time it took
            me.content()
        assert len({me.pixels for me in people}) == count
        for me in people:
            me.close()
    result = {
        "sessions": count,
        "moves": len(latencies),
        "median_ms": float(np.median(latencies)),
        "longest_ms": max(latencies),
    }
    print(json.dumps(result))
    (folder / f"latency-{count}.json").write_text(json.dumps(result))
