"""The explorer in Chromium, used as a person would."""

import base64

import numpy as np
import pytest
from PIL import Image

from rgflow import load_flow
from rgflow.figures import picture
from rgflow.latents import Latents
from visitors import BROWSER, CURSOR, Visitor, atlas, draw, write

pytest.importorskip("gradio")
pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(not BROWSER, reason="needs Chromium, which isn't installed")

COVERED = """() => {
  const toast = document.querySelector(".toast-body").getBoundingClientRect();
  return [...document.querySelectorAll("button, input, textarea")]
    .filter((one) => one.checkVisibility() && !one.closest(".toast-wrap, #strip"))
    .filter((one) => {
      const its = one.getBoundingClientRect();
      return its.left < toast.right && its.right > toast.left
        && its.top < toast.bottom && its.bottom > toast.top;
    }).map((one) => one.outerHTML.slice(0, 200));
}"""
"""Whatever can be used and lies under a message, but for the strip from coarse to fine."""


@pytest.mark.slow
def test_from_samples_to_a_latent(me):
    me.shoot("1-first")
    draw(me)
    assert me.items("#samples") == 3
    me.fits()
    me.shoot("2-samples")
    me.change("#samples button", 2)
    me.reads("#status", "sample 2")

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
    me.reads("#status", "how far each can reach")
    assert listed() != before
    me.shoot("6-pixel-picked")
    me.fits()


@pytest.mark.slow
def test_a_number_that_is_typed(me):
    draw(me, count=1)
    atlas(me)
    me.change("#atlas button", 1)
    me.page.locator("#latent-0 input[type=range]").wait_for()
    me.changing(lambda: me.page.fill("#latent-0 input[type=number]", "2"), "pixels")
    me.changing(lambda: me.click("#tab-mix-button"))  # though the field has the focus still
    me.panel("Latents")
    me.page.focus("#latent-0 input[type=range]")
    me.changing(lambda: me.page.keyboard.press("End"))
    me.reads("#status", "latents moved")
    me.page.fill("#latent-0 input[type=number]", "-500")
    me.changing(lambda: me.page.keyboard.press("Enter"))
    assert me.page.locator("#latent-0 input[type=range]").input_value() == "-4"
    me.fits()


@pytest.mark.slow
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
    for button in ("#zero", "#anew"):
        me.change(button)


@pytest.mark.slow
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
    me.page.wait_for_timeout(200)  # the answer, to the first, has come
    assert slider.input_value() == "-2"
    while not held:
        me.page.wait_for_timeout(20)
    me.changing(lambda: [route.continue_() for route in held], "pixels")
    me.page.unroute("**/queue/join?*", hold)


@pytest.mark.slow
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
    me.reads("#status", "mixture")
    mixed = me.pixels
    me.changing(lambda: me.drag("#share-2", 0.5))
    assert me.pixels != mixed
    me.change("#undo")
    assert me.pixels == mixed
    me.page.fill("#share-1 input[type=number]", "700")  # the most there is is 1
    me.page.keyboard.press("Enter")
    me.wait("() => document.querySelector('#share-1 input[type=range]').value === '1'")

    files = {}
    for name in ("image", "latents"):
        with me.page.expect_download() as download:
            me.click(f"#save-{name}")
        files[name] = tmp_path / download.value.suggested_filename
        download.value.save_as(files[name])
    large = np.asarray(Image.open(files["image"]).convert("RGB"))
    assert large.shape == (256, 256, 3)
    assert large[::8, ::8].tobytes() == base64.b64decode(me.pixels)
    flow = load_flow("msds1-best")
    found = flow.decode(Latents.load(files["latents"]))
    assert picture(found[0]).tobytes() == base64.b64decode(me.pixels)


@pytest.mark.slow
def test_repair(me):
    draw(me, 7, 1)
    me.panel("Repair")
    me.wait(f"() => {CURSOR} === 'crosshair'")
    me.click("#repair")
    me.warned("something to repair")
    me.page.wait_for_timeout(200)
    words = [me.text(f"#{one}") for one in ("repair", "stop", "undo")]
    assert words == ["Repair", "", "Undo"]  # nothing can be stopped
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
    me.shoot("13-repaired")
    me.fits()
    me.change("#completions button", 1)
    me.reads("#status", "repaired")
    old, new = (np.frombuffer(base64.b64decode(one), np.uint8) for one in (before, me.pixels))
    changed = np.argwhere((old != new).reshape(32, 32, 3).any(2)).tolist()
    assert all(place in marked for place in changed)


