"""Processes that work for another one, and end with it."""

import multiprocessing
import os
import pickle
import queue
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from rgflow.checks import out_of_memory


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


class Helpers:
    """Processes that call functions, so that several computations share no interpreter.

    Args:
        count: Number of processes; they are started when they are needed.
        threads: Threads of each.
    """

    def __init__(self, count: int, threads: int = 1) -> None:
        self._threads = threads
        self._idle: queue.SimpleQueue[tuple[Any, Connection] | None] = queue.SimpleQueue()
        for _ in range(count):
            self._idle.put(None)

    def call(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        callbacks: dict[str, Callable[..., None]],
    ) -> Any:
        """What a function of a module returns, called in one of the processes.

        Args:
            function: The function.
            arguments: Its arguments, which are copied.
            callbacks: Further ones by name, which are called here; what they raise ends the
                process.

        Raises:
            ValueError: If the process dies, or the function raises one.
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
            raise ValueError(
                "Expected the process that computes to go on; it ended, perhaps for lack of "
                "memory: take a smaller part."
            ) from error
        finally:
            if helper and not kept:
                process.kill()
                process.join()
                pipe.close()
            self._idle.put(kept)

    def _started(self) -> tuple[Any, Connection]:
        ours, theirs = context().Pipe()
        process = context().Process(target=_help, args=(theirs, self._threads), daemon=True)
        process.start()
        theirs.close()
        return process, ours


def _help(pipe: Connection, threads: int) -> None:
    """Call functions, one after another."""
    become_worker(threads)
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
            answer = "error", kind(memory or str(error))
        pipe.send_bytes(pickle.dumps(answer))
