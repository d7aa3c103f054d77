"""Computations of the page of photographs, which tell how far they are and can be stopped."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from fastapi.responses import StreamingResponse

from rgflow.app.project import Photo

Tell = Callable[..., None]
"""Callback that sends named values to the page; raises `StoppedError` if the job was cancelled."""
POLLING = 0.2
"""Seconds between two checks of a waiting computation whether it was cancelled."""


class StoppedError(Exception):
    """The computation was cancelled, another of the same picture was started, or the page was
    closed."""


class Jobs:
    """Runs some computations at a time, and one at a time of each picture.

    Args:
        most: Number of computations at a time.
    """

    def __init__(self, most: int) -> None:
        self._slots = threading.Semaphore(most)

    def start(self, photo: Photo, work: Callable[[Tell], dict[str, Any]]) -> StreamingResponse:
        """Answer with lines of JSON: what the work tells and, in the end, its result or an error. A
        `ValueError` or `OSError` is shown unchanged. An earlier computation on the same picture is
        stopped.

        Args:
            photo: The picture.
            work: Computes, and returns the result.
        """
        ended = photo.begin()

        def run(put: Callable[[dict[str, Any]], None]) -> None:
            def tell(**what: Any) -> None:
                if ended.is_set():
                    raise StoppedError
                if what:
                    put(what)

            last: dict[str, Any] = {"error": "This failed on the server; its log says why."}
            try:
                with _held(photo.at_work, tell), _held(self._slots, tell):
                    started = time.perf_counter()
                    result = work(tell)
                    last = {"done": True, "seconds": time.perf_counter() - started, **result}
            except StoppedError:
                last = {"done": True, "stopped": True}
            except (ValueError, OSError) as error:
                last = {"error": str(error)}
            finally:
                put({**last, "version": photo.version})

        async def told() -> AsyncIterator[str]:
            loop, lines = asyncio.get_running_loop(), asyncio.Queue[dict[str, Any]]()

            def put(line: dict[str, Any]) -> None:
                with contextlib.suppress(RuntimeError):  # the server has ended meanwhile
                    loop.call_soon_threadsafe(lines.put_nowait, line)

            threading.Thread(target=run, args=(put,), daemon=True).start()
            try:
                line: dict[str, Any] = {}
                while not line.keys() & {"done", "error"}:
                    line = await lines.get()
                    yield json.dumps(line) + "\n"
            finally:  # also if the page was closed
                ended.set()

        return StreamingResponse(told(), media_type="application/x-ndjson")


@contextlib.contextmanager
def _held(lock: "threading.Lock | threading.Semaphore", tell: Tell) -> Iterator[None]:
    """Hold a lock; ends with `StoppedError` if stopped while waiting for it."""
    while not lock.acquire(timeout=POLLING):
        tell()
    try:
        tell()
        yield
    finally:
        lock.release()
