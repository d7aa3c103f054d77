"""Many pictures on many workers: rates, memory, what survives, and what millions of pictures take.

    python benchmarks/fleet.py [PART ...] [--missing] [--out benchmarks/results/fleet.json]

The parts are `speed` (one worker and two, of processes and of Ray; where Ray isn't installed, it is
left out), `jobs` (each command on one core, and its memory at 12 megapixels), `small` (10,000 small
pictures, one of a hundred broken), `kills` (workers, a node, and the driver of two local nodes) and
`plan` (from the rates measured before): about 25 minutes on two quiet cores. Each is written when
it is done; what was measured of other parts stays in the file, and with `--missing` isn't repeated.

Rates are those between the first and the last rows, as a start takes the same time for any number
of pictures. A worker has one thread.
"""

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from importlib.util import find_spec
from operator import truediv
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from rgflow.data.patches import photograph
from rgflow.files import write_json
from rgflow.training.run import git_state, processor

ROOT = Path(__file__).parents[1]
RECORD = ".rgflow.jsonl"
DOLLARS = {"2 cores": 0.085, "64 cores": 2.72, "8 cores and a GPU": 1.20}
ROUNDS = 3
"""How often speeds are measured."""
CORES = {"2 cores": 2, "64 cores": 64, "8 cores and a GPU": 8}
"""Prices an hour, assumed, and cores of three kinds of machine; change them to your own."""


def photographs(folder: Path, count: int, megapixels: float, start: int = 0) -> Path:
    """Different crops of a photograph, enlarged by reflections, as PNG files of a size."""
    small = photograph("china").transpose(1, 2, 0)
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(megapixels * 1e6 / height)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(start, start + count):
        rows, columns = (
            np.abs((np.arange(size) + 37 * number) % (2 * edge) - edge).clip(0, edge - 1)
            for size, edge in zip((height, width), small.shape[:2], strict=True)
        )
        Image.fromarray(small[rows[:, None], columns]).save(
            folder / f"{number:05}.png", compress_level=1
        )
    return folder


