"""The page of photographs, in a browser; `test_app_requests.py` asks its server."""

import base64
import io
import os
import re
import signal
import time
import urllib.request

import numpy as np
import pytest
from PIL import Image

from rgflow.data.patches import photograph
from visitors import FAST_SETTINGS, album, free_port, named, process_of, serving

LARGE = (3000, 2200)
"""Columns and rows of a photograph, 6.6 megapixels."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return album(tmp_path_factory.mktemp("album")) if named() else tmp_path_factory.mktemp("album")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A large photograph with a scratch, where it is, and the photograph before."""
    small = photograph("china").transpose(1, 2, 0)
    image = Image.fromarray(small).resize(LARGE, Image.Resampling.BICUBIC)
    noise = np.random.default_rng(0).normal(0, 3, (LARGE[1], LARGE[0], 3))
    truth = (np.asarray(image) + noise).clip(0, 255).astype(np.uint8)
    mask = np.zeros(truth.shape[:2], dtype=bool)
    for k in range(250):
        mask[1000 + k // 3 : 1002 + k // 3, 1400 + k] = True
    path = tmp_path_factory.mktemp("large") / "large.png"
    Image.fromarray(np.where(mask[..., None], 255, truth).astype(np.uint8)).save(
        path, compress_level=1
    )
    return path, mask, truth


class Guest:
    """A person with the page open."""

    def __init__(self, browser, address, folder, **settings):
        self.page = browser.new_page(**settings)
        self.page.set_default_timeout(120_000)
        self.folder, self.errors = folder, []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(address)
        self.page.wait_for_function("document.body.dataset.photo")
        self.idle()

    def idle(self):
        self.page.wait_for_function("document.body.dataset.busy === 'false'")

    def press(self, place):
        self.page.evaluate("document.body.dataset.busy = 'true'")
        start = time.perf_counter()
        self.page.click(place)
        self.idle()
        return self.said(), time.perf_counter() - start

    def said(self):
        return self.page.inner_text("#said")

    def open(self, path):
        self.page.evaluate("document.body.dataset.busy = 'true'")
        self.page.set_input_files("#file", path)
        self.idle()
        return self.said()

    def stroke(self, *places):
        """Paint from one place of the picture to the next."""
        box = self.page.locator("#view").bounding_box()
        for number, (x, y) in enumerate(places):
            at = self.page.evaluate("([x, y]) => [(x - x0) * scale, (y - y0) * scale]", [x, y])
            self.page.mouse.move(box["x"] + at[0], box["y"] + at[1], steps=4)
            if not number:
                self.page.mouse.down()
        self.page.mouse.up()

    def shoot(self, name):
        if named():
            self.page.wait_for_timeout(300)
            self.page.screenshot(path=self.folder / f"photographs-{name}.png")

    def saved(self):
        self.file = self.downloaded()
        return np.asarray(Image.open(self.file.path()).convert("RGB"))

    def downloaded(self):
        with self.page.expect_download() as download:
            said, _ = self.press("#save")
        assert f"Saved as {download.value.suggested_filename}" in said
        return download.value

    def steps(self):
        """How many there are, how many aren't undone, and whether anything is marked."""
        return self.page.evaluate("[steps.length, done, bounds() !== null]")

    def keys(self, which):
        self.page.evaluate("document.body.dataset.busy = 'true'")
        self.page.keyboard.press(which)
        self.idle()
        return self.said()

    def close(self):
        assert not self.errors
        self.page.close()


@pytest.fixture
def me(browser, address, folder):
    guest = Guest(browser, address, folder, viewport={"width": 1280, "height": 800})
    yield guest
    guest.close()


def test_it_opens_on_a_damaged_photograph_one_click_from_repaired(me):
    assert "press Repair" in me.said()
    me.shoot("opened")
    before = me.saved()
    said, _ = me.press("#repair")
    assert "pixels repaired" in said
    assert me.steps() == [2, 2, False]
    me.page.click("#compare")
    assert "Left of the line: before" in me.said()  # what was said before is no longer there
    me.shoot("compared")
    me.page.click("#compare")
    truth = photograph("china").transpose(1, 2, 0)
    after = me.saved()
    errors = [((x.astype(float) - truth) ** 2).mean() for x in (before, after)]
    assert errors[1] < 0.3 * errors[0]
    # All that was done is undone in order, and done again.
    me.stroke((300, 200), (320, 210))
    assert "Marked: press Repair" in me.said()
    me.stroke((400, 200), (420, 210))
    assert me.steps() == [4, 4, True]
    assert me.keys("Control+z") == "Undone: marking."
    assert me.keys("Control+z") == "Undone: marking."
    assert me.steps() == [4, 2, False]
    assert me.press("#undo")[0] == "Undone: the repair."
    assert me.steps() == [4, 1, True]  # the marks are back
    assert np.array_equal(me.saved(), before)
    assert me.keys("Control+Shift+Z") == "Done again: the repair."
    assert np.array_equal(me.saved(), after)
    assert me.press("#redo")[0] == "Done again: marking."
    assert me.steps() == [4, 3, True]
    me.page.click("#clear")
    assert me.steps() == [4, 4, False]
    assert "Repair" in me.page.inner_text("#tools")
    me.page.click("#redo")
    assert me.said() == "There is nothing to redo."


def test_a_large_photograph_is_repaired(me, large):
    path, mask, truth = large
    assert "large.png is open" in me.open(path)
    me.shoot("large")
    me.page.evaluate("scale = 1; x0 = 1200; y0 = 800; draw()")
    # Marked by hand: only what was painted changes.
    me.page.fill("#brush", "8")
    me.stroke((1395, 998), (1520, 1041), (1655, 1086))
    me.shoot("marked")
    said, _ = me.press("#repair")
    assert "pixels repaired" in said
    after = me.saved()
    damaged = np.asarray(Image.open(path))
    changed = (after != damaged).any(2)
    assert not changed[:980].any()
    assert not changed[1110:].any()
    error = np.abs(after.astype(float) - truth)[mask].mean()
    assert error < 0.1 * np.abs(damaged.astype(float) - truth)[mask].mean()
    # Searched as a whole, which can be stopped.
    me.press("#undo")
    me.page.click("#clear")
    me.page.evaluate(
        """() => { const timer = setInterval(() => { if ($("progress").hasAttribute("value")) {
        clearInterval(timer); $("stop").click(); } }, 5); }"""
    )
    assert me.press("#find")[0].startswith("Stopped before the end.")
    assert me.page.locator("#bar").is_hidden()
    # Found by itself in view.
    me.page.evaluate("scale = 2; x0 = 1350; y0 = 950; draw()")
    said, _ = me.press("#find-here")
    found = re.match(r"([\d,]+) pixels look damaged", said)
    assert found
    assert abs(int(found[1].replace(",", "")) - mask.sum()) < 0.1 * mask.sum()
    me.shoot("found")
    # Possible completions are drawn.
    me.page.click("#clear")
    me.page.evaluate("scale = 6; x0 = 1380; y0 = 970; draw()")
    me.page.fill("#brush", "30")
    me.stroke((1420, 1008), (1432, 1012))
    me.page.click("#complete")
    me.page.click("#drawn button >> nth=0")  # as soon as it's there, which stops the others
    me.page.wait_for_function("$('said').textContent.startsWith('Applied')")
    me.idle()
    me.shoot("completions")
    me.shoot("completed")
    rows, columns = (damaged != me.saved()).any(2).nonzero()
    assert 20 < len(rows) < 200
    assert 1000 < rows.min() <= rows.max() < 1020
    assert 1410 < columns.min() <= columns.max() < 1440
    # Zooming and moving don't wait for the server.
    frames = me.page.evaluate(
        """async () => { const times = []; let last = performance.now();
        for (let k = 0; k < 30; k++) { zoomBy(k % 2 ? 1.1 : 1 / 1.1); x0 += 5;
          await new Promise(done => requestAnimationFrame(done));
          times.push(performance.now() - last); last = performance.now(); }
        return times.sort((a, b) => a - b)[15]; }"""
    )
    assert frames < 500


def test_nothing_is_lost_by_a_reload_another_page_or_another_picture(me, tmp_path):
    me.press("#repair")
    after = me.saved()
    me.stroke((100, 100), (140, 100))
    Image.effect_noise((60, 50), 50).save(tmp_path / "noise.png")
    me.open(tmp_path / "noise.png")
    assert me.page.locator("#strip li").count() == 2
    me.press("#strip li:first-child button:first-child")
    assert "china.png is shown, with 3 steps to undo" in me.said()
    assert me.steps() == [3, 3, True]
    me.page.click("header a >> text=Latents")
    me.page.wait_for_url("**/latents/")
    me.page.click("header a >> text=Photographs")
    me.page.wait_for_function("document.body.dataset.photo")
    me.idle()
    assert "is open as you left it, with 3 steps to undo" in me.said()
    assert np.array_equal(me.saved(), after)
    assert me.keys("Control+z") == "Undone: marking."
    assert me.keys("Control+z") == "Undone: the repair."
    me.page.reload()
    me.page.wait_for_function("document.body.dataset.photo")
    me.idle()
    assert me.steps() == [3, 1, True]
    assert me.keys("Control+y") == "Done again: the repair."
    assert np.array_equal(me.saved(), after)
    # Comparing ends where marks are wanted.
    me.page.click("#compare")
    me.stroke((100, 100), (140, 100))
    assert "press that button again to mark" in me.said()
    assert me.page.evaluate("bounds()") is None
    me.press("#find-here")
    assert me.page.get_attribute("#compare", "aria-pressed") == "false"
    # A picture is closed by a button, which asks if something was done to it.
    asked = []
    me.page.on("dialog", lambda one: asked.append(one.message) or one.accept())
    me.press("#strip li:last-child .close")
    me.press("#strip li:last-child .close")
    assert len(asked) == 1
    assert me.page.evaluate("photo") is None
    me.page.reload()
    me.page.wait_for_function("document.body.dataset.photo")
    me.idle()
    assert "press Repair" in me.said()


@pytest.mark.slow
def test_nothing_is_lost_when_the_server_is_killed(browser, large, folder, tmp_path):
    port = free_port()
    with serving(tmp_path, port=port) as address:
        me = Guest(browser, address, folder, viewport={"width": 1280, "height": 800})
        me.open(large[0])
        me.page.evaluate("scale = 1; x0 = 1200; y0 = 800; draw()")
        me.stroke((1395, 998), (1520, 1041), (1655, 1086))
        me.press("#repair")
        after = me.saved()
        me.stroke((1300, 900), (1320, 905))
        me.page.wait_for_function("!unsent")
        me.page.click("#find")
        me.page.wait_for_selector("#progress[value]")
        os.kill(int(process_of(address).name), signal.SIGKILL)
        me.idle()
        assert "The server doesn't answer" in me.said()
        me.stroke((1300, 950), (1320, 955))  # is sent when it is back
        me.page.wait_for_function("$('said').textContent.startsWith('The server doesn')")
        me.shoot("killed")
    with serving(tmp_path, port=port):
        me.page.wait_for_function("!unsent")
        assert "The server is back" in me.said()
        for _ in range(2):
            assert me.steps() == [4, 4, True]
            assert np.array_equal(me.saved(), after)
            me.page.reload()
            me.page.wait_for_function("document.body.dataset.photo")
            me.idle()
        for words in ("marking", "marking", "the repair"):
            assert me.keys("Control+z") == f"Undone: {words}."
        assert np.array_equal(me.saved(), np.asarray(Image.open(large[0])))
        me.close()


def test_the_wheel_zooms_the_divider_is_dragged_and_a_threshold_hides(me):
    box = me.page.locator("#view").bounding_box()
    before = me.page.evaluate("scale")
    me.page.mouse.move(box["x"] + 300, box["y"] + 200)
    me.page.mouse.wheel(0, -400)
    me.page.wait_for_function("before => scale > 1.5 * before", arg=before)
    me.page.click("#compare")
    handle = me.page.locator("#divider").bounding_box()
    me.page.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + 60)
    me.page.mouse.down()
    me.page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 60, steps=3)
    me.page.mouse.up()
    assert me.page.evaluate("split") == pytest.approx(0.25, abs=0.02)
    me.page.locator("summary", has_text="See how the model").click()
    coloured = []
    me.press("#surprise")
    for threshold in ("1", "-1"):
        me.page.fill("#threshold", threshold)
        coloured.append(
            me.page.evaluate(
                """() => { let count = 0; for (const { shown } of overlay) { const { data } =
                shown.getContext("2d").getImageData(0, 0, shown.width, shown.height);
                for (let k = 3; k < data.length; k += 4) count += data[k] > 0; } return count; }"""
            )
        )
    assert coloured[0] > 10 * coloured[1] > 0
    assert "0.1 % of the pixels" in me.said()


