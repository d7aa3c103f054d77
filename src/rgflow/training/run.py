"""A run folder: everything that a training writes.

config.yaml      all settings; can be passed back with --config
run.json         versions, git state, machine, data, and at the end the result
log.jsonl        one JSON object per step, per validation, and per event
checkpoints/     everything needed to resume, at the last few validations
model/           averaged weights of the best validation, for `load_flow`
pictures/        sample grids, the learning curve
"""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from rgflow import figures
from rgflow.architectures import load_flow
from rgflow.cards import Commit, Machine, Training
from rgflow.config import TrainConfig
from rgflow.data import Images
from rgflow.files import (
    expanded,
    locked,
    remove_parts,
    replacing,
    to_yaml,
    write_json,
)
from rgflow.flow import Flow
from rgflow.reading import DamagedError, instance, read_json, read_yaml, reason
from rgflow.training.checkpoints import Checkpoints
from rgflow.training.log import Log, is_entry, read_log

FORMAT = 2
"""Format of run folders; other numbers are refused."""
SOURCES = ("py", "yaml", "toml")
"""Endings of the files in a repository that a result can depend on."""
BF16_INSTRUCTIONS = {"amx_bf16": "AMX", "avx512_bf16": "AVX512"}
"""By the flag in /proc/cpuinfo that a processor has them."""
CONFIG, RECORD, LOG = "config.yaml", "run.json", "log.jsonl"


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """The result of a training.

    Attributes:
        steps: Steps of the optimiser.
        seconds: Their time by the run's clock, validation included.
        images_per_second: Training images over that time.
        unit: Unit of the likelihoods.
        validation: Negative log-likelihood of the validation images under the last averaged
            weights.
        best: The best validation, whose model is kept.
        interrupted: Whether a signal stopped it.
        skipped_steps: Steps without a finite loss or gradient.
        compile_seconds: Time to compile maps, before the clock started; `None` if they weren't
            compiled.
        skipped: Training files that couldn't be read, each with the reason.
    """

    steps: int
    seconds: float
    images_per_second: float
    unit: str
    validation: float
    best: float
    interrupted: bool
    skipped_steps: int = 0
    compile_seconds: float | None = None
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Data:
    """The data of a run, in its record."""

    name: str
    images: int
    skipped: list[str]


@dataclass(frozen=True, kw_only=True)
class _Record:
    """The types of what run.json says."""

    format: int | None = None
    started: str | None = None
    start: Training | None = None
    resumed: list[str] | None = None
    parameters: int | None = None
    data: _Data | None = None
    versions: dict[str, str] | None = None
    git: Commit | None = None
    machine: Machine | None = None
    command: list[str] | None = None
    result: TrainingResult | None = None


