"""Kill commands and the page amid work, and fill their disk: what is lost?

    python benchmarks/keeping.py                          # all parts, some 40 minutes
    python benchmarks/keeping.py --part enlarge --kills 3

After every kill, each input and each file of the user's has to be as it was, byte for byte, and
each output whole or not there; the same command, given again, has to go on and end. Kills come at
random moments, every other one as a file of the output changes. A full disk is a small tmpfs, which
only root can mount. Each part adds its results to those of the others in the file.
"""

import argparse
import csv
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "keeping.json"
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from cases import Random, Snapshot, changed, snapshot  # noqa: E402

KILLS_OF_A_FOLDER = 6
"""Kills after which a command is left to end, and begun anew in another folder."""
LONGEST = 600
"""Seconds after which a command hangs."""
OWN_FILES = 100
"""Number of the user's own files in an output folder."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Commands over pictures in a folder.

    Attributes:
        commands: At the same time, each with variables of its environment.
        missing: What should be there when all are done, and isn't; none: nothing.
        moments: Seconds within which a kill comes.
    """

    commands: Sequence[tuple[Sequence[str], dict[str, str]]]
    missing: Callable[[], str]
    moments: float


@dataclass
class Result:
    """What came of a part."""

    kills: int = 0
    full: int = 0
    as_written: int = 0
    completed: int = 0
    wrong: list[str] = field(default_factory=list)


# ---------------------------------------------------------------- processes


def started(words: Sequence[str], environment: dict[str, str], said: Path) -> int:
    """The command line in a fork of this process, which has imported all that it needs."""
    process = os.fork()
    if process:
        return process
    code = 70
    try:
        os.setsid()
        os.environ.update(environment)
        tempfile.tempdir = None  # which is found anew
        with said.open("w") as file:
            sys.stdout = sys.stderr = file
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
            try:
                from rgflow.cli import main

                code = main([str(word) for word in words])
            except BaseException:
                traceback.print_exc()
            file.flush()
    finally:
        os._exit(code)


def ended(process: int, wait: bool = True) -> int | None:
    """The exit code of a process, negative that of a signal; None while it works."""
    deadline = time.monotonic() + LONGEST
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if not wait:
            return None
        if time.monotonic() > deadline:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.005)


def kill(process: int) -> bool:
    """Kill a process; returns whether it was still there."""
    if ended(process, wait=False) is not None:
        return False
    os.kill(process, signal.SIGKILL)
    return ended(process) == -signal.SIGKILL


def written(folder: Path) -> tuple[tuple[str, int], ...]:
    """Names and sizes of what is in a folder."""
    found = []
    for place, _, files in os.walk(folder):
        for name in files:
            with suppress(OSError):
                path = os.path.join(place, name)
                found.append((path, os.stat(path).st_size))
    return tuple(found)


def wait_for_moment(running: Callable[[], bool], out: Path, random: Random, moments: float) -> bool:
    """Wait for a moment of work; returns whether it is one at which something is written."""
    deadline, count = time.monotonic() + random.uniform(0, moments), 0
    if watching := random.random() < 0.5:
        deadline, count = time.monotonic() + moments, int(random.integers(1, 12))
    before = written(out)
    while running() and time.monotonic() < deadline:
        now = written(out) if watching else before
        if now != before:
            before, count = now, count - 1
            if count <= 0:
                time.sleep(random.uniform(0, 0.02))
                return True
        time.sleep(0.001)
    return False


# ---------------------------------------------------------------- what has to stay


def torn(folder: Path, own: Snapshot) -> str:
    """Outputs in a folder that aren't whole; empty: all are. Hidden files may be of any kind."""
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        parts = path.relative_to(folder).parts
        if name in own or not path.is_file() or any(part.startswith(".") for part in parts):
            continue
        if any(part.endswith(".parts") for part in parts):
            continue
        try:
            if path.suffix == ".csv":
                rows_of(path)
            else:
                with Image.open(path) as image:
                    image.load()
        except Exception as error:
            return f"{name} isn't whole: {error}"
    return ""


def rows_of(table: Path) -> list[dict[str, str]]:
    """The rows of a table."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    if any(None in row.values() for row in rows):
        raise ValueError("a row is cut off")
    return rows


def noise(path: Path, width: int, height: int, random: Random) -> Path:
    """A picture of noise, which takes as many bytes as it has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(values).save(path, compress_level=1)
    return path


