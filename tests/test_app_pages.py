"""Pages of the explorer in Chromium: loaded again, many at once, without a server, by night."""

import contextlib
import json
import os
import signal
import time
import urllib.parse
import urllib.request

import pytest
from PIL import Image

from rgflow.app.layout import HEARTBEAT
from strange_files import png, zeros
from visitors import (
    BROWSER,
    CURSOR,
    FAST_SETTINGS,
    TIMEOUT,
    Visitor,
    atlas,
    draw,
    free_port,
    health,
    most_memory,
    process_of,
    program,
    serving,
)

pytest.importorskip("gradio")
pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.skipif(not BROWSER, reason="needs Chromium, which isn't installed"),
    pytest.mark.slow,
]
PANELS = ("Sample", "Latents", "Mix", "Repair")
UNEXPLAINED = """() => [...document.querySelectorAll("#bar *, #right *")]
  .filter((one) => one.matches("button:not([tabindex='-1']), input, textarea"))
  .filter((one) => one.checkVisibility())
  .filter((one) => {
    window.rgflow.explain(one);
    return !document.getElementById("help").innerText;
  }).map((one) => one.outerHTML.slice(0, 200))"""
"""Whatever can be used and has no sentence of help."""
LATE = """{
  const ask = window.fetch, rest = () => new Promise((resolve) => setTimeout(resolve, 200));
  window.fetch = async (...what) => {
    const answer = await ask(...what);
    if (!String(what[0].url || what[0]).includes("/queue/data")) return answer;
    const late = new TransformStream({ async transform(words, out) {
      for (const one of words.split(/(?<=\\n\\n)/)) {
        out.enqueue(one);
        if (one.includes("process_completed")) await rest();
      }
    } });
    const body = answer.body.pipeThrough(new TextDecoderStream()).pipeThrough(late);
    return new Response(body.pipeThrough(new TextEncoderStream()), answer);
  };
}"""
"""Lets whatever follows an answer on a stream arrive late, as it does behind a large one: if that
tells that the stream ends, another event has been sent by then."""
BACK_TO_BACK = """count => {
  const canvas = document.querySelector("#canvas canvas");
  window.events = { sent: 0, answered: 0, time: 0 };
  const send = () => {
    document.getElementById(window.events.sent++ % 2 ? "redo" : "undo").click();
    window.events.time = performance.now();
  };
  new MutationObserver(() => {
    if (++window.events.answered < count) send();
  }).observe(canvas, { attributes: true, attributeFilter: ["data-revision"] });
  send();
}"""
"""Sends so many events, each while the answer to the one before is handled."""
ENDED = """count => window.events.answered === count
  || performance.now() - window.events.time > 30000"""
"""Whether all of them are answered, or one won't be any more."""
BUSY = """() => [...document.querySelectorAll(
  ".generating, .pending, .translucent, .progress-text, .eta-bar, [aria-busy=true]"
)].filter((one) => one.checkVisibility()).map((one) => one.outerHTML.slice(0, 200))"""
"""Whatever looks as if something was under way."""


def test_a_page_that_is_loaded_again(me):
    me.panel("Latents")
    me.page.locator("#atlas button").first.wait_for()
    me.change("#atlas button", 2)
    me.change("#zero")
    me.reads("#status", "level 2 at 0")
    image = me.pixels
    me.page.reload()
    me.messages.clear()  # of connections that have ended
    me.wait("() => document.querySelector('#canvas canvas')?.dataset.revision")
    me.reads("#status", "level 2 at 0")
    assert me.pixels == image
    atlas(me)
    me.page.locator("#latent-0 input[type=range]").wait_for()
    me.change("#undo")
    assert me.pixels != image
    copy = me.context.new_page()  # another tab is another person
    copy.goto(me.address)
    copy.wait_for_function("() => document.querySelector('#canvas canvas')?.dataset.revision")
    copy.locator("#samples").wait_for(state="visible")
    copy.close()
    me.messages.clear()


def test_a_panel_that_is_opened_while_the_page_is_loaded(me):
    me.page.reload()
    me.panel("Repair")
    me.wait(f"() => {CURSOR} === 'crosshair'")
    me.messages.clear()  # of the connection that has ended


def test_models_and_the_keyboard(me):
    before = me.pixels
    me.page.click("#model input")
    me.changing(lambda: me.page.locator("[role=option]", has_text="msds2-best").click())
    me.page.wait_for_timeout(1000)
    me.change("#undo")  # one step, whatever events there were
    assert me.pixels == before
    assert me.page.locator("#undo").is_disabled()
    me.page.fill("#model input", "no/such/folder")
    me.page.keyboard.press("Enter")
    me.warned("no/such/folder")
    me.reads("#purpose", "msds1-best")

    atlas(me)
    me.wait(f"() => {CURSOR} === 'pointer'")
    me.page.focus("#canvas canvas")
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "Enter"):
        me.page.keyboard.press(key)
    me.page.locator("#hint", has_text="pixel (2, 1)").wait_for()
    me.wait("() => document.querySelector('#status').innerText.includes('by level: ■ 2 ■ 1 ■ 0')")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_everything_fits_by_day_and_by_night(dark, browser, context, address, pictures):
    me = Visitor(browser, address, pictures, dark, None if dark else context)
    me.wait(f"() => document.body.classList.contains('dark') === {str(dark).lower()}")
    draw(me)
    for name in PANELS:
        me.panel(name)
        if name == "Latents":
            me.page.locator("#atlas button").first.wait_for()
        me.wait(f"() => !({BUSY})().length")
        me.shoot(f"19-{'dark' if dark else 'light'}-{name.lower()}")
        me.fits()
        assert me.page.evaluate(UNEXPLAINED) == []
    colours = me.page.evaluate(
        "() => [getComputedStyle(document.querySelector('#top h1')).color, "
        "getComputedStyle(document.body).backgroundColor]"
    )
    words, ground = (
        sum(map(float, one[one.index("(") + 1 : -1].split(",")[:3])) for one in colours
    )
    assert (words > ground + 300) if dark else (words < ground - 300)
    me.content()
    me.close()