def test_levels_show_the_averages_of_squares(me, tmp_path):
    image = Image.effect_noise((1070, 601), 50).convert("RGB")
    image.save(tmp_path / "noise.png")
    me.open(tmp_path / "noise.png")
    corner = image.crop((1024, 512, 1070, 601))
    for level in (1, 4, 9):
        found = me.page.evaluate(
            """async level => {
            scale = 1; x0 = 500; y0 = 300; see(level); await visible();
            return [...ctx.getImageData(524, 212, 46, 89).data]; }""",
            level,
        )
        squares = np.asarray(corner.reduce(1 << level)).astype(int)
        large = squares.repeat(1 << level, 0).repeat(1 << level, 1)[:89, :46]
        seen = np.asarray(found).reshape(89, 46, 4)[..., :3]
        assert np.abs(seen - large).max() <= 1


@pytest.mark.slow
def test_nobody_sees_what_others_do(me, browser, address, folder, tmp_path):
    other = Guest(browser, address, folder, viewport={"width": 1280, "height": 800})
    Image.new("RGB", (90, 80), (10, 200, 30)).save(tmp_path / "mine.png")
    before = me.saved()
    other.open(tmp_path / "mine.png")
    other.stroke((20, 20), (60, 50))
    other.press("#repair")
    assert np.array_equal(me.saved(), before)
    assert other.saved().shape == (80, 90, 3)
    assert other.page.evaluate("photo.id") != me.page.evaluate("photo.id")
    other.close()