def own_files(out: Path, random: Random, names: Sequence[str]) -> Snapshot:
    """The user's own files in the output folder, some with the names of results."""
    out.mkdir(exist_ok=True)
    every = [*names, *(f"own-{k:02}.{'png' if k % 2 else 'txt'}" for k in range(OWN_FILES))]
    for name in every[:OWN_FILES]:
        if name.endswith(".png"):
            noise(out / name, 20, 10, random)
        else:
            (out / name).write_bytes(random.bytes(int(random.integers(1, 2000))))
    return snapshot(out)


# ---------------------------------------------------------------- jobs


def repairing(folder: Path, out: Path, random: Random) -> Job:
    """Pictures that are repaired in a box, a second each for encoding."""
    names = [f"{k}.png" for k in range(4)]
    inputs = [noise(folder / "in" / name, 900, 700, random) for name in names]
    words = ["repair", *inputs, "--box", "[5,5,8,8]", "--sweeps", 1, "--out", out]
    return Job(commands=[(words, {})], missing=lambda: lacking(out, names, (900, 700)), moments=4.0)


def enlarging(folder: Path, out: Path, random: Random) -> Job:
    """A small picture that is enlarged."""
    names = ["0.png", "1.png"]
    inputs = [noise(folder / "in" / name, 160, 120, random) for name in names]
    words = ["enlarge", *inputs, "--out", out]
    return Job(commands=[(words, {})], missing=lambda: lacking(out, names, (320, 240)), moments=3.0)


def scoring(folder: Path, out: Path, random: Random, processes: int = 2) -> Job:
    """Pictures that processes share, into a table."""
    count = 70
    for k in range(count):
        noise(folder / "in" / f"{k:02}.png", 40, 32, random)
    out.mkdir(exist_ok=True)
    table = out / "table.csv"
    words = ["score", folder / "in", "--out", table, "--processes", processes]

    def missing() -> str:
        if not table.is_file():
            return "there is no table"
        found = [row["file"] for row in rows_of(table)]
        right = len(found) == len(set(found)) == count
        return "" if right else f"{len(found)} rows, of {len(set(found))} pictures"

    return Job(commands=[(words, {})], missing=missing, moments=6.0)


def lacking(out: Path, names: Sequence[str], size: tuple[int, int]) -> str:
    """Which results aren't there; empty: all are."""
    for name in names:
        if not (out / name).is_file():
            return f"{name} isn't there"
        with Image.open(out / name) as image:
            if image.size != size:
                return f"{name} has {image.size}"
    return ""


JOBS = {"repair": repairing, "enlarge": enlarging, "score": scoring}


# ---------------------------------------------------------------- kills


def killed(
    make: Callable[[Path, Path, Random], Job],
    count: int,
    random: Random,
    own: Sequence[str] | None = None,
) -> Result:
    """Kill a job a number of times.

    Args:
        make: Makes it, from a folder for its pictures and one for its results.
        count: How many times.
        random: Of the moments.
        own: Names of files of the user's that are in the output folder, besides others; None: none.
    """
    result = Result()
    while result.kills < count:
        with tempfile.TemporaryDirectory() as name:
            folder, out = Path(name), Path(name) / "out"
            job = make(folder, out, random)
            kept = own_files(out, random, own) if own is not None else {}
            if own:  # it ends soon, as files of these names are there
                job = replace(job, moments=0.3)
            inputs = snapshot(folder / "in")
            for _ in range(min(KILLS_OF_A_FOLDER, count - result.kills)):
                if not _kill_once(job, folder, out, random, result):
                    break
                check(folder, out, inputs, kept, result, "killed")
            if own:
                result.completed += 1
                continue
            finish(job, folder, result)
            check(folder, out, inputs, kept, result, "ended")
            if why := job.missing():
                result.wrong.append(f"after all was done: {why}")
    return result


