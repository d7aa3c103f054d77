"""What a case of the campaign is, what counts as wrong, and the processes that carry cases out."""

import hashlib
import json
import os
import resource
import select
import signal
import stat
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

SECONDS, MEMORY = 10, 1 << 30
"""A case may take so long, and so many more bytes than it takes with a whole file."""
CASES_OF_A_PROCESS = 200
"""Cases after which a process is replaced by a new one: a fork costs as much as a case."""
CANARY = "rgflow_canary"
"""A module that can be imported, and tells if it was."""
Random = np.random.Generator

RIGHT = {
    "same": "the result of the whole file",
    "other": "another result, where that may be",
    "sentence": "one sentence, beginning with Expected, that says what is wrong",
    "listed": "the bad ones of several, each with a sentence; the others are done",
}
WRONG = {
    "traceback": "an error that isn't a sentence, or an exit code other than 0, 1 and 2",
    "riddle": "no sentence, several, or one that doesn't begin with Expected",
    "terminal": "characters in what is said that a terminal takes for commands",
    "silent": "another result without a word, where damage has to be noticed",
    "slow": f"more than {SECONDS} seconds",
    "killed": "the process ended by a signal",
    "memory": "more than 1 GiB beyond what the whole file takes",
    "code": "code that a file names was run",
    "files": "a file that was there before was changed or removed",
    "torn": "an output that isn't whole, or something unfinished that stayed",
    "lost": "fewer outputs, or rows of a table, than the exit code says",
    "pixels": "a pixel that was to stay has changed without a word",
    "let in": "a request from elsewhere was answered",
    "server": "the server failed, or lost what somebody else had opened",
}
"""All that counts as wrong, for every kind of case."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a case came to.

    Attributes:
        change: What was done to the whole, or is odd about the case.
        result: One of `RIGHT` or `WRONG`.
        said: The sentence, or what is wrong.
        seconds: How long it took.
        memory: By how many bytes the process grew beyond what it takes with a whole file.
    """

    change: str
    result: str
    said: str = ""
    seconds: float = 0.0
    memory: int = 0

    @property
    def right(self) -> bool:
        """Whether it is as promised."""
        return self.result in RIGHT


class Kind(Protocol):
    """A kind of case."""

    name: str

    def carry_out(self, stage: "Stage", folder: Path, random: Random) -> Found:
        """Carry out a case that is told by random numbers, in a new folder."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a process tells of a job.

    Attributes:
        result: What the job returns, or traceback, slow, killed.
        said: In words.
        more: What else it returns.
        seconds: How long it took.
        memory: By how many bytes the process grew.
    """

    result: str
    said: str
    more: dict[str, Any]
    seconds: float
    memory: int