def test_marks_are_kept_in_squares_as_on_one_canvas(me, large):
    me.open(large[0])
    assert me.page.evaluate("marks.size") == 0
    found = me.page.evaluate(
        """async () => {
        const whole = new OffscreenCanvas(photo.width, photo.height);
        const lines = [[[400, 500], [1100, 1040], false], [[-9, 600], [700, 514], false],
          [[700, 400], [720, 1030], true], [[2995, 2190], [3100, 2190], false]];
        const all = () => { for (const [from, to, erase] of lines)
          apply({ places: [from, to], erase, width: 40 }); };
        all();
        const squares = marks.size, region = await marked();
        marks.clear();
        marks.set("0,0", { pen: whole.getContext("2d"), left: 0, top: 0 });
        const only = paint;
        paint = (_, onto, erase) => {
          const { pen } = marks.get("0,0");
          pen.globalCompositeOperation = erase ? "destination-out" : "source-over"; onto(pen); };
        all();
        paint = only;
        return [squares, region, await marked()];
        }"""
    )
    squares, (region, same) = found[0], found[1:]
    assert 6 <= squares <= 12  # of 30
    urls = [one["mask"].partition(",")[2] for one in found[1:]]
    masks = [np.asarray(Image.open(io.BytesIO(base64.b64decode(one))))[..., 3] for one in urls]
    assert {**region, "mask": ""} == {**same, "mask": ""}
    assert (region["left"], region["left"] + region["width"]) == (0, LARGE[0])
    assert (np.abs(masks[0].astype(int) - masks[1]) < 80).all()  # edges are smoothed otherwise
    me.page.evaluate("remark()")  # there are no steps
    assert me.page.evaluate("marks.size") == 0
    me.page.evaluate("apply({ places: [[300, 300]], width: 9 })")
    me.page.evaluate("apply({ places: [[300, 300], [310, 300]], erase: true, width: 12 })")
    assert me.page.evaluate("[bounds(), marks.size]") == [None, 0]


