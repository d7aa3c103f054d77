"""The page of photographs, by what it asks of the server."""

import asyncio
import base64
import io
import json
import threading
from itertools import combinations

import fastapi
import numpy as np
import pytest
import torch
from fastapi import testclient
from PIL import Image

from flows import random_flow
from rgflow import load_flow
from rgflow.app import searching, tasks
from rgflow.app.album import Album, Drawn, Photo
from rgflow.app.data_urls import mask_url
from rgflow.app.flows import Flows
from rgflow.app.jobs import Jobs, StoppedError
from rgflow.app.photographs import Photographs
from rgflow.app.regions import Region
from rgflow.data.patches import photograph
from rgflow.photographs import changing, damage, enlarging
from test_spins import SPINS


def asking(flows):
    app = fastapi.FastAPI()
    app.include_router(Photographs(flows).router())
    return testclient.TestClient(app)


@pytest.fixture(scope="module")
def client():
    with asking(Flows()) as found:
        yield found


def noise(width=64, height=48):
    return Image.effect_noise((width, height), 50).convert("RGB")


def upload(client, image, kind="PNG", name="x.png", **how):
    content = io.BytesIO()
    image.save(content, kind, **how)
    answer = client.post("/photographs", files={"file": (name, content.getvalue())})
    assert answer.status_code == 200
    return answer.json()["id"]


@pytest.fixture(scope="module")
def photo(client):
    return upload(client, noise())


def whole(**changes):
    return {"top": 0, "left": 0, "height": 48, "width": 64} | changes


def lines(answer):
    """What came of something, line by line."""
    assert answer.status_code == 200
    return [json.loads(line) for line in answer.text.splitlines()]


def pixels_of(client, name):
    tile = client.get(f"/photographs/{name}/tile?row=0&column=0&zoom=0")
    return np.asarray(Image.open(io.BytesIO(tile.content)))


def decoded(url):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("other/tile?row=0&column=0&zoom=0", 404),
        ("{}/tile?row=7&column=0&zoom=0", 404),
        ("{}/tile?row=0&column=0&zoom=99", 422),
        ("{}/tile?row=-1&column=0&zoom=0", 422),
    ],
)
def test_tiles_that_are_none(client, photo, path, status):
    assert client.get(f"/photographs/{path.format(photo)}").status_code == status


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("{}/repair", whole(width=65), 200),  # told as a line
        ("{}/repair", whole(top=-1), 422),
        ("{}/repair", whole(mask="data:image/png;base64,AAAA"), 200),
        ("{}/repair", [], 422),
        ("{}/redraw", whole(temperature=1e9), 422),
        ("{}/redraw", whole(count=1000), 422),
        ("{}/take/0", None, 404),
        ("{}/take/-1", None, 404),
        ("{}/undo", None, 422),
        ("{}/redo", None, 422),
        ("{}/enlarge", {"factor": 3}, 422),
        ("{}/none", {}, 404),
        ("other/stop", None, 404),
        ("examples/none", None, 404),
        ("{}/second/none", None, 404),
        ("{}/mix", whole(), 200),
        ("{}/keep", whole(), 200),
    ],
)
def test_hostile_requests_are_refused(client, photo, path, body, status):
    answer = client.post(f"/photographs/{path.format(photo)}", json=body)
    assert answer.status_code == status
    if status == 200:
        assert lines(answer)[-1]["error"].startswith("Expected ")
    assert "Traceback" not in answer.text
    assert pixels_of(client, photo).shape == (48, 64, 3)


def test_a_region_without_surroundings_is_refused(client, photo):
    found = lines(client.post(f"/photographs/{photo}/repair", json=whole()))
    assert "some unmarked pixels around the marked ones" in found[-1]["error"]