@pytest.mark.slow
def test_a_repair_is_stopped(me):
    draw(me, 8, 1)
    me.panel("Repair")
    me.wait(f"() => {CURSOR} === 'crosshair'")
    me.page.fill("#brush input[type=number]", "9")
    me.page.keyboard.press("Tab")
    me.changing(lambda: me.stroke((4, 4), (4, 28), (16, 28), (16, 4), (28, 4), (28, 28)))
    me.click("#repair")
    me.reads("#doing", "Repairing")
    me.shoot("14-repairing")
    me.changing(lambda: me.click("#stop"))
    me.reads("#status", "repaired")
    me.change("#undo")
    me.reads("#status", "sample 8")


@pytest.mark.slow
def test_own_images(me, tmp_path):
    noise = np.random.default_rng(0).integers(256, size=(40, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "mine.png")
    (tmp_path / "words.png").write_text("These are words.")
    (tmp_path / "drawing.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9"/>')
    large = np.random.default_rng(0).integers(256, size=(1900, 1900, 3), dtype=np.uint8)
    Image.fromarray(large).save(tmp_path / "large.png")
    before = me.revision
    me.upload(tmp_path / "large.png")
    me.page.locator(".toast-body", has_text="exceed the maximum allowed size").wait_for()
    me.click(".toast-close")
    for name in ("words.png", "drawing.svg"):
        me.upload(tmp_path / name)
        me.warned(f"{name} isn't one")
    assert me.revision == before
    me.changing(lambda: me.upload(tmp_path / "mine.png"))
    me.reads("#status", "mine.png")
    me.shoot("15-own-image")


@pytest.mark.slow
def test_all_controls_of_samples_and_latents(me):
    draw(me, 3, 2)
    usual = me.pixels
    write(me, "temperature", 0.2)
    me.wait("() => document.querySelector('#temperature-1 input[type=number]').value === '0.2'")
    write(me, "temperature-0", 0)
    me.change("#draw")
    assert me.pixels != usual

    atlas(me)
    first = me.page.locator("#atlas button").first.get_attribute("title")
    assert "level 2" in first
    me.click("#level label", 2)
    me.page.locator("#atlas button[title*='level 0']").first.wait_for()
    me.click("#level label", 0)
    me.page.locator("#atlas button[title*='level 2']").first.wait_for()
    me.change("#atlas button", 0)
    me.wait("() => document.querySelector('#status').innerText.includes('Yellow')")
    me.stroke((12, 12))  # a click
    me.page.locator("#hint", has_text="pixel (12, 12)").wait_for()
    me.stroke((12, 12))
    me.page.locator("#hint", has_text="Latents of level").wait_for()
    assert me.page.locator("#atlas button").first.get_attribute("title") == first
    me.changing(lambda: me.drag("#latent-0", 0.8), "pixels")
    me.wait("() => document.querySelector('#status').innerText.includes('latents moved')")
    me.change("#zero")
    before = me.revision
    me.click("#zero")  # nothing changes
    me.change("#anew")
    assert me.revision == before + 1


@pytest.mark.slow
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
    me.changing(lambda: me.upload(tmp_path / "mine.png"))
    own = me.pixels
    me.change("#mixtures button", 4)  # all of the second
    me.page.locator("#mixtures button[aria-pressed=true]", has_text="Θ = 3").wait_for()
    assert me.pixels != own
    me.change("#swap")
    assert me.pixels == kept


@pytest.mark.slow
def test_painting(me):
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


def test_the_first_screen_says_what_it_is_about(me):
    me.reads("#purpose", "msds1-best was trained on msds1")
    strip = me.page.locator("#strip figure")
    strip.nth(2).wait_for()
    assert [one.inner_text() for one in strip.all()] == [
        "level 2, coarse", "level 1", "level 0, fine",
    ]  # fmt: skip
    sizes = strip.locator("img").evaluate_all("all => all.map(one => one.naturalWidth)")
    assert sizes == [8, 16, 32]
    me.fits()
    me.shoot("21-first")


@pytest.mark.slow
def test_draw_takes_new_seeds_and_says_what_is_under_way(me):
    def drawn():
        return [one.inner_text() for one in me.page.locator("#samples button").all()]

    me.page.fill("#count input[type=number]", "2")
    me.page.fill("#seed input", "4")
    held, waited = [], []

    def hold(route):
        route.continue_() if waited else held.append(route)

    me.page.route("**/queue/join?*", hold)
    me.click("#draw")
    me.page.locator("#doing", has_text="Drawing").wait_for()
    waited.append(True)
    me.changing(lambda: [route.continue_() for route in held])
    me.page.unroute("**/queue/join?*", hold)
    me.wait("() => !document.querySelector('#doing').innerText")
    assert drawn() == ["sample 4", "sample 5"]
    me.change("#draw")
    me.wait("() => document.querySelector('#seed input').value === '8'")
    assert drawn() == ["sample 6", "sample 7"]


@pytest.mark.slow
def test_what_is_clicked_stays_where_it_is(me):
    """Neither a pixel that is picked nor a message moves or covers anything."""
    atlas(me)
    buttons = ("#unchoose", "#zero", "#anew")

    def places():
        return [me.page.locator(one).bounding_box() for one in buttons]

    before = places()
    me.stroke((12, 12))  # a click
    me.page.locator("#hint", has_text="pixel (12, 12)").wait_for()
    assert places() == before
    me.panel("Repair")
    me.wait(f"() => {CURSOR} === 'crosshair'")
    me.click("#repair")
    me.page.locator(".toast-body").first.wait_for()
    me.page.wait_for_timeout(500)  # it slides in
    me.shoot("22-message")
    assert me.page.evaluate(COVERED) == []
    me.warned("something to repair")


@pytest.mark.slow
def test_outlines_are_seen_on_dark_images(me, tmp_path):
    Image.new("RGB", (32, 32)).save(tmp_path / "dark.png")
    me.changing(lambda: me.upload(tmp_path / "dark.png"))
    atlas(me)
    me.stroke((12, 12))  # a click
    me.page.locator("#hint", has_text="pixel (12, 12)").wait_for()
    me.page.wait_for_timeout(300)
    light = me.page.evaluate(
        """() => { const canvas = document.querySelector("#canvas canvas");
        const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        let light = 0;
        for (let k = 0; k < data.length; k += 4)
          light += data[k] + data[k + 1] + data[k + 2] > 450;
        return light; }"""
    )
    assert light > 3000  # far more than the white square of one pixel, 15 wide
    me.shoot("23-dark")


@pytest.mark.slow
def test_two_equal_images_give_no_mixtures_and_names_stay(me):
    draw(me, 5, 1)
    me.panel("Mix")
    me.change("#use-second")
    me.page.locator("#mixtures", has_text="choose another as the first").wait_for()
    assert me.items("#mixtures") == 0
    me.panel("Sample")
    draw(me, 6, 1)
    me.panel("Mix")
    me.page.locator("#mixtures button").nth(4).wait_for()
    atlas(me)
    me.change("#atlas button", 1)
    me.page.locator("#latent-0 input[type=range]").wait_for()
    me.changing(lambda: me.drag("#latent-0", 0.9), "pixels")
    me.page.locator("#status", has_text="sample 6, latents moved").wait_for()


def test_a_picture_is_dropped_anywhere(me, tmp_path):
    """Rather than that the browser leaves the page."""
    Image.effect_noise((40, 40), 80).convert("RGB").save(tmp_path / "dropped.png")
    content = base64.b64encode((tmp_path / "dropped.png").read_bytes()).decode()
    me.page.evaluate(
        """async (content) => {
          const blob = await (await fetch("data:image/png;base64," + content)).blob();
          const transfer = new DataTransfer();
          transfer.items.add(new File([blob], "dropped.png", { type: "image/png" }));
          const how = { dataTransfer: transfer, bubbles: true, cancelable: true };
          const event = new DragEvent("drop", how);
          document.getElementById("status").dispatchEvent(event);
        }""",
        content,
    )
    me.reads("#status", "dropped.png")


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1024])
def test_nothing_is_cut_on_narrow_screens(width, browser, address, pictures):
    context = browser.new_context(viewport={"width": width, "height": 800})
    visitor = Visitor(browser, address, pictures, context=context)
    draw(visitor, count=1)
    visitor.panel("Latents")
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width
    right = visitor.page.locator("#right").bounding_box()
    assert right["x"] >= 0
    assert right["x"] + right["width"] <= width + 1
    visitor.shoot(f"narrow-{width}")
    visitor.close()
    context.close()
