"""Where pictures are worked on: in this process, in several, or on the machines of Ray.

All of them call the same `Worker`, whose result depends on a picture's content and the settings
alone. So a table is the same for any number of workers, and after any of them has died.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rgflow.checks import check_installed, out_of_memory
from rgflow.outputs import Made, digest, hash_of, is_full, not_free
from rgflow.processes import become_worker, context
from rgflow.reading import json_in, read, reason
from rgflow.text import printable

if TYPE_CHECKING:
    import torch

    from rgflow.outputs import Source
    from rgflow.photographs.collections import Item, Unit

TRIES, STARTS = 3, 10
"""How often a picture may end its worker before it is left out, and a worker die as it begins."""
KEPT = re.compile(r"\.[0-9a-f]{16}\.kept")
"""The names of files of unfinished work."""
MAX_FILE = 1 << 30
"""Maximum size in bytes of a picture's file in an object store."""


@dataclass(frozen=True)
class Given:
    """A picture, as it is worked on.

    Attributes:
        name: Its name.
        file: Its file, or the content of it.
        more: Other files that its results depend on.
        source: Where its results go, if they are files.
        seed: For whatever is random, by its content.
        kept: A file for unfinished work, which is found again; None: there is none.
    """

    name: str
    file: Path | BytesIO
    more: list[Path]
    source: Source | None
    seed: int
    kept: Path | None

    def generator(self, seed: int) -> torch.Generator:
        """The source of whatever is random, by a seed and the picture's content."""
        import torch

        return torch.Generator().manual_seed((seed + self.seed) % 2**63)


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

    def on(self, device: str = "") -> Worker:
        """The same with its flow on a device; by default on a GPU, if this machine has one."""
        import torch

        work: Any = self.work
        if not hasattr(work, "flow"):
            return self
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        return replace(self, work=replace(work, flow=work.flow.to(device)))

    def __call__(self, item: Item) -> Made:
        """The result of a picture, or why there is none."""
        name = printable(item.name)  # as not every name is text
        try:
            return replace(self.result(item), name=name, place=item.place)
        except Exception as failed:
            if is_full(failed):
                raise
            if isinstance(failed, ValueError | OSError):
                words = str(failed)
            elif out_of_memory(failed):
                words = "Expected enough memory; there isn't."
            else:
                words = f"It failed: {type(failed).__name__}: {reason(failed)}."
            error = printable(" ".join(words.split()))
            return Made(name=name, place=item.place, error=error)

    def result(self, item: Item) -> Made:
        """The result of a picture.

        Raises:
            ValueError: Or whatever else is wrong.
        """
        if item.error:
            raise ValueError(item.error)
        source, (first, *more) = item.source, item.files
        if not isinstance(first, bytes) and "://" in str(first):
            first = read(first, MAX_FILE)
        content = digest(first)
        out = str(source.out("*")) if source else ""
        key = hash_of([self.settings, out, content, *map(digest, more)])
        if key in self.done:
            return Made(key=key, done=True)
        if source and source.taken:
            raise ValueError(source.taken)
        if source and source.owner not in ("", key):
            raise not_free(source.out(f"*{source.path.suffix}"))
        file: Path | BytesIO = BytesIO(first) if isinstance(first, bytes) else first
        if isinstance(file, BytesIO):
            file.name = Path(item.name).name
        kept = self.folder / f".{key[:16]}.kept" if self.folder else None
        others = [one for one in more if not isinstance(one, bytes)]
        seed = int(content[:12], 16)
        return replace(self.work(Given(item.name, file, others, source, seed, kept)), key=key)


# ---------------------------------------------------------------- processes of this machine

_worker: Worker