def test_completions_are_drawn_and_one_is_taken(client):
    name = upload(client, noise())
    before, marked = pixels_of(client, name), np.zeros((20, 30), dtype=bool)
    marked[5:7, 4:16] = True
    region = {"top": 20, "left": 10, "height": 20, "width": 30, "mask": mask_url(marked)}

    def drawn(seed, **changes):
        body = region | {"seed": seed} | changes
        found = lines(client.post(f"/photographs/{name}/complete", json=body))
        shares = [line["progress"] for line in found if "progress" in line]
        assert shares == sorted(shares)
        assert shares[-1] == 1
        draws = [k for k, line in enumerate(found) if "drawn" in line]
        assert found[draws[0] - 1]["progress"] == pytest.approx(1 / len(draws))  # before the others
        return [decoded(found[k]["drawn"]) for k in draws]

    images = drawn(0)
    assert len(images) == 3
    assert np.array_equal(images, drawn(0))
    assert not np.array_equal(images[0], drawn(1, count=1)[0])
    inside = before[20:40, 10:40]
    for image in images:
        assert np.array_equal(image[~marked], inside[~marked])
        assert (image != inside)[marked].any(1).mean() > 0.5
    for first, second in combinations(images, 2):
        assert (first != second)[marked].any()
    drawn(0)
    assert client.post(f"/photographs/{name}/take/1").status_code == 200
    after = pixels_of(client, name)
    assert np.array_equal(after[20:40, 10:40], images[1])
    assert client.post(f"/photographs/{name}/undo").status_code == 200
    assert np.array_equal(pixels_of(client, name), before)
    assert client.post(f"/photographs/{name}/redo").status_code == 200
    assert np.array_equal(pixels_of(client, name), after)


def test_too_many_completed_pixels_are_refused(client):
    name = upload(client, Image.new("RGB", (600, 600)))
    body = {"top": 0, "left": 0, "height": 500, "width": 600}
    (told,) = lines(client.post(f"/photographs/{name}/complete", json=body))
    assert "at most 262,144 marked pixels for completions; got 300,000" in told["error"]


def test_an_own_flow_serves_what_its_coarse_images_are_for():
    own = random_flow(**SPINS)
    flows = Flows(own, "mine")
    assert "photos repairs damage, and mine enlarges, mixes" in flows.about
    assert not flows.about.count("photos-averages")
    with asking(flows) as client:
        image = noise(30, 20)
        name = upload(client, image)
        region = {"top": 4, "left": 4, "height": 2, "width": 2}
        assert lines(client.post(f"/photographs/{name}/repair", json=region))[-1]["pixels"] == 4
        client.post(f"/photographs/{name}/undo")
        found = lines(client.post(f"/photographs/{name}/enlarge", json={}))[-1]
        pixels = torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy())
        large = enlarging.enlarge(own, pixels).permute(1, 2, 0)
        assert np.array_equal(pixels_of(client, found["id"]), large)
    sites = load_flow("photos")
    flows = Flows(sites, "mine")
    assert "mine repairs damage, and photos-averages enlarges, mixes" in flows.about
    assert not flows(averages=False).config.geometry.averages
    assert flows(averages=True).config.geometry.averages
    assert flows(averages=True) is flows(averages=True)


def test_an_own_flow_of_grey_pictures_serves_all():
    with asking(Flows(random_flow(**SPINS, channels=1), "mine")) as client:
        image = noise(30, 20).convert("L")
        name = upload(client, image)
        found = lines(client.post(f"/photographs/{name}/enlarge", json={}))[-1]
        assert np.array_equal(pixels_of(client, name), image)
        coarse = client.get(f"/photographs/{name}/tile?row=0&column=0&zoom=0&level=1").content
        coarse = np.asarray(Image.open(io.BytesIO(coarse)))
        assert np.array_equal(coarse[::2, ::2], image.reduce(2))
        large = Image.fromarray(pixels_of(client, found["id"]))
        assert large.reduce(2).tobytes() == image.tobytes()
        told = lines(client.post(f"/photographs/{name}/redraw", json={"count": 1}))
        assert decoded(told[-2]["drawn"]).shape == (20, 30)
        region = {"top": 4, "left": 4, "height": 2, "width": 2}
        for what in ("repair", "complete"):
            told = lines(client.post(f"/photographs/{name}/{what}", json=region))[-1]
            assert "use the model photos" in told["error"]


