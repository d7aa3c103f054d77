"""Runs trainings: several at a time, each in its own process, none twice.

A training is an ordinary run folder, made by `rgflow train`. An interrupted one resumes where it
stopped. Beside the folder are the settings and the sessions of the training, with their time on the
clock and on the processor.

WORK/EXPERIMENT/BUDGET/LABEL-seedN                  the run folder
WORK/EXPERIMENT/BUDGET/LABEL-seedN.yaml             its settings
WORK/EXPERIMENT/BUDGET/LABEL-seedN.sessions.jsonl   one line for every session
WORK/EXPERIMENT/BUDGET/LABEL-seedN.txt              its output
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reproducing.plan import OWN, Training
from rgflow.config import TrainConfig
from rgflow.files import replacing, to_yaml
from rgflow.pretrained import shipped
from rgflow.reading import DamagedError, json_in
from rgflow.training.log import read_log
from rgflow.training.run import CONFIG, LOG, Run

POLL = 0.5
"""Seconds between two looks at the processes."""
TAIL = 4096
"""Bytes at the end of a log in which its last entry is."""

Progress = Callable[[Training, float, str], None]
"""Called with a training, the share of it that is done, and a word if it began, ended or failed."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """One session of a training, from a start to the next end."""

    began: str
    seconds: float
    processor_seconds: float
    """Of all its threads."""
    threads: int
    beside: int
    """Other trainings that the command ran when it began."""


def done(training: Training, work: Path) -> float:
    """The share of a training that is done, 0 to 1; 1 only if it has finished.

    Raises:
        ValueError: If the run folder is of other settings, or can't be read.
    """
    if training.model:
        return 1.0
    folder = training.folder(work)
    if not (folder / CONFIG).is_file():
        return 0.0
    run = Run.unfinished(folder)
    _check_settings(training.config, run, begins=bool(training.begins))
    result = run.record().get("result")
    if result and not result["interrupted"]:
        return 1.0
    return min(_fraction(training, work), 0.999)


def sessions(training: Training, work: Path) -> list[Session]:
    """The sessions of a training, oldest first."""
    return [Session(**one) for one in read_log(_beside(training, work, ".sessions.jsonl"))]


def train_all(
    trainings: Sequence[Training], work: Path, *, jobs: int = 1, progress: Progress | None = None
) -> list[str]:
    """Train what isn't trained yet, in order, `jobs` at a time. A failure doesn't stop the others.

    If a budget is of processor time, every process gets one thread, so that it is the same on any
    machine; otherwise they share all cores. At Ctrl-C every process finishes its step and saves.

    Returns:
        A sentence for every training that failed.

    Raises:
        ValueError: If a run folder is of other settings than planned.
    """
    waiting = [one for one in trainings if done(one, work) < 1]
    under_way: list[_Process] = []
    failed: list[str] = []
    report = progress or (lambda training, fraction, word: None)
    try:
        while waiting or under_way:
            while waiting and len(under_way) < jobs:
                training = waiting.pop(0)
                under_way.append(_Process(training, work, jobs, len(under_way)))
                report(training, _fraction(training, work), "began")
            time.sleep(POLL)
            for process in list(under_way):
                if not process.ended():
                    report(process.training, _fraction(process.training, work), "")
                    continue
                under_way.remove(process)
                if why := process.failure():
                    failed.append(f"{process.training.name}: {why}")
                report(process.training, done(process.training, work), "failed" if why else "ended")
    except BaseException:  # Ctrl-C, or a full disk: they would go on by themselves
        for process in under_way:
            process.interrupt()
        while not all(process.ended() for process in under_way):
            time.sleep(POLL)
        raise
    return failed


class _Process:
    """A process that trains, in its own session, so that Ctrl-C reaches it only from here."""

    def __init__(self, training: Training, work: Path, jobs: int, others: int) -> None:
        self.training, self.others = training, others
        folder = training.folder(work)
        folder.parent.mkdir(parents=True, exist_ok=True)
        settings = _beside(training, work, ".yaml")
        config = training.config
        if training.begins:
            other = folder.parent / f"{training.begins}-seed{config.seed}"
            config = replace(config, pretrained=str(other))
        with replacing(settings) as part:
            part.write_text(to_yaml(config))
        self.printed = _beside(training, work, ".txt")
        self.sessions = _beside(training, work, ".sessions.jsonl")
        how = ["--config", str(settings), "--out", str(folder)]
        if (folder / CONFIG).is_file():
            how = ["--resume", str(folder)]
        processor = training.config.clock == "processor"
        self.threads = 1 if processor else max(1, (os.cpu_count() or 1) // jobs)
        self.began, self.start = datetime.now(UTC), time.perf_counter()
        self.killed = False
        here = str(Path(__file__).parents[1])
        path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
        trusted = [word for module in OWN for word in ("--trust", module)]
        with self.printed.open("a") as out:
            self.popen = subprocess.Popen(
                [sys.executable, "-P", "-m", "rgflow", "train", *trusted, *how],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": str(self.threads), "PYTHONPATH": path},
                start_new_session=True,
            )

    def ended(self) -> bool:
        """Whether it has ended; if so, its session is recorded."""
        if self.popen.returncode is not None:
            return True
        before = _children()
        if self.popen.poll() is None:
            return False
        session = Session(
            began=self.began.isoformat(timespec="seconds"),
            seconds=round(time.perf_counter() - self.start, 1),
            # The time of a process is added to that of the children when it is waited for.
            processor_seconds=round(_children() - before, 1),
            threads=self.threads,
            beside=self.others,
        )
        with self.sessions.open("a") as file:
            file.write(json.dumps(asdict(session)) + "\n")
        return True

    def interrupt(self) -> None:
        """Let it end after its step."""
        if not self.ended():
            self.popen.send_signal(signal.SIGINT)

    def failure(self) -> str:
        """The last line of its output if it failed; empty if it didn't."""
        if not self.popen.returncode:
            return ""
        lines = self.printed.read_text(errors="replace").strip().splitlines()
        last = lines[-1].removeprefix("rgflow: ") if lines else "it printed nothing."
        return f"{last} (Its whole output is in {self.printed}.)"