@pytest.mark.slow
def test_detail_is_drawn_anew_and_surprise_is_shown(me, large):
    me.open(large[0])
    me.page.evaluate("scale = 2; x0 = 300; y0 = 300; draw()")
    me.stroke((350, 350), (420, 380))
    me.page.click("summary:text-is('Redraw detail')")
    before = me.saved()
    said, _ = me.press("#redraw")
    assert "choose one to use it" in said
    assert me.page.locator("#drawn canvas").count() == 3
    me.shoot("choices")
    me.page.check("#differences")
    me.shoot("differences")
    me.press("#drawn button >> nth=0")
    after = me.saved()
    assert (before != after).any()
    same = (before == after).all(2)
    assert same[:330].all()
    assert same[410:].all()
    me.page.click("summary:text-is('See how the model sees it')")
    said, _ = me.press("#surprise")
    assert "times less likely than usual" in said
    me.shoot("surprise")


def test_an_enlarged_picture_is_beside_lanczos_and_seen_from_coarse_to_fine(me, tmp_path):
    small = Image.fromarray(photograph("coffee")[:, 40:140, 60:180].transpose(1, 2, 0).copy())
    small.save(tmp_path / "small.png")
    me.open(tmp_path / "small.png")
    me.page.click("summary:text-is('Enlarge')")
    assert "reduced by averaging, as cameras and programs do" in me.page.inner_text("#tools")
    assert "Left of the line is Lanczos" in me.press("#enlarge-2")[0]
    me.shoot("enlarged")
    words = "['divider', 'compare'].map(id => $(id).innerText.split(/\\s+/).join(' '))"
    assert me.page.evaluate(words) == ["Lanczos rgflow", "Beside Lanczos"]
    shown = me.page.evaluate(
        """async () => { scale = 1; x0 = y0 = 0; split = 0.1; await visible();
        await new Promise(requestAnimationFrame); await new Promise(requestAnimationFrame);
        return [split * size()[0], ...ctx.getImageData(0, 0, 240, 200).data]; }"""
    )
    pixels = np.array(shown[1:], dtype=np.uint8).reshape(200, 240, 4)[..., :3]
    line = int(shown[0])
    lanczos = np.asarray(small.resize((240, 200), Image.Resampling.LANCZOS))
    large = me.saved()
    assert np.array_equal(pixels[:, : line - 1], lanczos[:, : line - 1])
    assert np.array_equal(pixels[:, line + 2 :], large[:, line + 2 :])
    assert (lanczos != large).any(2).mean() > 0.5
    assert Image.fromarray(large).reduce(2).tobytes() == small.tobytes()
    # From fine to coarse, until something else is done.
    me.page.click("summary:text-is('See how the model sees it')")
    me.page.focus("#level")
    for _ in range(5):
        me.page.keyboard.press("ArrowRight")
    me.page.wait_for_function("$('said').textContent.startsWith('Averages of squares of 32×32')")
    assert me.page.inner_text("#level + output") == "32×32"
    me.shoot("coarse")
    me.page.click("#compare")
    me.page.wait_for_function("level === 0")
    # The picture before is beside it; it has a before and an after again.
    me.press("#strip li:nth-last-child(2) button:first-child")
    assert me.page.inner_text("#compare") == "Before and after"
    assert me.page.locator("#divider").is_hidden()


