"""Thousands of damaged, odd and hostile files, names, places and requests, one after another.

Every case is told by its number and a seed. It is carried out in another process, within limits of
time and memory; `cases` says what counts as wrong.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cases import Found, Kind, Stage
from damaged_files import DAMAGED_FILES, described, past, shown, use
from flows import random_flow
from odd_pictures import good
from odd_places import BOX, SCENES, command
from odd_requests import REQUESTS
from rgflow import make_flow, trained

ORDER: list[Kind] = [
    *DAMAGED_FILES,
    *(kind for kind, often in (*SCENES, *REQUESTS) for _ in range(often)),
]
"""Kinds of cases, as they come one after another."""


loaded = cache(trained.load)


def do(job: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Carry out a job in a process of its own."""
    trained.load = loaded  # which takes as long as what is tested
    return command(**job) if "words" in job else use(**job)


class Campaign:
    """Cases by number, each always the same.

    Args:
        folder: For whole files, made once for each kind, and for cases.
        seed: Of the cases.
    """

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder, self.seed = folder, seed
        model().save_pretrained(folder / "model")
        with torch.device("meta"):  # whose first use takes seconds, and no memory later
            make_flow(random_flow(torch.float32, hidden=4, depth=1, blocks=1).config)
        for number, kind in enumerate(DAMAGED_FILES):
            kind.prepare(folder / f"{number}")
        self._warm_up()
        self.stage = Stage(folder, do)
        for kind in DAMAGED_FILES:
            with self._folder() as place:
                kind.begin(self.stage, place)

    def case(self, number: int) -> Found:
        """Carry out a case. What is wrong is tried again in a new process, lest an earlier case be
        the reason."""
        kind = ORDER[number % len(ORDER)]
        for _ in range(2):
            random = np.random.default_rng([self.seed, number])
            with self._folder() as place:
                found = kind.carry_out(self.stage, place, random)
            if found.right:
                break
            self.stage.end()
        return found

    def flip(self, bit: int) -> Found:
        """Flip one bit of a checkpoint."""
        with self._folder() as place:
            return DAMAGED_FILES[0].flip(self.stage, place, bit)

    @property
    def bits(self) -> int:
        """Number of bits of the checkpoint."""
        return 8 * DAMAGED_FILES[0].whole.stat().st_size

    def _warm_up(self) -> None:
        """Do here what takes long when it is first done, as all processes are forks of this one."""
        with self._folder() as place:
            path, flow = place / "a.png", str(self.folder / "model")
            path.write_bytes(good(np.random.default_rng(0)))
            for more in (
                ["repair", path, "--sensitivity", 0.5, "--out", place / "r"],
                ["enlarge", path, "--out", place / "e"],
                [*("repair", path, "--box", BOX, "--out", place / "b"), "--completions", 1],
                ["score", path, "--out", place / "t.csv"],
            ):  # fmt: skip
                command([*map(str, more), "--model", flow], None, None)
        for kind in DAMAGED_FILES:
            if kind.use in (described, past, shown):
                kind.use(kind.whole)

    def end(self) -> None:
        """End all processes."""
        self.stage.end()
        for kind, _ in REQUESTS:
            kind.end()

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        """A new folder for a case."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            yield Path(name)


def model() -> Any:
    """A small flow of photographs."""
    return random_flow(
        torch.float32, map="window", pixels="uniform", channels=3, shared=True, hidden=4,
        components=2, geometry={"kind": "windows", "reach": 1, "boundary": "open"},
    )  # fmt: skip