def test_every_picture_has_a_name_of_its_own(client):
    """Ten at once, with what was changed of each."""
    names = [upload(client, Image.new("RGB", (64, 48), (value * 20,) * 3)) for value in range(10)]
    assert len(set(names)) == 10
    marked = np.zeros((48, 64), dtype=bool)
    marked[10:20, 10:20] = True
    for value, name in enumerate(names):
        body = whole(mask=mask_url(marked))
        assert lines(client.post(f"/photographs/{name}/repair", json=body))[-1]["pixels"] == 100
        assert np.abs(pixels_of(client, name).astype(int) - value * 20).max() <= 2


def test_pictures_are_enlarged(client, monkeypatch):
    image = noise(30, 20)
    name = upload(client, image)
    found = lines(client.post(f"/photographs/{name}/enlarge", json={"factor": 4}))
    assert found[0]["progress"] < found[-2]["progress"] == 1
    assert (found[-1]["width"], found[-1]["height"]) == (120, 80)
    large = Image.fromarray(pixels_of(client, found[-1]["id"]))
    assert large.reduce(2).reduce(2).tobytes() == image.tobytes()
    # It is shown beside what every program makes of it.
    assert found[-1]["before"] == "Lanczos"
    before = client.get(f"/photographs/{found[-1]['id']}/tile?row=0&column=0&zoom=0&original=true")
    lanczos = image.resize((120, 80), Image.Resampling.LANCZOS)
    assert Image.open(io.BytesIO(before.content)).tobytes() == lanczos.tobytes()
    assert client.get(f"/photographs/{name}").json()["before"] == ""
    monkeypatch.setattr(tasks, "MAX_PIXELS", 4000)
    for factor, instead in ((4, "choose ×2"), (2, "")):
        told = lines(client.post(f"/photographs/{name}/enlarge", json={"factor": factor}))[-1]
        assert instead in str(told)
    monkeypatch.setattr(tasks, "MAX_PIXELS", 2000)
    told = lines(client.post(f"/photographs/{name}/enlarge", json={}))[-1]
    assert "use rgflow enlarge" in told["error"]


def test_coarse_images_are_averages(client):
    image = noise(1070, 601)
    name, expected = upload(client, image), image
    for level in range(1, 10):
        expected = expected.reduce(2)
        if level not in (1, 4, 9):
            continue
        found = []
        for column in range(3):
            where = f"row=1&column={column}&zoom=0&level={level}"
            tile = client.get(f"/photographs/{name}/tile?{where}").content
            found.append(np.asarray(Image.open(io.BytesIO(tile))))
        squares = np.concatenate(found, 1)[:: 1 << level, :: 1 << level]
        assert np.array_equal(squares, np.asarray(expected)[512 >> level :])
    where = "row=0&column=0&zoom=1&level=3"
    tile = Image.open(io.BytesIO(client.get(f"/photographs/{name}/tile?{where}").content))
    assert tile.size == (512, 301)
    squares = np.asarray(tile)[:300].reshape(75, 4, 128, 4, 3)
    assert np.ptp(squares, (1, 3)).max() == 0
    assert client.get(f"/photographs/{name}/tile?row=0&column=0&zoom=0&level=10").status_code == 422


