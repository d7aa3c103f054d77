"""The page of photographs, by what it asks of the server."""

import asyncio
import base64
import io
import json
import threading
from itertools import combinations
from types import SimpleNamespace

import fastapi
import numpy as np
import pytest
import torch
from fastapi import testclient
from PIL import Image

from flows import random_flow
from rgflow import load_flow
from rgflow.app import album, tasks
from rgflow.app.album import Album
from rgflow.app.data_urls import mask_from, mask_url
from rgflow.app.jobs import Jobs, StoppedError
from rgflow.app.models import Flows
from rgflow.app.photographs import Photographs
from rgflow.app.project import Drawn
from rgflow.app.tasks import Region
from rgflow.data.patches import photograph
from rgflow.photographs import damage, enlarging, strips
from rgflow.photographs.pictures import read
from test_spins import SPINS


def asking(flows, workers=0):
    app = fastapi.FastAPI()
    app.include_router(Photographs(flows, workers=workers).router())
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
        ("{}/copied", whole(height=20, down=-1), 200),
        ("{}/copied", whole(down=10**9), 422),
        ("{}/steps", {"words": "x" * 99, "at": 0}, 422),
        ("{}/steps", {"words": "x", "at": 0, "marks": [{"image": "http://evil.example/x"}]}, 422),
        ("{}/steps", {"words": "x", "at": 0, "marks": [{"places": [[1, "x"]]}]}, 422),
        ("{}/steps", {"words": "x", "at": 7}, 409),
        ("other/steps", {"words": "x", "at": 0}, 404),
    ],
)
def test_hostile_requests_are_refused(client, photo, path, body, status):
    answer = client.post(f"/photographs/{path.format(photo)}", json=body)
    assert answer.status_code == status
    if status == 200:
        assert lines(answer)[-1]["error"].startswith("Expected ")
    assert "Traceback" not in answer.text
    assert pixels_of(client, photo).shape == (48, 64, 3)


def test_infrared_scans_say_where_the_damage_is(client, photo):
    scan = np.full((48, 64), 200, dtype=np.uint8)
    scan[20, 10:40] = 50

    def sent(image, name=photo, **query):
        content = io.BytesIO()
        image.save(content, "PNG")
        files = {"file": ("ir.png", content.getvalue())}
        return client.post(f"/photographs/{name}/infrared", files=files, params=query)

    found = sent(Image.fromarray(scan)).json()
    assert found["pixels"] == 3 * 32
    assert mask_from(found["mask"], 48, 64)[19:22, 9:41].all()
    for answer, status in (
        (sent(noise()), 422),
        (sent(Image.fromarray(scan[1:])), 422),
        (sent(Image.fromarray(scan), sensitivity=2), 422),
        (sent(Image.fromarray(scan), name="other"), 404),
        (client.post(f"/photographs/{photo}/infrared", files={"file": b"no picture"}), 422),
        (client.post(f"/photographs/{photo}/infrared", json={}), 422),
    ):
        assert answer.status_code == status
        assert "Traceback" not in answer.text


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
        draws = [k for k, line in enumerate(found) if "drawn" in line and not line["draft"]]
        assert found[0]["draft"]  # before anything is refined
        assert np.array_equal(decoded(found[0]["drawn"])[~marked], before[20:40, 10:40][~marked])
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
    assert "photos repairs damage, and mine enlarges and" in flows.about
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
        assert np.array_equal(pixels_of(client, found["opened"]["id"]), large)
    sites = load_flow("photos")
    flows = Flows(sites, "mine")
    assert "mine repairs damage, and photos-averages enlarges and" in flows.about
    assert not flows(averages=False).config.geometry.averages
    assert flows(averages=True).config.geometry.averages
    assert flows(averages=True) is flows(averages=True)