def _kill_once(job: Job, folder: Path, out: Path, random: Random, result: Result) -> bool:
    """Start a job, and kill it; returns whether there was something to kill."""
    said = [folder / f"said-{k}.txt" for k in range(len(job.commands))]
    processes = [
        started(words, more, file) for (words, more), file in zip(job.commands, said, strict=True)
    ]
    alive = set(processes)

    def running() -> bool:
        alive.difference_update([one for one in alive if _gone(one)])
        return bool(alive)

    as_written = wait_for_moment(running, out, random, job.moments)
    some = list(alive)
    if len(some) > 1 and random.random() < 0.5:  # the others go on
        some = some[:1]
    hit = sum(kill(one) for one in some)
    for one in alive.difference(some):
        ended(one)
    result.kills += bool(hit)
    result.as_written += bool(hit) and as_written
    for file in said:
        if "Traceback" in file.read_text():
            result.wrong.append(f"a traceback: {file.read_text()[-1500:]}")
    return bool(hit)


def _gone(process: int) -> bool:
    """Whether a process has ended by itself."""
    return ended(process, wait=False) is not None


def finish(job: Job, folder: Path, result: Result) -> None:
    """Let a job end; whatever an earlier one was killed amid, it has to."""
    said = [folder / f"said-{k}.txt" for k in range(len(job.commands))]
    for _ in range(2):  # of several processes, the first to end may find that others are at work
        processes = [
            started(words, more, file)
            for (words, more), file in zip(job.commands, said, strict=True)
        ]
        codes = [ended(one) for one in processes]
        if not any(codes) and not job.missing():
            break
    if any(codes):
        texts = " | ".join(file.read_text()[-1500:] for file in said)
        result.wrong.append(f"given again, it ended with {codes}: {texts}")
    result.completed += 1


def check(
    folder: Path, out: Path, inputs: Snapshot, own: Snapshot, result: Result, when: str
) -> None:
    """What has to stay, and what has to be whole."""
    if other := changed(inputs, snapshot(folder / "in")):
        result.wrong.append(f"{when}: inputs: {other}")
    if out.is_dir():
        if other := changed(own, snapshot(out)):
            result.wrong.append(f"{when}: files of the user's: {other}")
        if why := torn(out, own):
            result.wrong.append(f"{when}: {why}")


def large(count: int, random: Random, pixels: int, moments: float) -> Result:
    """Kill `enlarge` of one large picture; it has to end in spite of all of them."""
    result = Result()
    height = round((pixels * 3 / 4) ** 0.5)
    width = pixels // height
    with tempfile.TemporaryDirectory() as name:
        folder, out = Path(name), Path(name) / "out"
        path = noise(folder / "in" / "large.png", width, height, random)
        job = Job(
            commands=[(["enlarge", path, "--out", out], {})],
            missing=lambda: lacking(out, ["large.png"], (2 * width, 2 * height)),
            moments=moments,
        )
        inputs = snapshot(folder / "in")
        while result.kills < count and _kill_once(job, folder, out, random, result):
            check(folder, out, inputs, {}, result, "killed")
        finish(job, folder, result)
        check(folder, out, inputs, {}, result, "ended")
        if why := job.missing():
            result.wrong.append(f"after all was done: {why}")
    return result


# ---------------------------------------------------------------- full disks


