"""Where pictures are worked on: in this process, in several, or on the machines of Ray.

All of them call the same `Worker`, whose result depends on a picture's content and the settings
alone. So a table is the same for any number of workers, and after any of them has died.
"""

from __future__ import annotations

import logging
import os
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rgflow.checks import check_installed, out_of_memory
from rgflow.outputs import Made, digest, hash_of, is_full, not_free
from rgflow.processes import EndedError, Helpers
from rgflow.reading import read, reason
from rgflow.text import printable

if TYPE_CHECKING:
    from rgflow.photographs.collections import Given, Unit

TRIES = 5
"""How often a picture may end its worker before it is left out: workers die by chance, too."""
MAX_FILE = 1 << 30
"""Maximum size in bytes of a picture's file in an object store."""
BLOCKS, PICTURES = 64, 32
"""Blocks of Ray for a worker, and pictures in one, at the most."""


@dataclass(frozen=True)
class Worker:
    """Works on one picture after another.

    Attributes:
        work: What is made of a picture.
        settings: Hash of all else that results depend on.
        done: The keys of the pictures that were done before.
        folder: The folder for unfinished work.
    """

    work: Callable[[Given], Made]
    settings: str
    done: frozenset[str] = frozenset()
    folder: Path | None = None

    def ready(self, device: str = "") -> Worker:
        """The same with its flow on a device; by default on a GPU, if this machine has one."""
        import torch

        from rgflow.training.optimisation import prepare_machine

        prepare_machine()
        work: Any = self.work
        if not hasattr(work, "flow"):
            return self
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        return replace(self, work=replace(work, flow=work.flow.to(device)))

    def __call__(self, given: Given) -> Made:
        """The result of a picture, or why there is none."""
        try:
            made = self._result(given)
        except Exception as failed:
            if is_full(failed) or isinstance(failed, BrokenPipeError):
                raise
            words = str(failed)
            if out_of_memory(failed):
                words = "Expected enough memory; there isn't."
            elif not isinstance(failed, ValueError | OSError):
                words = f"It failed: {type(failed).__name__}: {reason(failed)}."
            made = Made(error=words)
        return _of(given, made)

    def _result(self, given: Given) -> Made:
        if given.error:
            raise ValueError(given.error)
        source, content = given.source, given.content
        if not isinstance(content, bytes) and "://" in str(content):
            content = read(content, MAX_FILE)
        own = digest(content)
        out = str(source.out("*")) if source else ""
        key = hash_of([self.settings, out, own, *map(digest, given.more)])
        if key in self.done:
            return Made(key=key, done=True)
        if source and source.taken:
            raise ValueError(source.taken)
        if source and source.owner not in ("", key):
            raise not_free(source.out(f"*{source.path.suffix}"))
        kept = self.folder / f".{key[:16]}.kept" if self.folder else None
        given = replace(given, content=content, seed=int(own[:12], 16), kept=kept)
        return replace(self.work(given), key=key)


def _of(given: Given, made: Made) -> Made:
    """A result with the name of the picture; not every name is text."""
    error = printable(" ".join(made.error.split()))
    return replace(made, name=printable(given.name), place=given.place, error=error)


def by_processes(worker: Worker, pictures: Iterable[Given], count: int) -> Iterator[Made]:
    """The results of pictures, as they come, made by several processes.

    A process that dies is started again. It has one picture at a time, so what kills it is known;
    a picture that does so five times is left out.
    """
    import torch

    todo, threads = iter(pictures), max(torch.get_num_threads() // count, 1)
    helpers = Helpers(count, threads, partial(_begin, worker.ready("cpu")))

    def made(given: Given) -> Made:
        for _ in range(TRIES):
            with suppress(EndedError):
                return helpers.call(_work, given)
        words = f"It ended its process {TRIES} times, perhaps for lack of memory."
        return _of(given, Made(error=words))

    with ThreadPoolExecutor(count) as pool, helpers:
        running = {pool.submit(made, one) for one in islice(todo, count)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            running |= {pool.submit(made, one) for one in islice(todo, len(done))}
            yield from (one.result() for one in done)


_worker: Worker


def _begin(worker: Worker) -> None:
    """Make a process a worker."""
    global _worker
    _worker = worker.ready()


def _work(given: Given) -> Made:
    return _worker(given)


def by_ray(worker: Worker, units: Iterable[Unit], address: str | None) -> Iterator[Made]:
    """The results of pictures, as they come, made by Ray Data: on as many workers as there are
    processors or GPUs, each with a model of its own. What has ended its workers again and again is
    done in the end by a process of this machine, or left out.

    Args:
        worker: Works on a picture.
        units: The pictures.
        address: Of a cluster; None: the one that Ray finds, or else this machine.

    Raises:
        ValueError: If Ray isn't installed, or can't be reached.
    """
    check_installed("ray", "for --engine ray", "cluster")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    logging.getLogger("ray.data").setLevel("ERROR")
    import ray
    import ray.data

    if not ray.is_initialized():
        try:
            if address and ":" in address and "://" not in address:  # as Ray would try for minutes
                host, _, port = address.rpartition(":")
                socket.create_connection((host, int(port)), 10).close()
            quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
            ray.init(address, include_dashboard=False, **quiet)
        except (OSError, RuntimeError, ValueError) as error:
            raise ValueError(
                f"Expected a cluster of Ray at {address or 'this machine'}; it can't be reached "
                f"({reason(error)}): start one, or leave out --address."
            ) from error
    context = ray.data.DataContext.get_current()
    context.target_max_block_size = 1  # each result comes as soon as it is there
    context.max_errored_blocks = -1  # as what is missing is seen below
    context.enable_progress_bars = False
    there, every = ray.cluster_resources(), list(units)
    gpus = int(there.get("GPU", 0))
    count = max(min(gpus or int(there.get("CPU", 1)), len(every)), 1)
    blocks = max(min(len(every), BLOCKS * count), len(every) // PICTURES, 1)
    found = ray.data.from_items(
        [{"unit": one} for one in every], override_num_blocks=blocks
    ).map_batches(
        _RayWorker,
        fn_constructor_args=(ray.put(worker.ready("cpu")), os.getcwd()),  # once on each machine
        batch_size=1,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(min_size=1, initial_size=count),
        num_cpus=0 if gpus else 1,
        num_gpus=1 if gpus else 0,
        max_restarts=-1,
        max_task_retries=TRIES,
    )
    seen = set[tuple[int, int]]()
    for row in found.iter_rows():
        made = row["made"]
        if made.place not in seen:  # which a retry has made again
            seen.add(made.place)
            yield made
    left = (given for given in chain.from_iterable(every) if given.place not in seen)
    yield from by_processes(worker, left, 1)


class _RayWorker:
    """A worker of Ray."""

    def __init__(self, worker: Any, folder: str) -> None:
        import ray

        os.chdir(folder if os.path.isdir(folder) else tempfile.mkdtemp())  # for relative paths
        self._worker: Worker = ray.get(worker).ready()

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for given in chain.from_iterable(batch["unit"]):
            made = np.empty(1, dtype=object)
            made[0] = self._worker(given)
            yield {"made": made}