def test_an_own_flow_of_grey_pictures_serves_all():
    with asking(Flows(random_flow(**SPINS, channels=1), "mine")) as client:
        image = noise(30, 20).convert("L")
        name = upload(client, image)
        found = lines(client.post(f"/photographs/{name}/enlarge", json={}))[-1]
        assert np.array_equal(pixels_of(client, name), image)
        large = Image.fromarray(pixels_of(client, found["opened"]["id"]))
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
    told = lines(client.post(f"/photographs/{name}/enlarge", json={"factor": 4}))
    assert told[0]["progress"] < told[-2]["progress"] == 1
    found = told[-1]["opened"]
    assert (found["width"], found["height"]) == (120, 80)
    large = Image.fromarray(pixels_of(client, found["id"]))
    assert large.reduce(2).reduce(2).tobytes() == image.tobytes()
    # It is shown beside what every program makes of it.
    assert found["before"] == "Lanczos"
    before = client.get(f"/photographs/{found['id']}/tile?row=0&column=0&zoom=0&original=true")
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
    """But for how much is damaged farther away; and a large area of one colour isn't damage, though
    little of it lies in one of them."""
    flow, pixels = load_flow("photos").frozen(), photograph("chelsea")[:, :, :400].copy()
    pixels[:, :135, :54] = 255
    for i, j in ((127, 150), (128, 160), (200, 30), (299, 399)):
        pixels[:, i, j] = (255, 0, 255)
    pixels[:, 100:170, 300:304] = 0  # a scratch, and a lost block
    pixels[:, 180:200, 200:230] = 255
    expected = damage.find_damage(torch.from_numpy(pixels)).found
    assert expected[:135, :54].mean() < 0.05  # at its edge
    assert expected[100:170, 300:304].all()
    assert expected[180:200, 200:230].all()
    monkeypatch.setattr(strips, "STRIP_PIXELS", 1)
    monkeypatch.setattr(strips, "STRIP_UNIT", 64)
    photo = SimpleNamespace(now=pixels, shape=(300, 400))

    def task(tell, **region):
        return tasks.Task(flow, None, photo, Region(**region), tell, None)

    found, shares = np.zeros_like(expected), []
    for rows, inside, part in tasks._found(task(lambda progress: shares.append(progress))):
        found[rows] = part.found[inside]
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] == 1
    assert (found != expected).sum() < 0.1 * expected.sum()
    told = []
    part = {"top": 10, "left": 3, "height": 129, "width": 187, "zoom": 2}
    tasks.surprise(task(lambda **what: told.append(what), **part))
    maps = [one for one in told if "map" in one]
    assert [decoded(one["map"]).shape for one in maps] == [(16, 47), (16, 47), (1, 47)]
    assert [(one["top"], one["left"]) for one in maps] == [(10, 3), (74, 3), (138, 3)]
    nats = decoded(maps[1]["map"])[(127 - 74) // 4, (150 - 3) // 4] / tasks.SURPRISE_STEPS
    assert nats > 25


# ------------------------------------------------------------------------------------- jobs


@pytest.fixture
def small(tmp_path):
    """A picture of 6×6 pixels, on disk."""
    return kept(Album(tmp_path), np.zeros((3, 6, 6), dtype=np.uint8))


def kept(album, pixels):
    content = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0).copy()).save(content, "PNG")
    picture = read(io.BytesIO(content.getvalue()))
    return album.add(content.getvalue(), picture, "x.png", visitor="me")


def test_a_job_stops_when_asked_and_when_nobody_listens(small):
    photo, jobs, ended = small, Jobs(1), threading.Semaphore(0)

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
        assert last == {"done": True, "stopped": True, "version": photo.version}
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


def test_steps_are_undone_and_done_again(small):
    photo = small
    states = [photo.now.copy()]
    for value in range(3):
        pixels, where = np.full((3, 2, 2), 9 + value, dtype=np.uint8), np.eye(2, dtype=bool)
        photo.do("x", new=Drawn(value, 1, pixels, where))
        states.append(photo.now.copy())
    for state in states[2:0:-1]:
        assert photo.go(-1)
        assert np.array_equal(photo.now, state)
    assert photo.load().changed.sum() == 2
    for state in states[2:]:
        assert photo.go(1)
        assert np.array_equal(photo.now, state)
    assert not photo.go(1)
    photo.go(-1)
    photo.do("y", new=Drawn(0, 0, pixels, where))
    assert not photo.go(1)  # as something else was done
    assert len(list(photo.folder.glob("[0-9]*.png"))) == 3  # and what was undone is gone
    assert photo.go(-1)
    assert np.array_equal(photo.now, states[2])
    photo.preview(Drawn(1, 1, pixels, where))
    assert not np.array_equal(photo.now, states[2])
    photo.drop(Drawn(1, 1, pixels, where))
    assert np.array_equal(photo.now, states[2])