def test_a_view_of_a_mixture_is_of_averages(client):
    """At every zoom it is a part of the coarse image of the whole mixture."""
    images = [noise(130, 110) for _ in range(2)]
    name, content = upload(client, images[0]), io.BytesIO()
    images[1].save(content, "PNG")
    client.post(f"/photographs/{name}/second", files={"file": ("y.png", content.getvalue())})
    told = lines(client.post(f"/photographs/{name}/mix", json={"levels": 2}))
    view = np.zeros((110, 130, 3), np.uint8)
    for one in (one for one in told if one.get("step") == 1):
        part = decoded(one["mixed"])
        view[one["top"] :, one["left"] :][: part.shape[0], : part.shape[1]] = part
    assert {one["step"] for one in told if "mixed" in one} == {2, 1}
    coarse = next(decoded(one["mixed"]) for one in reversed(told) if one.get("step") == 2)
    flow = load_flow("photos-averages")
    pair = [torch.from_numpy(np.asarray(one).transpose(2, 0, 1).copy()) for one in images]
    whole = changing.mix(flow, *pair, (1, 1)).permute(1, 2, 0).numpy()
    assert (view == whole).mean() > 0.97
    assert (whole != np.asarray(images[0])).mean() > 0.5
    assert (coarse == np.asarray(Image.fromarray(whole).reduce(2))).mean() > 0.97
    assert lines(client.post(f"/photographs/{name}/keep", json={"levels": 2}))[-1]["done"]
    kept = Image.fromarray(pixels_of(client, name))
    assert np.array_equal(np.asarray(kept), whole)
    kept, first = kept.reduce(2).reduce(2), images[0].reduce(2).reduce(2)
    assert kept.tobytes() == first.tobytes()


def test_a_picture_is_saved_in_the_format_in_which_it_came(client):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"  # turned, by a camera
    sent, how = Image.fromarray(photograph("china").transpose(1, 2, 0)[:48, :64]), {"quality": 83}
    name = upload(client, sent, "JPEG", "é.jpg", exif=exif.tobytes(), icc_profile=b"of", **how)
    region = {"top": 10, "left": 10, "height": 20, "width": 20}
    assert "done" in lines(client.post(f"/photographs/{name}/repair", json=region))[-1]
    answers = [client.get(f"/photographs/{name}/export?like={like}") for like in (True, False)]
    assert "%C3%A9-repaired.jpg" in answers[0].headers["Content-Disposition"]
    like, exact = (Image.open(io.BytesIO(answer.content)) for answer in answers)
    content = io.BytesIO()
    sent.save(content, "JPEG", **how)
    assert (like.format, exact.format) == ("JPEG", "PNG")
    assert like.quantization == Image.open(content).quantization
    assert like.size == exact.size == (48, 64)
    for image in (like, exact):
        assert image.getexif()[0x010F] == "Maker"
        assert 0x0112 not in image.getexif()
        assert image.info["icc_profile"] == b"of"
    off = np.abs(np.asarray(like).astype(int) - np.asarray(exact))
    assert 0 < off.mean() < 3
    # Files without loss are offered as such only.
    content = io.BytesIO()
    kinds = [("WEBP", {"lossless": True}, None), ("WEBP", {}, "WEBP"), ("PNG", {}, None)]
    for kind, options, lossy in kinds:
        content.seek(0)
        sent.save(content, kind, **options)
        found = client.post("/photographs", files={"file": content.getvalue()}).json()
        assert (found["lossy"], found["lossless"]) == (lossy, "PNG")
    content.seek(0)
    sent.convert("CMYK").save(content, "JPEG")  # which PNG can't hold
    found = client.post("/photographs", files={"file": content.getvalue()}).json()
    assert (found["lossy"], found["lossless"]) == ("JPEG", "TIFF")
    answer = client.get(f"/photographs/{found['id']}/export?like=False")
    assert Image.open(io.BytesIO(answer.content)).mode == "CMYK"


