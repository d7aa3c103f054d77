"""The page of photographs, in a browser and by its requests."""

import base64
import io
import json
import time
import urllib.error
import urllib.request
from dataclasses import replace
from itertools import combinations

import fastapi
import numpy as np
import pytest
import torch
from fastapi import testclient
from PIL import Image

from rgflow import load_flow, make_flow
from rgflow.app.album import mask_url
from rgflow.app.photographs import make_router
from rgflow.data.patches import photograph
from rgflow.photographs import changing
from visitors import FEW, album, named, serving

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
        with self.page.expect_download() as download:
            self.page.click("#save")
        return np.asarray(Image.open(download.value.path()).convert("RGB"))

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
    assert "flow of photographs" in me.page.inner_text("#about")
    me.shoot("opened")
    before = me.saved()
    said, _ = me.press("#repair")
    assert "pixels repaired" in said
    me.page.click("#compare")
    me.shoot("compared")
    truth = photograph("china").transpose(1, 2, 0)
    after = me.saved()
    errors = [((x.astype(float) - truth) ** 2).mean() for x in (before, after)]
    assert errors[1] < 0.05 * errors[0]
    me.press("#undo")
    assert np.array_equal(me.saved(), before)


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
    # Found by itself.
    me.press("#undo")
    me.page.evaluate("scale = 2; x0 = 1350; y0 = 950; draw()")
    said, _ = me.press("#find")
    assert "look damaged" in said
    me.shoot("found")
    me.press("#repair")
    after = me.saved()
    assert np.abs(after.astype(float) - truth)[mask].mean() < 2 * error + 1
    # Possible completions are drawn.
    me.press("#undo")
    me.page.evaluate("scale = 6; x0 = 1380; y0 = 970; draw()")
    me.page.fill("#brush", "5")
    me.stroke((1420, 1008), (1432, 1012))
    said, _ = me.press("#complete")
    assert "Three draws" in said
    me.shoot("completions")
    before = me.saved()
    me.press("#drawn button >> nth=2")
    me.shoot("completed")
    rows, columns = (before != me.saved()).any(2).nonzero()
    assert 20 < len(rows) < 200
    assert 1000 < rows.min() <= rows.max() < 1020
    assert 1410 < columns.min() <= columns.max() < 1440
    me.press("#undo")
    assert np.array_equal(me.saved(), before)
    # Zooming and moving don't wait for the server.
    frames = me.page.evaluate(
        """async () => { const times = []; let last = performance.now();
        for (let k = 0; k < 30; k++) { zoomBy(k % 2 ? 1.1 : 1 / 1.1); x0 += 5;
          await new Promise(done => requestAnimationFrame(done));
          times.push(performance.now() - last); last = performance.now(); }
        return times.sort((a, b) => a - b)[15]; }"""
    )
    assert frames < 500


def test_marks_are_kept_in_squares_as_on_one_canvas(me, large):
    me.open(large[0])
    assert me.page.evaluate("marks.size") == 0
    found = me.page.evaluate(
        """async () => {
        const whole = new OffscreenCanvas(photo.width, photo.height);
        const strokes = [[[400, 500], [1100, 1040], false], [[-9, 600], [700, 514], false],
          [[700, 400], [720, 1030], true], [[2995, 2190], [3100, 2190], false]];
        $("brush").value = 40;
        for (const [from, to, erase] of strokes) stroke(from, to, erase);
        const squares = marks.size, region = await marked();
        marks.clear();
        marks.set("0,0", { pen: whole.getContext("2d"), left: 0, top: 0 });
        const only = paint;
        paint = (_, onto, erase) => {
          const { pen } = marks.get("0,0");
          pen.globalCompositeOperation = erase ? "destination-out" : "source-over"; onto(pen); };
        for (const [from, to, erase] of strokes) stroke(from, to, erase);
        paint = only;
        return [squares, region, await marked()];
        }"""
    )
    squares, (region, same) = found[0], found[1:]
    assert 6 <= squares <= 12  # of 30
    masks = [np.asarray(Image.open(io.BytesIO(decoded(one["mask"]))))[..., 3] for one in found[1:]]
    assert {**region, "mask": ""} == {**same, "mask": ""}
    assert (region["left"], region["left"] + region["width"]) == (0, LARGE[0])
    assert (np.abs(masks[0].astype(int) - masks[1]) < 80).all()  # edges are smoothed otherwise
    me.page.evaluate("unmark()")
    me.page.evaluate("stroke([300, 300], [300, 300], false); stroke([300, 300], [310, 300], true)")
    assert me.page.evaluate("[bounds(), marks.size]") == [None, 0]