def test_another_server_finds_everything_as_it_was(small, tmp_path):
    """Pixels, marks and history, byte by byte, whenever the one before has ended."""
    random, where = np.random.default_rng(0), np.eye(4, dtype=bool)
    marks = [{"places": [(0, 1), (4, 5)], "width": 2.5}, {"image": mask_url(where), "left": 1}]
    states = [small.now.copy()]
    for _ in range(48):
        pixels = random.integers(256, size=(3, 4, 4), dtype=np.uint8)
        top, left = random.integers(3, size=2).tolist()
        small.do("a repair", marks=marks, clears=True, new=Drawn(top, left, pixels, where))
        states.append(small.now.copy())
    small.do("marking", marks=marks[:1])
    for _ in range(9):
        small.go(-1)
    (tmp_path / f".key.{'0' * 32}.part").write_bytes(b"half")
    (tmp_path / "half-made").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "project.json").write_text("{")
    other = Album(tmp_path)
    assert sorted(one.name for one in tmp_path.iterdir() if one.name != "key") == sorted(
        ["damaged", small.folder.name]
    )
    (found,) = other.of("me")
    assert other.of("you") == []
    facts = [{**one.facts(), "version": 0} for one in (small, found)]
    assert json.dumps(facts[0]) == json.dumps(facts[1])
    assert facts[0]["done"] == 40
    for state in states[40::-1]:
        assert np.array_equal(found.now, state)
        found.go(-1)
    for _ in range(49):
        found.go(1)
    assert np.array_equal(found.now, states[-1])
    assert found.version > small.version - 60  # browsers keep tiles of versions
    other.close(found.folder.name)
    assert not found.folder.exists()
    photos = [kept(other, np.zeros((3, 6, 6), dtype=np.uint8)) for _ in range(3)]
    photos[0].do("marking", marks=marks[:1])  # which changes nothing of their order
    assert [one.folder for one in Album(tmp_path).of("me")] == [one.folder for one in photos]


def test_pictures_that_nobody_looks_at_take_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(album, "MAX_BYTES_LOADED", 25_000)
    found = Album(tmp_path)
    photos = [kept(found, np.full((3, 50, 60), 20 * k, np.uint8)) for k in range(6)]
    for turn in range(2):
        for k, photo in enumerate(photos):
            assert (photo.now == 20 * k + turn).all()
            assert sum(one.size for one in photos) <= 30_000  # with that which is loaded
            new = photo.now[:, :, ::-1] + np.uint8(1)
            photo.do("x", new=Drawn(0, 0, new, np.ones((50, 60), dtype=bool)))
    assert sum(one.size > 0 for one in photos) <= 2
    with photos[-1].at_work:  # what is computed with stays
        monkeypatch.setattr(album, "IDLE_SECONDS", -1)
        found._sweep()
        assert [one.size > 0 for one in photos] == [False] * 5 + [True]
    found._sweep()
    assert not any(one.size for one in photos)
    assert np.asarray(Image.open(io.BytesIO(photos[-1].small()))).shape == (50, 60, 3)


def test_marks_are_told_apart_and_copied_to(client):
    image = noise()
    name, marked = upload(client, image), np.zeros((48, 64), dtype=bool)
    marked[10:13, 10:20], marked[13, 20], marked[30:32, 40:42] = True, True, True
    body = whole(mask=mask_url(marked))
    parts = lines(client.post(f"/photographs/{name}/parts", json=body))[-1]["parts"]
    assert [(one["pixels"], one["top"], one["left"]) for one in parts] == [
        (31, 10, 10),
        (4, 30, 40),
    ]
    back = np.zeros_like(marked)
    for one in parts:
        mask = decoded(one["mask"])[..., 3] > 0
        back[one["top"] :, one["left"] :][: one["height"], : one["width"]] |= mask
    assert np.array_equal(back, marked)
    one = {**{k: parts[0][k] for k in ("top", "left", "height", "width", "mask")}, "down": 20}
    told = lines(client.post(f"/photographs/{name}/copied", json=one))
    drawn = [line for line in told if "drawn" in line]
    assert 2 <= len(drawn) <= 4
    nats = [line["nats"] for line in drawn]
    assert nats == sorted(nats)
    number = next(line["number"] for line in drawn if line["how"] == "as it is")
    assert client.post(f"/photographs/{name}/take/{number}").json()["step"]["change"]
    before, after = np.asarray(image), pixels_of(client, name)
    assert np.array_equal(after[10:13, 10:20], before[30:33, 10:20])
    assert (after != before).any(2).sum() <= 31


