"""Processes that work for another one, and end with it."""

import multiprocessing
import os
import pickle
import queue
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from types import MappingProxyType
from typing import Any, Self

from rgflow.checks import out_of_memory

STARTS = 10
"""How often a process is started that dies as it begins."""


def context() -> Any:
    """How processes are started: from one that has nothing but imports, where that is possible."""
    methods = multiprocessing.get_all_start_methods()
    found = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if hasattr(found, "set_forkserver_preload"):
        found.set_forkserver_preload(["rgflow.photographs.scoring"])
    return found


def become_worker(threads: int) -> None:
    """Make this process one that works for its parent, and ends with it.

    Args:
        threads: Threads of a computation.
    """
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # where several would draw their progress
    torch.set_num_threads(threads)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent:
            parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


class EndedError(ValueError):
    """A process that computes has died."""


class TerminatedError(KeyboardInterrupt):
    """This process has to end, as a job scheduler or a closed terminal says."""


class Helpers:
    """Processes that call functions, so that several computations share no interpreter. At the end
    of a `with` block they are killed, whatever they do.

    Args:
        count: Number of processes; they are started when they are needed.
        threads: Threads of each.
        begin: Called first in each.
    """

    def __init__(
        self, count: int, threads: int = 1, begin: Callable[[], None] | None = None
    ) -> None:
        self._arguments, self._ended = (threads, begin), False
        self._running = set[Any]()
        self._idle: queue.SimpleQueue[tuple[Any, Connection] | None] = queue.SimpleQueue()
        for _ in range(count):
            self._idle.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        for process in [*self._running]:
            process.kill()  # which ends the calls that wait for it

    def call(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        callbacks: Mapping[str, Callable[..., None]] = MappingProxyType({}),
    ) -> Any:
        """What a function of a module returns, called in one of the processes.

        Args:
            function: The function.
            arguments: Its arguments, which are copied.
            callbacks: Further ones by name, which are called here; what they raise ends the
                process.

        Raises:
            EndedError: If the process dies.
            ValueError: If the function raises one.
            RuntimeError: If processes die as they begin.
        """
        helper = self._idle.get()
        kept = None
        try:
            process, pipe = helper = helper or self._started()
            pipe.send_bytes(pickle.dumps((function, arguments, list(callbacks))))
            while True:
                what, values = pipe.recv()
                if what in callbacks:
                    callbacks[what](*values)
                    continue
                kept = helper
                if what == "error":
                    raise values
                return values
        except (EOFError, OSError) as error:
            if kept:
                raise
            raise EndedError(
                "Expected the process that computes to go on; it ended, perhaps for lack of "
                "memory: take a smaller part."
            ) from error
        finally:
            if helper and not kept:
                self._end(process, pipe)
            self._idle.put(kept)

    def _started(self) -> tuple[Any, Connection]:
        for _ in range(0 if self._ended else STARTS):
            ours, theirs = context().Pipe()
            process = context().Process(target=_help, args=(theirs, *self._arguments), daemon=True)
            with suppress(EOFError, OSError):
                process.start()
                self._running.add(process)
                theirs.close()
                if not self._ended and ours.recv():
                    return process, ours
            self._end(process, ours)
        raise RuntimeError("Expected processes to start; they end at once.")

    def _end(self, process: Any, pipe: Connection) -> None:
        pipe.close()
        if process.pid:
            process.kill()
            process.join()
        self._running.discard(process)


def _help(pipe: Connection, threads: int, begin: Callable[[], None] | None) -> None:
    """Call functions, one after another."""
    become_worker(threads)
    if begin:
        begin()
    pipe.send(True)
    while True:
        try:
            function, arguments, names = pipe.recv()
        except EOFError:
            return

        def teller(name: str) -> Callable[..., None]:
            return lambda *values: pipe.send_bytes(pickle.dumps((name, values)))

        try:
            found = function(*arguments, **{name: teller(name) for name in names})
            answer = "result", found
        except Exception as error:
            memory = "Expected enough memory; there isn't." if out_of_memory(error) else None
            kind = ValueError if memory or isinstance(error, ValueError) else RuntimeError
            other = error if isinstance(error, OSError) and not memory else None
            answer = "error", other or kind(memory or str(error))
        pipe.send_bytes(pickle.dumps(answer))