def test_pictures_that_are_none_get_a_sentence(me, tmp_path):
    (tmp_path / "words.png").write_text("These are words.")
    assert "words.png isn't one, or is damaged" in me.open(tmp_path / "words.png")
    (tmp_path / "x.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    assert "x.heic is a HEIC picture of a phone: export it" in me.open(tmp_path / "x.heic")
    Image.new("RGB", (1, 1)).save(tmp_path / "one.png")
    assert "at least 4×4 pixels" in me.open(tmp_path / "one.png")
    Image.new("L", (9000, 9000)).save(tmp_path / "huge.png")
    assert "at most 64 megapixels; huge.png has 9000×9000" in me.open(tmp_path / "huge.png")
    assert "press Repair" not in me.said()
    me.page.click("#clear")
    assert me.said() == "All marks are removed."
    said, _ = me.press("#repair")
    assert "Nothing is marked" in said
    # A long thin one, and one with transparency, are shown; one is enlarged, and saved as it came.
    Image.effect_noise((500, 5), 50).save(tmp_path / "thin.jpg")
    assert "thin.jpg is open" in me.open(tmp_path / "thin.jpg")
    me.page.click("summary:text-is('Enlarge')")
    assert "Enlarged to 2000×20 pixels" in me.press("#enlarge-4")[0]
    assert me.downloaded().suggested_filename == "thin-enlarged.jpg"
    me.page.check("#formats label >> nth=1")
    assert me.saved().shape == (20, 2000, 3)
    assert me.file.suggested_filename == "thin-enlarged.png"
    me.press("#strip li:nth-last-child(2) button:first-child")
    assert me.saved().shape == (5, 500, 3)
    assert me.page.evaluate("photo.width") == 500
    clear = Image.effect_noise((60, 50), 50).convert("RGB")
    clear.putalpha(0)
    clear.save(tmp_path / "clear.png")
    assert "transparent pixels are seen over white" in me.open(tmp_path / "clear.png")


def test_a_telephone(browser, address, folder):
    guest = Guest(browser, address, folder, viewport={"width": 390, "height": 800}, has_touch=True)
    width = guest.page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390
    assert guest.page.locator("#repair").bounding_box()["y"] < 760
    guest.shoot("telephone")
    assert "pixels repaired" in guest.press("#repair")[0]
    guest.close()


@pytest.mark.slow
def test_another_model_begins_with_its_latents(tmp_path):
    with serving(tmp_path, "msds1-paper-small", before=FAST_SETTINGS) as address:
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert answer.url.endswith("/latents/")
        with urllib.request.urlopen(f"{address}/photographs", timeout=60) as answer:
            assert answer.status == 200