@pytest.mark.parametrize(
    ("count", "late"),
    [
        pytest.param(12, False, id="at-once"),
        pytest.param(12, True, id="late"),
        pytest.param(500, False, id="500-at-once"),
        pytest.param(100, True, id="100-late"),
    ],
)
def test_no_event_is_lost(me, count, late):
    if late:
        me.page.add_init_script(LATE)
        me.page.reload()
        me.messages.clear()  # of connections that have ended
        me.wait("() => document.querySelector('#canvas canvas')?.dataset.revision")
    for seed in range(3):
        draw(me, seed, 1)
    me.change("#undo")
    start = me.revision
    me.page.evaluate(BACK_TO_BACK, count)
    while not me.page.evaluate(ENDED, count):
        me.page.wait_for_timeout(200)
    found = me.page.evaluate("window.events")
    assert (found["sent"], found["answered"]) == (count, count)
    assert me.revision == start + count  # so each was handled, and once


def test_a_page_keeps_its_stream_and_shows_nothing_of_it(me):
    streams = [url for url in me.requests if "/queue/data" in url]
    assert len(streams) == 1
    draw(me, count=1)
    assert [url for url in me.requests if "/queue/data" in url] == streams
    assert not any("/heartbeat/" in url for url in me.requests)  # browsers allow six connections
    me.page.wait_for_timeout(1000 * (HEARTBEAT + 1))
    assert me.page.evaluate(BUSY) == []


def test_many_tabs_of_one_browser(me):
    tabs = [me.page, *(me.context.new_page() for _ in range(4))]
    for tab in tabs[1:]:
        tab.goto(me.address)
    for tab in tabs:
        tab.locator("#canvas canvas[data-revision]").wait_for()
        tab.fill("#count input[type=number]", "1")
        tab.click("#draw")
        tab.locator("#samples button").first.wait_for()


def test_fifty_pages_at_once(me):
    with urllib.request.urlopen(f"{me.address}/config") as answer:
        events = json.load(answer)["dependencies"]
    (stay,) = (one["id"] for one in events if "load" in [name for _, name in one["targets"]])
    api, asking = f"{me.address}/gradio_api/queue", program(me.root)
    with contextlib.ExitStack() as streams:
        for k in range(50):
            what = {"fn_index": stay, "data": [f"page {k}", ""], "session_hash": f"session {k}"}
            request = urllib.request.Request(f"{api}/join", json.dumps(what).encode())
            request.add_header("Content-Type", "application/json")
            asking.open(request).close()
            query = urllib.parse.urlencode({"session_hash": what["session_hash"]})
            stream = streams.enter_context(urllib.request.urlopen(f"{api}/data?{query}"))
            while b"process_generating" not in stream.readline():
                pass
        assert health(me.root)["sessions"] > 50
        draw(me, count=1)


def test_who_has_left_is_noticed(browser, context, address):
    me = Visitor(browser, address, context=context)
    assert health(address)["sessions"] > 0
    me.close()
    end = time.monotonic() + TIMEOUT
    while health(address)["sessions"]:
        assert time.monotonic() < end
        time.sleep(0.2)


def test_pictures_that_are_too_large(me, address, tmp_path):
    """They take no more memory than what everybody does before."""
    (tmp_path / "large.png").write_bytes(zeros(10_000, 10_000))
    (tmp_path / "bomb.png").write_bytes(png(60_000, 60_000))
    Image.effect_noise((90, 60), 60).convert("RGB").save(tmp_path / "small.png")
    atlas(me)
    me.changing(lambda: me.upload(tmp_path / "small.png"))
    before, image = most_memory(address), me.pixels
    for name, words in (
        ("large.png", "large.png has 10000×10000"),
        ("bomb.png", "bomb.png has 60000×60000"),
    ):
        me.upload(tmp_path / name)
        me.warned(words)
    assert me.pixels == image
    assert most_memory(address) < before + 30


@pytest.mark.parametrize("killed", [False, True], ids=["ended", "killed"])
def test_a_page_goes_on_when_its_server_is_back(killed, browser, pictures, tmp_path):
    port = free_port()
    # The first ends though a page is open.
    with serving(tmp_path, port=port, before=FAST_SETTINGS) as first:
        me = Visitor(browser, first, pictures)
        draw(me, count=2)
        before = me.text("#status")
        me.change("#samples button", 1)
        seen = me.pixels
        if killed:
            os.kill(int(process_of(first).name), signal.SIGKILL)
    words = "as soon as it is back"
    me.page.get_by_text(words).wait_for()
    me.shoot(f"lost-{killed}")
    with serving(tmp_path, port=port, before=FAST_SETTINGS):
        me.page.get_by_text(words).wait_for(state="detached")  # as the page is loaded again
        me.wait("() => document.querySelector('#canvas canvas')?.dataset.revision")
        assert me.pixels == seen
        me.change("#undo")
        assert me.text("#status") == before
        me.close()


def test_health(address):
    found = health(address)
    assert found["status"] == "ok"
    assert found["model"] == "msds1-best"
    assert found["sessions"] >= 0