@contextmanager
def disk(folder: Path, size: int) -> Iterator[None]:
    """A disk of a size in bytes at a folder."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        raise PermissionError("Expected to mount a tmpfs, as root; it can't be mounted here.")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def filled(count: int, random: Random) -> Result:
    """Run out of space at random moments, beside files of the user's; then there is space again."""
    result = Result()
    while result.full < count:
        with tempfile.TemporaryDirectory() as name:
            folder, out = Path(name), Path(name) / "out"
            free = int(10 ** random.uniform(3.5, 7))
            with disk(out, 1 << 20):
                make = list(JOBS.values())[random.integers(len(JOBS))]
                job = make(folder, out, random)
                own = own_files(out, random, [])
                used = 4096 * sum(1 + size // 4096 for _, size in written(out))
                _resize(out, used + 8192 + free)
                inputs = snapshot(folder / "in")
                codes, texts = _once(job, folder)
                check(folder, out, inputs, own, result, "full")
                for code, text in zip(codes, texts, strict=True):
                    if code not in (0, 1, 2) or "Traceback" in text:
                        result.wrong.append(f"a full disk ended it with {code}: {text[-1500:]}")
                result.full += any(codes)
                _resize(out, 1 << 28)
                finish(job, folder, result)
                check(folder, out, inputs, own, result, "ended")
                if why := job.missing():
                    result.wrong.append(f"after all was done: {why}")
    return result


def _resize(folder: Path, size: int) -> None:
    how = ["mount", "-o", f"remount,size={size}", str(folder)]
    subprocess.run(how, check=True)


def _once(job: Job, folder: Path) -> tuple[list[int | None], list[str]]:
    """Exit codes of a job, and what it says."""
    said = [folder / f"said-{k}.txt" for k in range(len(job.commands))]
    processes = [
        started(words, more, file) for (words, more), file in zip(job.commands, said, strict=True)
    ]
    codes = [ended(one) for one in processes]
    return codes, [file.read_text() for file in said]


# ---------------------------------------------------------------- the page


def page(count: int, random: Random) -> Result:
    """Kill the server of the page amid work; a new one has to work, to find all pictures as they
    were, and no temporary files."""
    from visitors import free_port

    result = Result()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = noise(folder / "in" / "a.png", 900, 700, random)
        home, temporary = folder / "home", folder / "temporary"
        home.mkdir()
        temporary.mkdir()
        inputs = snapshot(folder / "in")
        environment = {"TMPDIR": str(temporary), "HOME": str(home), "OMP_NUM_THREADS": "1"}
        asking = Asking()
        kept: dict[str, bytes] = {}  # repaired pictures by their names
        while result.kills < count:
            port, said = free_port(), folder / "said.txt"
            process = started(["app", "--port", str(port)], environment, said)
            asking.turn(f"http://127.0.0.1:{port}", process)
            asking.wait()
            for one, content in kept.items():
                if not asking.same(one, content):
                    result.wrong.append(f"picture {one} of {len(kept)} isn't as it was")
            if result.kills % 6 == 0:
                kept |= [asking.repaired(path)]
            left = [one for one, size in written(temporary) if size and not one.endswith(".lock")]
            if left:
                result.wrong.append(f"after the start there was {left[:3]}")
            asking.begin(path, random)
            time.sleep(random.uniform(0, 1.5))
            result.kills += kill(process)
            check(folder, folder / "none", inputs, {}, result, "killed")
            if "Traceback" in said.read_text():
                result.wrong.append(f"a traceback: {said.read_text()[-1500:]}")
        port, said = free_port(), folder / "said.txt"
        process = started(["app", "--port", str(port)], environment, said)
        asking.turn(f"http://127.0.0.1:{port}", process)
        asking.wait()
        _, content = asking.repaired(path)
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            if image.size != (900, 700):
                result.wrong.append(f"the last server gave a picture of {image.size}")
        kill(process)
        result.completed += 1
    return result


class Asking:
    """Somebody who works with the page."""

    def __init__(self) -> None:
        self._open: list[Any] = []
        self._visitor = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())

    def turn(self, address: str, process: int) -> None:
        """Turn to another server."""
        self.address, self.process = address, process

    def wait(self) -> None:
        """Wait until the server answers."""
        for _ in range(1200):
            with suppress(OSError):
                self._visitor.open(f"{self.address}/", timeout=5).close()  # which sets a cookie
                return
            assert not _gone(self.process), "the server ended"
            time.sleep(0.05)
        raise TimeoutError("Expected the server to answer; it didn't within a minute.")

    def upload(self, path: Path, where: str = "/photographs", field: str = "file") -> Any:
        """Send a picture; returns what is answered."""
        mark, about = uuid4().hex, f'form-data; name="{field}"; filename="{path.name}"'
        head = f"--{mark}\r\nContent-Disposition: {about}\r\nContent-Type: image/png\r\n\r\n"
        body = head.encode() + path.read_bytes() + f"\r\n--{mark}--\r\n".encode()
        with self._post(where, body, f"multipart/form-data; boundary={mark}") as answer:
            return json.load(answer)

    def begin(self, path: Path, random: Random) -> None:
        """Open a picture, and begin some work of it, without waiting for its end."""
        self.upload(path, "/latents/gradio_api/upload", "files")
        name = self.upload(path)["id"]
        box = {"top": 5, "left": 5, "height": 100, "width": 100}
        work = [("repair", box), ("find", {}), ("enlarge", {}), ("redraw", box)]
        what, body = work[random.integers(len(work))]
        self._open.append(self._post(f"/photographs/{name}/{what}", json.dumps(body).encode()))

    def repaired(self, path: Path) -> tuple[str, bytes]:
        """The name of a picture that is repaired, and its file."""
        name = self.upload(path)["id"]
        box = json.dumps({"top": 5, "left": 5, "height": 8, "width": 8}).encode()
        with self._post(f"/photographs/{name}/repair", box) as answer:
            lines = [json.loads(line) for line in answer]
        assert lines[-1].get("done"), lines
        return name, self._get(f"{name}/export")

    def same(self, name: str, content: bytes) -> bool:
        """Whether a picture is as it was, and as it was before when its step is undone."""
        undone = json.load(self._post(f"/photographs/{name}/undo", b""))["done"] == 0
        other = self._get(f"{name}/export")
        self._post(f"/photographs/{name}/redo", b"").close()
        listed = [one["id"] for one in json.loads(self._get("open"))]
        return undone and name in listed and other != content == self._get(f"{name}/export")

    def _get(self, path: str) -> bytes:
        with self._visitor.open(f"{self.address}/photographs/{path}", timeout=60) as answer:
            return bytes(answer.read())

    def _post(self, path: str, body: bytes, kind: str = "application/json") -> Any:
        headers = {"Content-Type": kind, "Origin": self.address}
        request = urllib.request.Request(f"{self.address}{path}", body, headers)
        return self._visitor.open(request, timeout=60)