@pytest.mark.slow
def test_detail_is_drawn_anew_and_surprise_is_shown(me, large):
    me.open(large[0])
    me.page.evaluate("scale = 2; x0 = 300; y0 = 300; draw()")
    me.stroke((350, 350), (420, 380))
    me.page.click("summary >> nth=0")
    said, _ = me.press("#redraw")
    assert "click one to use it" in said
    assert me.page.locator("#drawn img").count() == 3
    before = me.saved()
    me.press("#drawn button >> nth=0")
    after = me.saved()
    assert (before != after).any()
    same = (before == after).all(2)
    assert same[:330].all()
    assert same[410:].all()
    me.page.click("summary:text-is('Inspect')")
    said, _ = me.press("#surprise")
    assert "less likely than usual" in said
    me.shoot("surprise")
    me.page.fill("#level", "4")
    assert me.page.inner_text("#level + output") == "1/16"
    me.shoot("coarse")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Another large photograph, of other proportions."""
    path = tmp_path_factory.mktemp("other") / "other.jpg"
    image = Image.fromarray(photograph("flower").transpose(1, 2, 0))
    image.resize((2400, 2600), Image.Resampling.BICUBIC).save(path, quality=95)
    return path


def choose_other(me, path):
    me.page.click("#mixing summary")
    me.page.evaluate("document.body.dataset.busy = 'true'")
    me.page.set_input_files("#other", path)
    me.idle()
    return me.said()


@pytest.mark.slow
def test_two_large_photographs_are_mixed_in_view(me, large, other):
    me.open(large[0])
    assert "resized to the size of the first" in choose_other(me, other)
    me.page.wait_for_function("Number(document.body.dataset.mixed) > 0")  # long before all is
    me.shoot("mixed-whole")
    me.page.evaluate("scale = 6; x0 = 1200; y0 = 800; draw()")
    me.page.wait_for_timeout(300)
    me.page.fill("#fine", "2")  # another mixture, while that one is under way
    me.page.wait_for_function("document.body.dataset.mixed === 'all'")
    assert "the fine detail of other.jpg" in me.said()
    me.shoot("mixed")
    # What is seen is what the library says; the picture itself hasn't changed.
    seen = me.page.evaluate(
        """() => { const pen = mixture.shown.getContext("2d");
        return [mixture.left, mixture.top, ...pen.getImageData(50, 50, 40, 40).data]; }"""
    )
    left, top = (at + 50 for at in seen[:2])
    found = np.array(seen[2:], dtype=np.uint8).reshape(40, 40, 4)[..., :3].transpose(2, 0, 1)
    first, second = (np.asarray(Image.open(one).convert("RGB")) for one in (large[0], other))
    first, second = (one.transpose(2, 0, 1) for one in (first, second))
    second = changing.fitted(second, *first.shape[1:])
    part = slice(top // 64 * 64 - 64, top + 128), slice(left // 64 * 64 - 64, left + 128)
    parts = [torch.from_numpy(one[:, *part].copy()) for one in (first, second)]
    mixed = changing.mix(load_flow("photos"), *parts, (1, 1)).numpy()
    cut = [
        slice(at - of.start, at - of.start + 40) for at, of in zip((top, left), part, strict=True)
    ]
    assert (found == mixed[:, *cut]).mean() > 0.97
    assert (found != parts[0].numpy()[:, *cut]).mean() > 0.5
    me.page.click("#away")
    assert me.page.evaluate("mixture === null && other === null")
    assert np.array_equal(me.saved().transpose(2, 0, 1), first)


@pytest.mark.slow
def test_a_mixture_of_large_photographs_is_kept(me, large, other):
    me.open(large[0])
    choose_other(me, other)
    me.page.fill("#fine", "1")
    said, _ = me.press("#keep")
    assert "Mixed in" in said
    after, before = me.saved(), np.asarray(Image.open(large[0]))
    assert np.array_equal(after[::2, ::2], before[::2, ::2])
    assert (after != before).any(2).mean() > 0.5
    me.press("#undo")
    assert np.array_equal(me.saved(), before)


def test_an_example_is_mixed_with_one_that_is_dropped(me, tmp_path):
    me.page.evaluate("scale = 10; draw()")  # so that there is little to be seen
    me.page.click("#mixing summary")
    me.press("#others button >> nth=1")
    me.page.wait_for_function("document.body.dataset.mixed === 'all'")
    me.shoot("mixed-example")
    Image.effect_noise((90, 60), 60).convert("RGB").save(tmp_path / "dropped.png")
    content = base64.b64encode((tmp_path / "dropped.png").read_bytes()).decode()
    me.page.evaluate("document.body.dataset.busy = 'true'")
    me.page.evaluate(
        """async (content) => {
          const blob = await (await fetch("data:image/png;base64," + content)).blob();
          const transfer = new DataTransfer();
          transfer.items.add(new File([blob], "dropped.png", { type: "image/png" }));
          const how = { dataTransfer: transfer, bubbles: true, cancelable: true };
          document.getElementById("mixed").dispatchEvent(new DragEvent("drop", how));
        }""",
        content,
    )
    me.idle()
    assert me.page.evaluate("[other, photo.name]") == ["dropped.png", "china.png"]
    me.page.click("#away")
    assert me.page.locator("#mixed").is_hidden()


def test_pictures_that_are_none_get_a_sentence(me, tmp_path):
    (tmp_path / "words.png").write_text("These are words.")
    assert "words.png isn't one, or is damaged" in me.open(tmp_path / "words.png")
    Image.new("RGB", (1, 1)).save(tmp_path / "one.png")
    assert "at least 4×4 pixels" in me.open(tmp_path / "one.png")
    Image.new("L", (9000, 9000)).save(tmp_path / "huge.png")
    assert "at most 64 megapixels; huge.png has 9000×9000" in me.open(tmp_path / "huge.png")
    assert "press Repair" not in me.said()
    me.page.click("#clear")
    said, _ = me.press("#repair")
    assert "Expected some pixels to be marked; none are" in said
    # A long thin one, and one with transparency, are shown.
    Image.effect_noise((2000, 5), 50).save(tmp_path / "thin.png")
    assert "thin.png is open" in me.open(tmp_path / "thin.png")
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


# ----------------------------------------------------------------------------------- by requests


def ask(address, path, body=None, kind="application/json"):
    request = urllib.request.Request(f"{address}{path}", body, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def upload(address, content, name="x.png"):
    edge = "edge"
    head = f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{edge}--\r\n".encode()
    return ask(address, "/photographs", body, f"multipart/form-data; boundary={edge}")


@pytest.fixture(scope="module")
def photo(address):
    content = io.BytesIO()
    Image.effect_noise((64, 48), 50).convert("RGB").save(content, "PNG")
    status, answer = upload(address, content.getvalue())
    assert status == 200
    return json.loads(answer)["id"]


def whole(**changes):
    return json.dumps({"top": 0, "left": 0, "height": 48, "width": 64} | changes).encode()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/photographs/other/tile?row=0&column=0&zoom=0", None, 404),
        ("/photographs/{}/tile?row=0&column=0&zoom=99", None, 422),
        ("/photographs/{}/tile?row=7&column=0&zoom=0", None, 404),
        ("/photographs/{}/tile?row=-1&column=0&zoom=0", None, 422),
        ("/photographs/{}/repair", whole(width=65), 422),
        ("/photographs/{}/repair", whole(top=-1), 422),
        ("/photographs/{}/repair", whole(mask="data:image/png;base64,AAAA"), 422),
        ("/photographs/{}/repair", b"[]", 422),
        ("/photographs/{}/redraw", whole(temperature=1e9), 422),
        ("/photographs/{}/redraw", whole(count=1000), 422),
        ("/photographs/{}/take?top=0&left=0", b"words", 422),
        ("/photographs/{}/take?top=99999&left=0", b"words", 422),
        ("/photographs/{}/take?top=0&left=0", bytes(5_000_000), 413),
        ("/photographs/examples/none", b"", 404),
        ("/photographs/{}/second/none", b"", 404),
        ("/photographs/{}/mix", whole(), 422),
        ("/photographs/{}/mix/all", whole(), 422),
    ],
)
def test_hostile_requests_are_refused(address, photo, path, body, status):
    found, answer = ask(address, path.format(photo), body)
    assert found == status
    assert b"Traceback" not in answer
    assert ask(address, f"/photographs/{photo}/tile?row=0&column=0&zoom=0")[0] == 200


def test_a_region_without_surroundings_is_refused(address, photo):
    status, answer = ask(address, f"/photographs/{photo}/repair", whole())
    assert status == 200
    assert (
        "some unmarked pixels around the marked ones"
        in json.loads(answer.splitlines()[-1])["error"]
    )


def decoded(url):
    return base64.b64decode(url.partition(",")[2])


def pixels_of(address, name):
    _, tile = ask(address, f"/photographs/{name}/tile?row=0&column=0&zoom=0")
    return np.asarray(Image.open(io.BytesIO(tile)))


def test_completions_are_drawn_and_one_is_taken(address):
    content = io.BytesIO()
    Image.effect_noise((64, 48), 50).convert("RGB").save(content, "PNG")
    name = json.loads(upload(address, content.getvalue())[1])["id"]
    before, marked = pixels_of(address, name), np.zeros((20, 30), dtype=bool)
    marked[5:7, 4:16] = True
    region = {"top": 20, "left": 10, "height": 20, "width": 30, "mask": mask_url(marked)}

    def drawn(seed, **changes):
        body = json.dumps(region | {"complete": True, "seed": seed} | changes).encode()
        status, answer = ask(address, f"/photographs/{name}/redraw", body)
        lines = [json.loads(line) for line in answer.splitlines()]
        assert status == 200
        assert [line["progress"] for line in lines[:-1]][-1] == 1
        return [decoded(url) for url in lines[-1]["drawn"]]

    found = drawn(0)
    assert found == drawn(0)
    assert found[0] != drawn(1, count=1)[0]
    images = [np.asarray(Image.open(io.BytesIO(one))) for one in found]
    inside = before[20:40, 10:40]
    for image in images:
        assert np.array_equal(image[~marked], inside[~marked])
        assert (image != inside)[marked].any(1).mean() > 0.5
    for first, second in combinations(images, 2):
        assert (first != second)[marked].any()
    assert ask(address, f"/photographs/{name}/take?top=20&left=10", found[1], "image/png")[0] == 200
    after = pixels_of(address, name)
    assert np.array_equal(after[20:40, 10:40], images[1])
    assert ask(address, f"/photographs/{name}/undo", b"")[0] == 200
    assert np.array_equal(pixels_of(address, name), before)


def test_too_many_completed_pixels_are_refused(address):
    content = io.BytesIO()
    Image.new("RGB", (80, 80)).save(content, "PNG")
    name = json.loads(upload(address, content.getvalue())[1])["id"]
    body = json.dumps({"top": 0, "left": 0, "height": 80, "width": 60, "complete": True}).encode()
    status, answer = ask(address, f"/photographs/{name}/redraw", body)
    assert status == 422
    assert "at most 4,096 marked pixels for completions; got 4,800" in json.loads(answer)["detail"]


def test_completions_by_a_flow_of_averages_are_refused():
    config = load_flow("photos").config
    flow = make_flow(replace(config, geometry=replace(config.geometry, coarse="averages")))
    app = fastapi.FastAPI()
    app.include_router(make_router(flow, ""))
    with testclient.TestClient(app) as client:
        content = io.BytesIO()
        Image.new("RGB", (16, 16)).save(content, "PNG")
        name = client.post("/photographs", files={"file": content.getvalue()}).json()["id"]
        region = {"top": 4, "left": 4, "height": 2, "width": 2, "complete": True}
        answer = client.post(f"/photographs/{name}/redraw", json=region)
    assert "whose coarse images are sites for completions" in json.loads(answer.text)["error"]


def test_every_picture_has_a_name_of_its_own(address):
    """Ten at once, with what was changed of each."""
    names = []
    for value in range(10):
        content = io.BytesIO()
        Image.new("RGB", (64, 48), (value * 20,) * 3).save(content, "PNG")
        names.append(json.loads(upload(address, content.getvalue())[1])["id"])
    assert len(set(names)) == 10
    marked = np.zeros((48, 64), dtype=bool)
    marked[10:20, 10:20] = True
    mask = mask_url(marked)
    for value, name in enumerate(names):
        status, _ = ask(address, f"/photographs/{name}/repair", whole(mask=mask))
        assert status == 200
        assert np.abs(pixels_of(address, name).astype(int) - value * 20).max() <= 2


@pytest.mark.slow
def test_another_model_begins_with_its_latents(tmp_path):
    with serving(tmp_path, "msds1-paper-small", before=FEW) as address:
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert answer.url.endswith("/latents/")
        assert ask(address, "/photographs")[0] == 200