def test_strips_are_searched_as_the_whole(monkeypatch):
    """And a large area of one colour isn't damage, though little of it lies in one of them."""
    flow, pixels = load_flow("photos").frozen(), photograph("chelsea")[:, :, :400].copy()
    pixels[:, :135, :54] = 255
    for i, j in ((127, 150), (128, 160), (200, 30), (299, 399)):
        pixels[:, i, j] = (255, 0, 255)
    pixels[:, 100:170, 300:304] = 0  # a scratch, and a lost block
    pixels[:, 180:200, 200:230] = 255
    expected = damage.find_damage(torch.from_numpy(pixels)).found
    assert not expected[:135, :54].any()
    assert expected[100:170, 300:304].all()
    assert expected[180:200, 200:230].all()
    monkeypatch.setattr(searching, "STRIP_PIXELS", 1)
    monkeypatch.setattr(searching, "STRIP_UNIT", 64)
    found, shares = np.zeros_like(expected), []
    for rows, part in searching.searched(
        pixels, slice(0, 300), slice(0, 400), damage.SENSITIVITY, shares.append
    ):
        found[rows] = part
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] == 1
    assert np.array_equal(found, expected)
    maps = list(searching.surprises(flow, pixels, slice(10, 139), slice(3, 190), 2, shares.append))
    assert [excess.shape for _, excess in maps] == [(16, 47), (16, 47), (1, 47)]
    assert maps[1][1][(127 - 74) // 4, (150 - 3) // 4] > 25


# ------------------------------------------------------------------------------------- jobs


def small():
    pixels = np.zeros((3, 6, 6), dtype=np.uint8)
    return Photo("x", None, pixels, pixels.copy(), np.zeros((6, 6), dtype=bool))


def test_a_job_stops_when_asked_and_when_nobody_listens():
    photo, jobs, ended = small(), Jobs(1), threading.Semaphore(0)

    def work(tell):
        try:
            while True:
                tell(progress=0.5)
        finally:
            ended.release()

    async def follow():
        asked = jobs.start(photo, work).body_iterator
        assert json.loads(await anext(asked)) == {"progress": 0.5}
        photo.ended.set()
        async for line in asked:
            last = json.loads(line)
        assert last == {"done": True, "stopped": True, "version": 0}
        # Another one ends the one before, and waits for its end.
        first = jobs.start(photo, work).body_iterator
        await anext(first)
        second = jobs.start(photo, work).body_iterator
        assert json.loads(await anext(second)) == {"progress": 0.5}
        await second.aclose()
        await first.aclose()

    asyncio.run(follow())
    for _ in range(3):
        assert ended.acquire(timeout=60)


def test_a_repair_that_stops_leaves_nothing(client, photo, monkeypatch):
    before = pixels_of(client, photo)

    def half(flow, image, hole, *, progress, preview):
        progress(0.5)
        preview(255 - image)
        assert not np.array_equal(pixels_of(client, photo), before)
        raise StoppedError

    monkeypatch.setattr(tasks.restoring, "restore", half)
    region = whole(height=20)
    found = lines(client.post(f"/photographs/{photo}/repair", json=region))
    assert found[-1]["stopped"]
    assert found[-1]["version"] > found[1]["version"]
    assert np.array_equal(pixels_of(client, photo), before)


def test_steps_are_undone_and_done_again():
    photo = small()
    states = [photo.now.copy()]
    for value in range(3):
        pixels, where = np.full((3, 2, 2), 9 + value, dtype=np.uint8), np.eye(2, dtype=bool)
        photo.change(Drawn(value, 1, pixels, where))
        states.append(photo.now.copy())
    for state in states[2:0:-1]:
        assert photo.undo()
        assert np.array_equal(photo.now, state)
    assert photo.changed.sum() == 2
    for state in states[2:]:
        assert photo.redo()
        assert np.array_equal(photo.now, state)
    assert not photo.redo()
    photo.undo()
    photo.change(Drawn(0, 0, pixels, where))
    assert not photo.redo()  # as something else was done
    assert photo.undo()
    assert np.array_equal(photo.now, states[2])


def test_a_task_needs_no_server():
    flow, told = load_flow("photos").frozen(), []
    pixels = np.asarray(noise()).transpose(2, 0, 1)
    photo = Photo.of("x", None, pixels)
    region = Region(top=10, left=12, height=3, width=4)

    def tell(**what):
        told.append(what)

    task = tasks.Task(flow, Album(), photo, region, tell)
    assert tasks.repair(task) == {"pixels": 12}
    assert 0 < photo.changed.sum() <= 12
    assert not photo.changed[:10].any()
    assert told[-1] == {"version": photo.version}
    with pytest.raises(ValueError, match="there is none: open one first"):
        tasks.mix(task)
    photo.second = pixels[:, ::-1].copy()
    told.clear()
    assert tasks.mix(task) == {}
    assert next(what["step"] for what in told if "mixed" in what) == 2  # coarse at first