# ---------------------------------------------------------------- all parts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=list(PARTS), nargs="+", default=list(PARTS))
    parser.add_argument("--kills", type=int, default=30, help="of each command, and of the page")
    parser.add_argument("--moments", type=int, default=20, help="of kills beside files; of disks")
    parser.add_argument("--megapixels", type=float, default=12.0, help="of the large picture")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    settings = parser.parse_args()

    import torch

    import rgflow.app.server
    import rgflow.cli.enlarge
    import rgflow.cli.repair
    import rgflow.cli.score
    import rgflow.figures.repair
    import rgflow.photographs.restoring
    import rgflow.training.optimisation  # noqa: F401
    from rgflow.files import write_json
    from rgflow.training.run import git_state, processor

    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    known = json.loads(settings.out.read_text()) if settings.out.is_file() else {}
    wrong = 0
    for name in settings.part:
        random = np.random.default_rng([settings.seed, *name.encode()])
        start = time.perf_counter()
        try:
            found = PARTS[name](settings, random)
        except PermissionError as error:
            print(f"{name} is left out: {error}")
            continue
        wrong += len(found.wrong)
        known[name] = {
            "command": " ".join(["python", *sys.argv]),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": processor(),
            "git": git_state(),
            "kills": found.kills,
            "kills_as_something_was_written": found.as_written,
            "full_disks": found.full,
            "completed_after_that": found.completed,
            "wrong": len(found.wrong),
            "what_is_wrong": found.wrong[:20],
            "seconds": round(time.perf_counter() - start, 1),
        }
        print(name, json.dumps(known[name] | {"git": None, "machine": None}), flush=True)
        write_json(settings.out, known)
    return bool(wrong)


def _beside(count: int, random: Random) -> Result:
    """Kill every command as it writes beside files of the user's, some of the names of results."""
    every = Result()
    names = ["0.png", "1-mask.png", "2.png", "3-before-after.png", "table.csv"]
    makes = list(JOBS.values())
    shares = [(make, [], (count + k) // len(makes)) for k, make in enumerate(makes)]
    shares += [(make, names, 1) for make in makes if count >= len(makes)]
    for make, own, share in shares:
        found = killed(make, share, random, own)
        every.kills += found.kills
        every.as_written += found.as_written
        every.completed += found.completed
        every.wrong += found.wrong
    return every


PARTS: dict[str, Callable[[argparse.Namespace, Random], Result]] = {
    "repair": lambda how, random: killed(repairing, how.kills, random),
    "enlarge small": lambda how, random: killed(enlarging, how.kills, random),
    "enlarge": lambda how, random: large(
        how.kills, random, int(how.megapixels * 1e6), min(12.0, 2 + how.megapixels)
    ),
    "score": lambda how, random: killed(scoring, how.kills, random),
    "page": lambda how, random: page(how.kills, random),
    "beside files": lambda how, random: _beside(how.moments, random),
    "full disks": lambda how, random: filled(how.moments, random),
}
"""By name; each is done by itself, and can be."""


if __name__ == "__main__":
    sys.exit(main())