class Run:
    """A run folder.

    Args:
        folder: The folder; it need not exist yet.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = expanded(folder)
        self.model = self.folder / "model"
        self.pictures = self.folder / "pictures"
        self.log: Log

    @classmethod
    def create(cls, folder: str | Path) -> "Run":
        """A new run; its folder is made when there is something to write.

        Raises:
            ValueError: If the folder isn't empty.
        """
        run = cls(folder)
        if not first_process():
            return run  # the first process may have begun to write
        there = run.folder.exists() and not run.folder.is_dir()
        if run.folder.is_dir():
            # A process that is killed before it writes anything leaves hidden files.
            there = any(not path.name.startswith(".") for path in run.folder.iterdir())
        if there:
            raise ValueError(
                f"Expected a new folder for the run; {run.folder} has something in it already: "
                f"name another with --out, or go on with --resume."
            )
        return run

    @classmethod
    def unfinished(cls, folder: str | Path) -> "Run":
        """A run to resume; it need not have a model yet.

        Raises:
            FileNotFoundError: If there is no such run.
            ValueError: If run.json is damaged, or another version of rgflow wrote the folder.
        """
        run = cls(folder)
        if not (run.folder / CONFIG).is_file():
            wrong = f"has no {CONFIG}" if run.folder.exists() else "isn't there"
            raise FileNotFoundError(f"Expected the folder of a training run; {run.folder} {wrong}.")
        record = run.record()
        # A process that is killed right after its first file leaves no run.json.
        there = (run.folder / RECORD).exists()
        if there and not record:
            raise ValueError(
                f"Expected what the run was in {run.folder / RECORD}; it is damaged: delete it to "
                f"go on without."
            )
        if there and record.get("format") != FORMAT:
            written = record.get("versions", {}).get("rgflow", "another version")
            raise ValueError(
                f"Expected a run folder of format {FORMAT}; {run.folder} was written by rgflow "
                f"{written} in format {record.get('format')}: train anew, or install that version."
            )
        return run

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """A run that has a model.

        Raises:
            FileNotFoundError: If there is no such run, or it has no model yet.
            ValueError: If another version of rgflow wrote the folder.
        """
        run = cls.unfinished(folder)
        if not run.model.is_dir():
            raise FileNotFoundError(
                f"Expected a trained model in {run.model}; the run hasn't saved one yet."
            )
        return run

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for this process; the lock ends with the process, even if it is killed.

        Raises:
            ValueError: If another process is training there, the folder can't be made, or
                something in it is a link.
        """
        lock = self.folder / ".lock"
        for name in (CONFIG, RECORD, LOG, ".lock", "model", "pictures", "checkpoints"):
            if (self.folder / name).is_symlink():
                raise ValueError(
                    f"Expected a run folder without links; {self.folder / name} is one, and what "
                    f"it leads to would be written over: put that in its place."
                )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.touch()
        except OSError as error:
            raise ValueError(f"Expected a folder that can be written; {error}.") from error
        with locked(lock) as alone:
            if not alone:
                raise ValueError(
                    f"Expected a run folder that nobody else is using; another process trains in "
                    f"{self.folder}: wait for it, or name another folder with --out."
                )
            yield

    def checkpoints(self, keep: int) -> Checkpoints:
        """The checkpoints, of which the newest `keep` are kept."""
        return Checkpoints(self.folder / "checkpoints", keep)

    def config(self) -> TrainConfig:
        """The settings of the run.

        Raises:
            PermissionError: If they may not be read.
            ValueError: If they are damaged.
        """
        path = self.folder / CONFIG
        values = read_yaml(path, "the settings of a run")
        try:
            return TrainConfig.from_dict(values)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"Expected the settings of a run; {path} is damaged ({reason(error)})."
            ) from error

    def record(self) -> dict[str, Any]:
        """The content of run.json, checked; empty if it is missing or damaged.

        Raises:
            PermissionError: If it may not be read.
        """
        try:
            content = read_json(self.folder / RECORD, "what a run was")
            instance(_Record, content)
        except (FileNotFoundError, DamagedError):
            return {}
        return content

    def past(self) -> Training:
        """How the flow has been trained so far."""
        record = instance(_Record, self.record())
        done, log = record.result, [] if record.result else self.entries()
        # Paths of this machine mean nothing on others.
        start = record.start.model if record.start else None
        return Training(
            model=self.folder.resolve().name,
            config=replace(self.config(), pretrained=start),
            images=record.data.images if record.data else None,
            steps=done.steps if done else max((one["step"] for one in log), default=None),
            seconds=done.seconds if done else max((one["seconds"] for one in log), default=None),
            began=record.started,
            **{name: getattr(record, name) for name in ("machine", "versions", "git", "start")},
        )

    def flow(self) -> Flow:
        """The flow of the best validation, with averaged weights."""
        return load_flow(self.model)

    def write_start(
        self,
        config: TrainConfig,
        flow: Flow,
        images: Images | None,
        *,
        processes: int,
        start: Training | None = None,
    ) -> None:
        """Write config.yaml and run.json; a resumed run keeps when and with what it started.

        Args:
            config: The settings, resolved by `rgflow.training.loop.resolved`.
            flow: The flow.
            images: The training images; `None` for objectives that need none.
            processes: How many processes train together.
            start: The model whose weights it started with; `None` for random weights, or for a
                resumed run.

        Raises:
            OSError: If the folder can't be written.
        """
        remove_parts(self.folder)
        with replacing(self.folder / CONFIG) as part:
            part.write_text(to_yaml(config))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        before = self.record()
        self.save_json(
            RECORD,
            {
                "format": FORMAT,
                "started": before.get("started", now),
                "start": start or before.get("start"),
                "resumed": [*before.get("resumed", []), now] if before else [],
                "parameters": sum(p.numel() for p in flow.parameters()),
                "data": images
                and {"name": images.name, "images": len(images), "skipped": images.skipped},
                "versions": {
                    "python": platform.python_version(),
                    **{name: version(name) for name in ("rgflow", "torch", "numpy")},
                },
                "git": git_state(),
                "machine": Machine(
                    processor=processor(),
                    cores=os.cpu_count(),
                    threads=torch.get_num_threads(),
                    gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
                    processes=processes,
                ),
                "command": sys.argv,
            },
        )

    def write_result(self, result: Any) -> None:
        """Add the result (a dataclass) to run.json."""
        self.save_json(RECORD, {**self.record(), "result": asdict(result)})

    def open_log(self, size: int) -> None:
        """Open the log for writing, as `log`, after cutting it to `size` bytes."""
        self.log = Log(self.folder / LOG, size)

    def entries(self) -> list[dict[str, Any]]:
        """The entries of the log."""
        return read_log(self.folder / LOG, is_entry)

    def draw_curve(self, unit: str) -> None:
        """Draw the learning curve so far."""
        self.pictures.mkdir(exist_ok=True)
        figures.learning_curve(self.entries(), unit, self.pictures / "curve.png")

    def save_json(self, name: str, content: Any) -> Path:
        """Write a result (a dataclass or plain values) into the folder."""
        path = self.folder / name
        write_json(path, content)
        return path


def several_processes() -> bool:
    """Whether `torchrun` or the like has started several processes for this training."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def first_process() -> bool:
    """Whether this is the process that writes and prints."""
    return int(os.environ.get("RANK", "0")) == 0


def git_state() -> dict[str, Any] | None:
    """Commit of this package's repository, and whether its code has uncommitted changes; `None` if
    it wasn't installed from a repository.

    The current folder's repository is never asked: git runs commands that its settings name.
    """
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changes = git("status", "--porcelain", "--", *(f":(top)*.{kind}" for kind in SOURCES))
        return {"commit": git("rev-parse", "HEAD"), "changes": bool(changes)}
    except (OSError, subprocess.CalledProcessError):
        return None


def processor() -> str:
    """The processor's name, its family and model where the name may not tell generations apart, and
    its instructions for products of bfloat16 numbers."""
    info = Path("/proc/cpuinfo")
    known: dict[str, str] = {}
    for line in info.read_text().splitlines() if info.is_file() else ():
        key, _, value = line.partition(":")
        known.setdefault(key.strip(), value.strip())
    name = known.get("model name") or platform.processor() or platform.machine()
    facts = [f"{key} {known[key]}" for key in ("cpu family", "model") if key in known]
    flags = known.get("flags", "").split()
    units = [name for flag, name in BF16_INSTRUCTIONS.items() if flag in flags]
    facts.append(f"bf16 instructions: {' and '.join(units) or 'none'}")
    return f"{name} ({', '.join(facts)})"