def begin(words: Sequence[object], address: str = "") -> "subprocess.Popen[bytes]":
    """Start a command, whose workers have one thread each."""
    more = ["--engine", "ray", "--address", address] if address else []
    command = [sys.executable, "-m", "rgflow", *map(str, words), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def times_of(process: "subprocess.Popen[bytes]", record: Path, *, own: bool = False) -> list[float]:
    """When each picture was done, until the end of a command; or how much processor time the
    command had `own` by then, as that depends less on what else the machine does."""
    found, now, read = list[float](), 0.0, 0
    while True:
        with suppress(OSError):
            words = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            now = max(now, sum(map(int, words[11:13])) / os.sysconf("SC_CLK_TCK"))
        over = process.poll() is not None
        with suppress(OSError), record.open("rb") as file:
            file.seek(read)
            new = file.read()
            new = new[: new.rfind(b"\n") + 1]
            read += len(new)
            found += [now if own else time.perf_counter()] * new.count(b'"names"')
        if over:
            return found
        time.sleep(0.01)


def rows_in(record: Path) -> int:
    """How many pictures are done."""
    with suppress(OSError):
        return record.read_bytes().count(b'"names"')
    return 0


class Cluster:
    """Local nodes of Ray, each with a processor."""

    def __init__(self, nodes: int) -> None:
        from ray.cluster_utils import Cluster as Nodes

        os.environ.update({"RAY_worker_niceness": "0"})
        head = {"num_cpus": 1, "include_dashboard": False}
        self.nodes = Nodes(initialize_head=True, head_node_args=head)
        for _ in range(nodes - 1):
            self.nodes.add_node(num_cpus=1)

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        self.nodes.shutdown()


def workers(name: bytes) -> list[int]:
    """Processes whose command line has a name in it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if name in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def children(process: int) -> list[int]:
    """Processes that a process, by any of its threads, has started."""
    places = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for place in places for child in place.read_text().split()]


def memory_of(processes: Sequence[int]) -> float:
    """The most memory that one of the processes has had, in GiB."""
    most = 0
    for process in processes:
        with suppress(OSError):
            text = Path(f"/proc/{process}/status").read_text()
            most = max([most] + [int(x.split()[1]) for x in text.splitlines() if "VmHWM" in x])
    return most / 2**20


def speed(settings: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Megapixels per second of one worker and two, in turns, as machines aren't always as fast."""
    count = -(-settings.pictures // ROUNDS)
    pictures = photographs(folder / "pictures", count, settings.megapixels)
    ways = [(engine, workers) for engine in ("processes", "ray") for workers in (1, 2)]
    ways = [way for way in ways if way[0] == "processes" or find_spec("ray")]
    seconds, tables = {way: list[float]() for way in ways}, set[bytes]()
    for turn in range(ROUNDS):
        for engine, workers in ways:
            with ExitStack() as stack:
                cluster = stack.enter_context(Cluster(workers)) if engine == "ray" else None
                table = folder / f"{engine}-{workers}-{turn}.csv"
                more = ["--processes", workers] if engine == "processes" else []
                words = ["score", pictures, "--out", table, *more]
                process = begin(words, cluster.nodes.address if cluster else "")
                times = times_of(process, Path(f"{table}.parts", RECORD))
                assert not process.returncode, process.communicate()
            tables.add(table.read_bytes())
            # Small pictures may all be found at once.
            each = max(times[-1] - times[workers - 1], 0.01) / (len(times) - workers)
            seconds[engine, workers].append(each / settings.megapixels)
            print(turn, engine, workers, f"{1 / each:.3f} pictures per second", flush=True)
    assert len(tables) == 1, "Expected the same table of all workers; got several."
    pace = {way: 1 / median(found) for way, found in seconds.items()}
    found: dict[str, Any] = {
        f"{engine} {workers}": {
            "megapixels_per_second": pace[engine, workers],
            "rounds": [1 / one for one in seconds[engine, workers]],
        }
        for engine, workers in ways
    }
    for engine in dict.fromkeys(engine for engine, _ in ways):
        ratios = map(truediv, seconds[engine, 1], seconds[engine, 2])
        found[f"two over one, {engine}"] = median(ratios)
    if ("ray", 1) in ways:
        ratios = map(truediv, seconds["ray", 1], seconds["processes", 1])
        found["overhead of ray on one worker"] = median(ratios) - 1
    return found | {"pictures": count, "megapixels": settings.megapixels}


def jobs(settings: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Each command: megapixels per second of processor time, bytes, memory at 12 megapixels."""
    few = photographs(folder / "few", 4, settings.megapixels / 4)
    large = photographs(folder / "large", 1, settings.large)
    found = dict[str, Any]()
    box = ["--box", "[10, 10, 4, 60]"]
    for name, words in {
        "score": ["score"],
        "repair, a box given": ["repair", *box, "--adapt", 0],
        "repair, searched": ["repair", "--adapt", 0],
        "repair, learned": ["repair", *box],
        "enlarge": ["enlarge"],
    }.items():
        out = folder / name.replace(" ", "-").replace(",", "")
        table = out.with_suffix(".csv") if name == "score" else out
        words = [words[0], few, *words[1:], "--out", table]
        record = Path(f"{table}.parts" if name == "score" else table, RECORD)
        process = begin(words)
        times = times_of(process, record, own=True)
        said = process.communicate()[0].decode()
        assert not process.returncode, said
        pixels = settings.megapixels / 4
        read = sum(path.stat().st_size for path in few.iterdir()) / 4
        wrote = [table] if name == "score" else [p for p in out.rglob("*") if p.is_file()]
        found[name] = {
            "megapixels_per_second": pixels * (len(times) - 1) / (times[-1] - times[0]),
            "bytes_read": read,
            "bytes_written": sum(path.stat().st_size for path in wrote) / 4,
        }
        if name in ("score", "repair, a box given", "repair, searched"):
            words[1], words[-1] = large, Path(f"{out}-large{table.suffix}")
            process, most = begin(words), 0.0
            while process.poll() is None:
                most = max(most, memory_of([process.pid]))
                time.sleep(0.05)
            found[name]["GiB"] = most
        print(name, found[name], flush=True)
    return found | {"megapixels": settings.megapixels / 4, "large": settings.large}


def small(settings: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Many small pictures, one of a hundred broken; by processes, and by Ray where it is there."""
    random, count = np.random.default_rng(0), settings.small
    (folder / "in").mkdir()
    for number in range(count):
        pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        path = folder / "in" / f"{number:05}.png"
        Image.fromarray(pixels).save(path)
        if number % 100 == 50:
            path.write_bytes(path.read_bytes()[:50])
    found, tables = dict[str, Any](), []
    for engine in ("processes", "ray"):
        if engine == "ray" and not find_spec("ray"):
            continue
        with ExitStack() as stack:
            cluster = stack.enter_context(Cluster(2)) if engine == "ray" else None
            table = folder / f"{engine}.csv"
            more = ["--processes", 2] if engine == "processes" else []
            process = begin(
                ["score", folder / "in", "--out", table, *more],
                cluster.nodes.address if cluster else "",
            )
            times = times_of(process, Path(f"{table}.parts", RECORD))
            assert process.returncode == 1, process.communicate()
        tables.append(table.read_bytes())
        with table.open() as file:
            rows = list(csv.DictReader(file))
        found[engine] = {
            "rows": len(rows),
            "reasons": sum(bool(row["error"]) for row in rows),
            "pictures_per_second": (len(times) - 2) / (times[-1] - times[1]),
        }
        print(engine, found[engine], flush=True)
    assert len(set(tables)) == 1, "Expected the same table of both engines; got two."
    return found


def kills(settings: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What is left when workers, a node or the driver die: the same table, byte for byte."""
    pictures = photographs(folder / "pictures", settings.killed, 0.1)
    right, random = folder / "right.csv", np.random.default_rng(settings.seed)
    assert not begin(["score", pictures, "--out", right]).wait()
    content, found = right.read_bytes(), dict[str, Any]()

    def ended(name: str, process: "subprocess.Popen[bytes]", table: Path, **more: Any) -> None:
        said = process.communicate()[0].decode()
        assert not process.returncode, said
        found[name] = {"same_table": table.read_bytes() == content, **more}
        print(name, found[name], flush=True)

    def killed(process: "subprocess.Popen[bytes]", mark: bytes, most: int) -> int:
        count = 0
        while process.poll() is None and count < most:
            time.sleep(random.uniform(0.2, 1.2))
            if alive := [one for one in workers(mark) if one != process.pid]:
                with suppress(OSError):
                    os.kill(alive[random.integers(len(alive))], signal.SIGKILL)
                    count += 1
        return count

    table = folder / "processes.csv"
    process = begin(["score", pictures, "--out", table, "--processes", 2])
    count = 0
    while process.poll() is None and count < 10:
        time.sleep(random.uniform(0.2, 1.2))
        with suppress(OSError):
            if below := [child for one in children(process.pid) for child in children(one)]:
                os.kill(below[random.integers(len(below))], signal.SIGKILL)
                count += 1
    ended("processes, workers killed", process, table, kills=count)
    if not find_spec("ray"):
        return found
    with Cluster(2) as cluster:
        address = cluster.nodes.address
        table = folder / "ray.csv"
        process = begin(["score", pictures, "--out", table], address)
        count = killed(process, b"MapWorker", 10)
        ended("ray, workers killed", process, table, kills=count)
        table = folder / "driver.csv"
        record = Path(f"{table}.parts", RECORD)
        process = begin(["score", pictures, "--out", table], address)
        while rows_in(record) < 8:
            time.sleep(0.01)
        process.kill()
        process.wait()
        before = rows_in(record)
        process = begin(["score", pictures, "--out", table], address)
        ended("ray, driver killed", process, table, done_before=before, rows=rows_in(record))
        table = folder / "node.csv"
        record = Path(f"{table}.parts", RECORD)
        process = begin(["score", pictures, "--out", table], address)
        while rows_in(record) < 4:
            time.sleep(0.01)
        node = next(iter(cluster.nodes.worker_nodes))
        cluster.nodes.remove_node(node, allow_graceful=False)
        ended("ray, a node killed", process, table)
    return found


def plan(settings: argparse.Namespace, known: dict[str, Any]) -> dict[str, Any]:
    """What a million pictures of 12 megapixels take, from the rates of `jobs` on a core:
    hours = 10⁶ · megapixels / (rate · cores · 3600), dollars = hours · price."""
    found = dict[str, Any]()
    for job, measured in known["jobs"].items():
        if not isinstance(measured, dict) or "megapixels_per_second" not in measured:
            continue
        rate = measured["megapixels_per_second"]
        hours = 1e6 * settings.planned / rate / 3600
        found[job] = {
            "core_hours_per_million": hours,
            "core_years_per_billion": 1000 * hours / 24 / 365,
            **{
                kind: {"hours": hours / CORES[kind], "dollars": hours / CORES[kind] * price}
                for kind, price in DOLLARS.items()
            },
        }
    return found | {"megapixels": settings.planned, "dollars_an_hour": DOLLARS, "cores": CORES}


PARTS: dict[str, Callable[[argparse.Namespace, Path], dict[str, Any]]] = {
    "speed": speed,
    "jobs": jobs,
    "small": small,
    "kills": kills,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, "plan", []], default=[*PARTS, "plan"])
    parser.add_argument("--missing", action="store_true", help="only parts that aren't there yet")
    parser.add_argument("--pictures", type=int, default=60, help="of `speed`")
    parser.add_argument("--megapixels", type=float, default=1.0, help="of each of these")
    parser.add_argument("--large", type=float, default=12.0, help="megapixels, for memory")
    parser.add_argument("--small", type=int, default=10_000, help="small pictures")
    parser.add_argument("--killed", type=int, default=100, help="pictures of `kills`")
    parser.add_argument("--planned", type=float, default=1.0, help="megapixels of planned pictures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/fleet.json")
    settings = parser.parse_args()
    known = json.loads(settings.out.read_text()) if settings.out.is_file() else {}
    for name in settings.parts:
        if settings.missing and name in known:
            continue
        with tempfile.TemporaryDirectory() as folder:
            made = plan(settings, known) if name == "plan" else PARTS[name](settings, Path(folder))
        known[name] = made | {
            "command": " ".join(["python", *sys.argv]),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": processor(),
            "git": git_state(),
        }
        write_json(settings.out, known)
    return 0


if __name__ == "__main__":
    sys.exit(main())
