"""The explorer in Chromium, used as a person would."""

import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import numpy as np
import pytest
from PIL import Image, ImageSequence

from rgflow import load_flow
from rgflow.app.drawers import NAMES as DRAWERS
from rgflow.app.layout import BEAT
from rgflow.latents import Latents
from strange_files import png, zeros
from visitors import (
    BROWSER,
    PATIENCE,
    Visitor,
    album,
    chromium,
    free_port,
    health,
    most_memory,
    process_of,
    serving,
)

pytest.importorskip("gradio")
pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(not BROWSER, reason="needs Chromium")
PANELS = ("Sample", "Latents", "Mix", "Repair")
CURSOR = "document.querySelector('#canvas canvas').style.cursor"
UNEXPLAINED = """() => [...document.querySelectorAll("#bar *, #right *, .drawer.shown *")]
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


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of a server that runs in a folder of its own."""
    with serving(tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return album(tmp_path_factory.mktemp("album"))


@pytest.fixture
def me(browser, address, pictures, request):
    """A person, who in the end has met no error and asked nobody else."""
    visitor, failed = Visitor(browser, address, pictures), request.session.testsfailed
    yield visitor
    try:
        if request.session.testsfailed > failed:
            visitor.shoot(f"failed-{request.node.name}")
        visitor.content()
    finally:
        visitor.close()


def draw(me, seed=0, count=3):
    """Draw a few images."""
    me.page.fill("#seed input", str(seed))
    me.page.fill("#count input[type=number]", str(count))
    me.change("#draw")
    me.wait(f"() => document.querySelectorAll('#samples button').length === {count}")


def atlas(me):
    """Open the panel of latents, and wait for its maps."""
    me.panel("Latents")
    me.page.locator("#atlas button").first.wait_for()


def runs(me, folder, words):
    """Check that the Python on the page, with these words, makes the image on the page."""
    code = me.python(words)
    (folder / "script.py").write_text(code)
    subprocess.run([sys.executable, "script.py"], cwd=folder, check=True, timeout=300)
    found = np.asarray(Image.open(folder / "image.png").convert("RGB"))
    assert found.tobytes() == base64.b64decode(me.pixels)
    return code


def test_from_samples_to_a_direction(me, tmp_path):
    me.shoot("1-first")
    draw(me)
    assert me.items("#samples") == 3
    me.fits()
    me.shoot("2-samples")
    me.change("#samples button", 2)
    assert "sample 2" in me.text("#status")

    atlas(me)
    me.shoot("3-atlas")
    me.change("#atlas button", 1)
    me.page.locator("#latent-0 input[type=range]").wait_for()
    start = me.pixels
    me.changing(lambda: me.drag("#latent-0", 0.9), "pixels")
    me.wait("() => document.querySelector('#status').innerText.includes('latents moved')")
    me.fits()
    me.shoot("4-slider-dragged")
    dragged = me.pixels
    assert dragged != start
    slider = me.page.locator("#latent-0 input[type=range]")
    assert float(slider.input_value()) > 3
    slider.focus()

    def press():
        for _ in range(80):  # back to the middle: far out, an image may stay as it is
            me.page.keyboard.press("ArrowLeft")

    me.changing(press, "pixels")
    assert float(slider.input_value()) < 2
    me.shoot("5-slider-by-keyboard")

    def listed():
        return [one.get_attribute("title") for one in me.page.locator("#atlas button").all()]

    before = listed()
    box = me.page.locator("#canvas canvas").bounding_box()
    me.page.mouse.click(box["x"] + 20.5 / 32 * box["width"], box["y"] + 4.5 / 32 * box["height"])
    me.wait("() => document.querySelector('#hint').innerText.includes('(4, 20)')")
    assert "pixel (4, 20)" in me.text("#status")
    assert "how far each could reach" in me.text("#status")
    assert listed() != before
    me.shoot("6-pixel-picked")
    me.fits()

    me.page.fill("#name input, #name textarea", "brighter")
    me.click("#save-direction")
    me.wait("() => document.querySelector('#directions input').value === 'brighter'")
    me.panel("Sample")
    me.change("#samples button", 0)
    plain = me.pixels
    atlas(me)
    me.change("#apply-direction")
    assert "brighter × 1" in me.text("#status")
    assert me.pixels != plain
    applied = me.pixels
    me.shoot("7-direction-applied")
    me.change("#undo")
    assert me.pixels == plain
    me.change("#redo")
    assert me.pixels == applied
    me.click("#forget-direction")
    me.wait("() => document.querySelector('#directions input').value === ''")
    me.click("#apply-direction")
    me.warned("a saved move")
    me.change("#undo")
    me.wait("() => document.querySelector('#directions input').value === 'brighter'")
    code = runs(me, tmp_path, "move(")
    assert "[0]" in code


def test_a_number_that_is_typed(me, tmp_path):
    draw(me, count=1)
    atlas(me)
    me.change("#atlas button", 1)
    me.page.locator("#latent-0 input[type=range]").wait_for()
    me.changing(lambda: me.page.fill("#latent-0 input[type=number]", "2"), "pixels")
    me.changing(lambda: me.drawer("python"))  # though the field has the focus still
    me.close_drawer("python")
    runs(me, tmp_path, ".set(")
    me.page.focus("#latent-0 input[type=range]")
    me.changing(lambda: me.page.keyboard.press("End"))
    assert "latents moved" in me.text("#status")
    me.page.fill("#latent-0 input[type=number]", "-500")
    me.changing(lambda: me.page.keyboard.press("Enter"))
    assert me.page.locator("#latent-0 input[type=range]").input_value() == "-6"
    me.click("#play")
    me.page.locator("#film img").wait_for()
    me.fits()
    me.click("#play")
    me.page.locator("#film img").wait_for(state="detached")


def test_four_sliders_fit(me):
    draw(me, count=1)
    atlas(me)
    for k in range(4):
        me.change("#atlas button", k)
    me.page.locator("#latent-3 input[type=range]").wait_for()
    me.shoot("8-four-sliders")
    me.fits()
    me.change("#unchoose")
    me.page.locator("#latent-0").wait_for(state="hidden")
    for button in ("#zero", "#back", "#anew", "#reset"):
        me.change(button)
    me.click("#play")
    me.warned("Expected a latent to play")


def test_a_slider_that_is_moved_on_isnt_put_back(me):
    atlas(me)
    me.change("#atlas button", 1)
    slider = me.page.locator("#latent-0 input[type=range]")
    slider.wait_for()
    held, before = [], me.revision

    def hold(route):  # what tells of the second move
        held.append(route) if ",-2," in route.request.post_data else route.continue_()

    me.page.route("**/queue/join?*", hold)
    me.slide(3)
    me.latency()
    me.page.evaluate("document.querySelector('#settle').click()")
    me.slide(-2)
    me.wait("before => document.querySelector('#canvas canvas').dataset.revision > before", before)
    me.page.wait_for_timeout(500)  # the answer, to the first, has come
    assert slider.input_value() == "-2"
    while not held:
        me.page.wait_for_timeout(100)
    me.changing(lambda: [route.continue_() for route in held], "pixels")
    me.page.unroute("**/queue/join?*", hold)


def test_mix_and_export(me, tmp_path):
    draw(me, 5, 1)
    me.panel("Mix")
    me.wait("() => document.querySelector('#swap').disabled")
    assert me.page.locator("#share-0 input[type=range]").is_disabled()
    me.change("#draw-second")
    me.wait("() => document.querySelectorAll('#mixtures button').length === 5")
    me.shoot("9-mixtures")
    me.fits()
    first = me.pixels
    me.change("#mixtures button", 3)
    assert me.pixels != first
    share = me.page.locator("#share-0 input[type=range]")
    me.wait("() => document.querySelector('#share-0 input[type=range]').value === '1'")
    me.change("#undo")
    assert me.pixels == first
    me.wait("() => document.querySelector('#share-0 input[type=range]').value === '0'")
    me.changing(lambda: me.drag("#share-0", 1.0))
    assert share.input_value() == "1"
    me.shoot("10-mixed")
    assert "mixture" in me.text("#status")
    runs(me, tmp_path, ".mix(z2, (1.0, 0.0, 0.0))")
    mixed = me.pixels
    me.changing(lambda: me.drag("#linear", 0.5))  # of the first image, not of the mixture
    code = runs(me, tmp_path, ".mix(z2, (0.5, 0.5, 0.5))")
    assert code.count(".mix(") == 1
    me.change("#undo")
    assert me.pixels == mixed
    me.click("#animate-mix")
    me.page.locator("#mix-film img").wait_for()
    me.shoot("10-film")
    me.fits()
    me.page.fill("#share-1 input[type=number]", "700")  # the most there is is 1
    me.page.keyboard.press("Enter")
    me.wait("() => document.querySelector('#share-1 input[type=range]').value === '1'")
    me.wait("() => !document.querySelector('#mix-film img')")
    me.python(".mix(z2, (1.0, 1.0, 0.0))")

    me.drawer("export")
    me.shoot("11-export")
    files = {}
    for name in ("png", "canvas", "shown", "latents", "film", "odd"):
        with me.page.expect_download() as download:
            me.click(f"#save-{name}")
        files[name] = tmp_path / download.value.suggested_filename
        download.value.save_as(files[name])
    large = np.asarray(Image.open(files["png"]).convert("RGB"))
    assert large.shape == (256, 256, 3)
    assert large[::8, ::8].tobytes() == base64.b64decode(me.pixels)
    assert Image.open(files["canvas"]).size == (480, 480)
    assert Image.open(files["shown"]).width > 256
    assert Image.open(files["odd"]).width > 6 * 256  # the image, three levels, their sum, a mask
    flow = load_flow("msds1-best")
    found = flow.decode(Latents.load(files["latents"]))
    assert found.shape == (1, 3, 32, 32)
    film = Image.open(files["film"])
    assert film.format == "GIF"
    assert len(list(ImageSequence.Iterator(film))) > 9
    me.close_drawer("export")


def test_repair(me, tmp_path):
    draw(me, 7, 1)
    me.panel("Repair")
    me.wait(f"() => {CURSOR} === 'crosshair'")
    me.click("#repair")
    me.warned("something to repair")
    me.page.wait_for_timeout(500)
    assert [me.text(f"#{one}") for one in ("repair", "stop", "undo")] == ["Repair", "Stop", "Undo"]
    assert me.marked() == []
    me.changing(lambda: me.stroke((10, 10), (10, 18)))
    marked = me.marked()
    assert {i for i, _ in marked} == {9, 10, 11}  # a brush of 3 pixels
    assert {j for _, j in marked} == set(range(9, 20))
    me.change("#undo")
    assert me.marked() == []
    me.change("#redo")
    assert me.marked() == marked
    me.shoot("12-painted")
    me.fits()
    before = me.pixels
    me.change("#repair")
    me.wait("() => document.querySelectorAll('#completions button').length > 1")
    me.wait("() => document.querySelector('#progress').innerText.includes('done')")
    assert "PSNR" in me.text("#psnr") or "identical" in me.text("#psnr")
    me.shoot("13-repaired")
    me.fits()
    me.drawer("export")
    with me.page.expect_download() as download:
        me.click("#save-curve")
    download.value.save_as(tmp_path / "curve.png")
    assert Image.open(tmp_path / "curve.png").width > 200
    me.close_drawer("export")
    me.change("#completions button", 1)
    assert "repaired" in me.text("#status")
    old, new = (np.frombuffer(base64.b64decode(one), np.uint8) for one in (before, me.pixels))
    changed = np.argwhere((old != new).reshape(32, 32, 3).any(2)).tolist()
    assert all(place in marked for place in changed)
    runs(me, tmp_path, "fill(")


def test_a_repair_is_stopped(me):
    draw(me, 8, 1)
    me.panel("Repair")
    me.wait(f"() => {CURSOR} === 'crosshair'")
    me.page.fill("#brush input[type=number]", "9")
    me.page.keyboard.press("Tab")
    me.changing(lambda: me.stroke((4, 4), (4, 28), (16, 28), (16, 4), (28, 4), (28, 28)))
    me.click("#repair")
    me.wait("() => document.querySelector('#stop').disabled === false")
    me.click("#stop")
    me.wait("() => document.querySelector('#progress').innerText.includes('stopped')")
    me.shoot("14-stopped")
    assert me.page.locator("#stop").is_disabled()
    me.change("#undo")
    assert "sample 8" in me.text("#status")


def test_own_images(me, tmp_path):
    noise = np.random.default_rng(0).integers(256, size=(40, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "mine.png")
    (tmp_path / "words.png").write_text("These are words.")
    (tmp_path / "drawing.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9"/>')
    large = np.random.default_rng(0).integers(256, size=(1900, 1900, 3), dtype=np.uint8)
    Image.fromarray(large).save(tmp_path / "large.png")
    me.drawer("own")
    me.click("#take-own")
    me.warned("choose a file first")
    me.page.set_input_files("#upload input[type=file]", tmp_path / "large.png")
    me.page.locator("#refused", has_text="at most 10 MB; large.png has 10.8").wait_for()
    for name in ("words.png", "drawing.svg"):
        me.upload(tmp_path / name)
        me.warned("this file isn't one")
        assert me.text("#refused") == ""
        before = me.revision
        me.click("#take-own")
        me.warned("this file isn't one")
        assert me.revision == before
        me.clear()
    me.upload(tmp_path / "mine.png")
    me.change("#take-own")
    me.wait("() => document.querySelector('#unusual').innerText.includes('grey levels')")
    assert "largest difference 0 grey levels" in me.text("#unusual")
    assert "mine.png" in me.text("#status")
    me.shoot("15-own-image")


def test_the_part_of_a_picture_that_is_framed(me, tmp_path):
    values = np.zeros((100, 400, 3), dtype=np.uint8)
    values[:, 300:] = (200, 0, 0)
    values[50:, 300:] = (0, 200, 0)
    Image.fromarray(values).save(tmp_path / "mine.png")
    me.drawer("own")
    me.upload(tmp_path / "mine.png")
    picture = me.page.locator("#crop .crop")
    picture.wait_for(state="visible")
    box = picture.bounding_box()
    me.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    me.page.mouse.down()
    me.page.mouse.move(box["x"] + box["width"], box["y"] + box["height"] / 2, steps=5)
    me.page.mouse.up()
    me.changing(lambda: me.click("#take-own"), "pixels")
    found = np.frombuffer(base64.b64decode(me.pixels), np.uint8).reshape(32, 32, 3)
    assert (found[:12] == (200, 0, 0)).all()
    assert (found[20:] == (0, 200, 0)).all()
    me.shoot("15-framed")
    me.drag("#zoom", 1 / 7)  # twice as near
    frame = me.page.locator("#crop .crop div")
    for _ in range(25):
        frame.press("ArrowDown")
    me.changing(lambda: me.click("#take-own"), "pixels")
    found = np.frombuffer(base64.b64decode(me.pixels), np.uint8).reshape(32, 32, 3)
    assert (found[1:] == (0, 200, 0)).all()
    place = frame.get_attribute("style")
    me.drag("#zoom", 0.0)
    assert frame.get_attribute("style") != place
    me.drag("#zoom", 1 / 7)  # it is where it was, and so is what is taken
    assert frame.get_attribute("style") == place
    me.changing(lambda: me.click("#undo"), "pixels")
    me.changing(lambda: me.click("#take-own"), "pixels")
    again = np.frombuffer(base64.b64decode(me.pixels), np.uint8).reshape(32, 32, 3)
    assert (again == found).all()


def test_a_page_that_is_loaded_again(me):
    me.panel("Latents")
    me.page.locator("#atlas button").first.wait_for()
    me.change("#atlas button", 2)
    me.change("#zero")
    words = "#status .prose"  # Gradio's own beside it are hidden, but count as text
    me.page.locator(words, has_text="level 2 at 0").wait_for()
    told, image, held = me.text(words), me.pixels, []

    def hold(route):  # that the page has opened its first panel, as it does by itself
        first = '"value":"Sample"' in (route.request.post_data or "")
        held.append(route) if first else route.continue_()

    me.page.route("**/queue/join?*", hold)
    me.page.reload()
    me.messages.clear()  # of connections that have ended
    me.wait("() => document.querySelector('#canvas canvas')?.dataset.revision")
    me.page.locator("#latent-0 input[type=range]").wait_for()
    me.wait(f"told => document.querySelector('{words}').innerText === told", told)
    assert held
    for route in held:
        route.continue_()
    me.page.unroute("**/queue/join?*", hold)
    me.page.wait_for_timeout(500)
    assert me.text(words) == told
    assert me.pixels == image
    me.change("#undo")
    assert me.pixels != image
    copy = me.context.new_page()  # another tab is another person
    copy.goto(me.address)
    copy.wait_for_function("() => document.querySelector('#canvas canvas')?.dataset.revision")
    copy.locator("#samples").wait_for(state="visible")
    copy.close()
    me.page.wait_for_timeout(500)
    me.messages.clear()


@pytest.mark.parametrize("late", [True, False], ids=["after", "before"])
def test_a_panel_that_is_opened_while_the_page_is_loaded(me, late):
    atlas(me)
    held, choice = [], []

    def hold(route):  # at first nobody hears of anything
        route.continue_() if choice else held.append(route)

    me.page.route("**/queue/join?*", hold)
    me.page.reload()
    me.panel("Repair")
    me.page.wait_for_timeout(500)
    (stay,) = held  # all else waits until the page has its stream
    stay.continue_()
    while not choice:
        me.page.wait_for_timeout(100)
        choice += [route for route in held if '"value":"Repair"' in route.request.post_data]
    first, second = [route for route in held if route not in (stay, *choice)], choice
    assert first
    for route in first if late else second + first:
        route.continue_()
    me.wait("() => document.querySelector('#canvas canvas')?.dataset.revision")
    me.page.wait_for_timeout(2000)
    for route in second if late else []:
        route.continue_()
    me.wait(f"() => {CURSOR} === 'crosshair'")  # as if it had been opened in peace
    assert me.page.locator("#tab-repair").is_visible()
    me.messages.clear()  # of the connection that has ended


def test_pictures_that_are_too_large(me, address, tmp_path):
    (tmp_path / "large.png").write_bytes(zeros(10_000, 10_000))
    (tmp_path / "bomb.png").write_bytes(png(60_000, 60_000))
    me.drawer("own")
    before, image = most_memory(address), me.pixels
    for name, words in (("large.png", "got 10000×10000"), ("bomb.png", "got more")):
        me.upload(tmp_path / name)
        me.warned(words)
        me.click("#take-own")
        me.warned(words)
        me.clear()
    assert me.pixels == image
    assert most_memory(address) < before + 30


def write(me, name, value):
    """Type a number."""
    me.page.fill(f"#{name} input[type=number]", str(value))
    me.page.keyboard.press("Tab")


def test_all_controls_of_samples_and_latents(me):
    draw(me, 3, 2)
    usual = me.pixels
    write(me, "temperature", 0.2)
    me.wait("() => document.querySelector('#temperature-1 input[type=number]').value === '0.2'")
    write(me, "temperature-0", 0)
    me.change("#draw")
    assert me.pixels != usual
    me.python("0.2, 0.2]")

    atlas(me)
    first = me.page.locator("#atlas button").first.get_attribute("title")
    assert "level 2" in first
    me.click("#level label", 2)
    me.page.locator("#atlas button[title*='level 0']").first.wait_for()
    me.click("#level label", 0)
    me.page.locator("#atlas button[title*='level 2']").first.wait_for()
    me.change("#atlas button", 0)
    me.click("#overlay input")
    me.wait("() => !document.querySelector('#status').innerText.includes('Yellow')")
    me.click("#overlay input")
    me.wait("() => document.querySelector('#status').innerText.includes('Yellow')")
    me.stroke((12, 12))  # a click
    me.page.locator("#hint", has_text="pixel (12, 12)").wait_for()
    me.click("#strongest")
    me.page.locator("#hint", has_text="The strongest latents").wait_for()
    assert me.page.locator("#atlas button").first.get_attribute("title") == first
    me.changing(lambda: me.drag("#latent-0", 0.8), "pixels")
    me.wait("() => document.querySelector('#status').innerText.includes('latents moved')")
    moved = me.pixels
    me.page.fill("#name input, #name textarea", "up")
    me.click("#save-direction")
    me.wait("() => document.querySelector('#directions input').value === 'up'")
    me.change("#reset")
    before = me.revision
    me.click("#reset")  # there is nothing more to reset
    me.change("#apply-direction")
    assert me.revision < before + 3
    assert me.pixels == moved
    write(me, "times", -2)
    me.change("#apply-direction")
    assert "up × -2" in me.text("#status")


def test_all_ways_to_choose_a_second_image(me, tmp_path):
    Image.effect_noise((90, 60), 60).convert("RGB").save(tmp_path / "mine.png")
    draw(me, 3, 2)
    me.panel("Mix")
    kept = me.pixels
    me.change("#use-second")
    me.panel("Sample")
    me.change("#samples button", 1)
    other = me.pixels
    me.panel("Mix")
    me.page.locator("#mixtures button").nth(2).wait_for()
    me.change("#swap")
    assert me.pixels == kept
    me.change("#swap")
    assert me.pixels == other
    me.drawer("own")
    me.upload(tmp_path / "mine.png")
    me.change("#mix-own")
    me.close_drawer("own")
    me.change("#mixtures button", 4)  # all of the second
    me.page.locator("#mixtures button[aria-pressed=true]", has_text="Θ = 3").wait_for()
    plain = me.pixels
    me.drawer("own")
    write(me, "zoom", 3)
    me.change("#take-own")
    assert me.pixels != plain
    assert "mine.png, encoded" in me.text("#unusual")
    me.change("#undo")
    me.wait("() => !document.querySelector('#unusual').innerText.includes('encoded')")
    me.close_drawer("own")


def test_what_is_odd_is_found_and_repaired(me, tmp_path):
    draw(me, 3, 2)
    me.panel("Repair")
    me.wait(f"() => {CURSOR} === 'crosshair'")
    write(me, "brush", 5)
    me.changing(lambda: me.stroke((8, 8), (8, 14)))
    whole = me.marked()
    write(me, "brush", 1)
    me.click("#erase input")
    me.changing(lambda: me.stroke((8, 8), (8, 14)))
    assert 0 < len(me.marked()) < len(whole)
    me.change("#clear-mask")
    assert me.marked() == []
    me.change("#damage")
    assert "damaged" in me.text("#status")
    me.change("#find")
    me.page.locator("#progress", has_text="pixels are odd").wait_for()
    assert len(me.marked()) > 10
    me.shoot("20-odd")
    write(me, "hole-seed", 5)
    me.change("#repair")
    me.page.locator("#progress", has_text="done").wait_for()
    me.python("seed=5")
    atlas(me)
    me.change("#atlas button", 0)

    me.drawer("export")
    me.click("#film-kind label", 1)
    me.page.wait_for_timeout(300)
    for name, magic in (("fields", b"PNG"), ("played", b"ftyp")):
        with me.page.expect_download() as download:
            me.click(f"#save-{name}")
        download.value.save_as(tmp_path / name)
        assert magic in (tmp_path / name).read_bytes()[:12]
    me.close_drawer("export")


def test_drawers_and_the_keyboard(me):
    me.drawer("models")
    me.page.locator("#card", has_text="parameters").wait_for()
    me.shoot("16-models")
    before = me.pixels
    me.page.click("#model input")
    me.changing(lambda: me.page.locator("[role=option]", has_text="msds2-best").click())
    me.page.wait_for_timeout(1000)
    me.change("#undo")  # one step, whatever events there were
    assert me.pixels == before
    assert me.page.locator("#undo").is_disabled()
    me.page.fill("#folder input, #folder textarea", "no/such/folder")
    me.click("#open-folder")
    me.warned("no/such/folder")
    me.close_drawer("models")
    me.drawer("meaning")
    me.page.locator("#meanings", has_text="The strongest latents").wait_for()
    me.shoot("17-meaning")
    me.click("#meanings summary")
    me.page.keyboard.press("Escape")
    me.page.locator("#drawer-meaning").wait_for(state="hidden")
    me.drawer("meaning")
    me.change("#meanings [data-address]", 1)
    me.page.locator("#latent-0").wait_for()  # it leads there
    me.page.locator("#drawer-meaning").wait_for(state="hidden")

    me.page.focus("#open-tour")
    me.page.keyboard.press("Enter")
    titles = []
    while me.page.locator("#tour").count():
        titles.append(me.text("#tour h3"))
        box = me.page.locator("#tour").bounding_box()
        assert box["x"] >= 0
        assert box["y"] >= 0
        assert box["x"] + box["width"] <= 1280
        assert box["y"] + box["height"] <= 800
        shown = me.page.locator(".drawer.shown")
        assert shown.count() == (5 < len(titles) < 11)  # it opens what it speaks of
        if shown.count():
            its = shown.bounding_box()
            assert its["y"] + its["height"] <= box["y"]
        if len(titles) in (1, 3, 8):
            me.shoot(f"18-tour-{len(titles)}")
        assert len(titles) < 20
        me.page.keyboard.press("Enter")  # the button that leads on has the focus
    assert len(titles) == 11
    assert len(set(titles)) == 11
    assert me.page.evaluate("document.activeElement.id") == "open-tour"

    # The tour ends where one paints; pixels are picked by keyboard among the latents.
    me.wait(f"() => {CURSOR} === 'crosshair'")
    atlas(me)
    me.wait(f"() => {CURSOR} === 'pointer'")
    me.page.locator("#latent-0").wait_for()  # of the table of meanings
    me.page.focus("#canvas canvas")
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "Enter"):
        me.page.keyboard.press(key)
    me.wait("() => document.querySelector('#status').innerText.includes('pixel (2, 1)')")
    me.click("#unchoose")
    me.wait("() => document.querySelector('#status').innerText.includes('by level: ■ 2 ■ 1 ■ 0')")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_everything_fits_by_day_and_by_night(dark, browser, address, pictures):
    me = Visitor(browser, address, pictures, dark)
    if me.page.evaluate("document.body.classList.contains('dark')") != dark:
        me.click("#shade")
    me.page.locator("#shade", has_text="Light" if dark else "Dark").wait_for()
    draw(me)
    for name in PANELS:
        me.panel(name)
        me.page.wait_for_timeout(1000)
        if name == "Latents":
            me.page.locator("#atlas button").first.wait_for()
        me.shoot(f"19-{'dark' if dark else 'light'}-{name.lower()}")
        me.fits()
        assert me.page.evaluate(UNEXPLAINED) == []
    for name in DRAWERS:
        me.drawer(name)
        assert me.page.evaluate(UNEXPLAINED) == []
        me.close_drawer(name)
    colours = me.page.evaluate(
        "() => [getComputedStyle(document.querySelector('#title h1')).color, "
        "getComputedStyle(document.body).backgroundColor]"
    )
    words, ground = (
        sum(map(float, one[one.index("(") + 1 : -1].split(",")[:3])) for one in colours
    )
    assert (words > ground + 300) if dark else (words < ground - 300)
    me.content()
    me.close()


@pytest.mark.parametrize("late", [False, True], ids=["at-once", "late"])
def test_no_event_is_lost(me, late):
    count = 100 if late else 500
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
        me.page.wait_for_timeout(500)
    found = me.page.evaluate("window.events")
    assert (found["sent"], found["answered"]) == (count, count)
    assert me.revision == start + count  # so each was handled, and once


def test_a_page_keeps_its_stream_and_shows_nothing_of_it(me):
    streams = [url for url in me.requests if "/queue/data" in url]
    assert len(streams) == 1
    draw(me)
    assert [url for url in me.requests if "/queue/data" in url] == streams
    assert not any("/heartbeat/" in url for url in me.requests)  # browsers allow six connections
    me.page.wait_for_timeout(1000 * (BEAT + 1))
    assert me.page.evaluate(BUSY) == []


def test_many_tabs_of_one_browser(me):
    tabs = [me.page, *(me.context.new_page() for _ in range(4))]
    for tab in tabs[1:]:
        tab.goto(me.address)
    for tab in tabs:
        tab.locator("#canvas canvas[data-revision]").wait_for()
        tab.click("#draw")
        tab.locator("#samples button").first.wait_for()


def test_fifty_pages_at_once(me):
    with urllib.request.urlopen(f"{me.address}/config") as answer:
        events = json.load(answer)["dependencies"]
    (stay,) = (one["id"] for one in events if "load" in [name for _, name in one["targets"]])
    api = f"{me.address}/gradio_api/queue"
    with contextlib.ExitStack() as streams:
        for k in range(50):
            what = {"fn_index": stay, "data": [f"page {k}", ""], "session_hash": f"session {k}"}
            request = urllib.request.Request(f"{api}/join", json.dumps(what).encode())
            request.add_header("Content-Type", "application/json")
            urllib.request.urlopen(request).close()
            query = urllib.parse.urlencode({"session_hash": what["session_hash"]})
            stream = streams.enter_context(urllib.request.urlopen(f"{api}/data?{query}"))
            while b"process_generating" not in stream.readline():
                pass
        assert health(me.address)["sessions"] > 50
        draw(me)


def test_who_has_left_is_noticed(browser, address):
    me = Visitor(browser, address)
    assert health(address)["sessions"] > 0
    me.close()
    end = time.monotonic() + PATIENCE
    while health(address)["sessions"]:
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.parametrize("killed", [False, True], ids=["ended", "killed"])
def test_a_page_goes_on_when_its_server_is_back(killed, browser, tmp_path):
    port = free_port()
    with serving(tmp_path, port=port) as first:  # which ends though a page is open
        me = Visitor(browser, first)
        if killed:
            os.kill(int(process_of(first).name), signal.SIGKILL)
    words = re.compile("Attempting reconnection|as soon as it is back")  # Gradio's words or ours
    me.page.get_by_text(words).wait_for()
    me.shoot(f"lost-{killed}")
    with serving(tmp_path, port=port):
        me.page.get_by_text(words).wait_for(state="detached")  # as the page is loaded again
        me.wait("() => document.querySelector('#canvas canvas')?.dataset.revision")
        draw(me)
        me.close()


def test_health(address):
    found = health(address)
    assert found["status"] == "ok"
    assert found["model"] == "msds1-best"
    assert found["sessions"] >= 0
