"""Tools of the page of photographs as hands, keys and fingers use them, and how both pages look."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rgflow.photographs import examples
from test_app_photographs import Guest, folder, large, me  # noqa: F401  (fixtures)
from visitors import album, named

pytestmark = pytest.mark.slow
WIDTHS = {390: 800, 820: 1000, 1024: 760, 1920: 1080}
"""Widths of windows, and their heights."""
AXE = 'axe.run({ rules: { "label-content-name-mismatch": { enabled: true } } })'
OVERLAPS = """() => {
  const all = [...document.querySelectorAll("button, a, summary, select, input")].filter(one =>
    one.checkVisibility({ visibilityProperty: true, opacityProperty: true })
    && !one.closest("dialog:not([open]), #strip, #zoom, .sheet, [hidden]"));
  const found = [];
  for (const one of all) {
    const a = one.getBoundingClientRect();
    if (!a.width || (one.type === "file")) continue;
    if (a.left < -1 || a.right > innerWidth + 1) found.push(`cut: ${one.outerHTML.slice(0, 90)}`);
    for (const other of all) {
      if (one === other || one.contains(other) || other.contains(one)) continue;
      const b = other.getBoundingClientRect();
      if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2
        && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2)
        if (one.closest("main, .gradio-container") === other.closest("main, .gradio-container"))
          found.push(`over: ${one.outerHTML.slice(0, 90)} ${other.outerHTML.slice(0, 90)}`);
    }
  }
  return found; }"""
"""Controls that are cut or lie over others."""


def drag(guest, *places):
    guest.stroke(*places)
    return guest.page.evaluate("bounds()")


def test_tools_of_the_hand(me, large, tmp_path):  # noqa: F811
    path, _, _ = large
    me.open(path)
    me.page.evaluate("scale = 2; x0 = 1000; y0 = 700; draw()")
    # Whatever the zoom, the outline of the brush is as large as it says, and keys change it.
    me.page.fill("#brush", "40")
    box = me.page.locator("#view").bounding_box()
    for scale in (2, 0.14):
        me.page.evaluate(f"zoomBy({scale} / scale)")
        me.page.mouse.move(box["x"] + 301, box["y"] + 200)
        me.page.mouse.move(box["x"] + 300, box["y"] + 200)
        seen = me.page.evaluate(
            """() => { const data = over.getImageData(0, 0, above.width, above.height).data;
            let left = 1e9, right = 0;
            for (let k = 3; k < data.length; k += 4) if (data[k] > 100) {
              const x = (k - 3) / 4 % above.width; left = Math.min(left, x);
              right = Math.max(right, x); }
            return [left, right]; }"""
        )
        assert seen == pytest.approx([280, 320], abs=3)
    me.shoot("brush")
    before = int(me.page.input_value("#brush"))
    me.page.keyboard.press("]")
    assert int(me.page.input_value("#brush")) > before
    me.page.keyboard.press("[")
    me.page.evaluate("scale = 2; x0 = 1000; y0 = 700; draw()")
    me.page.keyboard.press("r")
    assert drag(me, (1050, 750), (1100, 770)) == [1050, 750, 1100, 770]
    me.page.keyboard.press("o")
    left, top, right, bottom = drag(me, (1200, 750), (1260, 750), (1260, 800), (1200, 800))
    assert [left, top] == [1050, 750]
    assert right == pytest.approx(1260, abs=2)
    assert bottom == pytest.approx(800, abs=2)
    me.page.keyboard.press("l")
    me.page.fill("#brush", "8")
    drag(me, (1050, 900), (1090, 930), (1150, 900))  # straight from the first place to the last
    rows = me.page.evaluate(
        """() => { const { pen, left, top } = [...marks.values()].find(one =>
          one.left <= 1100 && one.left + 512 > 1100 && one.top <= 900 && one.top + 512 > 900);
        const data = pen.getImageData(1100 - left, 880 - top, 1, 60).data, found = [];
        for (let k = 0; k < 60; k++) if (data[4 * k + 3] >= 128) found.push(880 + k);
        return found; }"""
    )
    assert rows == [898, 899, 900, 901]
    # Marks one by one, grown, and as a file.
    me.page.click("summary:text-is('Marks one by one')")
    sizes = []
    for _ in range(3):
        said, _ = me.press("#next")
        sizes.append(int(said.split(": ")[1].split(" ")[0].replace(",", "")))
    assert sizes == sorted(sizes, reverse=True)
    me.shoot("next")
    me.page.click("#drop-find")
    assert "of 2 is next" in me.said()
    me.press("#undo")
    with me.page.expect_download() as download:
        me.press("#save-marks")
    download.value.save_as(tmp_path / "marks.png")
    mask = np.asarray(Image.open(tmp_path / "marks.png").convert("L")) > 128
    assert abs(mask.sum() - sum(sizes)) < 5
    before = me.page.evaluate("bounds()")
    me.press("#grow")
    assert me.page.evaluate("bounds()") == [
        before[0] - 1,
        before[1] - 1,
        before[2] + 1,
        before[3] + 1,
    ]
    me.press("#shrink")
    me.page.click("#clear")
    me.page.evaluate("document.body.dataset.busy = 'true'")
    me.page.set_input_files("#mask", tmp_path / "marks.png")
    me.idle()
    assert me.page.evaluate("bounds()") == before
    me.page.click("#clear")
    # An infrared scan says where the damage is.
    light = np.full(mask.shape, 200, dtype=np.uint8)
    for scan, said in ((light, "no damage"), (np.where(mask, 40, light), "pixels marked")):
        Image.fromarray(scan.astype(np.uint8)).save(tmp_path / "infrared.png")
        me.page.evaluate("document.body.dataset.busy = 'true'")
        me.page.set_input_files("#infrared", tmp_path / "infrared.png")
        me.idle()
        assert said in me.said()
    left, top, right, bottom = before
    assert me.page.evaluate("bounds()") == [left - 1, top - 1, right + 1, bottom + 1]
    me.page.click("#clear")
    # A place is copied.
    me.page.evaluate("scale = 2; x0 = 1000; y0 = 700; draw()")
    me.page.keyboard.press("r")
    drag(me, (1050, 750), (1100, 770))
    damaged = me.saved()
    me.page.click("#copy")
    spot = me.page.evaluate("[(1275.2 - x0) * scale, (860.2 - y0) * scale]")
    me.page.mouse.click(box["x"] + spot[0], box["y"] + spot[1])
    me.page.wait_for_selector("#choices[open]")
    me.idle()
    me.shoot("copied")
    assert "this fits best" in me.page.inner_text("#drawn button >> nth=0")
    number = [
        one.inner_text().startswith("as it is") for one in me.page.locator("#drawn button").all()
    ]
    me.press(f"#drawn button >> nth={number.index(True)}")
    after = me.saved().copy()
    assert np.array_equal(after[750:770, 1050:1100], damaged[850:870, 1250:1300])
    after[750:770, 1050:1100] = damaged[750:770, 1050:1100]
    assert np.array_equal(after, damaged)


def test_everything_without_a_mouse(me, large):  # noqa: F811
    page, path = me.page, large[0]

    def tab(to):
        for _ in range(60):
            if page.evaluate("document.activeElement?.id") == to:
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"{to} can't be reached")

    page.evaluate("document.body.dataset.busy = 'true'")
    with page.expect_file_chooser() as chooser:
        tab("open")
        page.keyboard.press("Enter")
    chooser.value.set_files(path)
    me.idle()
    tab("view")
    for key in ("1", "Shift+ArrowLeft", "Enter", *["Shift+ArrowRight"] * 6, "Enter"):
        page.keyboard.press(key)
    left, top, right, bottom = page.evaluate("bounds()")
    assert right - left > 5 * (bottom - top) > 0
    me.shoot("by-keyboard")
    assert "repaired" in me.keys("Control+Enter")
    page.keyboard.press("c")
    tab("divider")
    share = page.evaluate("split")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert page.evaluate("split") == pytest.approx(share + 0.1)
    page.wait_for_function("$('divider').ariaValueNow === '60'")  # with the next frame
    page.keyboard.press("c")
    with page.expect_download():
        me.keys("Control+s")
    tab("view")
    scale, x = page.evaluate("[scale, x0]")
    page.keyboard.press("v")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("x0") > x
    page.keyboard.press("+")
    assert page.evaluate("scale") > scale
    page.keyboard.press("0")
    assert page.evaluate("scale") < scale
    assert "Undone" in me.keys("Control+z")
    assert "Done again" in me.keys("Control+y")
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    keys = page.evaluate("KEYS.flatMap(([, , which]) => Object.keys(which))")
    assert len(keys) == len(set(keys)) > 25
    page.keyboard.press("Escape")
    assert page.locator("#keys").is_hidden()
    reached = set()
    page.focus("#open")
    for _ in range(70):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement?.id || document.activeElement?.className")
        )
    assert {
        "repair",
        "find",
        "undo",
        "save",
        "view",
        "brush",
        "close",
        "in",
        "show-help",
    } <= reached


def test_fingers_mark_and_zoom(browser, address, folder, large):  # noqa: F811
    size = {"width": 390, "height": 800}
    guest = Guest(browser, address, folder, viewport=size, has_touch=True, is_mobile=True)
    guest.open(large[0])
    tools, box = (
        guest.page.context.new_cdp_session(guest.page),
        guest.page.locator("#view").bounding_box(),
    )

    def touch(kind, *places):
        points = [
            {"x": box["x"] + x, "y": box["y"] + y, "id": k} for k, (x, y) in enumerate(places)
        ]
        tools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", (100, 150))
    for x in range(110, 200, 10):
        touch("touchMove", (x, 150))
    touch("touchEnd")
    left, _, right, _ = guest.page.evaluate("bounds().map(one => one * scale)")
    assert right - left == pytest.approx(104, abs=12)
    assert guest.steps() == [1, 1, True]
    scale = guest.page.evaluate("scale")
    touch("touchStart", (150, 150), (200, 150))
    for k in range(1, 6):
        touch("touchMove", (150 - 10 * k, 150), (200 + 10 * k, 150))
    touch("touchEnd")
    assert guest.page.evaluate("scale") > 1.7 * scale
    assert guest.steps() == [1, 1, True]  # two fingers don't mark
    guest.shoot("fingers")
    guest.close()


def test_thirty_scans_at_once(me, tmp_path):  # noqa: F811
    paths = []
    for k in range(30):
        image = Image.open(examples.damaged("scratches")[0]).crop((8 * k, 0, 200 + 8 * k, 180))
        paths.append(tmp_path / f"scan{k:02}.{'jpg' if k % 3 == 0 else 'png'}")
        image.save(paths[-1])
    me.page.evaluate("document.body.dataset.busy = 'true'")
    (tmp_path / "words.png").write_text("words")
    me.page.set_input_files("#file", [*paths, tmp_path / "words.png"])
    me.idle()
    assert "words.png isn't one" in me.said()
    assert me.page.locator("#strip li").count() == 31
    me.page.click("summary:text-is('All open pictures')")
    said, _ = me.press("#mend-all")
    assert said.startswith("31 pictures searched")
    me.shoot("batch")
    with me.page.expect_download() as download:
        me.page.click("#save-all")
    download.value.save_as(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as found:
        assert found.testzip() is None
        names = found.namelist()
        assert len(names) == 32
        assert names[-1] == "contact-sheet.jpg"
        assert sum(one.endswith(".jpg") for one in names) == 11
        sheet = Image.open(io.BytesIO(found.read("contact-sheet.jpg")))
        assert sheet.height > 30 * 180
    # One mask for all of the same size.
    me.page.keyboard.press("r")
    me.stroke((20, 20), (40, 30))
    assert "30 of 31 are done" in me.press("#mark-all")[0]  # the example has another size


def test_nothing_is_silent_while_something_is_under_way(me, large, tmp_path):  # noqa: F811
    me.open(large[0])
    Image.effect_noise((90, 60), 60).convert("RGB").save(tmp_path / "next.png")
    me.page.evaluate("$('learn').click()")  # takes a minute
    me.page.wait_for_selector("#progress[value]")
    me.stroke((300, 200), (900, 700))
    assert "Marking has to wait" in me.said()
    me.page.set_input_files("#file", tmp_path / "next.png")
    assert "That begins when what is under way has ended" in me.said()
    me.page.click("#stop")
    me.page.wait_for_function("photo.name === 'next.png'")
    me.idle()
    assert "next.png is open" in me.said()


def violations(page):
    """What axe finds, in a line each."""
    axe = pytest.importorskip("axe_playwright_python")
    page.evaluate((Path(axe.__path__[0]) / "axe.min.js").read_text())
    found = page.evaluate(AXE)["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_view_is_for_everybody(browser, address, tmp_path, width, dark):
    """Nothing that axe finds, nothing that is cut, nothing over anything else."""
    pictures = album(tmp_path) if named() else None
    page = browser.new_page(
        viewport={"width": width, "height": WIDTHS[width]},
        color_scheme="dark" if dark else "light",
    )
    page.set_default_timeout(120_000)
    kind, wrong = f"{width}-{'dark' if dark else 'light'}", []

    def look(name):
        page.wait_for_timeout(300)
        if pictures:
            page.screenshot(path=pictures / f"view-{name}-{kind}.png")
        wrong.extend(f"{name}: {one}" for one in violations(page) + page.evaluate(OVERLAPS))
        if page.evaluate("document.documentElement.scrollWidth") > width:
            wrong.append(f"{name}: wider than the window")

    def idle():
        page.wait_for_function("document.body.dataset.busy === 'false'")

    page.goto(address)
    page.wait_for_function("document.body.dataset.photo")
    idle()
    look("photographs")
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    look("details")
    page.click("#show-help")
    look("keys")
    page.keyboard.press("Escape")
    page.click("#compare")
    look("compared")
    page.click("#compare")
    mark = "[{ places: [[100, 100], [120, 104]], width: 4 }]"
    page.evaluate(f"steps[0].marks = {mark}; remark()")
    page.evaluate("document.body.dataset.busy = 'true'")
    page.evaluate("drawing('redraw', { levels: 2, temperature: 0.8 })")
    page.wait_for_selector("#choices[open]")
    idle()
    look("choices")
    page.goto(f"{address}/latents/")
    page.wait_for_function("document.querySelector('#canvas canvas')?.dataset.revision")
    for name in ("sample", "latents", "mix", "repair"):
        page.click(f"#tab-{name}-button")
        page.locator(f"#tab-{name}").wait_for(state="visible")
        look(name)
    page.close()
    assert not wrong, "\n".join(wrong)
