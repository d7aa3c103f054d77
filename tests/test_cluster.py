"""The engine of clusters on two local nodes, an object store on a local server, and what dies."""

import contextlib
import csv
import io
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows import OPEN, random_flow
from test_engines import archive, picture
from visitors import free_port

ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")
pytest.importorskip("s3fs")
pytest.importorskip("upath")
pytest.importorskip("moto.server")

pytestmark = pytest.mark.slow

BROKEN = 4
"""Every so many pictures one can't be read."""


@pytest.fixture(scope="module")
def store():
    """An object store with a bucket."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)], stderr=subprocess.DEVNULL
    )
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
        "RAY_worker_niceness": "0",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        import s3fs

        for _ in range(300):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            time.sleep(0.1)
        files = s3fs.S3FileSystem()
        files.mkdir("photos")
        yield files
    server.kill()
    server.wait()


@pytest.fixture
def cluster(store):
    """Two nodes, each with a processor."""
    from ray.cluster_utils import Cluster

    nodes = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    nodes.add_node(num_cpus=1)
    yield nodes
    nodes.shutdown()


@pytest.fixture(scope="module")
def collection(tmp_path_factory, store):
    """A folder with pictures, the same in the object store, a model, and the right table."""
    folder = tmp_path_factory.mktemp("collection")
    random_flow(**OPEN).float().save_pretrained(folder / "model")
    (folder / "photos").mkdir()
    for number in range(24):
        content = picture(number, (400, 300))
        name = f"{number:02}.png"
        (folder / "photos" / name).write_bytes(content[:-100] if number % BROKEN == 1 else content)
    archive(folder / "photos/more.tar", {f"{k}.png": picture(k, (200, 100)) for k in range(40)})
    store.put(str(folder / "photos"), "photos/2026", recursive=True)
    scored(folder, "photos", "right.csv")
    return folder


def command(folder, *arguments):
    """A command, started."""
    words = [sys.executable, "-m", "rgflow", *map(str, arguments)]
    return subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def scored(folder, what, table, *more):
    """What `score` says."""
    process = command(folder, "score", what, "--model", "model", "--out", table, *more)
    said = process.communicate(timeout=900)[0].decode()
    assert process.returncode == 1, said
    return said


def on(cluster):
    return "--engine", "ray", "--address", cluster.address


def workers():
    """The processes in which pictures are worked on."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if b"MapWorker" in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def done_in(record):
    """How many pictures are done."""
    return record.read_text().count('"names"') if record.exists() else 0


def test_folders_and_object_stores_on_two_nodes(cluster, collection):
    scored(collection, "photos", "ray.csv", *on(cluster))
    assert (collection / "ray.csv").read_bytes() == (collection / "right.csv").read_bytes()
    said = scored(collection, "s3://photos/2026", "store.csv", *on(cluster))
    assert "64 pictures; 6 had to be left out" in said
    scored(collection, "s3://photos/2026", "here.csv", "--processes", "2")
    right = (collection / "right.csv").read_text().replace("photos/", "s3://photos/2026/")
    for name in ("store.csv", "here.csv"):
        assert (collection / name).read_text() == right


def test_pictures_on_two_nodes(cluster, collection):
    for out, more in (("a", ()), ("b", on(cluster))):
        made = command(
            collection, "enlarge", "photos/more.tar", "--model", "model", "--reduced", "sites",
            "--temperature", 1, "--out", out, *more,
        )  # fmt: skip
        assert made.wait(600) == 0
    found = [
        {path.name: path.read_bytes() for path in (collection / out).rglob("*.[pc][ns][gv]")}
        for out in "ab"
    ]
    assert len(found[0]) == 41
    assert found[0] == found[1]


def test_workers_are_killed(cluster, collection):
    """At random moments, ten times."""
    random = np.random.default_rng(0)
    process = command(
        collection, "score", "photos", "--model", "model", "--out", "killed.csv", *on(cluster)
    )
    kills = 0
    while process.poll() is None and kills < 10:
        time.sleep(random.uniform(0.2, 1.5))
        if found := workers():
            os.kill(found[random.integers(len(found))], signal.SIGKILL)
            kills += 1
    said = process.communicate(timeout=600)[0].decode()
    print(kills, "kills")
    assert kills > 3, said
    assert (collection / "killed.csv").read_bytes() == (collection / "right.csv").read_bytes()


def test_a_node_is_killed(cluster, collection):
    process = command(
        collection, "score", "photos", "--model", "model", "--out", "node.csv", *on(cluster)
    )
    record = collection / "node.csv.parts/.rgflow.jsonl"
    while done_in(record) < 6:
        assert process.poll() is None
        time.sleep(0.05)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    said = process.communicate(timeout=600)[0].decode()
    assert process.returncode == 1, said
    assert (collection / "node.csv").read_bytes() == (collection / "right.csv").read_bytes()


def test_the_driver_is_killed_and_goes_on(cluster, collection):
    """What is in the record isn't made again."""
    arguments = ["score", "photos", "--model", "model", "--out", "driver.csv", *on(cluster)]
    process = command(collection, *arguments)
    record = collection / "driver.csv.parts/.rgflow.jsonl"
    while done_in(record) < 10:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    done = done_in(record)
    said = scored(collection, "photos", "driver.csv", *on(cluster))
    assert f"{done} of 64 pictures were done before" in said
    assert done_in(record) == 58
    assert (collection / "driver.csv").read_bytes() == (collection / "right.csv").read_bytes()


def test_training_streams_from_the_store(store, collection):
    from rgflow.data.decoding import Target
    from rgflow.data.stream import Stream

    target = Target(height=16, width=16, channels=3)
    here, there = Stream(f"{collection}/photos", target), Stream("s3://photos/2026", target)
    assert np.array_equal(here(0, 20), there(0, 20))


def test_the_page_takes_a_reader_to_a_cluster(cluster, store, collection):
    """Its commands, on these nodes; `pip` and `ray start` are done."""
    page = Path(__file__).parents[1] / "docs/guide/many.md"
    blocks = re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    found = [line for block in blocks for line in block.splitlines()]
    assert [line.split()[:2] for line in found if not line.startswith("rgflow")] == [
        ["pip", "install"],
        ["ray", "start"],
    ]
    place = collection / "reader"
    (place / "pictures").mkdir(parents=True)
    for number in range(2):
        content = Image.open(io.BytesIO(picture(number, (40, 30))))
        content.save(place / "pictures" / f"{number}.png")
    for line in found:
        words = shlex.split(line, comments=True)
        if words[0] == "rgflow":
            more = ["--address", cluster.address] if "ray" in words else []
            process = command(place, *words[1:], *more)
            said = process.communicate(timeout=900)[0].decode()
            assert process.returncode == ("s3://" in line), said
    with (place / "store.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 64
    assert sorted(path.name for path in (place / "enlarged").glob("[!.]*")) == [
        "0.png", "1.png", "pictures.csv",
    ]  # fmt: skip


def test_an_address_without_a_cluster_is_one_sentence(collection):
    address = f"127.0.0.1:{free_port()}"
    process = command(
        collection, "score", "photos", "--model", "model", "--engine", "ray", "--address", address
    )
    said = process.communicate(timeout=300)[0].decode()
    assert process.returncode == 2
    assert f"Expected a cluster of Ray at {address}" in said