def by_processes(worker: Worker, items: Iterable[Item], count: int) -> Iterator[Made]:
    """The results of pictures, as they come, made by several processes.

    A process that dies is started again. It has one picture at a time, so what kills it is known;
    a picture that does so three times is left out.
    """
    worker = worker.on("cpu")  # from which it can be copied

    def pool() -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, context(), _begin, (worker, count))

    pools = [pool() for _ in range(count)]
    running: dict[Future[Made], tuple[int, Item, int]] = {}
    todo = iter(items)  # an executor starts its process for its first picture

    def submit(slot: int, item: Item | None, tries: int = 1) -> None:
        if item is None:
            return
        for left in reversed(range(STARTS)):
            try:
                running[pools[slot].submit(_work, item)] = slot, item, tries
                return
            except OSError as error:  # the process died as it began
                if not left:
                    raise RuntimeError("Expected processes to start; they end at once.") from error
                pools[slot].shutdown(wait=False, cancel_futures=True)
                pools[slot] = pool()

    try:
        for slot in range(count):
            submit(slot, next(todo, None))
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                slot, item, tries = running.pop(future)
                try:
                    made = future.result()
                except BrokenProcessPool:
                    pools[slot].shutdown()
                    pools[slot] = pool()
                    if tries < TRIES:
                        submit(slot, item, tries + 1)
                        continue
                    words = f"It ended its process {TRIES} times, perhaps for lack of memory."
                    made = Made(name=printable(item.name), place=item.place, error=words)
                submit(slot, next(todo, None))
                yield made
    finally:
        for one in pools:
            for process in (one._processes or {}).values():
                process.kill()
            one.shutdown(cancel_futures=True)


def _begin(worker: Worker, count: int) -> None:
    """Make a process a worker."""
    global _worker
    import torch

    from rgflow.training.optimisation import prepare_machine

    _worker = worker.on()
    become_worker(max(torch.get_num_threads() // count, 1))
    prepare_machine()


def _work(item: Item) -> Made:
    return _worker(item)


# ---------------------------------------------------------------- Ray


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
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                include_dashboard=False,
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise ValueError(
                f"Expected a cluster of Ray at {address or 'this machine'}; it can't be reached "
                f"({reason(error)}): start one, or leave out --address."
            ) from error
    every = [replace(unit, root=os.getcwd()) for unit in units]
    seen = set[tuple[int, int]]()
    context = ray.data.DataContext.get_current()
    context.target_max_block_size = 1  # each result comes as soon as it is there
    context.max_errored_blocks = -1  # as what is missing is seen below
    context.enable_progress_bars = False
    there = ray.cluster_resources()
    gpus = there.get("GPU", 0)
    count = max(min(int(gpus or there.get("CPU", 1)), len(every)), 1)
    shared = ray.put(worker.on("cpu"))  # once on each machine
    pictures = ray.data.from_items(
        [{"unit": unit} for unit in every], override_num_blocks=max(len(every), 1)
    )
    found = pictures.map_batches(
        _RayWorker,
        fn_constructor_args=(shared,),
        batch_size=1,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(min_size=1, initial_size=count),
        num_cpus=0 if gpus else 1,
        num_gpus=1 if gpus else 0,
        max_restarts=-1,
        max_task_retries=TRIES,
    )
    for row in found.iter_rows():
        made = _made(row["made"], row["files"])
        if made.place not in seen:  # which a retry has made again
            seen.add(made.place)
            yield made
    left = (item for unit in every for item in unit.items() if item.place not in seen)
    yield from by_processes(worker, left, 1)


class _RayWorker:
    """A worker of Ray."""

    def __init__(self, worker: Any) -> None:
        import ray

        from rgflow.training.optimisation import prepare_machine

        prepare_machine()
        self._worker: Worker = ray.get(worker).on()

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for unit in batch["unit"]:
            for item in unit.items():
                made = self._worker(item)
                about = asdict(replace(made, files=[]))
                about["files"] = [str(path) for path, _ in made.files]
                yield {
                    "made": [json.dumps(about)],
                    "files": [[content for _, content in made.files]],
                }


def _made(about: str, contents: Iterable[bytes]) -> Made:
    """A result that has come from another machine."""
    values = json_in(about)
    paths = map(Path, values["files"])
    files = list(zip(paths, contents, strict=True))
    return Made(**values | {"files": files, "place": tuple(values["place"])})