def _children() -> float:
    """Processor time of all children that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def _beside(training: Training, work: Path, ending: str) -> Path:
    folder = training.folder(work)
    return folder.with_name(folder.name + ending)


def _fraction(training: Training, work: Path) -> float:
    """The share of its budget that is used, by the last entry of its log."""
    config, log = training.config, training.folder(work) / LOG
    if not log.is_file():
        return 0.0
    with log.open("rb") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - TAIL, 0))
        lines = file.read().split(b"\n")
    last: dict[str, Any] = {}
    for line in reversed(lines):
        try:
            last = json_in(line)
            break
        except DamagedError:
            continue
    of_time = last.get("seconds", 0) / (60 * config.minutes) if config.minutes else 0.0
    of_steps = last.get("step", 0) / config.steps if config.steps else 0.0
    return float(min(max(of_time, of_steps), 1.0))


def _check_settings(config: TrainConfig, run: Run, *, begins: bool = False) -> None:
    """Raise a `ValueError` if a run folder is of other settings than planned.

    Where the data is, and what a run decides by its machine, may differ.
    """
    may_differ = {"compile", "data_root"}
    if ":" in config.data and not config.data.startswith(("patches:", "reproducing.")):
        may_differ.add("data")
    if begins or config.pretrained not in (None, *shipped()):
        may_differ.add("pretrained")
    mine, theirs = config.to_dict(), run.config().to_dict()
    if config.model.levels is None:
        mine["model"]["levels"] = theirs["model"]["levels"]
    if config.model.compute_dtype == "auto":
        mine["model"]["compute_dtype"] = theirs["model"]["compute_dtype"]
    if different := [name for name in mine.keys() - may_differ if mine[name] != theirs[name]]:
        raise ValueError(
            f"Expected a run of the settings that the experiment names in {run.folder}; "
            f"{', '.join(different)} differ: delete it, or name another folder with --work."
        )