class Worker:
    """A process, a fork of this one, that carries out one job after another. A new one takes its
    place if it dies or hangs, and after `CASES_OF_A_PROCESS`.

    Args:
        do: Carries out a job, whatever JSON can hold; returns a result, words, and more.
        place: Its current folder, which has the canary.
    """

    def __init__(self, do: Callable[[Any], tuple[str, str, dict[str, Any]]], place: Path) -> None:
        self._do, self._place = do, place
        self._process = 0
        self._left = 0

    def begin(self, job: Any) -> None:
        """Give it a job."""
        if not self._left:
            self.end()
            self._fork()
        self._left -= 1
        self._started = time.perf_counter()
        os.write(self._jobs, json.dumps(job).encode() + b"\n")

    def told(self) -> Told:
        """Wait for what it tells."""
        content, deadline = b"", self._started + SECONDS
        while not content.endswith(b"\n"):
            left = deadline - time.perf_counter()
            if left < 0 or not select.select([self._answers], [], [], left)[0]:
                return self._lost("slow")
            piece = os.read(self._answers, 1 << 16)
            if not piece:
                return self._lost("killed")
            content += piece
        found = json.loads(content)
        return Told(**found, seconds=time.perf_counter() - self._started)

    def do(self, job: Any) -> Told:
        """Have it carry out a job."""
        self.begin(job)
        return self.told()

    def end(self) -> None:
        """End the process; the next job gets a new one."""
        if self._process:
            os.kill(self._process, signal.SIGKILL)
            os.waitpid(self._process, 0)
            os.close(self._jobs)
            os.close(self._answers)
        self._process = self._left = 0

    def _lost(self, how: str) -> Told:
        seconds = time.perf_counter() - self._started
        self.end()
        return Told(result=how, said=f"after {seconds:.1f} s", more={}, seconds=seconds, memory=0)

    def _fork(self) -> None:
        (jobs, self._jobs), (self._answers, answers) = os.pipe(), os.pipe()
        self._process, self._left = os.fork(), CASES_OF_A_PROCESS
        if not self._process:
            try:
                os.close(self._jobs)
                os.close(self._answers)
                self._serve(jobs, answers)
            finally:
                os._exit(0)
        os.close(jobs)
        os.close(answers)

    def _serve(self, jobs: int, answers: int) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        sys.path.insert(0, str(self._place))
        # So that a mistake is one of this process.
        limit = memory_of("self", "VmSize") + 4 * MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        with os.fdopen(jobs, "rb") as lines:
            for line in lines:
                os.chdir(self._place)
                forget_most("self")
                before = memory_of("self", "VmRSS")
                try:
                    result, said, more = self._do(json.loads(line))
                except BaseException:
                    result, said, more = "traceback", traceback.format_exc(), {}
                grown = memory_of("self", "VmHWM") - before
                told = {"result": result, "said": said[-4000:], "more": more, "memory": grown}
                os.write(answers, json.dumps(told).encode() + b"\n")


def memory_of(process: int | str, which: str) -> int:
    """Memory of a process, in bytes: VmSize, VmRSS or VmHWM, the most that it had."""
    status = Path(f"/proc/{process}/status").read_text()
    return 1024 * next(int(x.split()[1]) for x in status.splitlines() if x.startswith(which))


def forget_most(process: int | str) -> None:
    """Have the most memory of a process counted from now on."""
    with suppress(OSError):
        Path(f"/proc/{process}/clear_refs").write_text("5")


class Stage:
    """What cases are carried out with.

    Args:
        folder: For all that is made, once or for a case.
        do: As of `Worker`.
    """

    def __init__(self, folder: Path, do: Callable[[Any], tuple[str, str, dict[str, Any]]]) -> None:
        here = folder / "here"
        here.mkdir()
        self.folder, self._sprung = folder, folder / "sprung"
        (here / f"{CANARY}.py").write_text(
            f"from pathlib import Path\nPath({str(self._sprung)!r}).touch()\nMap = None\n"
        )
        self.workers = [Worker(do, here) for _ in range(2)]
        """Two, for what happens at the same time."""

    def sprung(self) -> bool:
        """Whether code was run that a file names."""
        if there := self._sprung.exists():
            self._sprung.unlink()
        return there

    def end(self) -> None:
        """End all processes."""
        for worker in self.workers:
            worker.end()


Snapshot = dict[str, tuple[str, int, str]]


def snapshot(folder: Path) -> Snapshot:
    """All that is in a folder: for each path its kind, mode, and digest or target."""
    found: Snapshot = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(place, name)
            mode = os.lstat(path).st_mode
            kind, about = "other", ""
            if stat.S_ISREG(mode):
                with open(path, "rb") as file:
                    kind, about = "file", hashlib.file_digest(file, "sha256").hexdigest()
            elif stat.S_ISLNK(mode):
                kind, about = "link", os.readlink(path)
            elif stat.S_ISDIR(mode):
                kind = "folder"
            found[os.path.relpath(path, folder)] = kind, stat.S_IMODE(mode), about
    return found


def changed(before: Snapshot, after: Snapshot) -> str:
    """What was there before and is changed or gone, in words."""
    lost = [path for path, about in before.items() if after.get(path) != about]
    return ", ".join(
        f"{path!r} {'changed' if path in after else 'is gone'}" for path in sorted(lost)[:5]
    )