def test_steps_of_another_page_arent_overwritten(client):
    name = upload(client, noise())
    line = {"words": "marking", "marks": [{"places": [[1, 2], [3, 4]], "width": 3}]}
    assert client.post(f"/photographs/{name}/steps", json=line | {"at": 0}).status_code == 200
    answer = client.post(f"/photographs/{name}/steps", json=line | {"at": 0})
    assert answer.status_code == 409
    facts = client.get(f"/photographs/{name}").json()
    assert (facts["done"], [one["words"] for one in facts["steps"]]) == (1, ["marking"])
    assert client.get("/photographs/open").json()[-1]["id"] == name
    assert client.post(f"/photographs/{name}/close").status_code == 200
    assert client.get(f"/photographs/{name}").status_code == 404


def test_a_task_needs_no_server(tmp_path):
    flow, told = load_flow("photos").frozen(), []
    photo = kept(Album(tmp_path), np.asarray(noise()).transpose(2, 0, 1))
    region = Region(top=10, left=12, height=3, width=4)

    def tell(**what):
        told.append(what)

    task = tasks.Task(flow, Album(tmp_path), photo, region, tell, Flows())
    assert tasks.repair(task)["pixels"] == 12
    assert 0 < photo.load().changed.sum() <= 12
    assert not photo.load().changed[:10].any()
    assert {"version": photo.version - 1} in told  # of the first result


def test_workers_compute_the_same(client):
    """What a repair, a completion, a drawing and an enlarged picture are, and what is told."""
    found, image = [], noise(48, 40)
    with asking(Flows(), workers=1) as other:
        for one in (client, other):
            name, told = upload(one, image), {}
            box = {"top": 8, "left": 8, "height": 4, "width": 6}
            for what, more in (
                ("complete", {"count": 1}),
                ("redraw", {"count": 1}),
                ("repair", {}),
                ("enlarge", {}),
            ):
                answer = lines(one.post(f"/photographs/{name}/{what}", json=box | more))
                assert any("progress" in line for line in answer), what
                assert answer[-1].get("done"), answer[-1]
                told[what] = [line["drawn"] for line in answer if "drawn" in line]
            enlarged = answer[-1]["opened"]["id"]
            found.append((told, *(pixels_of(one, which).tolist() for which in (name, enlarged))))
            where = box | {"top": 0, "left": 0, "height": 40, "width": 48}
            assert (
                "unmarked"
                in lines(one.post(f"/photographs/{name}/repair", json=where))[-1]["error"]
            )
    assert [len(found[0][0][what]) for what in ("complete", "redraw")] == [2, 1]  # and a draft
    assert found[0] == found[1]


def test_a_picture_is_learned_and_forgotten(client):
    smooth = np.arange(96 * 128, dtype=np.uint32).reshape(96, 128) % 251
    photo = upload(client, Image.fromarray(smooth.astype(np.uint8)).convert("RGB"))
    *_, found = lines(client.post(f"/photographs/{photo}/learn", json={"seconds": 2}))
    assert found["done"]
    assert min(found["shares"]) > 0
    assert client.get(f"/photographs/{photo}").json()["learned"]
    client.post(f"/photographs/{photo}/forget")
    assert not client.get(f"/photographs/{photo}").json()["learned"]


def test_a_repair_has_the_grain_that_is_asked_for(tmp_path):
    random, found = np.random.default_rng(0), []
    pixels = (120 + 8 * random.normal(size=(3, 60, 70))).astype(np.uint8)
    for grain, seed in ((0, 0), (1, 0), (1, 0), (1, 1)):
        photo = kept(Album(tmp_path), pixels)
        region = Region(top=20, left=10, height=8, width=40, grain=grain, seed=seed)
        flow = load_flow("photos").frozen()
        tasks.repair(tasks.Task(flow, Album(tmp_path), photo, region, lambda **what: None, Flows()))
        found.append(photo.now[:, 20:28, 10:50].copy())
        assert np.array_equal(photo.now[:, :20], pixels[:, :20])
    plain, grained, again, other = found
    assert grained.std() > 2 * plain.std()
    assert np.array_equal(grained, again)
    assert not np.array_equal(grained, other)
